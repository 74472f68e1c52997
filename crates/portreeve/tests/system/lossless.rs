//! What passes through Portreeve arrives as it was sent, byte for byte, but for what it has to exchange.

use crate::interop::interop;
use crate::support::{
    fixture::{self, Fixture},
    http::{Response, exchange, request},
    place::Place,
    upstream::Upstream,
};
use serde_json::{Value, json, value::RawValue};
use std::{collections::BTreeMap, net::TcpStream};

/// A message of a client in spellings that a careful reader would lose; `ID` is what is exchanged
const ASKED: &str = r#"{ "params" : {"arguments":{"value":"\u0061b/\/c","list":[1.0, 1e2 ,1E+2,-0.0,9007199254740993,0.10],"z":{},"a":null},"unknown":[{"b":1,"a":2}],
  "name":"act","_meta":{"dev.example/z":1.50,"dev.example/a":"é\u00e9 😀\ud83d\ude00"}},"method":"tools/call","jsonrpc":"2.0", "extra" : {"x":1e-7},"id":ID}"#;

/// Answers of a server, likewise
const ANSWERED: &[&str] = &[
    r#"{"result" : {"content":[ {"text":"\u0061 \/ 😀","type":"text","annotations":{"priority":0.50,"unknown":1E+2},"_meta":{"n":1.0}} ],"structuredContent":{"z":1e400,"a":[1.0,-0.0,123456789012345678901234567890]},"_meta":{"b":1,"a":2},"unknown":null},  "id":ID,"jsonrpc":"2.0","more":[]}"#,
    r#"{"jsonrpc":"2.0","result":{"content":[{"type":"of another time","data":{"deep":[[[1.0]]]}},{"type":"resource_link","uri":"test://a","size":1e3}],"isError":true},"id":ID}"#,
    r#"{"error":{"data":{"n":1.00,"e":"\u00e9"},"message":"it \u0062roke","code":-31999,"unknown":1},"jsonrpc":"2.0","id":ID}"#,
];

#[test]
fn calls_and_answers_keep_their_spelling() {
    for answer in ANSWERED {
        let upstream = Upstream::http(&["act"], move |received, wire| {
            let is_call = received.method == "tools/call";
            if is_call {
                wire.message(answer.replace("ID", &wire.id).as_bytes());
            }
            is_call
        });
        let place = Place::with(&[("shop", &upstream)], "", "");
        let any = place.read("policy/purposes/work.toml");
        let any = any.replace(
            "{ value = { any = true } }",
            "{ value = { any = true }, list = { any = true }, z = { any = true }, a = { any = true } }",
        );
        place.write("policy/purposes/work.toml", &any);
        let serve = place.serve(&["shop"]);
        let task = serve.open("work");
        let response = task.post("shop", ASKED.replace("ID", r#""\u0061-1""#).as_bytes());
        let [arrived] = &upstream.calls()[..] else { panic!("{response:?}") };
        let id = serde_json::from_slice::<Value>(&arrived.message).unwrap()["id"].to_string();
        assert_eq!(String::from_utf8_lossy(&arrived.message), ASKED.replace("ID", &id), "what the server got");
        assert_eq!(response.messages(), [answer.replace("ID", r#""\u0061-1""#)], "what the client got");
    }
}

/// Requests about everything that the fixture has and answers alike each time
fn requests() -> Vec<(&'static str, Value)> {
    let call = |name: &str, arguments: Value| ("tools/call", json!({ "name": name, "arguments": arguments }));
    let prompt = |name: &str, arguments: Value| ("prompts/get", json!({ "name": name, "arguments": arguments }));
    let read = |uri: &str| ("resources/read", json!({ "uri": uri }));
    let schema = json!({ "name": "n", "address": { "city": "c" }, "email": "e" });
    vec![
        ("tools/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        call("test_simple_text", json!({})),
        call("test_image_content", json!({})),
        call("test_audio_content", json!({})),
        call("test_embedded_resource", json!({})),
        call("test_multiple_content_types", json!({})),
        call("test_error_handling", json!({})),
        call("test_odd_spellings", json!({})),
        call("json_schema_2020_12_tool", schema),
        call("greet", json!({ "name": "Ada" })),
        prompt("test_simple_prompt", json!({})),
        prompt("test_prompt_with_arguments", json!({ "arg1": "a", "arg2": "b" })),
        prompt("test_prompt_with_embedded_resource", json!({ "resourceUri": "test://a" })),
        prompt("test_prompt_with_image", json!({})),
        read("test://static-text"),
        read("test://static-binary"),
        read("test://template/7/data"),
        read("test://nothing"),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": "test_prompt_with_arguments" }, "argument": { "name": "arg1", "value": "par" } }),
        ),
    ]
}

/// Somebody who speaks to a server, or to Portreeve in front of it
struct Speaker {
    address: String,
    path: String,
    headers: Vec<(String, String)>,
    modern: bool,
}

impl Speaker {
    fn new(url: &str, token: Option<&str>, modern: bool) -> Self {
        let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut headers = vec![
            ("host".to_owned(), address.to_owned()),
            ("content-type".to_owned(), "application/json".to_owned()),
            ("accept".to_owned(), "application/json, text/event-stream".to_owned()),
        ];
        headers.extend(token.map(|token| ("authorization".to_owned(), format!("Bearer {token}"))));
        let mut speaker = Self { address: address.to_owned(), path: format!("/{path}"), headers, modern };
        let version = if modern { "2026-07-28" } else { "2025-11-25" };
        if modern {
            speaker.headers.push(("mcp-protocol-version".to_owned(), version.to_owned()));
            return speaker;
        }
        let hello =
            json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        let answer = speaker.ask("initialize", &hello);
        speaker.headers.push(("mcp-protocol-version".to_owned(), version.to_owned()));
        speaker.headers.extend(answer.header("mcp-session-id").map(|id| ("mcp-session-id".to_owned(), id.to_owned())));
        speaker.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }), &[]);
        speaker
    }

    fn ask(&self, method: &str, params: &Value) -> Response {
        let mut params = params.clone();
        let mut headers = Vec::new();
        if self.modern {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            });
            headers.push(("mcp-method", method));
            let name = params.get("name").or_else(|| params.get("uri")).and_then(Value::as_str);
            headers.extend(name.map(|name| ("mcp-name", name)));
        }
        let message = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        self.post(&message, &headers)
    }

    fn post(&self, message: &Value, more: &[(&str, &str)]) -> Response {
        let mut headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        headers.extend(more);
        let bytes = request("POST", &self.path, &headers, message.to_string().as_bytes());
        exchange(TcpStream::connect(&self.address).unwrap(), &bytes)
    }
}

