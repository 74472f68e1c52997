//! `portreeve task undo`

use crate::{
    cli::Undo,
    client::Client,
    failure::{Failure, exit},
    output,
};
use http::Method;
use portreeve_core::{names::TaskId, value::Value as Given};
use portreeve_gateway::undo::{DeedView, PlanView, StepState, UndoState, UndoStepView, UndoView};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) async fn run(client: &Client, undo: &Undo, as_json: bool) -> Result<u8, Failure> {
    let path = format!("/v1/tasks/{}/undo", undo.task);
    let ask = json!({ "plan_only": true, "skip": undo.skip });
    let answer = client.ask(Method::POST, &path, Some(&ask)).await?;
    let plan: PlanView = read(&answer)?;
    if undo.plan {
        if as_json {
            output::json(&answer)
        } else {
            show(&plan)
        }
        return Ok(0);
    }
    if !as_json {
        show(&plan);
    }
    // What another undo is about to do is gone on with, whatever else is left.
    let goes_on = plan.under_way.is_some() && undo.skip.is_empty();
    if plan.calls == 0 && !goes_on && !plan.is_doubtful() {
        if as_json {
            output::json(&answer);
        }
        return Ok(if plan.is_settled() { 0 } else { exit::FAILURE });
    }
    let question = match plan.under_way.filter(|_| goes_on) {
        Some(task) => format!("Go on with {task}?"),
        None => format!("Make {}, in this order?", count(plan.calls, "call")),
    };
    if !undo.yes && !output::confirm(&question) {
        return Err(Failure::new(exit::FAILURE, "not_confirmed", "Nothing was undone.").fix("Say yes, or give --yes."));
    }
    let digest = if goes_on { None } else { Some(plan.digest) };
    let ask = json!({ "skip": undo.skip, "digest": digest, "as": undo.user });
    let mut view: UndoView = match client.ask(Method::POST, &path, Some(&ask)).await {
        Ok(begun) => read(&begun)?,
        Err(failure) => {
            // Another undo may have come first, and be done already: then nothing is left that anybody would want.
            let ask = json!({ "plan_only": true, "skip": undo.skip });
            let answer = client.ask(Method::POST, &path, Some(&ask)).await?;
            let plan: PlanView = read(&answer)?;
            if plan.calls > 0 || plan.under_way.is_some() || !plan.is_settled() {
                return Err(failure);
            }
            if as_json {
                output::json(&answer);
            } else {
                output::tip("Another undo was quicker: nothing is left to undo.");
            }
            return Ok(0);
        }
    };
    if !as_json {
        output::tip(&format!("{} takes back what {} did", view.task, view.of));
    }
    let mut told = vec![(StepState::Waiting, None); view.steps.len()];
    let shown = loop {
        for ((at, step), told) in view.steps.iter().enumerate().zip(&mut told) {
            let now = (step.state, step.held.as_ref().map(|held| held.code.clone()));
            if now != *told && !as_json {
                report(at, step);
            }
            *told = now;
        }
        let (task, version) = (view.task, view.version);
        if view.state != UndoState::Playing {
            break json!(view);
        }
        view = read(&client.ask(Method::GET, &format!("/v1/tasks/{task}/undo?version={version}"), None).await?)?;
    };
    if as_json {
        output::json(&shown);
    }
    Ok(end(&view, undo.task, as_json))
}

fn read<T: DeserializeOwned>(answer: &Value) -> Result<T, Failure> {
    let unreadable = |error: serde_json::Error| {
        Failure::new(exit::FAILURE, "failed", format!("The answer has another form than expected: {error}"))
    };
    T::deserialize(answer).map_err(unreadable)
}

