//! Makes certificates, also such as nobody should make.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};

/// A key of a certificate
pub(super) struct Pair(EcdsaKeyPair);

impl Pair {
    pub(super) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }
}

/// What stands in a certificate
#[derive(Clone)]
pub(super) struct Cert<'a> {
    pub(super) subject: &'a str,
    pub(super) from: &'a str,
    pub(super) until: &'a str,
    pub(super) uris: Vec<&'a str>,
    pub(super) dns: Option<&'a str>,
    pub(super) authority: Option<bool>,
    pub(super) depth: Option<u8>,
    pub(super) usage: Option<(bool, u8)>,
    pub(super) purposes: Option<Vec<u8>>,
    pub(super) twice: bool,
    pub(super) unknown: bool,
}

impl<'a> Cert<'a> {
    pub(super) fn leaf(id: &'a str) -> Self {
        Self {
            subject: "leaf",
            from: "270101000000Z",
            until: "280101000000Z",
            uris: vec![id],
            dns: None,
            authority: None,
            depth: None,
            usage: Some((true, 0x80)),
            purposes: Some(vec![1, 2]),
            twice: false,
            unknown: false,
        }
    }

    pub(super) fn authority() -> Self {
        Self { uris: vec![], authority: Some(true), usage: Some((true, 0x06)), purposes: None, ..Self::leaf("") }
    }

    fn extensions(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut add = |id: &[u8], critical: bool, content: &[u8]| {
            let critical = if critical { tlv(1, &[0xff]) } else { vec![] };
            all.push(tlv(0x30, &[tlv(6, id), critical, tlv(4, content)].concat()));
        };
        if let Some((critical, bits)) = self.usage {
            for _ in 0..1 + usize::from(self.twice) {
                add(&[0x55, 0x1d, 0x0f], critical, &tlv(3, &[u8::try_from(bits.trailing_zeros()).unwrap(), bits]));
            }
        }
        if let Some(authority) = self.authority {
            let truth = if authority { tlv(1, &[0xff]) } else { vec![] };
            let depth = self.depth.map(|depth| tlv(2, &[depth])).unwrap_or_default();
            add(&[0x55, 0x1d, 0x13], true, &tlv(0x30, &[truth, depth].concat()));
        }
        if let Some(purposes) = &self.purposes {
            let purposes = purposes.iter().map(|last| tlv(6, &[0x2b, 6, 1, 5, 5, 7, 3, *last])).collect::<Vec<_>>();
            add(&[0x55, 0x1d, 0x25], false, &tlv(0x30, &purposes.concat()));
        }
        let mut names: Vec<_> = self.uris.iter().map(|uri| tlv(0x86, uri.as_bytes())).collect();
        names.extend(self.dns.map(|name| tlv(0x82, name.as_bytes())));
        if !names.is_empty() {
            add(&[0x55, 0x1d, 0x11], false, &tlv(0x30, &names.concat()));
        }
        if self.unknown {
            add(&[0x2a, 3, 4], true, &[5, 0]);
        }
        tlv(0xa3, &tlv(0x30, &all.concat()))
    }
}

/// Whoever signs certificates
pub(super) struct Authority {
    name: String,
    pair: Pair,
    pub(super) der: Vec<u8>,
}

impl Authority {
    pub(super) fn root(name: &str) -> Self {
        Self::of(name, Cert::authority())
    }

    pub(super) fn of(name: &str, cert: Cert<'_>) -> Self {
        let mut authority = Self { name: name.to_owned(), pair: Pair::new(), der: vec![] };
        authority.der = authority.sign(&authority.pair, &Cert { subject: name, ..cert });
        authority
    }

    /// Another that this one vouches for
    pub(super) fn below(&self, name: &str, cert: &Cert<'_>) -> Self {
        let pair = Pair::new();
        let der = self.sign(&pair, &Cert { subject: name, ..cert.clone() });
        Self { name: name.to_owned(), pair, der }
    }

    /// A certificate in DER
    pub(super) fn sign(&self, pair: &Pair, cert: &Cert<'_>) -> Vec<u8> {
        let ecdsa_with_sha256 = tlv(0x30, &tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]));
        let ec_on_p256 =
            [tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]), tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7])].concat();
        let bits = |bytes: &[u8]| tlv(3, &[&[0], bytes].concat());
        let tbs = [
            tlv(0xa0, &tlv(2, &[2])),
            tlv(2, &[7]),
            ecdsa_with_sha256.clone(),
            name(&self.name),
            tlv(0x30, &[tlv(0x17, cert.from.as_bytes()), tlv(0x17, cert.until.as_bytes())].concat()),
            name(cert.subject),
            tlv(0x30, &[tlv(0x30, &ec_on_p256), bits(pair.0.public_key().as_ref())].concat()),
            cert.extensions(),
        ];
        let tbs = tlv(0x30, &tbs.concat());
        let signature = self.pair.0.sign(&SystemRandom::new(), &tbs).unwrap();
        tlv(0x30, &[tbs, ecdsa_with_sha256, bits(signature.as_ref())].concat())
    }
}

fn name(text: &str) -> Vec<u8> {
    let attribute = [tlv(6, &[0x55, 4, 3]), tlv(0x0c, text.as_bytes())].concat();
    tlv(0x30, &tlv(0x31, &tlv(0x30, &attribute)))
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = match length {
        0..=0x7f => vec![tag, length as u8],
        0x80..=0xff => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    out.extend(content);
    out
}
