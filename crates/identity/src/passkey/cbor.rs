//! CBOR (RFC 8949) as authenticators write it: CTAP2's canonical form, of which everything is demanded but the order.
//!
//! Definite lengths in their shortest form, no tags, no floating-point numbers, no key twice, four levels (CTAP 2.2,
//! 8, "Message Encoding"). Keys in another order are let pass, because some software authenticators write them so and
//! nothing here depends on it.

/// One item, borrowing from the input
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    Text(&'a str),
    Array(Vec<Item<'a>>),
    Map(Vec<(Item<'a>, Item<'a>)>),
    Bool(bool),
    Null,
}

/// Levels of arrays and maps
const DEPTH_MAX: u8 = 4;
/// Items of one array, or pairs of one map
const MEMBERS_MAX: u64 = 256;

/// The first item of `input`, and what follows it; nothing if it is not of this form
///
/// SAFETY(security): the input is an attacker's. Nothing is reserved by a length that was only announced.
pub(super) fn first(input: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let mut reader = Reader { rest: input };
    let item = reader.item(DEPTH_MAX)?;
    Some((item, reader.rest))
}

/// The one item that `input` is
pub(super) fn whole(input: &[u8]) -> Option<Item<'_>> {
    first(input).filter(|(_, rest)| rest.is_empty()).map(|(item, _)| item)
}

impl<'a> Item<'a> {
    /// The member of a map under a text
    pub(super) fn get(&self, key: &str) -> Option<&Item<'a>> {
        self.map()?.iter().find(|(known, _)| *known == Item::Text(key)).map(|(_, value)| value)
    }

    /// The member of a map under a number
    pub(super) fn at(&self, key: i64) -> Option<&Item<'a>> {
        self.map()?.iter().find(|(known, _)| *known == Item::Int(key)).map(|(_, value)| value)
    }

    pub(super) fn map(&self) -> Option<&[(Item<'a>, Item<'a>)]> {
        match self {
            Self::Map(members) => Some(members),
            _ => None,
        }
    }

    pub(super) fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(int) => Some(*int),
            _ => None,
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn item(&mut self, depth: u8) -> Option<Item<'a>> {
        let head = *self.take(1)?.first()?;
        let (kind, info) = (head >> 5, head & 31);
        if kind == 7 {
            // Simple values: only those three; what follows would be floating-point numbers and "break".
            return match info {
                20 => Some(Item::Bool(false)),
                21 => Some(Item::Bool(true)),
                22 => Some(Item::Null),
                _ => None,
            };
        }
        let number = self.number(info)?;
        match kind {
            0 => Some(Item::Int(i64::try_from(number).ok()?)),
            1 => Some(Item::Int(-1 - i64::try_from(number).ok()?)),
            2 => Some(Item::Bytes(self.take(number)?)),
            3 => Some(Item::Text(std::str::from_utf8(self.take(number)?).ok()?)),
            4 => {
                let depth = within(depth, number)?;
                (0..number).map(|_| self.item(depth)).collect::<Option<_>>().map(Item::Array)
            }
            5 => {
                let depth = within(depth, number)?;
                let mut members: Vec<(Item<'a>, Item<'a>)> = Vec::new();
                for _ in 0..number {
                    let key = self.item(depth)?;
                    if members.iter().any(|(known, _)| *known == key) {
                        return None;
                    }
                    members.push((key, self.item(depth)?));
                }
                Some(Item::Map(members))
            }
            _ => None,
        }
    }

    /// The number behind a head, in its shortest form
    fn number(&mut self, info: u8) -> Option<u64> {
        let (bytes, least) = match info {
            0..=23 => return Some(info.into()),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            _ => return None,
        };
        let number = self.take(bytes)?.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        (number >= least).then_some(number)
    }

    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(count).ok()?)?;
        self.rest = rest;
        Some(taken)
    }
}

