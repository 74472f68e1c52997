//! What is read here in a message that is taken is what Go, Node, Python and `serde_json` read in it.
//!
//! A reader may refuse what is taken here: then nothing happens. It must never read another method, name or arguments.
//! Numbers are compared as doubles, since that is what most readers make of them.

use crate::{
    corpus,
    mutation::{Random, mutated, number},
};
use portreeve_core::{
    json::{Json, Limits, scan_distinct},
    value::Value as Exact,
};
use portreeve_mcp::{
    asked::spoken,
    message::{Message, Shape},
    method::Method,
    params::Use,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    fs::OpenOptions,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

/// What is read here; `None` if it is refused
fn ours(bytes: &[u8]) -> Option<Value> {
    let message = Message::read(bytes, &Limits::DEFAULT).ok()?;
    spoken(&http::HeaderMap::new(), &message).ok()?;
    let (Shape::Request { method, .. } | Shape::Notification { method }) = message.shape() else { return None };
    let known = Method::read(method);
    let mut read = json!({ "method": method });
    if let Some(known) = known.filter(|method| method.may_ask()) {
        let used = Use::read(known, message.params()).ok()?;
        read[if known == Method::ReadResource { "uri" } else { "name" }] = used.name.into();
        if known != Method::ReadResource {
            read["arguments"] = match used.arguments.map(Json::to_value) {
                None => Value::Null,
                Some(arguments) => plain(&arguments.ok()?),
            };
        }
    }
    Some(read)
}

/// With every number as the nearest double
fn plain(value: &Exact) -> Value {
    match value {
        Exact::Null => Value::Null,
        Exact::Bool(truth) => (*truth).into(),
        Exact::Number(number) => number.to_f64().into(),
        Exact::String(text) => text.as_str().into(),
        Exact::Array(items) => items.iter().map(plain).collect(),
        Exact::Object(members) => {
            members.iter().map(|(key, value)| (key.clone(), plain(value))).collect::<serde_json::Map<_, _>>().into()
        }
    }
}

/// The messages that are taken here, with what is read in them
fn taken() -> Vec<(Vec<u8>, Value)> {
    let mut seeds = corpus::messages();
    // Most changes of a hostile message are refused as well; what is good already has to stay good often enough.
    let good: Vec<_> = seeds.iter().filter(|bytes| ours(bytes).is_some()).cloned().collect();
    (0..20).for_each(|_| seeds.extend(good.iter().cloned()));
    let from = number("FUZZ_FROM", 0);
    let count = number("FUZZ_SEEDS", 8_000);
    let changed = (from..from + count).map(|seed| mutated(&seeds, &mut Random::new(seed)));
    let taken: Vec<_> =
        seeds.iter().cloned().chain(changed).filter_map(|bytes| ours(&bytes).map(|read| (bytes, read))).collect();
    assert!(taken.len() as u64 > count / 10, "only {} of {count} are messages: this would test nothing", taken.len());
    taken
}

/// Fails if a reader reads something else than was read here; `told` has one line of JSON for each message
fn compare((reader, inexact): (&str, f64), taken: &[(Vec<u8>, Value)], told: &str) {
    let (mut refused, mut wrong, lines) = (0, Vec::new(), told.lines().collect::<Vec<_>>());
    assert_eq!(lines.len(), taken.len(), "{reader} answered as often as it was asked");
    for ((bytes, expected), line) in taken.iter().zip(lines) {
        let read = scan_distinct(line.as_bytes(), &Limits::DEFAULT).unwrap();
        if read.get("ok").and_then(Json::as_bool) != Some(true) {
            refused += 1;
            continue;
        }
        for (key, value) in expected.as_object().unwrap() {
            let read = read.get(key).map_or(Value::Null, |read| plain(&read.to_value().unwrap()));
            if !same(&read, value, inexact) {
                let text = String::from_utf8_lossy(bytes);
                wrong.push(format!("{key} of {text:?}: {reader} reads {read:?}, we {value:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(refused * 10 < taken.len(), "{reader} refuses {refused} of {}", taken.len());
}

/// Equal, where numbers may differ by this part of themselves
fn same(one: &Value, two: &Value, inexact: f64) -> bool {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => {
            let (one, two) = (one.as_f64().unwrap(), two.as_f64().unwrap());
            (one - two).abs() <= two.abs() * inexact
        }
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| same(one, two, inexact))
        }
        (Value::Object(one), Value::Object(two)) => {
            let found = |(key, value): (&String, &Value)| two.get(key).is_some_and(|two| same(value, two, inexact));
            one.len() == two.len() && one.iter().all(found)
        }
        _ => one == two,
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/readers")
}

/// Runs a reader over the messages; `None` if it is not on this machine
fn run(program: &Path, arguments: &[&str], taken: &[(Vec<u8>, Value)]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let mut input = child.stdin.take().unwrap();
    let lines: Vec<String> = taken.iter().map(|(bytes, _)| hex(bytes)).collect();
    let writing = thread::spawn(move || lines.iter().try_for_each(|line| writeln!(input, "{line}")));
    let mut told = String::new();
    child.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    writing.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
    Some(told)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Says where the test command looks that this test left itself out
fn skip(test: &str, why: &str) {
    eprintln!("skipped: {test}: {why}");
    if let Some(folder) = std::env::var_os("PORTREEVE_INTEROP") {
        let list = OpenOptions::new().append(true).create(true).open(PathBuf::from(folder).join("skipped"));
        writeln!(list.unwrap(), "readers::{test}: {why}").unwrap();
    }
}

#[test]
fn node_reads_the_same() {
    let taken = taken();
    match run(Path::new("node"), &["reader.mjs"], &taken) {
        Some(told) => compare(("Node", 0.0), &taken, &told),
        None => skip("node_reads_the_same", "there is no node"),
    }
}

#[test]
fn python_reads_the_same() {
    let taken = taken();
    match run(Path::new("python3"), &["reader.py"], &taken) {
        Some(told) => compare(("Python", 0.0), &taken, &told),
        None => skip("python_reads_the_same", "there is no python3"),
    }
}

#[test]
fn go_reads_the_same() {
    let taken = taken();
    let out = tempfile::tempdir().unwrap();
    let program = out.path().join("reader");
    let built = Command::new("go").args(["build", "-o"]).arg(&program).arg("reader.go").current_dir(folder()).status();
    match built {
        Ok(status) => {
            assert!(status.success(), "reader.go does not build");
            compare(("Go", 0.0), &taken, &run(&program, &[], &taken).unwrap());
        }
        Err(_) => skip("go_reads_the_same", "there is no go"),
    }
}

#[derive(Deserialize)]
struct Envelope {
    method: Option<Value>,
    params: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    name: Option<Value>,
    uri: Option<Value>,
    arguments: Option<Value>,
}

#[test]
fn serde_json_reads_the_same() {
    let taken = taken();
    let read = |bytes: &[u8]| {
        let Ok(Envelope { method, params }) = serde_json::from_slice(bytes) else { return json!({ "ok": false }) };
        let (name, uri, arguments) = params.map_or((None, None, None), |read| (read.name, read.uri, read.arguments));
        json!({ "ok": true, "method": method, "name": name, "uri": uri, "arguments": arguments })
    };
    let told: Vec<String> = taken.iter().map(|(bytes, _)| read(bytes).to_string()).collect();
    // It reads some numbers as the double next to the nearest one.
    compare(("serde_json", 1e-15), &taken, &told.join("\n"));
}
