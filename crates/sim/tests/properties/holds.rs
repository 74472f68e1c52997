//! A human yes to exactly one thing: who may give it, what it counts for, and when it does not count any more.

use crate::house::{
    House, Policy, REFUND, again, done, name, not_sent, owner, passkey, permitted, quorum, ticket, unknown, words,
};
use portreeve_core::{
    engine::Reply,
    event::{Actor, How},
    hash::Hash,
    names::{HoldId, RunId, TaskId},
    node::{Node, Why},
    policy::{Class, Label, OnHold, PersonRole, Tier},
    reason::Word,
    request::{Call, PasskeyChange, Request, Stop},
    state::{AGAIN_MS, Phase},
};
use proptest::{prelude::*, test_runner::RngSeed};

type Change = fn(&mut Policy);
type Dismissal = fn(&mut House);

fn refused(reply: &Reply, word: Word) {
    assert!(words(reply).contains(&word), "{word} is not in {reply:?}");
}

#[test]
fn a_yes_lets_exactly_one_call_through() {
    let mut house = House::new(Policy::new());
    let hold = house.held();
    // Asking again asks nobody anew.
    assert_eq!(house.held(), hold);
    house.yes(hold, "bob");
    let effect = permitted(&house.refund());
    assert_eq!(again(&house.refund()), Phase::Used { effect: Some(effect) });
    house.settle(effect, done(true));
    assert!(matches!(again(&house.refund()), Phase::Done { ok: true, .. }));
    let admitted = house.admitted();
    let [only] = admitted.as_slice() else { panic!("{admitted:?}") };
    assert_eq!(only.hold, Some(hold));
    // The record says whose yes it was.
    let grants: Vec<_> = only.because.iter().map(|because| because.grant).collect();
    assert_eq!(grants, [house.hold(hold).answers[&name("bob")].grant.unwrap()]);
    assert_eq!(only.because[0].words, [Word::ApprovalNeeded].into());
}

#[test]
fn one_turn_is_no_way_round() {
    let mut house = House::new(Policy::new());
    let hold = house.held();
    house.yes(hold, "bob");
    let calls: Vec<Request> = (0..5).map(|_| Request::Call(house.request(1, "refund", REFUND))).collect();
    let replies = house.turns(calls);
    let permits = replies.iter().filter(|reply| matches!(reply, Reply::Permit(_))).count();
    let told = replies.iter().filter(|reply| matches!(reply, Reply::Again(_))).count();
    assert_eq!((permits, told), (1, 4), "{replies:?}");
}

#[test]
fn what_was_not_sent_may_be_tried_again_and_what_is_unknown_is_spent() {
    let mut house = House::new(Policy::new());
    let hold = house.held();
    house.yes(hold, "bob");
    for _ in 0..2 {
        let effect = permitted(&house.refund());
        house.settle(effect, not_sent());
        assert_eq!(house.hold(hold).phase, Phase::Open);
    }
    let effect = permitted(&house.refund());
    house.settle(effect, unknown());
    assert!(matches!(again(&house.refund()), Phase::Unknown { .. }));
    // After a while it is a question of its own, with a number of its own.
    house.pass(0);
    house.now += 9 * 60_000;
    assert!(matches!(house.hold(hold).phase, Phase::Unknown { .. }));
    assert_eq!(house.admitted().len(), 3);
}

#[test]
fn the_outcome_is_told_for_ten_minutes_and_then_people_are_asked_anew() {
    let policy = Policy::new().work(|work| (work.expires_ms, work.idle_ms) = (7_200_000, None));
    for end in [done(true), done(false), unknown()] {
        let mut house = House::new(policy.clone());
        let hold = house.held();
        house.yes(hold, "bob");
        let effect = permitted(&house.refund());
        house.settle(effect, end);
        house.pass(AGAIN_MS - 10);
        again(&house.refund());
        house.pass(10);
        let new = house.held();
        assert_ne!(new, hold);
        // The yes of the first one is no yes to the second.
        assert_eq!(house.held(), new);
        house.yes(new, "bob");
        permitted(&house.refund());
    }
}

#[test]
fn a_failed_call_is_spent() {
    let mut house = House::new(Policy::new());
    let hold = house.held();
    house.yes(hold, "bob");
    let effect = permitted(&house.refund());
    house.settle(effect, done(false));
    assert!(matches!(again(&house.refund()), Phase::Done { ok: false, .. }));
}

#[test]
fn what_was_declined_stays_declined() {
    let mut house = House::new(Policy::new().work(|work| drop(work.asks.insert("refund", quorum("leads", 2)))));
    let hold = house.held();
    house.yes(hold, "bob");
    let reply = house.answer(hold, "cid", false);
    assert!(matches!(reply, Reply::Recorded));
    for _ in 0..3 {
        assert_eq!(words(&house.refund()), [Word::ApprovalDeclined]);
        house.pass(19_000);
        house.call("look", &[]);
    }
    refused(&house.answer(hold, "dan", true), Word::HoldOver);
    // Something else is something else.
    assert_ne!(ticket(&house.call("refund", &[("id", "\"ord_1\""), ("amount", "6")])).hold, hold);
    house.restart();
    assert_eq!(words(&house.refund()), [Word::ApprovalDeclined]);
}

