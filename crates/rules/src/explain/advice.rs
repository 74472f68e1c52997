//! Which input decided, and what would have to change.

use crate::{case::short, stage::Judgement};
use portreeve_core::{
    pattern::{Match, Scope},
    policy::Bundle,
    reason::{Reason, Word},
    request::Call,
};

/// The input that decided
pub(super) fn decided(judgement: &Judgement, call: &Call, bundle: Option<&Bundle>) -> String {
    let observed = judgement.admission.as_ref().and_then(|admission| admission.observed.as_ref());
    if let Some(observed) = observed {
        return format!("{}, a grant that takes what stands against it out of the way", observed.grant);
    }
    let Some(reason) = judgement.reasons.first() else {
        let charges = judgement.admission.iter().flat_map(|admission| &admission.charges);
        let entries: Vec<&str> = charges.flat_map(|charge| &charge.entries).map(|entry| entry.as_str()).collect();
        return match entries.as_slice() {
            [] => "nobody: nothing stands against it".to_owned(),
            [one] => format!("the step `{one}`, which lets it through; nothing stands against it"),
            many => format!("the steps `{}`, which let it through; nothing stands against it", many.join("`, `")),
        };
    };
    if let Some(variant) = reason.about.get("variant").filter(|_| reason.word == Word::ArgumentUnclear) {
        let profile = bundle.and_then(|bundle| bundle.profile(&call.tool));
        let variants = profile.into_iter().flat_map(|profile| &profile.variants);
        let conditions = variants.filter(|known| known.name.as_str() == variant).flat_map(|known| &known.matches);
        let unclear = conditions
            .filter(|(path, pattern)| pattern.picks(&path.select(&call.arguments), Scope::NONE) == Match::Unclear);
        let names: Vec<String> = unclear.map(|(path, _)| format!("`{path}`")).collect();
        return format!("the argument {}: nobody can tell whether it is `#{variant}`", names.join(" and "));
    }
    match given(reason, call) {
        Some((path, value)) => format!("the argument `{path}`, which is {value}"),
        None => first(&judgement.reasons),
    }
}

/// How an entry would have to name the call
fn usage(call: &Call, bundle: Option<&Bundle>) -> String {
    let profile = bundle.and_then(|bundle| bundle.profile(&call.tool));
    let fitting = profile.and_then(|profile| profile.fits(&call.arguments).ok()).unwrap_or_default();
    if fitting.is_empty() {
        return format!("`{}`", call.tool);
    }
    fitting.iter().map(|variant| format!("`{}#{}`", call.tool, variant.name)).collect::<Vec<_>>().join(" and ")
}

/// The first reason in one line
pub(super) fn first(reasons: &[Reason]) -> String {
    let Some(reason) = reasons.first() else { return "nothing could be judged".to_owned() };
    let about = |name: &str| reason.about.get(name).map(String::as_str);
    match reason.word {
        Word::ToolOutsidePurpose => format!("the tool, which {} does not name", reason.source),
        Word::OutOfOrder => format!("the step `{}`, which has not succeeded", about("first").unwrap_or("before it")),
        Word::CountSpent => format!("the step `{}`, which is used up", about("step").unwrap_or_default()),
        Word::ClassNotOpen => {
            format!("the class `{}`, which does not stand in this task", about("class").unwrap_or("?"))
        }
        Word::RuleForbids | Word::RuleFailed | Word::ApprovalNeeded | Word::NobodyToAsk => {
            format!("{} ({})", reason.source, reason.word)
        }
        word => format!("{word} from {}", reason.source),
    }
}

/// The argument that a reason is about, and what was given
fn given<'a>(reason: &'a Reason, call: &Call) -> Option<(&'a str, String)> {
    let path = reason.about.get("argument")?;
    let field: portreeve_core::path::FieldPath = path.parse().ok()?;
    let reached = field.select(&call.arguments);
    let values: Vec<String> =
        reached.values.iter().map(|value| value.map_or_else(|| "left out".to_owned(), short)).collect();
    let shown = if reached.broken { "not of the kind that the path needs".to_owned() } else { values.join(", ") };
    Some((path, shown))
}

/// What would have to change, one for each reason
pub(super) fn changes(reasons: &[Reason], call: &Call, bundle: Option<&Bundle>) -> Vec<String> {
    let mut changes: Vec<String> = reasons.iter().map(|reason| change(reason, call, bundle)).collect();
    changes.dedup();
    changes
}

fn change(reason: &Reason, call: &Call, bundle: Option<&Bundle>) -> String {
    let about = |name: &str| reason.about.get(name).map_or("?", String::as_str);
    match reason.word {
        Word::ArgumentOutsideTask => format!("`{}` would have to be {}", about("argument"), about("expected")),
        Word::ArgumentNotNamed => {
            let (argument, step) = (about("argument"), about("step"));
            format!("`{argument}` would have to be left out, or named under `where` of the step `{step}`")
        }
        Word::ToolOutsidePurpose if reason.source == "rules" => {
            format!("a rule forbids `{}` outright, so it is hidden: that rule would have to go", call.tool)
        }
        Word::ToolOutsidePurpose if reason.source == "pins" => {
            format!("the definition of `{}` would have to be accepted", call.tool)
        }
        Word::ToolOutsidePurpose => {
            format!("an `[[allow]]` of {} would have to use {}", reason.source, usage(call, bundle))
        }
        Word::OutOfOrder => format!("the step `{}` would have to succeed first", about("first")),
        Word::CountSpent => format!("the step `{}` may be used {} times: another task", about("step"), about("limit")),
        Word::ClassNotOpen => {
            let (source, class) = (&reason.source, about("class"));
            format!("`standing` of {source} would have to hold \"{class}\", or `[elevate]` open it for a while")
        }
        Word::RuleForbids => match reason.about.get("because") {
            Some(because) => format!("{} would have to let it pass: {because}", reason.source),
            None => format!("{} would have to let it pass", reason.source),
        },
        Word::ApprovalNeeded | Word::NobodyToAsk => {
            let passkey = if reason.about.contains_key("sign_in") { ", each with a passkey" } else { "" };
            match reason.about.get("people") {
                Some(people) => format!("{people} people of `{}` would have to agree{passkey}", about("who")),
                None => format!("somebody of `{}` would have to agree{passkey}", about("who")),
            }
        }
        word => word.remedy().to_owned(),
    }
}
