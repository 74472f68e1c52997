//! Groups and attributes of people: those of the policy's files, and those that an issuer has said lately.

use super::State;
use crate::{
    commit::Committed,
    event::How,
    names::Name,
    node::Node,
    policy::{Bundle, People, PersonRole, User},
    time::Millis,
    value::Value,
};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// What an issuer said of somebody who signed in there
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Which
    pub issuer: Name,
    /// Who they are there
    pub subject: String,
    /// The groups that it says they are in, as it calls them
    pub groups: BTreeSet<String>,
    /// What else it says of them; one whose opening was erased is missing
    #[serde(default)]
    pub attributes: BTreeMap<String, Value>,
    /// When they signed in
    pub at: Millis,
    /// Which bearer of the user's name
    generation: u64,
}

impl State {
    /// What an issuer said last of somebody
    #[must_use]
    pub fn said_of(&self, user: &Name) -> Option<&Said> {
        self.said.get(user)
    }

    /// The newest word of an issuer takes the place of what it said before; another way to sign in says nothing
    pub(super) fn signed_in(
        &mut self,
        user: &Name,
        how: Option<&How>,
        (groups, attributes): (&BTreeSet<String>, &BTreeMap<String, Committed>),
        time: Millis,
    ) {
        let Some(How::Oidc { issuer, subject }) = how else { return };
        let generation = self.generation(&Node::User(user.clone())).unwrap_or_default();
        let (issuer, subject, groups) = (issuer.clone(), subject.clone(), groups.clone());
        let attributes = attributes.iter().filter_map(|(name, value)| Some((name.clone(), value.value()?))).collect();
        self.said.insert(user.clone(), Said { issuer, subject, groups, attributes, at: time, generation });
    }

    /// The groups that somebody is in at `now` because an issuer said so, and until when that counts
    ///
    /// Judged by the policy in force: it says who they are there, what the issuer's groups mean and how long they count.
    pub fn provided<'s>(
        &'s self,
        bundle: &'s Bundle,
        user: &Name,
        now: Millis,
    ) -> impl Iterator<Item = (&'s Name, Millis)> + 's {
        self.fresh(bundle, user, now).into_iter().flat_map(|(said, people, until)| {
            said.groups.iter().filter_map(move |value| Some((people.group.get(value)?, until)))
        })
    }

    /// Somebody as this version of the policy has them, with what an issuer said of them lately; what their own file says
    /// stands, whatever an issuer says
    #[must_use]
    pub fn person<'s>(&'s self, bundle: &'s Bundle, user: &Name, now: Millis) -> Option<Cow<'s, User>> {
        let own = bundle.users.get(user)?;
        let mut person = Cow::Borrowed(own);
        if let Some((said, people, _)) = self.fresh(bundle, user, now) {
            let asked = |(name, _): &(&String, &Value)| !own.attributes.contains_key(*name);
            for (name, value) in said.attributes.iter().filter(asked) {
                if people.attributes.get(name).is_some_and(|attribute| attribute.kind.is(value)) {
                    person.to_mut().attributes.insert(name.clone(), value.clone());
                }
            }
        }
        Some(person)
    }

    /// What an issuer said of somebody, if that counts at `now`, and until when
    fn fresh<'s>(&'s self, bundle: &'s Bundle, user: &Name, now: Millis) -> Option<(&'s Said, &'s People, Millis)> {
        let said = self.said.get(user).filter(|said| self.gone(&Node::User(user.clone()), said.generation).is_none());
        let is_them = |said: &&Said| {
            let known = bundle.users.get(user).and_then(|of| of.sign_in.as_ref());
            known.is_some_and(|known| known.issuer == said.issuer && known.sub == said.subject)
        };
        said.filter(is_them).and_then(|said| {
            let people = bundle.issuers.get(&said.issuer)?.people.as_ref()?;
            let until = said.at.plus(people.fresh_ms);
            // A clock that went back makes nothing fresh again.
            (said.at <= now && now < until).then_some((said, people, until))
        })
    }

    /// Until when somebody is known to be in a group; nothing if they are not
    #[must_use]
    pub fn member(&self, bundle: &Bundle, user: &Name, group: &Name, now: Millis) -> Option<Millis> {
        if bundle.users.get(user)?.groups.contains(group) {
            return Some(Millis(i64::MAX));
        }
        self.provided(bundle, user, now).find(|(of, _)| *of == group).map(|(_, until)| until)
    }

    /// What somebody may do at `now`: by their own file, and by the groups that they are in
    #[must_use]
    pub fn roles(&self, bundle: &Bundle, user: &Name, now: Millis) -> BTreeSet<PersonRole> {
        PersonRole::ALL.into_iter().filter(|role| self.has_role(bundle, user, *role, now).is_some()).collect()
    }

    /// Until when somebody has a role; nothing if they do not
    #[must_use]
    pub fn has_role(&self, bundle: &Bundle, user: &Name, role: PersonRole, now: Millis) -> Option<Millis> {
        let person = bundle.users.get(user)?;
        let gives = |group: &Name| bundle.roles.groups.get(group).is_some_and(|roles| roles.contains(&role));
        if person.roles.contains(&role) || person.groups.iter().any(gives) {
            return Some(Millis(i64::MAX));
        }
        self.provided(bundle, user, now).filter(|(group, _)| gives(group)).map(|(_, until)| until).max()
    }

    /// Until when a person of the policy may answer for a group; nothing if they may not
    #[must_use]
    pub fn approver(&self, bundle: &Bundle, user: &Name, group: &Name, now: Millis) -> Option<Millis> {
        let may = self.has_role(bundle, user, PersonRole::Approver, now)?;
        Some(self.member(bundle, user, group, now)?.min(may))
    }

    /// Whether a person of the policy may answer for a group
    #[must_use]
    pub fn is_approver(&self, bundle: &Bundle, user: &Name, group: &Name, now: Millis) -> bool {
        self.approver(bundle, user, group, now).is_some()
    }
}
