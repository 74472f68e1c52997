//! A second evaluator of the whole judgement, written from the documents and as plainly as possible, held against
//! the real one over random policies, tasks and calls.
//!
//! It reads the policy's text by itself and shares no code with the core. `ORACLE_SEEDS=1000000` tries more, and
//! `ORACLE_FROM=N` begins at a seed that was reported.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on fails"
)]

mod matching;
mod naive;
mod random;

use naive::Naive;
use portreeve_core::{names::Name, pattern::Source, reason::Verdict, value::Value};
use portreeve_rules::{Files, For, NOON, Opening, Opens, Stage, compile};
use random::{Random, Setting};
use std::collections::{BTreeMap, BTreeSet};

/// Whether limits are told of a call that no entry covers
const LIMITS_ALWAYS: bool = true;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn both_judge_alike() {
    let (from, seeds) = (number("ORACLE_FROM", 1), number("ORACLE_SEEDS", 150));
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for seed in from..from + seeds {
        play(seed, &mut seen);
    }
    if seeds < 100 {
        return;
    }
    // A comparison that never meets a word says nothing about it.
    eprintln!("{seen:?}");
    for word in [
        "permit",
        "tool_outside_purpose",
        "argument_outside_task",
        "argument_not_named",
        "argument_unclear",
        "out_of_order",
        "count_spent",
        "calls_spent",
        "class_not_open",
        "approval_needed",
        "nobody_to_ask",
        "rule_forbids",
        "bytes_spent",
        "elevated",
        "elevation_refused",
    ] {
        assert!(seen.get(word).is_some_and(|count| *count > 3), "{word} is hardly met: {seen:?}");
    }
}

fn play(seed: u64, seen: &mut BTreeMap<String, usize>) {
    let mut random = Random::new(seed);
    let setting = Setting::new(&mut random);
    let files: Files = setting.files.iter().cloned().collect();
    let loaded = match compile(&files) {
        Ok(loaded) => loaded,
        Err(findings) => {
            let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
            panic!("seed {seed}: the random policy is refused\n{}\n{:#?}", text.join("\n"), setting.files);
        }
    };
    for purpose in &setting.purposes {
        let given = setting.parameters(&mut random);
        let mut stage = Stage::new(&loaded, NOON);
        let opening = Opening {
            purpose: purpose.parse().unwrap(),
            agent: None,
            user: For::Anybody,
            parameters: given.iter().map(|(name, value)| (name.parse().unwrap(), read(value))).collect(),
        };
        // Everybody who may answer is known from the start.
        stage.people(&["kim".parse().unwrap()]);
        if stage.open(&opening, &[]).is_err() {
            panic!("seed {seed}: {purpose} does not open with {given:?}");
        }
        let mut naive = Naive::new(&setting.files, purpose, &given);
        for number in 0..30 {
            if number < ELEVATIONS_MAX * 4 && number % 4 == 0 {
                // Time passes, so that no two of them end together.
                stage.wait(1);
                open(&mut random, (&setting, purpose), &mut stage, &mut naive, seen, seed);
            }
            let (tool, arguments) = setting.call(&mut random, purpose, &given, naive.returned());
            let own = naive.judge(&tool, &arguments);
            let Value::Object(read_arguments) = read(&serde_json::Value::Object(arguments.clone())) else { panic!() };
            let call = stage.call(&tool.parse().unwrap(), &read_arguments);
            let judged = stage.judge(&call);
            let words: BTreeSet<String> = judged.reasons.iter().map(|reason| reason.word.to_string()).collect();
            let at = || {
                format!(
                    "seed {seed}, purpose {purpose}, call {number}: {tool} {}\ngiven {given:?}\nreal {words:?}\nnaive {own:?}\n{}",
                    serde_json::Value::Object(arguments.clone()),
                    setting.files.iter().map(|(path, text)| format!("-- {path} --\n{text}")).collect::<String>()
                )
            };
            assert_eq!(judged.verdict() == Verdict::Permit, own.words.is_empty(), "{}", at());
            if own.is_ambiguous {
                // Which of several entries came closest is not said anywhere: one of its words is there.
                let about = |words: &BTreeSet<String>| -> BTreeSet<String> {
                    words.iter().filter(|word| !word.starts_with("argument_")).cloned().collect()
                };
                assert_eq!(about(&words), about(&own.words), "{}", at());
                assert!(words.iter().any(|word| own.words.contains(word) && word.starts_with("argument_")), "{}", at());
            } else {
                assert_eq!(words, own.words, "{}", at());
            }
            match words.is_empty() {
                true => *seen.entry("permit".to_owned()).or_default() += 1,
                false => words.iter().for_each(|word| *seen.entry(word.clone()).or_default() += 1),
            }
            if let Some(admission) = &judged.admission {
                let ok = random.chance(4, 5);
                let bytes = random.below(40);
                let returned = setting.answer(&mut random, &own.entries);
                let values: BTreeMap<Source, Vec<Value>> = returned
                    .iter()
                    .map(|(source, values)| (source.parse().unwrap(), values.iter().map(read).collect()))
                    .collect();
                let entries: BTreeSet<Name> = own.entries.iter().map(|entry| entry.parse().unwrap()).collect();
                assert_eq!(admission.charges[0].entries, entries, "{}", at());
                stage.happen(&call, admission, ok, bytes, &values);
                naive.happened(&own, &arguments, ok, bytes, &returned);
            }
        }
    }
}

/// Questions of one task that may wait, and so elevations that are tried
const ELEVATIONS_MAX: usize = 6;

fn open(
    random: &mut Random,
    (setting, purpose): (&Setting, &str),
    stage: &mut Stage<'_>,
    naive: &mut Naive,
    seen: &mut BTreeMap<String, usize>,
    seed: u64,
) {
    let (uses, times, lasts_ms, value) = setting.elevation(random, purpose);
    // Whoever asks for the same again is told what came of it, which is tested where questions are.
    if !naive.asked.insert(format!("{uses:?} {times} {value:?}")) {
        return;
    }
    let is_agreed = random.chance(1, 2);
    let people: Vec<Name> = is_agreed.then(|| "kim".parse().unwrap()).into_iter().collect();
    stage.people(&people);
    let opens = Opens {
        uses: uses.iter().map(|usage| usage.parse().unwrap()).collect(),
        values: value.iter().map(|(name, value)| (name.clone(), read(value))).collect(),
        times,
        lasts_ms,
    };
    let real: BTreeSet<String> =
        stage.elevate(&opens).err().into_iter().flatten().map(|reason| reason.word.to_string()).collect();
    let own: BTreeSet<String> =
        naive.elevate(&uses, (times.into(), lasts_ms), value, is_agreed).map(ToOwned::to_owned).into_iter().collect();
    assert_eq!(real, own, "seed {seed}, purpose {purpose}: {opens:?} agreed {is_agreed}\n{:#?}", setting.files);
    for word in own.iter().map(String::as_str).chain(own.is_empty().then_some("elevated")) {
        *seen.entry(word.to_owned()).or_default() += 1;
    }
    stage.people(&[]);
}

fn read(value: &serde_json::Value) -> Value {
    value.to_string().parse().unwrap()
}
