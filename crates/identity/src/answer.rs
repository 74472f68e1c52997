//! What a person said to exactly one question, so that an auditor can check it later without us.
//!
//! A *statement* says who answered what, how they were signed in, why and when. Its canonical text (RFC 8785) is
//! what everything rests on: the data folder's answer key signs it, and where a passkey is asked for, the challenge
//! that the passkey signs *is* the text's SHA-256. So a passkey's assertion is a yes to this question and to no
//! other, whoever holds the folder and its key.

use crate::{
    key::{PublicKey, SigningKey},
    passkey,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_core::{
    hash::Hash,
    names::Name,
    time::Millis,
    value::{self, Value},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How who answered was signed in
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// As the owner of the data folder, at its socket
    Socket,
    /// By a one-time link
    Link,
    /// With a passkey
    Passkey,
    /// By a signed message from another server
    Webhook,
}

/// What somebody says to one question
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// In which tenant
    pub tenant: Name,
    /// To which hold, `hold_…`
    pub hold: String,
    /// The digest over everything that was shown
    pub binding: Hash,
    /// Who
    pub user: Name,
    /// Yes or no
    pub yes: bool,
    /// How they were signed in
    pub how: How,
    /// What they gave as the reason; may be empty
    pub why: String,
    /// When
    pub at: Millis,
}

/// A statement's signature, as it is recorded
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// SHA-256 of the statement's text
    pub statement: Hash,
    /// The answer key of the data folder
    pub key: PublicKey,
    /// Its Ed25519 signature of the statement and of what the passkey said; standard base64
    pub signature: String,
    /// What the person's passkey said to exactly this statement, where it was used
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<passkey::Proof>,
}

/// Why a signature does not show that somebody said this
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The text is no statement
    #[error("this is no statement of an answer")]
    Form,
    /// Its number does not fit
    #[error("the text of the statement is not in its canonical form: {0}")]
    Canonical(value::Error),
    /// Another statement was signed
    #[error("another statement was signed")]
    Statement,
    /// Another key signed it
    #[error("it was signed with another key than the one that is trusted")]
    Key,
    /// The key did not make this signature
    #[error("the signature does not fit")]
    Signature,
    /// A passkey stands with it although the statement says that none was used
    #[error("the statement says that no passkey was used, but one stands with it")]
    How,
    /// What the passkey said does not hold
    #[error("the passkey's assertion does not hold")]
    Passkey(#[from] passkey::Wrong),
}

impl Statement {
    /// The canonical text, which is signed as it is
    #[must_use]
    pub fn text(&self) -> String {
        let text = |text: &str| Value::String(text.to_owned());
        let members = [
            ("v", Value::Number(VERSION.into())),
            ("tenant", text(self.tenant.as_str())),
            ("hold", text(&self.hold)),
            ("binding", text(&self.binding.to_string())),
            ("user", text(self.user.as_str())),
            ("answer", text(if self.yes { "yes" } else { "no" })),
            ("how", text(self.how.word())),
            ("why", text(&self.why)),
            ("at", Value::Number(self.at.0.into())),
        ];
        let members: BTreeMap<_, _> = members.map(|(key, value)| (key.to_owned(), value)).into();
        Value::canonical_object(&members)
    }

    /// SHA-256 of the text; what a passkey takes as its challenge
    #[must_use]
    pub fn digest(&self) -> Hash {
        Hash::of(self.text().as_bytes())
    }

    /// Reads a statement's text back
    ///
    /// # Errors
    /// [`Wrong::Form`] or [`Wrong::Canonical`]: it is not exactly what [`text`](Self::text) writes.
    pub fn parse(text: &[u8]) -> Result<Self, Wrong> {
        let text = std::str::from_utf8(text).map_err(|_| Wrong::Form)?;
        let value = Value::from_canonical(text).map_err(Wrong::Canonical)?;
        let number = |key| match value.get(key) {
            Some(Value::Number(number)) => number.to_i64(),
            _ => None,
        };
        let member = |key| value.get(key).and_then(Value::as_str);
        let read = || {
            Some(Self {
                tenant: member("tenant")?.parse().ok()?,
                hold: member("hold")?.to_owned(),
                binding: member("binding")?.parse().ok()?,
                user: member("user")?.parse().ok()?,
                yes: match member("answer")? {
                    "yes" => true,
                    "no" => false,
                    _ => return None,
                },
                how: How::ALL.into_iter().find(|how| member("how") == Some(how.word()))?,
                why: member("why")?.to_owned(),
                at: Millis(number("at")?),
            })
        };
        // That it is written the same again also finds members that do not belong there, and another version.
        read().filter(|statement| statement.text() == text).ok_or(Wrong::Form)
    }
}

impl How {
    const ALL: [Self; 4] = [Self::Socket, Self::Link, Self::Passkey, Self::Webhook];

    /// As it stands in statements
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Link => "link",
            Self::Passkey => "passkey",
            Self::Webhook => "webhook",
        }
    }
}

/// Signs what somebody said, once what their passkey said to it was found to hold
///
/// Who they are, and whether they may answer, has been found out before; also whether the passkey is theirs.
///
/// # Errors
/// [`Wrong::How`] or [`Wrong::Passkey`]: the proof is none for this statement.
pub fn sign(key: &SigningKey, statement: &Statement, passkey: Option<passkey::Proof>) -> Result<Signed, Wrong> {
    check_passkey(statement, passkey.as_ref())?;
    let text = statement.text();
    let signature = STANDARD.encode(key.sign(&message(text.as_bytes(), passkey.as_ref())));
    Ok(Signed { statement: Hash::of(text.as_bytes()), key: key.public_key(), signature, passkey })
}

/// Whether the folder with this answer key recorded exactly this statement, with everything that stands with it
///
/// Needs nothing but what it is given. What it cannot know: whose passkey it was. Compare
/// [`passkey::Proof::public_key`] with what was recorded when that user registered it.
///
/// # Errors
/// [`Wrong`]: the record shows no such answer.
pub fn verify(signed: &Signed, statement: &[u8], key: &PublicKey) -> Result<(), Wrong> {
    let said = Statement::parse(statement)?;
    if signed.statement != Hash::of(statement) {
        return Err(Wrong::Statement);
    }
    if signed.key != *key {
        return Err(Wrong::Key);
    }
    let signature = STANDARD.decode(&signed.signature).map_err(|_| Wrong::Signature)?;
    if !key.fits(&message(statement, signed.passkey.as_ref()), &signature) {
        return Err(Wrong::Signature);
    }
    check_passkey(&said, signed.passkey.as_ref())
}

fn check_passkey(statement: &Statement, passkey: Option<&passkey::Proof>) -> Result<(), Wrong> {
    match passkey {
        None => Ok(()),
        Some(_) if statement.how != How::Passkey => Err(Wrong::How),
        Some(proof) => Ok(proof.verify(&statement.digest().0)?),
    }
}

/// What the answer key signs: the text, and the digest of what the passkey said, so that it cannot be left out
///
/// A canonical text has no line break, so the two cannot be mistaken for one.
fn message(statement: &[u8], passkey: Option<&passkey::Proof>) -> Vec<u8> {
    let passkey = passkey.map(|proof| format!("\n{}", proof.digest()));
    [statement, passkey.unwrap_or_default().as_bytes()].concat()
}

const VERSION: i64 = 1;

#[cfg(test)]
mod tests;
