//! Names that people give, ids that the shell draws, and how both are written.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{borrow::Borrow, borrow::Cow, fmt, str::FromStr, sync::Arc};

/// The name of something that a policy file defines: an agent, user, group, connector, purpose, entry or
/// parameter
///
/// 1 to 64 of `a-z`, `0-9`, `-` and `_`, starting with a letter or digit. No dot and no colon, so that
/// `connector.tool` and `agent:name` can be read one way only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// The name of a tool as its server spells it: 1 to 128 visible ASCII characters, case-sensitive, without `#`
///
/// The specification recommends `[A-Za-z0-9_.-]` (2025-11-25, Tools, Tool Names); servers in the field also
/// use slashes and colons.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ToolName(Arc<str>);

/// The text does not have the form of the name it stands for
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {what}: expected {expected}")]
pub struct Invalid {
    what: &'static str,
    text: String,
    expected: &'static str,
}

impl Invalid {
    pub(crate) fn new(what: &'static str, text: &str, expected: &'static str) -> Self {
        Self { what, text: text.chars().take(80).collect(), expected }
    }
}

impl FromStr for Name {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let good = matches!(text.as_bytes(), [first, rest @ ..] if plain(*first) && rest.len() < 64
            && rest.iter().all(|byte| plain(*byte) || matches!(byte, b'-' | b'_')));
        if good {
            Ok(Self(text.into()))
        } else {
            Err(Invalid::new("name", text, "1 to 64 of a-z, 0-9, - and _, starting with a letter or digit"))
        }
    }
}

impl FromStr for ToolName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let good = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if good {
            Ok(Self(text.into()))
        } else {
            Err(Invalid::new("tool name", text, "1 to 128 visible ASCII characters without #"))
        }
    }
}

impl ToolName {
    /// A name that is known to be one
    pub(crate) fn known(name: &'static str) -> Self {
        Self(name.into())
    }
}

macro_rules! text_newtype {
    ($name:ident) => {
        impl $name {
            /// The text as it was given
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        as_text!($name);
    };
}

macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

text_newtype!(Name);
text_newtype!(ToolName);

/// A tool of a connector, written `shop.refund`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tool {
    /// The connector that offers it
    pub connector: Name,
    /// Its name there
    pub name: ToolName,
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.connector, self.name)
    }
}

impl FromStr for Tool {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (connector, name) =
            text.split_once('.').ok_or_else(|| Invalid::new("tool", text, "connector.tool, as in shop.refund"))?;
        Ok(Self { connector: connector.parse()?, name: name.parse()? })
    }
}

as_text!(Tool);

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                write_base32(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                text.strip_prefix($prefix).and_then(read_base32).map(Self)
                    .ok_or_else(|| Invalid::new("id", text, concat!($prefix, " and 13 of 0-9, a-z")))
            }
        }

        as_text!($name);
    )*};
}

ids! {
    /// One run of an agent; what a token names
    RunId = "run_";
    /// One instance of a purpose
    TaskId = "task_";
    /// One effect: a call or a child process
    EffectId = "fx_";
    /// The runs that may have told each other things
    MemoryId = "mem_";
    /// One life of the process that holds the data folder
    BootId = "boot_";
    /// One grant: a recorded yes of a person
    GrantId = "grant_";
    /// One question put to people about exactly one thing
    HoldId = "hold_";
}

impl HoldId {
    /// What people type: the last eight digits, in capitals, as in `7K2M-9QXD`; it is no secret
    #[must_use]
    pub fn code(self) -> String {
        let digits = self.to_string().to_ascii_uppercase();
        let (head, tail) = digits.split_at_checked(digits.len().saturating_sub(4)).unwrap_or((&digits, ""));
        let head = head.split_at_checked(head.len().saturating_sub(4)).map_or(head, |(_, last)| last);
        format!("{head}-{tail}")
    }

    /// Whether somebody means this one: by its id, or by its code in any case, with or without the dash
    ///
    /// Letters that are taken for digits count as these: `O` as 0, `I` and `L` as 1.
    #[must_use]
    pub fn is_meant(self, text: &str) -> bool {
        let plain = |text: &str| -> String {
            let digit = |c: char| match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            text.chars().filter(|c| !matches!(c, '-' | ' ')).map(digit).collect()
        };
        text == self.to_string() || plain(text) == plain(&self.code())
    }
}

/// Crockford's alphabet without the letters that are taken for digits
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn write_base32(id: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for place in (0..13).rev() {
        let digit = usize::try_from(id >> (place * 5) & 31).unwrap_or_default();
        fmt::Write::write_char(f, char::from(BASE32.get(digit).copied().unwrap_or(b'0')))?;
    }
    Ok(())
}

fn read_base32(text: &str) -> Option<u64> {
    if text.len() != 13 {
        return None;
    }
    text.bytes().try_fold(0u64, |id, byte| {
        let digit = BASE32.iter().position(|known| *known == byte)?;
        id.checked_mul(32)?.checked_add(digit as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        for id in [0, 1, 31, 32, u64::MAX] {
            assert_eq!(TaskId(id).to_string().parse::<TaskId>(), Ok(TaskId(id)));
        }
        let hold = HoldId(u64::MAX);
        assert_eq!(hold.code(), "ZZZZ-ZZZZ");
        assert!(
            HoldId(1).is_meant("0000-0001")
                && HoldId(1).is_meant("ooooOOol")
                && HoldId(1).is_meant("hold_0000000000001")
        );
        assert!(!HoldId(1).is_meant("0000-0002") && !HoldId(1).is_meant("") && !HoldId(1).is_meant("1"));
        for bad in ["task_", "run_0000000000000", "task_0000000000000x", "task_zzzzzzzzzzzzz", "task_000000000000l"] {
            assert!(bad.parse::<TaskId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_narrow() {
        for good in ["a", "support-bot", "l2_team", "0day"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a.b", "a:b", "ä", "a b", &"a".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        assert_eq!("files.read/all".parse::<Tool>().map(|tool| tool.to_string()), Ok("files.read/all".into()));
        assert!("files.a#b".parse::<Tool>().is_err());
    }
}
