//! The contract at a real NATS server.

use super::{Subject, held, holds, nobody, source, wanted};
use crate::support::{nats::Nats, until};
use portreeve_core::{event::Evidence, policy::Class, time::Millis};
use portreeve_credentials::{
    nats::key::Key,
    secret::Fields,
    source::{NotIssued, Withdrawn},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
};
use tokio::runtime::Runtime;

/// A connection of somebody, spoken to in the protocol itself
struct Session(BufReader<TcpStream>);

impl Session {
    fn enter(nats: &Nats, fields: &Fields, alias: Option<&str>) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", nats.port())).unwrap();
        stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        let mut session = Self(BufReader::new(stream));
        let info = session.line()?;
        let info: Value = serde_json::from_str(info.strip_prefix("INFO ").unwrap()).unwrap();
        let key = Key::read(fields["seed"].expose()).unwrap();
        let signature = key.sign(info["nonce"].as_str().unwrap().as_bytes());
        let signature = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature);
        let mut connect = json!({ "verbose": false, "pedantic": false, "protocol": 1, "echo": true,
            "jwt": fields["jwt"].expose(), "sig": signature });
        if let Some(alias) = alias {
            connect["user"] = alias.into();
        }
        session.say(&format!("CONNECT {connect}"))?;
        Ok(session)
    }

    /// Says something; the first complaint about it, otherwise nothing
    fn say(&mut self, text: &str) -> Result<(), String> {
        let sent = self.0.get_mut().write_all(format!("{text}\r\nPING\r\n").as_bytes());
        sent.map_err(|error| format!("gone: {error}"))?;
        let mut complaint = Ok(());
        loop {
            match self.line()?.as_str() {
                "PONG" => return complaint,
                line if line.starts_with("-ERR") => complaint = complaint.and(Err(line.to_owned())),
                _ => {}
            }
        }
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => Err("gone".to_owned()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(format!("gone: {error}")),
        }
    }
}

fn file(nats: &Nats, port: u16, revoking: bool) -> String {
    let revoking = if revoking { "operator = \"operator\"\nsystem = \"system\"\n" } else { "" };
    format!(
        "owner = \"ops@example.com\"\n[scope]\ntenant = \"tenant\"\n[probe]\ntenant = \"template\"\n\
         [nats]\nhost = \"127.0.0.1\"\nport = {port}\ntls = false\naccount = \"{}\"\nsigning = \"signing\"\n{revoking}\
         [nats.read]\nsubscribe = [\"orders.{{tenant}}.>\"]\n\
         [nats.write]\npublish = [\"orders.{{tenant}}.>\"]\n",
        nats.account
    )
}

#[test]
fn nats_holds_to_it() {
    let Some(nats) = Nats::start("nats_holds_to_it") else { return };
    let (signing, operator, system) = (nats.signing.expose(), nats.operator.expose(), nats.system.expose());
    holds(&Subject {
        file: file(&nats, nats.port(), true),
        nobody: Some(file(&nats, nobody(), true)),
        secrets: &[("signing", signing), ("operator", operator), ("system", system.trim())],
        scope: &[("tenant", "eu")],
        lets_in: &|fields| Session::enter(&nats, fields, None).is_ok(),
        lists: false,
        unique: false,
    });
    assert_eq!(nats.revoked(), 10);
}

