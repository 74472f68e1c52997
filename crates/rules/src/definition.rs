//! What a server says of a tool, and whether arguments fit it.
//!
//! SAFETY(security): a definition is a stranger's text. It never leads anywhere else (no reference is
//! fetched), and its size, depth and patterns are bounded before anything is built from it.

mod schema;

pub use schema::Schema;

use crate::changes;
use portreeve_core::{
    hash::Hash,
    json::{self, Json, Limits},
    names::ToolName,
    value::Value,
};
use std::fmt;

/// The definition of a tool, as its server wrote it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The tool's name
    pub name: ToolName,
    /// The server's own hints; never trusted, only proposed
    pub hints: Hints,
    /// The digest that a pin names: of the canonical text of the whole definition
    pub digest: Hash,
    schema: Value,
    /// The schema of its results, where it has one that can be read
    results: Option<Value>,
    /// Everything that it says in words
    pub(crate) said: String,
}

/// What a server says of a tool beside its schema; `None` is nothing
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// It changes nothing
    pub read_only: Option<bool>,
    /// It may destroy something
    pub destructive: Option<bool>,
    /// It reaches the world outside
    pub open_world: Option<bool>,
}

/// Why a definition cannot be used
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is no JSON that all parsers agree on
    #[error("the definition cannot be read")]
    Json(#[source] json::Error),
    /// Its name is missing or no name
    #[error("the definition has no usable name")]
    Name,
    /// It has no schema for its arguments
    #[error("the definition has no inputSchema of type object")]
    NoSchema,
    /// Its schema is too large
    #[error("the inputSchema is longer than {SCHEMA_BYTES_MAX} bytes")]
    Large,
    /// Its schema is too deep
    #[error("the inputSchema is nested deeper than {SCHEMA_DEPTH_MAX} levels")]
    Deep,
    /// Its schema refers to another document
    #[error("the inputSchema refers to another document")]
    Remote,
    /// Its schema is none
    #[error("the inputSchema is no JSON Schema: {0}")]
    Schema(String),
}

impl Definition {
    /// Reads a definition from the bytes of a server's answer
    ///
    /// # Errors
    /// [`Refused`]: its tool cannot be pinned, and so never be called.
    pub fn read(bytes: &[u8]) -> Result<Self, Refused> {
        let json = json::scan(bytes, &Limits::DEFAULT).map_err(Refused::Json)?;
        let value = json.to_value().map_err(Refused::Json)?;
        let name = json.get("name").and_then(Json::as_str).and_then(|name| name.parse().ok()).ok_or(Refused::Name)?;
        let schema = json.get("inputSchema").ok_or(Refused::NoSchema)?;
        if schema.get("type").and_then(Json::as_str) != Some("object") {
            return Err(Refused::NoSchema);
        }
        if schema.raw().len() > SCHEMA_BYTES_MAX {
            return Err(Refused::Large);
        }
        bounded(schema, 1)?;
        // Nobody is bound by it: it tells which fields there can be.
        let results = json.get("outputSchema").filter(|schema| schema.as_object().is_some());
        let results = results.filter(|schema| schema.raw().len() <= SCHEMA_BYTES_MAX && bounded(schema, 1).is_ok());
        let hint = |key| json.get("annotations").and_then(|hints| hints.get(key)).and_then(Json::as_bool);
        Ok(Self {
            name,
            hints: Hints {
                read_only: hint("readOnlyHint"),
                destructive: hint("destructiveHint"),
                open_world: hint("openWorldHint"),
            },
            digest: value.digest(),
            said: changes::said(&value),
            schema: schema.to_value().map_err(Refused::Json)?,
            results: results.and_then(|schema| schema.to_value().ok()),
        })
    }

    /// The schema of its arguments, as it is written
    pub(crate) fn written(&self) -> &Value {
        &self.schema
    }

    /// The schema of its arguments
    #[must_use]
    pub fn schema(&self) -> Schema<'_> {
        Schema::root(&self.schema)
    }

    /// The schema of its results, if it has one
    pub(crate) fn results(&self) -> Option<Schema<'_>> {
        self.results.as_ref().map(Schema::root)
    }
}

fn bounded(schema: &Json<'_>, depth: usize) -> Result<(), Refused> {
    if depth > SCHEMA_DEPTH_MAX {
        return Err(Refused::Deep);
    }
    for member in schema.as_object().unwrap_or_default() {
        let leads = matches!(member.key.as_ref(), "$ref" | "$dynamicRef" | "$recursiveRef");
        if leads && member.value.as_str().is_some_and(|target| !target.starts_with('#')) {
            return Err(Refused::Remote);
        }
        bounded(&member.value, depth + 1)?;
    }
    schema.as_array().unwrap_or_default().iter().try_for_each(|item| bounded(item, depth + 1))
}

const SCHEMA_BYTES_MAX: usize = 256 << 10;
const SCHEMA_DEPTH_MAX: usize = 32;
/// Servers write patterns with look-ahead, which only a backtracking engine knows; it gives up here
const BACKTRACK_MAX: usize = 100_000;
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Holds arguments against the input schema of one definition
///
/// JSON Schema 2020-12 unless the schema names another draft, as MCP has it.
pub struct Validator(jsonschema::Validator);

impl Validator {
    /// A validator for this definition
    ///
    /// # Errors
    /// [`Refused::Schema`]: the schema is none, or a pattern in it is too large.
    pub fn new(definition: &Definition) -> Result<Self, Refused> {
        let patterns = jsonschema::PatternOptions::fancy_regex()
            .backtrack_limit(BACKTRACK_MAX)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_BYTES_MAX);
        let options = jsonschema::options().offline().with_pattern_options(patterns);
        let validator = options.build(&definition.schema.to_serde());
        validator.map(Self).map_err(|error| Refused::Schema(shorten(&error.masked().to_string())))
    }

    /// What does not fit, in words that repeat no value; `None`: they fit
    #[must_use]
    pub fn fit(&self, arguments: &Value) -> Option<String> {
        let arguments = arguments.to_serde();
        let error = self.0.validate(&arguments).err()?;
        let path = error.instance_path().to_string();
        let place = if path.is_empty() { "the arguments".to_owned() } else { path };
        Some(shorten(&format!("{place}: {}", error.masked())))
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validator").finish_non_exhaustive()
    }
}

/// A refusal is read by a model: one line of bounded length
fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = chars.by_ref().take(CHARS_MAX).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
