//! Signatures of requests to AWS (Signature Version 4).

use aws_lc_rs::{digest, hmac};
use zeroize::Zeroizing;

/// Who signs
#[derive(Debug)]
pub struct Keys<'a> {
    /// The id of the access key
    pub id: &'a str,
    /// The access key
    pub secret: &'a str,
}

/// What is signed
#[derive(Debug)]
pub struct Signed<'a> {
    /// The method
    pub method: &'a str,
    /// The query, encoded and in order
    pub query: &'a str,
    /// Headers, names in small letters and in order; with `host` and `x-amz-date`
    pub headers: &'a [(&'a str, &'a str)],
    /// The body
    pub body: &'a [u8],
    /// The region and the service
    pub to: (&'a str, &'a str),
    /// The time as `x-amz-date` has it: `20150830T123600Z`
    pub at: &'a str,
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What `Authorization` says of a request to `/`
#[must_use]
pub fn authorization(keys: &Keys<'_>, of: &Signed<'_>) -> String {
    let headers: String = of.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let names = of.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let hash = |bytes: &[u8]| hex(digest::digest(&digest::SHA256, bytes).as_ref());
    let canonical = format!("{}\n/\n{}\n{headers}\n{names}\n{}", of.method, of.query, hash(of.body));
    let day = of.at.split('T').next().unwrap_or_default();
    let (region, service) = of.to;
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let text = format!("{ALGORITHM}\n{}\n{scope}\n{}", of.at, hash(canonical.as_bytes()));
    let mut key = Zeroizing::new(format!("AWS4{}", keys.secret).into_bytes());
    for part in [day, region, service, "aws4_request"] {
        *key = mac(&key, part);
    }
    let signature = hex(&mac(&key, &text));
    format!("{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", keys.id)
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(text: &str) -> &str {
        text.rsplit_once("Signature=").unwrap().1
    }

    const KEYS: Keys<'static> = Keys { id: "AKIDEXAMPLE", secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" };

    /// The example of AWS's documentation, and two of its test suite (`get-vanilla`, `post-x-www-form-urlencoded`)
    #[test]
    fn what_is_signed_is_as_aws_publishes_it() {
        let at = "20150830T123600Z";
        let signed = Signed {
            method: "GET",
            query: "Action=ListUsers&Version=2010-05-08",
            headers: &[
                ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
                ("host", "iam.amazonaws.com"),
                ("x-amz-date", at),
            ],
            body: b"",
            to: ("us-east-1", "iam"),
            at,
        };
        let said = authorization(&KEYS, &signed);
        assert_eq!(signature(&said), "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
        let begins = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
                      SignedHeaders=content-type;host;x-amz-date, ";
        assert!(said.starts_with(begins), "{said}");
        let host = [("host", "example.amazonaws.com"), ("x-amz-date", at)];
        let signed = Signed { query: "", headers: &host, to: ("us-east-1", "service"), ..signed };
        let said = authorization(&KEYS, &signed);
        assert_eq!(signature(&said), "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
        let form = [("content-type", "application/x-www-form-urlencoded"), host[0], host[1]];
        let signed = Signed { method: "POST", headers: &form, body: b"Param1=value1", ..signed };
        let said = authorization(&KEYS, &signed);
        assert_eq!(signature(&said), "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a");
    }
}
