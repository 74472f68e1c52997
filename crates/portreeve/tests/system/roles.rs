//! Roles on the real program: what each lets somebody do at the socket, on the command line and on the console, and what it
//! does not; where the account that owns the data folder is the user whose account it is.

use crate::{
    approvals::me,
    support::{
        http::{Response, exchange, request},
        place::{Place, Ran, Serve},
        upstream::Upstream,
    },
};
use serde_json::{Value, json};
use std::net::TcpStream;

/// A shop, in whose data folder the account has the roles of its user
fn shop(roles: &str) -> (Upstream, Place) {
    let shop = Upstream::http(&["act"], |_, _| false);
    let place = Place::with(&[("shop", &shop)], "", "");
    place.write("policy/agents/assistant.toml", "owner = \"somebody@example.com\"\nabout = \"Works for the tests\"\n");
    place.write("policy/users/zz-eve.toml", "accounts = [\"zz-eve\"]\ngroups = [\"staff\"]\nroles = []\n");
    own_roles(&place, roles);
    (shop, place)
}

/// Gives the user of the account that runs the tests just these roles
fn own_roles(place: &Place, roles: &str) {
    let me = me(place);
    let own = place.read(&format!("policy/users/{me}.toml"));
    let own: String = own.lines().filter(|line| !line.starts_with("roles")).map(|line| format!("{line}\n")).collect();
    let (head, rest) = own.split_once("[attributes]").map_or((own.as_str(), None), |(head, rest)| (head, Some(rest)));
    let rest = rest.map(|rest| format!("[attributes]{rest}")).unwrap_or_default();
    place.write(&format!("policy/users/{me}.toml"), &format!("{head}roles = [{roles}]\n{rest}"));
}

/// From now on the account has the roles of its user
fn switch(place: &Place) {
    let config = place.read(".portreeve/portreeve.toml");
    place.write(".portreeve/portreeve.toml", &format!("{config}\n[admin]\naccount = \"roles\"\n"));
}

/// Starts it as the owner, so that a task is there, and then with the account as a user with these roles
fn served(place: &Place) -> (Serve, String) {
    // Nobody's task: the account is nobody's as long as it is opened.
    let me = format!("policy/users/{}.toml", me(place));
    let own = place.read(&me);
    place.write(&me, &own.replace("accounts = [", "accounts = [\"zz-else\"] # "));
    let serve = place.serve(&["shop"]);
    let task = serve.open("work").id;
    place.write(&me, &own);
    place.run(&["policy", "apply"]).good();
    serve.terminate();
    switch(place);
    (place.serve(&[]), task)
}

#[track_caller]
fn refused(ran: &Ran, role: &str) {
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.err.contains("error[role_missing]") && ran.err.contains(role), "{role}: {ran:?}");
}

/// Deeds on the command line: the arguments, and which role lets somebody do it
const DEEDS: [(&[&str], &str); 9] = [
    (&["status"], "operator or auditor or author or owner"),
    (&["agent", "list"], "operator or auditor or author or owner"),
    (&["agent", "pause", "assistant"], "operator"),
    (&["agent", "resume", "assistant"], "operator"),
    (&["connector", "accept", "shop", "--yes"], "author"),
    (&["policy", "apply"], "author"),
    (&["policy", "observe", "--all", "--for", "1m", "--why", "to see"], "owner"),
    (&["console", "--for", "zz-eve"], "owner"),
    (&["key", "rotate", "token"], "owner"),
];

