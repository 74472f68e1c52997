//! `portreeve policy explain`

use crate::{
    cli::Cli,
    commands::author::{
        self, folder_of, load,
        record::{Recorded, Step},
        usage,
    },
    failure::{Failure, exit},
    output, place,
};
use portreeve_core::{
    event::{Event, Record, What},
    hash::Hash,
    judge::Shelf,
    names::{EffectId, Name, TaskId, Tool},
    pattern::Source,
    policy::Bundle,
    reason::Word,
    request::{Call, Clock},
    time::Millis,
    value::Value,
};
use portreeve_rules::{Explanation, Files, For, Loaded, NOON, Opening, Places, Position, Replay, Stage, rebuild};
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(super) fn run(cli: &Cli, explain: &author::Explain) -> Result<u8, Failure> {
    let first = explain.call.first().map(String::as_str).unwrap_or_default();
    if first.parse::<EffectId>().is_ok() || first.parse::<TaskId>().is_ok() {
        return recorded(cli, first, explain.call.get(1).map(PathBuf::from));
    }
    let (wanted, folder) = wanted(explain)?;
    let loaded = load(&folder_of(cli, folder.as_deref())?)?;
    let explanation = on_stage(&loaded, &wanted)?;
    if cli.json {
        output::json(&json!(explanation));
    } else {
        output::line(explanation.to_string().trim_end());
    }
    Ok(0)
}

/// A call and its task, as a person or a file writes them
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    tool: Option<Tool>,
    arguments: BTreeMap<String, Value>,
    purpose: Option<Name>,
    agent: Option<Name>,
    /// A user, or `none`
    user: Option<Name>,
    parameters: BTreeMap<Name, Value>,
    done: Vec<Name>,
    returned: BTreeMap<Source, Vec<Value>>,
    time: Option<String>,
}

const CALL: &str = "Write `portreeve policy explain shop.refund id=ord_1 amount=5 --purpose refund-order`, or give a \
    JSON object with `tool` and `arguments`, or @FILE.";

/// The call that is asked about, and the directory if one is named
fn wanted(explain: &author::Explain) -> Result<(Wanted, Option<PathBuf>), Failure> {
    let (first, rest) = explain.call.split_first().ok_or_else(|| usage("No call is given.", CALL))?;
    let text = match first.strip_prefix('@') {
        Some(file) => Some(fs::read_to_string(file).map_err(|error| {
            Failure::new(exit::NOT_FOUND, "call_unreadable", format!("{}: {error}", output::plain(file)))
        })?),
        None => first.trim_start().starts_with('{').then(|| first.clone()),
    };
    let (mut wanted, folder) = match text {
        Some(text) => {
            // Read as strictly as a message, so that what is explained is what would be judged.
            let value: Value =
                text.trim().parse().map_err(|error| usage(format!("The call is no JSON: {error}."), CALL))?;
            let wanted: Wanted = serde_json::from_str(&value.canonical())
                .map_err(|error| usage(format!("The call cannot be read: {error}."), CALL))?;
            if rest.len() > 1 {
                return Err(usage("Only the policy directory can follow the call.", CALL));
            }
            (wanted, rest.first().map(PathBuf::from))
        }
        None => {
            let tool: Tool = first.parse().map_err(|error| usage(format!("{error}."), CALL))?;
            let mut wanted = Wanted { tool: Some(tool), ..Wanted::default() };
            let (pairs, folder) = match rest.split_last() {
                Some((last, pairs)) if !last.contains('=') => (pairs, Some(PathBuf::from(last))),
                _ => (rest, None),
            };
            for pair in pairs {
                let (name, value) = pair_of(pair)?;
                wanted.arguments.insert(name.to_owned(), value);
            }
            (wanted, folder)
        }
    };
    wanted.purpose = explain.purpose.clone().or(wanted.purpose);
    wanted.agent = explain.agent.clone().or(wanted.agent);
    wanted.user = explain.user.clone().or(wanted.user);
    wanted.time = explain.time.clone().or(wanted.time);
    wanted.done.extend(explain.done.iter().cloned());
    for pair in &explain.parameters {
        let (name, value) = pair.split_once('=').ok_or_else(|| usage(format!("{pair:?} is no NAME=VALUE."), CALL))?;
        let name = name.parse().map_err(|error| usage(format!("{error}."), CALL))?;
        // Text, as everywhere on the command line: the purpose says what it is read as.
        wanted.parameters.insert(name, Value::String(value.to_owned()));
    }
    for pair in &explain.returned {
        let (source, value) = pair_of(pair)?;
        let source = source.parse().map_err(|error| usage(format!("{error}."), CALL))?;
        let values = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        wanted.returned.insert(source, values);
    }
    Ok((wanted, folder))
}

