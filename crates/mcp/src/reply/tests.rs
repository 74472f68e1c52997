use super::*;
use crate::{message::Message, outcome::Outcome, params::ListenFilter};
use portreeve_core::json::{Json, Limits};

fn read(bytes: &[u8]) -> Value {
    assert!(Message::read_answer(bytes, &Limits::DEFAULT).is_ok(), "{}", String::from_utf8_lossy(bytes));
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn item_28_our_own_results_are_those_of_the_clients_era() {
    for era in [Era::Modern, Era::Legacy] {
        let kind = (era == Era::Modern).then(|| json!("complete"));
        for bytes in [
            result("1", era, &json!({})),
            unknown_outcome("1", era, "why"),
            unreachable("1", era, "why"),
            rejected("1", era, "why"),
            withheld("1", era, 5, 3),
            refused_call("1", era, &[]),
            list("1", era, "tools", &[r#"{"name":"a"}"#], Some("n\""), 5),
        ] {
            let read = read(&bytes);
            assert_eq!(read["result"].get("resultType").cloned(), kind, "{read}");
        }
        let listed = read(&list("1", era, "tools", &["{}", "{}"], None, 5));
        assert_eq!(listed["result"].get("cacheScope").cloned(), kind.clone().map(|_| json!("private")));
        assert_eq!(listed["result"]["tools"], json!([{}, {}]));
    }
    assert_eq!(
        result("1", Era::Modern, &json!({ "resultType": "task" })),
        br#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"task"}}"#
    );
}

#[test]
fn item_44_and_47_what_is_hidden_is_what_is_unknown() {
    let code = |bytes: &[u8]| read(bytes)["error"]["code"].clone();
    assert_eq!(code(&unknown_tool("1", "t")), -32_602);
    assert_eq!(code(&unknown_prompt("1", "p")), -32_602);
    assert_eq!(code(&unknown_task("1")), -32_602);
    assert_eq!(code(&unknown_resource("1", Era::Modern, "a:b")), -32_602);
    assert_eq!(code(&unknown_resource("1", Era::Legacy, "a:b")), -32_002);
    assert_eq!(read(&unknown_resource("1", Era::Modern, "a:b"))["error"]["data"], json!({ "uri": "a:b" }));
}

#[test]
fn item_48_we_introduce_ourselves_in_each_era() {
    let server = Server { connector: "shop", capabilities: json!({ "tools": {} }), instructions: Some("i") };
    let discovered = server.discover("1", 5);
    let hello = crate::client::read_discover(&discovered, &Limits::DEFAULT).unwrap();
    let crate::client::Discovered::Modern(hello) = hello else { panic!() };
    assert_eq!((hello.version, hello.name.as_str()), (Version::July2026, "portreeve/shop"));
    assert_eq!(read(&discovered)["result"]["ttlMs"], 5);
    let message = Message::read_answer(&discovered, &Limits::DEFAULT).unwrap();
    let outcome =
        crate::outcome::outcome(&message, Version::July2026, crate::method::Method::Discover, crate::can::Can::NONE);
    assert_eq!(outcome, Ok(Outcome::Complete { failed: false }));
    let hello = crate::client::read_initialize(&server.initialize("1", Version::June2025), &Limits::DEFAULT).unwrap();
    assert_eq!((hello.version, hello.instructions.as_deref()), (Version::June2025, Some("i")));
    assert!(read(&server.initialize("1", Version::June2025))["result"].get("resultType").is_none());
}

#[test]
fn item_30_and_31_a_subscription_begins_and_ends_with_its_id() {
    let filter = ListenFilter { uris: vec!["a:b".into()], ..ListenFilter::default() };
    let first = acknowledged("\"s\"", &filter);
    let message = Message::read_answer(&first, &Limits::DEFAULT).unwrap();
    let meta = message.params().unwrap().get("_meta").unwrap();
    assert_eq!(meta.get(META_SUBSCRIPTION).and_then(Json::as_str), Some("s"));
    assert_eq!(ListenFilter::read(message.params()), Ok(filter));
    let last = read(&subscription_over("\"s\""));
    assert_eq!(last["result"]["_meta"][META_SUBSCRIPTION], "s");
    assert_eq!(last["id"], "s");
}

#[test]
fn item_27_and_95_what_is_ours_lies_outside_of_what_is_reserved() {
    assert!(!(-32_768..=-32_000).contains(&REFUSED));
    let second = META.split('/').next().unwrap().split('.').nth(1);
    assert!(!matches!(second, None | Some("modelcontextprotocol" | "mcp")));
}
