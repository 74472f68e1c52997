//! Keys in the environment: read once, then gone from it.
//!
//! Whoever may look at a process sees the environment that it began with, and so does whoever it starts. So `serve` starts
//! itself anew in its own place, without these variables, and hands their values to itself by way of its standard input.

use crate::failure::{Failure, exit};
use portreeve_identity::key::source::{Given, Secrets};
use rustix::pipe::{PipeFlags, pipe_with};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fs::File,
    io::{Read as _, Write as _},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    sync::Arc,
};
use zeroize::Zeroizing;

/// Says to the process that it hands itself keys: its own number, so that nobody below it is taken for it
const HANDED: &str = "PORTREEVE_KEYS_ON_STDIN_OF";
/// Bytes of all of them at most, which a pipe holds without a reader
const BYTES_MAX: usize = 32 << 10;
/// Where service managers say that credentials are
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// What keys are read from, without any variables
pub(crate) fn without_env() -> Arc<Given> {
    Arc::new(Given::new(BTreeMap::new(), env::var_os(CREDENTIALS).map(Into::into)))
}

/// The secrets that we have as a client of issuers, without any variables
pub(crate) fn secrets_without_env() -> Arc<Secrets> {
    Arc::new(Secrets::new(BTreeMap::new(), env::var_os(CREDENTIALS).map(Into::into)))
}

/// What keys are read from, these variables of the environment included, and the secrets of clients
///
/// Does not return if they are still there: the process goes on anew, without them.
///
/// # Errors
/// The process cannot be started in its own place, or its standard input holds something else.
pub(crate) fn with_env(variables: &BTreeSet<&str>) -> Result<(Arc<Given>, Arc<Secrets>), Failure> {
    let handed = env::var(HANDED).is_ok_and(|pid| pid == std::process::id().to_string());
    if !handed {
        let there = env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let wanted = |name: &str| variables.contains(name) || name.starts_with(Secrets::VARIABLE);
        let there: BTreeMap<String, _> = there.filter(|(name, _)| wanted(name)).collect();
        if there.is_empty() {
            return Ok((without_env(), secrets_without_env()));
        }
        let mut kept = Zeroizing::new(Vec::with_capacity(BYTES_MAX));
        for (name, value) in &there {
            let value = value.as_encoded_bytes();
            if kept.len() + name.len() + value.len() + 2 > BYTES_MAX {
                return Err(too_long());
            }
            kept.extend_from_slice(name.as_bytes());
            kept.push(0);
            kept.extend_from_slice(value);
            kept.push(0);
        }
        return Err(again(&kept, there.keys().map(String::as_str)));
    }
    let mut kept = Zeroizing::new(Vec::with_capacity(BYTES_MAX + 1));
    let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
    // Not by way of the library's standard input, which has a buffer of its own. From here on it is at its end.
    File::open("/dev/stdin")?.take(limit).read_to_end(&mut kept)?;
    let mut parts = kept.split(|byte| *byte == 0);
    let (mut found, mut secrets) = (BTreeMap::new(), BTreeMap::new());
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else { continue };
        if variables.contains(name) {
            found.insert(name.to_owned(), Zeroizing::new(value.to_owned()));
        }
        if name.starts_with(Secrets::VARIABLE) {
            secrets.insert(name.to_owned(), Zeroizing::new(value.to_owned()));
        }
    }
    let credentials = || env::var_os(CREDENTIALS).map(Into::into);
    Ok((Arc::new(Given::new(found, credentials())), Arc::new(Secrets::new(secrets, credentials()))))
}

/// Starts this program in its own place, without the variables; returns only what kept it
fn again<'a>(kept: &[u8], variables: impl Iterator<Item = &'a str>) -> Failure {
    let begin = || -> std::io::Result<Command> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        File::from(writer).write_all(kept)?;
        let mut arguments = env::args_os();
        let mut command = Command::new("/proc/self/exe");
        command.arg0(arguments.next().unwrap_or_else(|| "portreeve".into())).args(arguments);
        command.env(HANDED, std::process::id().to_string()).stdin(Stdio::from(reader));
        Ok(command)
    };
    let mut command = match begin() {
        Ok(command) => command,
        Err(error) => return error.into(),
    };
    for name in variables {
        command.env_remove(name);
    }
    let error = command.exec();
    Failure::new(exit::FAILURE, "key_unusable", format!("The keys cannot be taken out of the environment: {error}."))
        .fix("Use a file, a credential or a PKCS#11 token instead; see docs/configuration.md.")
}

fn too_long() -> Failure {
    Failure::new(exit::FAILURE, "key_unusable", "The keys in the environment are too long to be keys.")
        .fix("Each is the base64 of PKCS#8 or of a seed of 32 bytes.")
}
