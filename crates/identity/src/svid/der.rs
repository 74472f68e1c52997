//! What an X.509 certificate says of itself, as far as SPIFFE asks (RFC 5280, 4.1 and 4.2).
//!
//! Signatures, names and paths are webpki's. What is read here it does not say: how many URIs there are, whether the
//! key usage is critical and what it is, and when the certificate ends.

use portreeve_core::time::Millis;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `uniformResourceIdentifier` of a general name
const URI: u8 = 0x86;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// What a certificate says of itself
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The serial number in hexadecimal digits
    pub(super) serial: String,
    /// From when on it is good
    pub(super) from: Millis,
    /// Until when, this moment included
    pub(super) until: Millis,
    /// Whether it is that of an authority
    pub(super) authority: bool,
    /// What its key is for
    pub(super) usage: Option<Usage>,
    /// The URIs that it names
    pub(super) uris: Vec<String>,
}

/// What a key is for (RFC 5280, 4.2.1.3)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) critical: bool,
    bits: u8,
}

impl Usage {
    /// `digitalSignature`
    pub(super) fn signs(self) -> bool {
        self.bits & 0x80 != 0
    }

    /// `keyCertSign`
    pub(super) fn certifies(self) -> bool {
        self.bits & 0x04 != 0
    }

    /// `cRLSign`
    pub(super) fn revokes(self) -> bool {
        self.bits & 0x02 != 0
    }
}

/// Reads one certificate, which is all of `der`; nothing if it is none
pub(super) fn read(der: &[u8]) -> Option<Facts> {
    let mut outer = Reader(der);
    let mut certificate = outer.inside(SEQUENCE)?;
    outer.end()?;
    let mut tbs = certificate.inside(SEQUENCE)?;
    // Version 3: there are no SVIDs without extensions.
    let mut version = tbs.inside(VERSION)?;
    if version.value(INTEGER)? != [2] {
        return None;
    }
    version.end()?;
    let serial = tbs.value(INTEGER)?.iter().map(|byte| format!("{byte:02x}")).collect();
    tbs.value(SEQUENCE)?;
    tbs.value(SEQUENCE)?;
    let mut validity = tbs.inside(SEQUENCE)?;
    let (from, until) = (validity.time()?, validity.time()?);
    validity.end()?;
    tbs.value(SEQUENCE)?;
    tbs.value(SEQUENCE)?;
    let mut facts = Facts { serial, from, until, ..Facts::default() };
    // Unique identifiers of version 2 may stand before.
    while let Some(tag) = tbs.peek() {
        if tag == EXTENSIONS {
            let mut wrapped = tbs.inside(EXTENSIONS)?;
            extensions(wrapped.inside(SEQUENCE)?, &mut facts)?;
            wrapped.end()?;
            tbs.end()?;
            break;
        }
        tbs.value(tag)?;
    }
    certificate.value(SEQUENCE)?;
    certificate.value(BIT_STRING)?;
    certificate.end()?;
    Some(facts)
}

/// The certificates of a concatenation, as the Workload API sends them
pub(super) fn split(mut der: &[u8]) -> Option<Vec<&[u8]>> {
    let mut all = Vec::new();
    while !der.is_empty() {
        let mut reader = Reader(der);
        reader.value(SEQUENCE)?;
        let (one, rest) = der.split_at_checked(der.len().checked_sub(reader.0.len())?)?;
        all.push(one);
        der = rest;
    }
    Some(all)
}

fn extensions(mut all: Reader<'_>, facts: &mut Facts) -> Option<()> {
    let mut seen: Vec<&[u8]> = Vec::new();
    while !all.0.is_empty() {
        let mut extension = all.inside(SEQUENCE)?;
        let id = extension.value(OID)?;
        let critical = if extension.peek() == Some(BOOLEAN) { extension.truth()? } else { false };
        let mut content = Reader(extension.value(OCTET_STRING)?);
        extension.end()?;
        // RFC 5280, 4.2: not twice.
        if seen.contains(&id) {
            return None;
        }
        seen.push(id);
        match id {
            KEY_USAGE => {
                let [unused @ 0..=7, first, ..] = content.value(BIT_STRING)? else { return None };
                // The one bit that may stand in a second byte, decipherOnly, does not matter.
                let _ = unused;
                facts.usage = Some(Usage { critical, bits: *first });
            }
            BASIC_CONSTRAINTS => {
                let mut constraints = content.inside(SEQUENCE)?;
                facts.authority = constraints.peek() == Some(BOOLEAN) && constraints.truth()?;
                if !constraints.0.is_empty() {
                    constraints.value(INTEGER)?;
                }
                constraints.end()?;
            }
            ALTERNATIVE_NAME => {
                let mut names = content.inside(SEQUENCE)?;
                while let Some(tag) = names.peek() {
                    let name = names.value(tag)?;
                    if tag == URI {
                        facts.uris.push(String::from_utf8(name.to_vec()).ok()?);
                    }
                }
            }
            _ => continue,
        }
        content.end()?;
    }
    Some(())
}

