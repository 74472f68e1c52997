//! From files to a bundle, and back from the log.

use crate::{
    case::{Case, Tried},
    cedar::{CedarRules, Exported, export, model::Model, schema},
    connector::{self, Ground},
    coverage::{Coverage, Tested},
    credential,
    definition::Definition,
    document::{Document, Table},
    extra::{self, Extra},
    facts::{self, Facts},
    files::{File, Files, Folder},
    finding::{Finding, Place, sort},
    fits::Fits,
    issuer, lookalike, operation, people,
    pins::{self, Pins},
    places::Places,
    profile::{self, Shared},
    proof, purpose, receiver,
    review::reviews,
    roles,
    words::suggest,
};
use portreeve_core::{
    engine::Bundles,
    hash::Hash,
    names::{Name, Tool, ToolName},
    policy::{Bundle, Purpose, Receiver},
    time::Millis,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

/// A policy that can be applied
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says
    pub bundle: Arc<Bundle>,
    /// Its files, as the log keeps them and [`Reader`] reads them again
    pub blob: Vec<u8>,
    /// What is probably not meant
    pub warnings: Vec<Finding>,
    /// The accepted definitions of the connectors that have a file of them
    pub pins: Arc<BTreeMap<Name, Pins>>,
    pub(crate) fits: Arc<Fits>,
    cases: Vec<Case>,
    /// Every rule and where it stands
    rules: Vec<(String, Place)>,
    model: Arc<Model>,
}

impl Loaded {
    /// What rules can look at, as a Cedar schema
    #[must_use]
    pub fn rules_schema(&self) -> String {
        schema::schema(&self.model, schema::Part::WHOLE)
    }

    /// What rules and exported policies are about
    #[cfg(test)]
    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// The purposes as Cedar, all or only one; `None`: there is no such purpose
    #[must_use]
    pub fn cedar(&self, only: Option<&Name>) -> Option<Exported> {
        export(&self.bundle, &self.model, only)
    }

    /// How many `[[case]]`s there are
    #[must_use]
    pub fn cases(&self) -> usize {
        self.cases.len()
    }

    /// Runs every `[[case]]`; a finding for each that the policy does not bear out
    #[must_use]
    pub fn run_cases(&self) -> Vec<Finding> {
        self.cases.iter().filter_map(|case| case.run(self).finding).collect()
    }

    /// Where its parts stand
    #[must_use]
    pub fn places(&self) -> Places {
        Files::from_blob(&self.blob).map(|files| Places::of(&files)).unwrap_or_default()
    }

    /// Runs the cases of all purposes, or of one, and says what none of them touches
    #[must_use]
    pub fn test(&self, purpose: Option<&Name>) -> Tested {
        let about = self.cases.iter().filter(|case| purpose.is_none_or(|purpose| case.purpose() == purpose));
        let cases: Vec<Tried> = about.map(|case| case.run(self)).collect();
        let coverage = Coverage::of(&self.bundle, &self.places(), &self.rules, &cases, purpose);
        Tested { cases, coverage }
    }

    /// Where `pins/` is not what was accepted; `accepted` says of a connector what was, if it is in force
    #[must_use]
    pub fn drift(&self, accepted: impl Fn(&Name) -> Option<BTreeMap<ToolName, Hash>>) -> Vec<Finding> {
        let drift = |(name, pins): (&Name, &Pins)| pins::drift(name, pins, &accepted(name)?);
        self.pins.iter().filter_map(drift).collect()
    }

    /// The accepted definition of a tool, if its connector has a file of them
    #[must_use]
    pub fn definition(&self, tool: &Tool) -> Option<&Definition> {
        operation::defined(self.pins.get(&tool.connector)?, &tool.name)
    }
}

/// Everything that can be said of a folder of policy
#[derive(Clone, Debug)]
pub struct Checked {
    /// The digest, if the policy can be applied
    pub digest: Option<Hash>,
    /// How many cases were run
    pub cases: usize,
    /// How many of them the policy does not bear out
    pub failed: usize,
    /// Errors and warnings
    pub findings: Vec<Finding>,
}

/// Reads a folder of policy
///
/// # Errors
/// Everything that is wrong, with the warnings among it.
pub fn load(dir: &Path) -> Result<Loaded, Vec<Finding>> {
    compile(&Files::read(dir)?)
}

/// Reads a folder of policy, says what time does to it at `today`, and counts the cases that fail
#[must_use]
pub fn check(dir: &Path, today: Millis) -> Checked {
    match load(dir) {
        Ok(loaded) => {
            let mut findings = reviews(&loaded.bundle, &loaded.places(), today);
            let failed = loaded.run_cases().len();
            let (digest, cases) = (Some(loaded.bundle.digest), loaded.cases());
            findings.extend(loaded.warnings);
            sort(&mut findings);
            Checked { digest, cases, failed, findings }
        }
        Err(findings) => Checked { digest: None, cases: 0, failed: 0, findings },
    }
}

