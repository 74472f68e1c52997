//! A program that issues and takes back credentials, so that anybody can add a back end.
//!
//! It is started for each thing that is asked of it, gets one JSON object on its standard input and answers with one on its
//! standard output; `docs/credentials.md` has the protocol. Nothing secret stands in its arguments or its environment.

use crate::{
    secret::{Fields, Secret},
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn},
    vault::Vault,
};
use async_trait::async_trait;
use command_fds::{CommandFdExt as _, FdMapping};
use portreeve_core::{event::Evidence, policy::CommandBackEnd, time::Millis};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

/// A program that issues credentials
#[derive(Debug)]
pub struct Command {
    of: CommandBackEnd,
    vault: Arc<Vault>,
}

/// How long one answer may take
const WITHIN: Duration = Duration::from_secs(30);
/// Bytes of an answer
const ANSWER_BYTES_MAX: u64 = 256 * 1024;
/// The number under which a program has open what tells that it may still issue
const HELD: i32 = 99;
/// Variables of our environment that a program may need to run at all
const ENVIRONMENT: [&str; 7] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// What a program answers
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Answer {
    Issued {
        fields: Fields,
        #[serde(default)]
        handle: Option<String>,
        #[serde(default)]
        until: Option<i64>,
        #[serde(default)]
        keep: Option<Secret>,
    },
    Refused {
        why: String,
    },
    Withdrawn {
        evidence: Evidence,
    },
    Left {
        until: i64,
    },
    Names(Vec<String>),
    Ok {},
}

impl Command {
    /// This program, with secrets of this vault
    #[must_use]
    pub fn new(of: CommandBackEnd, vault: Arc<Vault>) -> Self {
        Self { of, vault }
    }

    /// `held` is open in the program, and in whatever it starts
    async fn ask(&self, mut question: Value, held: Option<OwnedFd>) -> Result<Answer, NotIssued> {
        let refused = |why: String| NotIssued::Refused(why);
        let secret = self.of.secret.as_ref().map(|name| self.vault.get(name)).transpose();
        let secret = secret.map_err(|error| refused(error.to_string()))?;
        if let Some(members) = question.as_object_mut() {
            members.extend(secret.map(|secret| ("secret".to_owned(), secret.expose().into())));
            members.insert("v".to_owned(), 1.into());
        }
        let mut line = Zeroizing::new(question.to_string());
        line.push('\n');
        let (program, arguments) = self.of.command.split_first().ok_or_else(|| refused("no program".to_owned()))?;
        let ours = ENVIRONMENT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let mut command = std::process::Command::new(program);
        command.args(arguments).env_clear().envs(ours);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mapped = held.into_iter().map(|parent_fd| FdMapping { parent_fd, child_fd: HELD }).collect();
        command.process_group(0).fd_mappings(mapped).map_err(|error| refused(error.to_string()))?;
        let child = tokio::process::Command::from(command).kill_on_drop(true).spawn();
        let mut child = child.map_err(|error| refused(format!("{program} cannot be started: {error}")))?;
        let _group = Group(child.id());
        let unknown = |why: String| NotIssued::Unknown(format!("{program} {why}"));
        let answer = async {
            if let Some(mut stdin) = child.stdin.take() {
                // A program that answers before it has read all is judged by its answer.
                let _ = stdin.write_all(line.as_bytes()).await;
            }
            let mut text = Zeroizing::new(Vec::new());
            if let Some(stdout) = child.stdout.take() {
                stdout
                    .take(ANSWER_BYTES_MAX + 1)
                    .read_to_end(&mut text)
                    .await
                    .map_err(|error| unknown(error.to_string()))?;
            }
            let status = child.wait().await.map_err(|error| unknown(error.to_string()))?;
            if !status.success() {
                return Err(unknown(format!("ended with {status}")));
            }
            if text.len() as u64 > ANSWER_BYTES_MAX {
                return Err(unknown("answered more than is read".to_owned()));
            }
            // What does not fit may still be a secret: nothing of it is told.
            serde_json::from_slice(&text).map_err(|_| unknown("answered what is no answer of the protocol".to_owned()))
        };
        tokio::time::timeout(WITHIN, answer).await.unwrap_or_else(|_| Err(unknown("did not answer in time".to_owned())))
    }
}

/// A program and what it started, which end when nobody waits for it any more
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        // None is left where all went well.
        let _ = leader.map(|leader| kill_process_group(leader, Signal::KILL));
    }
}

#[async_trait]
impl Source for Command {
    async fn issue(&self, wanted: &Wanted) -> Result<Issued, NotIssued> {
        let question = json!({
            "do": "issue",
            "name": wanted.name.as_str(),
            "class": wanted.class.to_string(),
            "scope": wanted.scope.iter().map(|(name, value)| (name.to_string(), value.clone())).collect::<BTreeMap<_, _>>(),
            "until": wanted.until.0,
            "task": wanted.task.to_string(),
        });
        let held = self.vault.issuing(&wanted.name).map_err(|error| NotIssued::Refused(error.to_string()))?;
        let answer = self.ask(question, Some(held)).await?;
        // It has said what it did: what it left running does not do it any more.
        self.vault.issued(&wanted.name).map_err(|error| NotIssued::Unknown(error.to_string()))?;
        match answer {
            Answer::Issued { fields, handle, until, keep } => {
                Ok(Issued { fields, handle, until: until.map(Millis), keep })
            }
            Answer::Refused { why } => Err(NotIssued::Refused(why)),
            _ => Err(NotIssued::Unknown("the program answered something else than was asked".to_owned())),
        }
    }

    async fn withdraw(&self, held: &Held) -> Result<Withdrawn, String> {
        if self.vault.is_issuing(&held.name).map_err(|error| error.to_string())? {
            return Err("a program that was asked to issue it still runs, and may do so".to_owned());
        }
        let question = json!({
            "do": "withdraw",
            "name": held.name.as_str(),
            "handle": held.handle,
            "keep": held.keep.as_ref().map(Secret::expose),
        });
        match self.ask(question, None).await.map_err(|error| error.to_string())? {
            Answer::Withdrawn { evidence } => Ok(Withdrawn::Gone(evidence)),
            Answer::Left { until } => Ok(Withdrawn::Left(Millis(until))),
            Answer::Refused { why } => Err(why),
            _ => Err("the program answered something else than was asked".to_owned()),
        }
    }

    async fn sweep(&self, prefix: &str) -> Result<Vec<String>, String> {
        match self.ask(json!({ "do": "sweep", "prefix": prefix }), None).await.map_err(|error| error.to_string())? {
            Answer::Names(names) => Ok(names),
            Answer::Refused { why } => Err(why),
            _ => Err("the program answered something else than was asked".to_owned()),
        }
    }

    async fn check(&self) -> Result<(), String> {
        match self.ask(json!({ "do": "check" }), None).await.map_err(|error| error.to_string())? {
            Answer::Ok {} => Ok(()),
            Answer::Refused { why } => Err(why),
            _ => Err("the program answered something else than was asked".to_owned()),
        }
    }
}
