//! The result as markdown.

use std::fmt::Write as _;

use super::{Report, large, streams, translation};
use crate::load::as_f64;

/// All tables; writing to a string cannot fail, so what it returns is of no interest
pub(super) fn markdown(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "{} cores, Linux {}, {}, {}, {} build, {} rounds in turn.\n",
        machine.cores, machine.kernel, machine.file_system, machine.date, report.build, report.rounds,
    );
    if !report.translation.is_empty() {
        text += &translation(&report.translation);
    }
    if !report.large.is_empty() {
        text += &large(&report.large);
    }
    if !report.streams.is_empty() {
        text += &streams(&report.streams);
    }
    text
}

fn translation(all: &[translation::Measured]) -> String {
    let mut text = String::from(
        "\n| client → connector | p50 µs | p99 µs | added p50 µs | added p99 µs | calls/s | CPU µs per call | CPU ÷ same era |\n|---|---|---|---|---|---|---|---|\n",
    );
    for one in all {
        let (figures, way) = (&one.figures, format!("{} → {}", one.client, one.connector));
        if one.direct {
            let _ = writeln!(
                text,
                "| direct, {} | {:.0} | {:.0} | | | {:.0} | | |",
                one.client, figures.open_p50_us, figures.open_p99_us, figures.closed_per_second,
            );
            continue;
        }
        let same = all.iter().find(|same| !same.direct && same.client == one.client && same.connector == one.client);
        let ratio = same.map_or(f64::NAN, |same| figures.cpu_us_per_call / same.figures.cpu_us_per_call);
        let ((p50_min, p50_max), (p99_min, p99_max)) = (figures.added_p50_range_us, figures.added_p99_range_us);
        let _ = writeln!(
            text,
            "| {way} | {:.0} | {:.0} | {:+.0} ({p50_min:+.0} … {p50_max:+.0}) | {:+.0} ({p99_min:+.0} … {p99_max:+.0}) \
             | {:.0} | {:.1} | {ratio:.2} |",
            figures.open_p50_us,
            figures.open_p99_us,
            figures.added_p50_us,
            figures.added_p99_us,
            figures.closed_per_second,
            figures.cpu_us_per_call,
        );
    }
    let worst = all.iter().map(|one| one.figures.foreign_in_open_max).fold(0.0, f64::max);
    let _ = writeln!(text, "\nOther work on either core in the open loops: at most {:.0} %.", worst * 100.0);
    text
}

fn large(all: &[large::Measured]) -> String {
    let mut text = String::from(
        "\n| result | direct ms | through ms | first byte, direct / through ms | CPU ms | MiB before | MiB at most | more than before |\n|---|---|---|---|---|---|---|---|\n",
    );
    let mib = |kib: u64| as_f64(kib) / 1024.0;
    for one in all {
        let since_start = if one.peak_began_anew { "" } else { " (since the start)" };
        let _ = writeln!(
            text,
            "| {:.0} MB, {} | {:.1} | {:.1} | {:.1} / {:.1} | {:.1} | {:.1} | {:.1}{since_start}; {:.1} in all rounds | {:+.1} |",
            f64::from(one.bytes) / 1e6,
            one.form.word(),
            one.direct_ms,
            one.through_ms,
            one.direct_first_ms,
            one.through_first_ms,
            one.cpu_ms,
            mib(one.before_kib),
            mib(one.peak_kib),
            mib(one.peak_of_all_kib),
            mib(one.peak_kib) - mib(one.before_kib),
        );
    }
    text
}

fn streams(all: &[streams::Measured]) -> String {
    let mut text = String::from(
        "\n| idle streams | KiB each | CPU while idle | pieces meanwhile | a stop of one task to its last end | stops of the others to the last end | left open |\n|---|---|---|---|---|---|---|\n",
    );
    for one in all {
        let percent = one.idle_cpu_ms / 10.0 / f64::from(one.idle_seconds);
        let _ = writeln!(
            text,
            "| {} {}, {} tasks | {:.1} | {:.0} ms in {} s ({percent:.2} % of a core) | {} | {:.1} ms ({} streams) | {:.1} ms ({} streams, {} tasks) | {} |",
            one.streams,
            one.kind.word(),
            one.tasks,
            one.kib_each(),
            one.idle_cpu_ms,
            one.idle_seconds,
            one.idle_pieces,
            one.one_stop_ms,
            one.one_stop_streams,
            one.all_stops_ms,
            one.streams - one.one_stop_streams,
            one.tasks.saturating_sub(1),
            one.left_open,
        );
    }
    text
}
