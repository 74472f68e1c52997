//! Who was asked what, who said what, and what may be done with that: counted again.

use super::{
    Oracle,
    facts::{Effect, Kind},
};
use crate::versions::{ALONE_MS, STANDING, Spec, TOOLS, Version};
use portreeve_core::policy::Class;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A question as its record tells it
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) task: String,
    pub(super) what: Asked,
    pub(super) binding: String,
    pub(super) until: i64,
    pub(super) answers: BTreeMap<String, Said>,
    pub(super) declined: bool,
    /// It waits, as far as the record says
    pub(super) open: bool,
    /// Whether it was ended, not used
    pub(super) over: bool,
}

/// What was asked about
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asked {
    Call { tool: String, arguments: BTreeMap<String, Value> },
    Class(Wanted),
}

/// A class that somebody wants
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) task: String,
    pub(super) class: String,
    pub(super) uses: BTreeSet<String>,
    pub(super) values: BTreeMap<String, Value>,
    pub(super) times: usize,
    pub(super) lasts_ms: i64,
}

#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) yes: bool,
    pub(super) grant: String,
    pub(super) seq: u64,
}

/// A class that is open
#[derive(Clone, Debug)]
pub(super) struct Elevation {
    pub(super) wanted: Wanted,
    pub(super) until: i64,
    pub(super) given: u64,
    pub(super) ended: bool,
    /// Whose yes it rests on
    pub(super) by: BTreeSet<String>,
    pub(super) alone: bool,
}

type Openings<'a> = Option<&'a BTreeMap<String, Value>>;

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(value: &Value, key: &str) -> i64 {
    value.get(key).and_then(Value::as_i64).unwrap_or_default()
}

/// The values of the fields of an object, out of what the commitments stand for
pub(super) fn values(of: &Value, field: &str, openings: Openings<'_>) -> BTreeMap<String, Value> {
    let names = of.get(field).and_then(Value::as_object).into_iter().flatten();
    let value = |name: &String| openings?.get(&format!("{field}.{name}")).cloned();
    names.map(|(name, _)| (name.clone(), value(name).unwrap_or(Value::Null))).collect()
}

fn wanted(elevation: &Value, openings: Openings<'_>) -> Wanted {
    let uses = elevation.get("uses").and_then(Value::as_array).into_iter().flatten();
    Wanted {
        task: text(elevation, "task"),
        class: text(elevation, "class"),
        uses: uses.filter_map(Value::as_str).map(str::to_owned).collect(),
        values: values(elevation, "values", openings),
        times: usize::try_from(number(elevation, "times")).unwrap_or(0),
        lasts_ms: number(elevation, "lasts_ms"),
    }
}

fn class_of(tool: &str) -> Option<Class> {
    TOOLS.iter().find(|(known, _)| *known == tool).map(|(_, class)| *class)
}

impl Oracle {
    pub(super) fn held(&mut self, event: &Value, openings: Openings<'_>, time: i64) {
        let (id, task) = (text(event, "hold"), text(event, "task"));
        let what = event.get("what").and_then(Value::as_object).and_then(|what| what.iter().next());
        let what = match what {
            Some((kind, call)) if kind == "call" => {
                Asked::Call { tool: text(call, "tool"), arguments: values(call, "arguments", openings) }
            }
            Some((kind, elevation)) if kind == "elevation" => Asked::Class(wanted(elevation, openings)),
            _ => return self.violated("I13", format!("{id} asks about nothing")),
        };
        if self.holds.contains_key(&id) {
            self.violated("I4", format!("{id} is asked twice"));
        }
        if self.over(&task) {
            self.violated("I2", format!("{id} is asked for {task}, which is over"));
        }
        let until = number(event, "until");
        if until <= time || self.tasks.get(&task).is_none_or(|task| until > task.expires) {
            self.violated("I4", format!("{id} of {time} waits until {until}"));
        }
        // Another question about the same call takes its place.
        if matches!(what, Asked::Call { .. }) {
            for hold in self.holds.values_mut().filter(|hold| hold.open && hold.task == task && hold.what == what) {
                (hold.open, hold.over) = (false, true);
            }
        }
        self.touch(&task, time);
        let hold = Hold {
            task,
            what,
            binding: text(event, "binding"),
            until,
            answers: BTreeMap::new(),
            declined: false,
            open: true,
            over: false,
        };
        self.holds.insert(id, hold);
    }

