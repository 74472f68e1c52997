//! Classes that open for a while, openings that take several people, reviews, and tasks that take something back.

use crate::house::{
    House, Policy, REFUND, alone, done, name, not_sent, owner, permitted, quorum, ticket, unknown, usages, words,
};
use portreeve_core::{
    engine::Reply,
    event::{Actor, Event, How, News, To},
    names::{EffectId, GrantId, HoldId, RunId, TaskId},
    node::Node,
    policy::{BreakGlass, Class, Elevate, PersonRole, Tier},
    reason::Word,
    request::{self, Notify, Request},
    state::Phase,
};
use proptest::{prelude::*, test_runner::RngSeed};
use std::collections::{BTreeMap, BTreeSet};

fn refused(reply: &Reply, word: Word) {
    assert!(words(reply).contains(&word), "{word} is not in {reply:?}");
}

fn opened(reply: &Reply) {
    assert!(matches!(reply, Reply::Elevated(_)), "{reply:?}");
}

/// Reading stands; three refunds need no person, one of the leads opens the rest
fn reads() -> Policy {
    Policy::new().work(|work| {
        (work.standing, work.asks) = (vec![Class::Read], BTreeMap::new());
        let alone = [(Class::Write, alone(&["shop.refund"], 3))].into();
        work.elevate = Some(Elevate { alone, ask: Some(quorum("leads", 1)) });
    })
}

/// The same, and every elevation needs two people
fn strict() -> Policy {
    reads().work(|work| work.elevate = Some(Elevate { alone: BTreeMap::new(), ask: Some(quorum("leads", 2)) }))
}

fn person(user: &str) -> Actor {
    Actor::Person { user: name(user), how: How::Link }
}

#[test]
fn a_class_opens_for_exactly_so_many_calls() {
    let mut house = House::new(reads());
    assert_eq!(words(&house.refund()), [Word::ClassNotOpen]);
    opened(&house.elevate(|elevate| elevate.times = 2));
    let first = permitted(&house.refund());
    house.settle(first, not_sent());
    for end in [unknown(), done(false)] {
        let effect = permitted(&house.refund());
        house.settle(effect, end);
    }
    assert_eq!(words(&house.refund()), [Word::ClassNotOpen]);
    // Each call says under which grant it was begun.
    let admitted = house.admitted();
    let grants: BTreeSet<GrantId> =
        admitted.iter().flat_map(|one| one.because.iter().map(|because| because.grant)).collect();
    assert_eq!((admitted.len(), grants.len()), (3, 1));
    assert!(admitted.iter().all(|one| one.because[0].words == [Word::ClassNotOpen].into()));
}

#[test]
fn a_class_closes_by_itself_and_when_it_is_stopped() {
    let mut house = House::new(reads());
    opened(&house.elevate(|elevate| elevate.times = 2));
    house.pass(9_990);
    let Reply::Permit(permit) = house.refund() else { panic!("not permitted") };
    let (grant, elevated) =
        house.engine.state().elevations(TaskId(1), portreeve_core::time::Millis(house.now)).next().unwrap();
    assert!(permit.rests_on().contains(&Node::Grant(grant)) && permit.deadline() <= elevated.until, "{permit:?}");
    house.pass(10);
    assert_eq!(words(&house.refund()), [Word::ClassNotOpen]);
    // Also where nobody has recorded it, to the millisecond.
    opened(&house.elevate(|_| {}));
    house.now += 9_999;
    assert_eq!(words(&house.refund()), [Word::ClassNotOpen]);
    let mut house = House::new(reads());
    opened(&house.elevate(|elevate| elevate.times = 3));
    let effect = permitted(&house.refund());
    let grant = house.admitted()[0].because[0].grant;
    assert!(matches!(house.stop(Node::Grant(grant)), Reply::Recorded));
    assert_eq!(words(&house.refund()), [Word::ClassNotOpen]);
    // What was begun with it is called off.
    let owed = portreeve_core::due::due(house.engine.state(), portreeve_core::time::Millis(house.now));
    assert!(matches!(owed.as_slice(), [portreeve_core::due::Owed::Cancel(one)] if *one == effect), "{owed:?}");
    // What is not sent of it opens nothing again.
    house.settle(effect, not_sent());
    assert_eq!(words(&house.refund()), [Word::ClassNotOpen]);
    assert_eq!(words(&house.stop(Node::Grant(grant))), [Word::GrantUnknown]);
}

#[test]
fn what_needs_no_person_counts_over_the_life_of_the_task() {
    let mut house = House::new(reads());
    opened(&house.elevate(|elevate| elevate.times = 2));
    house.pass(15_000);
    // Nothing of it was used, and two of three are gone.
    ticket(&house.elevate(|elevate| elevate.times = 2));
    opened(&house.elevate(|_| {}));
    // Whoever asks again for what is open is told so.
    opened(&house.elevate(|_| {}));
    permitted(&house.refund());
    ticket(&house.elevate(|_| {}));
    house.restart();
    ticket(&house.elevate(|_| {}));
    let alone = house.engine.state().task(TaskId(1)).unwrap().alone.clone();
    assert_eq!(alone, [(Class::Write, 3)].into());
    // Longer than the table says, or another tool of the same class: a person.
    let mut house = House::new(reads());
    ticket(&house.elevate(|elevate| elevate.lasts_ms = 30_001));
    ticket(&house.elevate(|elevate| elevate.uses = usages(&["shop.send"])));
    ticket(&house.elevate(|elevate| elevate.uses = usages(&["shop.refund", "shop.send"])));
    opened(&house.elevate(|elevate| elevate.lasts_ms = 30_000));
}

