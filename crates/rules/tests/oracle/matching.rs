//! Which values an operator matches, from the table of operators alone.

use serde_json::Value as Json;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Is {
    Yes,
    No,
    Unclear,
}
use Is::{No, Unclear, Yes};

fn is(holds: bool) -> Is {
    if holds { Yes } else { No }
}

/// What `"{name}"` and `from` stand for
pub(crate) struct Known<'a> {
    pub(crate) parameters: &'a BTreeMap<String, Json>,
    pub(crate) returned: &'a BTreeMap<String, Vec<Json>>,
}

/// All that a path leads to; `None`: nothing is there. The flag: something on the way is of the wrong kind
pub(crate) fn reach(root: &serde_json::Map<String, Json>, path: &str) -> (Vec<Option<Json>>, bool) {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let stars = part.matches("[*]").count();
        let name = part.replace("[*]", "");
        if !name.is_empty() {
            steps.push(Some(name));
        }
        (0..stars).for_each(|_| steps.push(None));
    }
    let mut here = vec![Some(Json::Object(root.clone()))];
    let mut broken = false;
    for step in steps {
        let mut next = Vec::new();
        for value in here {
            match (&step, value) {
                (_, None) => next.push(None),
                (Some(name), Some(Json::Object(members))) => next.push(members.get(name).cloned()),
                (None, Some(Json::Array(items))) => next.extend(items.into_iter().map(Some)),
                _ => broken = true,
            }
        }
        here = next;
    }
    (here, broken)
}

/// Whether everything that a path leads to is matched: what an entry asks of an argument
pub(crate) fn all_match(
    arguments: &serde_json::Map<String, Json>,
    path: &str,
    pattern: &toml::Value,
    known: &Known<'_>,
) -> bool {
    let (values, broken) = reach(arguments, path);
    !broken && values.iter().all(|value| matches(value.as_ref(), pattern, known) == Yes)
}

/// Whether what a path leads to picks a call out: a variant, a question
pub(crate) fn picks(
    arguments: &serde_json::Map<String, Json>,
    path: &str,
    pattern: &toml::Value,
    known: &Known<'_>,
) -> Is {
    let (values, broken) = reach(arguments, path);
    let found: Vec<Is> = values.iter().map(|value| matches(value.as_ref(), pattern, known)).collect();
    match found.as_slice() {
        _ if broken => Unclear,
        [] => No,
        [first, rest @ ..] if rest.iter().all(|other| other == first) => *first,
        _ => Unclear,
    }
}

/// Several operators at once: a no is a no, whatever else is unclear
pub(crate) fn together(found: &[Is]) -> Is {
    if found.contains(&No) {
        No
    } else if found.contains(&Unclear) {
        Unclear
    } else {
        Yes
    }
}

pub(crate) fn matches(value: Option<&Json>, pattern: &toml::Value, known: &Known<'_>) -> Is {
    let toml::Value::Table(operators) = pattern else { return equals(value, pattern, known) };
    together(&operators.iter().map(|(name, operand)| operator(value, name, operand, known)).collect::<Vec<_>>())
}

fn operator(value: Option<&Json>, name: &str, operand: &toml::Value, known: &Known<'_>) -> Is {
    match name {
        "any" => return Yes,
        "absent" => return is(value.is_none()),
        _ => {}
    }
    let Some(value) = value else { return No };
    let (operand, wild) = resolve(operand, known);
    let number = |json: &Json| json.as_f64().map(hundredths);
    match name {
        "is" => equals_json(value, operand.as_ref()),
        // One of several: what stands for nothing is not among them.
        "in" => match &operand {
            Some(Json::Array(items)) => is(items.iter().any(|item| {
                let (item, _) = resolve(&to_toml(item), known);
                item.is_some_and(|item| same(value, &item))
            })),
            _ => panic!("in without a list"),
        },
        "at_most" | "at_least" => match (number(value), operand.as_ref().and_then(number)) {
            (Some(value), Some(bound)) => is(if name == "at_most" { value <= bound } else { value >= bound }),
            _ => Unclear,
        },
        "max_bytes" => {
            let bytes = value.as_str().map_or_else(|| canonical(value).len(), str::len);
            is(bytes as f64 <= operand.and_then(|operand| operand.as_f64()).unwrap())
        }
        "from" => {
            let source = operand.as_ref().and_then(Json::as_str).unwrap();
            is(known.returned.get(source).is_some_and(|values| values.iter().any(|known| same(known, value))))
        }
        _ => match (value.as_str(), operand.as_ref().and_then(Json::as_str)) {
            (Some(text), Some(operand)) => text_operator(text, name, operand, wild),
            _ => Unclear,
        },
    }
}

