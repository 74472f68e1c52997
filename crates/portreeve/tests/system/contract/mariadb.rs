//! The contract at a real MariaDB server.

use super::{Subject, held, holds, nobody, source, wanted};
use crate::support::mariadb::MariaDb;
use portreeve_core::{event::Evidence, policy::Class};
use portreeve_credentials::{
    secret::Fields,
    source::{NotIssued, Withdrawn},
};
use std::{sync::mpsc, thread};
use tokio::runtime::Runtime;

const SECRETS: &[(&str, &str)] = &[("admin", "portreeve:portreeve-of-mariadb")];

/// What Portreeve's own user has, and something to grant
pub(crate) fn prepare(database: &MariaDb) {
    for statement in [
        "CREATE DATABASE shop_eu",
        "CREATE DATABASE shopxeu",
        "CREATE TABLE shop_eu.orders (id int, amount int)",
        "CREATE TABLE shopxeu.orders (id int, amount int)",
        "INSERT INTO shop_eu.orders VALUES (1, 100)",
        "CREATE USER portreeve@'%' IDENTIFIED BY 'portreeve-of-mariadb'",
        "GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO portreeve@'%'",
        "GRANT SELECT ON mysql.user TO portreeve@'%'",
        "GRANT SELECT, INSERT ON `shop\\_eu`.* TO portreeve@'%' WITH GRANT OPTION",
        "GRANT SELECT, INSERT ON `shopxeu`.* TO portreeve@'%' WITH GRANT OPTION",
    ] {
        database.ask(statement).unwrap();
    }
}

fn file(port: u16) -> String {
    format!(
        "owner = \"dba@example.com\"\n[scope]\nshop = \"tenant\"\n[probe]\nshop = \"shop_eu\"\n\
         [mariadb]\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"shop_eu\"\ntls = false\nadmin = \"admin\"\n\
         [mariadb.read]\ngrant = [\"SELECT ON {{shop}}.*\"]\n\
         [mariadb.write]\ngrant = [\"SELECT, INSERT ON {{shop}}.orders\", \"SELECT ON mysql.global_priv\"]\n"
    )
}

fn who(fields: &Fields) -> (&str, &str) {
    (fields["user"].expose(), fields["password"].expose())
}

#[test]
fn mariadb_holds_to_it() {
    let Some(database) = MariaDb::start() else {
        println!("SKIPPED: mariadb_holds_to_it: MariaDB is missing");
        return;
    };
    prepare(&database);
    holds(&Subject {
        file: file(database.port()),
        nobody: Some(file(nobody())),
        secrets: SECRETS,
        scope: &[("shop", "shop_eu")],
        lets_in: &|fields| database.ask_as(who(fields), "shop_eu", "SELECT 1").is_ok(),
        lists: true,
        unique: true,
    });
    // The password itself stands in no statement.
    let statements = database.statements();
    let made: Vec<_> = statements.lines().filter(|line| line.contains("CREATE USER 'ptr_")).collect();
    assert!(!made.is_empty() && made.iter().all(|line| line.contains("IDENTIFIED BY PASSWORD")), "{made:?}");
}

