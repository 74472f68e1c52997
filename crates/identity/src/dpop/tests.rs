use super::*;
use crate::jose::tests::{NOW, Row, Signer, merged, refused};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

const URL: &str = "https://portreeve.example/mcp/shop";
const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
const ATH: &str = "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo";

fn at(request: &Request<'_>, header: Json, more: Json) -> Result<Thumbprint, Invalid> {
    let signer = Signer::p256();
    let proof = proof(&signer, header, more);
    verify(&proof, request, &Once::new(2), NOW)
}

fn proof(signer: &Signer, header: Json, more: Json) -> String {
    let header = merged(json!({"typ": "dpop+jwt", "alg": signer.alg(), "jwk": signer.jwk()}), header);
    let claims = json!({"jti": "a", "htm": "POST", "htu": URL, "iat": NOW.0 / 1000, "ath": ATH});
    signer.token(&header, &merged(claims, more))
}

fn request() -> Request<'static> {
    Request { method: "POST", url: URL, token: Some(TOKEN), bound_to: None, nonce: None }
}

/// RFC 9449, 4.1, 6.1 and 7.1
#[test]
fn the_specifications_examples_are_good() {
    let key = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUkl\
             DUkRZOXpDa0\
               RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsI\
               mNydiI6IlAtMj\
               U2In19";
    let jkt: Thumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".parse().unwrap();
    let once = Once::new(10);
    let endpoint = format!(
        "{key}.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29\
        tL3Rva2VuI\
         iwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xR\
         ZT3Lg"
    );
    let at_endpoint = Request { url: "https://server.example.com/token", token: None, ..request() };
    let now = Millis(1_562_262_616_000);
    assert_eq!(verify(&endpoint, &at_endpoint, &once, now), Ok(jkt));
    let resource = format!(
        "{key}.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9\
        yZy9wcm90Z\
         WN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcW\
         tzbVFFbyJ9.\
         2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
    );
    let at_resource = Request {
        method: "GET",
        url: "https://resource.example.org/protectedresource?x=1",
        bound_to: Some(&jkt),
        ..request()
    };
    let now = Millis(1_562_262_618_000);
    assert_eq!(verify(&resource, &at_resource, &once, now), Ok(jkt));
    assert_eq!(verify(&resource, &at_resource, &once, now), Err(Invalid::Again));
}

#[test]
fn a_proof_is_good_for_a_minute_and_with_every_algorithm() {
    for signer in [Signer::ed(), Signer::p384(), Signer::rsa(aws_lc_rs::rsa::KeySize::Rsa2048)] {
        let found = verify(&proof(&signer, json!({}), json!({})), &request(), &Once::new(1), NOW);
        assert_eq!(found.as_ref(), Ok(signer.key().thumbprint()));
    }
    let seconds = NOW.0 / 1000;
    for (iat, good) in [(seconds - 61, false), (seconds - 60, true), (seconds + 5, true), (seconds + 6, false)] {
        assert_eq!(at(&request(), json!({}), json!({"iat": iat})).is_ok(), good, "{iat}");
    }
    // What is not known in the header is ignored (RFC 7515, 4), the name of a key among it.
    assert!(at(&request(), json!({"kid": "k", "x": 1}), json!({})).is_ok());
    // A nonce that nobody asked for is not looked at, and one that was asked for is.
    assert!(at(&request(), json!({}), json!({"nonce": "n"})).is_ok());
    let asked = Request { nonce: Some("n"), ..request() };
    assert!(at(&asked, json!({}), json!({"nonce": "n"})).is_ok());
    assert_eq!(at(&asked, json!({}), json!({"nonce": "m"})), Err(Invalid::Nonce));
}

pub(crate) fn rows() -> Vec<Row> {
    let fresh = |header: Json, more: Json| at(&request(), header, more);
    let seconds = NOW.0 / 1000;
    let (signer, other) = (Signer::p256(), Signer::p256());
    let bound = *other.key().thumbprint();
    let again = || {
        let once = Once::new(2);
        verify(&proof(&signer, json!({}), json!({})), &request(), &once, NOW).unwrap();
        verify(&proof(&signer, json!({}), json!({"iat": seconds - 9})), &request(), &once, NOW)
    };
    let full = || {
        let once = Once::new(2);
        ["a", "b", "c"].map(|jti| verify(&proof(&signer, json!({}), json!({"jti": jti})), &request(), &once, NOW))[2]
    };
    let token = Invalid::Token;
    let stolen = signer.token(
        &json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": other.jwk()}),
        &json!({"jti": "a", "htm": "POST", "htu": URL, "iat": seconds, "ath": ATH}),
    );
    let secret = merged(signer.jwk(), json!({"d": "AAAA"}));
    let shared = json!({"kty": "oct", "k": "AAAA"});
    let cases = vec![
        ("Of another type", token(NotGood::Type), fresh(json!({"typ": "JWT"}), json!({}))),
        ("Without a key", token(NotGood::KeyForm), fresh(json!({"jwk": null}), json!({}))),
        ("With a secret key", token(NotGood::KeySecret), fresh(json!({"jwk": secret}), json!({}))),
        (
            "With a shared secret as the key",
            token(NotGood::AlgorithmSymmetric),
            fresh(json!({"jwk": shared}), json!({})),
        ),
        (
            "By another key than the one in it",
            token(NotGood::Signature),
            verify(&stolen, &request(), &Once::new(1), NOW),
        ),
        (
            "By an algorithm of another kind than the key's",
            token(NotGood::AlgorithmKey),
            fresh(json!({"jwk": Signer::ed().jwk()}), json!({})),
        ),
        ("For another method", Invalid::Method, fresh(json!({}), json!({"htm": "post"}))),
        ("For another address", Invalid::Url, fresh(json!({}), json!({"htu": "https://portreeve.example/mcp/bank"}))),
        ("Without a time (`iat`)", token(NotGood::TimeForm), fresh(json!({}), json!({"iat": null}))),
        ("Older than a minute", Invalid::Old, fresh(json!({}), json!({"iat": seconds - 61}))),
        ("From the future", token(NotGood::Future), fresh(json!({}), json!({"iat": seconds + 6}))),
        ("Over by its own `exp`", token(NotGood::Expired), fresh(json!({}), json!({"exp": seconds}))),
        ("For another access token, or for none (`ath`)", Invalid::AccessToken, fresh(json!({}), json!({"ath": null}))),
        (
            "By another key than the access token is bound to",
            Invalid::Key,
            at(&Request { bound_to: Some(&bound), ..request() }, json!({}), json!({})),
        ),
        (
            "Without the nonce that was asked for",
            Invalid::Nonce,
            at(&Request { nonce: Some("n"), ..request() }, json!({}), json!({})),
        ),
        ("Without a `jti`", token(NotGood::IdMissing), fresh(json!({}), json!({"jti": null}))),
        ("Used before", Invalid::Again, again()),
        ("One too many to remember", Invalid::Full, full()),
    ];
    refused(cases, Invalid::word)
}

#[test]
fn every_refusal_has_its_word() {
    rows();
}

proptest! {
    #[test]
    fn no_bytes_make_it_stumble(text in ".{0,200}", claims in "[{}\":a-z0-9,]{0,60}", url in ".{0,60}") {
        let _ = verify(&text, &request(), &Once::new(1), NOW);
        let signer = Signer::ed();
        let header = json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": signer.jwk()}).to_string();
        let _ = verify(&signer.raw(&header, &claims, false), &request(), &Once::new(1), NOW);
        let _ = at(&Request { url: &url, ..request() }, json!({}), json!({"htu": text}));
    }
}
