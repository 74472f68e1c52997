use super::*;
use crate::jose::{
    Keys, Want,
    tests::{AUDIENCE, ISSUER, NOW, Row, Signer, claims, merged, refused},
    verify,
};
use serde_json::{Value as Json, json};
use std::{sync::LazyLock, time::Duration};

static SIGNER: LazyLock<Signer> = LazyLock::new(Signer::ed);

fn verified(more: Json) -> Claims {
    let want = Want {
        algorithms: crate::jose::ALGORITHMS,
        types: &[""],
        issuer: Some(ISSUER),
        audience: crate::jose::Audience::Exactly(AUDIENCE),
        lifetime_max: Duration::from_secs(3600),
        skew: Duration::ZERO,
    };
    verify(&SIGNER.token(&json!({"alg": "EdDSA"}), &claims(more)), &Keys::of([SIGNER.key()]), &want, NOW).unwrap()
}

/// As GitHub's documentation shows it
fn github(more: Json) -> Json {
    merged(
        json!({
            "sub": "repo:octo-org/octo-repo:environment:prod", "environment": "prod", "ref": "refs/heads/main",
            "ref_type": "branch", "repository": "octo-org/octo-repo", "repository_id": "74",
            "repository_owner": "octo-org", "repository_owner_id": "65", "actor": "octocat", "actor_id": "12",
            "event_name": "workflow_dispatch", "head_ref": "", "base_ref": "", "runner_environment": "github-hosted",
            "job_workflow_ref": "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
        }),
        more,
    )
}

fn gitlab(more: Json) -> Json {
    merged(
        json!({
            "sub": "project_path:my-group/my-project:ref_type:branch:ref:main", "namespace_id": "72",
            "namespace_path": "my-group", "project_id": "20", "project_path": "my-group/my-project",
            "user_login": "sample-user", "pipeline_source": "push", "ref": "main", "ref_type": "branch",
            "ref_protected": "true",
        }),
        more,
    )
}

fn kubernetes(more: Json) -> Json {
    merged(
        json!({
            "sub": "system:serviceaccount:agents:bot",
            "kubernetes.io": {
                "namespace": "agents", "node": {"name": "n1", "uid": "u1"}, "pod": {"name": "bot-0", "uid": "u2"},
                "serviceaccount": {"name": "bot", "uid": "u3"}, "warnafter": 1,
            },
        }),
        more,
    )
}

#[test]
fn what_rules_may_name_is_shown_and_nothing_else() {
    let found = shown(Kind::Github, &verified(github(json!({}))), &["repository", "actor"]).unwrap();
    assert_eq!(found.subject, "repo:octo-org/octo-repo:environment:prod");
    assert_eq!((found.jti.as_deref(), found.until), (Some("1"), NOW.plus(300_000)));
    let names: Vec<_> = found.claims.keys().map(String::as_str).collect();
    let expected = [
        "actor_id",
        "environment",
        "event_name",
        "job_workflow_ref",
        "ref",
        "ref_type",
        "repository_id",
        "repository_owner_id",
        "runner_environment",
    ];
    assert_eq!(names, expected);
    let found = shown(Kind::Kubernetes, &verified(kubernetes(json!({}))), &[]).unwrap();
    assert_eq!(found.claims["kubernetes.io.pod.uid"], Value::String("u2".into()));
    assert_eq!(found.claims.len(), 6);
    let found = shown(Kind::Gitlab, &verified(gitlab(json!({}))), &["project_path"]).unwrap();
    assert_eq!(found.claims["project_id"], Value::String("20".into()));
    assert!(!found.claims.contains_key("project_path"));
    // Of an issuer that nothing is known of, what the rules name; what does not fit, not even then.
    let cloud = json!({"https://sts.amazonaws.com/": {"account": "1"}, "email": "a@b.example"});
    let found = shown(Kind::Oidc, &verified(cloud), &["https://sts.amazonaws.com/.account", "email"]).unwrap();
    let names: Vec<_> = found.claims.keys().map(String::as_str).collect();
    assert_eq!(names, ["https://sts.amazonaws.com/.account", "sub"]);
}

#[test]
fn merge_requests_of_the_own_project_are_taken() {
    let own = json!({"pipeline_source": "merge_request_event", "job_project_id": "20"});
    assert!(shown(Kind::Gitlab, &verified(gitlab(own)), &[]).is_ok());
}

