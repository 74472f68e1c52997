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

#[test]
fn a_user_of_redis_reaches_nothing_that_no_pattern_of_keys_narrows() {
    let Some(redis) = Redis::start() else {
        println!("SKIPPED: a_user_of_redis_reaches_nothing_that_no_pattern_of_keys_narrows: Redis is missing");
        return;
    };
    // Many servers still begin users with all channels, as version 6 did.
    redis.ask("CONFIG SET acl-pubsub-default allchannels").unwrap();
    let with = |read: &str, write: &str, escalate: &str| {
        let port = redis.port();
        format!(
            "owner = \"ops@example.com\"\n[scope]\ntenant = \"tenant\"\n[probe]\ntenant = \"template\"\n\
             [redis]\nhost = \"127.0.0.1\"\nport = {port}\ntls = false\nadmin = \"admin\"\n\
             [redis.read]\nrules = [{read}]\n[redis.write]\nrules = [{write}]\n[redis.escalate]\nrules = [{escalate}]\n"
        )
    };
    let runtime = Runtime::new().unwrap();
    let session = |file: &str, lease, class| {
        let (_vault, source) = source(file, SECRETS);
        let issued = runtime.block_on(source.issue(&wanted(lease, class, &[("tenant", "eu")]))).unwrap();
        redis.session(who(&issued.fields)).unwrap()
    };
    let narrow = with(
        r#""%R~{tenant}:*", "+@read", "+@pubsub""#,
        r#""~{tenant}:*", "+@read", "+@write", "+@keyspace""#,
        r#""~{tenant}:*", "+flushdb""#,
    );
    let wide = with(r#""%R~*", "+@read""#, r#""~*", "+@write""#, r#""~*", "+flushdb""#);
    let refused = |session: &mut crate::support::redis::Session, commands: &[&str]| {
        for command in commands {
            let answer = session.ask(command);
            assert!(matches!(&answer, Err(why) if why.starts_with("NOPERM")), "{command}: {answer:?}");
        }
    };
    redis.ask("SET eu:1 x").unwrap();
    redis.ask("SET us:1 x").unwrap();
    let names = ["KEYS *", "SCAN 0", "RANDOMKEY"];
    let mut reader = session(&narrow, 10, Class::Read);
    refused(&mut reader, &names);
    refused(&mut reader, &["SUBSCRIBE news"]);
    assert_eq!(reader.ask("GET eu:1").unwrap(), ["x"]);
    let all = [
        "FLUSHALL",
        "FLUSHDB",
        "SWAPDB 0 1",
        "MIGRATE 127.0.0.1 1 eu:1 0 10",
        "FUNCTION FLUSH",
        "FUNCTION DELETE x",
        "FUNCTION LOAD x",
        "FUNCTION RESTORE x",
    ];
    let mut writer = session(&narrow, 11, Class::Write);
    refused(&mut writer, &all);
    refused(&mut writer, &names);
    writer.ask("SET eu:2 x").unwrap();
    // Who has all keys sees their names, and who may escalate empties what the policy says.
    assert_eq!(session(&wide, 12, Class::Read).ask("KEYS us:*").unwrap(), ["us:1"]);
    refused(&mut session(&wide, 13, Class::Write), &all);
    session(&wide, 14, Class::Escalate).ask("FLUSHDB").unwrap();
    assert_eq!(redis.ask("DBSIZE").unwrap(), ["0"]);
}
