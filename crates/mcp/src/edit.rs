//! Edits of one message by ranges of its bytes.
//!
//! What no edit touches goes on byte for byte, whitespace, escapes, spellings of numbers and unknown members
//! included. Nothing is decoded and encoded again.

use crate::message::Message;
use portreeve_core::json::Json;

/// Edits of one text, made all at once by [`done`](Edit::done)
///
/// A path names members of objects. An edit never makes a second member of one name: it replaces the member
/// that is there, or adds one at the end of its object. A later edit of the same place wins.
#[derive(Debug)]
pub struct Edit<'m, 'a> {
    bytes: &'a [u8],
    root: &'m Json<'a>,
    change: Change,
}

/// What becomes of the members of one object
#[derive(Debug, Default)]
struct Change {
    /// The object's own members are all left out
    fresh: bool,
    /// In the order in which they were asked for
    members: Vec<(String, To)>,
}

/// What a member becomes
#[derive(Debug)]
enum To {
    /// This JSON
    Raw(String),
    /// Nothing
    Gone,
    /// An object with changes of its own
    Inside(Change),
}

impl<'m, 'a> Edit<'m, 'a> {
    /// No edits yet of the message that was read from `bytes`
    #[must_use]
    pub fn new(bytes: &'a [u8], message: &'m Message<'a>) -> Self {
        Self::of(bytes, message.root())
    }

    /// No edits yet of the text that `root` was read from
    #[must_use]
    pub fn of(bytes: &'a [u8], root: &'m Json<'a>) -> Self {
        Self { bytes, root, change: Change::default() }
    }

    /// Exchanges the message's id for this JSON
    pub fn id(&mut self, raw: &str) {
        self.set(&["id"], raw);
    }

    /// Inserts or replaces the member that `path` leads to by `json`, which is a JSON text already
    ///
    /// Objects on the way are made if they are absent; what is no object on the way becomes one.
    pub fn set(&mut self, path: &[&str], json: &str) {
        self.change.put(path, To::Raw(json.to_owned()));
    }

    /// Removes the member that `path` leads to, if it is there
    pub fn remove(&mut self, path: &[&str]) {
        self.change.put(path, To::Gone);
    }

    /// The text with all edits made
    #[must_use]
    pub fn done(self) -> Vec<u8> {
        let span = self.root.span();
        let mut out = Vec::with_capacity(self.bytes.len() + 64);
        out.extend_from_slice(self.bytes.get(..span.start).unwrap_or_default());
        self.write(Some(self.root), &self.change, &mut out);
        out.extend_from_slice(self.bytes.get(span.end..).unwrap_or_default());
        out
    }

    fn write(&self, base: Option<&Json<'a>>, change: &Change, out: &mut Vec<u8>) {
        let source = |from: usize, to: usize| self.bytes.get(from..to).unwrap_or_default();
        let base = base.filter(|_| !change.fresh).and_then(|base| Some((base.span(), base.as_object()?)));
        let (span, members) = base.unwrap_or_default();
        out.push(b'{');
        // What stands before the first member stands before whichever is the first one now.
        let lead = members.first().map_or(&[][..], |first| source(span.start + 1, first.key_offset()));
        let mut at = span.start + 1;
        let mut empty = true;
        for member in members {
            let value = member.value.span();
            let between = source(at, member.key_offset());
            at = value.end;
            let to = change.of(&member.key);
            if matches!(to, Some(To::Gone)) {
                continue;
            }
            out.extend_from_slice(if std::mem::take(&mut empty) { lead } else { between });
            out.extend_from_slice(source(member.key_offset(), value.start));
            match to {
                Some(To::Raw(raw)) => out.extend_from_slice(raw.as_bytes()),
                Some(To::Inside(inside)) if inside.fresh || inside.makes() || member.value.as_object().is_some() => {
                    self.write(Some(&member.value), inside, out);
                }
                _ => out.extend_from_slice(source(value.start, value.end)),
            }
        }
        for (key, to) in &change.members {
            if members.iter().any(|member| member.key == *key) || !to.makes() {
                continue;
            }
            if !std::mem::take(&mut empty) {
                out.push(b',');
            }
            out.extend_from_slice(quoted(key).as_bytes());
            out.push(b':');
            match to {
                To::Raw(raw) => out.extend_from_slice(raw.as_bytes()),
                To::Inside(inside) => self.write(None, inside, out),
                To::Gone => {}
            }
        }
        // The whitespace before the closing bracket, and the bracket.
        let tail = source(at, span.end);
        out.extend_from_slice(if tail.is_empty() { b"}" } else { tail });
    }
}

impl Change {
    fn put(&mut self, path: &[&str], to: To) {
        let Some((key, rest)) = path.split_first() else { return };
        let place = match self.members.iter_mut().position(|(known, _)| known == key) {
            Some(place) => place,
            None => {
                let first = if rest.is_empty() { To::Gone } else { To::Inside(Self::default()) };
                self.members.push(((*key).to_owned(), first));
                self.members.len() - 1
            }
        };
        let Some((_, member)) = self.members.get_mut(place) else { return };
        if rest.is_empty() {
            *member = to;
            return;
        }
        if !matches!(member, To::Inside(_)) {
            if matches!(to, To::Gone) {
                return;
            }
            *member = To::Inside(Self { fresh: true, members: Vec::new() });
        }
        if let To::Inside(inside) = member {
            inside.put(rest, to);
        }
    }

    fn of(&self, key: &str) -> Option<&To> {
        self.members.iter().find(|(known, _)| known == key).map(|(_, to)| to)
    }

    /// Whether anything is there afterwards that an absent object would have to be made for
    fn makes(&self) -> bool {
        self.members.iter().any(|(_, to)| to.makes())
    }
}

impl To {
    fn makes(&self) -> bool {
        match self {
            Self::Raw(_) => true,
            Self::Gone => false,
            Self::Inside(inside) => inside.makes(),
        }
    }
}

/// A text as a JSON string
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