    pub(super) fn declined(&mut self, event: &Value, time: i64) {
        let (id, user) = (text(event, "hold"), text(event, "by"));
        self.answered(&id, &user, Said { yes: false, grant: String::new(), seq: self.seq }, time);
        let Some(hold) = self.holds.get_mut(&id) else { return };
        (hold.open, hold.declined) = (false, true);
        let task = hold.task.clone();
        self.touch(&task, time);
    }

    /// A yes; the other kinds of grants are no business of this
    pub(super) fn agreed(&mut self, event: &Value, approval: &Value, time: i64) {
        let (id, grant) = (text(approval, "hold"), text(event, "grant"));
        let user = text(event, "owner").strip_prefix("user:").unwrap_or_default().to_owned();
        if self.holds.get(&id).is_some_and(|hold| hold.binding != text(approval, "binding")) {
            self.violated("I4", format!("{user} agreed to something else than {id}"));
        }
        self.approvals.insert(grant.clone(), (id.clone(), user.clone()));
        self.answered(&id, &user, Said { yes: true, grant, seq: self.seq }, time);
    }

    fn answered(&mut self, id: &str, user: &str, said: Said, time: i64) {
        let Some(hold) = self.holds.get(id).cloned() else {
            return self.violated("I4", format!("{user} answers {id}, which nobody asked"));
        };
        let what = if !hold.open || hold.until <= time || self.over(&hold.task) {
            Some("is over")
        } else if !self.may_agree(&hold, user) {
            Some("is not theirs to answer")
        } else if self.answer_of(&hold, user).is_some() {
            Some("they have answered before")
        } else {
            None
        };
        if let Some(what) = what {
            self.violated("I4", format!("{user} answers {id}, which {what}"));
        }
        if let Some(hold) = self.holds.get_mut(id) {
            hold.answers.insert(user.to_owned(), said);
        }
    }

    /// Whether somebody is among those who are asked now, and it is not their own
    fn may_agree(&self, hold: &Hold, user: &str) -> bool {
        let Some(version) = self.library.version(&self.bundle) else { return false };
        let own = self.chain(&hold.task).iter().any(|link| {
            self.tasks.get(link).is_some_and(|task| {
                let owns = version.owners.iter().any(|(agent, owner)| *agent == task.agent && *owner == user);
                owns || task.user.as_deref() == Some(user)
            })
        });
        let lives = self.standing.get(&format!("user:{user}")).copied().flatten().is_some();
        version.leads.contains(&user) && version.users.contains(&user) && lives && !own
    }

