//! `tests/readers/approvals.py` counts again who agreed to what. It finds nothing in what the door records, and it finds
//! each thing that is wrong in a copy of it.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod random;
mod world;

use portreeve_core::{
    commit::Committed,
    engine::Reply,
    event::{
        Actor, Admitted, Assertion, Changed, ChosenBy, Event, Given, Granted, How, NewKey, Noted, Record, To, What,
    },
    hash::Hash,
    names::{EffectId, GrantId, HoldId, RunId, TaskId},
    node::{Node, Why},
    time::Millis,
    value::Value,
};
use portreeve_identity::key::SigningKey;
use serde_json::{Value as Json, json};
use std::{fs, io::Write as _, path::Path, process::Command};
use world::{World, began, done, name, not_sent, person, place, signed, signed_by};

/// What the reader says of a data folder, and the code that it ends with; `None` if there is no Python
fn read(folder: &Path, more: &[&str]) -> Option<(Json, Option<i32>)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/readers/approvals.py");
    let ran = Command::new("python3").arg(script).arg(folder).args(more).output().ok()?;
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(errors.is_empty() || ran.status.code() == Some(2), "{errors}");
    Some((serde_json::from_slice(&ran.stdout).unwrap_or(Json::Null), ran.status.code()))
}

/// Says where the test command looks that a test left itself out
fn skip() {
    eprintln!("skipped: there is no python3");
    if let Some(folder) = std::env::var_os("PORTREEVE_INTEROP") {
        let list = fs::OpenOptions::new().append(true).create(true).open(Path::new(&folder).join("skipped"));
        writeln!(list.unwrap(), "approvals: there is no python3").unwrap();
    }
}

macro_rules! read {
    ($folder:expr) => {
        read!($folder, &[])
    };
    ($folder:expr, $more:expr) => {
        match read($folder, $more) {
            Some(read) => read,
            None => {
                skip();
                return;
            }
        }
    };
}

const REFUND: &str = r#"{"id":"ord_1","amount":12.50}"#;

