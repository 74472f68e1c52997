//! What holds of every parser of the wire, whatever bytes it is given
//!
//! Used by the targets here, and by `crates/mcp/tests/wire`, which tries them in the test command.
#![allow(dead_code, reason = "every target uses one of them")]

use http::{HeaderMap, HeaderName, HeaderValue};
use portreeve_core::{
    hash::Hash,
    json::{Json, Kind, Limits, scan as read, scan_distinct},
};
use portreeve_mcp::{
    asked::{self, Spoken},
    can::Can,
    edit::Edit,
    flow::{Flow, Flowed},
    header,
    message::{Message, Shape},
    method::Method,
    mirror::mirrored,
    outcome::{Outcome, outcome},
    outgoing,
    params::{Completion, ListenFilter, TaskUse, Use},
    sse::Reader,
    translate::{self, ToClient},
    version::{Era, Version},
};
use serde_json::Value;

const LIMITS: Limits = Limits { bytes_max: 1 << 20, ..Limits::DEFAULT };

/// What is taken for JSON is JSON, and each part of it stands where it says
pub(crate) fn scan(bytes: &[u8]) {
    let strict = read(bytes, &LIMITS);
    let distinct = scan_distinct(bytes, &LIMITS);
    if strict.is_ok() {
        assert!(distinct.is_ok(), "the strict reading takes what the other one refuses");
    }
    let Ok(json) = distinct else { return };
    places(bytes, &json);
    // Numbers beyond a double are no JSON to this reader, and unpaired surrogates neither.
    if let Ok(value) = serde_json::from_slice::<Value>(bytes) {
        same(&json, &value);
    }
}

fn places(bytes: &[u8], json: &Json<'_>) {
    assert_eq!(bytes.get(json.span()), Some(json.raw().as_bytes()));
    match json.kind() {
        Kind::Array(items) => items.iter().for_each(|item| places(bytes, item)),
        Kind::Object(members) => {
            for member in members {
                assert_eq!(bytes.get(member.key_offset()), Some(&b'"'));
                assert!(member.key_offset() < member.value.span().start);
                places(bytes, &member.value);
            }
        }
        _ => {}
    }
}

fn same(json: &Json<'_>, value: &Value) {
    match (json.kind(), value) {
        (Kind::Null, Value::Null) | (Kind::Number(_), Value::Number(_)) => {}
        (Kind::Bool(one), Value::Bool(two)) => assert_eq!(one, two),
        (Kind::String(one), Value::String(two)) => assert_eq!(one, two),
        (Kind::Array(one), Value::Array(two)) => {
            assert_eq!(one.len(), two.len());
            one.iter().zip(two).for_each(|(one, two)| same(one, two));
        }
        (Kind::Object(one), Value::Object(two)) => {
            assert_eq!(one.len(), two.len());
            one.iter().for_each(|member| same(&member.value, &two[&*member.key]));
        }
        (one, two) => panic!("{one:?} is not {two:?}"),
    }
}

/// A message that is taken has one id, one method and one set of parameters
pub(crate) fn message(bytes: &[u8]) {
    if let Ok(answer) = Message::read_answer(bytes, &LIMITS) {
        for from in [Version::July2026, Version::November2025] {
            for method in Method::ALL {
                drop(outcome(&answer, from, method, Can::ALL));
            }
        }
    }
    let Ok(message) = Message::read(bytes, &LIMITS) else { return };
    let members = message.root().as_object().unwrap_or_default();
    for member in members {
        let twins = members.iter().filter(|twin| twin.key.eq_ignore_ascii_case(&member.key)).count();
        assert_eq!(twins, 1, "two members that some reader takes for one");
    }
    if let Shape::Request { id, method } = message.shape() {
        assert_eq!(message.root().get("id").map(Json::raw), Some(id.raw()));
        let params = message.params();
        if let Some(method) = Method::read(method) {
            if let Ok(used) = Use::read(method, params) {
                let key = if method == Method::ReadResource { "uri" } else { "name" };
                assert_eq!(params.and_then(|params| params.get(key)).and_then(Json::as_str), Some(used.name));
            }
            drop((Completion::read(params), ListenFilter::read(params), TaskUse::read(method, params)));
        }
        // As the gateway does: what is refused for its parameters is never sent.
        let taken = |headers: HeaderMap| asked::spoken(&headers, &message).is_ok();
        let modern = outgoing::headers(&message, Version::July2026, &[]).into_iter().collect();
        if !taken(modern) && !taken(HeaderMap::new()) {
            return;
        }
        for from in [Version::July2026, Version::November2025] {
            for version in [Version::July2026, Version::November2025] {
                let to = translate::ToConnector {
                    id: 7,
                    version,
                    from,
                    can: Can::FORM,
                    name: None,
                    state: None,
                    trace: Some("t"),
                    log_level: None,
                };
                let sent = translate::request(bytes, &message, &to);
                let sent = Message::read(&sent, &LIMITS).map(|sent| {
                    sent.shape().clone()
                        == Shape::Request {
                            id: match sent.shape() {
                                Shape::Request { id, .. } => id.clone(),
                                _ => return false,
                            },
                            method: method.clone(),
                        }
                });
                assert_eq!(sent, Ok(true), "what is sent is no request of the same method");
            }
        }
    }
}

