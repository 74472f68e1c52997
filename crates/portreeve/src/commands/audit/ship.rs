//! `portreeve audit ship` and `shipped`: a record is brought to another Portreeve, which keeps it.
//!
//! Each part goes with a checkpoint that the record's own key has signed, and is taken whole or not at all. What breaks off
//! is begun again where the other side says that it stands.

use super::{open, unreadable};
use crate::{
    cli::Ship,
    client::Hosted,
    failure::{Failure, chain, exit},
    output,
};
use http::{Method, StatusCode};
use portreeve_core::{
    hash::Hash,
    log::{Group, Head, Read},
};
use portreeve_gateway::front::ships::{BYTES_MAX, RECEIPTS, keep, last};
use portreeve_identity::attest::{Attested, Receipt};
use portreeve_log::{Reader, shipped, verify};
use portreeve_upstream::fetch::{self, Hosts, NotFetched, Sent};
use serde_json::{Value, json};
use std::{env, fs, path::Path, time::Duration};

/// Groups that are read at a time
const GROUPS: usize = 256;
/// Bytes of one part at most: half of what is taken, as quotes and the like grow on the way
const PART_BYTES: usize = BYTES_MAX / 2;
/// How often a part is tried before it is given up, and how long is waited in between at first
const TRIES: u32 = 5;
const AGAIN: Duration = Duration::from_millis(500);
/// How long one request may take
const WITHIN: Duration = Duration::from_secs(90);
/// Bytes of an answer at most
const ANSWER_BYTES: usize = 64 << 10;

pub(super) async fn run(data: &Path, ship: &Ship, as_json: bool) -> Result<u8, Failure> {
    let log = open(data)?;
    // Whoever serves the folder has the key; if nobody does, this command serves it for as long as it takes.
    let hosted = Hosted::join_or_serve(data).await?;
    let shipped = Shipping { data, ship, hosted: &hosted, log: &log }.run().await;
    hosted.end().await;
    let (receipt, says, sent) = shipped?;
    if as_json {
        output::json(&json!({
            "log": says.log, "checkpoint": format!("{}:{}", says.n, says.hash), "groups": sent.groups, "bare": sent.bare,
            "shipper": says.shipper, "by": says.by, "recorded": says.recorded, "receipt": receipt,
        }));
        return Ok(0);
    }
    output::line(&format!("shipped: {} groups, up to {}:{}", sent.groups, says.n, says.hash));
    output::line(&format!(
        "receipt: {} took it from {} as {}, recorded at {}",
        says.by, says.shipper, says.log, says.recorded
    ));
    if sent.bare > 0 && !ship.bare {
        output::problem(&format!("{} groups went without their values, which were too long to ship", sent.bare));
    }
    output::tip(&format!("The receipt is in {}, signed by {}.", data.join(RECEIPTS).display(), receipt.key));
    Ok(0)
}

/// What went over
#[derive(Clone, Copy, Debug, Default)]
struct Gone {
    groups: u64,
    /// Groups that had values and went without
    bare: u64,
}

struct Shipping<'a> {
    data: &'a Path,
    ship: &'a Ship,
    hosted: &'a Hosted,
    log: &'a Reader,
}

/// Lines of groups that fit into one part, and where they end
struct Part {
    lines: Vec<u8>,
    end: Head,
    sent: Gone,
}

