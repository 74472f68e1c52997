//! Tokens of service accounts of Google Cloud, as Google documents them.
//!
//! [`holds`](super::holds) is for what can be taken back. Of these it is held that nothing is said to be, and that none is good for
//! longer than it was wanted.

use super::{Subject, held, minutes, nobody, refuses, source, wanted};
use crate::support::{
    google::{ACCOUNTS, AUDIENCE, Fault, Google},
    place::{Place, Serve},
    until,
    upstream::Upstream,
};
use portreeve_core::{event::Evidence, policy::Class};
use portreeve_credentials::source::{Held, NotIssued, Withdrawn};
use serde_json::{Value, json};
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const SCOPE: &[(&str, &str)] = &[("tenant", "eu")];

/// A server, and a file that says who we are
struct House {
    google: Google,
    folder: TempDir,
}

impl House {
    fn new() -> Self {
        let house = Self { google: Google::start(), folder: tempfile::tempdir().unwrap() };
        house.google.identify(&house.path());
        house
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    fn file(&self) -> String {
        file(&self.google.url(), &self.path().display().to_string(), "")
    }
}

fn file(url: &str, path: &str, more: &str) -> String {
    format!(
        "owner = \"tests\"\n{more}[scope]\ntenant = \"what\"\n[probe]\ntenant = \"eu\"\n\
         [google]\naudience = \"{AUDIENCE}\"\njwt_file = \"{path}\"\nsts = \"{url}\"\niamcredentials = \"{url}\"\n\
         [google.read]\nservice_account = \"orders-{{tenant}}@shop.iam.gserviceaccount.com\"\n\
         scopes = [\"https://www.googleapis.com/auth/devstorage.read_only\"]\n\
         [google.write]\nservice_account = \"orders-writer@shop.iam.gserviceaccount.com\"\n\
         scopes = [\"https://www.googleapis.com/auth/cloud-platform\"]\n\
         boundary = [{{ bucket = \"orders\", prefix = \"{{tenant}}/\", roles = [\"roles/storage.objectUser\"] }}]\n"
    )
}

#[test]
fn google_issues_for_no_longer_than_it_is_wanted_and_says_that_it_takes_nothing_back() {
    let house = House::new();
    let (google, runtime) = (&house.google, Runtime::new().unwrap());
    let (_vault, source) = source(&house.file(), &[]);
    runtime.block_on(source.check()).unwrap();
    let ask = wanted(1, Class::Read, SCOPE);
    let issued = runtime.block_on(source.issue(&ask)).unwrap();
    let token = issued.fields["token"].expose().to_owned();
    assert!(!format!("{issued:?}").contains(&token));
    let known = google.lets_in(&token).unwrap();
    let scope = json!(["https://www.googleapis.com/auth/devstorage.read_only"]);
    assert_eq!((&known["account"], &known["scope"]), (&json!(ACCOUNTS[0]), &scope));
    let end = issued.until.unwrap();
    assert!(end <= ask.until.plus(1_000) && end >= ask.until.plus(-5_000), "20 minutes, and not an hour: {end:?}");
    // It stays until then, whether it is known or not.
    let all = held(&ask.name, issued);
    assert_eq!(runtime.block_on(source.withdraw(&all)), Ok(Withdrawn::Left(end)));
    assert!(google.lets_in(&token).is_some());
    let over = Held { until: Some(minutes(-1)), ..all };
    assert_eq!(runtime.block_on(source.withdraw(&over)), Ok(Withdrawn::Gone(Evidence::Expired)));
    let lost = Held { name: ask.name.clone(), handle: None, until: None, keep: None, fields: None };
    let left = runtime.block_on(source.withdraw(&lost)).unwrap();
    assert!(matches!(left, Withdrawn::Left(until) if until <= minutes(60) && until > minutes(59)), "{left:?}");
    // A task that lasts longer than an hour gets one of an hour, and one with no time left gets none.
    let mut day = wanted(2, Class::Read, SCOPE);
    day.until = minutes(24 * 60);
    let until = runtime.block_on(source.issue(&day)).unwrap().until.unwrap();
    assert!(until > minutes(59) && until <= minutes(61), "{until:?}");
    let before = google.asked("generateAccessToken").len();
    day.until = minutes(0);
    assert!(matches!(runtime.block_on(source.issue(&day)), Err(NotIssued::Refused(_))));
    assert_eq!(google.asked("generateAccessToken").len(), before, "no token was asked for");
}

#[test]
fn google_narrows_a_token_to_the_objects_of_a_task() {
    let house = House::new();
    let (google, runtime) = (&house.google, Runtime::new().unwrap());
    let (_vault, source) = source(&house.file(), &[]);
    let issue = |scope: &[(&str, &str)]| runtime.block_on(source.issue(&wanted(3, Class::Write, scope)));
    let issued = issue(&[("tenant", "eu-42")]).unwrap();
    let known = google.lets_in(issued.fields["token"].expose()).unwrap();
    let rule = &known["boundary"]["accessBoundaryRules"][0];
    assert_eq!(rule["availablePermissions"], json!(["inRole:roles/storage.objectUser"]));
    assert!(rule["availabilityCondition"]["expression"].as_str().unwrap().contains("/objects/eu-42/')"), "{rule}");
    // One that was not narrowed is not used.
    google.does(Fault::Wide);
    let issued = issue(SCOPE);
    assert!(matches!(&issued, Err(NotIssued::Unknown(why)) if why.contains("boundary")), "{issued:?}");
    google.does(Fault::None);
    // What ends the condition is in no name of an object.
    let asked = google.asked("/v1/").len();
    for tenant in ["eu') || true || ('", "eu/us", ""] {
        assert!(matches!(issue(&[("tenant", tenant)]), Err(NotIssued::Refused(_))), "{tenant}");
    }
    assert_eq!(google.asked("/v1/").len(), asked, "nothing is asked");
}

#[test]
fn google_is_not_believed_what_was_not_asked_for() {
    let house = House::new();
    let (google, runtime) = (&house.google, Runtime::new().unwrap());
    let (_vault, source) = source(&house.file(), &[]);
    let issue = || runtime.block_on(source.issue(&wanted(4, Class::Read, SCOPE)));
    for fault in [Fault::Longer, Fault::Over, Fault::Endless, Fault::Odd, Fault::Breaks, Fault::Fails] {
        google.does(fault);
        let issued = issue();
        assert!(matches!(&issued, Err(NotIssued::Unknown(why)) if !why.contains("ya29")), "{fault:?}: {issued:?}");
    }
    // Of the service account there is nothing yet.
    for fault in [Fault::Bound, Fault::Echoes] {
        google.does(fault);
        let issued = issue();
        assert!(matches!(&issued, Err(NotIssued::Refused(_))), "{fault:?}: {issued:?}");
    }
    let shown = std::fs::read_to_string(house.path()).unwrap();
    let Err(NotIssued::Refused(why)) = issue() else { panic!() };
    assert!(why.contains("400") && shown.split('.').all(|part| !why.contains(part)), "{why}");
    google.does(Fault::None);
    // Another account than the pool's members may have.
    let other = runtime.block_on(source.issue(&wanted(5, Class::Read, &[("tenant", "us")])));
    assert!(matches!(&other, Err(NotIssued::Refused(why)) if why.contains("getAccessToken")), "{other:?}");
    for tenant in ["eu@other.iam", "EU", "../x"] {
        let injected = runtime.block_on(source.issue(&wanted(5, Class::Read, &[("tenant", tenant)])));
        assert!(matches!(injected, Err(NotIssued::Refused(_))), "{tenant}");
    }
}

#[test]
fn google_refuses_whom_nothing_vouches_for() {
    let house = House::new();
    let runtime = Runtime::new().unwrap();
    let url = format!("http://127.0.0.1:{}", nobody());
    let path = house.path().display().to_string();
    let subject = Subject {
        file: house.file(),
        nobody: None,
        secrets: &[],
        scope: SCOPE,
        lets_in: &|_| false,
        lists: false,
        unique: false,
    };
    refuses(&runtime, &source(&file(&url, &path, ""), &[]), &subject);
    let ours = source(&subject.file, &[]);
    let class = runtime.block_on(ours.1.issue(&wanted(6, Class::Escalate, SCOPE)));
    assert!(matches!(class, Err(NotIssued::Refused(_))), "{class:?}");
    // Somebody else, no token, and none at all; the file is read anew each time.
    house.google.identify_as(&house.path(), "system:serviceaccount:agents:other");
    refuses(&runtime, &ours, &subject);
    let asked = house.google.asked("/v1/token").len();
    for text in ["", "eyJ.x", "a.b.c d", "a..c", &"a.b.".repeat(2), &format!("a.b.{}", "c".repeat(16 << 10))] {
        std::fs::write(house.path(), text).unwrap();
        refuses(&runtime, &ours, &subject);
    }
    std::fs::remove_file(house.path()).unwrap();
    refuses(&runtime, &ours, &subject);
    assert_eq!(house.google.asked("/v1/token").len(), asked, "nothing is shown to anybody");
    house.google.identify(&house.path());
    assert!(runtime.block_on(ours.1.issue(&wanted(7, Class::Read, SCOPE))).is_ok());
}

#[test]
fn a_task_has_a_token_of_google_that_ends_with_its_lease() {
    let house = House::new();
    let shop = Upstream::http(&["act"], |_, _| false);
    let place =
        Place::with(&[("shop", &shop)], "[parameters]\nwhat = { type = \"string\", pattern = \"[a-z]+\" }\n", "");
    let written = file(&house.google.url(), &house.path().display().to_string(), "ttl = \"5s\"\n");
    place.write("policy/credentials/cloud.toml", &written);
    let put = "headers = { Authorization = \"Bearer {token}\" }";
    place.connector("shop", &shop, &format!("\n[credentials]\nsource = \"cloud\"\n{put}\n"));
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    let sources = place.run(&["lease", "sources"]).good().out;
    assert!(sources.contains("google") && sources.contains("expiry only") && sources.contains("reached"), "{sources}");
    place.run(&["connector", "accept", "shop", "--yes"]).good();
    let leases = || serve.admin("GET", "/v1/leases", &Value::Null).1["leases"].as_array().unwrap().clone();
    until("what looked has passed", || leases().is_empty());
    let task = serve.open_with(&json!({ "purpose": "work", "parameters": { "what": "eu" } }));
    assert_eq!(task.word("shop", "act", "v"), "ok");
    let calls = shop.calls();
    let token = calls[0].header("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    let asked = house.google.asked("generateAccessToken").pop().unwrap();
    let seconds = asked["lifetime"].as_str().unwrap().strip_suffix('s').unwrap().parse::<u32>().unwrap();
    assert!((1..=5).contains(&seconds), "{asked}");
    serve.stop(&task.id);
    until("its time has passed", || leases().is_empty());
    assert_eq!(house.google.lets_in(&token), None);
    serve.terminate();
    let record = place.record();
    let ends: Vec<String> = record.events("settled").map(|(_, settled)| settled["end"].to_string()).collect();
    assert!(ends.iter().filter(|end| end.contains("\"expired\"")).count() >= 2, "{ends:?}");
    assert!(!ends.iter().any(|end| end.contains(&token)) && !place.read("serve.log").contains(&token));
}
