//! Keys of NATS, as the library `nkeys` writes them: a byte that says whose it is, the key, and a checksum, in base32.

use crate::secret::Secret;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

/// Whose a key is
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// An operator
    Operator,
    /// An account
    Account,
    /// A user
    User,
}

/// A key pair
#[derive(Debug)]
pub struct Key {
    /// Whose it is
    pub holder: Holder,
    pair: Ed25519KeyPair,
}

/// The byte before seeds
const SEED: u8 = 18 << 3;
/// Bytes of a key and of a seed
const KEY_BYTES: usize = 32;

impl Holder {
    const ALL: [Self; 3] = [Self::Operator, Self::Account, Self::User];

    fn byte(self) -> u8 {
        match self {
            Self::Operator => 14 << 3,
            Self::Account => 0,
            Self::User => 20 << 3,
        }
    }
}

impl Key {
    /// A new key, and its seed; nothing if the system has no randomness
    #[must_use]
    pub fn make(holder: Holder) -> Option<(Self, Secret)> {
        let mut seed = Zeroizing::new([0_u8; KEY_BYTES]);
        getrandom::fill(seed.as_mut()).ok()?;
        let key = Self { holder, pair: Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).ok()? };
        let head = [SEED | (holder.byte() >> 5), (holder.byte() & 31) << 3];
        let text = Zeroizing::new(with_checksum(&Zeroizing::new([head.as_slice(), seed.as_ref()].concat())));
        Some((key, Secret::new(BASE32_NOPAD.encode(&text))))
    }

    /// The key of a seed
    #[must_use]
    pub fn read(seed: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE32_NOPAD.decode(seed.as_bytes()).ok()?);
        let (first, second, seed) = match checked(&bytes)? {
            [first, second, seed @ ..] => (*first, *second, seed),
            _ => return None,
        };
        let byte = ((first & 7) << 5) | (second >> 3);
        let holder = Holder::ALL.into_iter().find(|holder| holder.byte() == byte)?;
        let good = first & !7 == SEED && seed.len() == KEY_BYTES;
        let pair = good.then(|| Ed25519KeyPair::from_seed_unchecked(seed).ok())??;
        Some(Self { holder, pair })
    }

    /// Its public part
    #[must_use]
    pub fn public(&self) -> String {
        BASE32_NOPAD.encode(&with_checksum(&[&[self.holder.byte()], self.pair.public_key().as_ref()].concat()))
    }

    /// Its signature of a message
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

fn with_checksum(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc16(bytes).to_le_bytes()].concat()
}

fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (bytes, sum) = bytes.split_last_chunk::<2>()?;
    (crc16(bytes).to_le_bytes() == *sum).then_some(bytes)
}

/// CRC-16 with the polynomial 0x1021, from zero
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        let sum = sum ^ (u16::from(*byte) << 8);
        (0..8).fold(sum, |sum, _| if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_read_as_it_was_written_and_one_letter_off_is_none() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (holder, seed, public) in
            [(Holder::Operator, "SO", "O"), (Holder::Account, "SA", "A"), (Holder::User, "SU", "U")]
        {
            let (key, text) = Key::make(holder).unwrap();
            assert!(text.expose().starts_with(seed) && key.public().starts_with(public), "{}", key.public());
            let read = Key::read(text.expose()).unwrap();
            assert_eq!((read.holder, read.public()), (holder, key.public()));
            let mut off = text.expose().to_owned();
            let last = if off.pop() == Some('A') { 'B' } else { 'A' };
            off.push(last);
            assert!(Key::read(&off).is_none(), "{off}");
        }
        // The one that NATS's own documentation shows.
        let shown = Key::read("SUAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFLM").unwrap();
        assert_eq!(shown.holder, Holder::User);
        for bad in ["", "SU", "hunter2", "SUAIO3FHUX5PNV2LQIIP7TZ3N4L7TX3W53MQGEIVYFIGA635OZCKEYHFLMx"] {
            assert!(Key::read(bad).is_none(), "{bad}");
        }
    }
}
