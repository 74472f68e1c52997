//! What a connector's own file says over a profile: it can only tighten.
//!
//! INVARIANT: whatever a purpose lets through with the tightened profile, it lets through with the profile
//! alone. Where that cannot be seen from the two texts, the overlay is refused.

use crate::{
    files::File,
    finding::{Finding, Place},
    profile::{Sketch, holds, inside_free, opened},
};
use portreeve_core::{
    path::FieldPath,
    policy::{Label, Profile, Trust, Undo},
};
use std::{fmt::Display, ops::Range};

/// A profile, what a connector's file says over it, and where both stand
pub(crate) struct Overlay<'o> {
    pub(crate) base: &'o Sketch,
    pub(crate) base_file: &'o File<'o>,
    pub(crate) over: &'o Sketch,
    pub(crate) file: &'o File<'o>,
}

impl Overlay<'_> {
    /// Lays it over the profile, and says what is wider than that
    pub(crate) fn tighten(&self, profile: &mut Profile) -> Vec<Finding> {
        let mut wider = Vec::new();
        self.class(profile, &mut wider);
        self.variants(profile, &mut wider);
        self.arguments(profile, &mut wider);
        self.facts(profile, &mut wider);
        self.results(profile, &mut wider);
        wider
    }

    fn class(&self, profile: &mut Profile, wider: &mut Vec<Finding>) {
        let Some(class) = &self.over.class else { return };
        if class.value < profile.class {
            let what = format!("class \"{}\" is below \"{}\"", class.value, profile.class);
            let at = self.base.class.as_ref().map(|class| &class.span);
            wider.push(self.wider(&class.span, what, at, format!("class = \"{}\", or a stricter one", profile.class)));
        }
        profile.class = profile.class.max(class.value);
    }

    fn variants(&self, profile: &mut Profile, wider: &mut Vec<Finding>) {
        let own = profile.class;
        for variant in &self.over.variants {
            let name = &variant.value.name;
            if let Some(base) = self.base.variants.iter().find(|base| base.value.name == *name) {
                let what = format!("the variant `{name}` is there already");
                let remedy = "give it another name; a call that fits both has the stricter class";
                wider.push(self.wider(&variant.span, what, Some(&base.span), remedy));
            } else if variant.value.class < own {
                let what =
                    format!("the variant `{name}` is \"{}\", below the tool's own \"{own}\"", variant.value.class);
                let at = self.base.class.as_ref().map(|class| &class.span);
                wider.push(self.wider(&variant.span, what, at, format!("class = \"{own}\", or a stricter one")));
            } else {
                profile.variants.push(variant.value.clone());
            }
        }
    }

    fn arguments(&self, profile: &mut Profile, wider: &mut Vec<Finding>) {
        let base = profile.arguments.clone();
        let free = |path: &FieldPath| base.iter().any(|(other, role)| role.is_free() && holds(other, path));
        for (path, role) in &self.over.arguments {
            if role.value.is_free() && !free(path) {
                let closed =
                    base.iter().filter(|(other, _)| holds(other, path)).max_by_key(|(other, _)| other.steps().len());
                let (was, at) = match closed {
                    Some((other, role)) => (format!("{role}"), self.base.arguments.get(other).map(|at| &at.span)),
                    None => ("not named, and so closed".to_owned(), None),
                };
                let what = format!("`{path}` is \"{}\", which is free; there it is {was}", role.value);
                wider.push(self.wider(&role.span, what, at, "a closed role, or take it out"));
                continue;
            }
            if !role.value.is_free() {
                // Closing closes what lies in it, too.
                profile.arguments.retain(|other, role| !(role.is_free() && holds(path, other)));
            }
            profile.arguments.insert(path.clone(), role.value);
        }
        for (path, role) in &self.over.arguments {
            if profile.arguments.get(path) == Some(&role.value)
                && let Some(free) = opened(path, role.value, &profile.arguments)
            {
                let (message, remedy) = inside_free(path, free);
                wider.push(Finding::error(self.place(&role.span), message, remedy));
            }
        }
        for (path, kept) in &self.over.kept {
            if kept.value && profile.digested.contains(path) {
                let what = format!("the record would keep the value of `{path}`");
                let at = self.base.kept.get(path).map(|kept| &kept.span);
                wider.push(self.wider(&kept.span, what, at, "\"digest\""));
            } else if !kept.value {
                profile.digested.insert(path.clone());
            }
        }
    }

    /// What rules look at: something can be added, and nothing replaced
    fn facts(&self, profile: &mut Profile, wider: &mut Vec<Finding>) {
        for (name, matcher) in &self.over.matchers {
            match self.base.matchers.get(name) {
                Some(base) if base.value != matcher.value => {
                    let what = format!("the matcher `{name}` is there already, and rules rest on it");
                    wider.push(self.wider(&matcher.span, what, Some(&base.span), "give it another name"));
                }
                _ => drop(profile.matchers.insert(name.clone(), matcher.value.clone())),
            }
        }
        if let Some(target) = &self.over.target {
            match &self.base.target {
                Some(base) if base.value != target.value => {
                    let what = "the tool has a target already, and rules rest on it";
                    wider.push(self.wider(&target.span, what, Some(&base.span), "take it out"));
                }
                _ => profile.target = Some(target.value.clone()),
            }
        }
        if let Some(environment) = &self.over.environment {
            match &self.base.environment {
                Some(base) if base.value != environment.value => {
                    let what = "the tool has an environment already, and rules rest on it";
                    wider.push(self.wider(&environment.span, what, Some(&base.span), "take it out"));
                }
                _ => profile.environment = Some(environment.value.clone()),
            }
        }
        if let Some(undo) = &self.over.undo {
            let same = self.base.undo.as_ref().filter(|base| {
                let read = |undo: &Undo| {
                    undo.before.as_ref().map(|before| (before.tool.name.clone(), before.arguments.clone()))
                };
                base.value.tool.name == undo.value.tool.name
                    && base.value.arguments == undo.value.arguments
                    && read(&base.value) == read(&undo.value)
            });
            if same.is_none() {
                let at = self.base.undo.as_ref().map(|undo| &undo.span);
                let remedy = "take it out; an `[[allow]]` of a purpose may say its own";
                wider.push(self.wider(&undo.span, "`undo` opens another call", at, remedy));
            }
        }
        if let Some(idempotent) = &self.over.idempotent {
            if idempotent.value && !profile.idempotent {
                let at = self.base.idempotent.as_ref().map(|idempotent| &idempotent.span);
                let what = "calls that may be done once only could be repeated";
                wider.push(self.wider(&idempotent.span, what, at, "take it out"));
            }
            profile.idempotent &= idempotent.value;
        }
    }

    fn results(&self, profile: &mut Profile, wider: &mut Vec<Finding>) {
        if let Some(label) = &self.over.label {
            let least = profile.confidentiality();
            if label.value < least {
                let silent = if profile.label.is_none() { ", which counts where nothing is said" } else { "" };
                let what = format!("label \"{}\" is below \"{least}\"{silent}", label.value);
                let at = self.base.label.as_ref().map(|label| &label.span);
                wider.push(self.wider(&label.span, what, at, format!("label = \"{least}\"{}", higher(least))));
            }
            profile.label = Some(label.value.max(least));
        }
        let base = profile.results.clone();
        for (path, trust) in &self.over.results {
            let nearest =
                base.iter().filter(|(other, _)| holds(other, path)).max_by_key(|(other, _)| other.steps().len());
            let most = nearest.map_or(Trust::Free, |(_, trust)| *trust);
            if trust.value < most {
                let at = nearest.and_then(|(other, _)| self.base.results.get(other)).map(|at| &at.span);
                let what = format!("`{path}` would be trusted more than \"{}\"", word(most));
                wider.push(self.wider(&trust.span, what, at, format!("\"{}\"", word(most))));
            }
            profile.results.insert(path.clone(), trust.value.max(most));
        }
    }

    fn place(&self, span: &Range<usize>) -> Place {
        Place::span(self.file.path, self.file.text, span)
    }

    fn wider(
        &self,
        span: &Range<usize>,
        what: impl Display,
        base: Option<&Range<usize>>,
        instead: impl Display,
    ) -> Finding {
        let base = Place::span(self.base_file.path, self.base_file.text, base.unwrap_or(&self.base.name));
        let remedy = format!("an overlay can only tighten: {instead}");
        Finding::error(self.place(span), format!("wider than {base}: {what}"), remedy)
    }
}

fn higher(label: Label) -> &'static str {
    if label == Label::Secret { "" } else { " or higher" }
}

fn word(trust: Trust) -> &'static str {
    match trust {
        Trust::Trusted => "trusted",
        Trust::Attested => "attested",
        Trust::Free => "free",
    }
}

#[cfg(test)]
mod tests;
