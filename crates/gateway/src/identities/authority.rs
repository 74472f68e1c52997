//! The name that clients call a socket by, made one that our HTTP/2 takes.
//!
//! Over a socket of this machine there is no host, and gRPC's C core (Python, C++, Ruby, PHP) puts the socket's path into
//! `:authority`, with `%2F` for slashes; others put it there as it is. hyper refuses both (hyperium/h2#487) before anybody
//! could look at the request. Nothing here depends on that name, so what it does not take is replaced, byte for byte: the
//! lengths stay, and with them both ends' tables of headers (RFC 7541, 4.1).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes of a frame at most (RFC 9113, 4.2), as long as nobody has said otherwise; we never do
const FRAME_MAX: usize = 16_384;
/// Bytes of a frame before its payload
const HEAD: usize = 9;
/// What a client says first (RFC 9113, 3.4)
const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// What a client sends, with another `:authority` where ours is too strict for it
#[derive(Debug)]
pub(super) struct Softened<S> {
    inner: S,
    /// What came and is no whole frame yet
    rest: Vec<u8>,
    /// What may be read, from here on
    ready: Vec<u8>,
    from: usize,
    greeted: bool,
    /// Whether everything goes through as it is: what comes is not HTTP/2 as it should be
    through: bool,
}

impl<S> Softened<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, rest: Vec::new(), ready: Vec::new(), from: 0, greeted: false, through: false }
    }

    /// Takes what came as far as there are whole frames
    fn take(&mut self) {
        if !self.greeted && self.rest.len() >= PREFACE {
            self.ready.extend(self.rest.drain(..PREFACE));
            self.greeted = true;
        }
        while self.greeted && !self.through {
            let Some([a, b, c, kind, flags]) = self.rest.first_chunk::<5>().copied() else { return };
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            self.through = length > FRAME_MAX;
            if self.through || self.rest.len() < HEAD + length {
                break;
            }
            let mut frame: Vec<u8> = self.rest.drain(..HEAD + length).collect();
            if let Some(payload) = frame.get_mut(HEAD..).filter(|_| kind == HEADERS && flags & END_HEADERS != 0) {
                soften(payload, flags);
            }
            self.ready.append(&mut frame);
        }
        if self.through {
            self.ready.append(&mut self.rest);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Softened<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let left = this.ready.get(this.from..).unwrap_or_default();
            if !left.is_empty() {
                let given = left.len().min(into.remaining());
                into.put_slice(left.get(..given).unwrap_or_default());
                this.from += given;
                return Poll::Ready(Ok(()));
            }
            this.ready.clear();
            this.from = 0;
            let mut piece = [0; 4_096];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut piece))?;
            if piece.filled().is_empty() {
                // The end, perhaps within a frame.
                this.through = true;
                this.take();
                if this.ready.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            this.rest.extend_from_slice(piece.filled());
            this.take();
        }
    }
}

/// Replaces what hyper does not take in the `:authority` of a whole block of headers
fn soften(payload: &mut [u8], flags: u8) {
    let pad = if flags & PADDED != 0 { payload.first().map_or(0, |pad| usize::from(*pad) + 1) } else { 0 };
    let from = usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
    let until = (payload.len() + usize::from(flags & PADDED != 0)).saturating_sub(pad);
    let mut block = Block { bytes: payload.get_mut(..until).unwrap_or_default(), at: from };
    while block.field().is_some() {}
}