impl Shipping<'_> {
    async fn run(&self) -> Result<(Attested, Receipt, Gone), Failure> {
        let name = shipped::origin(self.log).map_err(|error| unreadable(&error))?.ok_or_else(|| {
            Failure::new(exit::NOT_FOUND, "log_unusable", "The record does not name its answer key yet.")
                .fix("Serve it once with `portreeve serve`.")
        })?;
        let url = format!("{}/v1/ships/{name}", self.ship.to.trim_end_matches('/'));
        let (mut sent, mut tries) = (Gone::default(), 0);
        // What comes while this goes on is for the next time.
        let end = self.log.head().map_err(|error| unreadable(&error))?;
        loop {
            match self.on(&url, name, end, &mut sent).await {
                Ok((receipt, says)) if says.n >= end.n => return Ok((receipt, says, sent)),
                Ok(_) => tries = 0,
                Err(Trouble::Final(failure)) => return Err(failure),
                Err(Trouble::Passing(failure)) => {
                    tries += 1;
                    if tries >= TRIES {
                        return Err(failure);
                    }
                    tokio::time::sleep(AGAIN * 2u32.saturating_pow(tries)).await;
                }
            }
        }
    }

    /// Ships the next part
    async fn on(&self, url: &str, name: Hash, end: Head, sent: &mut Gone) -> Result<(Attested, Receipt), Trouble> {
        let answer = self.send(Method::GET, url, Vec::new()).await?;
        let have = head(&answer).ok_or_else(|| unexpected(&answer))?;
        if have.n > 0 && self.log.group(have.n).map_err(read)?.map(|(_, group)| group.head()) != Some(have) {
            let (what, fix) = if self.log.head().map_err(read)?.n < have.n {
                let what = format!("More was shipped before, up to group {}, than this record has.", have.n);
                (what, "This is an older copy of the record, or another one under its key: look for the newer one.")
            } else {
                let what = format!("Group {} is not the one that was shipped before.", have.n);
                (what, "One of two histories is not the true one: keep both, and find out who wrote which.")
            };
            return Err(Trouble::Final(Failure::new(exit::UNVERIFIED, "ship_forked", what).fix(fix)));
        }
        // What is there already, also because somebody else ships too, is sent once more for its receipt.
        let end = if have.n >= end.n { have } else { end };
        let after = if have.n >= end.n { Head { n: end.n.saturating_sub(1), ..have } } else { have };
        let part = self.part(after, end)?;
        let sign = json!({ "to": self.ship.to.trim_end_matches('/'), "n": part.end.n });
        let checkpoint =
            self.hosted.client.ask(Method::POST, "/v1/checkpoint", Some(&sign)).await.map_err(Trouble::Final)?;
        let mut body = json!({ "checkpoint": checkpoint }).to_string().into_bytes();
        body.extend(&part.lines);
        let answer = self.send(Method::POST, url, body).await?;
        let receipt: Option<Attested> = answer.get("receipt").and_then(|one| serde_json::from_value(one.clone()).ok());
        let says = receipt.as_ref().and_then(Attested::read::<Receipt>);
        let (receipt, says) = receipt.zip(says).ok_or_else(|| unexpected(&answer))?;
        if (says.log, says.n, says.hash) != (name, part.end.n, part.end.hash) {
            return Err(unexpected(&answer));
        }
        keep(&self.data.join(RECEIPTS), &receipt).map_err(|error| Trouble::Final(error.into()))?;
        if have.n < part.end.n {
            sent.groups = sent.groups.saturating_add(part.sent.groups);
            sent.bare = sent.bare.saturating_add(part.sent.bare);
        }
        Ok((receipt, says))
    }

    /// As many groups after `after` as fit
    fn part(&self, after: Head, end: Head) -> Result<Part, Trouble> {
        let mut part = Part { lines: Vec::new(), end: after, sent: Gone::default() };
        let mut before = match self.log.group(after.n).map_err(read)? {
            Some((_, group)) => group.head(),
            None => Head::default(),
        };
        while part.end.n < end.n {
            let groups = self.log.groups(part.end.n, GROUPS).map_err(read)?;
            if groups.is_empty() {
                break;
            }
            for group in groups.into_iter().take_while(|group| group.n <= end.n) {
                let head = group.head();
                let had = !group.openings.is_empty();
                let mut line = self.line(before, &group, self.ship.bare)?;
                let mut bare = self.ship.bare && had;
                if line.len() > PART_BYTES && !self.ship.bare {
                    (line, bare) = (self.line(before, &group, true)?, true);
                }
                if part.lines.len().saturating_add(line.len()) > PART_BYTES && !part.lines.is_empty() {
                    return Ok(part);
                }
                part.lines.push(b'\n');
                part.lines.extend(line.as_bytes());
                part.sent.groups = part.sent.groups.saturating_add(1);
                part.sent.bare = part.sent.bare.saturating_add(u64::from(bare));
                (before, part.end) = (head, head);
            }
        }
        Ok(part)
    }

    fn line(&self, before: Head, group: &Group, bare: bool) -> Result<String, Trouble> {
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).map_err(|error| read(Read::Broken { n: group.n, why: error.to_string() }))
        };
        let (openings, content) = if bare {
            (String::new(), Vec::new())
        } else {
            let content = shipped::content_of(self.log, before, group).map_err(read)?;
            // What is no text is left out; its digest stays.
            let content = content.into_iter().filter_map(|(_, bytes)| String::from_utf8(bytes).ok());
            (text(&group.openings)?, content.collect())
        };
        Ok(json!({ "n": group.n, "body": text(&group.body)?, "openings": openings, "content": content }).to_string())
    }

    async fn send(&self, method: Method, url: &str, body: Vec<u8>) -> Result<Value, Trouble> {
        let token = self.token().await?;
        let (status, answer) = ask(method, url, &token, body).await.map_err(|error| silent(url, &error))?;
        if status.is_success() {
            return Ok(answer);
        }
        let failure = Failure::answered(status.as_u16(), &answer);
        // Somebody else ships too, or the other side lost something: asked again where it stands.
        let word = answer.pointer("/error/word").and_then(Value::as_str).unwrap_or_default();
        let passing = status.is_server_error() && status != StatusCode::INSUFFICIENT_STORAGE;
        // Somebody else ships too, or the other side lost something: asked again where it stands.
        if passing || ["ship_gap", "ship_behind"].contains(&word) {
            return Err(Trouble::Passing(failure));
        }
        Err(Trouble::Final(failure))
    }

    /// What proves us: the file as it is now, or a fresh token of the runner
    async fn token(&self) -> Result<String, Trouble> {
        if let Some(path) = &self.ship.proof {
            let read = fs::read_to_string(path).map_err(|error| {
                let what = format!("{} holds no token: {error}.", path.display());
                Trouble::Final(Failure::new(exit::FAILURE, "no_token_source", what).fix("Check the path."))
            });
            return read.map(|token| token.trim().to_owned());
        }
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let runner = variable("ACTIONS_ID_TOKEN_REQUEST_URL").zip(variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN"));
        let (url, secret) = runner.ok_or_else(|| {
            let what = "There is nothing to prove who ships: no --proof, and no runner that gives tokens.";
            Trouble::Final(
                Failure::new(exit::FAILURE, "no_token_source", what)
                    .fix("Name a file with --proof, or give the job `permissions: id-token: write`."),
            )
        })?;
        let audience = self.ship.audience.as_deref().unwrap_or(self.ship.to.trim_end_matches('/'));
        let audience: String = url::form_urlencoded::byte_serialize(audience.as_bytes()).collect();
        let url = format!("{url}{}audience={audience}", if url.contains('?') { '&' } else { '?' });
        let sent = ask(Method::GET, &url, &secret, Vec::new()).await;
        let (status, answer) = sent.map_err(|error| silent("The runner", &error))?;
        answer.get("value").and_then(Value::as_str).map(str::to_owned).ok_or_else(|| {
            let what = format!("The runner gave no token ({status}).");
            Trouble::Passing(Failure::new(exit::UNREACHABLE, "issuer_unreachable", what).fix("Try again."))
        })
    }
}

