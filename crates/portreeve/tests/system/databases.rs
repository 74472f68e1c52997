//! Leases at a real PostgreSQL server, behind the official (archived) MCP server for PostgreSQL.

use crate::interop::interop;
use crate::support::{
    place::{Place, Serve, Task},
    postgres::{ADMIN, Postgres},
    until,
};
use serde_json::{Value, json};
use std::fs;

/// The archived server takes its address as an argument; what is in an argument everybody sees, so it gets it from its
/// environment, inside of its own process
const SERVER: &str = "process.argv.push(process.env.DATABASE_URI); import(process.argv[1]);";

const OFFICIAL: &str = "node/node_modules/@modelcontextprotocol/server-postgres/dist/index.js";

pub(crate) struct House {
    pub(crate) place: Place,
    pub(crate) database: Postgres,
}

/// A house with a database, and two connectors that have roles of it
pub(crate) fn house(test: &str) -> Option<House> {
    let server = interop(test, &[OFFICIAL])?.join(OFFICIAL);
    let Some(database) = Postgres::start() else {
        println!("SKIPPED: {test}: PostgreSQL is missing");
        return None;
    };
    for statement in [
        "CREATE DATABASE orders",
        "CREATE DATABASE other",
        // What Portreeve signs in as: it may make roles, and owns what it grants.
        "CREATE ROLE portreeve LOGIN CREATEROLE PASSWORD 'portreeve-of-the-test'",
        "GRANT CREATE ON DATABASE orders TO portreeve",
        "ALTER ROLE portreeve CONNECTION LIMIT 50",
    ] {
        database.ask("postgres", statement).unwrap();
    }
    let owner = ("portreeve", "portreeve-of-the-test");
    for statement in [
        "CREATE SCHEMA shop",
        "CREATE TABLE shop.orders (id int PRIMARY KEY, amount int)",
        "INSERT INTO shop.orders VALUES (1, 100)",
    ] {
        database.ask_as(owner, "orders", statement).unwrap();
    }
    let place = Place::new();
    let port = database.port();
    place.write(
        "policy/credentials/orders-db.toml",
        &format!(
            "owner = \"dba@example.com\"\nttl = \"10m\"\n\
             [postgres]\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"orders\"\ntls = false\nadmin = \"orders-db-admin\"\n\
             [postgres.read]\ngrant = [\"USAGE ON SCHEMA {{schema}}\", \"SELECT ON ALL TABLES IN SCHEMA {{schema}}\"]\n\
             [postgres.write]\ngrant = [\"USAGE, CREATE ON SCHEMA {{schema}}\", \"SELECT, INSERT ON ALL TABLES IN SCHEMA {{schema}}\"]\n\
             [scope]\nschema = \"schema\"\n[probe]\nschema = \"shop\"\n"
        ),
    );
    let put = "env = { DATABASE_URI = \"postgresql://{user}:{password}@{host}:{port}/{database}\" }";
    for (name, class) in [("look", "read"), ("change", "write")] {
        let command = json!(["node", "-e", SERVER, server]);
        place.write(
            &format!("policy/connectors/{name}.toml"),
            &format!(
                "command = {command}\n[credentials]\nsource = \"orders-db\"\n{put}\n[tools.query]\nclass = \"{class}\"\narguments = {{ sql = \"content\" }}\n"
            ),
        );
    }
    place.write(
        "policy/purposes/orders.toml",
        "about = \"Look at orders\"\nowner = \"tests\"\n[open]\nagents = [\"assistant\"]\nusers = \"none\"\n\
         [task]\nexpires_after = \"1h\"\nstanding = [\"read\", \"write\"]\n\
         [parameters]\nschema = { type = \"string\", pattern = \"[a-z]+\" }\n\
         [[allow]]\nname = \"look\"\nuse = [\"look.query\"]\nwhere = { sql = { any = true } }\n\
         [[allow]]\nname = \"change\"\nuse = [\"change.query\"]\nwhere = { sql = { any = true } }\n",
    );
    Some(House { place, database })
}

