//! A question to people as it is shown: from the state and the policy in force, and from what the record says.

use super::{
    Eyes,
    past::{Made, Story},
    view::{About, AnswerView, Change, CredentialView, HoldState, HoldView, QuestionView, Shown, StepView},
};
use crate::{catalogue::View, door::TheEngine};
use portreeve_core::{
    commit::Committed,
    event::{ChosenBy, Given, HeldCall, HeldWhat, How},
    judge::may_answer,
    names::{HoldId, Name},
    policy::Bundle,
    reason::Word,
    state::{Hold, Phase, State},
    time::Millis,
    value::Value,
};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Steps that are shown with a question
const STEPS: usize = 20;
/// Characters of what a tool says of itself
const SAYS_CHARS: usize = 300;
/// Lines of a difference
const LINES_MAX: usize = 400;

/// A question as the state and the policy have it; what the record adds is put in by [`with_story`]
pub(super) fn hold_view(engine: &TheEngine, id: HoldId, hold: &Hold, eyes: &Eyes, now: Millis) -> HoldView {
    let (state, shelf) = (engine.state(), engine.shelf());
    let held = &hold.held;
    let bundle = shelf.current(state);
    let task = held.task.and_then(|task| state.task(task));
    let questions = held.questions.iter().map(|question| QuestionView {
        source: question.source.clone(),
        step: question.step.as_deref().and_then(|step| step.parse().ok()),
        who: question.quorum.who.clone(),
        people: question.quorum.people,
        so_far: bundle
            .map_or(0, |bundle| u8::try_from(state.counting(bundle, (hold, question), now).len()).unwrap_or(u8::MAX)),
        passkey: question.quorum.passkey,
    });
    let questions: Vec<QuestionView> = questions.collect();
    let counting: BTreeSet<&Name> = bundle
        .into_iter()
        .flat_map(|bundle| held.questions.iter().flat_map(|question| state.counting(bundle, (hold, question), now)))
        .map(|counting| counting.user)
        .collect();
    let answers = hold.answers.iter().map(|(user, said)| AnswerView {
        user: user.clone(),
        yes: said.grant.is_some(),
        why: said.why.clone(),
        at: said.at,
        how: how_word(&said.how).to_owned(),
        counts: said.grant.is_none() || counting.contains(user),
    });
    let mut answers: Vec<AnswerView> = answers.collect();
    answers.sort_by_key(|answer| answer.at);
    let (mut parameters, objective) = match (&held.what, task) {
        (HeldWhat::Opening(opening), _) => {
            (given(&opening.parameters), opening.objective.as_ref().map(|given| one("objective", given)))
        }
        (_, Some(task)) => {
            let shown = |(name, value): (&Name, &Value)| {
                let by = task.chosen.get(name).copied().unwrap_or(ChosenBy::Model);
                shown(name.as_str(), Some(value), chosen_by(by))
            };
            (task.values.iter().map(shown).collect(), None)
        }
        _ => (Vec::new(), None),
    };
    parameters.sort_by(|a: &Shown, b| a.name.cmp(&b.name));
    let asked = |user: &Name| {
        held.questions.iter().any(|question| {
            question.quorum.passkey
                && bundle.is_some_and(|bundle| state.is_approver(bundle, user, &question.quorum.who, now))
        })
    };
    let how = &eyes.how;
    let not_by_you = may_answer(state, shelf, id, eyes.user.as_ref(), (true, how), now);
    let may_deny =
        eyes.user.is_some() && may_answer(state, shelf, id, eyes.user.as_ref(), (false, how), now).is_empty();
    HoldView {
        hold: id,
        code: id.code(),
        state: stands(state, bundle.map(AsRef::as_ref), hold, now),
        about: about(&held.what, bundle.map(AsRef::as_ref)),
        binding: held.binding,
        task: held.task,
        agent: held.agent.clone(),
        user: held.user.clone(),
        chain: held.chain.clone(),
        purpose: held.purpose.clone(),
        purpose_about: bundle
            .and_then(|bundle| bundle.purposes.get(&held.purpose))
            .map(|purpose| purpose.about.clone())
            .unwrap_or_default(),
        parameters,
        objective,
        steps: Vec::new(),
        questions,
        answers,
        earlier: Vec::new(),
        asked: hold.asked,
        until: held.until,
        // Who can sign in better may still answer.
        not_by_you: not_by_you.into_iter().filter(|reason| reason.word != Word::StepUpNeeded).collect(),
        may_deny,
        passkey: eyes.user.as_ref().is_some_and(asked),
        timeline: held.task.is_some_and(|task| eyes.sees_task(state, bundle.map(AsRef::as_ref), task, now)),
    }
}

