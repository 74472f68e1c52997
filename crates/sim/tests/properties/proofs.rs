//! Agents that prove themselves: what they were let do, they could prove at that moment.

use crate::door::{Called, Door, entry, unbounded};
use portreeve_core::{
    engine::Reply,
    event::{Actor, ChosenBy},
    hash::Hash,
    names::{EffectId, MemoryId, Name, RunId, TaskId},
    node::{Node, Why},
    policy::{Agent, Bundle, SignIn, User, Users},
    proof::{Behalf, Binding, How, Proof, Proven, Way},
    reason::Word,
    request::{Open, Pause, Prove, Request, Stop},
    time::Millis,
    value::Value,
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

const ID: &str = "spiffe://example.org/bot";
const PROGRAM: &[u8] = b"the program";
const KEY: &str = "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"AA\"}";

/// A policy whose agent proves itself by a SPIFFE ID or a key
fn proving(review_by: Option<Millis>) -> Arc<Bundle> {
    let bundle = Arc::into_inner(unbounded(&[entry(0)])).unwrap();
    let program = Way::Program { sha256: Hash::of(PROGRAM) };
    let ways = [Way::Spiffe(ID.to_owned()), Way::Key { jwk: KEY.to_owned() }, program];
    let proofs = ways.map(|way| Proof { way, replicas: false, attest: None }).to_vec();
    let agent = Agent { review_by, proofs, ..Agent::of("test".to_owned()) };
    Arc::new(Bundle { agents: [(bot(), agent)].into(), ..bundle })
}

fn bot() -> Name {
    "bot".parse().unwrap()
}

/// What whoever starts an agent shows of it
const PROGRAMMED: u8 = 9;

fn proven(what: u8, until: i64) -> Proven {
    let (how, subject, key) = match what {
        0 if until % 2 == 0 => (How::X509Svid, ID, None),
        0 => (How::JwtSvid, ID, None),
        1 => (How::PrivateKeyJwt, "bot", Some(Hash::of(KEY.as_bytes()))),
        PROGRAMMED => (How::Program, "/usr/bin/bot", Some(Hash::of(PROGRAM))),
        // What looks much like it: the same words in another way, another key, another name.
        2 => (How::Oidc, ID, Some(Hash::of(KEY.as_bytes()))),
        3 => (How::PrivateKeyJwt, "bot", Some(Hash::of(b"another"))),
        _ => (How::JwtSvid, "spiffe://example.org/bot/x", None),
    };
    Proven {
        how,
        issuer: None,
        subject: subject.to_owned(),
        claims: BTreeMap::new(),
        key,
        id: None,
        binding: Some(Binding::Dpop(Hash::of(b"held"))),
        from: "127.0.0.1".to_owned(),
        until: Millis(until),
        behalf: None,
    }
}

fn open(task: u64, by: Actor, proven: Option<Proven>) -> Request {
    let value: (Value, ChosenBy) = ("2".parse().unwrap(), ChosenBy::Parameter);
    Request::Open(Open {
        task: TaskId(task),
        run: RunId(task),
        memory: MemoryId(1),
        by,
        agent: bot(),
        user: None,
        purpose: "work".parse().unwrap(),
        parameters: [("p".parse().unwrap(), value)].into(),
        objective: None,
        parent: None,
        undoes: None,
        proven,
    })
}

fn words(reply: &Reply) -> Vec<Word> {
    match reply {
        Reply::Refused(reasons) => reasons.iter().map(|reason| reason.word).collect(),
        _ => Vec::new(),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pass(i64),
    Prove { what: u8, lasts: i64, bound: Option<Binding> },
    Pause(bool),
    Call,
}

/// Mostly a key, as at the opening, which may be another one
fn bound() -> impl Strategy<Value = Option<Binding>> {
    prop_oneof![
        4 => any::<u8>().prop_map(|key| Some(Binding::Dpop(Hash::of(&[key])))),
        1 => Just(Some(Binding::Certificate(Hash::of(b"held")))),
        1 => Just(None),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..8_000i64).prop_map(Step::Pass),
        (0..5u8, 0..15_000i64, bound()).prop_map(|(what, lasts, bound)| Step::Prove { what, lasts, bound }),
        any::<bool>().prop_map(Step::Pause),
        Just(Step::Call),
        Just(Step::Call),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// A call is let through only while the latest good proof counts and nobody has halted the agent, and the
    /// record says so in the same words when it is folded anew
    #[test]
    fn what_is_let_through_could_be_proven_then(
        first in 0..5u8,
        lasts in 0..15_000i64,
        steps in prop::collection::vec(step(), 1..25),
    ) {
        let mut door = Door::new(proving(None));
        let until = door.now + 1 + lasts;
        let reply = door.turn(open(9, Actor::Agent(bot()), Some(proven(first, until)))).unwrap();
        let opened = matches!(reply, Reply::Opened(_));
        prop_assert_eq!(opened, first < 2 && door.now < until, "{:?}", words(&reply));
        let (mut until, mut paused, mut over) = (until, false, !opened);
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Pass(ms) => door.now += ms,
                Step::Prove { what, lasts, bound } => {
                    let shown = door.now + 1 + lasts;
                    let prove = Prove { task: TaskId(9), agent: bot(), proven: Proven { binding: bound, ..proven(what, shown) } };
                    let reply = door.turn(Request::Prove(prove)).unwrap();
                    over |= until <= door.now;
                    let same = matches!(bound, Some(Binding::Dpop(_)));
                    let good = !over && !paused && what < 2 && door.now < shown && same;
                    prop_assert_eq!(matches!(reply, Reply::Recorded), good, "{:?}", words(&reply));
                    until = if good { until.max(shown) } else { until };
                }
                Step::Pause(halts) => {
                    let pause = Pause {
                        node: Node::Agent(bot()), halts, by: Actor::Owner { user: None }, why: "test".to_owned(),
                    };
                    prop_assert!(matches!(door.turn(Request::Pause(pause)), Some(Reply::Recorded)));
                    paused = halts;
                }
                Step::Call => {
                    let call = Called::plain(9, 0).request(EffectId(100 + number as u64));
                    let reply = door.turn(Request::Call(call)).unwrap();
                    over |= until <= door.now;
                    let permitted = matches!(reply, Reply::Permit(_));
                    prop_assert!(!permitted || (!over && !paused), "{until} {} {paused}", door.now);
                    if !over && paused {
                        prop_assert!(words(&reply).contains(&Word::Paused), "{:?}", words(&reply));
                    }
                }
            }
        }
    }
}

