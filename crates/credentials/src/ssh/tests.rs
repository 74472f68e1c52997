use super::*;
use portreeve_core::{
    hash::Hash,
    judge::Whom,
    names::{EffectId, TaskId},
    policy::{Class, SshExtension, SshRights, Template},
};
use portreeve_identity::{key::SigningKey, seal::Sealer};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::Path,
};
use tempfile::TempDir;

/// What `ssh-keygen` says; nothing where it is missing
fn keygen(arguments: &[&str], folder: &Path, input: &str) -> Option<String> {
    let mut command = std::process::Command::new("ssh-keygen");
    command.args(arguments).current_dir(folder).env("TZ", "UTC").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().ok()?;
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    assert!(said.status.success(), "{arguments:?}: {said:?}");
    Some(String::from_utf8(said.stdout).unwrap())
}

fn rights() -> SshRights {
    SshRights {
        principals: ["reports-{tenant}", "reports"].map(|text| Template::read(text).unwrap()).to_vec(),
        force_command: Some("/usr/local/bin/report --all".to_owned()),
        source_address: vec!["10.1.0.0/16".to_owned(), "fd00::/8".to_owned()],
        extensions: BTreeSet::from(SshExtension::ALL),
    }
}

/// Hosts that believe this secret
fn hosts(secret: &str) -> (TempDir, Ssh) {
    let folder = tempfile::tempdir().unwrap();
    let sealer = Arc::new(Sealer::new(&SigningKey::make().unwrap()).unwrap());
    let vault = Vault::open(&folder.path().join("vault"), "test".to_owned(), sealer).unwrap();
    vault.set(&"ca".parse().unwrap(), &secret.into(), (Millis(0), None), true).unwrap();
    let plain = SshRights {
        principals: vec![Template::read("backup").unwrap()],
        force_command: None,
        source_address: Vec::new(),
        extensions: BTreeSet::new(),
    };
    let classes = BTreeMap::from([(Class::Read, rights()), (Class::Write, plain)]);
    (folder, Ssh::new(Hosts { ca: "ca".parse().unwrap(), krl: None, classes }, Arc::new(vault)))
}

fn wanted(lease: u64, class: Class, tenant: &str) -> Wanted {
    let name = LeaseName::new(Hash::of(b"a record"), EffectId(lease));
    let scope = BTreeMap::from([("tenant".parse().unwrap(), tenant.to_owned())]);
    Wanted { name, class, scope, until: now().plus(600_000), task: TaskId(1), whom: Whom::default() }
}

/// The private key of an authority of this kind; nothing where `ssh-keygen` is missing
fn authority(test: &str, kind: &str, more: &[&str]) -> Option<(TempDir, String)> {
    let folder = tempfile::tempdir().unwrap();
    let more = [&["-q", "-t", kind, "-f", "ca", "-C", "of the test"], more].concat();
    if keygen(&more, folder.path(), "").is_none() {
        eprintln!("SKIPPED: {test}: ssh-keygen is missing");
        return None;
    }
    let secret = std::fs::read_to_string(folder.path().join("ca")).unwrap();
    Some((folder, secret.trim().to_owned()))
}

