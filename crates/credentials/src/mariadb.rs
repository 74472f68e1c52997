//! MariaDB: a user for each lease, with nothing but what its class is granted.
//!
//! The server is told a hash of the password, so that neither its log nor anybody who watches statements has it. Statements
//! about users are each done at once: so a user is made locked, and let in as the last step. Neither locking nor dropping a
//! user ends what it has open. So the order of taking back is: lock it, end its sessions until there are none, drop it, look
//! for sessions once more, and try the credential.

use crate::{
    secret::{Fields, Secret},
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn},
    stream::authorities,
    vault::Vault,
};
use async_trait::async_trait;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use mysql_async::{Conn, Error, OptsBuilder, SslOpts, prelude::Queryable as _};
use portreeve_core::{
    event::Evidence,
    policy::{MariaDb as Server, Template},
};
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};
use tokio::time::timeout;

/// A server that users are made at
#[derive(Debug)]
pub struct MariaDb {
    of: Server,
    vault: Arc<Vault>,
}

/// How long connecting may take, and each statement
const CONNECT: Duration = Duration::from_secs(5);
const STATEMENT: Duration = Duration::from_secs(10);
/// How long open sessions get to end once they are told to
const ENDING: Duration = Duration::from_secs(5);
/// How often they are looked for meanwhile
const LOOK: Duration = Duration::from_millis(10);
/// Bytes of a statement or an answer; what Portreeve says and hears is short
const PACKET: usize = 1024 * 1024;
/// What the server says to somebody whom it does not know
const DENIED: u16 = 1045;
/// What it says where a session is ended that is gone already
const NO_SESSION: u16 = 1094;

/// Where Portreeve's own user would take somebody for gone whose sessions it is not shown
const BLIND: &str = "Portreeve's own user is not shown the sessions of others: GRANT PROCESS ON *.* TO it";

/// Why something did not come about
enum Trouble {
    /// The server refused what was asked; nothing was changed
    Refused(u16, String),
    /// It may have been changed
    Unknown(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            // What was sent stands in the message; no password stands in that.
            Error::Server(said) => Self::Refused(said.code, format!("{}: {}", said.code, said.message)),
            other => Self::Unknown(other.to_string()),
        }
    }
}

impl Trouble {
    fn into_text(self) -> String {
        match self {
            Self::Refused(_, why) | Self::Unknown(why) => why,
        }
    }

    /// After a part of it was done
    fn halfway(self) -> NotIssued {
        NotIssued::Unknown(self.into_text())
    }
}

impl MariaDb {
    /// Users at this server, with the admin's password from this vault
    #[must_use]
    pub fn new(of: Server, vault: Arc<Vault>) -> Self {
        Self { of, vault }
    }

    /// A session of Portreeve's own user
    async fn admin(&self) -> Result<Session, String> {
        let mut refused = None;
        for (user, password) in self.vault.logins(&self.of.admin)? {
            match self.connect(&user, &password).await {
                Ok(session) => return Ok(session),
                Err(Trouble::Refused(_, why)) => drop(refused.get_or_insert(why)),
                Err(Trouble::Unknown(why)) => return Err(why),
            }
        }
        Err(refused.unwrap_or_else(|| "the vault has no password".to_owned()))
    }

    async fn connect(&self, user: &str, password: &Secret) -> Result<Session, Trouble> {
        let tls = self.of.tls.then(|| {
            let roots = authorities().iter().map(|root| root.clone().into()).collect();
            SslOpts::default().with_root_certs(roots).with_disable_built_in_roots(true)
        });
        // Settings that are given are not asked for.
        let opts = OptsBuilder::default()
            .ip_or_hostname(self.of.host.as_str())
            .tcp_port(self.of.port)
            .prefer_socket(false)
            .ssl_opts(tls)
            .user(Some(user))
            .pass(Some(password.expose()))
            .max_allowed_packet(Some(PACKET))
            .wait_timeout(Some(60))
            // A statement that we no longer wait for does not wait on, either, with others waiting behind it.
            .init(vec!["SET SESSION max_statement_time = 9, lock_wait_timeout = 3"]);
        let connecting = timeout(CONNECT, Conn::new(opts)).await;
        let silent = || Trouble::Unknown("the server does not answer".to_owned());
        Ok(Session(connecting.map_err(|_| silent())??))
    }