#[test]
fn a_no_says_why_and_comes_also_after_enough_have_agreed() {
    let mut house = House::new(Policy::new());
    let hold = house.held();
    house.yes(hold, "bob");
    for why in ["", "  ", &"x".repeat(1_001)] {
        let mut no = house.answering(hold, "cid", false, How::Socket);
        no.why = why.to_owned();
        assert_eq!(words(&house.turn(Request::Answer(Box::new(no)))), [Word::AnswerUnbounded]);
    }
    house.answer(hold, "cid", false);
    assert_eq!(words(&house.refund()), [Word::ApprovalDeclined]);
}

#[test]
fn a_question_lapses_and_the_same_call_is_another_one() {
    for recorded in [true, false] {
        let mut house = House::new(Policy::new().work(|work| work.idle_ms = None));
        let hold = house.held();
        house.yes(hold, "bob");
        let until = house.hold(hold).held.until;
        // To the millisecond, whether or not it is recorded.
        house.now = until.0 - 2;
        let call = house.request(1, "refund", REFUND);
        let before = house.engine.state().clone();
        house.now = until.0 - 1;
        if recorded {
            house.pass(1);
            assert!(matches!(house.hold(hold).phase, Phase::Over { why: Why::Expired, .. }));
        }
        assert_eq!(before.hold(hold).unwrap().phase, Phase::Open);
        let reply = house.turn(Request::Call(call));
        assert_ne!(ticket(&reply).hold, hold);
        refused(&house.answer(hold, "cid", true), Word::HoldOver);
    }
}

#[test]
fn the_same_call_that_asks_anew_has_another_number() {
    // One request that waits longer than its question: it keeps its number, the question does not.
    let mut house = House::new(Policy::new().work(|work| work.idle_ms = None));
    let call = house.request(1, "refund", REFUND);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let reply = house.turn(Request::Ask(call.clone()));
        let hold = ticket(&reply).hold;
        assert!(!seen.contains(&hold), "{hold} again");
        seen.push(hold);
        house.pass(60_000);
    }
    assert_eq!(seen[0], HoldId(call.effect.0));
}

#[test]
fn other_arguments_are_another_question() {
    let mut house = House::new(Policy::new());
    let hold = house.held();
    house.yes(hold, "bob");
    let others: [&[(&str, &str)]; 5] = [
        &[("id", "\"ord_1\""), ("amount", "6")],
        &[("id", "\"ord_1\""), ("amount", "\"5\"")],
        &[("id", "\"ord_1\"")],
        &[("id", "\"ord_1 \""), ("amount", "5")],
        &[("id", "\"ord_1\""), ("amount", "5"), ("all", "null")],
    ];
    for other in others {
        assert_ne!(ticket(&house.call("refund", other)).hold, hold, "{other:?}");
    }
    // The same number, written otherwise, is the same.
    permitted(&house.call("refund", &[("amount", "5.0"), ("id", "\"ord_1\"")]));
}

#[test]
fn a_yes_is_for_its_task() {
    let mut house = House::new(Policy::new());
    house.open(7, |_| {});
    let hold = house.held();
    house.yes(hold, "bob");
    assert_ne!(ticket(&house.call_in(7, "refund", REFUND)).hold, hold);
}

#[test]
fn an_answer_is_to_what_was_shown() {
    let mut house = House::new(Policy::new());
    let hold = house.held();
    let mut other = house.answering(hold, "bob", true, How::Link);
    other.binding.0[3] ^= 1;
    assert_eq!(words(&house.turn(Request::Answer(Box::new(other)))), [Word::HoldChanged]);
    let mut nobody = house.answering(hold, "bob", true, How::Link);
    nobody.hold = HoldId(77);
    assert_eq!(words(&house.turn(Request::Answer(Box::new(nobody)))), [Word::HoldUnknown]);
    house.yes(hold, "bob");
    assert_eq!(words(&house.answer(hold, "bob", true)), [Word::AnsweredAlready]);
    assert_eq!(words(&house.answer(hold, "bob", false)), [Word::AnsweredAlready]);
}

