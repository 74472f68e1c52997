//! What a person is shown of a connector before they accept it: who it is, and what has changed.

use crate::output;
use portreeve_core::names::{Name, ToolName};
use portreeve_rules::{
    Definition, Likeness, Pins,
    changes::{Change, What, changes, visible},
    likenesses,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};

/// What has changed between what was accepted of a connector and what it offers now
pub(super) struct Shown {
    accepted: usize,
    unreachable: Option<String>,
    digest: Option<String>,
    /// Who it was when it was accepted, and who it is now
    identity: [Option<String>; 2],
    /// Where its credentials come from, in one line
    credentials: Option<String>,
    changes: Vec<Change>,
    likenesses: Vec<Likeness>,
}

impl Shown {
    /// What an answer of the administration comes to; the other connectors are those of the policy directory
    pub(super) fn of(answer: &Value, name: &Name, policy: &Path) -> Self {
        let text = |path: &str| answer.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let [accepted, offered] = ["accepted", "offered"].map(|list| items(answer, list));
        let unreachable = text("/unreachable");
        let changes = if unreachable.is_some() { Vec::new() } else { changes(&accepted, &offered) };
        Self {
            accepted: accepted.len(),
            digest: text("/digest"),
            identity: [text("/identity/accepted"), text("/identity/seen")],
            credentials: answer.get("credentials").filter(|of| !of.is_null()).map(credentials),
            changes,
            likenesses: alike(name, &offered, policy),
            unreachable,
        }
    }

    /// What a connector offers of which nothing is accepted yet
    pub(super) fn new(answer: &Value, name: &Name, policy: &Path) -> Self {
        let part = |name: &str| answer.get(name).cloned().unwrap_or_default();
        let answer =
            json!({ "offered": part("tools"), "digest": part("digest"), "identity": { "seen": part("identity") } });
        Self::of(&answer, name, policy)
    }

    /// Only what has to be read with care where everything is new
    pub(super) fn warn(&self) {
        let strange = self.changes.iter().filter(|change| change.what != What::New).collect::<Vec<_>>();
        section("READ THIS BEFORE ACCEPTING IT:", &strange);
        self.likenesses();
    }

    /// Whether it is, and offers, just what was accepted
    fn is_as_accepted(&self) -> bool {
        let [accepted, seen] = &self.identity;
        self.changes.is_empty() && accepted.is_some() && accepted == seen
    }

    /// The same for programs
    pub(super) fn json(&self) -> Value {
        json!({ "as_accepted": self.is_as_accepted(), "changes": self.changes, "likenesses": self.likenesses })
    }

    /// The same for people, the worst first
    pub(super) fn print(&self, name: &Name) {
        output::line(&format!("{name}: {} definitions accepted", self.accepted));
        if let Some(credentials) = &self.credentials {
            output::line(&output::plain(credentials));
        }
        if let Some(why) = &self.unreachable {
            output::line(&format!("cannot be asked what it offers now: {}", output::plain(why)));
            return;
        }
        match &self.identity {
            [Some(accepted), Some(seen)] if accepted != seen => {
                output::line("IT IS NOT THE ONE THAT WAS ACCEPTED; every call is refused (connector_changed):");
                output::line(&format!("  - {}", output::plain(accepted)));
                output::line(&format!("  + {}", output::plain(seen)));
            }
            [_, Some(seen)] => output::line(&format!("it is {}", output::plain(seen))),
            [_, None] => {}
        }
        let (harmless, grave): (Vec<_>, Vec<_>) = self.changes.iter().partition(|change| change.harmless);
        section("READ THIS BEFORE ACCEPTING IT:", &grave);
        section("harmless, and refused all the same until it is accepted:", &harmless);
        self.likenesses();
        if self.is_as_accepted() {
            output::line("what it offers now is what was accepted");
        } else {
            output::line("");
            output::line(
                "Nothing that differs is called before it is accepted; agents are told the accepted instructions.",
            );
        }
        if let Some(digest) = &self.digest {
            output::line(&format!("offer {digest}"));
        }
    }

    fn likenesses(&self) {
        if !self.likenesses.is_empty() {
            output::line("");
            output::line("an agent that sees both may take one for the other:");
            for Likeness { how, tool, other } in self.likenesses.iter().take(LIKENESSES_SHOWN) {
                output::line(&format!(
                    "  {} {} {}",
                    visible(&tool.to_string()),
                    how.says(),
                    visible(&other.to_string())
                ));
            }
            let more = self.likenesses.len().saturating_sub(LIKENESSES_SHOWN);
            if more > 0 {
                output::line(&format!("  and {more} more"));
            }
        }
    }
}

/// Where credentials come from, for whom, and what taking them back achieves
fn credentials(of: &Value) -> String {
    let text = |member: &str| of.get(member).and_then(Value::as_str).unwrap_or_default();
    let classes = of.get("classes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let classes: Vec<&str> = classes.collect();
    let standing = if of.get("standing") == Some(&json!(true)) { ", A STANDING SECRET" } else { "" };
    format!(
        "its credentials come from {} ({}{standing}; {}), for {}; taken back: {}",
        text("source"),
        text("kind"),
        text("owner"),
        classes.join(", "),
        text("revocation"),
    )
}

fn section(title: &str, changes: &[&Change]) {
    if changes.is_empty() {
        return;
    }
    output::line("");
    output::line(title);
    for change in changes {
        let prompt = change.prompt.as_ref().map(|prompt| format!(" {prompt}")).unwrap_or_default();
        output::line(&format!("  {}{prompt}: {}", change.item, change.what.says()));
        for line in change.lines.iter().take(LINES_SHOWN) {
            output::line(&format!("    {line}"));
        }
        let more = change.lines.len().saturating_sub(LINES_SHOWN);
        if more > 0 {
            output::line(&format!("    and {more} lines more: --json shows them all"));
        }
    }
}

/// Lines of one change that are shown; a server cannot push the others off the screen
const LINES_SHOWN: usize = 60;
const LIKENESSES_SHOWN: usize = 20;

/// Definitions by the names of their items, as the server wrote them
fn items(answer: &Value, list: &str) -> BTreeMap<ToolName, String> {
    let items = answer.get(list).and_then(Value::as_array).into_iter().flatten();
    let item = |item: &Value| {
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        Some((text("name")?.parse().ok()?, text("definition")?.to_owned()))
    };
    items.filter_map(item).collect()
}

/// What of an offer could be taken for tools of the other connectors
fn alike(name: &Name, offered: &BTreeMap<ToolName, String>, policy: &Path) -> Vec<Likeness> {
    // A directory with errors has been told of elsewhere.
    let Ok(loaded) = portreeve_rules::load(policy) else { return Vec::new() };
    let read = |raw: &String| Definition::read(raw.as_bytes()).ok();
    let own: Pins = offered.iter().filter_map(|(name, raw)| Some((name.clone(), read(raw)?))).collect();
    let mut pins = (*loaded.pins).clone();
    pins.insert(name.clone(), own);
    likenesses(&pins, Some(name))
}
