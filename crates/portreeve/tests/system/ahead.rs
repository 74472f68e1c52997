//! Processes that wait for a task: whoever takes one is the only one that ever has it, and none has a credential before.

use crate::{
    leases::{ledger, with_program},
    support::{
        place::{Place, Serve},
        process::Watched,
        until,
        upstream::{Received, Upstream, Wire},
    },
};
use std::fs;

fn good(_: &Received, _: &mut Wire) -> bool {
    false
}

/// Two processes of the connector wait, which reads its credential in a file
const TWO: &str = "ahead = 2\n[credentials]\nsource = \"shop-key\"\nfiles = { SHOP_FILE = \"{token}\" }\n";

/// A place whose connector says this, and how many were started to look at it
fn served(shop: &Upstream, more: &str) -> (Place, Serve, usize) {
    let place = with_program(shop);
    place.connector("shop", shop, more);
    let serve = place.serve(&["shop"]);
    let looked = started(shop).len();
    (place, serve, looked)
}

/// What a process has in its file in memory now
fn file_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/fd/100")).unwrap()
}

/// The processes that were ever started, in the order of their starts
fn started(shop: &Upstream) -> Vec<u32> {
    shop.children().iter().map(|pids| pids[0]).collect()
}

fn waiting(shop: &Upstream, before: usize, count: usize) -> Vec<u32> {
    until("as many wait as the connector says", || started(shop).len() == before + count);
    started(shop).split_off(before)
}

#[test]
fn a_task_takes_a_process_that_waits_and_nobody_else_ever_has_it() {
    let shop = Upstream::stdio(&["act"], good);
    let (place, serve, looked) = served(&shop, TWO);
    let (one, other) = (serve.open("work"), serve.open("work"));
    assert_eq!(one.word("shop", "act", "v"), "ok");
    let [first] = ledger(&place).try_into().unwrap();
    let [serving, ready @ ..]: [u32; 3] = waiting(&shop, looked, 3).try_into().unwrap();
    assert_eq!(file_of(serving), format!("tok-{first}"));
    assert_eq!(ready.map(file_of), ["", ""], "who waits has no credential");

    assert_eq!(other.word("shop", "act", "v"), "ok");
    let second = ledger(&place).into_iter().find(|name| *name != first).unwrap();
    let (taken, left): (Vec<u32>, Vec<u32>) = ready.into_iter().partition(|pid| !file_of(*pid).is_empty());
    let ([taken], [_]) = (<[u32; 1]>::try_from(taken).unwrap(), <[u32; 1]>::try_from(left).unwrap());
    assert_eq!(file_of(taken), format!("tok-{second}"));
    waiting(&shop, looked, 4);
    // It is on the record as started for its task, and ends with that like any other.
    let watched = Watched::of(taken).unwrap();
    serve.stop(&other.id);
    assert!(watched.ends(), "a process outlives its task");
    assert_eq!(one.word("shop", "act", "v"), "ok", "the other task keeps its own");

    // Whoever stops the connector wants nothing to go on there, nor to be served by what was started before.
    let all = |pids: Vec<u32>| pids.into_iter().filter_map(Watched::of).collect::<Vec<_>>();
    let idle = all(started(&shop).into_iter().filter(|pid| *pid != serving && *pid != taken).collect());
    assert_eq!(idle.iter().filter(|process| !process.is_over()).count(), 2);
    place.run(&["connector", "show", "shop"]).good();
    serve.stop("connector:shop");
    assert!(idle.iter().all(Watched::ends), "what waits is ended with its connector");
}

#[test]
fn what_waits_has_its_place_in_the_policy_of_now() {
    let shop = Upstream::stdio(&["act"], good);
    let (place, serve, looked) = served(&shop, TWO);
    assert_eq!(serve.open("work").word("shop", "act", "v"), "ok");
    let serving = waiting(&shop, looked, 3)[0];
    let all = |pids: Vec<u32>| pids.into_iter().filter_map(Watched::of).collect::<Vec<_>>();
    let idle = all(started(&shop).into_iter().filter(|pid| *pid != serving).collect());
    assert_eq!(idle.iter().filter(|process| !process.is_over()).count(), 2);
    place.connector("shop", &shop, &TWO.replace("ahead = 2\n", ""));
    place.run(&["policy", "apply"]).good();
    assert!(idle.iter().all(Watched::ends), "what the policy has no place for is ended");
    let before = started(&shop).len();
    assert_eq!(serve.open("work").word("shop", "act", "v"), "ok");
    assert_eq!(started(&shop).len(), before + 1, "and a task has its own started then");
}

#[test]
fn what_cannot_wait_is_started_no_more_often_than_tasks_come() {
    // It ends at once where its file is empty, as it reads that when it starts.
    let before = "[ -z \"$SHOP_FILE\" ] || [ -s \"$SHOP_FILE\" ] || { echo \"$$\" >&3; exit 1; }";
    let shop = Upstream::stdio_with(&["act"], before, "kill $(jobs -p)", good);
    let (_place, serve, looked) = served(&shop, &TWO.replace("ahead = 2", "ahead = 8"));
    for tasks in 1..=2 {
        let task = serve.open("work");
        assert_eq!(task.word("shop", "act", "v"), "ok", "nobody suffers from what could not wait");
        until("all were tried", || started(&shop).len() >= looked + tasks * 9);
        assert_eq!(started(&shop).len(), looked + tasks * 9);
    }
    let began = std::time::Instant::now();
    serve.terminate();
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "it ends all the same");
}

#[test]
fn what_waits_is_not_taken_once_it_is_over_and_goes_with_portreeve() {
    let shop = Upstream::stdio(&["act"], good);
    let place = Place::with(&[("shop", &shop)], "", "");
    place.connector("shop", &shop, "ahead = 1\n");
    let serve = place.serve(&["shop"]);
    let looked = started(&shop).len();
    assert_eq!(serve.open("work").word("shop", "act", "v"), "ok");
    let [_, idle] = waiting(&shop, looked, 2).try_into().unwrap();
    let watched = Watched::of(idle).unwrap();
    watched.signal(rustix::process::Signal::KILL);
    assert!(watched.ends());
    assert_eq!(serve.open("work").word("shop", "act", "v"), "ok", "a new one is started instead");
    let last = *waiting(&shop, looked, 4).last().unwrap();
    let watched = Watched::of(last).unwrap();
    serve.kill();
    assert!(watched.ends(), "a process outlives who started it");
    let serve = Serve::start(&place).unwrap_or_else(|ran| panic!("{ran:?}"));
    assert_eq!(serve.open("work").word("shop", "act", "v"), "ok");
    let watched = Watched::of(*waiting(&shop, looked, 6).last().unwrap()).unwrap();
    serve.terminate();
    assert!(watched.ends());
}
