//! With a real Keycloak: people in a browser and on a device, groups, an agent that is one of its service accounts, and
//! a key that is exchanged there.

use super::{Browser, House, failed, query};
use crate::{
    interop::{interop, left_out},
    support::{
        http::{Response, exchange, request},
        place::{PROGRAM, Place, Running},
        until,
    },
};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    fs,
    net::TcpStream,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};
use url::Url;

/// A realm with two people, a public client that has to use PKCE, and a service account
const REALM: &str = r#"{
  "realm": "house", "enabled": true, "sslRequired": "none",
  "groups": [{ "name": "idp-leads" }, { "name": "others" }],
  "users": [
    { "id": "a-1", "username": "ana", "enabled": true, "email": "ana@example.org", "emailVerified": true,
      "firstName": "A", "lastName": "B", "groups": ["/idp-leads", "/others"],
      "credentials": [{ "type": "password", "value": "hunter2", "temporary": false }] },
    { "id": "b-2", "username": "ben", "enabled": true, "email": "ben@example.org", "emailVerified": true,
      "firstName": "B", "lastName": "C", "groups": ["/idp-leads"],
      "credentials": [{ "type": "password", "value": "hunter2", "temporary": false }] },
    { "id": "s-3", "username": "service-account-bot", "enabled": true, "serviceAccountClientId": "bot" }
  ],
  "clients": [
    { "clientId": "portreeve", "enabled": true, "publicClient": true, "standardFlowEnabled": true,
      "directAccessGrantsEnabled": false, "redirectUris": ["http://localhost/*"],
      "attributes": { "oauth2.device.authorization.grant.enabled": "true",
        "oauth2.device.polling.interval": "1", "pkce.code.challenge.method": "S256" },
      "protocolMappers": [{ "name": "groups", "protocol": "openid-connect",
        "protocolMapper": "oidc-group-membership-mapper",
        "config": { "full.path": "false", "id.token.claim": "true", "access.token.claim": "false",
          "userinfo.token.claim": "false", "claim.name": "groups" } }] },
    { "clientId": "bot", "enabled": true, "publicClient": false, "secret": "for tests",
      "standardFlowEnabled": false, "serviceAccountsEnabled": true,
      "protocolMappers": [{ "name": "audience", "protocol": "openid-connect",
        "protocolMapper": "oidc-audience-mapper",
        "config": { "included.custom.audience": "https://portreeve.example", "access.token.claim": "true",
          "id.token.claim": "false" } }] }
  ]
}"#;
const NEEDS: [&str; 2] = ["keycloak/bin/kc.sh", "keycloak/lib/quarkus-run.jar"];
/// Files that it changes when it starts; everything else is linked
const CHANGED: [&str; 3] = ["bin/kc.sh", "lib/quarkus-run.jar", "conf/keycloak.conf"];
const LINKED: [&str; 4] = ["lib/lib", "lib/app", "themes", "providers"];

struct Keycloak {
    base: String,
    _running: Running,
}

impl Keycloak {
    /// Starts it in a folder of its own, with everything in memory
    fn start(interop: &Path, place: &Place) -> Self {
        let (from, home) = (interop.join("keycloak"), place.path().join("keycloak"));
        for folder in ["bin", "lib/quarkus", "conf", "data/import"] {
            fs::create_dir_all(home.join(folder)).unwrap();
        }
        for file in fs::read_dir(from.join("lib/quarkus")).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), home.join("lib/quarkus").join(file.file_name())).unwrap();
        }
        for file in CHANGED {
            fs::copy(from.join(file), home.join(file)).unwrap();
        }
        for folder in LINKED {
            symlink(fs::canonicalize(from.join(folder)).unwrap(), home.join(folder)).unwrap();
        }
        fs::write(home.join("data/import/house.json"), REALM).unwrap();
        let arguments = ["start-dev", "--db=dev-mem", "--cache=local", "--http-host=127.0.0.1", "--http-port=0"];
        let mut command = place.command(home.join("bin/kc.sh").to_str().unwrap(), &arguments);
        command.arg("--import-realm").env("KC_BOOTSTRAP_ADMIN_USERNAME", "root");
        // It is to begin soon, and not to run long.
        command.env("JAVA_OPTS_APPEND", "-XX:TieredStopAtLevel=1");
        command.env("KC_BOOTSTRAP_ADMIN_PASSWORD", "for tests");
        let running = Running::start(command);
        let base = loop {
            let line = running.lines.next().expect("Keycloak says where it listens");
            if let Some((_, base)) = line.split_once("Listening on: ") {
                break base.trim().to_owned();
            }
        };
        Self { base, _running: running }
    }

    fn issuer(&self) -> String {
        format!("{}/realms/house", self.base)
    }

    fn send(&self, method: &str, url: &Url, headers: &[(&str, &str)], body: &str) -> Response {
        let (at, host) = (("127.0.0.1", url.port().unwrap()), self.base.trim_start_matches("http://"));
        let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let headers = [&[("host", host)], headers].concat();
        exchange(TcpStream::connect(at).unwrap(), &request(method, &path, &headers, body.as_bytes()))
    }

    /// Asks a token endpoint
    fn token(&self, realm: &str, form: &[(&str, &str)]) -> Value {
        let url = format!("{}/realms/{realm}/protocol/openid-connect/token", self.base).parse().unwrap();
        self.send("POST", &url, &[("content-type", FORM)], &query(form)).json()
    }

    /// What its administrator does
    fn admin(&self, method: &str, path: &str, body: &Value) -> Response {
        let form =
            [("grant_type", "password"), ("client_id", "admin-cli"), ("username", "root"), ("password", "for tests")];
        let token = self.token("master", &form);
        let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap_or_else(|| panic!("{token}")));
        let url = format!("{}/admin/realms/house{path}", self.base).parse().unwrap();
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let answer = self.send(method, &url, &headers, &body.to_string());
        assert!((200..300).contains(&answer.status), "{answer:?}");
        answer
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// A browser of somebody who signs in at Keycloak and agrees to everything
struct Visitor<'k> {
    keycloak: &'k Keycloak,
    name: &'k str,
    cookies: RefCell<Vec<(String, String)>>,
}

