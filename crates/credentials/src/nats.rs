//! NATS: a user of an account for each lease, made by signing claims, with nothing but the subjects of its class.
//!
//! Nothing is made at a server: whoever shows claims that a key of the account signed is a user, until they expire. What is
//! taken back earlier is revoked by the account's own claims, which the operator signs and a server is given.

pub mod claims;
mod client;
pub mod key;

use crate::{
    secret::{Fields, Secret},
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn, now},
    vault::Vault,
};
use async_trait::async_trait;
use client::{Client, Trouble};
use key::{Holder, Key};
use portreeve_core::{
    event::Evidence,
    names::Name,
    policy::{Nats as Account, Revoking, Template},
    time::Millis,
};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::sync::Mutex;

/// An account that users are signed for
#[derive(Debug)]
pub struct Nats {
    of: Account,
    vault: Arc<Vault>,
}

/// How long open connections get to end
const ENDING: Duration = Duration::from_secs(5);
/// How often they are looked for meanwhile
const LOOK: Duration = Duration::from_millis(10);
/// How long after its end a revocation is kept, as clocks differ
const KEPT_MS: i64 = 10 * 60 * 1_000;
/// Connections that are looked at at once
const PAGE: usize = 256;
/// Where the account's claims say which revocations are ours, so that they go when they are of no use any more
const OURS: &str = "portreeve_revoked_until";

/// What a server says to somebody whom it does not know
const NOBODY: &str = "Authorization Violation";

/// An account's claims are read, changed and put back: one at a time, or one change would lose another
static CHANGING: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

impl Nats {
    /// Users of this account, with keys from this vault
    #[must_use]
    pub fn new(of: Account, vault: Arc<Vault>) -> Self {
        Self { of, vault }
    }

    fn key(&self, name: &Name, holder: Holder) -> Result<Key, String> {
        let seed = self.vault.get(name).map_err(|error| error.to_string())?;
        let key = Key::read(seed.expose()).filter(|key| key.holder == holder);
        key.ok_or_else(|| format!("the secret {name} is not the seed of a key of this kind"))
    }

    /// What users are signed with
    fn signing(&self) -> Result<Key, String> {
        self.key(&self.of.signing, Holder::Account)
    }

    async fn connect(&self, who: (&str, &Key)) -> Result<Client, Trouble> {
        Client::connect((&self.of.host, self.of.port), self.of.tls, who).await
    }

    /// A connection of the system account
    async fn system(&self, revoking: &Revoking) -> Result<Client, String> {
        let creds = self.vault.get(&revoking.system).map_err(|error| error.to_string())?;
        let form = || format!("the secret {} is no .creds file of a user", revoking.system);
        let (token, key) = claims::read_creds(creds.expose()).ok_or_else(form)?;
        self.connect((&token, &key)).await.map_err(Trouble::into_text)
    }

    /// The account's claims, as the servers have them
    async fn account(&self, system: &mut Client) -> Result<Map<String, Value>, String> {
        let subject = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.LOOKUP", self.of.account);
        let answer = system.ask(&subject, b"").await.map_err(Trouble::into_text)?;
        let read = std::str::from_utf8(&answer).ok().and_then(claims::read);
        let read = read.filter(|claims| claims.get("sub").is_some_and(|sub| *sub == self.of.account.as_str()));
        read.ok_or_else(|| "the server does not know the account, or has no resolver that keeps claims".to_owned())
    }

    /// What a user is
    fn making(&self, wanted: &Wanted, user: &Key, signing: &Key) -> Result<Map<String, Value>, String> {
        let subjects =
            self.of.subjects.get(&wanted.class).ok_or_else(|| format!("nothing is given to {}", wanted.class))?;
        let scope: BTreeMap<&str, &str> =
            wanted.scope.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let wrong = wanted.scope.iter().find(|(_, value)| !is_token(value));
        if let Some((name, _)) = wrong {
            return Err(format!("what {name} is cannot be one part of a subject"));
        }
        let fill = |texts: &Vec<String>| {
            let one = |text: &String| {
                let template = Template::read(text).map_err(|error| error.to_string())?;
                let filled = template.fill(|field| scope.get(field).copied());
                filled.map_err(|field| format!("nothing says what {{{field}}} is"))
            };
            texts.iter().map(one).collect::<Result<Vec<String>, String>>()
        };
        let publish = fill(&subjects.publish)?;
        // Its own inbox, so that nobody has to be let hear the answers to everybody.
        let subscribe = [fill(&subjects.subscribe)?, vec![format!("{}.>", inbox(wanted))]].concat();
        // No list at all would mean everything.
        let publish = if publish.is_empty() { json!({ "deny": [">"] }) } else { json!({ "allow": publish }) };
        let mut nats = json!({
            "pub": publish, "sub": { "allow": subscribe }, "subs": -1, "data": -1, "payload": -1,
            "type": "user", "version": 2,
        });
        if let Some(nats) = nats.as_object_mut().filter(|_| signing.public() != self.of.account) {
            nats.insert("issuer_account".to_owned(), self.of.account.clone().into());
        }
        let made = json!({
            "jti": wanted.name.as_str(), "name": wanted.name.as_str(), "sub": user.public(), "iat": seconds(now()),
            "exp": last(wanted), "nats": nats,
        });
        Ok(made.as_object().cloned().unwrap_or_default())
    }

