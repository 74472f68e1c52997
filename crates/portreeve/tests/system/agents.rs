//! Agents that nobody here has started: they prove who they are, open tasks for themselves, and go on proving it.

use crate::approvals::people;
use crate::support::{
    http::{Response, exchange, request},
    issuer::{Issuer, Signer, now},
    place::{Place, Serve, Task, word},
    reader::recounted,
    upstream::Upstream,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use rustix::net::{AddressFamily, SocketType};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};

/// A purpose `work` for two agents
pub(crate) const PURPOSE: &str = "about = \"Whatever a test needs\"\nowner = \"tests\"\n\n\
    [open]\nagents = [\"bot\", \"other\"]\nusers = \"none\"\n\n\
    [task]\nexpires_after = \"1h\"\nstanding = [\"read\", \"write\"]\n\n\
    [[allow]]\nname = \"act\"\nuse = [\"shop.act\"]\nwhere = { value = { any = true } }\n";

/// A served folder with a connector `shop` and a purpose `work` for two agents
pub(crate) struct House {
    /// The folder
    pub(crate) place: Place,
    /// What serves it
    pub(crate) serve: Serve,
    /// The connector
    pub(crate) shop: Upstream,
}

impl House {
    /// `bot` proves itself so, `other` by a SPIFFE ID that nobody shows
    pub(crate) fn of(proof: &str, files: &[(&str, String)]) -> Self {
        let (place, shop) = (Place::new(), Upstream::http(&["act"], |_, _| false));
        place.connector("shop", &shop, "");
        place.write(
            "policy/issuers/house.toml",
            "trust_domain = \"example.org\"\nbundle = \"https://example.org/bundle.json\"\n",
        );
        for (path, text) in files {
            place.write(path, text);
        }
        place.write("policy/agents/bot.toml", &format!("owner = \"tests\"\n\n[[proof]]\n{proof}\n"));
        let other = "owner = \"tests\"\n\n[[proof]]\nspiffe = \"spiffe://example.org/other\"\n";
        place.write("policy/agents/other.toml", other);
        place.write("policy/purposes/work.toml", PURPOSE);
        let serve = place.serve(&["shop"]);
        Self { place, serve, shop }
    }

    /// Its address, which is what shown tokens have to be meant for
    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.serve.address)
    }

    /// Sends a request as it is
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
        let host = self.serve.address.to_string();
        let headers = [&[("host", host.as_str()), ("content-type", "application/json")], headers].concat();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let stream = TcpStream::connect(self.serve.address).unwrap();
        exchange(stream, &request(method, path, &headers, body.as_bytes()))
    }

    fn open(&self, token: &str) -> Response {
        let bearer = format!("Bearer {token}");
        self.send("POST", "/v1/tasks", &[("authorization", &bearer)], &json!({ "purpose": "work" }))
    }

    #[track_caller]
    fn task(&self, opened: &Response) -> Task {
        assert_eq!(opened.status, 201, "{opened:?}");
        let opened = opened.json();
        let text = |name: &str| opened[name].as_str().unwrap().to_owned();
        Task { id: text("task"), run: text("run"), token: text("access_token"), address: self.serve.address }
    }

    #[track_caller]
    fn refused(&self, token: &str) -> (u16, String) {
        let answer = self.open(token);
        (answer.status, answer.json()["error"]["word"].as_str().unwrap_or_default().to_owned())
    }
}

/// How a file names a key
pub(crate) fn key_of(signer: &Signer) -> String {
    format!("key = {{ kty = \"OKP\", crv = \"Ed25519\", x = {} }}", signer.jwk()["x"])
}

/// What `bot` says of itself
pub(crate) fn assertion(house: &House, id: &str) -> Value {
    json!({ "iss": "bot", "sub": "bot", "aud": house.base(), "jti": id, "iat": now(), "exp": now() + 60 })
}

