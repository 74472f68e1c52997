//! What agents, users and connectors are.

use super::{Changes, Verdict, people, sides};
use crate::bundle::Loaded;
use portreeve_core::{
    names::{Name, ToolName},
    path::FieldPath,
    policy::{Agent, Bundle, Class, Connector, CredentialSource, Elevate, Issuer, Profile, Purpose, Tier, User},
};
use std::collections::BTreeSet;

pub(super) fn compare(old: &Loaded, new: &Loaded, changes: &mut Changes) {
    let has_rules = has_rules(old) || has_rules(new);
    let (old, new) = (&old.bundle, &new.bundle);
    for (name, before, after) in sides(&old.agents, &new.agents) {
        match (before, after) {
            (Some(_), None) => changes.push(&format!("agent {name}"), Verdict::Narrower, "it is gone"),
            (None, Some(_)) => {
                changes.push(&format!("agent {name}"), Verdict::Same, "it is new; only purposes give it anything")
            }
            (Some(before), Some(after)) => agent(&format!("agent {name}"), before, after, changes),
            (None, None) => {}
        }
    }
    for (name, before, after) in sides(&old.issuers, &new.issuers) {
        let place = format!("issuer {name}");
        match (before, after) {
            (Some(_), None) => changes.push(&place, Verdict::Narrower, "it is gone"),
            (None, Some(_)) => {
                changes.push(&place, Verdict::Same, "it is new; only what names it rests on it");
            }
            (Some(before), Some(after)) => issuer(&place, before, after, changes),
            (None, None) => {}
        }
    }
    for (name, before, after) in sides(&old.receivers, &new.receivers) {
        people::receiver(&format!("receiver {name}"), before, after, changes);
    }
    people::roles(&old.roles, &new.roles, changes);
    for (name, before, after) in sides(&old.users, &new.users) {
        let place = format!("user {name}");
        match (before, after) {
            (Some(_), None) => changes.push(&place, Verdict::Narrower, "they are gone"),
            (None, Some(user)) => {
                let (groups, roles) = (list(user.groups.iter()), list(user.roles.iter()));
                let what = format!("they are new, in the groups: {groups}; with the roles: {roles}");
                changes.push(&place, Verdict::Wider, what);
            }
            (Some(before), Some(after)) => user(&place, before, after, has_rules, changes),
            (None, None) => {}
        }
    }
    for (name, before, after) in sides(&old.sources, &new.sources) {
        let place = format!("credentials {name}");
        match (before, after) {
            (Some(_), None) => changes.push(&place, Verdict::Narrower, "they are gone"),
            (None, Some(_)) => {
                changes.push(&place, Verdict::Same, "they are new; only connectors that name them get any")
            }
            (Some(before), Some(after)) => source(&place, before, after, changes),
            (None, None) => {}
        }
    }
    for (name, before, after) in sides(&old.connectors, &new.connectors) {
        let place = format!("connector {name}");
        match (before, after) {
            (Some(_), None) => changes.push(&place, Verdict::Narrower, "it is gone"),
            (None, Some(_)) => changes.push(&place, Verdict::Same, "it is new; only purposes reach it"),
            (Some(before), Some(after)) => connector((name, before, after), (old, new), has_rules, changes),
            (None, None) => {}
        }
    }
}

fn source(place: &str, before: &CredentialSource, after: &CredentialSource, changes: &mut Changes) {
    let (old, new) = (before.classes(), after.classes());
    for class in new.difference(&old) {
        changes.push(place, Verdict::Wider, format!("they are issued for {class} as well"));
    }
    for class in old.difference(&new) {
        changes.push(place, Verdict::Narrower, format!("they are not issued for {class} any more"));
    }
    let whole = |ttl: Option<i64>| ttl.unwrap_or(i64::MAX);
    if before.ttl_ms != after.ttl_ms {
        let verdict = if whole(after.ttl_ms) > whole(before.ttl_ms) { Verdict::Wider } else { Verdict::Narrower };
        changes.push(place, verdict, "they live for another time");
    }
    if before.owner != after.owner {
        changes.push(place, Verdict::Same, format!("{} answers for them, did {}", after.owner, before.owner));
    }
    if (&before.back_end, &before.scope) != (&after.back_end, &after.scope) {
        changes.push(
            place,
            Verdict::Unclear,
            "what issues them, what they are granted or what narrows it is another thing",
        );
    }
}

