//! Outside decision points: `extra/NAME.toml`, and `extra/NAME/` with what the point decides by.
//!
//! Ordinary Cedar and Rego are decided here, as pure functions of the bundle and the question, behind the port
//! [`Rules`]; points on the network become [`Point`]s, which the judgement says are to be asked. Whatever the
//! kind, a point only ever takes away.

mod cedar;
mod rego;

use crate::{
    cedar::{CedarRules, model::Model},
    document::{Cell, Document, Table},
    facts::{self, Facts},
    files::{File, Folder},
    finding::{Finding, Place},
    words::suggest,
};
use portreeve_core::{
    hash::Hash,
    names::{Name, Tool},
    outside::{Cover, Covers, Point, Said, Sends, Wire, source},
    policy::Class,
    reason::Reason,
    rules::{Named, Question, Rules},
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Every decision point of a bundle
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// Those on the network
    pub(crate) points: Vec<Arc<Point>>,
    /// Those that are decided in this process
    pub(crate) inside: Vec<Inside>,
}

/// A decision point of which everything stands in the bundle
pub(crate) struct Inside {
    name: Name,
    covers: Covers,
    decides: Box<dyn Decides>,
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A language that is decided in this process
pub(crate) trait Decides: Send + Sync {
    /// What it says: a pure function of the bundle and the question
    fn decide(&self, question: &Question<'_>, bundle: Hash) -> Said;
}

/// Puts points that are decided here beside the rules; without points, the rules alone
pub(crate) fn beside(rules: CedarRules, inside: Vec<Inside>, bundle: Hash) -> Arc<dyn Rules> {
    if inside.is_empty() { Arc::new(rules) } else { Arc::new(Beside { rules, inside, bundle }) }
}

#[derive(Debug)]
struct Beside {
    rules: CedarRules,
    inside: Vec<Inside>,
    bundle: Hash,
}

impl Beside {
    /// The points that are asked about a call
    fn asked(&self, question: &Question<'_>) -> impl Iterator<Item = &Inside> {
        self.inside.iter().filter(|point| point.covers.cover(question.tool, question.variants, question.class))
    }
}

impl Rules for Beside {
    fn judge(&self, question: &Question<'_>) -> Vec<Reason> {
        let mut reasons = self.rules.judge(question);
        reasons.extend(
            self.asked(question).filter_map(|point| point.decides.decide(question, self.bundle).reason(&point.name)),
        );
        reasons
    }

    fn hides(&self, tool: &Tool, class: Class) -> bool {
        self.rules.hides(tool, class)
    }

