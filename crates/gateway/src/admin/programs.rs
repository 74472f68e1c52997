//! Agents that are known by the program that their owner starts: what is about to run, and what runs.

use super::{Admin, Failure};
use crate::{fence::Peer, listen::Allowed, tasks::OpenTask};
use axum::http::StatusCode;
use portreeve_core::{
    hash::Hash,
    names::{Name, RunId, TaskId},
    node::Node,
    proof::{How, Proof, Proven, Way},
    reason::{Reason, Word},
    time::Millis,
};
use portreeve_upstream::identity::{self, Program};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

/// What is about to be started, if it is what the agent of this opening is known by
///
/// # Errors
/// It cannot be said what would run.
pub(super) async fn shown(admin: &Arc<Admin>, ask: &OpenTask) -> Result<Option<Program>, Failure> {
    let Some(starting) = ask.program.clone().filter(|_| ask.exec) else { return Ok(None) };
    let agent = admin.tasks.agent_of(ask).map_err(|reasons| Failure::refused(&reasons))?;
    if !of(admin, &agent, |_| true) {
        return Ok(None);
    }
    // Whole files are read.
    let found = tokio::task::spawn_blocking(move || {
        identity::program(&starting.command, starting.path.as_deref(), &starting.folder)
    });
    match found.await {
        Ok(Ok(program)) => Ok(Some(program)),
        Ok(Err(error)) => {
            let message = format!("{agent} is known by its program, and what would run cannot be told: {error}.");
            let remedy = "Start the program itself, or its interpreter with the script as the first argument.";
            Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "program_unclear", message, remedy))
        }
        Err(_) => Err(Failure::unavailable()),
    }
}

/// A program that is about to be started, as the record says it
pub(super) fn proven(program: &Program, by: Peer) -> Proven {
    evidence(Some(program.sha256), program.path.display().to_string(), by)
}

fn evidence(sha256: Option<Hash>, subject: String, process: Peer) -> Proven {
    Proven {
        how: How::Program,
        issuer: None,
        subject,
        claims: BTreeMap::new(),
        key: sha256,
        id: None,
        binding: None,
        from: format!("process:{}", process.pid),
        until: WITH_THE_PROCESS,
        behalf: None,
    }
}

/// A program is proven as long as it runs; its end is seen, and ends the task: no time does. The last day of the year 9999
const WITH_THE_PROCESS: Millis = Millis(253_402_300_799_000);

/// Whether an agent of the policy in force is known by such a program
fn of(admin: &Admin, agent: &Name, is_it: impl Fn(Hash) -> bool) -> bool {
    let view = admin.catalogue.view();
    let agent = view.bundle.as_ref().and_then(|bundle| bundle.agents.get(agent));
    let fits = |proof: &Proof| matches!(proof.way, Way::Program { sha256 } if is_it(sha256));
    agent.is_some_and(|agent| agent.proofs.iter().any(fits))
}

/// Nobody else gets the token of what a program works on
///
/// # Errors
/// The agent of this task is known by its program.
pub(super) async fn own_only(admin: &Admin, task: TaskId) -> Result<(), Failure> {
    let asked = admin.door.ask(move |engine| {
        let task = engine.state().task(task)?;
        let by_program = task.proven.as_ref().is_some_and(|proven| proven.how == How::Program);
        by_program.then(|| task.agent.clone())
    });
    match asked.await.ok_or_else(Failure::unavailable)? {
        Some(agent) => {
            let reason = Reason::new(Word::ProofWrong, Node::Agent(agent)).with("shown", "nothing");
            Err(Failure::refused(&[reason]))
        }
        None => Ok(()),
    }
}

/// Who is let in at the private socket of a run
#[derive(Debug)]
pub(crate) struct Guard {
    admin: Arc<Admin>,
    task: TaskId,
    run: RunId,
    /// What was started, if its agent is known by that
    program: Option<(Name, Program)>,
    // Held only for a look-up: what was seen to run last that is good, and what else was refused.
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    good: Option<Hash>,
    refused: BTreeSet<Option<Hash>>,
}

/// Other programs whose refusal is recorded for one socket
const REFUSED_MAX: usize = 16;

impl Guard {
    /// Whoever is below the process of this run; with a program, only through that
    pub(crate) fn new(admin: Arc<Admin>, task: TaskId, run: RunId, program: Option<(Name, Program)>) -> Self {
        let good = program.as_ref().map(|(_, program)| program.sha256);
        Self { admin, task, run, program, seen: Mutex::new(Seen { good, refused: BTreeSet::new() }) }
    }

    /// Whether this process may speak
    pub(crate) async fn allows(&self, peer: Peer) -> Allowed {
        if !self.admin.fence.is_of_run(self.run, peer) {
            return Allowed::NotYours;
        }
        let Some((agent, program)) = &self.program else { return Allowed::Yes };
        let Some(process) = self.admin.fence.agent_of(self.run, peer) else { return Allowed::NotYours };
        let script = program.path.clone();
        let found = tokio::task::spawn_blocking(move || identity::running(process.pid, Some(&script)));
        let found = found.await.ok().and_then(Result::ok);
        // What was read is what that very process ran, if it still is there.
        let sha256 = found.filter(|_| process.is_there());
        let standing = sha256.is_some_and(|sha256| of(&self.admin, agent, |known| known == sha256));
        if standing && self.seen().good == sha256 {
            return Allowed::Yes;
        }
        if !standing {
            let mut seen = self.seen();
            if seen.refused.contains(&sha256) || seen.refused.len() >= REFUSED_MAX {
                return Allowed::OtherProgram;
            }
            seen.refused.insert(sha256);
        }
        // Another program than before: the door judges it, and it is on the record either way.
        let subject = program.path.display().to_string();
        let proven = evidence(sha256, if standing { subject } else { String::new() }, process);
        match self.admin.tasks.prove(self.task, agent.clone(), proven).await {
            Ok(()) => {
                self.seen().good = sha256;
                Allowed::Yes
            }
            Err(_) => Allowed::OtherProgram,
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
