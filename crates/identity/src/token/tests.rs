use super::*;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

const NOW: Millis = Millis(1_800_000_000_000);
const HERE: &str = "http://127.0.0.1:1/mcp/shop";

fn subject() -> Subject {
    Subject {
        run: RunId(7),
        task: TaskId(8),
        purpose: "refund-order".parse().unwrap(),
        agent: "support-bot".parse().unwrap(),
        user: None,
        audience: [HERE.to_owned()].into(),
    }
}

fn issuer(name: &str, key: &SigningKey) -> Issuer {
    Issuer::new(name.to_owned(), key)
}

fn with_part(token: &str, index: usize, change: impl Fn(&str) -> String) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(&parts[index]).unwrap()).unwrap();
    parts[index] = URL_SAFE_NO_PAD.encode(change(&text));
    parts.join(".")
}

#[test]
fn a_token_names_its_run_at_its_endpoint_in_its_time() {
    let issuer = issuer("us", &SigningKey::make().unwrap());
    let token = issuer.mint(&subject(), "j1".into(), NOW).unwrap();
    assert!(token.expires.since(NOW) <= LIFETIME_MS);
    for _ in 0..2 {
        assert_eq!(issuer.check(&token.text, HERE, NOW).map(|good| good.run), Ok(RunId(7)));
        assert_eq!(issuer.check(&token.text, "http://127.0.0.1:1/mcp/mail", NOW), Err(Invalid::Audience));
        assert_eq!(issuer.check(&token.text, HERE, token.expires), Err(Invalid::Time), "also from the cache");
        assert_eq!(issuer.check(&token.text, HERE, NOW.plus(-60_000)), Err(Invalid::Time));
    }
}

#[test]
fn what_was_changed_or_comes_from_elsewhere_is_refused() {
    let key = SigningKey::make().unwrap();
    let ours = issuer("us", &key);
    let good = ours.mint(&subject(), "j1".into(), NOW).unwrap().text;
    let check = |token: &str| ours.check(token, HERE, NOW).map(|good| good.run);

    let other_key = issuer("us", &SigningKey::make().unwrap()).mint(&subject(), "j".into(), NOW).unwrap();
    assert_eq!(check(&other_key.text), Err(Invalid::Signature));
    let other_name = issuer("them", &key).mint(&subject(), "j".into(), NOW).unwrap();
    assert_eq!(check(&other_name.text), Err(Invalid::Issuer));
    assert_eq!(check(&with_part(&good, 1, |claims| claims.replace("shop", "mail"))), Err(Invalid::Signature));
    assert_eq!(check(&with_part(&good, 0, |header| header.replace("EdDSA", "HS256"))), Err(Invalid::Kind));
    assert!(check(&with_part(&good, 0, |header| header.replace("EdDSA", "none"))).is_err());
    assert_eq!(check(&with_part(&good, 0, |header| header.replace("at+jwt", "JWT"))), Err(Invalid::Signature));
    let unsigned: String = good.rsplit_once('.').map(|(head, _)| format!("{head}.")).unwrap();
    assert!(check(&unsigned).is_err());
    for bad in ["", "a.b.c", "....", &"a".repeat(5000), good.get(..good.len() - 2).unwrap()] {
        assert!(check(bad).is_err(), "{bad}");
    }
    assert_eq!(check(&good), Ok(RunId(7)));
}

#[test]
fn our_own_signature_on_another_type_or_a_long_life_is_not_enough() {
    let key = SigningKey::make().unwrap();
    let ours = issuer("us", &key);
    let sign = |typ: &str, exp: i64| {
        let claims = serde_json::json!({
            "iss": "us", "aud": [HERE], "sub": "a", "client_id": "a", "jti": "j", "iat": NOW.0 / 1000, "exp": exp,
            "run": RunId(7), "https://portreeve.dev/claims/task": { "id": TaskId(8), "purpose": "p" },
        });
        let header = Header { typ: Some(typ.to_owned()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(key.pkcs8())).unwrap()
    };
    let soon = NOW.0 / 1000 + 60;
    assert_eq!(ours.check(&sign("at+jwt", soon), HERE, NOW).map(|good| good.run), Ok(RunId(7)));
    assert_eq!(ours.check(&sign("JWT", soon), HERE, NOW), Err(Invalid::Kind));
    assert_eq!(ours.check(&sign("at+jwt", soon + 86_400), HERE, NOW), Err(Invalid::Time));
    assert_eq!(ours.check(&sign("at+jwt", i64::MAX), HERE, NOW), Err(Invalid::Time));
}

#[test]
fn a_bearer_header_is_read_one_way() {
    assert_eq!(bearer("Bearer abc.def"), Some("abc.def"));
    assert_eq!(bearer("bEaReR  abc"), Some("abc"));
    for bad in ["", "Bearer", "Bearer ", "Basic abc", "Bearer a b", "Bearer a,b", "Bearerabc"] {
        assert_eq!(bearer(bad), None, "{bad}");
    }
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let made = SigningKey::load_or_make(&path).unwrap();
    assert_eq!(SigningKey::load_or_make(&path).unwrap().public(), made.public());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(SigningKey::load_or_make(&path), Err(crate::key::Error::Open { mode: 0o640, .. })));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, b"nonsense").unwrap();
    assert!(matches!(SigningKey::load_or_make(&path), Err(crate::key::Error::Form { .. })));
}