#[test]
fn nobody_else_opens_or_ends_what_an_agent_opened() {
    let mut door = Door::new(proving(None));
    let (owner, agent) = (Actor::Owner { user: None }, Actor::Agent(bot()));
    let good = |door: &Door| Some(proven(0, door.now + 10_000));
    // Not the owner of the folder, not without a proof, not for another agent.
    let reply = door.turn(open(2, owner.clone(), None)).unwrap();
    assert_eq!(words(&reply), [Word::ProofWrong]);
    let reply = door.turn(open(2, agent.clone(), None)).unwrap();
    assert!(words(&reply).contains(&Word::NotYours), "{:?}", words(&reply));
    let shown = good(&door);
    let reply = door.turn(open(2, Actor::Agent("other".parse().unwrap()), shown)).unwrap();
    assert!(words(&reply).contains(&Word::NotYours), "{:?}", words(&reply));

    let shown = good(&door);
    assert!(matches!(door.turn(open(2, agent.clone(), shown)), Some(Reply::Opened(_))));
    // What an agent gives as a parameter is the agent's, whatever it says of it.
    let task = door.engine.state().task(TaskId(2)).unwrap();
    assert_eq!(task.chosen.values().collect::<Vec<_>>(), [&ChosenBy::Model]);

    let stop = |node: Node, by: Actor| Request::Stop(Stop { node, why: Why::Ended, by, at: None });
    let other = Actor::Agent("other".parse().unwrap());
    let reply = door.turn(stop(Node::Task(TaskId(2)), other)).unwrap();
    assert!(words(&reply).contains(&Word::NotYours), "{:?}", words(&reply));
    for node in [Node::Tenant, Node::Agent(bot()), Node::Purpose("work".parse().unwrap())] {
        let reply = door.turn(stop(node.clone(), agent.clone())).unwrap();
        assert!(words(&reply).contains(&Word::NotYours), "{node}");
    }
    let halts = Pause { node: Node::Agent(bot()), halts: true, by: agent.clone(), why: String::new() };
    assert!(words(&door.turn(Request::Pause(halts)).unwrap()).contains(&Word::NotYours));
    assert!(matches!(door.turn(stop(Node::Task(TaskId(2)), agent)), Some(Reply::Recorded)));
}

