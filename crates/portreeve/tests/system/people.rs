//! People who sign in at an issuer: in a browser and on a device, and what is refused there.

mod elsewhere;
mod keycloak;
mod provider;

use crate::support::{
    http::{Response, exchange, request},
    issuer::{Signer, now},
    place::{PROGRAM, Place, Ran, Running, Serve, finish},
    provider::RealProvider,
    until,
    upstream::Upstream,
};
use provider::Provider;
use serde_json::{Value, json};
use std::{fs, net::TcpStream, os::unix::fs::PermissionsExt as _, process::Command};
use url::Url;

/// A served folder whose policy knows an issuer `company`, and there `ana` (as `a-1`), who is in no group by her file
struct House {
    place: Place,
    serve: Serve,
    shop: Upstream,
}

/// What a browser keeps
#[derive(Default)]
struct Browser {
    cookies: Vec<(String, String)>,
}

const ANA: &str = "sign_in = { issuer = \"company\", sub = \"a-1\" }\nroles = [\"approver\", \"operator\"]\n";

impl House {
    fn of(issuer: &str, people: &str) -> Self {
        let (place, shop) = (Place::new(), Upstream::http(&["act"], |_, _| false));
        place.connector("shop", &shop, "");
        let company = format!(
            "issuer = \"{issuer}\"\nprivate = true\n\n[people]\nclient_id = \"portreeve\"\n\
             group = {{ \"idp-leads\" = \"leads\" }}\n{people}"
        );
        place.write("policy/issuers/company.toml", &company);
        place.write("policy/users/zz-ana.toml", ANA);
        place.purpose("work", &[("shop", &shop)], "", "ask = { who = \"leads\" }\n");
        // An agent is told at once that people are asked.
        place.write(
            ".portreeve/portreeve.toml",
            &format!("{}\n[holds]\nwait = \"0s\"\n", place.read(".portreeve/portreeve.toml")),
        );
        let started = Serve::start_as(&place, |command| {
            command.env("PORTREEVE_CLIENT_COMPANY", "hunter2 & more");
        });
        let serve = started.unwrap_or_else(|ran| panic!("{ran:?}"));
        place.run(&["connector", "accept", "shop", "--yes"]).good();
        Self { place, serve, shop }
    }

    /// A purpose that Ana may open up to what her issuer says, and this account is hers
    fn bounded(&self) {
        let users = self.place.path().join("policy/users");
        for user in fs::read_dir(users)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| !path.ends_with("zz-ana.toml"))
        {
            let text = fs::read_to_string(&user).unwrap();
            let accounts = text.lines().find(|line| line.starts_with("accounts")).unwrap();
            self.place.write("policy/users/zz-ana.toml", &format!("{accounts}\n{ANA}"));
            fs::remove_file(user).unwrap();
        }
        self.place.write(
            "policy/purposes/bounded.toml",
            "about = \"Refund\"\nowner = \"tests\"\n[open]\nagents = [\"assistant\"]\nusers = [\"zz-ana\"]\n\
             where = { limit = { at_most = \"user.refund_limit\" } }\n\
             [task]\nexpires_after = \"1h\"\nstanding = [\"write\"]\n\
             [parameters]\nlimit = { type = \"decimal\", max = 1000 }\n\
             [[allow]]\nname = \"act\"\nuse = [\"shop.act\"]\nwhere = { value = { at_most = \"{limit}\" } }\n",
        );
        self.place.run(&["policy", "apply"]).good();
    }

    fn base(&self) -> String {
        format!("http://localhost:{}", self.serve.address.port())
    }

    /// A page, as a browser asks for it
    fn get(&self, browser: &mut Browser, path: &str, headers: &[(&str, &str)]) -> Response {
        let host = format!("localhost:{}", self.serve.address.port());
        let cookie: Vec<String> = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookie = cookie.join("; ");
        let mut all = vec![("host", host.as_str())];
        if !cookie.is_empty() {
            all.push(("cookie", &cookie));
        }
        all.extend(headers);
        let answer = exchange(TcpStream::connect(self.serve.address).unwrap(), &request("GET", path, &all, b""));
        for (_, set) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let (pair, rest) = set.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            assert!(rest.contains("HttpOnly") && rest.contains("SameSite="), "{set}");
            browser.cookies.retain(|(known, _)| known != name);
            if !rest.contains("Max-Age=0") {
                browser.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        answer
    }

    /// Begins to sign in: where the browser is sent
    #[track_caller]
    fn begin(&self, browser: &mut Browser) -> Url {
        let begun = self.get(browser, "/sign-in/with/company", &[("sec-fetch-site", "same-origin")]);
        assert_eq!(begun.status, 303, "{begun:?}");
        begun.header("location").unwrap().parse().unwrap()
    }

    /// Comes back with this in the address
    fn finish(&self, browser: &mut Browser, query: &[(&str, &str)]) -> Response {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        self.get(browser, &format!("/sign-in/with/company/return?{query}"), &[("sec-fetch-site", "cross-site")])
    }

    /// Signs in as the provider's `sub` with these claims more; what the page says
    fn sign_in(&self, provider: &Provider, sub: &str, more: Value) -> (Response, Browser) {
        let mut browser = Browser::default();
        let sent = self.begin(&mut browser);
        let code = provider.code(&sent, sub, more);
        let answer =
            self.finish(&mut browser, &[("code", &code), ("state", &member(&sent, "state")), ("iss", &provider.name)]);
        (answer, browser)
    }

    fn signed_in(&self) -> Vec<Value> {
        let record = self.place.record();
        let noted = record.events("noted").filter_map(|(_, noted)| noted.get("signed_in").cloned());
        noted.filter(|signed| signed["how"]["oidc"].is_object()).collect()
    }

    /// Runs a command at the server, as whoever is signed in there
    fn at_server(&self, arguments: &[&str]) -> Ran {
        finish(self.terminal(arguments), "")
    }

    fn terminal(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(PROGRAM, &["--json"]);
        command.args(arguments).env("PORTREEVE_SERVER", self.base());
        command
    }
}

