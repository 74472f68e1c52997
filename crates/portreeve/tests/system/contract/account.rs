//! Accounts of people, at an authorization server that does what a test wants.

use super::{means, minutes, oauth::Liar, vault, wanted};
use portreeve_core::{
    event::Evidence,
    judge::Whom,
    names::Name,
    policy::{Account, BackEnd, Class},
};
use portreeve_credentials::{
    account::{self, Back, Holder, NotConnected},
    means::Means,
    source::{Issued, NotIssued, Wanted, Withdrawn},
};
use portreeve_identity::Bearer;
use portreeve_rules::{Files, compile};
use serde_json::json;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use url::Url;

const RETURN: &str = "http://localhost:1/accounts/return";

/// A source of accounts at a server, and a vault
struct House {
    liar: Liar,
    file: String,
    means: Means,
    runtime: Runtime,
    _vault: TempDir,
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn bearer(user: &str, generation: u64) -> Bearer {
    Bearer { user: name(user), generation }
}

impl House {
    fn new(revocation: &str) -> Self {
        let liar = Liar::new();
        liar.gives(tokens("at-0", Some("rt-1")));
        let file = format!(
            "owner = \"tests\"\n[account]\nissuer = \"{}\"\nprivate = true\nclient_id = \"portreeve\"\nsecret = \"client\"\n\
             revocation = \"{revocation}\"\nask = [\"offline_access\"]\n\
             [account.read]\nscope = [\"cal.read\"]\n[account.write]\nscope = [\"cal.read\", \"cal.write\"]\n",
            liar.issuer.name
        );
        let (folder, vault) = vault(&[("client", "of-the-test")]);
        Self { liar, file, means: means(vault), runtime: Runtime::new().unwrap(), _vault: folder }
    }

    fn place(&self) -> Account {
        let files: Files = [("credentials/subject.toml".to_owned(), self.file.clone())].into_iter().collect();
        match compile(&files).unwrap().bundle.sources.values().next().unwrap().back_end.clone() {
            BackEnd::Account(place) => place,
            other => panic!("{other:?}"),
        }
    }

    fn begin(&self, bearer: &Bearer) -> (Url, String) {
        let (source, place) = (name("subject"), self.place());
        let begun = self.means.accounts.begin((&source, &place), bearer, RETURN, &self.means);
        let begun = self.runtime.block_on(begun).unwrap();
        (begun.url.parse().unwrap(), begun.ticket)
    }

    fn finish(&self, bearer: &Bearer, back: Back, ticket: &str) -> Result<(), NotConnected> {
        let (source, place) = (name("subject"), self.place());
        let finished = self.means.accounts.finish((&source, &place), bearer, (back, ticket), RETURN, &self.means);
        self.runtime.block_on(finished).map(drop)
    }

    /// What a browser brings back that somebody agreed with
    fn back(&self, sent: &Url) -> Back {
        let (code, iss) = (Some("a-code".to_owned()), Some(self.liar.issuer.name.clone()));
        Back { code, state: Some(member(sent, "state")), iss, error: None }
    }

    fn connect(&self, user: &str) {
        let (sent, ticket) = self.begin(&bearer(user, 1));
        self.finish(&bearer(user, 1), self.back(&sent), &ticket).unwrap();
    }

    fn issue(&self, wanted: &Wanted) -> Result<Issued, NotIssued> {
        self.runtime.block_on(super::of(&self.file, &self.means).issue(wanted))
    }

