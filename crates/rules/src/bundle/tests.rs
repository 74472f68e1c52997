use super::*;
use proptest::prelude::*;

const PURPOSE: &str = "about = \"Look\"\nowner = \"a\"\n[open]\nagents = [\"bot\"]\nusers = \"none\"\n\
    [task]\nexpires_after = \"1h\"\nidle_after = \"1m\"\nstanding = [\"read\"]\ncalls = 3\n\
    [parameters]\nid = { type = \"string\" }\n\
    [[allow]]\nname = \"look\"\nuse = [\"shop.get\"]\nwhere = { id = \"{id}\" }\n";

fn files(more: &[(&str, &str)]) -> Files {
    let base = [
        ("agents/bot.toml", "owner = \"a\""),
        (
            "connectors/shop.toml",
            "command = [\"x\"]\ntimeout = \"30s\"\n[env]\nA = \"b\"\n[tools.get]\nclass = \"read\"",
        ),
        ("purposes/look.toml", PURPOSE),
        ("rules/r.cedar", "forbid (principal, action == Action::\"shop.get\", resource);"),
    ];
    base.iter().chain(more).map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn a_bundle_is_what_its_files_say() {
    let bundle = compile(&files(&[])).unwrap().bundle;
    let look = &bundle.purposes["look"];
    assert_eq!((look.about.as_str(), look.review_by), ("Look", None));
    assert_eq!(
        (look.limits.expires_after_ms, look.limits.idle_after_ms, look.limits.calls),
        (3_600_000, Some(60_000), Some(3))
    );
    assert_eq!(look.entries().len(), 1);
    assert_eq!(bundle.connectors["shop"].timeout_ms, 30_000);
    assert!(bundle.rules.hides(&"shop.get".parse().unwrap(), portreeve_core::policy::Class::Read));
    assert_eq!(bundle.nodes().len(), 3);
}

#[test]
fn an_empty_folder_is_a_policy_that_allows_nothing() {
    let loaded = compile(&Files::default()).unwrap();
    assert!(loaded.bundle.purposes.is_empty() && loaded.blob == b"{}");
}

#[test]
fn the_log_gives_the_bundle_back() {
    let loaded = compile(&files(&[])).unwrap();
    let read = Reader.read(loaded.bundle.digest, &loaded.blob).unwrap();
    assert_eq!(format!("{:?}", loaded.bundle), format!("{read:?}"));
    assert_eq!(Hash::of(&loaded.blob), loaded.bundle.digest);
    assert!(Reader.read(Hash::default(), &loaded.blob).is_err());
    for blob in [&b"[]"[..], b"{\"a\":1}", b"{\"agents/bot.toml\":\"\"}", b"{\"x\":\"\"}", b"\xff", b"{ }"] {
        assert!(Reader.read(Hash::of(blob), blob).is_err(), "{}", String::from_utf8_lossy(blob));
    }
}

#[test]
fn the_digest_covers_every_byte_and_path() {
    let digest = |files: &Files| files.digest();
    let base = digest(&files(&[]));
    assert_ne!(base, digest(&files(&[("agents/bot.toml", "owner = \"a\" ")])));
    assert_ne!(base, digest(&files(&[("agents/other.toml", "owner = \"a\"")])));
    assert_eq!(base, digest(&files(&[])));
}

#[test]
fn an_account_is_one_person() {
    let user = "accounts = [\"alice\"]";
    let findings = compile(&files(&[("users/a.toml", user), ("users/b.toml", user)])).unwrap_err();
    assert_eq!(findings[0].message, "the account `alice` is also that of the user `a`");
}

#[test]
fn check_reads_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for (path, text) in crate::init("alice") {
        write(&path, &text);
    }
    let checked = check(dir.path(), crate::NOON);
    assert_eq!((checked.findings.len(), checked.cases), (0, 0));
    assert_eq!(checked.digest, Some(load(dir.path()).unwrap().bundle.digest));
    write("purposes/x.toml", "about = 3");
    let checked = check(dir.path(), crate::NOON);
    assert_eq!(checked.digest, None);
    let json = serde_json::to_value(&checked.findings[0]).unwrap();
    assert_eq!(json["severity"], "error");
    assert_eq!(json["file"], "purposes/x.toml");
}

#[test]
fn nesting_does_not_exhaust_the_stack() {
    let deep = 300_000;
    let purpose = format!("x = {}", "[".repeat(deep));
    assert!(compile(&files(&[("purposes/x.toml", &purpose)])).is_err());
    let nests = [
        ("(", ")"),
        ("!", ""),
        ("[", "]"),
        ("{a: ", "}"),
        ("1 + ", ""),
        ("true && ", ""),
        ("if true then ", " else 1"),
        ("", ".a"),
    ];
    for (open, close) in nests {
        for levels in [deep / 10, 500, 250, 30] {
            let condition = format!("{}1{}", open.repeat(levels), close.repeat(levels));
            let rule = format!("forbid (principal, action, resource) when {{ {condition} }};");
            let compiled = compile(&files(&[("rules/x.cedar", &rule)]));
            assert!(levels < 1000 || compiled.is_err(), "{open}");
        }
    }
}

/// Text that is nearly a purpose: a piece of one with something else in its place
fn nearly() -> impl Strategy<Value = String> {
    let noise = prop_oneof!["\\PC{0,12}", "[\\[\\]{}=\"'#.,\n a-z0-9-]{0,24}", Just("9e99999".to_owned())];
    (0..PURPOSE.len(), 0..40usize, noise).prop_map(|(at, cut, noise)| {
        let end = (at + cut).min(PURPOSE.len());
        format!("{}{noise}{}", PURPOSE.get(..at).unwrap(), PURPOSE.get(end..).unwrap())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for path in ["agents/a.toml", "users/a.toml", "connectors/a.toml", "purposes/a.toml", "rules/a.cedar"] {
            let _ = compile(&files(&[(path, &text)]));
        }
    }

    #[test]
    fn reading_what_is_nearly_right_never_panics(text in nearly()) {
        for path in ["purposes/look.toml", "connectors/look.toml"] {
            if let Err(findings) = compile(&files(&[(path, &text)])) {
                prop_assert!(findings.iter().any(Finding::is_error));
                for finding in findings {
                    prop_assert!(!finding.to_string().is_empty());
                }
            }
        }
    }
}
