//! What `fuzz/` holds of the parsers, tried with changes of the corpus in the test command.

use crate::{
    corpus,
    mutation::{Random, mutated, number},
    wire,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn holds(name: &str, seeds: Vec<Vec<u8>>, begin: fn(&mut Random) -> Vec<u8>, target: fn(&[u8])) {
    for seed in &seeds {
        target(seed);
    }
    let from = number("FUZZ_FROM", 0);
    for seed in from..from + number("FUZZ_SEEDS", 3_000) {
        let mut random = Random::new(seed);
        let mut bytes = begin(&mut random);
        bytes.extend(mutated(&seeds, &mut random));
        if catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_err() {
            panic!("{name} fails with FUZZ_FROM={seed}: {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

fn nothing(_: &mut Random) -> Vec<u8> {
    Vec::new()
}

fn choice(random: &mut Random) -> Vec<u8> {
    vec![u8::try_from(random.below(256)).unwrap()]
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn json() {
    holds("scan", corpus::messages(), nothing, wire::scan);
}

#[test]
fn messages() {
    holds("message", corpus::messages(), nothing, wire::message);
}

#[test]
fn headers_before_a_body() {
    let head = |case: &serde_json::Value| {
        let pairs = case["headers"].as_array()?;
        let lines = pairs.iter().map(|pair| format!("{}:{}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()));
        Some(lines.collect::<Vec<_>>().join("\n") + "\n\n")
    };
    let with = |(case, body): (serde_json::Value, Vec<u8>)| Some([head(&case)?.into_bytes(), body].concat());
    let seeds = corpus::cases().into_iter().zip(corpus::messages()).filter_map(with).collect();
    holds("spoken", seeds, nothing, wire::spoken);
}

#[test]
fn edits() {
    holds("edit", corpus::messages(), choice, wire::edit);
}

#[test]
fn answers_in_pieces() {
    let seeds = texts(&[
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"aé\n"}],"isError":false}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"contents":[],"ttlMs":5,"cacheScope":"public","resultType":"complete"}}"#,
        r#"{ "result" : { "structuredContent" : [1, 2.50e3] , "x":{"y":[null,true]} } , "id" : 7 , "jsonrpc":"2.0" } "#,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32002,"message":"m","data":{"a":[{}]}}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
    ]);
    holds("flow", seeds, choice, wire::flow);
}

#[test]
fn streams_of_events() {
    let seeds = texts(&[
        "data: {\"a\":1}\n\n: comment\r\n\r\nid: 7\nretry: 50\ndata\ndata:x\n\n",
        "\u{feff}data: a\rdata: b\r\revent: x\ndata:  c\n\n",
        "id: a\0b\nretry: x\n:\n\n\n\ndata:\n\n",
    ]);
    holds("events", seeds, choice, wire::events);
}

#[test]
fn schemas_that_want_headers() {
    let seeds = texts(&[
        r#"{"type":"object","properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"properties":{"c":{"type":"integer","x-mcp-header":"C-c"}}}}}"#,
        r#"{"properties":{"x-mcp-header":{"type":"boolean","x-mcp-header":"B"}},"oneOf":[{"required":["a"]}],"$defs":{"d":{"type":"string"}}}"#,
    ]);
    holds("mirror", seeds, nothing, wire::mirror);
}
