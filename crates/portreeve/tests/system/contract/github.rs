//! Tokens of an installation, of a server that answers what GitHub documents.

use super::{Subject, held, holds, nobody, source, wanted};
use crate::support::{
    github::{APP, Fault, GitHub, INSTALLATION},
    place::{Place, Serve},
    until,
    upstream::Upstream,
};
use portreeve_core::policy::Class;
use portreeve_credentials::{
    secret::Fields,
    source::{Held, NotIssued, Withdrawn},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

fn file(url: &str) -> String {
    format!(
        "owner = \"forge@example.com\"\n[scope]\nrepository = \"what\"\n[probe]\nrepository = \"template\"\n\
         [github]\napi = \"{url}\"\napp = \"{APP}\"\nkey = \"app\"\ninstallation = {INSTALLATION}\n\
         repositories = [\"{{repository}}\"]\n[github.read]\npermissions = {{ contents = \"read\", issues = \"read\" }}\n"
    )
}

const SCOPE: &[(&str, &str)] = &[("repository", "Hello-World")];

#[test]
fn github_holds_to_it() {
    let github = GitHub::start();
    holds(&Subject {
        file: file(&github.url()),
        nobody: Some(file(&format!("http://127.0.0.1:{}", nobody()))),
        secrets: &[("app", github.key())],
        scope: SCOPE,
        lets_in: &|fields: &Fields| github.lets_in(fields["token"].expose()),
        lists: false,
        unique: false,
    });
    assert_eq!(github.tokens(), 0);
    let asked = github.asked();
    let ours = asked.iter().filter(|line| line.starts_with("POST"));
    assert!(ours.into_iter().all(|line| line.ends_with(" disabled")), "tokens that can be taken back: {asked:?}");
}

#[test]
fn github_gives_no_more_than_was_asked_for() {
    let github = GitHub::start();
    let runtime = Runtime::new().unwrap();
    let (_vault, source) = source(&file(&github.url()), &[("app", github.key())]);
    let issue = |scope: &[(&str, &str)]| runtime.block_on(source.issue(&wanted(6, Class::Read, scope)));
    let faults = [(Fault::Wider, "contents"), (Fault::More, "other"), (Fault::Every, "every repository")];
    for (fault, what) in faults {
        github.does(fault);
        let issued = issue(SCOPE);
        assert!(matches!(&issued, Err(NotIssued::Refused(why)) if why.contains(what)), "{fault:?}: {issued:?}");
        assert_eq!(github.tokens(), 0, "{fault:?}: it is given back at once");
    }
    github.does(Fault::None);
    let issued = issue(&[("repository", "missing")]);
    assert!(matches!(&issued, Err(NotIssued::Refused(why)) if why.contains("422")), "{issued:?}");
    let before = github.asked().len();
    let issued = issue(&[("repository", "../octo")]);
    assert!(matches!(&issued, Err(NotIssued::Refused(why)) if why.contains("may not stand there")), "{issued:?}");
    assert_eq!(github.asked().len(), before, "nothing is asked");
}

#[test]
fn github_says_what_it_cannot_take_back() {
    let github = GitHub::start();
    let runtime = Runtime::new().unwrap();
    let (_vault, source) = source(&file(&github.url()), &[("app", github.key())]);
    let ask = wanted(6, Class::Read, SCOPE);
    // It says that it took it back, and goes on taking it.
    let issued = runtime.block_on(source.issue(&ask)).unwrap();
    let until = issued.until.unwrap();
    let all = held(&ask.name, issued);
    github.does(Fault::Stays);
    assert_eq!(runtime.block_on(source.withdraw(&all)), Ok(Withdrawn::Left(until)));
    github.does(Fault::None);
    assert!(matches!(runtime.block_on(source.withdraw(&all)), Ok(Withdrawn::Gone(_))));
    // Nobody knows what an answer that never came had in it, but GitHub: for an hour.
    for fault in [Fault::Breaks, Fault::Fails] {
        github.does(fault);
        let issued = runtime.block_on(source.issue(&ask));
        assert!(matches!(issued, Err(NotIssued::Unknown(_))), "{issued:?}");
    }
    let nothing = Held { keep: None, handle: None, until: None, fields: None, name: ask.name };
    let left = runtime.block_on(source.withdraw(&nothing)).unwrap();
    let hour = super::minutes(60);
    assert!(matches!(left, Withdrawn::Left(until) if until <= hour && until.plus(60_000) > hour), "{left:?}");
}

#[test]
fn a_task_has_a_token_of_github_for_as_long_as_it_lives() {
    let github = GitHub::start();
    let shop = Upstream::http(&["act"], |_, _| false);
    let place =
        Place::with(&[("shop", &shop)], "[parameters]\nwhat = { type = \"string\", pattern = \"[a-z]+\" }\n", "");
    let write = "[github.write]\npermissions = { issues = \"write\" }\n";
    place.write("policy/credentials/forge.toml", &format!("{}{write}", file(&github.url())));
    let put = "headers = { Authorization = \"Bearer {token}\" }";
    place.connector("shop", &shop, &format!("\n[credentials]\nsource = \"forge\"\n{put}\n"));
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    place.run_with(&["secret", "set", "app"], github.key()).good();
    let sources = place.run(&["lease", "sources"]).good().out;
    assert!(sources.contains("github") && sources.contains("immediate") && sources.contains("reached"), "{sources}");
    place.run(&["connector", "accept", "shop", "--yes"]).good();
    until("what looked is taken back", || github.tokens() == 0);
    let task = serve.open_with(&json!({ "purpose": "work", "parameters": { "what": "hello" } }));
    assert_eq!(task.word("shop", "act", "v"), "ok");
    let calls = shop.calls();
    let token = calls[0].header("authorization").unwrap().strip_prefix("Bearer ").unwrap();
    assert!(github.lets_in(token));
    // A crash takes nothing away that it needs: the token is kept until it was taken back.
    serve.kill();
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    until("it is taken back in the next life", || github.tokens() == 0);
    let task = serve.rejoin(&task);
    assert_eq!(task.word("shop", "act", "v"), "ok");
    serve.stop(&task.id);
    let leases = || serve.admin("GET", "/v1/leases", &Value::Null).1["leases"].as_array().unwrap().len();
    until("that is on the record", || leases() == 0 && github.tokens() == 0);
    serve.terminate();
    let record = place.record();
    let ends: Vec<String> = record.events("settled").map(|(_, settled)| settled["end"].to_string()).collect();
    assert!(ends.iter().any(|end| end.contains("it was tried: 401 Bad credentials")), "{ends:?}");
    assert!(!ends.iter().any(|end| end.contains(token)));
}
