//! Server-sent events, read as they arrive and written (WHATWG HTML, 9.2.6).

/// A part of a stream of events
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'b> {
    /// More of the data of the event
    Data(&'b [u8]),
    /// The event is whole; it had data
    End,
    /// From where on the stream could be asked for again; of the legacy era
    Id(&'b str),
    /// How long to wait, in milliseconds, before it is asked for again; of the legacy era
    Retry(u64),
}

/// Reads events as they arrive, and holds nothing of their data
#[derive(Debug, Default)]
pub struct Pieces {
    line: Line,
    /// The name of the field, or the value of a short one
    held: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    started: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    /// The name of the field
    #[default]
    Name,
    /// After the colon of data, where one blank means nothing
    DataBegins,
    Data,
    Id,
    Retry,
    /// Nothing that matters
    Skip,
}

/// Bytes of an id at most; longer ones are left out
const ID_BYTES_MAX: usize = 1024;
/// Bytes of a field's name that can matter, with a byte order mark
const NAME_BYTES_MAX: usize = 8;

impl Pieces {
    /// Takes the next bytes and tells `each` what they are
    pub fn push<E>(&mut self, bytes: &[u8], mut each: impl FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            let line_feed_of_crlf = std::mem::take(&mut self.after_cr) && *byte == b'\n';
            if line_feed_of_crlf {
                rest = after;
                continue;
            }
            if matches!(byte, b'\r' | b'\n') {
                self.after_cr = *byte == b'\r';
                self.end_line(&mut each)?;
                rest = after;
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
            let (run, after_run) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            rest = match self.line {
                Line::Data => {
                    each(Piece::Data(run))?;
                    after_run
                }
                Line::Skip => after_run,
                Line::DataBegins => {
                    self.line = Line::Data;
                    if *byte == b' ' { after } else { rest }
                }
                Line::Id | Line::Retry => {
                    self.held.extend_from_slice(run);
                    if self.held.len() > ID_BYTES_MAX {
                        self.line = Line::Skip;
                    }
                    after_run
                }
                Line::Name if *byte == b':' => {
                    self.field(&mut each)?;
                    after
                }
                Line::Name => {
                    self.held.push(*byte);
                    if self.held.len() > NAME_BYTES_MAX {
                        self.line = Line::Skip;
                    }
                    after
                }
            };
        }
        Ok(())
    }

    /// The name of the field is whole
    fn field<E>(&mut self, each: &mut impl FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), E> {
        let held = std::mem::take(&mut self.held);
        let mut name = held.as_slice();
        if !std::mem::replace(&mut self.started, true) {
            name = name.strip_prefix(b"\xef\xbb\xbf".as_slice()).unwrap_or(name);
        }
        self.line = match name {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    each(Piece::Data(b"\n"))?;
                }
                Line::DataBegins
            }
            b"id" => Line::Id,
            b"retry" => Line::Retry,
            _ => Line::Skip,
        };
        Ok(())
    }

    fn end_line<E>(&mut self, each: &mut impl FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), E> {
        let mark = !self.started && self.held == b"\xef\xbb\xbf";
        if self.line == Line::Name && (self.held.is_empty() || mark) {
            self.started = true;
            self.held.clear();
            return if std::mem::take(&mut self.has_data) { each(Piece::End) } else { Ok(()) };
        }
        if self.line == Line::Name {
            self.field(each)?;
        }
        let held = std::mem::take(&mut self.held);
        let value = held.strip_prefix(b" ".as_slice()).unwrap_or(&held);
        let text = std::str::from_utf8(value).ok();
        let line = std::mem::take(&mut self.line);
        self.started = true;
        match (line, text) {
            (Line::Id, Some(id)) if !id.contains('\0') => each(Piece::Id(id)),
            (Line::Retry, Some(retry)) if retry.bytes().all(|byte| byte.is_ascii_digit()) => {
                retry.parse().map_or(Ok(()), |retry| each(Piece::Retry(retry)))
            }
            _ => Ok(()),
        }
    }
}

/// Reads the data of whole events out of a stream of bytes
#[derive(Debug)]
pub struct Reader {
    pieces: Pieces,
    data: Vec<u8>,
    bytes_max: usize,
    id: Option<String>,
    retry_ms: Option<u64>,
}

/// An event was longer than the limit
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than the limit")]
pub struct TooLong;

impl Reader {
    /// A reader that holds at most `bytes_max` bytes of one event
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { pieces: Pieces::default(), data: Vec::new(), bytes_max, id: None, retry_ms: None }
    }

    /// Takes the next bytes and returns the data of the events that they complete
    ///
    /// # Errors
    /// [`TooLong`]: the stream cannot be read on.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        let Self { pieces, data, bytes_max, id, retry_ms } = self;
        let mut events = Vec::new();
        pieces.push(bytes, |piece| {
            match piece {
                Piece::Data(more) if data.len() + more.len() > *bytes_max => return Err(TooLong),
                Piece::Data(more) => data.extend_from_slice(more),
                Piece::End => events.push(std::mem::take(data)),
                Piece::Id(last) => *id = Some(last.to_owned()),
                Piece::Retry(retry) => *retry_ms = Some(retry),
            }
            Ok(())
        })?;
        Ok(events)
    }

    /// From where on the stream could be asked for again; of the legacy era
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref().filter(|id| !id.is_empty())
    }

    /// How long to wait, in milliseconds, before it is asked for again; of the legacy era
    #[must_use]
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }
}

