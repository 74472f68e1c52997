//! Roles: who may do what at the door, by the one table; what is refused is on the record.

use crate::house::{House, Policy, name, words};
use portreeve_core::{
    engine::Reply,
    event::{Actor, Event, How, KeyUse, NewKey, To},
    hash::Hash,
    names::{GrantId, RunId, TaskId},
    node::{Node, Why},
    offer::Identity,
    policy::{Bundle, Class, Deed, Elevate, PersonRole},
    reason::Word,
    request::{self, Change, ChangeWhat, Doing, Grant, Pause, Request, SignedIn, Stop, Undo},
    time::Millis,
};
use proptest::prelude::*;
use std::{collections::BTreeSet, sync::Arc};

/// Somebody with these roles, who has nothing of their own
const WHO: &str = "rob";

fn with(roles: &[PersonRole]) -> Policy {
    Policy::new()
        .with(|policy| {
            let person = crate::house::Person {
                groups: vec!["others", "audit"],
                roles: roles.to_vec(),
                passkeys: Vec::new(),
                sub: None,
            };
            policy.people.insert(WHO, person);
        })
        .work(|work| {
            let alone = crate::house::alone(&["shop.run"], 2);
            work.elevate = Some(Elevate { alone: [(Class::Execute, alone)].into(), ask: None });
        })
}

fn person(user: &str) -> Actor {
    Actor::Person { user: name(user), how: How::Socket }
}

/// A version that differs in people only, and one that differs in what tools are
fn versions(house: &House) -> [Arc<Bundle>; 2] {
    let people = house.policy.clone().with(|policy| drop(policy.people.remove("dan")));
    let tools = house.policy.clone().with(|policy| {
        policy.classes.insert("look", Class::Write);
        policy.roles.rest = Some(rest(policy));
    });
    [people.bundle(), tools.bundle()]
}

/// What the door says to a person who does this
fn does(house: &mut House, deed: Deed, by: &Actor) -> Reply {
    let by = by.clone();
    let task = TaskId(1);
    let [people, tools] = versions(house);
    let change = |what| Request::Change(Change { by: by.clone(), what });
    let request = match deed {
        Deed::Stop => Request::Stop(Stop { node: Node::Agent(name("bot")), why: Why::Killed, by, at: None }),
        Deed::Pause => Request::Pause(Pause { node: Node::Agent(name("bot")), halts: true, by, why: String::new() }),
        Deed::Elevate => Request::Elevate(request::Elevate {
            grant: GrantId(house.id()),
            by,
            task,
            uses: crate::house::usages(&["shop.run"]),
            values: [].into(),
            times: 1,
            lasts_ms: 1_000,
            why: "it has to run".to_owned(),
        }),
        Deed::Undo => {
            let undo = house.id();
            let step = (portreeve_core::names::EffectId(1), "shop.look".parse().unwrap(), [].into());
            let reply = house.open(undo, |open| {
                open.by = by.clone();
                open.undoes = Some(Undo { of: task, steps: vec![step] });
            });
            return reply;
        }
        Deed::Register => change(ChangeWhat::Bundle { bundle: people, blob: vec![2] }),
        Deed::Apply => change(ChangeWhat::Bundle { bundle: tools, blob: vec![3] }),
        Deed::Accept => {
            change(ChangeWhat::Pins { connector: name("shop"), definitions: [].into(), identity: Identity::Plain })
        }
        Deed::Keys => {
            let key = "key".to_owned();
            let new = NewKey {
                of: KeyUse::Token,
                key,
                source: "file".to_owned(),
                before: None,
                until: Millis(0),
                vouched: None,
            };
            change(ChangeWhat::Key(new))
        }
        Deed::Observe => Request::Grant(Grant {
            grant: GrantId(house.id()),
            by,
            owner: format!("user:{WHO}"),
            to: To::Observe { on: Node::Tenant },
            why: "to see".to_owned(),
            until: Millis(house.now + 10_000),
        }),
        Deed::Invite => {
            Request::SignedIn(SignedIn { by, user: name("ana"), how: None, claimed: request::Claimed::default() })
        }
        Deed::Secrets => Request::Secret(request::SecretChange { by, name: name("key"), version: Some(1) }),
        // What these open is looking, or is about one question or one review, whose tests are elsewhere.
        Deed::Answer | Deed::Inspect | Deed::Tasks | Deed::Review => {
            Request::Role(Doing { by, deed, about: "all".to_owned() })
        }
    };
    house.turn(request)
}

/// A house in which who there is and what tools are can be told apart
fn built(roles: &[PersonRole]) -> House {
    House::new(with(roles).with(|policy| policy.roles.rest = Some(rest(policy))))
}

fn rest(policy: &Policy) -> Hash {
    Hash::of(format!("{:?}", policy.classes).as_bytes())
}

fn is_refused(reply: &Reply) -> bool {
    matches!(reply, Reply::Refused(_))
}

