use std::fs;

use super::{Announced, Kind, Subject, nginx_config};

#[test]
fn reads_the_line_of_the_seam() {
    let line = r#"{"url":"http://127.0.0.1:9/mcp/echo","pid":123,"headers":{"authorization":"Bearer x"},"renew":null}"#;
    let announced: Announced = serde_json::from_str(line).unwrap();
    assert_eq!(announced.pid, 123);
    assert_eq!(announced.headers["authorization"], "Bearer x");
    assert!(announced.renew.is_none());
}

#[test]
fn headers_are_renewed_from_either_shape() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("headers.json");
    let mut subject = Subject::new(Kind::Portreeve, String::new());
    assert!(subject.headers().unwrap().is_empty());
    subject.renew = Some(path.clone());
    assert!(subject.headers().is_err());
    fs::write(&path, r#"{"headers":{"authorization":"Bearer 1"}}"#).unwrap();
    assert_eq!(subject.headers().unwrap(), ["authorization:Bearer 1"]);
    fs::write(&path, r#"{"authorization":"Bearer 2"}"#).unwrap();
    assert_eq!(subject.headers().unwrap(), ["authorization:Bearer 2"]);
}

#[test]
fn nginx_listens_on_loopback_only() {
    let config = nginx_config("/tmp/x".as_ref(), 80, "127.0.0.1:81");
    assert!(config.contains("listen 127.0.0.1:80;"));
    assert!(config.contains("worker_processes 1;"));
}
