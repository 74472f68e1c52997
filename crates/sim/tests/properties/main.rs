//! What holds of the core for any input, shrunk to the smallest one that breaks it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on fails")]

mod classes;
mod door;
mod holds;
mod house;
mod leases;
mod legs;
mod people;
mod proofs;
mod roles;

use door::{Door, Want, bundle, call, entries, history, pattern};
use portreeve_core::{
    due::{Owed, due},
    engine::Reply,
    event::{Event, Record, decode},
    hash::Hash,
    judge::{Judged, Shelf, judge_call},
    log::Log as _,
    names::{EffectId, GrantId, Name, RunId, TaskId, Tool, ToolName},
    node::{Node, Why},
    pattern::Pattern,
    reason::{Reason, Word},
    request::{Clock, Request},
    state::State,
    time::Millis,
};
use portreeve_sim::disk::Fault;
use proptest::{prelude::*, test_runner::RngSeed};
use std::{collections::BTreeSet, sync::Arc};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    /// S1: the same input gives the same record, byte for byte
    #[test]
    fn the_same_input_gives_the_same_bytes(entries in entries(), wants in history()) {
        let groups = [0, 1].map(|_| {
            let mut door = Door::new(bundle(&entries, &[]));
            door.play(&wants);
            door.disk.read(0, usize::MAX).unwrap()
        });
        prop_assert_eq!(&groups[0], &groups[1]);
    }

    /// S3: a version of a purpose that says less permits nothing more, whatever was done before
    #[test]
    fn narrowing_a_purpose_never_permits_more(
        wide in entries(),
        wants in history(),
        index in any::<prop::sample::Index>(),
        how in 0..4u8,
        tighter in pattern(),
        last in call(),
    ) {
        let mut narrow = wide.clone();
        let at = index.index(narrow.len());
        match how {
            0 => { narrow.remove(at); }
            1 => narrow[at].times = Some(narrow[at].times.map_or(1, |times| times.saturating_sub(1))),
            2 => {
                for pattern in narrow[at].arguments.values_mut() {
                    *pattern = Pattern::All(vec![pattern.clone(), tighter.clone()]);
                }
            }
            _ => narrow[at].after = narrow[at].after.clone().or_else(|| "e0".parse().ok()),
        }
        let mut door = Door::new(bundle(&wide, &[]));
        door.play(&wants);
        let state = door.engine.state();
        let (wide, narrow) = (bundle(&wide, &[]), bundle(&narrow, &[]));
        let judge = |bundle: &Arc<_>| {
            let shelf = Shelf([(wide.digest, Arc::clone(bundle))].into());
            judge_call(state, &shelf, &last.clone().request(EffectId(999)), Clock::at(door.now)).is_ok()
        };
        prop_assert!(judge(&wide) || !judge(&narrow));
    }

    /// S3: a rule can only add reasons, and the order of rules does not matter
    #[test]
    fn adding_a_rule_never_permits_more(
        entries in entries(),
        wants in history(),
        mut rules in prop::collection::vec(0..3usize, 0..3),
        added in 0..3usize,
        last in call(),
    ) {
        let mut door = Door::new(bundle(&entries, &[]));
        door.play(&wants);
        let judge = |rules: &[usize]| {
            let bundle = bundle(&entries, rules);
            let shelf = Shelf([(bundle.digest, bundle)].into());
            let call = last.clone().request(EffectId(999));
            judge_call(door.engine.state(), &shelf, &call, Clock::at(door.now)).err().unwrap_or_default()
        };
        let before: BTreeSet<Reason> = judge(&rules).into_iter().collect();
        rules.insert(0, added);
        let after: BTreeSet<Reason> = judge(&rules).into_iter().collect();
        prop_assert!(before.is_subset(&after));
        rules.rotate_left(1);
        prop_assert_eq!(after, judge(&rules).into_iter().collect());
    }

    /// I4: observe mode lifts what is outside of the envelope and nothing else, for exactly what and as long as it
    /// says, and never in a child task
    #[test]
    fn observe_mode_lifts_only_the_envelope(
        entries in entries(),
        rules in prop::collection::vec(0..3usize, 0..2),
        wants in history(),
        on in prop::sample::select(vec!["all", "purpose:work", "connector:shop", "connector:mail"]),
        ms in 1..60_000i64,
        then in 0..3u8,
        last in call(),
    ) {
        let mut door = Door::new(bundle(&entries, &rules));
        door.play(&wants);
        let call = last.request(EffectId(999));
        let judge = |door: &Door, at: i64| {
            let shelf = Shelf([(Hash::of(b"policy"), bundle(&entries, &rules))].into());
            judge_call(door.engine.state(), &shelf, &call, Clock::at(at))
        };
        let mut without = Door::new(bundle(&entries, &rules));
        without.play(&wants);
        let replies = door.play(&[Want::Observe { on: on.parse().unwrap(), ms }]);
        let until = without.now + ms;
        let ended = then == 2;
        if ended {
            door.play(&[Want::EndGrant(1)]);
        }
        let at = if then == 0 { door.now } else { door.now.max(until) };
        let (refused, observed) = (judge(&without, at), judge(&door, at));
        match (&refused, &observed) {
            (Err(_), Ok(Judged::Consult(_) | Judged::Read(_) | Judged::Prepare(_) | Judged::Hold(_) | Judged::Again(_))) => {
                prop_assert!(false, "nobody is there to ask: {:?}", observed)
            }
            (Err(reasons), Ok(Judged::Admit(admission))) => {
                let lifted = admission.observed.as_ref().unwrap();
                prop_assert!(at < until && !ended, "the grant is over");
                prop_assert_eq!(&lifted.reasons, reasons);
                prop_assert!(reasons.iter().all(|reason| reason.word.is_outside_envelope()), "{:?}", reasons);
                let connector = on.strip_prefix("connector:");
                prop_assert!(connector.is_none_or(|name| name == call.tool.connector.as_str()));
                prop_assert!(door.engine.state().task(admission.task).unwrap().parent.is_none(), "a child");
            }
            (Ok(plain), Ok(with)) => prop_assert_eq!(plain, with),
            (Err(before), Err(after)) => {
                let state = door.engine.state();
                let task = state.task_of(call.run).and_then(|task| state.task(task));
                let about = on.strip_prefix("connector:").is_none_or(|name| name == call.tool.connector.as_str());
                let granted = matches!(replies.as_slice(), [(_, Reply::Recorded)]) && at < until && !ended;
                let lifts = granted && about && task.is_some_and(|task| task.parent.is_none());
                let lifted = |reason: &&Reason| reason.word.is_outside_envelope() && reason.source == "purpose:work";
                let left: Vec<Reason> = before.iter().filter(|reason| !(lifts && lifted(reason))).cloned().collect();
                prop_assert!(!left.is_empty(), "{:?} was not lifted", before);
                prop_assert_eq!(&left, after);
            }
            (Ok(_), Err(reasons)) => prop_assert!(false, "a grant took away: {:?}", reasons),
        }
    }

    /// I2: whatever is asked after a stop, in whatever turns and with whatever ids, nothing of it is permitted
    #[test]
    fn nothing_is_permitted_after_the_stop_of_its_task(entries in entries(), wants in history()) {
        let mut door = Door::new(bundle(&entries, &[]));
        let mut stopped = BTreeSet::new();
        for (want, reply) in door.play(&wants) {
            match (want, reply) {
                (Want::Stop(task), Reply::Recorded) => { stopped.insert(TaskId(u64::from(task))); }
                (_, Reply::Permit(permit)) => {
                    let over = permit.rests_on().iter().any(|node| matches!(node, Node::Task(task) if stopped.contains(task)));
                    prop_assert!(!over, "{:?} after the stop of {:?}", permit, stopped);
                }
                _ => {}
            }
        }
    }

    /// I6: a log that never says that something is durable permits nothing
    #[test]
    fn a_log_in_doubt_never_permits(entries in entries(), wants in history(), unreadable in any::<bool>()) {
        let mut door = Door::new(bundle(&entries, &[]));
        for want in &wants {
            door.disk.arm(if unreadable { Fault::UnknownLanded } else { Fault::UnknownLost });
            if unreadable {
                door.disk.hide(2);
            }
            for (want, reply) in door.play(std::slice::from_ref(want)) {
                // The end of an effect that was never admitted is nothing to record.
                let nothing = matches!((want, &reply), (Want::Settle { .. } | Want::Pending { .. }, Reply::Recorded));
                prop_assert!(nothing || matches!(reply, Reply::Refused(_)), "{reply:?}");
            }
        }
        door.disk.heal();
    }

    /// Whatever has a text is read as it was written
    #[test]
    fn names_ids_and_nodes_are_read_as_they_are_written(
        name in "[a-z0-9][a-z0-9_-]{0,63}",
        tool in "[!-\"$-~]{1,128}",
        id in any::<u64>(),
    ) {
        let parsed: Name = name.parse().unwrap();
        prop_assert_eq!(parsed.as_str(), name.as_str());
        prop_assert_eq!(tool.parse::<ToolName>().unwrap().to_string(), tool.clone());
        let both = Tool { connector: parsed.clone(), name: tool.parse().unwrap() };
        prop_assert_eq!(both.to_string().parse::<Tool>().unwrap(), both);
        prop_assert_eq!(RunId(id).to_string().parse::<RunId>().unwrap(), RunId(id));
        let nodes = [
            Node::Tenant,
            Node::Agent(parsed.clone()),
            Node::User(parsed.clone()),
            Node::Connector(parsed.clone()),
            Node::Purpose(parsed),
            Node::Run(RunId(id)),
            Node::Task(TaskId(id)),
            Node::Child(EffectId(id)),
            Node::Grant(GrantId(id)),
        ];
        for node in nodes {
            prop_assert_eq!(node.to_string().parse::<Node>().unwrap(), node);
        }
    }

    /// No other text is a node: what is stopped is what was written
    #[test]
    fn a_node_has_one_text(text in "[a-z]{0,9}:?(task_|run_|fx_|grant_)?[0-9a-z]{0,14}") {
        if let Ok(node) = text.parse::<Node>() {
            prop_assert_eq!(node.to_string(), text);
        }
    }

    /// Reasons survive the record, with whatever an agent made them say
    #[test]
    fn reasons_are_read_as_they_are_written(index in any::<prop::sample::Index>(), source in ".*", about in ".*") {
        let word = *index.get(Word::ALL);
        prop_assert_eq!(word.as_str().parse::<Word>().unwrap(), word);
        let reason = Reason::new(word, source).with("argument", about);
        let text = serde_json::to_string(&reason).unwrap();
        prop_assert_eq!(serde_json::from_str::<Reason>(&text).unwrap(), reason);
    }
}

