//! Whether an opening or an admission was right, counted again from the first record on.

use super::{
    Oracle,
    facts::{Effect, Kind, Task},
};
use crate::versions::{STANDING, Spec, TOOLS, Version};
use portreeve_core::policy::Class;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Why a version of a purpose does not let an effect through
enum Refuses {
    /// It is outside of the envelope, which a grant can lift; the steps that it fits all the same
    Outside(BTreeSet<String>, String),
    /// Nothing lifts this
    For(String),
}

impl Oracle {
    pub(super) fn check_opening(&mut self, id: &str, task: &Task, now: i64) {
        let mut wrong = Vec::new();
        let version = self.library.version(&self.bundle);
        let spec = version.and_then(|version| version.purpose(&task.purpose));
        if task.bundle != self.bundle || spec.is_none() {
            wrong.push(("I6", "was opened under a policy that is not current".to_owned()));
        }
        if spec.is_some_and(|spec| !spec.agents.contains(&task.agent.as_str())) {
            wrong.push(("I16", format!("was opened by {}, who may not", task.agent)));
        }
        if spec.is_some_and(|spec| spec.user != task.user.as_deref()) {
            wrong.push(("I16", format!("was opened for {:?}", task.user)));
        }
        if self.tasks.values().any(|other| other.run == task.run && other.ended.is_none()) {
            wrong.push(("I3", "is the second task of its run".to_owned()));
        }
        for node in task.nodes().into_iter().chain(["all".to_owned()]) {
            if self.standing.get(&node).copied().flatten().is_none() {
                wrong.push(("I2", format!("was opened after {node} was stopped")));
            }
        }
        if let Some(parent) = task.parent.as_ref().and_then(|parent| self.tasks.get(parent).map(|task| (parent, task)))
        {
            if task.by_run.as_ref() != Some(&parent.1.run) {
                wrong.push(("I3", "was delegated by a run that does not work on its parent".to_owned()));
            }
            if task.memory != parent.1.memory {
                wrong.push(("I11", "left the memory of its parent".to_owned()));
            }
            if task.user != parent.1.user {
                wrong.push(("I3", "acts for another user than its parent".to_owned()));
            }
            if task.expires > parent.1.expires {
                wrong.push(("I3", "outlives its parent".to_owned()));
            }
            wrong.extend(self.not_live(parent.0, now).into_iter().map(|why| ("I2", format!("was opened under {why}"))));
        } else if task.by_run.is_some() || task.parent.is_some() {
            wrong.push(("I3", "was opened by a run, and not below its own task".to_owned()));
        }
        for (invariant, what) in wrong {
            self.violated(invariant, format!("{id} {what}"));
        }
    }

    pub(super) fn check_admission(&mut self, id: &str, effect: &mut Effect, run: Option<&str>) {
        let mut wrong = Vec::new();
        if self.tasks.get(&effect.task).is_none_or(|task| Some(task.run.as_str()) != run) {
            wrong.push(("I3", "was admitted for a run that does not work on the task".to_owned()));
        }
        wrong.extend(
            self.not_live(&effect.task, effect.now).into_iter().map(|why| ("I2", format!("was admitted under {why}"))),
        );
        let connector = format!("connector:{}", effect.connector());
        if self.standing.get(&connector).copied().flatten().is_none() {
            wrong.push(("I2", format!("was admitted under {connector}, which is stopped")));
        }
        if self.met.get(effect.connector()).is_none_or(|(accepted, seen)| accepted != seen) {
            wrong.push(("I3", "was admitted although its connector is not the one that was accepted".to_owned()));
        }
        wrong.extend(self.misplaced(effect));
        wrong.extend(self.unasked(effect).into_iter().map(|what| ("I4", what)));
        let earlier = self.legs(effect);
        let mut charged = BTreeMap::new();
        let mut counted = BTreeMap::new();
        let mut outside = Vec::new();
        for link in self.chain(&effect.task) {
            let Some(task) = self.tasks.get(&link) else { continue };
            let mut steps = BTreeSet::new();
            for digest in BTreeSet::from([task.bundle.clone(), self.bundle.clone()]) {
                let Some(version) = self.library.version(&digest) else { continue };
                wrong.extend(self.unheard(version, id, effect).into_iter().map(|what| ("I6", what)));
                match self.envelope(version, &link, task, effect) {
                    Ok(fitting) => steps.extend(fitting),
                    Err(Refuses::Outside(fitting, why)) => {
                        steps.extend(fitting);
                        outside.push(format!("was admitted against version {} of {link}: {why}", version.name));
                    }
                    Err(Refuses::For(why)) => {
                        wrong.push(("I3", format!("was admitted against version {} of {link}: {why}", version.name)));
                    }
                }
            }
            let before = |step: &&String| earlier.iter().any(|leg| fits_step(leg, &link, step));
            counted.insert(link.clone(), steps.iter().filter(|step| !before(step)).cloned().collect());
            charged.insert(link, steps);
        }
        match &effect.because {
            None => wrong.extend(outside.into_iter().map(|what| ("I3", what))),
            Some((grant, words)) => {
                if outside.is_empty() {
                    wrong.push(("I4", format!("used {grant} without any need")));
                }
                wrong.extend(self.misused(grant, words, effect).into_iter().map(|what| ("I4", what)));
            }
        }
        effect.charged = charged;
        effect.counted = counted;
        for (invariant, what) in wrong {
            self.violated(invariant, format!("{id} ({:?}) {what}", effect.kind));
        }
    }

