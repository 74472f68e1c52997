//! Any text against any pattern: no panic, and what is under a folder is under the folders above it
#![no_main]

use libfuzzer_sys::fuzz_target;
use portreeve_core::{
    pattern::{Match, Operand, Pattern, Scope},
    value::Value,
};

fuzz_target!(|input: (&str, &str)| {
    let (text, pattern) = input;
    let value = Value::String(text.to_owned());
    let operand = || Operand::Literal(Value::String(pattern.to_owned()));
    for pattern in [
        Pattern::Prefix(operand()),
        Pattern::Glob(pattern.to_owned()),
        Pattern::Under(operand()),
        Pattern::Path(operand()),
        Pattern::Url(operand()),
        Pattern::Email(operand()),
    ] {
        let found = pattern.test(Some(&value), Scope::NONE);
        if let (Pattern::Path(_), Match::Yes) = (&pattern, found) {
            assert_eq!(Pattern::Under(operand()).test(Some(&value), Scope::NONE), Match::Yes);
        }
    }
});
