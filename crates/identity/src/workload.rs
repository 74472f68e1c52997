//! What a platform says about a workload, and which of it a trust rule may rest on.
//!
//! A rule that names something which somebody else can take over later (a repository's name, a person's login) trusts
//! whoever has that name then; so rules may name only what stays with its bearer. And code that was proposed and not
//! taken yet runs with its author's intentions, not with those of the repository: its tokens are refused.

mod claim;

pub use claim::find;

use crate::jose::{Claims, Invalid as NotGood};
use portreeve_core::{time::Millis, value::Value};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// What kind of issuer it is
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Any that speaks OpenID Connect, such as clouds
    #[default]
    Oidc,
    /// GitHub Actions
    Github,
    /// GitLab CI
    Gitlab,
    /// Service accounts of a Kubernetes cluster
    Kubernetes,
}

impl Kind {
    /// All of them
    pub const ALL: [Self; 4] = [Self::Oidc, Self::Github, Self::Gitlab, Self::Kubernetes];

    /// As issuer files write it
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Oidc => "oidc",
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Kubernetes => "kubernetes",
        }
    }

    /// The claims that trust rules may name; of `oidc`, those that alone say who it is
    #[must_use]
    pub fn claims(self) -> &'static [&'static str] {
        match self {
            Self::Oidc => &["sub", "oid", "azp", "appid", "client_id"],
            Self::Github => GITHUB,
            Self::Gitlab => GITLAB,
            Self::Kubernetes => KUBERNETES,
        }
    }

    /// The sets of claims of which a rule has to name one whole: without it, the rule trusts strangers
    #[must_use]
    pub fn anchors(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Oidc => &[&["sub"], &["oid"], &["azp"], &["appid"], &["client_id"]],
            Self::Github => &[&["repository_id"], &["repository_owner_id"], &["enterprise_id"]],
            Self::Gitlab => &[&["project_id"], &["namespace_id"]],
            Self::Kubernetes => &[
                &["sub"],
                &["kubernetes.io.serviceaccount.uid"],
                &["kubernetes.io.pod.uid"],
                &["kubernetes.io.namespace", "kubernetes.io.serviceaccount.name"],
            ],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The text is no kind of issuer
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected oidc, github, gitlab or kubernetes")]
pub struct NotAKind;

impl FromStr for Kind {
    type Err = NotAKind;

    fn from_str(text: &str) -> Result<Self, NotAKind> {
        Self::ALL.into_iter().find(|kind| kind.word() == text).ok_or(NotAKind)
    }
}

const GITHUB: &[&str] = &[
    "repository_id",
    "repository_owner_id",
    "enterprise_id",
    "environment",
    "ref",
    "ref_type",
    "ref_protected",
    "sha",
    "workflow_ref",
    "workflow_sha",
    "job_workflow_ref",
    "job_workflow_sha",
    "event_name",
    "runner_environment",
    "repository_visibility",
    "actor_id",
    "run_id",
    "run_attempt",
];

const GITLAB: &[&str] = &[
    "project_id",
    "namespace_id",
    "job_project_id",
    "job_namespace_id",
    "environment",
    "environment_protected",
    "deployment_tier",
    "ref",
    "ref_type",
    "ref_path",
    "ref_protected",
    "sha",
    "ci_config_ref_uri",
    "ci_config_sha",
    "pipeline_source",
    "pipeline_id",
    "job_id",
    "runner_id",
    "runner_environment",
    "project_visibility",
    "user_id",
];

const KUBERNETES: &[&str] = &[
    "sub",
    "kubernetes.io.namespace",
    "kubernetes.io.serviceaccount.name",
    "kubernetes.io.serviceaccount.uid",
    "kubernetes.io.pod.uid",
    "kubernetes.io.node.uid",
];

/// Whether a trust rule about tokens of this kind of issuer may name this claim; where not, why
///
/// A claim in an object is named with dots: `kubernetes.io.pod.uid`.
///
/// # Errors
/// What to tell whoever wrote the rule.
pub fn fits_rule(kind: Kind, claim: &str) -> Result<(), &'static str> {
    match claim {
        "iss" | "aud" => return Err("the issuer's file says what it has to be"),
        "exp" | "iat" | "nbf" | "jti" | "nonce" | "auth_time" | "at_hash" | "c_hash" => {
            return Err("it is another one in each token");
        }
        "" => return Err("a claim has a name"),
        _ => {}
    }
    if kind == Kind::Oidc { fits_any(claim) } else { fits_platform(kind, claim) }
}

