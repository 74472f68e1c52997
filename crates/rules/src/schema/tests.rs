use super::SCHEMAS;
use crate::{Files, compile, document::known};
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn schema(kind: &str) -> Json {
    let (_, text) = SCHEMAS.iter().find(|(known, _)| *known == kind).unwrap();
    serde_json::from_str(text).unwrap()
}

/// The kind of a file by its folder
fn kind(path: &str) -> Option<&'static str> {
    Some(match path.split('/').next()? {
        "agents" => "agent",
        "users" => "user",
        "issuers" => "issuer",
        "connectors" => "connector",
        "credentials" => "credential",
        "profiles" => "profile",
        "purposes" => "purpose",
        "receivers" => "receiver",
        "roles.toml" => "roles",
        _ => return None,
    })
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn json(value: toml::Value) -> Json {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(members) => {
            Json::Object(members.into_iter().map(|(name, value)| (name, json(value))).collect())
        }
    }
}

/// Paths and texts
type Policy = Vec<(String, String)>;

/// The policies of golden files: name, files, and whether they are taken
fn golden() -> Vec<(String, Policy, bool)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(here("tests/golden")).unwrap().map(Result::unwrap) {
        let text = fs::read_to_string(entry.path()).unwrap();
        let (policy, findings) = text.split_once("== findings ==\n").unwrap();
        let mut files = Policy::new();
        for line in policy.split_inclusive('\n') {
            match line.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --\n")) {
                Some(path) => files.push((path.to_owned(), String::new())),
                None => files.last_mut().into_iter().for_each(|(_, text)| text.push_str(line)),
            }
        }
        found.push((
            entry.path().display().to_string(),
            files,
            findings.lines().last().is_some_and(|last| last.starts_with("taken")),
        ));
    }
    found
}