/// What was done, the last first, and what takes it back
fn show(plan: &PlanView) {
    if plan.deeds.is_empty() {
        output::line(&format!("{} changed nothing.", plan.task));
        return;
    }
    let row = |deed: &DeedView| {
        let back = match (&deed.undo, &deed.why) {
            (Some(undo), _) => call(&undo.tool.to_string(), &given(&undo.arguments)),
            (None, Some(why)) => format!("- {}", why.says),
            (None, None) => String::new(),
        };
        vec![deed.effect.to_string(), call(&deed.tool.to_string(), &known(deed)), back]
    };
    let rows: Vec<Vec<String>> = plan.deeds.iter().map(row).collect();
    output::table(&["CALL", "DID", "TAKEN BACK BY"], &rows);
    if plan.live {
        output::tip(&format!(
            "{} still works, and may do more meanwhile; `portreeve task stop {}` ends it first.",
            plan.task, plan.task
        ));
    }
    let left = plan.deeds.iter().filter(|deed| deed.is_left()).count();
    match (plan.calls, left) {
        (0, 0) => output::tip("Nothing is left to undo."),
        (0, left) => output::tip(&format!("Nothing of it can be undone; {} left.", of(left))),
        (_, 0) => {}
        (calls, left) => output::tip(&format!("{calls} can be undone; {} left.", of(left))),
    }
}

fn of(count: usize) -> String {
    if count == 1 { "1 is".to_owned() } else { format!("{count} are") }
}

fn count(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn given(arguments: &std::collections::BTreeMap<String, Given>) -> Vec<(String, String)> {
    arguments.iter().map(|(name, value)| (name.clone(), value.canonical())).collect()
}

fn known(deed: &DeedView) -> Vec<(String, String)> {
    let value = |value: &Option<Given>| value.as_ref().map_or("(not recorded)".to_owned(), Given::canonical);
    deed.arguments.iter().map(|(name, given)| (name.clone(), value(given))).collect()
}

/// A call on one line
fn call(tool: &str, arguments: &[(String, String)]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|(name, value)| format!("{name}: {}", cut(value))).collect();
    output::plain(&format!("{tool}({})", arguments.join(", ")))
}

/// A value on one line; whoever wants all of it asks for JSON
fn cut(text: &str) -> String {
    if text.chars().count() <= VALUE_CHARS {
        return text.to_owned();
    }
    text.chars().take(VALUE_CHARS - 1).chain(['…']).collect()
}

/// Characters of a value that are shown
const VALUE_CHARS: usize = 60;

fn report(at: usize, step: &UndoStepView) {
    let arguments = match &step.arguments {
        Some(Given::Object(arguments)) => given(arguments),
        _ => Vec::new(),
    };
    let says = step.says.as_ref().map(|why| format!(": {} ({})", why.says, why.word)).unwrap_or_default();
    let state = match step.state {
        StepState::Waiting | StepState::Open => return,
        StepState::Done => "done".to_owned(),
        StepState::Failed => format!("FAILED{says}"),
        StepState::Unknown => format!("NOT KNOWN whether it happened{says}"),
        StepState::Refused => format!("NOT SENT{says}"),
        StepState::Held => match &step.held {
            Some(held) => {
                let who: Vec<String> = held.questions.iter().map(|question| question.quorum.who.to_string()).collect();
                let code = &held.code;
                format!("waits for {} until {}: {code}", who.join(", "), output::time(held.until))
            }
            None => "waits for people".to_owned(),
        },
    };
    output::line(&output::plain(&format!("{:>2}. {} - {state}", at + 1, call(&step.tool.to_string(), &arguments))));
    if let Some(held) = step.held.as_ref().filter(|_| step.state == StepState::Held) {
        output::tip(&format!("    in another terminal: portreeve approve {}", held.code));
    }
}

/// Says how it ended
fn end(view: &UndoView, of: TaskId, as_json: bool) -> u8 {
    let done = view.steps.iter().filter(|step| step.state == StepState::Done).count();
    if view.state == UndoState::Done {
        if !as_json {
            output::tip(&format!("All of it is undone: {}.", count(done, "call")));
        }
        return 0;
    }
    let stopped = view.steps.iter().find(|step| step.state != StepState::Done);
    if !as_json {
        output::tip(&format!("Stopped after {} of {}.", done, count(view.steps.len(), "call")));
        if let Some(step) = stopped {
            let next = match step.state {
                StepState::Unknown => {
                    format!("Look at the server, then leave it out: portreeve task undo {of} --skip {}", step.effect)
                }
                _ => format!(
                    "Go on with what is left: portreeve task undo {of}   (or leave it out: --skip {})",
                    step.effect
                ),
            };
            output::tip(&next);
        }
    }
    exit::FAILURE
}
