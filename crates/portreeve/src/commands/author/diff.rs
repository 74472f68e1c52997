//! `portreeve policy diff`

use crate::{
    cli::Cli,
    commands::author::{self, load, record::Recorded, replay, usage},
    failure::Failure,
    output, place,
};
use portreeve_core::{hash::Hash, reason::Verdict as Said};
use portreeve_rules::{Change, Difference, Files, Loaded, compile, diff};
use serde::Serialize;
use serde_json::json;
use std::path::Path;

pub(super) fn run(cli: &Cli, wanted: &author::Diff) -> Result<u8, Failure> {
    let old = version(cli, &wanted.old)?;
    let new = version(cli, &wanted.new)?;
    let difference = diff(&old, &new);
    let report = match wanted.from_log {
        true => Some(replay::judged(&place::data(cli)?, 0, Some(new.bundle.clone()))?.0),
        false => None,
    };
    let moved = wanted.traces.as_deref().map(|file| moved(file, &old, &new)).transpose()?;
    if cli.json {
        output::json(&json!({
            "old": old.bundle.digest, "new": new.bundle.digest, "difference": difference, "replay": report,
            "traces": moved,
        }));
        return Ok(0);
    }
    show(&difference);
    if let Some(report) = &report {
        output::line("");
        replay::show(report);
    }
    if let Some(moved) = &moved {
        output::line(&format!("\n{} traced calls, {} judged otherwise", moved.calls, moved.moved.len()));
        for call in &moved.moved {
            let line = format!("  {} -> {}  task {}: {}  {}", call.old, call.new, call.task, call.call, call.words);
            output::line(output::plain(&line).trim_end());
        }
    }
    Ok(0)
}

/// A policy directory, or a version of which the record knows the digest
fn version(cli: &Cli, text: &str) -> Result<Loaded, Failure> {
    let folder = Path::new(text);
    if folder.is_dir() {
        return load(&place::absolute(folder)?);
    }
    let digest: Hash = text.parse().map_err(|_| {
        usage(
            format!("{:?} is no policy directory and no digest.", output::plain(text)),
            "Name two of them: the old one first.",
        )
    })?;
    let unreadable = |why: String| {
        Failure::new(crate::failure::exit::NOT_FOUND, "version_unreadable", format!("{digest}: {why}"))
            .fix("List the versions that the record holds with `portreeve policy history`.")
    };
    let blob = Recorded::open(&place::data(cli)?)?.blob(digest).map_err(unreadable)?;
    let files = Files::from_blob(&blob).ok_or_else(|| unreadable("it is no policy".to_owned()))?;
    compile(&files).map_err(|findings| {
        unreadable("this program does not read it any more".to_owned())
            .more(findings.iter().filter(|finding| finding.is_error()).map(ToString::to_string))
    })
}

fn show(difference: &Difference) {
    for Change { place, what, verdict } in &difference.changes {
        let verdict = verdict.to_string();
        output::line(&output::plain(&format!("{verdict:<9} {place}: {what}")));
    }
    output::line(&format!("\nall in all: {}", difference.verdict));
}

/// Calls of traces that two versions judge differently
#[derive(Serialize)]
struct Moved {
    calls: usize,
    moved: Vec<Call>,
}

#[derive(Serialize)]
struct Call {
    task: usize,
    call: String,
    old: &'static str,
    new: &'static str,
    words: String,
}

fn moved(file: &Path, old: &Loaded, new: &Loaded) -> Result<Moved, Failure> {
    let mut found = Moved { calls: 0, moved: Vec::new() };
    for (task, trace) in (1..).zip(replay::read(file)?) {
        let (before, after) = (trace.follow(old), trace.follow(new));
        for (one, two) in before.calls.iter().zip(&after.calls) {
            found.calls += 1;
            if one.verdict != two.verdict {
                let reasons =
                    if two.verdict == portreeve_rules::word_of(Said::Permit) { &one.reasons } else { &two.reasons };
                let words: Vec<&str> = reasons.iter().map(|reason| reason.word.as_str()).collect();
                let (call, words) = (two.call.clone(), words.join(", "));
                found.moved.push(Call { task, call, old: one.verdict, new: two.verdict, words });
            }
        }
    }
    Ok(found)
}
