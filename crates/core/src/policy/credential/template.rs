//! Texts that fields of a credential are put into.

use crate::names::Invalid;

/// A text with fields of a credential in it: `Bearer {token}`; `{{` and `}}` stand for braces
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

impl Template {
    /// Reads a template
    ///
    /// # Errors
    /// A brace stands alone, or what stands between two is no name.
    pub fn read(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("template", text, "text with {field} in it; {{ and }} for braces");
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = brace.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else {
                let (field, after) = brace.strip_prefix('{').and_then(|of| of.split_once('}')).ok_or_else(invalid)?;
                let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if field.is_empty() || !field.chars().all(good) {
                    return Err(invalid());
                }
                parts.extend([Part::Text(std::mem::take(&mut plain)), Part::Field(field.to_owned())]);
                rest = after;
            }
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self { text: text.to_owned(), parts })
    }

    /// As it was written
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The fields in it
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(field) => Some(field.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with these values; the first field that has none, otherwise
    ///
    /// # Errors
    /// The name of that field.
    pub fn fill<'s, 'v>(&'s self, value: impl Fn(&'s str) -> Option<&'v str>) -> Result<String, &'s str> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Field(field) => filled.push_str(value(field).ok_or(field.as_str())?),
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_once_and_what_is_filled_in_is_no_template() {
        let template = Template::read("a{{b}} {user}:{pass} {{{user}}}").unwrap();
        assert_eq!(template.fields().collect::<Vec<_>>(), ["user", "pass", "user"]);
        let value = |field: &str| match field {
            "user" => Some("{pass}"),
            "pass" => Some("x"),
            _ => None,
        };
        assert_eq!(template.fill(value).unwrap(), "a{b} {pass}:x {{pass}}");
        assert_eq!(Template::read("{other}").unwrap().fill(value), Err("other"));
        assert_eq!(Template::read("").unwrap().fill(value).unwrap(), "");
        for bad in ["{", "}", "{}", "{a", "a}", "{a b}", "{{a}", "{a}}"] {
            assert!(Template::read(bad).is_err(), "{bad}");
        }
    }
}