/// The levels that are left inside of something with so many members
fn within(depth: u8, members: u64) -> Option<u8> {
    depth.checked_sub(1).filter(|_| members <= MEMBERS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(kind: u8, number: u64, out: &mut Vec<u8>) {
        let bytes = number.to_be_bytes();
        match number {
            0..24 => out.push(kind << 5 | bytes[7]),
            24..0x100 => out.extend([kind << 5 | 24, bytes[7]]),
            0x100..0x1_0000 => out.extend([&[kind << 5 | 25], &bytes[6..]].concat()),
            0x1_0000..0x1_0000_0000 => out.extend([&[kind << 5 | 26], &bytes[4..]].concat()),
            _ => out.extend([&[kind << 5 | 27], &bytes[..]].concat()),
        }
    }

    fn write(item: &Item<'_>, out: &mut Vec<u8>) {
        match item {
            Item::Int(int @ 0..) => head(0, int.unsigned_abs(), out),
            Item::Int(int) => head(1, (-1 - int).unsigned_abs(), out),
            Item::Bytes(bytes) => {
                head(2, bytes.len() as u64, out);
                out.extend(*bytes);
            }
            Item::Text(text) => {
                head(3, text.len() as u64, out);
                out.extend(text.as_bytes());
            }
            Item::Array(items) => {
                head(4, items.len() as u64, out);
                items.iter().for_each(|item| write(item, out));
            }
            Item::Map(members) => {
                head(5, members.len() as u64, out);
                members.iter().for_each(|(key, value)| {
                    write(key, out);
                    write(value, out);
                });
            }
            Item::Bool(truth) => out.push(0xf4 | u8::from(*truth)),
            Item::Null => out.push(0xf6),
        }
    }

    proptest! {
        /// What is read has one form only, and it is what was read
        #[test]
        fn there_is_one_form(input in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some((item, rest)) = first(&input) {
                let mut written = Vec::new();
                write(&item, &mut written);
                prop_assert_eq!([written.as_slice(), rest].concat(), input);
            }
        }

        #[test]
        fn every_number_is_read(int: i64, bits in 0u32..64) {
            let int = int >> bits;
            let mut written = Vec::new();
            write(&Item::Int(int), &mut written);
            prop_assert_eq!(whole(&written), Some(Item::Int(int)));
        }
    }

    /// RFC 8949, appendix A
    #[test]
    fn reads_the_examples_of_the_specification() {
        for (input, item) in [
            (&b"\x00"[..], Item::Int(0)),
            (b"\x17", Item::Int(23)),
            (b"\x18\x18", Item::Int(24)),
            (b"\x19\x03\xe8", Item::Int(1000)),
            (b"\x1a\x00\x0f\x42\x40", Item::Int(1_000_000)),
            (b"\x1b\x00\x00\x00\xe8\xd4\xa5\x10\x00", Item::Int(1_000_000_000_000)),
            (b"\x20", Item::Int(-1)),
            (b"\x39\x03\xe7", Item::Int(-1000)),
            (b"\xf4", Item::Bool(false)),
            (b"\xf5", Item::Bool(true)),
            (b"\xf6", Item::Null),
            (b"\x44\x01\x02\x03\x04", Item::Bytes(&[1, 2, 3, 4])),
            (b"\x63\xc3\xbc\x61", Item::Text("\u{fc}a")),
            (b"\x80", Item::Array(vec![])),
            (b"\x82\x01\x81\x02", Item::Array(vec![Item::Int(1), Item::Array(vec![Item::Int(2)])])),
            (b"\xa1\x61\x61\x01", Item::Map(vec![(Item::Text("a"), Item::Int(1))])),
        ] {
            assert_eq!(whole(input), Some(item), "{input:x?}");
            assert_eq!(first(&[input, b"\x00"].concat()).unwrap().1, b"\x00");
            assert_eq!(whole(&[input, b"\x00"].concat()), None, "{input:x?}");
            for end in 0..input.len() {
                assert_eq!(whole(&input[..end]), None, "{input:x?} cut at {end}");
            }
        }
    }

    #[test]
    fn refuses_every_other_form() {
        for input in [
            // Not the shortest form.
            &b"\x18\x17"[..],
            b"\x19\x00\xff",
            b"\x1a\x00\x00\xff\xff",
            b"\x1b\x00\x00\x00\x00\xff\xff\xff\xff",
            b"\x58\x01\x00",
            // Beyond 63 bits.
            b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff",
            // Indefinite lengths, reserved heads, tags, floating-point numbers, undefined, other simple values.
            b"\x5f\x41\x00\xff",
            b"\x9f\xff",
            b"\xbf\xff",
            b"\x1c",
            b"\xc0\x60",
            b"\xf9\x00\x00",
            b"\xf7",
            b"\xe0",
            b"\xff",
            // No UTF-8; a key twice; a length that nothing follows.
            b"\x61\xff",
            b"\xa2\x01\x00\x01\x01",
            b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
            b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
            // Five levels.
            b"\x81\x81\x81\x81\x80",
            b"",
        ] {
            assert_eq!(whole(input), None, "{input:x?}");
        }
        assert!(whole(b"\x81\x81\x81\x80").is_some());
        let many = [&[0x99, 1, 1][..], &[0; 257]].concat();
        assert_eq!(whole(&many), None);
    }
}
