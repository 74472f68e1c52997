//! A disk that is really full: a small tmpfs, where this account may mount one.

use super::*;
use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

struct Disk {
    root: tempfile::TempDir,
}

impl Disk {
    fn mount(size: &str) -> Option<Self> {
        let root = crate::scratch();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs"])
            .arg(root.path())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            // Past the capture of the test harness: a skip must be seen.
            writeln!(std::io::stderr(), "SKIPPED a test of a full disk: this account may not mount a tmpfs").unwrap();
            return None;
        }
        Some(Self { root })
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// Somebody else takes all the room there is
    fn fill(&self) {
        while self.take(4096) {}
    }

    fn take(&self, bytes: usize) -> bool {
        let path = self.root.path().join("filler");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(&vec![7; bytes]).is_ok()
    }

    fn free(&self) {
        fs::remove_file(self.root.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.root.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn fill_up(log: &mut Sqlite) -> u64 {
    let mut appended = 0;
    loop {
        match append(log, Space::Ordinary) {
            Ok(_) => appended += 1,
            Err(error) => {
                assert_eq!(error, Append::Full, "after {appended}");
                return appended;
            }
        }
    }
}

#[test]
fn a_stop_is_recorded_on_a_full_disk() {
    let Some(disk) = Disk::mount("2m") else { return };
    let options = Options { bytes_max: None, reserve_bytes: 256 << 10 };
    let mut log = Sqlite::open(&disk.folder(), options).unwrap();
    assert!(disk.take(1 << 20));
    assert!(fill_up(&mut log) > 10);
    disk.fill();
    fill_up(&mut log);
    let before = log.head();
    for i in 1..=20 {
        assert_eq!(append(&mut log, Space::Reserve).map(|head| head.n), Ok(before.n + i), "stop {i}");
        assert_eq!(append(&mut log, Space::Ordinary), Err(Append::Full), "the rest waits");
    }
    let mut stops = 20;
    let ended = loop {
        match append(&mut log, Space::Reserve) {
            Ok(_) => stops += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(ended, Append::Full, "the reserve ends too, after {stops}");
    assert_eq!(log.head().n, before.n + stops);
    let verified = verify(&Reader::open(&disk.folder()).unwrap()).unwrap();
    assert_eq!(verified.head, log.head());

    disk.free();
    append(&mut log, Space::Ordinary).unwrap();
    assert_eq!(fs::metadata(disk.folder().join("reserve")).unwrap().len(), options.reserve_bytes, "taken back");
    let head = log.head();
    drop(log);
    assert_eq!(Sqlite::open(&disk.folder(), options).unwrap().head(), head);
}

#[test]
fn a_start_on_a_full_disk_still_records_stops() {
    let Some(disk) = Disk::mount("2m") else { return };
    let options = Options { bytes_max: None, reserve_bytes: 256 << 10 };
    let mut log = Sqlite::open(&disk.folder(), options).unwrap();
    for _ in 0..20 {
        append(&mut log, Space::Ordinary).unwrap();
    }
    drop(log);
    disk.fill();
    let mut log = Sqlite::open(&disk.folder(), options).unwrap();
    assert_eq!(log.head().n, 20);
    assert_eq!(append(&mut log, Space::Ordinary), Err(Append::Full));
    assert_eq!(append(&mut log, Space::Reserve).unwrap().n, 21);
    drop(log);
    let mut log = Sqlite::open(&disk.folder(), options).unwrap();
    assert_eq!(append(&mut log, Space::Ordinary), Err(Append::Full));
    assert_eq!(append(&mut log, Space::Reserve).unwrap().n, 22);
    disk.free();
    assert_eq!(append(&mut log, Space::Ordinary).unwrap().n, 23);
    assert_eq!(verify(&Reader::open(&disk.folder()).unwrap()).unwrap().groups, 23);
}
