//! What a lease is called at its back end.

use portreeve_core::{hash::Hash, names::EffectId};
use std::fmt;

/// The name of a lease at its back end: `ptr_INSTALL_LEASE`
///
/// It follows from the record's origin and the effect alone, so that it is known before anything is asked for, and after a
/// crash. It is of small letters, digits and underscores, and of 29 bytes, which every back end takes as a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseName(String);

impl LeaseName {
    /// The name of a lease of a record
    #[must_use]
    pub fn new(origin: Hash, lease: EffectId) -> Self {
        Self(format!("{}{:016x}", prefix(origin), lease.0))
    }

    /// A name that a back end knows, if it is one of this record
    #[must_use]
    pub fn read(origin: Hash, name: &str) -> Option<Self> {
        let rest = name.strip_prefix(&prefix(origin))?;
        let good = rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        good.then(|| Self(name.to_owned()))
    }

    /// The lease
    #[must_use]
    pub fn lease(&self) -> Option<EffectId> {
        u64::from_str_radix(self.0.rsplit('_').next()?, 16).ok().map(EffectId)
    }

    /// As the back end knows it
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How the names of all leases of a record begin
#[must_use]
pub fn prefix(origin: Hash) -> String {
    let origin = origin.to_string();
    format!("ptr_{}_", origin.get(..8).unwrap_or("00000000"))
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_by_its_own_record_only() {
        let (ours, other) = (Hash::of(b"ours"), Hash::of(b"other"));
        let name = LeaseName::new(ours, EffectId(0x1f));
        assert_eq!(name.as_str().len(), 29);
        assert_eq!(name.lease(), Some(EffectId(0x1f)));
        assert_eq!(LeaseName::read(ours, name.as_str()), Some(name.clone()));
        assert_eq!(LeaseName::read(other, name.as_str()), None);
        for foreign in ["postgres", "ptr_", &format!("{}x", name.as_str()), &name.as_str().replace('1', "G")] {
            assert_eq!(LeaseName::read(ours, foreign), None, "{foreign}");
        }
    }
}
