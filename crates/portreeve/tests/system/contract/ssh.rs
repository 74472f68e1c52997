//! The contract at a real SSH server.

use super::{Subject, held, holds, means, minutes, of, source, vault, wanted};
use crate::support::{
    sshd::{Sshd, keygen},
    until,
};
use portreeve_core::{event::Evidence, policy::Class, time::Millis};
use portreeve_credentials::{
    secret::Fields,
    source::{Held, NotIssued, Withdrawn},
};
use std::{fs, path::Path, sync::Arc};
use tokio::runtime::Runtime;

fn file(list: Option<&Path>) -> String {
    let list = list.map(|path| format!("krl = \"{}\"\nwithin = \"1s\"\n", path.display())).unwrap_or_default();
    format!(
        "owner = \"ops@example.com\"\n[scope]\ntenant = \"tenant\"\n[probe]\ntenant = \"template\"\n\
         [ssh]\nca = \"ca\"\n{list}\
         [ssh.read]\nprincipals = [\"reports-{{tenant}}\"]\n\
         [ssh.write]\nprincipals = [\"reports-{{tenant}}\"]\nforce_command = \"echo only this\"\n\
         [ssh.execute]\nprincipals = [\"reports-{{tenant}}\"]\nsource_address = [\"192.0.2.0/24\"]\nextensions = [\"permit-pty\"]\n"
    )
}

#[test]
fn ssh_holds_to_it() {
    for kind in ["ed25519", "ecdsa"] {
        let Some(host) = Sshd::start("ssh_holds_to_it", kind) else { return };
        let lets_in = |fields: &Fields| host.lets_in(fields);
        holds(&Subject {
            file: file(Some(&host.list())),
            nobody: Some(file(Some(Path::new("/nowhere/revoked.krl")))),
            secrets: &[("ca", &host.authority())],
            scope: &[("tenant", "eu")],
            lets_in: &lets_in,
            lists: false,
            unique: false,
        });
    }
}

#[test]
fn a_host_enforces_what_a_certificate_says() {
    let Some(host) = Sshd::start("a_host_enforces_what_a_certificate_says", "ed25519") else { return };
    let runtime = Runtime::new().unwrap();
    let (_vault, source) = source(&file(None), &[("ca", &host.authority())]);
    let of = |lease, class, tenant| {
        let issued = runtime.block_on(source.issue(&wanted(lease, class, &[("tenant", tenant)])));
        issued.unwrap().fields
    };
    let ran = host.run(&of(1, Class::Read, "eu"), &[], "echo as asked");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "as asked\n", "{ran:?}");
    assert!(!host.lets_in(&of(2, Class::Read, "us")), "another tenant's");
    let ran = host.run(&of(3, Class::Write, "eu"), &[], "echo as asked");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "only this\n");
    assert!(!host.lets_in(&of(4, Class::Execute, "eu")), "from another address");
    // A terminal is refused to whom nobody gave one.
    let ran = host.run(&of(5, Class::Read, "eu"), &["-tt"], "tty");
    assert!(!String::from_utf8_lossy(&ran.stdout).contains("/dev/"), "{ran:?}");
    for bad in ["", "eu,root", "eu root", "eu\n"] {
        let asked = wanted(6, Class::Read, &[("tenant", bad)]);
        assert!(matches!(runtime.block_on(source.issue(&asked)), Err(NotIssued::Refused(_))), "{bad:?}");
    }
}

#[test]
fn a_certificate_counts_until_it_expires_where_there_is_no_list() {
    let test = "a_certificate_counts_until_it_expires_where_there_is_no_list";
    let Some(host) = Sshd::start(test, "ed25519") else { return };
    let runtime = Runtime::new().unwrap();
    let (_vault, source) = source(&file(None), &[("ca", &host.authority())]);
    let mut asked = wanted(1, Class::Read, &[("tenant", "eu")]);
    asked.until = minutes(0).plus(4_000);
    let issued = runtime.block_on(source.issue(&asked)).unwrap();
    let (known, until_is) = (held(&asked.name, issued.clone()), issued.until.unwrap());
    assert!(host.lets_in(&issued.fields));
    assert_eq!(runtime.block_on(source.withdraw(&known)), Ok(Withdrawn::Left(until_is)));
    until("its time has passed", || minutes(0) >= until_is);
    assert!(!host.lets_in(&issued.fields));
    assert_eq!(runtime.block_on(source.withdraw(&known)), Ok(Withdrawn::Gone(Evidence::Expired)));
    // One whose answer never came was given to nobody.
    let nobody = Held { handle: None, until: None, fields: None, ..known };
    assert_eq!(runtime.block_on(source.withdraw(&nobody)), Ok(Withdrawn::Gone(Evidence::Held)));
}

