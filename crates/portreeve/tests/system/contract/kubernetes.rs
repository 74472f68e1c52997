//! Tokens of service accounts at a real API server of Kubernetes.

use super::{Subject, held, holds, nobody, source, wanted};
use crate::interop::interop;
use crate::support::{
    cluster::{Cluster, NEEDS, OWN},
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

fn cluster(test: &str) -> Option<Cluster> {
    interop(test, &NEEDS).map(|interop| Cluster::start(&interop))
}

fn file(cluster: &Cluster, url: &str) -> String {
    format!(
        "owner = \"cluster@example.com\"\n[scope]\nwhat = \"what\"\n[probe]\nwhat = \"orders\"\n\
         [kubernetes]\nurl = \"{url}\"\nca = {:?}\nnamespace = \"agents\"\ntoken = \"cluster\"\n\
         [kubernetes.read]\nservice_account = \"{{what}}-reader\"\n",
        cluster.ca().display()
    )
}

const SCOPE: &[(&str, &str)] = &[("what", "orders")];
const SECRETS: &[(&str, &str)] = &[("cluster", OWN)];

#[test]
fn kubernetes_holds_to_it() {
    let Some(cluster) = cluster("kubernetes_holds_to_it") else { return };
    let lets_in = |fields: &Fields| {
        let who = cluster.is(fields["token"].expose());
        assert!(who.is_none() || who.as_deref() == Some("system:serviceaccount:agents:orders-reader"), "{who:?}");
        who.is_some()
    };
    holds(&Subject {
        file: file(&cluster, &cluster.url()),
        nobody: Some(file(&cluster, &format!("https://127.0.0.1:{}", nobody()))),
        secrets: SECRETS,
        scope: SCOPE,
        lets_in: &lets_in,
        lists: true,
        unique: true,
    });
    assert_eq!(cluster.secrets(), Vec::<String>::new());
}

#[test]
fn kubernetes_gives_no_more_than_was_asked_for() {
    let Some(cluster) = cluster("kubernetes_gives_no_more_than_was_asked_for") else { return };
    let runtime = Runtime::new().unwrap();
    let (_vault, source) = source(&file(&cluster, &cluster.url()), SECRETS);
    for (what, scope) in [("may not stand there", "../secrets/x"), ("not found", "others")] {
        let issued = runtime.block_on(source.issue(&wanted(6, Class::Read, &[("what", scope)])));
        assert!(
            matches!(&issued, Err(NotIssued::Refused(why)) if why.contains(what) || why.contains("403")),
            "{issued:?}"
        );
        assert_eq!(cluster.secrets(), Vec::<String>::new(), "nothing is left of it");
    }
    // Somebody else's Secret of the name stays, and so does who has it now.
    let ask = wanted(7, Class::Read, SCOPE);
    let name = ask.name.as_str().replace('_', "-");
    let path = "/api/v1/namespaces/agents/secrets";
    let made = runtime.block_on(source.issue(&ask)).unwrap();
    let all = held(&ask.name, made);
    runtime.block_on(source.withdraw(&all)).unwrap();
    cluster.good(path, &json!({ "metadata": { "name": name } }));
    assert!(matches!(runtime.block_on(source.withdraw(&all)), Ok(Withdrawn::Gone(_))));
    assert_eq!(cluster.secrets(), [name]);
    // A Secret that does not go is no token that was taken back.
    let ask = wanted(8, Class::Read, SCOPE);
    let made = runtime.block_on(source.issue(&ask)).unwrap();
    let name = ask.name.as_str().replace('_', "-");
    let at = format!("{path}/{name}");
    let patch = json!([{ "op": "add", "path": "/metadata/finalizers", "value": ["example.com/stays"] }]);
    cluster.patch(&at, &patch);
    let by_name = Held { name: ask.name.clone(), handle: None, until: None, keep: None, fields: None };
    for held in [&by_name, &held(&ask.name, made)] {
        let why = runtime.block_on(source.withdraw(held)).unwrap_err();
        assert!(why.contains("still there"), "{why}");
    }
    cluster.patch(&at, &json!([{ "op": "remove", "path": "/metadata/finalizers" }]));
    assert!(matches!(runtime.block_on(source.withdraw(&by_name)), Ok(Withdrawn::Gone(_))));
}

#[test]
fn a_task_has_a_token_of_a_service_account_for_as_long_as_it_lives() {
    let Some(cluster) = cluster("a_task_has_a_token_of_a_service_account_for_as_long_as_it_lives") else { return };
    let shop = Upstream::http(&["act"], |_, _| false);
    let parameters = "[parameters]\nwhat = { type = \"string\", pattern = \"[a-z]+\" }\n";
    let place = Place::with(&[("shop", &shop)], parameters, "");
    let write = "[kubernetes.write]\nservice_account = \"orders-writer\"\n";
    place.write("policy/credentials/cluster.toml", &format!("{}{write}", file(&cluster, &cluster.url())));
    let put = "headers = { Authorization = \"Bearer {token}\", X-Cluster = \"{server} {namespace} {ca}\" }";
    place.connector("shop", &shop, &format!("\n[credentials]\nsource = \"cluster\"\n{put}\n"));
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    place.run_with(&["secret", "set", "cluster"], OWN).good();
    let sources = place.run(&["lease", "sources"]).good().out;
    assert!(sources.contains("eventual (within 10 s)") && sources.contains("reached"), "{sources}");
    place.run(&["connector", "accept", "shop", "--yes"]).good();
    until("what looked is taken back", || cluster.secrets().is_empty());
    let task = serve.open_with(&json!({ "purpose": "work", "parameters": { "what": "orders" } }));
    assert_eq!(task.word("shop", "act", "v"), "ok");
    let calls = shop.calls();
    let token = calls[0].header("authorization").unwrap().strip_prefix("Bearer ").unwrap();
    assert_eq!(cluster.is(token).as_deref(), Some("system:serviceaccount:agents:orders-writer"));
    assert_eq!(cluster.secrets().len(), 1);
    serve.stop(&task.id);
    let leases = || serve.admin("GET", "/v1/leases", &Value::Null).1["leases"].as_array().unwrap().len();
    until("that is on the record", || leases() == 0);
    assert_eq!((cluster.is(token), cluster.secrets().len()), (None, 0));
    serve.terminate();
    let record = place.record();
    let ends: Vec<String> = record.events("settled").map(|(_, settled)| settled["end"].to_string()).collect();
    assert!(ends.iter().any(|end| end.contains("TokenReview: ")), "it was tried, and refused: {ends:?}");
    assert!(!ends.iter().any(|end| end.contains(token)));
}
