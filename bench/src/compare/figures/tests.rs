use super::{Figures, Saturated, bar, median};
use crate::compare::round::{Turn, Usage};
use crate::load::Summary;

fn turn(p50_us: f64, cpu_us: u64) -> Turn {
    let summary = Summary {
        form: "open".into(),
        count: 1_000,
        errors: 0,
        first_error: None,
        per_second: 1_000.0,
        p50_us,
        p90_us: p50_us,
        p99_us: p50_us * 2.0,
        p999_us: p50_us * 2.0,
        max_us: p50_us * 2.0,
        calls_total: 1_000,
        wall_us: 100_000,
        cpu_us: 50_000,
    };
    let usage = Usage {
        proxy_us: cpu_us,
        load_us: 95_000,
        proxy_core_us: cpu_us + 1_000,
        load_core_us: 99_000,
        wall_us: 100_000,
    };
    Turn {
        open: summary.clone(),
        closed: summary,
        open_usage: usage.clone(),
        closed_usage: usage,
        idle_kib: 2_048,
        resident_kib: 4_096,
        unaccounted: 0,
    }
}

#[test]
fn medians() {
    assert!((median(&[1.0, 2.0, 9.0]) - 2.0).abs() < f64::EPSILON);
    assert!((median(&[1.0, 2.0, 4.0, 9.0]) - 3.0).abs() < f64::EPSILON);
    assert!(median(&[]).is_nan());
}

#[test]
fn added_is_paired_by_round() {
    let direct = [turn(100.0, 0), turn(200.0, 0), turn(100.0, 0)];
    let proxy = [turn(150.0, 40_000), turn(250.0, 40_000), turn(900.0, 40_000)];
    let figures = Figures::of(&proxy, &direct);
    assert!((figures.added_p50_us - 50.0).abs() < 1e-9);
    assert!((figures.added_p50_range_us.1 - 800.0).abs() < 1e-9);
    assert!((figures.cpu_us_per_call - 40.0).abs() < 1e-9);
    assert_eq!(figures.saturated(), Saturated::Load);
    assert!(Figures::of(&direct, &direct).calls_per_core_second().is_none());
}

#[test]
fn the_bar_is_met_by_the_yardstick_itself_and_not_by_twice_its_cost() {
    let direct = [turn(100.0, 0)];
    let yardstick = Figures::of(&[turn(200.0, 40_000)], &direct);
    assert!(bar(&yardstick, &yardstick).iter().all(super::Mark::met));
    let dear = Figures::of(&[turn(300.0, 80_000)], &direct);
    let missed = bar(&dear, &yardstick).iter().filter(|mark| !mark.met()).count();
    assert_eq!(missed, 4);
}
