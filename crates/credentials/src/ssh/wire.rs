//! Numbers and texts as SSH sends them (RFC 4251, 5).

/// What is being written
#[derive(Debug, Default)]
pub(super) struct Wire(Vec<u8>);

impl Wire {
    pub(super) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub(super) fn word(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(super) fn number(mut self, number: u64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// Bytes with their count before them; all that is written here is far from what the count can hold
    pub(super) fn text(self, text: &[u8]) -> Self {
        let mut with = self.word(u32::try_from(text.len()).unwrap_or(u32::MAX));
        with.0.extend(text);
        with
    }

    /// A number that is not negative, of any length
    pub(super) fn long(self, number: &[u8]) -> Self {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let digits = number.get(zeros..).unwrap_or_default();
        // A first bit would be a sign.
        let signed = digits.first().is_some_and(|first| *first >= 0x80);
        self.text(&[if signed { &[0][..] } else { &[] }, digits].concat())
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0
    }
}

/// What is being read; nothing comes of what ends too early
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a>(pub(super) &'a [u8]);

impl<'a> Reading<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn word(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.word()?).ok()?;
        self.take(count)
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}