    /// The legs of a call before this one
    fn legs(&self, effect: &Effect) -> Vec<&Effect> {
        let before = |effect: &Effect| match &effect.kind {
            Kind::Call { continues: Some(of), .. } | Kind::Poll { of, .. } => self.effects.get(of),
            _ => None,
        };
        std::iter::successors(before(effect), |leg| before(leg)).take(1_000).collect()
    }

    /// What is wrong with what a leg goes on with
    fn misplaced(&self, effect: &Effect) -> Vec<(&'static str, String)> {
        let (tool, of, uses_up) = match &effect.kind {
            Kind::Call { tool, continues: Some(of), .. } => (tool, of, true),
            Kind::Poll { tool, of } => (tool, of, false),
            _ => return Vec::new(),
        };
        let Some(before) = self.effects.get(of) else {
            return vec![("I3", format!("goes on with {of}, which nobody made"))];
        };
        let mut wrong = Vec::new();
        let same = matches!(&before.kind, Kind::Call { tool: known, .. } if known == tool);
        if before.task != effect.task || !same {
            wrong.push(("I3", format!("goes on with {of}, which is another task's or tool's")));
        }
        if before.settled.as_ref().is_none_or(|settled| settled.end != "pending") {
            wrong.push(("I12", format!("goes on with {of}, which was not answered so")));
        }
        let over = |other: &&Effect| match &other.kind {
            Kind::Call { continues: Some(used), .. } => used == of && other.counts(),
            // What is over can be looked at once more, and does not go on.
            Kind::Poll { of: used, .. } => {
                uses_up && used == of && other.settled.as_ref().is_some_and(|end| end.end == "done")
            }
            _ => false,
        };
        if self.effects.values().any(|other| over(&other)) {
            let what = if uses_up { "goes on with" } else { "asks after" };
            wrong.push(("I12", format!("{what} {of}, which is used up")));
        }
        wrong
    }

    /// Outside decision points of a version without whose yes an effect was admitted
    fn unheard(&self, version: &Version, id: &str, effect: &Effect) -> Vec<String> {
        let Kind::Call { tool, .. } = &effect.kind else { return Vec::new() };
        let points = version.points.iter().filter(|(_, about)| about == tool);
        let mut wrong = Vec::new();
        for (point, _) in points {
            let mut answers = effect.heard.iter().filter(|(known, ..)| known == point).peekable();
            if answers.peek().is_none() {
                wrong.push(format!("was admitted, and its record has no answer of {point}"));
            }
            for (_, question, at) in answers {
                if effect.now < *at || effect.now - at > 10_000 {
                    wrong.push(format!("was admitted with an old answer of {point}"));
                }
                if self.said.get(&(id.to_owned(), (*point).to_owned(), question.clone())) != Some(&true) {
                    wrong.push(format!("was admitted, and {point} did not permit it"));
                }
            }
        }
        wrong
    }

