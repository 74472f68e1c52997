//! A real OpenID Connect provider (npm `oidc-provider`), which is told what to do.

use super::{
    http::{Response, exchange, request},
    place::{Place, Running},
};
use crate::interop::interop;
use serde_json::Value;
use std::net::TcpStream;
use url::Url;

const REAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/people/provider.mjs");

/// A provider that runs; gone with the test
pub(crate) struct RealProvider {
    /// Its name: the issuer
    pub(crate) name: String,
    _running: Running,
    _place: Place,
}

impl RealProvider {
    /// Starts it; nothing, told as left out, where it is not installed
    pub(crate) fn start(test: &str) -> Option<Self> {
        let folder = interop(test, &["node/node_modules/oidc-provider"])?;
        let place = Place::bare();
        let mut command = place.command("node", &[REAL]);
        command.env("PORTREEVE_INTEROP", &folder);
        let running = Running::talking(command);
        let name = running.lines.next().expect("the provider says its name");
        Some(Self { name, _running: running, _place: place })
    }

    /// Asks it for a page
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let url = Url::parse(&self.name).unwrap();
        let host = self.name.trim_start_matches("http://").to_owned();
        let headers = [&[("host", host.as_str())], headers].concat();
        let stream = TcpStream::connect(("127.0.0.1", url.port().unwrap())).unwrap();
        exchange(stream, &request("GET", path, &headers, b""))
    }

    /// Tells it what to do
    pub(crate) fn control(&self, what: &str, with: &[(&str, &str)]) -> String {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(with).finish();
        let answer = self.get(&format!("/-/{what}?{query}"), &[]);
        assert_eq!(answer.status, 200, "{answer:?}");
        String::from_utf8(answer.body).unwrap()
    }

    /// What a server that takes its tokens lets one do; nothing: it does not let it in
    pub(crate) fn lets_in(&self, token: &str) -> Option<Value> {
        let answer = self.get("/-/api", &[("authorization", &format!("Bearer {token}"))]);
        (answer.status == 200).then(|| answer.json())
    }

    /// How often an endpoint was asked
    pub(crate) fn asked(&self, endpoint: &str) -> u64 {
        let asked: Value = serde_json::from_str(&self.control("asked", &[])).unwrap();
        asked[endpoint].as_u64().unwrap_or_default()
    }
}
