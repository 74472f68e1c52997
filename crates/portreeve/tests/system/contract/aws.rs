//! Sessions of a role at moto, which imitates AWS: it checks signatures and roles, and knows nothing of policies of sessions.

use super::{held, nobody, source, wanted};
use crate::interop::interop;
use crate::support::{
    moto::{Moto, NEEDS, ROLE, member},
    place::{Place, Serve},
    until,
    upstream::Upstream,
};
use portreeve_core::{event::Evidence, policy::Class};
use portreeve_credentials::{
    aws::sign::Keys,
    name::prefix,
    secret::Fields,
    source::{Held, NotIssued, Withdrawn},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

fn moto(test: &str) -> Option<Moto> {
    interop(test, &NEEDS).map(|interop| Moto::start(&interop))
}

fn file(url: &str) -> String {
    format!(
        "owner = \"cloud@example.com\"\n[scope]\ntenant = \"what\"\n[probe]\ntenant = \"test\"\n\
         [aws]\nregion = \"eu-central-1\"\nendpoint = \"{url}\"\nkeys = \"aws\"\n\
         [aws.read]\nrole = \"{ROLE}\"\n\
         allow = [{{ actions = [\"iam:ListUsers\"], resources = [\"arn:aws:iam::123456789012:user/{{tenant}}/*\"] }}]\n"
    )
}

const DENIAL: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"}]}"#;
const SCOPE: &[(&str, &str)] = &[("tenant", "eu-42")];

/// What IAM answers to a session: the status, and the reason
fn lists(moto: &Moto, fields: &Fields) -> (u16, Option<String>) {
    let keys = Keys { id: fields["access_key_id"].expose(), secret: fields["secret_access_key"].expose() };
    let (status, said) = moto.ask(&keys, Some(fields["session_token"].expose()), "ListUsers", &[]);
    (status, member(&said, "Code"))
}

#[test]
fn aws_gives_a_session_under_its_name_and_denies_it_by_that() {
    let Some(moto) = moto("aws_gives_a_session_under_its_name_and_denies_it_by_that") else { return };
    let runtime = Runtime::new().unwrap();
    let keys = moto.keys();
    let (_vault, source) = source(&file(&moto.url()), &[("aws", &keys)]);
    runtime.block_on(source.check()).unwrap();
    let ask = wanted(6, Class::Read, SCOPE);
    let issued = runtime.block_on(source.issue(&ask)).unwrap();
    assert_eq!(issued.fields["region"].expose(), "eu-central-1");
    assert!(!format!("{issued:?}").contains(issued.fields["secret_access_key"].expose()));
    let wanted_for = issued.until.unwrap().0 - ask.until.0;
    assert!((-5_000..5_000).contains(&wanted_for), "{wanted_for}");
    assert_eq!(lists(&moto, &issued.fields), (200, None));
    // It is denied by its name, which the role was told, and was tried before and after.
    let fields = issued.fields.clone();
    let all = held(&ask.name, issued);
    let gone = runtime.block_on(source.withdraw(&all)).unwrap();
    assert!(matches!(&gone, Withdrawn::Gone(Evidence::Refused { says }) if says.contains("AccessDenied")), "{gone:?}");
    assert_eq!(lists(&moto, &fields), (403, Some("AccessDenied".to_owned())));
    let [denial] = moto.denials().try_into().unwrap();
    let until = all.until.unwrap().0 / 1_000;
    assert_eq!(denial, format!("{}.{until}", ask.name));
    let said = moto.good("GetRolePolicy", &[("RoleName", "orders-reader"), ("PolicyName", &denial)]);
    let plain = said.replace("%22", "\"").replace("%3A", ":").replace("%2A", "*").replace("&quot;", "\"");
    assert!(plain.contains(&format!("\"*:{}\"", ask.name)) && plain.contains("aws:userid"), "{said}");
    assert!(matches!(runtime.block_on(source.withdraw(&all)), Ok(Withdrawn::Gone(_))), "again, without harm");
    assert_eq!(moto.denials(), std::slice::from_ref(&denial));
    // A name is enough.
    let other = wanted(7, Class::Read, SCOPE).name;
    let by_name = Held { name: other.clone(), handle: None, until: None, keep: None, fields: None };
    let gone = runtime.block_on(source.withdraw(&by_name)).unwrap();
    assert!(matches!(&gone, Withdrawn::Gone(Evidence::Absent { says }) if says.contains("denies")), "{gone:?}");
    assert!(moto.denials().iter().any(|one| one.starts_with(other.as_str())));
    // What was denied to sessions that have passed is taken out, and nothing else.
    let old = [("RoleName", "orders-reader"), ("PolicyName", "ptr_0_0.1"), ("PolicyDocument", DENIAL)];
    moto.good("PutRolePolicy", &old);
    // AWS's clock may be behind ours: one that has just passed here is denied, and stays so.
    let just = Held { until: Some(super::minutes(-14)), name: wanted(8, Class::Read, SCOPE).name, ..by_name.clone() };
    let gone = runtime.block_on(source.withdraw(&just)).unwrap();
    assert!(matches!(&gone, Withdrawn::Gone(Evidence::Absent { .. })), "{gone:?}");
    assert_eq!(runtime.block_on(source.sweep(&prefix(super::origin()))), Ok(Vec::new()));
    let denials = moto.denials();
    assert!(denials.len() == 3 && denials.iter().any(|one| one.starts_with(just.name.as_str())), "{denials:?}");
    let past = Held { until: Some(super::minutes(-16)), ..by_name };
    assert_eq!(runtime.block_on(source.withdraw(&past)), Ok(Withdrawn::Gone(Evidence::Expired)));
}

#[test]
fn aws_says_why_there_is_no_session() {
    let Some(moto) = moto("aws_says_why_there_is_no_session") else { return };
    let runtime = Runtime::new().unwrap();
    let keys = moto.keys();
    let refused = |file: &str, keys: &str, scope: &[(&str, &str)], what: &str| {
        let (_vault, source) = source(file, &[("aws", keys)]);
        let issued = runtime.block_on(source.issue(&wanted(6, Class::Read, scope)));
        assert!(matches!(&issued, Err(NotIssued::Refused(why)) if why.contains(what)), "{what}: {issued:?}");
        source
    };
    let good = file(&moto.url());
    refused(&good, &keys, &[("tenant", "*")], "may not stand there");
    let spoilt = refused(&good, &format!("{keys}x"), SCOPE, "SignatureDoesNotMatch");
    assert!(runtime.block_on(spoilt.check()).is_err());
    let by_name = wanted(6, Class::Read, SCOPE).name;
    let by_name = Held { name: by_name, handle: None, until: None, keep: None, fields: None };
    assert!(runtime.block_on(spoilt.withdraw(&by_name)).is_err(), "a role that was told nothing denies nothing");
    refused(&good, "no-keys", SCOPE, "not of the form");
    refused(&good, &moto.poor_keys(), SCOPE, "AccessDenied");
    refused(&file(&format!("http://127.0.0.1:{}", nobody())), &keys, SCOPE, "cannot be reached");
}

#[test]
fn a_task_has_a_session_of_aws_for_as_long_as_it_lives() {
    let Some(moto) = moto("a_task_has_a_session_of_aws_for_as_long_as_it_lives") else { return };
    let shop = Upstream::http(&["act"], |_, _| false);
    let parameters = "[parameters]\nwhat = { type = \"string\", pattern = \"[a-z]+\" }\n";
    let place = Place::with(&[("shop", &shop)], parameters, "");
    let write = format!(
        "[aws.write]\nrole = \"{ROLE}\"\nallow = [{{ actions = [\"s3:PutObject\"], resources = [\"arn:aws:s3:::orders/{{tenant}}/*\"] }}]\n"
    );
    place.write("policy/credentials/cloud.toml", &format!("{}{write}", file(&moto.url())));
    let put = "headers = { X-Keys = \"{access_key_id} {secret_access_key} {session_token} {region}\" }";
    place.connector("shop", &shop, &format!("\n[credentials]\nsource = \"cloud\"\n{put}\n"));
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    place.run_with(&["secret", "set", "aws"], &moto.keys()).good();
    let sources = place.run(&["lease", "sources"]).good().out;
    assert!(sources.contains("eventual (within 60 s)") && sources.contains("reached"), "{sources}");
    let leases = || serve.admin("GET", "/v1/leases", &Value::Null).1["leases"].as_array().unwrap().len();
    // Here the denial of one session is one of all, so it has to go before there is another.
    place.run(&["connector", "accept", "shop", "--yes"]).good();
    until("what looked is taken back", || leases() == 0);
    for denial in moto.denials() {
        moto.good("DeleteRolePolicy", &[("RoleName", "orders-reader"), ("PolicyName", &denial)]);
    }
    let task = serve.open_with(&json!({ "purpose": "work", "parameters": { "what": "orders" } }));
    assert_eq!(task.word("shop", "act", "v"), "ok");
    let calls = shop.calls();
    let shown: Vec<&str> = calls[0].header("x-keys").unwrap().split(' ').collect();
    let keys = Keys { id: shown[0], secret: shown[1] };
    assert_eq!(moto.ask(&keys, Some(shown[2]), "ListUsers", &[]).0, 200);
    serve.stop(&task.id);
    until("that is on the record", || leases() == 0);
    assert_eq!(moto.ask(&keys, Some(shown[2]), "ListUsers", &[]).0, 403);
    serve.terminate();
    let record = place.record();
    let ends: Vec<String> = record.events("settled").map(|(_, settled)| settled["end"].to_string()).collect();
    assert!(ends.iter().any(|end| end.contains("AccessDenied")), "it was tried, and denied: {ends:?}");
    assert!(!ends.iter().any(|end| end.contains(shown[1]) || end.contains(shown[2])));
}
