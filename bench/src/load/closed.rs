//! The closed loop: one task per connection, which sends as soon as it is answered.

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;

use super::connection::Connection;
use super::tally::Tally;
use super::{ANSWER_WAIT_MAX, Length, Window};
use crate::clock::now_ns;

/// Runs all connections on one thread and adds their tallies up
pub(super) fn run(connections: Vec<Connection>, length: Length) -> anyhow::Result<Tally> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut ready = Vec::new();
        for mut connection in connections {
            connection.begin().await?;
            ready.push(connection);
        }
        let window = Window::starting_now(length);
        let mut tasks = JoinSet::new();
        for connection in ready {
            tasks.spawn(call_until_the_end(connection, window));
        }
        let mut total = Tally::new()?;
        let everyone = async {
            while let Some(tally) = tasks.join_next().await {
                total.add(&tally.context("a connection's task")??)?;
            }
            anyhow::Ok(())
        };
        // One limit for all instead of one per call, which would cost the load's core a timer each.
        let wait_max = std::time::Duration::from_nanos(length.warmup_ns + length.measured_ns) + ANSWER_WAIT_MAX;
        tokio::time::timeout(wait_max, everyone).await.context("calls without an answer")??;
        Ok(total)
    })
}

async fn call_until_the_end(mut connection: Connection, window: Window) -> anyhow::Result<Tally> {
    let mut tally = Tally::new()?;
    loop {
        let start_ns = now_ns();
        if start_ns >= window.end_ns {
            return Ok(tally);
        }
        let outcome = connection.call().await;
        if outcome.is_err() && tally.errors() >= ERRORS_MAX {
            bail!("over {ERRORS_MAX} errors on one connection, the last: {outcome:?}");
        }
        tally.note(outcome, now_ns() - start_ns, start_ns >= window.measured_ns);
    }
}

const ERRORS_MAX: u64 = 1_000;
