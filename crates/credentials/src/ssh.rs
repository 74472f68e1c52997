//! SSH: a certificate of a user for each lease, signed with a key that hosts believe, for a key pair of its own.
//!
//! Nothing is made at a host: whoever has the key and the certificate is let in until it expires. What is taken back earlier
//! goes, by its number, into a list that hosts look at, if there is one.

mod certificate;
mod key;
mod list;
mod wire;

use crate::{
    name::LeaseName,
    secret::{Fields, Secret},
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn, now},
    vault::Vault,
    web,
};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use certificate::Certificate;
use key::{Authority, Fresh};
use list::List;
use portreeve_core::{
    event::Evidence,
    policy::{Ssh as Hosts, SshList},
    time::Millis,
};
use std::{io::ErrorKind, path::PathBuf, process::Stdio, sync::Arc, time::Duration};
use tokio::{io::AsyncWriteExt as _, process::Command};

/// Hosts that certificates are signed for
#[derive(Debug)]
pub struct Ssh {
    of: Hosts,
    vault: Arc<Vault>,
}

impl Ssh {
    /// Certificates for these hosts, with a key from this vault
    #[must_use]
    pub fn new(of: Hosts, vault: Arc<Vault>) -> Self {
        Self { of, vault }
    }

    fn authority(&self) -> Result<Authority, String> {
        let secret = self.vault.get(&self.of.ca).map_err(|error| error.to_string())?;
        Authority::read(&secret).map_err(|wrong| format!("the secret {} {wrong}", self.of.ca))
    }

    /// Signs; nothing is made by that until somebody is given it
    fn sign(&self, wanted: &Wanted) -> Result<Issued, String> {
        let rights = self.of.classes.get(&wanted.class);
        let rights = rights.ok_or_else(|| format!("nothing is signed for {}", wanted.class))?;
        let fill = |one| web::filled(one, &wanted.scope, is_principal);
        let principals = rights.principals.iter().map(fill).collect::<Result<Vec<String>, String>>()?;
        if !principals.iter().all(|one| is_principal(one)) {
            return Err("a principal is no name that a host can know".to_owned());
        }
        let (authority, name) = (self.authority()?, wanted.name.as_str());
        let at = seconds(now());
        let until = seconds(wanted.until).min(at.saturating_add(LIVES_S_MAX));
        if until <= at {
            return Err("its time has passed already".to_owned());
        }
        let from = at.saturating_sub(SKEW_S);
        let says = Certificate { serial: serial(&wanted.name)?, name, principals: &principals, rights, from, until };
        let none = || "the system has no randomness".to_owned();
        let fresh = Fresh::make(name).ok_or_else(none)?;
        let line = says.line(&fresh.public, &authority).ok_or_else(none)?;
        let fields = Fields::from([
            ("private_key".to_owned(), fresh.private),
            ("certificate".to_owned(), Secret::from(line.as_str())),
            ("principals".to_owned(), Secret::from(principals.join(",").as_str())),
        ]);
        // Who signed it: a list names that, and the vault may have another key by then.
        let handle = Some(STANDARD.encode(&authority.public));
        let until = i64::try_from(until).unwrap_or(i64::MAX).saturating_mul(1_000);
        Ok(Issued { fields, handle, until: Some(Millis(until)), keep: None })
    }

    /// Revokes a certificate, and makes sure of it
    async fn revoke(&self, list: &SshList, held: &Held) -> Result<Evidence, String> {
        let authority = match &held.handle {
            Some(public) => STANDARD.decode(public).map_err(|_| "nobody knows who signed it".to_owned())?,
            None => self.authority()?.public,
        };
        let serial = serial(&held.name)?;
        // One whose issuing was cut off lives as long as any of them could.
        let until = held.until.map_or_else(|| seconds(now()).saturating_add(LIVES_S_MAX), seconds);
        let path = PathBuf::from(&list.path);
        let revoke = move || List::revoke(&path, &authority, (serial, until));
        let version = aside(revoke).await?.version;
        let certificate = held.fields.as_ref().and_then(|fields| fields.get("certificate"));
        let tried = match certificate {
            Some(certificate) => tried(&list.path, certificate).await?,
            None => false,
        };
        let says =
            format!("version {version} of the list revokes the serial {serial}, which hosts refuse that have it");
        Ok(if tried {
            Evidence::Refused { says: format!("ssh-keygen: REVOKED; {says}") }
        } else {
            Evidence::Absent { says }
        })
    }
}