/// Serves it, with what it needs in the vault
pub(crate) fn serve(house: &House) -> Serve {
    let serve = Serve::start(&house.place).unwrap_or_else(|ran| panic!("{ran:?}"));
    house.place.run_with(&["secret", "set", "orders-db-admin"], "portreeve:portreeve-of-the-test").good();
    house.place.run(&["connector", "accept", "look", "--yes"]).good();
    house.place.run(&["connector", "accept", "change", "--yes"]).good();
    until("what looked is taken back", || house.database.roles().is_empty());
    serve
}

fn open(serve: &Serve) -> Task {
    serve.open_with(&json!({ "purpose": "orders", "parameters": { "schema": "shop" } }))
}

fn query(task: &Task, connector: &str, sql: &str) -> Value {
    task.call(connector, "query", &json!({ "sql": sql }))
}

fn amounts(house: &House) -> Vec<String> {
    house.database.ask("orders", "SELECT amount FROM shop.orders ORDER BY id").unwrap()
}

#[test]
fn a_read_that_is_told_to_write_cannot_at_the_database() {
    let Some(house) = house("a_read_that_is_told_to_write_cannot_at_the_database") else { return };
    let serve = serve(&house);
    let (one, other) = (open(&serve), open(&serve));
    let answer = query(&one, "look", "SELECT amount FROM shop.orders");
    assert!(answer.to_string().contains("100"), "{answer}");
    assert!(query(&other, "look", "SELECT 1").to_string().contains('1'));
    assert_eq!(house.database.roles().len(), 2, "each task has a role of its own");
    // The known hole of this server: it begins a transaction that only reads, and text can end that.
    let injected = "COMMIT; INSERT INTO shop.orders VALUES (2, 1)";
    let answer = query(&one, "look", injected);
    assert!(answer.to_string().contains("cannot execute INSERT in a read-only transaction"), "{answer}");
    // It can set what only asks it not to write, and still cannot.
    let answer = query(&one, "look", &format!("COMMIT; SET default_transaction_read_only = off; {injected}"));
    assert!(answer.to_string().contains("permission denied"), "{answer}");
    assert_eq!(amounts(&house), ["100"], "nothing was written");
    // The same text under a lease that may write does write: it was the lease that refused.
    let answer = query(&one, "change", injected);
    assert!(!answer.to_string().contains("permission denied"), "{answer}");
    assert_eq!(amounts(&house), ["100", "1"]);
    assert_eq!(house.database.roles().len(), 3, "a class of its own is a role of its own");
    let mine = house.database.sessions();
    assert!(mine >= 2, "{mine}");
    serve.stop(&one.id);
    until("only the other's role is left", || house.database.roles().len() == 1);
    until("and its session", || house.database.sessions() <= 1);
    assert!(query(&other, "look", "SELECT 7").to_string().contains('7'), "the other's is untouched");
    serve.stop(&other.id);
    until("nothing is left", || house.database.roles().is_empty() && house.database.sessions() == 0);
    // What was found out is on the record: tried, and refused by the server itself.
    let record = house.place.record();
    let withdrawn =
        record.events("settled").filter_map(|(_, settled)| settled.pointer("/end/lease/withdrawn/evidence"));
    let withdrawn: Vec<_> = withdrawn.collect();
    assert!(
        withdrawn.len() >= 5 && withdrawn.iter().all(|evidence| evidence.get("refused").is_some()),
        "{withdrawn:?}"
    );
    // No password stands in any statement that the server was sent.
    let log = fs::read_to_string(house.database.log()).unwrap();
    let created: Vec<&str> = log.lines().filter(|line| line.contains("CREATE ROLE \"ptr_")).collect();
    assert!(!created.is_empty() && created.iter().all(|line| line.contains("SCRAM-SHA-256$")), "{created:?}");
}

