//! What a token says.

use super::{Audience, Invalid, Thumbprint, Want};
use portreeve_core::{time::Millis, value::Value};
use std::{collections::BTreeMap, time::Duration};

/// The last second of the year 9999
const SECONDS_MAX: i64 = 253_402_300_799;
/// Bytes of a token's id at most
const ID_MAX: usize = 255;

/// The claims of a token that somebody signed
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    members: BTreeMap<String, Value>,
    key: Thumbprint,
}

impl Claims {
    pub(super) fn new(members: BTreeMap<String, Value>, key: Thumbprint) -> Self {
        Self { members, key }
    }

    /// All of them
    #[must_use]
    pub fn members(&self) -> &BTreeMap<String, Value> {
        &self.members
    }

    /// The claim of this name
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// The claim of this name, if it is text
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// The key that signed them
    #[must_use]
    pub fn key(&self) -> &Thumbprint {
        &self.key
    }

    /// Who issued it
    #[must_use]
    pub fn iss(&self) -> Option<&str> {
        self.text("iss")
    }

    /// Whom it is about
    #[must_use]
    pub fn sub(&self) -> Option<&str> {
        self.text("sub")
    }

    /// Whom it is meant for; nobody if the claim is of another form
    #[must_use]
    pub fn aud(&self) -> Vec<&str> {
        match self.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().map(Value::as_str).collect::<Option<_>>().unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// From when on it is nothing
    ///
    /// # Errors
    /// [`Invalid::TimeForm`]
    pub fn exp(&self) -> Result<Option<Millis>, Invalid> {
        self.time("exp")
    }

    /// When it was issued
    ///
    /// # Errors
    /// [`Invalid::TimeForm`]
    pub fn iat(&self) -> Result<Option<Millis>, Invalid> {
        self.time("iat")
    }

    /// Before when it is nothing
    ///
    /// # Errors
    /// [`Invalid::TimeForm`]
    pub fn nbf(&self) -> Result<Option<Millis>, Invalid> {
        self.time("nbf")
    }

    /// When whom it is about last showed who they are (OpenID Connect Core 1.0, 2)
    ///
    /// # Errors
    /// [`Invalid::TimeForm`]
    pub fn auth_time(&self) -> Result<Option<Millis>, Invalid> {
        self.time("auth_time")
    }

    /// Its id
    ///
    /// # Errors
    /// [`Invalid::IdMissing`]
    pub fn jti(&self) -> Result<&str, Invalid> {
        self.text("jti").filter(|id| (1..=ID_MAX).contains(&id.len())).ok_or(Invalid::IdMissing)
    }

    /// A NumericDate, of which only whole seconds in our era are taken
    fn time(&self, name: &str) -> Result<Option<Millis>, Invalid> {
        let Some(claim) = self.get(name) else { return Ok(None) };
        let Value::Number(number) = claim else { return Err(Invalid::TimeForm) };
        let seconds = number.to_i64().filter(|seconds| (0..=SECONDS_MAX).contains(seconds));
        seconds.map(|seconds| Some(Millis(seconds * 1000))).ok_or(Invalid::TimeForm)
    }
}

/// Milliseconds of a duration; saturates
pub(crate) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Refuses claims that are not what is wanted
pub(super) fn check(claims: &Claims, want: &Want<'_>, subject_max: usize, now: Millis) -> Result<(), Invalid> {
    if let Some(expected) = want.issuer {
        issuer(claims.get("iss"), expected)?;
    }
    audience(claims.get("aud"), want.audience)?;
    subject(claims.get("sub"), subject_max)?;
    times(claims, want, now)
}

fn issuer(claim: Option<&Value>, expected: &str) -> Result<(), Invalid> {
    let said = match claim {
        None => return Err(Invalid::IssuerMissing),
        Some(claim) => claim.as_str().ok_or(Invalid::IssuerWrong)?,
    };
    if said == expected {
        return Ok(());
    }
    let differs_by_slash = said.strip_suffix('/') == Some(expected) || expected.strip_suffix('/') == Some(said);
    Err(if differs_by_slash { Invalid::IssuerSlash } else { Invalid::IssuerWrong })
}

fn audience(claim: Option<&Value>, expected: Audience<'_>) -> Result<(), Invalid> {
    let (name, array, others) = match expected {
        Audience::Exactly(name) => (name, false, false),
        Audience::Only(name) => (name, true, false),
        Audience::Among(name) => (name, true, true),
    };
    match claim {
        None | Some(Value::Null) => Err(Invalid::AudienceMissing),
        Some(Value::String(said)) if said == name => Ok(()),
        Some(Value::Array(said)) if said.is_empty() => Err(Invalid::AudienceMissing),
        Some(Value::Array(said)) => {
            // One that is no text makes the list one that others may read differently.
            if said.iter().any(|one| one.as_str().is_none()) || !said.iter().any(|one| one.as_str() == Some(name)) {
                return Err(Invalid::AudienceWrong);
            }
            if array && (others || said.len() == 1) { Ok(()) } else { Err(Invalid::AudienceMany) }
        }
        Some(_) => Err(Invalid::AudienceWrong),
    }
}

fn subject(claim: Option<&Value>, max: usize) -> Result<(), Invalid> {
    match claim {
        None => Err(Invalid::SubjectMissing),
        Some(Value::String(text)) if (1..=max).contains(&text.len()) && !text.chars().any(char::is_control) => Ok(()),
        Some(_) => Err(Invalid::SubjectForm),
    }
}

fn times(claims: &Claims, want: &Want<'_>, now: Millis) -> Result<(), Invalid> {
    let (expires, issued, from) = (claims.exp()?.ok_or(Invalid::ExpiryMissing)?, claims.iat()?, claims.nbf()?);
    let ahead = now.plus(ms(want.skew));
    if expires <= now {
        return Err(Invalid::Expired);
    }
    if issued.is_some_and(|issued| issued > ahead) {
        return Err(Invalid::Future);
    }
    if from.is_some_and(|from| from > ahead) {
        return Err(Invalid::NotYet);
    }
    if issued.is_some_and(|issued| expires <= issued) {
        return Err(Invalid::TimeForm);
    }
    if expires.since(issued.unwrap_or(now)) > ms(want.lifetime_max) {
        return Err(Invalid::Lifetime);
    }
    Ok(())
}
