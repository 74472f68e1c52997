use super::*;
use std::os::unix::fs::MetadataExt as _;

#[test]
fn holds_real_blocks_and_gives_them_back() {
    let root = crate::scratch();
    let path = root.path().join("reserve");
    let mut reserve = Reserve::open(path.clone(), 100_000);
    assert!(reserve.is_held());
    let held = path.metadata().unwrap();
    assert!(held.len() == 100_000 && held.blocks() * 512 >= 100_000);
    assert_eq!(held.mode() & 0o777, 0o600);
    assert!(reserve.release());
    assert!(!reserve.is_held());
    assert_eq!(path.metadata().unwrap().blocks(), 0);
    assert!(!reserve.release(), "once");
    assert!(reserve.refill());
    assert!(path.metadata().unwrap().blocks() * 512 >= 100_000);
}

#[test]
fn takes_the_size_that_is_asked_for() {
    let root = crate::scratch();
    let path = root.path().join("reserve");
    for bytes in [50_000, 200_000, 10_000] {
        assert!(Reserve::open(path.clone(), bytes).is_held());
        assert_eq!(path.metadata().unwrap().len(), bytes);
    }
}

#[test]
fn is_not_held_without_room() {
    let root = crate::scratch();
    let path = root.path().join("reserve");
    let mut reserve = Reserve::open(path.clone(), 1 << 60);
    assert!(!reserve.is_held());
    assert!(!reserve.refill() && !reserve.release());
    assert_eq!(path.metadata().unwrap().len(), 0, "half a reserve is no reserve");
}

#[test]
fn nothing_is_always_held() {
    let root = crate::scratch();
    let mut reserve = Reserve::open(root.path().join("reserve"), 0);
    assert!(reserve.is_held() && !reserve.release() && reserve.is_held());
}
