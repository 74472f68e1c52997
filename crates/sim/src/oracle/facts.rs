//! The record as plain JSON.

use super::Oracle;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A task as its record tells it
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) run: String,
    pub(super) by_run: Option<String>,
    pub(super) memory: String,
    pub(super) agent: String,
    pub(super) user: Option<String>,
    pub(super) purpose: String,
    pub(super) bundle: String,
    pub(super) parent: Option<String>,
    pub(super) parameters: BTreeMap<String, Value>,
    pub(super) expires: i64,
    pub(super) idle_ms: Option<i64>,
    pub(super) began: u64,
    pub(super) active: i64,
    pub(super) ended: Option<u64>,
}

impl Task {
    /// What of the registry it rests on
    pub(super) fn nodes(&self) -> Vec<String> {
        let user = self.user.iter().map(|user| format!("user:{user}"));
        [format!("agent:{}", self.agent), format!("purpose:{}", self.purpose)].into_iter().chain(user).collect()
    }
}

/// An effect as its records tell it
#[derive(Clone, Debug)]
pub(super) struct Effect {
    pub(super) task: String,
    pub(super) seq: u64,
    pub(super) now: i64,
    pub(super) kind: Kind,
    /// Outside decision points that the record says it heard: which question each answered, and when it was asked
    pub(super) heard: Vec<(String, String, i64)>,
    /// Every grant that it names, and the words that it takes out
    pub(super) becauses: Vec<(String, BTreeSet<String>)>,
    /// The question that it uses up
    pub(super) hold: Option<String>,
    /// The grant of observe mode that let it through, and the words that would have refused it
    pub(super) because: Option<(String, BTreeSet<String>)>,
    /// Steps that it matches in each task of its chain, counted again
    pub(super) charged: BTreeMap<String, BTreeSet<String>>,
    /// Those of them that no earlier leg of the call was charged for
    pub(super) counted: BTreeMap<String, BTreeSet<String>>,
    pub(super) settled: Option<End>,
    /// It looked after a call that had gone on or was over by then: its end is not the call's
    pub(super) overtaken: bool,
    pub(super) stopped: Option<u64>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Call { tool: String, arguments: BTreeMap<String, Value>, continues: Option<String> },
    Poll { tool: String, of: String },
    Child { connector: String },
}

#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) end: String,
    pub(super) ok: bool,
}

/// A grant as its record tells it
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) on: String,
    pub(super) until: i64,
    pub(super) given: u64,
    pub(super) ended: Option<u64>,
}

impl Effect {
    pub(super) fn names(&self, grant: &str) -> bool {
        self.becauses.iter().any(|(known, _)| known == grant)
    }

    pub(super) fn grant(&self) -> Option<&str> {
        self.because.as_ref().map(|(grant, _)| grant.as_str())
    }

    pub(super) fn connector(&self) -> &str {
        match &self.kind {
            Kind::Call { tool, .. } | Kind::Poll { tool, .. } => {
                tool.split_once('.').map_or("", |(connector, _)| connector)
            }
            Kind::Child { connector } => connector,
        }
    }

    /// Whether it counts among the calls of its task: the first leg of one
    pub(super) fn is_first(&self) -> bool {
        matches!(self.kind, Kind::Call { continues: None, .. })
    }

    /// Whether it is a call, a leg of one, or a look after one
    pub(super) fn is_leg(&self) -> bool {
        !matches!(self.kind, Kind::Child { .. })
    }

    pub(super) fn never_started(&self) -> bool {
        self.settled.as_ref().is_some_and(|settled| settled.end == "not_sent")
    }

    pub(super) fn counts(&self) -> bool {
        !self.never_started()
    }

    pub(super) fn succeeded(&self) -> bool {
        !self.overtaken && self.settled.as_ref().is_some_and(|settled| settled.end == "done" && settled.ok)
    }
}

/// What the commitments of each record stand for, by record and field
pub(super) fn openings(lines: &[u8]) -> BTreeMap<usize, BTreeMap<String, Value>> {
    let mut openings: BTreeMap<usize, BTreeMap<String, Value>> = BTreeMap::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Ok(line) = serde_json::from_slice::<Value>(line) else { continue };
        let index = line.get("i").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok());
        let value = line.get("value").and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok());
        if let (Some(index), Some(field), Some(value)) = (index, string(&line, "field"), value) {
            openings.entry(index).or_default().insert(field, value);
        }
    }
    openings
}

