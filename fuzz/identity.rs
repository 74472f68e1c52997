//! What holds of every token, certificate and document of others, whatever bytes it is given
//!
//! Each says whether the bytes were good for anything. Used by the targets here, and by
//! `crates/identity/tests/fuzz.rs`, which tries them in the test command.
#![allow(dead_code, reason = "every target uses one of them")]

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use portreeve_core::{
    names::Name,
    proof::{How, Proven, Way},
    time::Millis,
    value::Value as OwnValue,
};
use portreeve_identity::{
    assertion, discovery,
    dpop::{self, Request},
    jose::{self, ALGORITHMS, Audience, Jwk, Keys, Want},
    oidc,
    once::Once,
    svid::{self, Bundle, Bundles, SpiffeId},
    workload::{self, Kind},
};
use serde_json::Value;
use std::{sync::LazyLock, time::Duration};

pub(crate) const NOW: Millis = Millis(1_800_000_000_000);
const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "https://portreeve.example";
const ROOT: &str = include_str!("../crates/identity/src/svid/tests/root.txt");
const LEAF: &str = include_str!("../crates/identity/src/svid/tests/leaf.txt");

static PAIR: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());

static KEY: LazyLock<Jwk> = LazyLock::new(|| jwk().parse().unwrap());

static BUNDLES: LazyLock<Bundles> = LazyLock::new(|| {
    let set = format!("{{\"keys\":[{}]}}", jwk().replacen('{', "{\"kid\":\"k\",", 1));
    let bundle = Bundle::new("example.org".parse().unwrap()).with_roots(&der(ROOT)).unwrap();
    [bundle.with_keys(set.as_bytes()).unwrap()].into_iter().collect()
});

fn jwk() -> String {
    let x = URL_SAFE_NO_PAD.encode(PAIR.public_key().as_ref());
    format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"{x}\"}}")
}

fn der(text: &str) -> Vec<u8> {
    STANDARD.decode(text.split_whitespace().collect::<String>()).unwrap()
}

/// Header and claims as they are, signed
fn signed(header: &[u8], claims: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(PAIR.sign(message.as_bytes())))
}

fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (first, rest) = bytes.split_at(line);
    (first, rest.get(1..).unwrap_or_default())
}

/// Texts that begin well
pub(crate) fn tokens() -> Vec<Vec<u8>> {
    let seconds = NOW.0 / 1000;
    let header = "{\"alg\":\"EdDSA\",\"kid\":\"k\",\"typ\":\"JWT\"}";
    let claims = format!(
        "{{\"iss\":\"{ISSUER}\",\"sub\":\"bot\",\"aud\":[\"{AUDIENCE}\"],\"iat\":{seconds},\"nbf\":{seconds},\
         \"exp\":{},\"jti\":\"a\",\"kubernetes.io\":{{\"pod\":{{\"uid\":\"1\"}}}},\"event_name\":\"push\",\
         \"repository_id\":\"1\"}}",
        seconds + 300
    );
    let proof = format!("{{\"jti\":\"a\",\"htm\":\"GET\",\"htu\":\"{AUDIENCE}/mcp/a%20b\",\"iat\":{seconds}}}");
    let proof_header = format!("{{\"typ\":\"dpop+jwt\",\"alg\":\"EdDSA\",\"jwk\":{}}}", jwk());
    let assertion = claims.replace(ISSUER, "bot");
    [format!("{header}\n{claims}"), format!("{{\"alg\":\"EdDSA\"}}\n{assertion}"), format!("{proof_header}\n{proof}")]
        .map(String::into_bytes)
        .to_vec()
}