type Members<'m> = BTreeMap<&'m str, &'m RawValue>;

fn whole(members: &Members<'_>) -> BTreeMap<String, String> {
    members.iter().map(|(name, raw)| ((*name).to_owned(), raw.get().to_owned())).collect()
}

/// A message; the items of a list apart, because Portreeve shows them in its own order
fn comparable(message: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let envelope: Members<'_> = serde_json::from_str(message).unwrap_or_else(|_| panic!("{message}"));
    let Some(result) = envelope.get("result") else { return (whole(&envelope), Vec::new()) };
    let mut result: Members<'_> = serde_json::from_str(result.get()).unwrap();
    let lists = ["tools", "prompts", "resources", "resourceTemplates"];
    let list = lists.iter().find_map(|name| result.remove(name));
    let Some(list) = list else { return (BTreeMap::from([(String::new(), message.to_owned())]), Vec::new()) };
    // Portreeve answers lists out of what was accepted, and signs them.
    result.remove("_meta");
    let items: Vec<&RawValue> = serde_json::from_str(list.get()).unwrap();
    let mut items: Vec<String> = items.into_iter().map(|item| item.get().to_owned()).collect();
    items.sort();
    (whole(&result), items)
}

#[test]
fn every_answer_of_the_fixture_is_the_one_that_it_gives_directly() {
    let test = "every_answer_of_the_fixture_is_the_one_that_it_gives_directly";
    let Some(interop) = interop(test, &[fixture::NEEDS]) else { return };
    for era in ["legacy", "modern"] {
        let place = Place::new();
        let fixture = Fixture::start(&interop, era, &place);
        let serve = place.serve(&[]);
        let task = fixture::open(&place, &serve, "fix", &fixture.url);
        let directly = Speaker::new(&fixture.url, None, era == "modern");
        let url = format!("http://{}/mcp/fix", serve.address);
        let through = Speaker::new(&url, Some(&task.token), era == "modern");
        for (method, params) in requests() {
            let [direct, passed] = [&directly, &through].map(|speaker| speaker.ask(method, &params));
            let what = format!("{era} {method} {params}");
            let [direct, passed] =
                [direct, passed].map(|answer| answer.messages().iter().map(|one| comparable(one)).collect::<Vec<_>>());
            assert_eq!(direct, passed, "{what}");
        }
    }
}