#[test]
fn an_agent_opens_a_task_with_its_own_key_and_goes_on_as_long_as_it_proves_it() {
    let key = Signer::new("k");
    let house = House::of(&key_of(&key), &[]);
    let opened = house.open(&key.token("client-authentication+jwt", &assertion(&house, "1")));
    let task = house.task(&opened);
    assert_eq!(opened.json()["token_type"], "Bearer");
    assert_eq!(task.word("shop", "act", "a"), "ok");
    assert_eq!(house.shop.calls().len(), 1);

    // The record says how, with what, and from where; parameters would be the agent's own.
    let record = house.place.run(&["--json", "audit", "tail", "-n", "100"]).good().out;
    let began = record.lines().find(|line| line.contains("\"began\"")).unwrap();
    assert!(began.contains("private_key_jwt") && began.contains("127.0.0.1"), "{began}");

    let again = |id: &str| {
        let bearer = format!("Bearer {}", key.token("JWT", &assertion(&house, id)));
        house.send("POST", &format!("/v1/tasks/{}/token", task.id), &[("authorization", &bearer)], &Value::Null)
    };
    let renewed = again("2");
    assert_eq!(renewed.status, 200, "{renewed:?}");
    let fresh = Task { token: renewed.json()["access_token"].as_str().unwrap().to_owned(), ..task.clone() };
    assert_eq!(fresh.word("shop", "act", "b"), "ok");

    let bearer = format!("Bearer {}", key.token("JWT", &assertion(&house, "3")));
    let ended = house.send("DELETE", &format!("/v1/tasks/{}", task.id), &[("authorization", &bearer)], &Value::Null);
    assert_eq!(ended.status, 204, "{ended:?}");
    assert_eq!(fresh.word("shop", "act", "c"), "task_over");
    assert_eq!(again("4").status, 403, "what is over does not go on");
}

#[test]
fn what_is_not_the_agents_own_opens_nothing() {
    let (key, stranger) = (Signer::new("k"), Signer::new("k"));
    let house = House::of(&key_of(&key), &[]);
    let claims = |change: &dyn Fn(&mut Value)| {
        let mut claims = assertion(&house, "1");
        change(&mut claims);
        key.token("JWT", &claims)
    };
    let cases: Vec<(&str, String, &str)> = vec![
        ("another key", stranger.token("JWT", &assertion(&house, "1")), "key_unknown"),
        ("for somebody else", claims(&|claims| claims["aud"] = json!("http://elsewhere")), "aud_wrong"),
        (
            "for the token endpoint",
            claims(&|claims| claims["aud"] = json!(format!("{}/v1/token", house.base()))),
            "aud_wrong",
        ),
        ("for several", claims(&|claims| claims["aud"] = json!([house.base(), "http://elsewhere"])), "aud_many"),
        ("over", claims(&|claims| claims["exp"] = json!(now() - 1)), "expired"),
        ("never over", claims(&|claims| drop(claims.as_object_mut().unwrap().remove("exp"))), "exp_missing"),
        ("too long", claims(&|claims| claims["exp"] = json!(now() + 3_600)), "lifetime"),
        ("of the future", claims(&|claims| claims["iat"] = json!(now() + 3_000)), "iat_future"),
        ("without an id", claims(&|claims| drop(claims.as_object_mut().unwrap().remove("jti"))), "jti_missing"),
        ("of another agent", claims(&|claims| claims["iss"] = json!("other")), "issuer_unknown"),
        ("of nobody", claims(&|claims| claims["iss"] = json!("nobody")), "issuer_unknown"),
        ("not signed", key.signed(&json!({ "alg": "none" }), &assertion(&house, "1")), "alg_none"),
        ("an access token", key.token("at+jwt", &assertion(&house, "1")), "typ_wrong"),
        (
            "with an extension",
            { key.signed(&json!({ "alg": "EdDSA", "crit": ["x"], "x": 1 }), &assertion(&house, "1")) },
            "header_critical",
        ),
        ("no token", "hello".to_owned(), "token_form"),
    ];
    for (what, token, expected) in &cases {
        assert_eq!(house.refused(token), (401, (*expected).to_owned()), "{what}");
    }
    let bare = house.send("POST", "/v1/tasks", &[], &json!({ "purpose": "work" }));
    assert_eq!((bare.status, bare.json()["error"]["word"].as_str()), (401, Some("proof_missing")));

    // Once is once, also when the first time opened nothing.
    let good = key.token("JWT", &assertion(&house, "used"));
    assert_eq!(house.open(&good).status, 201);
    assert_eq!(house.refused(&good), (401, "jti_again".to_owned()));

    // Who it is says the proof, not the body; and a page in a browser is nobody.
    let bearer = format!("Bearer {}", key.token("JWT", &assertion(&house, "2")));
    let ask = json!({ "purpose": "work", "agent": "other" });
    let other = house.send("POST", "/v1/tasks", &[("authorization", &bearer)], &ask);
    assert_eq!((other.status, other.json()["error"]["word"].as_str()), (403, Some("proof_wrong")));
    let origin = [("authorization", bearer.as_str()), ("origin", "http://127.0.0.1")];
    assert_eq!(house.send("POST", "/v1/tasks", &origin, &ask).status, 403);
    // And the owner of the folder does not vouch for an agent that can prove itself.
    let (status, answer) = house.serve.admin("POST", "/v1/tasks", &json!({ "purpose": "work", "agent": "bot" }));
    assert_eq!((status, answer["error"]["word"].as_str()), (403, Some("proof_wrong")));
    assert!(house.shop.calls().is_empty());
}

