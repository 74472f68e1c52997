//! Addresses that are believed, or told what is not for everybody on the way.

/// Whether it is https, or http on this machine, without a user or a fragment
pub(crate) fn is_guarded(text: &str) -> bool {
    let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => (false, ""),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(inner) => inner.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let local = matches!(host, "localhost" | "127.0.0.1" | "::1");
    let plain = !host.is_empty() && !authority.contains('@') && text.bytes().all(|byte| byte.is_ascii_graphic());
    plain && (secure || local) && !text.contains('#')
}