/// Everything that a person was shown: another one of it, and an old yes lets nothing through
#[test]
fn a_yes_counts_for_what_was_shown() {
    let changes: [(&str, Change); 8] = [
        ("label", |policy| policy.label = Label::Secret),
        ("class", |policy| *policy.classes.get_mut("refund").unwrap() = Class::Execute),
        ("a rule asks too", |policy| policy.asking.push(("refund", "others"))),
        ("another group", |policy| {
            drop(policy.purposes.get_mut("work").unwrap().asks.insert("refund", quorum("others", 1)));
        }),
        ("more people", |policy| {
            drop(policy.purposes.get_mut("work").unwrap().asks.insert("refund", quorum("leads", 2)));
        }),
        ("a passkey", |policy| {
            drop(policy.purposes.get_mut("work").unwrap().asks.insert("refund", passkey("leads")));
        }),
        ("the tier", |policy| policy.tier = Tier::High),
        ("nobody waits", |policy| policy.purposes.get_mut("work").unwrap().on_hold = OnHold::Deny),
    ];
    for (what, change) in changes {
        let mut house = House::new(Policy::new().work(|work| work.standing.push(Class::Execute)));
        let hold = house.held();
        house.yes(hold, "bob");
        house.change(change);
        match house.refund() {
            Reply::Held(ticket) => assert_ne!(ticket.hold, hold, "{what}"),
            reply => {
                assert_eq!(what, "nobody waits");
                refused(&reply, Word::NobodyToAsk);
            }
        }
    }
}

#[test]
fn a_question_fewer_is_another_question_too() {
    // What was shown asked two groups; that only one of them is asked now was not.
    let mut house = House::new(Policy::new().with(|policy| policy.asking.push(("refund", "others"))));
    let hold = house.held();
    house.yes(hold, "bob");
    refused(&house.answer(hold, "eve", true), Word::NotApprover);
    assert_eq!(ticket(&house.refund()).hold, hold, "one of two groups");
    house.change(|policy| policy.asking.clear());
    // The task's own version does not know rules; both versions are asked, and the old one still asks.
    assert_eq!(ticket(&house.refund()).hold, hold);
    house.yes(hold, "zoe");
    permitted(&house.refund());
}

#[test]
fn a_server_that_changed_is_not_the_one_that_was_shown() {
    let mut house = House::new(Policy::new());
    let hold = house.held();
    house.yes(hold, "bob");
    let mut call = house.request(1, "refund", REFUND);
    call.fit.pin = Hash::of(b"other");
    refused(&house.turn(Request::Call(call)), Word::DefinitionChanged);
    house.stop(Node::Connector(name("shop")));
    refused(&house.refund(), Word::ConnectorStopped);
}

#[test]
fn nobody_agrees_to_their_own() {
    // Ana: on her behalf. Pia: she opened it. Olga: she answers for the bot.
    let mut house = House::new(Policy::new().with(|policy| *policy.agents.get_mut("helper").unwrap() = "cid"));
    let hold = house.held();
    for own in ["ana", "pia", "olga"] {
        assert_eq!(words(&house.answer(hold, own, true)), [Word::OwnCall], "{own}");
        assert_eq!(words(&house.answer(hold, own, false)), [Word::OwnCall], "{own}");
    }
    // Of what was delegated: theirs, and whoever answers for the helper.
    house.change(|policy| drop(policy.purposes.get_mut("part").unwrap().asks.insert("send", quorum("leads", 1))));
    house.delegate();
    let below = ticket(&house.call_in(2, "refund", REFUND)).hold;
    for own in ["ana", "pia", "olga", "cid"] {
        assert_eq!(words(&house.answer(below, own, true)), [Word::OwnCall], "{own}");
    }
    house.yes(below, "bob");
    permitted(&house.call_in(2, "refund", REFUND));
}

#[test]
fn who_comes_to_own_it_does_not_count_any_more() {
    for (agent, child) in [("bot", false), ("bot", true), ("helper", true)] {
        let mut house = House::new(Policy::new());
        house.delegate();
        let run = if child { 2 } else { 1 };
        let hold = ticket(&house.call_in(run, "refund", REFUND)).hold;
        house.yes(hold, "bob");
        house.change(|policy| *policy.agents.get_mut(agent).unwrap() = "bob");
        assert_eq!(ticket(&house.call_in(run, "refund", REFUND)).hold, hold, "{agent} {child}");
        house.yes(hold, "cid");
        permitted(&house.call_in(run, "refund", REFUND));
        // Nor may they say it then.
        let hold = ticket(&house.call_in(run, "refund", &[])).hold;
        assert_eq!(words(&house.answer(hold, "bob", true)), [Word::OwnCall], "{agent} {child}");
    }
}

#[test]
fn runs_and_nobody_in_particular_answer_nothing() {
    let mut house = House::new(Policy::new());
    let hold = house.held();
    for by in [Actor::Run(RunId(1)), Actor::System, owner(), Actor::Owner { user: Some(name("nobody")) }] {
        let mut answer = house.answering(hold, "bob", true, How::Socket);
        answer.by = by;
        assert_eq!(words(&house.turn(Request::Answer(Box::new(answer)))), [Word::NotApprover]);
    }
    for user in ["eve", "zoe", "nobody"] {
        refused(&house.answer(hold, user, true), Word::NotApprover);
    }
    house.change(|policy| policy.people.get_mut("bob").unwrap().roles = vec![PersonRole::Operator]);
    refused(&house.answer(hold, "bob", true), Word::NotApprover);
    house.stop(Node::User(name("cid")));
    assert_eq!(words(&house.answer(hold, "cid", true)), [Word::UserStopped]);
    let mut answer = house.answering(hold, "dan", true, How::Socket);
    answer.by = Actor::Owner { user: Some(name("dan")) };
    assert!(matches!(house.turn(Request::Answer(Box::new(answer))), Reply::Recorded));
}

