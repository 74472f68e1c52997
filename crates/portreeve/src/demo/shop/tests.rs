use rmcp::model::{CallToolRequestParams, CallToolResult, ClientConfig, Implementation, ProtocolVersion};
use rmcp::service::{RoleClient, RunningService};
use serde_json::{Value, json};
use std::path::Path;
use tokio::task::JoinHandle;

use super::*;
use crate::demo::keys::answer;

/// The official client in front of the server that `serve_shop` runs
struct Connection {
    client: RunningService<RoleClient, ClientConfig>,
    server: JoinHandle<anyhow::Result<()>>,
}

impl Connection {
    async fn open(version: ProtocolVersion) -> Self {
        Self::to(version, Shop::default()).await
    }

    async fn to(version: ProtocolVersion, shop: Shop) -> Self {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let server = tokio::spawn(serve(far, shop));
        let config = ClientConfig::new(rmcp::model::ClientCapabilities::default(), Implementation::new("test", "1"))
            .with_protocol_version(version);
        Self { client: config.serve(near).await.unwrap(), server }
    }

    async fn ask(&self, tool: &'static str, arguments: Value) -> CallToolResult {
        let request = CallToolRequestParams::new(tool).with_arguments(arguments.as_object().unwrap().clone());
        self.client.call_tool(request).await.unwrap()
    }

    async fn answer(&self, tool: &'static str, arguments: Value) -> Value {
        let result = self.ask(tool, arguments).await;
        assert_ne!(result.is_error, Some(true), "{result:?}");
        result.structured_content.unwrap()
    }

    async fn failure(&self, tool: &'static str, arguments: Value) -> String {
        let result = self.ask(tool, arguments).await;
        assert_eq!(result.is_error, Some(true), "{result:?}");
        result.content.first().unwrap().as_text().unwrap().text.clone()
    }

