//! `issuers/*.toml`: who vouches for identities, by OpenID Connect or SPIFFE.

use crate::{
    address::is_guarded,
    document::{Cell, Document, Table},
    facts::{Issuers, same_name},
    files::File,
    finding::{Finding, Place},
    people::sign_ins,
    proof::spiffe_id,
};
use portreeve_core::{
    json::{Limits, scan},
    policy::{Bootstrap, BundleSource, Issuer, IssuerKind, People, Vouches},
};

/// Reads a file of `issuers/`
pub(crate) fn issuer<'t>(doc: &Document<'t>, mut table: Table<'_, 't>, file: &File<'_>) -> Option<Issuer> {
    same_name(&mut table, doc, file);
    let private = table.take("private").map_or(Some(false), |cell| doc.truth(cell, "private = true"));
    let vouches = match (table.take("issuer"), table.take("trust_domain")) {
        (Some(cell), None) => oidc(doc, &mut table, cell),
        (None, Some(cell)) => trust_domain(doc, &mut table, cell),
        (first, _) => {
            let span = first.map_or_else(|| table.span().clone(), |cell| cell.span());
            let message = "expected either `issuer`, of OpenID Connect, or `trust_domain`, of SPIFFE";
            doc.error(&span, message, format!("for example: issuer = {ISSUER}"));
            None
        }
    };
    let people = people(doc, &mut table, vouches.as_ref());
    table.finish();
    Some(Issuer { vouches: vouches?, private: private?, people: people? })
}

/// How people sign in there; what is for an agent is not for them, and the other way round
fn people<'t>(doc: &Document<'t>, table: &mut Table<'_, 't>, vouches: Option<&Vouches>) -> Option<Option<People>> {
    let Some(cell) = table.take("people") else { return Some(None) };
    let people = sign_ins(doc, cell);
    let vouches = vouches?;
    let Vouches::Oidc { kind: IssuerKind::Oidc, audience, .. } = vouches else {
        let message = "people sign in at issuers of the kind \"oidc\" only";
        doc.error(&cell.span(), message, "write a file of its own for where people sign in");
        return None;
    };
    if people.as_ref().is_some_and(|people| audience.as_ref() == Some(&people.client_id)) {
        let message = "`audience` is the `client_id`: what a person gets here would be an agent's token too";
        doc.error(&cell.span(), message, "choose another `audience`");
        return None;
    }
    people.map(Some)
}

const ISSUER: &str = "\"https://token.actions.githubusercontent.com\"";
const KINDS: [(&str, IssuerKind); 4] = [
    ("oidc", IssuerKind::Oidc),
    ("github", IssuerKind::Github),
    ("gitlab", IssuerKind::Gitlab),
    ("kubernetes", IssuerKind::Kubernetes),
];
/// Asymmetric signatures that can be checked here (RFC 7518, 3.1; RFC 8037)
const ALGORITHMS: [(&str, &str); 9] = [
    ("RS256", "RS256"),
    ("RS384", "RS384"),
    ("RS512", "RS512"),
    ("PS256", "PS256"),
    ("PS384", "PS384"),
    ("PS512", "PS512"),
    ("ES256", "ES256"),
    ("ES384", "ES384"),
    ("EdDSA", "EdDSA"),
];
fn oidc<'t>(doc: &Document<'t>, table: &mut Table<'_, 't>, cell: &Cell<'t>) -> Option<Vouches> {
    let issuer = address(doc, cell, "issuer", ISSUER);
    let kind = table.take("kind").map_or(Some(IssuerKind::Oidc), |cell| doc.word(cell, &KINDS));
    let audience = table.take("audience").map_or(Some(None), |cell| doc.line(cell, "\"portreeve\"").map(Some));
    let keys = table
        .take("keys")
        .map_or(Some(None), |cell| address(doc, cell, "keys", "\"https://id.example.com/jwks\"").map(Some));
    let algorithms = table.take("algorithms").map_or(Some(Vec::new()), |cell| {
        let items = doc.array(cell, "algorithms = [\"RS256\"]")?;
        let words: Vec<_> = items.iter().map(|item| Some(doc.word(item, &ALGORITHMS)?.to_owned())).collect();
        words.into_iter().collect()
    });
    Some(Vouches::Oidc { issuer: issuer?, kind: kind?, audience: audience?, keys: keys?, algorithms: algorithms? })
}

fn trust_domain<'t>(doc: &Document<'t>, table: &mut Table<'_, 't>, cell: &Cell<'t>) -> Option<Vouches> {
    let text = doc.text(cell, "trust_domain = \"example.org\"")?;
    // SPIFFE-ID, 2.1: lower-case letters, digits, dots, dashes and underscores; at most 255 bytes.
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    let good = !text.is_empty() && text.len() <= 255 && text.bytes().all(plain);
    if !good {
        let message = "expected the name of a trust domain: lower-case letters, digits, `.`, `-` and `_`";
        doc.error(&cell.span(), message, "for example: trust_domain = \"example.org\"");
    }
    let bundle = table.need("bundle", BUNDLE).and_then(|cell| match cell.get_ref().as_table() {
        Some(_) => endpoint(doc, cell, text),
        None => source(doc, cell),
    });
    Some(Vouches::TrustDomain { name: good.then(|| text.to_owned())?, bundle: bundle? })
}

fn source(doc: &Document<'_>, cell: &Cell<'_>) -> Option<BundleSource> {
    match doc.text(cell, BUNDLE)? {
        "workload-api" => Some(BundleSource::WorkloadApi),
        "own" => Some(BundleSource::Own),
        _ => address(doc, cell, "bundle", BUNDLE).map(BundleSource::Web),
    }
}