#[test]
fn openssh_reads_what_was_signed() {
    for kind in ["ed25519", "ecdsa"] {
        let Some((folder, secret)) = authority("openssh_reads_what_was_signed", kind, &["-N", ""]) else { return };
        let (_vault, hosts) = hosts(&secret);
        let asked = wanted(u64::MAX, Class::Read, "eu");
        let issued = hosts.sign(&asked).unwrap();
        let said = keygen(&["-L", "-f", "-"], folder.path(), issued.fields["certificate"].expose()).unwrap();
        let lines: Vec<&str> = said.lines().map(str::trim).collect();
        let has = |line: &str| assert!(lines.contains(&line), "{line} in {said}");
        has("Type: ssh-ed25519-cert-v01@openssh.com user certificate");
        has(&format!("Key ID: \"{}\"", asked.name));
        has("Serial: 18446744073709551615");
        let at = lines.iter().position(|line| *line == "Principals:").unwrap();
        assert_eq!(
            lines[at + 1..],
            [
                "reports-eu",
                "reports",
                "Critical Options:",
                "force-command /usr/local/bin/report --all",
                "source-address 10.1.0.0/16,fd00::/8",
                "Extensions:",
                "permit-X11-forwarding",
                "permit-agent-forwarding",
                "permit-port-forwarding",
                "permit-pty",
                "permit-user-rc"
            ]
        );
        // The authority is the one whose public half hosts are given, and the key is the certificate's.
        let public = keygen(&["-l", "-f", "ca.pub"], folder.path(), "").unwrap();
        let print = public.split(' ').nth(1).unwrap();
        assert!(said.contains(&format!("Signing CA: {} {print}", kind.to_uppercase())), "{said}");
        std::fs::write(folder.path().join("key"), issued.fields["private_key"].expose()).unwrap();
        rustix::fs::chmod(folder.path().join("key"), rustix::fs::Mode::RUSR).unwrap();
        keygen(&["-y", "-f", "key"], folder.path(), "").unwrap();
        // What it may is what was said, and nothing more: also where nothing was.
        let plain = hosts.sign(&wanted(2, Class::Write, "eu")).unwrap();
        let said = keygen(&["-L", "-f", "-"], folder.path(), plain.fields["certificate"].expose()).unwrap();
        assert!(said.contains("Critical Options: (none)") && said.contains("Extensions: (none)"), "{said}");
        let whole = seconds(asked.until).to_string();
        assert_eq!(issued.until, Some(Millis(whole.parse::<i64>().unwrap() * 1_000)));
    }
}

#[test]
fn a_certificate_ends_with_its_lease_and_within_a_day() {
    let Some((folder, secret)) =
        authority("a_certificate_ends_with_its_lease_and_within_a_day", "ed25519", &["-N", ""])
    else {
        return;
    };
    let (_vault, hosts) = hosts(&secret);
    let long = Wanted { until: now().plus(7 * 86_400_000), ..wanted(1, Class::Read, "eu") };
    let issued = hosts.sign(&long).unwrap();
    let until = issued.until.unwrap();
    assert!(until <= now().plus(86_400_000) && until > now().plus(86_000_000), "{until:?}");
    let said = keygen(&["-L", "-f", "-"], folder.path(), issued.fields["certificate"].expose()).unwrap();
    let from = jiff::Timestamp::from_millisecond(now().0 - 59_000).unwrap().to_string();
    let starts = said.split("Valid: from ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(starts < from.get(..19).unwrap(), "{starts}, {from}");
    let valid = said.lines().find(|line| line.contains("Valid: from")).unwrap();
    let text = jiff::Timestamp::from_millisecond(until.0).unwrap().to_string();
    assert!(valid.ends_with(&format!("to {}", text.trim_end_matches('Z'))), "{valid}, {text}");
    let past = Wanted { until: now(), ..wanted(1, Class::Read, "eu") };
    assert!(hosts.sign(&past).is_err());
}

#[test]
fn a_value_is_one_principal_and_a_number_is_not_none() {
    let Some((_folder, secret)) =
        authority("a_value_is_one_principal_and_a_number_is_not_none", "ed25519", &["-N", ""])
    else {
        return;
    };
    let (_vault, hosts) = hosts(&secret);
    assert_eq!(hosts.sign(&wanted(1, Class::Read, "eu")).unwrap().fields["principals"].expose(), "reports-eu,reports");
    for bad in ["", "eu,root", "eu root", "eu\nroot", "eu\troot", "\u{7f}"] {
        assert!(hosts.sign(&wanted(1, Class::Read, bad)).is_err(), "{bad:?}");
    }
    assert!(hosts.sign(&wanted(0, Class::Read, "eu")).is_err());
    assert!(hosts.sign(&wanted(1, Class::Escalate, "eu")).is_err());
}

#[test]
fn keys_that_cannot_sign_are_told_apart() {
    let why = |secret: &str| Authority::read(&secret.into()).err().unwrap();
    let Some((_folder, secret)) = authority("keys_that_cannot_sign_are_told_apart", "ed25519", &["-N", "of the test"])
    else {
        return;
    };
    assert!(why(&secret).contains("passphrase"));
    for kind in [&["rsa", "-b", "2048"][..], &["ecdsa", "-b", "384"]] {
        let more = [&["-N", ""], &kind[1..]].concat();
        let (_folder, secret) = authority("keys_that_cannot_sign_are_told_apart", kind[0], &more).unwrap();
        assert!(why(&secret).contains("another kind"), "{kind:?}");
    }
    for bad in ["", "x", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"] {
        assert!(why(bad).contains("no private key"));
    }
}
