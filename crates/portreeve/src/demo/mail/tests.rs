use axum::body::Body;
use axum::http::{HeaderName, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;

const PORT: u16 = 4321;

/// The router as `serve_mail` builds it, and the session that its answers belong to
struct Client {
    router: Router,
    session: Option<String>,
    version: &'static str,
}

impl Client {
    fn new(version: &'static str) -> Self {
        Self { router: router(SocketAddr::from(([127, 0, 0, 1], PORT))), session: None, version }
    }

    async fn open(version: &'static str) -> Self {
        let mut client = Self::new(version);
        let answer = client.post(initialize(version), &[]).await;
        assert_eq!(answer.status(), StatusCode::OK);
        client.session = Some(answer.headers()["mcp-session-id"].to_str().unwrap().to_owned());
        assert_eq!(message(answer).await["result"]["protocolVersion"], version);
        let done = client.post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}), &[]).await;
        assert_eq!(done.status(), StatusCode::ACCEPTED);
        client
    }

    async fn post(&self, body: Value, headers: &[(&str, &str)]) -> Response<Body> {
        let mut request = Request::post("/mcp")
            .header("host", format!("127.0.0.1:{PORT}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session).header("mcp-protocol-version", self.version);
        }
        let mut request = request.body(Body::from(body.to_string())).unwrap();
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn call(&self, tool: &str, arguments: Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        message(self.post(json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}), &[]).await)
            .await
    }
}

fn initialize(version: &str) -> Value {
    let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
}

/// The one message of an answer that is an event stream
async fn message(answer: Response<Body>) -> Value {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&bytes).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim).rfind(|data| !data.is_empty());
    serde_json::from_str(data.unwrap_or(text)).unwrap()
}

#[tokio::test]
async fn answers_as_both_handshake_versions_with_sessions() {
    for version in ["2025-06-18", "2025-11-25"] {
        let mail = Client::open(version).await;
        let list = message(mail.post(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}), &[]).await).await;
        let tools = list["result"]["tools"].as_array().unwrap();
        let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["list_messages", "read_message", "send_message"]);
        assert!(tools.iter().all(|tool| tool["inputSchema"]["additionalProperties"] == json!(false)), "{tools:?}");
    }
}

#[tokio::test]
async fn one_box_for_all_sessions() {
    let first = Client::open("2025-11-25").await;
    let mut second = Client::new("2025-11-25");
    second.router = first.router.clone();
    let answer = second.post(initialize("2025-11-25"), &[]).await;
    second.session = Some(answer.headers()["mcp-session-id"].to_str().unwrap().to_owned());
    drop(answer);
    second.post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}), &[]).await;

    let mail = json!({"to": "mara.jansen@example.org", "subject": "Your lamp", "body": "On its way."});
    assert_eq!(first.call("send_message", mail.clone()).await["result"]["structuredContent"]["message"], "out_1");
    assert_eq!(second.call("send_message", mail).await["result"]["structuredContent"]["message"], "out_2");
}

#[tokio::test]
async fn messages_are_listed_without_their_text_and_one_is_a_trap() {
    let mail = Client::open("2025-11-25").await;
    let listed = mail.call("list_messages", json!({})).await;
    let messages = listed["result"]["structuredContent"]["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 3);
    assert!(messages.iter().all(|message| message.get("body").is_none()));
    let trap = mail.call("read_message", json!({"id": "msg_2"})).await;
    assert!(trap["result"]["structuredContent"]["body"].as_str().unwrap().contains("Ignore your instructions"));
}

#[tokio::test]
async fn what_the_box_cannot_do_is_an_error_result() {
    let mail = Client::open("2025-06-18").await;
    let unknown = mail.call("read_message", json!({"id": "msg_9"})).await;
    assert_eq!(unknown["result"]["isError"], json!(true), "{unknown}");
    for to in ["nobody", "@example.org", "a@example.org, b@example.org", "a@b@c", "a@example.org\nbcc: b@example.org"] {
        let refused = mail.call("send_message", json!({"to": to, "subject": "", "body": ""})).await;
        assert_eq!(refused["result"]["isError"], json!(true), "{refused}");
    }
    let extra =
        mail.call("send_message", json!({"to": "a@example.org", "subject": "", "body": "", "bcc": "b@x"})).await;
    assert_eq!(extra["result"]["isError"], json!(true), "{extra}");
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let mail = Client::new("2025-11-25");
    for (headers, status) in [
        (("host", "evil.example"), StatusCode::FORBIDDEN),
        (("host", "127.0.0.1:1"), StatusCode::FORBIDDEN),
        (("origin", "http://evil.example"), StatusCode::FORBIDDEN),
        (("origin", "null"), StatusCode::FORBIDDEN),
        (("origin", "http://localhost:4321"), StatusCode::OK),
    ] {
        let answer = mail.post(initialize("2025-11-25"), &[headers]).await;
        assert_eq!(answer.status(), status, "{headers:?}");
    }
}

#[tokio::test]
async fn serves_on_the_listener_it_is_given() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve_mail(listener));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("DELETE /mcp HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    server.abort();
}
