//! PostgreSQL: a role for each lease, with nothing but what its class is granted.
//!
//! The server never sees the password: it is sent as a SCRAM verifier, so that neither its log nor anybody who watches
//! statements has it. `VALID UNTIL` only keeps new sessions out, and `DROP ROLE` leaves those that are open alive and
//! nameless. So the order of taking back is: no new sessions, end those that are open until there are none, take away
//! grants and possessions in every database, drop the role, and try the credential.

mod tls;

use crate::{
    secret::{Fields, Secret},
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn},
    vault::Vault,
};
use async_trait::async_trait;
use portreeve_core::{
    event::Evidence,
    policy::{Class, Postgres as Server, Template},
    time::Millis,
};
use postgres_protocol::{
    escape::{escape_identifier, escape_literal},
    password::scram_sha_256,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};
use tls::Tls;
use tokio::{sync::OwnedMutexGuard, time::error::Elapsed};
use tokio_postgres::{Client, Config, Error, NoTls, error::SqlState};

/// A server that roles are made at
#[derive(Debug)]
pub struct Postgres {
    of: Server,
    vault: Arc<Vault>,
}

/// How long connecting may take, and each statement
const CONNECT: Duration = Duration::from_secs(5);
const STATEMENT: Duration = Duration::from_secs(10);
/// How long open sessions get to end once they are told to
const ENDING: Duration = Duration::from_secs(5);
/// The codes with which a server refuses whom it does not know, or does not let in
const NOT_LET_IN: [&str; 2] = ["28P01", "28000"];
/// Bytes of a name; the server cuts off what is longer, so that it would be another one's
const NAME_BYTES_MAX: usize = 63;
/// How often they are looked for meanwhile
const LOOK: Duration = Duration::from_millis(10);
/// How long it is waited each time that another change came before one, until that is given up
const PAUSES: [Duration; 6] = [
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];
/// How Portreeve's own sessions run. Where names without a schema are looked for is fixed: else they could be what somebody
/// put into a schema of everybody, and ran with Portreeve's rights.
const OWN: &str = "-c statement_timeout=9000 -c lock_timeout=3000 -c search_path=pg_catalog,pg_temp";
/// Where a grant's names are looked for that have no schema. A grant runs nothing of what it finds
const GRANTED: &str = "SET LOCAL search_path = \"$user\", public";

/// One at a time grants or takes away at a server: PostgreSQL refuses the second of two that change what is granted on the
/// same thing. No lock of the server's does that, because everybody there could hold it.
static ALONE: LazyLock<Mutex<BTreeMap<Address, Arc<Alone>>>> = LazyLock::new(Mutex::default);
type Address = (String, u16);
type Alone = tokio::sync::Mutex<()>;

/// Why something did not come about
enum Trouble {
    /// It was not reached, or refused what was asked; nothing was changed
    Refused(String),
    /// It may have been changed
    Unknown(String),
}

impl Trouble {
    fn of(error: &Error) -> Self {
        match error.as_db_error() {
            Some(said) => Self::Refused(format!("{}: {}", said.code().code(), said.message())),
            None => Self::Unknown(source(error)),
        }
    }

    fn into_text(self) -> String {
        match self {
            Self::Refused(why) | Self::Unknown(why) => why,
        }
    }
}

impl Postgres {
    /// Roles at this server, with the admin's password from this vault
    #[must_use]
    pub fn new(of: Server, vault: Arc<Vault>) -> Self {
        Self { of, vault }
    }

    /// A session of Portreeve's own role
    async fn admin(&self, database: &str) -> Result<Client, String> {
        let mut refused = None;
        for (user, password) in self.vault.logins(&self.of.admin)? {
            match self.connect((&user, password.expose()), database, OWN).await {
                Ok(client) => return Ok(client),
                Err(Trouble::Refused(why)) => drop(refused.get_or_insert(why)),
                Err(Trouble::Unknown(why)) => return Err(why),
            }
        }
        Err(refused.unwrap_or_else(|| "the vault has no password".to_owned()))
    }