fn text_operator(text: &str, name: &str, operand: &str, wild: bool) -> Is {
    match name {
        "prefix" => {
            if is_plain(text) {
                is(text.starts_with(operand))
            } else {
                Unclear
            }
        }
        "glob" => {
            let (text_chars, shape): (Vec<char>, Vec<char>) = (text.chars().collect(), operand.chars().collect());
            if is_plain(text) { is(globs(&text_chars, &shape)) } else { Unclear }
        }
        "under" | "path" => match (file_path(text), file_path(operand)) {
            (Some(path), Some(base)) if name == "path" => is(path == base),
            (Some((absolute, path)), Some((base_absolute, base))) => {
                is(absolute == base_absolute && path.len() >= base.len() && path[..base.len()] == base[..])
            }
            _ => Unclear,
        },
        "email" => email(text, operand, wild),
        "url" => url(text, operand, wild),
        _ => panic!("no operator is called {name}"),
    }
}

/// The value of an operand, and whether the policy itself wrote it
fn resolve(operand: &toml::Value, known: &Known<'_>) -> (Option<Json>, bool) {
    match operand.as_str().and_then(|text| text.strip_prefix('{')?.strip_suffix('}')) {
        Some(name) => (known.parameters.get(name).cloned(), false),
        None => (Some(to_json(operand)), true),
    }
}

fn equals(value: Option<&Json>, operand: &toml::Value, known: &Known<'_>) -> Is {
    match value {
        None => No,
        Some(value) => equals_json(value, resolve(operand, known).0.as_ref()),
    }
}

fn equals_json(value: &Json, operand: Option<&Json>) -> Is {
    // A parameter without a value: nobody can tell.
    operand.map_or(Unclear, |operand| is(same(value, operand)))
}

pub(crate) fn same(left: &Json, right: &Json) -> bool {
    canonical(left) == canonical(right)
}

fn hundredths(number: f64) -> i64 {
    (number * 100.0).round() as i64
}

