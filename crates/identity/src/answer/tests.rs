use super::*;
use crate::passkey::{RelyingParty, authenticator::Authenticator};

fn statement() -> Statement {
    Statement {
        tenant: "local".parse().unwrap(),
        hold: "hold_0000000abcdefgh".parse().unwrap(),
        binding: Hash::of(b"shown"),
        user: "ann".parse().unwrap(),
        yes: true,
        how: How::Passkey,
        why: "it is \"hers\" \u{202e}".to_owned(),
        at: Millis(1_800_000_000_000),
    }
}

fn party() -> RelyingParty {
    RelyingParty::of_origin("http://localhost:7420").unwrap()
}

#[test]
fn the_text_is_canonical_and_says_everything() {
    let binding = Hash::of(b"shown").to_string();
    let text = statement().text();
    assert_eq!(
        text,
        format!(
            "{{\"answer\":\"yes\",\"at\":1800000000000,\"binding\":\"{binding}\",\"hold\":\"hold_0000000abcdefgh\",\
             \"how\":\"passkey\",\"tenant\":\"local\",\"user\":\"ann\",\"v\":1,\
             \"why\":\"it is \\\"hers\\\" \u{202e}\"}}"
        )
    );
    assert_eq!(Statement::parse(text.as_bytes()), Ok(statement()));
    assert_eq!(statement().digest(), Hash::of(text.as_bytes()));
    for how in How::ALL {
        let said = Statement { how, yes: false, ..statement() };
        assert_eq!(Statement::parse(said.text().as_bytes()), Ok(said));
    }
}

#[test]
fn no_other_text_is_a_statement() {
    let text = statement().text();
    for (from, to) in [
        ("\"v\":1", "\"v\":2"),
        ("\"v\":1,", ""),
        ("\"v\":1,", "\"v\":1,\"vv\":1,"),
        ("\"yes\"", "\"Yes\""),
        ("\"yes\"", "true"),
        ("\"passkey\"", "\"token\""),
        ("1800000000000", "\"1800000000000\""),
        ("1800000000000", "1800000000000.5"),
        ("\"ann\"", "\"Ann\""),
        ("{", "{ "),
        ("{\"answer\":\"yes\",", "{\"answer\":\"yes\",\"answer\":\"no\","),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        assert!(Statement::parse(changed.as_bytes()).is_err(), "{changed}");
    }
    for bad in [b"".as_slice(), b"null", b"{}", b"\xff"] {
        assert!(Statement::parse(bad).is_err());
    }
}

/// Everything that a statement says, said otherwise
fn others() -> [Statement; 8] {
    let text = String::from;
    [
        Statement { tenant: "other".parse().unwrap(), ..statement() },
        Statement { hold: text("hold_0000000abcdefgj"), ..statement() },
        Statement { binding: Hash::of(b"not shown"), ..statement() },
        Statement { user: "ben".parse().unwrap(), ..statement() },
        Statement { yes: false, ..statement() },
        Statement { how: How::Link, ..statement() },
        Statement { why: text("it is hers"), ..statement() },
        Statement { at: Millis(1_800_000_000_001), ..statement() },
    ]
}

#[test]
fn a_signature_is_for_one_statement_of_one_folder() {
    let key = SigningKey::make().unwrap();
    let text = statement().text();
    let signed = sign(&key, &statement(), None).unwrap();
    assert_eq!(verify(&signed, text.as_bytes(), &key.public_key()), Ok(()));
    let json = serde_json::to_string(&signed).unwrap();
    assert_eq!(serde_json::from_str::<Signed>(&json).unwrap(), signed);
    assert!(!json.contains("passkey"));
    for other in others() {
        let text = other.text();
        assert_eq!(verify(&signed, text.as_bytes(), &key.public_key()), Err(Wrong::Statement), "{text}");
        let forged = Signed { statement: other.digest(), ..signed.clone() };
        assert_eq!(verify(&forged, text.as_bytes(), &key.public_key()), Err(Wrong::Signature), "{text}");
    }
    let check = |signed: &Signed| verify(signed, text.as_bytes(), &key.public_key());
    let other = SigningKey::make().unwrap();
    let by_other = sign(&other, &statement(), None).unwrap();
    assert_eq!(check(&by_other), Err(Wrong::Key));
    assert_eq!(check(&Signed { key: key.public_key(), ..by_other }), Err(Wrong::Signature));
    for bad in ["", "?", &signed.signature.to_lowercase(), signed.signature.trim_end_matches('=')] {
        assert_eq!(check(&Signed { signature: bad.to_owned(), ..signed.clone() }), Err(Wrong::Signature), "{bad}");
    }
    assert_eq!(check(&Signed { statement: Hash::default(), ..signed.clone() }), Err(Wrong::Statement));
    assert!(verify(&signed, format!(" {text}").as_bytes(), &key.public_key()).is_err());
}

#[test]
fn a_passkey_says_yes_to_one_statement() {
    let key = SigningKey::make().unwrap();
    let authenticator = Authenticator::ed(&party());
    let text = statement().text();
    let proof = authenticator.prove(&party(), &statement().digest().0);
    let signed = sign(&key, &statement(), Some(proof.clone())).unwrap();
    let check = |signed: &Signed| verify(signed, text.as_bytes(), &key.public_key());
    assert_eq!(check(&signed), Ok(()));
    let json = serde_json::to_string(&signed).unwrap();
    assert_eq!(serde_json::from_str::<Signed>(&json).unwrap(), signed);

    for other in others() {
        let refused = sign(&key, &other, Some(proof.clone())).unwrap_err();
        let because = if other.how == How::Passkey { Wrong::Passkey(passkey::Wrong::Challenge) } else { Wrong::How };
        assert_eq!(refused, because);
        // Somebody who holds the folder's key cannot make it one for another statement.
        let text = other.text();
        let signature = STANDARD.encode(key.sign(&message(text.as_bytes(), Some(&proof))));
        let forged = Signed { statement: other.digest(), signature, ..signed.clone() };
        assert_eq!(verify(&forged, text.as_bytes(), &key.public_key()), Err(because));
    }
    assert_eq!(check(&Signed { passkey: None, ..signed.clone() }), Err(Wrong::Signature), "it cannot be left out");
    let without = sign(&key, &statement(), None).unwrap();
    assert_eq!(check(&Signed { passkey: signed.passkey.clone(), ..without }), Err(Wrong::Signature), "nor put in");
    let another = Authenticator::ed(&party()).prove(&party(), &statement().digest().0);
    assert_eq!(check(&Signed { passkey: Some(another), ..signed }), Err(Wrong::Signature), "nor changed");
}