/// Whoever is dismissed between the yes and its use does not count
#[test]
fn the_dismissed_do_not_count() {
    let dismissals: [(&str, Dismissal); 5] = [
        ("stopped", |house| drop(house.stop(Node::User(name("bob"))))),
        ("another group", |house| house.change(|policy| policy.people.get_mut("bob").unwrap().groups = vec!["others"])),
        ("another role", |house| {
            house.change(|policy| policy.people.get_mut("bob").unwrap().roles = vec![PersonRole::Auditor]);
        }),
        ("gone", |house| house.change(|policy| drop(policy.people.remove("bob")))),
        ("another bearer of the name", |house| {
            let before = house.policy.clone();
            house.change(|policy| drop(policy.people.remove("bob")));
            house.apply(before);
        }),
    ];
    for (what, dismiss) in dismissals {
        let mut house = House::new(Policy::new());
        let hold = house.held();
        house.yes(hold, "bob");
        dismiss(&mut house);
        house.restart();
        assert_eq!(ticket(&house.refund()).hold, hold, "{what}");
        // It is still a question, which somebody else can answer; so can the new bearer of the name.
        if what == "another bearer of the name" {
            house.yes(hold, "bob");
        } else {
            house.yes(hold, "cid");
        }
        permitted(&house.refund());
    }
}

#[test]
fn a_passkey_is_wanted_where_the_policy_says_so_and_at_the_highest_tier() {
    let asks = Policy::new().work(|work| drop(work.asks.insert("refund", passkey("leads"))));
    for policy in [asks, Policy::new().with(|policy| policy.tier = Tier::High)] {
        let mut house = House::new(policy);
        let hold = house.held();
        assert!(house.hold(hold).held.questions[0].quorum.passkey);
        let receiver = name("chat");
        for how in [How::Socket, How::Link, How::Webhook { receiver }] {
            let answer = house.answering(hold, "bob", true, how);
            assert_eq!(words(&house.turn(Request::Answer(Box::new(answer)))), [Word::StepUpNeeded]);
        }
        // That they signed in with one is less than that they used it for this very answer.
        let mut earlier = house.answering(hold, "bob", true, How::Passkey);
        earlier.signed.passkey = None;
        assert_eq!(words(&house.turn(Request::Answer(Box::new(earlier)))), [Word::StepUpNeeded]);
        let answer = house.answering(hold, "bob", true, How::Passkey);
        house.turn(Request::Answer(Box::new(answer)));
        permitted(&house.refund());
        // A no is heard from anybody who is asked.
        let hold = ticket(&house.call("refund", &[])).hold;
        assert!(matches!(house.answer(hold, "cid", false), Reply::Recorded));
    }
}

/// Somebody who has a link made for another could use it themselves
#[test]
fn a_link_that_somebody_had_made_for_another_is_their_hand() {
    let handed = |by: &str| How::Handed { by: by.to_owned() };
    let mut house = House::new(Policy::new());
    let hold = house.held();
    // Pia opened the task.
    let answer = house.answering(hold, "bob", true, handed("user:pia"));
    assert_eq!(words(&house.turn(Request::Answer(Box::new(answer)))), [Word::OwnCall]);
    let no = house.answering(hold, "bob", false, handed("user:pia"));
    assert!(matches!(house.turn(Request::Answer(Box::new(no))), Reply::Recorded), "a no is heard");
    let mut house = House::new(Policy::new().work(|work| drop(work.asks.insert("refund", quorum("leads", 2)))));
    let hold = house.held();
    house.yes(hold, "bob");
    let answer = house.answering(hold, "cid", true, handed("user:bob"));
    assert_eq!(words(&house.turn(Request::Answer(Box::new(answer)))), [Word::AnsweredAlready]);
    ticket(&house.refund());
    let answer = house.answering(hold, "cid", true, handed("user:eve"));
    assert!(matches!(house.turn(Request::Answer(Box::new(answer))), Reply::Recorded));
    permitted(&house.refund());
}

