//! Agents and users, and everything else that purposes and rules may name.

use crate::{
    credential::Sources,
    document::{Cell, Document, Table},
    files::File,
    people,
    pins::Pins,
    proof,
    purpose::end_of_day,
    roles::ROLES,
    usage::USES_MAX,
};
use portreeve_core::{
    hash::Hash,
    names::Name,
    policy::{Agent, Class, Connector, Issuer, PersonRole, Roles, Tier, User},
};
use std::{
    cell,
    collections::{BTreeMap, BTreeSet},
};

/// Everything that purposes and rules may name
///
/// `None`: there is such a file, but it is broken, so that one mistake is not told once more by each purpose.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) agents: BTreeMap<Name, Option<Agent>>,
    pub(crate) users: BTreeMap<Name, Option<User>>,
    pub(crate) issuers: BTreeMap<Name, Option<Issuer>>,
    pub(crate) connectors: BTreeMap<Name, Option<Connector>>,
    pub(crate) sources: Sources,
    /// The accepted definitions, for connectors that have a file of them
    pub(crate) pins: BTreeMap<Name, Option<Pins>>,
    /// The roles of groups, which everybody in them has already
    pub(crate) roles: Roles,
    /// Tools that toolsets may still come to
    pub(crate) room: cell::Cell<usize>,
}

/// Who vouches for identities; `None`: there is such a file, but it is broken
pub(crate) type Issuers = BTreeMap<Name, Option<Issuer>>;

impl Default for Facts {
    fn default() -> Self {
        Self {
            agents: BTreeMap::new(),
            users: BTreeMap::new(),
            issuers: BTreeMap::new(),
            connectors: BTreeMap::new(),
            sources: Sources::new(),
            pins: BTreeMap::new(),
            roles: Roles::default(),
            room: cell::Cell::new(USES_MAX),
        }
    }
}

impl Facts {
    /// Whether the group has a member, as far as users can be read, or could have one who signs in
    pub(crate) fn is_group(&self, group: &Name) -> bool {
        self.users.values().any(|user| user.as_ref().is_none_or(|user| self.may_be_in(user, group)))
    }

    /// Whether somebody is in a group, or is in it if the issuer says so where they sign in
    pub(crate) fn may_be_in(&self, user: &User, group: &Name) -> bool {
        let says = || {
            let issuer = self.issuers.get(&user.sign_in.as_ref()?.issuer)?;
            // One that cannot be read could say anything.
            let people = issuer.as_ref().map(|issuer| issuer.people.as_ref());
            Some(people.is_none_or(|people| people.is_some_and(|of| of.group.values().any(|of| of == group))))
        };
        user.groups.contains(group) || says().unwrap_or(false)
    }

    /// Whether somebody has an attribute, or has it if the issuer says so where they sign in
    pub(crate) fn may_have(&self, user: &User, attribute: &str) -> bool {
        let says = || {
            let issuer = self.issuers.get(&user.sign_in.as_ref()?.issuer)?;
            // One that cannot be read could say anything.
            let people = issuer.as_ref().map(|issuer| issuer.people.as_ref());
            Some(people.is_none_or(|people| people.is_some_and(|of| of.attributes.contains_key(attribute))))
        };
        user.attributes.contains_key(attribute) || says().unwrap_or(false)
    }

    /// How many of a group have a role; whoever cannot be read counts as one of them
    pub(crate) fn with_role(&self, group: &Name, role: PersonRole) -> usize {
        let has = |user: &User| self.may_be_in(user, group) && user.roles.contains(&role);
        self.users.values().filter(|user| user.as_ref().is_none_or(has)).count()
    }

    /// How much can go wrong at a connector, as far as it can be read
    pub(crate) fn tier_of(&self, connector: &Name) -> Tier {
        self.connectors.get(connector).and_then(Option::as_ref).map(|connector| connector.tier).unwrap_or_default()
    }

    /// Every group that somebody is in
    pub(crate) fn groups(&self) -> BTreeSet<&str> {
        let said = self.issuers.values().flatten().filter_map(|issuer| issuer.people.as_ref());
        let said = said.flat_map(|people| people.group.values());
        self.users.values().flatten().flat_map(|user| &user.groups).chain(said).map(Name::as_str).collect()
    }
}

/// A name that a file may repeat, and has to repeat rightly
pub(crate) fn same_name(table: &mut Table<'_, '_>, doc: &Document<'_>, file: &File<'_>) {
    let Some(cell) = table.take("name") else { return };
    if let Some(name) = doc.text(cell, "name = \"refund-order\"").filter(|name| *name != file.name.as_str()) {
        let remedy = format!("write `name = \"{}\"`, or rename the file", file.name);
        doc.error(&cell.span(), format!("the file is called `{}`, not `{}`", file.name, name.escape_debug()), remedy);
    }
}