    fn about(&self, question: &Question<'_>) -> Vec<Named> {
        let named = |point: &Inside| Named { source: source(&point.name), ask: None, because: None };
        let mut about = self.rules.about(question);
        about.extend(self.asked(question).map(named));
        about
    }
}

/// Reads every decision point
pub(crate) fn read(files: &[File<'_>], facts: &Facts, model: &Arc<Model>, findings: &mut Vec<Finding>) -> Extra {
    let mut extra = Extra::default();
    let of = |folder: Folder| files.iter().filter(move |file| file.folder == folder);
    for (count, file) in of(Folder::Extra).enumerate() {
        if count == POINTS_MAX {
            let message = format!("a policy has at most {POINTS_MAX} decision points");
            findings.push(Finding::error(Place::file(file.path), message, "let one point decide for several"));
            break;
        }
        let own: Vec<&File<'_>> = of(Folder::ExtraFiles).filter(|inner| inner.name == file.name).collect();
        let mut found = Vec::new();
        let read = crate::bundle::document(file, findings, |doc, table| {
            point(doc, table, file, &own, (facts, model), &mut found)
        });
        findings.append(&mut found);
        match read {
            Some(Read::Point(point)) => extra.points.push(Arc::new(point)),
            Some(Read::Inside(inside)) => extra.inside.push(inside),
            None => {}
        }
    }
    let known: BTreeMap<&Name, ()> = of(Folder::Extra).map(|file| (&file.name, ())).collect();
    for file in of(Folder::ExtraFiles).filter(|file| !known.contains_key(&file.name)) {
        let message = format!("nothing says what kind of decision point `{}` is", file.name);
        let remedy = format!("add `extra/{}.toml`, for example: kind = \"rego\"", file.name);
        findings.push(Finding::error(Place::file(file.path), message, remedy));
    }
    extra
}

enum Read {
    Point(Point),
    Inside(Inside),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rego,
    Cedar,
    Opa,
    Authzen,
}

const KINDS: [(&str, Kind); 4] =
    [("rego", Kind::Rego), ("cedar", Kind::Cedar), ("opa", Kind::Opa), ("authzen", Kind::Authzen)];

fn point(
    doc: &Document<'_>,
    mut table: Table<'_, '_>,
    file: &File<'_>,
    own: &[&File<'_>],
    (facts, model): (&Facts, &Arc<Model>),
    found: &mut Vec<Finding>,
) -> Option<Read> {
    facts::same_name(&mut table, doc, file);
    if let Some(about) = table.take("about") {
        doc.line(about, "about = \"The payment team's limits\"");
    }
    let kind = table.need("kind", "\"rego\"").and_then(|cell| doc.word(cell, &KINDS));
    let covers = table.take("use").map_or(Some(Covers::All), |cell| covers(doc, cell, facts));
    let read = match kind {
        Some(Kind::Opa) => network(doc, &mut table, file, Wire::Opa).map(Read::Point),
        Some(Kind::Authzen) => network(doc, &mut table, file, Wire::Authzen).map(Read::Point),
        Some(Kind::Rego) => {
            let query = table.need("query", "\"data.portreeve.allow\"").and_then(|cell| query(doc, cell));
            query.and_then(|query| rego::Rego::read(file, own, &query, found)).map(|rego| inside(file, Box::new(rego)))
        }
        Some(Kind::Cedar) => cedar::Cedar::read(file, own, model, found).map(|cedar| inside(file, Box::new(cedar))),
        None => return None,
    };
    if matches!(kind, Some(Kind::Opa | Kind::Authzen)) {
        for file in own {
            let remedy = "what it decides by is its own; take the file out";
            found.push(Finding::error(Place::file(file.path), "this point is asked over the network", remedy));
        }
    }
    table.finish();
    let covers = covers?;
    Some(match read? {
        Read::Point(point) => Read::Point(Point { covers, ..point }),
        Read::Inside(inside) => Read::Inside(Inside { covers, ..inside }),
    })
}

fn inside(file: &File<'_>, decides: Box<dyn Decides>) -> Read {
    Read::Inside(Inside { name: file.name.clone(), covers: Covers::All, decides })
}

fn network(doc: &Document<'_>, table: &mut Table<'_, '_>, file: &File<'_>, wire: Wire) -> Option<Point> {
    const SENDS: [(&str, Sends); 2] = [("digests", Sends::Digests), ("arguments", Sends::Arguments)];
    let example = match wire {
        Wire::Opa => "\"http://127.0.0.1:8181/v1/data/portreeve/allow\"",
        Wire::Authzen => "\"https://pdp.example.com/access/v1/evaluation\"",
    };
    let url = table.need("url", example).and_then(|cell| address(doc, cell, wire, example));
    let timeout_ms = table
        .take("timeout")
        .map_or(Some(TIMEOUT_MS), |cell| doc.duration(cell, TIMEOUT_MS_MAX, "timeout = \"300ms\""));
    let reuse_ms = table.take("reuse").map_or(Some(0), |cell| match doc.text(cell, "reuse = \"10s\"") {
        Some("0" | "0s") => Some(0),
        Some(_) => doc.duration(cell, REUSE_MS_MAX, "reuse = \"10s\""),
        None => None,
    });
    let sends = table.take("sends").map_or(Some(Sends::Digests), |cell| doc.word(cell, &SENDS));
    Some(Point {
        name: file.name.clone(),
        wire,
        url: url?,
        timeout_ms: timeout_ms?,
        reuse_ms: reuse_ms?,
        sends: sends?,
        covers: Covers::All,
    })
}

fn address(doc: &Document<'_>, cell: &Cell<'_>, wire: Wire, example: &str) -> Option<String> {
    let text = doc.text(cell, example)?;
    let wrong = |message: &str, remedy: String| {
        doc.error(&cell.span(), message, remedy);
        None
    };
    let secure = text.strip_prefix("https://");
    let rest = secure.or_else(|| text.strip_prefix("http://"));
    let Some((host, path)) = rest.map(|rest| rest.split_once('/').unwrap_or((rest, ""))) else {
        return wrong("expected an https:// or http:// address", format!("for example: {example}"));
    };
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['#', '?', '\\']);
    if host.is_empty() || host.contains('@') || !plain {
        let message = "expected an address without user, password, query and fragment";
        return wrong(message, format!("for example: {example}"));
    }
    match wire {
        Wire::Opa if path.strip_prefix("v1/data/").is_none_or(str::is_empty) => {
            return wrong("the Data API of OPA is below `/v1/data/`", format!("for example: {example}"));
        }
        Wire::Authzen if path.is_empty() => {
            return wrong("this is no evaluation endpoint", format!("for example: {example}"));
        }
        Wire::Opa | Wire::Authzen => {}
    }
    let name = if host.starts_with('[') { host.split_inclusive(']').next() } else { host.split(':').next() };
    if secure.is_none() && !name.is_some_and(is_loopback) {
        let message = "whoever is on the way to this point can read the questions and answer them";
        doc.warn(&cell.span(), message, "use https, or a point on this machine");
    }
    Some(text.to_owned())
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The path of a rule, such as `data.portreeve.allow`
fn query(doc: &Document<'_>, cell: &Cell<'_>) -> Option<String> {
    const EXAMPLE: &str = "query = \"data.portreeve.allow\"";
    let text = doc.text(cell, EXAMPLE)?;
    let word = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && part.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
    };
    let mut parts = text.split('.');
    let good = parts.next() == Some("data") && parts.clone().count() >= 2 && parts.all(word);
    if !good {
        doc.error(&cell.span(), "expected the path of a rule", format!("for example: {EXAMPLE}"));
    }
    good.then(|| text.to_owned())
}

fn covers(doc: &Document<'_>, cell: &Cell<'_>, facts: &Facts) -> Option<Covers> {
    const EXAMPLE: &str = "use = [\"shop.refund\", \"github:issues\", \"class:write\", \"connector:mail\"]";
    let items = doc.array(cell, EXAMPLE)?;
    if items.is_empty() {
        doc.error(&cell.span(), "this point would never be asked", "leave `use` out, and it is asked about every call");
        return None;
    }
    let covers: Vec<_> = items.iter().map(|item| cover(doc, item, facts, EXAMPLE)).collect();
    let covers = covers.into_iter().collect::<Option<Vec<Vec<Cover>>>>()?;
    Some(Covers::Some(covers.into_iter().flatten().collect()))
}

fn cover(doc: &Document<'_>, cell: &Cell<'_>, facts: &Facts, example: &str) -> Option<Vec<Cover>> {
    let text = doc.text(cell, example)?;
    if let Some(class) = text.strip_prefix("class:") {
        let found = facts::CLASSES.iter().find(|(name, _)| *name == class);
        if found.is_none() {
            let near = suggest(class, facts::CLASSES.iter().map(|(name, _)| *name));
            doc.error(&cell.span(), format!("no class is called {class:?}"), near);
        }
        return found.map(|(_, class)| vec![Cover::Class(*class)]);
    }
    if let Some(connector) = text.strip_prefix("connector:") {
        let found = facts.connectors.keys().find(|name| name.as_str() == connector);
        if found.is_none() {
            let near = suggest(connector, facts.connectors.keys().map(Name::as_str));
            doc.error(&cell.span(), format!("no connector is called {connector:?}"), near);
        }
        return found.cloned().map(|name| vec![Cover::Connector(name)]);
    }
    facts.usages(doc, cell).map(|usages| usages.into_iter().map(Cover::Usage).collect())
}

/// Decision points in one policy
const POINTS_MAX: usize = 16;
/// How long a point has for an answer if nothing is said
const TIMEOUT_MS: i64 = 300;
const TIMEOUT_MS_MAX: i64 = 5_000;
const REUSE_MS_MAX: i64 = 60_000;

#[cfg(test)]
mod tests;