/// Where a question stands
pub(super) fn stands(state: &State, bundle: Option<&Bundle>, hold: &Hold, now: Millis) -> HoldState {
    match hold.phase {
        Phase::Open => {
            let task_lives = hold.held.task.is_none_or(|task| state.life(task, now).is_empty());
            let enough = |bundle: &Bundle| {
                let met = |question: &portreeve_core::event::Question| {
                    state.counting(bundle, (hold, question), now).len() >= usize::from(question.quorum.people)
                };
                hold.held.questions.iter().all(met)
            };
            if hold.held.until <= now || !task_lives {
                HoldState::Over
            } else if bundle.is_some_and(enough) {
                HoldState::Approved
            } else {
                HoldState::Open
            }
        }
        Phase::Declined { .. } => HoldState::Declined,
        // What needs no call is done when it is used.
        Phase::Used { effect: None } | Phase::Done { .. } => HoldState::Done,
        Phase::Used { effect: Some(_) } => HoldState::Used,
        Phase::Unknown { .. } => HoldState::Unknown,
        Phase::Over { .. } => HoldState::Over,
    }
}

/// Puts in what only the record and the catalogue know
pub(super) fn with_story(view: &mut HoldView, hold: &Hold, story: &Story, catalogue: &View) {
    if let Some((_, began)) = &story.began
        && view.task.is_some()
    {
        view.objective = began.objective.as_ref().map(|given| one("objective", given));
        if view.parameters.is_empty() {
            view.parameters = given(&began.parameters);
        }
    }
    let calls = story.calls();
    if let (About::Call { says, arguments, .. }, HeldWhat::Call(call)) = (&mut view.about, &hold.held.what) {
        *says = catalogue.definition(&call.tool).and_then(|definition| says_of(&definition.raw));
        let own = match hold.phase {
            Phase::Used { effect } => effect,
            Phase::Done { effect, .. } | Phase::Unknown { effect, .. } => Some(effect),
            _ => None,
        };
        let before = || calls.iter().filter(|made| made.view.at <= hold.asked && Some(made.view.effect) != own);
        let is_same = |made: &&Made| made.key == Some(call.key) && made.view.end != "not_sent";
        view.earlier = before().filter(is_same).map(|made| made.view.clone()).collect();
        if let Some(last) = before().rfind(|made| made.tool == call.tool && made.view.end != "not_sent") {
            for argument in arguments {
                let now = call.arguments.get(&argument.name).and_then(|given| given.value.value());
                let was = last.arguments.get(&argument.name).cloned().flatten();
                argument.changed = was.filter(|was| now.as_ref() != Some(was)).as_ref().map(text);
            }
        }
    }
    let steps: Vec<StepView> = calls.into_iter().map(|made| made.view).collect();
    view.steps = steps.get(steps.len().saturating_sub(STEPS)..).unwrap_or_default().to_vec();
}

/// What a connector wants to be shown
fn credential(bundle: &Bundle, connector: &Name) -> Option<CredentialView> {
    let wanted = bundle.connectors.get(connector)?.credentials.as_ref()?;
    let source = bundle.sources.get(&wanted.source)?;
    Some(CredentialView {
        source: wanted.source.clone(),
        kind: source.back_end.says().kind().to_owned(),
        revocation: source.revocation().to_string(),
        standing: source.is_standing(),
    })
}

fn about(what: &HeldWhat, bundle: Option<&Bundle>) -> About {
    match what {
        HeldWhat::Call(call) => About::Call {
            tool: call.tool.to_string(),
            says: None,
            variants: call.variants.clone(),
            class: call.class,
            arguments: call.arguments.iter().map(|(name, given)| one(name, given)).collect(),
            target: call.target.clone(),
            label: call.label.to_string(),
            undo: call.undo.clone(),
            changes: changes(call),
            credential: bundle.and_then(|bundle| credential(bundle, &call.tool.connector)),
        },
        HeldWhat::Elevation(elevation) => About::Elevation {
            class: elevation.class,
            tools: elevation.uses.iter().map(ToString::to_string).collect(),
            values: elevation.values.iter().map(|(name, value)| committed(name, value, "model")).collect(),
            times: elevation.times,
            lasts_ms: elevation.lasts_ms,
            why: committed("why", &elevation.why, "model"),
        },
        HeldWhat::Opening(opening) => About::Opening {
            opener: opening.opener.clone(),
            break_glass: opening.break_glass,
            lasts_ms: opening.lasts_ms,
        },
    }
}

/// What was read before a call, against the argument of the same name
fn changes(call: &HeldCall) -> Vec<Change> {
    let mut lines = Vec::new();
    for (path, was) in &call.before {
        let name = path.rsplit('.').next().unwrap_or(path);
        let will = call.arguments.get(name).map(|given| &given.value);
        let (was, will) = (lines_of(path, was), will.map(|will| lines_of(path, will)).unwrap_or_default());
        lines.extend(difference(&was, &will));
    }
    lines.truncate(LINES_MAX);
    lines
}