#[test]
fn what_a_role_left_in_other_databases_goes_with_it() {
    let Some(house) = house("what_a_role_left_in_other_databases_goes_with_it") else { return };
    house.database.ask("postgres", "CREATE ROLE archive NOLOGIN").unwrap();
    house.database.ask("postgres", "GRANT archive TO portreeve").unwrap();
    let file = house.place.read("policy/credentials/orders-db.toml");
    let keeping = file.replace("[postgres.read]", "keep_for = \"archive\"\n[postgres.read]");
    house.place.write("policy/credentials/orders-db.toml", &keeping);
    let serve = serve(&house);
    let task = open(&serve);
    query(&task, "look", "SELECT 1");
    let [role] = house.database.roles().try_into().unwrap();
    // Somebody gave it something elsewhere: dropping the role alone would fail for ever.
    for statement in ["CREATE TABLE kept (id int)", &format!("ALTER TABLE kept OWNER TO \"{role}\"")] {
        house.database.ask("other", statement).unwrap();
    }
    house.database.ask("other", "GRANT CONNECT ON DATABASE other TO portreeve").unwrap();
    house.database.ask("other", "GRANT CREATE ON SCHEMA public TO portreeve").unwrap();
    serve.stop(&task.id);
    until("the role is gone", || house.database.roles().is_empty());
    let owner = house.database.ask("other", "SELECT tableowner FROM pg_tables WHERE tablename = 'kept'").unwrap();
    assert_eq!(owner, ["archive"]);
}

#[test]
fn what_a_role_made_goes_with_it_so_that_nobody_runs_it_with_other_rights() {
    let Some(house) = house("what_a_role_made_goes_with_it_so_that_nobody_runs_it_with_other_rights") else { return };
    let serve = serve(&house);
    let task = open(&serve);
    let made = "COMMIT; SET default_transaction_read_only = off; CREATE FUNCTION shop.take() RETURNS void SECURITY \
                DEFINER LANGUAGE sql AS 'ALTER ROLE portreeve PASSWORD NULL'";
    query(&task, "change", made);
    let there = || house.database.ask("orders", "SELECT 1 FROM pg_proc WHERE proname = 'take'").unwrap().len();
    assert_eq!(there(), 1);
    serve.stop(&task.id);
    until("the role is gone", || house.database.roles().is_empty());
    assert_eq!(there(), 0);
}

#[test]
fn a_server_that_is_gone_is_told_and_tried_again() {
    let Some(mut house) = house("a_server_that_is_gone_is_told_and_tried_again") else { return };
    let serve = serve(&house);
    let task = open(&serve);
    query(&task, "look", "SELECT 1");
    house.database.down();
    serve.stop(&task.id);
    let tail = || house.place.run(&["audit", "tail", "-n", "1000"]).good().out;
    until("it is told", || tail().contains("is not taken back yet (tried 1x)"));
    let task = open(&serve);
    let answer = query(&task, "look", "SELECT 1");
    assert!(answer.to_string().contains("credential_unavailable"), "{answer}");
    house.database.up();
    until("it is taken back", || house.database.roles().is_empty());
    let answer = query(&task, "look", "SELECT 3");
    assert!(answer.to_string().contains('3'), "{answer}");
    // A password of Portreeve's own that is exchanged: the one before is tried as long as it overlaps.
    house.place.run_with(&["secret", "set", "orders-db-admin", "--overlap", "1h"], "portreeve:next-of-the-test").good();
    serve.stop(&task.id);
    until("with the one before", || house.database.roles().is_empty());
    house.database.ask("postgres", "ALTER ROLE portreeve PASSWORD 'next-of-the-test'").unwrap();
    let task = open(&serve);
    assert!(query(&task, "look", "SELECT 5").to_string().contains('5'));
    // One that nobody lets in any more: nothing is issued, and what is out is told.
    house.database.ask("postgres", "ALTER ROLE portreeve NOLOGIN").unwrap();
    serve.stop(&task.id);
    until("it is told again", || tail().matches("is not taken back yet (tried 1x)").count() == 2);
    let sources = house.place.run(&["lease", "sources"]);
    assert!(sources.code == 1 && sources.out.contains("28000"), "{sources:?}");
    house.database.ask("postgres", "ALTER ROLE portreeve LOGIN").unwrap();
    until("and goes then", || house.database.roles().is_empty());
    assert_eq!(house.database.ask_as(ADMIN, "postgres", "SELECT 1").unwrap(), ["1"]);
}