    /// What the user is granted
    fn grants(&self, wanted: &Wanted) -> Result<Vec<String>, String> {
        let grants =
            self.of.grants.get(&wanted.class).ok_or_else(|| format!("nothing is granted to {}", wanted.class))?;
        let user = quoted(wanted.name.as_str());
        let one = |grant: &String| {
            let template = Template::read(grant).map_err(|error| error.to_string())?;
            let mut names = BTreeMap::new();
            for (name, value) in &wanted.scope {
                let database = grant.trim_end().ends_with(".*");
                let good = identifier(value, database).ok_or_else(|| format!("no name can be what {name} is"))?;
                names.insert(name.as_str(), good);
            }
            let filled = template.fill(|field| names.get(field).map(String::as_str));
            let filled = filled.map_err(|field| format!("nothing says what {{{field}}} is"))?;
            Ok(format!("GRANT {filled} TO {user}"))
        };
        grants.iter().map(one).collect()
    }

    /// Takes the user away, step by step, each of which may have been done before
    async fn unmake(&self, held: &Held) -> Result<Evidence, Trouble> {
        let name = held.name.as_str();
        let user = quoted(name);
        let mut admin = self.admin().await.map_err(Trouble::Unknown)?;
        admin.sees_everybody().await?;
        admin.run(&format!("ALTER USER IF EXISTS {user} ACCOUNT LOCK")).await?;
        admin.end_sessions(name).await?;
        admin.run(&format!("DROP USER IF EXISTS {user}")).await?;
        // A session that came in between lives on with what it had.
        admin.end_sessions(name).await?;
        if !admin.users(name).await?.is_empty() {
            return Err(Trouble::Unknown("the user is still there".to_owned()));
        }
        match held.fields.as_ref().and_then(|fields| fields.get("password")) {
            Some(password) => match self.connect(name, password).await {
                Ok(_) => Err(Trouble::Unknown("the server still lets the user in".to_owned())),
                Err(Trouble::Refused(DENIED, says)) => Ok(Evidence::Refused { says }),
                Err(other) => Err(other),
            },
            None => Ok(Evidence::Absent { says: "no user of its name and no session of it".to_owned() }),
        }
    }
}

/// A session at a server
struct Session(Conn);

impl Session {
    async fn run(&mut self, statement: &str) -> Result<(), Trouble> {
        bounded(self.0.query_drop(statement)).await
    }

    /// Whether the sessions of others are shown, and not silently left out
    async fn sees_everybody(&mut self) -> Result<(), Trouble> {
        let grants: Vec<String> = bounded(self.0.query("SHOW GRANTS")).await?;
        if grants.iter().any(|grant| shows_everybody(grant)) { Ok(()) } else { Err(Trouble::Unknown(BLIND.to_owned())) }
    }

    /// Users whose names begin so
    async fn users(&mut self, prefix: &str) -> Result<Vec<String>, Trouble> {
        let all = format!("SELECT User FROM mysql.user WHERE LEFT(User, {}) = {}", prefix.len(), text(prefix));
        bounded(self.0.query(all)).await
    }