    async fn connect(&self, (user, password): (&str, &str), database: &str, options: &str) -> Result<Client, Trouble> {
        let mut config = Config::new();
        config.host(&self.of.host).port(self.of.port).user(user).password(password).dbname(database);
        config.connect_timeout(CONNECT).application_name("portreeve");
        // A statement that we no longer wait for does not wait on, either, with others waiting behind it.
        config.options(options);
        let silent = || Trouble::Unknown("the server does not answer".to_owned());
        if self.of.tls {
            let tls = Tls::new().map_err(|error| Trouble::Unknown(error.to_string()))?;
            config.ssl_mode(tokio_postgres::config::SslMode::Require);
            let connecting = tokio::time::timeout(CONNECT, config.connect(tls)).await;
            let (client, connection) = connecting.map_err(|_| silent())?.map_err(|error| Trouble::of(&error))?;
            tokio::spawn(connection);
            return Ok(client);
        }
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        let connecting = tokio::time::timeout(CONNECT, config.connect(NoTls)).await;
        let (client, connection) = connecting.map_err(|_| silent())?.map_err(|error| Trouble::of(&error))?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// What makes the role, in one transaction
    fn making(&self, wanted: &Wanted, password: &Secret) -> Result<Vec<String>, String> {
        let role = escape_identifier(wanted.name.as_str());
        let grants =
            self.of.grants.get(&wanted.class).ok_or_else(|| format!("nothing is granted to {}", wanted.class))?;
        let verifier = escape_literal(&scram_sha_256(password.expose().as_bytes()));
        let until = instant(wanted.until);
        let mut all = vec![format!(
            "CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION INHERIT \
             CONNECTION LIMIT {} PASSWORD {verifier} VALID UNTIL '{until}'",
            self.of.connections
        )];
        // A word to those who look at the server; whoever holds the role could set it otherwise, so nothing rests on it.
        if wanted.class == Class::Read {
            all.push(format!("ALTER ROLE {role} SET default_transaction_read_only = on"));
        }
        all.push(format!("COMMENT ON ROLE {role} IS {}", escape_literal(&format!("Portreeve: {}", wanted.task))));
        if let Some((name, _)) = wanted.scope.iter().find(|(_, value)| value.len() > NAME_BYTES_MAX) {
            return Err(format!("{name} is longer than {NAME_BYTES_MAX} bytes, which no name is"));
        }
        let quoted: BTreeMap<&str, String> =
            wanted.scope.iter().map(|(name, value)| (name.as_str(), escape_identifier(value))).collect();
        all.push(GRANTED.to_owned());
        for grant in grants {
            let template = Template::read(grant).map_err(|error| error.to_string())?;
            let filled = template.fill(|field| quoted.get(field).map(String::as_str));
            let filled = filled.map_err(|field| format!("nothing says what {{{field}}} is"))?;
            all.push(format!("GRANT {filled} TO {role}"));
        }
        Ok(all)
    }

    /// Who changes what is granted at this server does so alone
    async fn alone(&self) -> OwnedMutexGuard<()> {
        let alone = {
            let mut all = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry((self.of.host.clone(), self.of.port)).or_default())
        };
        alone.lock_owned().await
    }