pub(crate) fn rows() -> Vec<Row> {
    let on = |kind: Kind, claims: Json| shown(kind, &verified(claims), &[]).map(drop);
    let github_ = |more: Json| on(Kind::Github, github(more));
    let gitlab_ = |more: Json| on(Kind::Gitlab, gitlab(more));
    let cases = vec![
        ("GitHub: a pull request, of a fork or not", Refused::Proposed, github_(json!({"event_name": "pull_request"}))),
        (
            "GitHub: `pull_request_target`, and all other events of pull requests",
            Refused::Proposed,
            github_(json!({"event_name": "pull_request_target"})),
        ),
        ("GitHub: a ref of a pull request", Refused::Proposed, github_(json!({"ref": "refs/pull/7/merge"}))),
        ("GitHub: a token with a `head_ref`", Refused::Proposed, github_(json!({"head_ref": "patch-1"}))),
        ("GitHub: no `event_name`", Refused::Cause, github_(json!({"event_name": null}))),
        (
            "GitLab: a merge request of a fork",
            Refused::Proposed,
            gitlab_(json!({"pipeline_source": "merge_request_event", "job_project_id": "10"})),
        ),
        (
            "GitLab: a merge request where the token does not say whose (no `job_project_id`)",
            Refused::Proposed,
            gitlab_(json!({"pipeline_source": "merge_request_event"})),
        ),
        (
            "GitLab: a pull request of another site",
            Refused::Proposed,
            gitlab_(json!({"pipeline_source": "external_pull_request_event"})),
        ),
        ("GitLab: no `pipeline_source`", Refused::Cause, gitlab_(json!({"pipeline_source": null}))),
        (
            "Kubernetes: a subject that is no service account",
            Refused::NotServiceAccount,
            on(Kind::Kubernetes, kubernetes(json!({"sub": "system:admin"}))),
        ),
        (
            "A claim of a rule that is there twice, by its path",
            Refused::Twice,
            on(Kind::Kubernetes, kubernetes(json!({"kubernetes.io.pod": {"uid": "u9"}}))),
        ),
    ];
    refused(cases, Refused::word)
}

#[test]
fn what_is_only_proposed_gets_nothing() {
    rows();
}

#[test]
fn rules_name_what_stays_with_its_bearer() {
    for kind in Kind::ALL {
        assert_eq!(kind.to_string(), kind.word());
        assert!(kind.claims().iter().all(|claim| fits_rule(kind, claim).is_ok()));
        assert!(kind.anchors().iter().flat_map(|all| all.iter()).all(|claim| fits_rule(kind, claim).is_ok()));
        for never in ["", "aud", "iss", "exp", "jti"] {
            assert!(fits_rule(kind, never).is_err(), "{kind} {never}");
        }
    }
    for (kind, claim, said) in [
        (Kind::Github, "repository", "repository_id"),
        (Kind::Github, "actor", "actor_id"),
        (Kind::Github, "sub", "repository_id"),
        (Kind::Github, "workflow", "job_workflow_ref"),
        (Kind::Github, "whatever", "docs/identity.md"),
        (Kind::Gitlab, "project_path", "project_id"),
        (Kind::Gitlab, "user_email", "user_id"),
        (Kind::Kubernetes, "kubernetes.io.pod.name", "uid"),
        (Kind::Kubernetes, "kubernetes.io.pod", "one thing"),
        (Kind::Oidc, "email", "sub"),
        (Kind::Oidc, "preferred_username", "sub"),
    ] {
        let why = fits_rule(kind, claim).unwrap_err();
        assert!(why.contains(said), "{kind} {claim}: {why}");
    }
    assert_eq!(fits_rule(Kind::Oidc, "google.compute_engine.instance_id"), Ok(()));
}

#[test]
fn a_rule_says_who_it_is() {
    for (kind, claims, good) in [
        (Kind::Github, ["environment", "ref"].as_slice(), false),
        (Kind::Github, &["environment", "repository_id"], true),
        (Kind::Gitlab, &["ref_protected"], false),
        (Kind::Gitlab, &["namespace_id"], true),
        (Kind::Kubernetes, &["kubernetes.io.serviceaccount.name"], false),
        (Kind::Kubernetes, &["kubernetes.io.serviceaccount.name", "kubernetes.io.namespace"], true),
        (Kind::Kubernetes, &["kubernetes.io.pod.uid"], true),
        (Kind::Oidc, &["groups"], false),
        (Kind::Oidc, &["sub"], true),
        (Kind::Oidc, &[], false),
    ] {
        assert_eq!(says_who(kind, claims).is_ok(), good, "{kind} {claims:?}");
    }
}
