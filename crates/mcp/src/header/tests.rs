use super::*;

fn decoded(value: &[u8]) -> Option<String> {
    decode(&HeaderValue::from_bytes(value).unwrap())
}

#[test]
fn item_15_and_99_values_are_decoded_only_in_their_one_form() {
    for (value, text) in [
        ("us-west1", Some("us-west1")),
        (" foo ", Some("foo")),
        ("", Some("")),
        ("us west 1", Some("us west 1")),
        ("=?base64?SGVsbG8=?=", Some("Hello")),
        ("=?base64??=", Some("")),
        ("=?base64?SGVsbG8sIOS4lueVjA==?=", Some("Hello, 世界")),
        ("=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=", Some("=?base64?literal?=")),
        // Not encoded: no prefix, no suffix, another case.
        ("SGVsbG8=", Some("SGVsbG8=")),
        ("=?base64?SGVsbG8=", Some("=?base64?SGVsbG8=")),
        ("=?BASE64?SGVsbG8=?=", Some("=?BASE64?SGVsbG8=?=")),
        // Invalid: padding, alphabet, bits that mean nothing, bytes that are no text, markers that share a byte.
        ("=?base64?SGVsbG8?=", None),
        ("=?base64?SGVs!!!bG8=?=", None),
        ("=?base64?SGVsbG9=?=", None),
        ("=?base64?_-8=?=", None),
        ("=?base64?/w==?=", None),
        ("=?base64?=", None),
    ] {
        assert_eq!(decoded(value.as_bytes()).as_deref(), text, "{value}");
    }
    assert_eq!(decoded("näme".as_bytes()), None);
    assert_eq!(decoded(b"a\xff"), None);
}

#[test]
fn item_70_and_99_values_are_encoded_where_they_must_be() {
    for (text, value) in [
        ("us-west1", "us-west1"),
        ("us west 1", "us west 1"),
        ("", ""),
        (" us-west1", "=?base64?IHVzLXdlc3Qx?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("a\tb", "=?base64?YQli?="),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ("=?base64?=", "=?base64?PT9iYXNlNjQ/PQ==?="),
        ("=?base64?half", "=?base64?half"),
    ] {
        assert_eq!(encode(text), value, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn what_is_encoded_is_decoded(text in "\\PC*|[ -~\t\n=?]*|=\\?base64\\?.*\\?=") {
        let value = HeaderValue::from_str(&encode(&text)).unwrap();
        proptest::prop_assert_eq!(decode(&value), Some(text));
    }
}