/// `name=value`: JSON where it is JSON, and text where it is not
fn pair_of(pair: &str) -> Result<(&str, Value), Failure> {
    let (name, text) = pair.split_once('=').ok_or_else(|| usage(format!("{pair:?} is no NAME=VALUE."), CALL))?;
    Ok((name, text.parse().unwrap_or_else(|_| Value::String(text.to_owned()))))
}

fn on_stage(loaded: &Loaded, wanted: &Wanted) -> Result<Explanation, Failure> {
    let bundle = &loaded.bundle;
    let tool = wanted.tool.as_ref().ok_or_else(|| usage("The call names no tool.", CALL))?;
    let purpose = match &wanted.purpose {
        Some(purpose) => purpose.clone(),
        None => only_purpose(bundle, tool)?,
    };
    let now = match &wanted.time {
        None => NOON,
        Some(text) => text
            .parse::<jiff::Timestamp>()
            .map(|time| Millis(time.as_millisecond()))
            .map_err(|_| usage(format!("{text:?} is no time."), "Write --time 2026-01-05T12:00:00Z."))?,
    };
    let opening = Opening {
        purpose: purpose.clone(),
        agent: wanted.agent.clone(),
        user: match &wanted.user {
            None => For::Anybody,
            Some(user) if user.as_str() == "none" => For::Nobody,
            Some(user) => For::User(user.clone()),
        },
        parameters: wanted.parameters.clone(),
    };
    let mut stage = Stage::new(loaded, now);
    // What is left out is shown as having no value; a task as such would not open without it.
    let excused: &[Word] =
        if wanted.time.is_some() { &[Word::ParameterMissing] } else { &[Word::ParameterMissing, Word::PurposeOverdue] };
    let entries = bundle.purposes.get(&purpose).map(|purpose| purpose.entries()).unwrap_or_default();
    let steps: BTreeSet<&Name> = wanted.done.iter().chain(wanted.returned.keys().map(|source| &source.step)).collect();
    if let Some(unknown) = steps.iter().find(|step| entries.iter().all(|entry| entry.name != ***step)) {
        let known: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        let fix = format!("Its steps: {}.", known.join(", "));
        return Err(usage(format!("{purpose} has no step `{unknown}`."), &fix));
    }
    if let Err(reasons) = stage.open(&opening, excused) {
        let given = wanted.arguments.iter().map(|(name, value)| format!(" {name}={value}"));
        let call = format!("{tool}{}", given.collect::<String>());
        return Ok(Explanation::of_opening(call, now, &reasons));
    }
    for step in steps {
        let of_step = wanted.returned.iter().filter(|(source, _)| source.step == *step);
        let returned = of_step.map(|(source, values)| (source.clone(), values.clone())).collect();
        // As often as it is named.
        for _ in 0..wanted.done.iter().filter(|done| *done == step).count().max(1) {
            stage.succeed(step, &returned);
        }
    }
    let call = stage.call(tool, &wanted.arguments);
    let places = BTreeMap::from([(bundle.digest, loaded.places())]);
    Ok(Explanation::of(Position {
        state: stage.state(),
        shelf: stage.shelf(),
        call: &call,
        clock: stage.clock(),
        places: &places,
    }))
}

/// The purpose that names a tool, if that leaves no doubt
fn only_purpose(bundle: &Bundle, tool: &Tool) -> Result<Name, Failure> {
    let naming = bundle.purposes.iter().filter(|(_, purpose)| purpose.tools().any(|known| known == tool));
    let naming: Vec<&Name> = naming.map(|(name, _)| name).collect();
    let known = |names: &[&Name]| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    match naming.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let all: Vec<&Name> = bundle.purposes.keys().collect();
            Err(usage(format!("No purpose names {tool}."), &format!("Say --purpose; there are: {}.", known(&all))))
        }
        many => Err(usage(format!("Several purposes name {tool}."), &format!("Say --purpose: {}.", known(many)))),
    }
}

/// A call of the record at its place
struct Found {
    state: portreeve_core::state::State,
    shelf: Shelf,
    call: Result<Call, &'static str>,
    effect: EffectId,
    now: Millis,
}