#[test]
fn an_elevation_is_bounded_by_the_purpose() {
    let mut house = House::new(reads().work(|work| work.tools = vec!["look", "refund", "run", "send"]));
    let bad: [fn(&mut request::Elevate); 12] = [
        |elevate| elevate.uses = usages(&["shop.purge"]),
        |elevate| elevate.uses = usages(&["shop.refund#all"]),
        |elevate| elevate.uses = usages(&["mail.send"]),
        |elevate| elevate.uses = usages(&["shop.refund", "shop.run"]),
        |elevate| elevate.uses = usages(&["shop.send", "shop.send#all"]),
        |elevate| elevate.uses = usages(&["shop.look"]),
        |elevate| elevate.uses.clear(),
        |elevate| elevate.times = 0,
        |elevate| elevate.times = 1_001,
        |elevate| elevate.lasts_ms = 0,
        |elevate| elevate.lasts_ms = 24 * 3_600_000 + 1,
        |elevate| elevate.why = " ".to_owned(),
    ];
    for (at, bad) in bad.into_iter().enumerate() {
        refused(&house.elevate(bad), Word::ElevationRefused);
        assert!(house.engine.state().open_holds().next().is_none(), "{at}");
    }
    // A run asks for its own task only.
    house.open(5, |_| {});
    refused(&house.elevate(|elevate| elevate.by = Actor::Run(RunId(5))), Word::NotYours);
    refused(&house.elevate(|elevate| elevate.by = person("cid")), Word::RoleMissing);
    let mut none = House::new(reads().work(|work| work.elevate = None));
    refused(&none.elevate(|_| {}), Word::ElevationRefused);
    let mut many = House::new(reads().work(|work| {
        work.elevate = Some(Elevate { alone: [(Class::Write, alone(&["shop.refund"], 90))].into(), ask: None });
    }));
    for at in 0..32 {
        let amount = format!("{at}").parse().unwrap();
        opened(&many.elevate(|elevate| elevate.values = [("amount".to_owned(), amount)].into()));
    }
    refused(&many.elevate(|_| {}), Word::TooManyGrants);
    many.pass(10_000);
    opened(&many.elevate(|_| {}));
}

/// A later version never widens a running task: neither how much opens without a person, nor whom it asks
#[test]
fn a_policy_that_opens_more_opens_nothing_in_running_tasks() {
    let mut house = House::new(reads());
    house.change(|policy| {
        let work = policy.purposes.get_mut("work").unwrap();
        work.elevate = Some(Elevate { alone: [(Class::Write, alone(&["shop.refund"], 500))].into(), ask: None });
    });
    // What the old version has people asked about, nobody is named for in the new one.
    opened(&house.elevate(|elevate| elevate.times = 3));
    ticket(&house.elevate(|_| {}));
    let mut house = House::new(reads().work(|work| work.elevate = None));
    house.apply(reads());
    refused(&house.elevate(|_| {}), Word::ElevationRefused);
    // The same the other way round.
    let mut house = House::new(reads());
    house.apply(strict());
    let hold = ticket(&house.elevate(|elevate| elevate.times = 4)).hold;
    let asked: Vec<u8> = house.hold(hold).held.questions.iter().map(|question| question.quorum.people).collect();
    assert_eq!(asked, [1, 2]);
    house.yes(hold, "bob");
    assert_eq!(words(&house.refund()), [Word::ClassNotOpen]);
    house.yes(hold, "cid");
    permitted(&house.refund());
}

#[test]
fn the_highest_tier_executes_nothing_without_a_person_and_nobody_escalates_alone() {
    for (class, tool, tier, needs) in [
        (Class::Write, "refund", Tier::High, false),
        (Class::Execute, "run", Tier::Standard, false),
        (Class::Execute, "run", Tier::High, true),
        (Class::Escalate, "purge", Tier::Standard, true),
        (Class::Escalate, "purge", Tier::Low, true),
    ] {
        let uses = usages(&[&format!("shop.{tool}")]);
        let table = alone(&[&format!("shop.{tool}")], 3);
        let mut house = House::new(
            reads()
                .work(|work| work.elevate.as_mut().unwrap().alone = [(class, table)].into())
                .with(|policy| policy.tier = tier),
        );
        let reply = house.elevate(|elevate| elevate.uses = uses);
        if needs {
            let passkey = ticket(&reply).questions[0].quorum.passkey;
            assert_eq!(passkey, tier == Tier::High);
        } else {
            opened(&reply);
        }
    }
}

#[test]
fn writing_stands_with_reading_at_the_lowest_tier_only() {
    for (tier, standing, tool, stands) in [
        (Tier::Low, vec![Class::Read], "refund", true),
        (Tier::Low, vec![], "refund", false),
        (Tier::Low, vec![Class::Read], "run", false),
        (Tier::Low, vec![Class::Read], "purge", false),
        (Tier::Standard, vec![Class::Read], "refund", false),
        (Tier::High, vec![Class::Read], "refund", false),
        (Tier::Standard, vec![Class::Escalate], "refund", false),
        (Tier::Standard, vec![Class::Escalate], "look", false),
    ] {
        let mut house = House::new(reads().work(|work| work.standing = standing).with(|policy| policy.tier = tier));
        let reply = house.call(tool, &[]);
        assert_eq!(matches!(reply, Reply::Permit(_)), stands, "{tier:?} {tool}: {reply:?}");
    }
}

