//! Undo: takes back what a task did, as a task of its own that a person opens.
//!
//! What would be called is planned from the record alone (`portreeve_core::undo`), and stands in the beginning of the
//! new task, which may do nothing else. The calls go through the same gate as any. One that is not done ends it:
//! whoever asks again gets a new plan of what is left. After a crash the task goes on where it stood.

mod past;
mod play;
mod view;

pub use view::{DeedView, PlanView, StepState, UndoCall, UndoState, UndoStepView, UndoView, Waits, WhyNot};

use crate::{door::Door, own::Own, tasks::draw};
use past::Past;
use play::Playing;
use portreeve_core::{
    engine::Reply,
    event::{Actor, Began, Event},
    hash::Hash,
    names::{EffectId, MemoryId, Name, RunId, TaskId},
    node::{Node, Why},
    policy::Deed,
    reason::{Reason, Word},
    request::{Doing, Open, Request, Stop, Undo},
    time::Millis,
    undo::{Plan, Taking, takings},
    value::Value,
};
use portreeve_upstream::clock::SteadyClock;
use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The undos of one process
#[derive(Debug)]
pub struct Undos {
    door: Door,
    own: Own,
    clock: SteadyClock,
    data: PathBuf,
    /// One at a time is begun: two that plan at once would both take the same back; held across awaits on purpose
    beginning: tokio::sync::Mutex<()>,
    // Held only for a look-up, never across an await.
    playing: Mutex<HashMap<TaskId, Arc<Playing>>>,
}

/// Why something cannot be undone
#[derive(Clone, Debug)]
pub enum Refusal {
    /// No such task, or it may not be done
    Reasons(Vec<Reason>),
    /// The record cannot be read
    Unreadable(String),
    /// There is no such call among what the task changed
    NoSuchCall(EffectId),
    /// What was shown is not what would be done by now
    Changed,
    /// Whether this call was taken back is not known; it has to be left out by name
    Doubtful(EffectId),
    /// Nothing is left that could be undone
    Nothing,
    /// The task is an undo itself
    IsUndo(TaskId),
    /// Portreeve is ending
    Ending,
}

/// A plan, and what is known beside it
struct Found {
    plan: Plan,
    began: Box<Began>,
    live: bool,
    /// The undo of this very task that still lives
    under_way: Option<Taking>,
}

/// How long somebody who waits for a change is kept waiting
const WAIT: Duration = Duration::from_secs(1);

impl Undos {
    /// Nothing is being undone yet
    #[must_use]
    pub fn new(door: Door, own: Own, clock: SteadyClock, data: PathBuf) -> Arc<Self> {
        Arc::new(Self { door, own, clock, data, beginning: tokio::sync::Mutex::default(), playing: Mutex::default() })
    }

    /// What would take back what a task did, without these calls
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn plan(&self, of: TaskId, skip: &BTreeSet<EffectId>) -> Result<PlanView, Refusal> {
        let found = self.find(of, skip).await?;
        Ok(PlanView::new(&found.plan, found.live, found.under_way.map(|taking| taking.task)))
    }

