//! Cedar behind the port [`Rules`].
//!
//! Cedar's cost grows with the policies that it is shown, so it is shown only those whose scope can match
//! the action at hand. What a call fits is at most a handful of actions: the tool, each of its variants that
//! the call fits, and their groups. A call that fits variants is put to the rules as the tool *and* as each
//! variant: giving a tool a variant must not take it out of reach of a rule about the tool.
//!
//! [`model`] is what rules are about, [`schema`] writes it as Cedar does, and [`check`] holds every rule against
//! it when a bundle is read. The schema only ever finds mistakes: at run time a rule that meets something else
//! than it was written for fails, and so refuses.

mod check;
mod context;
mod export;
mod failure;
mod kind;
pub(crate) mod model;
pub(crate) mod schema;

pub use export::Exported;
pub(crate) use export::export;

use crate::{
    facts::Facts,
    files::{File, Folder},
    finding::{Finding, Place},
    rule::{self, Rule},
};
use cedar_policy::{
    AuthorizationError, Authorizer, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId, PolicySet,
    Request, ResourceConstraint,
};
use model::{Model, class_action, connector_action, variant_action};
use portreeve_core::{
    names::{Name, Tool},
    policy::Class,
    reason::{Reason, Word},
    rules::{Named, Question, Rules},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    str::FromStr,
    sync::{Arc, PoisonError, RwLock},
};

/// The rules of a bundle, by the actions that they are about
pub(crate) struct CedarRules {
    rules: Vec<Rule>,
    by_action: BTreeMap<String, Vec<usize>>,
    /// Rules whose scope names no action
    any: Vec<usize>,
    model: Arc<Model>,
    types: Types,
    authorizer: Authorizer,
    // INVARIANT: a slice depends on its key, on `rules` and on `model` only, so that dropping one changes no answer.
    slices: RwLock<BTreeMap<Key, Arc<Slice>>>,
}

