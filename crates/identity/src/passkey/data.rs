//! Authenticator data (6.1): what an authenticator says of itself, and of a key that it made.

use super::{RelyingParty, Wrong, cbor};

/// Bytes of a credential's id at most (7.1, step 25)
const ID_MAX: usize = 1023;

/// What an authenticator says
#[derive(Debug)]
pub(super) struct AuthenticatorData<'a> {
    /// SHA-256 of the domain that it is for
    pub(super) party: &'a [u8],
    flags: u8,
    /// How often the key signed, or 0 where nobody counts
    pub(super) counter: u32,
    /// The key that it made, if it made one
    pub(super) attested: Option<Attested<'a>>,
}

/// A key that an authenticator made (6.5.1)
#[derive(Debug)]
pub(super) struct Attested<'a> {
    pub(super) id: &'a [u8],
    pub(super) public_key: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    /// Reads all of `bytes`
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Wrong> {
        Self::read(bytes).ok_or(Wrong::Form("authenticator data"))
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (party, rest) = bytes.split_at_checked(32)?;
        let (flags, rest) = rest.split_first()?;
        let (counter, mut rest) = rest.split_first_chunk::<4>()?;
        let mut attested = None;
        if flags & ATTESTED != 0 {
            let (_aaguid, after) = rest.split_at_checked(16)?;
            let (length, after) = after.split_first_chunk::<2>()?;
            let (id, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
            let (_, tail) = cbor::first(after)?;
            let (public_key, _) = after.split_at_checked(after.len() - tail.len())?;
            if !(1..=ID_MAX).contains(&id.len()) {
                return None;
            }
            attested = Some(Attested { id, public_key });
            rest = tail;
        }
        if flags & EXTENSIONS != 0 {
            let (extensions, tail) = cbor::first(rest)?;
            // Whatever they say: nothing was asked for (7.1, step 28).
            extensions.map()?;
            rest = tail;
        }
        rest.is_empty().then_some(Self { party, flags: *flags, counter: u32::from_be_bytes(*counter), attested })
    }

    /// For this site, with somebody there whom the authenticator knows (7.1, steps 14 to 17; 7.2, steps 16 to 19)
    pub(super) fn check(&self, party: &RelyingParty) -> Result<(), Wrong> {
        if self.party != party.hash() {
            return Err(Wrong::Party);
        }
        if self.flags & PRESENT == 0 {
            return Err(Wrong::NotPresent);
        }
        if self.flags & VERIFIED == 0 {
            return Err(Wrong::NotVerified);
        }
        if self.flags & BACKED_UP != 0 && !self.synced() {
            return Err(Wrong::Backup);
        }
        Ok(())
    }

    /// Whether the key may be copied to other devices of its owner ("backup eligible"); this never changes
    pub(super) fn synced(&self) -> bool {
        self.flags & BACKUP_ELIGIBLE != 0
    }
}

const PRESENT: u8 = 1;
const VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const ATTESTED: u8 = 1 << 6;
const EXTENSIONS: u8 = 1 << 7;
