//! What agents and anybody else may send to `/mcp/<connector>`, and what they get for it.

use crate::support::{
    http::{Response, exchange, request},
    place::{Place, Serve, Task, word},
    upstream::{Received, Upstream, Wire, tool},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portreeve_identity::key::SigningKey;
use serde_json::{Value, json};
use std::{fs, net::TcpStream};

/// Two connectors, of which a task under `work` may use the first
struct House {
    serve: Serve,
    task: Task,
    place: Place,
    shop: Upstream,
    mail: Upstream,
}

impl House {
    fn new() -> Self {
        let good = |_: &Received, _: &mut Wire| false;
        let (shop, mail) = (Upstream::http(&["act", "other"], good), Upstream::http(&["send"], good));
        let place = Place::with(&[("shop", &shop)], "", "");
        place.connector("mail", &mail, "");
        place.purpose("post", &[("mail", &mail)], "", "");
        // What the purpose does not name is hidden from its tasks.
        let purpose = place.read("policy/purposes/work.toml");
        let (kept, _) = purpose.split_once("\n[[allow]]\nname = \"shop-other\"").unwrap();
        place.write("policy/purposes/work.toml", kept);
        let serve = place.serve(&["shop", "mail"]);
        let task = serve.open("work");
        Self { serve, task, place, shop, mail }
    }

    /// What a well-behaved client sends along
    fn headers(&self) -> Vec<(&'static str, String)> {
        vec![
            ("host", self.serve.address.to_string()),
            ("authorization", format!("Bearer {}", self.task.token)),
            ("content-type", "application/json".to_owned()),
            ("accept", "application/json, text/event-stream".to_owned()),
            ("mcp-protocol-version", "2025-11-25".to_owned()),
        ]
    }

    fn send(&self, method: &str, path: &str, headers: &[(&'static str, String)], body: &[u8]) -> Response {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        exchange(TcpStream::connect(self.serve.address).unwrap(), &request(method, path, &headers, body))
    }

    /// Sends a good call with one header exchanged or added; an empty value leaves it out
    fn with(&self, name: &'static str, value: &str) -> Response {
        let mut headers = self.headers();
        headers.retain(|(known, _)| *known != name);
        if !value.is_empty() {
            headers.push((name, value.to_owned()));
        }
        self.send("POST", "/mcp/shop", &headers, CALL)
    }

    /// Sends a good call with this token
    fn token(&self, token: &str) -> Response {
        self.with("authorization", &format!("Bearer {token}"))
    }

    /// Nothing that was sent has reached any connector
    #[track_caller]
    fn nothing_came_through(&self) {
        assert_eq!(self.shop.values(), Vec::<String>::new());
        assert_eq!(self.mail.values(), Vec::<String>::new());
    }
}

const CALL: &[u8] =
    br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"act","arguments":{"value":"v"}}}"#;

fn challenge(response: &Response) -> &str {
    response.header("www-authenticate").unwrap_or_default()
}

#[test]
fn what_is_no_message_is_answered_by_its_code_and_goes_nowhere() {
    let house = House::new();
    let deep =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}1{}}}"#, "[".repeat(600), "]".repeat(600));
    let cases: &[(&[u8], i64)] = &[
        (b"", -32700),
        (b"{", -32700),
        (b"\0", -32700),
        (b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}", -32700),
        (br#"{"jsonrpc":"2.0","id":1,"method":"ping"}{}"#, -32700),
        (br#"{"jsonrpc":"2.0","id":1,"method":"ping"} x"#, -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\0", -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":\"\t\",\"method\":\"ping\"}", -32700),
        (br#"{"jsonrpc":"2.0","id":NaN,"method":"ping"}"#, -32700),
        (br#"{"jsonrpc":"2.0","id":01,"method":"ping"}"#, -32700),
        (br#"{'jsonrpc':'2.0','id':1,'method':'ping'}"#, -32700),
        (br#"{"jsonrpc":"2.0","id":1,"method":"ping",}"#, -32700),
        (deep.as_bytes(), -32700),
        (b"[]", -32600),
        (b"1", -32600),
        (b"null", -32600),
        (b"\"ping\"", -32600),
        (b"{}", -32600),
        (br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600),
        (br#"{"id":1,"method":"ping"}"#, -32600),
        (br#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
        (br#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/list"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/list"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1,"METHOD":"ping"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"act","arguments":{"value":"a","value":"b"}}}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"act","arguments":{"value":"a","VALUE":"b"}}}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"act","arguments":{"value":"\ud800"}}}"#, -32600),
    ];
    for (body, code) in cases {
        let response = house.send("POST", "/mcp/shop", &house.headers(), body);
        let shown = String::from_utf8_lossy(body);
        assert_eq!((response.status, response.code()), (400, Some(*code)), "{shown}: {response:?}");
        assert_eq!(response.json()["id"], Value::Null, "{shown}");
    }
    house.nothing_came_through();
}

#[test]
fn what_is_no_call_is_answered_by_the_protocols_own_error() {
    let house = House::new();
    for params in [
        "",
        r#","params":null"#,
        r#","params":[]"#,
        r#","params":["act"]"#,
        r#","params":{}"#,
        r#","params":{"name":7}"#,
        r#","params":{"name":"act","arguments":[]}"#,
        r#","params":{"name":"act","arguments":"{}"}"#,
        r#","params":{"name":"act","arguments":null}"#,
        r#","params":{"name":"act","Arguments":{"value":"v"}}"#,
        r#","params":{"name":"","arguments":{}}"#,
        r#","params":{"name":"act\u0000","arguments":{}}"#,
        r#","params":{"name":"ACT","arguments":{}}"#,
        r#","params":{"name":"shop.act","arguments":{}}"#,
        r#","params":{"name":"../act","arguments":{}}"#,
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":"x","method":"tools/call"{params}}}"#);
        let response = house.task.post("shop", body.as_bytes());
        assert_eq!(response.code(), Some(-32602), "{body}: {response:?}");
        assert!(matches!(response.status, 200 | 400), "{body}: {response:?}");
        assert_eq!(response.json()["id"], "x");
    }
    house.nothing_came_through();
}

#[test]
fn notifications_and_answers_get_no_answer() {
    let house = House::new();
    let send = |body: &str| house.send("POST", "/mcp/shop", &house.headers(), body.as_bytes());
    for notification in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#,
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"act","arguments":{"value":"v"}}}"#,
        r#"{"jsonrpc":"2.0","method":"no/such"}"#,
    ] {
        let response = send(notification);
        assert_eq!((response.status, response.body.len()), (202, 0), "{notification}");
    }
    for answer in
        [r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}"#]
    {
        let response = send(answer);
        assert_eq!((response.status, response.body.len()), (400, 0), "{answer}");
    }
    house.nothing_came_through();
}

/// The parts of a token, to be put together otherwise
struct Forge {
    claims: Value,
    key: Vec<u8>,
}

impl Forge {
    fn new(house: &House) -> Self {
        let payload = house.task.token.split('.').nth(1).unwrap();
        let claims = serde_json::from_slice(&BASE64.decode(payload).unwrap()).unwrap();
        Self { claims, key: fs::read(house.place.data().join("keys/token.key")).unwrap() }
    }

    fn claims(&self, change: impl Fn(&mut Value)) -> Value {
        let mut claims = self.claims.clone();
        change(&mut claims);
        claims
    }

    fn signed(&self, typ: Option<&str>, claims: &Value) -> String {
        let kid = SigningKey::read(&self.key).unwrap().public_key().thumbprint();
        let header = Header { typ: typ.map(str::to_owned), kid: Some(kid), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(&self.key)).unwrap()
    }

    fn changed(&self, change: impl Fn(&mut Value)) -> String {
        self.signed(Some("at+jwt"), &self.claims(change))
    }
}

#[test]
fn only_our_own_token_for_this_endpoint_and_this_time_is_good() {
    let house = House::new();
    let forge = Forge::new(&house);
    let now = forge.claims["iat"].as_i64().unwrap();
    let own = forge.changed(|_| {});
    assert_eq!(house.token(&own).status, 200, "a token with our key and our claims is our token");
    assert_eq!(house.shop.values(), ["v"]);

    let parts: Vec<&str> = house.task.token.split('.').collect();
    let none = BASE64.encode(json!({ "alg": "none", "typ": "at+jwt" }).to_string());
    let kid = SigningKey::read(&forge.key).unwrap().public_key().thumbprint();
    let hmac = Header { typ: Some("at+jwt".to_owned()), kid: Some(kid), ..Header::new(Algorithm::HS256) };
    let hmac = |secret: &[u8]| jsonwebtoken::encode(&hmac, &forge.claims, &EncodingKey::from_secret(secret)).unwrap();
    // The public half of the key, which an attacker may know: the last 32 bytes of PKCS#8 version 2.
    let public = &forge.key[forge.key.len() - 32..];
    let stranger = House::new();
    let foreign = Forge { claims: forge.claims.clone(), key: Forge::new(&stranger).key };
    let mail = house.serve.open("post").token;
    let bad: Vec<(&str, String)> = vec![
        ("nothing", String::new()),
        ("no token", "x".to_owned()),
        ("two parts", parts[..2].join(".")),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        (
            "another payload",
            format!(
                "{}.{}.{}",
                parts[0],
                BASE64.encode(forge.claims(|claims| claims["run"] = json!("run_0000000000001")).to_string()),
                parts[2]
            ),
        ),
        ("algorithm none", format!("{none}.{}.", parts[1])),
        ("algorithm none, signed", format!("{none}.{}.{}", parts[1], parts[2])),
        ("HS256 with the key file", hmac(&forge.key)),
        ("HS256 with the public key", hmac(public)),
        ("another key", foreign.changed(|_| {})),
        ("another installation", stranger.task.token.clone()),
        ("another issuer", forge.changed(|claims| claims["iss"] = json!("https://elsewhere.example"))),
        ("no issuer", forge.changed(|claims| drop(claims.as_object_mut().unwrap().remove("iss")))),
        ("the audience of another connector", mail),
        ("another audience", forge.changed(|claims| claims["aud"] = json!(["https://elsewhere.example/mcp"]))),
        ("the audience by name only", forge.changed(|claims| claims["aud"] = json!(["shop"]))),
        (
            "an audience that only begins alike",
            forge.changed(|claims| claims["aud"] = json!([format!("http://{}/mcp/", house.serve.address)])),
        ),
        ("no audience", forge.changed(|claims| drop(claims.as_object_mut().unwrap().remove("aud")))),
        ("an ID token", forge.signed(Some("JWT"), &forge.claims)),
        ("no type", forge.signed(None, &forge.claims)),
        (
            "expired",
            forge.changed(|claims| {
                claims["iat"] = json!(now - 400);
                claims["exp"] = json!(now - 100)
            }),
        ),
        (
            "expired this very second",
            forge.changed(|claims| {
                claims["iat"] = json!(now - 300);
                claims["exp"] = json!(now)
            }),
        ),
        (
            "not yet",
            forge.changed(|claims| {
                claims["iat"] = json!(now + 100);
                claims["exp"] = json!(now + 200)
            }),
        ),
        ("for ever", forge.changed(|claims| claims["exp"] = json!(now + 1_000_000))),
        ("no end", forge.changed(|claims| drop(claims.as_object_mut().unwrap().remove("exp")))),
        ("an end that is text", forge.changed(|claims| claims["exp"] = json!("never"))),
        ("too long", format!("{}{}", parts.join("."), "A".repeat(5_000))),
    ];
    for (what, token) in bad {
        let response = house.token(&token);
        assert_eq!(response.status, 401, "{what}: {response:?}");
        assert!(challenge(&response).starts_with("Bearer"), "{what}: {response:?}");
        assert!(!challenge(&response).contains("resource_metadata"), "there is no authorization server yet");
        assert_eq!(response.body, b"", "{what}");
    }
    // A run that was never begun is no secret, and no way in.
    let unknown = house.token(&forge.changed(|claims| claims["run"] = json!("run_0000000000001")));
    assert_eq!((unknown.status, word(&unknown.json())), (200, "task_unknown".to_owned()));
    assert_eq!(house.shop.values(), ["v"]);
    assert_eq!(house.mail.values(), Vec::<String>::new());
}

#[test]
fn a_token_is_presented_in_one_way_only() {
    let house = House::new();
    let token = house.task.token.clone();
    let without: Vec<_> = house.headers().into_iter().filter(|(name, _)| *name != "authorization").collect();
    let query = format!("/mcp/shop?access_token={token}");

    let response = house.send("POST", &query, &without, CALL);
    assert_eq!((response.status, challenge(&response)), (401, "Bearer"), "a token in the query string is none");
    let response = house.send("POST", &query, &house.headers(), CALL);
    assert_eq!(response.status, 400);
    assert!(challenge(&response).contains("invalid_request"), "{response:?}");

    let mut twice = house.headers();
    twice.push(("authorization", format!("Bearer {token}")));
    assert_eq!(house.send("POST", "/mcp/shop", &twice, CALL).status, 400);
    let mut other = without.clone();
    other.push(("authorization", "Basic dXNlcjpwYXNz".to_owned()));
    other.push(("authorization", format!("Bearer {token}")));
    assert_eq!(house.send("POST", "/mcp/shop", &other, CALL).status, 400);

    for value in [
        "Bearer",
        "Bearer ",
        "bearer",
        "Basic dXNlcjpwYXNz",
        &format!("Token {token}"),
        &token,
        &format!("Bearer {token} {token}"),
        &format!("Bearer {token},Bearer {token}"),
        &format!("Bearer \"{token}\""),
    ] {
        assert_eq!(house.with("authorization", value).status, 401, "{value}");
    }
    let mut cookie = without;
    cookie.push(("cookie", format!("access_token={token}")));
    cookie.push(("x-authorization", format!("Bearer {token}")));
    assert_eq!(house.send("POST", "/mcp/shop", &cookie, CALL).status, 401);
    house.nothing_came_through();

    // The scheme's case does not matter (RFC 9110, 11.1).
    assert_eq!(house.with("authorization", &format!("bEARER  {token}")).status, 200);
    assert_eq!(house.shop.values(), ["v"]);
}

#[test]
fn a_page_in_a_browser_does_not_reach_us() {
    let house = House::new();
    let port = house.serve.address.port();
    let origins = [
        "null".to_owned(),
        "https://evil.example".to_owned(),
        format!("http://evil.example:{port}"),
        format!("http://127.0.0.1.evil.example:{port}"),
        format!("http://evil.example#127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port}@evil.example"),
        format!("https://127.0.0.1:{port}"),
        "file://".to_owned(),
    ];
    for origin in &origins {
        assert_eq!(house.with("origin", origin).status, 403, "{origin}");
    }
    for host in
        ["evil.example", &format!("evil.example:{port}"), "127.0.0.1.evil.example", "0.0.0.0", "[::1]", "127.0.0.1:1"]
    {
        assert_eq!(house.with("host", host).status, 403, "{host}");
    }
    assert_eq!(house.with("host", "").status, 400);
    let mut twice = house.headers();
    twice.push(("host", "evil.example".to_owned()));
    assert_eq!(house.send("POST", "/mcp/shop", &twice, CALL).status, 400);
    house.nothing_came_through();

    for (name, value) in [
        ("host", format!("localhost:{port}")),
        ("host", format!("LOCALHOST:{port}")),
        ("origin", format!("http://127.0.0.1:{port}")),
        ("origin", format!("http://localhost:{port}")),
    ] {
        assert_eq!(house.with(name, &value).status, 200, "{name}: {value}");
    }
}

#[test]
fn headers_have_to_be_those_of_the_protocol() {
    let house = House::new();
    for kind in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "multipart/form-data",
        "application",
    ] {
        assert_eq!(house.with("content-type", kind).status, 415, "{kind}");
    }
    for accept in ["text/html", "text/plain", "application/xml, image/*"] {
        assert_eq!(house.with("accept", accept).status, 406, "{accept}");
    }
    for version in ["1", "2024-11-05", "2026-07-28", "2025-11-25, 2025-06-18", "latest"] {
        assert_eq!(house.with("mcp-protocol-version", version).status, 400, "{version}");
    }
    let mut twice = house.headers();
    twice.push(("mcp-protocol-version", "2025-06-18".to_owned()));
    assert_eq!(house.send("POST", "/mcp/shop", &twice, CALL).status, 400);
    house.nothing_came_through();

    for (name, value) in [
        ("content-type", "Application/JSON; charset=utf-8"),
        ("accept", ""),
        ("accept", "*/*"),
        ("accept", "text/event-stream;q=0.5, application/json;q=0.1"),
        ("accept", "text/event-stream"),
        ("mcp-protocol-version", ""),
        ("mcp-protocol-version", "2025-03-26"),
        ("mcp-protocol-version", "2025-06-18"),
    ] {
        assert_eq!(house.with(name, value).status, 200, "{name}: {value}");
    }
}

#[test]
fn only_post_is_answered_and_only_at_known_paths() {
    let house = House::new();
    for method in ["GET", "DELETE", "PUT", "PATCH", "OPTIONS"] {
        let response = house.send(method, "/mcp/shop", &house.headers(), b"");
        assert_eq!((response.status, response.header("allow")), (405, Some("POST")), "{method}");
        let bare = [("host", house.serve.address.to_string())];
        assert_eq!(house.send(method, "/mcp/shop", &bare, b"").status, 401, "{method} without a token");
    }
    for path in ["/mcp/", "/mcp/shop/", "/mcp/shop/x", "/mcp/..", "/mcp/SHOP", "/mcp/sh%6fp"] {
        for method in ["GET", "POST"] {
            let response = house.send(method, path, &house.headers(), CALL);
            assert_eq!((response.status, response.body.len()), (404, 0), "{method} {path}");
        }
    }
    // Everything else is for people: a token of an agent opens no page.
    for path in [
        "/",
        "/tasks",
        "/approvals",
        "//mcp/shop",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp/shop",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/register",
        "/authorize",
        "/token",
    ] {
        for method in ["GET", "POST"] {
            let status = house.send(method, path, &house.headers(), CALL).status;
            assert!(matches!(status, 303 | 403 | 404 | 405 | 415), "{method} {path}: {status}");
        }
    }
    // The token of a task lets nobody administer.
    let statuses = ["GET", "POST"].map(|method| house.send(method, "/v1/status", &house.headers(), CALL).status);
    assert_eq!(statuses, [401, 401]);
    // Nor is it a proof of who its agent is.
    let statuses = ["GET", "POST"].map(|method| house.send(method, "/v1/tasks", &house.headers(), CALL).status);
    assert_eq!(statuses, [405, 401]);
    // A connector that is not there is told apart from one that is not ours by nobody.
    let (absent, foreign) = (
        house.send("POST", "/mcp/nothing", &house.headers(), CALL),
        house.send("POST", "/mcp/mail", &house.headers(), CALL),
    );
    assert_eq!((absent.status, foreign.status), (401, 401));
    assert_eq!(challenge(&absent), challenge(&foreign));
    house.nothing_came_through();
}

#[test]
fn a_body_beyond_the_limit_is_refused() {
    let house = House::new();
    let call = |length: usize| {
        let value = "v".repeat(length);
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"act","arguments":{{"value":"{value}"}}}}}}"#
        )
    };
    let frame = call(0).len();
    let response = house.send("POST", "/mcp/shop", &house.headers(), call((4 << 20) - frame + 1).as_bytes());
    assert_eq!(response.status, 413);
    // Whoever says less than he sends has said nothing of it.
    let mut long = request("POST", "/mcp/shop", &[("host", &house.serve.address.to_string())], b"");
    long.truncate(long.len() - 2);
    long.extend_from_slice(format!("x-padding: {}\r\n\r\n", "x".repeat(64 << 10)).as_bytes());
    let response = exchange(TcpStream::connect(house.serve.address).unwrap(), &long);
    assert_eq!(response.status, 431, "a head beyond the limit");
    house.nothing_came_through();

    let response = house.send("POST", "/mcp/shop", &house.headers(), call((4 << 20) - frame).as_bytes());
    assert_eq!((response.status, word(&response.json())), (200, "ok".to_owned()));
    assert_eq!(house.shop.values()[0].len(), (4 << 20) - frame);
}

