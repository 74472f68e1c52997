//! Replays one seed: `cargo run -p portreeve-sim --example sim -- SEED [--trace]`, or plays many: `SEED COUNT`.
#![expect(clippy::print_stdout, reason = "this is a command line")]

use portreeve_sim::{Options, run};
use std::time::Instant;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let trace = words.iter().any(|word| word == "--trace");
    let mut numbers = words.iter().filter_map(|word| word.parse::<u64>().ok());
    let (first, count) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(1));
    let started = Instant::now();
    let mut steps = 0;
    for seed in first..first.saturating_add(count) {
        let report = run(seed, Options { trace, ..Options::default() });
        steps += report.steps;
        if count == 1 || !report.violations.is_empty() {
            println!("{report}");
        }
    }
    println!("{count} seeds, {steps} steps in {:?}", started.elapsed());
}
