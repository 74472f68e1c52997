//! The profiles that come with Portreeve.

use crate::output;
use portreeve_core::names::Name;
use serde_json::json;

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        [$((
            $name,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/profiles/", $name, ".toml")),
        )),*]
    };
}

/// Each by its name
const SHIPPED: [(&str, &str); 9] =
    shipped!["everything", "fetch", "filesystem", "git", "github", "memory", "postgres", "sqlite", "time"];

/// The text of one
pub(super) fn text(name: &Name) -> Option<&'static str> {
    SHIPPED.iter().find(|(known, _)| *known == name.as_str()).map(|(_, text)| *text)
}

pub(super) fn names() -> String {
    SHIPPED.map(|(name, _)| name).join(", ")
}

pub(super) fn list(as_json: bool) {
    let line = |text: &str, key: &str| {
        let table: toml::Table = toml::from_str(text).unwrap_or_default();
        table.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned()
    };
    if as_json {
        let profiles = SHIPPED
            .map(|(name, text)| json!({ "name": name, "source": line(text, "source"), "about": line(text, "about") }));
        output::json(&json!({ "profiles": profiles }));
        return;
    }
    let rows = SHIPPED.map(|(name, text)| vec![name.to_owned(), line(text, "source"), line(text, "about")]);
    output::table(&["PROFILE", "WRITTEN FROM", "ABOUT"], &rows);
    output::tip("take one over: portreeve connector add NAME --profile PROFILE -- COMMAND…");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_there() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/profiles");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> = files.collect();
        files.sort();
        assert_eq!(files, SHIPPED.map(|(name, _)| format!("{name}.toml")));
    }
}