/// One text for each value; numbers here have at most two digits after the point
pub(crate) fn canonical(value: &Json) -> String {
    match value {
        Json::Number(number) => {
            let all = hundredths(number.as_f64().unwrap());
            let (sign, all) = if all < 0 { ("-", -all) } else { ("", all) };
            let text = format!("{sign}{}.{:02}", all / 100, all % 100);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        Json::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Json::Object(members) => {
            let sorted: BTreeMap<&String, &Json> = members.iter().collect();
            let members =
                sorted.into_iter().map(|(name, value)| format!("{}:{}", Json::from(name.as_str()), canonical(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

pub(crate) fn to_json(value: &toml::Value) -> Json {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(truth) => (*truth).into(),
        toml::Value::Array(items) => items.iter().map(to_json).collect(),
        toml::Value::Table(members) => {
            Json::Object(members.iter().map(|(name, value)| (name.clone(), to_json(value))).collect())
        }
        toml::Value::Datetime(_) => panic!("JSON knows no dates"),
    }
}

fn to_toml(value: &Json) -> toml::Value {
    match value {
        Json::String(text) => toml::Value::String(text.clone()),
        Json::Number(number) if number.is_i64() => toml::Value::Integer(number.as_i64().unwrap()),
        Json::Number(number) => toml::Value::Float(number.as_f64().unwrap()),
        Json::Bool(truth) => toml::Value::Boolean(*truth),
        other => panic!("no item of a list here: {other}"),
    }
}

/// No backslash, no control character, no segment `.` or `..`, nothing that decodes to one or to a separator
fn is_plain(text: &str) -> bool {
    let decodes = |segment: &str| {
        let lower = segment.to_lowercase();
        let dots = lower.replace("%2e", ".");
        dots == "." || dots == ".." || ["%2f", "%5c", "%00"].iter().any(|hidden| lower.contains(hidden))
    };
    !text.contains('\\') && !text.chars().any(char::is_control) && !text.split('/').any(decodes)
}

/// The segments of a path that every program takes for the same one, and whether it begins at the root
fn file_path(text: &str) -> Option<(bool, Vec<String>)> {
    if text.is_empty() || text.starts_with('~') || text.split('/').next().is_some_and(|first| first.contains(':')) {
        return None;
    }
    let segments: Vec<&str> = text.split('/').filter(|segment| !segment.is_empty() && *segment != ".").collect();
    if !is_plain(&segments.join("/")) {
        return None;
    }
    Some((text.starts_with('/'), segments.into_iter().map(str::to_owned).collect()))
}

fn globs(text: &[char], shape: &[char]) -> bool {
    match shape {
        [] => text.is_empty(),
        ['*', '*', rest @ ..] => (0..=text.len()).any(|end| globs(&text[end..], rest)),
        ['*', rest @ ..] => {
            (0..=text.len()).take_while(|end| !text[..*end].contains(&'/')).any(|end| globs(&text[end..], rest))
        }
        [first, rest @ ..] => text.first() == Some(first) && globs(&text[1..], rest),
    }
}

/// Hosts here are ASCII: labels of letters, digits and hyphens
fn host(text: &str) -> Option<String> {
    let label = |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let last_is_number = text.rsplit('.').next().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()));
    (text.split('.').all(label) && !last_is_number).then(|| text.to_lowercase())
}

fn email(text: &str, shape: &str, wild: bool) -> Is {
    let read = |text: &str| {
        let (local, domain) = text.split_once('@')?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
        let dots = local.starts_with('.') || local.ends_with('.') || local.contains("..");
        (!local.is_empty() && !dots && local.chars().all(plain)).then_some(())?;
        Some((local.to_owned(), host(domain)?))
    };
    let Some((local, domain)) = read(text) else { return Unclear };
    match shape.strip_prefix("*@").filter(|_| wild) {
        Some(rest) => match rest.strip_prefix("*.") {
            Some(parent) => {
                is(domain.strip_suffix(parent).is_some_and(|below| below.len() > 1 && below.ends_with('.')))
            }
            None => is(domain == rest.to_lowercase()),
        },
        None => read(shape).map_or(Unclear, |shape| is(shape == (local, domain))),
    }
}

/// scheme, host, port, path, query
type Address = (String, String, String, String, Option<String>);

fn address(text: &str) -> Option<Address> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "\\<>\"^`{}".contains(c);
    if text.contains(odd) || text.contains('#') {
        return None;
    }
    let (scheme, rest) = text.split_once("://")?;
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query.to_owned())),
        None => (rest, None),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
    let scheme = scheme.to_lowercase();
    let standard = if scheme == "https" { "443" } else { "80" };
    let port = if port.is_empty() { standard } else { port };
    if !port.chars().all(|c| c.is_ascii_digit()) || !is_plain(path) {
        return None;
    }
    let path = if path.is_empty() { "/" } else { path };
    Some((scheme, host(name)?, port.to_owned(), path.to_owned(), query))
}

fn url(text: &str, shape: &str, wild: bool) -> Is {
    let (shape, any_query) = match shape.strip_suffix("?*").filter(|_| wild) {
        Some(shape) => (shape.to_owned(), true),
        None => (shape.to_owned(), false),
    };
    let below = wild && shape.contains("://*.");
    let shape = if below { shape.replacen("://*.", "://", 1) } else { shape };
    let (Some(text), Some(shape)) = (address(text), address(&shape)) else { return Unclear };
    let base = shape.3.trim_end_matches('/');
    let hosts = if below {
        text.1.strip_suffix(&shape.1).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    } else {
        text.1 == shape.1
    };
    let path = text.3.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    is(text.0 == shape.0 && hosts && text.2 == shape.2 && path && (any_query || text.4 == shape.4))
}