#[test]
fn a_list_says_what_is_revoked_and_is_never_replaced_by_an_empty_one() {
    let test = "a_list_says_what_is_revoked_and_is_never_replaced_by_an_empty_one";
    let Some(host) = Sshd::start(test, "ed25519") else { return };
    let runtime = Runtime::new().unwrap();
    let (_vault, source) = source(&file(Some(&host.list())), &[("ca", &host.authority())]);
    let issue = |lease| {
        let asked = wanted(lease, Class::Read, &[("tenant", "eu")]);
        let issued = runtime.block_on(source.issue(&asked)).unwrap();
        held(&asked.name, issued)
    };
    let (one, other) = (issue(1), issue(2));
    let fields = |held: &Held| held.fields.clone().unwrap();
    let mut session = host.session(&fields(&one));
    assert!(session.says("before"));
    // With the certificate at hand, OpenSSH itself is asked.
    let gone = runtime.block_on(source.withdraw(&one));
    let Ok(Withdrawn::Gone(Evidence::Refused { says })) = &gone else { panic!("{gone:?}") };
    assert!(says.contains("REVOKED") && says.contains("the serial 1"), "{says}");
    assert!(!host.lets_in(&fields(&one)) && host.lets_in(&fields(&other)));
    assert!(session.says("after"), "what is open goes on, as the docs say");

    // By the name alone, as after a crash; the list is read back.
    let name = Held { handle: None, until: None, keep: None, fields: None, name: other.name.clone() };
    let gone = runtime.block_on(source.withdraw(&name));
    assert!(matches!(&gone, Ok(Withdrawn::Gone(Evidence::Absent { .. }))), "{gone:?}");
    assert!(!host.lets_in(&fields(&other)));

    // Without the list nobody is let in, nothing is issued, and nothing counts as taken back.
    let kept = fs::read(host.list()).unwrap();
    let third = issue(3);
    fs::remove_file(host.list()).unwrap();
    assert!(!host.lets_in(&fields(&third)), "sshd fails closed");
    assert!(runtime.block_on(source.withdraw(&third)).is_err());
    let refused = runtime.block_on(source.issue(&wanted(4, Class::Read, &[("tenant", "eu")])));
    assert!(matches!(&refused, Err(NotIssued::Refused(why)) if why.contains("ssh-keygen -k")), "{refused:?}");
    assert!(runtime.block_on(source.check()).unwrap_err().contains("ssh-keygen -k"));
    assert!(!host.list().exists());
    fs::write(host.list(), kept).unwrap();
    assert!(host.lets_in(&fields(&third)));
    let gone = runtime.block_on(source.withdraw(&third));
    assert!(matches!(gone, Ok(Withdrawn::Gone(_))), "{gone:?}");
    for revoked in [&one, &other, &third] {
        assert!(!host.lets_in(&fields(revoked)));
    }
}

#[test]
fn what_another_authority_signed_is_revoked_as_its_own() {
    let test = "what_another_authority_signed_is_revoked_as_its_own";
    let Some(host) = Sshd::start(test, "ed25519") else { return };
    let runtime = Runtime::new().unwrap();
    let (folder, vault) = vault(&[("ca", &host.authority())]);
    let source = of(&file(Some(&host.list())), &means(Arc::clone(&vault)));
    let asked = wanted(1, Class::Read, &[("tenant", "eu")]);
    let known = held(&asked.name, runtime.block_on(source.issue(&asked)).unwrap());
    let fields = known.fields.clone().unwrap();
    assert!(host.lets_in(&fields));
    keygen(folder.path(), &["-q", "-t", "ed25519", "-N", "", "-f", "next"]).unwrap();
    let next = fs::read_to_string(folder.path().join("next")).unwrap();
    vault.set(&"ca".parse().unwrap(), &next.trim().into(), (Millis(1), None), false).unwrap();
    // The list has both, each under who signed it.
    let other = wanted(1, Class::Read, &[("tenant", "eu")]);
    let other = held(&other.name, runtime.block_on(source.issue(&other)).unwrap());
    assert!(matches!(runtime.block_on(source.withdraw(&other)), Ok(Withdrawn::Gone(_))));
    assert!(host.lets_in(&fields), "the same number of somebody else");
    let known = Held { fields: None, ..known };
    assert!(matches!(runtime.block_on(source.withdraw(&known)), Ok(Withdrawn::Gone(_))));
    assert!(!host.lets_in(&fields));
}