/// Whoever asks for it and may agree to it still says so: signed, and bound to exactly this
#[test]
fn a_person_who_asks_for_a_class_says_yes_to_it_too() {
    let by = |user: &str| {
        let user = user.to_owned();
        move |elevate: &mut request::Elevate| (elevate.by, elevate.times) = (person(&user), 4)
    };
    let mut house = House::new(reads());
    let hold = ticket(&house.elevate(by("bob"))).hold;
    assert_eq!(words(&house.refund()), [Word::ClassNotOpen]);
    house.yes(hold, "bob");
    permitted(&house.refund());
    // Pia operates too, and the task is hers: she may ask. Ana and Cid do not operate.
    ticket(&house.elevate(by("pia")));
    for user in ["ana", "cid", "eve"] {
        refused(&house.elevate(by(user)), Word::RoleMissing);
    }
    // The owner of the folder is nobody in particular.
    ticket(&house.elevate(|elevate| (elevate.by, elevate.times) = (owner(), 5)));
    house.stop(Node::User(name("bob")));
    assert_eq!(words(&house.refund()), [Word::ClassNotOpen], "it ends with whoever gave it");
}

#[test]
fn two_people_open_a_class_in_the_moment_of_the_second_yes() {
    let mut house = House::new(strict());
    let hold = ticket(&house.elevate(|elevate| elevate.times = 2)).hold;
    // Asked again, it is the same question; other counts are another one.
    assert_eq!(ticket(&house.elevate(|elevate| elevate.times = 2)).hold, hold);
    assert_ne!(ticket(&house.elevate(|elevate| elevate.times = 3)).hold, hold);
    house.yes(hold, "bob");
    for own in ["ana", "pia", "olga"] {
        assert_eq!(words(&house.answer(hold, own, true)), [Word::OwnCall]);
    }
    assert_eq!(words(&house.refund()), [Word::ClassNotOpen]);
    house.pass(30_000);
    house.yes(hold, "cid");
    assert_eq!(house.hold(hold).phase, Phase::Used { effect: None });
    // It runs from then on.
    let until =
        house.engine.state().elevations(TaskId(1), portreeve_core::time::Millis(house.now)).next().unwrap().1.until;
    assert_eq!(until.0, house.now + 10_000);
    permitted(&house.refund());
    assert_eq!(words(&house.answer(hold, "dan", false)), [Word::HoldOver]);
    let granted = house
        .records()
        .into_iter()
        .filter(|record| matches!(&record.event, Event::Granted(granted) if matches!(granted.to, To::Elevation(_))));
    assert_eq!(granted.count(), 1);
}

#[test]
fn an_elevation_ends_with_anybody_who_agreed_to_it() {
    for gone in ["bob", "cid"] {
        let mut house = House::new(strict());
        let hold = ticket(&house.elevate(|elevate| elevate.times = 9)).hold;
        house.yes(hold, "bob");
        house.yes(hold, "cid");
        permitted(&house.call("refund", &[("amount", "1")]));
        house.stop(Node::User(name(gone)));
        assert_eq!(words(&house.refund()), [Word::ClassNotOpen], "without {gone}");
        house.restart();
        assert_eq!(words(&house.refund()), [Word::ClassNotOpen], "without {gone}");
    }
}

type Change = fn(&mut House);

#[test]
fn an_elevation_is_judged_when_it_is_given() {
    let changes: [(&str, Change); 6] = [
        ("no table", |house| house.change(|policy| policy.purposes.get_mut("work").unwrap().elevate = None)),
        ("more people", |house| {
            house.change(|policy| {
                policy.purposes.get_mut("work").unwrap().elevate.as_mut().unwrap().ask = Some(quorum("leads", 3));
            });
        }),
        ("other people", |house| {
            house.change(|policy| {
                policy.purposes.get_mut("work").unwrap().elevate.as_mut().unwrap().ask = Some(quorum("others", 1));
            });
        }),
        ("another class", |house| house.change(|policy| *policy.classes.get_mut("refund").unwrap() = Class::Escalate)),
        ("no such tool", |house| {
            house.change(|policy| policy.purposes.get_mut("work").unwrap().tools.retain(|tool| *tool != "refund"));
        }),
        ("no such server", |house| drop(house.stop(Node::Connector(name("shop"))))),
    ];
    for (what, change) in changes {
        let mut house = House::new(strict());
        let hold = ticket(&house.elevate(|_| {})).hold;
        house.yes(hold, "bob");
        change(&mut house);
        house.yes(hold, "cid");
        assert_eq!(house.hold(hold).phase, Phase::Open, "{what}");
        assert!(!matches!(house.refund(), Reply::Permit(_)), "{what}");
    }
    // As soon as it is as it was, whoever asks again has it.
    let mut house = House::new(strict());
    let hold = ticket(&house.elevate(|_| {})).hold;
    house.yes(hold, "bob");
    house.change(|policy| policy.purposes.get_mut("work").unwrap().elevate = None);
    house.yes(hold, "cid");
    house.apply(strict());
    opened(&house.elevate(|_| {}));
    permitted(&house.refund());
    assert_eq!(words(&house.refund()), [Word::ClassNotOpen]);
}