/// Claims that begin well
pub(crate) fn claims() -> Vec<Vec<u8>> {
    let seconds = NOW.0 / 1000;
    let common = format!("\"iss\":\"{ISSUER}\",\"sub\":\"bot\",\"iat\":{seconds},\"exp\":{}", seconds + 300);
    [
        format!("{{{common},\"aud\":\"{AUDIENCE}\",\"repository_id\":\"1\",\"a\":{{\"b\":{{\"c\":1}}}}}}"),
        format!("{{{common},\"aud\":\"{AUDIENCE}\",\"kubernetes.io\":{{\"pod\":{{\"uid\":\"1\"}}}},\"x\":true}}"),
        format!(
            "{{{common},\"aud\":[\"{AUDIENCE}\",\"b\"],\"azp\":\"{AUDIENCE}\",\"nonce\":\"n\",\
             \"auth_time\":{seconds},\"groups\":[\"a\",\"b\"]}}"
        ),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// Documents that begin well
pub(crate) fn documents() -> Vec<Vec<u8>> {
    let root = ROOT.split_whitespace().collect::<String>();
    [
        format!("{{\"keys\":[{}]}}", jwk()),
        format!(
            "{{\"spiffe_sequence\":1,\"keys\":[{{\"use\":\"x509-svid\",\"kty\":\"EC\",\"x5c\":[\"{root}\"]}},\
             {{\"use\":\"jwt-svid\",\"kid\":\"k\",\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"{}\"}}]}}",
            URL_SAFE_NO_PAD.encode([0xff; 256])
        ),
        format!(
            "{{\"issuer\":\"{ISSUER}\",\"jwks_uri\":\"{ISSUER}/keys\",\"token_endpoint\":\"{ISSUER}/token\",\
             \"id_token_signing_alg_values_supported\":[\"RS256\"]}}"
        ),
        jwk(),
        "spiffe://example.org/a/b".to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// Certificates that begin well
pub(crate) fn certificates() -> Vec<Vec<u8>> {
    vec![der(LEAF), der(ROOT), [der(LEAF), der(ROOT)].concat()]
}

/// A token is good only if another reader finds in it what was wanted
pub(crate) fn token(bytes: &[u8]) -> bool {
    // As it came: nobody but us has the key.
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(jose::claimed_issuer(text));
        assert!(jose::verify(text, &Keys::of([KEY.clone()]), &want(), NOW).is_err(), "an unsigned token is good");
    }
    // And signed, to get behind the signature.
    let (header, claims) = split(bytes);
    let text = signed(header, claims);
    let Ok(good) = jose::verify(&text, &Keys::of([KEY.clone()]), &want(), NOW) else { return false };
    for kind in Kind::ALL {
        drop(workload::shown(kind, &good, &["kubernetes.io.pod.uid", "a.b.c", "repository"]));
    }
    let (header, claims): (Value, Value) = (read(header), read(claims));
    assert!(matches!(header["alg"].as_str(), Some("EdDSA" | "Ed25519")));
    for never in ["crit", "b64", "jwk", "jku", "x5u", "x5c", "enc", "zip", "cty"] {
        assert!(header.get(never).is_none(), "{never} is let through");
    }
    assert_eq!(claims["iss"], ISSUER);
    assert!(claims["aud"] == AUDIENCE || claims["aud"].as_array().unwrap().iter().any(|one| *one == AUDIENCE));
    assert!((1..=255).contains(&claims["sub"].as_str().unwrap().len()));
    let time = |name: &str| claims[name].as_f64().map(|seconds| seconds * 1000.0);
    let now = NOW.0 as f64;
    assert!(time("exp").is_some_and(|expires| expires > now && expires <= now + 3_605_000.0));
    assert!(["iat", "nbf"].iter().all(|name| time(name).is_none_or(|time| time <= now + 5_000.0)));
    true
}

fn read(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("what is verified is JSON to others too")
}

fn want() -> Want<'static> {
    Want {
        algorithms: ALGORITHMS,
        types: &["JWT", ""],
        issuer: Some(ISSUER),
        audience: Audience::Among(AUDIENCE),
        lifetime_max: Duration::from_secs(3600),
        skew: Duration::from_secs(5),
    }
}

/// What a rule rests on is what the token says there, and stands there once; `bytes` are its claims
pub(crate) fn trust(bytes: &[u8]) -> bool {
    const PATHS: [&str; 5] = ["repository_id", "kubernetes.io.pod.uid", "a.b.c", "a.b", "x"];
    let text = signed(b"{\"alg\":\"EdDSA\",\"typ\":\"JWT\"}", bytes);
    let Ok(good) = jose::verify(&text, &Keys::of([KEY.clone()]), &want(), NOW) else { return false };
    let Ok(shown) = workload::shown(Kind::Oidc, &good, &PATHS) else { return false };
    let claims = read(bytes);
    let issuer: Name = "id".parse().unwrap();
    let proven = |claims| Proven {
        how: How::Oidc,
        issuer: Some(issuer.clone()),
        subject: shown.subject.clone(),
        claims,
        key: None,
        id: None,
        binding: None,
        from: String::new(),
        until: shown.until,
        behalf: None,
    };
    for path in PATHS {
        let stands = standing(&claims, path);
        let Some(value) = shown.claims.get(path) else { continue };
        assert_eq!(stands.len(), 1, "{path} stands there more than once, or not at all");
        assert_eq!(value.canonical().parse::<OwnValue>().unwrap(), own(stands[0]), "{path} is something else");
        let rule = Way::Issued { issuer: issuer.clone(), claims: [(path.to_owned(), value.clone())].into() };
        assert!(rule.fits(&proven(shown.claims.clone())));
        let mut without = shown.claims.clone();
        without.remove(path);
        assert!(!rule.fits(&proven(without.clone())), "{path} is missing, and the rule fits");
        without.insert(path.to_owned(), OwnValue::Array(vec![value.clone()]));
        assert!(!rule.fits(&proven(without)), "{path} is another thing, and the rule fits");
    }
    !shown.claims.is_empty()
}

/// Everything in claims that a path may mean, whichever dots of it are parts of names
fn standing<'v>(value: &'v Value, path: &str) -> Vec<&'v Value> {
    let mut found: Vec<&Value> = value.get(path).into_iter().collect();
    for (at, _) in path.match_indices('.') {
        let (first, rest) = path.split_at(at);
        let rest = rest.trim_start_matches('.');
        found.extend(value.get(first).into_iter().flat_map(|inner| standing(inner, rest)));
    }
    found
}