    /// Makes the role, or nothing; what is not committed is undone by the server, whatever becomes of us
    async fn make(&self, admin: &Client, statements: &[String]) -> Result<(), NotIssued> {
        // Until it is committed.
        let _alone = self.alone().await;
        match unless_late(|| begin(admin, statements)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(NotIssued::Refused(source(&error))),
            Err(_) => return Err(NotIssued::Refused("the server does not answer".to_owned())),
        }
        match tokio::time::timeout(STATEMENT, admin.batch_execute("COMMIT")).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(NotIssued::Unknown(source(&error))),
            Err(_) => Err(NotIssued::Unknown("the server did not say whether it was done".to_owned())),
        }
    }

    /// Takes away what a role has in a database, or nothing: statements that are sent together are one transaction
    async fn disown(&self, admin: &Client, statements: &str) -> Result<(), String> {
        let _alone = self.alone().await;
        answered(unless_late(|| tokio::time::timeout(STATEMENT, admin.batch_execute(statements))).await)
    }

    /// Takes the role away, step by step, each of which may have been done before
    async fn unmake(&self, held: &Held) -> Result<Evidence, String> {
        let name = held.name.as_str();
        let role = escape_identifier(name);
        let admin = self.admin(&self.of.database).await?;
        // What it made goes with it: whoever got it would run what is in it, with more rights than it was made with.
        let disown = match &self.of.keep_for {
            None => format!("DROP OWNED BY {role} CASCADE"),
            Some(keeper) => {
                format!("REASSIGN OWNED BY {role} TO {}; DROP OWNED BY {role}", escape_identifier(keeper))
            }
        };
        let found = run(admin.query_opt("SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1", &[&name])).await?;
        if let Some(found) = found {
            let oid: u32 = found.get(0);
            run(admin.batch_execute(&format!("ALTER ROLE {role} NOLOGIN CONNECTION LIMIT 0"))).await?;
            // Whoever made the role may take its place, and needs to: to end its sessions, and for what it owns.
            let _ = run(admin.batch_execute(&format!("GRANT {role} TO CURRENT_USER"))).await;
            self.end_sessions(&admin, oid).await?;
            let elsewhere = run(admin.query(
                "SELECT DISTINCT d.datname FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_database d ON d.oid = s.dbid \
                 WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.refobjid = $1 AND d.datname <> pg_catalog.current_database()",
                &[&oid],
            ))
            .await?;
            for row in elsewhere {
                let database: String = row.get(0);
                let there = self.admin(&database).await?;
                self.disown(&there, &disown).await?;
            }
            self.disown(&admin, &disown).await?;
            self.end_sessions(&admin, oid).await?;
            run(admin.batch_execute(&format!("DROP ROLE {role}"))).await?;
        }
        // A session that came in between lives on without a name, and only a superuser may end it.
        let nameless = run(admin.query(
            "SELECT pid FROM pg_catalog.pg_stat_activity s WHERE usesysid IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_roles r WHERE r.oid = s.usesysid)",
            &[],
        ))
        .await?;
        if let Some(session) = nameless.first() {
            let pid: i32 = session.get(0);
            return Err(format!("a session of a role that is gone is open: SELECT pg_terminate_backend({pid})"));
        }
        let left = run(admin.query_opt("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1", &[&name])).await?;
        if left.is_some() {
            return Err("the role is still there".to_owned());
        }
        match held.fields.as_ref().and_then(|fields| fields.get("password")) {
            Some(password) => match self.connect((name, password.expose()), &self.of.database, "").await {
                Ok(_) => Err("the server still lets the role in".to_owned()),
                // Any other refusal, such as of one connection too many, says nothing of the role.
                Err(Trouble::Refused(says)) if NOT_LET_IN.iter().any(|code| says.starts_with(code)) => {
                    Ok(Evidence::Refused { says })
                }
                Err(Trouble::Refused(why) | Trouble::Unknown(why)) => Err(why),
            },
            None => Ok(Evidence::Absent { says: "no role of its name and no session of it".to_owned() }),
        }
    }

    /// Ends every session of a role, and waits until there is none
    async fn end_sessions(&self, admin: &Client, role: u32) -> Result<(), String> {
        let until = tokio::time::Instant::now() + ENDING;
        loop {
            let open = run(admin.query(
                "SELECT pid, pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usesysid = $1",
                &[&role],
            ))
            .await?;
            if open.is_empty() {
                return Ok(());
            }
            if tokio::time::Instant::now() >= until {
                return Err(format!("{} sessions do not end", open.len()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[async_trait]
impl Source for Postgres {
    async fn issue(&self, wanted: &Wanted) -> Result<Issued, NotIssued> {
        let refused = NotIssued::Refused;
        let password = Secret::random().ok_or_else(|| refused("the system has no randomness".to_owned()))?;
        let statements = self.making(wanted, &password).map_err(refused)?;
        let admin = self.admin(&self.of.database).await.map_err(refused)?;
        self.make(&admin, &statements).await?;
        let field = |name: &str, value: &str| (name.to_owned(), Secret::from(value));
        let fields = Fields::from([
            field("user", wanted.name.as_str()),
            ("password".to_owned(), password),
            field("host", &self.of.host),
            field("port", &self.of.port.to_string()),
            field("database", &self.of.database),
        ]);
        Ok(Issued { fields, handle: None, until: Some(wanted.until), keep: None })
    }

    async fn withdraw(&self, held: &Held) -> Result<Withdrawn, String> {
        self.unmake(held).await.map(Withdrawn::Gone)
    }

    async fn sweep(&self, prefix: &str) -> Result<Vec<String>, String> {
        let admin = self.admin(&self.of.database).await?;
        let ours = "SELECT rolname FROM pg_catalog.pg_roles WHERE pg_catalog.starts_with(rolname::pg_catalog.text, $1)";
        let rows = run(admin.query(ours, &[&prefix])).await;
        Ok(rows?.iter().map(|row| row.get(0)).collect())
    }

    async fn check(&self) -> Result<(), String> {
        let admin = self.admin(&self.of.database).await?;
        let row = run(admin
            .query_one("SELECT rolsuper OR rolcreaterole FROM pg_catalog.pg_roles WHERE rolname = current_user", &[]));
        let row = row.await?;
        let may: bool = row.get(0);
        may.then_some(()).ok_or_else(|| "Portreeve's own role may not make roles: ALTER ROLE ... CREATEROLE".to_owned())
    }
}

/// One statement, for no longer than it may take
async fn run<T>(statement: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    answered(tokio::time::timeout(STATEMENT, statement).await)
}

/// What became of a statement; on the outside, whether it was answered in time
type Done<T> = Result<Result<T, Error>, Elapsed>;

fn answered<T>(done: Done<T>) -> Result<T, String> {
    match done {
        Ok(done) => done.map_err(|error| Trouble::of(&error).into_text()),
        Err(_) => Err("the server does not answer".to_owned()),
    }
}

/// Begins a transaction with these statements; one that fails undoes them
async fn begin(admin: &Client, statements: &[String]) -> Done<()> {
    let begin = async {
        admin.batch_execute("BEGIN").await?;
        for statement in statements {
            if let Err(error) = admin.batch_execute(statement).await {
                admin.batch_execute("ROLLBACK").await?;
                return Err(error);
            }
        }
        Ok(())
    };
    tokio::time::timeout(STATEMENT, begin).await
}

/// Tries a change until no other one comes before it, or that is given up
async fn unless_late<T, F: Future<Output = Done<T>>>(attempt: impl Fn() -> F) -> Done<T> {
    let mut done = attempt().await;
    for pause in PAUSES {
        if !is_late(&done) {
            break;
        }
        tokio::time::sleep(pause).await;
        done = attempt().await;
    }
    done
}

/// Whether another change of the same thing came before this one: another gateway's, which waits for no lock of ours
fn is_late<T>(done: &Done<T>) -> bool {
    let said = done.as_ref().ok().and_then(|done| done.as_ref().err()).and_then(Error::as_db_error);
    said.is_some_and(|said| {
        *said.code() == SqlState::T_R_DEADLOCK_DETECTED
            || (*said.code() == SqlState::INTERNAL_ERROR && said.message().starts_with("tuple concurrently"))
    })
}

/// What the server says, without what was sent to it
fn source(error: &Error) -> String {
    match error.as_db_error() {
        // The password stands in no statement, but a name of the policy's may.
        Some(said) if *said.code() == SqlState::SYNTAX_ERROR => {
            format!("{}: a grant is not understood", said.code().code())
        }
        Some(said) => format!("{}: {}", said.code().code(), said.message()),
        None => {
            std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
        }
    }
}

/// A time as PostgreSQL reads it
fn instant(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| "epoch".to_owned(), |at| at.to_string())
}
