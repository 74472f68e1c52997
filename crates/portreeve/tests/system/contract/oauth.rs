//! Tokens of authorization servers: a real one, and one that does what it should not.

use super::{RING, Subject, holds, means, minutes, nobody, source, wanted};
use crate::support::{issuer::Issuer, provider::RealProvider, until};
use portreeve_core::{event::Evidence, judge::Whom, names::Name, policy::Class};
use portreeve_credentials::{
    secret::Fields,
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn},
};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// A real provider that knows whose keys sign what Portreeve shows
pub(super) fn provider(test: &str) -> Option<RealProvider> {
    let provider = RealProvider::start(test)?;
    let keys = Issuer::with(&[]);
    keys.serves("/keys", RING.keys().jwks(minutes(0)));
    let jwks = format!("{}/keys", keys.name);
    provider.control("trust", &[("name", "https://portreeve.example"), ("jwks", &jwks)]);
    Some(provider)
}

fn file(issuer: &str, client: &str, more: &str) -> String {
    format!(
        "owner = \"tests\"\n[scope]\ntenant = \"tenant\"\n[probe]\ntenant = \"eu-42\"\n\
         [oauth]\nissuer = \"{issuer}\"\nprivate = true\nresource = \"https://orders.example\"\nrevocation = \"immediate\"\n{client}\n{more}\n\
         [oauth.read]\nscope = [\"orders.read\", \"tenant:{{tenant}}\"]\n\
         [oauth.write]\nscope = [\"orders.read\", \"orders.write\"]\n"
    )
}

const WORKER: &str = "client_id = \"worker\"\nsecret = \"worker\"";
const SECRET: &[(&str, &str)] = &[("worker", "worker-of-the-test")];
const EU: &[(&str, &str)] = &[("tenant", "eu-42")];

#[test]
fn oauth_holds_to_it() {
    let Some(provider) = provider("oauth_holds_to_it") else { return };
    let lets_in = |fields: &Fields| provider.lets_in(fields["token"].expose()).is_some();
    let subject = |client: &str, secrets: &'static [(&'static str, &'static str)]| {
        let nobody = file(&format!("http://127.0.0.1:{}", nobody()), client, "");
        let file = file(&provider.name, client, "");
        holds(&Subject {
            file,
            nobody: Some(nobody),
            secrets,
            scope: EU,
            lets_in: &lets_in,
            lists: false,
            unique: false,
        });
    };
    subject(WORKER, SECRET);
    // With a key instead: `private_key_jwt`.
    subject("client_id = \"signer\"\nkey = true", &[]);
}

fn lea() -> Whom {
    let name = |text: &str| text.parse::<Name>().unwrap();
    let (agent, user, purpose) = (Some(name("coder")), Some(name("lea")), Some(name("refund")));
    Whom { agent, above: vec![name("planner")], user, generation: 1, purpose }
}

/// What is asked for a task on somebody's behalf
fn for_lea(lease: u64, class: Class) -> Wanted {
    Wanted { whom: lea(), ..wanted(lease, class, EU) }
}

fn issue(source: &Arc<dyn Source>, wanted: &Wanted) -> Result<Issued, NotIssued> {
    Runtime::new().unwrap().block_on(source.issue(wanted))
}

fn withdraw(source: &Arc<dyn Source>, held: &Held) -> Result<Withdrawn, String> {
    Runtime::new().unwrap().block_on(source.withdraw(held))
}

