use http::StatusCode;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Asked, RECORD_BYTES, call_record, outcome_record};

#[test]
fn records_are_lines_of_json_of_one_size() {
    let arguments = RawValue::from_string(format!(r#"{{"id":"item-1","text":"{}"}}"#, "x".repeat(256))).unwrap();
    let long = RawValue::from_string(format!("\"{}\"", "x".repeat(5_000))).unwrap();
    for arguments in [None, Some(&*arguments), Some(&*long)] {
        let record = call_record(12, "7", "echo", arguments);
        assert_eq!(record.len(), RECORD_BYTES);
        assert_eq!(record.last(), Some(&b'\n'));
        let parsed: Value = serde_json::from_slice(&record).unwrap();
        assert_eq!(parsed["sequence"], 12);
    }
    let outcome: Value = serde_json::from_slice(&outcome_record(12, StatusCode::OK)).unwrap();
    assert_eq!(outcome["status"], 200);
}

#[test]
fn only_the_list_passes() {
    let status = |body: &str| Asked::parse(body.as_bytes()).err().map(|refusal| refusal.status);
    assert_eq!(status(r#"{"id":1,"method":"tools/call","params":{"name":"echo"}}"#), None);
    assert_eq!(status(r#"{"id":1,"method":"tools/list"}"#), None);
    assert_eq!(status(r#"{"id":1,"method":"tools/call","params":{"name":"rm"}}"#), Some(StatusCode::FORBIDDEN));
    assert_eq!(status(r#"{"id":1,"method":"resources/read"}"#), Some(StatusCode::FORBIDDEN));
    assert_eq!(status(r#"{"id":1,"method":"tools/call"}"#), Some(StatusCode::BAD_REQUEST));
    assert_eq!(status("[]"), Some(StatusCode::BAD_REQUEST));
}
