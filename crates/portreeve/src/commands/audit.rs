//! `portreeve audit`: reads the record itself, whether or not anybody serves the data folder.

mod ship;

use crate::{
    cli::{Audit, Cli},
    failure::{Failure, chain, exit},
    output, place,
};
use portreeve_core::{
    commit::Committed,
    event::{
        Actor, Admitted, Changed, Elevation, End, Event, Held, HeldWhat, LeaseEnd, News, Noted, Record, To, What,
        decode,
    },
    hash::Hash,
    log::{Head, Read},
    proof::Proven,
};
use portreeve_log::{Index, Most, Open, Placed, Reader, Subject, verify};
use serde_json::{Value, json};
use std::path::Path;

pub(crate) async fn run(cli: &Cli, audit: &Audit) -> Result<u8, Failure> {
    let data = place::data(cli)?;
    match audit {
        Audit::Tail { count } => tail(&data, *count, cli.json),
        Audit::Show { id } => show(&data, id, cli.json),
        Audit::Ship(ship) => ship::run(&data, ship, cli.json).await,
        Audit::Shipped => ship::list(&data, cli.json),
        Audit::Verify { checkpoint } => run_verify(&data, checkpoint.as_deref(), cli.json),
    }
}

/// Groups that are read at a time
const GROUPS: usize = 256;

fn open(data: &Path) -> Result<Reader, Failure> {
    Reader::open(data).map_err(|error| unopened(&error))
}

fn unopened(error: &Open) -> Failure {
    Failure::new(exit::NOT_FOUND, "log_unusable", chain(error))
}

fn unreadable(error: &Read) -> Failure {
    match error {
        Read::Broken { .. } => Failure::new(exit::UNVERIFIED, "record_broken", chain(error))
            .fix("See where with `portreeve audit verify`; restore the folder from a copy."),
        Read::Storage(_) => Failure::new(exit::FAILURE, "log_unusable", chain(error)),
    }
}

fn each(reader: &Reader, from: u64, mut take: impl FnMut(Placed)) -> Result<(), Failure> {
    let before = if from == 0 { None } else { reader.groups(from - 1, 1).map_err(|error| unreadable(&error))?.pop() };
    let mut head = before.map_or_else(Head::default, |group| group.head());
    loop {
        let groups = reader.groups(head.n, GROUPS).map_err(|error| unreadable(&error))?;
        if groups.is_empty() {
            return Ok(());
        }
        for group in groups {
            let records =
                decode(head, &group).map_err(|error| unreadable(&Read::Broken { n: group.n, why: chain(&error) }))?;
            head = group.head();
            for (index, record) in records.into_iter().enumerate() {
                take(Placed { group: group.n, index, record });
            }
        }
    }
}

fn tail(data: &Path, count: usize, as_json: bool) -> Result<u8, Failure> {
    let reader = open(data)?;
    let end = reader.head().map_err(|error| unreadable(&error))?.n;
    // A group holds at least one record, so the last `count` groups hold the last `count` records.
    let from = end.saturating_sub(count as u64);
    let mut last = std::collections::VecDeque::new();
    each(&reader, from, |placed| {
        last.push_back(placed);
        if last.len() > count {
            last.pop_front();
        }
    })?;
    print(last, as_json);
    Ok(0)
}

fn show(data: &Path, id: &str, as_json: bool) -> Result<u8, Failure> {
    let found = match id.parse::<Subject>() {
        Ok(subject) => {
            let mut index = Index::open(data).map_err(|error| unopened(&error))?;
            index.records_of(subject, Most::ALL).map_err(|error| unreadable(&error))?.records
        }
        // An id is 13 characters of its own alphabet, so it stands in a record only where it is meant.
        Err(_) if id.len() >= 13 => mentions(&open(data)?, id)?,
        Err(_) => Vec::new(),
    };
    if found.is_empty() {
        return Err(Failure::new(exit::NOT_FOUND, "not_found", format!("No record is about {:?}.", output::plain(id)))
            .fix("Give the id of a task, run or effect as `portreeve audit tail` shows it."));
    }
    print(found, as_json);
    Ok(0)
}

/// Every record in which `text` stands: of ids and names that are not indexed
fn mentions(reader: &Reader, text: &str) -> Result<Vec<Placed>, Failure> {
    let mut found = Vec::new();
    each(reader, 0, |placed| {
        if serde_json::to_string(&placed.record).is_ok_and(|record| record.contains(text)) {
            found.push(placed);
        }
    })?;
    Ok(found)
}