#[test]
fn a_server_hears_who_works_on_whose_behalf_and_gives_no_more_than_the_class() {
    let test = "a_server_hears_who_works_on_whose_behalf_and_gives_no_more_than_the_class";
    let Some(provider) = provider(test) else { return };
    for (number, (grant, with)) in
        [("token-exchange", "exchange"), ("jwt-bearer", "assertion"), ("id-jag", "assertion")].into_iter().enumerate()
    {
        let text = file(&provider.name, WORKER, &format!("grant = \"{grant}\""));
        let (_vault, source) = source(&text, SECRET);
        let wanted = for_lea(u64::try_from(10 * number).unwrap(), Class::Read);
        let issued = issue(&source, &wanted).unwrap_or_else(|error| panic!("{grant}: {error:?}"));
        let told = provider.lets_in(issued.fields["token"].expose()).unwrap();
        assert_eq!(told["scope"], "orders.read tenant:eu-42", "{grant}");
        let act = json!({ "sub": "coder", "act": { "sub": "planner" } });
        let said = json!({ "on_behalf": "user:lea", "act": act, "txn": wanted.task.to_string(), "with": with });
        assert_eq!(told["extra"], said, "{grant}");
        let held = super::held(&wanted.name, issued.clone());
        assert!(matches!(withdraw(&source, &held), Ok(Withdrawn::Gone(Evidence::Absent { .. }))), "{grant}");
        assert_eq!(provider.lets_in(issued.fields["token"].expose()), None, "{grant}");
        // Who works on their own is the subject; there is nobody else.
        let mut alone = for_lea(u64::try_from(10 * number + 1).unwrap(), Class::Write);
        alone.whom = Whom { agent: Some("coder".parse().unwrap()), ..Whom::default() };
        let issued = issue(&source, &alone).unwrap();
        let told = provider.lets_in(issued.fields["token"].expose()).unwrap();
        assert_eq!((&told["extra"]["on_behalf"], &told["extra"]["act"]), (&json!("coder"), &Value::Null), "{grant}");
        assert_eq!(told["scope"], "orders.read orders.write");
    }
    // What names one scope does not become two.
    let (_vault, source) = source(&file(&provider.name, WORKER, ""), SECRET);
    let asked = provider.asked("/token");
    let injected = wanted(40, Class::Read, &[("tenant", "eu-42 orders.write")]);
    assert!(matches!(issue(&source, &injected), Err(NotIssued::Refused(_))));
    assert_eq!(provider.asked("/token"), asked, "nobody was asked");
}

#[test]
fn a_secret_that_was_exchanged_is_tried_beside_the_one_before() {
    let Some(provider) = provider("a_secret_that_was_exchanged_is_tried_beside_the_one_before") else { return };
    let files = file(&provider.name, WORKER, "");
    let (_folder, vault) = super::vault(SECRET);
    let again = |overlap| vault.set(&"worker".parse().unwrap(), &"newer".into(), (minutes(0), overlap), true).unwrap();
    again(Some(minutes(1)));
    let source = super::of(&files, &means(Arc::clone(&vault)));
    assert!(issue(&source, &wanted(1, Class::Read, EU)).is_ok());
    again(None);
    assert!(matches!(issue(&source, &wanted(2, Class::Read, EU)), Err(NotIssued::Refused(_))));
}

/// An authorization server that answers what a test wants
pub(super) struct Liar {
    pub(super) issuer: Issuer,
}

impl Liar {
    pub(super) fn new() -> Self {
        let liar = Self { issuer: Issuer::with(&[]) };
        liar.says(json!({ "revocation_endpoint": liar.at("/revoke"), "introspection_endpoint": liar.at("/active") }));
        liar.gives(json!({ "access_token": "tok-1", "token_type": "Bearer", "expires_in": 60 }));
        liar.issuer.serves("/revoke", json!({}));
        liar.issuer.serves("/active", json!({ "active": true }));
        liar
    }

    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.issuer.name)
    }

    pub(super) fn says(&self, more: Value) {
        let mut said = json!({
            "issuer": self.issuer.name, "token_endpoint": self.at("/token"),
            "authorization_endpoint": self.at("/authorize?tenant=1"),
            "authorization_response_iss_parameter_supported": true,
        });
        said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.issuer.serves("/.well-known/oauth-authorization-server", said);
    }

    pub(super) fn gives(&self, answer: Value) {
        self.issuer.serves("/token", answer);
    }
}

