use super::*;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{fs, os::unix::fs::PermissionsExt as _};

#[test]
fn a_source_is_written_one_way() {
    for text in ["file", "env:PORTREEVE_TOKEN_KEY", "credential:portreeve.token"] {
        assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
    }
    let uri = "pkcs11:module=/usr/lib/hsm.so;token=house;object=token%20key;pin-source=env:PIN";
    assert_eq!(uri.parse::<Source>().unwrap().to_string(), "pkcs11:token=house;object=token%20key");
    assert_eq!(uri.parse::<Source>().unwrap().variable(), Some("PIN"));
    for bad in
        ["", "File", "file:", "env:", "env:A B", "env:1A", "credential:", "credential:../x", "credential:.x", "x:y"]
    {
        assert!(bad.parse::<Source>().is_err(), "{bad}");
    }
}

#[test]
fn a_key_comes_from_a_variable_or_a_credential() {
    let key = SigningKey::make().unwrap();
    let kept = key.kept().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), &*kept).unwrap();
    // As systemd leaves it: readable for the owner only, or by an access list, which shows as the group's right.
    fs::set_permissions(folder.path().join("token"), fs::Permissions::from_mode(0o400)).unwrap();
    let env = [("KEY".to_owned(), STANDARD.encode(&*kept).into()), ("BAD".to_owned(), "x".to_owned().into())];
    let given = Given::new(env.into(), Some(folder.path().to_owned()));
    for from in ["env:KEY", "credential:token"] {
        let loaded = given.load(&from.parse().unwrap()).unwrap();
        assert_eq!(loaded.public_key(), key.public_key(), "{from}");
    }
    assert!(matches!(given.load(&"env:BAD".parse().unwrap()), Err(Error::Form { from }) if from == "env:BAD"));
    for gone in ["env:GONE", "credential:gone"] {
        assert!(matches!(given.load(&gone.parse().unwrap()), Err(Error::Missing { from }) if from == gone));
    }
    fs::set_permissions(folder.path().join("token"), fs::Permissions::from_mode(0o444)).unwrap();
    assert!(matches!(given.load(&"credential:token".parse().unwrap()), Err(Error::Open { .. })));
    let shown = format!("{given:?}");
    assert!(shown.contains("KEY") && !shown.contains(&STANDARD.encode(&*kept)), "{shown}");
    given.wipe();
    assert!(matches!(given.load(&"env:KEY".parse().unwrap()), Err(Error::Missing { .. })));
    assert!(Given::default().load(&"credential:token".parse().unwrap()).is_err());
}