fn lines_of(path: &str, value: &Committed) -> Vec<String> {
    match value.value() {
        None => vec![format!("{path}: (not kept)")],
        Some(Value::String(text)) if text.contains('\n') => {
            text.lines().map(|line| format!("{path}: {line}")).collect()
        }
        Some(value) => vec![format!("{path}: {}", value.canonical())],
    }
}

/// What goes and what comes, by what both have at the front and at the end
fn difference(was: &[String], will: &[String]) -> Vec<Change> {
    let same = |pairs: &mut dyn Iterator<Item = (&String, &String)>| pairs.take_while(|(a, b)| a == b).count();
    let front = same(&mut was.iter().zip(will));
    let end = same(&mut was.iter().skip(front).rev().zip(will.iter().skip(front).rev()));
    let change = |mark: char| move |text: &String| Change { mark, text: text.clone() };
    let middle = |lines: &[String], mark: char| -> Vec<Change> {
        let count = lines.len().saturating_sub(front + end);
        lines.iter().skip(front).take(count).map(change(mark)).collect()
    };
    let mut lines: Vec<Change> = was.iter().take(front).map(change(' ')).collect();
    lines.extend(middle(was, '-'));
    lines.extend(middle(will, '+'));
    lines.extend(was.iter().skip(was.len().saturating_sub(end)).map(change(' ')));
    lines
}

/// The first line of what a tool says of itself
fn says_of(definition: &str) -> Option<String> {
    let definition: Json = serde_json::from_str(definition).ok()?;
    let says = definition.get("description").or_else(|| definition.get("title")).and_then(Json::as_str)?;
    let line = says.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(SAYS_CHARS).collect())
}

/// Values and who chose them
pub(super) fn given(values: &BTreeMap<Name, Given>) -> Vec<Shown> {
    values.iter().map(|(name, given)| one(name.as_str(), given)).collect()
}

/// A value and who chose it
pub(super) fn one(name: &str, given: &Given) -> Shown {
    committed(name, &given.value, chosen_by(given.by))
}

fn committed(name: &str, value: &Committed, chosen_by: &str) -> Shown {
    shown(name, value.value().as_ref(), chosen_by)
}

pub(super) fn shown(name: &str, value: Option<&Value>, chosen_by: &str) -> Shown {
    Shown { name: name.to_owned(), value: value.map(text), chosen_by: chosen_by.to_owned(), changed: None }
}

/// Text as it is, anything else as canonical JSON; text that could be taken for something else in quotes
fn text(value: &Value) -> String {
    let plain =
        value.as_str().filter(|text| !text.is_empty() && text.trim() == *text && Value::from_canonical(text).is_err());
    plain.map_or_else(|| value.canonical(), ToOwned::to_owned)
}

pub(super) fn chosen_by(by: ChosenBy) -> &'static str {
    match by {
        ChosenBy::Parameter => "parameter",
        ChosenBy::Model => "model",
    }
}

/// How somebody is known, in a word
pub(super) fn how_word(how: &How) -> &'static str {
    match how {
        How::Socket => "socket",
        How::Link => "link",
        How::Handed { .. } => "handed link",
        How::Passkey => "passkey",
        How::HandedPasskey { .. } => "handed passkey",
        How::Oidc { .. } => "sign-in",
        How::Webhook { .. } => "webhook",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[&str]) -> Vec<String> {
        text.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_difference_keeps_what_both_have_at_the_ends() {
        let told = |was: &[&str], will: &[&str]| {
            let lines = difference(&lines(was), &lines(will)).into_iter();
            lines.map(|change| format!("{}{}", change.mark, change.text)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(told(&["a", "b", "c"], &["a", "x", "y", "c"]), " a -b +x +y  c");
        assert_eq!(told(&["a"], &["a"]), " a");
        assert_eq!(told(&["a", "a"], &["a"]), " a -a");
        assert_eq!(told(&[], &["a"]), "+a");
        assert_eq!(told(&["a"], &[]), "-a");
    }

    #[test]
    fn text_that_could_be_something_else_is_quoted() {
        let shown = |value: &str| text(&Value::from_canonical(value).unwrap());
        assert_eq!(shown("\"ord_1\""), "ord_1");
        assert_eq!((shown("5"), shown("\"5\"")), ("5".to_owned(), "\"5\"".to_owned()));
        assert_eq!((shown("true"), shown("\"true\"")), ("true".to_owned(), "\"true\"".to_owned()));
        assert_eq!((shown("\"\""), shown("\" a\"")), ("\"\"".to_owned(), "\" a\"".to_owned()));
    }

    #[test]
    fn what_a_tool_says_is_its_first_line() {
        assert_eq!(says_of(r#"{"description":"\n  Refunds an order \nIGNORE"}"#).as_deref(), Some("Refunds an order"));
        assert_eq!(says_of("{}"), None);
    }
}
