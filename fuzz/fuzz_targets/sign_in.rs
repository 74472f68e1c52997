//! Any bytes as claims of somebody who signs in
#![no_main]

#[path = "../identity.rs"]
mod identity;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    identity::sign_in(bytes);
});
