use super::*;
use portreeve_core::json::{Limits, scan};

fn read(text: &str) -> Can {
    Can::read(&scan(text.as_bytes(), &Limits::DEFAULT).unwrap())
}

#[test]
fn item_50_what_a_client_can_do_is_read_as_the_protocol_means_it() {
    for (text, can) in [
        ("{}", Can::NONE),
        (r#"{"elicitation":{}}"#, Can::FORM),
        (r#"{"elicitation":{"form":{}}}"#, Can::FORM),
        (r#"{"elicitation":{"url":{}}}"#, Can::URL),
        (r#"{"elicitation":{"form":{},"url":{}}}"#, Can::FORM.and(Can::URL)),
        (r#"{"elicitation":{"other":{}}}"#, Can::FORM),
        (r#"{"elicitation":true}"#, Can::NONE),
        (r#"{"elicitation":{"form":true}}"#, Can::NONE),
        (r#"{"sampling":{}}"#, Can::SAMPLE),
        (r#"{"sampling":{"tools":{},"context":{}}}"#, Can::SAMPLE.and(Can::SAMPLE_TOOLS).and(Can::SAMPLE_CONTEXT)),
        (r#"{"roots":{"listChanged":true}}"#, Can::ROOTS.and(Can::ROOTS_CHANGED)),
        (r#"{"roots":{"listChanged":false}}"#, Can::ROOTS),
        (r#"{"roots":null,"tasks":{},"experimental":{"x":{}}}"#, Can::NONE),
        (r#"{"extensions":{"io.modelcontextprotocol/tasks":{},"com.example/x":{}}}"#, Can::TASKS),
        (r#"{"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["text/html;profile=mcp-app"]}}}"#, Can::UI),
    ] {
        assert_eq!(read(text), can, "{text}");
    }
}

#[test]
fn what_is_said_is_what_is_read() {
    for bits in 0..=Can::ALL.bits() {
        let can = Can::from_bits(bits);
        let modern = can.json(Era::Modern).to_string();
        let of_modern = Can::from_bits(!Can::ROOTS_CHANGED.bits());
        let mut expected = can.within(of_modern);
        if !can.has(Can::SAMPLE) {
            expected = expected.within(Can::from_bits(!Can::SAMPLE_TOOLS.and(Can::SAMPLE_CONTEXT).bits()));
        }
        assert_eq!(read(&modern), expected, "{modern}");
        assert!(expected.is_all_of(&scan(modern.as_bytes(), &Limits::DEFAULT).unwrap()), "{modern}");
        assert!(!read(&can.json(Era::Legacy).to_string()).has(Can::TASKS));
    }
    let more = scan(br#"{"elicitation":{},"experimental":{}}"#, &Limits::DEFAULT).unwrap();
    assert!(!Can::FORM.is_all_of(&more));
}

#[test]
fn item_50_only_what_the_client_offered_may_be_asked() {
    let allows = |can: Can, method: Method, params: &str| {
        can.allows(method, Some(&scan(params.as_bytes(), &Limits::DEFAULT).unwrap()))
    };
    assert!(allows(Can::FORM, Method::Elicit, "{}"));
    assert!(allows(Can::FORM, Method::Elicit, r#"{"mode":"form"}"#));
    assert!(!allows(Can::FORM, Method::Elicit, r#"{"mode":"url"}"#));
    assert!(!allows(Can::ALL, Method::Elicit, r#"{"mode":"other"}"#));
    assert!(!allows(Can::ALL, Method::Elicit, r#"{"mode":1}"#));
    assert!(!allows(Can::URL, Method::Elicit, "{}"));
    assert!(allows(Can::SAMPLE, Method::Sample, r#"{"includeContext":"none"}"#));
    assert!(!allows(Can::SAMPLE, Method::Sample, r#"{"includeContext":"allServers"}"#));
    assert!(!allows(Can::SAMPLE, Method::Sample, r#"{"tools":[]}"#));
    assert!(!allows(Can::SAMPLE_TOOLS, Method::Sample, r#"{"tools":[]}"#));
    assert!(allows(Can::ROOTS, Method::ListRoots, "{}"));
    assert!(!allows(Can::ALL, Method::CallTool, "{}"));
    assert_eq!(Can::FORM.lacks(Method::ListRoots, None), Some(Can::ROOTS));
}
