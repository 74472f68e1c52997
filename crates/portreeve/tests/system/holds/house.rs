//! A connector of which one tool needs a yes, and people who can give it.

use crate::{
    checklist::agent::Agent,
    support::{
        http::{exchange, request},
        place::{Place, Serve, Task},
        upstream::{DONE, Received, Upstream, Wire},
    },
};
use portreeve_core::time::Millis;
use portreeve_identity::{key::SigningKey, webhook};
use serde_json::{Value, json};
use std::{
    net::TcpStream,
    time::{SystemTime, UNIX_EPOCH},
};

/// Portreeve with a connector `shop`, whose `act` needs a yes of `leads`
pub(crate) struct House {
    pub(crate) serve: Serve,
    pub(crate) task: Task,
    pub(crate) place: Place,
    pub(crate) shop: Upstream,
}

const PURPOSE: &str = r#"about = "Whatever a test needs"
owner = "tests"

[open]
agents = ["assistant"]
users = "none"

[task]
expires_after = "1h"
standing = ["read", "write"]

[[allow]]
name = "act"
use = ["shop.act"]
where = { value = { any = true } }
ask = { who = "leads" }

[[allow]]
name = "free"
use = ["shop.free", "shop.slow"]
where = { value = { any = true } }
"#;

/// Answers with the value that it was called with
pub(crate) fn echo(received: &Received, wire: &mut Wire) -> bool {
    if received.method != "tools/call" {
        return false;
    }
    wire.answer(&DONE.replace("done", &format!("done {}", received.value)));
    true
}

impl House {
    /// One in which a request waits for people this long
    pub(crate) fn new(wait: &str) -> Self {
        Self::with(wait, PURPOSE, echo)
    }

    pub(crate) fn with(
        wait: &str,
        purpose: &str,
        script: impl Fn(&Received, &mut Wire) -> bool + Send + Sync + 'static,
    ) -> Self {
        let place = Place::new();
        let shop = Upstream::http(&["act", "free", "slow"], script);
        place.connector("shop", &shop, "");
        place.write("policy/purposes/work.toml", purpose);
        for (name, group) in [("lea", "leads"), ("sam", "leads"), ("eve", "others")] {
            let user = format!("accounts = [{name:?}]\ngroups = [{group:?}]\n");
            place.write(&format!("policy/users/{name}.toml"), &user);
        }
        let key = webhook::public_text(&desk(&place).public_key());
        let receiver = format!(
            "url = \"http://127.0.0.1:9/\"\nwho = [\"leads\"]\nanswer_key = \"{key}\"\nseveral = true\n\
             [people]\n\"lea\" = \"lea\"\n\"sam\" = \"sam\"\n\"eve\" = \"eve\"\n"
        );
        place.write("policy/receivers/desk.toml", &receiver);
        let config = place.read(".portreeve/portreeve.toml");
        place.write(".portreeve/portreeve.toml", &format!("{config}\n[holds]\nwait = \"{wait}\"\n"));
        let serve = place.serve(&["shop"]);
        let task = serve.open("work");
        Self { serve, task, place, shop }
    }

    /// A purpose like the usual one, with another `ask`
    pub(crate) fn purpose(ask: &str) -> String {
        PURPOSE.replace("ask = { who = \"leads\" }", ask)
    }

    /// Somebody says yes or no, if they may
    #[track_caller]
    pub(crate) fn answers(&self, user: &str, code: &str, yes: bool) {
        answers(&self.place, &self.serve, user, code, yes);
    }

    /// Somebody says yes
    #[track_caller]
    pub(crate) fn approves(&self, user: &str, code: &str) {
        self.answers(user, code, true);
    }

    /// The only question that has been put, once it has
    #[track_caller]
    pub(crate) fn asked(&self) -> String {
        let mut code = String::new();
        let asked = || {
            let record = self.place.record();
            let held: Vec<String> =
                record.events("held").map(|(_, held)| held["hold"].as_str().unwrap().to_owned()).collect();
            held
        };
        crate::support::until("somebody is asked", || !asked().is_empty());
        let held = asked();
        assert_eq!(held.len(), 1, "{held:?}");
        let digits: Vec<char> = held[0].to_uppercase().chars().rev().take(8).collect();
        for (at, digit) in digits.into_iter().rev().enumerate() {
            if at == 4 {
                code.push('-');
            }
            code.push(digit);
        }
        code
    }

    pub(crate) fn modern(&self) -> Agent {
        Agent::modern(&self.task, "shop")
    }

    pub(crate) fn legacy(&self) -> Agent {
        Agent::legacy(&self.task, "shop", json!({}))
    }

    /// The calls that reached the connector, by value
    pub(crate) fn made(&self) -> Vec<String> {
        self.shop.values()
    }
}

/// Somebody says yes or no, if they are let
///
/// By a desk that signs for people: a link would be the hand of whoever has it made, who has opened the task here.
#[track_caller]
pub(crate) fn answers(place: &Place, serve: &Serve, user: &str, code: &str, yes: bool) {
    let (status, hold) = serve.admin("GET", &format!("/v1/holds/{code}"), &Value::Null);
    assert_eq!(status, 200, "{hold}");
    let said =
        json!({ "hold": hold["hold"], "binding": hold["binding"], "yes": yes, "why": "because", "person": user });
    let (said, since) = (said.to_string(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
    let now = Millis(i64::try_from(since.as_millis()).unwrap());
    let signed = webhook::sign(&desk(place), &format!("m{}", since.as_nanos()), now, said.as_bytes()).unwrap();
    let headers = [
        ("host", "portreeve.example.com"),
        ("content-type", "application/json"),
        (webhook::ID, signed.id.as_str()),
        (webhook::TIMESTAMP, &signed.timestamp),
        (webhook::SIGNATURE, &signed.signature),
    ];
    let request = request("POST", "/hooks/desk", &headers, said.as_bytes());
    let answer = exchange(TcpStream::connect(serve.address).unwrap(), &request);
    assert!(answer.status < 500, "{answer:?}");
}

fn desk(place: &Place) -> SigningKey {
    SigningKey::load_or_make(&place.path().join("desk.key")).unwrap()
}

/// What an answer says of the question that waits
#[track_caller]
pub(crate) fn hold(answer: &Value) -> Value {
    let meta = answer.pointer("/result/_meta").or_else(|| answer.pointer("/error/data"));
    let hold = meta.and_then(|meta| meta.get("portreeve/hold")).cloned();
    hold.unwrap_or_else(|| panic!("no question in {answer}"))
}

/// The code of the question that waits
#[track_caller]
pub(crate) fn code(answer: &Value) -> String {
    hold(answer)["code"].as_str().unwrap().to_owned()
}

/// The text of an answer
#[track_caller]
pub(crate) fn text(answer: &Value) -> String {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}
