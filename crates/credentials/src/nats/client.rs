//! As much of the NATS client protocol as finding out who is let in, and asking the system account, need.

use super::key::Key;
use crate::stream::{self, Stream};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    time::timeout,
};

/// A connection of somebody who was let in
#[derive(Debug)]
pub(super) struct Client {
    stream: BufReader<Stream>,
}

/// Why there is no connection, or no answer
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server said no, in its words
    Refused(String),
    /// It was not reached, or did not say what became of it
    Unknown(String),
}

/// How long one answer may take
const ANSWER: Duration = Duration::from_secs(10);
/// Bytes of a line, and of a message
const LINE_BYTES_MAX: u64 = 64 * 1024;
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

impl Trouble {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Refused(why) | Self::Unknown(why) => why,
        }
    }
}

fn broken(what: impl ToString) -> Trouble {
    Trouble::Unknown(what.to_string())
}

impl Client {
    /// Signs in
    pub(super) async fn connect(at: (&str, u16), tls: bool, who: (&str, &Key)) -> Result<Self, Trouble> {
        within(Self::enter(at, tls, who)).await
    }

    async fn enter(at: (&str, u16), tls: bool, (token, key): (&str, &Key)) -> Result<Self, Trouble> {
        let mut plain = stream::connect(at).await.map_err(Trouble::Unknown)?;
        // Byte by byte: what follows this line may be the handshake of TLS already.
        let info = greeting(&mut plain).await?;
        let stream: Stream =
            if tls { stream::secure(plain, at.0).await.map_err(Trouble::Unknown)? } else { Box::new(plain) };
        let nonce = info.get("nonce").and_then(Value::as_str).unwrap_or_default();
        let connect = json!({
            "verbose": false, "pedantic": false, "tls_required": tls, "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
            "name": "portreeve", "protocol": 1, "echo": false, "headers": true, "no_responders": true,
            "jwt": token, "sig": URL_SAFE_NO_PAD.encode(key.sign(nonce.as_bytes())),
        });
        let mut client = Self { stream: BufReader::new(stream) };
        client.say(&format!("CONNECT {connect}\r\nPING\r\n"), &[]).await?;
        while client.line().await? != "PONG" {}
        Ok(client)
    }

    /// What somebody answers to a request
    pub(super) async fn ask(&mut self, subject: &str, body: &[u8]) -> Result<Vec<u8>, Trouble> {
        let mut tail = [0_u8; 16];
        getrandom::fill(&mut tail).map_err(broken)?;
        let inbox = format!("_INBOX.{}", URL_SAFE_NO_PAD.encode(tail));
        within(self.exchange(subject, &inbox, body)).await
    }

    async fn exchange(&mut self, subject: &str, inbox: &str, body: &[u8]) -> Result<Vec<u8>, Trouble> {
        let head = format!("SUB {inbox} 1\r\nPUB {subject} {inbox} {}\r\n", body.len());
        self.say(&head, body).await?;
        self.say("\r\n", &[]).await?;
        loop {
            let line = self.line().await?;
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let size =
                |at: Option<&&str>| at.and_then(|size| size.parse().ok()).filter(|size| *size <= MESSAGE_BYTES_MAX);
            let (kind, head, size) = match words.as_slice() {
                [kind @ "MSG", .., all] => (*kind, Some(0), size(Some(all))),
                [kind @ "HMSG", .., head, all] => (*kind, size(Some(head)), size(Some(all))),
                _ => continue,
            };
            let size: usize = size.ok_or_else(|| broken("an answer is too long"))?;
            let mut message = vec![0; size.saturating_add(2)];
            self.stream.read_exact(&mut message).await.map_err(broken)?;
            message.truncate(size);
            if kind == "HMSG" && message.starts_with(b"NATS/1.0 503") {
                return Err(Trouble::Refused(format!("nobody answers to {subject}")));
            }
            self.say("UNSUB 1\r\n", &[]).await?;
            return Ok(message.split_off(head.unwrap_or(0).min(size)));
        }
    }

    async fn say(&mut self, text: &str, body: &[u8]) -> Result<(), Trouble> {
        let all = [text.as_bytes(), body].concat();
        self.stream.write_all(&all).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)
    }

    /// The next line; what the server wants meanwhile is answered
    async fn line(&mut self) -> Result<String, Trouble> {
        loop {
            let mut line = String::new();
            let read = (&mut self.stream).take(LINE_BYTES_MAX).read_line(&mut line).await.map_err(broken)?;
            if read == 0 {
                return Err(broken("the server closed the connection"));
            }
            let line = line.trim_end();
            if let Some(why) = line.strip_prefix("-ERR") {
                return Err(Trouble::Refused(why.trim().trim_matches('\'').to_owned()));
            }
            match line {
                "PING" => self.say("PONG\r\n", &[]).await?,
                other => return Ok(other.to_owned()),
            }
        }
    }
}

async fn within<T>(asking: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    timeout(ANSWER, asking).await.unwrap_or_else(|_| Err(broken("the server does not answer")))
}

/// What a server says of itself at first
async fn greeting(stream: &mut (impl AsyncRead + Unpin)) -> Result<Value, Trouble> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        if u64::try_from(line.len()).is_ok_and(|length| length >= LINE_BYTES_MAX) {
            return Err(broken("the server says too much"));
        }
        line.push(stream.read_u8().await.map_err(broken)?);
    }
    let info = line.strip_prefix(b"INFO ").and_then(|info| serde_json::from_slice(info).ok());
    info.ok_or_else(|| broken("that is no NATS server"))
}
