//! The keeper: answers one question of the protocol in `docs/credentials.md`

use super::{Entry, Ledger};
use anyhow::Context as _;
use portreeve_core::{hash::Hash, policy::Class};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::io::Read;

/// What is asked; what else stands there is of no interest here
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Question {
    Issue { name: String, class: Class, scope: Scope, until: i64, task: String },
    Withdraw { name: String },
    Sweep { prefix: String },
    Check {},
}

/// What a key is narrowed to
#[derive(Debug, Deserialize)]
struct Scope {
    order: String,
}

/// Answers one question
pub(in crate::demo) fn answer(ledger: &Ledger, question: impl Read) -> anyhow::Result<Json> {
    let question = serde_json::from_reader(question).context("that is no question of the protocol")?;
    Ok(match question {
        Question::Issue { name, class, scope: Scope { order }, until, task } => {
            let key = format!("{name}.{:016x}{:016x}", draw()?, draw()?);
            ledger.put(&name, &Entry { class, order, task, until, digest: Hash::of(key.as_bytes()) })?;
            json!({ "issued": { "fields": { "key": key }, "until": until } })
        }
        Question::Withdraw { name } => {
            ledger.take_out(&name)?;
            json!({ "withdrawn": { "evidence": { "absent": { "says": "the shop's ledger has no key of this name" } } } })
        }
        Question::Sweep { prefix } => json!({ "names": ledger.names(&prefix)? }),
        Question::Check {} => {
            ledger.names("")?;
            json!({ "ok": {} })
        }
    })
}

fn draw() -> anyhow::Result<u64> {
    getrandom::u64().map_err(|error| anyhow::anyhow!("the system gives no randomness: {error}"))
}
