//! Server-sent events, read in pieces (WHATWG HTML, 9.2.6): of a long event no more is held than has just arrived.

/// What stands in a stream of events, in order
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The next bytes of the data of an event
    Data(Vec<u8>),
    /// The end of an event that had data
    End,
    /// The event that ends here had this id: the stream can be taken up after it
    Id(String),
    /// How long to wait before the stream is taken up again, in milliseconds
    Retry(u64),
}

/// Reads pieces out of a stream of bytes
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    at: At,
    name: Vec<u8>,
    value: Vec<u8>,
    id: Option<Vec<u8>>,
    has_data: bool,
    after_cr: bool,
    begun: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// In the name of a field; at the start of a line nothing of it is there
    #[default]
    Name,
    /// Just behind a colon
    Colon,
    /// In a value
    Value,
}

/// Bytes of a field's name and of a value other than data that are kept; a longer one means nothing here
const FIELD_BYTES_MAX: usize = 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Pieces {
    /// Takes the next bytes and returns what is in them
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut out = Vec::new();
        let mut data = Vec::new();
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            // Nearly all of a long event is this: as much of it at once as there is.
            if self.at == At::Value && self.name == b"data" {
                let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
                if let Some((run @ [_, ..], after_run)) = rest.split_at_checked(end) {
                    data.extend_from_slice(run);
                    rest = after_run;
                    continue;
                }
            }
            rest = after;
            if std::mem::take(&mut self.after_cr) && *byte == b'\n' {
                continue;
            }
            match byte {
                b'\r' | b'\n' => {
                    self.after_cr = *byte == b'\r';
                    self.end_line(&mut data, &mut out);
                }
                b':' if self.at == At::Name => {
                    self.at = At::Colon;
                    self.strip_mark();
                    self.begin_data(&mut data);
                }
                b' ' if self.at == At::Colon => self.at = At::Value,
                byte if self.at == At::Name => {
                    if self.name.len() < FIELD_BYTES_MAX {
                        self.name.push(*byte);
                    }
                }
                byte => {
                    self.at = At::Value;
                    if self.name == b"data" {
                        data.push(*byte);
                    } else if self.value.len() <= FIELD_BYTES_MAX {
                        self.value.push(*byte);
                    }
                }
            }
        }
        flush(&mut data, &mut out);
        out
    }

    fn strip_mark(&mut self) {
        if !std::mem::replace(&mut self.begun, true) && self.name.starts_with(BYTE_ORDER_MARK) {
            self.name.drain(..BYTE_ORDER_MARK.len());
        }
    }

    fn begin_data(&mut self, data: &mut Vec<u8>) {
        if self.name == b"data" && std::mem::replace(&mut self.has_data, true) {
            data.push(b'\n');
        }
    }

    fn end_line(&mut self, data: &mut Vec<u8>, out: &mut Vec<Piece>) {
        let at = std::mem::take(&mut self.at);
        if at == At::Name {
            self.strip_mark();
            self.begin_data(data);
        }
        let (name, value) = (std::mem::take(&mut self.name), std::mem::take(&mut self.value));
        if name.is_empty() && at == At::Name {
            flush(data, out);
            if std::mem::take(&mut self.has_data) {
                out.push(Piece::End);
            }
            // Only now: what is taken up after it must not have lost half of it.
            out.extend(self.id.take().and_then(|id| String::from_utf8(id).ok()).map(Piece::Id));
            return;
        }
        match name.as_slice() {
            b"id" if value.len() <= FIELD_BYTES_MAX && !value.contains(&0) => self.id = Some(value),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                let wait = std::str::from_utf8(&value).ok().and_then(|value| value.parse().ok());
                flush(data, out);
                out.extend(wait.map(Piece::Retry));
            }
            _ => {}
        }
    }
}

fn flush(data: &mut Vec<u8>, out: &mut Vec<Piece>) {
    if !data.is_empty() {
        out.push(Piece::Data(std::mem::take(data)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events as text, `id=` and `retry=` in their place; the same however the bytes are cut
    fn read(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        for size in [1, 2, 3, 7, text.len().max(1)] {
            let (mut pieces, mut out, mut event) = (Pieces::default(), Vec::new(), Vec::new());
            for chunk in text.as_bytes().chunks(size) {
                for piece in pieces.push(chunk) {
                    match piece {
                        Piece::Data(data) => event.extend(data),
                        Piece::End => out.push(String::from_utf8(std::mem::take(&mut event)).unwrap()),
                        Piece::Id(id) => out.push(format!("id={id}")),
                        Piece::Retry(wait) => out.push(format!("retry={wait}")),
                    }
                }
            }
            all.push(out);
        }
        assert!(all.windows(2).all(|two| two[0] == two[1]), "{all:?}");
        all.pop().unwrap()
    }

    #[test]
    fn events_end_with_an_empty_line_however_it_is_written() {
        assert_eq!(read("data: a\n\ndata:b\r\n\r\ndata:  c\r\r"), ["a", "b", " c"]);
        assert_eq!(read("\u{feff}data: a\n\n"), ["a"]);
        assert_eq!(read("data: never finished"), Vec::<String>::new());
    }

    #[test]
    fn several_lines_are_one_event_and_the_rest_is_left_out() {
        assert_eq!(read("event: message\ndata: {\ndata: }\n: keep-alive\n\n"), ["{\n}"]);
        assert_eq!(read("data\n\n"), [""]);
        assert_eq!(read("data:\n\n"), [""]);
        assert_eq!(read("data\ndata\n\n"), ["\n"]);
        assert_eq!(read(": only a comment\n\ndatum: x\n\n"), Vec::<String>::new());
        assert_eq!(read("data: a: b\n\n"), ["a: b"]);
    }

    #[test]
    fn item_91_an_id_counts_once_its_event_is_there() {
        assert_eq!(read("id: 7\ndata:\nretry: 30\n\nid: 8\ndata: x\n"), ["retry=30", "", "id=7"]);
        assert_eq!(read("id\ndata: x\n\n"), ["x", "id="]);
        assert_eq!(read("id: a\u{0}b\nretry: soon\ndata: x\n\n"), ["x"]);
        assert_eq!(read("id: 9\n\n"), ["id=9"]);
    }

    #[test]
    fn of_a_long_event_no_more_is_held_than_has_arrived() {
        let mut pieces = Pieces::default();
        pieces.push(b"data: ");
        for _ in 0..1000 {
            assert_eq!(pieces.push(&[b'x'; 1000]), [Piece::Data(vec![b'x'; 1000])]);
            assert!(pieces.name.capacity() + pieces.value.capacity() < 100);
        }
        let mut pieces = Pieces::default();
        pieces.push(&[b'y'; 1_000_000]);
        assert!(pieces.name.len() <= FIELD_BYTES_MAX);
    }
}
