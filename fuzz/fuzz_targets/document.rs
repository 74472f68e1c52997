//! Any bytes as keys, bundles and discovery documents
#![no_main]

#[path = "../identity.rs"]
mod identity;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    identity::document(bytes);
});
