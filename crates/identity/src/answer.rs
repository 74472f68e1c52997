//! What a person said to exactly one question, so that an auditor can check it later without us.
//!
//! A *statement* says who answered what, how, why and when. Its canonical text (RFC 8785) is what everything rests on:
//! the data folder's answer key signs it, and where a passkey was used, the challenge that the passkey signed *is* the
//! text's SHA-256. So a passkey's assertion is a yes to this question and to no other, whoever holds the folder and
//! its key.
//!
//! [`How::Passkey`] in a statement means that a passkey signed this very statement: it does not stand there without
//! the proof, nor the proof without it. That somebody had *signed in* with a passkey is not enough for it.

use crate::{
    key::{PublicKey, SigningKey, Unsigned},
    passkey::{self, Proof},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_core::{
    event::{How, Signed},
    hash::Hash,
    names::{HoldId, Name},
    time::Millis,
    value::{self, Value},
};
use std::collections::BTreeMap;

/// What somebody says to one question
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// In which tenant
    pub tenant: Name,
    /// To which question
    pub hold: HoldId,
    /// The digest over everything that was shown
    pub binding: Hash,
    /// Who
    pub user: Name,
    /// Yes or no
    pub yes: bool,
    /// How it is known that it was them
    pub how: How,
    /// What they gave as the reason; may be empty
    pub why: String,
    /// When
    pub at: Millis,
}

/// Why a signature does not show that somebody said this
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The text is no statement
    #[error("this is no statement of an answer")]
    Form,
    /// It is not written as we write
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
    /// What stands beside the statement contradicts it
    #[error("how or when it was answered is not what the statement says")]
    Beside,
    /// The statement says that a passkey signed it and none did, or the other way round
    #[error("whether a passkey signed it is not what the statement says")]
    How,
    /// The answer key did not sign
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
    /// What the passkey said does not hold
    #[error("the passkey's assertion does not hold: {0}")]
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
            ("hold", text(&self.hold.to_string())),
            ("binding", text(&self.binding.to_string())),
            ("user", text(self.user.as_str())),
            ("answer", text(if self.yes { "yes" } else { "no" })),
            ("how", how_value(&self.how)),
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
                hold: member("hold")?.parse().ok()?,
                binding: member("binding")?.parse().ok()?,
                user: member("user")?.parse().ok()?,
                yes: match member("answer")? {
                    "yes" => true,
                    "no" => false,
                    _ => return None,
                },
                how: how_of(value.get("how")?)?,
                why: member("why")?.to_owned(),
                at: Millis(number("at")?),
            })
        };
        // That it is written the same again also finds members that do not belong there, and another version.
        read().filter(|statement| statement.text() == text).ok_or(Wrong::Form)
    }
}

/// Signs what somebody said, once what their passkey said to it was found to hold
///
/// Who they are, and whether they may answer, has been found out before; also whether the passkey is theirs
/// ([`passkey::Passkeys::check`]). `read_ms` is how long they had the question in front of them, in milliseconds.
///
/// # Errors
/// [`Wrong::How`] or [`Wrong::Passkey`]: the proof is none for this statement, or is missing; [`Wrong::Unsigned`]: there
/// is nobody to sign.
pub fn sign(
    key: &SigningKey,
    statement: &Statement,
    passkey: Option<&Proof>,
    read_ms: Option<u32>,
) -> Result<Signed, Wrong> {
    check_passkey(statement, passkey)?;
    let text = statement.text();
    Ok(Signed {
        how: statement.how.clone(),
        at: statement.at,
        read_ms,
        statement: Hash::of(text.as_bytes()),
        key: key.public_key().to_string(),
        signature: STANDARD.encode(key.sign(text.as_bytes())?),
        passkey: passkey.map(Proof::record),
    })
}

/// Whether the folder with this answer key recorded exactly this statement, and a passkey signed it if it says so
///
/// Needs nothing but what it is given. What it cannot know: whose passkey it was. Compare the public key in the record
/// with what was recorded when that user registered it.
///
/// # Errors
/// [`Wrong`]: the record shows no such answer.
pub fn verify(signed: &Signed, statement: &[u8], key: &PublicKey) -> Result<(), Wrong> {
    let said = Statement::parse(statement)?;
    if signed.statement != Hash::of(statement) {
        return Err(Wrong::Statement);
    }
    if signed.key != key.to_string() {
        return Err(Wrong::Key);
    }
    let signature = STANDARD.decode(&signed.signature).map_err(|_| Wrong::Signature)?;
    if !key.fits(statement, &signature) {
        return Err(Wrong::Signature);
    }
    if signed.how != said.how || signed.at != said.at {
        return Err(Wrong::Beside);
    }
    let proof = signed.passkey.as_ref().map(Proof::of_record).transpose()?;
    check_passkey(&said, proof.as_ref())
}

fn check_passkey(statement: &Statement, passkey: Option<&Proof>) -> Result<(), Wrong> {
    match (&statement.how, passkey) {
        (How::Passkey, Some(proof)) => Ok(proof.verify(&statement.digest().0)?),
        // Who else may hold the passkey is found in the record; it is nothing that they say.
        (How::HandedPasskey { .. } | How::Passkey, None) | (_, Some(_)) => Err(Wrong::How),
        (How::Socket | How::Link | How::Handed { .. } | How::Oidc { .. } | How::Webhook { .. }, None) => Ok(()),
    }
}

/// As events write it
fn how_value(how: &How) -> Value {
    let text = |text: &str| Value::String(text.to_owned());
    let object = |key: &str, value| Value::Object([(key.to_owned(), value)].into());
    match how {
        How::Socket => text("socket"),
        How::Link => text("link"),
        How::Handed { by } => object("handed", object("by", text(by))),
        How::Passkey => text("passkey"),
        How::HandedPasskey { by, fingerprint } => {
            let members = [("by", by.clone()), ("fingerprint", fingerprint.to_string())];
            let members = members.map(|(key, value)| (key.to_owned(), Value::String(value)));
            object("handed_passkey", Value::Object(members.into()))
        }
        How::Oidc { issuer, subject } => {
            let members = [("issuer", issuer.to_string()), ("subject", subject.clone())];
            let members = members.map(|(key, value)| (key.to_owned(), Value::String(value)));
            object("oidc", Value::Object(members.into()))
        }
        How::Webhook { receiver } => object("webhook", object("receiver", text(receiver.as_str()))),
    }
}

fn how_of(value: &Value) -> Option<How> {
    match value.as_str() {
        Some("socket") => Some(How::Socket),
        Some("link") => Some(How::Link),
        Some("passkey") => Some(How::Passkey),
        Some(_) => None,
        None if value.get("handed").is_some() => {
            Some(How::Handed { by: value.get("handed")?.get("by")?.as_str()?.to_owned() })
        }
        None if value.get("handed_passkey").is_some() => {
            let member = |key| value.get("handed_passkey")?.get(key)?.as_str();
            Some(How::HandedPasskey { by: member("by")?.to_owned(), fingerprint: member("fingerprint")?.parse().ok()? })
        }
        None if value.get("oidc").is_some() => {
            let member = |key| value.get("oidc")?.get(key)?.as_str();
            Some(How::Oidc { issuer: member("issuer")?.parse().ok()?, subject: member("subject")?.to_owned() })
        }
        None => Some(How::Webhook { receiver: value.get("webhook")?.get("receiver")?.as_str()?.parse().ok()? }),
    }
}

const VERSION: i64 = 1;

#[cfg(test)]
mod tests;