/// I2: a name that is used again is another one, also where all of it is one group of the record
#[test]
fn a_name_used_again_in_one_turn_is_another() {
    let bundle = bundle(&[], &[]);
    let mut door = Door::new(Arc::clone(&bundle));
    let again = || [Want::WithoutAgent, Want::Policy];
    let open = [Want::Open { task: 2, run: 2, parent: None }, Want::StopAgent];
    let replies = door.at_once(again().into_iter().chain(open).chain(again()).collect());
    assert!(replies.iter().all(|reply| !matches!(reply, Reply::Refused(_))), "{replies:?}");
    for task in [1, 2] {
        let reasons = door.engine.state().life(TaskId(task), Millis(door.now));
        assert!(reasons.iter().any(|reason| reason.word == Word::AgentStopped), "{reasons:?}");
    }
}

/// I2: stopping the run that delegated holds back what was delegated
#[test]
fn a_permit_rests_on_every_run_above_it() {
    let entry = door::entry(0);
    let mut door = Door::new(bundle(&[entry], &[]));
    let child = Want::Open { task: 2, run: 2, parent: Some((1, 1)) };
    let replies = door.play(&[child, Want::Call(door::Called::plain(2, 0))]);
    let [_, (_, Reply::Permit(permit))] = replies.as_slice() else { panic!("{replies:?}") };
    for node in [Node::Run(RunId(1)), Node::Run(RunId(2)), Node::Task(TaskId(1)), Node::Task(TaskId(2))] {
        assert!(permit.rests_on().contains(&node), "{node} is missing in {permit:?}");
    }
}

