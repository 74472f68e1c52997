//! `[[proof]]` of agents: how they are known by what their platform gives them.

use crate::{
    document::{Cell, Document, Table},
    facts::{Facts, Issuers},
    finding::{Finding, Place},
    words::suggest,
};
use portreeve_core::{
    names::Name,
    policy::{BundleSource, IssuerKind, Vouches, fits_rule, says_who},
    proof::{Attest, Proof, Way},
    value::Value,
};
use std::collections::BTreeMap;

const PROOF: &str = "spiffe = \"spiffe://example.org/bot\"";
/// Ways to prove itself that one agent has at most
const PROOFS_MAX: usize = 16;

/// Reads `[[proof]]` of an agent
pub(crate) fn proofs<'t>(doc: &Document<'t>, cell: &Cell<'t>, agent: &Name, issuers: &Issuers) -> Option<Vec<Proof>> {
    let items = doc.array(cell, PROOF)?;
    if items.len() > PROOFS_MAX {
        doc.error(&cell.span(), format!("an agent has at most {PROOFS_MAX} ways to prove itself"), "take some out");
    }
    let proofs: Vec<_> = items
        .iter()
        .map(|item| {
            let mut table = doc.table(item, "[[proof]]", PROOF)?;
            let replicas = table.take("replicas").map_or(Some(false), |cell| doc.truth(cell, "replicas = true"));
            let span = table.span().clone();
            let attest = table.take("attest").map_or(Some(None), |cell| attest(doc, cell).map(Some));
            let way = way(doc, &mut table, agent, issuers);
            table.finish();
            if matches!(way, Some(Way::Program { .. })) && replicas == Some(true) {
                let message = "a program runs as often as its owner starts it; nobody holds it";
                doc.error(&span, message, "take `replicas` out");
            }
            let (way, attest) = (way?, attest?);
            if attest.is_some() && !is_issued_here(&way, issuers) {
                let message = "only identities that this Portreeve issues are given to processes here";
                let remedy = "write it beside `spiffe`, of a trust domain with `bundle = \"own\"`";
                doc.error(&span, message, remedy);
            }
            Some(Proof { way, replicas: replicas?, attest })
        })
        .collect();
    proofs.into_iter().collect()
}

fn way<'t>(doc: &Document<'t>, table: &mut Table<'_, 't>, agent: &Name, issuers: &Issuers) -> Option<Way> {
    let given = [table.take("spiffe"), table.take("issuer"), table.take("key"), table.take("program")];
    match given {
        [Some(cell), None, None, None] => spiffe(doc, cell, issuers, PROOF).map(Way::Spiffe),
        [None, Some(cell), None, None] => issued(doc, table, cell, issuers),
        [None, None, Some(cell), None] => key(doc, cell, agent),
        [None, None, None, Some(cell)] => program(doc, cell),
        _ => {
            let message = "expected exactly one of `spiffe`, `issuer`, `key` and `program`";
            doc.error(table.span(), message, format!("for example: {PROOF}"));
            None
        }
    }
}

/// A SPIFFE ID with a path (SPIFFE-ID, 2), of a trust domain that is known
pub(crate) fn spiffe(doc: &Document<'_>, cell: &Cell<'_>, issuers: &Issuers, example: &str) -> Option<String> {
    let (text, domain) = spiffe_id(doc, cell, example)?;
    if !issuers.values().any(|issuer| issuer.as_ref().is_none_or(|issuer| issuer.is_of(domain))) {
        let remedy = format!("add a file to `issuers/` with `trust_domain = \"{domain}\"`");
        doc.error(&cell.span(), format!("nobody vouches for the trust domain `{domain}`"), remedy);
        return None;
    }
    Some(text.to_owned())
}

/// A SPIFFE ID with a path (SPIFFE-ID, 2), and its trust domain
pub(crate) fn spiffe_id<'d>(doc: &'d Document<'_>, cell: &'d Cell<'_>, example: &str) -> Option<(&'d str, &'d str)> {
    let text = doc.text(cell, example)?;
    let segment = |segment: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(plain)
    };
    let parts = text.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
    let Some((domain, _)) = parts.filter(|(_, path)| path.split('/').all(segment) && text.len() <= 2_048) else {
        doc.error(&cell.span(), "expected a SPIFFE ID with a path", format!("for example: {example}"));
        return None;
    };
    Some((text, domain))
}