impl CedarRules {
    /// Reads every rule of the bundle
    pub(crate) fn read(
        files: &[File<'_>],
        facts: &Facts,
        model: Arc<Model>,
        findings: &mut Vec<Finding>,
    ) -> Result<Self, String> {
        let mut rules = Vec::new();
        let mut ids = BTreeMap::new();
        for file in files.iter().filter(|file| file.folder == Folder::Rules) {
            rules.extend(rule::rules(file, facts, &model, &mut ids, findings));
        }
        Ok(Self::new(rules, model, Types::new()?))
    }

    /// Holds every rule against what there is to look at
    pub(crate) fn validate(&self, files: &[File<'_>], findings: &mut Vec<Finding>) {
        let by_path: BTreeMap<&str, &File<'_>> = files.iter().map(|file| (file.path, file)).collect();
        let read: Vec<_> =
            self.rules.iter().filter_map(|rule| by_path.get(rule.place.file.as_str()).copied()).collect();
        check::check(&self.rules, &read, &self.model, findings);
    }

    /// Every rule, by what its reasons say that they come from, and where it stands
    pub(crate) fn places(&self) -> Vec<(String, Place)> {
        self.rules.iter().map(|rule| (rule.source.clone(), rule.place.clone())).collect()
    }

    fn new(rules: Vec<Rule>, model: Arc<Model>, types: Types) -> Self {
        let mut by_action: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut any = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            match rule.actions() {
                None => any.push(index),
                Some(actions) => {
                    for action in actions {
                        by_action.entry(action.id().unescaped().to_owned()).or_default().push(index);
                    }
                }
            }
        }
        let slices = RwLock::default();
        Self { rules, by_action, any, model, types, authorizer: Authorizer::new(), slices }
    }

    /// Every action and group of actions that a call is
    fn actions(&self, tool: &Tool, class: Class, variants: &[&Name]) -> Vec<String> {
        let subject = self.model.tools.get(tool);
        let toolsets = |variant| subject.into_iter().flat_map(move |subject| subject.toolsets(variant));
        let mut actions = vec![tool.to_string(), connector_action(tool), class_action(class)];
        actions.extend(toolsets(None).map(ToOwned::to_owned));
        for variant in variants {
            actions.push(variant_action(tool, variant));
            actions.extend(toolsets(Some(*variant)).map(ToOwned::to_owned));
        }
        actions
    }

    fn relevant(&self, actions: &[String]) -> BTreeSet<usize> {
        let named = actions.iter().filter_map(|action| self.by_action.get(action)).flatten();
        named.chain(&self.any).copied().collect()
    }

    fn slice(&self, question: &Question<'_>) -> Result<Arc<Slice>, String> {
        let variants = question.variants.iter().map(|name| (*name).clone()).collect();
        let key = (question.tool.clone(), question.class, variants);
        if let Some(slice) = self.slices.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(slice));
        }
        let slice = Arc::new(Slice::new(self, &key).map_err(|error| error.to_string())?);
        let mut slices = self.slices.write().unwrap_or_else(PoisonError::into_inner);
        // SAFETY(security): an agent can ask for any number of tools that do not exist.
        if slices.len() >= SLICES_MAX {
            slices.clear();
        }
        slices.insert(key, Arc::clone(&slice));
        Ok(slice)
    }

    fn evaluate(&self, slice: &Slice, question: &Question<'_>) -> Result<BTreeSet<Reason>, Box<dyn std::error::Error>> {
        let mut reasons = BTreeSet::new();
        let input = self.model.tools.get(question.tool).and_then(|subject| subject.input.as_ref());
        let context = context::context(question, input, &self.types)?;
        let (resource, entities) = self.entities(slice, question)?;
        let entities = entities.as_ref().unwrap_or(&slice.entities);
        for action in &slice.actions {
            let principal = uid(&self.types.agent, question.agent.as_str());
            let request = Request::new(principal, action.clone(), resource.clone(), context.clone(), None)?;
            let response = self.authorizer.is_authorized(&request, &slice.policies, entities);
            let rule =
                |id: &PolicyId| AsRef::<str>::as_ref(id).parse().ok().and_then(|index: usize| self.rules.get(index));
            let unknown = || Reason::new(Word::RuleFailed, "rules");
            for id in response.diagnostics().reason() {
                reasons.insert(rule(id).map_or_else(unknown, Rule::reason));
            }
            for AuthorizationError::PolicyEvaluationError(error) in response.diagnostics().errors() {
                let failure = |rule: &Rule| rule.failure(&failure::why(error.inner()));
                reasons.insert(rule(error.policy_id()).map_or_else(unknown, failure));
            }
        }
        Ok(reasons)
    }

    /// What the call is about, and the entities of this one call, if the rules look at them
    fn entities(
        &self,
        slice: &Slice,
        question: &Question<'_>,
    ) -> Result<(EntityUid, Option<Entities>), Box<dyn std::error::Error>> {
        let mut own = Vec::new();
        if let Some(name) = question.user.filter(|_| slice.user) {
            let user = question.person.ok_or("this version of the policy does not know the user")?;
            own.extend(context::user(name, (user, question.groups), &self.model.attributes, &self.types)?);
        }
        let resource = match question.target {
            None => slice.tool.clone(),
            Some(target) => {
                let (resource, entities) = context::target(target, &slice.tool)?;
                own.extend(entities.into_iter().filter(|_| slice.resource));
                resource
            }
        };
        if own.is_empty() {
            return Ok((resource, None));
        }
        Ok((resource, Some(slice.entities.clone().add_entities(own, None)?)))
    }

    /// No rules: what a call is in Cedar's world, for decision points that are ordinary Cedar
    pub(crate) fn world(model: Arc<Model>) -> Result<Self, String> {
        Ok(Self::new(Vec::new(), model, Types::new()?))
    }

    /// A call as its requests, one for the tool and one for each variant, and all entities that it brings along
    pub(crate) fn requests(
        &self,
        question: &Question<'_>,
    ) -> Result<(Vec<Request>, Entities), Box<dyn std::error::Error>> {
        let slice = self.slice(question)?;
        let input = self.model.tools.get(question.tool).and_then(|subject| subject.input.as_ref());
        let context = context::context(question, input, &self.types)?;
        let mut own = Vec::new();
        if let Some((name, user)) = question.user.zip(question.person) {
            own.extend(context::user(name, (user, question.groups), &self.model.attributes, &self.types)?);
        }
        let mut resource = slice.tool.clone();
        if let Some(target) = question.target {
            let (target, entities) = context::target(target, &slice.tool)?;
            own.extend(entities);
            resource = target;
        }
        let mut requests = Vec::with_capacity(slice.actions.len());
        for action in &slice.actions {
            let principal = uid(&self.types.agent, question.agent.as_str());
            requests.push(Request::new(principal, action.clone(), resource.clone(), context.clone(), None)?);
        }
        Ok((requests, slice.entities.clone().add_entities(own, None)?))
    }

    /// Whether a rule without conditions covers every call that is one of these actions
    fn forbids(&self, tool: &Tool, actions: &[String]) -> bool {
        let [own, connector] = [tool.to_string(), tool.connector.to_string()];
        let target = self.model.tools.get(tool).and_then(|subject| subject.target.as_deref());
        let kind = |kind: &EntityTypeName| kind.to_string() == target.unwrap_or("Tool");
        let resource = |rule: &Rule| match rule.policy.resource_constraint() {
            ResourceConstraint::Any => true,
            ResourceConstraint::Eq(uid) => target.is_none() && uid == self::uid(&self.types.tool, &own),
            ResourceConstraint::Is(of) => kind(&of),
            ResourceConstraint::In(uid) => self.contains(&uid, &own, &connector),
            ResourceConstraint::IsIn(of, uid) => kind(&of) && self.contains(&uid, &own, &connector),
        };
        let relevant = self.relevant(actions);
        relevant.iter().filter_map(|index| self.rules.get(*index)).any(|rule| rule.is_outright() && resource(rule))
    }

    fn contains(&self, uid: &EntityUid, tool: &str, connector: &str) -> bool {
        *uid == self::uid(&self.types.tool, tool) || *uid == self::uid(&self.types.connector, connector)
    }
}