/// I2, I4: a call that was let through by a grant rests on it, and cannot leave after its end
#[test]
fn a_permit_rests_on_the_grant_without_which_there_was_none() {
    let mut door = Door::new(bundle(&[], &[]));
    let outside = || Want::Call(door::Called::plain(1, 0));
    let all = Want::Observe { on: Node::Tenant, ms: 1_000 };
    let longer = Want::Observe { on: Node::Tenant, ms: 90_000 };
    let replies = door.play(&[outside(), longer, all, outside()]);
    let [(_, Reply::Refused(_)), _, _, (_, Reply::Permit(first))] = replies.as_slice() else { panic!("{replies:?}") };
    // Of two that fit, the one that ends first; nothing of it leaves after that.
    let rests = |grant: u64| Node::Grant(GrantId(grant));
    assert!(first.rests_on().contains(&rests(2)) && !first.rests_on().contains(&rests(1)), "{first:?}");
    door.play(&[Want::Pass(1_000)]);
    assert!(first.deadline() < Millis(door.now), "{first:?}");
    assert_eq!(door.engine.state().resting_on(&rests(2)), [first.effect()]);
    // It is stopped when its time has passed, and what rests on it is cancelled.
    let owed = due(door.engine.state(), Millis(door.now));
    let stops = |owed: &Owed| matches!(owed, Owed::Record(Request::Stop(stop)) if stop.node == rests(2) && stop.why == Why::Expired);
    assert!(owed.iter().any(stops) && owed.len() == 2, "{owed:?}");
    assert!(owed.iter().any(|owed| matches!(owed, Owed::Cancel(effect) if *effect == first.effect())), "{owed:?}");
    // The other one still counts.
    let replies = door.play(&[Want::Settle { ago: 0, ok: Some(true) }, outside()]);
    let [_, (_, Reply::Permit(second))] = replies.as_slice() else { panic!("{replies:?}") };
    assert!(second.rests_on().contains(&rests(1)), "{second:?}");
}