/// The issuer of that name, unless its file is broken
fn known(doc: &Document<'_>, cell: &Cell<'_>, issuers: &Issuers) -> Option<(Name, Option<IssuerKind>)> {
    let name: Name = doc.parsed(cell, "issuer = \"github\"")?;
    match issuers.get(&name) {
        Some(Some(issuer)) => match &issuer.vouches {
            Vouches::Oidc { kind, .. } => Some((name, Some(*kind))),
            Vouches::TrustDomain { .. } => {
                let message = format!("`{name}` is a trust domain");
                doc.error(&cell.span(), message, format!("write the whole SPIFFE ID: {PROOF}"));
                None
            }
        },
        Some(None) => Some((name, None)),
        None => {
            let near = suggest(name.as_str(), issuers.keys().map(Name::as_str));
            let remedy = format!("add `issuers/{name}.toml`; {near}");
            doc.error(&cell.span(), format!("no issuer is called `{name}`"), remedy);
            None
        }
    }
}

fn issued<'t>(doc: &Document<'t>, table: &mut Table<'_, 't>, cell: &Cell<'t>, issuers: &Issuers) -> Option<Way> {
    const CLAIMS: &str = "{ repository_id = \"123456\", environment = \"production\" }";
    let found = known(doc, cell, issuers);
    let listed = table.need("claims", CLAIMS)?;
    let mut entries = doc.table(listed, "claims", CLAIMS)?;
    let (mut claims, mut whole) = (BTreeMap::new(), true);
    for (path, span, cell) in entries.rest() {
        let value = doc.value(cell).filter(|value| {
            let plain = matches!(value, Value::String(_) | Value::Bool(_) | Value::Number(_));
            if !plain {
                doc.error(&cell.span(), "a claim is held against one text, number or truth", CLAIMS);
            }
            plain
        });
        let fit = found.as_ref().and_then(|(_, kind)| *kind).map_or(Ok(()), |kind| fits_rule(kind, path));
        if let Err(why) = fit {
            doc.error(&span, format!("a rule cannot rest on `{path}`"), why);
            whole = false;
        }
        match value {
            Some(value) => drop(claims.insert(path.to_owned(), value)),
            None => whole = false,
        }
    }
    let (issuer, kind) = found?;
    if let Some(kind) = kind {
        let named: Vec<&str> = claims.keys().map(String::as_str).collect();
        if let Err(why) = says_who(kind, &named) {
            doc.error(&listed.span(), "these claims do not say whose token it is", why);
            whole = false;
        }
    }
    whole.then_some(Way::Issued { issuer, claims })
}

/// The members of a public JWK that RFC 7638 hashes, in their order
fn key(doc: &Document<'_>, cell: &Cell<'_>, agent: &Name) -> Option<Way> {
    const KEY: &str = "{ kty = \"OKP\", crv = \"Ed25519\", x = \"…\" }";
    let mut table = doc.table(cell, "key", KEY)?;
    let mut members = BTreeMap::new();
    let mut whole = true;
    for (name, span, cell) in table.rest() {
        if matches!(name, "d" | "p" | "q" | "dp" | "dq" | "qi" | "oth" | "k") {
            let remedy = format!("make another pair of keys for {agent}, and write the public one only");
            doc.error(&span, "this is a private key, and a policy is no place for it", remedy);
            whole = false;
            continue;
        }
        match doc.text(cell, KEY) {
            Some(text) => drop(members.insert(name, Value::String(text.to_owned()))),
            None => whole = false,
        }
    }
    let kty = members.get("kty").and_then(Value::as_str).unwrap_or_default();
    let needed: &[&str] = match kty {
        "OKP" => &["crv", "kty", "x"],
        "EC" => &["crv", "kty", "x", "y"],
        "RSA" => &["e", "kty", "n"],
        _ => &[],
    };
    let base64url = |name: &str| {
        let text = members.get(name).and_then(Value::as_str).unwrap_or_default();
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if needed.is_empty() || !needed.iter().filter(|name| !matches!(**name, "kty" | "crv")).all(|name| base64url(name)) {
        let message = "expected a public key as a JWK: of type OKP, EC or RSA, with its members in base64url";
        doc.error(&cell.span(), message, format!("for example: key = {KEY}"));
        return None;
    }
    let jwk = needed.iter().filter_map(|name| Some(((*name).to_owned(), members.get(name)?.clone()))).collect();
    whole.then(|| Way::Key { jwk: Value::canonical_object(&jwk) })
}

/// Whether a trust domain is our own
fn is_issued_here(way: &Way, issuers: &Issuers) -> bool {
    let Way::Spiffe(id) = way else { return false };
    let own = |vouches: &Vouches| match vouches {
        Vouches::TrustDomain { name, bundle: BundleSource::Own } => id.starts_with(&format!("spiffe://{name}/")),
        _ => false,
    };
    // What is wrong with a broken file of an issuer is said there.
    issuers.values().any(|issuer| issuer.as_ref().is_none_or(|issuer| own(&issuer.vouches)))
}

/// What a process has to be; an account alone says nothing of what it is
fn attest<'t>(doc: &Document<'t>, cell: &Cell<'t>) -> Option<Attest> {
    const ATTEST: &str = "attest = { uid = 1000, path = \"/usr/bin/bot\" }";
    let mut table = doc.table(cell, "attest", ATTEST)?;
    let uid = table.take("uid").map_or(Some(None), |cell| doc.count(cell, "uid = 1000").map(Some));
    let path = table.take("path").map_or(Some(None), |cell| {
        let path = doc.line(cell, "path = \"/usr/bin/bot\"")?;
        if !path.starts_with('/') {
            doc.error(&cell.span(), "expected a path from the root, as the kernel says it", ATTEST);
            return None;
        }
        Some(Some(path))
    });
    let sha256 = table.take("sha256").map_or(Some(None), |cell| doc.parsed(cell, "sha256 = \"9f86d0…\"").map(Some));
    let span = table.span().clone();
    table.finish();
    let (uid, path, sha256) = (uid?, path?, sha256?);
    if path.is_none() && sha256.is_none() {
        doc.error(&span, "every process of an account would be this agent", "add `path` or `sha256`");
        return None;
    }
    Some(Attest { uid, path, sha256 })
}

