//! Any header and claims, as they came and signed
#![no_main]

#[path = "../identity.rs"]
mod identity;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    identity::token(bytes);
});
