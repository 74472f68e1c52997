//! Tasks as they are shown: a list of them, and one with everything that happened in it.

use super::{
    Eyes,
    holds::{chosen_by, given, one, shown},
    past::{self, Story},
    view::{ElevationView, Moment, ReviewView, TaskRow, TaskView},
};
use crate::{door::TheEngine, modes::observing_task};
use portreeve_core::{
    commit::Committed,
    event::{Actor, Admitted, ChosenBy, End, Event, Granted, HeldWhat, LeaseEnd, Noted, To, What},
    judge::may_review,
    names::{EffectId, HoldId, TaskId},
    node::{Node, Why},
    policy::Class,
    reason::Word,
    state::{Review, Task},
    time::Millis,
    value::Value,
};
use portreeve_log::Placed;
use std::collections::{BTreeMap, BTreeSet};

/// A task in a list
pub(super) fn row(engine: &TheEngine, id: TaskId, task: &Task, now: Millis) -> TaskRow {
    TaskRow {
        task: id,
        run: task.run,
        agent: task.agent.clone(),
        user: task.user.clone(),
        purpose: task.purpose.clone(),
        opened: task.opened,
        over_at: task.deadline(),
        calls: task.calls,
        open: task.open,
        holds: task.waiting,
        reasons: engine.state().life(id, now),
    }
}

/// One task, but for what the record says of it
pub(super) fn task_view(engine: &TheEngine, id: TaskId, now: Millis) -> TaskView {
    let (state, shelf) = (engine.state(), engine.shelf());
    let task = state.task(id);
    let purpose = task.and_then(|task| shelf.current(state)?.purposes.get(&task.purpose));
    let over = state.ended().find(|(ended, _)| *ended == id).map(|(_, over)| over.why);
    let elevations = state.elevations(id, now).map(|(grant, open)| ElevationView {
        grant,
        class: open.class,
        tools: open.uses.iter().map(ToString::to_string).collect(),
        values: open.values.iter().map(|(name, value)| shown(name, Some(value), "model")).collect(),
        left: open.left,
        until: open.until,
        owner: open.owner.clone(),
    });
    let parameters = task.map(|task| {
        let by = |name| task.chosen.get(name).copied().unwrap_or(ChosenBy::Model);
        task.values.iter().map(|(name, value)| shown(name.as_str(), Some(value), chosen_by(by(name)))).collect()
    });
    TaskView {
        row: task.map(|task| row(engine, id, task, now)),
        task: id,
        over: over.or_else(|| task.and_then(|task| task.passed(now)).map(|(why, _)| why)),
        parameters: parameters.unwrap_or_default(),
        objective: None,
        standing: purpose.map(|purpose| purpose.limits.standing.iter().copied().collect()).unwrap_or_default(),
        elevations: elevations.collect(),
        observed: !observing_task(state, id, now).is_empty(),
        timeline: Vec::new(),
        cut: false,
        undoes: task.and_then(|task| task.undoes.as_ref()).map(|undoes| undoes.of),
    }
}

/// Puts in what only the record knows; false if it knows no such task
pub(super) fn with_story(view: &mut TaskView, story: &Story) -> bool {
    if let Some((_, began)) = &story.began {
        view.objective = began.objective.as_ref().map(|given| one("objective", given));
        view.undoes = began.undoes.as_ref().map(|undoing| undoing.of);
        if view.row.is_none() {
            view.parameters = given(&began.parameters);
        }
    }
    if view.row.is_none() {
        let ends = |placed: &Placed| match &placed.record.event {
            Event::Stopped(stopped) if is_end(&stopped.node, view.task, story) => Some(stopped.why),
            _ => None,
        };
        view.over = view.over.or_else(|| story.records.iter().rev().find_map(ends)).or(Some(Why::Ended));
    }
    let mut told = Told::default();
    view.timeline = story.records.iter().map(|placed| told.moment(placed)).collect();
    view.cut = story.cut;
    view.row.is_some() || story.began.is_some()
}

fn is_end(node: &Node, task: TaskId, story: &Story) -> bool {
    match node {
        Node::Task(id) => *id == task,
        Node::Run(run) => story.began.as_ref().is_some_and(|(_, began)| began.run == *run),
        _ => false,
    }
}

/// Reviews that are open
pub(super) fn reviews(engine: &TheEngine, eyes: &Eyes, now: Millis) -> Vec<ReviewView> {
    let state = engine.state();
    let bundle = engine.shelf().current(state).map(AsRef::as_ref);
    let seen = state.reviews().filter(|(_, review)| eyes.sees_review((state, bundle), review, now));
    seen.map(|(task, review)| review_view(engine, (task, review), eyes, now)).collect()
}

