//! Whether two addresses are one (RFC 9449, 4.3; RFC 3986, 6.2.2 and 6.2.3).

use url::Url;

/// Whether both are the same address of the web, whatever their query and fragment
pub(super) fn same(one: &str, other: &str) -> bool {
    normal(one).is_some_and(|one| normal(other) == Some(one))
}

fn normal(text: &str) -> Option<String> {
    // What the parser would quietly take out or turn around is no address that everybody reads alike.
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return None;
    }
    let mut url = Url::parse(text).ok()?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    url.set_query(None);
    url.set_fragment(None);
    // Scheme, host, default port and dot segments are normal by now; escapes are not.
    Some(format!("{}{}", url.origin().ascii_serialization(), escapes(url.path())?))
}

/// Escapes in capitals, and none where none is needed
fn escapes(path: &str) -> Option<String> {
    let mut normal = String::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            normal.push(char::from(byte));
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let value = u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?;
        if value.is_ascii_alphanumeric() || b"-._~".contains(&value) {
            normal.push(char::from(value));
        } else {
            normal.push_str(&format!("%{value:02X}"));
        }
    }
    Some(normal)
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn spellings_of_one_address_are_the_same() {
        for (one, other) in [
            ("https://a.example/token", "https://a.example/token"),
            ("https://A.example:443/token?x=1#y", "HTTPS://a.example/token"),
            ("https://a.example", "https://a.example/"),
            ("https://a.example/a/../t%6Fken", "https://a.example/token"),
            ("https://a.example/%2f%c3%a4", "https://a.example/%2F%C3%A4"),
            ("http://[::1]:80/", "http://[0:0::1]/"),
        ] {
            assert!(same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn other_addresses_and_what_is_none_are_not() {
        for (one, other) in [
            ("https://a.example/token", "http://a.example/token"),
            ("https://a.example/token", "https://a.example:8443/token"),
            ("https://a.example/token", "https://a.example/token/"),
            ("https://a.example/token", "https://a.example/Token"),
            ("https://a.example/a%2Fb", "https://a.example/a/b"),
            ("https://a.example/token", "https://a.example.evil/token"),
            ("https://u@a.example/", "https://u@a.example/"),
            ("https://a.example/\\x", "https://a.example/\\x"),
            ("https://a.example/ x", "https://a.example/ x"),
            ("https://a.example/%zz", "https://a.example/%zz"),
            ("https:///a", "/a"),
            ("file:///a", "file:///a"),
            ("", ""),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }
}