#[async_trait]
impl Source for Ssh {
    async fn issue(&self, wanted: &Wanted) -> Result<Issued, NotIssued> {
        // What could not be taken back is not given.
        self.usable().await.map_err(NotIssued::Refused)?;
        self.sign(wanted).map_err(NotIssued::Refused)
    }

    async fn withdraw(&self, held: &Held) -> Result<Withdrawn, String> {
        let over = held.until.is_some_and(|until| until <= now());
        match (&self.of.krl, held.until, &held.handle) {
            _ if over => Ok(Withdrawn::Gone(Evidence::Expired)),
            (Some(list), ..) => self.revoke(list, held).await.map(Withdrawn::Gone),
            (None, Some(until), _) => Ok(Withdrawn::Left(until)),
            // Who signed it goes on the record before anybody is given it: without that, it was signed and forgotten.
            (None, None, None) => Ok(Withdrawn::Gone(Evidence::Held)),
            (None, None, Some(_)) => Err("nobody knows until when it counts".to_owned()),
        }
    }

    async fn sweep(&self, _: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    async fn check(&self) -> Result<(), String> {
        self.authority()?;
        self.usable().await
    }
}

impl Ssh {
    /// Whether certificates can be revoked, where that was said
    async fn usable(&self) -> Result<(), String> {
        let Some(list) = &self.of.krl else { return Ok(()) };
        let path = PathBuf::from(&list.path);
        aside(move || List::is_usable(&path)).await
    }
}

/// Does what waits for a disk
async fn aside<T: Send + 'static>(does: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(does).await.map_err(|error| error.to_string())?
}

/// Whether OpenSSH itself says that a list revokes a certificate; false where there is no OpenSSH
///
/// # Errors
/// It says something else.
async fn tried(list: &str, certificate: &Secret) -> Result<bool, String> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-Q", "-f", list, "/dev/stdin"]).env("LC_ALL", "C").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(format!("ssh-keygen: {error}")),
    };
    let asked = async {
        if let Some(mut input) = child.stdin.take() {
            // It may have said no before it read all of it.
            drop(input.write_all(certificate.expose().as_bytes()).await);
            drop(input.write_all(b"\n").await);
        }
        child.wait_with_output().await
    };
    let said = tokio::time::timeout(WITHIN, asked).await.map_err(|_| "ssh-keygen does not answer".to_owned())?;
    let said = said.map_err(|error| format!("ssh-keygen: {error}"))?;
    let text = String::from_utf8_lossy(&said.stdout);
    match said.status.code() {
        Some(1) if text.trim_end().ends_with(": REVOKED") => Ok(true),
        Some(0) => Err("ssh-keygen says that the list does not revoke it".to_owned()),
        _ => Err(format!("ssh-keygen: {}", web::line(&String::from_utf8_lossy(&said.stderr)))),
    }
}

/// The number of a lease's certificate: OpenSSH takes 0 for none, which no list can revoke
fn serial(name: &LeaseName) -> Result<u64, String> {
    let serial = name.lease().map(|lease| lease.0).filter(|serial| *serial != 0);
    serial.ok_or_else(|| "a certificate cannot have the number of this lease".to_owned())
}

/// Whether a text is one principal, and that alone
fn is_principal(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control())
}

fn seconds(at: Millis) -> u64 {
    u64::try_from(at.0.div_euclid(1_000)).unwrap_or_default()
}

/// Seconds that a certificate counts at most
const LIVES_S_MAX: u64 = 24 * 60 * 60;
/// Seconds before now from which it counts, as clocks differ
const SKEW_S: u64 = 60;
/// How long `ssh-keygen` may take
const WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