impl Rules for CedarRules {
    fn judge(&self, question: &Question<'_>) -> Vec<Reason> {
        if self.rules.is_empty() {
            return Vec::new();
        }
        let reasons = self.slice(question).map_err(Into::into).and_then(|slice| match slice.policies.is_empty() {
            true => Ok(BTreeSet::new()),
            false => self.evaluate(&slice, question),
        });
        // What could not be asked counts as having refused.
        reasons.map_or_else(|_| vec![Reason::new(Word::RuleFailed, "rules")], |reasons| reasons.into_iter().collect())
    }

    fn hides(&self, tool: &Tool, class: Class) -> bool {
        if self.rules.is_empty() {
            return false;
        }
        // Forbidden outright is what is forbidden in each of its kinds: a preview may be left of a tool that writes.
        let variants = self.model.tools.get(tool).into_iter().flat_map(|subject| &subject.variants);
        let mut kinds = variants.map(|(name, class)| self.actions(tool, *class, &[name]));
        self.forbids(tool, &self.actions(tool, class, &[])) && kinds.all(|actions| self.forbids(tool, &actions))
    }

    fn about(&self, question: &Question<'_>) -> Vec<Named> {
        let Ok(slice) = self.slice(question) else { return Vec::new() };
        let index = |policy: &cedar_policy::Policy| AsRef::<str>::as_ref(policy.id()).parse::<usize>().ok();
        let indices: BTreeSet<usize> = slice.policies.policies().filter_map(index).collect();
        indices.into_iter().filter_map(|index| self.rules.get(index)).map(Rule::named).collect()
    }
}

impl fmt::Debug for CedarRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CedarRules").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

/// Slices that are kept; the tools of a policy are far fewer
const SLICES_MAX: usize = 4096;

type Key = (Tool, Class, Vec<Name>);

/// What Cedar is shown for one kind of call
struct Slice {
    policies: PolicySet,
    entities: Entities,
    /// The tool, and each variant
    actions: Vec<EntityUid>,
    tool: EntityUid,
    /// Whether some rule looks at the user
    user: bool,
    /// Whether some rule looks at what the call is about
    resource: bool,
}

impl Slice {
    fn new(rules: &CedarRules, (tool, class, variants): &Key) -> Result<Self, Box<dyn std::error::Error>> {
        let variants: Vec<&Name> = variants.iter().collect();
        let names = rules.actions(tool, *class, &variants);
        let mut policies = PolicySet::new();
        let (mut user, mut looked_at) = (false, false);
        for index in rules.relevant(&names) {
            if let Some(rule) = rules.rules.get(index) {
                policies.add(rule.policy.new_id(PolicyId::new(index.to_string())))?;
                user |= rule.looks.user;
                looked_at |= rule.looks.resource;
            }
        }
        let types = &rules.types;
        let action = |name: &str| uid(&types.action, name);
        let own = action(&tool.to_string());
        let subject = rules.model.tools.get(tool);
        let toolsets = |variant| subject.into_iter().flat_map(move |subject| subject.toolsets(variant)).map(action);
        let groups = [action(&connector_action(tool)), action(&class_action(*class))];
        let mut parents = BTreeMap::from([(own.clone(), groups.into_iter().chain(toolsets(None)).collect())]);
        let mut actions = vec![own.clone()];
        for variant in variants {
            let uid = action(&variant_action(tool, variant));
            let groups: HashSet<EntityUid> = toolsets(Some(variant)).chain([own.clone()]).collect();
            parents.insert(uid.clone(), groups);
            actions.push(uid);
        }
        let resource = uid(&types.tool, &tool.to_string());
        parents.insert(resource.clone(), HashSet::from([uid(&types.connector, tool.connector.as_str())]));
        let groups: BTreeSet<EntityUid> = parents.values().flatten().cloned().collect();
        let entities: Vec<Entity> = groups
            .into_iter()
            .filter(|group| !parents.contains_key(group))
            .map(|group| Entity::new_no_attrs(group, HashSet::new()))
            .chain(parents.iter().map(|(uid, parents)| Entity::new_no_attrs(uid.clone(), parents.clone())))
            .collect();
        let entities = Entities::from_entities(entities, None)?;
        Ok(Self { policies, entities, actions, tool: resource, user, resource: looked_at })
    }
}

/// The entity types of the model, read once
#[derive(Clone, Debug)]
struct Types {
    agent: EntityTypeName,
    action: EntityTypeName,
    tool: EntityTypeName,
    connector: EntityTypeName,
    user: EntityTypeName,
    group: EntityTypeName,
    unreadable: EntityTypeName,
}

impl Types {
    fn new() -> Result<Self, String> {
        let name = |text| EntityTypeName::from_str(text).map_err(|error| error.to_string());
        Ok(Self {
            agent: name("Agent")?,
            action: name("Action")?,
            tool: name("Tool")?,
            connector: name("Connector")?,
            user: name("User")?,
            group: name("Group")?,
            unreadable: name("Unreadable")?,
        })
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

#[cfg(test)]
mod tests;
