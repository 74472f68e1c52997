//! Which input decided, and what would have to change.

use crate::{case::short, stage::Judgement};
use portreeve_core::{
    reason::{Reason, Word},
    request::Call,
};

/// The input that decided
pub(super) fn decided(judgement: &Judgement, call: &Call) -> String {
    let Some(reason) = judgement.reasons.first() else {
        let charges = judgement.admission.iter().flat_map(|admission| &admission.charges);
        let entries: Vec<&str> = charges.flat_map(|charge| &charge.entries).map(|entry| entry.as_str()).collect();
        return match entries.as_slice() {
            [] => "nothing stands against it".to_owned(),
            [one] => format!("the step `{one}` lets it through, and nothing stands against it"),
            many => format!("the steps `{}` let it through, and nothing stands against it", many.join("`, `")),
        };
    };
    match given(reason, call) {
        Some((path, value)) => format!("the argument `{path}`, which is {value}"),
        None => first(&judgement.reasons),
    }
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
pub(super) fn changes(reasons: &[Reason], call: &Call) -> Vec<String> {
    let mut changes: Vec<String> = reasons.iter().map(|reason| change(reason, call)).collect();
    changes.dedup();
    changes
}

fn change(reason: &Reason, call: &Call) -> String {
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
        Word::ToolOutsidePurpose => format!("an `[[allow]]` of {} would have to use `{}`", reason.source, call.tool),
        Word::OutOfOrder => format!("the step `{}` would have to succeed first", about("first")),
        Word::CountSpent => format!("the step `{}` may be used {} times: another task", about("step"), about("limit")),
        Word::ClassNotOpen => format!("`standing` of {} would have to hold \"{}\"", reason.source, about("class")),
        Word::RuleForbids => match reason.about.get("because") {
            Some(because) => format!("{} would have to let it pass: {because}", reason.source),
            None => format!("{} would have to let it pass", reason.source),
        },
        Word::ApprovalNeeded | Word::NobodyToAsk => format!("somebody of `{}` would have to agree", about("who")),
        word => word.remedy().to_owned(),
    }
}