fn issuer(place: &str, before: &Issuer, after: &Issuer, changes: &mut Changes) {
    if (&before.vouches, before.private) != (&after.vouches, after.private) {
        changes.push(place, Verdict::Unclear, "who it is, or how that is checked, is another thing");
    }
    let (old, new) = match (&before.people, &after.people) {
        (None, None) => return,
        (None, Some(_)) => return changes.push(place, Verdict::Wider, "people can sign in there now"),
        (Some(_), None) => return changes.push(place, Verdict::Narrower, "nobody signs in there any more"),
        (Some(old), Some(new)) => (old, new),
    };
    if old.fresh_ms != new.fresh_ms {
        let verdict = if new.fresh_ms > old.fresh_ms { Verdict::Wider } else { Verdict::Narrower };
        changes.push(place, verdict, format!("its groups count {} ms, did {} ms", new.fresh_ms, old.fresh_ms));
    }
    for (value, before, after) in sides(&old.group, &new.group) {
        let what =
            |group: Option<&Name>| group.map_or_else(|| "nothing".to_owned(), |group| format!("the group {group}"));
        if before != after {
            // A rule may forbid something to just one group.
            let what = format!("its group {value:?} means {}, did {}", what(after), what(before));
            let verdict = if before.is_none() { Verdict::Wider } else { Verdict::Unclear };
            changes.push(place, verdict, what);
        }
    }
    for (name, before, after) in sides(&old.attributes, &new.attributes) {
        match (before, after) {
            (None, Some(_)) => changes.push(place, Verdict::Wider, format!("it says the attribute {name} now")),
            (Some(_), None) => {
                changes.push(place, Verdict::Unclear, format!("it does not say the attribute {name} any more"))
            }
            (Some(before), Some(after)) if before != after => {
                changes.push(place, Verdict::Unclear, format!("the attribute {name} is another claim of it"));
            }
            _ => {}
        }
    }
    let same = (&old.client_id, &old.client, &old.scopes, &old.groups, &old.acr, old.max_age_ms)
        == (&new.client_id, &new.client, &new.scopes, &new.groups, &new.acr, new.max_age_ms);
    if !same {
        changes.push(place, Verdict::Unclear, "how people sign in there is another thing");
    }
}

fn agent(place: &str, before: &Agent, after: &Agent, changes: &mut Changes) {
    if before.owner != after.owner {
        // Nobody answers for their own agent.
        changes.push(place, Verdict::Unclear, format!("{} answers for it, did {}", after.owner, before.owner));
    }
    if before.review_by != after.review_by {
        let earlier = after.review_by.is_some_and(|after| before.review_by.is_none_or(|before| after < before));
        let verdict = if earlier { Verdict::Narrower } else { Verdict::Wider };
        changes.push(place, verdict, "the day of its review is another one");
    }
    match (before.ships, after.ships) {
        (false, true) => changes.push(place, Verdict::Wider, "it may bring the records of other gateways"),
        (true, false) => changes.push(place, Verdict::Narrower, "it may not bring records of other gateways any more"),
        _ => {}
    }
    if before.proofs.is_empty() != after.proofs.is_empty() {
        let what = if after.proofs.is_empty() {
            "it need not prove itself any more: the owner of the data folder opens its tasks"
        } else {
            "it proves itself now, and nobody opens its tasks for it any more"
        };
        changes.push(place, Verdict::Unclear, what);
    }
    for proof in after.proofs.iter().filter(|proof| !before.proofs.contains(proof)) {
        let replicas = if proof.replicas { ", and several may hold it" } else { "" };
        changes.push(place, Verdict::Wider, format!("{} proves it now{replicas}", proof.way));
    }
    for proof in before.proofs.iter().filter(|proof| !after.proofs.contains(proof)) {
        changes.push(place, Verdict::Narrower, format!("{} does not prove it any more", proof.way));
    }
}

