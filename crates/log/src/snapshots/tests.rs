use super::*;
use std::os::unix::fs::PermissionsExt as _;

fn head(n: u64) -> Head {
    Head { n, hash: Hash::of(&n.to_be_bytes()) }
}

fn names(root: &tempfile::TempDir) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(root.path().join("snapshots"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn keeps_the_newest_two() {
    let root = crate::scratch();
    let snapshots = Snapshots::new(root.path());
    assert_eq!(snapshots.newest("1"), None);
    for n in [1, 9, 10, 100] {
        snapshots.store(head(n), "1", &[n as u8; 50]).unwrap();
        assert_eq!(snapshots.newest("1"), Some((head(n), vec![n as u8; 50])));
    }
    assert_eq!(names(&root), [name(10), name(100)]);
    for path in [root.path().join("snapshots"), root.path().join("snapshots").join(name(100))] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0);
    }
    snapshots.store(head(100), "1", b"").unwrap();
    assert_eq!(snapshots.newest("1"), Some((head(100), vec![])), "the same head again");
}

#[test]
fn another_version_is_left_alone() {
    let root = crate::scratch();
    let snapshots = Snapshots::new(root.path());
    snapshots.store(head(1), "1", b"old").unwrap();
    snapshots.store(head(2), "2", b"new").unwrap();
    assert_eq!(snapshots.newest("1"), Some((head(1), b"old".to_vec())));
    assert_eq!(snapshots.newest("2"), Some((head(2), b"new".to_vec())));
    assert_eq!(snapshots.newest("3"), None);
    assert_eq!(names(&root).len(), 2);
}

#[test]
fn whatever_is_wrong_is_removed() {
    let root = crate::scratch();
    let snapshots = Snapshots::new(root.path());
    let folder = root.path().join("snapshots");
    snapshots.store(head(1), "1", b"first").unwrap();
    snapshots.store(head(2), "1", b"second").unwrap();
    let second = fs::read(folder.join(name(2))).unwrap();
    for at in 0..second.len() {
        let mut flipped = second.clone();
        flipped[at] ^= 1;
        fs::write(folder.join(name(2)), &flipped).unwrap();
        assert_eq!(snapshots.newest("1"), Some((head(1), b"first".to_vec())), "byte {at}");
    }
    for (file, content) in [
        (name(2), &second[..second.len() - 1]),
        (name(2), b"".as_slice()),
        (name(3), &second),
        ("new.part".to_owned(), &second),
        ("strange".to_owned(), b"\xff\x00"),
        (format!("{}{SUFFIX}", u128::MAX), b"x\ny"),
    ] {
        fs::write(folder.join(&file), content).unwrap();
        assert_eq!(snapshots.newest("1"), Some((head(1), b"first".to_vec())), "{file}");
    }
    fs::remove_file(folder.join(name(1))).unwrap();
    fs::write(folder.join("new.part"), b"half").unwrap();
    assert_eq!(snapshots.newest("1"), None);
    assert!(names(&root).is_empty());
}

#[test]
fn a_folder_restored_from_a_copy_outlives_newer_snapshots() {
    let root = crate::scratch();
    let snapshots = Snapshots::new(root.path());
    snapshots.store(head(50), "1", b"future").unwrap();
    snapshots.store(head(51), "1", b"future").unwrap();
    snapshots.store(head(7), "1", b"now").unwrap();
    assert_eq!(snapshots.newest("1"), Some((head(7), b"now".to_vec())));
}

#[test]
fn a_failure_to_store_leaves_nothing_behind() {
    let root = crate::scratch();
    let snapshots = Snapshots::new(root.path());
    snapshots.store(head(1), "1", b"first").unwrap();
    fs::create_dir(root.path().join("snapshots").join(name(2))).unwrap();
    snapshots.store(head(2), "1", b"second").unwrap_err();
    assert_eq!(snapshots.newest("1"), Some((head(1), b"first".to_vec())));
    assert!(!root.path().join("snapshots/new.part").exists());
}
