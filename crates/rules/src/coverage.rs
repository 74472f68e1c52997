//! What the cases of a policy try, and what they leave untried.

use crate::{case::Tried, finding::Place, places::Places};
use portreeve_core::{
    names::{Name, Tool},
    policy::Bundle,
    reason::{Reason, Verdict},
};
use serde::Serialize;
use std::collections::BTreeSet;

/// Every case that was run, and what none of them touched
#[derive(Clone, Debug, Serialize)]
pub struct Tested {
    /// The cases, in the order of the files
    pub cases: Vec<Tried>,
    /// What they cover
    pub coverage: Coverage,
}

impl Tested {
    /// Cases that the policy does not bear out
    pub fn failed(&self) -> impl Iterator<Item = &Tried> {
        self.cases.iter().filter(|case| !case.ok)
    }
}

/// How much of a policy its cases touch
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Entries that some case was let through by, or has nothing left but their question, of all
    pub entries: (usize, usize),
    /// Variants that some case fits, of those of tools that a purpose names
    pub variants: (usize, usize),
    /// Classes that some case opened without a person, of those that purposes open so
    pub elevations: (usize, usize),
    /// Rules that added a reason in some case, of all
    pub rules: (usize, usize),
    /// What is untouched, in the order of the files
    pub gaps: Vec<Gap>,
}

/// Something that no case touches
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Gap {
    /// Where it stands
    #[serde(flatten)]
    pub place: Place,
    /// `entry`, `variant`, `elevation` or `rule`
    pub kind: &'static str,
    /// Its name: `refund-order/look`, `shop.refund#full`, `rule:mail-stays`
    pub name: String,
}

impl Gap {
    /// What is missing, for people
    #[must_use]
    pub fn says(&self) -> String {
        let Self { kind, name, .. } = self;
        match *kind {
            "entry" => format!("no case is permitted by the entry `{name}`"),
            "elevation" => format!("no case opens `{name}` without a person"),
            "variant" => format!("no case fits the variant `{name}`"),
            _ => format!("no case makes the rule `{name}` refuse or ask"),
        }
    }
}

impl Coverage {
    /// What `cases` touch of the purposes that `about` names
    pub(crate) fn of(
        bundle: &Bundle,
        places: &Places,
        rules: &[(String, Place)],
        cases: &[Tried],
        about: Option<&Name>,
    ) -> Self {
        let mut coverage = Self::default();
        let purposes = || bundle.purposes.iter().filter(|(name, _)| about.is_none_or(|about| about == *name));
        let mut used: BTreeSet<(&Name, &Name)> = cases
            .iter()
            .filter_map(|case| Some((&case.purpose, case.judgement.admission.as_ref()?)))
            .flat_map(|(purpose, admission)| {
                admission
                    .charges
                    .iter()
                    .flat_map(move |charge| charge.entries.iter().map(move |entry| (purpose, entry)))
            })
            .collect();
        // What always asks is never permitted by itself: a case that leaves only its question has tried it.
        let asked = |purpose: &Name, entry: &Name| {
            let asks = |reason: &Reason| {
                reason.source == format!("purpose:{purpose}")
                    && reason.about.get("step").is_some_and(|step| step == entry.as_str())
            };
            let mut held =
                cases.iter().filter(|case| case.purpose == *purpose && case.judgement.verdict() == Verdict::Hold);
            held.any(|case| case.judgement.reasons.iter().any(asks))
        };
        used.extend(purposes().flat_map(|(name, purpose)| {
            purpose.entries().iter().map(move |entry| (name, &entry.name)).filter(|(name, entry)| asked(name, entry))
        }));
        for (purpose, entry) in
            purposes().flat_map(|(name, purpose)| purpose.entries().iter().map(move |entry| (name, &entry.name)))
        {
            let place = places.entries.get(&(purpose.clone(), entry.clone()));
            let file = || Place::file(format!("purposes/{purpose}.toml"));
            let name = format!("{purpose}/{entry}");
            let touched = used.contains(&(purpose, entry));
            coverage.count("entry", touched, name, || place.cloned().unwrap_or_else(file));
        }
        let fitted: BTreeSet<(&Tool, &Name)> = cases
            .iter()
            .filter_map(|case| Some((case, bundle.profile(&case.tool)?)))
            .flat_map(|(case, profile)| {
                let fitting = profile.fits(&case.arguments).unwrap_or_default();
                fitting.into_iter().map(|variant| (&case.tool, &variant.name))
            })
            .collect();
        let tools: BTreeSet<&Tool> = purposes().flat_map(|(_, purpose)| purpose.tools()).collect();
        for (tool, variant) in tools.iter().flat_map(|tool| {
            let variants = bundle.profile(tool).map(|profile| profile.variants.as_slice()).unwrap_or_default();
            variants.iter().map(move |variant| (*tool, &variant.name))
        }) {
            let place = places.variants.get(&(tool.clone(), variant.clone()));
            let file = || Place::file(format!("connectors/{}.toml", tool.connector));
            let touched = fitted.contains(&(tool, variant));
            coverage.count("variant", touched, format!("{tool}#{variant}"), || place.cloned().unwrap_or_else(file));
        }
        for (purpose, class) in purposes().flat_map(|(name, purpose)| {
            let opens = purpose.elevate.iter().flat_map(|elevate| elevate.alone.keys());
            opens.map(move |class| (name, class))
        }) {
            let touched = cases.iter().any(|case| case.purpose == *purpose && case.alone == Some(*class));
            let file = || Place::file(format!("purposes/{purpose}.toml"));
            coverage.count("elevation", touched, format!("{purpose}/{class}"), file);
        }
        // A rule is not about one purpose: where one is asked for, rules are not counted.
        if about.is_none() {
            let spoken: BTreeSet<&str> =
                cases.iter().flat_map(|case| &case.judgement.reasons).map(|reason| reason.source.as_str()).collect();
            for (source, place) in rules {
                coverage.count("rule", spoken.contains(source.as_str()), source.clone(), || place.clone());
            }
        }
        coverage.gaps.sort();
        coverage
    }

    fn count(&mut self, kind: &'static str, touched: bool, name: String, place: impl FnOnce() -> Place) {
        let (covered, all) = match kind {
            "entry" => &mut self.entries,
            "variant" => &mut self.variants,
            "elevation" => &mut self.elevations,
            _ => &mut self.rules,
        };
        *all += 1;
        if touched {
            *covered += 1;
        } else {
            self.gaps.push(Gap { place: place(), kind, name });
        }
    }
}

#[cfg(test)]
mod tests;
