use super::*;
use crate::{Files, Loaded, compile};
use portreeve_core::{
    commit::Committed,
    event::{Accepted, Changed as Change, ChosenBy, Given, Settled},
    names::{MemoryId, RunId},
    policy::Class,
    time::Millis,
};

const NOW: Millis = crate::NOON;

fn policy(bound: &str) -> Loaded {
    let purpose = format!(
        "about = \"Look\"\nowner = \"a@example.com\"\nopen = {{ agents = [\"bot\"], users = \"none\" }}\n\
         task = {{ expires_after = \"1h\", standing = [\"read\"] }}\n\
         [[allow]]\nname = \"look\"\nuse = [\"shop.look\"]\nwhere = {{ n = {bound} }}\n"
    );
    let files: Files = [
        ("agents/bot.toml", "owner = \"a@example.com\"\n"),
        ("connectors/shop.toml", "command = [\"s\"]\n[tools.look]\nclass = \"read\"\n"),
        ("purposes/x.toml", &purpose),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into_iter()
    .collect();
    compile(&files).unwrap()
}

/// What the door would write about one task with these calls
fn records(loaded: &Loaded, numbers: &[i64]) -> Vec<Record> {
    let bundle = &loaded.bundle;
    let pin = Hash([0; 32]);
    let accepted = [("look".parse().unwrap(), Accepted { digest: pin, blob: pin })].into();
    let began = Began {
        task: TaskId(1),
        run: RunId(1),
        memory: MemoryId(1),
        agent: "bot".parse().unwrap(),
        user: None,
        purpose: "x".parse().unwrap(),
        bundle: bundle.digest,
        parent: None,
        parameters: BTreeMap::new(),
        objective: None,
        expires: NOW.plus(3_600_000),
        idle_ms: None,
        hold: None,
        review: None,
        undoes: None,
        proven: None,
    };
    let mut events = vec![
        Event::Changed(Change::Bundle { digest: bundle.digest, nodes: bundle.nodes() }),
        Event::Changed(Change::Pins {
            connector: "shop".parse().unwrap(),
            accepted,
            identity: portreeve_core::offer::Identity::Plain,
            offer: Hash::default(),
        }),
        Event::Began(Box::new(began)),
    ];
    for (number, effect) in numbers.iter().zip(1..) {
        let value = Value::Number((*number).into());
        let arguments = BTreeMap::from([("n".to_owned(), value)]);
        let sent = Value::Object(arguments.clone()).canonical().len() as u64;
        let given = |(name, value): (&String, &Value)| {
            (name.clone(), Given { value: Committed::new(value, [1; 16]), by: ChosenBy::Model })
        };
        let facts = CallFacts {
            agent: "bot".parse().unwrap(),
            user: None,
            purpose: "x".parse().unwrap(),
            tool: "shop.look".parse().unwrap(),
            variants: Vec::new(),
            class: Class::Read,
            pin,
            arguments: arguments.iter().map(given).collect(),
            charges: vec![portreeve_core::event::Charge {
                task: TaskId(1),
                entries: BTreeSet::from(["look".parse().unwrap()]),
                sent,
                held: None,
                paid: None,
                elevated: BTreeSet::new(),
            }],
            continues: None,
            before: None,
            lease: None,
        };
        let what = What::Call(facts);
        let effect = EffectId(effect);
        events.push(Event::Admitted(Box::new(Admitted {
            effect,
            task: Some(TaskId(1)),
            bundle: bundle.digest,
            now: NOW,
            what,
            inputs: portreeve_core::event::Inputs::default(),
            because: Vec::new(),
            hold: None,
        })));
        let end = End::Done { ok: true, bytes: 3, result: None, returned: BTreeMap::new(), process: None };
        events.push(Event::Settled(Settled { effect, end }));
    }
    let record = |event: Event| {
        let actor = match &event {
            Event::Admitted(_) => Actor::Run(RunId(1)),
            _ => Actor::Owner { user: None },
        };
        Record { time: NOW, actor, event }
    };
    events.into_iter().map(record).collect()
}

fn replay(loaded: &Loaded, records: &[Record], against: Option<&Loaded>) -> Replay {
    let mut replay = Replay::new(0, against.map(|loaded| Arc::clone(&loaded.bundle)));
    for record in records {
        replay.next(1, record, &mut |digest| {
            if digest == loaded.bundle.digest { Ok(Arc::clone(&loaded.bundle)) } else { Err("no".to_owned()) }
        });
    }
    replay
}

#[test]
fn what_was_admitted_is_admitted_again() {
    let wide = policy("{ any = true }");
    let records = records(&wide, &[1, 5, 7]);
    let report = replay(&wide, &records, None).report();
    assert_eq!((report.tasks, report.calls, report.same), (1, 3, 3), "{report:?}");
    assert!(report.is_same() && report.against.is_none());
}

#[test]
fn a_record_that_was_changed_is_told() {
    let wide = policy("{ at_most = 5 }");
    let report = replay(&wide, &records(&wide, &[1, 7]), None).report();
    assert_eq!(report.same, 1);
    assert_eq!(report.differences[0].effect, EffectId(2));
    assert_eq!(report.differences[0].what, "it was admitted, and is deny now: argument_outside_task");

    let mut changed = records(&wide, &[1]);
    for record in &mut changed {
        if let Event::Admitted(admitted) = &mut record.event
            && let What::Call(facts) = &mut admitted.what
        {
            facts.class = Class::Write;
            facts.charges[0].sent += 1;
        }
    }
    let report = replay(&wide, &changed, None).report();
    assert_eq!(report.differences[0].what, "the record says otherwise of: class, charges");
}

#[test]
fn another_version_is_asked_about_each_call() {
    let wide = policy("{ any = true }");
    let narrow = policy("{ at_most = 5 }");
    let report = replay(&wide, &records(&wide, &[1, 6, 7]), Some(&narrow)).report();
    assert!(report.is_same());
    let against = report.against.unwrap();
    assert_eq!((against.opens, against.permits), (1, 1));
    let [changed] = against.changed.as_slice() else { panic!("{against:?}") };
    assert_eq!((changed.what.as_str(), changed.verdict, changed.count), ("shop.look", "deny", 2));
    assert_eq!((changed.first.as_str(), changed.example.as_str()), (EffectId(2).to_string().as_str(), "shop.look n=6"));
}

#[test]
fn what_is_not_kept_is_counted_and_left_out() {
    let wide = policy("{ any = true }");
    let mut records = records(&wide, &[1, 2]);
    let traces = replay(&wide, &records, None);
    let [trace] = traces.traces().collect::<Vec<_>>()[..] else { panic!("one task") };
    let line = serde_json::to_string(trace).unwrap();
    assert_eq!(
        line,
        r#"{"purpose":"x","agent":"bot","user":null,"time":"2026-01-05T12:00:00Z","calls":[{"tool":"shop.look","arguments":{"n":1},"bytes":3},{"tool":"shop.look","arguments":{"n":2},"bytes":3}]}"#
    );
    for record in &mut records {
        if let Event::Admitted(admitted) = &mut record.event
            && let What::Call(facts) = &mut admitted.what
            && admitted.effect == EffectId(2)
        {
            facts.arguments.values_mut().for_each(|given| given.value = given.value.clone().sealed_off());
        }
    }
    let erased = replay(&wide, &records, None);
    assert_eq!(erased.traces().count(), 0);
    let report = erased.report();
    assert_eq!(report.skipped, BTreeMap::from([("an argument is not kept".to_owned(), 1)]));
    assert_eq!(report.same, 1);
}