fn string(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn number(value: &Value, key: &str) -> i64 {
    value.get(key).and_then(Value::as_i64).unwrap_or_default()
}

impl Oracle {
    /// Takes one record
    pub(super) fn read(&mut self, record: &Value, openings: Option<&BTreeMap<String, Value>>) {
        let time = number(record, "time");
        if time < self.time {
            self.violated("I13", format!("a record of {time} follows one of {}", self.time));
        }
        self.time = time;
        let by_run = record.get("actor").and_then(|actor| string(actor, "run"));
        let Some((kind, event)) = record.get("event").and_then(Value::as_object).and_then(|event| event.iter().next())
        else {
            return self.violated("I13", "a record without an event".to_owned());
        };
        match kind.as_str() {
            "began" => self.began(event, by_run, openings, time),
            "stopped" => self.stopped(event, time),
            "held" => self.held(event, openings, time),
            "declined" => self.declined(event, time),
            "granted" => match event.get("to").and_then(Value::as_object).and_then(|to| to.iter().next()) {
                Some((kind, to)) if kind == "approval" => self.agreed(event, to, time),
                Some((kind, to)) if kind == "elevation" => self.elevated(event, to, openings, time),
                _ => self.granted(event, record.get("actor").is_some_and(|actor| actor.get("owner").is_some()), time),
            },
            "admitted" => self.admitted(event, by_run.as_deref(), openings),
            "settled" => self.end(event, time),
            "changed" => self.changed(event),
            "noted" => self.noted(event),
            _ => {}
        }
    }

    fn began(&mut self, event: &Value, by_run: Option<String>, openings: Option<&BTreeMap<String, Value>>, time: i64) {
        let text = |key| string(event, key).unwrap_or_default();
        let id = text("task");
        let mut parameters = BTreeMap::new();
        for (name, given) in event.get("parameters").and_then(Value::as_object).into_iter().flatten() {
            if by_run.is_some() && string(given, "by").as_deref() != Some("model") {
                self.violated("I11", format!("{name} of {id} was chosen by a run and vouches as a parameter"));
            }
            if let Some(value) = openings.and_then(|openings| openings.get(&format!("parameters.{name}"))) {
                parameters.insert(name.clone(), value.clone());
            }
        }
        let objective = event.get("objective").and_then(|objective| string(objective, "by"));
        if by_run.is_some() && objective.is_some_and(|by| by != "model") {
            self.violated("I11", format!("the objective of {id} was chosen by a run and vouches"));
        }
        let task = Task {
            run: text("run"),
            by_run,
            memory: text("memory"),
            agent: text("agent"),
            user: string(event, "user"),
            purpose: text("purpose"),
            bundle: text("bundle"),
            parent: string(event, "parent"),
            parameters,
            expires: number(event, "expires"),
            idle_ms: event.get("idle_ms").and_then(Value::as_i64),
            began: self.seq,
            active: time,
            ended: None,
        };
        self.check_opening(&id, &task, time);
        self.tasks.insert(id, task);
    }

    fn granted(&mut self, event: &Value, by_owner: bool, time: i64) {
        let id = string(event, "grant").unwrap_or_default();
        let on = event.get("to").and_then(|to| to.get("observe")).and_then(|observe| string(observe, "on"));
        let (on, until) = (on.unwrap_or_default(), number(event, "until"));
        if !by_owner {
            self.violated("I16", format!("{id} was not given by the owner"));
        }
        if until <= time || until > time + 7 * 24 * 3_600_000 {
            self.violated("I4", format!("{id} of {time} lasts until {until}"));
        }
        self.grants.insert(id, Grant { on, until, given: self.seq, ended: None });
    }

    fn stopped(&mut self, event: &Value, time: i64) {
        let node = string(event, "node").unwrap_or_default();
        if let Some(grant) = self.grants.get_mut(&node) {
            grant.ended.get_or_insert(self.seq);
        }
        self.stops.insert(node.clone(), self.seq);
        if let Some(effect) = node.strip_prefix("child:").and_then(|id| self.effects.get_mut(id)) {
            effect.stopped = Some(self.seq);
        }
        let seq = self.seq;
        let mut ended = Vec::new();
        for (id, task) in &mut self.tasks {
            if *id == node || task.run == node {
                task.ended.get_or_insert(seq);
                ended.push(id.clone());
            }
        }
        ended.iter().for_each(|task| self.end_questions(task));
        self.end_question(&node, time);
        if self.nodes.contains(&node) || node == "all" {
            self.standing.insert(node, None);
        }
    }

    fn admitted(&mut self, event: &Value, run: Option<&str>, openings: Option<&BTreeMap<String, Value>>) {
        let id = string(event, "effect").unwrap_or_default();
        let task = string(event, "task").unwrap_or_default();
        let what = event.get("what").and_then(Value::as_object).and_then(|what| what.iter().next());
        let kind = match what {
            Some((kind, call)) if kind == "call" => {
                let arguments = super::people::values(call, "arguments", openings);
                let continues = string(call, "continues");
                Kind::Call { tool: string(call, "tool").unwrap_or_default(), arguments, continues }
            }
            Some((kind, poll)) if kind == "poll" => {
                let text = |key| string(poll, key).unwrap_or_default();
                Kind::Poll { tool: text("tool"), of: text("of") }
            }
            Some((_, child)) => Kind::Child { connector: string(child, "connector").unwrap_or_default() },
            None => return self.violated("I13", format!("{id} is admitted as nothing")),
        };
        let heard = event.pointer("/inputs/outside").and_then(Value::as_array).into_iter().flatten();
        let question = |index: usize| openings?.get(&format!("outside.{index}"))?.as_str().map(str::to_owned);
        let heard = heard.enumerate().map(|(index, heard)| {
            let point = string(heard, "point").unwrap_or_default();
            (point, question(index).unwrap_or_default(), number(heard, "at"))
        });
        let heard = heard.collect();
        let now = number(event, "now");
        let becauses = event.get("because").and_then(Value::as_array).into_iter().flatten().map(|because| {
            let words = because.get("words").and_then(Value::as_array).into_iter().flatten();
            let words = words.filter_map(Value::as_str).map(str::to_owned).collect();
            (string(because, "grant").unwrap_or_default(), words)
        });
        let becauses: Vec<(String, BTreeSet<String>)> = becauses.collect();
        let because = becauses.iter().find(|(grant, _)| self.grants.contains_key(grant)).cloned();
        let mut effect = Effect {
            task,
            seq: self.seq,
            now,
            kind,
            heard,
            becauses,
            hold: string(event, "hold"),
            because,
            charged: BTreeMap::new(),
            counted: BTreeMap::new(),
            settled: None,
            overtaken: false,
            stopped: None,
        };
        if self.effects.contains_key(&id) {
            self.violated("I12", format!("{id} was admitted twice"));
        }
        self.check_admission(&id, &mut effect, run);
        let (task, hold) = (effect.task.clone(), effect.hold.clone());
        self.effects.insert(id, effect);
        hold.iter().for_each(|hold| self.used(hold));
        for link in self.chain(&task) {
            if let Some(task) = self.tasks.get_mut(&link) {
                task.active = task.active.max(now);
            }
        }
    }

    fn end(&mut self, event: &Value, time: i64) {
        let id = string(event, "effect").unwrap_or_default();
        let how = event.get("end").and_then(Value::as_object).and_then(|end| end.iter().next());
        let Some((end, data)) = how else { return };
        let ok = data.get("ok").and_then(Value::as_bool).unwrap_or(false);
        let goes_on = |of: &String| {
            let over = |other: &Effect| match &other.kind {
                Kind::Call { continues: Some(used), .. } => used == of && other.counts(),
                Kind::Poll { of: used, .. } => {
                    used == of && other.settled.as_ref().is_some_and(|end| end.end == "done")
                }
                _ => false,
            };
            self.effects.values().any(over)
        };
        let overtaken = match self.effects.get(&id).map(|effect| &effect.kind) {
            Some(Kind::Poll { of, .. }) => goes_on(of),
            _ => false,
        };
        let Some(effect) = self.effects.get_mut(&id) else {
            return self.violated("I12", format!("{id} was settled and never admitted"));
        };
        effect.overtaken = overtaken;
        let end = End { end: end.clone(), ok };
        let before = effect.settled.replace(end);
        let (task, call, settled) = (effect.task.clone(), effect.is_leg(), effect.clone());
        if call && let Some(before) = before {
            self.violated("I12", format!("{id} was settled again, after {}", before.end));
        }
        if call {
            self.touch(&task, time);
        }
        if settled.never_started() {
            self.given_back(&settled, time);
        }
    }

    /// Something was done in a task and those above it, as far as they live
    pub(super) fn touch(&mut self, task: &str, time: i64) {
        for link in self.chain(task) {
            let Some(task) = self.tasks.get_mut(&link).filter(|task| task.ended.is_none()) else { break };
            task.active = task.active.max(time);
        }
    }

    fn noted(&mut self, event: &Value) {
        let Some(seen) = event.get("discovered") else { return };
        let identity = string(seen, "identity").unwrap_or_default();
        if let Some(met) = string(seen, "connector").and_then(|connector| self.met.get_mut(&connector)) {
            met.1 = identity;
        }
    }

    fn changed(&mut self, event: &Value) {
        if let Some(pins) = event.get("pins") {
            let identity = string(pins, "identity").unwrap_or_default();
            self.met.insert(string(pins, "connector").unwrap_or_default(), (identity.clone(), identity));
        }
        let Some(bundle) = event.get("bundle").or(event.get("back")) else { return };
        self.bundle = string(bundle, "digest").unwrap_or_default();
        if event.get("back").is_some() && !self.applied.contains(&self.bundle) {
            self.violated("I16", format!("it went back to {}, which was never in force", self.bundle));
        }
        self.applied.insert(self.bundle.clone());
        let nodes = bundle.get("nodes").and_then(Value::as_array).into_iter().flatten();
        let nodes: BTreeSet<String> = nodes.filter_map(Value::as_str).map(str::to_owned).collect();
        if self.library.version(&self.bundle).is_none_or(|version| version.nodes() != nodes) {
            self.violated("I13", format!("the nodes of bundle {} are not those of its files", self.bundle));
        }
        self.standing.retain(|node, _| node == "all" || nodes.contains(node));
        let seq = self.seq;
        for node in nodes.difference(&self.nodes) {
            self.standing.insert(node.clone(), Some(seq));
            self.asked.retain(|asked| asked != node);
        }
        if self.standing.get("all").is_none_or(Option::is_none) {
            if self.standing.contains_key("all") {
                self.asked.retain(|asked| asked != "all");
            }
            self.standing.insert("all".to_owned(), Some(seq));
        }
        self.nodes = nodes;
    }
}