    /// What the bearer of a name has said, not an earlier one
    fn answer_of<'a>(&self, hold: &'a Hold, user: &str) -> Option<&'a Said> {
        let since = self.standing.get(&format!("user:{user}")).copied().flatten()?;
        hold.answers.get(user).filter(|said| said.seq > since)
    }

    /// Those whose yes counts now
    fn agreeing(&self, hold: &Hold) -> BTreeSet<String> {
        let users = hold.answers.keys();
        let counts =
            |user: &&String| self.may_agree(hold, user) && self.answer_of(hold, user).is_some_and(|said| said.yes);
        users.filter(counts).cloned().collect()
    }

    /// Every version of the policy that a task has to pass
    fn versions_of(&self, task: &str) -> Vec<(&Version, &Spec)> {
        let Some(known) = self.tasks.get(task) else { return Vec::new() };
        let digests = BTreeSet::from([&known.bundle, &self.bundle]);
        let versions = digests.into_iter().filter_map(|digest| self.library.version(digest));
        versions.filter_map(|version| Some((version, version.purpose(&known.purpose)?))).collect()
    }

    pub(super) fn elevated(&mut self, event: &Value, elevation: &Value, openings: Openings<'_>, time: i64) {
        let (id, owner) = (text(event, "grant"), text(event, "owner"));
        let wanted = wanted(elevation, openings);
        let until = number(event, "until");
        let mut wrong = Vec::new();
        if until <= time || until > time + wanted.lasts_ms || self.over(&wanted.task) {
            wrong.push(format!("of {time} lasts until {until}"));
        }
        for tool in &wanted.uses {
            let same = class_of(tool).is_some_and(|class| class.to_string() == wanted.class);
            let links = self.chain(&wanted.task);
            let mut specs = links.iter().flat_map(|link| self.versions_of(link));
            if !same || !specs.all(|(_, spec)| spec.steps.iter().any(|step| step.tool == tool)) {
                wrong.push(format!("opens {tool}, which is not named or of another class"));
            }
        }
        let tables: Vec<_> = self.versions_of(&wanted.task).iter().map(|(_, spec)| spec.elevate).collect();
        let alone = owner.starts_with("purpose:");
        let mut by = BTreeSet::new();
        if alone {
            let earlier = self
                .elevations
                .values()
                .filter(|one| one.alone && (&one.wanted.task, &one.wanted.class) == (&wanted.task, &wanted.class));
            let used: usize = earlier.map(|one| one.wanted.times).sum::<usize>() + wanted.times;
            let most = tables.iter().map(|table| table.map_or(0, |(times, _)| times)).min().unwrap_or(0);
            if wanted.class != "execute" || used > usize::try_from(most).unwrap_or(0) || wanted.lasts_ms > ALONE_MS {
                wrong.push(format!("was given without a person, {used} times of {most}"));
            }
        } else {
            let hold = event.get("hold").and_then(Value::as_str).unwrap_or_default().to_owned();
            let need = tables.iter().map(|table| table.map_or(u8::MAX, |(_, people)| people)).max().unwrap_or(u8::MAX);
            match self.holds.get(&hold) {
                Some(asked) if asked.what == Asked::Class(wanted.clone()) => {
                    by = self.agreeing(asked);
                    if by.len() < usize::from(need) || asked.declined || !asked.open || asked.until <= time {
                        wrong.push(format!("was given after {by:?} of {need} had agreed to {asked:?}"));
                    }
                }
                other => wrong.push(format!("is not what was asked for: {other:?}")),
            }
            if let Some(hold) = self.holds.get_mut(&hold) {
                hold.open = false;
            }
        }
        for what in wrong {
            self.violated("I4", format!("{id} {what}"));
        }
        if !alone {
            self.touch(&wanted.task.clone(), time);
        }
        self.elevations.insert(id, Elevation { wanted, until, given: self.seq, ended: false, by, alone });
    }

    /// Whether an elevation that an effect names opens its class in one task of its chain
    pub(super) fn is_open(&self, link: &str, effect: &Effect) -> bool {
        let Kind::Call { tool, arguments, .. } = &effect.kind else { return false };
        effect.becauses.iter().filter_map(|(grant, _)| Some((grant, self.elevations.get(grant)?))).any(
            |(grant, open)| {
                let wanted = &open.wanted;
                let named = wanted.values.iter().all(|(name, value)| arguments.get(name) == Some(value));
                let stands = |user: &String| {
                    let since = self.standing.get(&format!("user:{user}")).copied().flatten();
                    since.is_some_and(|since| since < open.given)
                };
                let uses = self.effects.values().filter(|other| {
                    other.is_first() && other.counts() && other.becauses.iter().any(|(used, _)| used == grant)
                });
                wanted.task == link
                    && class_of(tool).is_some_and(|class| class.to_string() == wanted.class)
                    && wanted.uses.contains(tool)
                    && named
                    && open.until > effect.now
                    && !open.ended
                    && open.by.iter().all(stands)
                    && (!effect.is_first() || uses.count() < wanted.times)
            },
        )
    }

    /// What is wrong with what an effect names as the reason why it may happen
    pub(super) fn unasked(&self, effect: &Effect) -> Vec<String> {
        let mut wrong = Vec::new();
        let Kind::Call { tool, arguments, continues } = &effect.kind else {
            return if effect.hold.is_some() { vec!["uses up a question".to_owned()] } else { wrong };
        };
        let class = class_of(tool);
        for (grant, _) in &effect.becauses {
            if self.elevations.contains_key(grant) && class.is_none_or(|class| STANDING.contains(&class)) {
                wrong.push(format!("uses up {grant} although its class stands"));
            }
            let known = self.grants.contains_key(grant) || self.elevations.contains_key(grant);
            if !known && self.approvals.get(grant).is_none_or(|(hold, _)| effect.hold.as_ref() != Some(hold)) {
                wrong.push(format!("names {grant}, which is no yes to its question"));
            }
        }
        let mut need = 0;
        for link in self.chain(&effect.task) {
            let Some(task) = self.tasks.get(&link) else { continue };
            for (_, spec) in self.versions_of(&link) {
                let fitting =
                    spec.steps.iter().filter(|step| step.tool == tool && step.fits(arguments, &task.parameters));
                need = fitting.filter_map(|step| step.ask).map(usize::from).fold(need, usize::max);
            }
        }
        let before = continues.as_ref().map(|of| self.effects.get(of).and_then(|leg| leg.hold.clone()));
        let Some(id) = &effect.hold else {
            if need > 0 {
                wrong.push(format!("was never asked about, and {need} people have to agree"));
            }
            return wrong;
        };
        let Some(hold) = self.holds.get(id) else {
            wrong.push(format!("uses {id}, which nobody asked"));
            return wrong;
        };
        if before.as_ref().and_then(Option::as_ref).is_none_or(|before| before != id) {
            // The first use of it, whether or not it is the first leg.
            if need == 0 {
                wrong.push(format!("uses {id} without any need"));
            }
            let used = |other: &Effect| other.hold.as_ref() == Some(id) && other.counts();
            if self.effects.values().any(used) {
                wrong.push(format!("uses {id}, which is used up"));
            }
            if hold.declined {
                wrong.push(format!("uses {id}, which somebody declined"));
            }
            if hold.over || hold.until <= effect.now {
                wrong.push(format!("uses {id}, which is over"));
            }
        }
        let same = Asked::Call { tool: tool.clone(), arguments: arguments.clone() };
        if hold.task != effect.task || hold.what != same {
            wrong.push(format!("uses {id}, which is about {:?} of {}", hold.what, hold.task));
        }
        let agreeing = self.agreeing(hold);
        let counts = |user: &&String| hold.answers.get(*user).is_some_and(|said| effect.names(&said.grant));
        let named = agreeing.iter().filter(counts).count();
        if agreeing.len() < need || named < need {
            wrong.push(format!("uses {id}: of {need} people {agreeing:?} agree, {named} are named"));
        }
        wrong
    }

    /// A question is used by an effect
    pub(super) fn used(&mut self, id: &str) {
        if let Some(hold) = self.holds.get_mut(id) {
            hold.open = false;
        }
    }

    /// Nothing of an effect left: its question is there again, if its time has not passed
    pub(super) fn given_back(&mut self, effect: &Effect, time: i64) {
        let Some(id) = effect.hold.as_ref().filter(|_| effect.is_first()) else { return };
        let over = self.over_itself(&effect.task);
        if let Some(hold) = self.holds.get_mut(id) {
            hold.open = hold.until > time && !over;
            hold.over |= !hold.open;
        }
    }

    /// A task is over, and so are its questions and classes; those below it end by records of their own
    pub(super) fn end_questions(&mut self, task: &str) {
        for hold in self.holds.values_mut().filter(|hold| hold.task == task && hold.open) {
            (hold.open, hold.over) = (false, true);
        }
        self.elevations.values_mut().filter(|open| open.wanted.task == task).for_each(|open| open.ended = true);
    }

    /// A question or a class was ended
    pub(super) fn end_question(&mut self, node: &str, time: i64) {
        if let Some(open) = self.elevations.get_mut(node) {
            open.ended = true;
        }
        let Some(hold) = self.holds.get_mut(node) else { return };
        (hold.open, hold.over) = (false, true);
        let task = hold.task.clone();
        self.touch(&task, time);
    }

    /// How many calls were admitted because people had agreed, and how many classes were opened
    pub(crate) fn agreements(&self) -> (u64, u64) {
        let approved = self.effects.values().filter(|effect| effect.hold.is_some() && effect.is_first()).count();
        (u64::try_from(approved).unwrap_or(0), u64::try_from(self.elevations.len()).unwrap_or(0))
    }

    /// Questions of a task and of the live tasks below it that wait
    pub(crate) fn waiting_below(&self, id: &str) -> u32 {
        let open = self.holds.values().filter(|hold| hold.open && self.is_below(&hold.task, id));
        u32::try_from(open.count()).unwrap_or(u32::MAX)
    }

    /// Questions and classes that live although their time has passed
    pub(super) fn lingering(&self, now: i64) -> Vec<String> {
        let holds = self.holds.iter().filter(|(_, hold)| hold.open && hold.until <= now).map(|(id, _)| id.clone());
        let open = self.elevations.iter().filter(|(_, open)| !open.ended && open.until <= now);
        holds.chain(open.map(|(id, _)| id.clone())).collect()
    }
}
