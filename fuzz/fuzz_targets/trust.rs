//! Any bytes as claims that rules of trust rest on
#![no_main]

#[path = "../identity.rs"]
mod identity;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    identity::trust(bytes);
});
