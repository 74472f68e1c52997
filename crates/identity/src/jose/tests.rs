mod refusals;
mod vectors;

pub(crate) use refusals::rows;

use super::*;
use crate::base64url;
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use portreeve_core::{hash::Hash, value::Value};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::sync::LazyLock;

pub(crate) const NOW: Millis = Millis(1_800_000_000_000);
pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "https://portreeve.example";

/// Somebody with a key
pub(crate) enum Signer {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub(crate) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn p384() -> Self {
        Self::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn ed() -> Self {
        Self::Ed(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn rsa(size: KeySize) -> Self {
        Self::Rsa(RsaKeyPair::generate(size).unwrap())
    }

    /// The public key, without a name
    pub(crate) fn jwk(&self) -> Json {
        let point = |pair: &EcdsaKeyPair, curve: &str| {
            let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
            json!({"kty": "EC", "crv": curve, "x": base64url::encode(x), "y": base64url::encode(y)})
        };
        match self {
            Self::Rsa(pair) => {
                let key = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "n": base64url::encode(&key.n), "e": base64url::encode(&key.e)})
            }
            Self::P256(pair) => point(pair, "P-256"),
            Self::P384(pair) => point(pair, "P-384"),
            Self::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64url::encode(pair.public_key().as_ref())})
            }
        }
    }

    pub(crate) fn key(&self) -> Jwk {
        self.jwk().to_string().parse().unwrap()
    }

    /// The key with more members
    pub(crate) fn with(&self, more: Json) -> Json {
        merged(self.jwk(), more)
    }

    /// `header` and `claims` as they are, with the signature that `alg` asks for
    pub(crate) fn raw(&self, header: &str, claims: &str, pss: bool) -> String {
        let message = format!("{}.{}", base64url::encode(header.as_bytes()), base64url::encode(claims.as_bytes()));
        let (random, bytes) = (SystemRandom::new(), message.as_bytes());
        let signature = match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding =
                    if pss { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                pair.sign(padding, &random, bytes, &mut signature).unwrap();
                signature
            }
            Self::P256(pair) | Self::P384(pair) => pair.sign(&random, bytes).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(bytes).as_ref().to_vec(),
        };
        format!("{message}.{}", base64url::encode(&signature))
    }

    pub(crate) fn token(&self, header: &Json, claims: &Json) -> String {
        let pss = header["alg"].as_str().is_some_and(|alg| alg.starts_with("PS"));
        self.raw(&header.to_string(), &claims.to_string(), pss)
    }

    /// What it signs with
    pub(crate) fn alg(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::Ed(_) => "EdDSA",
        }
    }
}

/// Members of `more` over those of `base`; those that are null are left out
pub(crate) fn merged(mut base: Json, more: Json) -> Json {
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            base.as_object_mut().unwrap().remove(name);
        } else {
            base[name] = value.clone();
        }
    }
    base
}

/// What is refused, for the table
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) word: &'static str,
    pub(crate) text: String,
}

/// Each case is refused as expected; the rows that say so
pub(crate) fn refused<E: Copy + PartialEq + std::fmt::Debug + std::fmt::Display, T>(
    cases: Vec<(&str, E, Result<T, E>)>,
    word: fn(E) -> &'static str,
) -> Vec<Row> {
    let wrong: Vec<_> = cases.iter().filter(|(_, expected, found)| found.as_ref().err() != Some(expected)).collect();
    let wrong: Vec<_> = wrong.iter().map(|(case, expected, found)| (case, expected, found.as_ref().err())).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let row = |(case, no, _): (&str, E, _)| Row { case: case.to_owned(), word: word(no), text: no.to_string() };
    cases.into_iter().map(row).collect()
}

pub(crate) fn claims(more: Json) -> Json {
    let seconds = NOW.0 / 1000;
    let base =
        json!({"iss": ISSUER, "sub": "workload", "aud": AUDIENCE, "iat": seconds, "exp": seconds + 300, "jti": "1"});
    merged(base, more)
}

fn header(more: Json) -> Json {
    merged(json!({"alg": "ES256", "kid": "k", "typ": "JWT"}), more)
}

fn want() -> Want<'static> {
    Want {
        algorithms: ALGORITHMS,
        types: &["JWT", ""],
        issuer: Some(ISSUER),
        audience: Audience::Exactly(AUDIENCE),
        lifetime_max: Duration::from_secs(3600),
        skew: Duration::from_secs(5),
    }
}

