//! Who speaks to the administration, and what they may do there.

use super::{Admin, Answer, Failure, Shared, account_name, user_of};
use crate::{
    fence::Peer,
    listen::Caller,
    office::{Eyes, Person},
    settings::Account,
};
use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::{StatusCode, request::Parts},
};
use portreeve_core::{
    event::{Actor, How},
    names::{Name, TaskId},
    node::Node,
    policy::{Deed, PersonRole},
    reason::{Reason, Word},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    sync::Arc,
};

/// Who speaks: the account that owns the data folder, or a person whose roles count
#[derive(Clone, Debug)]
pub(crate) struct Who {
    /// As the record says it
    pub(crate) by: Actor,
    /// At the socket: which account, which process
    pub(crate) caller: Option<Caller>,
}

impl FromRequestParts<Arc<Admin>> for Who {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, Failure> {
        let caller = parts.extensions.get::<Caller>().copied();
        // Somebody who is signed in is themselves, whatever account their request came from.
        if let Some(person) = parts.extensions.get::<Person>() {
            let by = Actor::Person { user: person.user.clone(), how: person.how.clone() };
            return Ok(Self { by, caller: None });
        }
        let caller = caller.ok_or_else(Failure::unavailable)?;
        let user = user_of(admin, caller.uid);
        let by = match (admin.settings.account, user) {
            (Account::Owner, user) => Actor::Owner { user },
            (Account::Roles, Some(user)) => Actor::Person { user, how: How::Socket },
            // Without any policy there are no users either, and somebody has to put the first one into force.
            (Account::Roles, None) if admin.catalogue.view().bundle.is_none() => Actor::Owner { user: None },
            (Account::Roles, None) => return Err(no_user(caller)),
        };
        Ok(Self { by, caller: Some(caller) })
    }
}

impl Who {
    /// The user of the policy who speaks, if it is one
    pub(crate) fn user(&self) -> Option<Name> {
        self.by.user().cloned()
    }

    /// The process at the socket
    pub(crate) fn process(&self) -> Option<Peer> {
        self.caller.map(|caller| caller.process)
    }

    /// Who they are, as grants and links say it: a user of the policy, or an account that is none's
    pub(crate) fn label(&self) -> String {
        match (self.user(), self.caller) {
            (Some(user), _) => Node::User(user).to_string(),
            (None, Some(caller)) => {
                format!("account:{}", account_name(caller.uid).unwrap_or_else(|| caller.uid.to_string()))
            }
            (None, None) => "nobody".to_owned(),
        }
    }

    /// Whether they may do what needs a role; who may not is on the record
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn may(&self, admin: &Admin, deed: Deed, about: impl Display) -> Result<(), Failure> {
        match self.by {
            // Not even asked: the owner may everything, also while the door waits for a disk.
            Actor::Owner { .. } => Ok(()),
            _ => admin.office.may(self.by.clone(), deed, about.to_string()).await,
        }
    }

    /// Whether everything of a task is theirs to see: their own, or a role lets them
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn sees(&self, admin: &Admin, task: TaskId) -> Result<(), Failure> {
        if self.owns(admin, task).await? { Ok(()) } else { self.may(admin, Deed::Tasks, task).await }
    }

    /// Whether a task is their own; all of them are the account's
    pub(crate) async fn owns(&self, admin: &Admin, task: TaskId) -> Result<bool, Failure> {
        let Actor::Person { user, .. } = &self.by else { return Ok(true) };
        let user = user.clone();
        admin.door.ask(move |engine| engine.state().is_of(task, &user)).await.ok_or_else(Failure::unavailable)
    }

    /// What they see
    ///
    /// # Errors
    /// There is no such user any more.
    pub(crate) async fn eyes(&self, admin: &Admin) -> Result<Eyes, Failure> {
        match &self.by {
            Actor::Person { user, how } => Ok((&admin.office.person(user.clone(), how.clone()).await?).into()),
            by => Ok(Eyes::owner(by.user().cloned())),
        }
    }

    /// What they see as one of the users whose account they have
    ///
    /// # Errors
    /// That user's account is another one.
    pub(crate) async fn eyes_as(&self, admin: &Admin, named: Option<Name>) -> Result<Eyes, Failure> {
        match (named, &self.by) {
            (None, _) => self.eyes(admin).await,
            (Some(user), Actor::Person { user: own, .. }) if user == *own => self.eyes(admin).await,
            (Some(user), Actor::Owner { .. }) => Ok(Eyes::owner(Some(self.named(admin, user)?))),
            (Some(user), _) => {
                let user = self.named(admin, user)?;
                Ok((&admin.office.person(user, How::Socket).await?).into())
            }
        }
    }

    /// As the record says it, as one of the users whose account they have
    ///
    /// # Errors
    /// That user's account is another one.
    pub(crate) fn by_as(self, admin: &Admin, named: Option<Name>) -> Result<Actor, Failure> {
        match (named, &self.by) {
            (None, _) => Ok(self.by),
            (Some(user), Actor::Person { user: own, .. }) if user == *own => Ok(self.by),
            (Some(user), _) => Ok(Actor::Person { user: self.named(admin, user)?, how: How::Socket }),
        }
    }