    /// What is wrong with letting an effect through by a grant
    fn misused(&self, id: &str, words: &BTreeSet<String>, effect: &Effect) -> Vec<String> {
        let mut wrong = Vec::new();
        let (Some(grant), Some(task)) = (self.grants.get(id), self.tasks.get(&effect.task)) else {
            return vec![format!("was let through by {id}, which nobody gave")];
        };
        if grant.until <= effect.now || grant.ended.is_some() {
            wrong.push(format!("was let through by {id}, which is over"));
        }
        if task.parent.is_some() {
            wrong.push(format!("was let through by {id} in a child task"));
        }
        let about =
            ["all".to_owned(), format!("purpose:{}", task.purpose), format!("connector:{}", effect.connector())];
        if !about.contains(&grant.on) {
            wrong.push(format!("was let through by {id}, which is about {}", grant.on));
        }
        for node in [&grant.on, "all", "user:ana"] {
            if self.standing.get(node).copied().flatten().is_none_or(|since| since > grant.given) {
                wrong.push(format!("was let through by {id} although its {node} is stopped"));
            }
        }
        let lifted = [
            "tool_outside_purpose",
            "argument_outside_task",
            "argument_not_named",
            "out_of_order",
            "count_spent",
            "calls_spent",
            "bytes_spent",
            "class_not_open",
        ];
        for word in words.iter().filter(|word| !lifted.contains(&word.as_str())) {
            wrong.push(format!("was let through by {id} in spite of {word}"));
        }
        wrong
    }

    /// What of a task and those above it is over
    fn not_live(&self, task: &str, now: i64) -> Vec<String> {
        let mut over = Vec::new();
        for link in self.chain(task) {
            let Some(task) = self.tasks.get(&link) else {
                over.push(format!("{link}, which never began"));
                continue;
            };
            if task.ended.is_some() {
                over.push(format!("{link}, which is over"));
            } else if let Some(why) = self.passed(&link, task, now) {
                over.push(format!("{link}, which is {why}"));
            }
            for node in task.nodes().into_iter().chain(["all".to_owned()]) {
                match self.standing.get(&node).copied().flatten() {
                    Some(since) if since < task.began => {}
                    Some(_) => over.push(format!("{node}, which is not the one that {link} rests on")),
                    None => over.push(format!("{node}, which is stopped")),
                }
            }
        }
        over
    }

