//! Tokens of an authorization server, which are taken back where it can do that and says so.
//!
//! It is asked as its client (RFC 6749, 4.4), or with a token or an assertion of ours that says who works on whose behalf
//! (RFC 8693, RFC 7523). What it gives is used only if it is no more than was asked for; a token that is not used is taken
//! back like one that was. It has no list of names: what a crash leaves before the answer came is nobody's.

pub mod server;

use crate::{
    means::{Means, scopes},
    secret::Secret,
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn},
};
use async_trait::async_trait;
use portreeve_core::policy::{Oauth as Tokens, OauthGrant};
use portreeve_identity::mint::{Form, Says};
use server::{Client, kept};
use std::collections::BTreeMap;

/// Tokens of an authorization server
#[derive(Debug)]
pub struct Oauth {
    of: Tokens,
    means: Means,
}

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

impl Oauth {
    /// Had with these means
    #[must_use]
    pub fn new(of: Tokens, means: Means) -> Self {
        Self { of, means }
    }

    fn client(&self) -> Client<'_> {
        Client { at: &self.of.at, means: &self.means }
    }

    /// What is shown to the server for a token
    fn form(&self, wanted: &Wanted, scope: &[String]) -> Result<Vec<(&'static str, Secret)>, String> {
        let scope = scope.join(" ");
        let sign = |form: Form| {
            let says = Says {
                audience: &self.of.at.issuer,
                whom: &wanted.whom,
                task: wanted.task,
                scope: &scope,
                narrowed: &wanted.scope,
                client_id: Some(&self.of.at.client_id),
                resource: self.of.at.resource.as_deref(),
                id: wanted.name.as_str(),
                until: wanted.until,
            };
            let minted = self.means.minter.mint(form, &says, self.means.clock.now());
            minted.map(|minted| Secret::new(minted.text)).map_err(|error| error.to_string())
        };
        Ok(match &self.of.grant {
            OauthGrant::ClientCredentials => vec![("grant_type", "client_credentials".into())],
            OauthGrant::JwtBearer => {
                vec![("grant_type", JWT_BEARER.into()), ("assertion", sign(Form::Assertion)?)]
            }
            OauthGrant::IdJag => vec![("grant_type", JWT_BEARER.into()), ("assertion", sign(Form::IdJag)?)],
            OauthGrant::TokenExchange { audience } => {
                let mut form = vec![
                    ("grant_type", TOKEN_EXCHANGE.into()),
                    ("subject_token", sign(Form::Subject)?),
                    ("subject_token_type", JWT.into()),
                    ("requested_token_type", ACCESS_TOKEN.into()),
                ];
                // Who works for somebody shows themselves beside them.
                if wanted.whom.user.is_some() {
                    form.extend([("actor_token", sign(Form::Actor)?), ("actor_token_type", JWT.into())]);
                }
                form.extend(audience.as_deref().map(|audience| ("audience", audience.into())));
                form
            }
        })
    }
}

#[async_trait]
impl Source for Oauth {
    async fn issue(&self, wanted: &Wanted) -> Result<Issued, NotIssued> {
        let refused = NotIssued::Refused;
        let scope = self.of.at.scopes.get(&wanted.class);
        let scope = scope.ok_or_else(|| refused("nothing is asked for this class".to_owned()))?;
        let scope = scopes(scope, &wanted.scope).map_err(refused)?;
        let client = self.client();
        let server = client.server().await.map_err(refused)?;
        client.able(&server).map_err(refused)?;
        let form = self.form(wanted, &scope).map_err(refused)?;
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.expose())).collect();
        let granted = client.token(&server, &form, &scope).await?;
        let keep = kept(&granted, true);
        if let Some(why) = client.keeps(&server, &granted).await {
            // It is there, and is taken back as one that was used.
            self.means.vault.keep(&wanted.name, &keep).map_err(|error| NotIssued::Unknown(error.to_string()))?;
            return Err(NotIssued::Unknown(why));
        }
        let fields = BTreeMap::from([("token".to_owned(), granted.access)]);
        Ok(Issued { fields, handle: None, until: granted.until, keep: Some(keep) })
    }

    async fn withdraw(&self, held: &Held) -> Result<Withdrawn, String> {
        self.client().withdraw(held, true).await
    }

    async fn sweep(&self, _: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    async fn check(&self) -> Result<(), String> {
        self.client().check().await
    }
}
