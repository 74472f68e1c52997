//! What every engine of the log must do, as a suite that each one runs.
//!
//! A failed demand panics with what was asked, so the suite belongs in tests.

use crate::{Fault, Options};
use portreeve_core::{
    hash::Hash,
    log::{Append, Group, Head, Log, Space},
};
use std::fmt::Write as _;

/// An engine under test, and the world around it
pub trait Harness {
    /// The open log
    fn log(&mut self) -> &mut dyn Log;
    /// Ends the process and starts another one on the same storage
    fn reopen(&mut self);
    /// Lets the next append meet [`Fault::UnknownLanded`] or [`Fault::UnknownLost`]
    fn inject(&mut self, fault: Fault);
}

/// Makes an engine over empty storage
pub type Make<'a> = &'a mut dyn FnMut(Options) -> Box<dyn Harness>;

/// Runs the whole suite
pub fn all(make: Make<'_>) {
    begins_empty(make(ROOMY));
    reads_in_order(make(ROOMY));
    conflict_writes_nothing(make(ROOMY));
    unknown_that_landed(make(ROOMY));
    unknown_that_was_lost(make(ROOMY));
    keeps_its_reserve(make(TIGHT));
    keeps_blobs(make(ROOMY));
    reopens_at_its_head(make(ROOMY));
}

/// A group with one event that follows `head`
#[must_use]
pub fn group(head: Head, event: &str) -> Group {
    let n = head.n.saturating_add(1);
    let mut body = String::new();
    let _written = writeln!(body, r#"{{"v":1,"n":{n},"prev":"{}","writer":"contract"}}"#, head.hash);
    let _written = writeln!(body, r#"{{"event":"{event}"}}"#);
    Group { n, body: body.into_bytes(), ..Group::default() }
}

/// An empty log ends at number 0 and has nothing to read
pub fn begins_empty(mut harness: Box<dyn Harness>) {
    let log = harness.log();
    assert_eq!(log.head(), Head::default());
    assert_eq!(log.read(0, 10), Ok(vec![]));
    assert_eq!(log.blob(Hash::of(b"absent")), Ok(None));
    assert_eq!(log.recover(), Ok(Head::default()), "recovery is allowed at any time");
}

/// What was appended is read in order, in pages of any size, with its openings
pub fn reads_in_order(mut harness: Box<dyn Harness>) {
    let log = harness.log();
    let mut groups = vec![];
    for i in 0..7 {
        let mut next = group(log.head(), &format!("e{i}"));
        if i % 2 == 0 {
            next.openings = format!("{{\"opening\":{i}}}\n").into_bytes();
        }
        assert_eq!(log.append(log.head(), &next, Space::Ordinary), Ok(next.head()));
        assert_eq!(log.head(), next.head());
        groups.push(next);
    }
    assert_eq!(log.read(0, 100), Ok(groups.clone()));
    for page in 1..=8 {
        let mut read = vec![];
        loop {
            let some = log.read(read.len() as u64, page).unwrap_or_default();
            assert!(some.len() == page || read.len() + some.len() == groups.len(), "only the last page is short");
            if some.is_empty() {
                break;
            }
            read.extend(some);
        }
        assert_eq!(read, groups, "pages of {page}");
    }
    assert_eq!(log.read(7, 1), Ok(vec![]));
    assert_eq!(log.read(u64::MAX, 1), Ok(vec![]));
}

/// A writer who believes another head, or a group that does not follow the head, leaves no trace
pub fn conflict_writes_nothing(mut harness: Box<dyn Harness>) {
    let log = harness.log();
    let first = group(log.head(), "first");
    let head = first.head();
    assert_eq!(log.append(log.head(), &first, Space::Ordinary), Ok(head));
    let refused = Err(Append::Conflict(head));
    let second = group(head, "second");
    assert_eq!(log.append(Head::default(), &second, Space::Ordinary), refused, "an old head");
    let forged = Head { hash: Hash::of(b"other"), ..head };
    assert_eq!(log.append(forged, &second, Space::Reserve), refused, "a head with another hash");
    assert_eq!(log.append(head, &first, Space::Ordinary), refused, "a group again");
    assert_eq!(log.append(head, &group(forged, "forged"), Space::Ordinary), refused, "another predecessor");
    let renumbered = Group { n: 3, ..second.clone() };
    assert_eq!(log.append(head, &renumbered, Space::Ordinary), refused, "a number that its header denies");
    let headless = Group { body: b"{}\n".to_vec(), ..second.clone() };
    assert_eq!(log.append(head, &headless, Space::Ordinary), refused, "no header");
    assert_eq!(log.head(), head);
    assert_eq!(log.read(0, 10), Ok(vec![first]));
    assert_eq!(log.append(head, &second, Space::Ordinary), Ok(second.head()), "and goes on");
}

/// `Unknown` that was recorded after all: nothing goes on before recovery, which finds it
pub fn unknown_that_landed(mut harness: Box<dyn Harness>) {
    let (first, second) = doubtful(harness.as_mut(), Fault::UnknownLanded);
    let log = harness.log();
    assert_eq!(log.recover(), Ok(second.head()));
    assert_eq!(log.head(), second.head());
    let again = log.append(first.head(), &second, Space::Ordinary);
    assert_eq!(again, Err(Append::Conflict(second.head())), "tried twice, recorded once");
    goes_on(harness.as_mut(), vec![first, second]);
}

/// `Unknown` that was not recorded: recovery finds the old head
pub fn unknown_that_was_lost(mut harness: Box<dyn Harness>) {
    let (first, second) = doubtful(harness.as_mut(), Fault::UnknownLost);
    let log = harness.log();
    assert_eq!(log.recover(), Ok(first.head()));
    assert_eq!(log.head(), first.head());
    let instead = group(first.head(), "instead");
    assert_ne!(instead, second);
    assert_eq!(log.append(first.head(), &instead, Space::Ordinary), Ok(instead.head()));
    goes_on(harness.as_mut(), vec![first, instead]);
}

/// While only the reserve is left, stops and settlements are recorded and nothing else is
pub fn keeps_its_reserve(mut harness: Box<dyn Harness>) {
    let filler = "x".repeat(4000);
    let log = harness.log();
    let mut refused = false;
    for _ in 0..1000 {
        let next = group(log.head(), &filler);
        match log.append(log.head(), &next, Space::Ordinary) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error, Append::Full);
                refused = true;
                break;
            }
        }
    }
    assert!(refused, "the limit is met");
    let before = log.head();
    assert!(before.n > 5, "and not at once");
    let count = |log: &dyn Log| log.read(0, 10_000).unwrap_or_default().len() as u64;
    assert_eq!(count(log), before.n);
    let ordinary = |log: &mut dyn Log| log.append(log.head(), &group(log.head(), &filler), Space::Ordinary);
    let stop = |log: &mut dyn Log| log.append(log.head(), &group(log.head(), &filler), Space::Reserve);
    assert_eq!(ordinary(log), Err(Append::Full), "refused again");
    assert!(stop(log).is_ok());
    assert_eq!(ordinary(log), Err(Append::Full), "a stop makes no room");
    harness.reopen();
    let log = harness.log();
    assert_eq!(log.head().n, before.n + 1);
    assert_eq!(ordinary(log), Err(Append::Full), "nor does a start");
    let mut stops = 0;
    while stops < 1000 {
        match stop(log) {
            Ok(_) => stops += 1,
            Err(error) => {
                assert_eq!(error, Append::Full, "the reserve ends too");
                break;
            }
        }
    }
    assert!((1..1000).contains(&stops), "{stops} more stops");
    assert_eq!(count(log), before.n + 1 + stops);
}

