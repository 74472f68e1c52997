//! Whatever is asked, answered, used, stopped and changed in whatever order: the other reader finds nothing in it.
//!
//! `APPROVALS_SEEDS=100` tries more, `APPROVALS_FROM=N` begins at a seed that was reported.

use crate::{
    read, skip,
    world::{World, done, name, not_sent},
};
use portreeve_core::{
    engine::Reply,
    event::{Actor, End},
    hash::Hash,
    names::{EffectId, HoldId, RunId, TaskId},
    node::{Node, Why},
    request::{Request, Stop},
};
use serde_json::json;

/// Numbers that follow from a seed
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 += 1;
        let [a, b, c, d, ..] = Hash::of(&self.0.to_be_bytes()).0;
        u64::from(u32::from_be_bytes([a, b, c, d])) % end.max(1)
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        list.get(usize::try_from(self.below(list.len() as u64)).unwrap()).cloned()
    }
}

const USERS: [&str; 6] = ["ann", "ben", "ann", "ben", "uma", "cyd"];
const CALLS: [(&str, &str); 5] = [
    ("shop.refund", r#"{"id":"ord_1","amount":12.50}"#),
    ("shop.refund", r#"{"amount":1,"id":"\u00fc\"1\""}"#),
    ("shop.refund", r#"{"id":"ord_1","amount":60}"#),
    ("shop.wipe", r#"{"id":"tmp"}"#),
    ("shop.wipe", r#"{"id":"home"}"#),
];
const STEPS: u32 = 250;

#[derive(Default)]
struct Seen {
    runs: Vec<RunId>,
    /// Under way: run, call, effect
    open: Vec<(RunId, (&'static str, &'static str), EffectId)>,
    asked: Vec<(RunId, (&'static str, &'static str))>,
    pending: Vec<(RunId, (&'static str, &'static str), EffectId)>,
}

fn play(seed: u64) -> World {
    let mut random = Random(seed << 32);
    let mut policy = (u8::try_from(1 + random.below(2)).unwrap(), true);
    let mut world = World::new(policy.0);
    let mut seen = Seen::default();
    for _ in 0..STEPS {
        let run = random.of(&seen.runs).unwrap_or(RunId(0));
        let holds: Vec<HoldId> = world.state().holds().map(|(id, _)| id).collect();
        match random.below(100) {
            0..8 => {
                let by = random.of(&["otto", "uma", "ben"]).unwrap();
                let purpose = random.of(&["help", "help", "urgent"]).unwrap();
                let opened = match random.below(4) {
                    0 => world.open_by("help", Actor::Run(run), Some(run)),
                    _ => world.open_by(purpose, Actor::Owner { user: Some(name(by)) }, None),
                };
                if let (run, Reply::Opened(_)) = opened {
                    seen.runs.push(run);
                }
            }
            8..22 => {
                let call = random.of(&CALLS).unwrap();
                try_call(&mut world, &mut seen, (run, call));
            }
            22..42 => {
                // What was asked about is tried again.
                let asked = &seen.asked[seen.asked.len().saturating_sub(4)..];
                if let Some(again) = random.of(asked) {
                    try_call(&mut world, &mut seen, again);
                }
            }
            42..75 => {
                // The latest ones, mostly.
                let recent = &holds[holds.len().saturating_sub(4)..];
                let of = if random.below(4) == 0 { random.of(&holds) } else { random.of(recent) };
                if let Some(hold) = of {
                    let (user, yes) = (random.of(&USERS).unwrap(), random.below(10) > 0);
                    let _reply = world.try_answer(hold, user, yes);
                }
            }
            75..85 => settle(&mut world, &mut random, &mut seen),
            85..88 => {
                if let Some((run, call, effect)) = seen.pending.pop()
                    && let Reply::Permit(permit) = world.go_on(run, call.0, call.1, Some(effect))
                {
                    seen.open.push((run, call, permit.effect()));
                }
            }
            88..91 => {
                let times = u32::try_from(1 + random.below(2)).unwrap();
                let by = random.of(&[Actor::Run(run), Actor::Owner { user: Some(name("ann")) }]).unwrap();
                let _reply = world.elevate_by(by, run, times);
            }
            91..93 => {
                let node = match (random.below(3), random.of(&holds)) {
                    (0, Some(hold)) => Node::Hold(hold),
                    (1, _) => Node::Task(TaskId(run.0)),
                    _ => Node::Run(run),
                };
                let by = Actor::Owner { user: None };
                let _reply = world.ask(Request::Stop(Stop { node, why: Why::Killed, by, at: None }));
            }
            93..96 => {
                world.now += i64::try_from(random.below(12 * 60_000)).unwrap();
                world.pay();
            }
            96..98 => {
                policy = (u8::try_from(1 + random.below(2)).unwrap(), random.below(3) > 0);
                world.apply(policy.0, policy.1);
            }
            98 => {
                world.restart(policy);
                seen.open.clear();
                world.pay();
            }
            _ => world.pay(),
        }
    }
    world
}

fn try_call(world: &mut World, seen: &mut Seen, (run, call): (RunId, (&'static str, &'static str))) {
    match world.call(run, call.0, call.1) {
        Reply::Permit(permit) => seen.open.push((run, call, permit.effect())),
        Reply::Held(_) if !seen.asked.contains(&(run, call)) => seen.asked.push((run, call)),
        _ => {}
    }
}

fn settle(world: &mut World, random: &mut Random, seen: &mut Seen) {
    if seen.open.is_empty() {
        return;
    }
    let at = usize::try_from(random.below(seen.open.len() as u64)).unwrap();
    let (run, call, effect) = seen.open.remove(at);
    let end = match random.below(6) {
        0 | 1 => not_sent(),
        2 => End::Unknown { why: "the connection broke".to_owned() },
        3 => {
            seen.pending.push((run, call, effect));
            End::Pending { bytes: 2, result: None }
        }
        _ => done(),
    };
    world.settle(effect, end);
}

#[test]
fn nothing_is_found_in_what_any_order_of_things_leads_to() {
    let number = |key: &str, otherwise| std::env::var(key).map_or(otherwise, |text| text.parse().unwrap());
    let (from, seeds) = (number("APPROVALS_FROM", 1), number("APPROVALS_SEEDS", 4));
    let mut states = std::collections::BTreeMap::<String, u32>::new();
    for seed in from..from + seeds {
        let world = play(seed);
        let Some((told, code)) = read(world.folder.path(), &[]) else { return skip() };
        if told["findings"] != json!([]) || code != Some(0) {
            let kept = world.folder.keep();
            panic!("seed {seed}, kept in {}: {:#}", kept.display(), told["findings"]);
        }
        for hold in told["holds"].as_object().unwrap().values() {
            *states.entry(hold["state"].as_str().unwrap().to_owned()).or_default() += 1;
            *states
                .entry(
                    if hold["uses"].as_array().is_some_and(|uses| uses.len() > 1) { "used again" } else { "" }
                        .to_owned(),
                )
                .or_default() += 1;
        }
    }
    eprintln!("{states:?}");
    for state in ["done", "declined", "lapsed", "used again"] {
        assert!(seeds < 4 || states.contains_key(state), "no question ends as {state}: {states:?}");
    }
}
