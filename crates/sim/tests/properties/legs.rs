//! Calls of several legs: judged each time, charged once.

use crate::door::{Called, Door, Want, bundle, entry, unbounded};
use portreeve_core::{
    engine::Reply,
    event::{Event, What, decode},
    log::{Head, Log as _},
    names::{EffectId, RunId, TaskId},
    policy::{Bundle, Entry},
    reason::Word,
    request::{Clock, Looked, Request},
    state::PENDING_MAX,
};
use std::sync::Arc;

/// The words of a refusal; none if it is none
fn words(reply: &Reply) -> Vec<Word> {
    match reply {
        Reply::Refused(reasons) => reasons.iter().map(|reason| reason.word).collect(),
        _ => Vec::new(),
    }
}

fn permits(reply: &Reply) -> bool {
    matches!(reply, Reply::Permit(_))
}

fn used(door: &Door) -> (u32, u32, bool) {
    let task = door.engine.state().task(TaskId(1)).unwrap();
    let step = task.steps.values().next().copied().unwrap_or_default();
    (task.calls, step.used, step.succeeded)
}

/// A door over one entry that may be used once, and its first call, which was answered with a question
fn asked() -> Door {
    asked_in(bundle(&[once()], &[]))
}

fn once() -> Entry {
    Entry { times: Some(1), ..entry(0) }
}

fn asked_in(bundle: Arc<Bundle>) -> Door {
    let mut door = Door::new(bundle);
    let replies = door.play(&[Want::Call(Called::plain(1, 0)), Want::Pending { ago: 0 }]);
    assert!(permits(&replies[0].1));
    door
}

#[test]
fn a_leg_goes_on_once_and_is_charged_once() {
    let mut door = asked();
    assert_eq!(used(&door), (1, 1, false));
    let replies = door.play(&[
        Want::GoOn { call: Called::plain(1, 0), of: 1 },
        // While it is under way, and when it is over.
        Want::GoOn { call: Called::plain(1, 0), of: 1 },
        Want::Settle { ago: 1, ok: Some(true) },
        Want::GoOn { call: Called::plain(1, 0), of: 1 },
        Want::GoOn { call: Called::plain(1, 0), of: 2 },
        Want::Call(Called::plain(1, 0)),
    ]);
    assert!(permits(&replies[0].1), "{replies:?}");
    for again in [1, 3, 4] {
        assert!(words(&replies[again].1).contains(&Word::ContinuationUnknown), "{again}: {replies:?}");
    }
    assert_eq!(words(&replies[5].1), [Word::CountSpent]);
    assert_eq!(used(&door), (1, 1, true));
}

#[test]
fn a_leg_may_be_answered_with_a_question_again() {
    let mut door = asked();
    for of in 1..=6 {
        let replies = door.play(&[Want::GoOn { call: Called::plain(1, 0), of }, Want::Pending { ago: 0 }]);
        // Bytes are counted for each leg: what leaves, and what comes back.
        match of {
            1..=5 => assert!(permits(&replies[0].1), "{of}: {replies:?}"),
            _ => assert_eq!(words(&replies[0].1), [Word::BytesSpent]),
        }
    }
    assert_eq!(used(&door), (1, 1, false));
}

#[test]
fn what_was_not_sent_can_go_on_as_before_and_what_is_unknown_cannot() {
    let mut door = asked();
    let replies = door.play(&[
        Want::GoOn { call: Called::plain(1, 0), of: 1 },
        Want::Settle { ago: 0, ok: None },
        Want::GoOn { call: Called::plain(1, 0), of: 1 },
        Want::Unknown { ago: 0 },
        Want::GoOn { call: Called::plain(1, 0), of: 1 },
    ]);
    assert!(permits(&replies[0].1) && permits(&replies[2].1), "{replies:?}");
    assert!(words(&replies[4].1).contains(&Word::ContinuationUnknown));
    assert_eq!(used(&door), (1, 1, false));
}

#[test]
fn a_leg_goes_on_only_in_its_task_with_its_tool_and_while_it_is_let() {
    let mut door = asked();
    let replies = door.play(&[
        Want::Open { task: 2, run: 2, parent: None },
        Want::GoOn { call: Called::plain(2, 0), of: 1 },
        Want::GoOn { call: Called::plain(1, 1), of: 1 },
        Want::Poll { run: 2, of: 1 },
        Want::GoOn { call: Called::with(1, 0, "a", "1"), of: 1 },
        Want::Stop(1),
        Want::GoOn { call: Called::plain(1, 0), of: 1 },
        Want::Poll { run: 1, of: 1 },
    ]);
    for other in [1, 2, 3] {
        assert!(words(&replies[other].1).contains(&Word::ContinuationUnknown), "{other}: {replies:?}");
    }
    assert_eq!(words(&replies[4].1), [Word::ArgumentNotNamed]);
    assert_eq!(words(&replies[6].1)[0], Word::TaskOver);
    assert_eq!(words(&replies[7].1)[0], Word::TaskOver);
}

