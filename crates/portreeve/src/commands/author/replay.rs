//! `portreeve policy replay`

use crate::{
    cli::Cli,
    commands::author::{
        self, load,
        record::{Recorded, Step},
        usage,
    },
    failure::{Failure, exit},
    output, place,
};
use portreeve_core::{policy::Bundle, reason::Verdict};
use portreeve_rules::{Followed, Loaded, Report, Trace, traces};
use serde_json::json;
use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

pub(super) fn run(cli: &Cli, replay: &author::Replay) -> Result<u8, Failure> {
    let against = replay.against.as_deref().map(|folder| load(&place::absolute(folder)?)).transpose()?;
    match &replay.traces {
        Some(file) => {
            let loaded = match against {
                Some(loaded) => loaded,
                None => load(&author::folder_of(cli, None)?)?,
            };
            follow(file, &loaded, cli.json)
        }
        None => from_log(cli, replay, against.map(|loaded| loaded.bundle)),
    }
}

/// The record of a data folder, judged once more
pub(super) fn judged(data: &Path, since: u64, against: Option<Arc<Bundle>>) -> Result<(Report, Vec<Trace>), Failure> {
    let mut replay = portreeve_rules::Replay::new(since, against);
    Recorded::open(data)?.each(|recorded, step| {
        match step {
            Step::Record(group, record) => replay.next(group, record, &mut |digest| recorded.version(digest)),
            Step::Closed(head) => replay.closed(head),
        }
        false
    })?;
    let traces = replay.traces().cloned().collect();
    Ok((replay.report(), traces))
}

fn from_log(cli: &Cli, replay: &author::Replay, against: Option<Arc<Bundle>>) -> Result<u8, Failure> {
    let (report, traces) = judged(&place::data(cli)?, replay.since, against)?;
    if let Some(file) = &replay.write {
        let lines: Result<Vec<String>, _> = traces.iter().map(serde_json::to_string).collect();
        let text = lines.map_err(anyhow::Error::from)?.into_iter().map(|line| line + "\n").collect::<String>();
        fs::write(file, text)?;
        output::tip(&format!("wrote {} traces to {}", traces.len(), file.display()));
    }
    let same = report.is_same();
    if cli.json {
        output::json(&json!(report));
    } else {
        show(&report);
    }
    Ok(if same { 0 } else { exit::UNVERIFIED })
}

/// What judging the record once more has found
pub(super) fn show(report: &Report) {
    for difference in &report.differences {
        let line = format!("DIFFERS  {}  {}: {}", difference.effect, difference.call, difference.what);
        output::line(&output::plain(&line));
    }
    let Report { tasks, calls, same, .. } = report;
    output::line(&format!("{calls} calls in {tasks} tasks; {same} judged once more, as the record says"));
    for (why, count) in &report.skipped {
        output::line(&format!("{count} not judged: {why}"));
    }
    if !report.refused.is_empty() {
        let words: Vec<String> = report.refused.iter().map(|(word, count)| format!("{word} {count}x")).collect();
        output::line(&format!("refused, and kept without arguments: {}", words.join(", ")));
    }
    if !report.is_same() {
        let count = report.differences.len();
        output::line(&format!(
            "NOT OK: {count} calls are not judged as they were: the record or this program is wrong"
        ));
    }
    let Some(against) = &report.against else { return };
    output::line(&format!(
        "\nunder {}: {} tasks open, {} calls are permitted",
        against.bundle.short(),
        against.opens,
        against.permits
    ));
    for changed in &against.changed {
        let verdict = match changed.verdict {
            "ask" => "would ask",
            "observe" => "would be let through by a grant only",
            _ => "would be refused",
        };
        let line =
            format!("{:>5}x {} {verdict}, first {}  {}", changed.count, changed.what, changed.first, changed.example);
        output::line(&output::plain(&line));
        for reason in &changed.reasons {
            output::line(&output::plain(&format!("         {} from {}: {reason}", reason.word, reason.source)));
        }
    }
    if against.changed.is_empty() {
        output::line("nothing that happened would be refused or asked about");
    }
}

/// Traces of a file
pub(super) fn read(file: &Path) -> Result<Vec<Trace>, Failure> {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::new(exit::NOT_FOUND, "traces_unreadable", format!("{}: {error}", file.display())))?;
    traces(&text).map_err(|error| {
        usage(
            format!("{}: {error}", output::plain(&file.display().to_string())),
            "Each line is one task: {\"purpose\":\"p\",\"calls\":[{\"tool\":\"shop.get_order\",\"arguments\":{}}]}",
        )
    })
}

fn follow(file: &Path, loaded: &Loaded, as_json: bool) -> Result<u8, Failure> {
    let followed: Vec<Followed> = read(file)?.iter().map(|trace| trace.follow(loaded)).collect();
    let total = |verdict| followed.iter().map(|followed| followed.count(verdict)).sum::<usize>();
    let (permits, asks, denies) = (total(Verdict::Permit), total(Verdict::Hold), total(Verdict::Deny));
    let mut words: BTreeMap<_, usize> = BTreeMap::new();
    for reason in followed.iter().flat_map(|followed| &followed.calls).flat_map(|call| call.reasons.first()) {
        *words.entry(reason.word).or_default() += 1;
    }
    if as_json {
        output::json(&json!({
            "bundle": loaded.bundle.digest, "tasks": followed, "permit": permits, "ask": asks, "deny": denies,
            "words": words,
        }));
        return Ok(0);
    }
    for (number, task) in (1..).zip(&followed) {
        output::line(&format!("task {number}: {}", task.purpose));
        for call in &task.calls {
            let words: Vec<&str> = call.reasons.iter().map(|reason| reason.word.as_str()).collect();
            let line = format!("  {:<6} {}  {}", call.verdict, call.call, words.join(", "));
            output::line(output::plain(&line).trim_end());
        }
    }
    let by_word: Vec<String> = words.iter().map(|(word, count)| format!("{word} {count}x")).collect();
    let by_word = if by_word.is_empty() { String::new() } else { format!(" ({})", by_word.join(", ")) };
    let tasks = followed.len();
    output::line(&format!("{tasks} tasks: {permits} calls permitted, {asks} asked about, {denies} refused{by_word}"));
    Ok(0)
}
