//! What `fuzz/` holds of tokens, certificates and documents of others, tried with changes of good ones.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

#[path = "../../../fuzz/identity.rs"]
mod identity;

use identity::{certificates, claims, documents, tokens};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

/// Parts that change the meaning of what they come into
const PARTS: &[&[u8]] = &[
    b"\"",
    b",",
    b"}",
    b"[",
    b"\n",
    b"\0",
    b"null",
    b"1e400",
    b"-0",
    b"\"exp\":1800000300,",
    b"\"EXP\":1,",
    b"\"alg\":\"none\",",
    b"\"crit\":[],",
    b"\\u0061",
    b"\xf0\x9f\x98\x80",
    b"\xff",
    b"\x30\x80",
    b"\x30\x82\xff\xff",
];

/// One change: where, with what, of which kind, and up to where
type Change = (prop::sample::Index, u8, usize, prop::sample::Index);

fn holds(seeds: Vec<Vec<u8>>, good: usize, target: fn(&[u8]) -> bool) {
    assert_eq!(seeds.iter().filter(|seed| target(seed)).count(), good, "that many of the seeds are good");
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..5usize, any::<prop::sample::Index>());
    let input = (prop::sample::select(seeds), prop::collection::vec(change, 1..6));
    let mut runner = TestRunner::new(Config { cases: 3_000, failure_persistence: None, ..Config::default() });
    let run = |(mut bytes, changes): (Vec<u8>, Vec<Change>)| {
        for (at, byte, how, other) in changes {
            let (at, other) = (at.index(bytes.len() + 1), other.index(bytes.len() + 1));
            let (from, to) = (at.min(other), at.max(other));
            match how {
                0 => bytes.iter_mut().skip(at).take(1).for_each(|old| *old = byte),
                1 => bytes.iter_mut().skip(at).take(1).for_each(|old| *old ^= 1 << (byte % 8)),
                2 => drop(bytes.drain(from..to.min(from + 20))),
                3 => {
                    let part: Vec<_> = bytes[from..to.min(from + 60)].to_vec();
                    drop(bytes.splice(at..at, part));
                }
                _ => drop(bytes.splice(at..at, PARTS[usize::from(byte) % PARTS.len()].iter().copied())),
            }
        }
        target(&bytes);
        Ok(())
    };
    runner.run(&input, run).unwrap();
}

#[test]
fn tokens_of_issuers() {
    holds(tokens(), 1, identity::token);
}

#[test]
fn proofs_and_assertions() {
    holds(tokens(), 2, identity::proof);
}

#[test]
fn claims_that_rules_rest_on() {
    holds(claims(), 3, identity::trust);
}

#[test]
fn tokens_of_those_who_sign_in() {
    holds(claims(), 1, identity::sign_in);
}

#[test]
fn chains_of_certificates() {
    holds(certificates(), 2, identity::chain);
}

#[test]
fn keys_bundles_and_discovery() {
    holds(documents(), 5, identity::document);
}