/// A passkey that was registered by way of such a link may be theirs too, also where another one was made with it
#[test]
fn a_passkey_from_a_link_that_somebody_had_made_for_another_is_their_hand() {
    let handed = || How::Handed { by: "user:bob".to_owned() };
    let fingerprint = Hash::of(b"key");
    let lent = || How::HandedPasskey { by: "user:bob".to_owned(), fingerprint };
    let registered = |house: &mut House, how: How, added: bool| {
        let (by, user) = (Actor::Person { user: name("cid"), how }, name("cid"));
        let (credential, public_key) = ("key".to_owned(), "key".to_owned());
        let change = PasskeyChange { by, user, credential, public_key, added };
        assert!(matches!(house.turn(Request::Passkey(change)), Reply::Recorded));
    };
    let says = |house: &mut House, hold: HoldId, user: &str| {
        let answer = house.answering(hold, user, true, How::Passkey);
        house.turn(Request::Answer(Box::new(answer)))
    };
    let two = || Policy::new().work(|work| drop(work.asks.insert("refund", quorum("leads", 2))));
    for how in [handed(), lent()] {
        let mut house = House::new(two());
        registered(&mut house, how, true);
        house.restart();
        let hold = house.held();
        house.yes(hold, "bob");
        assert_eq!(words(&says(&mut house, hold, "cid")), [Word::AnsweredAlready]);
        ticket(&house.refund());
        // In the other order it is one hand as well.
        let hold = ticket(&house.call("refund", &[])).hold;
        assert!(matches!(says(&mut house, hold, "cid"), Reply::Recorded));
        house.restart();
        assert_eq!(house.hold(hold).answers[&name("cid")].how, lent());
        assert_eq!(words(&house.answer(hold, "bob", true)), [Word::AnsweredAlready]);
        assert_eq!(ticket(&house.call("refund", &[])).hold, hold);
        house.yes(hold, "dan");
        permitted(&house.call("refund", &[]));
    }
    // Theirs who had the link made: Bob's own task is not for Bob's hand.
    let mut house = House::new(Policy::new());
    registered(&mut house, handed(), true);
    house.open(7, |open| open.by = Actor::Owner { user: Some(name("bob")) });
    let hold = ticket(&house.call_in(7, "refund", REFUND)).hold;
    assert_eq!(words(&says(&mut house, hold, "cid")), [Word::OwnCall]);
    // Nor is it better for who only signed in with it.
    let answer = house.answering(hold, "cid", true, lent());
    assert_eq!(words(&house.turn(Request::Answer(Box::new(answer)))), [Word::OwnCall]);
    // Where the policy says whose passkey it is, it is theirs, as long as it says so.
    let named = |policy: &mut Policy| policy.people.get_mut("cid").unwrap().passkeys.push(fingerprint);
    house.change(named);
    let other = ticket(&house.call_in(7, "refund", &[("amount", "7")])).hold;
    assert!(matches!(says(&mut house, other, "cid"), Reply::Recorded));
    house.change(|policy| policy.people.get_mut("cid").unwrap().passkeys.clear());
    assert_eq!(ticket(&house.call_in(7, "refund", &[("amount", "7")])).hold, other);
    house.change(named);
    permitted(&house.call_in(7, "refund", &[("amount", "7")]));
    house.change(|policy| policy.people.get_mut("cid").unwrap().passkeys = vec![Hash::of(b"another")]);
    assert_eq!(words(&says(&mut house, hold, "cid")), [Word::OwnCall]);
    // Whoever removes it and registers one in person is themselves again; so is anybody else with a passkey of that name.
    assert!(matches!(says(&mut house, hold, "dan"), Reply::Recorded));
    registered(&mut house, lent(), false);
    registered(&mut house, How::Link, true);
    let hold = ticket(&house.call_in(7, "refund", &[])).hold;
    assert!(matches!(says(&mut house, hold, "cid"), Reply::Recorded));
    permitted(&house.call_in(7, "refund", &[]));
}

/// Who holds a receiver's key could say yes for everybody there
#[test]
fn what_comes_through_one_receiver_is_one_yes() {
    let policy = |several: bool| {
        let two = Policy::new().work(|work| drop(work.asks.insert("refund", quorum("leads", 2))));
        two.with(|policy| policy.receivers = [("chat", several), ("pager", false)].into())
    };
    let says = |house: &mut House, hold: HoldId, user: &str, receiver: &str| {
        let answer = house.answering(hold, user, true, How::Webhook { receiver: name(receiver) });
        house.turn(Request::Answer(Box::new(answer)))
    };
    let mut house = House::new(policy(false));
    let hold = house.held();
    assert!(matches!(says(&mut house, hold, "bob", "chat"), Reply::Recorded));
    assert_eq!(words(&says(&mut house, hold, "cid", "chat")), [Word::AnsweredAlready]);
    assert_eq!(ticket(&house.refund()).hold, hold);
    assert!(matches!(says(&mut house, hold, "cid", "pager"), Reply::Recorded), "another receiver is another hand");
    permitted(&house.refund());
    // A no is heard from anybody.
    let hold = ticket(&house.call("refund", &[])).hold;
    assert!(matches!(says(&mut house, hold, "bob", "chat"), Reply::Recorded));
    let no = house.answering(hold, "cid", false, How::Webhook { receiver: name("chat") });
    assert!(matches!(house.turn(Request::Answer(Box::new(no))), Reply::Recorded));
    // Where the policy says so it speaks for several, as long as it says so.
    let mut house = House::new(policy(true));
    let hold = house.held();
    assert!(matches!(says(&mut house, hold, "bob", "chat"), Reply::Recorded));
    assert!(matches!(says(&mut house, hold, "cid", "chat"), Reply::Recorded));
    house.apply(policy(false));
    assert_eq!(ticket(&house.refund()).hold, hold);
    house.apply(policy(true));
    permitted(&house.refund());
    // For another group's question it may speak once more.
    let both = policy(false).with(|policy| policy.asking.push(("refund", "others")));
    let mut house = House::new(both.work(|work| drop(work.asks.insert("refund", quorum("leads", 1)))));
    let hold = house.held();
    assert!(matches!(says(&mut house, hold, "bob", "chat"), Reply::Recorded));
    assert!(matches!(says(&mut house, hold, "zoe", "chat"), Reply::Recorded));
    permitted(&house.refund());
}

