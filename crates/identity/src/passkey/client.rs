//! Client data (5.8.1): what the browser says of where and for what a passkey was used.

use super::{RelyingParty, Wrong};
use crate::base64url;
use portreeve_core::json::{self, Json, Limits};

/// What was asked of the browser
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To make a key
    Create,
    /// To sign with one
    Get,
}

/// For this request, this challenge and this site, and not inside of another (7.1, steps 7 to 11; 7.2, steps 10 to 14)
///
/// Members that are unknown are let pass (5.8.1: it may be extended); none may stand there twice.
pub(super) fn check(text: &[u8], kind: Kind, challenge: &[u8], party: &RelyingParty) -> Result<(), Wrong> {
    let data = read(text)?;
    let string = |key| data.get(key).and_then(Json::as_str).ok_or(FORM);
    let kind = match kind {
        Kind::Create => "webauthn.create",
        Kind::Get => "webauthn.get",
    };
    if string("type")? != kind {
        return Err(Wrong::Kind);
    }
    if string("challenge")? != base64url::encode(challenge) {
        return Err(Wrong::Challenge);
    }
    let origin = string("origin")?;
    if origin != party.origin() {
        return Err(Wrong::Origin(origin.chars().take(200).collect()));
    }
    let framed = match data.get("crossOrigin") {
        None => false,
        Some(framed) => framed.as_bool().ok_or(FORM)?,
    };
    if framed || data.get("topOrigin").is_some() {
        return Err(Wrong::Framed);
    }
    Ok(())
}

/// The challenge that the browser says it was given; nothing is shown by it
pub(super) fn challenge(text: &[u8]) -> Option<Vec<u8>> {
    base64url::decode(read(text).ok()?.get("challenge")?.as_str()?)
}

/// Where the browser says it was
pub(super) fn origin(text: &[u8]) -> Result<String, Wrong> {
    read(text)?.get("origin").and_then(Json::as_str).map(str::to_owned).ok_or(FORM)
}

fn read(text: &[u8]) -> Result<Json<'_>, Wrong> {
    json::scan_distinct(text, &LIMITS).ok().filter(|data| data.as_object().is_some()).ok_or(FORM)
}

const FORM: Wrong = Wrong::Form("client data");
const LIMITS: Limits = Limits { bytes_max: 16 << 10, depth_max: 8, nodes_max: 256 };
