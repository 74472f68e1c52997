//! A long answer passed on while it arrives.
//!
//! It is checked on the way as strictly as one that is read whole, and what leaves is byte for byte what
//! [`answer`](crate::translate::answer) would have made of it. The last bracket waits for the end. So if it turns out not
//! to be valid, what left already is no whole message, and no client can have read anything from it.

mod syntax;

use crate::{
    message::ENVELOPE,
    method::Method,
    outcome::{DECIDING, URLS_REQUIRED, code_for},
    translate::{Member, ToClient, drops_structured},
    version::{Era, Version},
};
use portreeve_core::{
    hash::{Hash, Hasher},
    json::{self, Json, Limits},
};
use syntax::{Event, Syntax};

/// An answer of a connector that is passed on while it arrives
#[derive(Debug)]
pub struct Flow {
    syntax: Syntax,
    client: Client,
    own: u64,
    mode: Mode,
    seen: Seen,
    /// The member of the envelope, and of the result or error, that is being read
    outer: String,
    inner: String,
    /// Bytes whose fate is open: what is between two members of the result, and a key
    held: Vec<u8>,
    /// What stood before the key that is held
    between: Vec<u8>,
    /// What stood before the first key
    lead: Option<Vec<u8>>,
    /// No member of the result left yet
    empty: bool,
    /// A value that has to be known whole
    value: Vec<u8>,
    hashing: Hasher,
    /// Bytes of the result or error that came last and are not in the digest yet
    unhashed: usize,
    bytes: u64,
}

#[derive(Debug)]
struct Client {
    id: String,
    from: Version,
    version: Version,
    method: Method,
    ttl_ms_max: u64,
}

/// What becomes of the bytes that are read
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// They leave
    Pass,
    /// They wait
    Hold,
    /// They leave, and are remembered as far as they matter
    Watch,
    /// They are remembered, and something else may leave
    Capture,
    /// They do not leave
    Drop,
}

#[derive(Debug, Default)]
struct Seen {
    jsonrpc: bool,
    id: bool,
    result: bool,
    error: bool,
    code: bool,
    failed: bool,
    kind: bool,
    ttl: bool,
    scope: bool,
    /// Between the brackets of the result or error
    within: bool,
}

/// The answer cannot be passed on further: it is no valid one
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It is no JSON, or JSON that two parsers could read differently
    #[error("the answer is no valid JSON at byte {0}")]
    Json(usize),
    /// It is no answer to the request
    #[error("the answer {0}")]
    Message(&'static str),
    /// It is larger than the limits
    #[error("the answer is larger than the limits")]
    Limit,
}

/// What an answer was that has been passed on
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flowed {
    /// Whether the connector says that it did not succeed
    pub failed: bool,
    /// Whether it is an error of the protocol
    pub error: bool,
    /// Length of the result or error as it arrived
    pub bytes: u64,
    /// SHA-256 of the result or error as it arrived
    pub digest: Hash,
}

/// Bytes that are held or remembered at most
const HELD_BYTES_MAX: usize = 128 << 10;
/// Bytes of a value that has to be known whole, at most
const VALUE_BYTES_MAX: usize = 1024;

impl Flow {
    /// The answer to the request of ours with the id `own`, on its way to a client
    ///
    /// Only an end can be passed on like this. Questions and tasks are small, and have to be read whole; an answer that
    /// is one breaks.
    #[must_use]
    pub fn new(own: u64, to: &ToClient<'_>, limits: Limits) -> Self {
        Self {
            syntax: Syntax::new(limits),
            client: Client {
                id: to.id.to_owned(),
                from: to.from,
                version: to.version,
                method: to.method,
                ttl_ms_max: to.ttl_ms_max,
            },
            own,
            mode: Mode::Pass,
            seen: Seen::default(),
            outer: String::new(),
            inner: String::new(),
            held: Vec::new(),
            between: Vec::new(),
            lead: None,
            empty: true,
            value: Vec::new(),
            hashing: Hasher::default(),
            unhashed: 0,
            bytes: 0,
        }
    }