#[test]
fn each_role_does_what_is_its_own_and_nothing_else() {
    for role in ["approver", "operator", "auditor", "author", "owner"] {
        let (_shop, place) = shop(&format!("\"{role}\""));
        let (serve, task) = served(&place);
        let mut refusals = 0;
        for (command, needs) in DEEDS {
            let ran = place.run(command);
            // What the directory says is in force already; an owner registers people, and nothing differs.
            let applies = command == ["policy", "apply"] && role == "owner";
            // Accepting looks at the connector first, which more roles may.
            if applies || needs.split(" or ").any(|needed| needed == role) {
                assert_eq!(ran.code, 0, "{role}: {command:?}: {ran:?}");
            } else {
                refused(&ran, needs.split(" or ").next().unwrap_or_default());
                refusals += 1;
            }
        }
        let (status, answer) = serve.admin("GET", &format!("/v1/tasks/{task}"), &Value::Null);
        let sees = matches!(role, "operator" | "auditor");
        assert_eq!(status == 200, sees, "{role}: {answer}");
        let (status, tasks) = serve.admin("GET", "/v1/tasks", &Value::Null);
        assert_eq!((status, tasks["tasks"].as_array().unwrap().len()), (200, usize::from(sees)), "{role}: {tasks}");
        // No role opens somebody else's token.
        let (status, answer) = serve.admin("POST", &format!("/v1/tasks/{task}/token"), &Value::Null);
        assert_eq!((status, &answer["error"]["word"]), (403, &json!("not_yours")), "{role}");
        let ran = place.run(&["task", "stop", &task]);
        if role == "operator" {
            ran.good();
        } else {
            refused(&ran, "operator");
            refusals += 1;
        }
        let whoami = place.json(&["whoami"]);
        assert_eq!((&whoami["roles"], &whoami["owner"]), (&json!([role]), &json!(false)), "{whoami}");

        // It is all on the record, as that person.
        let record = place.record();
        let me = me(&place);
        let by: Vec<&Value> = record
            .events("refused")
            .filter(|(_, refused)| refused["words"].as_array().unwrap().contains(&json!("role_missing")))
            .map(|(at, _)| &record.lines[at]["record"]["actor"]["person"]["user"])
            .collect();
        assert!(by.len() >= refusals.min(5) && by.iter().all(|user| **user == json!(me)), "{role}: {by:?}");
        serve.terminate();
    }
}

#[test]
fn the_account_is_the_owner_unless_it_is_told_otherwise() {
    let (_shop, place) = shop("");
    let serve = place.serve(&["shop"]);
    let whoami = place.json(&["whoami"]);
    assert_eq!((&whoami["owner"], &whoami["roles"]), (&json!(true), &json!([])), "{whoami}");
    assert!(place.run(&["whoami"]).good().out.contains("everything, as the account"));
    for (command, _) in DEEDS {
        place.run(command).good();
    }
    serve.terminate();

    // With an account that is nobody's, nothing is done any more; a start puts nothing into force either.
    switch(&place);
    let me = me(&place);
    let own = place.read(&format!("policy/users/{me}.toml"));
    let serve = place.serve(&[]);
    own_roles(&place, "\"author\"");
    assert_eq!(place.run(&["policy", "apply"]).code, 4, "without a role yet");
    serve.terminate();
    let serve = place.serve(&[]);
    assert_eq!(place.run(&["policy", "apply"]).code, 4, "a start gives nobody a role");
    serve.terminate();

    // The way back: the account that has the files takes itself back what is its own.
    let config = place.read(".portreeve/portreeve.toml").replace("\"roles\"", "\"owner\"");
    place.write(".portreeve/portreeve.toml", &config);
    place.write(&format!("policy/users/{me}.toml"), &own.replace("accounts = [", "accounts = [\"zz-else\"] # "));
    let serve = place.serve(&[]);
    serve.terminate();
    place.write(".portreeve/portreeve.toml", &config.replace("\"owner\"", "\"roles\""));
    let serve = place.serve(&[]);
    for (command, _) in DEEDS {
        let ran = place.run(command);
        assert!(ran.code == 4 && ran.err.contains("user_unknown"), "{command:?}: {ran:?}");
    }
    serve.terminate();
}

#[test]
fn roles_are_given_to_groups_and_nobody_gives_them_to_themselves() {
    let (_shop, place) = shop("\"author\"");
    place.write("policy/roles.toml", "auditor = [\"group:staff\"]\n");
    let (serve, _) = served(&place);
    let whoami = place.json(&["whoami"]);
    assert_eq!(whoami["roles"], json!(["auditor", "author"]), "{whoami}");
    let listed = place.run(&["role", "list"]).good();
    assert!(listed.out.contains("zz-eve, group:staff"), "{listed:?}");

    // Granted, it is wider; but not by whoever it is granted to.
    place.write("policy/roles.toml", "auditor = [\"group:staff\"]\nowner = [\"group:staff\"]\n");
    let ran = place.run(&["policy", "apply"]);
    assert!(ran.code == 4 && ran.err.contains("own_rights"), "{ran:?}");
    place.write("policy/roles.toml", "auditor = [\"group:staff\"]\noperator = [\"user:zz-eve\"]\n");
    let before = place.json(&["status"])["bundle"].as_str().unwrap().to_owned();
    let diff = place.run(&["policy", "diff", &before, "policy"]);
    assert!(diff.out.contains("they are operator now") && diff.out.contains("wider"), "{diff:?}");
    place.run(&["policy", "apply"]).good();
    assert_eq!(place.record().refusals().iter().filter(|word| *word == "own_rights").count(), 1);
    serve.terminate();
}