    /// The same after a start
    fn again(mut self) -> Self {
        self.means = means(Arc::clone(&self.means.vault));
        self
    }
}

fn tokens(access: &str, refresh: Option<&str>) -> serde_json::Value {
    let mut tokens = json!({ "access_token": access, "token_type": "Bearer", "expires_in": 300 });
    if let Some(refresh) = refresh {
        tokens["refresh_token"] = json!(refresh);
    }
    tokens
}

fn member(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// What is asked for a task on a user's behalf
fn of(lease: u64, user: Option<(&str, u64)>) -> Wanted {
    let (user, generation) = user.map_or((None, 0), |(user, generation)| (Some(name(user)), generation));
    Wanted {
        whom: Whom { agent: Some(name("coder")), user, generation, ..Whom::default() },
        ..wanted(lease, Class::Read, &[])
    }
}

fn why(issued: Result<Issued, NotIssued>) -> String {
    match issued {
        Err(NotIssued::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_who_began_to_connect_an_account_finishes_it_once() {
    let house = House::new("expiry only");
    let (lea, bo) = (bearer("lea", 1), bearer("bo", 1));
    let (sent, ticket) = house.begin(&lea);
    assert!(sent.as_str().starts_with(&house.liar.at("/authorize?tenant=1&")), "{sent}");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "portreeve"),
        ("redirect_uri", RETURN),
        ("scope", "cal.read cal.write offline_access"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(member(&sent, name), value, "{sent}");
    }
    // Neither who has only the address, nor somebody else with all of it.
    let (_, other) = house.begin(&lea);
    assert_eq!(house.finish(&lea, house.back(&sent), &other), Err(NotConnected::NotBegun));
    assert_eq!(
        house.finish(&lea, house.back(&sent), &ticket),
        Err(NotConnected::NotBegun),
        "and that was its one time"
    );
    let (sent, ticket) = house.begin(&lea);
    assert_eq!(house.finish(&bo, house.back(&sent), &ticket), Err(NotConnected::NotBegun));
    let (sent, ticket) = house.begin(&lea);
    assert_eq!(house.finish(&bearer("lea", 2), house.back(&sent), &ticket), Err(NotConnected::NotBegun));
    // What another server says, or what nobody agreed to.
    for iss in [None, Some("https://evil.example".to_owned())] {
        let (sent, ticket) = house.begin(&lea);
        assert_eq!(house.finish(&lea, Back { iss, ..house.back(&sent) }, &ticket), Err(NotConnected::Mixed));
    }
    let (sent, ticket) = house.begin(&lea);
    let denied = Back { error: Some("access_denied".to_owned()), code: None, ..house.back(&sent) };
    assert_eq!(house.finish(&lea, denied, &ticket), Err(NotConnected::Refused("access_denied".to_owned())));
    assert_eq!(house.liar.issuer.asked("/token"), 0, "no code was shown to anybody");
    house.liar.gives(tokens("at", None));
    let (sent, ticket) = house.begin(&lea);
    assert_eq!(house.finish(&lea, house.back(&sent), &ticket), Err(NotConnected::NoRefresh));
    assert_eq!(account::list(&house.means.vault).unwrap(), []);
    house.liar.gives(tokens("at-0", Some("rt-1")));
    house.connect("lea");
    let listed = account::list(&house.means.vault).unwrap();
    assert_eq!((listed.len(), listed[0].user.as_str(), &listed[0].broken), (1, "lea", &None));
}

#[test]
fn an_account_is_its_users_alone_at_its_server_alone() {
    let mut house = House::new("expiry only");
    house.connect("lea");
    house.liar.gives(tokens("at-1", Some("rt-2")));
    let asked = house.liar.issuer.asked("/token");
    let nobody = why(house.issue(&of(1, None)));
    assert!(nobody.contains("on nobody's behalf"), "{nobody}");
    let other = why(house.issue(&of(2, Some(("bo", 1)))));
    assert!(other.contains("bo has connected no account") && other.contains("portreeve account connect subject"));
    // Somebody else who got the name.
    assert!(why(house.issue(&of(3, Some(("lea", 2))))).contains("somebody else who was called lea"));
    // The policy names another client, or another server: what was given to one is shown to no other.
    let ours = house.file.clone();
    house.file = ours.replace("\"portreeve\"", "\"other\"");
    assert!(why(house.issue(&of(4, Some(("lea", 1))))).contains("another client"));
    let elsewhere = Liar::new();
    house.file = ours.replace(&house.liar.issuer.name, &elsewhere.issuer.name);
    assert!(why(house.issue(&of(5, Some(("lea", 1))))).contains("another server"));
    assert_eq!((house.liar.issuer.asked("/token"), elsewhere.issuer.asked("/token")), (asked, 0));
    house.file = ours;
    assert_eq!(house.issue(&of(6, Some(("lea", 1)))).unwrap().fields["token"].expose(), "at-1");
}

#[test]
fn what_replaces_a_refresh_token_is_kept_and_what_is_taken_no_more_ends_the_account() {
    let house = House::new("expiry only");
    house.connect("lea");
    house.liar.gives(tokens("at-1", Some("rt-2")));
    let issued = house.issue(&of(1, Some(("lea", 1)))).unwrap();
    assert_eq!(house.liar.issuer.forms("/token").last().unwrap()["refresh_token"], "rt-1");
    assert!(!issued.keep.as_ref().unwrap().expose().contains("rt-"), "a lease never takes the account back");
    let house = house.again();
    house.liar.gives(tokens("at-2", None));
    house.issue(&of(2, Some(("lea", 1)))).unwrap();
    let form = house.liar.issuer.forms("/token").pop().unwrap();
    assert_eq!((form["refresh_token"].as_str(), form["scope"].as_str()), ("rt-2", "cal.read"));
    house.issue(&of(3, Some(("lea", 1)))).unwrap();
    assert_eq!(house.liar.issuer.forms("/token").pop().unwrap()["refresh_token"], "rt-2", "where none came, it stays");
    // Something else that the server says is no end.
    house.liar.gives(json!({ "error": "invalid_scope" }));
    house.liar.issuer.refuses("/token", 400);
    assert!(why(house.issue(&of(4, Some(("lea", 1))))).contains("invalid_scope"));
    assert_eq!(account::list(&house.means.vault).unwrap()[0].broken, None);
    house.liar.gives(json!({ "error": "invalid_grant" }));
    let broken = why(house.issue(&of(5, Some(("lea", 1)))));
    assert!(broken.contains("is broken") && broken.contains("portreeve account connect subject"), "{broken}");
    let asked = house.liar.issuer.asked("/token");
    let house = house.again();
    assert!(why(house.issue(&of(6, Some(("lea", 1))))).contains("is broken"));
    assert_eq!(house.liar.issuer.asked("/token"), asked, "nobody is asked any more");
    assert!(account::list(&house.means.vault).unwrap()[0].broken.is_some());
    // Connected anew, it is good again.
    house.liar.issuer.refuses("/token", 200);
    house.liar.gives(tokens("at-0", Some("rt-9")));
    house.connect("lea");
    assert!(house.issue(&of(7, Some(("lea", 1)))).is_ok());
}

#[test]
fn a_server_that_takes_the_account_back_with_a_token_may_not_be_told_to() {
    // It says of the refresh token that it is not good, once a token of it was taken back.
    let house = House::new("immediate");
    house.liar.issuer.serves("/active", json!({ "active": false }));
    let (sent, ticket) = house.begin(&bearer("lea", 1));
    let error = house.finish(&bearer("lea", 1), house.back(&sent), &ticket);
    assert!(matches!(&error, Err(NotConnected::Server(why)) if why.contains("whole account")), "{error:?}");
    assert_eq!(account::list(&house.means.vault).unwrap(), []);
    // One that takes back that token alone.
    house.liar.issuer.serves("/active", json!({ "active": true }));
    house.connect("lea");
    let (wanted, revoked) = (of(1, Some(("lea", 1))), house.liar.issuer.asked("/revoke"));
    let issued = house.issue(&wanted).unwrap();
    house.liar.issuer.serves("/active", json!({ "active": false }));
    let held = super::held(&wanted.name, issued);
    let source = super::of(&house.file, &house.means);
    let gone = house.runtime.block_on(source.withdraw(&held));
    assert!(matches!(gone, Ok(Withdrawn::Gone(Evidence::Absent { .. }))), "{gone:?}");
    assert_eq!(house.liar.issuer.asked("/revoke"), revoked + 1);
    // With `expiry only`, it is told nothing: the account stays.
    let house = House::new("expiry only");
    house.connect("lea");
    let issued = house.issue(&of(2, Some(("lea", 1)))).unwrap();
    let held = super::held(&of(2, None).name, issued);
    let source = super::of(&house.file, &house.means);
    let left = house.runtime.block_on(source.withdraw(&held));
    assert!(matches!(left, Ok(Withdrawn::Left(until)) if until > minutes(0)), "{left:?}");
    assert_eq!(house.liar.issuer.asked("/revoke"), 0);
    // Disconnecting is what takes it back.
    let holder = Holder { source: name("subject"), user: name("lea") };
    let done = house.runtime.block_on(account::disconnect(&holder, Some(&house.place()), &house.means));
    assert_eq!(done, Ok((true, true)));
    assert_eq!(house.liar.issuer.forms("/revoke").pop().unwrap()["token"], "rt-1");
    assert_eq!(account::list(&house.means.vault).unwrap(), []);
    let again = house.runtime.block_on(account::disconnect(&holder, Some(&house.place()), &house.means));
    assert_eq!(again, Ok((false, false)));
}
