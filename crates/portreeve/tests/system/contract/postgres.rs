//! The contract at a real PostgreSQL server.

use super::{Subject, held, holds, nobody, source, wanted};
use crate::support::{postgres::Postgres, until};
use portreeve_core::policy::Class;
use portreeve_credentials::{
    secret::Fields,
    source::{Issued, Source, Wanted, Withdrawn},
};
use std::thread;
use tokio::runtime::Runtime;

const SECRETS: &[(&str, &str)] = &[("admin", "portreeve:portreeve-of-the-test")];
const SCOPE: &[(&str, &str)] = &[("schema", "shop")];

fn database(test: &str) -> Option<Postgres> {
    let Some(database) = Postgres::start() else {
        println!("SKIPPED: {test}: PostgreSQL is missing");
        return None;
    };
    database.ask("postgres", "CREATE ROLE portreeve LOGIN CREATEROLE PASSWORD 'portreeve-of-the-test'").unwrap();
    database.ask("postgres", "CREATE SCHEMA shop AUTHORIZATION portreeve").unwrap();
    Some(database)
}

fn file(port: u16) -> String {
    format!(
        "owner = \"dba@example.com\"\n[scope]\nschema = \"tenant\"\n[probe]\nschema = \"shop\"\n\
         [postgres]\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"postgres\"\ntls = false\nadmin = \"admin\"\n\
         [postgres.read]\ngrant = [\"USAGE ON SCHEMA {{schema}}\"]\n\
         [postgres.write]\ngrant = [\"USAGE ON SCHEMA {{schema}}\", \"SELECT ON orders\"]\n"
    )
}

fn who(fields: &Fields) -> (&str, &str) {
    (fields["user"].expose(), fields["password"].expose())
}

fn issue(runtime: &Runtime, source: &dyn Source, wanted: &Wanted) -> Issued {
    runtime.block_on(source.issue(wanted)).unwrap_or_else(|error| panic!("{error:?}"))
}

fn withdraw(runtime: &Runtime, source: &dyn Source, wanted: &Wanted, issued: Issued) {
    let gone = runtime.block_on(source.withdraw(&held(&wanted.name, issued)));
    assert!(matches!(gone, Ok(Withdrawn::Gone(_))), "{gone:?}");
}

#[test]
fn postgres_holds_to_it() {
    let Some(database) = database("postgres_holds_to_it") else { return };
    holds(&Subject {
        file: file(database.port()),
        nobody: Some(file(nobody())),
        secrets: SECRETS,
        scope: SCOPE,
        lets_in: &|fields| database.ask_as(who(fields), "postgres", "SELECT 1").is_ok(),
        lists: true,
        unique: true,
    });
}

/// What stands in a schema of everybody under a name that Portreeve's own statements use, and would fit better
#[test]
fn nothing_that_somebody_put_into_a_postgres_runs_as_portreeve() {
    let Some(database) = database("nothing_that_somebody_put_into_a_postgres_runs_as_portreeve") else { return };
    for statement in [
        "CREATE DATABASE other",
        "CREATE TABLE public.ran (what text)",
        "GRANT INSERT ON public.ran TO PUBLIC",
        "CREATE FUNCTION public.pg_advisory_xact_lock(integer) RETURNS void LANGUAGE plpgsql AS \
         $$BEGIN INSERT INTO public.ran VALUES ('lock'); END$$",
        "CREATE FUNCTION public.is(oid, regclass) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS \
         $$BEGIN INSERT INTO public.ran VALUES ('is'); RETURN $1 = $2::oid; END$$",
        "CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = regclass, FUNCTION = public.is)",
        // A grant's own names are looked for where everybody's are.
        "CREATE TABLE public.orders (id int)",
        "ALTER TABLE public.orders OWNER TO portreeve",
        // That they do run, where somebody looks for what they need there.
        "SELECT 1 FROM pg_class WHERE relnamespace = 'pg_class'::regclass",
    ] {
        database.ask("postgres", statement).unwrap();
    }
    let ran = || database.ask("postgres", "SELECT what FROM public.ran").unwrap();
    assert!(!ran().is_empty());
    database.ask("postgres", "DELETE FROM public.ran").unwrap();
    let runtime = Runtime::new().unwrap();
    let (_vault, source) = source(&file(database.port()), SECRETS);
    runtime.block_on(source.check()).unwrap();
    let wanted = wanted(1, Class::Write, SCOPE);
    let issued = issue(&runtime, &*source, &wanted);
    database.ask_as(who(&issued.fields), "postgres", "SELECT id FROM public.orders").unwrap();
    // What it has in other databases is looked for by the statement that the operator above is in.
    let owns = format!("CREATE TABLE kept (id int); ALTER TABLE kept OWNER TO \"{}\"", wanted.name);
    database.ask("other", &owns).unwrap();
    withdraw(&runtime, &*source, &wanted, issued);
    assert_eq!((ran(), database.roles()), (Vec::new(), Vec::new()));
}

#[test]
fn nobody_keeps_a_postgres_from_being_granted_and_taken_back() {
    let Some(database) = database("nobody_keeps_a_postgres_from_being_granted_and_taken_back") else { return };
    let runtime = Runtime::new().unwrap();
    let (_vault, source) = source(&file(database.port()), SECRETS);
    let [one, other, late] = [1, 2, 3].map(|lease| wanted(lease, Class::Read, SCOPE));
    let mine = issue(&runtime, &*source, &one);
    let sleeping = |times| {
        let asleep = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        until("it sleeps", || database.ask("postgres", asleep).unwrap().len() == times);
    };
    thread::scope(|scope| {
        // A lock that everybody may take, whatever they are granted.
        let locks = "SELECT pg_advisory_lock(8100130); SELECT pg_sleep(60)";
        scope.spawn(|| database.ask_as(who(&mine.fields), "postgres", locks));
        sleeping(1);
        let theirs = issue(&runtime, &*source, &other);
        withdraw(&runtime, &*source, &other, theirs);
        withdraw(&runtime, &*source, &one, mine.clone());
    });
    // Another gateway changes what is granted on the same thing, in a transaction that goes on for a while.
    database.ask("postgres", "CREATE ROLE reporting").unwrap();
    thread::scope(|scope| {
        let grants = "GRANT USAGE ON SCHEMA shop TO reporting; SELECT pg_sleep(1)";
        scope.spawn(|| database.ask("postgres", grants).unwrap());
        sleeping(1);
        let theirs = issue(&runtime, &*source, &late);
        scope.spawn(|| database.ask("postgres", &grants.replace("GRANT", "REVOKE").replace("TO", "FROM")).unwrap());
        sleeping(1);
        withdraw(&runtime, &*source, &late, theirs);
    });
    assert_eq!(database.roles(), Vec::<String>::new());
}
