//! What every source of credentials has to hold to, tried at real back ends.
//!
//! Each back end has a test here that hands [`holds`] a running one, and a way to try what it issued.

mod account;
mod aws;
mod github;
mod google;
mod kubernetes;
pub(crate) mod mariadb;
mod nats;
mod oauth;
mod openbao;
mod postgres;
mod redis;
mod ssh;

use futures_util::future::join_all;
use portreeve_core::{
    event::Evidence,
    hash::Hash,
    judge::Whom,
    names::{EffectId, TaskId},
    policy::Class,
    time::Millis,
};
use portreeve_credentials::{
    means::Means,
    name::{LeaseName, prefix},
    secret::Fields,
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn},
    vault::Vault,
};
use portreeve_identity::{key::SigningKey, keyring::Ring, mint::Minter, seal::Sealer};
use portreeve_rules::{Files, compile};
use portreeve_upstream::clock::SteadyClock;
use std::{
    sync::{Arc, LazyLock},
    time::SystemTime,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A back end that runs, and what is known of it
pub(crate) struct Subject<'a> {
    /// What its file in `credentials/` says; it issues for read, and not for escalate
    pub(crate) file: String,
    /// The same where nobody listens
    pub(crate) nobody: Option<String>,
    /// What lies in the vault for it
    pub(crate) secrets: &'a [(&'a str, &'a str)],
    /// What a task gives it
    pub(crate) scope: &'a [(&'a str, &'a str)],
    /// Whether somebody with these fields is let in
    pub(crate) lets_in: &'a dyn Fn(&Fields) -> bool,
    /// Whether it finds by name what it issued, without anything that was kept of the answer
    pub(crate) lists: bool,
    /// Whether it refuses a name that it has already; where it cannot tell, names are what Portreeve never gives twice
    pub(crate) unique: bool,
}

/// A moment so many minutes from now
pub(crate) fn minutes(from_now: i64) -> Millis {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    Millis(i64::try_from(now).unwrap()).plus(from_now * 60_000)
}

/// What a file of `credentials/` describes, and a vault with these secrets
pub(crate) fn source(file: &str, secrets: &[(&str, &str)]) -> (TempDir, Arc<dyn Source>) {
    let (folder, vault) = vault(secrets);
    (folder, of(file, &means(vault)))
}