/// The open review of the emergency that began with a question
pub(super) fn emergency(engine: &TheEngine, hold: HoldId) -> Option<ReviewView> {
    let review = engine.state().reviews().find(|(_, review)| review.hold == Some(hold))?;
    Some(review_view(engine, review, &Eyes::owner(None), engine.state().time()))
}

fn review_view(engine: &TheEngine, (task, review): (TaskId, &Review), eyes: &Eyes, now: Millis) -> ReviewView {
    let (state, shelf) = (engine.state(), engine.shelf());
    let live = state.task(task);
    ReviewView {
        task,
        purpose: review.purpose.clone(),
        opener: review.opener.clone(),
        approvers: review.approvers.iter().cloned().collect(),
        review: review.group.clone(),
        opened: review.opened,
        live: live.is_some(),
        calls: review.calls.or(live.map(|task| task.calls)).unwrap_or_default(),
        not_by_you: may_review(state, shelf, task, (eyes.user.as_ref(), &eyes.how), now),
    }
}

/// What was told of effects before, so that their ends can name them
#[derive(Default)]
struct Told {
    effects: BTreeMap<EffectId, (String, Option<Class>)>,
    holds: BTreeMap<HoldId, String>,
}

/// A moment without its place, time and actor
struct Line {
    kind: &'static str,
    title: String,
    details: Vec<(String, String)>,
    effect: Option<EffectId>,
    hold: Option<HoldId>,
    class: Option<Class>,
    tone: &'static str,
}

impl Line {
    fn new(kind: &'static str, title: String, tone: &'static str) -> Self {
        Self { kind, title, details: Vec::new(), effect: None, hold: None, class: None, tone }
    }

    fn detail(mut self, name: &str, value: impl Into<String>) -> Self {
        self.details.push((name.to_owned(), value.into()));
        self
    }
}

impl Told {
    fn moment(&mut self, placed: &Placed) -> Moment {
        let record = &placed.record;
        let line = self.line(&record.event);
        Moment {
            at: record.time,
            seq: (placed.group, u32::try_from(placed.index).unwrap_or(u32::MAX)),
            kind: line.kind.to_owned(),
            actor: actor(&record.actor),
            title: line.title,
            details: line.details,
            effect: line.effect,
            hold: line.hold,
            class: line.class,
            tone: line.tone.to_owned(),
        }
    }

    fn line(&mut self, event: &Event) -> Line {
        match event {
            Event::Booted(booted) => Line::new("noted", format!("Portreeve {} started", booted.version), "plain"),
            Event::Began(began) => {
                let mut line = Line::new("began", format!("{} begins {}", began.agent, began.purpose), "plain");
                line.hold = began.hold;
                let parameters = began.parameters.iter().map(|(name, given)| (name.to_string(), value(&given.value)));
                line.details.extend(parameters);
                line.details.extend(began.objective.iter().map(|given| ("objective".to_owned(), value(&given.value))));
                line.details.extend(began.user.iter().map(|user| ("for".to_owned(), user.to_string())));
                line.details.extend(began.undoes.iter().map(|undoing| ("undoes".to_owned(), undoing.of.to_string())));
                line
            }
            Event::Stopped(stopped) => {
                let tone = if stopped.why == Why::Killed { "bad" } else { "plain" };
                let what = match &stopped.node {
                    Node::Hold(hold) => format!("The question {} lapses", hold.code()),
                    node => format!("{node} is over"),
                };
                let mut line = Line::new("stopped", format!("{what}: {}", stopped.why), tone);
                if let Node::Hold(hold) = &stopped.node {
                    line.hold = Some(*hold);
                }
                line
            }
            Event::Held(held) => self.held(held),
            Event::Granted(granted) => self.granted(granted),
            Event::Declined(declined) => {
                let what = self.holds.get(&declined.hold).cloned().unwrap_or_else(|| declined.hold.code());
                let line = Line::new("declined", format!("{} says no to {what}", declined.by), "bad");
                let mut line =
                    line.detail("why", value(&declined.why)).detail("signed in by", declined.signed.how.to_string());
                line.hold = Some(declined.hold);
                line
            }
            Event::Refused(refused) => {
                let times = if refused.count > 1 { format!(" ({} times)", refused.count) } else { String::new() };
                let mut line = Line::new("refused", format!("{} is refused{times}", refused.what), "bad");
                line.details.extend(reasons(&refused.words, &refused.reasons));
                line
            }
            Event::Admitted(admitted) => self.admitted(admitted),
            Event::Settled(settled) => {
                let (what, class) = self.effects.get(&settled.effect).cloned().unwrap_or_default();
                let end = past::end(&settled.end);
                let (says, tone) = match &settled.end {
                    End::Done { ok: true, .. } => ("succeeded", "good"),
                    End::Done { ok: false, .. } => ("failed", "bad"),
                    End::NotSent { .. } => ("was not sent", "plain"),
                    End::Pending { .. } => ("is answered and goes on", "waits"),
                    End::Lease(LeaseEnd::Issued { .. }) => ("is issued", "plain"),
                    End::Lease(LeaseEnd::Withdrawn { .. }) => ("is taken back", "good"),
                    End::Lease(LeaseEnd::Left { .. }) => ("cannot be taken back", "bad"),
                    End::Unknown { .. } => ("may have happened: nobody can know", "bad"),
                };
                let mut line =
                    Line::new("settled", format!("{what} {says}").trim().to_owned(), tone).detail("end", end);
                match &settled.end {
                    End::Done { bytes, .. } | End::Pending { bytes, .. } => {
                        line = line.detail("bytes", bytes.to_string());
                    }
                    End::NotSent { why } | End::Unknown { why } => line = line.detail("why", why),
                    End::Lease(LeaseEnd::Issued { until, .. }) => {
                        line = line.detail("usable_until", until.map_or_else(String::new, |until| until.to_string()));
                    }
                    End::Lease(LeaseEnd::Withdrawn { evidence }) => {
                        line = line.detail("evidence", evidence.to_string())
                    }
                    End::Lease(LeaseEnd::Left { until }) => line = line.detail("usable_until", until.to_string()),
                }
                (line.effect, line.class) = (Some(settled.effect), class);
                line
            }
            Event::Paused(paused) => Line::new("stopped", format!("{} is halted", paused.node), "bad"),
            Event::Resumed(paused) => Line::new("noted", format!("{} goes on", paused.node), "plain"),
            Event::Changed(_) => Line::new("noted", "The policy or what was accepted changed".to_owned(), "plain"),
            Event::Noted(noted) => noted_line(noted),
        }
    }

