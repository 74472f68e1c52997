//! What the connectors offer, as it was accepted: definitions, and validators made of them once.

use crate::door::{Door, TheEngine};
use portreeve_core::{
    hash::Hash,
    names::{Name, Tool, ToolName},
    policy::Bundle,
    request::Fit,
    state::Pin,
    value::Value,
};
use portreeve_rules::{Definition as Described, Validator};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

/// The current policy and the accepted definitions, for reading
#[derive(Debug, Default)]
pub struct Catalogue {
    // Held only to take a reference out or put another one in.
    view: RwLock<Arc<View>>,
}

/// One version of both
#[derive(Debug, Default)]
pub struct View {
    /// The current policy
    pub bundle: Option<Arc<Bundle>>,
    tools: BTreeMap<Tool, Arc<Definition>>,
}

/// An accepted definition
#[derive(Debug)]
pub struct Definition {
    /// Its digest
    pub digest: Hash,
    /// Exactly as the connector wrote it
    pub raw: String,
    validator: Result<Validator, String>,
}

impl Catalogue {
    /// The version of this moment
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads both anew, after a change of the registry
    pub async fn refresh(&self, door: &Door) {
        let before = self.view();
        if let Some(view) = door.ask(move |engine| View::of(engine, &before)).await {
            *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        }
    }
}

impl View {
    fn of(engine: &TheEngine, before: &Self) -> Self {
        let bundle = engine.shelf().current(engine.state()).cloned();
        let mut tools = BTreeMap::new();
        for connector in bundle.iter().flat_map(|bundle| bundle.connectors.keys()) {
            for (name, pin) in engine.state().pins_of(connector) {
                let tool = Tool { connector: connector.clone(), name: name.clone() };
                let known = before.tools.get(&tool).filter(|known| known.digest == pin.accepted).cloned();
                if let Some(definition) = known.or_else(|| Definition::read(engine, *pin).map(Arc::new)) {
                    tools.insert(tool, definition);
                }
            }
        }
        Self { bundle, tools }
    }

    /// The definition of a tool
    #[must_use]
    pub fn definition(&self, tool: &Tool) -> Option<&Definition> {
        self.tools.get(tool).map(AsRef::as_ref)
    }

    /// How arguments fit the accepted definition of a tool
    #[must_use]
    pub fn fit(&self, tool: &Tool, arguments: &Value) -> Fit {
        let Some(definition) = self.definition(tool) else { return Fit { pin: Hash::default(), error: None } };
        let error = match &definition.validator {
            Ok(validator) => validator.fit(arguments),
            Err(why) => Some(why.clone()),
        };
        Fit { pin: definition.digest, error }
    }

    /// How long a call of a connector may take
    #[must_use]
    pub fn timeout_ms(&self, connector: &Name) -> i64 {
        let connector = self.bundle.as_ref().and_then(|bundle| bundle.connectors.get(connector));
        connector.map_or(60_000, |connector| connector.timeout_ms)
    }

    /// The definitions of these tools, each exactly as its connector wrote it
    pub fn raw<'a>(&'a self, connector: &'a Name, tools: &'a [(ToolName, Hash)]) -> impl Iterator<Item = &'a str> + 'a {
        tools.iter().filter_map(|(name, digest)| {
            let definition = self.definition(&Tool { connector: connector.clone(), name: name.clone() })?;
            (definition.digest == *digest).then_some(definition.raw.as_str())
        })
    }
}

impl Definition {
    fn read(engine: &TheEngine, pin: Pin) -> Option<Self> {
        use portreeve_core::log::Log as _;
        let blob = engine.log().blob(pin.blob).ok().flatten()?;
        let raw = String::from_utf8(blob).ok()?;
        let validator = Described::read(raw.as_bytes()).and_then(|described| Validator::new(&described));
        let validator = validator.map_err(|refused| refused.to_string());
        Some(Self { digest: pin.accepted, raw, validator })
    }
}
