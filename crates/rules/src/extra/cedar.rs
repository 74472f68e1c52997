//! A folder of ordinary Cedar: permits and forbids, and what nothing permits is denied.
//!
//! It is asked as the rules are, with the same principal, actions, resource and context, and besides with the
//! entities that the folder brings. A call that fits variants is put to it as the tool and as each variant, and
//! each has to be allowed.

use super::Decides;
use crate::{
    bounds,
    cedar::{CedarRules, model::Model},
    files::File,
    finding::{Finding, Place},
    rule,
};
use cedar_policy::{Authorizer, Decision, Entities, PolicySet, Schema, ValidationMode, Validator};
use portreeve_core::{hash::Hash, outside::Said, rules::Question};
use std::sync::Arc;

pub(super) struct Cedar {
    policies: PolicySet,
    entities: Entities,
    world: CedarRules,
    authorizer: Authorizer,
}

impl Cedar {
    pub(super) fn read(
        point: &File<'_>,
        files: &[&File<'_>],
        model: &Arc<Model>,
        findings: &mut Vec<Finding>,
    ) -> Option<Self> {
        let before = findings.len();
        let mut policies = PolicySet::new();
        let mut schema = None;
        let mut entities = None;
        for file in files {
            match file.path.rsplit('/').next().unwrap_or_default() {
                "schema.cedarschema" => schema = Some(*file),
                "entities.json" => entities = Some(*file),
                name if name.ends_with(".cedar") => merge(&mut policies, file, findings),
                _ => {
                    let remedy = "a point of Cedar has *.cedar, and perhaps schema.cedarschema and entities.json";
                    findings.push(Finding::error(Place::file(file.path), "nothing would read this file", remedy));
                }
            }
        }
        let schema = schema.and_then(|file| read_schema(file, findings));
        if let Some(schema) = &schema {
            let result = Validator::new(schema.clone()).validate(&policies, ValidationMode::Strict);
            for error in result.validation_errors() {
                findings.push(Finding::error(Place::file(place_of(error.policy_id(), point)), error.to_string(), ""));
            }
        }
        let entities = entities.map_or_else(
            || Some(Entities::empty()),
            |file| {
                match Entities::from_json_str(file.text, schema.as_ref()) {
                    // Cedar adds the actions of the schema; those of a call are ours, whatever the schema calls them.
                    Ok(entities) => {
                        let own =
                            entities.iter().filter(|entity| entity.uid().type_name().basename() != "Action").cloned();
                        Entities::from_entities(own, None).ok()
                    }
                    Err(error) => {
                        findings.push(Finding::error(Place::file(file.path), chain(&error), ""));
                        None
                    }
                }
            },
        );
        if policies.is_empty() && findings.len() == before {
            let message = "no policy is there, so every call would be refused";
            let remedy = format!("add `extra/{}/policy.cedar`", point.name);
            findings.push(Finding::error(Place::file(point.path), message, remedy));
        }
        let world = CedarRules::world(Arc::clone(model)).ok()?;
        let whole = findings.iter().skip(before).all(|finding| !finding.is_error());
        let entities = entities.filter(|_| whole)?;
        Some(Self { policies, entities, world, authorizer: Authorizer::new() })
    }

    fn allows(&self, question: &Question<'_>) -> Result<Said, Box<dyn std::error::Error>> {
        let (requests, entities) = self.world.requests(question)?;
        // An entity of the folder that is also one of ours is an error, and so refuses: neither may be hidden.
        let entities = entities.add_entities(self.entities.iter().cloned(), None)?;
        for request in requests {
            let response = self.authorizer.is_authorized(&request, &self.policies, &entities);
            // Cedar skips a policy that cannot be evaluated, which for a forbid would permit.
            if let Some(error) = response.diagnostics().errors().next() {
                return Ok(Said::Failed(portreeve_core::outside::one_line(&error.to_string())));
            }
            if response.decision() == Decision::Deny {
                let said = |id| self.policies.annotation(id, "reason").map(ToOwned::to_owned);
                let told: Vec<String> = response.diagnostics().reason().filter_map(said).collect();
                let told = Some(portreeve_core::outside::one_line(&told.join("; ")));
                return Ok(Said::Refuse(told.filter(|told| !told.is_empty())));
            }
        }
        Ok(Said::Permit)
    }
}

impl Decides for Cedar {
    fn decide(&self, question: &Question<'_>, _: Hash) -> Said {
        let said = self.allows(question);
        said.unwrap_or_else(|error| Said::Failed(portreeve_core::outside::one_line(&error.to_string())))
    }
}

/// Adds the policies of a file under names that say where they stand
fn merge(all: &mut PolicySet, file: &File<'_>, findings: &mut Vec<Finding>) {
    if let Some(span) = bounds::too_deep(file.text) {
        let message =
            format!("more than {} brackets or {} operators in one policy", bounds::DEPTH_MAX, bounds::CHAIN_MAX);
        findings.push(Finding::error(Place::span(file.path, file.text, &span), message, "split the policy"));
        return;
    }
    let set = match file.text.parse::<PolicySet>() {
        Ok(set) => set,
        Err(errors) => return findings.extend(errors.iter().map(|error| rule::syntax(file, error))),
    };
    if set.templates().next().is_some() {
        let message = "a policy has slots, which nothing fills";
        findings.push(Finding::error(Place::file(file.path), message, "name the principal or resource"));
    }
    for policy in set.policies() {
        let policy = policy.new_id(cedar_policy::PolicyId::new(format!("{}:{}", file.path, policy.id())));
        if let Err(error) = all.add(policy) {
            findings.push(Finding::error(Place::file(file.path), error.to_string(), ""));
        }
    }
}

fn read_schema(file: &File<'_>, findings: &mut Vec<Finding>) -> Option<Schema> {
    let place = || Place::file(file.path);
    if let Some(span) = bounds::too_deep(file.text) {
        let place = Place::span(file.path, file.text, &span);
        findings.push(Finding::error(place, "nested too deeply", "write it flatter"));
        return None;
    }
    match Schema::from_cedarschema_str(file.text) {
        Ok((schema, warnings)) => {
            findings.extend(warnings.map(|warning| Finding::warning(place(), warning.to_string(), "")));
            Some(schema)
        }
        Err(error) => {
            findings.push(Finding::error(place(), chain(&error), ""));
            None
        }
    }
}

/// The file of a policy by its id
fn place_of(id: &cedar_policy::PolicyId, point: &File<'_>) -> String {
    let id: &str = id.as_ref();
    id.rsplit_once(':').map_or_else(|| point.path.to_owned(), |(path, _)| path.to_owned())
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
