//! `portreeve policy test`

use crate::{
    commands::author::load,
    failure::{Failure, exit},
    output,
};
use portreeve_core::names::Name;
use serde_json::json;
use std::path::Path;

pub(super) fn run(folder: &Path, purpose: Option<&Name>, required: bool, as_json: bool) -> Result<u8, Failure> {
    let loaded = load(folder)?;
    if let Some(purpose) = purpose.filter(|purpose| !loaded.bundle.purposes.contains_key(*purpose)) {
        return Err(Failure::new(
            exit::NOT_FOUND,
            "purpose_unknown",
            format!("No purpose {purpose} is in the policy."),
        )
        .fix("List them with `portreeve policy show`."));
    }
    let tested = loaded.test(purpose);
    let failed = tested.failed().count();
    let missing = required && !tested.coverage.gaps.is_empty();
    let ok = failed == 0 && !missing;
    if as_json {
        output::json(&json!({
            "bundle": loaded.bundle.digest, "ok": ok, "failed": failed, "cases": tested.cases,
            "coverage": tested.coverage,
        }));
        return Ok(if ok { 0 } else { exit::UNVERIFIED });
    }
    for case in &tested.cases {
        let mark = if case.ok { "ok  " } else { "FAIL" };
        let line = format!("{mark}  {}/{}  {}", case.purpose, case.case, case.call);
        let outcome = if case.ok && case.expected == case.got {
            case.got.clone()
        } else {
            format!("{}, expected {}", case.got, case.expected)
        };
        output::line(&output::plain(&format!("{line}  ->  {outcome}")));
    }
    for finding in tested.failed().filter_map(|case| case.finding.as_ref()) {
        output::line(&format!("\n{finding}"));
    }
    let gaps = &tested.coverage.gaps;
    if !gaps.is_empty() {
        output::line("\nuntried");
    }
    for gap in gaps {
        output::line(&format!("  {}: {}", gap.place, gap.says()));
    }
    let of = |what: &str, (covered, all): (usize, usize)| format!("{covered} of {all} {what}");
    let mut covered = vec![of("entries", tested.coverage.entries), of("variants", tested.coverage.variants)];
    if tested.coverage.elevations.1 > 0 {
        covered.push(of("elevations", tested.coverage.elevations));
    }
    if purpose.is_none() {
        covered.push(of("rules", tested.coverage.rules));
    }
    output::line(&format!(
        "\n{}: {} cases, {failed} failed; tried: {}",
        if ok { "ok" } else { "not ok" },
        tested.cases.len(),
        covered.join(", ")
    ));
    Ok(if ok { 0 } else { exit::UNVERIFIED })
}