/// A record in which two people have to agree, and each way that a question can go is gone
fn good() -> (World, [HoldId; 7]) {
    let mut world = World::new(2);
    let run = world.open();
    // Agreed to, not sent, sent.
    let first = world.held(run, "shop.refund", REFUND);
    world.answer(first, "ann", true);
    assert_eq!(world.held(run, "shop.refund", REFUND), first, "one yes is not enough");
    world.answer(first, "ben", true);
    let effect = world.permitted(run, "shop.refund", REFUND);
    world.settle(effect, not_sent());
    let effect = world.permitted(run, "shop.refund", REFUND);
    world.settle(effect, done());
    assert!(matches!(world.call(run, "shop.refund", REFUND), Reply::Again(_)));
    // Declined by the second.
    let second = world.held(run, "shop.refund", r#"{"id":"ord_2","amount":1}"#);
    world.answer(second, "ben", true);
    world.answer(second, "ann", false);
    // Agreed to, and nobody knows.
    let other = world.open();
    let third = world.held(other, "shop.refund", REFUND);
    world.answer(third, "ben", true);
    world.answer(third, "ann", true);
    let _under_way = world.permitted(other, "shop.refund", REFUND);
    // Ended with its task.
    let late = world.open();
    let fourth = world.held(late, "shop.refund", REFUND);
    world.answer(fourth, "ben", true);
    world.stop(Node::Task(TaskId(late.0)), Why::Killed);
    // A class that was opened: once without asking, twice with.
    assert!(matches!(world.elevate(run, 1), Reply::Elevated(_)));
    let wiped = world.permitted(run, "shop.wipe", r#"{"id":"tmp"}"#);
    world.settle(wiped, done());
    let Reply::Held(ticket) = world.elevate(run, 2) else { panic!("more than it may open alone") };
    world.answer(ticket.hold, "ann", true);
    world.answer(ticket.hold, "ben", true);
    for _ in 0..2 {
        let wiped = world.permitted(run, "shop.wipe", r#"{"id":"tmp"}"#);
        world.settle(wiped, done());
    }
    // A task that people let be opened, once; asking again asks again.
    let (_, Reply::Held(opening)) = world.ask_to_open("urgent") else { panic!("nobody was asked") };
    world.answer(opening.hold, "ben", true);
    world.answer(opening.hold, "ann", true);
    assert!(matches!(world.ask_to_open("urgent"), (_, Reply::Opened(_))));
    // Waits.
    let last = world.held(run, "shop.refund", r#"{"id":"ord_3","amount":50}"#);
    world.answer(last, "ann", true);
    (world, [first, second, third, fourth, ticket.hold, opening.hold, last])
}

#[test]
fn nothing_is_found_in_what_the_door_records() {
    let (world, holds) = good();
    let (told, code) = read!(world.folder.path());
    assert_eq!((&told["findings"], &told["notes"], code), (&json!([]), &json!([]), Some(0)), "{told:#}");
    let states: Vec<&str> =
        holds.iter().map(|hold| told["holds"][hold.to_string()]["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["done", "declined", "used", "lapsed", "used", "used", "open"]);
    let first = &told["holds"][holds[0].to_string()];
    assert_eq!(first["questions"], json!([{ "source": "purpose:help", "who": "payments", "people": 2 }]));
    assert_eq!((&first["yes"]["ann"]["why"], &first["yes"]["ben"]["how"]), (&json!("all right"), &json!("link")));
    assert_eq!(first["uses"].as_array().unwrap().len(), 2);
    assert_eq!(told["holds"][holds[1].to_string()]["no"]["ann"]["why"], "not \u{1f642} \"now\"");
    let head = world.reader().head().unwrap();
    assert_eq!(told["checkpoint"], format!("{}:{}", head.n, head.hash));
    let checkpoint = format!("{}:{}", head.n, head.hash);
    assert_eq!(read!(world.folder.path(), &[&checkpoint]).1, Some(0));
    for wrong in [format!("{}:{}", head.n + 1, head.hash), format!("{}:{}", head.n, Hash::default())] {
        let (told, code) = read!(world.folder.path(), &[&wrong]);
        assert_eq!((&told["findings"][0]["what"], code), (&json!("broken"), Some(1)));
    }
    // A copy whose hashes were made anew is as good, as long as nobody has a checkpoint.
    let copy = world.altered(|_| ());
    assert_eq!(read!(copy.path()).1, Some(0));
}

/// What the reader finds in a copy with a change, each once
fn found(world: &World, change: impl FnOnce(&mut Vec<Record>)) -> Option<Vec<String>> {
    let copy = world.altered(change);
    let (told, code) = read(copy.path(), &[])?;
    let findings = told["findings"].as_array().unwrap_or_else(|| panic!("no findings: {code:?}"));
    let mut found: Vec<String> = findings
        .iter()
        .map(|finding| format!("{}: {}", finding["what"].as_str().unwrap(), finding["says"].as_str().unwrap()))
        .collect();
    assert_eq!(code, Some(i32::from(!found.is_empty())), "{told:#}");
    found.sort();
    found.dedup();
    Some(found)
}

/// Answers by three keys, each in its time
fn turned() -> (World, [HoldId; 3]) {
    let mut world = World::new(1);
    world.new_answer_key();
    let run = world.open();
    let holds = [1, 2, 3].map(|amount| {
        let refund = format!(r#"{{"id":"ord_1","amount":{amount}}}"#);
        let hold = world.held(run, "shop.refund", &refund);
        world.answer(hold, "ann", true);
        let effect = world.permitted(run, "shop.refund", &refund);
        world.settle(effect, done());
        world.new_answer_key();
        hold
    });
    (world, holds)
}

#[test]
fn each_answer_is_by_the_key_of_its_time_and_each_key_is_vouched_for() {
    let (world, holds) = turned();
    let (told, code) = read!(world.folder.path());
    assert_eq!((&told["findings"], &told["notes"], code), (&json!([]), &json!([]), Some(0)), "{told:#}");
    let new_key = |record: &mut Record| match &mut record.event {
        Event::Changed(Changed::Key(new)) => new.clone(),
        other => panic!("{other:?}"),
    };
    let keys = |records: &[Record]| -> Vec<usize> {
        let is_key = |at: &usize| matches!(records[*at].event, Event::Changed(Changed::Key(_)));
        (0..records.len()).filter(is_key).collect()
    };
    let set = |record: &mut Record, change: &dyn Fn(&mut NewKey)| match &mut record.event {
        Event::Changed(Changed::Key(new)) => change(new),
        other => panic!("{other:?}"),
    };
    let other = SigningKey::make().unwrap().public_key().to_string();
    type Change<'a> = Box<dyn Fn(&mut Vec<Record>) + 'a>;
    let cases: Vec<(&str, Change<'_>)> = vec![
        (
            "key: the key before did not vouch for it",
            Box::new(|records| {
                let at = keys(records)[1];
                set(&mut records[at], &|new| new.vouched = None);
            }),
        ),
        (
            "key: the key before did not vouch for it",
            Box::new(|records| {
                let all = keys(records);
                let vouched = new_key(&mut records[all[2]]).vouched;
                set(&mut records[all[1]], &|new| new.vouched = vouched.clone());
            }),
        ),
        (
            "key: it takes over from another key than the one of its time",
            Box::new(|records| {
                let at = *keys(records).last().unwrap();
                set(&mut records[at], &|new| new.before = None);
            }),
        ),
        (
            "answer: it is signed with another key than the one of its time",
            Box::new(|records| {
                // The second answer, as if it had been given under the first key.
                let (at, answered) = (keys(records)[1], place(records, |event| is_yes(event, holds[1])));
                let mut answer = records.remove(answered);
                answer.time = records[at].time;
                let held = place(records, |event| matches!(event, Event::Held(held) if held.hold == holds[1]));
                let mut held = records.remove(held);
                held.time = records[at].time;
                records.splice(at..at, [held, answer]);
            }),
        ),
        (
            "answer: it is signed with another key than the one of its time",
            Box::new(|records| {
                let at = keys(records)[0];
                set(&mut records[at], &|new| new.key = other.clone());
            }),
        ),
    ];
    for (finding, change) in cases {
        let found = found(&world, |records| change(records)).unwrap();
        assert!(found.iter().any(|found| found == finding), "{finding}: {found:?}");
    }
}

fn is_use(event: &Event, of: HoldId) -> bool {
    matches!(event, Event::Admitted(admitted) if admitted.hold == Some(of))
}

fn is_yes(event: &Event, of: HoldId) -> bool {
    matches!(event, Event::Granted(granted) if matches!(granted.to, To::Approval { hold, .. } if hold == of))
}

fn admitted(record: &mut Record) -> &mut Admitted {
    match &mut record.event {
        Event::Admitted(admitted) => admitted,
        other => panic!("{other:?}"),
    }
}

fn granted(record: &mut Record) -> &mut Granted {
    match &mut record.event {
        Event::Granted(granted) => granted,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_thing_that_is_wrong_is_found() {
    let (world, [first, second, third, fourth, elevation, opening, last]) = good();
    let binding = |records: &[Record], of: HoldId| match &records
        [place(records, |event| matches!(event, Event::Held(held) if held.hold == of))]
    .event
    {
        Event::Held(held) => held.binding,
        _ => Hash::default(),
    };
    let origin = world.reader().groups(0, 1).unwrap()[0].hash();
    // Somebody's yes to the third question, given in another way
    let given = |records: &mut Vec<Record>, user: &str, how: How| {
        let binding = binding(records, third);
        let theirs = |record: &&mut Record| {
            let owner = format!("user:{user}");
            is_yes(&record.event, third) && matches!(&record.event, Event::Granted(granted) if granted.owner == owner)
        };
        let record = records.iter_mut().find(theirs).unwrap();
        record.actor = Actor::Person { user: name(user), how: how.clone() };
        let signed = signed_by(&world.key, (origin, third, binding), (user, how), true, "all right");
        granted(record).signed = Some(signed);
    };
    let handed = |by: &str| How::Handed { by: by.to_owned() };
    type Change<'a> = Box<dyn Fn(&mut Vec<Record>) + 'a>;
    let cases: Vec<(&str, Change<'_>)> = vec![
        (
            "used: 1 of payments had agreed, not 2",
            Box::new(|records| {
                for user in ["ann", "ben"] {
                    given(records, user, How::Webhook { receiver: name("chat") });
                }
            }),
        ),
        ("used: 1 of payments had agreed, not 2", Box::new(|records| given(records, "ann", handed("user:ben")))),
        (
            "answer: whoever had the link made had answered before",
            Box::new(|records| given(records, "ann", handed("user:ben"))),
        ),
        (
            "own: it is the own one of whoever had the link made",
            Box::new(|records| given(records, "ann", handed("user:otto"))),
        ),
        ("used: 1 of payments had agreed, not 2", Box::new(|records| given(records, "ann", handed("user:otto")))),
        (
            // A passkey that she registered when she came in so.
            "used: 1 of payments had agreed, not 2",
            Box::new(|records| {
                let (credential, public_key) = ("AAAA".to_owned(), "AAAA".to_owned());
                let yes = records.iter_mut().find(|record| {
                    matches!(&record.event, Event::Granted(granted) if granted.owner == "user:ann")
                        && is_yes(&record.event, third)
                });
                let yes = yes.unwrap();
                yes.actor = Actor::Person { user: name("ann"), how: How::Passkey };
                let signed = granted(yes).signed.as_mut().unwrap();
                signed.how = How::Passkey;
                signed.passkey = Some(Assertion {
                    credential: credential.clone(),
                    public_key: public_key.clone(),
                    authenticator_data: String::new(),
                    client_data: String::new(),
                    signature: String::new(),
                });
                let at = place(records, |event| matches!(event, Event::Held(held) if held.hold == third));
                let noted = Noted::Passkey { user: name("ann"), credential, public_key, added: true };
                let actor = Actor::Person { user: name("ann"), how: handed("user:ben") };
                let time = records[at].time;
                records.insert(at, Record { time, actor, event: Event::Noted(noted) });
            }),
        ),
        (
            "grant: the call was not begun under it",
            Box::new(|records| {
                let wiped = |record: &&mut Record| matches!(&record.event, Event::Admitted(admitted) if admitted.hold.is_none());
                let mut wiped = records.iter_mut().filter(wiped);
                let first = admitted(wiped.next().unwrap()).effect;
                let What::Call(call) = &mut admitted(wiped.next().unwrap()).what else { panic!() };
                call.continues = Some(first);
            }),
        ),
        (
            "used: it was used before (used)",
            Box::new(|records| {
                let mut again = records[place(records, |event| is_use(event, third))].clone();
                admitted(&mut again).effect = EffectId(9_999);
                again.time = Millis(i64::MAX / 2).min(records.last().unwrap().time);
                let at = place(records, |event| is_use(event, third));
                again.time = records[at].time;
                records.insert(at + 1, again);
            }),
        ),
        (
            "used: it was used before (done)",
            Box::new(|records| {
                let mut again = records[place(records, |event| is_use(event, first))].clone();
                admitted(&mut again).effect = EffectId(9_999);
                let done = records.iter().rposition(|record| is_use(&record.event, first)).unwrap() + 1;
                again.time = records[done].time;
                records.insert(done + 1, again);
            }),
        ),
        (
            "used: 1 of payments had agreed, not 2",
            Box::new(|records| {
                records.remove(place(records, |event| is_yes(event, third)));
            }),
        ),
        (
            "used: 0 of payments had agreed, not 2",
            Box::new(|records| {
                records.retain(|record| !is_yes(&record.event, elevation));
            }),
        ),
        (
            "used: it names the yes of 1 of payments, not of 2",
            Box::new(|records| {
                let at = place(records, |event| is_use(event, third));
                admitted(&mut records[at]).because.pop();
            }),
        ),
        (
            "own: it is their own",
            Box::new(|records| {
                let at = place(records, |event| is_yes(event, third));
                let (binding, by) = (binding(records, third), person("uma"));
                granted(&mut records[at]).owner = "user:uma".to_owned();
                granted(&mut records[at]).signed =
                    Some(signed(&world.key, (origin, third, binding), "uma", true, "all right"));
                records[at].actor = by;
            }),
        ),
        (
            "own: it is their own",
            Box::new(|records| {
                // Although the question does not say so: otto opened the task.
                for record in records.iter_mut() {
                    if let Event::Held(held) = &mut record.event {
                        held.own.clear();
                    }
                }
                let at = place(records, |event| is_yes(event, third));
                let (binding, by) = (binding(records, third), person("otto"));
                granted(&mut records[at]).owner = "user:otto".to_owned();
                granted(&mut records[at]).signed =
                    Some(signed(&world.key, (origin, third, binding), "otto", true, "all right"));
                records[at].actor = by;
            }),
        ),
        (
            "used: 1 of payments had agreed, not 2",
            Box::new(|records| {
                // cyd is no member of the group.
                let at = place(records, |event| is_yes(event, third));
                let (binding, by) = (binding(records, third), person("cyd"));
                granted(&mut records[at]).owner = "user:cyd".to_owned();
                granted(&mut records[at]).signed =
                    Some(signed(&world.key, (origin, third, binding), "cyd", true, "all right"));
                records[at].actor = by;
            }),
        ),
        (
            "answer: they had answered before",
            Box::new(|records| {
                let at = place(records, |event| is_yes(event, third));
                let twice = records[at].clone();
                records[at + 1].actor = twice.actor.clone();
                granted(&mut records[at + 1]).owner = granted(&mut records[at]).owner.clone();
            }),
        ),
        (
            "answer: somebody else gave it",
            Box::new(|records| {
                let at = place(records, |event| is_yes(event, third));
                records[at].actor = Actor::Run(RunId(1));
            }),
        ),
        (
            "answer: another statement was signed",
            Box::new(|records| {
                let at = place(records, |event| is_yes(event, third));
                granted(&mut records[at]).why = Committed::new(&Value::String("something else".to_owned()), [3; 16]);
            }),
        ),
        (
            "answer: it agrees to something else than was asked",
            Box::new(|records| {
                let at = place(records, |event| is_yes(event, third));
                granted(&mut records[at]).to = To::Approval { hold: third, binding: Hash::default() };
            }),
        ),
        (
            "answer: its signature does not fit",
            Box::new(|records| {
                let at = place(records, |event| is_yes(event, third));
                let signed = granted(&mut records[at]).signed.as_mut().unwrap();
                signed.signature.replace_range(0..1, if signed.signature.starts_with('A') { "B" } else { "A" });
            }),
        ),
        (
            "answer: it says of its giver something else than what is signed",
            Box::new(|records| {
                let at = place(records, |event| is_yes(event, third));
                records[at].actor = Actor::Person { user: name("ben"), how: How::Passkey };
            }),
        ),
        (
            "answer: it says a passkey was used and none stands with it, or the other way round",
            Box::new(|records| {
                let at = place(records, |event| is_yes(event, third));
                granted(&mut records[at]).signed.as_mut().unwrap().how = How::Passkey;
            }),
        ),
        (
            "answer: it is not signed",
            Box::new(|records| {
                let at = place(records, |event| is_yes(event, third));
                granted(&mut records[at]).signed = None;
            }),
        ),
        (
            "answer: it comes after the end of the question",
            Box::new(|records| {
                let at = place(records, |event| is_yes(event, second));
                let mut yes = records.remove(at);
                let no = place(records, |event| matches!(event, Event::Declined(_)));
                yes.time = records[no].time;
                records.insert(no + 1, yes);
            }),
        ),
        (
            "used: somebody had said no",
            Box::new(|records| {
                let no = place(records, |event| matches!(event, Event::Declined(_)));
                let mut no = records[no].clone();
                if let Event::Declined(declined) = &mut no.event {
                    declined.hold = third;
                }
                let at = place(records, |event| is_use(event, third));
                no.time = records[at].time;
                records.insert(at, no);
            }),
        ),
        (
            "used: its time had passed",
            Box::new(|records| {
                let at = place(records, |event| is_use(event, third));
                admitted(&mut records[at]).now = Millis(i64::MAX);
            }),
        ),
        (
            "used: its task was over",
            Box::new(|records| {
                let stop = place(records, |event| matches!(event, Event::Stopped(_)));
                let mut use_ = records[place(records, |event| is_use(event, third))].clone();
                admitted(&mut use_).hold = Some(fourth);
                use_.time = records[stop].time;
                records.insert(stop + 1, use_);
            }),
        ),
        (
            "other: id has another value than was asked about",
            Box::new(|records| {
                let at = place(records, |event| is_use(event, third));
                let What::Call(call) = &mut admitted(&mut records[at]).what else { panic!() };
                call.arguments.get_mut("id").unwrap().value =
                    Committed::new(&Value::String("ord_7".to_owned()), [4; 16]);
            }),
        ),
        (
            "other: other arguments were given than were asked about",
            Box::new(|records| {
                let at = place(records, |event| is_use(event, third));
                let What::Call(call) = &mut admitted(&mut records[at]).what else { panic!() };
                let more = Given { value: Committed::new(&Value::Bool(true), [4; 16]), by: ChosenBy::Model };
                call.arguments.insert("force".to_owned(), more);
            }),
        ),
        (
            "other: what was done is not what was asked about",
            Box::new(|records| {
                let at = place(records, |event| is_use(event, third));
                let What::Call(call) = &mut admitted(&mut records[at]).what else { panic!() };
                call.pin = Hash::default();
            }),
        ),
        (
            "binding: its digest is not that of what is recorded about it",
            Box::new(|records| {
                let at = place(records, |event| matches!(event, Event::Held(held) if held.hold == last));
                if let Event::Held(held) = &mut records[at].event {
                    held.questions[0].source = "purpose:other".to_owned();
                }
            }),
        ),
        (
            "settled: it had ended before",
            Box::new(|records| {
                let at = place(records, |event| matches!(event, Event::Settled(_)));
                records.insert(at + 1, records[at].clone());
            }),
        ),
        (
            "settled: it was never admitted",
            Box::new(|records| {
                let at = place(records, |event| is_use(event, third));
                let settled = place(records, |event| matches!(event, Event::Settled(_)));
                let mut settled = records[settled].clone();
                settled.time = records[at].time;
                if let Event::Settled(settled) = &mut settled.event {
                    settled.effect = EffectId(9_999);
                }
                records.insert(at, settled);
            }),
        ),
        (
            "grant: nobody granted it",
            Box::new(|records| {
                let at = place(records, |event| is_use(event, third));
                admitted(&mut records[at]).because[0].grant = GrantId(9_999);
            }),
        ),
        (
            "grant: it was used up",
            Box::new(|records| {
                let at = records
                    .iter()
                    .rposition(|record| matches!(&record.event, Event::Admitted(admitted) if admitted.hold.is_none()));
                let at = at.unwrap();
                let mut again = records[at].clone();
                admitted(&mut again).effect = EffectId(9_999);
                records.insert(at + 1, again);
            }),
        ),
        (
            "grant: it opens another value of id",
            Box::new(|records| {
                let at = place(records, |event| matches!(event, Event::Admitted(admitted) if admitted.hold.is_none()));
                let What::Call(call) = &mut admitted(&mut records[at]).what else { panic!() };
                call.arguments.get_mut("id").unwrap().value =
                    Committed::new(&Value::String("home".to_owned()), [4; 16]);
            }),
        ),
        (
            "other: what was opened is not what was asked for",
            Box::new(|records| {
                let at = place(
                    records,
                    |event| matches!(event, Event::Granted(granted) if granted.hold == Some(elevation) && matches!(granted.to, To::Elevation(_))),
                );
                if let To::Elevation(elevation) = &mut granted(&mut records[at]).to {
                    elevation.times = 20;
                }
            }),
        ),
        (
            "used: it was used before (used)",
            Box::new(|records| {
                let at = place(records, |event| matches!(event, Event::Began(began) if began.hold == Some(opening)));
                let mut again = records[at].clone();
                began(&mut again).task = TaskId(9_999);
                records.insert(at + 1, again);
            }),
        ),
        (
            "other: order has another value than was asked about",
            Box::new(|records| {
                let at = place(records, |event| matches!(event, Event::Began(began) if began.hold == Some(opening)));
                let order = began(&mut records[at]).parameters.get_mut("order").unwrap();
                order.value = Committed::new(&Value::String("ord_8".to_owned()), [4; 16]);
            }),
        ),
        (
            "time: the record goes back in time",
            Box::new(|records| {
                let at = records.len() - 1;
                records[at].time = Millis(1);
            }),
        ),
        (
            "held: it says something else about its task than the task's beginning",
            Box::new(|records| {
                let at = place(records, |event| matches!(event, Event::Began(_)));
                began(&mut records[at]).user = Some(name("cyd"));
            }),
        ),
    ];
    for (expected, change) in cases {
        let Some(found) = found(&world, &*change) else {
            skip();
            return;
        };
        assert!(found.iter().any(|found| found == expected), "{expected} is not among {found:#?}");
    }
}

#[test]
fn a_record_that_does_not_agree_with_itself_is_found() {
    let (world, _) = good();
    let damage = |file: &Path, from: &str, to: &str| {
        let bytes = fs::read(file).unwrap();
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let changed = [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat();
        fs::write(file, changed).unwrap();
    };
    // In an event, an opening, a header, a version of the policy.
    let cases = [
        ("\"people\":2", "\"people\":1"),
        ("all right", "all wrong"),
        ("\"n\":2", "\"n\":3"),
        ("[\\\"payments", "[\\\"paymentz"),
    ];
    for (from, to) in cases {
        let copy = world.altered(|_| ());
        damage(&copy.path().join("log.db"), from, to);
        let (told, code) = read!(copy.path());
        assert_eq!((&told["findings"][0]["what"], code), (&json!("broken"), Some(1)), "{from}: {told:#}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(read!(empty.path()).1, Some(2));
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "it makes nothing");
}

#[test]
fn what_was_erased_is_noted_and_not_guessed() {
    let (world, _) = good();
    let copy = world.altered(|records| {
        for record in records {
            for (_, committed) in record.committed() {
                *committed = committed.clone().sealed_off();
            }
        }
    });
    let (told, code) = read!(copy.path());
    assert_eq!((&told["findings"], code), (&json!([]), Some(0)), "{told:#}");
    assert!(told["notes"].as_array().unwrap().len() > 10, "{told:#}");
}
