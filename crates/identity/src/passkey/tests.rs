use super::authenticator::{Authenticator, BACKED_UP, ELIGIBLE, Key, PRESENT, VERIFIED, bytes, derived};
use super::*;
use crate::key::SigningKey;
use portreeve_core::hash::Hash;
use proptest::prelude::*;

mod vectors;

const CHALLENGE: &[u8] = b"a challenge of the caller's";

fn party() -> RelyingParty {
    RelyingParty::of_origin("http://localhost:7420").unwrap()
}

fn all_kinds() -> [Authenticator; 3] {
    let es256 = Key::es256(&derived::<32>("a test of ours", 1));
    [es256, Key::EdDsa(SigningKey::make().unwrap()), Key::rs256()].map(|key| Authenticator::new(key, &party()))
}

#[test]
fn every_kind_of_key_registers_and_signs() {
    for mut authenticator in all_kinds() {
        for attests in [false, true] {
            authenticator.attests = attests;
            authenticator.counter += 1;
            let made = authenticator.create(CHALLENGE);
            assert_eq!(made.challenge().as_deref(), Some(CHALLENGE));
            let registered = made.verify(&party(), CHALLENGE).unwrap();
            assert_eq!(
                registered,
                Registered {
                    credential: authenticator.id.clone(),
                    public_key: authenticator.key.cose(),
                    algorithm: authenticator.key.algorithm(),
                    counter: authenticator.counter,
                    synced: false,
                }
            );
            let proof = authenticator.prove(&party(), CHALLENGE);
            assert_eq!(authenticator.get(CHALLENGE).challenge().as_deref(), Some(CHALLENGE));
            assert_eq!(proof.verify(CHALLENGE), Ok(()));
            assert_eq!(Proof::of_record(&proof.record()), Ok(proof));
        }
    }
}