struct World {
    p256: Signer,
    p384: Signer,
    ed: Signer,
    rsa: Signer,
    keys: Keys,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let (p256, p384, ed, rsa) = (Signer::p256(), Signer::p384(), Signer::ed(), Signer::rsa(KeySize::Rsa2048));
    let long = |bytes: usize| base64url::encode(&[[0xff].as_slice(), &vec![0x11; bytes - 1]].concat());
    let modulus = rsa.jwk()["n"].clone();
    let set = json!({"keys": [
        p256.with(json!({"kid": "k", "use": "sig", "key_ops": ["verify"], "alg": "ES256", "x5t": "whatever"})),
        p384.with(json!({"kid": "p384"})),
        ed.with(json!({"kid": "ed"})),
        rsa.with(json!({"kid": "rsa"})),
        rsa.with(json!({"kid": "ps", "alg": "PS256"})),
        p256.with(json!({"kid": "encrypting", "use": "enc"})),
        p256.with(json!({"kid": "wrapping", "key_ops": ["wrapKey"]})),
        p256.with(json!({"kid": "twice"})),
        p256.with(json!({"kid": "twice"})),
        p256.with(json!({"kid": "mislabelled", "alg": "RS256"})),
        p256.with(json!({"kid": "off the curve", "y": p256.jwk()["x"].clone()})),
        p256.with(json!({"kid": "short", "x": "AAAA"})),
        p256.with(json!({"kid": "with its secret", "d": "AAAA"})),
        {"kid": "shared", "kty": "oct", "k": "c2VjcmV0"},
        {"kid": "p521", "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"},
        {"kid": "k256", "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"},
        {"kid": "ed448", "kty": "OKP", "crv": "Ed448", "x": "AA"},
        {"kid": "future", "kty": "AKP", "alg": "ES256", "pub": "AA"},
        {"kid": "rsa 1024", "kty": "RSA", "n": long(128), "e": "AQAB"},
        {"kid": "rsa 2047", "kty": "RSA", "n": base64url::encode(&[0x7f; 256]), "e": "AQAB"},
        {"kid": "rsa 16384", "kty": "RSA", "n": long(2048), "e": "AQAB"},
        {"kid": "e 1", "kty": "RSA", "n": modulus, "e": "AQ"},
        {"kid": "e 3", "kty": "RSA", "n": modulus, "e": "Aw"},
        {"kid": "e even", "kty": "RSA", "n": modulus, "e": "AQAA"},
        {"kid": "e huge", "kty": "RSA", "n": modulus, "e": long(9)},
        {"kid": "e padded", "kty": "RSA", "n": modulus, "e": "AAEAAQ"},
        {"kid": "n even", "kty": "RSA", "n": base64url::encode(&[0xfe; 256]), "e": "AQAB"},
    ]});
    let keys = Keys::read(set.to_string().as_bytes()).unwrap();
    World { p256, p384, ed, rsa, keys }
});

#[test]
fn good_tokens_are_verified_with_every_algorithm() {
    let world = &*WORLD;
    for (signer, kid, alg) in [
        (&world.p256, "k", "ES256"),
        (&world.p384, "p384", "ES384"),
        (&world.ed, "ed", "EdDSA"),
        (&world.ed, "ed", "Ed25519"),
        (&world.rsa, "rsa", "RS256"),
        (&world.rsa, "rsa", "PS256"),
        (&world.rsa, "ps", "PS256"),
    ] {
        let token = signer.token(&header(json!({"kid": kid, "alg": alg})), &claims(json!({})));
        let good = verify(&token, &world.keys, &want(), NOW).unwrap_or_else(|error| panic!("{kid} {alg}: {error}"));
        assert_eq!((good.iss(), good.sub(), good.aud()), (Some(ISSUER), Some("workload"), vec![AUDIENCE]));
        assert_eq!((good.jti(), good.exp()), (Ok("1"), Ok(Some(NOW.plus(300_000)))));
        assert_eq!((good.iat(), good.nbf()), (Ok(Some(NOW)), Ok(None)));
        assert_eq!(good.key(), signer.key().thumbprint());
    }
    // What else a header may have, and what is not looked at.
    for more in [
        json!({"typ": null}),
        json!({"typ": "jwt"}),
        json!({"typ": "application/JWT"}),
        json!({"x5t": "x", "x5t#S256": "y", "nonce": "z"}),
    ] {
        let token = world.p256.token(&header(more), &claims(json!({})));
        assert!(verify(&token, &world.keys, &want(), NOW).is_ok());
    }
    assert_eq!(claimed_issuer(&world.ed.token(&header(json!({})), &claims(json!({})))).as_deref(), Ok(ISSUER));
}