#[test]
fn a_program_is_shown_by_whoever_starts_it_and_by_nobody_else() {
    let mut door = Door::new(proving(None));
    let (owner, agent) = (Actor::Owner { user: None }, Actor::Agent(bot()));
    let until = door.now + 10_000;
    let shown = |what: u8| Some(proven(what, until));
    // No agent says of itself what it runs.
    let reply = door.turn(open(2, agent, shown(PROGRAMMED))).unwrap();
    assert!(words(&reply).contains(&Word::NotYours), "{:?}", words(&reply));
    let another = Proven { key: Some(Hash::of(b"another")), ..proven(PROGRAMMED, until) };
    let reply = door.turn(open(2, owner.clone(), Some(another))).unwrap();
    assert_eq!(words(&reply), [Word::ProofWrong]);
    assert!(matches!(door.turn(open(2, owner, shown(PROGRAMMED))), Some(Reply::Opened(_))));
    // What its owner gives as a parameter is its owner's.
    let task = door.engine.state().task(TaskId(2)).unwrap();
    assert_eq!(task.chosen.values().collect::<Vec<_>>(), [&ChosenBy::Parameter]);
    assert_eq!(task.proven.as_ref().map(|proven| proven.how), Some(How::Program));
}

#[test]
fn after_its_review_day_an_agent_gets_nothing_and_what_it_had_ends_with_the_day() {
    let mut door = Door::new(proving(None));
    let day = door.now + 5_000;
    let mut door_of = |review_by: i64| {
        door = Door::new(proving(Some(Millis(review_by))));
        let shown = proven(0, door.now + 60_000);
        let reply = door.turn(open(2, Actor::Agent(bot()), Some(shown))).unwrap();
        (words(&reply), door.engine.state().task(TaskId(2)).map(|task| task.expires))
    };
    assert_eq!(door_of(day), (Vec::new(), Some(Millis(day))));
    assert_eq!(door_of(day - 5_000), (vec![Word::AgentOverdue], None));
}

#[test]
fn an_agent_works_for_somebody_by_a_token_of_theirs_only() {
    let mut bundle = Arc::into_inner(proving(None)).unwrap();
    let (ana, ben): (Name, Name) = ("ana".parse().unwrap(), "ben".parse().unwrap());
    let sign_in = |sub: &str| SignIn { issuer: "company".parse().unwrap(), sub: sub.to_owned() };
    let user = |sub: &str| User { sign_in: Some(sign_in(sub)), ..User::default() };
    bundle.users = [(ana.clone(), user("a1")), (ben.clone(), user("b1"))].into();
    for purpose in bundle.purposes.values_mut() {
        purpose.open.users = Users::Named([ana.clone(), ben.clone()].into());
    }
    let mut door = Door::new(Arc::new(bundle));
    let now = door.now;
    let behalf = |issuer: &str, sub: &str, until: i64| {
        let issuer = issuer.parse().unwrap();
        Some(Box::new(Behalf {
            issuer,
            subject: sub.to_owned(),
            client: None,
            id: "1".to_owned(),
            until: Millis(until),
        }))
    };
    let mut task = 20;
    let mut opens = |user: Option<&Name>, behalf: Option<Box<Behalf>>| {
        task += 1;
        let shown = Proven { behalf, ..proven(0, now + 10_000) };
        let Request::Open(open) = open(task, Actor::Agent(bot()), Some(shown)) else { panic!("no opening") };
        words(&door.turn(Request::Open(Open { user: user.cloned(), ..open })).unwrap())
    };
    assert_eq!(opens(Some(&ana), behalf("company", "a1", now + 5_000)), []);
    // Not without one, not with somebody else's, not with one of another issuer, not with one that is over.
    for not in
        [None, behalf("company", "b1", now + 5_000), behalf("other", "a1", now + 5_000), behalf("company", "a1", now)]
    {
        assert_eq!(opens(Some(&ana), not.clone()), [Word::ProofWrong], "{not:?}");
    }
    assert_eq!(opens(Some(&ben), behalf("company", "b1", now + 5_000)), []);
    assert_eq!(opens(None, None), [Word::PurposeNotOpen], "a purpose for somebody is none for nobody");
}
