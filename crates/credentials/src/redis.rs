//! Redis and Valkey: an ACL user for each lease, with nothing but what its class is given.
//!
//! The server is told the SHA-256 of the password. A user that is taken away is disconnected by the server; that nothing of
//! it is connected any more is looked at all the same. Users have no end of their own: what is not taken back stays.

use crate::{
    secret::{Fields, Secret},
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn},
    stream,
    vault::Vault,
};
use ::redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, RedisConnectionInfo, RedisError, Value, aio::MultiplexedConnection, cmd,
};
use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use portreeve_core::{
    event::Evidence,
    policy::{Class, Redis as Server, Template},
};
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

/// A server that users are made at
#[derive(Debug)]
pub struct Redis {
    of: Server,
    vault: Arc<Vault>,
}

/// How long one command may take
const COMMAND: Duration = Duration::from_secs(10);
/// How long open connections get to end once they are told to
const ENDING: Duration = Duration::from_secs(5);
/// How often they are looked for meanwhile
const LOOK: Duration = Duration::from_millis(10);

/// What no user is left with, whatever its rules say; what comes last counts
const NOBODY: [&str; 1] = ["-@admin"];
/// What no user of the class read is left with
const NO_READER: [&str; 3] = ["-@write", "-publish", "-spublish"];
/// What reaches keys, functions or servers of everybody, whichever keys a user has; only who may escalate is left with it
const EVERYBODYS: [&str; 8] = [
    "-flushall",
    "-flushdb",
    "-swapdb",
    "-migrate",
    "-function|flush",
    "-function|delete",
    "-function|load",
    "-function|restore",
];
/// What shows the names of all keys; nobody is left with it who has some keys only
const NAMES: [&str; 3] = ["-keys", "-scan", "-randomkey"];
/// What a server says of a rule with a command that it does not have; the rule stands in quotes before it
const NO_COMMAND: &str = "Unknown command or category name";

/// Why something did not come about
enum Trouble {
    /// The server refused what was asked; nothing was changed
    Refused(String),
    /// It may have been changed
    Unknown(String),
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        match error.code() {
            Some(code) => Self::Refused(format!("{code} {}", error.detail().unwrap_or_default()).trim().to_owned()),
            None if error.is_timeout() => Self::Unknown("the server does not answer".to_owned()),
            None => Self::Unknown(error.to_string()),
        }
    }
}

impl Trouble {
    fn into_text(self) -> String {
        match self {
            Self::Refused(why) | Self::Unknown(why) => why,
        }
    }
}

impl Redis {
    /// Users at this server, with the admin's password from this vault
    #[must_use]
    pub fn new(of: Server, vault: Arc<Vault>) -> Self {
        Self { of, vault }
    }

    /// A connection of Portreeve's own user
    async fn admin(&self) -> Result<Connection, String> {
        let mut refused = None;
        for (user, password) in self.vault.logins(&self.of.admin)? {
            match self.connect(&user, &password).await {
                Ok(connection) => return Ok(connection),
                Err(Trouble::Refused(why)) => drop(refused.get_or_insert(why)),
                Err(Trouble::Unknown(why)) => return Err(why),
            }
        }
        Err(refused.unwrap_or_else(|| "the vault has no password".to_owned()))
    }

    async fn connect(&self, user: &str, password: &Secret) -> Result<Connection, Trouble> {
        let plain = stream::connect((&self.of.host, self.of.port)).await.map_err(Trouble::Unknown)?;
        let stream: stream::Stream = if self.of.tls {
            stream::secure(plain, &self.of.host).await.map_err(Trouble::Unknown)?
        } else {
            Box::new(plain)
        };
        let quiet = RedisConnectionInfo::default().set_skip_set_lib_name();
        let patience = AsyncConnectionConfig::new().set_response_timeout(Some(COMMAND));
        let (commands, driver) = MultiplexedConnection::new_with_config(&quiet, stream, patience).await?;
        // It ends with the last handle to it.
        tokio::spawn(driver);
        let mut connection = Connection(commands);
        connection.ask::<()>(cmd("AUTH").arg(user).arg(password.expose())).await?;
        Ok(connection)
    }

