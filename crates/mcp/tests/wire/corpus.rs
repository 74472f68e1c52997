//! Every message of `tests/corpus/wire` is refused with its code, or read as it is expected to be.

use http::{HeaderMap, HeaderName, HeaderValue};
use portreeve_core::json::Limits;
use portreeve_mcp::{
    asked::{Spoken, check_params, spoken},
    message::{Message, Shape},
    method::Method,
    params::Use,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::PathBuf};

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/wire")
}

pub(crate) fn cases() -> Vec<Value> {
    let expected: Value = serde_json::from_slice(&fs::read(folder().join("expected.json")).unwrap()).unwrap();
    expected["cases"].as_array().unwrap().clone()
}

/// All messages of the corpus
pub(crate) fn messages() -> Vec<Vec<u8>> {
    cases().iter().map(|case| fs::read(folder().join(case["file"].as_str().unwrap())).unwrap()).collect()
}

fn headers(case: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for pair in case["headers"].as_array().into_iter().flatten() {
        let (name, value) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// The code of the refusal, or what was read: as the gateway does it, one step after the other
fn judged(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, i64> {
    let message = Message::read(bytes, &Limits::DEFAULT).map_err(|error| error.code())?;
    let spoken = spoken(headers, &message).map_err(|refused| refused.code)?;
    let (Shape::Request { method, .. } | Shape::Notification { method }) = message.shape() else {
        return Ok(json!({}));
    };
    let mut read = json!({ "method": method });
    if let Some(known) = Method::read(method).filter(|method| method.may_ask()) {
        let used = Use::read(known, message.params()).map_err(|_| -32_602_i64)?;
        if matches!(spoken, Spoken::Modern(_)) {
            check_params(headers, used.arguments, &[]).map_err(|refused| refused.code)?;
        }
        let arguments = used.arguments.map(|arguments| arguments.to_value().map_err(|_| -32_602_i64)).transpose()?;
        read["name"] = used.name.into();
        read["arguments"] = serde_json::to_value(arguments).unwrap();
    }
    Ok(read)
}

#[test]
fn hostile_messages_are_refused_and_odd_ones_read_as_they_are() {
    let (mut seen, mut wrong) = (BTreeSet::from(["expected.json".to_owned(), ".gitattributes".to_owned()]), Vec::new());
    for case in cases() {
        let file = case["file"].as_str().unwrap();
        seen.insert(file.to_owned());
        let judged = judged(&headers(&case), &fs::read(folder().join(file)).unwrap());
        let good = match (&judged, case.get("refused"), case.get("read")) {
            (Err(code), Some(refused), None) => refused.as_i64() == Some(*code),
            (Ok(read), None, Some(expected)) => {
                expected.as_object().unwrap().iter().all(|(key, value)| match key.as_str() {
                    "arguments" => equal(&read[key], value),
                    _ => &read[key] == value,
                })
            }
            _ => false,
        };
        if !good {
            wrong.push(format!("{file} ({}): {judged:?}", case["why"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let there: BTreeSet<String> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(there, seen, "every file of the corpus has an expectation");
}

/// Equal, where `1` and `1.0` are one number
fn equal(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Object(one), Value::Object(two)) => {
            one.len() == two.len()
                && one.iter().all(|(key, value)| two.get(key).is_some_and(|other| equal(value, other)))
        }
        (Value::Number(one), Value::Number(two)) => one == two || one.as_f64() == two.as_f64(),
        _ => one == two,
    }
}