#[test]
fn what_a_server_says_wrongly_is_not_used_and_is_taken_back() {
    let liar = Liar::new();
    let files = file(&liar.issuer.name, WORKER, "");
    let (_folder, vault) = super::vault(SECRET);
    let fresh = || super::of(&files, &means(Arc::clone(&vault)));
    let good = issue(&fresh(), &wanted(1, Class::Read, EU)).unwrap();
    assert_eq!(good.fields["token"].expose(), "tok-1");
    for (number, (what, answer)) in [
        ("more than was asked", json!({ "access_token": "t", "token_type": "Bearer", "scope": "orders.read admin" })),
        ("no bearer token", json!({ "access_token": "t", "token_type": "N_A" })),
        ("bound to a key", json!({ "access_token": "t", "token_type": "DPoP", "expires_in": 60 })),
    ]
    .into_iter()
    .enumerate()
    {
        liar.gives(answer);
        let wanted = wanted(10 + u64::try_from(number).unwrap(), Class::Read, EU);
        let before = liar.issuer.asked("/revoke");
        let issued = issue(&fresh(), &wanted);
        assert!(matches!(&issued, Err(NotIssued::Unknown(_))), "{what}: {issued:?}");
        // It was made: it is known what to take back.
        let keep = vault.kept(&wanted.name).unwrap();
        assert!(keep.is_some(), "{what}");
        let held = Held { name: wanted.name.clone(), handle: None, until: None, keep, fields: None };
        liar.issuer.serves("/active", json!({ "active": false }));
        assert!(matches!(withdraw(&fresh(), &held), Ok(Withdrawn::Gone(Evidence::Absent { .. }))), "{what}");
        assert_eq!(liar.issuer.asked("/revoke"), before + 1, "{what}");
        liar.issuer.serves("/active", json!({ "active": true }));
    }
    liar.gives(json!({ "access_token": "tok-2", "token_type": "Bearer", "expires_in": 60 }));
    // It says that it took it back, and did not.
    let held = super::held(&wanted(20, Class::Read, EU).name, good.clone());
    let why = withdraw(&fresh(), &held).unwrap_err();
    assert!(why.contains("still active") && !why.contains("tok-1"), "{why}");
    // It calls no token good: then `active: false` would say nothing of one that was taken back.
    liar.issuer.serves("/active", json!({ "active": false }));
    assert!(matches!(issue(&fresh(), &wanted(21, Class::Read, EU)), Err(NotIssued::Unknown(_))));
    // It cannot take back, and the policy says that it does: nothing is asked for.
    liar.issuer.serves("/active", json!({ "active": true }));
    let asked = liar.issuer.asked("/token");
    for more in [json!({}), json!({ "revocation_endpoint": liar.at("/revoke") })] {
        liar.says(more);
        let issued = issue(&fresh(), &wanted(22, Class::Read, EU));
        assert!(matches!(&issued, Err(NotIssued::Refused(why)) if why.contains("_endpoint")), "{issued:?}");
        assert!(Runtime::new().unwrap().block_on(fresh().check()).is_err());
    }
    // Unless it is said, no private network is asked, whoever names it.
    let (_vault, public) = source(&files.replace("private = true\n", ""), SECRET);
    assert!(matches!(issue(&public, &wanted(24, Class::Read, EU)), Err(NotIssued::Refused(_))));
    // Another issuer's document is nobody's.
    liar.says(json!({ "issuer": "https://id.example" }));
    assert!(matches!(issue(&fresh(), &wanted(23, Class::Read, EU)), Err(NotIssued::Refused(_))));
    assert_eq!(liar.issuer.asked("/token"), asked, "no token was asked for");
}

#[test]
fn what_cannot_be_taken_back_is_left_until_its_own_end() {
    let liar = Liar::new();
    liar.says(json!({ "revocation_endpoint": liar.at("/revoke") }));
    let files = file(&liar.issuer.name, WORKER, "").replace("\"immediate\"", "\"expiry only\"");
    let (_vault, source) = source(&files, SECRET);
    let wanted = wanted(1, Class::Read, EU);
    let issued = issue(&source, &wanted).unwrap();
    let until = issued.until.unwrap();
    let held = super::held(&wanted.name, issued);
    assert_eq!(withdraw(&source, &held), Ok(Withdrawn::Left(until)));
    assert_eq!(liar.issuer.asked("/revoke"), 1, "it is told all the same");
    liar.issuer.serves("/revoke", json!({}));
    let over = Held { until: Some(minutes(-1)), ..held };
    assert_eq!(withdraw(&source, &over), Ok(Withdrawn::Gone(Evidence::Expired)));
    // Whose answer never came is nobody's, and may live as long as nobody knows.
    let lost = Held { name: wanted.name.clone(), handle: None, until: None, keep: None, fields: None };
    assert!(matches!(withdraw(&source, &lost), Ok(Withdrawn::Left(until)) if until > minutes(30)));
    // One that never ends could not even be left.
    liar.gives(json!({ "access_token": "tok-1", "token_type": "Bearer" }));
    assert!(matches!(issue(&source, &self::wanted(2, Class::Read, EU)), Err(NotIssued::Unknown(_))));
    // A server that breaks off may have given something; one that says no has not.
    liar.gives(json!(["no", "token"]));
    assert!(matches!(issue(&source, &self::wanted(3, Class::Read, EU)), Err(NotIssued::Unknown(_))));
    liar.issuer.refuses("/token", 503);
    assert!(matches!(issue(&source, &self::wanted(4, Class::Read, EU)), Err(NotIssued::Unknown(_))));
    liar.issuer.refuses("/token", 400);
    until_refused(&source);
}