/// Each role opens just what the table says, and no role opens nothing
#[test]
fn every_role_may_what_the_table_says() {
    for deed in Deed::ALL {
        for role in [None].into_iter().chain(PersonRole::ALL.map(Some)) {
            let mut house = built(&Vec::from_iter(role));
            let reply = does(&mut house, *deed, &person(WHO));
            let may = role.is_some_and(|role| deed.roles().contains(&role));
            assert_eq!(!is_refused(&reply), may, "{deed} by {role:?}: {reply:?}");
            if !may {
                assert!(words(&reply).contains(&Word::RoleMissing), "{deed} by {role:?}: {reply:?}");
                let refused = house.records().into_iter().rev().find_map(|record| match record.event {
                    Event::Refused(refused) => Some((record.actor, refused.words)),
                    _ => None,
                });
                let (actor, said) = refused.unwrap_or_else(|| panic!("{deed} by {role:?} is not on the record"));
                assert_eq!(actor, person(WHO), "{deed}");
                assert!(said.contains(&Word::RoleMissing), "{deed}: {said:?}");
            }
        }
    }
}

/// The account that owns the data folder may everything, a run and an agent nothing, nor somebody who is gone or stopped
#[test]
fn the_account_may_everything_and_no_run_anything() {
    for deed in Deed::ALL {
        let mut all = built(&[]);
        let reply = does(&mut all, *deed, &Actor::Owner { user: None });
        assert!(!is_refused(&reply), "{deed}: {reply:?}");
        for by in [Actor::Run(RunId(1)), Actor::Agent(name("bot")), person("nobody")] {
            let mut house = built(&PersonRole::ALL);
            // A run asks for its own elevation, and ends its own task.
            let own = matches!((deed, &by), (Deed::Elevate, Actor::Run(_)));
            let reply = does(&mut house, *deed, &by);
            assert_eq!(is_refused(&reply), !own, "{deed} by {by:?}: {reply:?}");
        }
        let mut house = built(&PersonRole::ALL);
        house.stop(Node::User(name(WHO)));
        let reply = does(&mut house, *deed, &person(WHO));
        assert!(words(&reply).contains(&Word::UserStopped), "{deed}: {reply:?}");
    }
}

/// Where nobody can tell what differs, it is the whole policy
#[test]
fn an_owner_registers_people_and_nothing_else() {
    let mut house = House::new(with(&[PersonRole::Owner]));
    let reply = does(&mut house, Deed::Register, &person(WHO));
    assert_eq!(words(&reply), [Word::RoleMissing], "without a digest of the rest");
    let mut house = built(&[PersonRole::Owner]);
    assert_eq!(words(&does(&mut house, Deed::Apply, &person(WHO))), [Word::RoleMissing]);
    assert!(matches!(does(&mut house, Deed::Register, &person(WHO)), Reply::Recorded));
}

/// Whoever opened a task, or for whom it runs, ends it without a role, and nobody else does
#[test]
fn everybody_ends_what_is_their_own() {
    for (user, may) in [("ana", true), ("pia", true), ("cid", false), ("bob", true), (WHO, false)] {
        let mut house = built(&[]);
        house.change(|policy| policy.people.get_mut("pia").unwrap().roles = Vec::new());
        let stop = Stop { node: Node::Task(TaskId(1)), why: Why::Killed, by: person(user), at: None };
        let reply = house.turn(Request::Stop(stop));
        assert_eq!(!is_refused(&reply), may, "{user}: {reply:?}");
        if !may {
            assert_eq!(words(&reply), [Word::RoleMissing]);
        }
    }
}

type More = fn(&mut Policy);
type Then = fn(&mut House);

/// Nobody puts into force what gives them more
#[test]
fn nobody_raises_themselves() {
    let more: [(&str, More); 3] = [
        ("a role", |policy| policy.people.get_mut(WHO).unwrap().roles.push(PersonRole::Operator)),
        ("a group", |policy| policy.people.get_mut(WHO).unwrap().groups.push("leads")),
        ("a group's role", |policy| {
            policy.roles.groups.insert(name("others"), BTreeSet::from([PersonRole::Operator]));
        }),
    ];
    for (what, change) in more {
        let mut house = built(&[PersonRole::Author]);
        house.change(|policy| policy.people.get_mut("cid").unwrap().roles.push(PersonRole::Author));
        let next = house.policy.clone().with(change).bundle();
        let mut apply = |by: Actor| {
            let what = ChangeWhat::Bundle { bundle: Arc::clone(&next), blob: vec![2] };
            house.turn(Request::Change(Change { by, what }))
        };
        assert_eq!(words(&apply(person(WHO))), [Word::OwnRights], "{what}");
        // With a link that they had made for somebody else, it is their hand.
        let lent = Actor::Person { user: name("cid"), how: How::Handed { by: format!("user:{WHO}") } };
        assert_eq!(words(&apply(lent)), [Word::OwnRights], "{what}");
        assert!(matches!(apply(person("cid")), Reply::Recorded), "{what}");
    }
    // Less is no more.
    let mut house = built(&[PersonRole::Author, PersonRole::Operator]);
    let next = house.policy.clone().with(|policy| policy.people.get_mut(WHO).unwrap().roles = Vec::new()).bundle();
    let what = ChangeWhat::Bundle { bundle: next, blob: vec![2] };
    assert!(matches!(house.turn(Request::Change(Change { by: person(WHO), what })), Reply::Recorded));
}