fn own(value: &Value) -> OwnValue {
    value.to_string().parse().unwrap()
}

/// Somebody signs in only with a token that was made for just this, by what another reader finds in it
pub(crate) fn sign_in(bytes: &[u8]) -> bool {
    let text = signed(b"{\"alg\":\"EdDSA\",\"typ\":\"JWT\"}", bytes);
    let wanted = oidc::Wanted {
        algorithms: ALGORITHMS,
        issuer: ISSUER,
        client_id: AUDIENCE,
        nonce: Some("n"),
        access_token: None,
        max_age_ms: Some(60_000),
        acr: None,
        groups: "groups",
        claims: &["a.b"],
    };
    let Ok(somebody) = oidc::verify(&text, &Keys::of([KEY.clone()]), &wanted, NOW) else { return false };
    let claims = read(bytes);
    assert!(claims["iss"] == ISSUER && claims["nonce"] == "n" && claims["sub"] == somebody.subject.as_str());
    assert!(claims["aud"] == AUDIENCE || claims["azp"] == AUDIENCE || claims["aud"].as_array().unwrap().len() == 1);
    assert!(claims.get("at_hash").is_none(), "it belongs to an access token that did not come");
    let said = |group: &String| claims["groups"].as_array().is_some_and(|all| all.iter().any(|one| one == group));
    assert!(somebody.groups.iter().all(|group| said(group) || claims["groups"] == group.as_str()));
    true
}