/// Headers up to an empty line, then a body
pub(crate) fn spoken(bytes: &[u8]) {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(0);
    let (head, body) = bytes.split_at(end);
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let Ok(message) = Message::read(body, &LIMITS) else { return };
    let Ok(Spoken::Modern(modern)) = asked::spoken(&headers, &message) else { return };
    assert_eq!(modern.version.era(), Era::Modern);
    let Shape::Request { method, .. } = message.shape() else { return };
    let only = |name: &str| {
        let mut all = headers.get_all(name).iter();
        let first = all.next().and_then(header::plain);
        assert!(all.next().is_none(), "{name} stands twice");
        first
    };
    assert_eq!(only(header::VERSION), Some(modern.version.as_str()));
    assert_eq!(only(header::METHOD), Some(method.as_str()));
    if let Some(key) = Method::read(method).and_then(Method::named_by) {
        let name = message.params().and_then(|params| params.get(key)).and_then(Json::as_str);
        assert_eq!(headers.get(header::NAME).and_then(header::decode).as_deref(), name);
    }
    let made: HeaderMap = outgoing::headers(&message, modern.version, &[]).into_iter().collect();
    assert!(asked::spoken(&made, &message).is_ok(), "we would not take what we send");
}

/// The first bytes choose edits, the rest is the message
pub(crate) fn edit(bytes: &[u8]) {
    const PATHS: [&[&str]; 6] = [
        &["id"],
        &["params", "_meta", "progressToken"],
        &["params", "name"],
        &["params"],
        &["result", "resultType"],
        &["params", "arguments", "a", "b"],
    ];
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let Ok(message) = Message::read_answer(bytes, &LIMITS) else { return };
    let plain = Edit::new(bytes, &message).done();
    assert_eq!(plain, bytes, "no edit changed something");
    let mut edit = Edit::new(bytes, &message);
    let mut wanted = Vec::new();
    for (index, path) in PATHS.iter().enumerate().filter(|(index, _)| choice & (1 << index) != 0) {
        // Of two edits, one within the other, the later one wins.
        wanted.retain(|(other, _): &(&[&str], bool)| !path.starts_with(other) && !other.starts_with(path));
        let set = (choice >> 6) as usize % 2 == index % 2;
        if set {
            edit.set(path, "[7]")
        } else {
            edit.remove(path)
        }
        wanted.push((path, set));
    }
    let done = edit.done();
    let Ok(read) = scan_distinct(&done, &LIMITS) else {
        panic!("edits made {:?} of {:?}", String::from_utf8_lossy(&done), String::from_utf8_lossy(bytes))
    };
    for (path, set) in wanted {
        let found = path.iter().try_fold(&read, |json, key| json.get(key)).map(Json::raw);
        if set {
            assert_eq!(found, Some("[7]"));
        } else {
            assert_eq!(found, None);
        }
    }
}

/// The first byte chooses the ends and the pieces, the rest is the answer
pub(crate) fn flow(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let version = |bit: u8| if choice & bit == 0 { Version::July2026 } else { Version::November2025 };
    let method = if choice & 4 == 0 { Method::CallTool } else { Method::ReadResource };
    let to = ToClient { id: "1", from: version(1), version: version(2), method, state: None, ttl_ms_max: 9 };
    let pieces = || -> Option<(Vec<u8>, Flowed)> {
        let (mut flow, mut out) = (Flow::new(7, &to, LIMITS), Vec::new());
        for piece in bytes.chunks(usize::from(choice >> 3) + 1) {
            flow.push(piece, &mut out).ok()?;
        }
        assert!(scan_distinct(&out, &LIMITS).is_err(), "it was whole before its end");
        let flowed = flow.finish(&mut out).ok()?;
        Some((out, flowed))
    };
    let whole = || -> Option<(Vec<u8>, Flowed)> {
        let message = Message::read_answer(bytes, &LIMITS).ok()?;
        let Shape::Response { id: Some(id), .. } = message.shape() else { return None };
        id.raw().parse::<u64>().ok().filter(|id| *id == 7)?;
        let content = message.result().or(message.error())?;
        content.as_object()?;
        let (failed, error) = match outcome(&message, to.from, method, Can::ALL).ok()? {
            Outcome::Complete { failed } => (failed, false),
            Outcome::Error { .. } => (true, true),
            Outcome::Asks { .. } | Outcome::Task { .. } => return None,
        };
        let raw = content.raw().as_bytes();
        let flowed = Flowed { failed, error, bytes: raw.len() as u64, digest: Hash::of(raw) };
        Some((translate::answer(bytes, &message, &to), flowed))
    };
    // A value that has to be known whole may be longer than a flow remembers; then it only breaks.
    let (pieces, whole) = (pieces(), whole());
    if pieces.is_some() || bytes.len() < 1_000 {
        assert_eq!(pieces, whole, "{}", String::from_utf8_lossy(bytes));
    }
}

/// The first byte chooses the pieces, the rest is the stream
pub(crate) fn events(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let read = |size: usize| {
        let (mut reader, mut events) = (Reader::new(200), Vec::new());
        for piece in bytes.chunks(size) {
            events.extend(reader.push(piece).ok()?);
        }
        Some((events, reader.id().map(str::to_owned), reader.retry_ms()))
    };
    let (one, two) = (read(usize::from(*choice) + 1), read(bytes.len().max(1)));
    assert_eq!(one, two, "where the stream is cut matters");
    assert!(one.is_none_or(|(events, ..)| events.iter().all(|event| event.len() <= 200)));
}

/// The headers of a schema are headers, each once
pub(crate) fn mirror(bytes: &[u8]) {
    let Ok(schema) = scan_distinct(bytes, &LIMITS) else { return };
    let Ok(all) = mirrored(&schema) else { return };
    let mut names = std::collections::BTreeSet::new();
    for one in all {
        assert!(HeaderName::from_bytes(one.name().as_bytes()).is_ok());
        assert!(names.insert(one.name()), "a header stands twice");
        let there = one.path.iter().try_fold(&schema, |schema, key| schema.get("properties")?.get(key));
        let annotation = there.and_then(|there| there.get("x-mcp-header")).and_then(Json::as_str);
        assert_eq!(annotation, Some(one.header.as_str()));
    }
}
