//! Server-sent events, read as they arrive (WHATWG HTML, 9.2.6), bounded.

/// Reads the data of events out of a stream of bytes
#[derive(Debug)]
pub struct Reader {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    at_start: bool,
    bytes_max: usize,
}

/// An event was longer than the limit
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than the limit")]
pub struct TooLong;

impl Reader {
    /// A reader that holds at most `bytes_max` bytes of one event
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { line: Vec::new(), data: Vec::new(), has_data: false, after_cr: false, at_start: true, bytes_max }
    }

    /// Takes the next bytes and returns the data of the events that they complete
    ///
    /// # Errors
    /// [`TooLong`]: the stream cannot be read on.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut events = Vec::new();
        for byte in bytes {
            let line_feed_of_crlf = std::mem::take(&mut self.after_cr) && *byte == b'\n';
            if line_feed_of_crlf {
                continue;
            }
            match byte {
                b'\r' | b'\n' => {
                    self.after_cr = *byte == b'\r';
                    events.extend(self.end_line());
                }
                byte => {
                    if self.line.len() + self.data.len() >= self.bytes_max {
                        return Err(TooLong);
                    }
                    self.line.push(*byte);
                }
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix(b"\xef\xbb\xbf".as_slice()).unwrap_or(line);
        }
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data).then_some(data);
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (line.get(..colon)?, line.get(colon + 1..)?),
            None => (line, [].as_slice()),
        };
        if field == b"data" {
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value.strip_prefix(b" ".as_slice()).unwrap_or(value));
        }
        None
    }
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
        assert_eq!(reader.push(&[b'x'; 101]), Err(TooLong));
        let mut reader = Reader::new(100);
        assert_eq!(reader.push("data: 1234567890\n".repeat(20).as_bytes()), Err(TooLong));
    }
}