    /// Takes the next bytes and appends to `out` what may leave
    ///
    /// # Errors
    /// [`Broken`]: nothing more may leave.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            match rest.split_at_checked(self.syntax.run(rest)?) {
                Some((run @ [_, ..], after_run)) => {
                    self.emit(run, out)?;
                    rest = after_run;
                }
                _ => {
                    self.byte(*byte, out)?;
                    rest = after;
                }
            }
            if !self.seen.within && self.unhashed > 0 {
                self.hash(bytes.len() - rest.len(), bytes);
            }
        }
        self.hash(bytes.len(), bytes);
        Ok(())
    }

    /// Takes the bytes of the result or error before `end` into the digest: many at once, since each time costs
    fn hash(&mut self, end: usize, bytes: &[u8]) {
        let count = std::mem::take(&mut self.unhashed);
        self.hashing.update(bytes.get(end.saturating_sub(count)..end).unwrap_or_default());
        self.bytes += count as u64;
    }

    /// The answer is over; what is appended to `out` makes it whole for the client
    ///
    /// # Errors
    /// [`Broken`]: it is not whole.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<Flowed, Broken> {
        if !self.syntax.is_whole() {
            return Err(Broken::Message("ends too early"));
        }
        let seen = &self.seen;
        if !seen.jsonrpc || !seen.id || seen.result == seen.error || (seen.error && !seen.code) {
            return Err(Broken::Message("is no answer to the request"));
        }
        out.extend_from_slice(&self.held);
        Ok(Flowed {
            failed: seen.failed || seen.error,
            error: seen.error,
            bytes: self.bytes,
            digest: self.hashing.finish(),
        })
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), Broken> {
        if let Some(level) = self.syntax.number_ends(byte)? {
            self.value_ended(level, out)?;
        }
        let event = self.syntax.step(byte)?;
        match event {
            Event::KeyBegins if self.mode == Mode::Hold => {
                self.between = std::mem::take(&mut self.held);
                self.lead.get_or_insert_with(|| self.between.clone());
            }
            Event::ValueBegins(level) => self.value_begins(level, byte, out)?,
            Event::ValueEnds(1) if self.seen.within => self.members_end(out)?,
            // Only a message that is known to be good becomes whole for the client.
            Event::ValueEnds(0) => self.mode = Mode::Hold,
            _ => {}
        }
        self.emit(&[byte], out)?;
        match event {
            Event::KeyEnds => self.key_ended()?,
            // After the bracket left: what follows it has to wait for the first key.
            Event::ValueBegins(1) if self.is_content() => self.mode = Mode::Hold,
            Event::ValueEnds(level) => self.value_ended(level, out)?,
            _ => {}
        }
        Ok(())
    }

    /// The bytes go where they go now
    fn emit(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
        if self.seen.within {
            self.unhashed += bytes.len();
        }
        match self.mode {
            Mode::Pass => out.extend_from_slice(bytes),
            Mode::Hold => {
                self.held.extend_from_slice(bytes);
                if self.held.len() > HELD_BYTES_MAX {
                    return Err(Broken::Limit);
                }
            }
            Mode::Watch => {
                out.extend_from_slice(bytes);
                // One more than could matter, so that a longer value is never taken for its beginning.
                let room = (VALUE_BYTES_MAX + 1).saturating_sub(self.value.len());
                self.value.extend(bytes.iter().take(room));
            }
            Mode::Capture => {
                self.value.extend_from_slice(bytes);
                if self.value.len() > VALUE_BYTES_MAX {
                    return Err(Broken::Limit);
                }
            }
            Mode::Drop => {}
        }
        Ok(())
    }

    fn key_ended(&mut self) -> Result<(), Broken> {
        let (outer, inner) = (self.syntax.level() == 1, self.syntax.level() == 2 && self.seen.within);
        if !outer && !inner {
            return Ok(());
        }
        let key = self.syntax.key().ok_or(Broken::Message("has a key that cannot be read"))?;
        if outer {
            if json::confusable_with(&key, &ENVELOPE).is_some() || key == "method" {
                return Err(Broken::Message("has a member that no answer has"));
            }
            self.outer = key;
        } else {
            if self.seen.result && json::confusable_with(&key, &DECIDING).is_some() {
                return Err(Broken::Message("has a member that only looks like one of the protocol"));
            }
            self.inner = key;
        }
        Ok(())
    }

    fn is_content(&self) -> bool {
        matches!(self.outer.as_str(), "result" | "error")
    }

    fn value_begins(&mut self, level: usize, byte: u8, out: &mut Vec<u8>) -> Result<(), Broken> {
        match level {
            0 if byte != b'{' => return Err(Broken::Message("is no message")),
            1 => {
                self.value.clear();
                match self.outer.as_str() {
                    "id" => self.mode = Mode::Capture,
                    "jsonrpc" => self.mode = Mode::Watch,
                    "result" | "error" => {
                        if byte != b'{' {
                            return Err(Broken::Message("has a result or error that is no object"));
                        }
                        self.seen.within = true;
                        if self.outer == "result" {
                            self.seen.result = true
                        } else {
                            self.seen.error = true
                        }
                        if self.seen.result && self.seen.error {
                            return Err(Broken::Message("has both a result and an error"));
                        }
                    }
                    _ => {}
                }
            }
            2 if self.seen.within => {
                let fate = self.fate(byte);
                let (between, held) = (std::mem::take(&mut self.between), std::mem::take(&mut self.held));
                if fate != Mode::Drop {
                    let first = std::mem::take(&mut self.empty);
                    out.extend_from_slice(if first { self.lead.as_deref().unwrap_or_default() } else { &between });
                    out.extend_from_slice(&held);
                }
                self.value.clear();
                self.mode = fate;
            }
            _ => {}
        }
        Ok(())
    }

    /// What becomes of the member of the result or error that begins with this byte
    fn fate(&mut self, first: u8) -> Mode {
        let cached = self.client.version.era() == Era::Modern && self.client.method.is_cacheable();
        if self.seen.error {
            return if self.inner == "code" { Mode::Capture } else { Mode::Pass };
        }
        match self.inner.as_str() {
            "resultType" | "isError" => Mode::Watch,
            "ttlMs" | "cacheScope" if cached => Mode::Capture,
            "structuredContent" => {
                let first = [first];
                let first = std::str::from_utf8(&first).ok();
                self.with(|to| if drops_structured(first, to) { Mode::Drop } else { Mode::Pass })
            }
            _ => Mode::Pass,
        }
    }

    fn with<T>(&self, read: impl FnOnce(&ToClient<'_>) -> T) -> T {
        let Client { id, from, version, method, ttl_ms_max } = &self.client;
        let (from, version, method, ttl_ms_max) = (*from, *version, *method, *ttl_ms_max);
        read(&ToClient { id, from, version, method, state: None, ttl_ms_max })
    }

    /// After the last byte of a value
    fn value_ended(&mut self, level: usize, out: &mut Vec<u8>) -> Result<(), Broken> {
        match level {
            1 if self.seen.within => self.seen.within = false,
            1 => self.envelope_value(out)?,
            2 if self.seen.within => {
                self.member_value(out)?;
                self.mode = Mode::Hold;
            }
            _ => {}
        }
        Ok(())
    }

    fn envelope_value(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        let value = std::mem::take(&mut self.value);
        let text = std::str::from_utf8(&value).unwrap_or_default();
        match self.outer.as_str() {
            "id" => {
                if text.parse() != Ok(self.own) {
                    return Err(Broken::Message("answers another request"));
                }
                self.seen.id = true;
                out.extend_from_slice(self.client.id.as_bytes());
            }
            "jsonrpc" => {
                if string(&value).as_deref() != Some("2.0") {
                    return Err(Broken::Message("is no message of JSON-RPC 2.0"));
                }
                self.seen.jsonrpc = true;
            }
            _ => {}
        }
        self.mode = Mode::Pass;
        Ok(())
    }

    fn member_value(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        let value = std::mem::take(&mut self.value);
        let text = std::str::from_utf8(&value).unwrap_or_default();
        match (self.inner.as_str(), self.mode) {
            ("code", Mode::Capture) => {
                let code: i64 = text.parse().map_err(|_| Broken::Message("has an error without a code"))?;
                let (from, method) = (self.client.from, self.client.method);
                if code == URLS_REQUIRED && from.era() == Era::Legacy && method.may_ask() {
                    return Err(Broken::Message("asks back, and has to be read whole"));
                }
                self.seen.code = true;
                let told = code_for(code, self.client.version);
                out.extend_from_slice(if told == code { text.to_owned() } else { told.to_string() }.as_bytes());
            }
            ("resultType", Mode::Watch) => {
                self.seen.kind = true;
                if string(&value).as_deref() != Some("complete") {
                    return Err(Broken::Message("is no end, and has to be read whole"));
                }
            }
            ("isError", Mode::Watch) => self.seen.failed = text == "true",
            ("ttlMs", Mode::Capture) => {
                self.seen.ttl = true;
                let told = self.with(|to| Member::Ttl.becomes(Some(text), true, to));
                out.extend_from_slice(told.as_deref().unwrap_or(text).as_bytes());
            }
            ("cacheScope", Mode::Capture) => {
                self.seen.scope = true;
                let told = self.with(|to| Member::Scope.becomes(Some(text), true, to));
                out.extend_from_slice(told.as_deref().unwrap_or(text).as_bytes());
            }
            _ => {}
        }
        Ok(())
    }

    /// Before the closing bracket of the result or error: what is missing is added, and what waited leaves
    fn members_end(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        if self.mode != Mode::Hold {
            return Err(Broken::Message("cannot be read"));
        }
        if self.seen.result {
            let members = [
                ("resultType", Member::Type, self.seen.kind),
                ("ttlMs", Member::Ttl, self.seen.ttl),
                ("cacheScope", Member::Scope, self.seen.scope),
            ];
            for (key, member, _) in members.into_iter().filter(|(_, _, seen)| !seen) {
                let Some(json) = self.with(|to| member.becomes(None, true, to)) else { continue };
                if !std::mem::take(&mut self.empty) {
                    out.push(b',');
                }
                out.extend_from_slice(format!("\"{key}\":{json}").as_bytes());
            }
        }
        out.append(&mut self.held);
        self.mode = Mode::Pass;
        Ok(())
    }
}

/// A string as it was written, unescaped
fn string(raw: &[u8]) -> Option<String> {
    let limits = Limits { bytes_max: VALUE_BYTES_MAX, ..Limits::DEFAULT };
    json::scan_distinct(raw, &limits).ok().as_ref().and_then(Json::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests;