/// A vault with these secrets
pub(crate) fn vault(secrets: &[(&str, &str)]) -> (TempDir, Arc<Vault>) {
    let sealer = Arc::new(Sealer::new(&SigningKey::make().unwrap()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let vault = Arc::new(Vault::open(&folder.path().join("vault"), "test".to_owned(), sealer).unwrap());
    for (name, secret) in secrets {
        vault.set(&name.parse().unwrap(), &(*secret).into(), (Millis(0), None), true).unwrap();
    }
    (folder, vault)
}

/// What a file of `credentials/` describes
pub(crate) fn of(file: &str, means: &Means) -> Arc<dyn Source> {
    let files: Files = [("credentials/subject.toml".to_owned(), file.to_owned())].into_iter().collect();
    let loaded = compile(&files).unwrap_or_else(|findings| panic!("{file}\n{findings:?}"));
    let source = loaded.bundle.sources.values().next().unwrap();
    portreeve_credentials::open(&"subject".parse().unwrap(), &source.back_end, means)
}

/// The key with which servers of others are shown who asks
static RING: LazyLock<Arc<Ring>> = LazyLock::new(|| Ring::of(SigningKey::make().unwrap()));

/// What back ends work with
pub(crate) fn means(vault: Arc<Vault>) -> Means {
    let minter = Minter::new("https://portreeve.example".to_owned(), Vec::new(), Arc::clone(&RING));
    Means::new(vault, Arc::new(minter), SteadyClock::start())
}

/// What is asked for a lease of this number
pub(crate) fn wanted(lease: u64, class: Class, scope: &[(&str, &str)]) -> Wanted {
    let scope = scope.iter().map(|(name, value)| (name.parse().unwrap(), (*value).to_owned())).collect();
    let (name, task) = (LeaseName::new(origin(), EffectId(lease)), TaskId(lease));
    Wanted { name, class, scope, until: minutes(20), task, whom: Whom::default() }
}

fn origin() -> Hash {
    Hash::of(b"the contract of sources")
}

/// All that is known of a credential
pub(crate) fn held(name: &LeaseName, issued: Issued) -> Held {
    let Issued { fields, handle, until, keep } = issued;
    Held { name: name.clone(), handle, until, keep, fields: Some(fields) }
}

/// What is known of one whose answer never came
fn by_name(name: &LeaseName) -> Held {
    Held { name: name.clone(), handle: None, until: None, keep: None, fields: None }
}

/// Tries all of it
pub(crate) fn holds(subject: &Subject<'_>) {
    let runtime = Runtime::new().unwrap();
    let (_vault, source) = source(&subject.file, subject.secrets);
    let issue = |lease| {
        let wanted = wanted(lease, Class::Read, subject.scope);
        let issued = runtime.block_on(source.issue(&wanted));
        (wanted.name, issued.unwrap_or_else(|error| panic!("{error:?}")))
    };
    let withdraw = |held: &Held| runtime.block_on(source.withdraw(held)).unwrap_or_else(|why| panic!("{why}"));
    let ours = || runtime.block_on(source.sweep(&prefix(origin()))).unwrap();
    runtime.block_on(source.check()).unwrap();

    // What was never issued is no trouble.
    if subject.lists {
        assert!(matches!(withdraw(&by_name(&wanted(1, Class::Read, &[]).name)), Withdrawn::Gone(_)));
    }
    let ((one, one_is), (other, other_is)) = (issue(2), issue(3));
    assert!((subject.lets_in)(&one_is.fields) && (subject.lets_in)(&other_is.fields));
    let shown = format!("{one_is:?}");
    for (name, field) in &one_is.fields {
        assert!(field.expose().len() < 12 || !shown.contains(field.expose()), "{name} is shown");
    }
    if subject.lists {
        let mut known = ours();
        known.sort();
        assert_eq!(known, [one.as_str(), other.as_str()]);
        let theirs = runtime.block_on(source.sweep(&prefix(Hash::of(b"another record")))).unwrap();
        assert!(theirs.is_empty(), "{theirs:?}");
    }
    if subject.unique {
        let twice = runtime.block_on(source.issue(&wanted(2, Class::Read, subject.scope)));
        assert!(twice.is_err(), "one name, two credentials");
        assert!((subject.lets_in)(&one_is.fields), "who comes second takes nothing away");
    }

    // One ends: it alone, for sure, and again without harm.
    let (one_held, one_is) = (held(&one, one_is.clone()), one_is);
    let gone = withdraw(&one_held);
    assert!(matches!(&gone, Withdrawn::Gone(Evidence::Refused { .. } | Evidence::Absent { .. })), "{gone:?}");
    assert!(!(subject.lets_in)(&one_is.fields) && (subject.lets_in)(&other_is.fields));
    assert!(matches!(withdraw(&one_held), Withdrawn::Gone(_)));

    // After a crash less is known, and it goes all the same.
    let fields = other_is.fields.clone();
    let less = if subject.lists { by_name(&other) } else { Held { fields: None, ..held(&other, other_is) } };
    let gone = withdraw(&less);
    assert!(matches!(&gone, Withdrawn::Gone(Evidence::Refused { .. } | Evidence::Absent { .. })), "{gone:?}");
    assert!(!(subject.lets_in)(&fields));
    assert_eq!(ours(), Vec::<String>::new());

    // Many at once are no trouble to each other.
    let asked: Vec<Wanted> = (20..28).map(|lease| wanted(lease, Class::Read, subject.scope)).collect();
    let issued = runtime.block_on(join_all(asked.iter().map(|wanted| source.issue(wanted))));
    let all: Vec<Held> = asked.iter().zip(issued).map(|(wanted, issued)| held(&wanted.name, issued.unwrap())).collect();
    for gone in runtime.block_on(join_all(all.iter().map(|held| source.withdraw(held)))) {
        assert!(matches!(&gone, Ok(Withdrawn::Gone(_))), "{gone:?}");
    }
    assert_eq!(ours(), Vec::<String>::new());

    // What nobody said how to issue, and what Portreeve itself is not let in for.
    let class = runtime.block_on(source.issue(&wanted(4, Class::Escalate, subject.scope)));
    assert!(matches!(class, Err(NotIssued::Refused(_))), "{class:?}");
    if !subject.secrets.is_empty() {
        let spoilt: Vec<_> = subject.secrets.iter().map(|(name, secret)| (*name, format!("x{secret}x"))).collect();
        let spoilt: Vec<_> = spoilt.iter().map(|(name, secret)| (*name, secret.as_str())).collect();
        refuses(&runtime, &self::source(&subject.file, &spoilt), subject);
        refuses(&runtime, &self::source(&subject.file, &[]), subject);
    }
    if let Some(nobody) = &subject.nobody {
        refuses(&runtime, &self::source(nobody, subject.secrets), subject);
    }
}

/// Nothing comes of anything, and each says why
fn refuses(runtime: &Runtime, (_vault, source): &(TempDir, Arc<dyn Source>), subject: &Subject<'_>) {
    let wanted = wanted(5, Class::Read, subject.scope);
    let issued = runtime.block_on(source.issue(&wanted));
    assert!(matches!(&issued, Err(NotIssued::Refused(why)) if !why.is_empty()), "{issued:?}");
    assert!(runtime.block_on(source.check()).is_err());
    if subject.lists {
        assert!(runtime.block_on(source.sweep(&prefix(origin()))).is_err());
        assert!(runtime.block_on(source.withdraw(&by_name(&wanted.name))).is_err());
    }
}

/// A port of this machine at which nobody listens
pub(crate) fn nobody() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
