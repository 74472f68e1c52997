//! The protocol versions that this build speaks, and the two eras that they belong to.

/// How a version of the protocol is spoken (2026-07-28, Versioning)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Era {
    /// A session begins with `initialize`
    Legacy,
    /// Every request stands for itself
    Modern,
}

/// A protocol version
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 2025-03-26
    March2025,
    /// 2025-06-18
    June2025,
    /// 2025-11-25
    November2025,
    /// 2026-07-28
    July2026,
}

impl Version {
    /// The newest one
    pub const LATEST: Self = Self::July2026;
    /// The newest one that begins with `initialize`
    pub const LATEST_LEGACY: Self = Self::November2025;
    /// All of them, newest first
    pub const ALL: [Self; 4] = [Self::July2026, Self::November2025, Self::June2025, Self::March2025];

    /// As it stands in messages and headers
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::March2025 => "2025-03-26",
            Self::June2025 => "2025-06-18",
            Self::November2025 => "2025-11-25",
            Self::July2026 => "2026-07-28",
        }
    }

    /// How it is spoken
    #[must_use]
    pub fn era(self) -> Era {
        if self == Self::July2026 { Era::Modern } else { Era::Legacy }
    }

    /// The version of this name, if it is spoken here
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// What a server answers to an `initialize` that asks for `wanted`: the same if it can, else its newest of that era
    /// (2025-11-25, Lifecycle, Version Negotiation)
    #[must_use]
    pub fn negotiate(wanted: &str) -> Self {
        Self::read(wanted).filter(|version| version.era() == Era::Legacy).unwrap_or(Self::LATEST_LEGACY)
    }
}
