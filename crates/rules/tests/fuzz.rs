//! Whatever a policy's text is: the reader ends, does not panic, and either takes it or says what is wrong.
//!
//! Policies that are taken are changed at random: bytes, lines, words of other files. `FUZZ_SEEDS=100000` tries
//! more, `FUZZ_FROM=N` begins at a seed that was reported. `fuzz/` holds the same for cargo-fuzz.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on fails")]

use portreeve_rules::{Files, Finding, compile, traces};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % most.max(1) as u64).unwrap()
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn read(dir: &Path, below: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir.join(below)).unwrap().map(Result::unwrap) {
        let path = below.join(entry.file_name());
        if entry.path().is_dir() {
            read(dir, &path, files);
        } else if let Ok(text) = fs::read_to_string(entry.path())
            && text.len() < 40_000
        {
            files.push((path.to_str().unwrap().to_owned(), text));
        }
    }
}

fn seeds() -> Vec<Vec<(String, String)>> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = |name: &str| {
        let mut files = Vec::new();
        read(&here.join("../../policies").join(name), Path::new(""), &mut files);
        files.retain(|(path, _)| path.contains('/'));
        files
    };
    let mut seeds = vec![folder("demo"), folder("examples")];
    for entry in fs::read_dir(here.join("tests/golden")).unwrap().map(Result::unwrap) {
        let text = fs::read_to_string(entry.path()).unwrap();
        let mut files = folder("demo");
        for line in text.split("== findings ==").next().unwrap().split_inclusive('\n') {
            match line.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --\n")) {
                Some(path) => files.push((path.to_owned(), String::new())),
                None => files.last_mut().unwrap().1.push_str(line),
            }
        }
        seeds.push(files);
    }
    seeds
}

/// Pieces that have broken readers before
const PIECES: [&str; 26] = [
    "\"{order}\"",
    "{ glob = \"**********a\" }",
    "{ any = true }",
    "[[",
    "]]",
    "{",
    "}",
    "\"\"\"",
    "'",
    "\u{0}",
    "\u{202e}",
    "\u{feff}",
    "1e999999",
    "-0.0",
    "0x",
    "1979-05-27T07:32:00Z",
    "inf",
    "nan",
    "\\u0000",
    "[*]",
    "a.b.c",
    "..",
    "@id(\"x\")",
    "forbid",
    "when { context.input.x like \"*\" }",
    "((((((((",
];

fn change(random: &mut Random, files: &mut Vec<(String, String)>) {
    let at = random.below(files.len());
    let other = files[random.below(files.len())].1.clone();
    let text = &mut files[at].1;
    let place = |random: &mut Random, text: &str| {
        let at = random.below(text.len() + 1);
        (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap()
    };
    match random.below(9) {
        0 => {
            let (a, b) = (place(random, text), place(random, text));
            text.replace_range(a.min(b)..a.max(b).min(a.min(b) + 40).min(text.len()), "");
        }
        1 => {
            let at = place(random, text);
            text.insert_str(at, PIECES[random.below(PIECES.len())]);
        }
        2 => {
            let lines: Vec<&str> = text.lines().collect();
            let (from, to) = (random.below(lines.len()), random.below(lines.len()));
            let mut lines = lines.clone();
            if let Some(line) = lines.get(from).copied() {
                lines.insert(to, line);
            }
            *text = lines.join("\n");
        }
        3 => {
            let mut lines: Vec<&str> = text.lines().collect();
            if !lines.is_empty() {
                lines.remove(random.below(lines.len()));
            }
            *text = lines.join("\n");
        }
        4 => {
            let lines: Vec<&str> = other.lines().collect();
            if !lines.is_empty() {
                let line = lines[random.below(lines.len())];
                let at = text.match_indices('\n').map(|(at, _)| at + 1).nth(random.below(20)).unwrap_or(0);
                text.insert_str(at, &format!("{line}\n"));
            }
        }
        5 => {
            let words = ["read", "write", "true", "0", "\"x\"", "[]", "{}", "shop", "look"];
            let found: Vec<String> =
                text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 2).map(str::to_owned).collect();
            if !found.is_empty() {
                let word = &found[random.below(found.len())];
                *text = text.replacen(word.as_str(), words[random.below(words.len())], 1);
            }
        }
        6 => {
            let at = place(random, text);
            text.truncate(at);
        }
        7 => {
            files.remove(at);
        }
        _ => {
            let (path, text) = files[at].clone();
            files.push((path.replacen('.', "-2.", 1), text));
        }
    }
    if files.is_empty() {
        files.push(("purposes/x.toml".to_owned(), String::new()));
    }
}

#[test]
fn any_text_is_taken_or_refused() {
    let seeds = seeds();
    let (from, count) = (number("FUZZ_FROM", 1), number("FUZZ_SEEDS", 400));
    let (mut taken, mut refused) = (0, 0);
    for seed in from..from + count {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // Half of them begin with what is taken as it is.
        let most = if random.below(2) == 0 { 2 } else { seeds.len() };
        let mut files = seeds[random.below(most)].clone();
        for _ in 0..=random.below(4) {
            change(&mut random, &mut files);
        }
        let start = Instant::now();
        let files: Files = files.into_iter().collect();
        let done = catch_unwind(AssertUnwindSafe(|| match compile(&files) {
            Ok(loaded) => {
                // What is taken can be kept, read again, and tried.
                let again = Files::from_blob(&loaded.blob).unwrap();
                assert_eq!(again.digest(), loaded.bundle.digest);
                drop(loaded.test(None));
                true
            }
            Err(findings) => {
                assert!(findings.iter().any(Finding::is_error), "refused without an error");
                assert!(findings.iter().all(|finding| !finding.to_string().contains('\u{0}')), "{findings:?}");
                false
            }
        }));
        let Ok(was_taken) = done else { panic!("seed {seed}: the reader panics") };
        *(if was_taken { &mut taken } else { &mut refused }) += 1;
        assert!(start.elapsed() < Duration::from_secs(60), "seed {seed}: {:?}", start.elapsed());
    }
    assert!(count < 400 || (taken > 20 && refused > 100), "{taken} taken, {refused} refused: the changes say nothing");
}

#[test]
fn any_line_is_a_trace_or_refused() {
    let good = r#"{"purpose":"x","agent":"bot","user":null,"parameters":{"n":1},"calls":[{"tool":"a.b","arguments":{"x":[1]},"returned":{"look.id":["y"]}}]}"#;
    for seed in 1..20_000u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut bytes = good.as_bytes().to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = b"{}[]\",:0a\\\n"[random.below(11)];
        }
        let text = String::from_utf8(bytes).unwrap();
        assert!(catch_unwind(|| drop(traces(&text))).is_ok(), "seed {seed}: {text}");
    }
}
