//! Arguments of calls that are only thought of, held against the accepted definitions.

use crate::{
    definition::{Definition, Validator},
    pins::Pins,
};
use portreeve_core::{
    names::{Name, Tool},
    value::Value,
};
use std::{cell::RefCell, collections::BTreeMap};

/// The definitions of a policy, with a validator for each tool that was asked about
#[derive(Debug)]
pub struct Fits<'p> {
    pins: &'p BTreeMap<Name, Pins>,
    made: RefCell<BTreeMap<Tool, Result<Validator, String>>>,
}

impl<'p> Fits<'p> {
    /// Of these definitions
    #[must_use]
    pub fn new(pins: &'p BTreeMap<Name, Pins>) -> Self {
        Self { pins, made: RefCell::default() }
    }

    /// Whether the definitions of the connector are known, and this tool is not among them
    #[must_use]
    pub fn is_gone(&self, tool: &Tool) -> bool {
        self.pins.get(&tool.connector).is_some_and(|pins| !pins.contains_key(&tool.name))
    }

    /// What does not fit, as the gateway would say it; `None`: they fit, or no definition is known
    #[must_use]
    pub fn error(&self, tool: &Tool, arguments: &BTreeMap<String, Value>) -> Option<String> {
        let definition: &Definition = self.pins.get(&tool.connector)?.get(&tool.name)?;
        let mut made = self.made.borrow_mut();
        let make = || Validator::new(definition).map_err(|refused| refused.to_string());
        match made.entry(tool.clone()).or_insert_with(make) {
            Ok(validator) => validator.fit(&Value::Object(arguments.clone())),
            Err(why) => Some(why.clone()),
        }
    }
}