#[test]
fn a_poll_uses_nothing_up_and_its_end_is_the_end_of_the_call() {
    let mut door = asked_in(unbounded(&[once()]));
    let replies = door.play(&[
        Want::Poll { run: 1, of: 1 },
        Want::Pending { ago: 0 },
        Want::Poll { run: 1, of: 1 },
        Want::Unknown { ago: 0 },
        Want::Poll { run: 1, of: 1 },
        Want::Settle { ago: 0, ok: Some(true) },
        Want::Poll { run: 1, of: 1 },
        Want::GoOn { call: Called::plain(1, 0), of: 1 },
    ]);
    for poll in [0, 2, 4] {
        assert!(permits(&replies[poll].1), "{poll}: {replies:?}");
    }
    // What came of it can be asked for again.
    assert!(permits(&replies[6].1), "{replies:?}");
    assert!(words(&replies[7].1).contains(&Word::ContinuationUnknown));
    assert_eq!(used(&door), (1, 1, true));
}

#[test]
fn a_call_that_a_poll_finds_over_does_not_come_back_with_a_leg_that_was_not_sent() {
    let mut door = asked();
    let replies = door.play(&[
        Want::Poll { run: 1, of: 1 },
        Want::GoOn { call: Called::plain(1, 0), of: 1 },
        Want::Settle { ago: 1, ok: Some(true) },
        Want::Settle { ago: 0, ok: None },
        Want::GoOn { call: Called::plain(1, 0), of: 1 },
    ]);
    assert!(words(&replies[4].1).contains(&Word::ContinuationUnknown), "{replies:?}");
}

#[test]
fn a_task_keeps_a_bounded_number_of_open_calls_and_forgets_the_oldest() {
    let mut door = Door::new(unbounded(&[entry(0)]));
    for _ in 0..=PENDING_MAX {
        let replies = door.play(&[Want::Call(Called::plain(1, 0)), Want::Pending { ago: 0 }]);
        assert!(permits(&replies[0].1));
    }
    assert_eq!(door.engine.state().task(TaskId(1)).unwrap().pending.len(), PENDING_MAX);
    let replies = door.play(&[Want::Poll { run: 1, of: 1 }, Want::Poll { run: 1, of: 2 }]);
    assert_eq!(words(&replies[0].1), [Word::ContinuationUnknown]);
    assert!(permits(&replies[1].1));
}

#[test]
fn the_record_says_what_a_leg_goes_on_with() {
    let mut door = asked();
    door.play(&[
        Want::GoOn { call: Called::plain(1, 0), of: 1 },
        Want::Pending { ago: 0 },
        Want::Poll { run: 1, of: 2 },
    ]);
    let mut head = Head::default();
    let mut legs = Vec::new();
    for group in door.disk.read(0, usize::MAX).unwrap() {
        for record in decode(head, &group).unwrap() {
            if let Event::Admitted(admitted) = record.event {
                match admitted.what {
                    What::Call(call) => legs.push((admitted.effect, call.continues, call.charges[0].is_first())),
                    What::Poll(poll) => legs.push((admitted.effect, Some(poll.of), poll.charges[0].is_first())),
                    What::Child { .. } | What::Lease(_) | What::Notice { .. } => {}
                }
            }
        }
        head = group.head();
    }
    let [one, two, three] = [1, 2, 3].map(EffectId);
    assert_eq!(legs, [(one, None, true), (two, Some(one), false), (three, Some(two), false)]);
}

#[test]
fn what_a_run_is_shown_is_recorded_once_until_it_is_something_else() {
    let mut door = asked();
    let before = door.engine.state().head().n;
    let mut look = |method: &str, shown: u32| {
        let looked =
            Looked { run: RunId(1), connector: "shop".parse().unwrap(), method: method.to_owned(), shown, hidden: 1 };
        door.now += 1;
        let replies = door.engine.turn(vec![Request::Looked(looked)], Clock::at(door.now), [7; 32]);
        assert!(matches!(replies[0], Reply::Recorded));
        door.engine.state().head().n - before
    };
    assert_eq!(
        [look("tools/list", 2), look("tools/list", 2), look("tools/list", 3), look("tools/list", 3)],
        [1, 1, 2, 2]
    );
    assert_eq!([look("prompts/list", 3), look("tools/list", 3)], [3, 3]);
}
