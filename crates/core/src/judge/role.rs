//! May somebody do what needs a role? By the one table of deeds, whichever way they come in.

use super::{Shelf, hold::stopped, now};
use crate::{
    event::Actor,
    names::Name,
    node::Node,
    policy::{Bundle, Deed},
    reason::{Reason, Word},
    request::{Change, ChangeWhat, Clock, SignedIn},
    state::State,
    time::Millis,
};
use std::{collections::BTreeSet, fmt::Display, sync::Arc};

/// Why somebody may not do something about `source`
///
/// The owner of the data folder may everything: that is the way back when the roles of a policy leave nobody. Where
/// it is set up otherwise, the shell speaks for the person whose account it is, and nobody comes here as the owner.
#[must_use]
pub fn may(state: &State, shelf: &Shelf, by: &Actor, deed: Deed, source: impl Display, now: Millis) -> Option<Reason> {
    match by {
        Actor::Owner { .. } | Actor::System => None,
        Actor::Run(_) | Actor::Agent(_) => Some(Reason::new(Word::NotYours, source)),
        Actor::Person { user, how } => {
            let Some(bundle) = shelf.current(state) else {
                return Some(Reason::new(Word::PolicyUnavailable, "policy"));
            };
            // Somebody else where they signed in is somebody else here.
            if !bundle.users.get(user).is_some_and(|known| known.is_known_by(how)) {
                return Some(Reason::new(Word::UserUnknown, Node::User(user.clone())));
            }
            if let Some(reason) = stopped(state, user) {
                return Some(reason);
            }
            let has = state.roles(bundle, user, now);
            if deed.roles().iter().any(|role| has.contains(role)) {
                return None;
            }
            let needed: Vec<&str> = deed.roles().iter().map(|role| role.as_str()).collect();
            let reason = Reason::new(Word::RoleMissing, source).with("deed", deed).with("role", needed.join(" or "));
            Some(reason.with("user", user).with("granted", format!("users/{user}.toml or roles.toml")))
        }
    }
}

/// Why somebody may not have done what a sign-in or a link to sign in says
#[must_use]
pub fn judge_sign_in(state: &State, shelf: &Shelf, signed: &SignedIn, clock: Clock) -> Option<Reason> {
    // Who comes in themselves has shown who they are; with a link for somebody else, they could come in as them.
    if signed.how.is_some() || signed.by.user() == Some(&signed.user) {
        return None;
    }
    let source = Node::User(signed.user.clone());
    may(state, shelf, &signed.by, Deed::Invite, source, now(state, clock).0)
}

/// What is left to do for a change against which there is no reason
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changing {
    /// Nothing: it is changed
    Done,
    /// So many people want just this, with whoever asks, and so many have to
    Proposed {
        /// So many do
        have: u8,
        /// So many have to
        of: u8,
    },
}

/// The unmet reasons why the registry may not be changed so; none: whether it is, or others have to want it too
///
/// A run is no principal of it.
///
/// # Errors
/// The reasons.
pub fn judge_change(state: &State, shelf: &Shelf, change: &Change, clock: Clock) -> Result<Changing, Vec<Reason>> {
    let now = now(state, clock).0;
    let (deed, source) = match &change.what {
        ChangeWhat::Bundle { bundle, .. } | ChangeWhat::Back { bundle } => {
            return change_policy(state, shelf, change, bundle, now);
        }
        ChangeWhat::Pins { connector, .. } => (Deed::Accept, Node::Connector(connector.clone()).to_string()),
        ChangeWhat::Key(new) => (Deed::Keys, format!("key:{}", new.of)),
    };
    may(state, shelf, &change.by, deed, source, now).map_or(Ok(Changing::Done), |reason| Err(vec![reason]))
}

fn change_policy(
    state: &State,
    shelf: &Shelf,
    change: &Change,
    next: &Arc<Bundle>,
    now: Millis,
) -> Result<Changing, Vec<Reason>> {
    let source = format!("policy:{}", next.digest.short());
    let deed = shelf.current(state).map_or(Deed::Apply, |bundle| bundle.deed_of(next));
    if let Some(reason) = may(state, shelf, &change.by, deed, &source, now) {
        return Err(vec![reason]);
    }
    let (Actor::Person { user, how }, Some(bundle)) = (&change.by, shelf.current(state)) else {
        return Ok(Changing::Done);
    };
    let hand = crate::state::hand_of(bundle, user, how);
    if let Some(raised) = raised(state, (bundle, next), (user, &hand), now) {
        return Err(vec![Reason::new(Word::OwnRights, &source).with("user", raised)]);
    }
    if bundle.roles.people <= 1 || state.bundle == Some(next.digest) {
        return Ok(Changing::Done);
    }
    // Whoever has lost the role since, or would gain by it, wants it in vain; two names in one hand are one.
    let others = state.proposed(next.digest).filter(|proposed| {
        let by = Actor::Person { user: proposed.user.clone(), how: crate::event::How::Socket };
        proposed.user != *user
            && proposed.counts_at(now)
            && state.gone(&Node::User(proposed.user.clone()), proposed.generation).is_none()
            && may(state, shelf, &by, deed, &source, now).is_none()
            && raised(state, (bundle, next), (&proposed.user, &proposed.hand), now).is_none()
    });
    let mut hands: BTreeSet<&str> = others.map(|proposed| proposed.hand.as_str()).collect();
    hands.insert(&hand);
    let have = u8::try_from(hands.len()).unwrap_or(u8::MAX);
    if have >= bundle.roles.people {
        return Ok(Changing::Done);
    }
    Ok(Changing::Proposed { have, of: bundle.roles.people })
}

/// Of whoever wants a change and whose hand that is, the one who could do more by it
fn raised(state: &State, (bundle, next): (&Bundle, &Bundle), (user, hand): (&Name, &str), now: Millis) -> Option<Name> {
    let lender = hand.strip_prefix("user:").and_then(|name| name.parse::<Name>().ok());
    let raises = |name: &Name| {
        bundle.raises(name, next) || !state.roles(next, name, now).is_subset(&state.roles(bundle, name, now))
    };
    [Some(user.clone()), lender].into_iter().flatten().find(raises)
}
