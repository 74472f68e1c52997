use super::*;
use crate::{
    can::Can,
    message::Message,
    outcome::{Outcome, outcome},
    translate,
};
use portreeve_core::json::scan_distinct;
use proptest::prelude::*;

const LIMITS: Limits = Limits { bytes_max: 1 << 20, ..Limits::DEFAULT };

fn to(from: Version, version: Version, method: Method) -> ToClient<'static> {
    ToClient { id: "\"client\"", from, version, method, state: None, ttl_ms_max: 1_000 }
}

/// What the answer becomes in pieces of these lengths, over and over
fn flow(bytes: &[u8], pieces: &[usize], to: &ToClient<'_>) -> Result<(Vec<u8>, Flowed), Broken> {
    let mut flow = Flow::new(7, to, LIMITS);
    let (mut out, mut rest) = (Vec::new(), bytes);
    for length in pieces.iter().cycle() {
        let (now, after) = rest.split_at((*length).clamp(1, rest.len().max(1)).min(rest.len()));
        flow.push(now, &mut out)?;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    // Nobody can take for whole what has left before the end.
    assert!(scan_distinct(&out, &LIMITS).is_err());
    let flowed = flow.finish(&mut out)?;
    Ok((out, flowed))
}

/// What it is if it is read whole; `None` if it cannot be passed on in pieces
fn whole(bytes: &[u8], to: &ToClient<'_>) -> Option<(Vec<u8>, Flowed)> {
    let message = Message::read_answer(bytes, &LIMITS).ok()?;
    let crate::message::Shape::Response { id: Some(id), .. } = message.shape() else { return None };
    id.raw().parse::<u64>().ok().filter(|id| *id == 7)?;
    let content = message.result().or(message.error())?;
    content.as_object()?;
    let (failed, error) = match outcome(&message, to.from, to.method, Can::NONE).ok()? {
        Outcome::Complete { failed } => (failed, false),
        Outcome::Error { .. } => (true, true),
        Outcome::Asks { .. } | Outcome::Task { .. } => return None,
    };
    let raw = content.raw().as_bytes();
    let flowed = Flowed { failed, error, bytes: raw.len() as u64, digest: Hash::of(raw) };
    Some((translate::answer(bytes, &message, to), flowed))
}

fn ends() -> impl Strategy<Value = ToClient<'static>> {
    let version = prop::sample::select(Version::ALL.to_vec());
    let methods = vec![Method::CallTool, Method::ReadResource, Method::GetPrompt, Method::Complete];
    (version.clone(), version, prop::sample::select(methods))
        .prop_map(|(from, version, method)| to(from, version, method))
}

fn member() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        r#""content":[{"type":"text","text":"a\n\ud83d\ude00 é"}]"#,
        r#" "structuredContent" : {"a":[1,-2.50e+3,0.0]}"#,
        r#""structuredContent": [1,2] "#,
        r#""structuredContent":7"#,
        r#""isError":true"#,
        r#""isError":"true""#,
        r#""isErr\u006fr": false"#,
        r#""resultType":"complete""#,
        r#""resultType":"compl\u0065te""#,
        r#""resultType":"input_required","requestState":"x""#,
        r#""resultType":"task""#,
        r#""resultType":null"#,
        r#""resulttype":"task""#,
        r#""ttlMs" : 5"#,
        r#""ttlMs":50000"#,
        r#""ttlMs":-1"#,
        r#""ttlMs":{}"#,
        r#""cacheScope":"public""#,
        r#""cacheScope": "private" "#,
        r#""_meta":{"a":{"b":{"c":[[],{}]}}}"#,
        r#""code":-32002,"message":"no""#,
        r#""code":-32042,"message":"no","data":{"elicitations":[{"mode":"url","url":"https://a.example","message":"m"}]}"#,
        r#""code":"x""#,
        r#""ключ":"значение""#,
    ])
    .prop_map(str::to_owned)
}

