use super::*;
use crate::jose::tests::{ISSUER, NOW, Row, Signer, merged, refused};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

const CLIENT: &str = "portreeve";

fn claims(more: Json) -> Json {
    let seconds = NOW.0 / 1000;
    let claims = json!({"iss": ISSUER, "sub": "248289761001", "aud": CLIENT, "iat": seconds, "exp": seconds + 600,
        "nonce": "n"});
    merged(claims, more)
}

fn wanted() -> Wanted<'static> {
    Wanted {
        algorithms: jose::ALGORITHMS,
        issuer: ISSUER,
        client_id: CLIENT,
        nonce: Some("n"),
        access_token: Some("access"),
        max_age_ms: None,
        acr: None,
        groups: "groups",
        claims: &[],
    }
}

fn told(more: Json, wanted: &Wanted<'_>) -> Result<Somebody, Invalid> {
    let signer = Signer::ed();
    let token = signer.token(&json!({"alg": "EdDSA"}), &claims(more));
    verify(&token, &Keys::of([signer.key()]), wanted, NOW)
}

fn half(kind: &'static aws_lc_rs::digest::Algorithm) -> String {
    let whole = digest(kind, b"access");
    base64url::encode(&whole.as_ref()[..whole.as_ref().len() / 2])
}

#[test]
fn a_good_token_says_who_and_which_groups() {
    let groups = |more: Json| told(more, &wanted()).unwrap().groups.into_iter().collect::<Vec<_>>();
    assert_eq!(told(json!({}), &wanted()).unwrap().subject, "248289761001");
    assert_eq!(groups(json!({})), Vec::<String>::new());
    assert_eq!(groups(json!({"groups": ["b", "a", "a"]})), ["a", "b"]);
    assert_eq!(groups(json!({"groups": "a"})), ["a"]);
    let realm = Wanted { groups: "realm_access.roles", ..wanted() };
    let said = told(json!({"realm_access": {"roles": ["a"]}}), &realm).unwrap();
    assert_eq!(said.groups.into_iter().collect::<Vec<_>>(), ["a"]);
    // For several, asked for by us; and what came with it is what is meant.
    assert!(told(json!({"aud": [CLIENT, "https://api.example"], "azp": CLIENT}), &wanted()).is_ok());
    assert!(told(json!({"at_hash": half(&SHA512)}), &wanted()).is_ok());
    let seconds = NOW.0 / 1000;
    let strict = Wanted { max_age_ms: Some(60_000), acr: Some("mfa"), ..wanted() };
    assert!(told(json!({"auth_time": seconds - 60, "acr": "mfa"}), &strict).is_ok());
    assert!(told(json!({"nonce": null}), &Wanted { nonce: None, ..wanted() }).is_ok());
}

#[test]
fn the_digest_of_the_access_token_goes_with_the_algorithm() {
    for (signer, alg, kind) in [(Signer::p256(), "ES256", &SHA256), (Signer::p384(), "ES384", &SHA384)] {
        let verify = |said: String| {
            let token = signer.token(&json!({"alg": alg}), &claims(json!({"at_hash": said})));
            verify(&token, &Keys::of([signer.key()]), &wanted(), NOW).map(drop)
        };
        assert_eq!(verify(half(kind)), Ok(()), "{alg}");
        assert_eq!(verify(half(&SHA512)), Err(Invalid::AccessToken), "{alg}");
    }
}

pub(crate) fn rows() -> Vec<Row> {
    let seconds = NOW.0 / 1000;
    let token = |invalid: NotGood| Invalid::Token(invalid);
    let of = |more: Json| told(more, &wanted()).map(drop);
    let strict = Wanted { max_age_ms: Some(60_000), ..wanted() };
    let stranger = || {
        let signer = Signer::ed();
        let token = signer.token(&json!({"alg": "EdDSA"}), &claims(json!({})));
        verify(&token, &Keys::of([Signer::ed().key()]), &wanted(), NOW).map(drop)
    };
    let kind = |typ: &str| {
        let signer = Signer::ed();
        let token = signer.token(&json!({"alg": "EdDSA", "typ": typ}), &claims(json!({})));
        verify(&token, &Keys::of([signer.key()]), &wanted(), NOW).map(drop)
    };
    let cases = vec![
        ("An access token (`typ` is `at+jwt`)", token(NotGood::Type), kind("at+jwt")),
        ("By another key than the issuer publishes", token(NotGood::KeyUnknown), stranger()),
        ("Of another issuer", token(NotGood::IssuerWrong), of(json!({"iss": "https://evil.example"}))),
        ("For another client", token(NotGood::AudienceWrong), of(json!({"aud": "other"}))),
        (
            "For several, without saying who asked",
            Invalid::PartyMissing,
            of(json!({"aud": [CLIENT, "https://api.example"]})),
        ),
        ("For us, asked for by somebody else", Invalid::PartyWrong, of(json!({"azp": "other"}))),
        ("An `azp` that is no text", Invalid::PartyWrong, of(json!({"azp": [CLIENT]}))),
        ("Without the `nonce` that was sent", Invalid::NonceMissing, of(json!({"nonce": null}))),
        ("With the `nonce` of another sign-in", Invalid::NonceWrong, of(json!({"nonce": "other"}))),
        (
            "With a `nonce` where none was sent (on a device)",
            Invalid::NonceWrong,
            told(json!({}), &Wanted { nonce: None, ..wanted() }).map(drop),
        ),
        ("With the digest of another access token", Invalid::AccessToken, of(json!({"at_hash": "AAAA"}))),
        (
            "With the digest of an access token, and none came",
            Invalid::AccessToken,
            told(json!({"at_hash": half(&SHA512)}), &Wanted { access_token: None, ..wanted() }).map(drop),
        ),
        ("Without `iat`", Invalid::IssuedMissing, of(json!({"iat": null}))),
        ("Issued six minutes ago", Invalid::Old, of(json!({"iat": seconds - 360}))),
        ("Over", token(NotGood::Expired), of(json!({"exp": seconds, "iat": seconds - 60}))),
        ("Without `exp`", token(NotGood::ExpiryMissing), of(json!({"exp": null}))),
        ("Without `sub`", token(NotGood::SubjectMissing), of(json!({"sub": null}))),
        ("Without `auth_time` where `max_age` is set", Invalid::AuthMissing, told(json!({}), &strict).map(drop)),
        (
            "Shown too long ago for `max_age`",
            Invalid::AuthOld,
            told(json!({"auth_time": seconds - 91}), &strict).map(drop),
        ),
        ("Shown in the future", token(NotGood::Future), of(json!({"auth_time": seconds + 31}))),
        (
            "With another `acr` than the policy asks for",
            Invalid::Acr,
            told(json!({"acr": "pwd"}), &Wanted { acr: Some("mfa"), ..wanted() }).map(drop),
        ),
        ("Groups that are no texts", Invalid::Groups, of(json!({"groups": ["a", 1]}))),
        ("Groups that are an object", Invalid::Groups, of(json!({"groups": {"a": true}}))),
    ];
    refused(cases, Invalid::word)
}

#[test]
fn everything_else_is_refused() {
    assert!(rows().len() > 20);
}

proptest! {
    #[test]
    fn changed_claims_never_pass(name in "iss|aud|nonce|azp", value in "[a-z:/.]{1,12}") {
        let good = [("iss", ISSUER), ("aud", CLIENT), ("nonce", "n"), ("azp", CLIENT)];
        prop_assume!(!good.contains(&(name.as_str(), value.as_str())));
        let said = told(json!({ name: value }), &wanted());
        prop_assert!(said.is_err());
    }
}
