//! What holds of the core for any input, shrunk to the smallest one that breaks it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod door;

use door::{Door, Want, bundle, call, entries, history, pattern};
use portreeve_core::{
    engine::Reply,
    judge::{Shelf, judge_call},
    log::Log as _,
    names::{EffectId, Name, RunId, TaskId, Tool, ToolName},
    node::Node,
    pattern::Pattern,
    reason::{Reason, Word},
    request::Clock,
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
                let nothing = matches!((want, &reply), (Want::Settle { .. }, Reply::Recorded));
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
        ];
        for node in nodes {
            prop_assert_eq!(node.to_string().parse::<Node>().unwrap(), node);
        }
    }

    /// No other text is a node: what is stopped is what was written
    #[test]
    fn a_node_has_one_text(text in "[a-z]{0,9}:?(task_|run_|fx_)?[0-9a-z]{0,14}") {
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