/// Reads files of policy: pure, and the same for the same text
///
/// # Errors
/// Everything that is wrong, with the warnings among it.
pub fn compile(files: &Files) -> Result<Loaded, Vec<Finding>> {
    compiled(files, true)
}

/// Rules are validated before they are put into force; what the record has was. A rule that looks at what is not
/// there fails when it is asked, and refuses.
fn compiled(files: &Files, validates: bool) -> Result<Loaded, Vec<Finding>> {
    let sorted = files.sorted()?;
    let mut findings = Vec::new();
    let facts = facts(&sorted, &mut findings);
    accounts(&facts, &mut findings);
    people::shared(&facts, &mut findings);
    proof::shared(&facts, &mut findings);
    let mut cases = Vec::new();
    let mut purposes: BTreeMap<Name, Purpose> = BTreeMap::new();
    for file in sorted.iter().filter(|file| file.folder == Folder::Purposes) {
        let read = |doc: &Document<'_>, table: Table<'_, '_>| purpose::purpose(doc, table, file, &facts);
        if let Some((purpose, own)) = document(file, &mut findings, read) {
            cases.extend(own);
            purposes.insert(file.name.clone(), purpose);
        }
    }
    let mut receivers: BTreeMap<Name, Receiver> = BTreeMap::new();
    for file in sorted.iter().filter(|file| file.folder == Folder::Receivers) {
        let read = |doc: &Document<'_>, table: Table<'_, '_>| receiver::receiver(doc, table, file, &facts);
        if let Some(receiver) = document(file, &mut findings, read) {
            receivers.insert(file.name.clone(), receiver);
        }
    }
    let used = purposes.values().flat_map(Purpose::tools).collect();
    let model = Arc::new(Model::new(&facts, &used));
    let rules = CedarRules::read(&sorted, &facts, Arc::clone(&model), &mut findings);
    match &rules {
        Ok(rules) if validates => rules.validate(&sorted, &mut findings),
        Ok(_) => {}
        Err(error) => findings.push(Finding::error(Place::file("rules"), error.clone(), "")),
    }
    let extra = extra::read(&sorted, &facts, &model, &mut findings);
    let placed = rules.as_ref().map(CedarRules::places).unwrap_or_default();
    if validates {
        let known = facts.pins.iter().filter_map(|(name, pins)| Some((name, pins.as_ref()?))).collect();
        findings.extend(lookalike::findings(&known));
    }
    sort(&mut findings);
    let Facts { agents, users, issuers, connectors, sources, pins, roles, .. } = facts;
    let complete = (|| {
        let digest = files.digest();
        let Extra { points, inside } = extra;
        let bundle = Bundle {
            digest,
            agents: whole(agents)?,
            users: whole(users)?,
            issuers: whole(issuers)?,
            connectors: whole(connectors)?,
            sources: whole(sources)?,
            purposes,
            rules: extra::beside(rules.ok()?, inside, digest),
            points,
            receivers,
            roles,
        };
        let pins = whole(pins)?;
        findings.iter().all(|finding| !finding.is_error()).then_some((bundle, pins))
    })();
    match complete {
        Some((bundle, pins)) => {
            let (bundle, blob) = (Arc::new(bundle), files.blob());
            let pins = Arc::new(pins);
            let fits = Arc::new(Fits::new(Arc::clone(&pins)));
            Ok(Loaded { bundle, blob, warnings: findings, pins, fits, cases, rules: placed, model })
        }
        None => Err(findings),
    }
}

fn whole<T>(parts: BTreeMap<Name, Option<T>>) -> Option<BTreeMap<Name, T>> {
    parts.into_iter().map(|(name, part)| Some((name, part?))).collect()
}