fn member(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// The exit code of a command that failed, and its word
#[track_caller]
fn failed(ran: &Ran) -> (i32, String) {
    (ran.code, ran.json()["error"]["word"].as_str().unwrap_or_default().to_owned())
}

/// The word on an error page
fn word(page: &Response) -> String {
    let text = String::from_utf8_lossy(&page.body).into_owned();
    let known = text.split("<code class=\"word\">").nth(1).and_then(|rest| rest.split('<').next());
    known.map_or_else(|| text.clone(), str::to_owned)
}

#[test]
fn somebody_signs_in_in_a_browser_and_answers_as_their_groups_say() {
    let provider = Provider::new();
    let house = House::of(&provider.name, "secret = \"env:PORTREEVE_CLIENT_COMPANY\"\nscopes = [\"groups\"]\n");
    let mut browser = Browser::default();
    let page = house.get(&mut browser, "/sign-in", &[]);
    let link = format!("{}/sign-in/with/company", house.base());
    assert!(String::from_utf8_lossy(&page.body).contains(&link), "{page:?}");

    let sent = house.begin(&mut browser);
    assert_eq!(sent.origin().ascii_serialization(), provider.name);
    let back = format!("{link}/return");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "portreeve"),
        ("redirect_uri", &back),
        ("scope", "openid groups"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(member(&sent, name), value, "{sent}");
    }
    let code = provider.code(&sent, "a-1", json!({ "groups": ["idp-leads", "others"] }));
    let (state, iss) = (member(&sent, "state"), provider.name.clone());
    let query = [("code", code.as_str()), ("state", &state), ("iss", &iss)];
    let done = house.finish(&mut browser, &query);
    assert_eq!(done.status, 200, "{done:?}");
    assert!(String::from_utf8_lossy(&done.body).contains("http-equiv=\"refresh\" content=\"0;url=/\""), "{done:?}");
    let me = house.get(&mut browser, "/me", &[]);
    let text = String::from_utf8_lossy(&me.body).into_owned();
    assert!(me.status == 200 && text.contains("zz-ana") && text.contains("a-1"), "{text}");

    // The issuer was asked once, with the verifier and the secret, and nothing of it is anywhere.
    let forms = provider.forms();
    assert_eq!(forms.len(), 1, "{forms:?}");
    assert_eq!(forms[0].get("redirect_uri"), Some(&back));
    let basic = "Basic cG9ydHJlZXZlOmh1bnRlcjIrJTI2K21vcmU=";
    assert_eq!(forms[0].get("authorization").map(String::as_str), Some(basic));
    assert_eq!(
        house.signed_in(),
        [json!({
            "user": "zz-ana", "how": { "oidc": { "issuer": "company", "subject": "a-1" } }, "groups": ["idp-leads"],
        })]
    );

    // The same once more is nothing, not even in the same browser.
    let again = house.finish(&mut browser, &query);
    assert_eq!((again.status, word(&again).as_str()), (403, "sign_in_over"));
    assert_eq!(provider.forms().len(), 1, "nobody was asked");

    // A question to the group is hers to answer; the record says how she was known.
    let task = house.serve.open("work");
    drop(task.call("shop", "act", &json!({ "value": "a" })));
    let waiting = house.get(&mut browser, "/approvals", &[]);
    assert!(String::from_utf8_lossy(&waiting.body).contains("shop.act"), "{waiting:?}");
    assert!(house.shop.calls().is_empty());
}