#[test]
fn times_count_to_the_millisecond() {
    let check = |more: Json, now: Millis| {
        let token = WORLD.p256.token(&header(json!({})), &claims(more));
        verify(&token, &WORLD.keys, &want(), now).map(drop)
    };
    let seconds = NOW.0 / 1000;
    let end = NOW.plus(300_000);
    assert_eq!(check(json!({}), end.plus(-1)), Ok(()));
    // The skew makes nothing live longer.
    assert_eq!(check(json!({}), end), Err(Invalid::Expired));
    assert_eq!(check(json!({}), NOW.plus(-5_000)), Ok(()));
    assert_eq!(check(json!({}), NOW.plus(-5_001)), Err(Invalid::Future));
    assert_eq!(check(json!({"nbf": seconds + 5}), NOW), Ok(()));
    assert_eq!(check(json!({"nbf": seconds + 6}), NOW), Err(Invalid::NotYet));
    assert_eq!(check(json!({"exp": seconds + 3600}), NOW), Ok(()));
    assert_eq!(check(json!({"exp": seconds + 3601}), NOW), Err(Invalid::Lifetime));
    assert_eq!(check(json!({"iat": null, "exp": seconds + 3600}), NOW), Ok(()));
    assert_eq!(check(json!({"iat": null, "exp": seconds + 3601}), NOW), Err(Invalid::Lifetime));
    assert_eq!(check(json!({"iat": seconds - 3400, "exp": seconds + 300}), NOW), Err(Invalid::Lifetime));
}

#[test]
fn an_audience_is_a_string_or_a_list_as_the_caller_wants_it() {
    let cases = [
        (json!(AUDIENCE), [true, true, true]),
        (json!([AUDIENCE]), [false, true, true]),
        (json!([AUDIENCE, "https://other.example"]), [false, false, true]),
        (json!(["https://other.example"]), [false, false, false]),
        (json!(["https://other.example", 1, AUDIENCE]), [false, false, false]),
        (json!([[AUDIENCE]]), [false, false, false]),
        (json!({"aud": AUDIENCE}), [false, false, false]),
        (json!("https://portreeve.example/"), [false, false, false]),
        (json!("HTTPS://portreeve.example"), [false, false, false]),
    ];
    for (aud, expected) in cases {
        let token = WORLD.p256.token(&header(json!({})), &claims(json!({"aud": aud})));
        let forms = [Audience::Exactly(AUDIENCE), Audience::Only(AUDIENCE), Audience::Among(AUDIENCE)];
        let found = forms.map(|audience| verify(&token, &WORLD.keys, &Want { audience, ..want() }, NOW).is_ok());
        assert_eq!(found, expected, "{aud}");
    }
}

#[test]
fn a_token_without_a_name_is_tried_with_the_keys_that_fit() {
    let token = WORLD.p256.token(&header(json!({"kid": null})), &claims(json!({})));
    let set = |count: usize| {
        let mut keys: Vec<_> = (1..count).map(|_| Signer::p256().jwk()).collect();
        keys.extend([WORLD.p384.jwk(), WORLD.rsa.jwk(), WORLD.p256.jwk()]);
        Keys::read(json!({"keys": keys}).to_string().as_bytes()).unwrap()
    };
    assert!(verify(&token, &set(8), &want(), NOW).is_ok());
    assert_eq!(verify(&token, &set(9), &want(), NOW), Err(Invalid::KeyAmbiguous));
    // A name says nothing where no key has one.
    let named = WORLD.p256.token(&header(json!({})), &claims(json!({})));
    assert!(verify(&named, &set(3), &want(), NOW).is_ok());
    let others = Keys::of([Signer::p256().key()]);
    assert_eq!(verify(&named, &others, &want(), NOW), Err(Invalid::KeyUnknown));
    assert_eq!(verify(&named, &Keys::default(), &want(), NOW), Err(Invalid::KeyUnknown));
}