#[test]
fn a_declined_elevation_opens_nothing() {
    let mut house = House::new(strict());
    let hold = ticket(&house.elevate(|_| {})).hold;
    house.yes(hold, "bob");
    house.answer(hold, "cid", false);
    assert_eq!(words(&house.refund()), [Word::ClassNotOpen]);
    assert_eq!(words(&house.answer(hold, "dan", true)), [Word::HoldOver]);
}

#[test]
fn exactly_these_values() {
    let mut house = House::new(reads());
    let values = |pairs: &[(&str, &str)]| -> BTreeMap<_, _> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.parse().unwrap())).collect()
    };
    opened(&house.elevate(|elevate| (elevate.values, elevate.times) = (values(&[("amount", "5")]), 3)));
    for other in [&[("amount", "6")][..], &[("amount", "\"5\"")], &[("amount", "null")], &[]] {
        assert_eq!(words(&house.call("refund", other)), [Word::ClassNotOpen], "{other:?}");
    }
    house.restart();
    permitted(&house.call("refund", &[("amount", "5.00")]));
    permitted(&house.refund());
    // Nor another variant or tool of the class.
    let hold = ticket(&house.elevate(|elevate| {
        (elevate.by, elevate.uses, elevate.times) = (person("bob"), usages(&["shop.send"]), 5);
    }))
    .hold;
    house.yes(hold, "bob");
    permitted(&house.call("send", &[]));
    assert_eq!(words(&house.call("send", &[("all", "true")])), [Word::ClassNotOpen]);
}

/// I3: what is opened in a child is closed as long as it is closed above, and the other way round
#[test]
fn an_elevation_opens_its_own_task_only() {
    let policy = reads().with(|policy| {
        let work = policy.purposes["work"].clone();
        policy.purposes.insert("part", work);
    });
    let mut house = House::new(policy);
    house.delegate();
    let below = |elevate: &mut request::Elevate| (elevate.by, elevate.task) = (Actor::Run(RunId(2)), TaskId(2));
    opened(&house.elevate(below));
    assert_eq!(words(&house.call_in(2, "refund", REFUND)), [Word::ClassNotOpen]);
    assert_eq!(words(&house.refund()), [Word::ClassNotOpen]);
    opened(&house.elevate(|_| {}));
    let effect = permitted(&house.call_in(2, "refund", REFUND));
    // Both were used up, and both are given back.
    assert_eq!(words(&house.refund()), [Word::ClassNotOpen]);
    house.settle(effect, not_sent());
    assert_eq!(house.admitted()[0].because.len(), 2);
    permitted(&house.refund());
    assert_eq!(words(&house.call_in(2, "refund", REFUND)), [Word::ClassNotOpen]);
    // A run asks for its own task, not for the one above.
    refused(&house.elevate(|elevate| elevate.by = Actor::Run(RunId(2))), Word::NotYours);
}

#[test]
fn a_question_and_a_class_are_two_reasons() {
    let mut house = House::new(reads().work(|work| drop(work.asks.insert("refund", quorum("leads", 1)))));
    let both = words(&house.refund());
    assert_eq!(both, [Word::ClassNotOpen, Word::ApprovalNeeded]);
    assert!(house.engine.state().open_holds().next().is_none(), "nobody is asked about what a grant has to open first");
    opened(&house.elevate(|_| {}));
    let hold = house.held();
    house.yes(hold, "bob");
    permitted(&house.refund());
    assert_eq!(house.admitted()[0].because.len(), 2);
}

fn glass() -> Policy {
    Policy::new().work(|work| {
        work.glass = Some(BreakGlass { review: name("audit") });
        work.opening = Some(quorum("leads", 1));
        work.expires_ms = 3_600_000;
        work.asks.clear();
    })
}

#[test]
fn an_emergency_takes_two_people_and_a_third_who_looks_at_it() {
    let mut house = House::empty(glass());
    let reply = house.open(1, |_| {});
    let hold = ticket(&reply).hold;
    // The same opening, whatever its ids; not another one.
    assert_eq!(ticket(&house.open(2, |_| {})).hold, hold);
    assert_ne!(ticket(&house.open(2, |open| open.objective = Some("more".to_owned()))).hold, hold);
    for own in ["pia", "ana", "olga"] {
        assert_eq!(words(&house.answer(hold, own, true)), [Word::OwnCall], "{own}");
    }
    house.restart();
    house.yes(hold, "bob");
    assert!(matches!(house.open(3, |_| {}), Reply::Opened(_)));
    assert_eq!(house.hold(hold).phase, Phase::Used { effect: None });
    // Once.
    assert_ne!(ticket(&house.open(4, |_| {})).hold, hold);
    permitted(&house.call_in(3, "look", &[]));
    let open = |house: &House| house.engine.state().reviews().count();
    assert_eq!(words(&house.review(3, "eve")), [Word::ReviewUnknown], "it is not over");
    house.stop(Node::Task(TaskId(3)));
    house.restart();
    house.change(|policy| {
        for user in ["ana", "bob", "olga", "pia", "zoe", "dan"] {
            let person = policy.people.get_mut(user).unwrap();
            person.groups.push("audit");
            person.roles.push(PersonRole::Auditor);
        }
        policy.people.get_mut("zoe").unwrap().roles = vec![PersonRole::Approver];
        policy.people.get_mut("dan").unwrap().groups = vec!["leads"];
    });
    for own in ["ana", "bob", "olga", "pia"] {
        assert_eq!(words(&house.review(3, own)), [Word::OwnCall], "{own}");
    }
    for other in ["zoe", "dan", "nobody"] {
        assert_eq!(words(&house.review(3, other)), [Word::NotApprover], "{other}");
    }
    house.stop(Node::User(name("eve")));
    assert_eq!(words(&house.review(3, "eve")), [Word::UserStopped]);
    assert_eq!(open(&house), 1);
    house.change(|policy| {
        let eve = policy.people["eve"].clone();
        policy.people.insert("eva", eve);
    });
    assert!(matches!(house.review(3, "eva"), Reply::Recorded));
    assert_eq!(open(&house), 0);
    assert_eq!(words(&house.review(3, "eva")), [Word::ReviewUnknown]);
}

