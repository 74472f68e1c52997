//! The protocol versions that this build speaks.
//!
//! All of them are of the era with `initialize`. The era without it (2026-07-28) has a place of its own:
//! another variant beside [`Version`], chosen per side, and a translation between the two.

/// A protocol version of the era with `initialize`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 2025-06-18
    June2025,
    /// 2025-11-25
    November2025,
}

impl Version {
    /// The newest one
    pub const LATEST: Self = Self::November2025;
    /// All of them, newest first
    pub const ALL: [Self; 2] = [Self::November2025, Self::June2025];

    /// As it stands in messages and headers
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::June2025 => "2025-06-18",
            Self::November2025 => "2025-11-25",
        }
    }

    /// The version of this name, if it is spoken here
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// What a server answers to a client that asks for `wanted`: the same if it can, else its newest
    /// (2025-11-25, Lifecycle, Version Negotiation)
    #[must_use]
    pub fn negotiate(wanted: &str) -> Self {
        Self::read(wanted).unwrap_or(Self::LATEST)
    }
}