#[test]
fn documents_that_are_no_set_of_keys_are_refused() {
    let key = WORLD.p256.jwk();
    for (document, wrong) in [
        (String::new(), NotKeys::Json),
        ("{\"keys\":[".to_owned(), NotKeys::Json),
        ("{\"keys\":[],\"keys\":[]}".to_owned(), NotKeys::Json),
        ("{\"keys\":[],\"Keys\":[]}".to_owned(), NotKeys::Json),
        (format!("{{\"keys\":[{{\"kty\":\"EC\",\"kty\":\"EC\"}}],\"x\":{key}}}"), NotKeys::Json),
        (format!("{{\"keys\":[]}}{}", " ".repeat(256 << 10)), NotKeys::Json),
        ("[]".to_owned(), NotKeys::Form),
        ("{}".to_owned(), NotKeys::Form),
        ("{\"keys\":{}}".to_owned(), NotKeys::Form),
        ("{\"keys\":[1]}".to_owned(), NotKeys::Form),
        (json!({"keys": vec![key.clone(); 101]}).to_string(), NotKeys::TooMany),
    ] {
        assert_eq!(Keys::read(document.as_bytes()), Err(wrong), "{document:.60}");
    }
    let keys = Keys::read(json!({"keys": vec![key; 100]}).to_string().as_bytes()).unwrap();
    assert_eq!(keys.thumbprints().count(), 100);
    assert!(Keys::read(b"{\"keys\":[{}]}").unwrap().is_empty());
}

#[test]
fn thumbprints_are_read_back() {
    let thumbprint = *WORLD.ed.key().thumbprint();
    assert_eq!(thumbprint.to_string().parse(), Ok(thumbprint));
    assert_eq!(Thumbprint::from(thumbprint.hash()), thumbprint);
    // What is hashed is the canonical text of the required members (RFC 7638, 3.3).
    let members = Hash::of(WORLD.ed.jwk().to_string().parse::<Value>().unwrap().canonical().as_bytes());
    assert_eq!(thumbprint.hash(), members);
    assert_eq!(serde_json::from_str::<Thumbprint>(&serde_json::to_string(&thumbprint).unwrap()).unwrap(), thumbprint);
    assert!(
        ["", "AA", "+", &format!("{thumbprint}="), &format!("{thumbprint}AA")]
            .iter()
            .all(|bad| bad.parse::<Thumbprint>().is_err())
    );
    let words: std::collections::BTreeSet<_> = Invalid::ALL.iter().map(|one| one.word()).collect();
    assert_eq!(words.len(), Invalid::ALL.len());
}

#[test]
fn keys_say_nothing_secret_when_printed() {
    let key = WORLD.rsa.key();
    assert_eq!(format!("{key:?}"), format!("Rsa {}", key.thumbprint()));
    assert_eq!(WORLD.rsa.alg(), "RS256");
}

proptest! {
    #[test]
    fn one_changed_byte_is_one_too_many(at in any::<prop::sample::Index>(), byte in any::<u8>(), which in 0..4usize) {
        let world = &*WORLD;
        let (signer, kid) = [(&world.p256, "k"), (&world.p384, "p384"), (&world.ed, "ed"), (&world.rsa, "rsa")][which];
        let token = signer.token(&header(json!({"kid": kid, "alg": signer.alg()})), &claims(json!({})));
        prop_assert!(verify(&token, &world.keys, &want(), NOW).is_ok());
        let mut bytes = token.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let Ok(changed) = String::from_utf8(bytes) else { return Ok(()) };
        prop_assert_eq!(verify(&changed, &world.keys, &want(), NOW).is_ok(), changed == token);
    }

    #[test]
    fn no_bytes_make_it_stumble(
        text in ".{0,300}",
        header in "[{}\":a-z,\\[\\]0-9]{0,80}",
        claims in any::<Vec<u8>>(),
    ) {
        let _ = verify(&text, &WORLD.keys, &want(), NOW);
        let _ = text.parse::<Jwk>();
        let _ = Keys::read(text.as_bytes());
        let parts = [base64url::encode(header.as_bytes()), base64url::encode(&claims), "AAAA".to_owned()].join(".");
        let _ = verify(&parts, &WORLD.keys, &want(), NOW);
        let _ = claimed_issuer(&parts);
    }
}