/// Blobs are kept by digest, once
pub fn keeps_blobs(mut harness: Box<dyn Harness>) {
    let log = harness.log();
    let (one, two) = (b"one".to_vec(), vec![7; 20_000]);
    let mut first = group(log.head(), "first");
    first.blobs = vec![(Hash::of(&one), one.clone()), (Hash::of(&two), two.clone())];
    assert_eq!(log.append(log.head(), &first, Space::Ordinary), Ok(first.head()));
    let mut second = group(log.head(), "second");
    second.blobs = vec![(Hash::of(&one), one.clone())];
    assert_eq!(log.append(log.head(), &second, Space::Ordinary), Ok(second.head()), "the same digest again");
    harness.reopen();
    let log = harness.log();
    assert_eq!(log.blob(Hash::of(&one)), Ok(Some(one)));
    assert_eq!(log.blob(Hash::of(&two)), Ok(Some(two)));
    assert_eq!(log.blob(Hash::of(b"three")), Ok(None));
    let read = log.read(0, 10).unwrap_or_default();
    assert!(read.len() == 2 && read.iter().all(|group| group.blobs.is_empty()), "reads leave them out");
}

/// Another process finds what this one left
pub fn reopens_at_its_head(mut harness: Box<dyn Harness>) {
    harness.reopen();
    assert_eq!(harness.log().head(), Head::default());
    let mut groups = vec![];
    for i in 0..5 {
        let log = harness.log();
        let next = group(log.head(), &format!("e{i}"));
        assert_eq!(log.append(log.head(), &next, Space::Ordinary), Ok(next.head()));
        groups.push(next);
        harness.reopen();
        assert_eq!(harness.log().head(), groups.last().map(Group::head).unwrap_or_default());
    }
    assert_eq!(harness.log().read(0, 10), Ok(groups));
}

/// One group that is recorded, and one of which nobody knows
fn doubtful(harness: &mut dyn Harness, fault: Fault) -> (Group, Group) {
    let first = group(harness.log().head(), "first");
    assert_eq!(harness.log().append(Head::default(), &first, Space::Ordinary), Ok(first.head()));
    harness.inject(fault);
    let log = harness.log();
    let second = group(first.head(), "second");
    let unknown = |answer: Result<Head, Append>| matches!(answer, Err(Append::Unknown(_)));
    assert!(unknown(log.append(first.head(), &second, Space::Ordinary)));
    assert!(unknown(log.append(first.head(), &second, Space::Ordinary)), "until recovery");
    assert!(unknown(log.append(first.head(), &second, Space::Reserve)), "stops too");
    assert!(log.read(0, 10).is_err(), "nothing is read in doubt");
    (first, second)
}

fn goes_on(harness: &mut dyn Harness, mut groups: Vec<Group>) {
    let log = harness.log();
    let next = group(log.head(), "next");
    assert_eq!(log.append(log.head(), &next, Space::Ordinary), Ok(next.head()));
    groups.push(next);
    assert_eq!(log.read(0, 10), Ok(groups.clone()));
    harness.reopen();
    assert_eq!(harness.log().read(0, 10), Ok(groups));
}

const ROOMY: Options = Options { bytes_max: None, reserve_bytes: 0 };
const TIGHT: Options = Options { bytes_max: Some(256 << 10), reserve_bytes: 64 << 10 };
