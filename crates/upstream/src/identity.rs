//! Who a connector is: the key that its TLS server holds, or the program that is started.
//!
//! A definition that was accepted was accepted of somebody. The name in a policy and the address behind it say
//! less than this: another program under the same path, another server under the same name.

use portreeve_core::hash::{Hash, Hasher};
use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Who a connector is: the public key (`SubjectPublicKeyInfo`) that the TLS server proved to hold; the program that is
/// started, with the script where the program is an interpreter; or, for HTTP without TLS, nothing to hold on to
pub use portreeve_core::offer::Identity;

/// The connector is not the one that was expected
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not the connector that was accepted: {expected} was expected, and it has {seen}")]
pub struct Mismatch {
    /// What was accepted
    pub expected: Identity,
    /// What is there now
    pub seen: Identity,
}

/// Holds what was seen against what is expected, if anything is
///
/// # Errors
/// [`Mismatch`]
pub fn check(expected: Option<Identity>, seen: Identity) -> Result<Identity, Mismatch> {
    match expected {
        Some(expected) if expected != seen => Err(Mismatch { expected, seen }),
        _ => Ok(seen),
    }
}

/// The digest of what a command starts
///
/// Reads whole files, and so blocks; what was read before is known by its file's number, size and times. It says who is
/// started as long as nobody exchanges the file in the same moment, and nothing of what the program loads by itself: of
/// `npx`, `uvx` and `python -m` it is only the runner.
///
/// # Errors
/// The program is not found, or cannot be read.
pub fn executable(command: &[String], env: &BTreeMap<String, String>, folder: &Path) -> io::Result<Hash> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let path = find(program, env, folder)?;
    let program = digest(&path)?;
    let script = is_interpreter(&path).then(|| script(arguments, folder)).flatten();
    match script {
        Some(script) => Ok(Hash::of_parts(&[&program.0, &digest(&script)?.0])),
        None => Ok(program),
    }
}

/// The file that a program's name leads to, as execvp(3) finds it
fn find(program: &str, env: &BTreeMap<String, String>, folder: &Path) -> io::Result<PathBuf> {
    if program.contains('/') {
        return Ok(folder.join(program));
    }
    let ours = std::env::var_os("PATH");
    let path = env.get("PATH").map(|path| OsStr::new(path.as_str())).or(ours.as_deref()).unwrap_or(OsStr::new(""));
    let executable =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|about| about.is_file() && about.mode() & 0o111 != 0);
    let found = std::env::split_paths(path).map(|place| folder.join(place).join(program)).find(executable);
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no program {program:?}")))
}

/// Programs that run what their arguments name; a version may follow the name
const INTERPRETERS: [&str; 16] = [
    "sh", "bash", "dash", "zsh", "ksh", "busybox", "python", "pypy", "node", "nodejs", "deno", "bun", "ruby", "perl",
    "php", "env",
];

fn is_interpreter(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let name = name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    INTERPRETERS.contains(&name)
}

/// The first argument that is a file
fn script(arguments: &[String], folder: &Path) -> Option<PathBuf> {
    let files = arguments.iter().filter(|argument| !argument.starts_with('-')).map(|argument| folder.join(argument));
    files.into_iter().find(|path| path.is_file())
}

/// Number of the device and the file, size, and both times in nanoseconds: what changes when a file does
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

fn stamp(about: &fs::Metadata) -> Stamp {
    let times = ((about.mtime(), about.mtime_nsec()), (about.ctime(), about.ctime_nsec()));
    (about.dev(), about.ino(), about.size(), times.0, times.1)
}

fn digest(path: &Path) -> io::Result<Hash> {
    // Held only for a look-up.
    static KNOWN: Mutex<Option<HashMap<Stamp, Hash>>> = Mutex::new(None);
    let mut file = File::open(path)?;
    let before = stamp(&file.metadata()?);
    if let Some(hash) =
        KNOWN.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|known| known.get(&before))
    {
        return Ok(*hash);
    }
    let mut hasher = Hasher::default();
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut piece)?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hasher.update(bytes);
    }
    let hash = hasher.finish();
    if stamp(&file.metadata()?) == before {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(before, hash);
    }
    Ok(hash)
}

/// Files whose digests are kept
const KNOWN_MAX: usize = 256;
