use super::*;
use crate::jose::tests::{AUDIENCE, NOW, Row, Signer, merged, refused};
use serde_json::{Value as Json, json};

const AGENT: &str = "bot";

fn claims(more: Json) -> Json {
    let seconds = NOW.0 / 1000;
    merged(json!({"iss": AGENT, "sub": AGENT, "aud": AUDIENCE, "exp": seconds + 60, "jti": "a"}), more)
}

struct World {
    signer: Signer,
    once: Once,
}

impl World {
    fn new() -> Self {
        Self { signer: Signer::ed(), once: Once::new(2) }
    }

    fn verify(&self, header: Json, more: Json) -> Result<Claims, Invalid> {
        let token = self.signer.token(&merged(json!({"alg": "EdDSA"}), header), &claims(more));
        verify(&token, AGENT, [Signer::p256().key(), self.signer.key()], AUDIENCE, &self.once, NOW)
    }
}

#[test]
fn a_good_assertion_counts_once() {
    let world = World::new();
    let good = world.verify(json!({"typ": "client-authentication+jwt", "kid": "whatever"}), json!({})).unwrap();
    assert_eq!(good.key(), world.signer.key().thumbprint());
    assert_eq!(world.verify(json!({}), json!({})).map(drop), Err(Invalid::Again));
    assert!(world.verify(json!({"typ": "JWT"}), json!({"jti": "b", "aud": [AUDIENCE], "iat": NOW.0 / 1000})).is_ok());
    // One that is not good otherwise takes no room, and what is full takes nothing.
    let world = World::new();
    for _ in 0..3 {
        assert!(world.verify(json!({}), json!({"aud": "x"})).is_err());
    }
    assert!(world.once.is_empty());
    let token = world.signer.token(&json!({"alg": "EdDSA"}), &claims(json!({})));
    assert_eq!(claimed_agent(&token).as_deref(), Ok(AGENT));
}

pub(crate) fn rows() -> Vec<Row> {
    let fresh = |header: Json, more: Json| World::new().verify(header, more).map(drop);
    let seconds = NOW.0 / 1000;
    let again = || {
        let world = World::new();
        world.verify(json!({}), json!({})).unwrap();
        world.verify(json!({}), json!({"exp": seconds + 70})).map(drop)
    };
    let full = || {
        let world = World::new();
        ["a", "b", "c"].map(|jti| world.verify(json!({}), json!({"jti": jti})).map(drop))[2]
    };
    let stranger = || {
        let (world, stranger) = (World::new(), Signer::ed());
        let token = stranger.token(&json!({"alg": "EdDSA"}), &claims(json!({})));
        verify(&token, AGENT, [world.signer.key()], AUDIENCE, &world.once, NOW).map(drop)
    };
    let token = |invalid: NotGood| Invalid::Token(invalid);
    let cases = vec![
        ("By a key that the agent's file does not have", token(NotGood::KeyUnknown), stranger()),
        (
            "Of another type: an access token, a DPoP proof, a security event",
            token(NotGood::Type),
            fresh(json!({"typ": "dpop+jwt"}), json!({})),
        ),
        (
            "With the token endpoint as `aud`",
            token(NotGood::AudienceWrong),
            fresh(json!({}), json!({"aud": format!("{AUDIENCE}/token")})),
        ),
        (
            "For another server too",
            token(NotGood::AudienceMany),
            fresh(json!({}), json!({"aud": [AUDIENCE, "https://evil.example"]})),
        ),
        ("About another agent", Invalid::Subject, fresh(json!({}), json!({"sub": "other"}))),
        ("By another agent", token(NotGood::IssuerWrong), fresh(json!({}), json!({"iss": "other"}))),
        ("Good for more than five minutes", token(NotGood::Lifetime), fresh(json!({}), json!({"exp": seconds + 301}))),
        (
            "Without a `jti`, or with one of more than 255 bytes",
            token(NotGood::IdMissing),
            fresh(json!({}), json!({"jti": null})),
        ),
        ("Used before", Invalid::Again, again()),
        ("One too many to remember", Invalid::Full, full()),
    ];
    refused(cases, Invalid::word)
}

#[test]
fn every_refusal_has_its_word() {
    rows();
    let long = World::new().verify(json!({}), json!({"jti": "x".repeat(256)}));
    assert_eq!(long, Err(Invalid::Token(NotGood::IdMissing)));
}
