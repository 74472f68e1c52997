//! Plays an undo: one call after the other, each through the same gate as any, until one is not done.

use super::{
    Undos, past,
    view::{StepState, UndoState, UndoView, Waits, WhyNot},
};
use crate::{own::Said, tasks::draw};
use portreeve_core::{
    event::{Actor, End, call_key},
    names::{EffectId, RunId, TaskId, Tool},
    node::{Node, Why},
    request::Stop,
    value::Value,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// An undo that is being played
#[derive(Debug)]
pub(super) struct Playing {
    pub(super) run: RunId,
    /// Who asked for it
    pub(super) by: Actor,
    pub(super) shown: watch::Sender<UndoView>,
}

/// How one call ended
enum Ended {
    Done,
    Not(StepState, Option<WhyNot>),
}

/// How long the end of a call may take to stand on the record
const SETTLED: Duration = Duration::from_secs(30);

impl Playing {
    pub(super) fn new(run: RunId, by: Actor, first: UndoView) -> Arc<Self> {
        Arc::new(Self { run, by, shown: watch::Sender::new(first) })
    }

    fn show(&self, change: impl FnOnce(&mut UndoView)) {
        self.shown.send_modify(|view| {
            change(view);
            view.version += 1;
        });
    }

    fn step(&self, at: usize, state: StepState, says: Option<WhyNot>) {
        self.show(|view| {
            if let Some(step) = view.steps.get_mut(at) {
                (step.state, step.says) = (state, says);
            }
        });
    }
}

impl Undos {
    /// Makes the calls that are left, in their order, and ends the task
    pub(super) async fn play(self: Arc<Self>, playing: Arc<Playing>) {
        let (task, steps) = {
            let view = playing.shown.borrow();
            (view.task, view.steps.clone())
        };
        let mut state = UndoState::Done;
        for (at, step) in steps.iter().enumerate() {
            if step.state == StepState::Done {
                continue;
            }
            playing.step(at, StepState::Open, None);
            let Some(Value::Object(arguments)) = step.arguments.clone() else {
                let says = "its arguments are not on the record any more".to_owned();
                playing.step(at, StepState::Refused, Some(WhyNot { word: "unrecorded".to_owned(), says }));
                state = UndoState::Stopped;
                break;
            };
            match self.one((task, playing.run), &step.tool, &arguments).await {
                Ended::Done => playing.step(at, StepState::Done, None),
                Ended::Not(ended, says) => {
                    playing.step(at, ended, says);
                    state = UndoState::Stopped;
                    break;
                }
            }
        }
        // What is left is for another one: a call that failed is spent in this task.
        let stop = Stop { node: Node::Task(task), why: Why::Ended, by: playing.by.clone(), at: None };
        let _ = self.door.stop(stop).await;
        self.playing().remove(&task);
        playing.show(|view| view.state = state);
    }

    /// Makes one call, and waits for people if it needs them
    async fn one(&self, (task, run): (TaskId, RunId), tool: &Tool, arguments: &BTreeMap<String, Value>) -> Ended {
        let refused = |word: &str, says: String| Ended::Not(StepState::Refused, Some(why(word, says)));
        loop {
            let effect = match draw() {
                Ok(effect) => EffectId(effect),
                Err(why) => return refused("record_unavailable", why),
            };
            let said = match self.own.call((effect, run), tool, arguments).await {
                Ok(said) => said,
                Err(why) => return refused("too_many_open", why),
            };
            let open = move |engine: &crate::door::TheEngine| {
                engine.state().effects().map(|(id, _)| id).filter(|id| *id == effect).collect::<Vec<_>>()
            };
            let left = self.door.until_none(SETTLED, open).await;
            let read = past::end_of(self.data.clone(), effect).await;
            return match (read, left) {
                (Ok((_, Some(end))), _) => ended(&end, said),
                (Ok((false, None)), Some(left)) if left.is_empty() => {
                    if self.held(task, tool, arguments).await.is_some() {
                        self.waits(task, tool, arguments).await;
                        continue;
                    }
                    let word = said.word.unwrap_or_else(|| "tool_outside_purpose".to_owned());
                    refused(&word, said.text)
                }
                (Ok(_), _) => Ended::Not(StepState::Unknown, Some(why("outcome_unknown", said.text))),
                (Err(error), _) => Ended::Not(StepState::Unknown, Some(why("record_unavailable", error))),
            };
        }
    }

    /// The question to people that a call of a task waits for
    pub(super) async fn held(&self, task: TaskId, tool: &Tool, arguments: &BTreeMap<String, Value>) -> Option<Waits> {
        let key = call_key(tool, &Value::canonical_object(arguments));
        let now = self.clock.now();
        let held = self.door.ask(move |engine| {
            let (id, hold) = engine.state().hold_of(task, key).filter(|(_, hold)| hold.is_open(now))?;
            let questions = hold.held.questions.clone();
            Some(Waits { hold: id, code: id.code(), questions, until: hold.held.until })
        });
        held.await.flatten()
    }

    /// Returns once somebody has answered, or nobody can any more
    async fn waits(&self, task: TaskId, tool: &Tool, arguments: &BTreeMap<String, Value>) {
        let key = call_key(tool, &Value::canonical_object(arguments));
        let clock = self.clock;
        let state = move |engine: &crate::door::TheEngine| {
            let (_, hold) = engine.state().hold_of(task, key).filter(|(_, hold)| hold.is_open(clock.now()))?;
            Some((hold.answers.len(), hold.held.until))
        };
        let Some(Some((answers, until))) = self.door.ask(state).await else { return };
        let same = move |engine: &crate::door::TheEngine| {
            state(engine).filter(|(now, _)| *now == answers).into_iter().collect::<Vec<_>>()
        };
        let within = Duration::from_millis(until.since(self.clock.now()).max(0).unsigned_abs());
        self.door.until_none(within, same).await;
    }
}

fn ended(end: &End, said: Said) -> Ended {
    let word = |word: &str| said.word.clone().unwrap_or_else(|| word.to_owned());
    match end {
        End::Done { ok: true, .. } => Ended::Done,
        End::Done { ok: false, .. } => Ended::Not(StepState::Failed, Some(why(&word("failed"), said.text))),
        End::NotSent { why: what } => {
            Ended::Not(StepState::Refused, Some(why(&word("connector_unreachable"), what.clone())))
        }
        End::Pending { .. } => {
            let says = "the server asked something, or goes on by itself; nobody is there for that".to_owned();
            Ended::Not(StepState::Unknown, Some(why("unfinished", says)))
        }
        // No call ends so.
        End::Lease(_) => Ended::Not(StepState::Unknown, None),
        End::Unknown { why: what } => Ended::Not(StepState::Unknown, Some(why("outcome_unknown", what.clone()))),
    }
}

fn why(word: &str, says: String) -> WhyNot {
    WhyNot { word: word.to_owned(), says }
}