#[test]
fn a_user_of_mariadb_has_what_its_class_is_granted_and_half_of_one_lets_nobody_in() {
    let test = "a_user_of_mariadb_has_what_its_class_is_granted_and_half_of_one_lets_nobody_in";
    let Some(database) = MariaDb::start() else {
        println!("SKIPPED: {test}: MariaDB is missing");
        return;
    };
    prepare(&database);
    let runtime = Runtime::new().unwrap();
    let (_vault, source) = source(&file(database.port()), SECRETS);
    let issue = |lease, class, shop| {
        let wanted = wanted(lease, class, &[("shop", shop)]);
        (wanted.name.clone(), runtime.block_on(source.issue(&wanted)))
    };
    let (reader, issued) = issue(1, Class::Read, "shop_eu");
    let issued = issued.unwrap();
    let ask = |statement: &str| database.ask_as(who(&issued.fields), "shop_eu", statement);
    assert_eq!(ask("SELECT amount FROM orders").unwrap(), ["100"]);
    assert!(ask("INSERT INTO orders VALUES (2, 1)").unwrap_err().contains("INSERT command denied"));
    // An underscore is one letter of a name, although it is a pattern to the server.
    assert!(ask("SELECT * FROM shopxeu.orders").unwrap_err().contains("denied"));
    // What it has open ends with it.
    let (sender, ended) = mpsc::channel();
    thread::scope(|scope| {
        let sleeps = || sender.send(database.ask_as(who(&issued.fields), "shop_eu", "SELECT SLEEP(30)")).unwrap();
        scope.spawn(sleeps);
        crate::support::until("it sleeps", || database.sessions() == 1);
        let gone = runtime.block_on(source.withdraw(&held(&reader, issued.clone())));
        let Ok(Withdrawn::Gone(Evidence::Refused { says })) = &gone else { panic!("{gone:?}") };
        assert!(says.starts_with("1045"), "{says}");
        assert_eq!(database.sessions(), 0);
        assert!(ended.recv().unwrap().is_err());
    });

    // A grant that is refused after the user was made: it may be there, and nobody is let in with it.
    let (half, unknown) = issue(2, Class::Write, "shop_eu");
    assert!(matches!(&unknown, Err(NotIssued::Unknown(why)) if why.contains("denied")), "{unknown:?}");
    assert_eq!(database.users(), [half.as_str()]);
    let locked = format!("SELECT JSON_VALUE(Priv, '$.account_locked') FROM mysql.global_priv WHERE User = '{half}'");
    assert_eq!(database.ask(&locked).unwrap(), ["1"]);
    let known = portreeve_credentials::source::Held { name: half, handle: None, until: None, keep: None, fields: None };
    let gone = runtime.block_on(source.withdraw(&known));
    assert!(matches!(gone, Ok(Withdrawn::Gone(Evidence::Absent { .. }))), "{gone:?}");
    assert_eq!(database.users(), [""; 0]);

    for nowhere in ["", "shop%", "a\\_b", "a.b", "a/b"] {
        let (_, refused) = issue(3, Class::Read, nowhere);
        assert!(matches!(&refused, Err(NotIssued::Refused(why)) if why.contains("no name can be")), "{refused:?}");
    }
    let (_, refused) = issue(4, Class::Read, "a`.*, b");
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn a_mariadb_that_does_not_show_sessions_is_no_evidence_that_there_are_none() {
    let test = "a_mariadb_that_does_not_show_sessions_is_no_evidence_that_there_are_none";
    let Some(database) = MariaDb::start() else {
        println!("SKIPPED: {test}: MariaDB is missing");
        return;
    };
    prepare(&database);
    let runtime = Runtime::new().unwrap();
    let (_vault, source) = source(&file(database.port()), SECRETS);
    runtime.block_on(source.check()).unwrap();
    let wanted = wanted(1, Class::Read, &[("shop", "shop_eu")]);
    let issued = runtime.block_on(source.issue(&wanted)).unwrap();
    let all = held(&wanted.name, issued.clone());
    database.ask("REVOKE PROCESS ON *.* FROM portreeve@'%'").unwrap();
    let (sender, ended) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let sleeps = database.ask_as(who(&issued.fields), "shop_eu", "SELECT SLEEP(60)");
            sender.send(sleeps).unwrap();
        });
        crate::support::until("it sleeps", || database.sessions() == 1);
        let gone = runtime.block_on(source.withdraw(&all));
        let checked = runtime.block_on(source.check());
        let (there, open) = (database.users(), database.sessions());
        // By way of a role that it always has, too; and then what is open is ended.
        for statement in [
            "CREATE ROLE watcher",
            "GRANT PROCESS ON *.* TO watcher",
            "GRANT watcher TO portreeve@'%'",
            "SET DEFAULT ROLE watcher FOR portreeve@'%'",
        ] {
            database.ask(statement).unwrap();
        }
        let then = runtime.block_on(source.withdraw(&all));
        assert!(matches!(&gone, Err(why) if why.contains("PROCESS")), "{gone:?}");
        assert!(matches!(&checked, Err(why) if why.contains("PROCESS")), "{checked:?}");
        assert_eq!((there, open), (vec![wanted.name.to_string()], 1), "nothing was begun");
        assert!(matches!(then, Ok(Withdrawn::Gone(Evidence::Refused { .. }))), "{then:?}");
        assert!(ended.recv().unwrap().is_err());
    });
}
