use super::*;
use crate::{
    jose::{ALGORITHMS, Audience, Claims, Jwk, Keys as Known, Want, verify},
    key::SigningKey,
    token::{Invalid, Issuer},
};
use std::time::Duration;

const NOW: Millis = Millis(1_800_000_000_500);
const US: &str = "https://portreeve.example";

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn minter() -> (Minter, Arc<Ring>) {
    let ring = Ring::of(SigningKey::make().unwrap());
    (Minter::new(US.to_owned(), vec!["http://127.0.0.1:7420".to_owned()], Arc::clone(&ring)), ring)
}

fn whom(agent: &str, above: &[&str], user: Option<&str>) -> Whom {
    let above = above.iter().map(|above| name(above)).collect();
    Whom { agent: Some(name(agent)), above, user: user.map(name), generation: 1, purpose: Some(name("refund")) }
}

fn says<'a>(audience: &'a str, whom: &'a Whom, narrowed: &'a BTreeMap<Name, String>) -> Says<'a> {
    let (task, id, until) = (TaskId(7), "ptr_00000000_0000000000000001", NOW.plus(60_000));
    let (client_id, resource) = (Some("portreeve"), None);
    Says { audience, whom, task, scope: "orders.read", narrowed, client_id, resource, id, until }
}

/// What somebody who has our public keys reads
fn read(ring: &Ring, token: &str, typ: &str, audience: &str, now: Millis) -> Result<Claims, crate::jose::Invalid> {
    let jwks = ring.keys().jwks(now);
    let keys = Known::of(jwks["keys"].as_array().unwrap().iter().map(|key| key.to_string().parse::<Jwk>().unwrap()));
    let want = Want {
        algorithms: ALGORITHMS,
        types: &[typ],
        issuer: Some(US),
        audience: Audience::Exactly(audience),
        lifetime_max: Duration::from_secs(300),
        skew: Duration::ZERO,
    };
    verify(token, &keys, &want, now)
}

#[test]
fn a_token_says_who_works_on_whose_behalf_and_for_whom_it_is_meant() {
    let (minter, ring) = minter();
    let narrowed = BTreeMap::from([(name("tenant"), "eu-42".to_owned())]);
    let shop = "https://shop.example";
    let all = [
        (Form::AccessToken, "at+jwt"),
        (Form::Transaction, "txntoken+jwt"),
        (Form::Assertion, "JWT"),
        (Form::IdJag, "oauth-id-jag+jwt"),
    ];
    let whom = whom("coder", &["planner"], Some("lea"));
    for (form, typ) in all {
        let minted = minter.mint(form, &says(shop, &whom, &narrowed), NOW).unwrap();
        let claims = read(&ring, &minted.text, typ, shop, NOW).unwrap();
        let text = |name: &str| claims.text(name).map(str::to_owned);
        assert_eq!((claims.sub(), claims.iss()), (Some("user:lea"), Some(US)));
        assert_eq!(claims.jti(), Ok("ptr_00000000_0000000000000001"));
        assert_eq!((text("txn"), text("scope")), (Some(TaskId(7).to_string()), Some("orders.read".to_owned())));
        let act: Value = serde_json::from_str(&claims.get("act").unwrap().canonical()).unwrap();
        assert_eq!(act, json!({ "sub": "coder", "act": { "sub": "planner" } }));
        let client = match form {
            Form::AccessToken => Some("coder"),
            Form::IdJag => Some("portreeve"),
            _ => None,
        };
        assert_eq!(claims.text("client_id"), client);
        if form == Form::Transaction {
            let tctx: Value = serde_json::from_str(&claims.get("tctx").unwrap().canonical()).unwrap();
            assert_eq!(tctx, json!({ "purpose": "refund", "tenant": "eu-42" }));
            assert_eq!(claims.text("req_wl"), Some(US));
        }
        assert_eq!(claims.exp().unwrap(), Some(minted.expires));
        assert!(minted.expires <= NOW.plus(60_000), "never longer than the lease");
        assert!(read(&ring, &minted.text, typ, "https://other.example", NOW).is_err());
        assert!(read(&ring, &minted.text, typ, shop, minted.expires).is_err());
        assert!(
            all.iter()
                .filter(|(_, other)| *other != typ)
                .all(|(_, other)| { read(&ring, &minted.text, other, shop, NOW) == Err(crate::jose::Invalid::Type) })
        );
    }
}

#[test]
fn who_works_on_its_own_is_the_subject_and_has_nobody_above() {
    let delegated = |above: &[&str], user| delegation(&whom("coder", above, user), "coder");
    assert_eq!(delegated(&[], None), ("coder".to_owned(), None));
    assert_eq!(delegated(&["planner"], None), ("planner".to_owned(), Some(json!({ "sub": "coder" }))));
    let three = json!({ "sub": "coder", "act": { "sub": "planner" } });
    assert_eq!(delegated(&["planner", "lead"], None), ("lead".to_owned(), Some(three)));
    assert_eq!(delegated(&[], Some("lea")), ("user:lea".to_owned(), Some(json!({ "sub": "coder" }))));
    assert_eq!(delegation(&Whom::default(), OURSELVES), (OURSELVES.to_owned(), None));
}

#[test]
fn none_is_for_ourselves_or_lives_for_long() {
    let (minter, ring) = minter();
    let (whom, narrowed) = (whom("coder", &[], None), BTreeMap::new());
    for ours in [US, "https://portreeve.example/mcp/shop", "http://127.0.0.1:7420/mcp/shop", "http://127.0.0.1:7420"] {
        let minted = minter.mint(Form::AccessToken, &says(ours, &whom, &narrowed), NOW);
        assert_eq!(minted.map(drop), Err(NotMinted::Ours), "{ours}");
    }
    // Not even where somebody calls us by another name: the key is none that tokens of runs are checked with.
    let elsewhere = "https://portreeve.example.com/mcp/shop";
    let minted = minter.mint(Form::AccessToken, &says(elsewhere, &whom, &narrowed), NOW).unwrap();
    let issuer = Issuer::new(US.to_owned(), Ring::of(SigningKey::make().unwrap()));
    assert_eq!(issuer.check(&minted.text, elsewhere, NOW).map(drop), Err(Invalid::Signature));
    // Nor with that key: what it says is another thing.
    assert_eq!(Issuer::new(US.to_owned(), ring).check(&minted.text, elsewhere, NOW).map(drop), Err(Invalid::Malformed));
    let until = |until| minter.mint(Form::AccessToken, &Says { until, ..says("https://a", &whom, &narrowed) }, NOW);
    assert_eq!(until(Millis(i64::MAX)).unwrap().expires, Millis(1_800_000_300_000));
    assert_eq!(until(NOW.plus(400)).map(drop), Err(NotMinted::Over));
}