fn print(records: impl IntoIterator<Item = Placed>, as_json: bool) {
    for mut placed in records {
        if as_json {
            let opened: serde_json::Map<String, Value> = placed
                .record
                .committed()
                .into_iter()
                .filter_map(|(field, committed)| Some((field, json!(committed.value()?))))
                .collect();
            output::line(
                &json!({ "group": placed.group, "index": placed.index, "record": placed.record, "opened": opened })
                    .to_string(),
            );
        } else {
            let place = format!("{}.{}", placed.group, placed.index);
            output::line(&format!("{place:>7}  {}  {}", output::time(placed.record.time), in_words(&placed.record)));
        }
    }
}

/// One line for people
pub(crate) fn in_words(record: &Record) -> String {
    let text = match &record.event {
        Event::Booted(booted) => format!("booted     {} version {}", booted.boot, booted.version),
        Event::Began(began) => {
            let user = began.user.as_ref().map(|user| format!(" for {user}")).unwrap_or_default();
            let given = began.parameters.iter().map(|(name, given)| {
                format!(" {name}={}", given.value.value().map_or("(erased)".to_owned(), |value| value.canonical()))
            });
            let proven = began.proven.as_ref().map(shown).unwrap_or_default();
            let (task, purpose, agent) = (began.task, &began.purpose, &began.agent);
            format!("began      {task} {purpose} by {agent}{user}{}{proven}", given.collect::<String>())
        }
        Event::Stopped(stopped) => format!("stopped    {}: {}", stopped.node, stopped.why),
        Event::Paused(paused) => format!("paused     {}: {}", paused.node, said(&paused.why)),
        Event::Resumed(paused) => format!("resumed    {}: {}", paused.node, said(&paused.why)),
        Event::Granted(granted) => {
            let why = said(&granted.why);
            let (until, owner) = (output::time(granted.until), &granted.owner);
            let how = granted.signed.as_ref().map(|signed| format!(", signed in by {}", signed.how));
            let how = how.unwrap_or_default();
            let to = match &granted.to {
                To::Observe { on } => format!("observe {on}"),
                To::Approval { hold, .. } => format!("yes to {hold} ({})", hold.code()),
                To::Elevation(elevation) => format!("{} of {}", elevated(elevation), elevation.task),
            };
            format!("granted    {} {to} until {until} by {owner}{how}: {why}", granted.grant)
        }
        Event::Held(held) => held_in_words(held),
        Event::Declined(declined) => {
            let (hold, by, how) = (declined.hold, &declined.by, &declined.signed.how);
            format!("declined   {hold} ({}) by {by}, signed in by {how}: {}", hold.code(), said(&declined.why))
        }
        Event::Refused(refused) => {
            let words: Vec<&str> = refused.words.iter().map(|word| word.as_str()).collect();
            let task = refused.task.map_or_else(String::new, |task| format!(" in {task}"));
            format!("refused    {}{task}: {} ({}x)", refused.what, words.join(", "), refused.count)
        }
        Event::Admitted(admitted) => admitted_in_words(admitted),
        Event::Settled(settled) => {
            let end = match &settled.end {
                End::NotSent { why } => format!("not sent: {why}"),
                End::Done { process: Some(process), .. } => format!("started as process {}", process.pid),
                End::Done { ok: true, bytes, .. } => format!("done, {bytes} bytes"),
                End::Done { .. } => "done, failed".to_owned(),
                End::Pending { bytes, .. } => format!("answered and not finished, {bytes} bytes"),
                End::Unknown { why } => format!("unknown: {why}"),
                End::Lease(LeaseEnd::Issued { until: Some(until), .. }) => format!("issued, usable until {until}"),
                End::Lease(LeaseEnd::Issued { .. }) => "issued".to_owned(),
                End::Lease(LeaseEnd::Withdrawn { evidence }) => format!("taken back; {evidence}"),
                End::Lease(LeaseEnd::Left { until }) => format!("cannot be taken back, usable until {until}"),
            };
            format!("settled    {} {end}", settled.effect)
        }
        Event::Changed(Changed::Bundle { digest, nodes }) => {
            format!("changed    policy {} ({} nodes)", digest.short(), nodes.len())
        }
        Event::Changed(Changed::Back { digest, nodes }) => {
            format!("changed    policy back to {} ({} nodes)", digest.short(), nodes.len())
        }
        Event::Changed(Changed::Pins { connector, accepted, identity, offer }) => {
            let (count, offer) = (accepted.len(), offer.short());
            format!("changed    {count} definitions of {connector} accepted as offer {offer}, of {identity}")
        }
        Event::Changed(Changed::Key(new)) => {
            let before = new.before.as_deref().map(|before| format!(" instead of {before}"));
            format!("changed    {} key {}{} from {}", new.of, new.key, before.unwrap_or_default(), new.source)
        }
        Event::Noted(Noted::Discovered { connector, tools, identity }) => {
            let offers = tools.as_ref().map(|tools| format!(" and offers {} items, not all as accepted", tools.len()));
            format!("noted      {connector} is {identity}{}", offers.unwrap_or_default())
        }
        Event::Noted(Noted::Consulted { effect, tool, points, .. }) => {
            let points: Vec<&str> = points.iter().map(|told| told.point.as_str()).collect();
            format!("noted      {effect} {tool}: the arguments are told to {}", points.join(", "))
        }
        Event::Noted(Noted::Looked { task, connector, method, shown, hidden }) => {
            format!("noted      {task} looked at {connector} with {method}: shown {shown}, hidden {hidden}")
        }
        Event::Noted(Noted::Copied { agent, proven, holder }) => {
            format!("noted      refused: {} from {}, which {agent} holds at {holder}", proven.how, proven.from)
        }
        Event::Noted(Noted::SignedIn { user, how: Some(how), groups, .. }) => {
            let groups = groups.iter().map(|group| output::plain(group)).collect::<Vec<_>>().join(", ");
            let groups = if groups.is_empty() { groups } else { format!(", in {groups}") };
            format!("noted      {user} signed in by {how}{groups}")
        }
        Event::Noted(Noted::SignedIn { user, how: None, .. }) => {
            format!("noted      a link to sign in was made for {user}")
        }
        Event::Noted(Noted::Proposed { bundle, .. }) => {
            format!("noted      policy {} is wanted in force", bundle.short())
        }
        Event::Noted(Noted::Passkey { user, credential, added, .. }) => {
            let what = if *added { "registered" } else { "removed" };
            format!("noted      passkey {credential} of {user} {what}")
        }
        Event::Noted(Noted::Proven { task, proven }) => format!("noted      {task} goes on{}", shown(proven)),
        Event::Noted(Noted::Issued { agent, id, token, serial, until, process, .. }) => {
            let what = if *token { "token" } else { "certificate" };
            let until = output::time(*until);
            format!("noted      {agent} got {id} as process {process}: {what} {serial} until {until}")
        }
        Event::Noted(Noted::Shipped { shipper, log, n, forked, proven, .. }) => {
            let what = if *forked { "FORKED: another history" } else { "taken" };
            let log = log.short();
            format!("noted      record {log} of {shipper}: {what}, up to group {n}{}", shown(proven))
        }
        Event::Noted(Noted::Resisted { lease, tries, why, until }) => {
            let until = until.map_or_else(String::new, |until| format!(", usable until {until}"));
            format!("resisted   {lease} is not taken back yet (tried {tries}x): {why}{until}")
        }
        Event::Noted(Noted::Secret { name, version: Some(version) }) => {
            format!("noted      secret {name} is version {version}")
        }
        Event::Noted(Noted::Secret { name, version: None }) => format!("noted      secret {name} is taken out"),
        Event::Noted(Noted::Account { source, user, connected }) => {
            format!(
                "noted      the account of {user} for {source} is {}",
                if *connected { "connected" } else { "disconnected" }
            )
        }
        Event::Noted(Noted::Reviewed { task, by, why }) => format!("noted      {task} reviewed by {by}: {}", said(why)),
        Event::Noted(Noted::Probed { reach, tools }) => format!("noted      asked: {reach} offers {tools} tools"),
    };
    let actor = match &record.actor {
        Actor::System => String::new(),
        Actor::Owner { user } => {
            format!("  by the owner{}", user.as_ref().map(|user| format!(" ({user})")).unwrap_or_default())
        }
        Actor::Person { user, how } => format!("  by {user}, signed in by {how}"),
        Actor::Run(run) => format!("  by {run}"),
        Actor::Agent(agent) => format!("  by {agent}"),
    };
    output::plain(&format!("{text}{actor}"))
}

