//! The examples of the specifications.

use super::*;
use crate::jose::compact::{Brings, Signed};

const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn joe(token: &str, key: &str) -> Jwk {
    let key: Jwk = key.parse().unwrap();
    let signed = Signed::read(token, Brings::Nothing).unwrap();
    let claims = signed.signed_by(&Keys::of([key.clone()]), ALGORITHMS).unwrap();
    assert_eq!(claims.iss(), Some("joe"));
    assert_eq!(claims.exp(), Ok(Some(Millis(1_300_819_380_000))));
    assert_eq!(claims.get("http://example.com/is_root"), Some(&Value::Bool(true)));
    // Signed it is; a token that is meant for nobody is nothing all the same.
    let want = Want { issuer: Some("joe"), ..want() };
    assert_eq!(
        verify(token, &Keys::of([key.clone()]), &want, Millis(1_300_819_379_999)),
        Err(Invalid::AudienceMissing)
    );
    key
}

/// RFC 7515, A.2
#[test]
fn rs256() {
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL\
             -yRT-SFd2lZ\
             S-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-\
             UTo7WTBEMa2\
             R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkML\
             s91kzk2PAcD\
             TW9gb54h4FRWyuXpoQ";
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2\
             Fp5jujGbds\
                     9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07\
                     Qe7K0GarZR\
                     mB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np\
                     6LbgGY9Fs9\
                     8rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    joe(&format!("eyJhbGciOiJSUzI1NiJ9.{JOE}.{signature}"), &format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"}}"#));
}

/// RFC 7515, A.3
#[test]
fn es256() {
    let key = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                  "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    joe(&format!("eyJhbGciOiJFUzI1NiJ9.{JOE}.{signature}"), key);
    // With its secret part, as the appendix prints it, it is no public key.
    let secret = key.replace('}', r#","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#);
    assert_eq!(secret.parse::<Jwk>(), Err(Invalid::KeySecret));
}

/// RFC 7515, A.1 and A.5: a shared secret, and nothing at all
#[test]
fn secrets_and_none() {
    let keys = Keys::default();
    let hs256 = format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert_eq!(verify(&hs256, &keys, &want(), NOW), Err(Invalid::AlgorithmSymmetric));
    let none = format!("eyJhbGciOiJub25lIn0.{JOE}.");
    assert_eq!(verify(&none, &keys, &want(), NOW), Err(Invalid::AlgorithmNone));
}

/// RFC 8037, A.2, A.3 and A.4
#[test]
fn eddsa() {
    let key: Jwk =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#.parse().unwrap();
    assert_eq!(key.thumbprint().to_string(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(key.verify(message, signature, Algorithm::EdDSA), Ok(()));
    assert_eq!(key.verify(b"another message", signature, Algorithm::EdDSA), Err(Invalid::Signature));
    // The payload is a sentence, and no claims.
    let token = format!("{}.{signature}", std::str::from_utf8(message).unwrap());
    assert_eq!(verify(&token, &Keys::of([key]), &Want { types: &[""], ..want() }, NOW), Err(Invalid::ClaimsForm));
}

/// RFC 7638, 3.1
#[test]
fn thumbprint() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebW\
             KRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQM\
             icAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcR\
             wr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let key = format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"RS256","kid":"2011-04-29"}}"#);
    let key: Jwk = key.parse().unwrap();
    assert_eq!(key.thumbprint().to_string(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}