/// Reads DER (X.690, 10): lengths in their shortest form only
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// The content of the next element, which has this tag
    fn value(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.byte()? != tag {
            return None;
        }
        let length = match self.byte()? {
            short @ 0..=0x7f => usize::from(short),
            long @ 0x81..=0x83 => {
                let bytes = self.take(usize::from(long & 0x7f))?;
                let length = bytes.iter().fold(0, |sum, byte| sum * 256 + usize::from(*byte));
                let shortest = if bytes.len() == 1 { length > 0x7f } else { bytes.first() != Some(&0) };
                if !shortest {
                    return None;
                }
                length
            }
            _ => return None,
        };
        self.take(length)
    }

    fn inside(&mut self, tag: u8) -> Option<Self> {
        self.value(tag).map(Self)
    }

    fn truth(&mut self) -> Option<bool> {
        match self.value(BOOLEAN)? {
            [0] => Some(false),
            [0xff] => Some(true),
            _ => None,
        }
    }

    /// A time in the only forms that RFC 5280 has (4.1.2.5)
    fn time(&mut self) -> Option<Millis> {
        let tag = self.peek()?;
        let text = self.value(tag)?;
        let (digits, zone) = text.split_at_checked(text.len().checked_sub(1)?)?;
        if zone != b"Z" || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let number = |digits: &[u8]| digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        let (year, rest) = match (tag, digits.len()) {
            (UTC_TIME, 12) => {
                let (year, rest) = digits.split_at_checked(2)?;
                let year = number(year);
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            (GENERALIZED_TIME, 14) => {
                let (year, rest) = digits.split_at_checked(4)?;
                (number(year), rest)
            }
            _ => return None,
        };
        let mut parts = rest.chunks_exact(2).map(number);
        let mut part = |range: std::ops::RangeInclusive<i64>| parts.next().filter(|part| range.contains(part));
        let (month, day) = (part(1..=12)?, part(1..=31)?);
        let (hour, minute, second) = (part(0..=23)?, part(0..=59)?, part(0..=59)?);
        let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
        Some(Millis(seconds * 1000))
    }
}

/// Days since 1970 of a date of the Gregorian calendar
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Counted in years that begin with March, so that a leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leaps + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn time(tag: u8, text: &str) -> Option<String> {
        let bytes = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        Reader(&bytes).time().map(Millis::rfc3339)
    }

    #[test]
    fn times_are_those_that_others_write() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", "1970-01-01T00:00:00.000Z"),
            (UTC_TIME, "491231235959Z", "2049-12-31T23:59:59.000Z"),
            (UTC_TIME, "500101000000Z", "1950-01-01T00:00:00.000Z"),
            (GENERALIZED_TIME, "20240229120000Z", "2024-02-29T12:00:00.000Z"),
            (GENERALIZED_TIME, "20000301000000Z", "2000-03-01T00:00:00.000Z"),
            (GENERALIZED_TIME, "99991231235959Z", "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(time(tag, text).as_deref(), Some(expected), "{text}");
        }
        for (tag, text) in [
            (UTC_TIME, "7001010000Z"),
            (UTC_TIME, "700101000000"),
            (UTC_TIME, "700101000000+0100"),
            (UTC_TIME, "701301000000Z"),
            (UTC_TIME, "700100000000Z"),
            (UTC_TIME, "700101240000Z"),
            (UTC_TIME, "70010100000xZ"),
            (GENERALIZED_TIME, "700101000000Z"),
            (GENERALIZED_TIME, "20240229120000.5Z"),
            (INTEGER, "700101000000Z"),
        ] {
            assert_eq!(time(tag, text), None, "{text}");
        }
    }

    #[test]
    fn lengths_have_one_form() {
        let value = |bytes: &[u8]| Reader(bytes).value(OCTET_STRING).map(<[u8]>::to_vec);
        assert_eq!(value(&[4, 1, 7]), Some(vec![7]));
        assert_eq!(value(&[4, 0x81, 1, 7]), None);
        assert_eq!(value(&[4, 0x82, 0, 1, 7]), None);
        assert_eq!(value(&[4, 0x80, 7, 0, 0]), None);
        assert_eq!(value(&[4, 2, 7]), None);
        assert_eq!(value(&[5, 1, 7]), None);
        let long = [&[4, 0x81, 128][..], &[7; 128]].concat();
        assert_eq!(value(&long).map(|value| value.len()), Some(128));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_stumble(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = split(&bytes);
        }
    }
}
