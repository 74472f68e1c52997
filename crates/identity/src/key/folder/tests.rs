use super::*;
use std::{
    fs as files,
    os::unix::fs::{PermissionsExt as _, symlink},
};

fn mode_of(path: &Path) -> u32 {
    files::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_is_made_once_for_its_owner_only() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("keys");
    let folder = Folder::open(&path).unwrap();
    assert_eq!(mode_of(&path), 0o700);
    let made = folder.load_or_make("a.key").unwrap();
    assert_eq!(mode_of(&path.join("a.key")), 0o600);
    assert_eq!(folder.load_or_make("a.key").unwrap().public_key(), made.public_key());
    assert_eq!(folder.names().unwrap().iter().filter(|name| name.contains("key")).count(), 1);
    assert!(folder.load("b.key").unwrap().is_none());
    // As earlier versions left it.
    files::set_permissions(&path, files::Permissions::from_mode(0o755)).unwrap();
    Folder::open(&path).unwrap();
    assert_eq!(mode_of(&path), 0o700);
}

#[test]
fn what_others_can_read_and_what_is_a_link_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("keys");
    let folder = Folder::open(&path).unwrap();
    folder.make("a.key").unwrap();
    for mode in [0o640, 0o604, 0o620, 0o660] {
        files::set_permissions(path.join("a.key"), files::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(folder.load("a.key"), Err(Error::Open { mode: found, .. }) if found == mode));
        assert!(folder.load_or_make("a.key").is_err(), "and no other is made in its place");
    }
    files::set_permissions(path.join("a.key"), files::Permissions::from_mode(0o600)).unwrap();
    symlink(path.join("a.key"), path.join("link.key")).unwrap();
    assert!(matches!(folder.load("link.key"), Err(Error::Kind { .. })));
    files::create_dir(path.join("folder.key")).unwrap();
    assert!(matches!(folder.load("folder.key"), Err(Error::Kind { .. })));
    // A pipe without a writer: nobody waits for one.
    fs::mkfifoat(fs::CWD, path.join("pipe.key"), Mode::RUSR | Mode::WUSR).unwrap();
    assert!(matches!(folder.load("pipe.key"), Err(Error::Kind { .. })));
    for nonsense in [&b"nonsense"[..], b"", &[0; 5000]] {
        files::write(path.join("a.key"), nonsense).unwrap();
        assert!(matches!(folder.load("a.key"), Err(Error::Form { .. })));
    }
    symlink(&path, place.path().join("elsewhere")).unwrap();
    assert!(matches!(Folder::open(&place.path().join("elsewhere")), Err(Error::Kind { .. })));
    files::write(place.path().join("file"), "").unwrap();
    assert!(matches!(Folder::open(&place.path().join("file")), Err(Error::Kind { .. })));
}

#[test]
fn what_belongs_to_another_account_is_refused() {
    // Only root can give something away.
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("keys");
    let folder = Folder::open(&path).unwrap();
    folder.make("a.key").unwrap();
    std::os::unix::fs::chown(path.join("a.key"), Some(65_534), None).unwrap();
    assert!(matches!(folder.load("a.key"), Err(Error::Owner { owner: 65_534, .. })));
    std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
    assert!(matches!(Folder::open(&path), Err(Error::Owner { owner: 65_534, .. })));
}

#[test]
fn a_write_that_was_interrupted_leaves_no_key_and_no_hindrance() {
    let place = tempfile::tempdir().unwrap();
    let folder = Folder::open(&place.path().join("keys")).unwrap();
    files::write(place.path().join("keys/a.key.unfinished"), "half").unwrap();
    assert!(folder.load("a.key").unwrap().is_none());
    folder.make("a.key").unwrap();
    assert!(folder.load("a.key").unwrap().is_some());
    assert!(!place.path().join("keys/a.key.unfinished").exists());
}
