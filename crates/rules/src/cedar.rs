//! Cedar behind the port [`Rules`].
//!
//! Cedar's cost grows with the policies that it is shown, so it is shown only those whose scope can match
//! the action at hand. What a call fits is at most a handful of actions: the tool, each of its variants that
//! the call fits, and their groups. A call that fits variants is put to the rules as the tool *and* as each
//! variant: giving a tool a variant must not take it out of reach of a rule about the tool.

pub(crate) mod context;

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
    types: Types,
    authorizer: Authorizer,
    // INVARIANT: a slice depends on its key and on `rules` only, so that dropping one changes no answer.
    slices: RwLock<BTreeMap<Key, Arc<Slice>>>,
}

impl CedarRules {
    /// Reads every rule of the bundle
    pub(crate) fn read(files: &[File<'_>], facts: &Facts, findings: &mut Vec<Finding>) -> Result<Self, String> {
        let mut rules = Vec::new();
        let mut ids = BTreeMap::new();
        for file in files.iter().filter(|file| file.folder == Folder::Rules) {
            rules.extend(rule::rules(file, facts, &mut ids, findings));
        }
        Ok(Self::new(rules, Types::new()?))
    }

    /// Every rule, by what its reasons say that they come from, and where it stands
    pub(crate) fn places(&self) -> Vec<(String, Place)> {
        self.rules.iter().map(|rule| (rule.source.clone(), rule.place.clone())).collect()
    }

    fn new(rules: Vec<Rule>, types: Types) -> Self {
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
        Self { rules, by_action, any, types, authorizer: Authorizer::new(), slices }
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
        let context = context::context(question, &self.types)?;
        for action in &slice.actions {
            let principal = uid(&self.types.agent, question.agent.as_str());
            let request = Request::new(principal, action.clone(), slice.resource.clone(), context.clone(), None)?;
            let response = self.authorizer.is_authorized(&request, &slice.policies, &slice.entities);
            let rule =
                |id: &PolicyId| AsRef::<str>::as_ref(id).parse().ok().and_then(|index: usize| self.rules.get(index));
            let unknown = || Reason::new(Word::RuleFailed, "rules");
            for id in response.diagnostics().reason() {
                reasons.insert(rule(id).map_or_else(unknown, Rule::reason));
            }
            for AuthorizationError::PolicyEvaluationError(error) in response.diagnostics().errors() {
                reasons.insert(rule(error.policy_id()).map_or_else(unknown, Rule::failure));
            }
        }
        Ok(reasons)
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
        let [own, connector] = [tool.to_string(), tool.connector.to_string()];
        let resource = |rule: &Rule| match rule.policy.resource_constraint() {
            ResourceConstraint::Any => true,
            ResourceConstraint::Eq(uid) => uid == self::uid(&self.types.tool, &own),
            ResourceConstraint::Is(kind) => kind == self.types.tool,
            ResourceConstraint::In(uid) => self.contains(&uid, &own, &connector),
            ResourceConstraint::IsIn(kind, uid) => kind == self.types.tool && self.contains(&uid, &own, &connector),
        };
        let relevant = self.relevant(&actions(tool, class, &[]));
        relevant.iter().filter_map(|index| self.rules.get(*index)).any(|rule| rule.is_outright() && resource(rule))
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
    resource: EntityUid,
}

impl Slice {
    fn new(rules: &CedarRules, (tool, class, variants): &Key) -> Result<Self, Box<dyn std::error::Error>> {
        let names = actions(tool, *class, variants);
        let mut policies = PolicySet::new();
        for index in rules.relevant(&names) {
            if let Some(rule) = rules.rules.get(index) {
                policies.add(rule.policy.new_id(PolicyId::new(index.to_string())))?;
            }
        }
        let Things { entities, actions, resource } = Things::of(&rules.types, tool, *class, variants);
        Ok(Self { policies, entities: Entities::from_entities(entities, None)?, actions, resource })
    }
}

/// What there is in Cedar's world because of one kind of call
pub(crate) struct Things {
    pub(crate) entities: Vec<Entity>,
    /// The tool, and each variant
    pub(crate) actions: Vec<EntityUid>,
    pub(crate) resource: EntityUid,
}

impl Things {
    pub(crate) fn of(types: &Types, tool: &Tool, class: Class, variants: &[Name]) -> Self {
        let action = |name: &str| uid(&types.action, name);
        let own = action(&tool.to_string());
        let groups = HashSet::from([action(&connector_action(tool)), action(&class_action(class))]);
        let variants: Vec<EntityUid> = variants.iter().map(|variant| action(&variant_action(tool, variant))).collect();
        let resource = uid(&types.tool, &tool.to_string());
        let connector = uid(&types.connector, tool.connector.as_str());
        let groups_of_all = groups.iter().map(|group| Entity::new_no_attrs(group.clone(), HashSet::new()));
        let entities: Vec<Entity> = groups_of_all
            .chain(variants.iter().map(|variant| Entity::new_no_attrs(variant.clone(), HashSet::from([own.clone()]))))
            .chain([
                Entity::new_no_attrs(own.clone(), groups.clone()),
                Entity::new_no_attrs(resource.clone(), HashSet::from([connector.clone()])),
                Entity::new_no_attrs(connector, HashSet::new()),
            ])
            .collect();
        let actions = std::iter::once(own).chain(variants).collect();
        Self { entities, actions, resource }
    }
}

/// Every action and group of actions that a call is
fn actions(tool: &Tool, class: Class, variants: &[Name]) -> Vec<String> {
    let variants = variants.iter().map(|variant| variant_action(tool, variant));
    [tool.to_string(), connector_action(tool), class_action(class)].into_iter().chain(variants).collect()
}

fn connector_action(tool: &Tool) -> String {
    format!("connector:{}", tool.connector)
}

fn class_action(class: Class) -> String {
    format!("class:{class}")
}

fn variant_action(tool: &Tool, variant: &Name) -> String {
    format!("{tool}#{variant}")
}

/// The entity types of the model, read once
#[derive(Clone, Debug)]
pub(crate) struct Types {
    pub(crate) agent: EntityTypeName,
    action: EntityTypeName,
    tool: EntityTypeName,
    connector: EntityTypeName,
    unreadable: EntityTypeName,
}

impl Types {
    pub(crate) fn new() -> Result<Self, String> {
        let name = |text| EntityTypeName::from_str(text).map_err(|error| error.to_string());
        Ok(Self {
            agent: name("Agent")?,
            action: name("Action")?,
            tool: name("Tool")?,
            connector: name("Connector")?,
            unreadable: name("Unreadable")?,
        })
    }
}

pub(crate) fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

#[cfg(test)]
mod tests;
