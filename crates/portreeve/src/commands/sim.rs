//! `portreeve sim`

use crate::{cli::Sim, failure::Failure};

pub(crate) fn run(_sim: &Sim, _as_json: bool) -> Result<u8, Failure> {
    Ok(0)
}
