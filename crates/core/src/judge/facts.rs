//! What one version of the policy says that a call is.

use crate::{
    names::{Name, TaskId},
    pattern::{Match, picks},
    policy::{Bundle, Class, Environment, Profile, Resource, Tier, User, Variant},
    reason::{Reason, Word},
    request::Call,
    rules::{Link, Question},
    state::{State, Task},
    time::Millis,
};
use std::{borrow::Cow, collections::BTreeMap};

/// What a call is
pub(super) struct Facts<'a> {
    pub(super) call: &'a Call,
    pub(super) profile: &'a Profile,
    pub(super) matching: Vec<&'a Variant>,
    pub(super) variants: Vec<&'a Name>,
    pub(super) class: Class,
    /// How much can go wrong where it goes
    pub(super) tier: Tier,
    /// It is a question of the server that nobody has answered yet
    pub(super) unanswered: bool,
    pub(super) target: Option<Resource>,
    environment: Option<String>,
    matches: BTreeMap<&'a Name, bool>,
}

/// Why that cannot be said
pub(super) enum Unread {
    /// This version does not know the connector
    Connector,
    /// The arguments do not tell
    Unclear(Vec<Reason>),
}

/// The user of a task, with what an issuer said of them lately
pub(super) struct Said<'b> {
    person: Option<Cow<'b, User>>,
    /// The groups that they are in because an issuer said so
    groups: Vec<&'b Name>,
}

impl<'b> Said<'b> {
    pub(super) fn of(state: &'b State, bundle: &'b Bundle, task: &Task, now: Millis) -> Self {
        let user = task.user.as_ref();
        let groups = user.into_iter().flat_map(|user| state.provided(bundle, user, now));
        Self {
            person: user.and_then(|user| state.person(bundle, user, now)),
            groups: groups.map(|(group, _)| group).collect(),
        }
    }
}

impl<'a> Facts<'a> {
    pub(super) fn of(bundle: &'a Bundle, call: &'a Call, unanswered: bool) -> Result<Self, Unread> {
        let connector = bundle.connectors.get(&call.tool.connector).ok_or(Unread::Connector)?;
        let profile = bundle.profile(&call.tool).ok_or(Unread::Connector)?;
        let mut unclear = Vec::new();
        let matching = profile.fits(&call.arguments).unwrap_or_else(|variant| {
            unclear.push(Reason::new(Word::ArgumentUnclear, &call.tool).with("variant", variant));
            Vec::new()
        });
        let target = profile.target.as_ref().and_then(|target| target.of(&call.arguments));
        let given = profile.environment.as_ref();
        let environment = match (given, &connector.environment) {
            (Some(environment), _) => environment.of(&call.arguments),
            (None, fixed) => fixed.clone(),
        };
        if profile.target.is_some() && target.is_none() {
            unclear.push(Reason::new(Word::TargetUnclear, &call.tool));
        }
        if let (Some(Environment::Argument(path)), None) = (given, &environment) {
            unclear.push(Reason::new(Word::TargetUnclear, &call.tool).with("argument", path));
        }
        if !unclear.is_empty() {
            return Err(Unread::Unclear(unclear));
        }
        // What is unclear is left out, and a rule that looks at it fails: it refuses.
        let matches =
            profile.matchers.iter().filter_map(|(name, conditions)| match picks(conditions, &call.arguments) {
                Match::Yes => Some((name, true)),
                Match::No => Some((name, false)),
                Match::Unclear => None,
            });
        let matches = matches.collect();
        let variants = matching.iter().map(|variant| &variant.name).collect();
        let class = profile.class_of(&matching);
        let tier = connector.tier;
        Ok(Self { call, profile, matching, variants, class, tier, unanswered, target, environment, matches })
    }

    pub(super) fn question<'q>(
        &'q self,
        (id, task): (TaskId, &'q Task),
        (above, said): (&'q [Link<'q>], &'q Said<'q>),
        now: Millis,
    ) -> Question<'q> {
        Question {
            agent: &task.agent,
            user: task.user.as_ref(),
            person: said.person.as_deref(),
            groups: &said.groups,
            purpose: &task.purpose,
            task: id,
            above,
            tool: &self.call.tool,
            variants: &self.variants,
            class: self.class,
            arguments: &self.call.arguments,
            matches: &self.matches,
            target: self.target.as_ref(),
            environment: self.environment.as_deref(),
            proven: task.proven.as_ref(),
            now,
        }
    }
}