#[test]
fn two_ways_to_say_the_length_are_one_too_many() {
    let house = House::new();
    let head = |more: &str| {
        let headers: String = house.headers().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let body = String::from_utf8_lossy(CALL).into_owned();
        format!("POST /mcp/shop HTTP/1.1\r\nconnection: close\r\n{headers}{more}\r\n{body}")
    };
    for more in [
        format!("content-length: {}\r\ncontent-length: {}\r\n", CALL.len(), CALL.len() - 5),
        format!("content-length: {},{}\r\n", CALL.len(), CALL.len() - 5),
        "content-length: -1\r\n".to_owned(),
        "content-length: +5\r\n".to_owned(),
        "transfer-encoding: identity, chunked, x\r\n".to_owned(),
    ] {
        let stream = TcpStream::connect(house.serve.address).unwrap();
        let answer = crate::support::http::try_exchange(stream, head(&more).as_bytes());
        assert!(answer.as_ref().is_none_or(|answer| answer.status == 400), "{more}: {answer:?}");
    }
    house.nothing_came_through();
}

#[test]
fn methods_that_cannot_be_judged_are_refused() {
    let house = House::new();
    // What the purpose does not name is not there, and nothing of it reaches the connector.
    let uri = json!({ "uri": "file:///etc/passwd" });
    for (method, params, code) in [
        ("resources/read", uri.clone(), -32002),
        ("resources/subscribe", uri.clone(), -32002),
        ("prompts/get", json!({ "name": "secrets" }), -32602),
    ] {
        let answer = house.task.ask("shop", method, &params);
        let expected = if method == "resources/subscribe" { json!([-32600, -32002]) } else { json!([code]) };
        assert!(expected.as_array().unwrap().contains(&answer["error"]["code"]), "{method}: {answer}");
    }
    for (method, list) in [
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
        ("prompts/list", "prompts"),
    ] {
        assert_eq!(house.task.ask("shop", method, &json!({}))["result"][list], json!([]), "{method}");
    }
    for method in [
        "no/such",
        "tools/Call",
        "TOOLS/LIST",
        "rpc.discover",
        "",
        "sampling/createMessage",
        "roots/list",
        "tasks/list",
        "tasks/get",
        "tasks/result",
        "tasks/cancel",
    ] {
        let answer = house.task.ask("shop", method, &json!({}));
        assert_eq!(answer["error"]["code"], -32601, "{method}: {answer}");
    }
    let task = json!({ "name": "act", "arguments": { "value": "v" }, "task": { "ttl": 1000 } });
    let answer = house.task.ask("shop", "tools/call", &task);
    assert_eq!(word(&answer), "method_not_enforced");
    assert_eq!(answer["result"]["isError"], true);
    assert_eq!(house.task.ask("shop", "ping", &json!({}))["result"], json!({}));
    house.nothing_came_through();
    assert!(house.shop.received().is_empty() || house.shop.received().iter().all(|r| r.method != "resources/list"));

    // All of it is on the record, though not once for each.
    house.serve.stop(&house.task.id);
    let words = house.place.record().refusals();
    assert!(words.contains(&"method_not_enforced".to_owned()), "{words:?}");
}

