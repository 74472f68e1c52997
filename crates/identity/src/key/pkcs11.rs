//! Keys in a PKCS#11 token, named as RFC 7512 says. The token signs; the private key never leaves it.

use super::{
    Error, PublicKey, Signer, SigningKey, Unsigned,
    source::{NoSource, Source},
};
use cryptoki::{
    context::{CInitializeArgs, Pkcs11},
    error::{Error as Refused, RvError},
    mechanism::{
        Mechanism,
        eddsa::{EddsaParams, EddsaSignatureScheme},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    str::FromStr,
    sync::{Mutex, PoisonError},
};

/// A key in a token
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    /// The library that speaks to the token
    pub module: PathBuf,
    /// The token's label
    pub token: Option<String>,
    /// The token's serial number
    pub serial: Option<String>,
    /// The key's label
    pub object: Option<String>,
    /// The key's id
    pub id: Option<Vec<u8>>,
    /// Where its PIN is: an environment variable or a credential
    pub pin_source: Option<Box<Source>>,
}

impl FromStr for Uri {
    type Err = NoSource;

    /// Nothing of the text is told in the error: it may hold a PIN
    fn from_str(text: &str) -> Result<Self, NoSource> {
        let wrong = |why: &str| NoSource(format!("this is no address of a key in a PKCS#11 token: {why}"));
        let rest = text.strip_prefix("pkcs11:").ok_or_else(|| wrong("it does not begin with pkcs11:"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut parts: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        // The query's attributes may also stand among the others, which is easier to write.
        let all = path.split(';').chain(query.split(['&', ';'])).filter(|part| !part.is_empty());
        for part in all {
            let (name, value) = part.split_once('=').ok_or_else(|| wrong("its parts are written name=value"))?;
            let value = decoded(value).ok_or_else(|| wrong("a % is not followed by two hexadecimal digits"))?;
            if parts.insert(name, value).is_some() {
                return Err(wrong("a part stands twice"));
            }
        }
        if parts.remove("pin-value").is_some() {
            return Err(wrong(
                "a PIN does not belong into it; name where it is with pin-source=env:NAME or \
                pin-source=credential:NAME",
            ));
        }
        if parts.remove("type").is_some_and(|kind| kind != b"private") {
            return Err(wrong("the type of a key that signs is private"));
        }
        let id = parts.remove("id");
        let mut text = |name: &str| {
            let value = parts.remove(name).map(String::from_utf8).transpose();
            value.map_err(|_| wrong("a part is no text"))
        };
        let module = match (text("module-path")?, text("module")?) {
            (Some(module), None) | (None, Some(module)) => PathBuf::from(module),
            _ => return Err(wrong("it needs one module=, the path of the library")),
        };
        let (token, serial, object) = (text("token")?, text("serial")?, text("object")?);
        let pin_source = text("pin-source")?;
        if !module.is_absolute() {
            return Err(wrong("module= is an absolute path"));
        }
        if object.is_none() && id.is_none() {
            return Err(wrong("it needs object= or id=, which name the key"));
        }
        if !parts.is_empty() {
            return Err(wrong("it has parts that are not known: module, token, serial, object, id and pin-source are"));
        }
        let pin_source = match pin_source.as_deref().map(str::parse) {
            None => None,
            Some(Ok(source @ (Source::Env(_) | Source::Credential(_)))) => Some(Box::new(source)),
            Some(_) => return Err(wrong("pin-source is env:NAME or credential:NAME")),
        };
        Ok(Self { module, token, serial, object, id, pin_source })
    }
}

/// The key and its token, not how to get in
impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |part: &Option<String>| part.as_ref().map(|text| encoded(text.as_bytes()));
        let parts = [
            ("token", text(&self.token)),
            ("serial", text(&self.serial)),
            ("object", text(&self.object)),
            ("id", self.id.as_deref().map(encoded)),
        ];
        let parts = parts.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        write!(f, "pkcs11:{}", parts.collect::<Vec<_>>().join(";"))
    }
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut found = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        found.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(bytes.next()?)? * 16 + digit(bytes.next()?)?
            }
            byte => byte,
        });
    }
    Some(found)
}

fn encoded(bytes: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let one = |byte: &u8| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    bytes.iter().map(one).collect()
}

/// A module may be begun once in a process; what comes from it keeps it
static MODULES: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

/// A private key in a token that we are logged in to
struct InToken {
    // Held while the token signs: one session does one thing at a time.
    session: Mutex<Session>,
    key: ObjectHandle,
}