#[test]
fn what_an_issuer_says_wrongly_signs_nobody_in() {
    let provider = Provider::new();
    let house = House::of(&provider.name, "");
    let other = Signer::new("k1");
    let claims: [(&str, Value, &str); 9] = [
        ("another nonce", json!({ "nonce": "other" }), "nonce_wrong"),
        ("no nonce", json!({ "nonce": null }), "nonce_missing"),
        ("another issuer", json!({ "iss": "https://evil.example" }), "iss_wrong"),
        ("another client", json!({ "aud": "other" }), "aud_wrong"),
        ("several, without who asked", json!({ "aud": ["portreeve", "other"] }), "azp_missing"),
        ("asked by another", json!({ "azp": "other" }), "azp_wrong"),
        ("over", json!({ "iat": now() - 60, "exp": now() - 1 }), "expired"),
        ("with another access token", json!({ "at_hash": "AAAA" }), "at_hash_wrong"),
        ("groups that are none", json!({ "groups": [1] }), "groups_form"),
    ];
    for (what, more, expected) in claims {
        let (answer, _) = house.sign_in(&provider, "a-1", more);
        assert_eq!((answer.status, word(&answer).as_str()), (403, expected), "{what}");
    }
    let (answer, _) = house.sign_in(&provider, "b-2", json!({}));
    assert_eq!((answer.status, word(&answer).as_str()), (403, "user_unknown"), "somebody else there");

    // Signed by nobody, by somebody else, and no token at all.
    let forge = |change: Box<dyn Fn(&Value) -> String + Send>| {
        provider.forges(Some(change));
        let (answer, _) = house.sign_in(&provider, "a-1", json!({}));
        provider.forges(None);
        (answer.status, word(&answer))
    };
    let none = |claims: &Value| provider::unsigned(claims);
    assert_eq!(forge(Box::new(none)), (403, "alg_none".to_owned()));
    assert_eq!(forge(Box::new(move |claims| other.token("JWT", claims))), (403, "signature_wrong".to_owned()));
    assert_eq!(forge(Box::new(|_| "a.b".to_owned())), (403, "token_form".to_owned()));
    assert_eq!(house.signed_in(), Vec::<Value>::new(), "none of them came in");
    let (answer, _) = house.sign_in(&provider, "a-1", json!({ "aud": ["portreeve", "other"], "azp": "portreeve" }));
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn only_the_browser_that_began_comes_back_from_where_it_was_sent() {
    let provider = Provider::new();
    let house = House::of(&provider.name, "");
    // No other site begins a sign-in.
    let elsewhere = house.get(&mut Browser::default(), "/sign-in/with/company", &[("sec-fetch-site", "cross-site")]);
    assert_eq!((elsewhere.status, elsewhere.header("location")), (303, Some("/sign-in")));
    let unknown = house.get(&mut Browser::default(), "/sign-in/with/nobody", &[]);
    assert_eq!((unknown.status, word(&unknown).as_str()), (404, "issuer_unknown"));

    let attempt = |with: &dyn Fn(&mut Browser, &Url, &str) -> Response| {
        let mut browser = Browser::default();
        let sent = house.begin(&mut browser);
        let code = provider.code(&sent, "a-1", json!({}));
        let answer = with(&mut browser, &sent, &code);
        (answer.status, word(&answer))
    };
    let state = |sent: &Url| member(sent, "state");
    let over = (403, "sign_in_over".to_owned());
    let none = attempt(&|_, sent, code| {
        house.finish(&mut Browser::default(), &[("code", code), ("state", &state(sent)), ("iss", &provider.name)])
    });
    assert_eq!(none, over, "a browser that began nothing");
    let other = attempt(&|_, sent, code| {
        let mut other = Browser::default();
        house.begin(&mut other);
        house.finish(&mut other, &[("code", code), ("state", &state(sent)), ("iss", &provider.name)])
    });
    assert_eq!(other, over, "another browser");
    let without = attempt(&|browser, _, code| house.finish(browser, &[("code", code), ("iss", &provider.name)]));
    assert_eq!(without, over, "without state");
    // Mixed up: RFC 9207, 2.4.
    let mixed = (403, "sign_in_mixed".to_owned());
    let evil = attempt(&|browser, sent, code| {
        house.finish(browser, &[("code", code), ("state", &state(sent)), ("iss", "https://evil.example")])
    });
    assert_eq!(evil, mixed);
    let silent = attempt(&|browser, sent, code| house.finish(browser, &[("code", code), ("state", &state(sent))]));
    assert_eq!(silent, mixed, "an issuer that says its name says it each time");
    let twice = attempt(&|browser, sent, code| {
        house.finish(browser, &[("code", code), ("code", "x"), ("state", &state(sent)), ("iss", &provider.name)])
    });
    assert_eq!(twice, (400, "malformed".to_owned()));
    let denied = attempt(&|browser, sent, _| {
        house.finish(browser, &[("error", "access_denied"), ("state", &state(sent)), ("iss", &provider.name)])
    });
    assert_eq!(denied, (403, "sign_in_refused".to_owned()));
    let hostile = attempt(&|browser, sent, _| {
        house.finish(browser, &[("error", "<b>call 555"), ("state", &state(sent)), ("iss", &provider.name)])
    });
    assert_eq!(hostile, (403, "sign_in_refused".to_owned()));
    // Another code than the one that was given for this sign-in: the issuer says no.
    let wrong = attempt(&|browser, sent, _| {
        house.finish(browser, &[("code", "made-up"), ("state", &state(sent)), ("iss", &provider.name)])
    });
    assert_eq!(wrong, (403, "sign_in_refused".to_owned()));
    assert_eq!(house.signed_in(), Vec::<Value>::new());
}

#[test]
fn an_issuer_that_is_down_or_lies_signs_nobody_in_and_links_still_do() {
    let provider = Provider::new();
    let house = House::of(&provider.name, "");
    provider.lies(json!({ "issuer": "https://evil.example" }));
    let mut browser = Browser::default();
    let lied = house.get(&mut browser, "/sign-in/with/company", &[]);
    assert_eq!((lied.status, word(&lied).as_str()), (503, "issuer_unreachable"));
    let link = house.place.json(&["console"])["link"].as_str().unwrap().to_owned();
    let page = house.get(&mut browser, Url::parse(&link).unwrap().path(), &[]);
    assert_eq!(page.status, 200, "{page:?}");

    // Down between there and back: what was begun is over, and nobody is in.
    let provider = Provider::new();
    let house = House::of(&provider.name, "");
    let sent = house.begin(&mut browser);
    let code = provider.code(&sent, "a-1", json!({}));
    provider.goes_silent();
    let down =
        house.finish(&mut browser, &[("code", &code), ("state", &member(&sent, "state")), ("iss", &provider.name)]);
    assert_eq!((down.status, word(&down).as_str()), (503, "issuer_unreachable"));
    // One that sends us elsewhere is not followed.
    let provider = Provider::new();
    let house = House::of(&provider.name, "");
    let sent = house.begin(&mut browser);
    let code = provider.code(&sent, "a-1", json!({}));
    provider.redirects(&format!("{}/token2", provider.name));
    let moved =
        house.finish(&mut browser, &[("code", &code), ("state", &member(&sent, "state")), ("iss", &provider.name)]);
    assert_eq!((moved.status, word(&moved).as_str()), (503, "issuer_unreachable"));
    assert_eq!(house.signed_in(), Vec::<Value>::new());
}

/// The question that waits
fn waiting(house: &House) -> Option<String> {
    let holds = house.place.json(&["approvals"])["holds"].clone();
    holds[0]["code"].as_str().map(str::to_owned)
}

#[test]
fn somebody_signs_in_at_a_terminal_and_is_in_a_group_while_the_issuer_says_so() {
    let provider = Provider::new();
    let house = House::of(&provider.name, "");
    assert_eq!(failed(&house.at_server(&["whoami"])), (1, "signed_out".to_owned()));

    let login = |more: Value| {
        provider.device_will(1, "a-1", more);
        let ran = house.at_server(&["login"]).good();
        assert!(ran.err.contains("WDJB-MJHT") && ran.err.contains("/device"), "{ran:?}");
        assert!(!ran.out.contains("ptrs_") && !ran.err.contains("ptrs_"), "{ran:?}");
        ran.json()
    };
    let who = login(json!({ "groups": ["idp-leads"] }));
    assert_eq!((&who["user"], &who["how"]), (&json!("zz-ana"), &json!("issuer company")), "{who}");
    assert_eq!(who["groups"][0]["group"], "leads");
    let kept = house.place.path().join(".config/portreeve/sessions");
    for file in fs::read_dir(&kept).unwrap().map(Result::unwrap) {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o700);

    // She sees what her group is asked, and her yes counts.
    let task = house.serve.open("work");
    drop(task.call("shop", "act", &json!({ "value": "a" })));
    let code = waiting(&house).unwrap();
    let seen = house.at_server(&["approvals"]).good().json();
    assert_eq!(seen["holds"][0]["code"], json!(code), "{seen}");
    house.at_server(&["approve", &code, "--yes", "--why", "fine"]).good();
    assert_eq!(task.word("shop", "act", "a"), "ok");
    assert_eq!(house.shop.values(), ["a"]);
    let record = house.place.record();
    let said = record.events("granted").map(|(_, granted)| granted["signed"]["how"].clone()).collect::<Vec<_>>();
    assert_eq!(said, [json!({ "oidc": { "issuer": "company", "subject": "a-1" } })]);

    // The next sign-in says nothing of the group: she is not in it any more.
    drop(task.call("shop", "act", &json!({ "value": "b" })));
    let code = waiting(&house).unwrap();
    let who = login(json!({ "groups": [] }));
    assert_eq!(who["groups"], json!([]));
    // As an operator she still sees it, and answers for nobody.
    assert_eq!(failed(&house.at_server(&["approve", &code, "--yes"])), (4, "not_approver".to_owned()));

    // An operator lists tasks and stops one; what works at the data folder only says so.
    let listed = house.at_server(&["task", "list"]).good().json();
    assert_eq!(listed["tasks"][0]["task"], json!(task.id), "{listed}");
    house.at_server(&["task", "stop", &task.id]).good();
    assert_eq!(task.word("shop", "act", "c"), "task_over");
    assert_eq!(failed(&house.at_server(&["policy", "check"])), (1, "only_here".to_owned()));

    // A file that others may read is not taken; signed out, the session is nothing.
    let file = fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&file).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(failed(&house.at_server(&["whoami"])), (1, "session_exposed".to_owned()));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    house.at_server(&["logout"]).good();
    assert!(!file.exists());
    let session: Value = serde_json::from_str(&text).unwrap();
    let bearer = format!("Bearer {}", session["secret"].as_str().unwrap());
    let host = house.serve.address.to_string();
    let headers = [("host", host.as_str()), ("authorization", &bearer)];
    let stream = TcpStream::connect(house.serve.address).unwrap();
    let gone = exchange(stream, &request("GET", "/v1/whoami", &headers, b""));
    assert_eq!((gone.status, gone.json()["error"]["word"].clone()), (401, json!("signed_out")));
}