#[test]
fn whoever_opens_in_an_emergency_is_one_of_those_who_are_asked() {
    let mut house = House::empty(glass());
    for by in [
        owner(),
        Actor::Owner { user: Some(name("nobody")) },
        Actor::Owner { user: Some(name("eve")) },
        Actor::Owner { user: Some(name("zoe")) },
    ] {
        let reply = house.open(1, |open| open.by = by.clone());
        assert!(matches!(reply, Reply::Refused(_)), "{by:?}: {reply:?}");
    }
    house.stop(Node::User(name("pia")));
    refused(&house.open(1, |_| {}), Word::UserStopped);
    refused(&house.open(1, |open| open.by = person("bob")), Word::NotYours);
    assert!(house.engine.state().holds().next().is_none());
}

#[test]
fn what_was_agreed_to_is_the_purpose_as_it_was() {
    let mut house = House::empty(glass());
    let hold = ticket(&house.open(1, |_| {})).hold;
    house.yes(hold, "bob");
    house.change(|policy| policy.purposes.get_mut("work").unwrap().standing.push(Class::Escalate));
    let other = ticket(&house.open(1, |_| {})).hold;
    assert_ne!(other, hold);
    assert!(matches!(house.hold(hold).phase, Phase::Over { .. }));
    house.yes(other, "bob");
    // Who agreed is dismissed before it begins.
    house.stop(Node::User(name("bob")));
    assert_eq!(ticket(&house.open(1, |_| {})).hold, other);
    house.yes(other, "cid");
    assert!(matches!(house.open(1, |_| {}), Reply::Opened(_)));
}

#[test]
fn an_opening_that_was_declined_is_refused_and_one_that_lapsed_is_another() {
    let mut house = House::empty(glass());
    let hold = ticket(&house.open(1, |_| {})).hold;
    house.answer(hold, "bob", false);
    assert_eq!(words(&house.open(2, |_| {})), [Word::ApprovalDeclined]);
    house.pass(10 * 60_000 + 1);
    let mut seen = BTreeSet::new();
    // With the ids of the first time: its number stays its own until the question is forgotten.
    for _ in 0..4 {
        seen.insert(ticket(&house.open(7, |_| {})).hold);
        house.pass(60_000);
    }
    assert_eq!(seen.len(), 4);
    house.pass(11 * 60_000);
    house.open(8, |open| open.agent = name("helper"));
    assert_eq!(house.engine.state().holds().count(), 1, "the others are forgotten");
}

#[test]
fn a_task_that_takes_back_makes_those_calls_in_their_order() {
    let mut house = House::new(Policy::new().work(|work| {
        work.asks.clear();
        work.standing = vec![Class::Read];
    }));
    let (one, two) = (&[("id", "1")][..], &[("id", "2")][..]);
    let word = |by: &Actor| if matches!(by, Actor::Run(_)) { Word::NotYours } else { Word::RoleMissing };
    for by in [Actor::Run(RunId(1)), person("cid"), person("ana")] {
        let word = word(&by);
        let steps = vec![(EffectId(1), "shop.refund".parse().unwrap(), BTreeMap::new())];
        let undo = request::Undo { of: TaskId(1), steps };
        let reply = house.open(9, |open| (open.by, open.undoes) = (by, Some(undo)));
        refused(&reply, word);
    }
    refused(&house.undo(&[]), Word::UndoImpossible);
    assert!(matches!(house.undo(&[("refund", one), ("send", two), ("refund", one)]), Reply::Opened(_)));
    for (tool, arguments) in [("look", &[][..]), ("refund", two), ("send", one), ("purge", &[])] {
        assert_eq!(words(&house.call_in(9, tool, arguments)), [Word::ToolOutsidePurpose], "{tool}");
    }
    assert_eq!(words(&house.call_in(9, "send", two)), [Word::OutOfOrder]);
    let first = permitted(&house.call_in(9, "refund", one));
    // One after the other: what the first did is not known yet.
    assert_eq!(words(&house.call_in(9, "send", two)), [Word::TooManyOpen]);
    house.settle(first, not_sent());
    assert_eq!(words(&house.call_in(9, "send", two)), [Word::OutOfOrder]);
    let first = permitted(&house.call_in(9, "refund", one));
    // The process dies: nobody knows, and it is not made again.
    house.restart();
    assert!(house.engine.state().effects().next().is_none(), "{first}");
    assert_eq!(words(&house.call_in(9, "refund", one)), [Word::OutOfOrder]);
    let second = permitted(&house.call_in(9, "send", two));
    house.settle(second, done(true));
    let third = permitted(&house.call_in(9, "refund", one));
    house.settle(third, done(false));
    for (tool, arguments) in [("refund", one), ("send", two)] {
        assert_eq!(words(&house.call_in(9, tool, arguments)), [Word::CountSpent]);
    }
}

