//! The official Rust SDK's client uses every method, through `portreeve bridge`.

#![expect(deprecated, reason = "what the newest version deprecates is used all the same")]

use crate::interop::interop;
use crate::methods::Both;
use crate::support::{fixture, place::PROGRAM, until};
use rmcp::{
    ClientHandler, ServiceError,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResult, ClientConfig, ClientRequest,
        CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams, ElicitResult, ErrorData,
        GetPromptRequestParams, ListRootsResult, LoggingMessageNotificationParam, ProgressNotificationParam,
        ProtocolVersion, ReadResourceRequestParams,
    },
    service::{
        ClientLifecycleMode, ClientServiceExt as _, NotificationContext, PeerRequestOptions, RequestContext,
        RoleClient, RunningService,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::process::{Child, Command};

/// Somebody who answers whatever is asked, and writes down what is told on the way
#[derive(Clone, Default)]
struct Person {
    told: Arc<Mutex<Vec<Value>>>,
}

/// A value of the SDK's model, written as the protocol has it
fn made<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        made(json!({
            "protocolVersion": "2025-11-25",
            "capabilities": { "sampling": {}, "elicitation": { "form": {} }, "roots": {} },
            "clientInfo": { "name": "portreeve-test-rust", "version": "1.0.0" },
        }))
    }

    async fn create_message(
        &self,
        _params: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        Ok(made(json!({ "role": "assistant", "content": { "type": "text", "text": "Paris" }, "model": "test" })))
    }

    async fn list_roots(&self, _context: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        Ok(made(json!({ "roots": [{ "uri": "file:///work" }] })))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let asked = serde_json::to_value(request).unwrap();
        let named = asked["requestedSchema"]["properties"].as_object().unwrap().keys();
        let content: Value = named.map(|name| (name.clone(), json!(format!("some {name}")))).collect();
        Ok(made(json!({ "action": "accept", "content": content })))
    }

    async fn on_progress(&self, params: ProgressNotificationParam, _context: NotificationContext<RoleClient>) {
        self.told.lock().unwrap().push(json!({ "progress": params.progress }));
    }

    async fn on_logging_message(
        &self,
        params: LoggingMessageNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.told.lock().unwrap().push(json!({ "log": params.data }));
    }
}

type Client = RunningService<RoleClient, Person>;

/// The client at the end of a bridge into this task
async fn connect(both: &Both, connector: &str, task: &str, lifecycle: ClientLifecycleMode) -> (Client, Person, Child) {
    let command = both.place.command(PROGRAM, &["bridge", connector, "--task", task]);
    let mut command = Command::from(command);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let way = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
    let person = Person::default();
    let client = person.clone().serve_with_lifecycle(way, lifecycle).await.unwrap();
    (client, person, child)
}

async fn call(client: &Client, name: &str, arguments: Value) -> Result<CallToolResult, ServiceError> {
    let meta = json!({ "io.modelcontextprotocol/logLevel": "info", "progressToken": name });
    client
        .call_tool(made::<CallToolRequestParams>(json!({ "name": name, "arguments": arguments, "_meta": meta })))
        .await
}

fn text(result: &CallToolResult) -> String {
    serde_json::to_value(result).unwrap()["content"][0]["text"].as_str().unwrap().to_owned()
}

async fn every_method(both: &Both, connector: &str, task: &str, lifecycle: ClientLifecycleMode) {
    let older = lifecycle == ClientLifecycleMode::Initialize;
    let (client, person, _child) = connect(both, connector, task, lifecycle).await;
    if older {
        // In the newest version it is part of every request.
        client.set_level(made(json!({ "level": "info" }))).await.unwrap();
    }
    let tools = client.list_all_tools().await.unwrap();
    assert!(tools.len() > 30, "{}", tools.len());
    let resources = client.list_all_resources().await.unwrap();
    let templates = client.list_all_resource_templates().await.unwrap();
    let prompts = client.list_all_prompts().await.unwrap();
    assert_eq!((resources.len(), templates.len(), prompts.len()), (3, 1, 5));
    let read: ReadResourceRequestParams = made(json!({ "uri": "test://static-text" }));
    let read = serde_json::to_value(client.read_resource(read).await.unwrap()).unwrap();
    assert_eq!(read["contents"][0]["text"], "This is the content of the static text resource.");
    let prompt: GetPromptRequestParams =
        made(json!({ "name": "test_prompt_with_arguments", "arguments": { "arg1": "a", "arg2": "b" } }));
    let prompt = serde_json::to_value(client.get_prompt(prompt).await.unwrap()).unwrap();
    assert_eq!(prompt["messages"][0]["content"]["text"], "Prompt with arguments: arg1='a', arg2='b'");
    let completion = client.complete_prompt_simple("test_prompt_with_arguments", "arg1", "par").await.unwrap();
    assert_eq!(completion, ["paris", "park", "party"]);
    let question: GetPromptRequestParams = made(json!({ "name": "test_input_required_result_prompt" }));
    let question = serde_json::to_value(client.get_prompt(question).await.unwrap()).unwrap();
    assert_eq!(question["messages"][0]["content"]["text"], "The context is some context.");

    for (name, arguments, answer) in [
        ("test_tool_with_progress", json!({}), "Done"),
        ("test_tool_with_logging", json!({}), "Logged three times"),
        ("test_sampling", json!({ "prompt": "x" }), "LLM response: Paris"),
        ("test_input_required_result_list_roots", json!({}), r#"["file:///work"]"#),
        ("test_input_required_result_multi_round", json!({}), "some name likes some color"),
    ] {
        let result = call(&client, name, arguments).await.unwrap();
        assert_eq!(text(&result), answer, "{connector}");
    }
    let refused = call(&client, "test_large_text", json!({ "bytes": 300 })).await.unwrap();
    let refused = serde_json::to_value(refused).unwrap();
    assert_eq!(refused["_meta"]["dev.portreeve/refusal"]["word"], "argument_outside_task", "{refused}");
    let told = person.told.lock().unwrap().clone();
    for heard in [json!({ "progress": 50.0 }), json!({ "log": "Tool processing data" })] {
        assert!(told.contains(&heard), "{connector}: {told:?}");
    }
    cancels(both, connector, &client).await;
    client.cancel().await.unwrap();
}

async fn cancels(both: &Both, connector: &str, client: &Client) {
    let count = async || text(&call(client, "test_cancelled", json!({})).await.unwrap()).parse::<u32>().unwrap();
    let before = count().await;
    let slow = made(json!({ "name": "test_slow", "arguments": { "seconds": 60 } }));
    let request = ClientRequest::CallToolRequest(CallToolRequest::new(slow));
    let running = client.send_cancellable_request(request, PeerRequestOptions::no_options()).await.unwrap();
    let tool = format!("{connector}.test_slow");
    tokio::task::block_in_place(|| {
        until("it is admitted", || {
            both.place.record().calls().values().any(|call| call.tool == tool && call.ends.is_empty())
        });
    });
    running.cancel(None).await.unwrap();
    while count().await == before {}
}

#[test]
fn the_rust_sdk_uses_every_method() {
    let Some(interop) = interop("the_rust_sdk_uses_every_method", &[fixture::NEEDS]) else { return };
    let both = Both::new(interop);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for (connector, task) in &both.tasks {
        for lifecycle in [
            ClientLifecycleMode::Initialize,
            ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] },
        ] {
            runtime.block_on(every_method(&both, connector, &task.id, lifecycle));
        }
    }
}