#[test]
fn a_token_that_is_bound_to_a_key_is_good_with_that_key_only() {
    let (key, held, other) = (Signer::new("k"), Signer::new("h"), Signer::new("o"));
    let house = House::of(&key_of(&key), &[]);
    let url = format!("{}/v1/tasks", house.base());
    let bearer = format!("Bearer {}", key.token("JWT", &assertion(&house, "1")));
    let proof = held.dpop(("POST", &url), None, "p1");
    let opened =
        house.send("POST", "/v1/tasks", &[("authorization", &bearer), ("dpop", &proof)], &json!({ "purpose": "work" }));
    let task = house.task(&opened);
    assert_eq!(opened.json()["token_type"], "DPoP");

    let endpoint = format!("{}/mcp/shop", house.base());
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "act", "arguments": { "value": "x" } } });
    let send = |scheme: &str, proof: Option<&str>| {
        let authorization = format!("{scheme} {}", task.token);
        let mut headers = vec![("authorization", authorization.as_str()), ("accept", "application/json")];
        headers.extend(proof.map(|proof| ("dpop", proof)));
        house.send("POST", "/mcp/shop", &headers, &call)
    };
    let with = |signer: &Signer, id: &str| signer.dpop(("POST", &endpoint), Some(&task.token), id);
    let good = with(&held, "p2");
    let answer = send("DPoP", Some(&good));
    assert_eq!((answer.status, word(&answer.json()).as_str()), (200, "ok"), "{answer:?}");
    let bad = [
        ("as a bearer token", send("Bearer", None)),
        ("as a bearer token with a proof", send("Bearer", Some(&with(&held, "p3")))),
        ("without a proof", send("DPoP", None)),
        ("again", send("DPoP", Some(&good))),
        ("with another key", send("DPoP", Some(&with(&other, "p4")))),
        ("for another token", send("DPoP", Some(&held.dpop(("POST", &endpoint), Some("other"), "p5")))),
        ("for another method", send("DPoP", Some(&held.dpop(("GET", &endpoint), Some(&task.token), "p6")))),
        ("for another address", send("DPoP", Some(&held.dpop(("POST", &url), Some(&task.token), "p7")))),
    ];
    for (what, answer) in bad {
        assert_eq!(answer.status, 401, "{what}");
        assert!(answer.header("www-authenticate").is_some(), "{what}");
    }
    assert_eq!(house.shop.calls().len(), 1);
}

#[test]
fn a_rule_demands_bound_tokens_and_a_task_stays_bound_as_it_began() {
    let (key, held) = (Signer::new("k"), Signer::new("h"));
    let rule = "@reason(\"Prove yourself with a key.\")\n\
        forbid (principal, action in Action::\"connector:shop\", resource) when { context.proof.bound == \"none\" };\n";
    let house = House::of(&key_of(&key), &[("policy/rules/bound.cedar", rule.to_owned())]);
    let prove = |path: &str, id: &str, bound: bool| {
        let bearer = format!("Bearer {}", key.token("JWT", &assertion(&house, id)));
        let proof = held.dpop(("POST", &format!("{}{path}", house.base())), None, &format!("p{id}"));
        let headers = [("authorization", bearer.as_str()), ("dpop", proof.as_str())];
        house.send("POST", path, &headers[..1 + usize::from(bound)], &json!({ "purpose": "work" }))
    };
    let plain = house.task(&prove("/v1/tasks", "1", false));
    assert_eq!(plain.word("shop", "act", "x"), "rule_forbids");
    let bound = house.task(&prove("/v1/tasks", "2", true));
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "act", "arguments": { "value": "x" } } });
    let proof = held.dpop(("POST", &format!("{}/mcp/shop", house.base())), Some(&bound.token), "p0");
    let authorization = format!("DPoP {}", bound.token);
    let headers = [("authorization", authorization.as_str()), ("accept", "application/json"), ("dpop", &proof)];
    let answer = house.send("POST", "/mcp/shop", &headers, &call);
    assert_eq!(word(&answer.json()), "ok", "{answer:?}");
    // Neither becomes the other.
    for (task, id, with) in [(&plain, "3", true), (&bound, "4", false)] {
        let path = format!("/v1/tasks/{}/token", task.id);
        let answer = prove(&path, id, with);
        assert_eq!(answer.json()["error"]["word"], "proof_wrong", "{id}: {answer:?}");
        assert_eq!(prove(&path, &format!("{id}b"), !with).status, 200, "{id}");
    }
    assert_eq!(house.shop.calls().len(), 1);
}