impl Signer for InToken {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unsigned> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let signature = session.sign(&mechanism(), self.key, message).map_err(|error| Unsigned(error.to_string()))?;
        if signature.len() == 64 { Ok(signature) } else { Err(Unsigned("the token's signature is none".to_owned())) }
    }
}

fn mechanism() -> Mechanism<'static> {
    Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure))
}

/// The key that an address names, once it has signed something
pub(super) fn open(uri: &Uri, pin: Option<&[u8]>) -> Result<SigningKey, Error> {
    let failed = |why: String| Error::Token { from: uri.to_string(), why };
    let refused = |error: Refused| failed(error.to_string());
    let pin = match pin {
        None => None,
        Some(pin) => {
            let text = std::str::from_utf8(pin).map_err(|_| failed("its PIN is no text".to_owned()))?;
            Some(AuthPin::new(text.trim_end_matches('\n').to_owned()))
        }
    };
    let module = module(uri).map_err(refused)?;
    let slot = slot(&module, uri).map_err(refused)?.map_err(failed)?;
    let session = module.open_ro_session(slot).map_err(refused)?;
    if let Some(pin) = &pin {
        match session.login(UserType::User, Some(pin)) {
            // Another key of ours is in the same token.
            Ok(()) | Err(Refused::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    let key = only(&session, uri, ObjectClass::PRIVATE_KEY).map_err(refused)?.map_err(failed)?;
    let kind = session.get_attributes(key, &[AttributeType::KeyType]).map_err(refused)?;
    if !kind.contains(&Attribute::KeyType(KeyType::EC_EDWARDS)) {
        return Err(failed("it is of another kind; Ed25519 is needed".to_owned()));
    }
    let public = only(&session, uri, ObjectClass::PUBLIC_KEY).map_err(refused)?.map_err(failed)?;
    let point = session.get_attributes(public, &[AttributeType::EcPoint]).map_err(refused)?;
    let public = point.iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(point) => bare(point),
        _ => None,
    });
    let public = public.ok_or_else(|| failed("its public key cannot be read".to_owned()))?;
    let signer = InToken { session: Mutex::new(session), key };
    let signature = signer.sign(TRIED).map_err(|error| failed(error.0))?;
    if !public.fits(TRIED, &signature) {
        return Err(failed("what it signs does not fit its public key".to_owned()));
    }
    Ok(SigningKey::elsewhere(Box::new(signer), public))
}

/// What a key signs first, so that one that does not fit is found at once
const TRIED: &[u8] = b"portreeve tries this key";

fn module(uri: &Uri) -> Result<Pkcs11, Refused> {
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.get(&uri.module) {
        return Ok(module.clone());
    }
    let module = Pkcs11::new(&uri.module)?;
    module.initialize(CInitializeArgs::OsThreads)?;
    modules.insert(uri.module.clone(), module.clone());
    Ok(module)
}

/// The one slot with the token
fn slot(module: &Pkcs11, uri: &Uri) -> Result<Result<Slot, String>, Refused> {
    let mut found = Vec::new();
    for slot in module.get_slots_with_initialized_token()? {
        let info = module.get_token_info(slot)?;
        let is = |wanted: &Option<String>, has: &str| wanted.as_deref().is_none_or(|wanted| wanted == has.trim_end());
        if is(&uri.token, info.label()) && is(&uri.serial, info.serial_number()) {
            found.push(slot);
        }
    }
    Ok(match found.as_slice() {
        [slot] => Ok(*slot),
        [] => Err("there is no such token".to_owned()),
        _ => Err("several tokens are called so; name its serial".to_owned()),
    })
}

/// The one object of this class that the address names
fn only(session: &Session, uri: &Uri, class: ObjectClass) -> Result<Result<ObjectHandle, String>, Refused> {
    let mut template = vec![Attribute::Class(class)];
    template.extend(uri.object.as_ref().map(|label| Attribute::Label(label.as_bytes().to_vec())));
    template.extend(uri.id.clone().map(Attribute::Id));
    let what = if class == ObjectClass::PUBLIC_KEY { "public" } else { "private" };
    Ok(match session.find_objects(&template)?.as_slice() {
        [object] => Ok(*object),
        [] => Err(format!("there is no such {what} key in the token")),
        _ => Err(format!("several {what} keys are called so; name its id")),
    })
}

/// The 32 bytes of a point, which tokens write as they are or as an octet string
fn bare(point: &[u8]) -> Option<PublicKey> {
    PublicKey::from_bytes(point).or_else(|| PublicKey::from_bytes(point.strip_prefix(&[0x04, 0x20])?))
}

#[cfg(test)]
mod tests;