/// The digest of the file that is run, as sha256sum(1) prints it behind the name of the algorithm
fn program(doc: &Document<'_>, cell: &Cell<'_>) -> Option<Way> {
    const PROGRAM: &str = "program = \"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"";
    let digest = doc.text(cell, PROGRAM)?.strip_prefix("sha256:").and_then(|digits| digits.parse().ok());
    if digest.is_none() {
        let message = "expected `sha256:` and the 64 lower-case hexadecimal digits of a program's digest";
        doc.error(&cell.span(), message, "compute it: `portreeve agent add NAME --owner WHO --program FILE`");
    }
    Some(Way::Program { sha256: digest? })
}

/// One identity is one agent's
pub(crate) fn shared(facts: &Facts, findings: &mut Vec<Finding>) {
    let mut told = |folder: &str, name: &Name, message: String, remedy: &str| {
        findings.push(Finding::error(Place::file(format!("{folder}/{name}.toml")), message, remedy));
    };
    let mut seen = Seen::default();
    for (name, agent) in &facts.agents {
        for proof in agent.iter().flat_map(|agent| &agent.proofs) {
            if let Some(other) = seen.add(name, &proof.way) {
                let message = format!("{} could also prove the agent `{other}`", proof.way);
                told("agents", name, message, "one identity is one agent's: let their claims differ in a value");
            }
        }
    }
}

/// Ways to prove oneself that were met so far, found without looking at all of them
#[derive(Default)]
struct Seen<'a> {
    /// Those that are one exact thing
    exact: BTreeMap<String, &'a Name>,
    /// Claims by issuer and by the value of the claim that most of its rules name
    issued: BTreeMap<(&'a Name, Option<&'a Value>), Vec<Rule<'a>>>,
}

type Claims = BTreeMap<String, Value>;
/// Of which agent, and what it wants
type Rule<'a> = (&'a Name, &'a Claims);

impl<'a> Seen<'a> {
    /// Adds a way of an agent, and says which other one could be proven by the same thing
    fn add(&mut self, agent: &'a Name, way: &'a Way) -> Option<&'a Name> {
        let Way::Issued { issuer, claims } = way else {
            return self.exact.insert(way.to_string(), agent).filter(|other| *other != agent);
        };
        let main = MAIN.iter().find_map(|path| claims.get(*path));
        // A rule that does not name the claim could meet any of those that do, and the other way round.
        let near: Vec<_> = match main {
            Some(_) => [main, None].iter().filter_map(|main| self.issued.get(&(issuer, *main))).flatten().collect(),
            None => {
                let of_issuer = self.issued.iter().filter(|((other, _), _)| *other == issuer);
                of_issuer.flat_map(|(_, rules)| rules).collect()
            }
        };
        let meets =
            |other: &Claims| claims.iter().all(|(path, value)| other.get(path).is_none_or(|there| there == value));
        let other = near.iter().find(|(other, there)| *other != agent && meets(there)).map(|(other, _)| *other);
        self.issued.entry((issuer, main)).or_default().push((agent, claims));
        other
    }
}

/// Claims of which each token has one, and most rules name one
const MAIN: [&str; 4] = ["sub", "repository_id", "project_id", "kubernetes.io.pod.uid"];
