//! `roles.toml`: the roles of groups and people, and how many have to want a change of the policy.

use crate::{
    document::{Cell, Document, Table},
    facts::Facts,
    files::{File, Folder},
    finding::{Finding, Place},
    words::suggest,
};
use portreeve_core::{
    names::Name,
    node::Node,
    policy::{PersonRole, Roles, User},
};
use std::collections::{BTreeMap, BTreeSet};

/// What users' files and `roles.toml` call the roles
pub(crate) const ROLES: [(&str, PersonRole); 5] = [
    ("approver", PersonRole::Approver),
    ("operator", PersonRole::Operator),
    ("auditor", PersonRole::Auditor),
    ("author", PersonRole::Author),
    ("owner", PersonRole::Owner),
];

const GRANTED: &str = "[\"group:sre\", \"user:ana\"]";
const PEOPLE: &str = "people = 2";

/// Who is given a role
#[derive(Clone, Debug, PartialEq, Eq)]
enum To {
    Group(Name),
    User(Name),
}

/// What the file says, before users are looked at
#[derive(Clone, Debug, Default)]
pub(crate) struct Granted {
    to: Vec<(PersonRole, To)>,
    people: u8,
}

/// Reads the file
pub(crate) fn granted<'t>(doc: &Document<'t>, mut table: Table<'_, 't>, facts: &Facts) -> Option<Granted> {
    let (mut to, mut good) = (Vec::new(), true);
    for (word, role) in ROLES {
        let Some(cell) = table.take(word) else { continue };
        match doc.array(cell, GRANTED) {
            Some(items) => {
                for item in items {
                    match whom(doc, item, facts) {
                        Some(whom) => to.push((role, whom)),
                        None => good = false,
                    }
                }
            }
            None => good = false,
        }
    }
    let people = table.take("change").map_or(Some(0), |cell| {
        let mut change = doc.table(cell, "[change]", PEOPLE)?;
        let cell = change.need("people", PEOPLE);
        let people = cell.and_then(|cell| {
            let people = doc.count(cell, PEOPLE)?;
            let few = u8::try_from(people).ok().filter(|people| *people <= Roles::PEOPLE_MAX);
            if few.is_none() {
                let message = format!("at most {} people can be asked for", Roles::PEOPLE_MAX);
                doc.error(&cell.span(), message, format!("for example: {PEOPLE}"));
            }
            few
        });
        change.finish();
        people
    });
    table.finish();
    good.then_some(Granted { to, people: people? })
}

fn whom(doc: &Document<'_>, cell: &Cell<'_>, facts: &Facts) -> Option<To> {
    let text = doc.text(cell, GRANTED)?;
    match text.parse::<Node>() {
        Ok(Node::User(user)) if facts.users.contains_key(&user) => Some(To::User(user)),
        Ok(Node::User(user)) => {
            let near = suggest(user.as_str(), facts.users.keys().map(Name::as_str));
            doc.error(&cell.span(), format!("no user is called `{user}`"), near);
            None
        }
        _ => {
            let group = text.strip_prefix("group:").and_then(|group| group.parse::<Name>().ok());
            let Some(group) = group else {
                doc.error(
                    &cell.span(),
                    "a role is given to `group:NAME` or `user:NAME`",
                    format!("for example: {GRANTED}"),
                );
                return None;
            };
            if !facts.is_group(&group) {
                let remedy =
                    format!("add it to a user: `groups = [\"{group}\"]`; {}", suggest(group.as_str(), facts.groups()));
                doc.warn(&cell.span(), format!("nobody is in the group `{group}`"), remedy);
            }
            Some(To::Group(group))
        }
    }
}

impl Granted {
    /// Gives everybody their roles, and says which groups have which
    pub(crate) fn give(self, users: &mut BTreeMap<Name, Option<User>>) -> Roles {
        let mut groups: BTreeMap<Name, BTreeSet<PersonRole>> = BTreeMap::new();
        for (role, to) in self.to {
            match to {
                To::User(name) => {
                    if let Some(Some(user)) = users.get_mut(&name) {
                        user.roles.insert(role);
                    }
                }
                To::Group(group) => drop(groups.entry(group).or_default().insert(role)),
            }
        }
        for user in users.values_mut().flatten() {
            user.roles.extend(user.groups.iter().filter_map(|group| groups.get(group)).flatten());
        }
        Roles { groups, people: self.people, rest: None }
    }
}

/// Whether enough people could change the policy at all, once it wants several of them
pub(crate) fn changeable(roles: &Roles, users: &BTreeMap<Name, Option<User>>, findings: &mut Vec<Finding>) {
    let author = |user: &User| user.roles.contains(&PersonRole::Author);
    let able = users.values().filter(|user| user.as_ref().is_none_or(author)).count();
    if roles.people > 1 && able < usize::from(roles.people) {
        let message =
            format!("a change of the policy needs {} people with the role author, and {able} have it", roles.people);
        let remedy = "give it to more people, or ask for fewer: `[change] people`";
        findings.push(Finding::error(Place::file(Folder::ROLES), message, remedy));
    }
}

/// Whether a file says who there is: agents, users and issuers, which an owner registers
pub(crate) fn is_who(file: &File<'_>) -> bool {
    matches!(file.folder, Folder::Agents | Folder::Users | Folder::Issuers)
}