/// A yes counts while what is asked is what was shown, and not once the call happened without it
#[test]
fn a_yes_does_not_outlive_its_need() {
    let asks = |who: &str, within_ms: i64| {
        let mut quorum = quorum(who, 1);
        quorum.within_ms = within_ms;
        move |policy: &mut Policy| drop(policy.purposes.get_mut("work").unwrap().asks.insert("refund", quorum))
    };
    let free = Policy::new().work(|work| work.asks.clear());
    let ask = |house: &mut House| {
        house.change(asks("leads", 60_000));
        let hold = house.held();
        house.yes(hold, "bob");
        hold
    };
    // Another time to answer is another question.
    let mut house = House::new(free.clone());
    let hold = ask(&mut house);
    house.change(asks("leads", 30_000));
    assert_ne!(ticket(&house.refund()).hold, hold);
    // Taken out of the policy and put back as it was, it is the same question.
    let mut house = House::new(free.clone());
    let hold = ask(&mut house);
    house.apply(free.clone());
    house.change(asks("leads", 60_000));
    let effect = permitted(&house.refund());
    assert_eq!(house.hold(hold).phase, Phase::Used { effect: Some(effect) });
    // But not once the call was made without it.
    for ended in [done(true), not_sent()] {
        let mut house = House::new(free.clone());
        let hold = ask(&mut house);
        house.apply(free.clone());
        let effect = permitted(&house.refund());
        house.settle(effect, ended);
        assert!(matches!(house.hold(hold).phase, Phase::Over { why: Why::Ended, .. }));
        house.change(asks("leads", 60_000));
        let other = house.held();
        assert_ne!(other, hold);
        refused(&house.answer(hold, "cid", true), Word::HoldOver);
    }
}

#[test]
fn what_is_not_shown_is_not_asked_about() {
    let mut house = House::new(Policy::new().with(|policy| policy.digested.push("id")));
    assert_eq!(words(&house.refund()), [Word::ArgumentNotShown]);
    assert!(house.engine.state().holds().next().is_none());
    // Without that argument everything is seen.
    let hold = ticket(&house.call("refund", &[("amount", "5")])).hold;
    house.yes(hold, "bob");
    permitted(&house.call("refund", &[("amount", "5")]));
    // What nobody is asked about needs nobody to see it.
    permitted(&house.call("look", REFUND));
    // What was agreed to while it was shown is not done once it is not.
    let mut house = House::new(Policy::new());
    let hold = house.held();
    house.yes(hold, "bob");
    house.change(|policy| policy.digested.push("id"));
    assert_eq!(words(&house.refund()), [Word::ArgumentNotShown]);
}

/// The cost of following questions is that of what has changed
#[test]
fn who_follows_questions_looks_at_what_has_changed() {
    let mut house = House::new(Policy::new());
    let amounts: Vec<String> = (0..8).map(|amount| amount.to_string()).collect();
    let holds: Vec<HoldId> =
        amounts.iter().map(|amount| ticket(&house.call("refund", &[("amount", amount)])).hold).collect();
    let since = |house: &House, seen: u64| house.engine.state().holds_since(seen).map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(since(&house, 0), holds);
    let seen = house.engine.state().hold_changes();
    assert_eq!(since(&house, seen), []);
    house.call("look", &[]);
    assert_eq!(house.engine.state().hold_changes(), seen);
    house.yes(holds[3], "bob");
    let effect = permitted(&house.call("refund", &[("amount", "3")]));
    assert_eq!(since(&house, seen), [holds[3]], "each once");
    house.stop(Node::Hold(holds[5]));
    house.settle(effect, done(true));
    assert_eq!(since(&house, seen), [holds[5], holds[3]], "the latest change last");
    house.restart();
    assert_eq!(since(&house, seen), [holds[5], holds[3]]);
    house.stop(Node::Task(TaskId(1)));
    house.pass(11 * 60_000);
    house.open(2, |_| {});
    assert_eq!(since(&house, 0), [], "what is forgotten is not kept here");
}

#[test]
fn a_permit_rests_on_those_who_agreed_and_ends_with_the_question() {
    let mut house = House::new(Policy::new());
    let hold = house.held();
    house.yes(hold, "bob");
    let until = house.hold(hold).held.until;
    house.now = until.0 - 501;
    let Reply::Permit(permit) = house.refund() else { panic!("not permitted") };
    assert!(permit.rests_on().contains(&Node::User(name("bob"))), "{permit:?}");
    assert!(permit.deadline() <= until, "{permit:?}");
}