/// With `people = 2`, two different people want the very same version; the account needs nobody
#[test]
fn a_change_takes_as_many_people_as_the_policy_says() {
    let mut house = built(&[PersonRole::Author]);
    house.change(|policy| {
        for author in ["cid", "dan"] {
            policy.people.get_mut(author).unwrap().roles.push(PersonRole::Author);
        }
        policy.roles.people = 2;
    });
    let next = |house: &House, class| {
        house
            .policy
            .clone()
            .with(|policy| {
                policy.classes.insert("look", class);
            })
            .bundle()
    };
    let (write, execute) = (next(&house, Class::Write), next(&house, Class::Execute));
    let apply = |house: &mut House, by: Actor, bundle: &Arc<Bundle>| {
        let what = ChangeWhat::Bundle { bundle: Arc::clone(bundle), blob: vec![2] };
        house.turn(Request::Change(Change { by, what }))
    };
    let wanted = |reply: &Reply| matches!(reply, Reply::Proposed { have: 1, of: 2 });
    assert!(wanted(&apply(&mut house, person(WHO), &write)));
    // The same person again, another version, somebody whose hand it is: still one.
    assert!(wanted(&apply(&mut house, person(WHO), &write)));
    assert!(wanted(&apply(&mut house, person("cid"), &execute)));
    let lent = Actor::Person { user: name("dan"), how: How::Handed { by: format!("user:{WHO}") } };
    assert!(wanted(&apply(&mut house, lent, &write)));
    assert_eq!(words(&apply(&mut house, person("eve"), &write)), [Word::RoleMissing]);
    house.restart();
    assert!(matches!(apply(&mut house, person("cid"), &write), Reply::Recorded));
    assert_eq!(house.engine.state().bundle(), Some(write.digest));
    assert_eq!(house.engine.state().proposals(Millis(house.now)).count(), 0, "what was wanted before is over");
    assert!(matches!(apply(&mut house, Actor::Owner { user: None }, &execute), Reply::Recorded));
}

/// What somebody wants counts for a day, and only as long as they may
#[test]
fn what_was_wanted_does_not_count_for_ever() {
    let late: [(&str, Then); 3] = [
        ("a day later", |house| house.now += 24 * 60 * 60 * 1_000),
        ("stopped", |house| drop(house.stop(Node::User(name(WHO))))),
        ("in time", |_| ()),
    ];
    for (what, then) in late {
        let mut house = built(&[PersonRole::Author]);
        house.change(|policy| {
            policy.people.get_mut("cid").unwrap().roles.push(PersonRole::Author);
            policy.roles.people = 2;
        });
        let next = house
            .policy
            .clone()
            .with(|policy| {
                policy.classes.insert("look", Class::Write);
            })
            .bundle();
        let apply = |house: &mut House, user: &str| {
            let what = ChangeWhat::Bundle { bundle: Arc::clone(&next), blob: vec![2] };
            house.turn(Request::Change(Change { by: person(user), what }))
        };
        assert!(matches!(apply(&mut house, WHO), Reply::Proposed { .. }));
        then(&mut house);
        let reply = apply(&mut house, "cid");
        assert_eq!(matches!(reply, Reply::Recorded), what == "in time", "{what}: {reply:?}");
    }
}

fn some_roles() -> impl Strategy<Value = Vec<PersonRole>> {
    proptest::sample::subsequence(PersonRole::ALL.to_vec(), 0..=PersonRole::ALL.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// S3: a role less, or one person more who has to want it, never permits more
    #[test]
    fn a_guard_added_never_permits_more(
        roles in some_roles(),
        taken in some_roles(),
        deed in proptest::sample::select(Deed::ALL),
        people in 0_u8..4,
        more in 0_u8..3,
    ) {
        let done = |roles: &[PersonRole], people: u8| {
            let mut house = built(roles);
            house.change(|policy| policy.roles.people = people);
            let reply = does(&mut house, deed, &person(WHO));
            !matches!(reply, Reply::Refused(_) | Reply::Proposed { .. })
        };
        let fewer: Vec<PersonRole> = roles.iter().copied().filter(|role| !taken.contains(role)).collect();
        if done(&fewer, people + more) {
            prop_assert!(done(&roles, people), "{deed} with {fewer:?}, {} people", people + more);
        }
    }
}
