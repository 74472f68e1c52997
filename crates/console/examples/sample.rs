//! The console over a world made for tests: for browsers, and for looking at it.
//!
//! Prints one line of JSON: its address and a sign-in link for each line that it reads (`dana`, `omar`), or does what
//! the line says: `ask`, `decline CODE`, `fail`. Ends with its standard input.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for tests")]

#[path = "../tests/sample/mod.rs"]
mod sample;

use portreeve_console::router;
use sample::Sample;
use std::sync::Arc;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, stdin},
    net::TcpListener,
};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let empty = std::env::args().any(|argument| argument == "--empty");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // A passkey is bound to a name, and a number is none.
    let base = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let world = Arc::new(if empty { Sample::empty(&base) } else { Sample::new(&base) });
    let pages = router(Arc::clone(&world) as _, false).unwrap();
    println!("{}", serde_json::json!({ "base": base }));
    tokio::spawn(async move { axum::serve(listener, pages).await });
    let mut lines = BufReader::new(stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let answer = match line.split_once(' ') {
            None if line == "ask" => {
                world.ask();
                serde_json::json!({})
            }
            None if line == "fail" => {
                world.fail();
                serde_json::json!({})
            }
            None if line == "said" => serde_json::json!({ "said": world.said().iter().map(|said| {
                serde_json::json!({ "yes": said.yes, "why": said.why, "read_ms": said.read_ms, "passkey": said.passkey.is_some() })
            }).collect::<Vec<_>>() }),
            None if line == "passkeys" => serde_json::json!({ "passkeys": world.passkey_changes() }),
            None if line == "entered" => serde_json::json!({ "entered": world.entered().iter().map(|(user, how)| {
                format!("{user} by {how}")
            }).collect::<Vec<_>>() }),
            Some(("decline", code)) => {
                world.decline(code);
                serde_json::json!({})
            }
            _ => {
                serde_json::json!({ "link": format!("{base}{}", world.link(&line, None)) })
            }
        };
        println!("{answer}");
    }
}