/// I16: who may give a grant, about what and for how long
#[test]
fn a_grant_is_bounded_and_comes_from_the_owner() {
    let mut door = Door::new(bundle(&[], &[]));
    let week = 7 * 24 * 3_600_000;
    for (on, ms, good) in [
        ("all", week, true),
        ("all", week + 2, false),
        ("all", 0, false),
        ("all", -5, false),
        ("purpose:work", 1_000, true),
        ("purpose:other", 1_000, false),
        ("connector:shop", 1_000, true),
        ("connector:other", 1_000, false),
        ("agent:bot", 1_000, false),
        ("task_0000000000001", 1_000, false),
    ] {
        let replies = door.play(&[Want::Observe { on: on.parse().unwrap(), ms }]);
        assert_eq!(matches!(replies.as_slice(), [(_, Reply::Recorded)]), good, "{on} for {ms}: {replies:?}");
    }
    let mut granted = 0;
    for _ in 0..100 {
        let replies = door.play(&[Want::Observe { on: Node::Tenant, ms: 1_000_000 }]);
        granted += usize::from(matches!(replies.as_slice(), [(_, Reply::Recorded)]));
    }
    assert!(granted < 64, "{granted}");
}

/// All reasons that apply go onto the record, and the most useful one stands first
#[test]
fn every_reason_is_recorded_and_the_first_is_the_most_useful() {
    let mut entry = door::entry(0);
    entry.after = Some("e9".parse().unwrap());
    let mut door = Door::new(bundle(&[entry], &[]));
    let mut call = door::Called::plain(1, 0).request(EffectId(1));
    call.fit.error = Some("\"id\" is required".to_owned());
    let clock = Clock { steady: Millis(door.now), wall: Millis(door.now + 3_600_000) };
    let replies = door.engine.turn(vec![Request::Call(call)], clock, [1; 32]);
    let [Reply::Refused(reasons)] = replies.as_slice() else { panic!("{replies:?}") };
    let words: Vec<Word> = reasons.iter().map(|reason| reason.word).collect();
    assert_eq!(words, [Word::ArgumentsInvalid, Word::OutOfOrder, Word::ClockUnreliable]);
    let groups = door.disk.read(door.engine.state().head().n - 1, 1).unwrap();
    let before = door.disk.read(door.engine.state().head().n - 2, 1).unwrap()[0].head();
    let records = decode(before, &groups[0]).unwrap();
    let [Record { event: Event::Refused(refused), .. }] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(refused.words, words.iter().copied().collect());
    let told = refused.reasons.value().unwrap().canonical();
    assert!(told.contains("is required") && told.contains("first: e9") && told.contains("apart_ms"), "{told}");
}

/// S1: what is in doubt is forgotten at once, so that no snapshot can carry it, and read again unasked
#[test]
fn memory_never_holds_what_may_not_be_on_the_record() {
    let mut door = Door::new(bundle(&[door::entry(0)], &[]));
    door.disk.arm(Fault::UnknownLost);
    door.disk.hide(2);
    let replies = door.play(&[Want::Stop(1)]);
    assert!(matches!(replies.as_slice(), [(_, Reply::Refused(_))]), "{replies:?}");
    assert_eq!(*door.engine.state(), State::default());
    door.disk.heal();
    let wake = door.engine.wake().unwrap();
    assert!(wake > Millis(door.now), "at {wake} it would try without a pause");
    assert!(door.engine.turn(Vec::new(), Clock { steady: wake, wall: wake }, [0; 32]).is_empty());
    assert!(door.engine.state().task(TaskId(1)).is_some());
}
