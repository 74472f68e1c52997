use rmcp::model::{CallToolRequestParams, CallToolResult, ClientConfig, Implementation, ProtocolVersion};
use rmcp::service::{RoleClient, RunningService};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;

/// The official client in front of the server that `serve_shop` runs
struct Connection {
    client: RunningService<RoleClient, ClientConfig>,
    server: JoinHandle<anyhow::Result<()>>,
}

impl Connection {
    async fn open(version: ProtocolVersion) -> Self {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let server = tokio::spawn(serve(far, Shop::default()));
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
    assert_eq!(names, ["cancel_refund", "export_customers", "get_order", "refund"]);
    for tool in &tools {
        assert!(tool.description.is_some(), "{}", tool.name);
        assert_eq!(tool.input_schema["additionalProperties"], json!(false), "{}", tool.name);
        let read_only = tool.annotations.as_ref().and_then(|hints| hints.read_only_hint);
        assert_eq!(read_only == Some(true), tool.name == "get_order", "{}", tool.name);
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