#[test]
fn what_two_hold_is_refused_to_the_second_and_on_the_record() {
    let key = Signer::new("one");
    let issuer = Issuer::with(&[&key]);
    let file = format!("issuer = \"{}\"\nprivate = true\n", issuer.name);
    let house = House::of("issuer = \"id\"\nclaims = { sub = \"bot\" }", &[("policy/issuers/id.toml", file)]);
    let token = key.token("JWT", &workload(&issuer, &house, &json!({ "sub": "bot", "jti": "one" })));
    let mine = house.task(&house.open(&token));
    // Another holder: the same token from another address of this machine, which all of 127.0.0.0/8 is.
    let elsewhere = || {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
        rustix::net::connect(&socket, &house.serve.address).unwrap();
        let host = house.serve.address.to_string();
        let bearer = format!("Bearer {token}");
        let headers = [("host", host.as_str()), ("content-type", "application/json"), ("authorization", &bearer)];
        exchange(TcpStream::from(socket), &request("POST", "/v1/tasks", &headers, b"{\"purpose\":\"work\"}"))
    };
    for _ in 0..3 {
        let answer = elsewhere();
        assert_eq!((answer.status, answer.json()["error"]["word"].as_str()), (401, Some("proof_elsewhere")));
    }
    assert_eq!(house.open(&token).status, 201, "who held it first goes on");
    assert_eq!(mine.word("shop", "act", "x"), "ok");
    let record = house.place.run(&["audit", "tail", "-n", "100"]).good().out;
    let told: Vec<&str> = record.lines().filter(|line| line.contains("which bot holds at 127.0.0.1")).collect();
    assert!(matches!(told.as_slice(), [line] if line.contains("oidc from 127.0.0.2")), "once for each proof: {record}");
}

fn workload(issuer: &Issuer, house: &House, more: &Value) -> Value {
    let mut claims = json!({ "iss": issuer.name, "sub": "repo:acme/web:ref:refs/heads/main", "aud": house.base(),
        "iat": now(), "exp": now() + 300, "jti": "t1", "repository_id": "17", "repository": "acme/web",
        "environment": "production", "ref": "refs/heads/main", "event_name": "push" });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

#[test]
fn a_platforms_token_is_an_agent_by_claims_that_nobody_can_take_over() {
    let (first, second, stranger) = (Signer::new("one"), Signer::new("two"), Signer::new("three"));
    let issuer = Issuer::with(&[&first]);
    let file = format!("issuer = \"{}\"\nkind = \"github\"\nprivate = true\n", issuer.name);
    let proof = "issuer = \"ci\"\nclaims = { repository_id = \"17\", environment = \"production\" }";
    let house = House::of(proof, &[("policy/issuers/ci.toml", file)]);
    let token = |signer: &Signer, more: &Value| signer.token("JWT", &workload(&issuer, &house, more));

    let opened = house.open(&token(&first, &json!({})));
    assert_eq!(house.task(&opened).word("shop", "act", "a"), "ok");
    assert_eq!(issuer.asked("/keys"), 1);
    // The same token again is the same holder, and its keys are not fetched again.
    house.task(&house.open(&token(&first, &json!({}))));
    assert_eq!(issuer.asked("/keys"), 1);

    let refused = |more: Value| house.refused(&token(&first, &more));
    assert_eq!(refused(json!({ "repository_id": "18" })), (401, "agent_unknown".to_owned()));
    assert_eq!(refused(json!({ "environment": "staging" })), (401, "agent_unknown".to_owned()));
    assert_eq!(refused(json!({ "event_name": "pull_request" })), (401, "only_proposed".to_owned()));
    assert_eq!(refused(json!({ "aud": "somebody" })), (401, "aud_wrong".to_owned()));
    assert_eq!(refused(json!({ "iss": format!("{}/", issuer.name) })), (401, "issuer_unknown".to_owned()));

    // A key that is not known is looked for once in half a minute, however often it is shown.
    for _ in 0..3 {
        assert_eq!(house.refused(&token(&stranger, &json!({}))), (401, "key_unknown".to_owned()));
    }
    assert_eq!(issuer.asked("/keys"), 1, "the keys were fetched just now");
    issuer.publishes(&[&first, &second]);
    assert_eq!(house.refused(&token(&second, &json!({}))), (401, "key_unknown".to_owned()));
    // What is known goes on while the issuer is silent.
    issuer.goes_silent();
    house.task(&house.open(&token(&first, &json!({ "jti": "t2" }))));
}

/// A JWT-SVID signed with the key of RFC 7515, A.3, whose public half `bundle` has
fn jwt_svid(claims: &Value) -> String {
    let key = [D, X, Y].map(|part| BASE64.decode(part).unwrap());
    let before = hex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420");
    let der = [&before[..], &key[0], &hex("a14403420004"), &key[1], &key[2]].concat();
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = Some("svid".to_owned());
    jsonwebtoken::encode(&header, claims, &jsonwebtoken::EncodingKey::from_ec_der(&der)).unwrap()
}

const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const D: &str = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2).unwrap(), 16).unwrap()).collect()
}