fn shipped() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["demo", "examples"] {
        for kind in ["agents", "users", "issuers", "connectors", "credentials", "profiles", "purposes", "receivers"] {
            let dir = here("../../policies").join(folder).join(kind);
            for entry in fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
                let name = entry.file_name().into_string().unwrap();
                found.push((format!("{kind}/{name}"), fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    for entry in fs::read_dir(here("../../policies/profiles")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".toml") {
            found.push((format!("profiles/{name}"), fs::read_to_string(entry.path()).unwrap()));
        }
    }
    found
}

#[test]
fn what_is_taken_fits() {
    let validators: BTreeMap<&str, jsonschema::Validator> =
        SCHEMAS.iter().map(|(kind, _)| (*kind, jsonschema::validator_for(&schema(kind)).unwrap())).collect();
    let taken = golden().into_iter().filter(|(.., taken)| *taken).flat_map(|(name, files, _)| {
        files.into_iter().map(move |(path, text)| (format!("{name}: {path}"), path, text))
    });
    let shipped = shipped().into_iter().map(|(path, text)| (path.clone(), path, text));
    let mut count = 0;
    for (name, path, text) in taken.chain(shipped) {
        let Some(kind) = kind(&path) else { continue };
        let value = json(toml::Value::Table(text.parse().unwrap()));
        let errors: Vec<String> =
            validators[kind].iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{name}: {}", errors.join("\n"));
        count += 1;
    }
    assert!(count > 40, "{count} files");
}

#[test]
fn what_is_misspelt_does_not_fit() {
    let validator = jsonschema::validator_for(&schema("purpose")).unwrap();
    let good = "about = \"a\"\nowner = \"o\"\nopen = { agents = [\"a\"], users = \"none\" }\ntask = { expires_after = \"1h\" }\n\
        [[allow]]\nname = \"look\"\nuse = [\"shop.look\"]\nwhere = { id = { at_most = 2 } }\n";
    let fits = |text: &str| validator.is_valid(&json(toml::Value::Table(text.parse().unwrap())));
    assert!(fits(good));
    for (right, wrong) in
        [("about", "abut"), ("at_most", "at_mots"), ("\"1h\"", "1"), ("\"none\"", "\"all\""), ("use", "uses")]
    {
        assert!(!fits(&good.replacen(right, wrong, 1)), "{wrong}");
    }
}

/// Every key that a reader takes stands in the schema, and no other
#[test]
fn the_keys_are_those_that_the_readers_know() {
    for (_, files, _) in golden() {
        // Refused or not: what was asked for counts.
        drop(compile(&files.into_iter().collect::<Files>()));
    }
    drop(compile(&shipped().into_iter().collect::<Files>()));
    let known = known();
    for (kind, what, pointer) in [
        ("agent", "the file", "/properties"),
        ("user", "the file", "/properties"),
        ("agent", "[[proof]]", "/properties/proof/items/properties"),
        ("issuer", "the file", "/properties"),
        ("issuer", "[people]", "/properties/people/properties"),
        ("issuer", "[bundle]", "/properties/bundle/oneOf/1/properties"),
        ("user", "`sign_in`", "/properties/sign_in/properties"),
        ("connector", "the file", "/properties"),
        ("connector", "[credentials]", "/properties/credentials/properties"),
        ("credential", "the file", "/properties"),
        ("credential", "[static]", "/properties/static/properties"),
        ("credential", "[command]", "/properties/command/properties"),
        ("credential", "[postgres]", "/properties/postgres/properties"),
        ("credential", "[mariadb]", "/properties/mariadb/properties"),
        ("credential", "[redis]", "/properties/redis/properties"),
        ("credential", "[nats]", "/properties/nats/properties"),
        ("credential", "[minted]", "/properties/minted/properties"),
        ("credential", "[oauth]", "/properties/oauth/properties"),
        ("credential", "[account]", "/properties/account/properties"),
        ("credential", "[openbao]", "/properties/openbao/properties"),
        ("credential", "[kubernetes]", "/properties/kubernetes/properties"),
        ("credential", "[github]", "/properties/github/properties"),
        ("credential", "[aws]", "/properties/aws/properties"),
        ("credential", "[google]", "/properties/google/properties"),
        ("credential", "[ssh]", "/properties/ssh/properties"),
        ("credential", "a statement", "/$defs/aws_role/properties/allow/items/properties"),
        ("credential", "a bucket", "/$defs/google_account/properties/boundary/items/properties"),
        // What a class has depends on the back end.
        (
            "credential",
            "a class",
            "/$defs/grants/properties /$defs/rules/properties /$defs/subjects/properties /$defs/bao_ask/properties \
             /$defs/account/properties /$defs/permissions/properties /$defs/aws_role/properties \
             /$defs/certificate/properties /$defs/google_account/properties",
        ),
        ("credential", "a class of tokens", "/$defs/scopes/properties"),
        ("profile", "the file", "/properties"),
        ("profile", "a tool", "/$defs/tool/properties"),
        ("connector", "a tool", "/$defs/tool/properties"),
        ("profile", "a target", "/$defs/target/properties"),
        ("profile", "a variant", "/$defs/variant/properties"),
        ("purpose", "the file", "/properties"),
        ("purpose", "[open]", "/properties/open/properties"),
        ("purpose", "[task]", "/properties/task/properties"),
        ("purpose", "`max_bytes`", "/properties/task/properties/max_bytes/properties"),
        ("purpose", "a parameter", "/$defs/parameter/properties"),
        ("purpose", "[[allow]]", "/properties/allow/items/properties"),
        ("purpose", "`ask`", "/properties/allow/items/properties/ask/properties"),
        ("purpose", "`undo`", "/properties/allow/items/properties/undo/properties"),
        ("purpose", "`before`", "/properties/allow/items/properties/undo/properties/before/properties"),
        ("purpose", "[elevate]", "/properties/elevate/properties"),
        ("purpose", "what needs no person", "/$defs/alone/properties"),
        ("purpose", "[break_glass]", "/properties/break_glass/properties"),
        ("purpose", "`elevated`", "/properties/case/items/properties/elevated/properties"),
        ("receiver", "the file", "/properties"),
        ("purpose", "[[case]]", "/properties/case/items/properties"),
        ("purpose", "`call`", "/properties/case/items/properties/call/properties"),
    ] {
        let schema = schema(kind);
        let at = |pointer: &str| {
            schema.pointer(pointer).unwrap_or_else(|| panic!("{kind}{pointer}")).as_object().unwrap().keys()
        };
        let own: BTreeSet<&str> = pointer.split(' ').flat_map(at).map(String::as_str).collect();
        let read: BTreeSet<&str> = known
            .iter()
            .filter(|(path, of, _)| self::kind(path) == Some(kind) && *of == what)
            .map(|(.., key)| *key)
            .collect();
        assert_eq!(own, read, "{kind}, {what}");
    }
    let schema = schema("purpose");
    let operators = schema.pointer("/$defs/pattern/oneOf/1/properties").unwrap().as_object().unwrap();
    let own: BTreeSet<&str> = operators.keys().map(String::as_str).collect();
    assert_eq!(own, crate::pattern::OPERATORS.into_iter().collect());
}
