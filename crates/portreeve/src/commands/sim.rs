//! `portreeve sim`

use crate::{
    cli::Sim,
    failure::{Failure, exit},
    output,
};
use portreeve_sim::{Options, Report, run as play};
use serde_json::{Value, json};

pub(crate) fn run(sim: &Sim, as_json: bool) -> Result<u8, Failure> {
    let options = Options { trace: sim.trace, ..Options::default() };
    let mut broken = 0_u64;
    let mut shown = Vec::new();
    for seed in sim.seed..sim.seed.saturating_add(sim.runs) {
        let report = play(seed, options);
        broken += u64::from(!report.violations.is_empty());
        if as_json {
            shown.push(as_value(&report));
        } else {
            output::line(report.to_string().trim_end());
        }
    }
    if as_json {
        output::json(&json!({ "runs": shown, "broken": broken }));
    } else {
        output::line(&format!("{} seeds played, {broken} broke an invariant", sim.runs));
    }
    Ok(if broken == 0 { 0 } else { exit::FAILURE })
}

fn as_value(report: &Report) -> Value {
    let violations: Vec<Value> = report
        .violations
        .iter()
        .map(|violation| json!({ "invariant": violation.invariant, "what": violation.what, "step": violation.step }))
        .collect();
    json!({
        "seed": report.seed, "steps": report.steps, "crashes": report.crashes, "calls": report.calls,
        "permits": report.permits, "refusals": report.refusals, "sent": report.sent, "violations": violations,
        "trace": report.trace,
    })
}
