//! Test vectors of the specification (16).
//!
//! Their values follow from a rule, by which they are made anew here; the digests are those of the texts that the
//! specification prints. ECDSA signatures are left out of this: ours are random, its are not.

use super::super::authenticator::{Authenticator, Key, derived};
use super::super::{RelyingParty, Wrong, cose::PublicKey};
use crate::key::SigningKey;
use portreeve_core::hash::Hash;

const LATER: &str = "clientDataJSON may be extended with additional fields in the future, such as this: ";
const FRAME: &str = r#","crossOrigin":false"#;

fn party() -> RelyingParty {
    RelyingParty::of_origin("https://example.org").unwrap()
}

fn vector(key: Key, aaguid: [u8; 16], id: &[u8]) -> Authenticator {
    Authenticator { aaguid, id: id.to_vec(), ..Authenticator::new(key, &party()) }
}

fn assert_digest(bytes: &[u8], digest: &str) {
    assert_eq!(Hash::of(bytes).to_string(), digest);
}

/// 16, "ES256 Credential with No Attestation": nobody was verified, which we ask for
#[test]
fn none_es256() {
    let name = "none.ES256";
    let key = Key::es256(&derived::<32>(name, 1));
    let mut it = vector(key, derived(name, 4), &derived::<32>(name, 5));
    it.flags = 0x19;
    it.more = format!(r#"{FRAME},"extraData":"{LATER}{}""#, crate::base64url::encode(&derived::<16>(name, 3)));
    let challenge = derived::<32>(name, 0);
    let made = it.create(&challenge);
    assert_digest(&made.client_data, "090d1e7dfd42dcc631e7a4f02070fe3be8a0019a480153e0603d0b7cebc17d98");
    assert_digest(&made.attestation_object, "c0aa49c57f59765c9f47e6000c04dfe66547a3bd2a6e003a82e336a6e569cb7f");
    assert_eq!(made.verify(&party(), &challenge), Err(Wrong::NotVerified));

    it.more = FRAME.to_owned();
    let challenge = derived::<32>(name, 7);
    let proof = it.prove(&party(), &challenge);
    assert_digest(&proof.client_data, "676a6e380fd31ea5710705c7be1ac4889b037895d0a25291f51251b7d7b1df02");
    assert_digest(&proof.authenticator_data, "2fa3688ce26520481b38f218e1289f8db04f2726fa5d0007a8b2db6c66b4eeab");
    assert_eq!(proof.verify(&challenge), Err(Wrong::NotVerified));
}

/// 16, "ES256 Credential with very long credential ID"
#[test]
fn none_es256_long_credential_id() {
    let name = "none.ES256.long-credential-id";
    let key = Key::es256(&derived::<32>(name, 1));
    let mut it = vector(key, derived(name, 3), &derived::<1023>(name, 4));
    it.flags = 0x09;
    let challenge = derived::<32>(name, 0);
    let made = it.create(&challenge);
    assert_digest(&made.client_data, "aed6ca40d39066d79556a637e5b255e26650175fcd084b4a228fa4504d0e81b4");
    assert_digest(&made.attestation_object, "c70087bde55d1a8207667876cfe14924d9caf8f522a9db4c7493ea9f3b5e4e5b");
    assert_eq!(made.verify(&party(), &challenge), Err(Wrong::NotVerified));

    it.flags = 0x0d;
    let challenge = derived::<32>(name, 6);
    let proof = it.prove(&party(), &challenge);
    assert_digest(&proof.client_data, "29330151c4baa26d2f6eff75dfae3f1e3dbcab8948f03e6c96226f0216d8cfbd");
    assert_digest(&proof.authenticator_data, "9be5db22cd8c08f6307b8e68b41cb0c89f68fc49062b60caf80a4d3fab018d9c");
    assert_eq!(proof.verify(&challenge), Ok(()));
    // The same with a registration of somebody who was verified, and one byte too long.
    let challenge = derived::<32>(name, 0);
    assert_eq!(it.create(&challenge).verify(&party(), &challenge).unwrap().credential, it.id);
    it.id.push(0);
    assert_eq!(it.create(&challenge).verify(&party(), &challenge), Err(Wrong::Form("authenticator data")));
}

/// 16, "Packed Attestation with Ed25519 Credential": the assertion, of which also the signature follows from the rule
#[test]
fn eddsa() {
    let name = "packed.EdDSA";
    let key = Key::EdDsa(SigningKey::from_seed(&derived::<32>(name, 1)).unwrap());
    let mut it = vector(key, derived(name, 4), &derived::<32>(name, 5));
    it.flags = 0x01;
    let challenge = derived::<32>(name, 9);
    let proof = it.prove(&party(), &challenge);
    assert_digest(&proof.client_data, "4add3082a15ab4595b58820e913a01c0b5a0651b27ab54f8ce87959fb5a4ccfc");
    assert_digest(&proof.authenticator_data, "29880f3e538e63c86450da5c02f32faf4f228af1f5d4755898f44c7da318b1f6");
    assert_digest(&proof.signature, "63cdbd608d9eae1bcbff5a3fcb2e1472a2807b7f5d1a01d6385860c603ed3e96");
    let signed = [proof.authenticator_data.as_slice(), &Hash::of(&proof.client_data).0].concat();
    assert_eq!(PublicKey::parse(&proof.public_key).unwrap().verify(&signed, &proof.signature), Ok(()));
    assert_eq!(proof.verify(&challenge), Err(Wrong::NotVerified));
}
