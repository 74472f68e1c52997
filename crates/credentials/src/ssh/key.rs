//! Keys: the authority's, as OpenSSH writes it, and those that are made for leases.

use super::wire::Wire;
use crate::secret::Secret;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use ssh_key::{
    LineEnding, PrivateKey,
    private::{EcdsaKeypair, Ed25519Keypair, Ed25519PrivateKey, KeypairData},
    public::Ed25519PublicKey,
};
use zeroize::Zeroizing;

/// A key that hosts believe
pub(super) struct Authority {
    key: Signs,
    /// Its public half, as it stands in certificates and lists
    pub(super) public: Vec<u8>,
}

enum Signs {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl Authority {
    /// Reads a private key; what is wrong with it, otherwise, without anything of it
    pub(super) fn read(text: &Secret) -> Result<Self, &'static str> {
        const FORM: &str = "is no private key as OpenSSH writes it";
        const HALVES: &str = "is a private key whose halves do not fit";
        // The vault keeps no line break at the end, which the form wants.
        let text = Zeroizing::new(format!("{}\n", text.expose().trim_end()));
        let read = PrivateKey::from_openssh(text.as_bytes()).map_err(|_| FORM)?;
        if read.is_encrypted() {
            return Err("has a passphrase, which nobody could type: take it off with `ssh-keygen -p`");
        }
        let key = match read.key_data() {
            KeypairData::Ed25519(pair) => {
                let seed = Zeroizing::new(pair.private.to_bytes());
                let pair = Ed25519KeyPair::from_seed_and_public_key(seed.as_ref(), pair.public.as_ref());
                Signs::Ed25519(pair.map_err(|_| HALVES)?)
            }
            KeypairData::Ecdsa(EcdsaKeypair::NistP256 { public, private }) => {
                let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let (private, public) = (private.as_slice(), public.as_bytes());
                let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, private, public);
                Signs::P256(pair.map_err(|_| HALVES)?)
            }
            _ => return Err("is a key of another kind than Ed25519 and ECDSA P-256"),
        };
        Ok(Self { key, public: read.public_key().to_bytes().map_err(|_| FORM)? })
    }

    /// A signature with the name of its kind (RFC 8709, 6; RFC 5656, 3.1.2); nothing if it cannot sign
    pub(super) fn sign(&self, what: &[u8]) -> Option<Vec<u8>> {
        let (kind, signature) = match &self.key {
            Signs::Ed25519(pair) => ("ssh-ed25519", pair.sign(what).as_ref().to_vec()),
            Signs::P256(pair) => {
                let both = pair.sign(&SystemRandom::new(), what).ok()?;
                let (r, s) = both.as_ref().split_at_checked(32)?;
                ("ecdsa-sha2-nistp256", Wire::default().long(r).long(s).bytes())
            }
        };
        Some(Wire::default().text(kind.as_bytes()).text(&signature).bytes())
    }
}

/// A key pair of a lease
pub(super) struct Fresh {
    /// The private half, as OpenSSH writes it
    pub(super) private: Secret,
    /// The public half: 32 bytes
    pub(super) public: [u8; 32],
}

impl Fresh {
    /// A new one with this comment; nothing if the system has no randomness
    pub(super) fn make(comment: &str) -> Option<Self> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        getrandom::fill(seed.as_mut()).ok()?;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).ok()?;
        let public: [u8; 32] = pair.public_key().as_ref().try_into().ok()?;
        let pair = Ed25519Keypair { public: Ed25519PublicKey(public), private: Ed25519PrivateKey::from_bytes(&seed) };
        let text = PrivateKey::new(KeypairData::Ed25519(pair), comment).ok()?.to_openssh(LineEnding::LF).ok()?;
        Some(Self { private: Secret::from(text.as_str()), public })
    }
}
