//! Tokens of an authorization server: our own as its client, and those of people who connected their account there.

use super::{Revocation, Says};
use crate::{names::Name, policy::Class};
use std::collections::{BTreeMap, BTreeSet};

/// What Portreeve is at an authorization server
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthClient {
    /// Its name, exactly
    pub issuer: String,
    /// Whether its addresses may be on this machine or in a private network
    pub private: bool,
    /// What we are called there
    pub client_id: String,
    /// How we show that it is us
    pub shows: ClientShows,
    /// The server that the tokens are for (RFC 8707)
    pub resource: Option<String>,
    /// What taking a token back achieves, as far as its server does what it says of itself
    pub revocation: Revocation,
    /// The scopes of each class, which may name what the task narrows it to
    pub scopes: BTreeMap<Class, Vec<String>>,
}

/// How a client shows an authorization server that it is itself
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientShows {
    /// Not at all: it is known by what it began (PKCE)
    Nothing,
    /// By a secret of the vault (`client_secret_basic`)
    Secret(Name),
    /// By what the key `upstream` signs (`private_key_jwt`)
    Key,
    /// By a token of whoever Portreeve is where it runs, which lies in a file and is read anew each time: its issuer is
    /// believed there (RFC 7523, 2.2)
    File(String),
}

/// An authorization server that issues tokens to Portreeve, on its own word
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oauth {
    /// What we are there
    pub at: OauthClient,
    /// For what it gives tokens
    pub grant: OauthGrant,
}

/// For what an authorization server gives tokens
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OauthGrant {
    /// For being its client (RFC 6749, 4.4)
    ClientCredentials,
    /// For a token of ours that says who works on whose behalf (RFC 8693)
    TokenExchange {
        /// What the new token is for, as it is called there
        audience: Option<String>,
    },
    /// For an assertion of ours that says who works on whose behalf (RFC 7523)
    JwtBearer,
    /// The same, as an identity assertion (draft-ietf-oauth-identity-assertion-authz-grant)
    IdJag,
}

/// An authorization server where people have accounts, which they connect
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What we are there
    pub at: OauthClient,
    /// What is asked for beside the scopes of the classes when somebody connects their account
    pub ask: Vec<String>,
}

/// What all tokens of an authorization server consist of
const FIELDS: &[&str] = &["token"];

impl OauthClient {
    fn classes(&self) -> BTreeSet<Class> {
        self.scopes.keys().copied().collect()
    }

    fn secrets(&self) -> Vec<&Name> {
        match &self.shows {
            ClientShows::Secret(secret) => vec![secret],
            ClientShows::Nothing | ClientShows::Key | ClientShows::File(_) => Vec::new(),
        }
    }
}

impl Says for Oauth {
    fn kind(&self) -> &'static str {
        "oauth"
    }

    fn classes(&self) -> BTreeSet<Class> {
        self.at.classes()
    }

    fn revocation(&self) -> Revocation {
        self.at.revocation
    }

    fn fields(&self) -> Option<&'static [&'static str]> {
        Some(FIELDS)
    }

    fn secrets(&self) -> Vec<&Name> {
        self.at.secrets()
    }
}

impl Says for Account {
    fn kind(&self) -> &'static str {
        "account"
    }

    fn classes(&self) -> BTreeSet<Class> {
        self.at.classes()
    }

    fn revocation(&self) -> Revocation {
        self.at.revocation
    }

    fn fields(&self) -> Option<&'static [&'static str]> {
        Some(FIELDS)
    }

    fn secrets(&self) -> Vec<&Name> {
        self.at.secrets()
    }
}