    fn held(&mut self, held: &portreeve_core::event::Held) -> Line {
        let what = match &held.what {
            HeldWhat::Call(call) => call.tool.to_string(),
            HeldWhat::Elevation(elevation) => format!("opening {}", elevation.class),
            HeldWhat::Opening(_) => format!("opening {}", held.purpose),
        };
        let who: BTreeSet<String> = held.questions.iter().map(|question| question.quorum.to_string()).collect();
        let who = who.into_iter().collect::<Vec<_>>().join(", ");
        let mut line = Line::new("held", format!("{what} waits for {who}"), "waits").detail("code", held.hold.code());
        match &held.what {
            HeldWhat::Call(call) => {
                line.class = Some(call.class);
                let arguments = call.arguments.iter().map(|(name, given)| (name.clone(), value(&given.value)));
                line.details.extend(arguments);
            }
            HeldWhat::Elevation(elevation) => {
                line.class = Some(elevation.class);
                line = line.detail("why", value(&elevation.why));
            }
            HeldWhat::Opening(_) => {}
        }
        line.hold = Some(held.hold);
        self.holds.insert(held.hold, what);
        line
    }

    fn granted(&self, granted: &Granted) -> Line {
        let who = granted.owner.strip_prefix("user:").unwrap_or(&granted.owner);
        let mut line = match &granted.to {
            To::Approval { hold, .. } => {
                let what = self.holds.get(hold).cloned().unwrap_or_else(|| hold.code());
                Line::new("granted", format!("{who} says yes to {what}"), "good")
            }
            To::Elevation(elevation) => {
                let mut line = Line::new("granted", format!("{} is open for a while", elevation.class), "good");
                line.class = Some(elevation.class);
                let tools: Vec<String> = elevation.uses.iter().map(ToString::to_string).collect();
                let values = elevation.values.iter().map(|(name, committed)| (name.clone(), value(committed)));
                line.details.extend(values);
                line.detail("tools", tools.join(", ")).detail("times", elevation.times.to_string()).detail("by", who)
            }
            To::Observe { on } => Line::new("granted", format!("{who} lets what is outside through: {on}"), "bad"),
        };
        line = line.detail("why", value(&granted.why)).detail("grant", granted.grant.to_string());
        if let Some(signed) = &granted.signed {
            line = line.detail("signed in by", signed.how.to_string());
        }
        line.hold = granted.hold;
        line
    }