/// A block of headers (RFC 7541, 6), of which only what is written in place is understood
struct Block<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Block<'_> {
    /// Goes past one field; nothing at the end, or where it cannot be read
    fn field(&mut self) -> Option<()> {
        let first = *self.bytes.get(self.at)?;
        let prefix = match first {
            0x80.. => return self.number(7).map(drop),
            0x40.. => 6,
            0x20.. => return self.number(5).map(drop),
            _ => 4,
        };
        let is_authority = match self.number(prefix)? {
            0 => {
                let name = self.text()?;
                name.as_deref() == Some(&b":authority"[..])
            }
            index => index == 1,
        };
        let (from, plain) = (self.at, *self.bytes.get(self.at)? & 0x80 == 0);
        self.text()?;
        if is_authority && plain {
            for byte in self.bytes.get_mut(from + 1..self.at)?.iter_mut().filter(|byte| matches!(byte, b'%' | b'/')) {
                *byte = b'-';
            }
        }
        Some(())
    }

    /// An integer whose first bits stand in the last ones of a byte (RFC 7541, 5.1)
    fn number(&mut self, bits: u32) -> Option<usize> {
        let most = (1_usize << bits) - 1;
        let mut number = usize::from(*self.bytes.get(self.at)?) & most;
        self.at += 1;
        if number < most {
            return Some(number);
        }
        for shift in [0, 7, 14] {
            let byte = usize::from(*self.bytes.get(self.at)?);
            self.at += 1;
            number += (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A text (RFC 7541, 5.2); nothing in it if it is written in Huffman's code
    fn text(&mut self) -> Option<Option<Vec<u8>>> {
        let coded = *self.bytes.get(self.at)? & 0x80 != 0;
        let length = self.number(7)?;
        let text = self.bytes.get(self.at..self.at.checked_add(length)?)?.to_vec();
        self.at += length;
        Some((!coded).then_some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// What comes out of what goes in, however it is cut
    fn through(sent: &[u8]) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let all = [1, 7, 4_096].map(|size| {
            let mut softened = Softened::new(Pieces(sent.chunks(size).collect()));
            let mut got = Vec::new();
            runtime.block_on(softened.read_to_end(&mut got)).unwrap();
            got
        });
        assert!(all.iter().all(|one| *one == all[0]));
        all[0].clone()
    }

    /// Gives one piece after the other
    struct Pieces<'a>(std::collections::VecDeque<&'a [u8]>);

    impl AsyncRead for Pieces<'_> {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if let Some(piece) = self.0.pop_front() {
                into.put_slice(piece);
            }
            Poll::Ready(Ok(()))
        }
    }

    fn greeted(frames: &[Vec<u8>]) -> Vec<u8> {
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frames.concat()].concat()
    }

    /// As gRPC's C core writes it
    const C_CORE: &[u8] = b"@\x05:path\x1e/SpiffeWorkloadAPI/Fetch%2F%2F@\x0a:authority\x0etmp%2Fcap.sock\x83\x86";
    const SOFT: &[u8] = b"@\x05:path\x1e/SpiffeWorkloadAPI/Fetch%2F%2F@\x0a:authority\x0etmp-2Fcap.sock\x83\x86";

    #[test]
    fn only_the_name_that_is_no_host_is_another_one() {
        let sent = |payload: &[u8], flags: u8| greeted(&[frame(4, 0, b""), frame(HEADERS, flags, payload)]);
        assert_eq!(through(&sent(C_CORE, END_HEADERS)), sent(SOFT, END_HEADERS));
        // By its number in the static table, never indexed, and as a plain path.
        for (from, to) in
            [(&b"\x41\x04/a%b\x83"[..], &b"\x41\x04-a-b\x83"[..]), (b"\x11\x04/a/b\x20", b"\x11\x04-a-b\x20")]
        {
            assert_eq!(through(&sent(from, END_HEADERS)), sent(to, END_HEADERS));
        }
        // With what may stand around it.
        let (around, soft) =
            ([b"\x02\0\0\0\x03\xff", C_CORE, b"%%"].concat(), [b"\x02\0\0\0\x03\xff", SOFT, b"%%"].concat());
        let flags = END_HEADERS | PADDED | PRIORITY;
        assert_eq!(through(&sent(&around, flags)), sent(&soft, flags));
        // What is understood otherwise, or not at all, stays as it is.
        for stays in
            [&b"\x41\x84/a%b"[..], b"\x41\x7f/a", b"\x41\xff\xff\xff\xff\xff", b"\x42\x04/a%b", b"\x00\x81:\x01%", b""]
        {
            assert_eq!(through(&sent(stays, END_HEADERS)), sent(stays, END_HEADERS));
        }
        assert_eq!(through(&sent(C_CORE, 0)), sent(C_CORE, 0), "it goes on in another frame");
        let data = greeted(&[frame(0, END_HEADERS, C_CORE)]);
        assert_eq!(through(&data), data);
    }

    #[test]
    fn what_is_no_http_2_goes_through() {
        let long = greeted(&[frame(HEADERS, END_HEADERS, &[b'%'; FRAME_MAX + 1]), frame(HEADERS, END_HEADERS, C_CORE)]);
        let cut = greeted(&[frame(HEADERS, END_HEADERS, C_CORE)]);
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"", &long, cut.split_last().unwrap().1] {
            assert_eq!(through(bytes), bytes);
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_stumble(payload in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), flags: u8) {
            let mut soft = payload.clone();
            soften(&mut soft, flags);
            let same = |(one, other): (&u8, &u8)| one == other || (matches!(one, b'%' | b'/') && *other == b'-');
            assert!(payload.len() == soft.len() && payload.iter().zip(&soft).all(same));
        }
    }
}
