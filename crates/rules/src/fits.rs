//! Arguments of calls that are only thought of, held against the accepted definitions.

use crate::{
    definition::{Definition, Validator},
    operation::{self, defined},
    pins::Pins,
};
use portreeve_core::{
    names::{Name, Tool},
    value::Value,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The definitions of a policy, with a validator for each tool that was asked about
#[derive(Debug)]
pub(crate) struct Fits {
    pins: Arc<BTreeMap<Name, Pins>>,
    // Held while one call is tried; there is one caller at a time.
    made: Mutex<BTreeMap<Tool, Result<Validator, String>>>,
}

impl Fits {
    /// Of these definitions
    pub(crate) fn new(pins: Arc<BTreeMap<Name, Pins>>) -> Self {
        Self { pins, made: Mutex::default() }
    }

    /// Whether the definitions of the connector are known, and this tool is not among them
    pub(crate) fn is_gone(&self, tool: &Tool) -> bool {
        self.pins.get(&tool.connector).is_some_and(|pins| defined(pins, &tool.name).is_none())
    }

    /// What does not fit, as the gateway would say it; `None`: they fit, or no definition is known
    pub(crate) fn error(&self, tool: &Tool, arguments: &BTreeMap<String, Value>) -> Option<String> {
        let pins = self.pins.get(&tool.connector);
        let definition: &Definition = match (tool.operation(), pins) {
            (Some(operation), None) => operation::definition(operation),
            (_, pins) => defined(pins?, &tool.name)?,
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Validator::new(definition).map_err(|refused| refused.to_string());
        match made.entry(tool.clone()).or_insert_with(make) {
            Ok(validator) => validator.fit(&Value::Object(arguments.clone())),
            Err(why) => Some(why.clone()),
        }
    }
}
