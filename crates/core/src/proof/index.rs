//! Which agents something could be a proof of, without looking at all of them.

use super::{Proven, Way};
use crate::{hash::Hash, names::Name, policy::Agent, value::Value};
use std::collections::{BTreeMap, BTreeSet};

/// Agents by what they show; finding them costs what is shown, not how many there are
#[derive(Clone, Debug, Default)]
pub struct Index {
    spiffe: BTreeMap<String, BTreeSet<Name>>,
    keys: BTreeMap<Hash, BTreeSet<Name>>,
    programs: BTreeMap<Hash, BTreeSet<Name>>,
    /// By one claim of each rule
    issued: BTreeMap<Name, BTreeMap<(String, Value), BTreeSet<Name>>>,
    paths: BTreeMap<Name, BTreeSet<String>>,
}

impl Index {
    /// The agents of a version of the policy
    #[must_use]
    pub fn of(agents: &BTreeMap<Name, Agent>) -> Self {
        let mut index = Self::default();
        for (name, agent) in agents {
            for proof in &agent.proofs {
                let names = match &proof.way {
                    Way::Spiffe(id) => index.spiffe.entry(id.clone()).or_default(),
                    Way::Key { jwk } => index.keys.entry(Hash::of(jwk.as_bytes())).or_default(),
                    Way::Program { sha256 } => index.programs.entry(*sha256).or_default(),
                    Way::Issued { issuer, claims } => {
                        index.paths.entry(issuer.clone()).or_default().extend(claims.keys().cloned());
                        let Some((path, value)) = claims.iter().max_by_key(|(path, _)| path.ends_with("id")) else {
                            continue;
                        };
                        let claims = index.issued.entry(issuer.clone()).or_default();
                        claims.entry((path.clone(), value.clone())).or_default()
                    }
                };
                names.insert(name.clone());
            }
        }
        index
    }

    /// The claims that rules about an issuer name
    pub fn paths(&self, issuer: &Name) -> impl Iterator<Item = &str> {
        self.paths.get(issuer).into_iter().flatten().map(String::as_str)
    }

    /// The agents of which this is a proof
    #[must_use]
    pub fn agents<'a>(&self, agents: &'a BTreeMap<Name, Agent>, proven: &Proven) -> BTreeSet<&'a Name> {
        let spiffe = self.spiffe.get(&proven.subject);
        let key = proven.key.and_then(|key| self.keys.get(&key));
        let program = proven.key.and_then(|program| self.programs.get(&program));
        let issued = proven.issuer.as_ref().and_then(|issuer| self.issued.get(issuer));
        let issued = issued.into_iter().flat_map(|rules| {
            proven.claims.iter().filter_map(|(path, value)| rules.get(&(path.clone(), value.clone())))
        });
        let names = spiffe.into_iter().chain(key).chain(program).chain(issued).flatten();
        let named = names.filter_map(|name| agents.get_key_value(name));
        named.filter(|(_, agent)| agent.proof(proven).is_some()).map(|(name, _)| name).collect()
    }
}