#[test]
fn rules_ask_about_what_is_taken_back_too_each_time() {
    let policy = Policy::new().work(|work| work.asks.clear());
    let mut house = House::new(policy.with(|policy| policy.asking.push(("refund", "leads"))));
    house.undo(&[("refund", REFUND), ("refund", REFUND)]);
    let mut holds = BTreeSet::new();
    for _ in 0..2 {
        let hold = ticket(&house.call_in(9, "refund", REFUND)).hold;
        assert!(holds.insert(hold), "one yes, two effects");
        house.yes(hold, "bob");
        let effect = permitted(&house.call_in(9, "refund", REFUND));
        house.settle(effect, done(true));
    }
    assert!(matches!(house.call_in(9, "refund", REFUND), Reply::Again(_)));
}

/// What may be done to a house in which classes open and close
#[derive(Clone, Debug)]
enum Deed {
    /// Of which task, tools, with which amount, how often, how long, by whom
    Elevate(u64, Vec<&'static str>, Option<u8>, u32, i64, u8),
    Call(u64, &'static str, u8),
    Settle(u8),
    Answer(&'static str, bool),
    Pass(i64),
    StopGrant(u8),
    StopUser(&'static str),
    Restart,
}

fn deed() -> impl Strategy<Value = Deed> {
    let tools =
        prop::sample::subsequence(vec!["shop.refund", "shop.send", "shop.send#all", "shop.run", "shop.purge"], 1..3);
    let elevate = (1..3u64, tools, prop::option::of(1..3u8), 1..4u32, 1..20_000i64, 0..3u8);
    prop_oneof![
        4 => elevate.prop_map(|(task, tools, amount, times, ms, by)| Deed::Elevate(task, tools, amount, times, ms, by)),
        8 => (1..3u64, prop::sample::select(vec!["refund", "send", "all", "run", "purge"]), 1..3u8).prop_map(|(run, tool, amount)| Deed::Call(run, tool, amount)),
        3 => (0..4u8).prop_map(Deed::Settle),
        4 => (prop::sample::select(vec!["bob", "cid", "dan", "ana"]), any::<bool>()).prop_map(|(user, yes)| Deed::Answer(user, yes || user == "bob")),
        2 => (1..6_000i64).prop_map(Deed::Pass),
        1 => (0..4u8).prop_map(Deed::StopGrant),
        1 => prop::sample::select(vec!["bob", "cid"]).prop_map(Deed::StopUser),
        1 => Just(Deed::Restart),
    ]
}

/// What an elevation said when it was granted, counted by hand
#[derive(Debug)]
struct Counted {
    task: u64,
    class: Class,
    uses: BTreeSet<String>,
    amount: Option<String>,
    left: i64,
    until: i64,
    ended: bool,
    by: Vec<String>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, rng_seed: RngSeed::Fixed(4), ..ProptestConfig::default() })]

    /// I4: no sequence of grants and calls ever gets a class that was not opened for it, in its task and above it
    #[test]
    fn no_class_leaks(deeds in prop::collection::vec(deed(), 1..40), people in 1..3u8) {
        let policy = reads().with(|policy| {
            let work = policy.purposes.get_mut("work").unwrap();
            (work.idle_ms, work.asks) = (None, BTreeMap::new());
            let table = [(Class::Write, alone(&["shop.refund", "shop.send"], 4)), (Class::Execute, alone(&["shop.run"], 2))];
            work.elevate = Some(Elevate { alone: table.into(), ask: Some(quorum("leads", people)) });
            policy.purposes.insert("part", policy.purposes["work"].clone());
        });
        let mut house = House::new(policy);
        house.delegate();
        let mut effects = Vec::new();
        for deed in deeds {
            match deed {
                Deed::Elevate(task, tools, amount, times, ms, by) => {
                    let reply = house.elevate(|elevate| {
                        elevate.by = if by == 0 { person("bob") } else { Actor::Run(RunId(task)) };
                        (elevate.task, elevate.uses, elevate.times, elevate.lasts_ms) = (TaskId(task), usages(&tools), times, ms);
                        elevate.values = amount.into_iter().map(|amount| ("amount".to_owned(), amount.to_string().parse().unwrap())).collect();
                    });
                    drop(reply);
                }
                Deed::Call(run, tool, amount) => {
                    let amount = amount.to_string();
                    let all = [("amount", amount.as_str()), ("all", "true")];
                    let reply = match tool {
                        "all" => house.call_in(run, "send", &all),
                        tool => house.call_in(run, tool, &all[..1]),
                    };
                    if let Reply::Permit(permit) = reply {
                        effects.push(permit.effect());
                    }
                }
                Deed::Settle(ago) => {
                    if let Some(effect) = effects.len().checked_sub(1 + usize::from(ago)).map(|at| effects.remove(at)) {
                        house.settle(effect, if ago % 2 == 0 { not_sent() } else { done(true) });
                    }
                }
                Deed::Answer(user, yes) => {
                    let open = house.engine.state().open_holds().next().map(|(id, _)| id);
                    if let Some(hold) = open {
                        house.answer(hold, user, yes);
                    }
                }
                Deed::Pass(ms) => house.pass(ms),
                Deed::StopGrant(at) => {
                    let now = portreeve_core::time::Millis(house.now);
                    let grant = house.engine.state().elevations(TaskId(1), now).nth(usize::from(at)).map(|(id, _)| id);
                    if let Some(grant) = grant {
                        house.stop(Node::Grant(grant));
                    }
                }
                Deed::StopUser(user) => drop(house.stop(Node::User(name(user)))),
                Deed::Restart => house.restart(),
            }
        }
        recount(&house, people);
    }
}

/// Counts again, from the record alone
fn recount(house: &House, people: u8) {
    let classes: BTreeMap<String, Class> = [
        ("shop.refund", Class::Write),
        ("shop.send", Class::Write),
        ("shop.send#all", Class::Execute),
        ("shop.run", Class::Execute),
        ("shop.purge", Class::Escalate),
    ]
    .map(|(usage, class)| (usage.to_owned(), class))
    .into();
    let mut grants: BTreeMap<GrantId, Counted> = BTreeMap::new();
    let mut used: BTreeMap<EffectId, Vec<GrantId>> = BTreeMap::new();
    let mut alone: BTreeMap<(u64, Class), u32> = BTreeMap::new();
    let mut yes: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    let mut gone: BTreeSet<String> = BTreeSet::new();
    for record in house.records() {
        match &record.event {
            Event::Granted(granted) => match &granted.to {
                To::Approval { hold, .. } => drop(yes.entry(*hold).or_default().insert(granted.owner.clone())),
                To::Elevation(elevation) => {
                    let uses: BTreeSet<String> = elevation.uses.iter().map(ToString::to_string).collect();
                    assert!(uses.iter().all(|usage| classes[usage] == elevation.class), "{elevation:?}");
                    let agreed = granted.hold.map(|hold| yes[&hold].difference(&gone).cloned().collect::<Vec<_>>());
                    if let Some(agreed) = &agreed {
                        assert!(agreed.len() >= usize::from(people) && !agreed.contains(&"user:ana".to_owned()));
                    } else if granted.owner.starts_with("purpose:") {
                        let count = alone.entry((elevation.task.0, elevation.class)).or_default();
                        *count += elevation.times;
                        assert!(*count <= if elevation.class == Class::Write { 4 } else { 2 });
                        assert_ne!(elevation.class, Class::Escalate);
                    } else {
                        assert_eq!((granted.owner.as_str(), people), ("user:bob", 1));
                        assert!(!gone.contains("user:bob"));
                    }
                    assert!(granted.until.0 - record.time.0 <= elevation.lasts_ms);
                    let counted = Counted {
                        task: elevation.task.0,
                        class: elevation.class,
                        uses,
                        amount: elevation.values.get("amount").map(|value| value.value().unwrap().canonical()),
                        left: i64::from(elevation.times),
                        until: granted.until.0,
                        ended: false,
                        by: agreed.unwrap_or_else(|| vec![granted.owner.clone()]),
                    };
                    assert!(grants.insert(granted.grant, counted).is_none());
                }
                To::Observe { .. } => panic!("{granted:?}"),
            },
            Event::Stopped(stopped) => match &stopped.node {
                Node::Grant(grant) => grants.get_mut(grant).unwrap().ended = true,
                Node::User(user) => drop(gone.insert(format!("user:{user}"))),
                _ => {}
            },
            Event::Admitted(admitted) => {
                let portreeve_core::event::What::Call(call) = &admitted.what else { panic!() };
                let all = call.arguments.contains_key("all");
                let usage = if all { "shop.send#all".to_owned() } else { call.tool.to_string() };
                let amount = call.arguments["amount"].value.value().unwrap().canonical();
                assert_eq!(call.class, classes[&usage]);
                let chain: &[u64] = if admitted.task == Some(TaskId(1)) { &[1] } else { &[2, 1] };
                let because: Vec<GrantId> = admitted.because.iter().map(|because| because.grant).collect();
                for task in chain {
                    let opens = |grant: &&GrantId| grants[grant].task == *task;
                    let [grant] = because.iter().filter(opens).collect::<Vec<_>>()[..] else { panic!("{admitted:?}") };
                    let counted = grants.get_mut(grant).unwrap();
                    assert!(counted.class == call.class && counted.uses.contains(&usage), "{counted:?} for {usage}");
                    assert!(counted.amount.as_ref().is_none_or(|named| *named == amount), "{counted:?} for {amount}");
                    assert!(!counted.ended && counted.until > admitted.now.0, "{counted:?} at {}", admitted.now);
                    assert!(counted.by.iter().all(|user| !gone.contains(user)), "{counted:?} without {gone:?}");
                    counted.left -= 1;
                    assert!(counted.left >= 0, "{counted:?}");
                }
                used.insert(admitted.effect, because);
            }
            Event::Settled(settled) if matches!(settled.end, portreeve_core::event::End::NotSent { .. }) => {
                for grant in used.remove(&settled.effect).into_iter().flatten() {
                    grants.get_mut(&grant).unwrap().left += 1;
                }
            }
            _ => {}
        }
    }
}

/// A request that waits is no request for something else
#[test]
fn the_questions_of_a_task_are_those_that_it_asked() {
    let mut house = House::new(strict());
    let first = ticket(&house.elevate(|_| {})).hold;
    let second =
        ticket(&house.elevate(|elevate| elevate.values = [("amount".to_owned(), "5".parse().unwrap())].into())).hold;
    assert_ne!(first, second);
    for user in ["bob", "cid"] {
        house.yes(second, user);
    }
    assert_eq!(words(&house.call("refund", &[("amount", "6")])), [Word::ClassNotOpen]);
    permitted(&house.refund());
    let mut none = house.answering(first, "bob", true, How::Link);
    none.binding = house.hold(second).held.binding;
    assert_eq!(words(&house.turn(Request::Answer(Box::new(none)))), [Word::HoldChanged]);
}

/// A later leg goes on under what the first was begun under, used up or not, and under nothing else
#[test]
fn a_leg_goes_on_under_the_elevation_of_the_first() {
    let pending = || portreeve_core::event::End::Pending { bytes: 1, result: None };
    let begun = |times: u32| {
        let mut house = House::new(reads());
        opened(&house.elevate(|elevate| elevate.times = times));
        let first = permitted(&house.refund());
        let grant = house.admitted()[0].because[0].grant;
        house.settle(first, pending());
        (house, first, grant)
    };
    let goes_on = |house: &mut House, of: EffectId| {
        let mut leg = house.request(1, "refund", REFUND);
        leg.continues = Some(of);
        house.turn(Request::Call(leg))
    };
    // Used up by the first leg, and given back to nobody by the ones after it.
    let (mut house, first, _) = begun(1);
    let second = permitted(&goes_on(&mut house, first));
    house.settle(second, pending());
    house.restart();
    let third = permitted(&goes_on(&mut house, second));
    house.settle(third, not_sent());
    permitted(&goes_on(&mut house, second));
    assert_eq!(words(&house.refund()), [Word::ClassNotOpen], "it is used up for everything else");
    // Killed, or over: another one that is open now is none that the call was begun under, spent or not.
    for spent in [true, false] {
        for over in [true, false] {
            let (mut house, first, grant) = begun(1);
            if over {
                house.pass(10_001);
            } else {
                house.stop(Node::Grant(grant));
            }
            opened(&house.elevate(|_| {}));
            if spent {
                permitted(&house.refund());
            }
            assert_eq!(words(&goes_on(&mut house, first)), [Word::ClassNotOpen], "over {over}, spent {spent}");
        }
    }
}

#[test]
fn openings_about_which_people_are_asked_are_bounded_for_each_who_opens() {
    let mut house = House::empty(glass());
    let ask = |house: &mut House, n: u64, by: &str| {
        house.open(n, |open| {
            (open.by, open.objective) = (Actor::Owner { user: Some(name(by)) }, Some(n.to_string()));
        })
    };
    let first = ticket(&ask(&mut house, 1, "pia")).hold;
    for n in 2..=16 {
        ticket(&ask(&mut house, n, "pia"));
    }
    assert_eq!(words(&ask(&mut house, 17, "pia")), [Word::TooManyHolds]);
    // One that waits is no other one, and others have room of their own.
    assert_eq!(ticket(&ask(&mut house, 1, "pia")).hold, first);
    ticket(&ask(&mut house, 17, "bob"));
    house.stop(Node::Hold(first));
    ticket(&ask(&mut house, 18, "pia"));
    assert_eq!(words(&ask(&mut house, 19, "pia")), [Word::TooManyHolds]);
    house.pass(60_001);
    ticket(&ask(&mut house, 19, "pia"));
}

/// That there is an emergency is told as long as nobody has reviewed it, however long ago it began
#[test]
fn an_emergency_can_be_told_until_it_is_reviewed() {
    let policy = glass().with(|policy| policy.receivers = [("chat", false)].into());
    let mut house = House::empty(policy);
    let hold = ticket(&house.open(1, |_| {})).hold;
    let tell = |house: &mut House, news: News| {
        let effect = EffectId(house.id());
        let reply = house.turn(Request::Notify(Notify { effect, news, hold, receiver: name("chat") }));
        let told = matches!(reply, Reply::Permit(_));
        if told {
            house.settle(effect, unknown());
        }
        told
    };
    assert!(!tell(&mut house, News::Emergency), "it is none yet");
    house.yes(hold, "bob");
    assert!(matches!(house.open(1, |_| {}), Reply::Opened(_)));
    assert!(tell(&mut house, News::Emergency));
    house.stop(Node::Task(TaskId(1)));
    house.pass(20 * 60_000);
    house.restart();
    house.stop(Node::Hold(HoldId(77)));
    assert!(house.engine.state().hold(hold).is_none(), "the question is forgotten");
    assert!(tell(&mut house, News::Emergency) && tell(&mut house, News::Emergency));
    assert!(!tell(&mut house, News::Answered));
    assert!(matches!(house.review(1, "eve"), Reply::Recorded));
    assert!(!tell(&mut house, News::Emergency));
}