    /// Begins to take back what a task did, or goes on with that
    ///
    /// `shown` is the digest of the plan that was shown to whoever wants it.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn begin(
        self: &Arc<Self>,
        by: Actor,
        of: TaskId,
        (skip, shown): (&BTreeSet<EffectId>, Option<Hash>),
    ) -> Result<UndoView, Refusal> {
        self.may(&by, of).await?;
        let _one = self.beginning.lock().await;
        let mut found = self.find(of, skip).await?;
        if let Some(taking) = found.under_way.take() {
            if skip.is_empty() && !taking.is_done() {
                return Ok(self.go_on(&taking, by));
            }
            // All that it could do is done, or something is to be left out that it would do.
            let stop = Stop { node: Node::Task(taking.task), why: Why::Ended, by: by.clone(), at: None };
            if let (Reply::Refused(reasons), _) = self.door.stop(stop).await {
                return Err(Refusal::Reasons(reasons));
            }
            found = self.find(of, skip).await?;
        }
        if shown.is_some_and(|shown| shown != view::digest(&found.plan)) {
            return Err(Refusal::Changed);
        }
        if let Some(deed) = found.plan.doubtful() {
            return Err(Refusal::Doubtful(deed.effect));
        }
        let steps = found.plan.steps();
        if steps.is_empty() {
            return Err(Refusal::Nothing);
        }
        let task = self.open(&by, &found.began, Undo { of, steps }).await?;
        let past = Past::of(self.data.clone(), task).await.map_err(Refusal::Unreadable)?;
        let taking = takings(&past.records).into_iter().find(|taking| taking.task == task).ok_or(Refusal::Ending)?;
        Ok(self.go_on(&taking, by))
    }

    /// How far an undo has come; waits a moment if nothing has changed since `version`
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn stands(&self, task: TaskId, version: Option<u64>) -> Result<UndoView, Refusal> {
        let playing = self.playing().get(&task).cloned();
        let Some(playing) = playing else { return self.recorded(task).await };
        let mut shown = playing.shown.subscribe();
        if version == Some(shown.borrow_and_update().version) {
            let _ = tokio::time::timeout(WAIT, shown.changed()).await;
        }
        let mut view = shown.borrow().clone();
        if let Some(step) = view.steps.iter_mut().find(|step| step.state == StepState::Open)
            && let Some(Value::Object(arguments)) = &step.arguments
            && let Some(held) = self.held(task, &step.tool, arguments).await
        {
            (step.state, step.held) = (StepState::Held, Some(held));
        }
        Ok(view)
    }

    /// An undo that nobody plays
    async fn recorded(&self, task: TaskId) -> Result<UndoView, Refusal> {
        let past = Past::of(self.data.clone(), task).await.map_err(Refusal::Unreadable)?;
        let unknown = || Refusal::Reasons(vec![Reason::new(Word::TaskUnknown, task)]);
        let taking = takings(&past.records).into_iter().find(|taking| taking.task == task).ok_or_else(unknown)?;
        let lives = self.living([task].into()).await?.contains(&task);
        let state = match (taking.is_done(), lives) {
            (true, _) => UndoState::Done,
            (false, true) => UndoState::Interrupted,
            (false, false) => UndoState::Stopped,
        };
        Ok(UndoView::of(&taking, state))
    }

    /// Plays an undo, unless it is being played
    fn go_on(self: &Arc<Self>, taking: &Taking, by: Actor) -> UndoView {
        let mut all = self.playing();
        let playing = all.entry(taking.task).or_insert_with(|| {
            let playing = Playing::new(taking.run, by, UndoView::of(taking, UndoState::Playing));
            tokio::spawn(Arc::clone(self).play(Arc::clone(&playing)));
            playing
        });
        playing.shown.borrow().clone()
    }

    async fn open(&self, by: &Actor, began: &Began, undo: Undo) -> Result<TaskId, Refusal> {
        let unavailable =
            |why: String| Refusal::Reasons(vec![Reason::new(Word::RecordUnavailable, "randomness").with("why", why)]);
        let drawn = || draw().map_err(unavailable);
        let (task, run, memory) = (TaskId(drawn()?), RunId(drawn()?), MemoryId(drawn()?));
        let value = |(name, given): (&Name, &portreeve_core::event::Given)| {
            Some((name.clone(), (given.value.value()?, given.by)))
        };
        let objective = Some(format!("take back what {} did", undo.of));
        let open = Open {
            task,
            run,
            memory,
            by: by.clone(),
            agent: began.agent.clone(),
            user: began.user.clone(),
            purpose: began.purpose.clone(),
            parameters: began.parameters.iter().filter_map(value).collect(),
            objective,
            parent: None,
            undoes: Some(undo),
            proven: None,
        };
        match self.door.submit(Request::Open(open)).await {
            Reply::Opened(_) => Ok(task),
            Reply::Refused(reasons) => Err(Refusal::Reasons(reasons)),
            _ => Err(Refusal::Ending),
        }
    }

    async fn may(&self, by: &Actor, of: TaskId) -> Result<(), Refusal> {
        let doing = Doing { by: by.clone(), deed: Deed::Undo, about: of.to_string() };
        match self.door.submit(Request::Role(doing)).await {
            Reply::Clear => Ok(()),
            Reply::Refused(reasons) => Err(Refusal::Reasons(reasons)),
            _ => Err(Refusal::Ending),
        }
    }

    async fn find(&self, of: TaskId, skip: &BTreeSet<EffectId>) -> Result<Found, Refusal> {
        let mut past = Past::of(self.data.clone(), of).await.map_err(Refusal::Unreadable)?;
        let began = past.records.iter().find_map(|record| match &record.event {
            Event::Began(began) if began.task == of => Some(began.clone()),
            _ => None,
        });
        let began = began.ok_or_else(|| Refusal::Reasons(vec![Reason::new(Word::TaskUnknown, of)]))?;
        if let Some(undoes) = &began.undoes {
            return Err(Refusal::IsUndo(undoes.of));
        }
        let mut takings = takings(&past.records);
        let living = self.living(takings.iter().map(|taking| taking.task).chain([of]).collect()).await?;
        // One that ended after its record was read has done more than stands there, and must not be done once more.
        if takings.iter().any(|taking| taking.over.is_none() && !living.contains(&taking.task)) {
            past = Past::of(self.data.clone(), of).await.map_err(Refusal::Unreadable)?;
            takings = self::takings(&past.records);
        }
        let bundle = |digest: Hash| past.bundles.get(&digest).cloned();
        let mut plan = Plan::read(of, &past.records, bundle, |task| living.contains(&task));
        plan.skip(skip).map_err(Refusal::NoSuchCall)?;
        let under_way = takings.into_iter().find(|taking| taking.of == of && living.contains(&taking.task));
        Ok(Found { plan, began, live: living.contains(&of), under_way })
    }

    /// Those of these tasks that may still do something
    async fn living(&self, tasks: BTreeSet<TaskId>) -> Result<BTreeSet<TaskId>, Refusal> {
        let now: Millis = self.clock.now();
        let living = self.door.ask(move |engine| {
            let state = engine.state();
            tasks.into_iter().filter(|task| state.life(*task, now).is_empty()).collect()
        });
        living.await.ok_or(Refusal::Ending)
    }

    fn playing(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, Arc<Playing>>> {
        self.playing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
