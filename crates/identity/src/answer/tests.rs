use super::*;
use crate::passkey::{RelyingParty, authenticator::Authenticator};
use proptest::prelude::*;

fn statement() -> Statement {
    Statement {
        tenant: "local".parse().unwrap(),
        hold: "hold_00000abcdefgh".parse().unwrap(),
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
            "{{\"answer\":\"yes\",\"at\":1800000000000,\"binding\":\"{binding}\",\"hold\":\"hold_00000abcdefgh\",\
             \"how\":\"passkey\",\"tenant\":\"local\",\"user\":\"ann\",\"v\":1,\
             \"why\":\"it is \\\"hers\\\" \u{202e}\"}}"
        )
    );
    assert_eq!(Statement::parse(text.as_bytes()), Ok(statement()));
    assert_eq!(statement().digest(), Hash::of(text.as_bytes()));
    let receiver = "pager".parse().unwrap();
    let lent = How::HandedPasskey { by: "user:kim".to_owned(), fingerprint: Hash::of(b"key") };
    let oidc = How::Oidc { issuer: "company".parse().unwrap(), subject: "24828976 \"1\"".to_owned() };
    for how in [How::Socket, How::Link, How::Passkey, lent, oidc, How::Webhook { receiver }] {
        // Written as in the events beside it.
        let json = serde_json::to_string(&how).unwrap();
        assert!(Statement { how: how.clone(), ..statement() }.text().contains(&format!("\"how\":{json},")), "{json}");
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
        ("\"passkey\"", "{\"webhook\":{}}"),
        ("\"passkey\"", "{\"webhook\":{\"receiver\":\"a\",\"v\":1}}"),
        ("hold_", "task_"),
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
        Statement { hold: HoldId(7), ..statement() },
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
    let statement = || Statement { how: How::Link, ..statement() };
    let text = statement().text();
    let signed = sign(&key, &statement(), None, Some(4_200)).unwrap();
    assert_eq!(verify(&signed, text.as_bytes(), &key.public_key()), Ok(()));
    assert_eq!((signed.read_ms, &signed.key), (Some(4_200), &key.public_key().to_string()));
    for other in others() {
        let other = if other.how == How::Link { self::statement() } else { Statement { how: How::Link, ..other } };
        let text = other.text();
        assert_eq!(verify(&signed, text.as_bytes(), &key.public_key()), Err(Wrong::Statement), "{text}");
        let forged = Signed { statement: other.digest(), ..signed.clone() };
        assert_eq!(verify(&forged, text.as_bytes(), &key.public_key()), Err(Wrong::Signature), "{text}");
    }
    let check = |signed: &Signed| verify(signed, text.as_bytes(), &key.public_key());
    let other = SigningKey::make().unwrap();
    let by_other = sign(&other, &statement(), None, None).unwrap();
    assert_eq!(check(&by_other), Err(Wrong::Key));
    assert_eq!(check(&Signed { key: key.public_key().to_string(), ..by_other }), Err(Wrong::Signature));
    for bad in ["", "?", &signed.signature.to_lowercase(), signed.signature.trim_end_matches('=')] {
        assert_eq!(check(&Signed { signature: bad.to_owned(), ..signed.clone() }), Err(Wrong::Signature), "{bad}");
    }
    assert_eq!(check(&Signed { statement: Hash::default(), ..signed.clone() }), Err(Wrong::Statement));
    assert_eq!(check(&Signed { how: How::Socket, ..signed.clone() }), Err(Wrong::Beside));
    assert_eq!(check(&Signed { at: Millis(0), ..signed.clone() }), Err(Wrong::Beside));
    assert!(verify(&signed, format!(" {text}").as_bytes(), &key.public_key()).is_err());
}

#[test]
fn a_passkey_says_yes_to_one_statement() {
    let key = SigningKey::make().unwrap();
    let authenticator = Authenticator::ed(&party());
    let text = statement().text();
    let proof = authenticator.prove(&party(), &statement().digest().0);
    let signed = sign(&key, &statement(), Some(&proof), None).unwrap();
    let check = |signed: &Signed| verify(signed, text.as_bytes(), &key.public_key());
    assert_eq!(check(&signed), Ok(()));
    let json = serde_json::to_string(&signed).unwrap();
    assert_eq!(check(&serde_json::from_str(&json).unwrap()), Ok(()), "what is recorded is enough");

    for other in others() {
        let refused = sign(&key, &other, Some(&proof), None).unwrap_err();
        let because = if other.how == How::Passkey { Wrong::Passkey(passkey::Wrong::Challenge) } else { Wrong::How };
        assert_eq!(refused, because);
        // Somebody who holds the folder's key cannot make it one for another statement.
        let text = other.text();
        let signature = STANDARD.encode(key.sign(text.as_bytes()).unwrap());
        let (how, at) = (other.how.clone(), other.at);
        let forged = Signed { statement: other.digest(), signature, how, at, ..signed.clone() };
        assert_eq!(verify(&forged, text.as_bytes(), &key.public_key()), Err(because));
    }
    // Having signed in with a passkey is not enough.
    assert_eq!(sign(&key, &statement(), None, None), Err(Wrong::How));
    assert_eq!(check(&Signed { passkey: None, ..signed.clone() }), Err(Wrong::How), "it cannot be left out");
    let another = authenticator.prove(&party(), b"something else").record();
    let changed = Signed { passkey: Some(another), ..signed };
    assert_eq!(check(&changed), Err(Wrong::Passkey(passkey::Wrong::Challenge)), "nor changed");
}

proptest! {
    #[test]
    fn every_reason_and_time_is_read_back(why: String, at: i64, hold: u64, yes: bool) {
        let said = Statement { why, at: Millis(at), hold: HoldId(hold), yes, ..statement() };
        prop_assert_eq!(Statement::parse(said.text().as_bytes()), Ok(said));
    }

    /// No bytes but the statement's own are taken for it
    #[test]
    fn a_changed_text_is_not_verified(at in 0usize..200, to: u8) {
        let key = SigningKey::make().unwrap();
        let said = Statement { how: How::Link, ..statement() };
        let signed = sign(&key, &said, None, None).unwrap();
        let mut text = said.text().into_bytes();
        let at = at % text.len();
        prop_assume!(text[at] != to);
        text[at] = to;
        prop_assert!(verify(&signed, &text, &key.public_key()).is_err());
    }
}
