//! Profiles that come with Portreeve, and definitions that stand beside the policy.

use crate::support::{
    place::{Place, Ran, Serve},
    upstream::{Upstream, tool},
};
use serde_json::{Value, json};
use std::fs;

/// Definitions as the time server lists them, of the version that its profile was written from
fn time() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/pins/time.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn add(place: &Place, upstream: &Upstream) -> Ran {
    place.run(&["connector", "add", "clock", &upstream.url(), "--profile", "time", "--yes"])
}

#[test]
fn a_shipped_profile_is_taken_over() {
    let place = Place::bare();
    place.run(&["init"]).good();
    let listed = place.run(&["connector", "profiles"]).good();
    assert!(listed.out.contains("mcp-server-time") && listed.out.contains("github"), "{listed:?}");
    let upstream = Upstream::http(&[], |_, _| false);
    upstream.offer(time());
    let ran = add(&place, &upstream).good();
    assert!(ran.out.contains("accepted 2 definitions of clock"), "{ran:?}");
    assert!(place.read("policy/connectors/clock.toml").contains("profile = \"time\""));
    assert!(place.read("policy/profiles/time.toml").contains("source = "));
    assert!(place.read("policy/pins/clock.json").starts_with("[\n  {\n"));
    let checked = place.run(&["policy", "check"]).good();
    assert_eq!(checked.out.trim(), "ok: 0 errors, 0 warnings, 0 cases");
    let unknown = place.run(&["connector", "add", "other", &upstream.url(), "--profile", "tmie", "--yes"]);
    assert!(unknown.code == 3 && unknown.err.contains("filesystem"), "{unknown:?}");
}

#[test]
fn a_server_that_is_not_the_one_of_the_profile() {
    let place = Place::bare();
    place.run(&["init"]).good();
    let mut newer = time();
    newer[0]["inputSchema"]["properties"]["brand_new"] = json!({ "type": "string" });
    newer.push(tool("more"));
    let upstream = Upstream::http(&[], |_, _| false);
    upstream.offer(newer);
    let ran = add(&place, &upstream).good();
    assert!(ran.err.contains("brand_new") && ran.err.contains("more is not in the profile"), "{ran:?}");
    assert!(place.read("policy/connectors/clock.toml").contains("brand_new = \"selector\""));
    place.run(&["policy", "check"]).good();

    let older = Place::bare();
    older.run(&["init"]).good();
    let mut definitions = time();
    definitions.iter_mut().for_each(|tool| tool["inputSchema"]["properties"] = json!({ "zone": {} }));
    upstream.offer(definitions);
    let ran = add(&older, &upstream);
    assert!(ran.code == 1 && ran.err.contains("does not fit this server"), "{ran:?}");
    assert!(!older.path().join("policy/connectors/clock.toml").exists());
    assert!(!older.path().join("policy/profiles/time.toml").exists());
}

#[test]
fn the_files_hold_what_was_accepted() {
    let upstream = Upstream::http(&["act"], |_, _| false);
    let place = Place::bare();
    place.run(&["init"]).good();
    place.run(&["connector", "add", "shop", &upstream.url(), "--yes"]).good();
    let pins = place.read("policy/pins/shop.json");
    let serve = Serve::start(&place).unwrap();

    // A file that somebody wrote by hand is not put into force.
    place.write("policy/pins/shop.json", &pins.replace("Does something", "Does something else"));
    let ran = place.run(&["policy", "apply"]);
    assert!(
        ran.code != 0 && ran.err.contains("differs in `act`") && ran.err.contains("connector accept shop"),
        "{ran:?}"
    );
    place.write("policy/pins/shop.json", &pins);
    place.run(&["policy", "apply"]).good();

    // A definition that the facts do not fit is not accepted.
    let mut changed = tool("act");
    changed["inputSchema"] = json!({ "type": "object", "properties": { "force": { "type": "boolean" } } });
    upstream.offer(vec![changed]);
    let ran = place.run(&["connector", "accept", "shop", "--yes"]);
    assert!(ran.code == 1 && ran.err.contains("takes `force`, which the profile does not mention"), "{ran:?}");
    let shown = place.json(&["connector", "show", "shop"]);
    assert_ne!(shown["accepted"][0]["accepted"], shown["offered"][0]["digest"], "nothing was accepted");
    let file = place.read("policy/connectors/shop.toml");
    place.write("policy/connectors/shop.toml", &format!("{file}arguments = {{ force = \"control\" }}\n"));
    place.run(&["connector", "accept", "shop", "--yes"]).good();
    assert!(place.read("policy/pins/shop.json").contains("\"force\": {"));
    place.run(&["policy", "apply"]).good();

    // A start takes no file that was not accepted, and says so.
    serve.terminate();
    let before = place.read("policy/pins/shop.json");
    place.write("policy/pins/shop.json", &pins);
    place.write("policy/connectors/shop.toml", &file);
    let serve = Serve::start(&place).unwrap();
    let in_force = place.json(&["status"])["bundle"].clone();
    place.write("policy/pins/shop.json", &before);
    place.write("policy/connectors/shop.toml", &format!("{file}arguments = {{ force = \"control\" }}\n"));
    assert_eq!(place.json(&["policy", "apply"])["bundle"], in_force, "the earlier policy stayed in force");
    drop(serve);
}