#[test]
fn waiting_is_not_idling_and_nothing_outlives_its_task() {
    let mut house = House::new(Policy::new());
    house.delegate();
    let hold = ticket(&house.call_in(2, "refund", REFUND)).hold;
    house.pass(50_000);
    assert!(house.engine.state().task(TaskId(1)).is_some() && house.engine.state().task(TaskId(2)).is_some());
    house.pass(10_000);
    assert!(matches!(house.hold(hold).phase, Phase::Over { .. }));
    house.pass(20_001);
    assert!(house.engine.state().tasks().next().is_none());
    // A question asked shortly before the end of its task ends with it.
    let mut house = House::new(Policy::new().work(|work| work.expires_ms = 30_000));
    let hold = house.held();
    assert_eq!(house.hold(hold).held.until, house.engine.state().task(TaskId(1)).unwrap().expires);
    house.yes(hold, "bob");
    house.stop(Node::Task(TaskId(1)));
    assert!(matches!(house.hold(hold).phase, Phase::Over { why: Why::Killed, .. }));
    refused(&house.answer(hold, "cid", false), Word::HoldOver);
    refused(&house.refund(), Word::TaskOver);
    house.pass(11 * 60_000);
    house.call("look", &[]);
    assert!(house.engine.state().hold(hold).is_none());
}

#[test]
fn what_is_given_back_to_a_task_that_is_over_is_over() {
    let policy = Policy::new().work(|work| {
        drop(work.asks.insert("refund", {
            let mut long = quorum("leads", 1);
            long.within_ms = 24 * 3_600_000;
            long
        }))
    });
    let mut house = House::new(policy.work(|work| (work.expires_ms, work.idle_ms) = (100 * 3_600_000, None)));
    let hold = house.held();
    house.yes(hold, "bob");
    let effect = permitted(&house.refund());
    house.stop(Node::Task(TaskId(1)));
    house.settle(effect, not_sent());
    assert!(house.engine.state().open_holds().next().is_none());
    // Nothing of it is owed for ever.
    house.pass(11 * 60_000);
    house.open(3, |_| {});
    house.pass(25 * 3_600_000);
    assert!(house.engine.state().hold(hold).is_none());
}

#[test]
fn a_stopped_question_is_over_and_only_operators_stop_it() {
    let mut house = House::new(Policy::new());
    let hold = house.held();
    let stop = |by| Request::Stop(Stop { node: Node::Hold(hold), why: Why::Killed, by, at: None });
    let person = |user: &str| Actor::Person { user: name(user), how: How::Link };
    house.open(5, |_| {});
    for by in [Actor::Run(RunId(5)), Actor::Run(RunId(77))] {
        refused(&house.turn(stop(by)), Word::NotYours);
    }
    for by in [person("cid"), person("ana")] {
        refused(&house.turn(stop(by)), Word::RoleMissing);
    }
    assert!(matches!(house.turn(stop(person("bob"))), Reply::Recorded));
    refused(&house.answer(hold, "cid", true), Word::HoldOver);
    refused(&house.turn(stop(person("bob"))), Word::HoldOver);
    let another = house.held();
    assert_ne!(another, hold);
    // Whoever put a question may take it back.
    let back = Stop { node: Node::Hold(another), why: Why::Ended, by: Actor::Run(RunId(1)), at: None };
    assert!(matches!(house.turn(Request::Stop(back)), Reply::Recorded));
    refused(&house.answer(another, "cid", true), Word::HoldOver);
}

#[test]
fn questions_are_bounded() {
    let policy = Policy::new().work(|work| (work.idle_ms, work.expires_ms) = (None, 24 * 3_600_000));
    let mut house = House::new(policy.clone());
    let amount = |n: usize| [("amount", n.to_string())];
    let ask = |house: &mut House, run: u64, n: usize| {
        let amount = amount(n);
        house.call_in(run, "refund", &amount.each_ref().map(|(name, value)| (*name, value.as_str())))
    };
    for n in 0..8 {
        ticket(&ask(&mut house, 1, n));
    }
    assert_eq!(words(&ask(&mut house, 1, 8)), [Word::TooManyHolds]);
    // One that waits already is no other one.
    ticket(&ask(&mut house, 1, 3));
    for round in 1..8 {
        house.pass(60_000);
        for n in 0..8 {
            ticket(&ask(&mut house, 1, round * 8 + n));
        }
    }
    house.pass(60_000);
    assert_eq!(words(&ask(&mut house, 1, 64)), [Word::TooManyHolds]);
    assert_eq!(house.engine.state().task(TaskId(1)).unwrap().asked, 64);
    // Of all tasks together.
    let mut house = House::new(policy);
    for run in 10..138 {
        house.open(run, |_| {});
        for n in 0..8 {
            ticket(&ask(&mut house, run, n));
        }
    }
    assert_eq!(words(&ask(&mut house, 1, 0)), [Word::TooManyHolds]);
    assert_eq!(house.engine.state().open_holds().count(), 1_024);
}

