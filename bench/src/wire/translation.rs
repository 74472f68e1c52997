//! Calls of `echo` in the four combinations of eras, in alternating rounds, with direct calls as the floor.

use std::collections::BTreeMap;

use anyhow::Context as _;
use clap::ValueEnum as _;
use serde::Serialize;

use super::Options;
use super::place::{Place, Upstreams, form, version};
use crate::compare::Kind;
use crate::compare::figures::Figures;
use crate::compare::round::{Bench, Loop, Turn};
use crate::compare::subject::Subject;
use crate::print;
use crate::upstream::Era;

/// One way of calling, with all its rounds
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    /// How the client speaks
    pub(crate) client: &'static str,
    /// How the connector speaks
    pub(crate) connector: &'static str,
    /// Without Portreeve
    pub(crate) direct: bool,
    /// Medians; what is added is over direct calls of the client's era in the same round
    pub(crate) figures: Figures,
    turns: Vec<Turn>,
}

/// One way of calling
struct Way {
    client: Era,
    connector: Era,
    direct: bool,
    bench: Bench,
    subject: Subject,
    turns: Vec<Turn>,
}

pub(super) fn measure(options: &Options) -> anyhow::Result<Vec<Measured>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let upstreams = Upstreams::raise(options.load_core)?;
    let place = runtime.block_on(Place::open(options, &upstreams))?;
    let mut task = runtime.block_on(place.task())?;
    let idle_kib = crate::process::resident_kib(place.served.pid())?;
    let mut ways = Vec::new();
    for (client, connector, direct) in WAYS {
        let upstream = upstreams.of(connector);
        let subject = if direct {
            Subject::there(Kind::Direct, upstream.url(), None, 0)
        } else {
            Subject::there(Kind::Portreeve, task.url(connector)?.to_owned(), Some(place.served.pid()), idle_kib)
        };
        let form = form(client).to_possible_value().context("no such form")?;
        let bench = Bench {
            form: form.get_name().to_owned(),
            unique: false,
            open: Loop {
                rate: Some(options.open_rate),
                connections: options.open_connections,
                seconds: options.open_seconds,
            },
            closed: Loop { rate: None, connections: options.closed_connections, seconds: options.closed_seconds },
            proxy_core: options.proxy_core,
            load_core: options.load_core,
            upstream_pid: upstream.pid(),
            upstream_address: upstream.address.clone(),
        };
        ways.push(Way { client, connector, direct, bench, subject, turns: Vec::new() });
    }
    for round in 0..options.rounds {
        // Each round starts with another one, so that none always follows the same.
        ways.rotate_left(usize::from(round > 0));
        for way in &mut ways {
            if !way.direct {
                runtime.block_on(place.renew(&mut task))?;
                way.subject.show(BTreeMap::from([("authorization".to_owned(), task.bearer())]));
            }
            let word = word(way);
            let turn = way.bench.turn(&mut way.subject).with_context(|| format!("round {round} of {word}"))?;
            print::note(&format!("round {} of {}: {}", round + 1, options.rounds, turn.line(&word)));
            way.turns.push(turn);
        }
    }
    let floors: Vec<(Era, Vec<Turn>)> =
        ways.iter().filter(|way| way.direct).map(|way| (way.client, way.turns.clone())).collect();
    let floor = |era| floors.iter().find(|(of, _)| *of == era).map(|(_, turns)| turns.as_slice()).unwrap_or_default();
    let mut measured = Vec::new();
    for (client, connector, direct) in WAYS {
        let way = ways.iter().position(|way| (way.client, way.connector, way.direct) == (client, connector, direct));
        let way = ways.swap_remove(way.context("every way was measured")?);
        let figures = Figures::of(&way.turns, floor(client));
        let (client, connector) = (version(client), version(connector));
        measured.push(Measured { client, connector, direct, figures, turns: way.turns });
    }
    Ok(measured)
}

fn word(way: &Way) -> String {
    let how = if way.direct { "direct" } else { "through" };
    format!("{how} {} → {}", version(way.client), version(way.connector))
}

/// Client, connector, without Portreeve
const WAYS: [(Era, Era, bool); 6] = [
    (Era::Legacy, Era::Legacy, true),
    (Era::Modern, Era::Modern, true),
    (Era::Legacy, Era::Legacy, false),
    (Era::Modern, Era::Modern, false),
    (Era::Modern, Era::Legacy, false),
    (Era::Legacy, Era::Modern, false),
];
