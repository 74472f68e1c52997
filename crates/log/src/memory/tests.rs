use super::*;
use crate::{
    contract::{self, Harness},
    verify::Chain,
};

const OPTIONS: Options = Options { bytes_max: None, reserve_bytes: 0 };

struct Engine(Memory);

impl Harness for Engine {
    fn log(&mut self) -> &mut dyn Log {
        &mut self.0
    }

    fn reopen(&mut self) {
        self.0 = Memory::over(self.0.storage());
    }

    fn inject(&mut self, fault: Fault) {
        self.0.storage().inject(fault);
    }
}

fn append(log: &mut Memory) -> Result<Head, Append> {
    let head = log.head();
    log.append(head, &contract::group(head, "event"), Space::Ordinary)
}

#[test]
fn keeps_the_contract() {
    contract::all(&mut |options| Box::new(Engine(Memory::new(options))));
}

#[test]
fn faults_meet_appends_in_order() {
    let mut log = Memory::new(OPTIONS);
    for fault in [Fault::Full, Fault::Conflict, Fault::UnknownLost, Fault::UnknownLanded] {
        log.storage().inject(fault);
    }
    assert_eq!(append(&mut log), Err(Append::Full));
    assert_eq!(append(&mut log), Err(Append::Conflict(Head::default())));
    assert!(matches!(append(&mut log), Err(Append::Unknown(_))));
    assert_eq!(log.recover().unwrap().n, 0);
    assert!(matches!(append(&mut log), Err(Append::Unknown(_))));
    assert_eq!(log.recover().unwrap().n, 1);
    assert_eq!(append(&mut log).unwrap().n, 2);
}

#[test]
fn a_crash_keeps_the_storage_and_a_copy_is_another_disk() {
    let mut log = Memory::new(OPTIONS);
    append(&mut log).unwrap();
    let storage = log.storage();
    let copy = storage.copy();
    append(&mut log).unwrap();
    drop(log);
    assert_eq!(Memory::over(storage.clone()).head().n, 2);
    assert_eq!(Memory::over(copy).head().n, 1);
    storage.rewind(1);
    assert_eq!(Memory::over(storage).head().n, 1);
}

#[test]
fn a_second_writer_is_noticed() {
    let mut log = Memory::new(OPTIONS);
    let mut other = Memory::over(log.storage());
    append(&mut log).unwrap();
    assert!(matches!(append(&mut other), Err(Append::Unknown(_))));
    assert_eq!(other.recover().unwrap().n, 1);
}

#[test]
fn its_groups_verify() {
    let mut log = Memory::new(OPTIONS);
    for _ in 0..5 {
        append(&mut log).unwrap();
    }
    let mut chain = Chain::through(log.head());
    for group in log.storage().groups() {
        chain.add(&group).unwrap();
    }
    assert_eq!(chain.end().unwrap().groups, 5);
}