#[test]
fn a_user_of_nats_has_the_subjects_of_its_class_and_what_it_opened_ends_with_it() {
    let test = "a_user_of_nats_has_the_subjects_of_its_class_and_what_it_opened_ends_with_it";
    let Some(nats) = Nats::start(test) else { return };
    let runtime = Runtime::new().unwrap();
    let secrets = [
        ("signing", nats.signing.expose()),
        ("operator", nats.operator.expose()),
        ("system", nats.system.expose().trim()),
    ];
    let (_vault, immediate) = source(&file(&nats, nats.port(), true), &secrets);
    let issue = |lease, class, tenant| {
        let wanted = wanted(lease, class, &[("tenant", tenant)]);
        (wanted.name.clone(), runtime.block_on(immediate.issue(&wanted)))
    };
    let (reader, issued) = issue(1, Class::Read, "eu");
    let issued = issued.unwrap();
    // Whatever it calls itself beside its claims.
    let mut session = Session::enter(&nats, &issued.fields, Some("somebody-else")).unwrap();
    session.say("SUB orders.eu.new 1").unwrap();
    session.say(&format!("SUB {}.1 2", issued.fields["inbox"].expose())).unwrap();
    for refused in
        ["SUB orders.us.new 3", "SUB > 4", "SUB _INBOX.> 5", "PUB orders.eu.new 1\r\nx", "PUB anything 1\r\nx"]
    {
        let said = session.say(refused);
        assert!(matches!(&said, Err(why) if why.contains("Permissions Violation")), "{refused}: {said:?}");
    }
    let (writer, other) = issue(2, Class::Write, "eu");
    let other = other.unwrap();
    let mut writing = Session::enter(&nats, &other.fields, None).unwrap();
    writing.say("PUB orders.eu.new 1\r\nx").unwrap();
    assert!(writing.say("SUB orders.eu.new 1").unwrap_err().contains("Permissions Violation"));

    let ends = issued.until;
    let gone = runtime.block_on(immediate.withdraw(&held(&reader, issued)));
    let Ok(Withdrawn::Gone(Evidence::Refused { says })) = &gone else { panic!("{gone:?}") };
    assert!(says.contains("Authorization Violation"), "{says}");
    assert!(session.say("PUB x 0\r\n").is_err(), "what it opened lives on");
    writing.say("PUB orders.eu.new 1\r\nx").unwrap();
    // After a crash there is nothing but what the record says of it.
    let less = portreeve_credentials::source::Held { fields: None, ..held(&writer, other) };
    let gone = runtime.block_on(immediate.withdraw(&less));
    assert!(matches!(gone, Ok(Withdrawn::Gone(Evidence::Absent { .. }))), "{gone:?}");
    assert!(writing.say("PUB orders.eu.new 1\r\nx").is_err());

    for nowhere in ["", "a.b", "*", ">", "a b"] {
        let (_, refused) = issue(3, Class::Read, nowhere);
        assert!(
            matches!(&refused, Err(NotIssued::Refused(why)) if why.contains("one part of a subject")),
            "{refused:?}"
        );
    }

    // Without the operator's key it counts until it expires, and that is what is said.
    let (_vault, patient) = source(&file(&nats, nats.port(), false), &secrets[..1]);
    let wanted = wanted(4, Class::Read, &[("tenant", "eu")]);
    let issued = runtime.block_on(patient.issue(&wanted)).unwrap();
    let known = held(&wanted.name, issued.clone());
    let left = runtime.block_on(patient.withdraw(&known)).unwrap();
    assert_eq!(Some(left), issued.until.map(Withdrawn::Left));
    assert!(ends.is_some() && Session::enter(&nats, &issued.fields, None).is_ok());
    let passed = portreeve_credentials::source::Held { until: Some(Millis(1)), ..known };
    let gone = runtime.block_on(patient.withdraw(&passed));
    assert_eq!(gone, Ok(Withdrawn::Gone(Evidence::Expired)));
}

#[test]
fn a_user_of_nats_ends_by_itself_when_its_time_has_passed() {
    let Some(nats) = Nats::start("a_user_of_nats_ends_by_itself_when_its_time_has_passed") else { return };
    let runtime = Runtime::new().unwrap();
    let (_vault, source) = source(&file(&nats, nats.port(), false), &[("signing", nats.signing.expose())]);
    let mut wanted = wanted(1, Class::Read, &[("tenant", "eu")]);
    wanted.until = super::minutes(0).plus(3_000);
    let issued = runtime.block_on(source.issue(&wanted)).unwrap();
    let mut session = Session::enter(&nats, &issued.fields, None).unwrap();
    let mut said = session.line().unwrap();
    while !said.starts_with("-ERR") {
        said = session.line().unwrap();
    }
    assert!(said.contains("User Authentication Expired"), "{said}");
    until("it is let in no more", || super::minutes(0) >= issued.until.unwrap());
    assert!(Session::enter(&nats, &issued.fields, None).is_err());
}

#[test]
fn users_of_nats_that_end_at_once_are_all_revoked() {
    let Some(nats) = Nats::start("users_of_nats_that_end_at_once_are_all_revoked") else { return };
    let runtime = Runtime::new().unwrap();
    let secrets = [
        ("signing", nats.signing.expose()),
        ("operator", nats.operator.expose()),
        ("system", nats.system.expose().trim()),
    ];
    let (_vault, source) = source(&file(&nats, nats.port(), true), &secrets);
    let all: Vec<_> = (0..12)
        .map(|lease| {
            let wanted = wanted(lease, Class::Read, &[("tenant", "eu")]);
            let issued = runtime.block_on(source.issue(&wanted)).unwrap();
            portreeve_credentials::source::Held { fields: None, ..held(&wanted.name, issued) }
        })
        .collect();
    let gone = runtime.block_on(futures_util::future::join_all(all.iter().map(|held| source.withdraw(held))));
    assert!(gone.iter().all(Result::is_ok), "{gone:?}");
    assert_eq!(nats.revoked(), 12);
}
