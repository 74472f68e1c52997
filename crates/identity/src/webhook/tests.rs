use super::*;
use proptest::prelude::*;

const NOW: Millis = Millis(1_614_265_330_000);
const MESSAGE: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const BODY: &[u8] = br#"{"test": 2432232314}"#;

fn headers(signature: &str) -> Headers {
    Headers { id: MESSAGE.to_owned(), timestamp: "1614265330".to_owned(), signature: signature.to_owned() }
}

fn key() -> SigningKey {
    secret_key("whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=").unwrap()
}

fn public() -> Key {
    Key::parse(&public_text(&key().public_key())).unwrap()
}

/// The reference library in Go, `TestAsymmetricWebhookSign`
const V1A: &str = "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag==";

/// The reference libraries, `TestSymmetricWebhookSign`
const V1: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn signs_and_checks_as_the_reference_libraries_do() {
    let signed = sign(&key(), MESSAGE, NOW.plus(999), BODY).unwrap();
    assert_eq!(signed, headers(V1A));
    assert_eq!(verify(&[public()], &signed, BODY, NOW), Ok(()));
    let shared = Key::parse(SECRET).unwrap();
    assert_eq!(verify(&[shared], &headers(V1), BODY, NOW), Ok(()));
}

#[test]
fn one_of_several_signatures_and_keys_has_to_fit() {
    let wrong = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    let shared = || Key::parse(SECRET).unwrap();
    let other = Key::Public(SigningKey::make().unwrap().public_key());
    for several in [format!("{wrong} v2,AAAA {V1A}"), format!("{V1A} {wrong}"), format!("x  , v1a, {V1} {V1A}")] {
        assert_eq!(verify(&[public()], &headers(&several), BODY, NOW), Ok(()), "{several}");
        assert_eq!(verify(&[other.clone(), public()], &headers(&several), BODY, NOW), Ok(()));
        assert_eq!(verify(std::slice::from_ref(&other), &headers(&several), BODY, NOW), Err(Wrong::Signature));
        assert_eq!(verify(&[], &headers(&several), BODY, NOW), Err(Wrong::Signature));
    }
    let versions = [V1A.replace("v1a,", "v1,"), V1.replace("v1,", "v1a,"), V1A.replace("v1a,", ""), wrong.to_owned()];
    for bad in versions.iter().map(String::as_str).chain(["", "v1a,", "v1,", ",", "v1a"]) {
        assert_eq!(verify(&[public(), shared()], &headers(bad), BODY, NOW), Err(Wrong::Signature), "{bad}");
    }
    let many = vec![wrong; SIGNATURES_MAX].join(" ");
    assert_eq!(verify(&[public()], &headers(&format!("{many} {V1A}")), BODY, NOW), Err(Wrong::TooMany));
}