/// A proof is good only for its request, and once; an assertion only for us, and once
pub(crate) fn proof(bytes: &[u8]) -> bool {
    let mut good = false;
    let (header, claims) = split(bytes);
    let text = signed(header, claims);
    let url = format!("{AUDIENCE}/mcp/a%20b?c");
    let request = Request { method: "GET", url: &url, token: None, bound_to: None, nonce: None };
    let once = Once::new(10);
    if dpop::verify(&text, &request, &once, NOW).is_ok() {
        good = true;
        assert_eq!(dpop::verify(&text, &request, &once, NOW), Err(dpop::Invalid::Again));
        assert_eq!(read(claims)["htm"], "GET");
        let other = Request { url: "https://portreeve.example/mcp/other", ..request };
        assert_eq!(dpop::verify(&text, &other, &Once::new(1), NOW), Err(dpop::Invalid::Url));
    }
    let assertion = || assertion::verify(&text, "bot", [KEY.clone()], AUDIENCE, &once, NOW);
    if assertion().is_ok() {
        good = true;
        assert_eq!(assertion(), Err(assertion::Invalid::Again));
        let claims = read(claims);
        assert!(claims["iss"] == "bot" && claims["sub"] == "bot");
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = dpop::verify(text, &request, &once, NOW);
        drop(svid::jwt(text, &BUNDLES, Audience::Among(AUDIENCE), NOW));
        // An address that the sender chose, against one that it did not.
        let claims = serde_json::json!({"jti": "b", "htm": "GET", "htu": text, "iat": NOW.0 / 1000}).to_string();
        let header = format!("{{\"typ\":\"dpop+jwt\",\"alg\":\"EdDSA\",\"jwk\":{}}}", jwk());
        let _ = dpop::verify(&signed(header.as_bytes(), claims.as_bytes()), &request, &once, NOW);
    }
    assert!(svid::jwt(&text, &BUNDLES, Audience::Among(AUDIENCE), NOW).is_err(), "an EdDSA token is no JWT-SVID");
    good
}

/// A chain is good only if its first certificate is the one that the authority made
pub(crate) fn chain(bytes: &[u8]) -> bool {
    let mut good = false;
    // Cut where its certificates say that they end, and anywhere.
    let first = match bytes {
        [0x30, 0x82, high, low, ..] => 4 + usize::from(*high) * 256 + usize::from(*low),
        _ => bytes.len() / 2,
    };
    let (own, between) = bytes.split_at(first.min(bytes.len()));
    let chains = [vec![bytes], vec![own], vec![own, between]];
    for chain in chains {
        if let Ok(found) = svid::x509(&chain, &BUNDLES, NOW) {
            good = true;
            assert_eq!(chain[0], der(LEAF), "another certificate is good");
            assert_eq!(found.id.as_str(), "spiffe://example.org/made/by/openssl");
        }
    }
    let domain = || "example.org".parse().unwrap();
    if Bundle::new(domain()).with_roots(bytes).is_ok_and(|bundle| bundle.until().is_some()) {
        assert!(bytes.starts_with(&[0x30]));
    }
    good
}

/// A document is read as others read it, or not at all
pub(crate) fn document(bytes: &[u8]) -> bool {
    let mut good = false;
    if let Ok(keys) = Keys::read(bytes) {
        good = true;
        assert!(read(bytes)["keys"].as_array().unwrap().len() >= keys.thumbprints().count());
    }
    if let Ok(found) = discovery::read(bytes, ISSUER, false) {
        good = true;
        assert_eq!(read(bytes)["issuer"], ISSUER);
        let all = [Some(&found.keys), found.authorization.as_ref(), found.token.as_ref(), found.device.as_ref()];
        assert!(all.into_iter().flatten().all(|url| url.scheme() == "https" && url.has_host()));
    }
    drop(Bundle::read("example.org".parse().unwrap(), bytes));
    let Ok(text) = std::str::from_utf8(bytes) else { return good };
    if let Ok(key) = text.parse::<Jwk>() {
        good = true;
        assert!(read(bytes).get("d").is_none());
        assert_eq!(key.thumbprint().to_string().parse().as_ref(), Ok(key.thumbprint()));
    }
    if let Ok(id) = text.parse::<SpiffeId>() {
        good = true;
        assert_eq!(format!("spiffe://{}{}", id.domain(), id.path()), text);
    }
    good
}
