//! Any header and claims as a DPoP proof, an assertion and a JWT-SVID
#![no_main]

#[path = "../identity.rs"]
mod identity;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    identity::proof(bytes);
});