/// What things are
pub(crate) fn facts(files: &[File<'_>], findings: &mut Vec<Finding>) -> Facts {
    let mut facts = Facts::default();
    let mut profiles: BTreeMap<Name, Option<Shared<'_>>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.folder == Folder::Issuers) {
        let issuer = document(file, findings, |doc, table| issuer::issuer(doc, table, file));
        facts.issuers.insert(file.name.clone(), issuer);
    }
    issuer::endpoints(&facts.issuers, findings);
    for file in files {
        let name = file.name.clone();
        match file.folder {
            Folder::Agents => {
                let agent = document(file, findings, |d, t| facts::agent(d, t, file, &facts.issuers));
                facts.agents.insert(name, agent);
            }
            Folder::Users => {
                let user = document(file, findings, |d, t| facts::user(d, t, file, &facts.issuers));
                facts.users.insert(name, user);
            }
            Folder::Credentials => {
                let source = document(file, findings, |d, t| credential::source(d, t, file, &facts.sources));
                facts.sources.insert(name, source);
            }
            Folder::Profiles => {
                drop(profiles.insert(name, document(file, findings, |d, t| profile::shared(d, t, file))));
            }
            Folder::Pins => drop(facts.pins.insert(name, pins::read(file, findings))),
            Folder::Issuers
            | Folder::Connectors
            | Folder::Purposes
            | Folder::Rules
            | Folder::Receivers
            | Folder::Roles
            | Folder::Extra
            | Folder::ExtraFiles => {}
        }
    }
    for file in files.iter().filter(|file| file.folder == Folder::Roles) {
        let granted = document(file, findings, |d, t| roles::granted(d, t, &facts)).unwrap_or_default();
        facts.roles = granted.give(&mut facts.users);
        roles::changeable(&facts.roles, &facts.users, findings);
    }
    // What is left of a policy without those who are in it, so that one can tell whether only they differ.
    let rest = files.iter().filter(|file| !roles::is_who(file));
    let rest = rest.map(|file| (file.path.to_owned(), file.text.to_owned())).collect::<Files>();
    facts.roles.rest = Some(rest.digest());
    let mut used = BTreeSet::new();
    for file in files.iter().filter(|file| file.folder == Folder::Connectors) {
        let Facts { pins, sources, issuers, connectors, .. } = &facts;
        let ground = Ground { profiles: &profiles, pins, sources, issuers, before: connectors };
        let read =
            |doc: &Document<'_>, table: Table<'_, '_>| connector::connector(doc, table, file, &ground, &mut used);
        let connector = document(file, findings, read);
        facts.connectors.insert(file.name.clone(), connector);
    }
    let names = || facts.connectors.keys().map(Name::as_str);
    for name in facts.pins.keys().filter(|name| !facts.connectors.contains_key(*name)) {
        let remedy = format!("delete the file, or add `connectors/{name}.toml`; {}", suggest(name.as_str(), names()));
        let place = Place::file(format!("pins/{name}.json"));
        findings.push(Finding::error(place, format!("no connector is called `{name}`"), remedy));
    }
    for (name, shared) in profiles.iter().filter(|(name, _)| !used.contains(*name)) {
        if let Some(shared) = shared {
            let remedy = format!("`profile = \"{name}\"` in the file of a connector, or delete the file");
            findings.push(Finding::warning(Place::file(shared.file.path), "no connector uses this profile", remedy));
        }
    }
    facts
}

/// Reads one TOML file; `None` if anything in it is wrong
pub(crate) fn document<T>(
    file: &File<'_>,
    findings: &mut Vec<Finding>,
    read: impl for<'d, 't> FnOnce(&'d Document<'t>, Table<'d, 't>) -> Option<T>,
) -> Option<T> {
    let doc = Document::new(file.path, file.text);
    let root = doc.parse();
    let value =
        root.as_ref().and_then(|root| read(&doc, Table::new(&doc, root.get_ref(), 0..file.text.len(), "the file")));
    drop(root);
    let found = doc.findings();
    let broken = found.iter().any(Finding::is_error);
    findings.extend(found);
    value.filter(|_| !broken)
}

/// An account speaks for one user only
fn accounts(facts: &Facts, findings: &mut Vec<Finding>) {
    let mut owners: BTreeMap<&str, &Name> = BTreeMap::new();
    for (name, user) in &facts.users {
        for account in user.iter().flat_map(|user| &user.accounts) {
            if let Some(other) = owners.insert(account, name) {
                let message = format!("the account `{account}` is also that of the user `{other}`");
                let place = Place::file(format!("users/{name}.toml"));
                findings.push(Finding::error(
                    place,
                    message,
                    "an account is one person: take it out of one of the files",
                ));
            }
        }
    }
}

/// Reads versions of the policy back from the log
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader;

impl Bundles for Reader {
    fn read(&self, digest: Hash, blob: &[u8]) -> Result<Arc<Bundle>, String> {
        if Hash::of(blob) != digest {
            return Err("the text is not the one that the digest names".to_owned());
        }
        let files = Files::from_blob(blob).ok_or("the text is no bundle of policy")?;
        let loaded = compiled(&files, false).map_err(|findings| {
            let errors: BTreeSet<String> = findings.iter().filter(|f| f.is_error()).map(ToString::to_string).collect();
            errors.into_iter().collect::<Vec<_>>().join("\n")
        })?;
        Ok(loaded.bundle)
    }
}

#[cfg(test)]
mod tests;
