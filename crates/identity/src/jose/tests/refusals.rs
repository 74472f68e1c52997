//! Everything about a token that is refused, each with its own word.

use super::*;
use aws_lc_rs::hmac;

fn of(header: Json, claims: Json) -> Result<Claims, Invalid> {
    verify(&WORLD.p256.token(&header, &claims), &WORLD.keys, &want(), NOW)
}

fn with_header(more: Json) -> Result<Claims, Invalid> {
    of(header(more), claims(json!({})))
}

fn with_claims(more: Json) -> Result<Claims, Invalid> {
    of(header(json!({})), claims(more))
}

fn raw(header: &str, claims: &str) -> Result<Claims, Invalid> {
    verify(&WORLD.p256.raw(header, claims, false), &WORLD.keys, &want(), NOW)
}

/// A token whose text was worked on after it was signed
fn reworked(work: impl Fn(&str) -> String) -> Result<Claims, Invalid> {
    let token = WORLD.p256.token(&header(json!({})), &claims(json!({})));
    verify(&work(&token), &WORLD.keys, &want(), NOW)
}

fn by_secret() -> String {
    // The classic: the public key as a shared secret.
    let header = header(json!({"alg": "HS256", "kid": "rsa"}));
    let message = [header, claims(json!({}))].map(|part| base64url::encode(part.to_string().as_bytes())).join(".");
    let key = hmac::Key::new(hmac::HMAC_SHA256, WORLD.rsa.jwk().to_string().as_bytes());
    format!("{message}.{}", base64url::encode(hmac::sign(&key, message.as_bytes()).as_ref()))
}

fn unsigned(alg: &str, signature: &str) -> String {
    let parts = [header(json!({"alg": alg})), claims(json!({}))];
    format!("{}.{signature}", parts.map(|part| base64url::encode(part.to_string().as_bytes())).join("."))
}

/// The same bytes with other bits behind the last one
fn other_spelling(token: &str) -> String {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = token.split_at(token.len() - 1);
    // Of the last digit of 64 bytes, four of six bits mean nothing, and are zero.
    let digit = DIGITS.find(last).unwrap();
    assert_eq!(digit % 16, 0);
    format!("{rest}{}", DIGITS.chars().nth(digit + 1).unwrap())
}