#[test]
fn what_an_issuer_said_of_groups_counts_for_as_long_as_the_policy_says() {
    let provider = Provider::new();
    let house = House::of(&provider.name, "fresh = \"3s\"\n");
    provider.device_will(0, "a-1", json!({ "groups": ["idp-leads"] }));
    house.at_server(&["login"]).good();
    let task = house.serve.open("work");
    drop(task.call("shop", "act", &json!({ "value": "a" })));
    let code = waiting(&house).unwrap();
    until("the groups are forgotten", || house.at_server(&["whoami"]).good().json()["groups"] == json!([]));
    assert_eq!(failed(&house.at_server(&["approve", &code, "--yes"])), (4, "not_approver".to_owned()));
    // Somebody else says that they are her: then she is nobody here, and the session is over.
    house.place.write("policy/users/zz-ana.toml", &ANA.replace("a-1", "a-2"));
    house.place.run(&["policy", "apply"]).good();
    assert_eq!(failed(&house.at_server(&["whoami"])), (4, "user_unknown".to_owned()));
    assert_eq!(failed(&house.at_server(&["whoami"])), (1, "signed_out".to_owned()));
}

#[test]
fn a_device_that_is_refused_gets_nothing() {
    let provider = Provider::new();
    let house = House::of(&provider.name, "");
    let refused = |word: &str| assert_eq!(failed(&house.at_server(&["login"])), (4, word.to_owned()));
    provider.device_refuses("access_denied");
    refused("sign_in_refused");
    // A token that was made for a browser is none for a device.
    provider.device_will(0, "a-1", json!({ "nonce": "of a browser" }));
    refused("nonce_wrong");
    provider.device_will(0, "b-2", json!({}));
    refused("user_unknown");
    assert_eq!(house.signed_in(), Vec::<Value>::new());
}

