//! HTTP by hand, so that requests may be hostile.

use super::PATIENCE;
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    time::Duration,
};

/// An answer
#[derive(Debug)]
pub(crate) struct Response {
    /// The status
    pub(crate) status: u16,
    /// The headers, names in lower case
    pub(crate) headers: Vec<(String, String)>,
    /// The body
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The first header of this name
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON, or the last message of a stream; null if it is none
    pub(crate) fn json(&self) -> Value {
        if self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return self.messages().last().and_then(|last| serde_json::from_str(last).ok()).unwrap_or(Value::Null);
        }
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The messages of the body, one or a stream of them
    pub(crate) fn messages(&self) -> Vec<String> {
        let body = std::str::from_utf8(&self.body).unwrap();
        if !self.header("content-type").unwrap_or_default().starts_with("text/event-stream") {
            return vec![body.to_owned()];
        }
        let data = body.lines().filter_map(|line| line.strip_prefix("data:"));
        data.map(|data| data.trim_start().to_owned()).filter(|data| !data.is_empty()).collect()
    }

    /// The code of the JSON-RPC error in the body
    pub(crate) fn code(&self) -> Option<i64> {
        self.json().pointer("/error/code").and_then(Value::as_i64)
    }
}

/// A request for a connection of its own
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A stream whose reads and writes end at some time
pub(crate) trait Bounded: Read + Write + Send + 'static {
    /// Bounds both
    fn bound(&self, within: Duration);
    /// Another handle of the same
    fn twin(&self) -> Self;
}

impl Bounded for TcpStream {
    fn bound(&self, within: Duration) {
        self.set_read_timeout(Some(within)).unwrap();
        self.set_write_timeout(Some(within)).unwrap();
    }

    fn twin(&self) -> Self {
        self.try_clone().unwrap()
    }
}

impl Bounded for UnixStream {
    fn bound(&self, within: Duration) {
        self.set_read_timeout(Some(within)).unwrap();
        self.set_write_timeout(Some(within)).unwrap();
    }

    fn twin(&self) -> Self {
        self.try_clone().unwrap()
    }
}

/// Sends these bytes and reads the answer to its end
#[track_caller]
pub(crate) fn exchange(stream: impl Bounded, bytes: &[u8]) -> Response {
    try_exchange(stream, bytes).expect("no answer")
}

/// Sends these bytes and reads the answer to its end; `None` if there is none
pub(crate) fn try_exchange(mut stream: impl Bounded, bytes: &[u8]) -> Option<Response> {
    stream.bound(PATIENCE);
    let (mut writer, bytes) = (stream.twin(), bytes.to_vec());
    // It may be answered before it was read to its end.
    let writing = std::thread::spawn(move || drop(writer.write_all(&bytes)));
    let mut answer = Vec::new();
    // A reset after the answer takes nothing away from it.
    let _ = stream.read_to_end(&mut answer);
    drop(stream);
    drop(writing.join());
    read(&answer)
}

/// Serves one request after the other, each on a connection of its own: what is answered to head and body, and nothing if
/// it is broken off; the port
pub(crate) fn serve(mut answer: impl FnMut(&str, &[u8]) -> Option<Response> + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = serve_one(stream, &mut answer);
        }
    });
    port
}

fn serve_one(mut stream: TcpStream, answer: &mut impl FnMut(&str, &[u8]) -> Option<Response>) -> Option<()> {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        let mut some = [0_u8; 4096];
        let count = stream.read(&mut some).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&some[..count]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if bytes.len() >= end + 4 + length {
            break (head, bytes[end + 4..end + 4 + length].to_vec());
        }
    };
    let answer = answer(&head, &body)?;
    let text = if answer.body.is_empty() { String::new() } else { String::from_utf8(answer.body).unwrap() };
    let head = format!("HTTP/1.1 {} .\r\ncontent-type: application/json\r\nconnection: close\r\n", answer.status);
    let length = if answer.status == 204 { String::new() } else { format!("content-length: {}\r\n", text.len()) };
    write!(stream, "{head}{length}\r\n{text}").ok()
}

/// A header of a request's head
pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// An answer, if it is whole
pub(crate) fn read(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let rest = &answer[end + 4..];
    // Cut short, it is no answer.
    let body = if status == 204 {
        rest.is_empty().then(Vec::new)?
    } else if header("transfer-encoding") == Some("chunked") {
        unchunked(rest)?
    } else {
        let length: usize = header("content-length")?.parse().ok()?;
        (rest.len() == length).then(|| rest.to_vec())?
    };
    Some(Response { status, headers, body })
}

/// The chunks of a body put together; `None` if the last one is missing
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(rest.get(..line)?).ok()?, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let chunk = rest.get(line + 2..)?;
        body.extend_from_slice(chunk.get(..size)?);
        rest = chunk.get(size + 2..)?;
    }
}
