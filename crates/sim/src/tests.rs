use super::*;
use std::collections::BTreeSet;

/// Plays seeds and fails with a line that replays the first one that broke something
fn plays(seeds: std::ops::Range<u64>, options: Options) -> Report {
    let mut total = Report::default();
    for seed in seeds {
        let report = run(seed, options);
        assert!(report.violations.is_empty(), "{options:?}\n{report}");
        total.steps += report.steps;
        total.crashes += report.crashes;
        total.permits += report.permits;
        total.sent += report.sent;
        total.held += report.held;
        total.answers += report.answers;
        total.approved += report.approved;
        total.opened += report.opened;
    }
    total
}

#[test]
fn nothing_is_violated_while_everything_fails() {
    let total = plays(0..300, Options::default());
    assert!(total.crashes > 300 && total.sent > 1_000, "the world became too quiet: {total}");
    assert!(total.approved > 40 && total.opened > 100, "people became too quiet: {total}");
}

#[test]
fn nothing_is_violated_while_nothing_fails() {
    let total = plays(1_000..1_060, Options { faults: false, ..Options::default() });
    assert!(total.sent > 250, "the world became too quiet: {total}");
}

/// By hand: `SEEDS=0..5000 cargo test -p portreeve-sim many -- --ignored --nocapture`
#[test]
#[ignore = "as many seeds as somebody has time for"]
fn many() {
    let seeds = std::env::var("SEEDS").unwrap_or_else(|_| "0..1000".to_owned());
    let (from, to) = seeds.split_once("..").unwrap();
    let options = Options { trace: std::env::var_os("TRACE").is_some(), ..Options::default() };
    let total = plays(from.parse().unwrap()..to.parse().unwrap(), options);
    eprintln!("{total}");
}

#[test]
fn the_same_seed_is_the_same_history() {
    let options = Options { trace: true, ..Options::default() };
    assert_eq!(run(7, options), run(7, options));
}

#[test]
fn a_crash_after_every_step_of_a_story_leaves_nothing_behind() {
    let story = Options { scripted: true, faults: false, ..Options::default() };
    let whole = run(1, story);
    assert!(whole.violations.is_empty() && whole.sent >= 8, "{whole}");
    for step in 1..=whole.steps {
        for crash in [Crash::Between, Crash::Landed, Crash::Lost] {
            let report = run(1, Options { crash: Some((step, crash)), ..story });
            assert!(report.violations.is_empty(), "{crash:?} at {step}\n{report}");
        }
    }
}

#[test]
fn every_missing_guard_is_found_by_the_invariant_that_names_it() {
    for sabotage in Sabotage::ALL {
        let expected = match sabotage {
            Sabotage::ForwardBeforeDurable => ["I1"].as_slice(),
            Sabotage::IgnoreLatch => &["I2", "I14"],
            Sabotage::IgnoreDeadline | Sabotage::EarlyAcknowledgement => &["I2"],
            Sabotage::RepeatUnknown | Sabotage::NotSentAfterBytes | Sabotage::ReusePermit | Sabotage::KeepPending => {
                &["I12"]
            }
            Sabotage::DiskLies => &["I1", "I2", "I6"],
            Sabotage::SkipRecovery | Sabotage::NoReap | Sabotage::ReapUnverified => &["I5"],
            Sabotage::TrustWallClock | Sabotage::IgnoreAnswers => &["I6"],
            Sabotage::DelegateAsOwner => &["I11"],
            Sabotage::LateLatch | Sabotage::ForgetAncestors => &["I14"],
            Sabotage::LongerGrants
            | Sabotage::IgnoreGrants
            | Sabotage::UseTwice
            | Sabotage::OwnYes
            | Sabotage::StaleYes
            | Sabotage::OneOfTwo
            | Sabotage::ForgetNo
            | Sabotage::WidenElevation => &["I4"],
        };
        let mut missing: BTreeSet<&str> = expected.iter().copied().collect();
        for seed in 0..400 {
            if missing.is_empty() {
                break;
            }
            for violation in run(seed, Options { sabotage: Some(*sabotage), ..Options::default() }).violations {
                missing.remove(violation.invariant);
            }
        }
        assert!(missing.is_empty(), "{sabotage:?} is not found by {missing:?}");
    }
}
