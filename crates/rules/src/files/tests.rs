use super::*;
use std::os::unix::fs::symlink;

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

fn messages(dir: &Path) -> Vec<String> {
    let findings = Files::read(dir).map(|files| panic!("{files:?}")).unwrap_err();
    findings.iter().map(|finding| format!("{}: {}", finding.place, finding.message)).collect()
}

#[test]
fn reads_what_is_policy_and_nothing_else() {
    let dir = folder(&[
        ("agents/a.toml", b"owner = \"x\""),
        ("rules/r.cedar", b""),
        ("README.md", b"\xff"),
        ("agents/README.md", b"hello"),
        (".git/config", b"x"),
        ("agents/.a.toml.swp", b"\xff"),
        ("agents/a.toml~", b"\xff"),
    ]);
    let files = Files::read(dir.path()).unwrap();
    assert_eq!(files.0.keys().collect::<Vec<_>>(), ["agents/a.toml", "rules/r.cedar"]);
    assert_eq!(Files::from_blob(&files.blob()), Some(files.clone()));
    assert_eq!(files.digest(), Hash::of(&files.blob()));
}

#[test]
fn what_is_not_understood_is_an_error() {
    let dir = folder(&[
        ("agents/deep/a.toml", b""),
        ("purpose/x.toml", b""),
        ("agents/bad.toml", b"owner = \"\xff\""),
        ("agents/bom.toml", b"\xef\xbb\xbfowner = 1"),
        ("agents/long.toml", &vec![b' '; FILE_BYTES_MAX + 1]),
        ("extra/a.rego", b""),
    ]);
    assert_eq!(
        messages(dir.path()),
        [
            "agents/bad.toml: not UTF-8 at byte 9",
            "agents/bom.toml: not UTF-8 at byte 0",
            "agents/deep: `agents/deep` is no part of a policy",
            "agents/long.toml: longer than 1048576 bytes",
            "extra/a.rego: `extra/a.rego` is no part of a policy",
            "purpose: `purpose` is no part of a policy",
        ]
    );
    assert!(messages(&dir.path().join("missing"))[0].contains("cannot be read"));
}

#[test]
fn a_file_of_exactly_the_limit_is_read() {
    let dir = folder(&[("agents/long.toml", &vec![b' '; FILE_BYTES_MAX])]);
    assert!(Files::read(dir.path()).is_ok());
}

#[test]
fn links_stay_inside() {
    let outside = folder(&[("a.toml", b"owner = \"x\"")]);
    let dir = folder(&[("agents/a.toml", b"owner = \"x\"")]);
    symlink(dir.path().join("agents/a.toml"), dir.path().join("agents/b.toml")).unwrap();
    assert_eq!(Files::read(dir.path()).unwrap().0.len(), 2);
    symlink(outside.path().join("a.toml"), dir.path().join("agents/c.toml")).unwrap();
    symlink(outside.path(), dir.path().join("users")).unwrap();
    symlink("nowhere", dir.path().join("agents/d.toml")).unwrap();
    let messages = messages(dir.path());
    assert_eq!(messages[0], "agents/c.toml: the link leaves the folder");
    assert!(messages[1].starts_with("agents/d.toml: cannot be read"), "{}", messages[1]);
    assert_eq!(messages[2], "users: the link leaves the folder");
}

#[test]
fn a_pipe_is_not_waited_for() {
    let dir = folder(&[("agents/a.toml", b"")]);
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("agents/s.toml")).unwrap();
    assert_eq!(messages(dir.path()), ["agents/s.toml: not a regular file"]);
}

#[test]
fn too_many_files_are_an_error_told_once() {
    let dir = folder(&[("agents/a.toml", b"")]);
    for number in 0..=FILES_MAX {
        fs::write(dir.path().join(format!("agents/n{number}.toml")), "").unwrap();
    }
    let messages = messages(dir.path());
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("at most 20000 files"), "{}", messages[0]);
}

#[test]
fn too_many_bytes_are_an_error() {
    let big = vec![b'\n'; FILE_BYTES_MAX];
    let paths: Vec<String> = (0..12).map(|number| format!("rules/r{number:02}.cedar")).collect();
    let files: Vec<(&str, &[u8])> = paths.iter().map(|path| (path.as_str(), big.as_slice())).collect();
    assert!(messages(folder(&files).path())[0].starts_with("rules/r09.cedar: a policy has at most"));
    // What is within the limit can be read back, however much its text has to be escaped.
    let fits = Files::read(folder(&files[..8]).path()).unwrap();
    assert!(Files::from_blob(&fits.blob()).is_some());
    let worst: Files = (0..8).map(|n| (format!("rules/r{n}.cedar"), "\u{1}".repeat(FILE_BYTES_MAX))).collect();
    assert!(Files::from_blob(&worst.blob()).is_some());
}
