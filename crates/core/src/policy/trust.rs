//! What a platform says about a workload, and which of it a trust rule may rest on.
//!
//! A rule that names something which somebody else can take over later (a repository's name, a person's login) trusts
//! whoever has that name then; so rules may name only what stays with its bearer.

use std::fmt;

/// What kind of issuer it is
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IssuerKind {
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

impl IssuerKind {
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

impl fmt::Display for IssuerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
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
pub fn fits_rule(kind: IssuerKind, claim: &str) -> Result<(), &'static str> {
    match claim {
        "iss" | "aud" => return Err("the issuer's file says what it has to be"),
        "exp" | "iat" | "nbf" | "jti" | "nonce" | "auth_time" | "at_hash" | "c_hash" => {
            return Err("it is another one in each token");
        }
        "" => return Err("a claim has a name"),
        _ => {}
    }
    if kind == IssuerKind::Oidc { fits_any(claim) } else { fits_platform(kind, claim) }
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

fn fits_platform(kind: IssuerKind, claim: &str) -> Result<(), &'static str> {
    if kind.claims().contains(&claim) {
        return Ok(());
    }
    Err(match (kind, claim) {
        (IssuerKind::Github, "sub") => {
            "it is made of names that somebody else can have later; name repository_id and environment or ref"
        }
        (IssuerKind::Github, "repository" | "repository_name") => {
            "a repository's name can be another repository's later; name repository_id"
        }
        (IssuerKind::Github, "repository_owner") => {
            "an owner's name can be another owner's later; name repository_owner_id"
        }
        (IssuerKind::Github, "enterprise") => "an enterprise's name can change; name enterprise_id",
        (IssuerKind::Github, "actor" | "triggering_actor") => "a login can be another person's later; name actor_id",
        (IssuerKind::Github, "workflow") => "anybody who may change a file chooses that name; name job_workflow_ref",
        (IssuerKind::Github, "head_ref" | "base_ref") => "only pull requests have it, and they are refused",
        (IssuerKind::Gitlab, "sub") => {
            "it is made of names that somebody else can have later; name project_id and environment or ref"
        }
        (IssuerKind::Gitlab, "project_path" | "job_project_path") => {
            "a project's path can be another project's later; name project_id"
        }
        (IssuerKind::Gitlab, "namespace_path" | "job_namespace_path") => {
            "a group's path can be another group's later; name namespace_id"
        }
        (IssuerKind::Gitlab, "user_login" | "user_email" | "user_identities") => {
            "a login or address can be another person's later; name user_id"
        }
        (IssuerKind::Gitlab, "groups_direct" | "user_access_level") => {
            "it says what the person may do who started the job, not who the job is; name project_id"
        }
        (IssuerKind::Kubernetes, "kubernetes.io.pod.name" | "kubernetes.io.node.name") => {
            "whoever makes one chooses its name; name its uid"
        }
        (IssuerKind::Kubernetes, _) if claim.starts_with("kubernetes.io.warnafter") => {
            "it is another one in each token"
        }
        (IssuerKind::Kubernetes, "kubernetes.io" | "kubernetes.io.pod" | "kubernetes.io.serviceaccount") => {
            "name one thing in it, such as kubernetes.io.serviceaccount.uid"
        }
        _ => "it is not known to stay with its bearer; docs/identity.md has the claims that are",
    })
}

/// Whether a rule with these claims, each of which fits, says who it is
///
/// # Errors
/// What to tell whoever wrote the rule.
pub fn says_who(kind: IssuerKind, claims: &[&str]) -> Result<(), &'static str> {
    if kind.anchors().iter().any(|all| all.iter().all(|one| claims.contains(one))) {
        return Ok(());
    }
    Err(match kind {
        IssuerKind::Oidc => "the rule does not say who it is: anybody with an account there may fit; name sub",
        IssuerKind::Github => {
            "the rule does not say whose workflow it is: any on GitHub may fit; name repository_id or \
             repository_owner_id"
        }
        IssuerKind::Gitlab => "the rule does not say whose job it is: any of that GitLab may fit; name project_id",
        IssuerKind::Kubernetes => {
            "the rule does not say which service account it is; name sub, or kubernetes.io.namespace and \
             kubernetes.io.serviceaccount.name, or a uid"
        }
    })
}