#[test]
fn a_second_person_wants_the_same_change() {
    let (_shop, place) = shop("\"author\"");
    place.write("policy/users/zz-eve.toml", "accounts = [\"zz-eve\"]\ngroups = [\"staff\"]\nroles = [\"author\"]\n");
    place.write("policy/roles.toml", "[change]\npeople = 2\n");
    let (serve, _) = served(&place);
    let before = place.json(&["status"])["bundle"].clone();
    place.write("policy/agents/helper.toml", "owner = \"somebody@example.com\"\nabout = \"Helps\"\n");
    let ran = place.run(&["policy", "apply"]);
    assert!(ran.code == 5 && ran.err.contains("not in force yet: 1 of 2"), "{ran:?}");
    let again = place.run(&["--json", "policy", "apply"]);
    assert_eq!((again.code, &again.json()["proposed"]), (5, &json!({ "have": 1, "of": 2 })), "the same person is one");
    assert_eq!(place.json(&["status"])["bundle"], before);
    let roles = place.json(&["role", "list"]);
    assert_eq!(roles["change"]["proposed"][0]["by"], json!(me(&place)), "{roles}");
    serve.terminate();
}

/// Asks the console with a cookie
fn page(serve: &Serve, method: &str, path: &str, cookie: &str, form: &str) -> Response {
    let host = serve.address.to_string();
    let origin = format!("http://{host}");
    let headers = [
        ("host", host.as_str()),
        ("origin", &origin),
        ("cookie", cookie),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    exchange(TcpStream::connect(serve.address).unwrap(), &request(method, path, &headers, form.as_bytes()))
}

fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

/// Signs somebody in by a link; the cookie, and what forms carry
fn signed_in(place: &Place, serve: &Serve, user: &str) -> (String, String) {
    let link = place.json(&["console", "--for", user])["link"].as_str().unwrap().to_owned();
    let path = format!("/sign-in/{}", link.rsplit_once('/').unwrap().1);
    let taken = page(serve, "POST", &path, "", "");
    let cookie = taken.header("set-cookie").unwrap_or_else(|| panic!("{taken:?}"));
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let me = page(serve, "GET", "/me", &cookie, "");
    let me = text(&me);
    let csrf = me.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    (cookie, csrf)
}

#[test]
fn the_console_shows_and_allows_what_roles_allow() {
    let (_shop, place) = shop("");
    place
        .write("policy/users/zz-olaf.toml", "accounts = [\"zz-olaf\"]\ngroups = [\"staff\"]\nroles = [\"operator\"]\n");
    place.write("policy/users/zz-uma.toml", "accounts = [\"zz-uma\"]\ngroups = [\"staff\"]\nroles = [\"auditor\"]\n");
    let serve = place.serve(&["shop"]);
    let task = serve.open("work").id;
    let (page_of, stop) = (format!("/tasks/{task}"), format!("/tasks/{task}/stop"));
    for (user, sees, stops) in [("zz-eve", false, false), ("zz-uma", true, false), ("zz-olaf", true, true)] {
        let (cookie, csrf) = signed_in(&place, &serve, user);
        let shown = page(&serve, "GET", &page_of, &cookie, "");
        assert_eq!(shown.status, if sees { 200 } else { 404 }, "{user}");
        assert_eq!(text(&shown).contains(&format!("href=\"{stop}\"")), stops, "{user}: {}", text(&shown));
        let listed = page(&serve, "GET", "/tasks", &cookie, "");
        assert_eq!(text(&listed).contains(&task), sees, "{user}");
        let me = page(&serve, "GET", "/me", &cookie, "");
        assert_eq!(text(&me).contains("<code>stop</code>"), stops, "{user}: {}", text(&me));
        let pressed = page(&serve, "POST", &stop, &cookie, &format!("csrf={csrf}"));
        assert_eq!(pressed.status, if stops { 303 } else { 403 }, "{user}: {}", text(&pressed));
        if !stops {
            assert!(text(&pressed).contains("role_missing"), "{user}: {}", text(&pressed));
        }
    }
    let record = place.record();
    let refused: Vec<&Value> = record
        .events("refused")
        .map(|(at, refused)| {
            assert_eq!(refused["what"], json!(format!("stop {task}")));
            &record.lines[at]["record"]["actor"]["person"]["user"]
        })
        .collect();
    assert_eq!(refused, [&json!("zz-eve"), &json!("zz-uma")]);
    assert_eq!(record.stops(&task), ["killed"]);
    serve.terminate();
}