/// Of an issuer that nothing is known of: all but what is known to be a person's to choose
fn fits_any(claim: &str) -> Result<(), &'static str> {
    match claim {
        "email" | "email_verified" | "upn" | "unique_name" | "verified_primary_email" | "verified_secondary_email" => {
            Err("an address may be given to somebody else; name sub")
        }
        "name" | "given_name" | "family_name" | "middle_name" | "nickname" | "preferred_username" | "username"
        | "login" | "display_name" | "app_displayname" => Err("people and programs choose their names; name sub"),
        "picture"
        | "profile"
        | "website"
        | "locale"
        | "zoneinfo"
        | "phone_number"
        | "phone_number_verified"
        | "address"
        | "birthdate"
        | "gender"
        | "updated_at" => Err("it says nothing about who it is; name sub"),
        "ipaddr" | "client_ip" => Err("an address on the network may be given to somebody else; name sub"),
        _ => Ok(()),
    }
}

fn fits_platform(kind: Kind, claim: &str) -> Result<(), &'static str> {
    if kind.claims().contains(&claim) {
        return Ok(());
    }
    Err(match (kind, claim) {
        (Kind::Github, "sub") => {
            "it is made of names that somebody else can have later; name repository_id and environment or ref"
        }
        (Kind::Github, "repository" | "repository_name") => {
            "a repository's name can be another repository's later; name repository_id"
        }
        (Kind::Github, "repository_owner") => "an owner's name can be another owner's later; name repository_owner_id",
        (Kind::Github, "enterprise") => "an enterprise's name can change; name enterprise_id",
        (Kind::Github, "actor" | "triggering_actor") => "a login can be another person's later; name actor_id",
        (Kind::Github, "workflow") => "anybody who may change a file chooses that name; name job_workflow_ref",
        (Kind::Github, "head_ref" | "base_ref") => "only pull requests have it, and they are refused",
        (Kind::Gitlab, "sub") => {
            "it is made of names that somebody else can have later; name project_id and environment or ref"
        }
        (Kind::Gitlab, "project_path" | "job_project_path") => {
            "a project's path can be another project's later; name project_id"
        }
        (Kind::Gitlab, "namespace_path" | "job_namespace_path") => {
            "a group's path can be another group's later; name namespace_id"
        }
        (Kind::Gitlab, "user_login" | "user_email" | "user_identities") => {
            "a login or address can be another person's later; name user_id"
        }
        (Kind::Gitlab, "groups_direct" | "user_access_level") => {
            "it says what the person may do who started the job, not who the job is; name project_id"
        }
        (Kind::Kubernetes, "kubernetes.io.pod.name" | "kubernetes.io.node.name") => {
            "whoever makes one chooses its name; name its uid"
        }
        (Kind::Kubernetes, _) if claim.starts_with("kubernetes.io.warnafter") => "it is another one in each token",
        (Kind::Kubernetes, "kubernetes.io" | "kubernetes.io.pod" | "kubernetes.io.serviceaccount") => {
            "name one thing in it, such as kubernetes.io.serviceaccount.uid"
        }
        _ => "it is not known to stay with its bearer; docs/identity.md has the claims that are",
    })
}

/// Whether a rule with these claims, each of which fits, says who it is
///
/// # Errors
/// What to tell whoever wrote the rule.
pub fn says_who(kind: Kind, claims: &[&str]) -> Result<(), &'static str> {
    if kind.anchors().iter().any(|all| all.iter().all(|one| claims.contains(one))) {
        return Ok(());
    }
    Err(match kind {
        Kind::Oidc => "the rule does not say who it is: anybody with an account there may fit; name sub",
        Kind::Github => {
            "the rule does not say whose workflow it is: any on GitHub may fit; name repository_id or \
             repository_owner_id"
        }
        Kind::Gitlab => "the rule does not say whose job it is: any of that GitLab may fit; name project_id",
        Kind::Kubernetes => {
            "the rule does not say which service account it is; name sub, or kubernetes.io.namespace and \
             kubernetes.io.serviceaccount.name, or a uid"
        }
    })
}