#[test]
fn nothing_of_a_message_can_change() {
    for (key, signature) in [(public(), V1A), (Key::parse(SECRET).unwrap(), V1)] {
        let keys = [key];
        let good = headers(signature);
        let other_body = verify(&keys, &good, br#"{"test":2432232314}"#, NOW);
        let other_id = verify(&keys, &Headers { id: "msg_2".to_owned(), ..good.clone() }, BODY, NOW);
        let other_time = verify(&keys, &Headers { timestamp: "1614265331".to_owned(), ..good.clone() }, BODY, NOW);
        assert_eq!([other_body, other_id, other_time], [Err(Wrong::Signature); 3]);
        let at_end = signature.len();
        for at in 4..at_end {
            let mut changed = signature.to_owned().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(verify(&keys, &headers(&changed), BODY, NOW), Err(Wrong::Signature), "{at}");
        }
    }
}

#[test]
fn a_message_is_read_in_one_way_only() {
    // The same signed bytes, split elsewhere.
    let key = key();
    let signed = sign(&key, "a", NOW, b"1614265330.pay").unwrap();
    let moved = Headers { id: "a.1614265330".to_owned(), ..signed.clone() };
    assert_eq!(verify(&[public()], &signed, b"1614265330.pay", NOW), Ok(()));
    assert_eq!(verify(&[public()], &moved, b"pay", NOW), Err(Wrong::Id));
    for bad in ["", "a b", "a.b", "\u{e4}", "a\n", &"a".repeat(129)] {
        assert_eq!(verify(&[public()], &Headers { id: bad.to_owned(), ..signed.clone() }, BODY, NOW), Err(Wrong::Id));
        assert_eq!(sign(&key, bad, NOW, BODY), None, "{bad:?}");
    }
    for bad in ["", "-1", "+1614265330", "01614265330", "1614265330.0", " 1614265330", "99999999999999", "now"] {
        let headers = Headers { timestamp: bad.to_owned(), ..signed.clone() };
        assert_eq!(verify(&[public()], &headers, BODY, NOW), Err(Wrong::Timestamp), "{bad:?}");
    }
    assert_eq!(sign(&key, "a", Millis(-1), BODY), None);
}

#[test]
fn a_message_is_good_for_minutes() {
    for good in [-TOLERANCE_MS, 0, TOLERANCE_MS] {
        assert_eq!(verify(&[public()], &headers(V1A), BODY, NOW.plus(good)), Ok(()));
    }
    for bad in [-TOLERANCE_MS - 1, TOLERANCE_MS + 1, -NOW.0, i64::MAX / 2] {
        assert_eq!(verify(&[public()], &headers(V1A), BODY, NOW.plus(bad)), Err(Wrong::Time));
    }
}

#[test]
fn a_message_counts_once() {
    let seen = Seen::default();
    assert!(seen.first("shop", &headers(V1A), NOW));
    assert!(!seen.first("shop", &headers(V1A), NOW.plus(1)));
    assert!(!seen.first("shop", &Headers { timestamp: "1".to_owned(), ..headers(V1) }, NOW), "the id is what counts");
    assert!(seen.first("bank", &headers(V1A), NOW));
    // Accepted as early as the tolerance allows, it cannot come again as late as the tolerance allows.
    let early = Headers { id: "early".to_owned(), ..headers(V1A) };
    assert!(seen.first("shop", &early, NOW.plus(-TOLERANCE_MS)));
    assert!(!seen.first("shop", &early, NOW.plus(TOLERANCE_MS)));
    let known = seen.ids.lock().unwrap().len();
    for id in known..SEEN_MAX {
        assert!(seen.first("shop", &Headers { id: id.to_string(), ..headers(V1A) }, NOW.plus(TOLERANCE_MS)));
    }
    let new = Headers { id: "new".to_owned(), ..headers(V1A) };
    assert!(!seen.first("shop", &new, NOW.plus(TOLERANCE_MS)));
    assert!(seen.first("shop", &new, NOW.plus(3 * TOLERANCE_MS + 1)));
}

#[test]
fn keys_are_read_as_they_are_written_and_no_other_way() {
    let text = public_text(&key().public_key());
    assert_eq!(format!("{:?}", public()), format!("Public({text})"));
    assert_eq!(format!("{:?}", Key::parse(SECRET).unwrap()), "Shared(..)");
    // Some libraries write the public key behind the seed.
    let seed = b"TESTSIGNINGKEYDONOTUSETHISFORANY";
    let long = |public: &[u8]| format!("whsk_{}", STANDARD.encode([seed.as_slice(), public].concat()));
    assert_eq!(secret_key(&long(key().public_key().as_bytes())).unwrap().public_key(), key().public_key());
    assert_eq!(secret_key(&long(&[0; 32])).err(), Some(NoKey));
    assert_eq!(secret_key(&long(&[0; 4])).err(), Some(NoKey));
    for bad in ["", "whsk_", "whsk_AAAA", "whpk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk="] {
        assert_eq!(secret_key(bad).err(), Some(NoKey), "{bad}");
    }
    let whsec = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
    assert!(Key::parse(&whsec(24)).is_ok() && Key::parse(&whsec(64)).is_ok());
    let short = [whsec(23), whsec(65), text.replace("whpk_", ""), text.replace("whpk_", "whsk_")];
    for bad in short.iter().map(String::as_str).chain(["", "whpk_", "whpk_AAAA", "whsec_", "whsec_?"]) {
        assert_eq!(Key::parse(bad), Err(NoKey), "{bad}");
    }
}

proptest! {
    #[test]
    fn what_is_signed_is_verified(id in "[!-~]{1,128}", body: Vec<u8>, now in 0i64..4_000_000_000_000) {
        let signed = sign(&key(), &id, Millis(now), &body);
        prop_assert_eq!(signed.is_some(), !id.contains('.'));
        if let Some(signed) = signed {
            prop_assert_eq!(verify(&[public()], &signed, &body, Millis(now)), Ok(()));
            prop_assert_eq!(verify(&[public()], &signed, &[&body[..], b"x"].concat(), Millis(now)), Err(Wrong::Signature));
        }
    }
}