fn answer() -> impl Strategy<Value = String> {
    let members = prop::collection::vec(member(), 0..5).prop_map(|members| members.join(","));
    let object = (members, prop::sample::select(vec!["", " ", "\n  "]))
        .prop_map(|(inner, blank)| format!("{{{blank}{inner}{blank}}}"));
    let content = (prop::sample::select(vec!["result", "error"]), object)
        .prop_map(|(key, object)| format!("\"{key}\" : {object}"));
    let parts = prop::collection::vec(
        prop_oneof![
            3 => Just(r#""jsonrpc":"2.0""#.to_owned()),
            3 => prop::sample::select(vec![r#""id":7"#, r#""id": 7 "#, r#""id":8"#, r#""id":"7""#, r#""id":null"#]).prop_map(str::to_owned),
            4 => content,
            1 => prop::sample::select(vec![r#""x":{"id":9}"#, r#""Result":{}"#, r#""method":"m""#]).prop_map(str::to_owned),
        ],
        1..5,
    );
    let loose = parts.prop_map(|parts| format!("{{{}}}\n", parts.join(" ,")));
    let members = prop::collection::vec(member(), 0..5).prop_map(|members| members.join(" , "));
    let good = (members, any::<bool>(), any::<bool>()).prop_map(|(inner, error, last)| {
        let content = format!("\"{}\":{{ {inner} }}", if error { "error" } else { "result" });
        let head = r#""jsonrpc":"2.0","id":7"#;
        if last { format!("{{{head},{content}}}") } else { format!(" {{{content},{head}}} ") }
    });
    prop_oneof![1 => loose, 3 => good]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn an_answer_in_any_pieces_is_what_it_is_whole(
        text in answer(),
        pieces in prop::collection::vec(1_usize..40, 1..6),
        to in ends(),
    ) {
        let (whole, pieces) = (whole(text.as_bytes(), &to), flow(text.as_bytes(), &pieces, &to));
        match (whole, pieces) {
            (Some((bytes, flowed)), Ok((out, also))) => {
                prop_assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(bytes).unwrap());
                prop_assert_eq!(flowed, also);
            }
            (None, Err(_)) => {}
            (whole, pieces) => prop_assert!(false, "{}: whole {:?}, in pieces {:?}", text, whole, pieces),
        }
    }

    #[test]
    fn a_damaged_answer_is_never_taken(text in answer(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let to = to(Version::July2026, Version::July2026, Method::CallTool);
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        let (whole, pieces) = (whole(&bytes, &to), flow(&bytes, &[3], &to));
        prop_assert_eq!(whole.is_some(), pieces.is_ok(), "{}", String::from_utf8_lossy(&bytes));
        if let (Some((expected, _)), Ok((out, _))) = (whole, pieces) {
            prop_assert_eq!(out, expected);
        }
    }
}

#[test]
fn what_is_no_json_breaks_at_its_byte() {
    let to = to(Version::July2026, Version::July2026, Method::CallTool);
    for (text, broken) in [
        ("\u{feff}{}", Broken::Json(0)),
        ("[]", Broken::Message("is no message")),
        ("{,", Broken::Json(1)),
        (r#"{"a":01"#, Broken::Json(6)),
        (r#"{"a":1.}"#, Broken::Json(7)),
        (r#"{"a":"\ud800"}"#, Broken::Json(12)),
        (r#"{"a":"\udc00"}"#, Broken::Json(11)),
        ("{\"a\":\"\n", Broken::Json(6)),
        (r#"{"a":tru}"#, Broken::Json(8)),
        (r#"{"a":1,"\u0061":2}"#, Broken::Json(14)),
        (r#"{"a":[1,]"#, Broken::Json(8)),
        (r#"{"a":[}"#, Broken::Json(6)),
        (r#"{"a":{"b":1,}"#, Broken::Json(12)),
        (r#"{} {"#, Broken::Json(3)),
    ] {
        assert_eq!(flow(text.as_bytes(), &[1], &to).unwrap_err(), broken, "{text}");
    }
    for bytes in [
        &b"{\"a\":\"\xff\"}"[..],
        b"{\"a\":\"\xc0\xaf\"}",
        b"{\"a\":\"\xed\xa0\x80\"}",
        b"{\"a\":\"\xf4\x90\x80\x80\"}",
    ] {
        assert!(matches!(flow(bytes, &[1], &to), Err(Broken::Json(_))));
    }
}

#[test]
fn a_flow_is_bounded() {
    let to = to(Version::July2026, Version::July2026, Method::CallTool);
    let deep = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"a":{}"#, "[".repeat(70));
    assert_eq!(flow(deep.as_bytes(), &[9], &to).unwrap_err(), Broken::Limit);
    let wide = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"a":[{}"#, "0,".repeat(250_000));
    assert_eq!(flow(wide.as_bytes(), &[900], &to).unwrap_err(), Broken::Limit);
    let key = format!(r#"{{"{}"#, "k".repeat(70_000));
    assert_eq!(flow(key.as_bytes(), &[900], &to).unwrap_err(), Broken::Limit);
    let blank = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{{}"#, " ".repeat(200_000));
    assert_eq!(flow(blank.as_bytes(), &[900], &to).unwrap_err(), Broken::Limit);
    let long = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"a":"{}"#, "x".repeat(1 << 20));
    assert_eq!(flow(long.as_bytes(), &[900], &to).unwrap_err(), Broken::Limit);
}

#[test]
fn a_long_text_leaves_as_it_comes() {
    let to = to(Version::November2025, Version::July2026, Method::CallTool);
    let mut flow = Flow::new(7, &to, LIMITS);
    let mut out = Vec::new();
    flow.push(br#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":""#, &mut out).unwrap();
    let before = out.len();
    flow.push(&[b'x'; 5_000], &mut out).unwrap();
    assert_eq!(out.len(), before + 5_000);
    flow.push(b"\"}]}}", &mut out).unwrap();
    let flowed = flow.finish(&mut out).unwrap();
    assert!(out.ends_with(br#"x"}],"resultType":"complete"}}"#));
    assert!(!flowed.failed && flowed.bytes > 5_000);
}