#[test]
fn what_nobody_can_be_shown_is_not_asked() {
    let mut house = House::new(Policy::new());
    // `{"id":""}` and the text
    let text = |len: usize| format!("\"{}\"", "x".repeat(len - 9));
    let fits = text(64 << 10);
    ticket(&house.call("refund", &[("id", &fits)]));
    let long = text((64 << 10) + 1);
    assert_eq!(words(&house.call("refund", &[("id", &long)])), [Word::TooLongToShow]);
}

#[test]
fn the_legs_of_a_call_are_that_call() {
    let mut house = House::new(Policy::new());
    let hold = house.held();
    house.yes(hold, "bob");
    let first = permitted(&house.refund());
    let pending = || portreeve_core::event::End::Pending { bytes: 1, result: None };
    house.settle(first, pending());
    assert_eq!(again(&house.refund()), Phase::Used { effect: Some(first) });
    // The question's time passes meanwhile; what was begun in time goes on.
    house.pass(15_000);
    let mut leg = house.request(1, "refund", REFUND);
    leg.continues = Some(first);
    let second = permitted(&house.turn(Request::Call(leg.clone())));
    // What is not sent of a later leg gives nothing back: bytes of the call have left.
    house.settle(second, not_sent());
    assert!(matches!(again(&house.refund()), Phase::Used { .. }));
    leg.effect.0 += 5_000;
    let third = permitted(&house.turn(Request::Call(leg.clone())));
    house.settle(third, pending());
    // Who agreed is stopped: what went on with it does not.
    house.stop(Node::User(name("bob")));
    leg = Call { continues: Some(third), ..leg };
    leg.effect.0 += 1;
    refused(&house.turn(Request::Call(leg)), Word::NobodyToAsk);
    assert!(house.admitted().iter().all(|admitted| admitted.hold == Some(hold)));
}

/// S1: crashes, snapshots and reading back keep questions, answers and what was used of them
#[test]
fn a_restart_keeps_what_was_asked_and_answered() {
    let mut house = House::new(Policy::new().work(|work| drop(work.asks.insert("refund", quorum("leads", 2)))));
    let hold = house.held();
    house.yes(hold, "bob");
    for snapshot in [false, true] {
        if snapshot {
            house.keep_snapshot();
        }
        let before = house.hold(hold).clone();
        house.restart();
        assert_eq!(*house.hold(hold), before);
        assert_eq!(ticket(&house.refund()).hold, hold);
    }
    house.yes(hold, "cid");
    house.restart();
    let effect = permitted(&house.refund());
    // The process dies while it is under way: nobody knows, and it is never sent again.
    house.restart();
    assert!(matches!(again(&house.refund()), Phase::Unknown { effect: one, .. } if one == effect));
    // What was shown of the arguments is still there to be shown.
    let portreeve_core::event::HeldWhat::Call(call) = &house.hold(hold).held.what else { panic!() };
    assert_eq!(call.arguments["amount"].value.value().unwrap().canonical(), "5");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, rng_seed: RngSeed::Fixed(3), ..ProptestConfig::default() })]

    /// Of a quorum of any size everybody is needed: without any one of those who agreed it is a question still
    #[test]
    fn removing_any_yes_refuses(people in 1..5u8, order in Just(["bob", "cid", "dan", "eve", "zoe"]).prop_shuffle(), without in 0..5usize, how in 0..3u8) {
        let policy = Policy::new().work(|work| drop(work.asks.insert("refund", quorum("leads", people))));
        let everybody = policy.with(|policy| for user in ["eve", "zoe"] {
            let person = policy.people.get_mut(user).unwrap();
            (person.groups, person.roles) = (vec!["leads"], vec![PersonRole::Approver]);
        });
        let mut house = House::new(everybody);
        let hold = house.held();
        let (agree, more) = order.split_at(usize::from(people));
        for user in agree {
            prop_assert!(matches!(house.refund(), Reply::Held(_)));
            house.yes(hold, user);
        }
        let gone = agree[without % agree.len()];
        match how {
            0 => drop(house.stop(Node::User(name(gone)))),
            1 => house.change(|policy| drop(policy.people.remove(gone))),
            _ => house.change(|policy| policy.people.get_mut(gone).unwrap().groups.clear()),
        }
        let reply = house.refund();
        prop_assert!(matches!(reply, Reply::Held(_)), "without {gone}: {reply:?}");
        house.yes(hold, more[0]);
        let effect = permitted(&house.refund());
        // Exactly those who are needed are on the record.
        let admitted = house.admitted();
        prop_assert_eq!(admitted[0].because.len(), usize::from(people));
        prop_assert_eq!(again(&house.refund()), Phase::Used { effect: Some(effect) });
    }
}
