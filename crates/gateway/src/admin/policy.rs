//! Putting policy into force: the directory once it is green, or an earlier version from the record.

use super::{Admin, Answer, Failure, Shared, Who, change};
use crate::{
    door::TheEngine,
    history::{Directory, history},
};
use axum::{Json, extract::State, http::StatusCode};
use portreeve_core::{
    engine::Bundles as _,
    hash::Hash,
    log::Log as _,
    names::{Name, ToolName},
    policy::Deed,
    request::ChangeWhat,
};
use portreeve_rules::{Finding, Reader};
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Puts the directory into force, if it is without errors and every case in it is borne out
pub(super) async fn apply(State(admin): Shared, who: Who) -> Answer {
    // Which of the two roles it takes depends on what differs; that is judged when it is known.
    who.may(&admin, Deed::Register, "policy").await?;
    let policy = admin.settings.policy.clone();
    let loading = tokio::task::spawn_blocking(move || {
        let loaded = portreeve_rules::load(&policy)?;
        let failed = loaded.run_cases();
        Ok((loaded, failed))
    });
    let loaded: Result<_, Vec<Finding>> = loading.await.map_err(|_| Failure::unavailable())?;
    let (loaded, failed) = loaded.map_err(|findings| {
        let what = "The policy has errors; the one in force stays.";
        red("policy_broken", what, "Mend what `portreeve policy check` shows.", &findings)
    })?;
    if failed.iter().any(Finding::is_error) {
        let what = format!("{} of {} cases fail; the policy in force stays.", failed.len(), loaded.cases());
        return Err(red(
            "cases_failed",
            &what,
            "Mend the policy or the cases; `portreeve policy check` runs them.",
            &failed,
        ));
    }
    let names: Vec<Name> = loaded.pins.keys().cloned().collect();
    let accepted = admin.door.ask(move |engine| accepted(engine, names)).await.ok_or_else(Failure::unavailable)?;
    let drift = loaded.drift(|name| accepted.get(name).cloned());
    if drift.iter().any(Finding::is_error) {
        let what = "Definitions in the policy are not those that were accepted; the policy in force stays.";
        return Err(red("pins_differ", what, "Accept them, or put the files back, as said for each.", &drift));
    }
    let before = in_force(&admin).await?;
    let (digest, cases) = (loaded.bundle.digest, loaded.cases());
    let warnings = [loaded.warnings, drift].concat();
    let what = ChangeWhat::Bundle { bundle: Arc::clone(&loaded.bundle), blob: loaded.blob };
    let proposed = change(&admin, &who, what).await?.map(proposed);
    let shown: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    Ok(Json(json!({
        "bundle": digest, "before": before, "cases": cases, "warnings": warnings, "shown": shown, "proposed": proposed,
    })))
}

/// How many people want it in force, and how many have to
fn proposed((have, of): (u8, u8)) -> serde_json::Value {
    json!({ "have": have, "of": of })
}

/// The digests that were accepted of the connectors that are in force, by tool
pub(crate) fn accepted(engine: &TheEngine, names: Vec<Name>) -> BTreeMap<Name, BTreeMap<ToolName, Hash>> {
    let state = engine.state();
    let in_force = engine.shelf().current(state);
    let names = names.into_iter().filter(|name| in_force.is_some_and(|bundle| bundle.connectors.contains_key(name)));
    let digests = |name: &Name| state.pins_of(name).map(|(tool, pin)| (tool.clone(), pin.accepted)).collect();
    names.map(|name| (name.clone(), digests(&name))).collect()
}

fn red(word: &str, message: &str, remedy: &str, findings: &[Finding]) -> Failure {
    let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let error = json!({ "word": word, "message": message, "remedy": remedy, "shown": shown, "findings": findings });
    Failure::with(StatusCode::UNPROCESSABLE_ENTITY, error)
}

async fn in_force(admin: &Admin) -> Result<Option<Hash>, Failure> {
    admin.door.ask(|engine| engine.state().bundle()).await.ok_or_else(Failure::unavailable)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rollback {
    /// The digest of a version that was in force before, or how it begins
    digest: String,
}

/// Digits that name a version at least
const DIGITS_MIN: usize = 8;

/// Puts a version into force again that was in force before, out of the record
///
/// Neither the directory nor its cases are asked.
pub(super) async fn rollback(State(admin): Shared, who: Who, Json(ask): Json<Rollback>) -> Answer {
    who.may(&admin, Deed::Register, "policy").await?;
    let digest = named(&admin, ask.digest).await?;
    let before = in_force(&admin).await?;
    let mut wanted = None;
    if before != Some(digest) {
        let blob = admin.door.ask(move |engine| engine.log().blob(digest).ok().flatten()).await;
        let blob = blob.ok_or_else(Failure::unavailable)?;
        let read = tokio::task::spawn_blocking(move || match blob {
            Some(blob) => Reader.read(digest, &blob),
            None => Err("the record does not hold it any more".to_owned()),
        });
        let bundle = read.await.map_err(|_| Failure::unavailable())?.map_err(|why| {
            let message = format!("The version {} cannot be put into force: {why}", digest.short());
            let remedy = "Choose another one of `portreeve policy history`; the policy in force stays.";
            Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "bundle_unreadable", message, remedy)
        })?;
        wanted = change(&admin, &who, ChangeWhat::Back { bundle }).await?.map(proposed);
    }
    let directory = directory(&admin).await?;
    Ok(Json(json!({ "bundle": digest, "before": before, "directory": directory, "proposed": wanted })))
}

/// The version that was in force before and whose digest begins so
async fn named(admin: &Admin, prefix: String) -> Result<Hash, Failure> {
    if prefix.len() < DIGITS_MIN || !prefix.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(Failure::malformed(format!("a version is named by at least {DIGITS_MIN} digits of its digest")));
    }
    let data = admin.settings.data.clone();
    let known = tokio::task::spawn_blocking(move || history(&data)).await.map_err(|_| Failure::unavailable())?;
    let known = known.map_err(|error| {
        let remedy = "See where with `portreeve audit verify`.";
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "log_unusable", error.to_string(), remedy)
    })?;
    let digests: BTreeSet<Hash> = known.into_iter().map(|applied| applied.bundle).collect();
    let mut fitting = digests.into_iter().filter(|digest| digest.to_string().starts_with(&prefix));
    let list = "List them with `portreeve policy history`.";
    match (fitting.next(), fitting.next()) {
        (Some(digest), None) => Ok(digest),
        (None, _) => {
            let message = format!("No version that was ever in force here begins with {prefix}.");
            Err(Failure::new(StatusCode::NOT_FOUND, "bundle_unknown", message, list))
        }
        (Some(_), Some(_)) => {
            let message = format!("Several versions begin with {prefix}.");
            Err(Failure::new(StatusCode::CONFLICT, "digest_ambiguous", message, "Give more digits of it."))
        }
    }
}

/// How the directory stands to what is in force
pub(super) async fn directory(admin: &Admin) -> Result<Directory, Failure> {
    let found = admin.door.ask(|engine| (engine.state().bundle(), engine.state().directory())).await;
    let (in_force, applied) = found.ok_or_else(Failure::unavailable)?;
    let policy = admin.settings.policy.clone();
    let compared = tokio::task::spawn_blocking(move || Directory::compare(&policy, in_force, applied)).await;
    compared.map_err(|_| Failure::unavailable())
}