/// One request with a token; nothing of it is repeated
async fn ask(method: Method, url: &str, token: &str, body: Vec<u8>) -> Result<(StatusCode, Value), NotFetched> {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    // Whoever ships has named the address themselves.
    let sent = Sent { method, headers: &headers, body };
    let answer = fetch::send(url, sent, Hosts::Private, (ANSWER_BYTES, WITHIN)).await?;
    Ok((answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null)))
}

/// Whether it is worth another try
enum Trouble {
    Final(Failure),
    Passing(Failure),
}

fn silent(whom: &str, error: &NotFetched) -> Trouble {
    let failure = Failure::new(exit::UNREACHABLE, "unreachable", format!("{whom} does not answer: {}.", chain(error)))
        .fix("Run it again: it goes on where it ended.");
    match error {
        NotFetched::Silent(_) | NotFetched::Lost(_) => Trouble::Passing(failure),
        _ => Trouble::Final(failure),
    }
}

fn unexpected(answer: &Value) -> Trouble {
    let answer: String = answer.to_string().chars().take(200).collect();
    let what = format!("The answer is not that of a Portreeve that takes records: {}", output::plain(&answer));
    Trouble::Final(Failure::new(exit::FAILURE, "unexpected_answer", what).fix("Check the address."))
}

#[expect(clippy::needless_pass_by_value, reason = "it maps errors")]
fn read(error: Read) -> Trouble {
    Trouble::Final(unreadable(&error))
}

fn head(answer: &Value) -> Option<Head> {
    Some(Head { n: answer.get("n")?.as_u64()?, hash: answer.get("hash")?.as_str()?.parse().ok()? })
}

/// Lists what was brought here, and verifies each chain
pub(super) fn list(data: &Path, as_json: bool) -> Result<u8, Failure> {
    let mut rows = Vec::new();
    for (shipper, place) in shipped::list(data)? {
        let Some(log) = place.reader().map_err(|error| unreadable(&error))? else { continue };
        let end = log.head().map_err(|error| unreadable(&error))?;
        let receipt = last(&place.folder().join(RECEIPTS)).and_then(|receipt| receipt.read::<Receipt>());
        let sound = verify::verify(&log).err().map(|error| error.to_string());
        rows.push(json!({
            "shipper": shipper, "log": place.log(), "checkpoint": format!("{}:{}", end.n, end.hash),
            "taken": receipt.as_ref().map(|says| says.at), "recorded": receipt.map(|says| says.recorded),
            "broken": sound, "folder": place.folder(),
        }));
    }
    let broken = rows.iter().any(|row| !row.get("broken").is_none_or(Value::is_null));
    let code = if broken { exit::UNVERIFIED } else { 0 };
    if as_json {
        output::json(&json!({ "shipped": rows }));
        return Ok(code);
    }
    for row in &rows {
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        let ok = row.get("broken").and_then(Value::as_str).unwrap_or("ok").to_owned();
        output::line(&output::plain(&format!("{}  {}  {ok}", text("shipper"), text("checkpoint"))));
        output::line(&output::plain(&format!("    {}", text("folder"))));
    }
    if rows.is_empty() {
        output::tip("Nothing was brought here. An agent whose file says `ships = true` may: `portreeve audit ship`.");
    } else {
        output::tip("Each folder is a data folder to read: `portreeve --data FOLDER audit verify`, `audit tail`.");
    }
    Ok(code)
}