/// A bundle endpoint that shows an X.509-SVID (SPIFFE Federation, 5.2.2)
fn endpoint<'t>(doc: &Document<'t>, cell: &Cell<'t>, domain: &str) -> Option<BundleSource> {
    const ENDPOINT: &str = "\"https://spire.example.org:8443\"";
    const ID: &str = "endpoint_spiffe_id = \"spiffe://example.org/spire/server\"";
    let mut table = doc.table(cell, "[bundle]", "endpoint = \"https://spire.example.org:8443\"")?;
    let url = table.need("endpoint", ENDPOINT).and_then(|cell| {
        let url = address(doc, cell, "endpoint", ENDPOINT)?;
        if !url.starts_with("https://") {
            doc.error(
                &cell.span(),
                "without TLS it shows no X.509-SVID",
                format!("for example: endpoint = {ENDPOINT}"),
            );
            return None;
        }
        Some(url)
    });
    let id = table.need("endpoint_spiffe_id", "\"spiffe://example.org/spire/server\"");
    let id = id.and_then(|cell| spiffe_id(doc, cell, ID).map(|(id, of)| (id.to_owned(), of == domain)));
    let bootstrap = table.take("bootstrap").map(|cell| (cell.span(), bootstrap(doc, cell)));
    let span = table.span().clone();
    table.finish();
    let ((id, own), url) = (id?, url?);
    let bootstrap = match (own, bootstrap) {
        (true, Some((_, bootstrap))) => Some(bootstrap?),
        (false, None) => None,
        (true, None) => {
            let remedy =
                "say what vouches for it at first: bootstrap = \"workload-api\", or the bundle itself, in JSON";
            doc.error(
                &span,
                "the endpoint is of the trust domain whose bundle it serves, and has no `bootstrap`",
                remedy,
            );
            return None;
        }
        (false, Some((span, _))) => {
            let message = "the endpoint is of another trust domain, whose own file says what vouches for it";
            doc.error(&span, message, "take `bootstrap` out");
            return None;
        }
    };
    Some(BundleSource::Spiffe { url, id, bootstrap })
}

fn bootstrap(doc: &Document<'_>, cell: &Cell<'_>) -> Option<Bootstrap> {
    const BOOTSTRAP: &str = "bootstrap = \"workload-api\"";
    let text = doc.text(cell, BOOTSTRAP)?;
    if text == "workload-api" {
        return Some(Bootstrap::WorkloadApi);
    }
    let document = scan(text.as_bytes(), &Limits::DEFAULT).ok();
    let keys = document.as_ref().and_then(|document| document.get("keys")?.as_array());
    let vouches = keys.is_some_and(|keys| {
        keys.iter().any(|key| {
            let is_for = key.get("use").and_then(|word| word.as_str()) == Some("x509-svid");
            is_for && key.get("x5c").and_then(|chain| chain.as_array()).is_some_and(|chain| !chain.is_empty())
        })
    });
    if !vouches {
        let message = "expected \"workload-api\", or a bundle with a certificate (`use` is \"x509-svid\", with `x5c`)";
        let remedy = "with SPIRE: `spire-server bundle show -format spiffe` prints it";
        doc.error(&cell.span(), message, remedy);
        return None;
    }
    Some(Bootstrap::Document(text.to_owned()))
}

/// Says where a bundle endpoint is of a trust domain whose own bundle is not had without asking one more
pub(crate) fn endpoints(issuers: &Issuers, findings: &mut Vec<Finding>) {
    for (name, issuer) in issuers {
        let Some(Vouches::TrustDomain { bundle: BundleSource::Spiffe { id, bootstrap: None, .. }, .. }) =
            issuer.as_ref().map(|issuer| &issuer.vouches)
        else {
            continue;
        };
        let domain = id.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
        // What is wrong with a broken file is said there.
        let of = |issuer: &Option<Issuer>| issuer.as_ref().is_none_or(|issuer| issuer.is_of(domain));
        let rests = |issuer: &Option<Issuer>| {
            let vouches = issuer.as_ref().map(|issuer| &issuer.vouches);
            let source = |vouches: &Vouches| match vouches {
                Vouches::TrustDomain { bundle, .. } => matches!(bundle, BundleSource::Spiffe { bootstrap: None, .. }),
                Vouches::Oidc { .. } => false,
            };
            vouches.is_some_and(source)
        };
        let place = Place::file(format!("issuers/{name}.toml"));
        match issuers.values().find(|issuer| of(issuer)) {
            None => {
                let remedy = format!("add a file to `issuers/` with `trust_domain = \"{domain}\"`");
                let message = format!("nobody vouches for the trust domain `{domain}` of `endpoint_spiffe_id`");
                findings.push(Finding::error(place, message, remedy));
            }
            Some(other) if rests(other) => {
                let message = format!("its endpoint is of `{domain}`, whose endpoint is of one more trust domain");
                let remedy =
                    format!("have the bundle of `{domain}` in another way, or give its endpoint a `bootstrap`");
                findings.push(Finding::error(place, message, remedy));
            }
            Some(_) => {}
        }
    }
}

const BUNDLE: &str = "\"https://example.org/bundle.json\"";

/// An address whose answer is believed: https, or http on this machine
pub(crate) fn address(doc: &Document<'_>, cell: &Cell<'_>, key: &str, example: &str) -> Option<String> {
    let text = doc.text(cell, example)?;
    if !is_guarded(text) || text.contains('?') {
        let message = "expected an https:// address without a password or a query, or http:// on this machine";
        doc.error(&cell.span(), message, format!("for example: {key} = {example}"));
        return None;
    }
    Some(text.to_owned())
}
