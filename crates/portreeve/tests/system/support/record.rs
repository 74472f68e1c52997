//! The record as `portreeve audit tail --json` shows it.

use serde_json::Value;
use std::collections::BTreeMap;

/// All events in their order
#[derive(Debug)]
pub(crate) struct Record {
    /// One line each
    pub(crate) lines: Vec<Value>,
}

/// One call and what became of it
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The effect
    pub(crate) effect: String,
    /// The task
    pub(crate) task: String,
    /// The tool with its connector
    pub(crate) tool: String,
    /// The entries of the purpose that it was charged to
    pub(crate) entries: Vec<String>,
    /// Its argument `value`, opened
    pub(crate) value: String,
    /// Where its admission stands among the lines
    pub(crate) at: usize,
    /// How it ended, once for each settlement: `ok`, `failed`, `not_sent`, `unknown`
    pub(crate) ends: Vec<String>,
}

impl Record {
    /// Reads lines of JSON
    pub(crate) fn read(text: &str) -> Self {
        Self { lines: text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() }
    }

    /// The events of one kind, each with its place
    pub(crate) fn events<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (usize, &'a Value)> {
        let event = move |(at, line): (usize, &'a Value)| Some((at, line["record"]["event"].get(kind)?));
        self.lines.iter().enumerate().filter_map(event)
    }

    /// Every admitted call, by effect
    pub(crate) fn calls(&self) -> BTreeMap<String, Call> {
        let mut calls = BTreeMap::new();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for (at, admitted) in self.events("admitted") {
            let Some(call) = admitted["what"].get("call") else { continue };
            let entries = call["charges"][0]["entries"].as_array().unwrap().iter().map(text).collect();
            let call = Call {
                effect: text(&admitted["effect"]),
                task: text(&admitted["task"]),
                tool: text(&call["tool"]),
                entries,
                value: text(&self.lines[at]["opened"]["arguments.value"]),
                at,
                ends: Vec::new(),
            };
            assert!(calls.insert(call.effect.clone(), call).is_none(), "one effect is admitted twice");
        }
        for (_, settled) in self.events("settled") {
            if let Some(call) = calls.get_mut(settled["effect"].as_str().unwrap()) {
                call.ends.push(end(&settled["end"]));
            }
        }
        calls
    }

    /// The one call with this value
    #[track_caller]
    pub(crate) fn call(&self, value: &str) -> Call {
        let calls: Vec<Call> = self.calls().into_values().filter(|call| call.value == value).collect();
        assert_eq!(calls.len(), 1, "calls with the value {value}: {calls:?}");
        calls[0].clone()
    }

    /// Why a node was stopped, for each time that it was
    pub(crate) fn stops(&self, node: &str) -> Vec<String> {
        let stops = self.events("stopped").filter(|(_, stopped)| stopped["node"] == node);
        stops.map(|(_, stopped)| stopped["why"].as_str().unwrap().to_owned()).collect()
    }

    /// Where the stop of a node stands
    #[track_caller]
    pub(crate) fn stop_at(&self, node: &str) -> usize {
        self.events("stopped").find(|(_, stopped)| stopped["node"] == node).expect("it was not stopped").0
    }

    /// The words of every recorded refusal
    pub(crate) fn refusals(&self) -> Vec<String> {
        let words = self.events("refused").flat_map(|(_, refused)| refused["words"].as_array().unwrap());
        words.map(|word| word.as_str().unwrap().to_owned()).collect()
    }
}

fn end(end: &Value) -> String {
    if let Some(done) = end.get("done") {
        return if done["ok"] == true { "ok" } else { "failed" }.to_owned();
    }
    end.as_object().and_then(|end| end.keys().next()).cloned().unwrap_or_default()
}