/// What a workload's token shows
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// `sub`
    pub subject: String,
    /// The claims that rules of this kind may name and this token has, by their paths
    pub claims: BTreeMap<String, Value>,
    /// The token's id, if it has one
    pub jti: Option<String>,
    /// From when on it is nothing
    pub until: Millis,
}

/// Why a token that its issuer vouches for is not taken
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It lacks what every good token has
    #[error(transparent)]
    Token(#[from] NotGood),
    /// It is of a change that nobody took yet
    #[error("the job runs for a pull or merge request; what is only proposed gets nothing")]
    Proposed,
    /// It does not say for what the job runs
    #[error("the token does not say what started the job (event_name or pipeline_source)")]
    Cause,
    /// Its claims can be read in two ways
    #[error("the token has a claim that can be found in two places")]
    Twice,
    /// It is not of a service account
    #[error("the token is not one of a service account")]
    NotServiceAccount,
}

impl Refused {
    /// The word that stands for it in records and answers
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Token(invalid) => invalid.word(),
            Self::Proposed => "only_proposed",
            Self::Cause => "cause_missing",
            Self::Twice => "claim_twice",
            Self::NotServiceAccount => "not_a_service_account",
        }
    }
}

/// What the verified claims of a token show; `wanted` are the paths that the rules about its issuer name
///
/// # Errors
/// [`Refused`]
pub fn shown(kind: Kind, claims: &Claims, wanted: &[&str]) -> Result<Shown, Refused> {
    match kind {
        Kind::Oidc => {}
        Kind::Github => github(claims)?,
        Kind::Gitlab => gitlab(claims)?,
        Kind::Kubernetes => kubernetes(claims)?,
    }
    let mut found = BTreeMap::new();
    for path in kind.claims().iter().chain(wanted).filter(|path| fits_rule(kind, path).is_ok()) {
        if let Some(value) = find(claims.members(), path).map_err(|_| Refused::Twice)? {
            found.insert((*path).to_owned(), value.clone());
        }
    }
    Ok(Shown {
        subject: claims.sub().ok_or(NotGood::SubjectMissing)?.to_owned(),
        claims: found,
        jti: claims.text("jti").map(str::to_owned),
        until: claims.exp()?.ok_or(NotGood::ExpiryMissing)?,
    })
}

/// Pull requests, of forks or not: nobody has taken the change that runs
fn github(claims: &Claims) -> Result<(), Refused> {
    let event = claims.text("event_name").ok_or(Refused::Cause)?;
    let reference = claims.text("ref").unwrap_or_default();
    let has = |name: &str| claims.get(name).is_some_and(|value| *value != Value::String(String::new()));
    // `pull_request_target` and `workflow_run` run the repository's own workflow, but the former is made for working
    // with what a stranger proposes; it is where such workflows have been taken over.
    if event.starts_with("pull_request") || reference.starts_with("refs/pull/") || has("head_ref") || has("fork") {
        return Err(Refused::Proposed);
    }
    Ok(())
}

/// Merge requests, unless the job's project is the one that the change comes from
fn gitlab(claims: &Claims) -> Result<(), Refused> {
    let source = claims.text("pipeline_source").ok_or(Refused::Cause)?;
    // Since 18.2, project_id is the fork's for its merge requests, and before it was the target's. Only where the
    // job's own project stands beside it can it be told whether there is a fork.
    let own = claims.text("job_project_id").is_some_and(|own| claims.text("project_id") == Some(own));
    let foreign = claims.get("job_project_id").is_some() && !own;
    if source == "external_pull_request_event" || foreign || (source == "merge_request_event" && !own) {
        return Err(Refused::Proposed);
    }
    Ok(())
}

fn kubernetes(claims: &Claims) -> Result<(), Refused> {
    let parts = |sub: &str| sub.strip_prefix("system:serviceaccount:")?.split_once(':').map(drop);
    claims.sub().and_then(parts).ok_or(Refused::NotServiceAccount)
}

#[cfg(test)]
pub(crate) mod tests;