/// Whether something other than purposes looks at calls
fn has_rules(loaded: &Loaded) -> bool {
    let files = crate::files::Files::from_blob(&loaded.blob);
    files.is_none_or(|files| ["rules/", "extra/"].iter().any(|folder| !files.under(folder).is_empty()))
}

fn user(place: &str, old: &User, new: &User, has_rules: bool, changes: &mut Changes) {
    for group in new.groups.difference(&old.groups) {
        changes.push(place, Verdict::Wider, format!("they are in the group {group} now"));
    }
    for group in old.groups.difference(&new.groups) {
        // A rule may forbid something to just this group.
        let verdict = if has_rules { Verdict::Unclear } else { Verdict::Narrower };
        changes.push(place, verdict, format!("they are no longer in the group {group}"));
    }
    for role in new.roles.difference(&old.roles) {
        changes.push(place, Verdict::Wider, format!("they are {role} now"));
    }
    for role in old.roles.difference(&new.roles) {
        changes.push(place, Verdict::Narrower, format!("they are no longer {role}"));
    }
    for account in new.accounts.difference(&old.accounts) {
        changes.push(place, Verdict::Wider, format!("the account {account} speaks for them now"));
    }
    for account in old.accounts.difference(&new.accounts) {
        changes.push(place, Verdict::Narrower, format!("the account {account} no longer speaks for them"));
    }
    if old.sign_in != new.sign_in {
        let said = new.sign_in.as_ref().map(|of| format!("{:?} of {} is them now", of.sub, of.issuer));
        let verdict = if new.sign_in.is_some() { Verdict::Wider } else { Verdict::Narrower };
        changes.push(place, verdict, said.unwrap_or_else(|| "they no longer sign in elsewhere".to_owned()));
    }
    for passkey in new.passkeys.difference(&old.passkeys) {
        changes.push(place, Verdict::Wider, format!("the passkey {} is theirs now", passkey.short()));
    }
    for passkey in old.passkeys.difference(&new.passkeys) {
        changes.push(
            place,
            Verdict::Narrower,
            format!("the passkey {} is no longer said to be theirs", passkey.short()),
        );
    }
    let names: BTreeSet<&String> = old.attributes.keys().chain(new.attributes.keys()).collect();
    for name in names {
        let show = |user: &User| user.attributes.get(name).map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let (before, after) = (show(old), show(new));
        if before != after {
            // By the address an agent's owner is known, who may not answer for it.
            let verdict =
                if after == "nothing" && !has_rules && name != "email" { Verdict::Narrower } else { Verdict::Unclear };
            changes.push(place, verdict, format!("the attribute {name} is {after}, was {before}"));
        }
    }
}

fn connector(
    (name, old, new): (&Name, &Connector, &Connector),
    bundles: (&Bundle, &Bundle),
    has_rules: bool,
    changes: &mut Changes,
) {
    let place = format!("connector {name}");
    if old.reach != new.reach {
        changes.push(&place, Verdict::Unclear, format!("it is reached by {}, was {}", new.reach, old.reach));
    }
    if old.tier != new.tier {
        let verdict = if new.tier > old.tier { Verdict::Narrower } else { Verdict::Wider };
        changes.push(&place, verdict, format!("its tier is {}, was {}", new.tier.as_str(), old.tier.as_str()));
    }
    if old.ahead != new.ahead {
        let message = format!("{} processes wait for a task, were {}", new.ahead, old.ahead);
        changes.push(&place, Verdict::Same, message);
    }
    if old.timeout_ms != new.timeout_ms {
        changes.push(&place, Verdict::Same, format!("a call may take {} ms, was {}", new.timeout_ms, old.timeout_ms));
    }
    if old.environment != new.environment {
        let verdict = if has_rules { Verdict::Unclear } else { Verdict::Same };
        changes.push(&place, verdict, "its calls take effect in another environment");
    }
    if has_rules && old.toolsets != new.toolsets {
        changes.push(&place, Verdict::Unclear, "its toolsets are others, and rules may name them");
    }
    let tools: BTreeSet<&ToolName> = old.tools.keys().chain(new.tools.keys()).collect();
    for tool in tools {
        let [before, after] = [old, new].map(|connector| connector.profile(tool));
        profile((name, tool), (before, after), bundles, has_rules, changes);
    }
}