#[test]
fn a_hidden_tool_is_told_apart_from_no_tool_by_nobody() {
    let house = House::new();
    let ask = |name: &str| {
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}","arguments":{{"value":"v"}}}}}}"#
        );
        let response = house.task.post("shop", message.as_bytes());
        (response.status, response.headers, String::from_utf8(response.body).unwrap())
    };
    // `other` is offered, accepted and in the policy; the purpose does not name it. `never` is nowhere.
    let (hidden, unknown) = (ask("other"), ask("never"));
    assert!(hidden.2.contains("other") && unknown.2.contains("never"));
    assert_eq!(hidden.2, unknown.2.replace("never", "other"));
    assert_eq!((hidden.0, hidden.2.len()), (unknown.0, unknown.2.len()));
    let date =
        |headers: Vec<(String, String)>| headers.into_iter().filter(|(name, _)| name != "date").collect::<Vec<_>>();
    assert_eq!(date(hidden.1), date(unknown.1));
    house.nothing_came_through();
}

#[test]
fn the_list_is_what_this_task_may_use_as_its_server_wrote_it() {
    let house = House::new();
    let odd = r#"{"name":"act","inputSchema":{"type":"object","properties":{"value":{"type":"string","maxLength":5e0}}},"x-own":[1.0,"\u00e9"],"description":"Acts"}"#;
    house.shop.offer(vec![tool("other")]);
    let raw = house.task.post("shop", br#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#);
    let listed = raw.json();
    let names: Vec<&Value> = listed["result"]["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, ["act"], "served from what was accepted, without asking again");

    let literal = odd.to_owned();
    let upstream = Upstream::http(&["act"], move |received, wire| {
        if received.method == "tools/list" {
            wire.answer(&format!("{{\"tools\":[{literal}]}}"));
        }
        received.method == "tools/list"
    });
    let place = Place::with(&[("shop", &upstream)], "", "");
    let file = "policy/connectors/shop.toml";
    let roles = "class = \"write\"\narguments = { value = \"selector\" }\n";
    place.write(file, &place.read(file).replace("class = \"write\"\n", roles));
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    let listed =
        String::from_utf8(task.post("shop", br#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#).body).unwrap();
    assert_eq!(listed, format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"tools":[{odd}]}}}}"#));

    // And what does not fit the accepted schema is not sent.
    assert_eq!(task.word("shop", "act", "short"), "ok");
    assert_eq!(task.word("shop", "act", "too long"), "arguments_invalid");
    let number = task.call("shop", "act", &json!({ "value": 5 }));
    assert_eq!(word(&number), "arguments_invalid");
    assert_eq!(upstream.values(), ["short"]);
}

#[test]
fn no_connector_sees_what_was_presented_to_us() {
    let house = House::new();
    let mut headers = house.headers();
    headers.extend([
        ("cookie", "session=secret-cookie".to_owned()),
        ("x-api-key", "secret-header".to_owned()),
        ("proxy-authorization", "Basic c2VjcmV0".to_owned()),
        ("forwarded", "for=secret-address".to_owned()),
        ("last-event-id", "secret-event".to_owned()),
    ]);
    assert_eq!(house.send("POST", "/mcp/shop?secret=query", &headers, CALL).status, 200);
    let received = house.shop.received();
    assert!(received.iter().any(|received| received.method == "tools/call"));
    for received in received {
        let all = format!("{} {:?} {}", received.line, received.headers, String::from_utf8_lossy(&received.message));
        assert!(!all.contains(&house.task.token) && !all.contains("secret"), "{all}");
        assert!(!all.contains(&house.task.id) && !all.contains(&house.task.run), "{all}");
        let names: Vec<&str> = received.headers.iter().map(|(name, _)| name.as_str()).collect();
        let known = [
            "host",
            "content-type",
            "accept",
            "content-length",
            "mcp-session-id",
            "mcp-protocol-version",
            "mcp-method",
            "mcp-name",
        ];
        assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
    }
    // Nor does the record hold it.
    let record = format!("{:?}", house.place.record().lines);
    assert!(!record.contains(&house.task.token) && !record.contains("secret"));
}

#[test]
fn the_handshake_agrees_on_a_version_that_both_speak() {
    let house = House::new();
    for (wanted, agreed) in [
        (json!("2025-11-25"), "2025-11-25"),
        (json!("2025-06-18"), "2025-06-18"),
        (json!("2024-11-05"), "2025-11-25"),
        (json!("2099-01-01"), "2025-11-25"),
        (json!("2026-07-28"), "2025-11-25"),
        (json!("2025-03-26"), "2025-03-26"),
    ] {
        let params =
            json!({ "protocolVersion": wanted, "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
        let response = house.task.post("shop", message.to_string().as_bytes());
        assert_eq!(response.json()["result"]["protocolVersion"], agreed, "{wanted}");
        assert_eq!(response.json()["result"]["capabilities"], json!({ "tools": { "listChanged": true } }));
        assert!(response.header("mcp-session-id").is_some_and(|session| session.len() >= 16));
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
    // No session is authority: one that never was is told to begin another one, none at all is good enough.
    assert_eq!(house.with("mcp-session-id", "never-given").status, 404);
}

#[test]
fn the_end_of_a_task_is_said_as_long_as_the_token_is_good() {
    let house = House::new();
    house.serve.stop(&house.task.id);
    assert_eq!(house.task.word("shop", "act", "v"), "task_over");
    let listed = house.task.ask("shop", "tools/list", &json!({}));
    assert_eq!(listed["error"]["data"]["dev.portreeve/refusal"]["word"], "task_over");
    let (status, refused) = house.serve.admin("POST", &format!("/v1/tasks/{}/token", house.task.id), &Value::Null);
    assert_eq!((status, &refused["error"]["word"]), (403, &json!("task_over")));
    house.nothing_came_through();
}
