mod maker;

use super::*;
use crate::{
    base64url,
    jose::{
        Audience,
        tests::{AUDIENCE, NOW, Row, Signer, merged, refused},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use maker::{Authority, Cert, Pair};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::sync::LazyLock;

const ID: &str = "spiffe://example.org/bot";

fn domain(name: &str) -> TrustDomain {
    name.parse().unwrap()
}

struct World {
    root: Authority,
    signer: Signer,
    bundles: Bundles,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let root = Authority::root("root");
    let (signer, other) = (Signer::p256(), Authority::root("other"));
    let key = signer.with(json!({"kid": "k", "use": "jwt-svid"}));
    let ed = Signer::ed().with(json!({"kid": "for something else", "use": "sig"}));
    let certificate = json!({"kty": "EC", "use": "x509-svid", "x5c": [STANDARD.encode(&root.der), "ignored"]});
    let unknown = json!({"kty": "EC", "use": "wit-svid", "x5c": ["?"]});
    let bare = json!({"kty": "EC", "use": "x509-svid"});
    let keys = [key, ed, certificate, unknown, bare];
    let document = json!({"keys": keys, "spiffe_sequence": 7, "spiffe_refresh_hint": 300}).to_string();
    let bundle = Bundle::read(domain("example.org"), document.as_bytes()).unwrap();
    assert_eq!((bundle.sequence(), bundle.refresh().map(|hint| hint.as_secs())), (Some(7), Some(300)));
    assert_eq!(bundle.keys().thumbprints().count(), 1);
    let foreign = Bundle::new(domain("foreign.example")).with_roots(&other.der).unwrap();
    let over = Authority::of("over", Cert { until: "261231000000Z", ..Cert::authority() });
    let bundles = [
        bundle,
        foreign,
        Bundle::new(domain("empty.example")),
        Bundle::new(domain("over.example")).with_roots(&over.der).unwrap(),
    ];
    World { root, signer, bundles: bundles.into_iter().collect() }
});

fn token(header: Json, claims: Json) -> Result<Svid, Invalid> {
    let seconds = NOW.0 / 1000;
    let header = merged(json!({"alg": "ES256", "kid": "k", "typ": "JWT"}), header);
    let claims = merged(json!({"sub": ID, "aud": [AUDIENCE], "iat": seconds, "exp": seconds + 300}), claims);
    jwt(&WORLD.signer.token(&header, &claims), &WORLD.bundles, Audience::Among(AUDIENCE), NOW)
}

fn shown(cert: Cert<'_>) -> Result<Svid, Invalid> {
    x509(&[WORLD.root.sign(&Pair::new(), &cert)], &WORLD.bundles, NOW)
}

/// By a server that has to be this workload
fn served(id: &str, cert: Cert<'_>) -> Result<Svid, Invalid> {
    server(&[WORLD.root.sign(&Pair::new(), &cert)], &id.parse().unwrap(), &WORLD.bundles, NOW)
}

/// Through one in between, which is made so
fn through(between: Cert<'_>, leaf: Cert<'_>) -> Result<Svid, Invalid> {
    let below = WORLD.root.below("between", &between);
    x509(&[below.sign(&Pair::new(), &leaf), below.der], &WORLD.bundles, NOW)
}

#[test]
fn good_documents_show_who_it_is() {
    let found = token(json!({}), json!({})).unwrap();
    assert_eq!((found.id.as_str(), found.until), (ID, NOW.plus(300_000)));
    assert_eq!(found.thumbprint, *WORLD.signer.key().thumbprint());
    assert!(token(json!({"typ": "JOSE"}), json!({"aud": AUDIENCE, "jti": "x", "iat": null})).is_ok());
    assert!(token(json!({"typ": null}), json!({"sub": format!("{ID}/{}", "a".repeat(1000))})).is_ok());

    let pair = Pair::new();
    let leaf = WORLD.root.sign(&pair, &Cert::leaf(ID));
    let found = x509(&[&leaf], &WORLD.bundles, NOW).unwrap();
    assert_eq!((found.id.as_str(), found.serial.as_deref()), (ID, Some("07")));
    assert_eq!(found.until.rfc3339(), "2028-01-01T00:00:00.000Z");
    assert_eq!(found.thumbprint, Thumbprint::of_certificate(&leaf));
    for (between, good) in [
        (vec![], true),
        (vec!["spiffe://example.org"], true),
        (vec!["spiffe://example.org/"], true),
        (vec!["spiffe://example.org/ca"], false),
        (vec!["spiffe://foreign.example"], false),
        (vec!["spiffe://example.org", "spiffe://example.org"], false),
        (vec!["https://example.org"], false),
    ] {
        let found = through(Cert { uris: between.clone(), ..Cert::authority() }, Cert::leaf(ID));
        assert_eq!(found.map(drop), if good { Ok(()) } else { Err(Invalid::Between) }, "{between:?}");
    }
    let sooner = Cert { until: "270601000000Z", ..Cert::authority() };
    assert_eq!(
        through(sooner, Cert::leaf(ID)).map(|found| found.until.rfc3339()),
        Ok("2027-06-01T00:00:00.000Z".into())
    );
    // What else may be there: other names, other uses, no purposes at all.
    assert!(shown(Cert { dns: Some("bot.example.org"), ..Cert::leaf(ID) }).is_ok());
    assert!(shown(Cert { usage: Some((true, 0x80 | 0x20 | 0x08)), ..Cert::leaf(ID) }).is_ok());
    assert!(shown(Cert { purposes: None, ..Cert::leaf(ID) }).is_ok());
    assert!(shown(Cert { authority: Some(false), ..Cert::leaf(ID) }).is_ok());
    // A server is who it has to be, whatever else it is called.
    assert_eq!(served(ID, Cert::leaf(ID)).unwrap().id.as_str(), ID);
    assert!(served(ID, Cert { purposes: Some(vec![1]), dns: Some("a.example"), ..Cert::leaf(ID) }).is_ok());
}

#[test]
fn a_certificate_is_good_within_its_time() {
    let from = Millis(1_798_761_600_000);
    let leaf = WORLD.root.sign(&Pair::new(), &Cert { until: "270101010000Z", ..Cert::leaf(ID) });
    let at = |now: Millis| x509(&[&leaf], &WORLD.bundles, now).map(drop);
    assert_eq!(from.rfc3339(), "2027-01-01T00:00:00.000Z");
    assert_eq!(at(from), Ok(()));
    assert_eq!(at(from.plus(3_600_000)), Ok(()));
    assert_eq!(at(from.plus(3_601_000)), Err(Invalid::Expired));
    // The root's time ends and begins with it.
    assert_eq!(at(from.plus(-1)), Err(Invalid::BundleExpired));
}

/// Made by OpenSSL, and read by it as we read it
#[test]
fn a_chain_made_by_others_is_read() {
    let [root, leaf] = [include_str!("tests/root.txt"), include_str!("tests/leaf.txt")]
        .map(|text| STANDARD.decode(text.split_whitespace().collect::<String>()).unwrap());
    let bundle = Bundle::new(domain("example.org")).with_roots(&root).unwrap();
    let bundles: Bundles = [bundle].into_iter().collect();
    let found = x509(&[&leaf], &bundles, NOW).unwrap();
    assert_eq!(found.id.as_str(), "spiffe://example.org/made/by/openssl");
    assert_eq!(x509(&[&root], &bundles, NOW).map(drop), Err(Invalid::NoUri));
    assert_eq!(x509(&[&leaf], &WORLD.bundles, NOW).map(drop), Err(Invalid::Path));
}

#[test]
fn bundles_have_only_authorities_and_are_put_and_withdrawn() {
    let leaf = WORLD.root.sign(&Pair::new(), &Cert::leaf(ID));
    let empty = || Bundle::new(domain("example.org"));
    assert_eq!(empty().with_roots(&leaf), Err(NotABundle::Certificate));
    assert_eq!(empty().with_roots(&WORLD.root.der[1..]), Err(NotABundle::Certificate));
    assert_eq!(empty().with_roots(&WORLD.root.der.repeat(65)), Err(NotABundle::TooMany));
    assert!(empty().with_roots(&WORLD.root.der.repeat(2)).is_ok());
    let bad = json!({"keys": [{"kty": "EC", "use": "x509-svid", "x5c": ["%"]}]}).to_string();
    assert_eq!(Bundle::read(domain("example.org"), bad.as_bytes()), Err(NotABundle::Certificate));
    assert!(Bundle::read(domain("example.org"), b"{}").is_err());
    let mut bundles = WORLD.bundles.clone();
    bundles.withdraw(&domain("example.org"));
    let chain = [leaf];
    assert_eq!(x509(&chain, &bundles, NOW).map(drop), Err(Invalid::Domain));
    bundles.put(empty().with_roots(&WORLD.root.der).unwrap());
    assert!(x509(&chain, &bundles, NOW).is_ok());
    // The keys of the Workload API come without a use.
    let keys = json!({"keys": [WORLD.signer.with(json!({"kid": "k"}))]}).to_string();
    assert!(!empty().with_keys(keys.as_bytes()).unwrap().keys().is_empty());
    assert_eq!(bundles.iter().count(), 4);
}

pub(crate) fn rows() -> Vec<Row> {
    let seconds = NOW.0 / 1000;
    let no = Invalid::Token;
    let jwt = vec![
        ("JWT: `alg` is `EdDSA`, which JWT-SVIDs do not have", no(NotGood::AlgorithmNotAllowed), {
            let (ed, claims) = (Signer::ed(), json!({"sub": ID, "aud": AUDIENCE, "exp": seconds + 1}));
            let token = ed.token(&json!({"alg": "EdDSA", "kid": "k"}), &claims);
            jwt(&token, &WORLD.bundles, Audience::Among(AUDIENCE), NOW)
        }),
        (
            "JWT: a member of the header other than `alg`, `kid` and `typ`",
            no(NotGood::HeaderMember),
            token(json!({"x5t": "a"}), json!({})),
        ),
        ("JWT: no `kid`", no(NotGood::KeyUnnamed), token(json!({"kid": null}), json!({}))),
        ("JWT: a `typ` other than `JWT` and `JOSE`", no(NotGood::Type), token(json!({"typ": "at+jwt"}), json!({}))),
        (
            "JWT: a key of the bundle that is for something else",
            no(NotGood::KeyUnknown),
            token(json!({"kid": "for something else"}), json!({})),
        ),
        ("JWT: no `aud`", no(NotGood::AudienceMissing), token(json!({}), json!({"aud": null}))),
        ("JWT: another `aud`", no(NotGood::AudienceWrong), token(json!({}), json!({"aud": ["other"]}))),
        ("JWT: no `exp`", no(NotGood::ExpiryMissing), token(json!({}), json!({"exp": null}))),
        ("JWT: lives for more than an hour", no(NotGood::Lifetime), token(json!({}), json!({"exp": seconds + 3601}))),
        ("JWT: no `sub`", no(NotGood::SubjectMissing), token(json!({}), json!({"sub": null}))),
        (
            "JWT: a `sub` that is no SPIFFE ID, or without a path",
            Invalid::Id,
            token(json!({}), json!({"sub": "spiffe://example.org"})),
        ),
        (
            "JWT: a trust domain that is not trusted",
            Invalid::Domain,
            token(json!({}), json!({"sub": "spiffe://evil.example/bot"})),
        ),
        (
            "JWT: signed by one trust domain about another",
            Invalid::BundleEmpty,
            token(json!({}), json!({"sub": "spiffe://foreign.example/bot"})),
        ),
    ];
    let leaf = || Cert::leaf(ID);
    let chain = |chain: &[&[u8]]| x509(chain, &WORLD.bundles, NOW);
    let good = WORLD.root.sign(&Pair::new(), &leaf());
    let forged = {
        let mut forged = good.clone();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        forged
    };
    let own = Authority::root("root");
    let x509 = vec![
        ("X.509: no certificate", Invalid::ChainEmpty, chain(&[])),
        ("X.509: more than 8 certificates", Invalid::ChainTooLong, chain(&[good.as_slice(); 9])),
        ("X.509: something that is no certificate", Invalid::Certificate, chain(&[b"0\x03\x02\x01\x00"])),
        ("X.509: bytes behind the certificate", Invalid::Certificate, chain(&[&[good.as_slice(), &[0]].concat()])),
        ("X.509: no URI", Invalid::NoUri, shown(Cert { uris: vec![], ..leaf() })),
        ("X.509: two URIs", Invalid::ManyUris, shown(Cert { uris: vec![ID, "spiffe://example.org/admin"], ..leaf() })),
        (
            "X.509: two URIs, of which one is no SPIFFE ID",
            Invalid::ManyUris,
            shown(Cert { uris: vec!["https://a.example", ID], ..leaf() }),
        ),
        (
            "X.509: a URI that is no SPIFFE ID",
            Invalid::Id,
            shown(Cert { uris: vec!["https://example.org/bot"], ..leaf() }),
        ),
        (
            "X.509: a SPIFFE ID without a path",
            Invalid::Id,
            shown(Cert { uris: vec!["spiffe://example.org"], ..leaf() }),
        ),
        (
            "X.509: a SPIFFE ID in other letters",
            Invalid::Id,
            shown(Cert { uris: vec!["spiffe://Example.org/bot"], ..leaf() }),
        ),
        (
            "X.509: an authority's certificate",
            Invalid::IsAuthority,
            shown(Cert { uris: vec![ID], ..Cert::authority() }),
        ),
        ("X.509: no key usage", Invalid::UsageMissing, shown(Cert { usage: None, ..leaf() })),
        (
            "X.509: a key usage that is not critical",
            Invalid::UsageMissing,
            shown(Cert { usage: Some((false, 0x80)), ..leaf() }),
        ),
        (
            "X.509: a key usage without `digitalSignature`",
            Invalid::Usage,
            shown(Cert { usage: Some((true, 0x20)), ..leaf() }),
        ),
        ("X.509: a key usage with `keyCertSign`", Invalid::Usage, shown(Cert { usage: Some((true, 0x84)), ..leaf() })),
        ("X.509: a key usage with `cRLSign`", Invalid::Usage, shown(Cert { usage: Some((true, 0x82)), ..leaf() })),
        (
            "X.509: for servers only (extended key usage)",
            Invalid::Purpose,
            shown(Cert { purposes: Some(vec![1]), ..leaf() }),
        ),
        (
            "X.509: for clients only, shown by a server",
            Invalid::Purpose,
            served(ID, Cert { purposes: Some(vec![2]), ..leaf() }),
        ),
        (
            "X.509: of another workload than the server that has to be there",
            Invalid::Other,
            served("spiffe://example.org/shop", leaf()),
        ),
        ("X.509: an extension twice", Invalid::Certificate, shown(Cert { twice: true, ..leaf() })),
        ("X.509: a critical extension that nobody knows", Invalid::Chain, shown(Cert { unknown: true, ..leaf() })),
        ("X.509: a trust domain that is not trusted", Invalid::Domain, shown(Cert::leaf("spiffe://evil.example/bot"))),
        (
            "X.509: vouched for by one trust domain about another",
            Invalid::Path,
            shown(Cert::leaf("spiffe://foreign.example/bot")),
        ),
        (
            "X.509: a trust domain without certificates",
            Invalid::BundleEmpty,
            shown(Cert::leaf("spiffe://empty.example/bot")),
        ),
        (
            "X.509: a bundle whose certificates are over",
            Invalid::BundleExpired,
            shown(Cert::leaf("spiffe://over.example/bot")),
        ),
        ("X.509: vouched for by nobody", Invalid::Path, chain(&[&Authority::root("evil").sign(&Pair::new(), &leaf())])),
        ("X.509: an authority of its own beside it", Invalid::Path, {
            let evil = Authority::root("evil");
            chain(&[&evil.sign(&Pair::new(), &leaf()), &evil.der])
        }),
        (
            "X.509: an authority that has only the name of ours",
            Invalid::Signature,
            chain(&[&own.sign(&Pair::new(), &leaf())]),
        ),
        ("X.509: a changed signature", Invalid::Signature, chain(&[&forged])),
        ("X.509: over", Invalid::Expired, shown(Cert { until: "270102000000Z", ..leaf() })),
        ("X.509: not yet", Invalid::NotYet, shown(Cert { from: "270601000000Z", ..leaf() })),
        ("X.509: through another workload's certificate", Invalid::Between, through(leaf(), leaf())),
        (
            "X.509: through an authority without `keyCertSign`",
            Invalid::Between,
            through(Cert { usage: Some((true, 0x80)), ..Cert::authority() }, leaf()),
        ),
        (
            "X.509: through an authority with a workload's SPIFFE ID",
            Invalid::Between,
            through(Cert { uris: vec![ID], ..Cert::authority() }, leaf()),
        ),
        (
            "X.509: through an authority of another trust domain",
            Invalid::Between,
            through(Cert { uris: vec!["spiffe://foreign.example"], ..Cert::authority() }, leaf()),
        ),
        (
            "X.509: through an authority that is over",
            Invalid::Expired,
            through(Cert { until: "270102000000Z", ..Cert::authority() }, leaf()),
        ),
        ("X.509: through more authorities than one of them allows", Invalid::Chain, {
            let below = WORLD.root.below("a", &Cert { depth: Some(0), ..Cert::authority() });
            let deeper = below.below("b", &Cert::authority());
            chain(&[&deeper.sign(&Pair::new(), &leaf()), &deeper.der, &below.der])
        }),
    ];
    refused(jwt.into_iter().chain(x509).collect(), Invalid::word)
}

#[test]
fn every_refusal_has_its_word() {
    let rows = rows();
    for one in Invalid::ALL {
        assert!(rows.iter().any(|row| row.word == one.word()), "nothing shows {}", one.word());
    }
    assert!(base64url::decode("").is_some());
}

proptest! {
    #[test]
    fn one_changed_byte_is_one_too_many(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let good = WORLD.root.sign(&Pair::new(), &Cert::leaf(ID));
        let mut changed = good.clone();
        let at = at.index(changed.len());
        changed[at] = byte;
        let found = x509(&[&changed], &WORLD.bundles, NOW);
        prop_assert_eq!(found.is_ok(), changed == good, "byte {} of {}", at, good.len());
    }

    #[test]
    fn no_bytes_make_it_stumble(bytes in any::<Vec<u8>>(), text in ".{0,200}") {
        let _ = x509(&[&bytes, &WORLD.root.der], &WORLD.bundles, NOW);
        let _ = jwt(&text, &WORLD.bundles, Audience::Among(AUDIENCE), NOW);
        let _ = Bundle::read(domain("example.org"), &bytes);
        let _ = Bundle::new(domain("example.org")).with_roots(&bytes);
        let _ = text.parse::<SpiffeId>();
    }
}