fn profile(
    (connector, tool): (&Name, &ToolName),
    (old, new): (&Profile, &Profile),
    bundles: (&Bundle, &Bundle),
    has_rules: bool,
    changes: &mut Changes,
) {
    let place = format!("tool {connector}.{tool}");
    if old.class != new.class {
        let what = format!("it is {}, was {}", new.class, old.class);
        let tiers = [bundles.0, bundles.1].map(|bundle| bundle.connectors.get(connector).map(|one| one.tier));
        let tiers = tiers.map(Option::unwrap_or_default);
        changes.push(&place, class((old.class, new.class), tiers, bundles, has_rules), what);
    }
    if old.variants != new.variants {
        changes.push(&place, Verdict::Unclear, "its variants are others");
    }
    let free = |profile: &Profile| profile.free().cloned().collect::<BTreeSet<FieldPath>>();
    let (before, after) = (free(old), free(new));
    for path in after.difference(&before) {
        changes.push(&place, Verdict::Wider, format!("{path} may be given although no purpose names it"));
    }
    for path in before.difference(&after) {
        changes.push(&place, Verdict::Narrower, format!("{path} may only be given where a purpose names it"));
    }
    people::undo(&place, old.undo.as_ref(), new.undo.as_ref(), changes);
    if has_rules && old.matchers != new.matchers {
        changes.push(&place, Verdict::Unclear, "its matchers are others, and rules look at them");
    }
    if has_rules && (&old.target, &old.environment) != (&new.target, &new.environment) {
        changes.push(&place, Verdict::Unclear, "what its calls are about is told otherwise, and rules look at it");
    } else if (old.target.is_some() && old.target != new.target)
        || (old.environment.is_some() && old.environment != new.environment)
    {
        changes.push(&place, Verdict::Unclear, "what its calls are about is told otherwise");
    }
    if old.confidentiality() != new.confidentiality() {
        let verdict = if new.confidentiality() > old.confidentiality() { Verdict::Narrower } else { Verdict::Wider };
        let what = format!("its results are {}, were {}", new.confidentiality(), old.confidentiality());
        changes.push(&place, verdict, what);
    }
}

/// A stricter class lets less through, unless it is one that stands, or is opened more easily, where the other one is not
fn class(
    (old, new): (Class, Class),
    [was, is]: [Tier; 2],
    (before, after): (&Bundle, &Bundle),
    has_rules: bool,
) -> Verdict {
    // How easily it is open: never, by asking people, without a person, always.
    let ease = |class: Class, tier: Tier, purpose: Option<&Purpose>| {
        let Some(purpose) = purpose else { return 0 };
        let alone = |elevate: &Elevate| elevate.alone.contains_key(&class) && !tier.needs_person(class);
        match &purpose.elevate {
            _ if tier.stands(class, &purpose.limits.standing) => 3,
            Some(elevate) if alone(elevate) => 2,
            Some(elevate) if elevate.ask.is_some() => 1,
            _ => 0,
        }
    };
    let eased = |(name, purpose)| ease(new, is, Some(purpose)) > ease(old, was, before.purposes.get::<Name>(name));
    let newly = after.purposes.iter().any(eased);
    match (newly, has_rules) {
        (false, false) => Verdict::Narrower,
        (true, _) if new < old => Verdict::Wider,
        _ => Verdict::Unclear,
    }
}

pub(super) fn list<T: ToString>(items: impl Iterator<Item = T>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}