    /// What the user is made with
    fn making(&self, wanted: &Wanted, password: &Secret) -> Result<Making, String> {
        let rules = self.of.rules.get(&wanted.class).ok_or_else(|| format!("nothing is given to {}", wanted.class))?;
        let mut escaped = BTreeMap::new();
        for (name, value) in &wanted.scope {
            escaped.insert(name.as_str(), literal(value).ok_or_else(|| format!("no key can hold what {name} is"))?);
        }
        // A server may be set to begin users with all channels.
        let mut given = ["reset", "resetchannels", "on"].map(str::to_owned).to_vec();
        given.push(format!("#{}", hex(digest(&SHA256, password.expose().as_bytes()).as_ref())));
        for rule in rules {
            let template = Template::read(rule).map_err(|error| error.to_string())?;
            let filled = template.fill(|field| escaped.get(field).map(String::as_str));
            given.push(filled.map_err(|field| format!("nothing says what {{{field}}} is"))?);
        }
        let mut taken = NOBODY.to_vec();
        taken.extend(NO_READER.iter().filter(|_| wanted.class == Class::Read));
        taken.extend(EVERYBODYS.iter().filter(|_| wanted.class != Class::Escalate));
        taken.extend(NAMES.iter().filter(|_| !rules.iter().any(|rule| is_every_key(rule))));
        Ok(Making { given, taken })
    }

    /// Takes the user away, which may have been done before
    async fn unmake(&self, held: &Held) -> Result<Evidence, Trouble> {
        let name = held.name.as_str();
        let mut admin = self.admin().await.map_err(Trouble::Refused)?;
        let taken: u64 = admin.ask(cmd("ACL").arg("DELUSER").arg(name)).await?;
        admin.end_connections(name).await?;
        // Where users are kept in a file, one that somebody saved would come back with the next start.
        match admin.ask::<()>(cmd("ACL").arg("SAVE")).await {
            Err(Trouble::Refused(why)) if why.contains(NO_FILE) => {}
            saved => saved?,
        }
        if admin.knows(name).await? {
            return Err(Trouble::Refused("the user is still there".to_owned()));
        }
        match held.fields.as_ref().and_then(|fields| fields.get("password")) {
            Some(password) => match self.connect(name, password).await {
                Ok(_) => Err(Trouble::Refused("the server still lets the user in".to_owned())),
                Err(Trouble::Refused(says)) if says.starts_with(WRONG) => Ok(Evidence::Refused { says }),
                Err(other) => Err(other),
            },
            None => {
                let was = if taken == 0 { "no user of its name" } else { "its user was taken away" };
                Ok(Evidence::Absent { says: format!("{was}, and no connection of it") })
            }
        }
    }
}

/// What a user is made with; what comes last counts
struct Making {
    given: Vec<String>,
    taken: Vec<&'static str>,
}

impl Making {
    fn command(&self, name: &str) -> Cmd {
        let mut command = cmd("ACL");
        command.arg("SETUSER").arg(name).arg(&self.given).arg(&self.taken);
        command
    }

    /// Without what a server refused to take away because it has no such command; whether that was it
    fn shorten(&mut self, why: &str) -> bool {
        let before = self.taken.len();
        if why.contains(NO_COMMAND) {
            self.taken.retain(|rule| !why.contains(&format!("'{rule}'")));
        }
        self.taken.len() < before
    }
}

/// What a server says that keeps users nowhere but in memory
const NO_FILE: &str = "not configured to use an ACL file";
/// What it says to somebody whom it does not know
const WRONG: &str = "WRONGPASS";

/// A connection to a server
struct Connection(MultiplexedConnection);

impl Connection {
    async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Trouble> {
        Ok(command.query_async(&mut self.0).await?)
    }

    /// Whether there is a user of this name
    async fn knows(&mut self, name: &str) -> Result<bool, Trouble> {
        let found: Value = self.ask(cmd("ACL").arg("GETUSER").arg(name)).await?;
        Ok(found != Value::Nil)
    }