fn bundle(key_use: &str) -> Value {
    let key = json!({ "kty": "EC", "crv": "P-256", "kid": "svid", "use": key_use, "x": X, "y": Y });
    json!({ "keys": [key], "spiffe_sequence": 1, "spiffe_refresh_hint": 60 })
}

#[test]
fn a_jwt_svid_is_an_agent_by_its_spiffe_id() {
    let issuer = Issuer::with(&[]);
    issuer.serves("/bundle.json", bundle("jwt-svid"));
    issuer.serves("/other.json", bundle("x509-svid"));
    let file = |name: &str, page: &str| {
        format!("trust_domain = \"{name}\"\nbundle = \"{}/{page}\"\nprivate = true\n", issuer.name)
    };
    let files = [
        ("policy/issuers/ours.toml", file("ours.example", "bundle.json")),
        ("policy/issuers/other.toml", file("other.example", "other.json")),
    ];
    let house = House::of("spiffe = \"spiffe://ours.example/bot\"", &files);
    let claims = |id: &str| json!({ "sub": id, "aud": house.base(), "iat": now(), "exp": now() + 300 });
    let svid = jwt_svid(&claims("spiffe://ours.example/bot"));
    let task = house.task(&house.open(&svid));
    assert_eq!(task.word("shop", "act", "a"), "ok");
    // The Workload API gives the same one again as long as it is good.
    let bearer = format!("Bearer {svid}");
    let renewed =
        house.send("POST", &format!("/v1/tasks/{}/token", task.id), &[("authorization", &bearer)], &Value::Null);
    assert_eq!(renewed.status, 200, "{renewed:?}");
    let record = house.place.run(&["--json", "audit", "tail", "-n", "100"]).good().out;
    assert!(record.lines().any(|line| line.contains("jwt_svid") && line.contains("spiffe://ours.example/bot")));

    let refused = |claims: Value| house.refused(&jwt_svid(&claims));
    assert_eq!(refused(claims("spiffe://ours.example/other")), (401, "agent_unknown".to_owned()));
    assert_eq!(refused(claims("spiffe://ours.example/bot/x")), (401, "agent_unknown".to_owned()));
    assert_eq!(refused(claims("spiffe://other.example/bot")).1, "bundle_empty");
    assert_eq!(refused(claims("spiffe://nobody.example/bot")), (401, "issuer_unknown".to_owned()));
    let far = json!({ "sub": "spiffe://ours.example/bot", "aud": ["a", house.base()], "exp": now() + 60 });
    assert_eq!(refused(far), (401, "aud_many".to_owned()));
    let over = json!({ "sub": "spiffe://ours.example/bot", "aud": house.base(), "exp": now() - 60 });
    assert_eq!(refused(over), (401, "expired".to_owned()));
}

#[test]
fn an_issuer_that_lies_is_gone_or_is_somewhere_else_opens_nothing() {
    let key = Signer::new("k");
    let issuer = Issuer::with(&[&key]);
    let other = Issuer::with(&[&key]);
    // It says that it is somebody else.
    other.serves(
        "/.well-known/openid-configuration",
        json!({ "issuer": issuer.name, "jwks_uri": format!("{}/keys", other.name) }),
    );
    let gone = Issuer::with(&[&key]);
    gone.goes_silent();
    let file = |issuer: &Issuer, private: bool| format!("issuer = \"{}\"\nprivate = {private}\n", issuer.name);
    let proof = "issuer = \"lies\"\nclaims = { sub = \"me\" }";
    let house = House::of(
        proof,
        &[
            ("policy/issuers/lies.toml", file(&other, true)),
            ("policy/issuers/gone.toml", file(&gone, true)),
            ("policy/issuers/here.toml", file(&issuer, false)),
        ],
    );
    for (what, of) in [("lies", &other), ("is gone", &gone), ("is on this machine, and may not be", &issuer)] {
        let claims = json!({ "iss": of.name, "sub": "me", "aud": house.base(), "exp": now() + 60, "iat": now() });
        assert_eq!(house.refused(&key.token("JWT", &claims)), (503, "issuer_unreachable".to_owned()), "{what}");
    }
    assert_eq!(issuer.asked("/.well-known/openid-configuration"), 0, "nothing was asked there");
}