    /// Ends every session of a user, and waits until there is none
    async fn end_sessions(&mut self, name: &str) -> Result<(), Trouble> {
        let until = tokio::time::Instant::now() + ENDING;
        let all = format!("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = {}", text(name));
        loop {
            let open: Vec<u64> = bounded(self.0.query(&all)).await?;
            if open.is_empty() {
                return Ok(());
            }
            if tokio::time::Instant::now() >= until {
                return Err(Trouble::Unknown(format!("{} sessions do not end", open.len())));
            }
            for id in open {
                match self.run(&format!("KILL HARD CONNECTION {id}")).await {
                    Err(Trouble::Refused(NO_SESSION, _)) | Ok(()) => {}
                    Err(other) => return Err(other),
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[async_trait]
impl Source for MariaDb {
    async fn issue(&self, wanted: &Wanted) -> Result<Issued, NotIssued> {
        let refused = NotIssued::Refused;
        let password = Secret::random().ok_or_else(|| refused("the system has no randomness".to_owned()))?;
        let grants = self.grants(wanted).map_err(refused)?;
        let mut admin = self.admin().await.map_err(refused)?;
        let user = quoted(wanted.name.as_str());
        let making = format!(
            "CREATE USER {user} IDENTIFIED BY PASSWORD '{}' WITH MAX_USER_CONNECTIONS {} ACCOUNT LOCK",
            hash(password.expose()),
            self.of.connections
        );
        match admin.run(&making).await {
            Ok(()) => {}
            Err(Trouble::Refused(_, why)) => return Err(refused(why)),
            Err(unknown) => return Err(unknown.halfway()),
        }
        for grant in grants {
            admin.run(&grant).await.map_err(Trouble::halfway)?;
        }
        admin.run(&format!("ALTER USER {user} ACCOUNT UNLOCK")).await.map_err(Trouble::halfway)?;
        let field = |name: &str, value: &str| (name.to_owned(), Secret::from(value));
        let fields = Fields::from([
            field("user", wanted.name.as_str()),
            ("password".to_owned(), password),
            field("host", &self.of.host),
            field("port", &self.of.port.to_string()),
            field("database", &self.of.database),
        ]);
        Ok(Issued { fields, handle: None, until: None, keep: None })
    }

    async fn withdraw(&self, held: &Held) -> Result<Withdrawn, String> {
        self.unmake(held).await.map(Withdrawn::Gone).map_err(Trouble::into_text)
    }

    async fn sweep(&self, prefix: &str) -> Result<Vec<String>, String> {
        self.admin().await?.users(prefix).await.map_err(Trouble::into_text)
    }

    async fn check(&self) -> Result<(), String> {
        let mut admin = self.admin().await?;
        admin.sees_everybody().await.map_err(Trouble::into_text)?;
        admin.users("").await.map(drop).map_err(Trouble::into_text)
    }
}

/// One statement, for no longer than it may take
async fn bounded<T>(statement: impl Future<Output = Result<T, Error>>) -> Result<T, Trouble> {
    let silent = |_| Trouble::Unknown("the server does not answer".to_owned());
    Ok(timeout(STATEMENT, statement).await.map_err(silent)??)
}

/// Whether somebody with this grant, as the server writes it, is shown the sessions of others
fn shows_everybody(grant: &str) -> bool {
    let given = grant.strip_prefix("GRANT ").and_then(|rest| Some(rest.split_once(" ON *.* TO ")?.0));
    given.is_some_and(|given| given.split(", ").any(|one| matches!(one, "PROCESS" | "ALL PRIVILEGES")))
}

/// A user, from anywhere; names of leases have nothing that would have to be escaped
fn quoted(name: &str) -> String {
    format!("{}@'%'", text(name))
}

fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A name as an identifier; nothing if none can be that. Where databases are granted whole, their names are patterns
fn identifier(name: &str, pattern: bool) -> Option<String> {
    let good =
        !name.is_empty() && !name.ends_with(' ') && !name.contains(|c: char| c.is_control() || "\\%/.".contains(c));
    let name = name.replace('`', "``");
    let name = if pattern { name.replace('_', "\\_") } else { name };
    good.then(|| format!("`{name}`"))
}

/// What the server keeps of a password: `mysql_native_password`
fn hash(password: &str) -> String {
    let sha1 = |bytes: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
    let twice = sha1(sha1(password.as_bytes()).as_ref());
    twice.as_ref().iter().fold("*".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_name_and_what_the_server_says_is_read_as_it_means_it() {
        assert_eq!(identifier("shop_eu", true).as_deref(), Some("`shop\\_eu`"));
        assert_eq!(identifier("shop_eu", false).as_deref(), Some("`shop_eu`"));
        assert_eq!(identifier("a`b", false).as_deref(), Some("`a``b`"));
        for bad in ["", "a%", "a\\_b", "a.b", "a/b", "a\n", "a "] {
            assert_eq!(identifier(bad, true), None, "{bad:?}");
        }
        for (grant, shows) in [
            ("GRANT CREATE USER, PROCESS ON *.* TO `p`@`%` IDENTIFIED BY PASSWORD '*24'", true),
            ("GRANT ALL PRIVILEGES ON *.* TO `p`@`%` WITH GRANT OPTION", true),
            ("GRANT CREATE USER ON *.* TO `PROCESS`@`%`", false),
            ("GRANT ALL PRIVILEGES ON `shop`.* TO `p`@`%`", false),
            ("GRANT `PROCESS` TO `p`@`%`", false),
        ] {
            assert_eq!(shows_everybody(grant), shows, "{grant}");
        }
        // As `SELECT PASSWORD('password')` says it.
        assert_eq!(hash("password"), "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19");
    }
}
