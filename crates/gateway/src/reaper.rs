//! Does what is owed to the world: stops waiting for calls, ends children, lets go of ended runs.

use crate::{call::Calls, door::Notice, links::Links, tasks::Tasks};
use portreeve_core::node::Why;
use portreeve_upstream::child::end_recorded;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;

/// Works off notices until the door is gone
pub async fn run(
    mut notices: mpsc::UnboundedReceiver<Notice>,
    links: Arc<Links>,
    calls: Arc<Calls>,
    tasks: Arc<Tasks>,
) {
    let under_way = Arc::new(Mutex::new(HashSet::new()));
    while let Some(notice) = notices.recv().await {
        match notice {
            Notice::Cancel(effect) => calls.cancel(effect, "what it rested on was stopped"),
            Notice::Ended(run) => {
                links.forget(run);
                tasks.ended(run);
            }
            Notice::Reap { effect, process, why } => {
                // The same is owed until it is recorded as done.
                if !under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(effect) {
                    continue;
                }
                let (links, under_way) = (Arc::clone(&links), Arc::clone(&under_way));
                tokio::spawn(async move {
                    if !links.reaped(effect, why).await {
                        let left_behind = why == Why::Restarted || process.is_some();
                        let gone = match &process {
                            Some(process) => end_recorded(process).await,
                            // Never recorded as started: it ended with the process that started it.
                            None => true,
                        };
                        // One that is only now being started is ended by whoever starts it.
                        if left_behind && gone {
                            links.gone(effect, why).await;
                        }
                    }
                    under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&effect);
                });
            }
        }
    }
}
