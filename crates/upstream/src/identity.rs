//! Who a connector is: the key or the SPIFFE ID of its TLS server, or the program that is started.
//!
//! A definition that was accepted was accepted of somebody. The name in a policy and the address behind it say
//! less than this: another program under the same path, another server under the same name.

use portreeve_core::hash::{Hash, Hasher};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Who a connector is: the public key (`SubjectPublicKeyInfo`) that the TLS server proved to hold, or the SPIFFE ID that
/// its policy asks for; the program that is
/// started, with the script where the program is an interpreter; or, for HTTP without TLS, nothing to hold on to
pub use portreeve_core::offer::Identity;

/// The connector is not the one that was expected
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
pub fn check(expected: Option<&Identity>, seen: Identity) -> Result<Identity, Mismatch> {
    match expected {
        Some(expected) if *expected != seen => Err(Mismatch { expected: expected.clone(), seen }),
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

/// A program that is about to be started, and what shows later that it is the one that runs
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The file that is started, or the script that is run
    pub path: PathBuf,
    /// Its digest, of a script with that of its interpreter
    pub sha256: Hash,
}

/// The program that a command starts, for whom it has to be exactly that: of a script, its interpreter too
///
/// Stricter than [`executable`]: where it cannot be said what would run, nothing is.
///
/// # Errors
/// The program is not found or cannot be read, or its command line does not say what it runs.
pub fn program(command: &[String], path: Option<&str>, folder: &Path) -> io::Result<Program> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let env: BTreeMap<String, String> = path.map(|path| ("PATH".to_owned(), path.to_owned())).into_iter().collect();
    let file = find(program, &env, folder)?;
    if let Some(line) = shebang(&file)? {
        let interpreter = match line.split_ascii_whitespace().collect::<Vec<_>>().as_slice() {
            [env_of, name] if Path::new(env_of).file_name() == Some(OsStr::new("env")) && !name.starts_with('-') => {
                find(name, &env, folder)?
            }
            [interpreter] => PathBuf::from(interpreter),
            _ => return Err(unclear("its first line gives its interpreter options, which could run something else")),
        };
        let interpreter = interpreter.canonicalize()?;
        if shebang(&interpreter)?.is_some() || !is_interpreter(&interpreter) || is_env(&interpreter) {
            return Err(unclear("what its first line names is no interpreter that is known"));
        }
        return Ok(Program { sha256: both(&interpreter, &file)?, path: file });
    }
    let real = file.canonicalize()?;
    if !is_interpreter(&real) {
        return Ok(Program { sha256: digest(&file)?, path: file });
    }
    if is_env(&real) {
        return Err(unclear("name the program itself, without `env`"));
    }
    let script = arguments.first().filter(|script| !script.starts_with('-')).map(|script| folder.join(script));
    let script = script.filter(|script| script.is_file());
    let script = script.ok_or_else(|| unclear("an interpreter is named with its script, and nothing before that"))?;
    Ok(Program { sha256: both(&file, &script)?, path: script })
}

/// The digest of the program that a process runs now, of a script with that of its interpreter
///
/// What is open as the program is read, whatever stands at its path by now; a script is read at its path. `script` is where
/// it lies, if that is known better than by what the process says of itself.
///
/// # Errors
/// The process is gone, or another account's; or it does not say which script it runs.
pub fn running(pid: i32, script: Option<&Path>) -> io::Result<Hash> {
    let of = Path::new("/proc").join(pid.to_string());
    let link = of.join("exe");
    let name = fs::read_link(&link)?;
    let name = name.to_string_lossy();
    let name = Path::new(name.strip_suffix(" (deleted)").unwrap_or(&name));
    if !is_interpreter(name) {
        return digest(&link);
    }
    let line = fs::read(of.join("cmdline"))?;
    let said = line.split(|byte| *byte == 0).nth(1).filter(|said| !said.is_empty() && !said.starts_with(b"-"));
    let said = Path::new(OsStr::from_bytes(said.ok_or_else(|| unclear("it runs no script"))?));
    let here = fs::read_link(of.join("cwd"))?.join(said);
    // Where it has gone elsewhere since, its script lies where it was started.
    let there = script.filter(|script| !here.exists() && said.is_relative() && script.file_name() == said.file_name());
    both(&link, there.unwrap_or(&here))
}

fn both(interpreter: &Path, script: &Path) -> io::Result<Hash> {
    Ok(Hash::of_parts(&[&digest(interpreter)?.0, &digest(script)?.0]))
}

