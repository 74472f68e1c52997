//! Any text as a file of traces
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| drop(portreeve_rules::traces(text)));