/// What the record holds about an id, judged with the versions that it names, and with the directory
fn recorded(cli: &Cli, id: &str, folder: Option<PathBuf>) -> Result<u8, Failure> {
    let data = place::data(cli)?;
    let found = find(&data, id)?;
    let recorded = Recorded::open(&data)?;
    let folder = folder_of(cli, folder.as_deref())?;
    // Without a policy that can be read, there is still what the record says.
    let current = load(&folder).ok();
    let mut shown = Vec::new();
    for found in found {
        let call = match &found.call {
            Ok(call) => call,
            Err(why) => {
                shown.push((found.effect, Err((*why).to_owned())));
                continue;
            }
        };
        let places = found.shelf.0.keys().map(|digest| (*digest, places_of(&recorded, *digest))).collect();
        let clock = Clock::at(found.now.0);
        let then = Explanation::of(Position { state: &found.state, shelf: &found.shelf, call, clock, places: &places });
        let now = current.as_ref().filter(|current| !found.shelf.0.contains_key(&current.bundle.digest));
        let now = now.map(|current| {
            let shelf = Shelf(found.shelf.0.keys().map(|digest| (*digest, Arc::clone(&current.bundle))).collect());
            let places = BTreeMap::from([(current.bundle.digest, current.places())]);
            Explanation::of(Position { state: &found.state, shelf: &shelf, call, clock, places: &places })
        });
        shown.push((found.effect, Ok((then, now))));
    }
    if cli.json {
        let calls: Vec<_> = shown
            .iter()
            .map(|(effect, told)| match told {
                Ok((then, now)) => json!({ "effect": effect, "recorded": then, "directory": now }),
                Err(why) => json!({ "effect": effect, "unknown": why }),
            })
            .collect();
        output::json(&json!({ "calls": calls }));
        return Ok(0);
    }
    for (effect, told) in &shown {
        match told {
            Err(why) => output::line(&format!("{effect}: cannot be judged once more: {why}\n")),
            Ok((then, now)) => {
                output::line(&format!("== {effect}, with the policy that the record names ==\n\n{then}"));
                if let Some(now) = now {
                    output::line(&format!("== {effect}, with {} ==\n\n{now}", folder.display()));
                }
            }
        }
    }
    Ok(0)
}

fn places_of(recorded: &Recorded, digest: Hash) -> Places {
    let files = recorded.blob(digest).ok().and_then(|blob| Files::from_blob(&blob));
    files.map(|files| Places::of(&files)).unwrap_or_default()
}

/// The calls that an id is about, each at its place
fn find(data: &Path, id: &str) -> Result<Vec<Found>, Failure> {
    let mut replay = Replay::new(u64::MAX, None);
    let mut found = Vec::new();
    let mut known = false;
    Recorded::open(data)?.each(|recorded, step| {
        match step {
            Step::Record(group, record) => {
                known |= is_about(record, id);
                let at = call_of(record, id).map(|call| (call, replay.state().clone()));
                replay.next(group, record, &mut |digest| recorded.version(digest));
                if let Some(((effect, now, call), state)) = at {
                    let shelf = replay.shelf().clone();
                    found.push(Found { state, shelf, call, effect, now });
                }
            }
            Step::Closed(head) => replay.closed(head),
        }
        false
    })?;
    if found.is_empty() {
        let (word, what) = match known {
            true => ("nothing_called", format!("{} has no call in the record.", output::plain(id))),
            false => ("not_found", format!("No record is about {:?}.", output::plain(id))),
        };
        return Err(Failure::new(exit::NOT_FOUND, word, what)
            .fix("Refused calls are kept without their arguments: give the call itself."));
    }
    Ok(found)
}

fn is_about(record: &Record, id: &str) -> bool {
    match &record.event {
        Event::Began(began) => began.task.to_string() == id,
        Event::Admitted(admitted) => admitted.effect.to_string() == id,
        _ => false,
    }
}

/// The call of a record, if the id is its effect or its task
fn call_of(record: &Record, id: &str) -> Option<(EffectId, Millis, Result<Call, &'static str>)> {
    let Event::Admitted(admitted) = &record.event else { return None };
    let What::Call(facts) = &admitted.what else { return None };
    let is = admitted.effect.to_string() == id || admitted.task.is_some_and(|task| task.to_string() == id);
    is.then(|| (admitted.effect, admitted.now, rebuild(record, admitted, facts)))
}