#[test]
fn a_token_exchange_gives_the_token_of_a_task() {
    let key = Signer::new("k");
    let house = House::of(&key_of(&key), &[]);
    let host = house.serve.address.to_string();
    let send = |form: &[(&str, &str)]| {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let headers = [("host", host.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        let stream = TcpStream::connect(house.serve.address).unwrap();
        exchange(stream, &request("POST", "/v1/token", &headers, body.as_bytes()))
    };
    let token = |id: &str| key.token("JWT", &assertion(&house, id));
    let details = json!([{ "type": "portreeve_task", "purpose": "work" }]).to_string();
    let (exchange_type, jwt) =
        ("urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:token-type:jwt");
    let (one, two, three, four) = (token("1"), token("2"), token("3"), token("4"));
    let form = |subject| {
        [
            ("grant_type", exchange_type),
            ("subject_token", subject),
            ("subject_token_type", jwt),
            ("authorization_details", details.as_str()),
        ]
    };
    let given = send(&form(&one));
    assert_eq!(given.status, 200, "{given:?}");
    assert_eq!(given.header("cache-control"), Some("no-store"));
    let given = given.json();
    assert_eq!(given["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    let text = |name: &str| given[name].as_str().unwrap().to_owned();
    let task = Task { id: text("task"), run: String::new(), token: text("access_token"), address: house.serve.address };
    assert_eq!(task.word("shop", "act", "a"), "ok");

    let error = |answer: Response| (answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned());
    assert_eq!(error(send(&form(&one))), (400, "invalid_request".to_owned()), "a second time");
    assert_eq!(error(send(&form(&two)[..3])), (400, "invalid_authorization_details".to_owned()));
    assert_eq!(error(send(&[("grant_type", "password")])), (400, "unsupported_grant_type".to_owned()));
    assert_eq!(
        error(send(&[&form(&three)[..], &[("actor_token", "x")]].concat())),
        (400, "invalid_request".to_owned())
    );
    assert_eq!(
        error(send(&[&form(&three)[..], &[("grant_type", exchange_type)]].concat())),
        (400, "invalid_request".to_owned())
    );
    let target = [&form(&four)[..], &[("resource", "http://elsewhere/mcp")]].concat();
    assert_eq!(error(send(&target)), (400, "invalid_target".to_owned()));
}

#[test]
fn people_agree_to_a_task_that_an_agent_opens_for_itself() {
    let key = Signer::new("k");
    let (place, shop) = (Place::new(), Upstream::http(&["act"], |_, _| false));
    place.connector("shop", &shop, "");
    people(&place);
    place.write("policy/agents/bot.toml", &format!("owner = \"tests\"\n\n[[proof]]\n{}\n", key_of(&key)));
    let asks = PURPOSE.replace(", \"other\"", "").replace("\"none\"\n", "\"none\"\nask = { who = \"leads\" }\n");
    place.write("policy/purposes/work.toml", &asks);
    let serve = place.serve(&["shop"]);
    let house = House { place, serve, shop };
    let open = |id: &str| house.open(&key.token("JWT", &assertion(&house, id)));

    let held = open("1");
    assert_eq!(held.status, 202, "{held:?}");
    let code = held.json()["held"]["code"].as_str().unwrap().to_owned();
    assert_eq!(open("2").json()["held"]["code"], code.as_str(), "it is one question");
    let shown = house.place.run(&["approvals", &code]).good();
    assert!(shown.out.contains("bot"), "{shown:?}");
    house.place.run(&["approve", &code, "--yes"]).good();
    let task = house.task(&open("3"));
    assert_eq!(task.word("shop", "act", "a"), "ok");
    // A yes is one task.
    assert_eq!(open("4").status, 202);
    let counted = recounted(&house.place.data());
    assert!(counted.is_none_or(|counted| counted["holds"].as_object().is_none_or(|holds| !holds.is_empty())));
}

#[test]
fn an_agent_is_added_shown_halted_and_retired_on_the_command_line() {
    let key = Signer::new("k");
    let place = Place::new();
    let shop = Upstream::http(&["act"], |_, _| false);
    place.connector("shop", &shop, "");
    let serve = place.serve(&[]);
    place.write("bot.jwk", &key.jwk().to_string());
    let add =
        ["agent", "add", "bot", "--owner", "ops@example.com", "--key", "bot.jwk", "--review-by", "2099-01-01", "--yes"];
    place.run(&add).good();
    assert_eq!(place.run(&add).code, 8, "it is there already");
    place.write("policy/purposes/work.toml", &PURPOSE.replace(", \"other\"", ""));
    place.run(&["policy", "apply"]).good();
    place.run(&["connector", "accept", "shop", "--yes"]).good();

    let house = House { place, serve, shop };
    let shown = house.place.json(&["agent", "show", "bot"]);
    assert_eq!((&shown["state"], &shown["owner"]), (&json!("live"), &json!("ops@example.com")));
    assert_eq!((&shown["purposes"], &shown["seen"]), (&json!(["work"]), &Value::Null));
    let task = house.task(&house.open(&key.token("JWT", &assertion(&house, "1"))));
    assert_eq!(task.word("shop", "act", "a"), "ok");
    let shown = house.place.json(&["agent", "list"]);
    let bot = shown["agents"].as_array().unwrap().iter().find(|agent| agent["agent"] == "bot").unwrap();
    assert_eq!((&bot["tasks"], &bot["seen"]["how"]), (&json!(1), &json!("private_key_jwt")));

    house.place.run(&["agent", "pause", "bot", "--why", "looks odd"]).good();
    assert_eq!(task.word("shop", "act", "b"), "paused");
    let opened = house.open(&key.token("JWT", &assertion(&house, "2")));
    assert_eq!((opened.status, opened.json()["error"]["word"].as_str()), (403, Some("paused")));
    assert_eq!(house.place.json(&["agent", "show", "bot"])["state"], "paused");
    house.place.run(&["agent", "resume", "bot"]).good();
    assert_eq!(task.word("shop", "act", "c"), "ok");
    house.place.run(&["agent", "retire", "bot"]).good();
    assert_eq!(task.word("shop", "act", "d"), "agent_stopped");
    assert_eq!(house.place.json(&["agent", "show", "bot"])["state"], "retired");
    let none = house.place.run(&["agent", "show", "nobody"]);
    assert_eq!(none.code, 3, "{none:?}");
    assert_eq!(house.shop.calls().len(), 2);
}

#[test]
fn an_agent_is_told_what_came_of_its_own_tasks_and_of_no_others() {
    let (key, stranger) = (Signer::new("k"), Signer::new("s"));
    let house = House::of(&key_of(&key), &[]);
    let proof = format!("owner = \"tests\"\n\n[[proof]]\n{}\n", key_of(&stranger));
    house.place.write("policy/agents/other.toml", &proof);
    house.place.run(&["policy", "apply"]).good();
    let task = house.task(&house.open(&key.token("JWT", &assertion(&house, "1"))));
    assert_eq!(task.word("shop", "act", "a"), "ok");
    let wrong = json!({ "value": "a", "more": true });
    for _ in 0..3 {
        assert_ne!(word(&task.call("shop", "act", &wrong)), "ok");
    }
    let look = |signer: &Signer, name: &str, id: &str, task: &str| {
        let mut claims = assertion(&house, id);
        (claims["iss"], claims["sub"]) = (json!(name), json!(name));
        let bearer = format!("Bearer {}", signer.token("JWT", &claims));
        house.send("GET", &format!("/v1/tasks/{task}"), &[("authorization", &bearer)], &Value::Null)
    };
    house.serve.calls_settled(&task);
    let told = look(&key, "bot", "2", &task.id);
    assert_eq!(told.status, 200, "{told:?}");
    let told = told.json();
    assert_eq!((&told["over"], &told["agent"], &told["purpose"]), (&Value::Null, &json!("bot"), &json!("work")));
    // Alike refusals are recorded as one event later, and told at once.
    assert_eq!(told["calls"], json!({ "allowed": 1, "refused": 3, "asked": 0 }), "{told}");
    assert_eq!(told["ends"], json!({ "ok": 1 }));
    assert_eq!(told["tools"], json!([{ "tool": "shop.act", "class": "write", "ends": { "ok": 1 } }]));
    let refusal = &told["refusals"][0];
    assert_eq!((&refusal["what"], &refusal["times"]), (&json!("shop.act"), &json!(3)), "{told}");
    assert!(refusal["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()));

    // Another agent is told no more than of a task that never was.
    let never = "task_0000000000001";
    let others = look(&stranger, "other", "3", &task.id);
    assert_eq!(others.status, 404, "{others:?}");
    assert_eq!(others.json()["error"]["word"], "task_unknown");
    let none = look(&stranger, "other", "4", never);
    assert_eq!(others.json().to_string().replace(&task.id, never), none.json().to_string());
    let bare = house.send("GET", &format!("/v1/tasks/{}", task.id), &[], &Value::Null);
    assert_eq!(bare.status, 401);

    // It is told afterwards, too, and after a restart, from the record.
    house.serve.stop(&task.id);
    let end = |signer: &Signer, name: &str, id: &str| {
        let mut claims = assertion(&house, id);
        (claims["iss"], claims["sub"]) = (json!(name), json!(name));
        let bearer = format!("Bearer {}", signer.token("JWT", &claims));
        house.send("DELETE", &format!("/v1/tasks/{}", task.id), &[("authorization", &bearer)], &Value::Null).status
    };
    assert_eq!(end(&key, "bot", "7"), 204, "what is over has ended");
    assert_eq!(end(&stranger, "other", "8"), 403, "and is nobody else's");
    let over = look(&key, "bot", "5", &task.id).json();
    assert_eq!((&over["over"], &over["calls"]), (&json!("killed"), &told["calls"]));
    let House { place, serve, shop } = house;
    serve.terminate();
    let serve = place.serve(&[]);
    let house = House { place, serve, shop };
    let mut claims = assertion(&house, "6");
    (claims["iss"], claims["sub"]) = (json!("bot"), json!("bot"));
    let bearer = format!("Bearer {}", key.token("JWT", &claims));
    let later = house.send("GET", &format!("/v1/tasks/{}", task.id), &[("authorization", &bearer)], &Value::Null);
    assert_eq!(later.json(), over);
}

#[test]
fn an_agent_works_on_behalf_of_who_gave_it_a_token_for_that() {
    let (key, company, stranger) = (Signer::new("k"), Signer::new("c"), Signer::new("s"));
    let issuer = Issuer::with(&[&company]);
    let people = format!("issuer = \"{}\"\nprivate = true\n[people]\nclient_id = \"portreeve\"\n", issuer.name);
    let purpose = PURPOSE.replace("\"none\"", "[\"ana\"]").replace("about", "name = \"theirs\"\nabout");
    let house = House::of(
        &key_of(&key),
        &[
            ("policy/issuers/company.toml", people),
            ("policy/users/ana.toml", "sign_in = { issuer = \"company\", sub = \"a1\" }\n".to_owned()),
            ("policy/purposes/theirs.toml", purpose),
        ],
    );
    let count = std::cell::Cell::new(0);
    let proof = || {
        count.set(count.get() + 1);
        key.token("JWT", &assertion(&house, &format!("b{}", count.get())))
    };
    let theirs = |signer: &Signer, typ: &str, more: &Value| {
        let mut claims = json!({ "iss": issuer.name, "sub": "a1", "aud": house.base(), "iat": now(), "exp": now() + 300,
            "jti": "u1", "client_id": "notes" });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        signer.token(typ, &claims)
    };
    let open = |token: &str| {
        let bearer = format!("Bearer {}", proof());
        let ask = json!({ "purpose": "theirs", "on_behalf_of": token });
        house.send("POST", "/v1/tasks", &[("authorization", &bearer)], &ask)
    };
    let good = theirs(&company, "at+jwt", &json!({}));
    assert_eq!(house.task(&open(&good)).word("shop", "act", "x"), "ok");
    let named = theirs(&company, "JWT", &json!({ "may_act": { "sub": "bot" } }));
    house.task(&open(&named));

    let wrong = [
        ("signature_wrong", theirs(&Signer::new("c"), "JWT", &json!({}))),
        ("key_unknown", theirs(&stranger, "JWT", &json!({}))),
        ("aud_wrong", theirs(&company, "JWT", &json!({ "aud": "portreeve" }))),
        ("expired", theirs(&company, "JWT", &json!({ "iat": now() - 600, "exp": now() - 60 }))),
        ("lifetime", theirs(&company, "JWT", &json!({ "exp": now() + 24 * 3600 }))),
        ("user_unknown", theirs(&company, "JWT", &json!({ "sub": "a2" }))),
        ("may_act_wrong", theirs(&company, "JWT", &json!({ "may_act": { "sub": "other" } }))),
        (
            "may_act_wrong",
            theirs(&company, "JWT", &json!({ "may_act": { "sub": "bot", "iss": "https://else.example" } })),
        ),
        ("issuer_unknown", proof()),
    ];
    for (word, token) in wrong {
        let answer = open(&token);
        assert_eq!((answer.status, answer.json()["error"]["word"].as_str()), (401, Some(word)), "{answer:?}");
    }

    // The same as a token exchange: the person is the subject, the agent the actor (RFC 8693, 1.1).
    let send = exchange;
    let exchange = |subject: &str, actor: &str| {
        let details = json!([{ "type": "portreeve_task", "purpose": "theirs" }]).to_string();
        let jwt = "urn:ietf:params:oauth:token-type:jwt";
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
            .append_pair("subject_token", subject)
            .append_pair("subject_token_type", jwt)
            .append_pair("actor_token", actor)
            .append_pair("actor_token_type", jwt)
            .append_pair("authorization_details", &details)
            .finish();
        let host = house.serve.address.to_string();
        let headers = [("host", host.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        let stream = TcpStream::connect(house.serve.address).unwrap();
        send(stream, &request("POST", "/v1/token", &headers, form.as_bytes()))
    };
    let given = exchange(&good, &proof());
    assert_eq!((given.status, given.json()["token_type"].as_str()), (200, Some("Bearer")), "{given:?}");
    assert_eq!(exchange(&proof(), &good).json()["error"], "unauthorized_client", "a person is no agent");

    let record = house.place.run(&["--json", "audit", "tail", "-n", "200"]).good().out;
    assert!(record.contains("\"client\":\"notes\"") && record.contains("\"subject\":\"a1\""), "{record}");
    assert!(!record.contains(&good), "no token is on the record");
}