/// How an agent has proven itself
fn shown(proven: &Proven) -> String {
    let issuer = proven.issuer.as_ref().map(|issuer| format!(" of {issuer}")).unwrap_or_default();
    format!(", proven by {}{issuer} as {} from {}", proven.how, proven.subject, proven.from)
}

/// What stands in a commitment, as far as it is there
fn said(text: &Committed) -> String {
    text.value().map_or("(erased)".to_owned(), |text| text.canonical())
}

fn elevated(elevation: &Elevation) -> String {
    let tools: Vec<String> = elevation.uses.iter().map(ToString::to_string).collect();
    let values = elevation.values.iter().map(|(name, value)| format!(" {name}={}", said(value)));
    let values: String = values.collect();
    format!("{} opened {} times for {}{values}", elevation.class, elevation.times, tools.join(", "))
}

fn held_in_words(held: &Held) -> String {
    let what = match &held.what {
        HeldWhat::Call(call) => format!("{} [{}]", call.tool, call.class),
        HeldWhat::Elevation(elevation) => elevated(elevation),
        HeldWhat::Opening(_) => format!("opening of {}", held.purpose),
    };
    let asked: Vec<String> = held.questions.iter().map(|question| question.quorum.to_string()).collect();
    format!("held       {} ({}) {what}: asking {}", held.hold, held.hold.code(), asked.join(" and "))
}

