//! Any bytes as certificates
#![no_main]

#[path = "../identity.rs"]
mod identity;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    identity::chain(bytes);
});
