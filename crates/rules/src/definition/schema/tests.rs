use super::*;

fn root(text: &str) -> Value {
    text.parse().unwrap()
}

#[test]
fn paths_lead_where_something_can_be() {
    let value = root(
        r##"{"type":"object","required":["path"],"$defs":{
            "edit":{"type":"object","properties":{"old":{"type":"string"},"next":{"$ref":"#/$defs/edit"}}},
            "a/b":{"properties":{"slash":{"type":"array"}}}},
          "allOf":[{"required":["both"],"properties":{"both":{"type":"string"}}}],
          "anyOf":[{"required":["one"],"properties":{"one":{"type":["string","array"],"items":{"type":"integer"}}}}],
          "if":{"properties":{"kind":{"const":"x"}}},"then":{"properties":{"more":{"type":"null"}}},
          "properties":{
            "path":{"type":"string","default":"/"},
            "edits":{"type":"array","items":{"$ref":"#/$defs/edit"}},
            "pair":{"prefixItems":[{"type":"object","properties":{"x":{}}},{"type":"string"}]},
            "map":{"type":"object","additionalProperties":{"type":"string"}},
            "tags":{"type":"object","patternProperties":{"^t":{}},"properties":{"fixed":{}}},
            "free":{"type":"object"},"anything":{},"never":false,
            "slash":{"$ref":"#/$defs/a~1b"},"lost":{"$ref":"#/$defs/gone"},"loop":{"$ref":"#/properties/loop"}}}"##,
    );
    let schema = Schema::root(&value);
    let at = |path: &str| schema.at(&path.parse().unwrap());
    for path in [
        "path",
        "both",
        "one[*]",
        "kind",
        "more",
        "edits[*].old",
        "edits[*].next.next.old",
        "pair[*].x",
        "map.k",
        "tags.t1",
        "free.a.b",
        "anything[*][*].x",
        "slash.slash[*]",
        "lost.x",
        "loop.x",
    ] {
        assert!(at(path).is_some(), "{path}");
    }
    for path in [
        "other",
        "path.x",
        "path[*]",
        "edits.old",
        "edits[*].new",
        "edits[*].old.x",
        "never",
        "free[*]",
        "map[*]",
        "one.x",
        "pair[*].y",
        "more.x",
        "slash.x",
    ] {
        assert!(at(path).is_none(), "{path}");
    }
    assert!(["path", "both"].iter().all(|name| schema.requires(name)));
    assert!(["one", "edits"].iter().all(|name| !schema.requires(name)));
    assert_eq!(at("path").unwrap().default(), Some(&Value::String("/".to_owned())));
    assert_eq!(at("one").unwrap().types().into_iter().collect::<Vec<_>>(), ["array", "string"]);
    assert!(schema.names().contains("one") && !schema.names().contains("old"));
}

#[test]
fn an_open_schema_can_have_anything() {
    for text in [r#"{"type":"object"}"#, r#"{"type":"object","additionalProperties":true,"properties":{"a":{}}}"#] {
        assert!(Schema::root(&root(text)).at(&"x.y[*]".parse().unwrap()).is_some(), "{text}");
    }
    let closed = root(r#"{"type":"object","additionalProperties":false,"properties":{}}"#);
    assert!(Schema::root(&closed).member("x").is_none());
}