#[test]
fn a_server_that_believes_who_portreeve_is_where_it_runs_needs_no_secret() {
    // As Microsoft documents it: its document where OpenID Connect has it, and no way to take back or to ask.
    let (entra, tenant) = (Issuer::with(&[]), "/11111111-2222-3333-4444-555555555555");
    let name = format!("{}{tenant}/v2.0", entra.name);
    let token = format!("{tenant}/oauth2/v2.0/token");
    let shows = json!(["client_secret_post", "private_key_jwt", "client_secret_basic"]);
    let said = json!({
        "issuer": name, "token_endpoint": format!("{}{token}", entra.name),
        "token_endpoint_auth_methods_supported": shows,
    });
    entra.serves(&format!("{tenant}/v2.0/.well-known/openid-configuration"), said);
    let given =
        json!({ "token_type": "Bearer", "expires_in": 3_599, "ext_expires_in": 3_599, "access_token": "eyJ0.e.s" });
    entra.serves(&token, given);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("azure-identity-token");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write("header.claims-1.signature\n");
    let text = format!(
        "owner = \"tests\"\n[oauth]\nissuer = \"{name}\"\nprivate = true\nclient_id = \"app\"\njwt_file = \"{}\"\n\
         revocation = \"expiry only\"\n[oauth.read]\nscope = [\"https://graph.example/.default\"]\n",
        path.display()
    );
    let (_vault, source) = source(&text, &[]);
    let check = || Runtime::new().unwrap().block_on(source.check());
    check().unwrap();
    let ask = wanted(1, Class::Read, &[]);
    let issued = issue(&source, &ask).unwrap();
    let form = |assertion: &str| {
        let of = [
            ("grant_type", "client_credentials"),
            ("client_id", "app"),
            ("scope", "https://graph.example/.default"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion),
        ];
        of.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    assert_eq!(entra.forms(&token), [form("header.claims-1.signature")]);
    // The server decides how long it lives: longer than the task, which is told.
    let until = issued.until.unwrap();
    assert!(until > ask.until.plus(30 * 60_000), "{until:?}");
    assert_eq!(withdraw(&source, &super::held(&ask.name, issued)), Ok(Withdrawn::Left(until)));
    // What is in the file is read anew, and what is no token is shown to nobody.
    write("header.claims-2.signature");
    assert!(issue(&source, &wanted(2, Class::Read, &[])).is_ok());
    assert_eq!(entra.forms(&token).last(), Some(&form("header.claims-2.signature")));
    for text in ["", "a secret of somebody", "header.claims"] {
        write(text);
        let issued = issue(&source, &wanted(3, Class::Read, &[]));
        assert!(matches!(&issued, Err(NotIssued::Refused(why)) if !why.contains("secret of")), "{issued:?}");
        assert!(check().is_err(), "{text}");
    }
    assert_eq!(entra.asked(&token), 2);
    write("header.claims-3.signature");
    entra.refuses(&token, 401);
    assert!(matches!(issue(&source, &wanted(4, Class::Read, &[])), Err(NotIssued::Refused(_))));
}

fn until_refused(source: &Arc<dyn Source>) {
    until("it says no", || matches!(issue(source, &wanted(5, Class::Read, EU)), Err(NotIssued::Refused(_))));
}