impl<'k> Visitor<'k> {
    fn new(keycloak: &'k Keycloak, name: &'k str) -> Self {
        Self { keycloak, name, cookies: RefCell::default() }
    }

    /// Goes there, and on, until nothing is to be filled in; where that is, and the page
    fn go(&self, to: &Url) -> (Url, String) {
        let (mut url, mut form) = (to.clone(), None::<String>);
        for _ in 0..20 {
            if url.origin().ascii_serialization() != self.keycloak.base {
                return (url, String::new());
            }
            let cookies: Vec<String> =
                self.cookies.borrow().iter().map(|(name, value)| format!("{name}={value}")).collect();
            let cookies = cookies.join("; ");
            let method = if form.is_some() { "POST" } else { "GET" };
            let headers = [("cookie", cookies.as_str()), ("content-type", FORM), ("accept", "text/html")];
            let answer = self.keycloak.send(method, &url, &headers, &form.take().unwrap_or_default());
            for (_, set) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
                let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
                self.cookies.borrow_mut().retain(|(known, _)| known != name);
                self.cookies.borrow_mut().push((name.to_owned(), value.to_owned()));
            }
            if let Some(location) = answer.header("location") {
                url = url.join(location).unwrap();
                continue;
            }
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let fields = [
                ("name=\"password\"", query(&[("username", self.name), ("password", "hunter2")])),
                ("name=\"accept\"", "accept=Yes".to_owned()),
            ];
            let Some((_, filled)) = fields.into_iter().find(|(field, _)| text.contains(field)) else {
                return (url, text);
            };
            let action = text.split(" action=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            url = url.join(&action.replace("&amp;", "&")).unwrap();
            form = Some(filled);
        }
        panic!("{to} leads nowhere");
    }

    /// Signs in for the console; what it says
    fn sign_in(&self, house: &House, browser: &mut Browser) -> Response {
        let (back, page) = self.go(&house.begin(browser));
        assert!(back.as_str().starts_with(&house.base()), "{back}: {page}");
        let path = format!("{}?{}", back.path(), back.query().unwrap());
        house.get(browser, &path, &[("sec-fetch-site", "cross-site")])
    }
}

