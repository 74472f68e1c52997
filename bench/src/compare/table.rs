//! The result as markdown.

use std::fmt::Write as _;

use super::figures::{Limit, Ratios, Saturated, bar};
use super::{Kind, Machine, Measured, Settings};

/// All tables of a comparison
pub(crate) fn markdown(machine: &Machine, settings: &Settings, subjects: &[Measured]) -> String {
    let mut text = header(machine, settings);
    text += "| subject | p50 µs | p99 µs | added p50 µs | added p99 µs | calls/s | CPU µs per call | calls per CPU second | idle MiB | loaded MiB | saturated first (CPU of the proxy / of upstream and load) |\n";
    text += "|---|---|---|---|---|---|---|---|---|---|---|\n";
    for subject in subjects {
        text += &row(subject);
    }
    let of_kind = |kind| subjects.iter().find(|subject| subject.kind == kind);
    if let Some(yardstick) = of_kind(Kind::Yardstick) {
        text += &ratios(subjects, yardstick);
        if let Some(portreeve) = of_kind(Kind::Portreeve) {
            text += &marks(portreeve, yardstick);
        }
    }
    text += &noise(subjects);
    text
}

fn header(machine: &Machine, settings: &Settings) -> String {
    let durable = match machine.file_system.as_str() {
        "tmpfs" | "ramfs" => " (NOT A DISK: fdatasync is free here)",
        _ => "",
    };
    format!(
        "{} cores, Linux {}, {}{durable}, {}. Proxy on core {}, upstream and load on core {}. \
         Medians of {} rounds: open loop {}/s over {} connections for {} s, closed loop {} connections \
         for {} s. Yardstick's journal thread at niceness {}.\n\n",
        machine.cores,
        machine.kernel,
        machine.file_system,
        machine.date,
        settings.proxy_core,
        settings.load_core,
        settings.rounds,
        settings.open_rate,
        settings.open_connections,
        settings.open_seconds,
        settings.closed_connections,
        settings.closed_seconds,
        settings.journal_nice,
    )
}

fn row(subject: &Measured) -> String {
    let figures = &subject.figures;
    let word = subject.kind.word();
    let more = if figures.saturated() == Saturated::Load { "> " } else { "" };
    let shares = format!("{:.0} % / {:.0} %", figures.proxy_share * 100.0, figures.load_share * 100.0);
    let Some(per_core_second) = figures.calls_per_core_second() else {
        return format!(
            "| {word} | {:.0} | {:.0} | | | {more}{:.0} | | | | | {} |\n",
            figures.open_p50_us,
            figures.open_p99_us,
            figures.closed_per_second,
            saturated(figures.saturated(), &shares),
        );
    };
    let (p50_min, p50_max) = figures.added_p50_range_us;
    let (p99_min, p99_max) = figures.added_p99_range_us;
    format!(
        "| {word} | {:.0} | {:.0} | {:+.0} ({p50_min:+.0} … {p50_max:+.0}) | {:+.0} ({p99_min:+.0} … {p99_max:+.0}) \
         | {more}{:.0} | {:.1} | {per_core_second:.0} | {:.1} | {:.1} | {} |\n",
        figures.open_p50_us,
        figures.open_p99_us,
        figures.added_p50_us,
        figures.added_p99_us,
        figures.closed_per_second,
        figures.cpu_us_per_call,
        figures.idle_mib,
        figures.resident_mib,
        saturated(figures.saturated(), &shares),
    )
}

fn saturated(what: Saturated, shares: &str) -> String {
    let word = match what {
        Saturated::Proxy => "proxy",
        Saturated::Load => "upstream and load",
        Saturated::Both => "both",
        Saturated::Neither => "neither: calls wait",
    };
    format!("{word} ({shares})")
}

fn ratios(subjects: &[Measured], yardstick: &Measured) -> String {
    let mut text = String::from(
        "\n| ÷ yardstick | added p50 | added p99 | CPU per call | calls/s | calls per CPU second |\n|---|---|---|---|---|---|\n",
    );
    for subject in subjects.iter().filter(|subject| subject.figures.calls_per_core_second().is_some()) {
        let ratios = Ratios::of(&subject.figures, &yardstick.figures);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
            subject.kind.word(),
            ratios.added_p50,
            ratios.added_p99,
            ratios.cpu,
            ratios.per_second,
            ratios.per_core_second,
        );
    }
    text
}

fn marks(portreeve: &Measured, yardstick: &Measured) -> String {
    let mut text = String::from("\n| the bar | measured | limit | |\n|---|---|---|---|\n");
    for mark in bar(&portreeve.figures, &yardstick.figures) {
        let limit = match mark.limit {
            Limit::AtMost(limit) => format!("≤ {limit}"),
            Limit::AtLeast(limit) => format!("≥ {limit}"),
        };
        let verdict = if mark.met() { "met" } else { "MISSED" };
        let _ = writeln!(text, "| {} | {:.2} | {limit} | {verdict} |", mark.what, mark.measured);
    }
    text
}

/// What else ran, so that a noisy run is known as one
fn noise(subjects: &[Measured]) -> String {
    let mut text = String::from(
        "\nOther work on the cores in the closed loops (kernel threads and other programs; proxy's core / load's core): ",
    );
    for (place, subject) in subjects.iter().enumerate() {
        let figures = &subject.figures;
        let _ = write!(
            text,
            "{}{} {:.0} % / {:.0} %",
            if place == 0 { "" } else { ", " },
            subject.kind.word(),
            figures.foreign_on_proxy_core * 100.0,
            figures.foreign_on_load_core * 100.0,
        );
    }
    text.push('.');
    let worst = subjects.iter().map(|subject| subject.figures.foreign_in_open_max).fold(0.0, f64::max);
    let _ = write!(text, " In the open loops at most {:.0} %.", worst * 100.0);
    if worst > FOREIGN_MAX {
        text += "\n\n**Noisy: other programs ran on these cores. Latencies of this run do not count.**";
    }
    for subject in subjects.iter().filter(|subject| subject.figures.errors > 0) {
        let _ =
            write!(text, "\n\n**{}: {} calls failed or do not add up.**", subject.kind.word(), subject.figures.errors);
    }
    text
}

/// Share of a core that other work may take in an open loop; the journal's kernel threads take a few per cent
const FOREIGN_MAX: f64 = 0.15;
