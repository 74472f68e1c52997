//! Arguments that are repeated in headers: `x-mcp-header` in the schema of a tool's input.

use portreeve_core::json::{Json, Member};
use std::collections::BTreeSet;

/// An argument that a header repeats
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// The header's name after `Mcp-Param-`, as the schema writes it
    pub header: String,
    /// The keys from the arguments down to the value
    pub path: Vec<String>,
}

impl Mirrored {
    /// The value in these arguments; `None` if there is none, or it is null
    #[must_use]
    pub fn value<'m, 'a>(&self, arguments: Option<&'m Json<'a>>) -> Option<&'m Json<'a>> {
        let value = self.path.iter().try_fold(arguments?, |value, key| value.get(key))?;
        (!value.is_null()).then_some(value)
    }

    /// The header's whole name, in lower case
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}{}", crate::header::PARAM, self.header.to_ascii_lowercase())
    }
}

/// The arguments that this schema wants repeated in headers, in the order of the schema
/// (2026-07-28, Streamable HTTP, Schema Extension)
///
/// # Errors
/// What is wrong, for the log: a tool with such a schema is not offered.
pub fn mirrored(input_schema: &Json<'_>) -> Result<Vec<Mirrored>, String> {
    let mut walk = Walk { found: Vec::new(), names: BTreeSet::new(), path: Vec::new() };
    walk.schema(input_schema, Place::Root)?;
    Ok(walk.found)
}

const ANNOTATION: &str = "x-mcp-header";
/// Characters of a header's name at most
const NAME_CHARS_MAX: usize = 128;
/// Headers of one tool at most
const MIRRORED_MAX: usize = 64;

struct Walk<'m> {
    found: Vec<Mirrored>,
    names: BTreeSet<String>,
    path: Vec<&'m str>,
}

/// Where a schema stands
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    /// Reached from the root by `properties` alone
    Property,
    /// Anywhere else, where an annotation means nothing that a client could follow
    Elsewhere,
}

impl<'m> Walk<'m> {
    fn schema(&mut self, schema: &'m Json<'_>, place: Place) -> Result<(), String> {
        if let Some(items) = schema.as_array() {
            return items.iter().try_for_each(|item| self.schema(item, Place::Elsewhere));
        }
        schema.as_object().unwrap_or_default().iter().try_for_each(|member| self.member(schema, member, place))
    }

    fn member(&mut self, schema: &'m Json<'_>, member: &'m Member<'_>, place: Place) -> Result<(), String> {
        match &*member.key {
            ANNOTATION => match place {
                Place::Property => self.annotation(schema, &member.value),
                Place::Root | Place::Elsewhere => {
                    Err(format!("{ANNOTATION} stands where no argument can be reached by properties alone"))
                }
            },
            "properties" => {
                let place = if place == Place::Elsewhere { Place::Elsewhere } else { Place::Property };
                self.named(&member.value, place)
            }
            "$defs" | "definitions" | "dependentSchemas" | "patternProperties" => {
                self.named(&member.value, Place::Elsewhere)
            }
            // Data, not schemas.
            "default" | "const" | "enum" | "examples" => Ok(()),
            _ => self.schema(&member.value, Place::Elsewhere),
        }
    }

    /// A map whose keys are names and whose values are schemas
    fn named(&mut self, map: &'m Json<'_>, place: Place) -> Result<(), String> {
        for member in map.as_object().unwrap_or_default() {
            self.path.push(&member.key);
            self.schema(&member.value, place)?;
            self.path.pop();
        }
        Ok(())
    }

    fn annotation(&mut self, schema: &Json<'_>, header: &Json<'_>) -> Result<(), String> {
        let header = header.as_str().ok_or_else(|| format!("{ANNOTATION} must be a string"))?;
        if header.is_empty() || header.len() > NAME_CHARS_MAX || !header.bytes().all(is_tchar) {
            return Err(format!("{ANNOTATION} must be a token of at most {NAME_CHARS_MAX} characters"));
        }
        if !matches!(schema.get("type").and_then(Json::as_str), Some("string" | "integer" | "boolean")) {
            return Err(format!("{ANNOTATION} {header:?} must annotate a string, an integer or a boolean"));
        }
        if !self.names.insert(header.to_ascii_lowercase()) {
            return Err(format!("{ANNOTATION} {header:?} stands twice"));
        }
        if self.found.len() >= MIRRORED_MAX {
            return Err(format!("more than {MIRRORED_MAX} arguments have an {ANNOTATION}"));
        }
        let path = self.path.iter().map(|key| (*key).to_owned()).collect();
        self.found.push(Mirrored { header: header.to_owned(), path });
        Ok(())
    }
}

/// RFC 9110, 5.6.2
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
