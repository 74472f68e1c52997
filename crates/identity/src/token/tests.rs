use super::*;
use crate::{
    key::SigningKey,
    keyring::{Keys, Ring, overlap_ms},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_core::event::KeyUse;
use proptest::prelude::*;

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
        binding: None,
        until: None,
    }
}

fn issuer(name: &str, key: &SigningKey) -> Issuer {
    let same = SigningKey::read(&key.kept().unwrap()).unwrap();
    Issuer::new(name.to_owned(), Ring::of(same))
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
fn a_token_says_what_it_is_bound_to_as_the_standards_do() {
    let issuer = issuer("us", &SigningKey::make().unwrap());
    let digest = Hash::of(b"what is held");
    let written = URL_SAFE_NO_PAD.encode(digest.0);
    for (binding, name) in [(Binding::Dpop(digest), "jkt"), (Binding::Certificate(digest), "x5t#S256")] {
        let token = issuer.mint(&Subject { binding: Some(binding), ..subject() }, "j1".into(), NOW).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(token.text.split('.').nth(1).unwrap()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["cnf"], serde_json::json!({ name: written }));
        assert_eq!(issuer.check(&token.text, HERE, NOW).map(|good| good.binding), Ok(Some(binding)));
    }
}

#[test]
fn a_token_ends_with_what_it_was_given_for() {
    let issuer = issuer("us", &SigningKey::make().unwrap());
    let until = NOW.plus(20_000);
    let token = issuer.mint(&Subject { until: Some(until), ..subject() }, "j1".into(), NOW).unwrap();
    assert_eq!((token.expires, token.lasts_s), (until, 20));
    assert_eq!(issuer.check(&token.text, HERE, until), Err(Invalid::Time));
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
    let sign = |typ: &str, kid: Option<String>, exp: i64| {
        let claims = serde_json::json!({
            "iss": "us", "aud": [HERE], "sub": "a", "client_id": "a", "jti": "j", "iat": NOW.0 / 1000, "exp": exp,
            "run": RunId(7), "https://portreeve.dev/claims/task": { "id": TaskId(8), "purpose": "p" },
        });
        let header =
            jsonwebtoken::Header { typ: Some(typ.to_owned()), kid, ..jsonwebtoken::Header::new(Algorithm::EdDSA) };
        let key = jsonwebtoken::EncodingKey::from_ed_der(&key.kept().unwrap());
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    };
    let soon = NOW.0 / 1000 + 60;
    let kid = || Some(key.public_key().thumbprint());
    let check = |token: &str| ours.check(token, HERE, NOW).map(|good| good.run);
    assert_eq!(check(&sign("at+jwt", kid(), soon)), Ok(RunId(7)));
    assert_eq!(check(&sign("JWT", kid(), soon)), Err(Invalid::Kind));
    assert_eq!(check(&sign("at+jwt", None, soon)), Err(Invalid::Kind), "which key it was is not guessed");
    assert_eq!(check(&sign("at+jwt", Some("../token.key".to_owned()), soon)), Err(Invalid::Signature));
    assert_eq!(check(&sign("at+jwt", kid(), soon + 86_400)), Err(Invalid::Time));
    assert_eq!(check(&sign("at+jwt", kid(), i64::MAX)), Err(Invalid::Time));
}

#[test]
fn a_bearer_header_is_read_one_way() {
    assert_eq!(bearer("Bearer abc.def"), Some("abc.def"));
    assert_eq!(bearer("bEaReR  abc"), Some("abc"));
    for bad in ["", "Bearer", "Bearer ", "Basic abc", "Bearer a b", "Bearer a,b", "Bearerabc"] {
        assert_eq!(bearer(bad), None, "{bad}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Mint,
    Rotate { now: bool },
    Wait(i64),
}

proptest! {
    /// Any interleaving: a token is good exactly while its key counts and its time lasts
    #[test]
    fn a_token_is_good_while_its_key_counts_and_its_time_lasts(
        steps in prop::collection::vec(prop_oneof![
            3 => Just(Step::Mint),
            2 => any::<bool>().prop_map(|now| Step::Rotate { now }),
            3 => (0..200_000i64).prop_map(Step::Wait),
        ], 1..24),
    ) {
        let ring = Ring::of(SigningKey::make().unwrap());
        let issuer = Issuer::new("us".to_owned(), Arc::clone(&ring));
        let mut now = NOW;
        // Tokens with the number of their key, and until when each key counts.
        let (mut tokens, mut until) = (Vec::new(), vec![Millis(i64::MAX)]);
        for step in steps {
            match step {
                Step::Mint => tokens.push((issuer.mint(&subject(), "j".into(), now).unwrap(), until.len() - 1)),
                Step::Rotate { now: at_once } => {
                    let end = if at_once { now } else { now.plus(overlap_ms(KeyUse::Token)) };
                    ring.turn(ring.keys().turned(SigningKey::make().unwrap().into(), end));
                    until.iter_mut().for_each(|until| *until = (*until).min(end));
                    until.push(Millis(i64::MAX));
                }
                Step::Wait(ms) => now = now.plus(ms),
            }
            for (token, key) in &tokens {
                let good = now < token.expires && now < until[*key];
                prop_assert_eq!(issuer.check(&token.text, HERE, now).is_ok(), good);
            }
            // What nobody asks for any more makes no difference.
            if now.0 % 2 == 0 {
                ring.turn(ring.keys().pruned(now));
            }
        }
    }
}

#[test]
fn a_token_names_its_key_and_an_ordinary_rotation_refuses_none() {
    let ring = Ring::of(SigningKey::make().unwrap());
    let issuer = Issuer::new("us".to_owned(), Arc::clone(&ring));
    let token = issuer.mint(&subject(), "j".into(), NOW).unwrap();
    let header = jsonwebtoken::decode_header(&token.text).unwrap();
    assert_eq!(header.kid.as_deref(), Some(ring.keys().name()));
    let last = token.expires.plus(-1);
    ring.turn(ring.keys().turned(SigningKey::make().unwrap().into(), NOW.plus(overlap_ms(KeyUse::Token))));
    assert_eq!(issuer.check(&token.text, HERE, last).map(|good| good.run), Ok(RunId(7)));
    // At once, and also from the cache.
    ring.turn(ring.keys().turned(SigningKey::make().unwrap().into(), NOW));
    assert_eq!(issuer.check(&token.text, HERE, NOW), Err(Invalid::Signature));
    // The next key is told beforehand, and signs nothing that is taken before.
    let next = SigningKey::make().unwrap();
    let early = Issuer::new("us".to_owned(), Ring::of(SigningKey::read(&next.kept().unwrap()).unwrap()));
    let early = early.mint(&subject(), "j".into(), NOW).unwrap();
    assert_eq!(issuer.check(&early.text, HERE, NOW), Err(Invalid::Signature));
    ring.turn(Keys::one(next));
    assert!(issuer.check(&early.text, HERE, NOW).is_ok());
}
