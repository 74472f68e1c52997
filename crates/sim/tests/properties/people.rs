//! What an issuer says of people: how long it counts, by whose word, and that a yes by it is theirs.

use crate::house::{House, Policy, name, passkey, permitted, ticket, words};
use portreeve_core::{
    engine::Reply,
    event::{Actor, How},
    names::HoldId,
    reason::Word,
    request::{Claimed, Request, SignedIn},
};

/// Kim is in no group by her file, and `k-1` at the company
fn policy() -> Policy {
    Policy::new().with(|policy| {
        let mut kim = policy.people["cid"].clone();
        (kim.groups, kim.sub) = (Vec::new(), Some("k-1"));
        policy.people.insert("kim", kim);
    })
}

fn how(sub: &str) -> How {
    How::Oidc { issuer: name("company"), subject: sub.to_owned() }
}

fn sign_in(house: &mut House, sub: &str, groups: &[&str]) {
    let by = Actor::Person { user: name("kim"), how: how(sub) };
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    let reply = house.turn(Request::SignedIn(SignedIn {
        by,
        user: name("kim"),
        how: Some(how(sub)),
        claimed: Claimed { groups, ..Claimed::default() },
    }));
    assert!(matches!(reply, Reply::Recorded), "{reply:?}");
}

fn answer(house: &mut House, hold: HoldId, sub: &str) -> Vec<Word> {
    let answer = house.answering(hold, "kim", true, how(sub));
    match house.turn(Request::Answer(Box::new(answer))) {
        Reply::Recorded => Vec::new(),
        refused => words(&refused),
    }
}

#[test]
fn a_group_counts_from_the_sign_in_that_says_it_until_it_is_not_fresh() {
    let mut house = House::new(policy());
    let hold = house.held();
    assert_eq!(answer(&mut house, hold, "k-1"), [Word::NotApprover], "nobody has said it");
    sign_in(&mut house, "k-1", &["idp-leads"]);
    house.keep_snapshot();
    house.restart();
    assert_eq!(answer(&mut house, hold, "k-1"), []);
    permitted(&house.refund());

    // The yes of somebody whose group is not fresh any more does not count, until it is said again.
    let mut house = House::new(policy().work(|work| work.asks.get_mut("refund").unwrap().within_ms = 600_000));
    let hold = house.held();
    sign_in(&mut house, "k-1", &["idp-leads"]);
    assert_eq!(answer(&mut house, hold, "k-1"), []);
    house.pass(59_000);
    permitted(&house.call("look", &[]));
    house.pass(2_000);
    assert_eq!(ticket(&house.refund()).hold, hold);
    house.restart();
    assert_eq!(ticket(&house.refund()).hold, hold);
    sign_in(&mut house, "k-1", &["idp-leads", "of nobody here"]);
    permitted(&house.refund());
}

#[test]
fn what_the_issuer_or_the_policy_takes_back_does_not_count() {
    type Undo = fn(&mut House);
    let undone: [(&str, Undo); 5] = [
        ("a sign-in that says nothing of it", |house| sign_in(house, "k-1", &[])),
        ("another group of the issuer", |house| sign_in(house, "k-1", &["idp-others"])),
        ("a policy to which the group means nothing", |house| house.change(|policy| policy.said.clear())),
        ("a policy to which she is another one there", |house| {
            house.change(|policy| policy.people.get_mut("kim").unwrap().sub = Some("k-2"));
        }),
        ("another bearer of the name", |house| {
            let before = house.policy.clone();
            house.change(|policy| drop(policy.people.remove("kim")));
            house.apply(before);
        }),
    ];
    for (what, undo) in undone {
        let mut house = House::new(policy());
        let hold = house.held();
        sign_in(&mut house, "k-1", &["idp-leads"]);
        assert_eq!(answer(&mut house, hold, "k-1"), [], "{what}");
        undo(&mut house);
        house.restart();
        assert_eq!(ticket(&house.refund()).hold, hold, "{what}");
        house.yes(hold, "bob");
        permitted(&house.refund());
    }
}

#[test]
fn a_sign_in_is_its_own_subjects_and_no_passkey() {
    // In the group by her file, known as somebody whom the policy does not mean.
    let by_file = || policy().with(|policy| policy.people.get_mut("kim").unwrap().groups = vec!["leads"]);
    let mut house = House::new(by_file());
    let hold = house.held();
    assert_eq!(answer(&mut house, hold, "k-2"), [Word::UserUnknown]);
    assert_eq!(answer(&mut house, hold, "k-1"), []);
    let mut house = House::new(by_file().work(|work| drop(work.asks.insert("refund", passkey("leads")))));
    let hold = house.held();
    assert_eq!(answer(&mut house, hold, "k-1"), [Word::StepUpNeeded]);
}

#[test]
fn what_an_issuer_says_of_somebody_counts_while_it_is_fresh_and_never_against_their_own_file() {
    let mut house = House::new(policy());
    let said = |house: &House| {
        let state = house.engine.state();
        let bundle = house.policy.bundle();
        let person = state.person(&bundle, &name("kim"), portreeve_core::time::Millis(house.now)).unwrap();
        person.attributes.clone()
    };
    let sign_in = |house: &mut House, sub: &str| {
        let by = Actor::Person { user: name("kim"), how: how(sub) };
        let value = |text: &str| text.parse::<portreeve_core::value::Value>().unwrap();
        let attributes = [("limit", "150"), ("office", "\"b\""), ("unasked", "1"), ("own", "1")];
        let attributes = attributes.into_iter().map(|(name, text)| (name.to_owned(), value(text))).collect();
        let claimed = Claimed { attributes, ..Claimed::default() };
        let signed_in = SignedIn { by, user: name("kim"), how: Some(how(sub)), claimed };
        assert!(matches!(house.turn(Request::SignedIn(signed_in)), Reply::Recorded));
    };
    assert_eq!(said(&house).len(), 1, "only what the file says");
    sign_in(&mut house, "k-1");
    let now = said(&house);
    assert_eq!(now.get("limit"), Some(&"150".parse().unwrap()));
    assert_eq!(now.get("office"), None, "it is of another kind than was asked for");
    assert_eq!(now.get("unasked"), None);
    assert_eq!(now.get("own"), Some(&"0".parse().unwrap()), "the file stands");
    house.pass(60_000);
    assert_eq!(said(&house).len(), 1, "it is not fresh any more");
    // What was said of another `sub` says nothing of them.
    sign_in(&mut house, "k-2");
    assert_eq!(said(&house).len(), 1);
    sign_in(&mut house, "k-1");
    house.restart();
    assert_eq!(said(&house).len(), 2, "a restart keeps it");
}