    /// Revokes a user, and makes sure of it
    async fn revoke(&self, revoking: &Revoking, user: &str, held: &Held) -> Result<Evidence, String> {
        let operator = self.key(&revoking.operator, Holder::Operator)?;
        let mut system = self.system(revoking).await?;
        let until = seconds(held.until.unwrap_or_default().max(now()));
        {
            let _one = CHANGING.lock().await;
            let mut account = self.account(&mut system).await?;
            if !is_revoked(&account, user) {
                let at = seconds(now());
                add(&mut account, (user, until), at)?;
                let token = claims::signed(&operator, account);
                let answer =
                    system.ask("$SYS.REQ.CLAIMS.UPDATE", token.as_bytes()).await.map_err(Trouble::into_text)?;
                let said: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
                if said.pointer("/data/code").and_then(Value::as_u64) != Some(200) {
                    let why = said.pointer("/error/description").and_then(Value::as_str);
                    return Err(why.unwrap_or("the server did not take the account's claims").to_owned());
                }
            }
        }
        self.end_connections(&mut system, user).await?;
        let field = |name: &str| held.fields.as_ref().and_then(|fields| fields.get(name)).map(Secret::expose);
        if let (Some(token), Some(key)) = (field("jwt"), field("seed").and_then(Key::read)) {
            return match self.connect((token, &key)).await {
                Ok(_) => Err("the server still lets the user in".to_owned()),
                // Anything else that is refused, such as one connection more, says nothing of who somebody is.
                Err(Trouble::Refused(says)) if says.contains(NOBODY) => Ok(Evidence::Refused { says }),
                Err(Trouble::Refused(why) | Trouble::Unknown(why)) => Err(why),
            };
        }
        if !is_revoked(&self.account(&mut system).await?, user) {
            return Err("the account's claims were put back to what they were before".to_owned());
        }
        Ok(Evidence::Absent { says: "the account revokes it, and no connection of it".to_owned() })
    }

