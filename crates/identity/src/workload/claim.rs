//! A claim by its path.

use portreeve_core::value::Value;
use std::collections::BTreeMap;

/// The path leads to two places
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Two;

/// The value at a path such as `kubernetes.io.pod.uid`; names of members may have dots themselves
///
/// # Errors
/// [`Two`]: which of them another reader would find is anybody's guess.
pub fn find<'v>(members: &'v BTreeMap<String, Value>, path: &str) -> Result<Option<&'v Value>, Two> {
    // A place in the tree has one path only, so each is come by at most once.
    let mut found = members.get(path);
    for (dot, _) in path.match_indices('.') {
        let Some((name, rest)) = path.split_at_checked(dot) else { continue };
        let rest = rest.strip_prefix('.').unwrap_or_default();
        let Some(inner) = members.get(name).and_then(Value::as_object) else { continue };
        if let Some(value) = find(inner, rest)? {
            if found.is_some() {
                return Err(Two);
            }
            found = Some(value);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_one_place_or_is_refused() {
        let claims: Value =
            r#"{"a.b":{"c":{"uid":"1"},"c.d":"2"},"https://x.example/":"3","a":{"z":null}}"#.parse().unwrap();
        let claims = claims.as_object().unwrap();
        let at = |path: &str| find(claims, path).unwrap().map(Value::canonical);
        assert_eq!(at("a.b.c.uid").as_deref(), Some("\"1\""));
        assert_eq!(at("a.b.c.d").as_deref(), Some("\"2\""));
        assert_eq!(at("https://x.example/").as_deref(), Some("\"3\""));
        assert_eq!(at("a.z").as_deref(), Some("null"));
        for none in ["", ".", "a.b.c.", "a.b.c.x", "b", "a.b.c.uid.x", ".a"] {
            assert_eq!(at(none), None, "{none}");
        }
        let two: Value = r#"{"a.b":{"c":1},"a":{"b.c":2}}"#.parse().unwrap();
        assert_eq!(find(two.as_object().unwrap(), "a.b.c"), Err(Two));
        let same: Value = r#"{"a.b":1,"a":{"b":1}}"#.parse().unwrap();
        assert_eq!(find(same.as_object().unwrap(), "a.b"), Err(Two));
    }
}