#[test]
fn people_sign_in_at_a_real_provider() {
    let Some(provider) = RealProvider::start("people_sign_in_at_a_real_provider") else { return };
    // The provider has to know where people come back to, and the policy where the provider is.
    let house = House::of(
        &provider.name,
        "[people.attributes]\nrefund_limit = { claim = \"limits.refund\", type = \"decimal\" }\n\
         office = { claim = \"office\", type = \"string\" }\n",
    );
    let back = format!("{}/sign-in/with/company/return", house.base());
    provider.control("register", &[("uri", &back)]);

    let mut browser = Browser::default();
    let sent = house.begin(&mut browser);
    let returned = provider.control("visit", &[("url", sent.as_str())]);
    let returned = Url::parse(&returned).unwrap();
    assert!(returned.as_str().starts_with(&back), "{returned}");
    let path = format!("{}?{}", returned.path(), returned.query().unwrap());
    let done = house.get(&mut browser, &path, &[("sec-fetch-site", "cross-site")]);
    assert_eq!(done.status, 200, "{}", String::from_utf8_lossy(&done.body));
    assert_eq!(house.signed_in()[0]["groups"], json!(["idp-leads"]));
    // What else it says bounds what may be opened on their behalf; what is of another kind than was asked for is not said.
    let said: Vec<String> = house.signed_in()[0]["attributes"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(said, ["refund_limit"]);
    house.bounded();
    let open = |limit: u32| {
        let ask = json!({ "purpose": "bounded", "parameters": { "limit": limit } });
        house.serve.admin("POST", "/v1/tasks", &ask)
    };
    let (status, opened) = open(150);
    assert_eq!(status, 200, "{opened}");
    let (status, refused) = open(151);
    assert!(status != 200 && refused.to_string().contains("parameter_outside_purpose"), "{refused}");

    // On a device, while a browser elsewhere types the code.
    let mut command = house.place.command("sh", &["-c", "exec \"$0\" \"$@\" 2>&1", PROGRAM, "login"]);
    command.env("PORTREEVE_SERVER", house.base());
    let login = Running::start(command);
    let code = loop {
        let line = login.lines.next().expect("the code is shown");
        if let Some(code) = line.strip_prefix("and type ") {
            break code.to_owned();
        }
    };
    provider.control("type", &[("code", &code)]);
    assert_eq!(login.end(), 0);
    let who = house.at_server(&["whoami"]).good().json();
    assert_eq!((&who["user"], &who["groups"][0]["group"]), (&json!("zz-ana"), &json!("leads")), "{who}");
}

fn query(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}