/// A line that means nothing, and keeps a stream open (2026-07-28, Streamable HTTP, Receiving Messages)
#[must_use]
pub fn comment(text: &str) -> Vec<u8> {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    format!(":{text}\n\n").into_bytes()
}

/// One event with this message for its data
#[must_use]
pub fn event(message: &[u8]) -> Vec<u8> {
    [b"data: ", one_line(message).as_slice(), b"\n\n"].concat()
}

/// Bytes of a message on one line: in JSON there are line breaks only between the parts, where blanks mean the same
#[must_use]
pub fn one_line(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
}

/// An event with an id and no message, which tells a client of 2025-11-25 from where on it may ask again
#[must_use]
pub fn priming(id: &str, retry_ms: Option<u64>) -> Vec<u8> {
    let retry = retry_ms.map_or_else(String::new, |retry| format!("retry: {retry}\n"));
    let id: String = id.chars().filter(|c| !c.is_control()).collect();
    format!("{retry}id: {id}\ndata: \n\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&str]) -> Vec<String> {
        let mut reader = Reader::new(100);
        let events = chunks.iter().flat_map(|chunk| reader.push(chunk.as_bytes()).unwrap());
        events.map(|event| String::from_utf8(event).unwrap()).collect()
    }

    #[test]
    fn events_end_with_an_empty_line_however_it_is_written() {
        assert_eq!(read(&["data: a\n\ndata:b\r\n\r\ndata:  c\r\r"]), ["a", "b", " c"]);
        assert_eq!(read(&["da", "ta: a\r", "\n", "\r\nx"]), ["a"]);
        assert_eq!(read(&["\u{feff}data: a\n\n"]), ["a"]);
    }

    #[test]
    fn several_lines_are_one_event_and_the_rest_is_left_out() {
        assert_eq!(read(&["id: 1\nevent: message\ndata: {\ndata: }\n: keep-alive\nretry: 5\n\n"]), ["{\n}"]);
        assert_eq!(read(&[": only a comment\n\nid: 2\n\n"]), Vec::<String>::new());
        assert_eq!(read(&["data\n\n"]), [""]);
        assert_eq!(read(&["data: never finished"]), Vec::<String>::new());
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut reader = Reader::new(100);
        assert_eq!(reader.push(format!("data: {}", "x".repeat(101)).as_bytes()), Err(TooLong));
        let mut reader = Reader::new(100);
        assert_eq!(reader.push("data: 1234567890\n".repeat(20).as_bytes()), Err(TooLong));
    }

    #[test]
    fn ids_and_waiting_times_are_told_apart_from_data() {
        let mut reader = Reader::new(100);
        assert_eq!(reader.push(b"retry: 50\nid: a:b\ndata:\n\nid\nretry: x\nid: c\0\n").unwrap(), [b""]);
        assert_eq!((reader.id(), reader.retry_ms()), (None, Some(50)));
        reader.push(b"id:7\ndata").unwrap();
        assert_eq!(reader.id(), Some("7"));
        let long = format!("\nid: {}\n", "x".repeat(5_000));
        reader.push(long.as_bytes()).unwrap();
        assert_eq!(reader.id(), Some("7"));
        assert_eq!(priming("a\nb", Some(5)), b"retry: 5\nid: ab\ndata: \n\n");
    }

    #[test]
    fn what_is_written_is_read() {
        for text in ["{}", "{\n \"a\": 1,\r\n\t\"b\":2\r}", " {}"] {
            let mut reader = Reader::new(100);
            let stream = [comment(""), event(text.as_bytes()), comment("still\nhere")].concat();
            let events: Vec<_> = stream.chunks(3).flat_map(|chunk| reader.push(chunk).unwrap()).collect();
            assert_eq!(events, [one_line(text.as_bytes())]);
        }
    }

    proptest::proptest! {
        #[test]
        fn pieces_do_not_depend_on_where_the_bytes_are_cut(
            stream in "((data|id|retry|event|:|da|datax|\u{feff}data)(:| |: |)[a-z0-9 ]{0,3}(\n|\r|\r\n|\n\n)){0,8}",
            cut in 1_usize..5,
        ) {
            let read = |size: usize| {
                let (mut reader, mut events) = (Reader::new(1_000), Vec::new());
                for chunk in stream.as_bytes().chunks(size) {
                    events.extend(reader.push(chunk).unwrap());
                }
                (events, reader.id().map(str::to_owned), reader.retry_ms())
            };
            proptest::prop_assert_eq!(read(cut), read(1_000));
        }
    }
}