pub(crate) fn agent<'t>(
    doc: &Document<'t>,
    mut table: Table<'_, 't>,
    file: &File<'_>,
    issuers: &Issuers,
) -> Option<Agent> {
    same_name(&mut table, doc, file);
    let owner = table.need("owner", OWNER).and_then(|cell| doc.line(cell, OWNER));
    if let Some(about) = table.take("about") {
        doc.line(about, "\"Answers the first questions of customers\"");
    }
    let review_by = table.take("review_by").map_or(Some(None), |cell| end_of_day(doc, cell).map(Some));
    let proofs = table.take("proof").map_or(Some(Vec::new()), |cell| proof::proofs(doc, cell, &file.name, issuers));
    let ships = table.take("ships").map_or(Some(false), |cell| {
        let ships = doc.truth(cell, "ships = true")?;
        if ships && proofs.as_ref().is_some_and(Vec::is_empty) {
            let message = "whoever brings records has to prove itself";
            doc.error(&cell.span(), message, "give it a [[proof]]");
        }
        Some(ships)
    });
    table.finish();
    Some(Agent { owner: owner?, review_by: review_by?, proofs: proofs?, ships: ships? })
}

pub(crate) const OWNER: &str = "\"payments@example.com\"";

pub(crate) fn user<'t>(
    doc: &Document<'t>,
    mut table: Table<'_, 't>,
    file: &File<'_>,
    issuers: &Issuers,
) -> Option<User> {
    const ACCOUNTS: &str = "[\"alice\"]";
    same_name(&mut table, doc, file);
    let sign_in = table.take("sign_in").map(|cell| people::sign_in(doc, cell, issuers));
    // Who signs in elsewhere needs no account here.
    let accounts = if sign_in.is_some() { table.take("accounts") } else { table.need("accounts", ACCOUNTS) };
    let accounts = if sign_in.is_some() && accounts.is_none() {
        Some(Vec::new())
    } else {
        accounts.and_then(|cell| {
            let accounts: Vec<String> = doc.list(cell, ACCOUNTS)?;
            let good = accounts.iter().all(|account| !account.is_empty() && !account.chars().any(char::is_whitespace));
            if !good {
                doc.error(&cell.span(), "an account has a name without spaces", format!("for example: {ACCOUNTS}"));
            }
            good.then_some(accounts)
        })
    };
    let sign_in = sign_in.map_or(Some(None), |sign_in| sign_in.map(Some));
    let groups = table.take("groups").map_or(Some(Vec::new()), |cell| doc.list(cell, "[\"support-l2\"]"));
    const PASSKEYS: &str = "[\"9f2c...\"]";
    let passkeys = table.take("passkeys").map_or(Some(Vec::new()), |cell| doc.list::<Hash>(cell, PASSKEYS));
    let attributes = table.take("attributes").map_or(Some(BTreeMap::new()), |cell| {
        let mut table = doc.table(cell, "[attributes]", "refund_limit = 200")?;
        let attribute = |(name, _, cell): (&str, _, _)| Some((name.to_owned(), doc.value(cell)?));
        let attributes: Vec<_> = table.rest().map(attribute).collect();
        attributes.into_iter().collect::<Option<BTreeMap<_, _>>>()
    });
    let roles = table.take("roles").map_or(Some([PersonRole::Approver].into()), |cell| {
        let roles: Vec<_> =
            doc.array(cell, "roles = [\"approver\"]")?.iter().map(|item| doc.word(item, &ROLES)).collect();
        roles.into_iter().collect::<Option<BTreeSet<_>>>()
    });
    table.finish();
    let accounts = accounts?.into_iter().collect();
    let (groups, passkeys) = (groups?.into_iter().collect(), passkeys?.into_iter().collect());
    Some(User { accounts, groups, passkeys, roles: roles?, attributes: attributes?, sign_in: sign_in? })
}

/// How much can go wrong at a connector
pub(crate) const TIERS: [(&str, Tier); 3] = [("low", Tier::Low), ("standard", Tier::Standard), ("high", Tier::High)];

pub(crate) const CLASSES: [(&str, Class); 4] =
    [("read", Class::Read), ("write", Class::Write), ("execute", Class::Execute), ("escalate", Class::Escalate)];

pub(crate) fn class(doc: &Document<'_>, cell: &Cell<'_>) -> Option<Class> {
    doc.word(cell, &CLASSES)
}