fn unclear(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn is_env(path: &Path) -> bool {
    path.file_name() == Some(OsStr::new("env"))
}

/// What stands behind `#!` in the first line of a file; nothing where the kernel runs the file itself
fn shebang(path: &Path) -> io::Result<Option<String>> {
    let mut start = [0; 256];
    let read = File::open(path)?.read(&mut start)?;
    let line = start.get(..read).and_then(|start| start.strip_prefix(b"#!"));
    let line = line.and_then(|line| line.split(|byte| *byte == b'\n').next());
    Ok(line.map(|line| String::from_utf8_lossy(line).into_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::fs::PermissionsExt as _,
        process::{Child, Command, Stdio},
    };

    struct Running(Child);

    impl Running {
        fn start(command: &mut Command) -> Self {
            Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
        }

        fn pid(&self) -> i32 {
            i32::try_from(self.0.id()).unwrap()
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn words(command: &[&str]) -> Vec<String> {
        command.iter().map(|word| (*word).to_owned()).collect()
    }

    /// What a process runs, once it runs it
    fn settled(running: &Running, expected: Hash, script: Option<&Path>) -> bool {
        (0..2_000).any(|_| {
            std::thread::yield_now();
            std::thread::sleep(std::time::Duration::from_millis(1));
            self::running(running.pid(), script).is_ok_and(|seen| seen == expected)
        })
    }

    #[test]
    fn what_is_started_is_what_runs() {
        let folder = tempfile::tempdir().unwrap();
        let of = |command: &[&str]| program(&words(command), None, folder.path());
        let cat = of(&["cat"]).unwrap();
        assert_eq!(cat.sha256, Hash::of(&fs::read("/bin/cat").unwrap()), "as sha256sum says");
        let child = Running::start(&mut Command::new("cat"));
        assert!(settled(&child, cat.sha256, None));

        // The same file under another name is the same program; a byte more makes it another one.
        let copy = folder.path().join("agent");
        fs::copy("/bin/cat", &copy).unwrap();
        assert_eq!(of(&["./agent"]).unwrap().sha256, cat.sha256);
        let child = Running::start(&mut Command::new(&copy));
        assert!(settled(&child, cat.sha256, None));
        fs::remove_file(&copy).unwrap();
        fs::write(&copy, [fs::read("/bin/cat").unwrap(), b"x".to_vec()].concat()).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(of(&["./agent"]).unwrap().sha256, cat.sha256);
        assert_eq!(running(child.pid(), None).unwrap(), cat.sha256, "what runs is what was started");
    }

    #[test]
    fn a_script_counts_with_its_interpreter_however_it_is_started() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("agent.sh");
        fs::write(&script, "#!/bin/sh\nread line\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let of = |command: &[&str]| program(&words(command), None, folder.path());
        let (direct, named) = (of(&["./agent.sh"]).unwrap(), of(&["sh", "agent.sh"]).unwrap());
        assert_eq!(direct.sha256, named.sha256);
        assert_ne!(direct.sha256, of(&["sh", "/dev/../etc/hostname"]).unwrap().sha256);
        let child = Running::start(&mut Command::new(&script));
        assert!(settled(&child, direct.sha256, Some(&script)));
        let mut sh = Command::new("sh");
        let child = Running::start(sh.arg("agent.sh").current_dir(folder.path()));
        assert!(settled(&child, direct.sha256, None));
        fs::write(&script, "#!/bin/sh\nread line; rm -r x\n").unwrap();
        assert_ne!(running(child.pid(), None).unwrap(), direct.sha256);
    }

    #[test]
    fn what_does_not_say_what_it_runs_is_nobody() {
        let folder = tempfile::tempdir().unwrap();
        for (name, line) in [("options", "#!/bin/sh -e"), ("split", "#!/usr/bin/env -S sh"), ("odd", "#!/bin/cat")] {
            let script = folder.path().join(name);
            fs::write(&script, format!("{line}\n")).unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
            assert!(program(&words(&[&format!("./{name}")]), None, folder.path()).is_err(), "{line}");
        }
        for command in [&["sh"][..], &["sh", "-c", "cat"], &["sh", "-e", "options"], &["env", "cat"], &["nothing-here"]]
        {
            assert!(program(&words(command), None, folder.path()).is_err(), "{command:?}");
        }
        let mut sh = Command::new("sh");
        let child = Running::start(sh.args(["-c", "read line; true", "options"]).current_dir(folder.path()));
        assert!(running(child.pid(), None).is_err());
    }
}
