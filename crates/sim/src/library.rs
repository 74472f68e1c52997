//! Versions by digest, and snapshots: what the core reads back after a crash.

use crate::{
    options::Sabotage,
    versions::{self, Version},
};
use portreeve_core::{
    engine::{Bundles, Snapshots},
    hash::Hash,
    node::Node,
    policy::Bundle,
    state::State,
};
use serde_json::Value;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
    sync::Arc,
};

/// Every version of the policy, and which of them can be read at the moment
#[derive(Clone, Debug)]
pub(crate) struct Library(Rc<Shelves>);

#[derive(Debug)]
struct Shelves {
    versions: Vec<(Version, Arc<Bundle>)>,
    broken: Cell<bool>,
}

impl Library {
    /// With a guard taken away, what is judged with is another policy than the one that is meant
    pub(crate) fn new(sabotage: Option<Sabotage>) -> Self {
        let versions = versions::all().into_iter();
        let bundle = |version: &Version| Some(Arc::new(version.but(sabotage).bundle(version.digest())?));
        let versions = versions.filter_map(|version| Some((version.clone(), bundle(&version)?))).collect();
        Self(Rc::new(Shelves { versions, broken: Cell::new(false) }))
    }

    pub(crate) fn versions(&self) -> impl Iterator<Item = &Version> {
        self.0.versions.iter().map(|(version, _)| version)
    }

    pub(crate) fn version(&self, digest: &str) -> Option<&Version> {
        self.versions().find(|version| version.digest().to_string() == digest)
    }

    pub(crate) fn bundle(&self, digest: Hash) -> Option<&Arc<Bundle>> {
        self.0.versions.iter().find(|(_, bundle)| bundle.digest == digest).map(|(_, bundle)| bundle)
    }

    pub(crate) fn at(&self, index: u64) -> Option<(&Version, &Arc<Bundle>)> {
        let index = usize::try_from(index).ok()?.checked_rem(self.0.versions.len())?;
        self.0.versions.get(index).map(|(version, bundle)| (version, bundle))
    }

    pub(crate) fn nodes(&self, digest: Option<Hash>) -> BTreeSet<Node> {
        digest.and_then(|digest| self.bundle(digest)).map(|bundle| bundle.nodes()).unwrap_or_default()
    }

    /// From now on no version can be read back, or all of them again
    pub(crate) fn set_broken(&self, broken: bool) {
        self.0.broken.set(broken);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.0.broken.get()
    }
}

impl Bundles for Library {
    fn read(&self, digest: Hash, _: &[u8]) -> Result<Arc<Bundle>, String> {
        if self.is_broken() {
            return Err("broken".to_owned());
        }
        self.bundle(digest).cloned().ok_or_else(|| "unknown".to_owned())
    }
}

/// The newest snapshot, as text
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache(Rc<RefCell<Option<String>>>);

impl Cache {
    pub(crate) fn keep(&self, state: &State) {
        *self.0.borrow_mut() = serde_json::to_string(state).ok();
    }

    /// Lets the snapshot say that every grant lasts an hour longer
    pub(crate) fn prolong_grants(&self) {
        let kept = self.0.borrow().as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let Some(mut state) = kept else { return };
        let grants = state.get_mut("grants").and_then(Value::as_array_mut).into_iter().flatten();
        for until in grants.filter_map(|pair| pair.pointer_mut("/1/until")) {
            *until = until.as_i64().map_or(Value::Null, |until| (until + 3_600_000).into());
        }
        *self.0.borrow_mut() = Some(state.to_string());
    }

    /// Keeps the state, and says of calls that could be continued when the last was kept that they still can be
    pub(crate) fn keep_pending(&self, state: &State) {
        let read = |cache: &Self| cache.0.borrow().as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let before = read(self);
        self.keep(state);
        let (Some(before), Some(mut after)) = (before, read(self)) else { return };
        let tasks = |state: &Value| state.get("tasks").and_then(Value::as_array).cloned().unwrap_or_default();
        let before = tasks(&before);
        for pair in after.get_mut("tasks").and_then(Value::as_array_mut).into_iter().flatten() {
            let same = before.iter().find(|known| known.get(0) == pair.get(0));
            let old = same.and_then(|known| known.pointer("/1/pending")).and_then(Value::as_array).cloned();
            if let Some(pending) = pair.pointer_mut("/1/pending").and_then(Value::as_array_mut) {
                pending.extend(old.into_iter().flatten());
            }
        }
        *self.0.borrow_mut() = Some(after.to_string());
    }

    /// Says of questions and classes what one of the missing guards would not let be said
    pub(crate) fn tamper(&self, sabotage: Sabotage) {
        let kept = self.0.borrow().as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let Some(mut state) = kept else { return };
        for pair in state.get_mut("holds").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(hold) = pair.get_mut(1) else { continue };
            let said_no = hold.pointer("/phase/declined").is_some();
            let used =
                ["used", "done", "unknown"].iter().any(|phase| hold.pointer(&format!("/phase/{phase}")).is_some());
            if (used && sabotage == Sabotage::UseTwice) || (said_no && sabotage == Sabotage::ForgetNo) {
                if let Some(phase) = hold.get_mut("phase") {
                    *phase = Value::String("open".to_owned());
                }
                if let Some(answers) = hold.get_mut("answers").and_then(Value::as_object_mut) {
                    answers.retain(|_, answer| answer.get("grant").is_some_and(Value::is_string));
                }
            }
        }
        let tasks = state.get_mut("tasks").and_then(Value::as_array_mut).into_iter().flatten();
        let elevations = tasks.filter_map(|pair| pair.pointer_mut("/1/elevations")?.as_array_mut()).flatten();
        for open in elevations.filter_map(|pair| pair.get_mut(1)?.as_object_mut()) {
            if sabotage == Sabotage::WidenElevation {
                let until = open.get("until").and_then(Value::as_i64).unwrap_or_default();
                open.insert("until".to_owned(), (until + 3_600_000).into());
                open.insert("left".to_owned(), 9.into());
                open.insert("values".to_owned(), Value::Object(serde_json::Map::new()));
            }
        }
        if let Some(deadlines) = state.get_mut("elevation_deadlines").filter(|_| sabotage == Sabotage::WidenElevation) {
            *deadlines = Value::Array(Vec::new());
        }
        *self.0.borrow_mut() = Some(state.to_string());
    }

    pub(crate) fn forget(&self) {
        *self.0.borrow_mut() = None;
    }
}

impl Snapshots for Cache {
    fn newest(&self) -> Option<State> {
        self.0.borrow().as_deref().and_then(|text| serde_json::from_str(text).ok())
    }
}
