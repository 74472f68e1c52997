//! What pages have in common that use passkeys.

use crate::{Console, desk::Problem};
use portreeve_identity::{
    Bearer,
    passkey::{Assertion, Checked, Refused},
};
use std::sync::Arc;

/// Whose passkey signed the challenge: somebody's, or where nobody is signed in yet, anybody's
pub(crate) async fn whose(
    console: &Console,
    expected: Option<Bearer>,
    assertion: Assertion,
    challenge: [u8; 32],
) -> Result<Checked, Problem> {
    let party = console.desk.party().cloned().ok_or_else(none_here)?;
    let (passkeys, now) = (Arc::clone(console.desk.passkeys()), console.desk.now());
    // What it has counted is written before it counts.
    on_disk(move || passkeys.check(&party, expected.as_ref(), &challenge, assertion, now)).await
}

/// Does what waits for the disk where nobody else waits for it
pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|why| refused(&why)),
        Err(_) => Err(Problem::new(503, "unavailable", "Portreeve is ending.", "Start it again.")),
    }
}

/// Why a passkey counts for nothing
pub(crate) fn refused(why: &Refused) -> Problem {
    let (status, remedy) = match why {
        Refused::Store(_) => (503, "Look at the data folder: it has to be writable, and its owner's alone."),
        Refused::Full => (409, "Remove one that you do not need."),
        Refused::Known => (409, "Use it."),
        Refused::Label => (422, "Give it a short name."),
        Refused::Randomness => (503, "Try again."),
        _ => (403, "Try again, with a passkey that is registered for you here."),
    };
    let mut message = why.to_string();
    if let Some(first) = message.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Problem::new(status, "passkey_refused", format!("{message}."), remedy)
}

/// Browsers have passkeys for names only, and over https or on this machine
pub(crate) fn none_here() -> Problem {
    let message = "Browsers use no passkeys at this address.";
    Problem::new(409, "passkey_refused", message, "Open the console at http://localhost, or at a name over https.")
}