/// What both ceremonies refuse, each for its own reason
#[test]
fn nothing_else_counts() {
    type Spoil = fn(&mut Authenticator);
    let cases: [(Spoil, Wrong); 16] = [
        (|it| it.origin = "http://localhost:7421".to_owned(), Wrong::Origin("http://localhost:7421".to_owned())),
        (|it| it.origin = "https://localhost:7420".to_owned(), Wrong::Origin("https://localhost:7420".to_owned())),
        (|it| it.rp_id = "example.org".to_owned(), Wrong::Party),
        (|it| it.flags = VERIFIED, Wrong::NotPresent),
        (|it| it.flags = PRESENT, Wrong::NotVerified),
        (|it| it.flags |= BACKED_UP, Wrong::Backup),
        (|it| it.flags |= 0x80, Wrong::Form("authenticator data")),
        (|it| it.tail = vec![0xa0], Wrong::Form("authenticator data")),
        (|it| (it.flags, it.tail) = (it.flags | 0x80, vec![0xa0, 0]), Wrong::Form("authenticator data")),
        (|it| it.more = r#","crossOrigin":true"#.to_owned(), Wrong::Framed),
        (|it| it.more = r#","topOrigin":"https://example.com""#.to_owned(), Wrong::Framed),
        (|it| it.more = r#","crossOrigin":"no""#.to_owned(), Wrong::Form("client data")),
        (|it| it.more = r#","type":"webauthn.get""#.to_owned(), Wrong::Form("client data")),
        (|it| it.more = r#","origin":"http://localhost:7420""#.to_owned(), Wrong::Form("client data")),
        (|it| it.more = "}".to_owned(), Wrong::Form("client data")),
        (|it| it.more = format!(r#","more":"{}""#, "x".repeat(20_000)), Wrong::Form("client data")),
    ];
    for (spoil, wrong) in cases {
        let mut authenticator = Authenticator::ed(&party());
        spoil(&mut authenticator);
        assert_eq!(authenticator.prove(&party(), CHALLENGE).verify(CHALLENGE), Err(wrong.clone()));
        assert_eq!(authenticator.create(CHALLENGE).verify(&party(), CHALLENGE), Err(wrong));
    }
}

/// 7.1, step 28, and 7.2, step 23: authenticators may say more than they were asked
#[test]
fn extensions_are_let_pass() {
    let mut authenticator = Authenticator::ed(&party());
    authenticator.flags |= 0x80;
    authenticator.tail = b"\xa1\x6bcredProtect\x02".to_vec();
    authenticator.more.push_str(r#","other_keys_can_be_added_here":{"a":[1]}"#);
    assert!(authenticator.create(CHALLENGE).verify(&party(), CHALLENGE).is_ok());
    assert_eq!(authenticator.prove(&party(), CHALLENGE).verify(CHALLENGE), Ok(()));
}

#[test]
fn a_response_is_one_to_its_challenge_and_its_request() {
    let authenticator = Authenticator::ed(&party());
    let made = authenticator.create(CHALLENGE);
    let proof = authenticator.prove(&party(), CHALLENGE);
    for other in [b"".as_slice(), b"a challenge of the caller'", &Hash::of(CHALLENGE).0] {
        assert_eq!(made.verify(&party(), other), Err(Wrong::Challenge));
        assert_eq!(proof.verify(other), Err(Wrong::Challenge));
    }
    // A response to one kind of request for the other, correctly signed.
    let client_data = authenticator.client_data("webauthn.create", CHALLENGE);
    let data = authenticator.data(false);
    let signature = authenticator.key.sign(&[data.as_slice(), &Hash::of(&client_data).0].concat());
    assert_eq!(Proof { client_data, signature, ..proof.clone() }.verify(CHALLENGE), Err(Wrong::Kind));
    let client_data = authenticator.client_data("webauthn.get", CHALLENGE);
    assert_eq!(Registration { client_data, ..made }.verify(&party(), CHALLENGE), Err(Wrong::Kind));
    let authenticator_data = authenticator.data(true);
    let signature = authenticator.key.sign(&[&authenticator_data[..], &Hash::of(&proof.client_data).0].concat());
    let attested = Proof { authenticator_data, signature, ..proof };
    assert_eq!(attested.verify(CHALLENGE), Err(Wrong::Form("authenticator data")));
}

#[test]
fn no_byte_of_a_proof_can_change() {
    for authenticator in all_kinds() {
        let proof = authenticator.prove(&party(), CHALLENGE);
        type Part = fn(&mut Proof) -> &mut Vec<u8>;
        let parts: [Part; 4] = [
            |it| &mut it.authenticator_data,
            |it| &mut it.client_data,
            |it| &mut it.signature,
            |it| &mut it.public_key,
        ];
        for part in parts {
            for at in 0..part(&mut proof.clone()).len() {
                let mut changed = proof.clone();
                part(&mut changed)[at] ^= 1;
                assert!(changed.verify(CHALLENGE).is_err(), "{at}");
                part(&mut changed).truncate(at);
                assert!(changed.verify(CHALLENGE).is_err(), "cut at {at}");
            }
            let mut longer = proof.clone();
            part(&mut longer).push(0);
            assert!(longer.verify(CHALLENGE).is_err());
        }
        let mut record = proof.record();
        record.signature.push('=');
        assert_eq!(Proof::of_record(&record), Err(Wrong::Form("record")));
        let elsewhere = RelyingParty::of_origin("http://localhost:7421").unwrap();
        assert!(Proof { party: elsewhere, ..proof }.verify(CHALLENGE).is_err());
    }
}

#[test]
fn a_cut_or_changed_registration_is_refused_and_never_panics() {
    let mut authenticator = Authenticator::ed(&party());
    authenticator.attests = true;
    let made = authenticator.create(CHALLENGE);
    for at in 0..made.attestation_object.len() {
        for bit in 0..8 {
            let mut changed = made.clone();
            changed.attestation_object[at] ^= 1 << bit;
            assert!(changed.verify(&party(), CHALLENGE).is_err(), "{at}");
        }
        let mut cut = made.clone();
        cut.attestation_object.truncate(at);
        assert!(cut.verify(&party(), CHALLENGE).is_err(), "{at}");
    }
    let mut longer = made.clone();
    longer.attestation_object.push(0);
    assert_eq!(longer.verify(&party(), CHALLENGE), Err(Wrong::Form("attestation object")));
}

#[test]
fn attestations_that_nobody_asked_for_are_refused() {
    let authenticator = Authenticator::ed(&party());
    let client_data = authenticator.client_data("webauthn.create", CHALLENGE);
    let data = bytes(&authenticator.data(true));
    let signature =
        bytes(&authenticator.key.sign(&[&authenticator.data(true)[..], &Hash::of(&client_data).0].concat()));
    let verify = |format_and_statement: &[u8]| {
        let object = [b"\xa3\x63fmt".as_slice(), format_and_statement, b"\x68authData", &data].concat();
        Registration { attestation_object: object, client_data: client_data.clone() }
            .verify(&party(), CHALLENGE)
            .map(drop)
    };
    let packed = |members: &[u8]| [b"\x66packed\x67attStmt".as_slice(), members].concat();
    let good = [b"\xa2\x63alg\x27\x63sig".as_slice(), &signature].concat();
    assert_eq!(verify(b"\x64none\x67attStmt\xa0"), Ok(()));
    assert_eq!(verify(&packed(&good)), Ok(()));
    let with_certificate = [b"\xa3\x63alg\x27\x63x5c\x80\x63sig".as_slice(), &signature].concat();
    assert_eq!(verify(&packed(&with_certificate)), Err(Wrong::Attestation("packed".to_owned())));
    let other_algorithm = [b"\xa2\x63alg\x26\x63sig".as_slice(), &signature].concat();
    assert_eq!(verify(&packed(&other_algorithm)), Err(Wrong::Algorithm));
    assert_eq!(verify(&packed(b"\xa1\x63alg\x27")), Err(Wrong::Form("attestation object")));
    assert_eq!(verify(b"\x64none\x67attStmt\xa1\x61a\x00"), Err(Wrong::Attestation("none".to_owned())));
    assert_eq!(verify(b"\x63tpm\x67attStmt\xa0"), Err(Wrong::Attestation("tpm".to_owned())));
    assert_eq!(verify(b"\x64none\x67attStmt\x80"), Err(Wrong::Form("attestation object")));
}

#[test]
fn keys_of_other_kinds_are_refused() {
    let parse = |cose: &[u8]| cose::PublicKey::parse(cose).map(|key| key.algorithm());
    let x = bytes(&derived::<32>("a test of ours", 2));
    let ed = |head: &[u8]| [head, &x].concat();
    assert_eq!(parse(&ed(b"\xa4\x01\x01\x03\x27\x20\x06\x21")), Ok(Algorithm::EdDsa));
    for (head, wrong) in [
        (b"\xa4\x01\x01\x03\x38\x22\x20\x06\x21".as_slice(), Wrong::Algorithm), // ES384
        (b"\xa4\x01\x02\x03\x27\x20\x06\x21", Wrong::Algorithm),                // an elliptic curve of two coordinates
        (b"\xa4\x01\x01\x03\x27\x20\x07\x21", Wrong::Algorithm),                // Ed448
        (b"\xa5\x01\x01\x03\x27\x20\x06\x04\x01\x21", Wrong::Algorithm),        // more than is needed
        (b"\xa4\x01\x01\x02\x27\x20\x06\x21", Wrong::Form("public key")),       // no algorithm
        (b"\xa4\x01\x01\x03\x27\x20\x06\x22", Wrong::Form("public key")),       // no coordinate
    ] {
        assert_eq!(parse(&ed(head)), Err(wrong), "{head:x?}");
    }
    let es = Key::es256(&derived::<32>("a test of ours", 1)).cose();
    assert_eq!(parse(&es), Ok(Algorithm::Es256));
    let mut off_the_curve = es.clone();
    *off_the_curve.last_mut().unwrap() ^= 1;
    assert_eq!(parse(&off_the_curve), Err(Wrong::Form("public key")));
    // RFC 9053, 7.1.1: the sign of y alone. WebAuthn wants the whole of it (5.8.5).
    let compressed = [&es[..es.len() - 34], b"\xf5"].concat();
    assert_eq!(parse(&compressed), Err(Wrong::Form("public key")));
    let rsa = |n: &[u8]| [b"\xa4\x01\x03\x03\x39\x01\x00\x20".as_slice(), &bytes(n), b"\x21\x43\x01\x00\x01"].concat();
    assert!(parse(&rsa(&[0xff; 256])).is_ok());
    assert_eq!(parse(&rsa(&[&[0][..], &[0xff; 256]].concat())), Err(Wrong::Form("public key")));
    assert_eq!(parse(&rsa(&[0xff; 1025])), Err(Wrong::Form("public key")));
    assert_eq!(parse(&rsa(&[])), Err(Wrong::Form("public key")));
    // A short modulus is read, but no signature fits.
    let short = cose::PublicKey::parse(&rsa(&[0xff; 128])).unwrap();
    assert_eq!(short.verify(b"", &[1; 128]), Err(Wrong::Signature));
}

#[test]
fn a_record_says_for_which_site() {
    let below = RelyingParty::new("example.org", "https://console.example.org").unwrap();
    let mut authenticator = Authenticator::ed(&below);
    let proof = authenticator.prove(&below, CHALLENGE);
    assert_eq!(Proof::of_record(&proof.record()).unwrap().party, below);
    authenticator.rp_id = "other.org".to_owned();
    assert_eq!(Proof::of_record(&authenticator.prove(&below, CHALLENGE).record()), Err(Wrong::Party));
    authenticator.origin = "null".to_owned();
    assert_eq!(Proof::of_record(&authenticator.prove(&below, CHALLENGE).record()), Err(Wrong::Party));
}

#[test]
fn whether_it_is_synced_is_said() {
    let mut authenticator = Authenticator::ed(&party());
    authenticator.flags |= ELIGIBLE;
    for more in [0, BACKED_UP] {
        authenticator.flags |= more;
        assert!(authenticator.create(CHALLENGE).verify(&party(), CHALLENGE).unwrap().synced);
        assert!(authenticator.prove(&party(), CHALLENGE).used(CHALLENGE).unwrap().synced);
    }
}

proptest! {
    /// Bytes of an attacker are read or refused, and never more than that
    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = data::AuthenticatorData::parse(&bytes);
        let _ = cose::PublicKey::parse(&bytes);
        let _ = Assertion::from_json(&bytes);
        let made = Registration { attestation_object: bytes.clone(), client_data: bytes };
        prop_assert!(made.verify(&party(), CHALLENGE).is_err());
    }
}