    /// As a user of the policy: the one that is named, or the one whose account it is
    ///
    /// # Errors
    /// That is somebody else, or nobody.
    pub(crate) async fn person(&self, admin: &Admin, named: Option<Name>) -> Result<Person, Failure> {
        let how = match &self.by {
            Actor::Person { how, .. } => how.clone(),
            _ => How::Socket,
        };
        let user = match (named, self.user(), self.caller) {
            (Some(user), ..) => self.named(admin, user)?,
            (None, Some(user), _) => user,
            (None, None, Some(caller)) => return Err(no_user(caller)),
            (None, None, None) => return Err(Failure::unavailable()),
        };
        admin.office.person(user, how).await
    }

    /// A user as whom they may speak: nobody speaks for another one here
    ///
    /// # Errors
    /// That is somebody else.
    pub(crate) fn named(&self, admin: &Admin, user: Name) -> Result<Name, Failure> {
        if self.user().as_ref() == Some(&user) {
            return Ok(user);
        }
        let account = self.caller.and_then(|caller| account_name(caller.uid));
        let view = admin.catalogue.view();
        let known = view.bundle.as_ref().and_then(|bundle| bundle.users.get(&user));
        if account.is_some_and(|account| known.is_some_and(|known| known.accounts.contains(&account))) {
            return Ok(user);
        }
        let message = format!("This account is not one of the user {user}.");
        let remedy = "Answer from an account of theirs, on the console, or add it to `accounts` in users/*.toml.";
        Err(Failure::new(StatusCode::FORBIDDEN, "not_yours", message, remedy))
    }
}

/// What belongs to somebody else, and no role opens
pub(super) fn not_yours(task: TaskId) -> Failure {
    Failure::refused(&[Reason::new(Word::NotYours, task)])
}

fn no_user(caller: Caller) -> Failure {
    let account = account_name(caller.uid).unwrap_or_else(|| caller.uid.to_string());
    let message = format!("The account {account} belongs to no user of the policy.");
    let remedy = "Add it to `accounts` of a user in users/*.toml, and `portreeve policy apply`.";
    Failure::new(StatusCode::FORBIDDEN, "user_unknown", message, remedy)
}

/// Who speaks, with which roles, and what they may do with them
pub(super) async fn whoami(State(admin): Shared, who: Who) -> Answer {
    let owner = matches!(who.by, Actor::Owner { .. });
    let (roles, how) = match (&who.by, who.user()) {
        (_, None) => (BTreeSet::new(), How::Socket),
        (by, Some(user)) => {
            let how = if let Actor::Person { how, .. } = by { how.clone() } else { How::Socket };
            let person = admin.office.person(user, how.clone()).await;
            (person.map(|person| person.roles).unwrap_or_default(), how)
        }
    };
    let may = |deed: &&Deed| owner || deed.roles().iter().any(|role| roles.contains(role));
    let deeds: Vec<&Deed> = Deed::ALL.iter().filter(may).collect();
    Ok(Json(json!({
        "user": who.user(),
        "account": who.caller.and_then(|caller| account_name(caller.uid)),
        "how": how.to_string(),
        "roles": roles,
        "owner": owner,
        "may": deeds,
    })))
}

/// Who may what, by the policy in force
pub(super) async fn roles(State(admin): Shared, _who: Who) -> Answer {
    let now = admin.clock.now();
    let asked = admin.door.ask(move |engine| {
        let state = engine.state();
        let bundle = engine.shelf().current(state)?;
        let mut people: BTreeMap<PersonRole, Vec<Name>> = BTreeMap::new();
        for name in bundle.users.keys().filter(|name| state.stands(&Node::User((*name).clone()))) {
            for role in state.roles(bundle, name, now) {
                people.entry(role).or_default().push(name.clone());
            }
        }
        let groups = bundle.roles.groups.iter().flat_map(|(group, roles)| roles.iter().map(move |role| (*role, group)));
        let mut by_group: BTreeMap<PersonRole, Vec<Name>> = BTreeMap::new();
        groups.for_each(|(role, group)| by_group.entry(role).or_default().push(group.clone()));
        let proposals: BTreeSet<_> = state.proposals(now).map(|proposed| (proposed.digest, &proposed.user)).collect();
        let proposals: Vec<_> =
            proposals.into_iter().map(|(digest, user)| json!({ "bundle": digest, "by": user })).collect();
        Some((people, by_group, bundle.roles.people.max(1), proposals))
    });
    let (people, groups, change, proposals) = asked.await.ok_or_else(Failure::unavailable)?.unwrap_or_default();
    let role = |role: &PersonRole| {
        let deeds: Vec<_> = Deed::ALL.iter().filter(|deed| deed.roles().contains(role)).collect();
        json!({
            "role": role,
            "says": role.says(),
            "may": deeds,
            "people": people.get(role).cloned().unwrap_or_default(),
            "groups": groups.get(role).cloned().unwrap_or_default(),
        })
    };
    let deed = |deed: &Deed| json!({ "deed": deed, "says": deed.says(), "roles": deed.roles() });
    Ok(Json(json!({
        "account": admin.settings.account,
        "roles": PersonRole::ALL.iter().map(role).collect::<Vec<_>>(),
        "deeds": Deed::ALL.iter().map(deed).collect::<Vec<_>>(),
        "change": { "people": change.max(1), "proposed": proposals },
    })))
}
