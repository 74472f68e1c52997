//! The contract at a real Redis server.

use super::{Subject, held, holds, nobody, source, wanted};
use crate::support::redis::Redis;
use portreeve_core::{event::Evidence, policy::Class};
use portreeve_credentials::{
    secret::Fields,
    source::{NotIssued, Withdrawn},
};
use tokio::runtime::Runtime;

const SECRETS: &[(&str, &str)] = &[("admin", "portreeve:portreeve-of-redis")];

fn file(port: u16) -> String {
    format!(
        "owner = \"ops@example.com\"\n[scope]\ntenant = \"tenant\"\n[probe]\ntenant = \"template\"\n\
         [redis]\nhost = \"127.0.0.1\"\nport = {port}\ntls = false\nadmin = \"admin\"\n\
         [redis.read]\nrules = [\"~{{tenant}}:*\", \"+@read\", \"+ping\", \"+@connection\", \"+@keyspace\"]\n\
         [redis.write]\nrules = [\"~{{tenant}}:*\", \"+@read\", \"+@write\", \"-@dangerous\"]\n"
    )
}

fn who(fields: &Fields) -> (&str, &str) {
    (fields["user"].expose(), fields["password"].expose())
}

#[test]
fn redis_holds_to_it() {
    for filed in [true, false] {
        let Some(redis) = Redis::start_as(filed) else {
            println!("SKIPPED: redis_holds_to_it: Redis is missing");
            return;
        };
        holds(&Subject {
            file: file(redis.port()),
            nobody: Some(file(nobody())),
            secrets: SECRETS,
            scope: &[("tenant", "eu")],
            lets_in: &|fields| redis.session(who(fields)).is_ok(),
            lists: true,
            unique: true,
        });
    }
}

#[test]
fn a_user_of_redis_has_what_its_class_is_given_and_no_key_of_others() {
    let Some(redis) = Redis::start() else {
        println!("SKIPPED: a_user_of_redis_has_what_its_class_is_given_and_no_key_of_others: Redis is missing");
        return;
    };
    let runtime = Runtime::new().unwrap();
    let (_vault, source) = source(&file(redis.port()), SECRETS);
    let issue = |lease, class, tenant| {
        let wanted = wanted(lease, class, &[("tenant", tenant)]);
        (wanted.name.clone(), runtime.block_on(source.issue(&wanted)))
    };
    for key in ["eu:1", "us:1", "a*b:1", "axb:1"] {
        redis.ask(&format!("SET {key} x")).unwrap();
    }
    // A reader reads its tenant's keys, and nothing else of anybody; what changes something it has not, by any category.
    let (reader, issued) = issue(1, Class::Read, "eu");
    let issued = issued.unwrap();
    let mut session = redis.session(who(&issued.fields)).unwrap();
    assert_eq!(session.ask("GET eu:1").unwrap(), ["x"]);
    for refused in
        ["GET us:1", "SET eu:1 y", "DEL eu:1", "FLUSHALL", "ACL USERS", "CLIENT LIST", "CLIENT KILL TYPE normal"]
    {
        let answer = session.ask(refused);
        assert!(matches!(&answer, Err(why) if why.starts_with("NOPERM")), "{refused}: {answer:?}");
    }
    // What it has open ends with it, although nobody closes it.
    let evidence = runtime.block_on(source.withdraw(&held(&reader, issued)));
    let Ok(Withdrawn::Gone(Evidence::Refused { says })) = &evidence else { panic!("{evidence:?}") };
    assert!(says.starts_with("WRONGPASS"), "{says}");
    assert!(session.ask("GET eu:1").unwrap_err().starts_with("gone"));
    assert_eq!(redis.sessions(), 0);

    // A writer writes there; what looks like a pattern is a text.
    let (writer, issued) = issue(2, Class::Write, "a*b");
    let issued = issued.unwrap();
    let mut session = redis.session(who(&issued.fields)).unwrap();
    session.ask("SET a*b:1 y").unwrap();
    assert!(session.ask("GET axb:1").unwrap_err().starts_with("NOPERM"));
    assert!(session.ask("FLUSHALL").unwrap_err().starts_with("NOPERM"));
    // What is saved meanwhile comes not back with the server's next start.
    redis.ask("ACL SAVE").unwrap();
    runtime.block_on(source.withdraw(&held(&writer, issued))).unwrap();
    assert!(!std::fs::read_to_string(redis.users_file()).unwrap().contains("ptr_"));

    for nowhere in ["", "a b", "a\u{0}b"] {
        let (_, refused) = issue(3, Class::Read, nowhere);
        assert!(matches!(&refused, Err(NotIssued::Refused(why)) if why.contains("no key can hold")), "{refused:?}");
    }
    // Somebody's user of the same name is left as it is.
    let (name, _) = issue(4, Class::Read, "");
    redis.ask(&format!("ACL SETUSER {name} on >theirs ~theirs +get")).unwrap();
    let (_, refused) = issue(4, Class::Read, "eu");
    assert!(matches!(&refused, Err(NotIssued::Refused(why)) if why.contains("already")), "{refused:?}");
    assert!(redis.session((name.as_str(), "theirs")).is_ok());
}