    async fn close(self) {
        self.client.cancel().await.unwrap();
        self.server.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn answers_as_both_handshake_versions() {
    for version in [ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2025_11_25] {
        let shop = Connection::open(version.clone()).await;
        let server = shop.client.peer_info().unwrap();
        assert_eq!(server.protocol_version, version);
        assert_eq!(server.server_info.as_ref().unwrap().name, "portreeve-demo-shop");
        shop.close().await;
    }
}

#[tokio::test]
async fn tools_have_closed_schemas() {
    let shop = Connection::open(ProtocolVersion::V_2025_11_25).await;
    let tools = shop.client.list_all_tools().await.unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    assert_eq!(names, ["cancel_refund", "export_customers", "find_orders", "get_order", "refund"]);
    for tool in &tools {
        assert!(tool.description.is_some(), "{}", tool.name);
        assert_eq!(tool.input_schema["additionalProperties"], json!(false), "{}", tool.name);
        let read_only = tool.annotations.as_ref().and_then(|hints| hints.read_only_hint);
        assert_eq!(read_only == Some(true), ["get_order", "find_orders"].contains(&&*tool.name), "{}", tool.name);
    }
    let refund = tools.iter().find(|tool| tool.name == "refund").unwrap();
    assert_eq!(refund.input_schema["required"], json!(["id", "amount"]));
    assert_eq!(refund.input_schema["properties"]["amount"]["exclusiveMinimum"], json!(0));
    shop.close().await;
}

#[tokio::test]
async fn a_refund_is_made_once_and_taken_back_once() {
    let shop = Connection::open(ProtocolVersion::V_2025_11_25).await;
    let order = shop.answer("get_order", json!({"id": "ord_1001"})).await;
    assert_eq!(order["total"], json!(50));
    assert_eq!(order["customer"]["email"], "mara.jansen@example.org");
    assert_eq!(order["refunded"], json!(0));

    let refund = shop.answer("refund", json!({"id": "ord_1001", "amount": 25.5, "note": "for the crack"})).await;
    assert_eq!(refund, json!({"refund": "re_1", "order": "ord_1001", "amount": 25.5}));
    assert_eq!(shop.answer("get_order", json!({"id": "ord_1001"})).await["refunded"], json!(25.5));

    let cancelled = shop.answer("cancel_refund", json!({"refund": "re_1"})).await;
    assert_eq!(cancelled, json!({"refund": "re_1", "order": "ord_1001", "amount": 25.5, "cancelled": true}));
    assert!(shop.failure("cancel_refund", json!({"refund": "re_1"})).await.contains("already"));
    assert_eq!(shop.answer("get_order", json!({"id": "ord_1001"})).await["refunded"], json!(0));
    shop.close().await;
}

#[tokio::test]
async fn what_the_shop_cannot_do_is_an_error_result() {
    let shop = Connection::open(ProtocolVersion::V_2025_06_18).await;
    for (tool, arguments, says) in [
        ("get_order", json!({"id": "ord_1"}), "no order"),
        ("refund", json!({"id": "ord_9999", "amount": 1}), "no order"),
        ("refund", json!({"id": "ord_1003", "amount": 1}), "not paid"),
        ("refund", json!({"id": "ord_1001", "amount": 50.01}), "50.00 EUR left"),
        ("refund", json!({"id": "ord_1001", "amount": -5}), "not an amount"),
        ("refund", json!({"id": "ord_1001", "amount": 1, "note": "x".repeat(501)}), "at most 500"),
        ("cancel_refund", json!({"refund": "re_1"}), "no refund"),
        ("cancel_refund", json!({"refund": "re_0"}), "no refund"),
        ("find_orders", json!({"query": "x".repeat(501)}), "at most 500"),
        ("find_orders", json!({"query": "paid; refund ord_1001 all"}), "not an amount"),
        ("find_orders", json!({"query": "refund ord_1003 1"}), "not paid"),
        ("get_order", json!({"id": "ord_1001", "all": true}), "unknown field"),
        ("refund", json!({"id": "ord_1001"}), "missing field"),
    ] {
        let text = shop.failure(tool, arguments).await;
        assert!(text.contains(says), "{text}");
    }
    shop.close().await;
}

#[tokio::test]
async fn the_customer_list_names_each_customer_once() {
    let shop = Connection::open(ProtocolVersion::V_2025_11_25).await;
    let list = shop.answer("export_customers", json!({})).await;
    let customers = list["customers"].as_array().unwrap();
    assert_eq!(customers.len(), 3);
    let mara = customers.iter().find(|entry| entry["name"] == "Mara Jansen").unwrap();
    assert_eq!(mara["orders"], json!(["ord_1001", "ord_1004"]));
    shop.close().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_no_failure() {
    let (near, far) = tokio::io::duplex(64);
    drop(near);
    serve(far, Shop::default()).await.unwrap();
}

fn found(answer: &Value) -> Vec<&str> {
    answer["orders"].as_array().unwrap().iter().map(|order| order["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_search_finds_what_has_its_words_and_does_what_hides_in_it() {
    let shop = Connection::open(ProtocolVersion::V_2025_11_25).await;
    for (query, ids) in [
        ("mara", &["ord_1001", "ord_1004"][..]),
        ("Mara Lamp paid", &["ord_1001"]),
        ("due", &["ord_1003"]),
        ("ord_1002; ord_1003", &["ord_1002", "ord_1003"]),
        ("nothing", &[]),
        // The hole: nobody used the tool that refunds.
        ("lamp; refund ord_1001 50", &["ord_1001"]),
    ] {
        assert_eq!(found(&shop.answer("find_orders", json!({ "query": query })).await), ids, "{query}");
    }
    assert_eq!(shop.answer("get_order", json!({"id": "ord_1001"})).await["refunded"], json!(50));
    shop.close().await;
}

/// A process of a shop that wants keys, with the key that it was given
async fn with_key(ledger: &Ledger, books: &Path, class: &str, order: &str) -> Connection {
    let (name, scope) = (format!("ptr_{class}_{order}"), json!({ "order": order }));
    let question =
        json!({ "do": "issue", "name": name, "class": class, "scope": scope, "until": i64::MAX, "task": "t" });
    let answer = answer(ledger, question.to_string().as_bytes()).unwrap();
    let key = answer["issued"]["fields"]["key"].as_str().map(str::to_owned);
    let shop = Shop { books: Some(books.to_owned()), keys: Some((ledger.clone(), key)), ..Shop::default() };
    Connection::to(ProtocolVersion::V_2025_11_25, shop).await
}

#[tokio::test]
async fn a_shop_that_wants_keys_does_what_a_key_is_for_until_it_is_taken_out() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, books) = (Ledger::at(&folder.path().join("keys")), folder.path().join("books"));
    let reader = with_key(&ledger, &books, "read", "ord_1001").await;
    let writer = with_key(&ledger, &books, "write", "ord_1001").await;
    let other = with_key(&ledger, &books, "write", "ord_1002").await;
    let all = with_key(&ledger, &books, "escalate", "all").await;

    // Whatever is hidden in a search: a key for reading reads, and one of an order finds that order.
    let (hidden, paid) = (json!({ "query": "paid; refund ord_1001 50" }), json!({ "query": "paid" }));
    assert_eq!(reader.failure("find_orders", hidden.clone()).await, "A key for `read` cannot do this.");
    assert_eq!(found(&reader.answer("find_orders", paid.clone()).await), ["ord_1001"]);
    assert_eq!(found(&all.answer("find_orders", paid.clone()).await).len(), 3);
    assert_eq!(reader.answer("get_order", json!({ "id": "ord_1001" })).await["refunded"], json!(0));
    let (refund, cancel) = (json!({ "id": "ord_1001", "amount": 5 }), json!({ "refund": "re_1" }));
    assert_eq!(writer.answer("refund", refund.clone()).await["refund"], "re_1");
    for (shop, tool, arguments, says) in [
        (&reader, "get_order", json!({ "id": "ord_1002" }), "for ord_1001 only"),
        (&reader, "refund", refund.clone(), "`read` cannot"),
        (&reader, "cancel_refund", cancel.clone(), "`read` cannot"),
        (&reader, "export_customers", json!({}), "`read` cannot"),
        (&writer, "export_customers", json!({}), "`write` cannot"),
        (&other, "refund", refund.clone(), "for ord_1002 only"),
        (&other, "find_orders", hidden.clone(), "for ord_1002 only"),
        (&other, "cancel_refund", cancel.clone(), "for ord_1002 only"),
        (&all, "refund", refund.clone(), "`escalate` cannot"),
    ] {
        let told = shop.failure(tool, arguments).await;
        assert!(told.contains(says), "{tool}: {told}");
    }
    all.answer("export_customers", json!({})).await;

    // From one call to the next, also for a process that runs.
    let withdraw = json!({ "do": "withdraw", "name": "ptr_write_ord_1001" });
    answer(&ledger, withdraw.to_string().as_bytes()).unwrap();
    for (tool, arguments) in [("refund", refund), ("cancel_refund", cancel), ("find_orders", paid)] {
        assert_eq!(writer.failure(tool, arguments).await, "The shop knows no such key.");
    }
    assert_eq!(reader.answer("get_order", json!({ "id": "ord_1001" })).await["refunded"], json!(5));
    let nobody = Shop { keys: Some((ledger, None)), ..Shop::default() };
    let nobody = Connection::to(ProtocolVersion::V_2025_11_25, nobody).await;
    assert_eq!(nobody.failure("get_order", json!({ "id": "ord_1001" })).await, "The shop wants a key.");
    for shop in [reader, writer, other, all, nobody] {
        shop.close().await;
    }
}
