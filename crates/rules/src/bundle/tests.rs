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

const PROFILE: &str = "source = \"x 1\"\n[toolsets]\n\"a.b\" = [\":c\", \"get\"]\n\"c\" = [\"get#v\"]\n\
    [tools.get]\nclass = \"write\"\narguments = { id = \"selector\", \"l[*].k\" = \"content\" }\n\
    target = { type = \"File\", id = [\"id\"], in = [{ type = \"Dir\", id = [\"dir\"] }] }\n\
    environment = { argument = \"env\" }\nresults = { \"a.b\" = \"trusted\" }\nlabel = \"internal\"\n\
    recording = { id = \"digest\" }\nmatchers = { m = { id = { under = \"x\" } } }\n\
    undo = { tool = \"get\", args = { id = \"{args.id}\" } }\n\
    [[tools.get.variants]]\nname = \"v\"\nclass = \"read\"\nwhere = { id = \"x\" }\n";
const PINS: &str = r##"[{"name":"get","annotations":{"readOnlyHint":false},"inputSchema":{"type":"object","required":["id"],
    "properties":{"id":{"$ref":"#/$defs/i"},"l":{"type":"array","items":{"properties":{"k":{"default":1}}}},"env":{},
    "dir":{}},"$defs":{"i":{"type":"string","allOf":[{"$ref":"#"}]}}}}]"##;

/// Text that is nearly right: a piece of it with something else in its place
fn nearly(text: &'static str) -> impl Strategy<Value = String> {
    let noise = prop_oneof!["\\PC{0,12}", "[\\[\\]{}=\"'#.,\n a-z0-9-]{0,24}", Just("9e99999".to_owned())];
    (0..text.len(), 0..40usize, noise).prop_map(move |(at, cut, noise)| {
        let end = (at + cut).min(text.len());
        format!("{}{noise}{}", text.get(..at).unwrap(), text.get(end..).unwrap())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let paths = ["agents/a.toml", "users/a.toml", "connectors/a.toml", "profiles/a.toml", "pins/shop.json",
            "purposes/a.toml", "rules/a.cedar"];
        for path in paths {
            let _ = compile(&files(&[(path, &text)]));
        }
    }

    #[test]
    fn reading_what_is_nearly_right_never_panics(text in nearly(PURPOSE)) {
        for path in ["purposes/look.toml", "connectors/look.toml"] {
            if let Err(findings) = compile(&files(&[(path, &text)])) {
                prop_assert!(findings.iter().any(Finding::is_error));
                for finding in findings {
                    prop_assert!(!finding.to_string().is_empty());
                }
            }
        }
    }

    #[test]
    fn facts_that_are_nearly_right_never_panic(profile in nearly(PROFILE), pins in nearly(PINS)) {
        let connector = "command = [\"x\"]\nprofile = \"p\"\n[tools.get]\nclass = \"escalate\"\n";
        let with = |profile: &str, pins: &str| {
            compile(&files(&[("connectors/c.toml", connector), ("profiles/p.toml", profile), ("pins/c.json", pins)]))
        };
        for (profile, pins) in [(profile.as_str(), PINS), (PROFILE, &pins), (&profile, &pins)] {
            if let Err(findings) = with(profile, pins) {
                prop_assert!(findings.iter().any(Finding::is_error));
            }
        }
    }
}

/// A thousand times as much as a person would write, loaded while somebody waits
#[test]
fn a_large_policy_is_loaded_at_once() {
    let tools: Vec<String> = (0..100).map(|tool| format!("t{tool}")).collect();
    let mut profile = format!("source = \"x 1\"\n[toolsets]\n\"all\" = {tools:?}\n");
    let mut pins = Vec::new();
    for tool in &tools {
        profile.push_str(&format!("[tools.{tool}]\nclass = \"read\"\narguments = {{ id = \"selector\" }}\n"));
        pins.push(format!(r#"{{"name":"{tool}","inputSchema":{{"type":"object","properties":{{"id":{{}}}}}}}}"#));
    }
    let connector = "command = [\"x\"]\nprofile = \"p\"\n".to_owned();
    let mut all = vec![
        ("connectors/c.toml".to_owned(), connector),
        ("profiles/p.toml".to_owned(), profile),
        ("pins/c.json".to_owned(), format!("[{}]", pins.join(","))),
        ("agents/bot.toml".to_owned(), "owner = \"a\"".to_owned()),
        ("connectors/shop.toml".to_owned(), "command = [\"x\"]\n[tools.get]\nclass = \"read\"".to_owned()),
    ];
    all.extend(
        (0..10_000).map(|n| (format!("purposes/p{n}.toml"), PURPOSE.replace("shop.get", &format!("c.t{}", n % 100)))),
    );
    let begun = std::time::Instant::now();
    compile(&all.iter().cloned().collect()).unwrap();
    let plain = begun.elapsed();
    // However short the text is, what it comes to is bounded.
    all.iter_mut()
        .skip(5)
        .for_each(|(_, text)| *text = text.replace("where", "# where").replace("\"c.t", "\"c:all\", \"c.t"));
    let begun = std::time::Instant::now();
    compile(&all.iter().cloned().collect()).unwrap();
    let expanded = begun.elapsed();
    println!("{plain:?}, and with toolsets {expanded:?}");
    // Ten times as long as it takes, in a build without optimisation, on a machine with other work.
    assert!(plain.as_secs() < 60 && expanded.as_secs() < 120, "{plain:?} {expanded:?}");
    let more = (0..200).map(|n| format!("[[allow]]\nname = \"s{n}\"\nuse = [\"c:all\"]\n")).collect::<String>();
    all.iter_mut().skip(5).take(150).for_each(|(_, text)| text.push_str(&more));
    let findings = compile(&all.into_iter().collect()).unwrap_err();
    assert!(findings.iter().any(|finding| finding.message.contains("come to more than")), "{}", findings[0]);
}