pub(crate) fn rows() -> Vec<Row> {
    use Invalid as No;
    let world = &*WORLD;
    let seconds = NOW.0 / 1000;
    let long = "x".repeat(8 << 10);
    let by = |kid: &str| with_header(json!({"kid": kid}));
    let rsa = |kid: &str| {
        let token = world.rsa.token(&header(json!({"kid": kid, "alg": "RS256"})), &claims(json!({})));
        verify(&token, &world.keys, &want(), NOW)
    };
    let only = |algorithms: &'static [Algorithm]| {
        let token = world.p256.token(&header(json!({})), &claims(json!({})));
        verify(&token, &world.keys, &Want { algorithms, ..want() }, NOW)
    };
    let plain = |token: &str| verify(token, &world.keys, &want(), NOW);
    let (h, c) = (header(json!({})).to_string(), claims(json!({})).to_string());
    let again = |json: &str, more: &str| format!("{}{more}}}", json.strip_suffix('}').unwrap());
    let cases = vec![
        ("A token of more than 8 KiB", No::TooLong, with_claims(json!({"x": long}))),
        ("No token: two parts, or other characters", No::Form, plain("e30.e30")),
        ("Four parts", No::Form, plain("e30.e30.e30.e30")),
        ("Padding", No::Form, reworked(|token| format!("{token}=="))),
        ("White space around it", No::Form, reworked(|token| format!("{token}\n"))),
        ("White space in it", No::Form, reworked(|token| token.replacen('.', ". ", 1))),
        (
            "The alphabet of plain base64",
            No::Form,
            reworked(|token| format!("{}.+/+/", token.rsplit_once('.').unwrap().0)),
        ),
        ("Another spelling of the same bytes (bits behind the last byte)", No::Form, reworked(other_spelling)),
        (
            "An empty payload",
            No::Form,
            reworked(|token| {
                let parts: Vec<_> = token.split('.').collect();
                format!("{}..{}", parts[0], parts[2])
            }),
        ),
        ("No signature where the algorithm has one", No::Form, plain(&unsigned("ES256", ""))),
        ("An encrypted token (five parts)", No::Encrypted, plain("e30.e30.e30.e30.e30")),
        (
            "A header of an encrypted or compressed token (`enc`, `zip`)",
            No::Encrypted,
            with_header(json!({"enc": "A128GCM"})),
        ),
        ("A token in a token (`cty`)", No::Nested, with_header(json!({"cty": "JWT"}))),
        ("A header that is not JSON, not UTF-8 or not an object", No::HeaderForm, raw("[]", &c)),
        ("A byte order mark before the header", No::HeaderForm, raw(&format!("\u{feff}{h}"), &c)),
        ("`alg`, `typ` or `kid` that is not a string", No::HeaderForm, with_header(json!({"kid": 1}))),
        ("A `kid` that is empty or longer than 255 bytes", No::HeaderForm, with_header(json!({"kid": ""}))),
        ("A header with a member twice", No::HeaderTwice, raw(&again(&h, ",\"alg\":\"ES256\""), &c)),
        (
            "A header with a member that some take for another (`Alg`)",
            No::HeaderTwice,
            raw(&again(&h, ",\"Alg\":\"none\""), &c),
        ),
        (
            "Extensions that must be understood (`crit`), whatever they are",
            No::Critical,
            with_header(json!({"crit": ["exp"], "exp": 1})),
        ),
        ("An unencoded payload (`b64`)", No::Unencoded, with_header(json!({"b64": false}))),
        ("A key in the header (`jwk`)", No::KeyBrought, with_header(json!({"jwk": world.p256.jwk()}))),
        (
            "An address of keys in the header (`jku`)",
            No::KeyBrought,
            with_header(json!({"jku": "https://evil.example/keys"})),
        ),
        ("Certificates in the header (`x5c`)", No::KeyBrought, with_header(json!({"x5c": ["AAAA"]}))),
        (
            "An address of certificates in the header (`x5u`)",
            No::KeyBrought,
            with_header(json!({"x5u": "https://evil.example/"})),
        ),
        ("No `alg`", No::AlgorithmMissing, with_header(json!({"alg": null}))),
        ("`alg` is `none`", No::AlgorithmNone, plain(&unsigned("none", ""))),
        ("`alg` is `nOnE`, with a signature", No::AlgorithmNone, plain(&unsigned("nOnE", "AAAA"))),
        ("`alg` is `HS256`, with the public key as the secret", No::AlgorithmSymmetric, plain(&by_secret())),
        (
            "`alg` is `ES512`, or another that is not supported",
            No::AlgorithmUnsupported,
            with_header(json!({"alg": "ES512"})),
        ),
        ("`alg` in other letters (`es256`)", No::AlgorithmUnsupported, with_header(json!({"alg": "es256"}))),
        ("An algorithm that the issuer's file does not name", No::AlgorithmNotAllowed, only(&[Algorithm::RS256])),
        ("An algorithm of another kind than the key", No::AlgorithmKey, by("rsa")),
        ("An algorithm of another curve than the key", No::AlgorithmKey, by("p384")),
        ("An algorithm other than the key's own (`RS256` for a key for `PS256`)", No::AlgorithmKey, rsa("ps")),
        ("A key whose own `alg` is not of its kind", No::AlgorithmKey, by("mislabelled")),
        ("Another `typ`", No::Type, with_header(json!({"typ": "at+jwt"}))),
        ("A `kid` that no key has", No::KeyUnknown, by("unknown")),
        ("A `kid` that several keys have which fit", No::KeyAmbiguous, by("twice")),
        ("A key for encryption (`use` is `enc`)", No::KeyUse, by("encrypting")),
        ("A key without `verify` in its `key_ops`", No::KeyUse, by("wrapping")),
        ("A key that is no point of its curve", No::KeyForm, by("off the curve")),
        ("A key whose numbers are too short", No::KeyForm, by("short")),
        ("An RSA number with zeros before it", No::KeyForm, rsa("e padded")),
        ("RSA with less than 2048 bits", No::KeyWeak, rsa("rsa 1024")),
        ("RSA with 2047 bits", No::KeyWeak, rsa("rsa 2047")),
        ("RSA with more than 8192 bits", No::KeyWeak, rsa("rsa 16384")),
        ("RSA with the exponent 1", No::KeyWeak, rsa("e 1")),
        ("RSA with the exponent 3", No::KeyWeak, rsa("e 3")),
        ("RSA with an even exponent", No::KeyWeak, rsa("e even")),
        ("RSA with an exponent of more than 32 bits", No::KeyWeak, rsa("e huge")),
        ("RSA with an even modulus", No::KeyWeak, rsa("n even")),
        ("A published key with its secret part", No::KeySecret, by("with its secret")),
        ("A shared secret among the keys (`oct`)", No::AlgorithmSymmetric, by("shared")),
        ("P-521", No::KeyUnsupported, by("p521")),
        ("secp256k1", No::KeyUnsupported, by("k256")),
        ("Ed448", No::KeyUnsupported, by("ed448")),
        ("A kind of key that is not known", No::KeyUnsupported, by("future")),
        (
            "A signature by somebody else",
            No::Signature,
            plain(&Signer::p256().token(&header(json!({})), &claims(json!({})))),
        ),
        (
            "Other claims under the same signature",
            No::Signature,
            reworked(|token| {
                let parts: Vec<_> = token.split('.').collect();
                let other = base64url::encode(claims(json!({"sub": "admin"})).to_string().as_bytes());
                format!("{}.{other}.{}", parts[0], parts[2])
            }),
        ),
        (
            "A signature in DER, as X.509 has it",
            No::Signature,
            reworked(|token| {
                let (message, signature) = token.rsplit_once('.').unwrap();
                let bytes = base64url::decode(signature).unwrap();
                let number = |part: &[u8]| [&[2, 33, 0], part].concat();
                let der = [number(&bytes[..32]), number(&bytes[32..])].concat();
                format!("{message}.{}", base64url::encode(&[&[0x30, 70], der.as_slice()].concat()))
            }),
        ),
        (
            "A signature of zeros",
            No::Signature,
            reworked(|token| format!("{}.{}", token.rsplit_once('.').unwrap().0, base64url::encode(&[0; 64]))),
        ),
        ("Claims that are no JSON object", No::ClaimsForm, raw(&h, "[]")),
        ("Claims with text behind them", No::ClaimsForm, raw(&h, &format!("{c}x"))),
        (
            "Claims nested too deep",
            No::ClaimsForm,
            raw(&h, &again(&c, &format!(",\"x\":{}{}", "[".repeat(20), "]".repeat(20)))),
        ),
        ("A claim twice", No::ClaimsTwice, raw(&h, &again(&c, ",\"sub\":\"admin\""))),
        (
            "A claim twice, in an object of the claims",
            No::ClaimsTwice,
            raw(&h, &again(&c, ",\"act\":{\"sub\":\"a\",\"sub\":\"b\"}")),
        ),
        ("A claim that some take for another (`SUB`)", No::ClaimsTwice, raw(&h, &again(&c, ",\"SUB\":\"admin\""))),
        ("No `exp`", No::ExpiryMissing, with_claims(json!({"exp": null}))),
        ("An `exp` that is no number", No::TimeForm, with_claims(json!({"exp": "1800000300"}))),
        ("An `exp` that is no whole number", No::TimeForm, with_claims(json!({"exp": 1_800_000_300.5}))),
        ("An `exp` that is huge", No::TimeForm, raw(&h, &c.replace("1800000300", "1e30"))),
        ("A negative `exp`", No::TimeForm, with_claims(json!({"exp": -1}))),
        ("An `iat` or `nbf` that is no number", No::TimeForm, with_claims(json!({"iat": true}))),
        ("An `exp` before `iat`", No::TimeForm, with_claims(json!({"iat": seconds + 4, "exp": seconds + 3}))),
        ("A token whose time is over", No::Expired, with_claims(json!({"exp": seconds}))),
        ("A token whose time has not come (`nbf`)", No::NotYet, with_claims(json!({"nbf": seconds + 60}))),
        ("A token from the future (`iat`)", No::Future, with_claims(json!({"iat": seconds + 60}))),
        ("A token that lives too long", No::Lifetime, with_claims(json!({"exp": seconds + 7200}))),
        ("No `iss`", No::IssuerMissing, with_claims(json!({"iss": null}))),
        ("Another `iss`", No::IssuerWrong, with_claims(json!({"iss": "https://evil.example"}))),
        ("An `iss` in other letters", No::IssuerWrong, with_claims(json!({"iss": "https://ID.example"}))),
        ("An `iss` that is a list", No::IssuerWrong, with_claims(json!({"iss": [ISSUER]}))),
        (
            "An `iss` with a slash at its end that the file does not have, or without one that it has",
            No::IssuerSlash,
            with_claims(json!({"iss": format!("{ISSUER}/")})),
        ),
        ("No `aud`, or an empty list", No::AudienceMissing, with_claims(json!({"aud": []}))),
        ("Another `aud`", No::AudienceWrong, with_claims(json!({"aud": "https://other.example"}))),
        (
            "A list as `aud` in which something is no string",
            No::AudienceWrong,
            with_claims(json!({"aud": [AUDIENCE, 1]})),
        ),
        ("A list as `aud` where one string is wanted", No::AudienceMany, with_claims(json!({"aud": [AUDIENCE]}))),
        ("No `sub`", No::SubjectMissing, with_claims(json!({"sub": null}))),
        ("An empty `sub`", No::SubjectForm, with_claims(json!({"sub": ""}))),
        ("A `sub` of more than 255 bytes", No::SubjectForm, with_claims(json!({"sub": "x".repeat(256)}))),
        ("A `sub` that is no string", No::SubjectForm, with_claims(json!({"sub": 7}))),
        ("A `sub` with control characters", No::SubjectForm, with_claims(json!({"sub": "a\u{0}"}))),
    ];
    refused(cases, Invalid::word)
}

#[test]
fn every_refusal_has_its_word() {
    let rows = rows();
    // These three are of kinds of tokens that stand elsewhere.
    let elsewhere = [Invalid::HeaderMember, Invalid::KeyUnnamed, Invalid::IdMissing];
    for one in Invalid::ALL.iter().filter(|one| !elsewhere.contains(one)) {
        assert!(rows.iter().any(|row| row.word == one.word()), "nothing shows {}", one.word());
    }
}