    /// Ends every connection of a user, and waits until there is none
    async fn end_connections(&mut self, name: &str) -> Result<(), Trouble> {
        let until = tokio::time::Instant::now() + ENDING;
        let of = format!("user={name}");
        loop {
            let all: String = self.ask(cmd("CLIENT").arg("LIST")).await?;
            let open: Vec<&str> = all.lines().filter(|line| line.split(' ').any(|part| part == of)).collect();
            if open.is_empty() {
                return Ok(());
            }
            if tokio::time::Instant::now() >= until {
                return Err(Trouble::Refused(format!("{} connections do not end", open.len())));
            }
            for id in open.iter().filter_map(|line| line.split(' ').find_map(|part| part.strip_prefix("id="))) {
                self.ask::<u64>(cmd("CLIENT").arg("KILL").arg("ID").arg(id)).await?;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[async_trait]
impl Source for Redis {
    async fn issue(&self, wanted: &Wanted) -> Result<Issued, NotIssued> {
        let refused = NotIssued::Refused;
        let password = Secret::random().ok_or_else(|| refused("the system has no randomness".to_owned()))?;
        let mut making = self.making(wanted, &password).map_err(refused)?;
        let mut admin = self.admin().await.map_err(refused)?;
        // Making one changes one that is there. Nobody else makes users of this name, so that looking before is enough.
        match admin.knows(wanted.name.as_str()).await {
            Ok(false) => {}
            Ok(true) => return Err(refused("there is a user of this name already".to_owned())),
            Err(trouble) => return Err(refused(trouble.into_text())),
        }
        // All of the rules, or none of them, are taken.
        loop {
            match admin.ask::<()>(&making.command(wanted.name.as_str())).await {
                Ok(()) => break,
                Err(Trouble::Refused(why)) if making.shorten(&why) => {}
                Err(Trouble::Refused(why)) => return Err(refused(why)),
                Err(Trouble::Unknown(why)) => return Err(NotIssued::Unknown(why)),
            }
        }
        let field = |name: &str, value: &str| (name.to_owned(), Secret::from(value));
        let fields = Fields::from([
            field("user", wanted.name.as_str()),
            ("password".to_owned(), password),
            field("host", &self.of.host),
            field("port", &self.of.port.to_string()),
        ]);
        Ok(Issued { fields, handle: None, until: None, keep: None })
    }

    async fn withdraw(&self, held: &Held) -> Result<Withdrawn, String> {
        self.unmake(held).await.map(Withdrawn::Gone).map_err(Trouble::into_text)
    }

    async fn sweep(&self, prefix: &str) -> Result<Vec<String>, String> {
        let mut admin = self.admin().await?;
        let all: Vec<String> = admin.ask(cmd("ACL").arg("USERS")).await.map_err(Trouble::into_text)?;
        Ok(all.into_iter().filter(|name| name.starts_with(prefix)).collect())
    }

    async fn check(&self) -> Result<(), String> {
        self.sweep("").await.map(drop)
    }
}

/// Whether a rule gives every key, be it only to read
fn is_every_key(rule: &str) -> bool {
    ["~", "%R~", "%RW~", "%WR~"].iter().any(|kind| {
        let keys = rule.get(..kind.len()).filter(|start| start.eq_ignore_ascii_case(kind));
        keys.and_then(|_| rule.get(kind.len()..))
            .is_some_and(|keys| !keys.is_empty() && keys.bytes().all(|key| key == b'*'))
    })
}

/// A text as the part of a pattern that is that text alone; nothing if no pattern can hold it
fn literal(text: &str) -> Option<String> {
    // Rules have neither spaces nor zero bytes; what is empty would name what everybody shares.
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return None;
    }
    let mut escaped = String::new();
    for c in text.chars() {
        if "*?[]^\\".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    Some(escaped)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_has_no_such_command_is_asked_without_it() {
        let of = || Making { given: vec!["on".to_owned()], taken: vec!["-@admin", "-function|flush"] };
        let mut making = of();
        assert!(
            making.shorten(
                "ERR Error in ACL SETUSER modifier '-function|flush': Unknown command or category name in ACL"
            )
        );
        assert_eq!(making.taken, ["-@admin"]);
        for other in
            ["ERR Error in ACL SETUSER modifier '+x': Unknown command or category name in ACL", "NOPERM '-@admin'"]
        {
            let mut making = of();
            assert!(!making.shorten(other) && making.taken.len() == 2, "{other}");
        }
    }

    #[test]
    fn names_of_all_keys_are_for_who_has_all_keys() {
        assert!(["~*", "%R~*", "%RW~**"].iter().all(|rule| is_every_key(rule)));
        assert!(!["~", "~eu:*", "%W~*", "&*", "+*"].iter().any(|rule| is_every_key(rule)));
    }

    #[test]
    fn a_value_is_no_pattern() {
        assert_eq!(literal("eu-42").as_deref(), Some("eu-42"));
        assert_eq!(literal("a*b?[c]\\").as_deref(), Some("a\\*b\\?\\[c\\]\\\\"));
        for bad in ["", "a b", "a\0", "a\n", "\u{a0}"] {
            assert_eq!(literal(bad), None, "{bad:?}");
        }
    }
}
