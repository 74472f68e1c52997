//! The console of the real program in a real browser, while a real agent waits: `tests/console/live.mjs`.

use crate::{
    approvals::handed_over,
    holds::house::{House, echo},
    interop::{Client, interop, refusal},
    support::{
        place::{Place, Running},
        until,
        upstream::Upstream,
    },
};
use serde_json::{Value, json};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/console/live.mjs");
const CHROMIUM: &str = "/usr/bin/chromium";

/// A link for whoever has the account now, who is not the one that the task was opened by
fn link_of_another(place: &Place) -> String {
    let asked = || !place.json(&["approvals"])["holds"].as_array().unwrap().is_empty();
    until("somebody is asked", asked);
    handed_over(place);
    place.json(&["console"])["link"].as_str().unwrap().to_owned()
}

#[test]
fn people_answer_and_stop_an_agent_that_waits() {
    let agent = Client::Python2;
    let needs =
        [agent.needs(), "node/node_modules/playwright-core", "node/node_modules/@axe-core/playwright", CHROMIUM];
    let Some(folder) = interop("people_answer_and_stop_an_agent_that_waits", &needs) else { return };
    let (place, shop) = (Place::new(), Upstream::http(&["act", "free", "slow"], echo));
    place.connector("shop", &shop, "");
    place.write("policy/purposes/work.toml", &House::purpose("ask = { who = \"leads\" }"));
    // A lead is asked, and the agent is somebody else's. Whoever runs the tests opens the task, and then the account
    // becomes the lead's: nobody answers for their own.
    let lead = "accounts = [\"elsewhere\"]\ngroups = [\"leads\"]\nroles = [\"approver\", \"operator\"]\n";
    place.write("policy/users/zz-wim.toml", lead);
    place.write("policy/agents/assistant.toml", "owner = \"somebody@example.com\"\nabout = \"Works for the tests\"\n");
    let serve = place.serve(&["shop"]);

    let call = |value: &str| json!({ "name": "act", "arguments": { "value": value } });
    let steps = json!([call("first"), call("second"), call("third")]);
    let mut command = agent.below_exec(&place, &folder, &steps, "work", "shop");
    // It waits as long as it takes, as a task.
    command.env("PORTREEVE_CLIENT_CAN", "tasks");
    let agent = Running::start(command);

    let mut browser = place.command("node", &[SCRIPT]);
    browser.env("PORTREEVE_INTEROP", &folder).env("PORTREEVE_CONSOLE_LINK", link_of_another(&place));
    browser.env("CHROMIUM", CHROMIUM);
    if let Some(shots) = std::env::var_os("PORTREEVE_CONSOLE_SHOTS") {
        browser.env("PORTREEVE_CONSOLE_SHOTS", shots);
    }
    // Each of its steps gives up by itself; all of them together take longer than one thing may.
    let seen = browser.output().unwrap();
    let told = String::from_utf8_lossy(&seen.stdout);
    assert!(seen.status.success() && told == "done\n", "{told}\n{}", String::from_utf8_lossy(&seen.stderr));

    let lines = std::iter::from_fn(|| agent.lines.next());
    let calls: Vec<Value> = lines
        .map(|line| serde_json::from_str(&line).unwrap())
        .filter(|line: &Value| line.get("call").is_some())
        .collect();
    assert_eq!(calls.len(), 3, "{calls:?}");
    assert_eq!((&calls[0]["text"], &calls[0]["isError"]), (&json!("done first"), &json!(false)), "{}", calls[0]);
    assert_eq!(refusal(&calls[1]), "approval_declined", "{}", calls[1]);
    assert!(
        calls[1]["text"].as_str().unwrap().contains("Not this one."),
        "why, in the words of who said no: {}",
        calls[1]
    );
    assert!(calls[2].to_string().contains("task_over"), "{}", calls[2]);
    assert_eq!(shop.values(), ["first"]);
    serve.settled();
    let record = place.record();
    let said: Vec<&Value> = record.events("granted").map(|(_, granted)| &granted["signed"]["how"]).collect();
    assert_eq!(said, [&json!("link")]);
    assert_eq!(record.events("held").count(), 3);
}
