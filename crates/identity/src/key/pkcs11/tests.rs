use super::*;

const GOOD: &str = "pkcs11:module=/usr/lib/hsm.so;token=house;object=k;pin-source=env:PIN";

#[test]
fn an_address_is_read_as_rfc_7512_says() {
    let uri: Uri = GOOD.parse().unwrap();
    let rfc: Uri =
        "pkcs11:token=house;object=k;type=private?module-path=/usr/lib/hsm.so&pin-source=env:PIN".parse().unwrap();
    assert_eq!(uri, rfc);
    let id: Uri = "pkcs11:module=/m.so;serial=a%2Fb;id=%01%aF".parse().unwrap();
    assert_eq!((id.id.as_deref(), id.serial.as_deref()), (Some(&[1, 0xaf][..]), Some("a/b")));
    assert_eq!(id.to_string(), "pkcs11:serial=a%2Fb;id=%01%AF");
    for bad in [
        "pkcs11:",
        "pkcs11:module=/m.so",
        "pkcs11:module=m.so;object=k",
        "pkcs11:object=k",
        "pkcs11:module=/m.so;object=k;object=l",
        "pkcs11:module=/m.so;module-path=/n.so;object=k",
        "pkcs11:module=/m.so;object=%zz",
        "pkcs11:module=/m.so;object=%ff",
        "pkcs11:module=/m.so;object=k;type=secret-key",
        "pkcs11:module=/m.so;object=k;surprise=1",
        "pkcs11:module=/m.so;object=k;pin-source=file:/pin",
        "pkcs11:module=/m.so;object=k;pin-source=file",
        "pkcs11:module=/m.so;object",
    ] {
        assert!(bad.parse::<Uri>().is_err(), "{bad}");
    }
}

#[test]
fn a_pin_is_never_told() {
    let error = "pkcs11:module=/m.so;object=k;pin-value=geheim1".parse::<Source>().unwrap_err();
    assert!(!error.to_string().contains("geheim1") && error.to_string().contains("pin-source"), "{error}");
    let error = "pkcs11:module=/m.so;object=k;pin=geheim1".parse::<Source>().unwrap_err();
    assert!(!error.to_string().contains("geheim1"), "{error}");
}

#[test]
fn a_module_that_is_none_is_told_with_its_key_and_not_its_place() {
    let uri: Uri = "pkcs11:module=/no/such.so;object=k".parse().unwrap();
    assert!(matches!(open(&uri, None), Err(Error::Token { from, .. }) if from == "pkcs11:object=k"));
}