/// An admission, marked if it would have been refused
fn admitted_in_words(admitted: &Admitted) -> String {
    let because = admitted.because.iter().map(|because| {
        let words: Vec<&str> = because.words.iter().map(|word| word.as_str()).collect();
        let observed = if because.words.iter().all(|word| word.is_outside_envelope()) { "OBSERVED by" } else { "by" };
        format!("  {observed} {}, else refused: {}", because.grant, words.join(", "))
    });
    let because: String = because.chain(admitted.hold.map(|hold| format!("  uses {hold}"))).collect();
    let what = match &admitted.what {
        What::Call(call) => {
            let given = call.arguments.iter().map(|(name, given)| {
                let value = given.value.value().map_or("(erased)".to_owned(), |value| value.canonical());
                format!(" {name}={}", value.chars().take(60).collect::<String>())
            });
            let heard = admitted.inputs.outside.iter().map(|heard| format!(" permitted by extra:{}", heard.point));
            let more: String = given.chain(heard).collect();
            let on = call.continues.map(|of| format!(" continues {of}")).unwrap_or_default();
            format!("admitted   {} {} [{}]{on}{more}", admitted.effect, call.tool, call.class)
        }
        What::Poll(poll) => format!("admitted   {} {} of {} {}", admitted.effect, poll.method, poll.of, poll.tool),
        What::Notice { hold, receiver, news } => {
            let news = match news {
                News::Asked => "waits",
                News::Answered => "does not wait any more",
                News::Emergency => "opened a task for an emergency",
            };
            format!("admitted   {} {receiver} is told that {hold} {news}", admitted.effect)
        }
        What::Child { connector, .. } => format!("admitted   {} start of {connector}", admitted.effect),
        What::Lease(lease) => format!(
            "admitted   {} credential of {} for {} to {}, until {}, taken back: {}",
            admitted.effect, lease.source, lease.connector, lease.class, lease.until, lease.revocation
        ),
    };
    format!("{what}{because}")
}

fn run_verify(data: &Path, checkpoint: Option<&str>, as_json: bool) -> Result<u8, Failure> {
    let against = checkpoint.map(read_checkpoint).transpose()?;
    let reader = open(data)?;
    let verified = match against {
        Some(head) => verify::verify_against(&reader, head),
        None => verify::verify(&reader),
    };
    let verified = verified.map_err(|error| unreadable(&error))?;
    let Head { n, hash } = verified.head;
    if as_json {
        output::json(&json!({
            "ok": true, "groups": verified.groups, "events": verified.events, "checkpoint": format!("{n}:{hash}"),
            "against": checkpoint,
        }));
        return Ok(0);
    }
    let groups = verified.groups;
    output::line(&format!("ok: {} records in {groups} groups, consistent with themselves", verified.events));
    if let Some(checkpoint) = checkpoint {
        output::line(&format!("ok: {checkpoint} is part of it, so nothing up to there was changed"));
    } else {
        output::tip("Without an earlier checkpoint this does not say that nothing was ever changed.");
    }
    output::line(&format!("checkpoint {n}:{hash}"));
    output::tip("Keep the checkpoint elsewhere: `portreeve audit verify --checkpoint` holds the record to it.");
    Ok(0)
}

fn read_checkpoint(text: &str) -> Result<Head, Failure> {
    let parsed =
        text.split_once(':').and_then(|(n, hash)| Some(Head { n: n.parse().ok()?, hash: hash.parse::<Hash>().ok()? }));
    parsed.ok_or_else(|| {
        Failure::new(2, "usage", format!("{:?} is no checkpoint.", output::plain(text)))
            .fix("Write it as `portreeve audit verify` printed it: N:HASH.")
    })
}