    /// Why the time of a task has passed
    pub(super) fn passed(&self, id: &str, task: &Task, now: i64) -> Option<&'static str> {
        let idle = task.idle_ms.is_some_and(|idle| task.active + idle <= now)
            && self.open_below(id) == 0
            && self.waiting_below(id) == 0;
        if task.expires <= now { Some("expired") } else { idle.then_some("idle") }
    }

    /// Calls of a task and of the live tasks below it that are not settled
    pub(crate) fn open_below(&self, id: &str) -> u32 {
        let open = self.effects.values().filter(|effect| effect.settled.is_none());
        let open = open.filter(|effect| effect.is_leg() && self.is_below(&effect.task, id));
        u32::try_from(open.count()).unwrap_or(u32::MAX)
    }

    /// Whether a task is another one or a live one below it
    pub(super) fn is_below(&self, task: &str, id: &str) -> bool {
        let chain = self.chain(task);
        let path = chain.iter().take_while(|link| *link != id).collect::<Vec<_>>();
        path.len() < chain.len()
            && path.iter().all(|link| self.tasks.get(*link).is_some_and(|task| task.ended.is_none()))
    }

    /// Whether a task itself is over on the record
    pub(super) fn over_itself(&self, task: &str) -> bool {
        self.tasks.get(task).is_none_or(|task| task.ended.is_some())
    }

    /// The steps that an effect fits in one task, or why none has room for it
    fn envelope(&self, version: &Version, id: &str, task: &Task, effect: &Effect) -> Result<BTreeSet<String>, Refuses> {
        let spec = version.purpose(&task.purpose).ok_or_else(|| Refuses::For("the purpose is gone".to_owned()))?;
        if !version.connectors.contains(&effect.connector()) {
            return Err(Refuses::For("the connector is unknown".to_owned()));
        }
        let paid = self.legs(effect);
        let none = BTreeMap::new();
        let (tool, arguments) = match &effect.kind {
            Kind::Call { tool, arguments, .. } => (tool, arguments),
            Kind::Poll { tool, .. } => (tool, &none),
            Kind::Child { connector } => {
                let named = spec.steps.iter().any(|step| step.tool.split('.').next() == Some(connector.as_str()));
                let outside = || Refuses::Outside(BTreeSet::new(), "no step names the connector".to_owned());
                return if named { Ok(BTreeSet::new()) } else { Err(outside()) };
            }
        };
        // What a rule says of arguments was asked when the call was made; its poll has none.
        let poll = matches!(effect.kind, Kind::Poll { .. });
        if !poll && version.forbidden.contains(&(spec.name, tool.as_str())) {
            return Err(Refuses::For("a rule forbids it".to_owned()));
        }
        let class = TOOLS.iter().find(|(known, _)| known == tool).map_or(Class::Escalate, |(_, class)| *class);
        let closed = !poll && !STANDING.contains(&class) && !self.is_open(id, effect);
        if closed && class == Class::Escalate {
            return Err(Refuses::For("its class is not open".to_owned()));
        }
        if poll {
            let named = spec.steps.iter().any(|step| step.tool == tool);
            let outside = || Refuses::Outside(BTreeSet::new(), "no step names the tool".to_owned());
            let steps = paid.iter().filter_map(|leg| leg.charged.get(id)).flatten().cloned().collect();
            return if named { Ok(steps) } else { Err(outside()) };
        }
        let earlier: Vec<&Effect> = self.effects.values().filter(|other| other.charged.contains_key(id)).collect();
        let calls = earlier.iter().filter(|other| other.counts() && other.is_first()).count();
        let fitting = Self::fitting(spec, tool, arguments, &task.parameters, |name, succeeded| {
            let used = earlier.iter().filter(|other| {
                let steps = if succeeded { &other.charged } else { &other.counted };
                steps.get(id).is_some_and(|steps| steps.contains(name))
            });
            used.filter(|other| if succeeded { other.succeeded() } else { other.counts() }).count()
        });
        // What an earlier leg was charged for has order and count.
        let fitting = match fitting {
            Err(Refuses::Outside(fits, _))
                if fits.iter().any(|step| paid.iter().any(|leg| fits_step(leg, id, step))) =>
            {
                Ok(fits)
            }
            fitting => fitting,
        };
        let fitting = match fitting {
            Ok(fits) | Err(Refuses::Outside(fits, _)) if closed => {
                Err(Refuses::Outside(fits, "its class is not open".to_owned()))
            }
            fitting => fitting,
        };
        if !effect.is_first() {
            return fitting;
        }
        if spec.calls.is_some_and(|most| calls >= usize::try_from(most).unwrap_or(usize::MAX)) {
            let fits = match fitting {
                Ok(fits) | Err(Refuses::Outside(fits, _)) => fits,
                Err(refuses) => return Err(refuses),
            };
            return Err(Refuses::Outside(fits, format!("{calls} calls were made already")));
        }
        fitting
    }

    fn fitting(
        spec: &Spec,
        tool: &str,
        arguments: &BTreeMap<String, Value>,
        parameters: &BTreeMap<String, Value>,
        used: impl Fn(&str, bool) -> usize,
    ) -> Result<BTreeSet<String>, Refuses> {
        let fits: Vec<_> =
            spec.steps.iter().filter(|step| step.tool == tool && step.fits(arguments, parameters)).collect();
        if fits.is_empty() {
            return Err(Refuses::Outside(BTreeSet::new(), "no step fits".to_owned()));
        }
        let room = fits.iter().any(|step| {
            let count = step.times.is_none_or(|times| used(step.name, false) < usize::try_from(times).unwrap_or(0));
            count && step.after.is_none_or(|first| used(first, true) > 0)
        });
        let steps = fits.iter().map(|step| step.name.to_owned()).collect();
        if room {
            Ok(steps)
        } else {
            Err(Refuses::Outside(steps, "no fitting step has order and count left".to_owned()))
        }
    }
}

/// Whether a leg was charged for a step in a task
fn fits_step(leg: &Effect, link: &str, step: &str) -> bool {
    leg.charged.get(link).is_some_and(|steps| steps.contains(step))
}