    /// Waits until a user has no connection any more; the server ends them when it is revoked
    async fn end_connections(&self, system: &mut Client, user: &str) -> Result<(), String> {
        let until = tokio::time::Instant::now() + ENDING;
        loop {
            let open = self.connections(system, user).await?;
            if open == 0 {
                return Ok(());
            }
            if tokio::time::Instant::now() >= until {
                return Err(format!("{open} connections do not end"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn connections(&self, system: &mut Client, user: &str) -> Result<usize, String> {
        let subject = format!("$SYS.REQ.ACCOUNT.{}.CONNZ", self.of.account);
        let (mut offset, mut open) = (0, 0_usize);
        loop {
            let page = json!({ "auth": true, "offset": offset, "limit": PAGE }).to_string();
            let answer = system.ask(&subject, page.as_bytes()).await.map_err(Trouble::into_text)?;
            let answer: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
            let all = answer.pointer("/data/connections").and_then(Value::as_array);
            let all = all.ok_or("the server does not say who is connected")?;
            // By the claims that were shown: what else somebody calls themselves is up to them.
            let of = |one: &&Value| {
                let shown = one.get("jwt").and_then(Value::as_str).and_then(claims::read);
                shown.is_some_and(|shown| shown.get("sub").is_some_and(|sub| sub == user))
            };
            open = open.saturating_add(all.iter().filter(of).count());
            if all.len() < PAGE {
                return Ok(open);
            }
            offset += PAGE;
        }
    }
}

#[async_trait]
impl Source for Nats {
    async fn issue(&self, wanted: &Wanted) -> Result<Issued, NotIssued> {
        let refused = NotIssued::Refused;
        let signing = self.signing().map_err(refused)?;
        let (user, seed) = Key::make(Holder::User).ok_or_else(|| refused("the system has no randomness".to_owned()))?;
        let token = claims::signed(&signing, self.making(wanted, &user, &signing).map_err(refused)?);
        // Nothing is made by signing; whether the servers believe it is found out before anybody is given it.
        self.connect((&token, &user)).await.map_err(|trouble| refused(trouble.into_text()))?;
        let field = |name: &str, value: &str| (name.to_owned(), Secret::from(value));
        let fields = Fields::from([
            ("creds".to_owned(), claims::creds(&token, &seed)),
            field("jwt", &token),
            ("seed".to_owned(), seed),
            field("inbox", &inbox(wanted)),
            field("host", &self.of.host),
            field("port", &self.of.port.to_string()),
        ]);
        let until = Millis((last(wanted) + 1) * 1_000);
        Ok(Issued { fields, handle: Some(user.public()), until: Some(until), keep: None })
    }

    async fn withdraw(&self, held: &Held) -> Result<Withdrawn, String> {
        // Who it is goes on the record before anybody is given it: without that, it was signed and forgotten.
        let Some(user) = &held.handle else { return Ok(Withdrawn::Gone(Evidence::Held)) };
        match (&self.of.revoking, held.until) {
            (Some(revoking), _) => self.revoke(revoking, user, held).await.map(Withdrawn::Gone),
            (None, Some(until)) if until < now() => Ok(Withdrawn::Gone(Evidence::Expired)),
            (None, Some(until)) => Ok(Withdrawn::Left(until)),
            (None, None) => Err("nobody knows until when it counts".to_owned()),
        }
    }

    async fn sweep(&self, _: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    async fn check(&self) -> Result<(), String> {
        let signing = self.signing()?;
        let Some(revoking) = &self.of.revoking else { return Ok(()) };
        self.key(&revoking.operator, Holder::Operator)?;
        let account = self.account(&mut self.system(revoking).await?).await?;
        let keys = account.get("nats").and_then(|nats| nats.get("signing_keys")).and_then(Value::as_array);
        let known = keys.is_some_and(|keys| keys.iter().any(|key| *key == signing.public().as_str()));
        let known = known || signing.public() == self.of.account;
        known.then_some(()).ok_or_else(|| format!("the account does not sign with {}", signing.public()))
    }
}

/// Whether an account's claims revoke a user
fn is_revoked(account: &Map<String, Value>, user: &str) -> bool {
    account.get("nats").and_then(|nats| nats.get("revocations")).is_some_and(|all| all.get(user).is_some())
}

/// Adds a revocation to an account's claims, and takes out those of ours that are of no use any more
fn add(account: &mut Map<String, Value>, (user, until): (&str, i64), at: i64) -> Result<(), String> {
    let mut ours = account.get(OURS).and_then(Value::as_object).cloned().unwrap_or_default();
    let over: Vec<String> = ours
        .iter()
        .filter(|(_, until)| until.as_i64().is_none_or(|until| until < at - KEPT_MS / 1_000))
        .map(|(user, _)| user.clone())
        .collect();
    let nats = account.get_mut("nats").and_then(Value::as_object_mut).ok_or("the account's claims say nothing")?;
    let all = nats.entry("revocations").or_insert_with(|| json!({}));
    let all = all.as_object_mut().ok_or("the account's revocations cannot be read")?;
    for user in over {
        all.remove(&user);
        ours.remove(&user);
    }
    // What was issued by then counts no more; nothing is ever issued for the same user again.
    all.insert(user.to_owned(), until.into());
    ours.insert(user.to_owned(), until.into());
    account.insert(OURS.to_owned(), ours.into());
    account.insert("iat".to_owned(), at.into());
    Ok(())
}

/// The last second in which it counts, which is one that passes before it is wanted no more
fn last(wanted: &Wanted) -> i64 {
    seconds(wanted.until) - 1
}

/// Where somebody gets answers
fn inbox(wanted: &Wanted) -> String {
    format!("_INBOX_{}", wanted.name)
}

/// Whether a text is one part of a subject, and that alone
fn is_token(text: &str) -> bool {
    let special = |c: char| c.is_whitespace() || c.is_control() || ".*>$".contains(c);
    !text.is_empty() && !text.contains(special)
}

fn seconds(at: Millis) -> i64 {
    at.0.div_euclid(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_part_of_a_subject() {
        assert!(is_token("eu-42") && is_token("ü"));
        for bad in ["", "a.b", "*", ">", "a b", "$SYS", "a\n", "a*"] {
            assert!(!is_token(bad), "{bad:?}");
        }
    }

    #[test]
    fn revocations_of_others_stay_and_ours_go_when_they_are_of_no_use() {
        let claims = json!({ "sub": "A", "iat": 1, "name": "kept", "nats": { "revocations": { "UTHEIRS": 5 }, "type": "account" } });
        let mut account = claims.as_object().unwrap().clone();
        add(&mut account, ("UONE", 1_000), 900).unwrap();
        add(&mut account, ("UTWO", 9_000), 1_000).unwrap();
        assert!(["UTHEIRS", "UONE", "UTWO"].iter().all(|user| is_revoked(&account, user)));
        add(&mut account, ("UTHREE", 9_000), 1_000 + KEPT_MS / 1_000 + 1).unwrap();
        assert!(["UTHEIRS", "UTWO", "UTHREE"].iter().all(|user| is_revoked(&account, user)));
        assert!(!is_revoked(&account, "UONE"));
        assert_eq!((&account["name"], &account["nats"]["type"]), (&json!("kept"), &json!("account")));
        assert!(add(&mut Map::new(), ("U", 1), 1).is_err());
    }
}
