//! What the authority signs is held against the same checks as everybody else's.

use super::*;
use crate::{jose::Audience, svid};

const NOW: Millis = Millis(1_800_000_000_000);

fn authority() -> Authority {
    let key = || fresh_key().unwrap();
    Authority::new("example.org".parse().unwrap(), &key(), &key(), NOW).unwrap()
}

#[test]
fn what_it_signs_is_good_for_its_own_trust_domain_until_it_ends() {
    let (ours, theirs) = (authority(), authority());
    let id: SpiffeId = "spiffe://example.org/bot".parse().unwrap();
    let until = NOW.plus(60_000);
    let audience = ["http://127.0.0.1:7420".to_owned()];
    let token = ours.jwt(&id, &audience, "1", NOW, until).unwrap();
    let read = |by: &Authority, now: Millis| {
        svid::jwt(&token, &by.bundles().unwrap(), Audience::Only(&audience[0]), now).map(|svid| svid.id)
    };
    assert_eq!(read(&ours, NOW).unwrap(), id);
    assert!(read(&ours, until).is_err() && read(&theirs, NOW).is_err());

    let one = ours.x509(&id, NOW, until).unwrap();
    let read = |by: &Authority, now: Millis| {
        let chain = [rustls_pki_types::CertificateDer::from(one.certificate.clone())];
        svid::x509(&chain, &by.bundles().unwrap(), now).map(|svid| svid.id)
    };
    assert_eq!(read(&ours, NOW).unwrap(), id);
    assert!(read(&ours, until.plus(1_000)).is_err() && read(&theirs, NOW).is_err());
    let two = ours.x509(&id, NOW, until).unwrap();
    assert!(one.serial != two.serial && one.key != two.key, "each has a key of its own");
}

#[test]
fn after_a_restart_the_same_keys_vouch_for_what_was_signed_before() {
    let (certificates, tokens) = (fresh_key().unwrap(), fresh_key().unwrap());
    let at = |now: Millis| Authority::new("example.org".parse().unwrap(), &certificates, &tokens, now).unwrap();
    let (before, after) = (at(NOW), at(NOW.plus(30_000)));
    let id: SpiffeId = "spiffe://example.org/bot".parse().unwrap();
    let one = before.x509(&id, NOW, NOW.plus(60_000)).unwrap();
    let chain = [rustls_pki_types::CertificateDer::from(one.certificate.clone())];
    assert_eq!(svid::x509(&chain, &after.bundles().unwrap(), NOW.plus(40_000)).unwrap().id, id);
    assert_eq!(before.keys(), after.keys());
    // Another trust domain's name with the same keys is another trust domain.
    let other = Authority::new("other.org".parse().unwrap(), &certificates, &tokens, NOW).unwrap();
    assert!(svid::x509(&chain, &other.bundles().unwrap(), NOW).is_err());
}