    fn admitted(&mut self, admitted: &Admitted) -> Line {
        let (what, class) = match &admitted.what {
            What::Call(call) => (call.tool.to_string(), Some(call.class)),
            What::Child { connector, .. } => (format!("starting {connector}"), None),
            What::Lease(lease) => {
                (format!("a credential of {} for {}", lease.source, lease.connector), Some(lease.class))
            }
            What::Poll(poll) => (format!("asking how {} stands", poll.tool), None),
            What::Notice { hold, receiver, .. } => (format!("telling {receiver} of {}", hold.code()), None),
        };
        let mut line = Line::new("admitted", format!("{what} is let through"), "plain");
        if let What::Call(call) = &admitted.what {
            line.details.extend(call.arguments.iter().map(|(name, given)| (name.clone(), value(&given.value))));
            line.details.extend(call.continues.map(|of| ("goes on with".to_owned(), of.to_string())));
        }
        for because in &admitted.because {
            line = line.detail("because of", because.grant.to_string());
            line.details.extend(reasons(&because.words, &because.reasons));
        }
        let points = admitted.inputs.outside.iter().map(|heard| heard.point.to_string());
        line.details.extend(points.map(|point| ("permitted by".to_owned(), point)));
        (line.effect, line.hold, line.class) = (Some(admitted.effect), admitted.hold, class);
        if let What::Notice { hold, .. } = &admitted.what {
            line.hold = Some(*hold);
        }
        self.effects.insert(admitted.effect, (what, class));
        line
    }
}

fn noted_line(noted: &Noted) -> Line {
    let line = |title: String| Line::new("noted", title, "plain");
    match noted {
        Noted::Discovered { connector, .. } => line(format!("{connector} offers something else than before")),
        Noted::Consulted { tool, points, .. } => {
            let points: Vec<String> = points.iter().map(|told| told.point.to_string()).collect();
            line(format!("{} are asked about {tool}", points.join(", ")))
        }
        Noted::Resisted { tries, why, until, .. } => {
            let line = Line::new("noted", "a credential could not be taken back yet".to_owned(), "bad");
            let until = until.map_or_else(|| "nobody knows".to_owned(), |until| until.to_string());
            line.detail("why", why).detail("tries", tries.to_string()).detail("usable_until", until)
        }
        Noted::Secret { name, version: Some(version) } => line(format!("the secret {name} is version {version}")),
        Noted::Secret { name, version: None } => line(format!("the secret {name} is not there any more")),
        Noted::Account { source, user, connected } => {
            let connected = if *connected { "connected" } else { "disconnected" };
            line(format!("the account of {user} for {source} is {connected}"))
        }
        Noted::Looked { connector, method, shown, hidden, .. } => {
            line(format!("{method} of {connector}: {shown} shown, {hidden} hidden"))
        }
        Noted::Probed { reach, tools } => line(format!("{reach} offers {tools} tools")),
        Noted::Proposed { bundle, .. } => line(format!("the policy {} is wanted in force", bundle.short())),
        Noted::Copied { agent, proven, holder } => {
            let title = format!("{} shows from {} what {agent} holds at {holder}", proven.how, proven.from);
            Line::new("noted", title, "bad")
        }
        Noted::SignedIn { user, how: Some(how), .. } => line(format!("{user} signs in by {how}")),
        Noted::SignedIn { user, how: None, .. } => line(format!("A link is made for {user}")),
        Noted::Passkey { user, added: true, .. } => line(format!("{user} registers a passkey")),
        Noted::Passkey { user, added: false, .. } => line(format!("{user} removes a passkey")),
        Noted::Proven { proven, .. } => line(format!("The agent proves itself again by {}", proven.how)),
        Noted::Issued { agent, id, .. } => line(format!("{agent} gets the identity {id}")),
        Noted::Shipped { shipper, n, forked: false, .. } => line(format!("{shipper} ships a record, up to group {n}")),
        Noted::Shipped { shipper, n, forked: true, .. } => {
            Line::new("noted", format!("{shipper} ships another history of a record, up to group {n}"), "bad")
        }
        Noted::Reviewed { by, why, .. } => {
            Line::new("noted", format!("{by} closes the review"), "good").detail("why", value(why))
        }
    }
}

fn actor(actor: &Actor) -> String {
    match actor {
        Actor::System => "portreeve".to_owned(),
        Actor::Owner { user: Some(user) } => user.to_string(),
        Actor::Owner { user: None } => "owner".to_owned(),
        Actor::Person { user, how } => format!("{user} ({how})"),
        Actor::Run(run) => run.to_string(),
        Actor::Agent(agent) => agent.to_string(),
    }
}

/// Reasons in full; their words where those were erased
fn reasons(words: &BTreeSet<Word>, full: &Committed) -> Vec<(String, String)> {
    let words: Vec<&str> = words.iter().map(|word| word.as_str()).collect();
    let mut details = vec![("reasons".to_owned(), words.join(", "))];
    if let Some(Value::Array(full)) = full.value() {
        details.extend(full.iter().filter_map(Value::as_str).map(|text| ("because".to_owned(), text.to_owned())));
    }
    details
}

fn value(committed: &Committed) -> String {
    match committed.value() {
        Some(Value::String(text)) => text,
        Some(value) => value.canonical(),
        None => "(not kept)".to_owned(),
    }
}