fn has_java() -> bool {
    let mut java = Command::new("java");
    java.arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[test]
fn people_and_agents_are_who_a_real_keycloak_says() {
    let Some(folder) = interop("people_and_agents_are_who_a_real_keycloak_says", &NEEDS) else { return };
    if !has_java() {
        return left_out("people_and_agents_are_who_a_real_keycloak_says: no Java here");
    }
    let beside = Place::bare();
    let keycloak = Keycloak::start(&folder, &beside);
    let house = House::of(&keycloak.issuer(), "");
    // What its groups say gives a role, too; and its service account is an agent.
    let company = house.place.read("policy/issuers/company.toml");
    house.place.write("policy/issuers/company.toml", &format!("audience = \"https://portreeve.example\"\n{company}"));
    house.place.write("policy/roles.toml", "author = [\"group:leads\"]\n");
    let bot = "owner = \"tests\"\n\n[[proof]]\nissuer = \"company\"\nclaims = { sub = \"s-3\" }\n";
    house.place.write("policy/agents/bot.toml", bot);
    let work = house.place.read("policy/purposes/work.toml");
    let alone = work.replace("\"assistant\"", "\"bot\"").replace("ask = { who = \"leads\" }\n", "");
    house.place.write("policy/purposes/alone.toml", &alone);
    house.place.run(&["policy", "apply"]).good();

    in_the_browser(&house, &keycloak);
    on_a_device(&house, &keycloak);
    an_agent(&house, &keycloak);
    another_key(&house, &keycloak);
}

fn in_the_browser(house: &House, keycloak: &Keycloak) {
    let mut browser = Browser::default();
    let done = Visitor::new(keycloak, "ana").sign_in(house, &mut browser);
    assert_eq!(done.status, 200, "{}", String::from_utf8_lossy(&done.body));
    assert_eq!(
        house.signed_in(),
        [json!({
            "user": "zz-ana", "how": { "oidc": { "issuer": "company", "subject": "a-1" } }, "groups": ["idp-leads"],
        })]
    );
    let task = house.serve.open("work");
    drop(task.call("shop", "act", &json!({ "value": "a" })));
    let inbox = house.get(&mut browser, "/approvals", &[]);
    assert!(String::from_utf8_lossy(&inbox.body).contains("shop.act"), "{inbox:?}");
    // Somebody whom Keycloak knows, and the policy does not.
    let stranger = Visitor::new(keycloak, "ben").sign_in(house, &mut Browser::default());
    assert_eq!((stranger.status, super::word(&stranger).as_str()), (403, "user_unknown"));
}

fn on_a_device(house: &House, keycloak: &Keycloak) {
    let mut command = house.place.command("sh", &["-c", "exec \"$0\" \"$@\" 2>&1", PROGRAM, "login"]);
    command.env("PORTREEVE_SERVER", house.base());
    let login = Running::start(command);
    let page: Url = loop {
        let line = login.lines.next().expect("the page is shown");
        if let Some(page) = line.strip_prefix("or open ") {
            break page.split(',').next().unwrap().parse().unwrap();
        }
    };
    let (_, text) = Visitor::new(keycloak, "ana").go(&page);
    assert!(text.contains("Device Login Successful"), "{text}");
    assert_eq!(login.end(), 0);
    let who = house.at_server(&["whoami"]).good().json();
    assert_eq!((&who["user"], &who["groups"][0]["group"]), (&json!("zz-ana"), &json!("leads")), "{who}");
    // Her group answers, and authors.
    let code = super::waiting(house).unwrap();
    house.at_server(&["approve", &code, "--yes"]).good();
    house.at_server(&["policy", "apply"]).good();
    assert_eq!(failed(&house.at_server(&["key", "rotate", "token"])), (4, "role_missing".to_owned()));
}

fn an_agent(house: &House, keycloak: &Keycloak) {
    let open = |token: &str| {
        let (host, bearer) = (house.serve.address.to_string(), format!("Bearer {token}"));
        let headers = [("host", host.as_str()), ("authorization", &bearer), ("content-type", "application/json")];
        let body = json!({ "purpose": "alone" }).to_string();
        let stream = TcpStream::connect(house.serve.address).unwrap();
        exchange(stream, &request("POST", "/v1/tasks", &headers, body.as_bytes()))
    };
    let form = [("grant_type", "client_credentials"), ("client_id", "bot"), ("client_secret", "for tests")];
    let token = keycloak.token("house", &form)["access_token"].as_str().unwrap().to_owned();
    let opened = open(&token);
    assert_eq!(opened.status, 201, "{opened:?}");
    let opened = opened.json();
    assert_eq!(opened["agent"], "bot", "{opened}");
    // The same without what is meant for us is nothing here.
    let mappers = keycloak.admin("GET", "/clients?clientId=bot", &Value::Null).json();
    let (client, mapper) = (&mappers[0]["id"], mappers[0]["protocolMappers"].as_array().unwrap());
    let mapper = mapper.iter().find(|mapper| mapper["name"] == "audience").unwrap();
    let path =
        format!("/clients/{}/protocol-mappers/models/{}", client.as_str().unwrap(), mapper["id"].as_str().unwrap());
    keycloak.admin("DELETE", &path, &Value::Null);
    let other = keycloak.token("house", &form)["access_token"].as_str().unwrap().to_owned();
    let refused = open(&other);
    assert_eq!((refused.status, &refused.json()["error"]["word"]), (401, &json!("aud_missing")), "{refused:?}");
}

/// It signs with another key from now on: that is noticed, at most half a minute later
fn another_key(house: &House, keycloak: &Keycloak) {
    let key = json!({
        "name": "newer", "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
        "config": { "priority": ["500"], "algorithm": ["RS256"] },
    });
    keycloak.admin("POST", "/components", &key);
    let before = house.signed_in().len();
    until("the other key is known", || {
        let answer = Visitor::new(keycloak, "ana").sign_in(house, &mut Browser::default());
        assert!(answer.status == 200 || super::word(&answer) == "key_unknown", "{answer:?}");
        answer.status == 200
    });
    assert_eq!(house.signed_in().len(), before + 1);
}
