//! The messages of the Workload API (SPIFFE Workload API 1.0), as protocol buffers number them.

use prost::Message;
use prost_types::Struct;
use std::collections::BTreeMap;

/// A request that says nothing
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Nothing {}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct X509Svids {
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<X509Svid>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) crl: Vec<Vec<u8>>,
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(super) federated: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct X509Svid {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    /// The chain in DER, one after the other
    #[prost(bytes = "vec", tag = "2")]
    pub(super) chain: Vec<u8>,
    /// PKCS#8 in DER
    #[prost(bytes = "vec", tag = "3")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) bundle: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(super) hint: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct X509Bundles {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) crl: Vec<Vec<u8>>,
    #[prost(btree_map = "string, bytes", tag = "2")]
    pub(super) bundles: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct JwtRequest {
    #[prost(string, repeated, tag = "1")]
    pub(super) audience: Vec<String>,
    #[prost(string, tag = "2")]
    pub(super) id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct JwtSvids {
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<JwtSvid>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct JwtSvid {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, tag = "2")]
    pub(super) svid: String,
    #[prost(string, tag = "3")]
    pub(super) hint: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct JwtBundles {
    #[prost(btree_map = "string, bytes", tag = "1")]
    pub(super) bundles: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Validate {
    #[prost(string, tag = "1")]
    pub(super) audience: String,
    #[prost(string, tag = "2")]
    pub(super) svid: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Validated {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) claims: Option<Struct>,
}
