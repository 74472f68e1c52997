//! `[elevate]` and `[break_glass]`: how a class is opened for a while, and purposes for emergencies.

use crate::{
    document::{Cell, Document},
    facts::Facts,
    people::{self, quorum},
};
use portreeve_core::{
    names::Name,
    policy::{
        Alone, BreakGlass, Class, Elevate, Entry, Limits, OnHold, Opening, PersonRole, Quorum, Tier, Usage, Users,
    },
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Calls and milliseconds that one elevation may be for, as the door has it
const TIMES_MAX: u32 = 1_000;
const WITHIN_MS_MAX: i64 = 24 * 60 * 60 * 1_000;

/// What is read of `[elevate]`, with the places of what needs no person
pub(super) struct Read {
    pub(super) elevate: Elevate,
    spans: BTreeMap<Class, (Range<usize>, Vec<Range<usize>>)>,
}

/// Reads `[elevate]`
pub(super) fn elevate<'t>(doc: &Document<'t>, cell: &Cell<'t>, facts: &Facts) -> Option<Read> {
    const EXAMPLE: &str = "write = { tools = [\"shop.refund\"], times = 1, within = \"5m\" }";
    let mut table = doc.table(cell, "[elevate]", EXAMPLE)?;
    let (mut classes, mut spans, mut whole) = (BTreeMap::new(), BTreeMap::new(), true);
    for (key, class) in crate::facts::CLASSES {
        let Some(cell) = table.take(key) else { continue };
        match alone(doc, cell, facts) {
            Some((alone, places)) => {
                classes.insert(class, alone);
                spans.insert(class, (cell.span(), places));
            }
            None => whole = false,
        }
    }
    let ask = table.take("ask").map_or(Some(None), |cell| {
        let mut table = doc.table(cell, "`ask`", people::WHO)?;
        let quorum = quorum(doc, &mut table, facts);
        table.finish();
        quorum.map(Some)
    });
    if table.is_untouched() {
        doc.error(&cell.span(), "nothing can be opened by this", format!("for example: {EXAMPLE}"));
    }
    table.finish();
    let ask = ask?;
    whole.then_some(Read { elevate: Elevate { alone: classes, ask }, spans })
}

fn alone<'t>(doc: &Document<'t>, cell: &Cell<'t>, facts: &Facts) -> Option<(Alone, Vec<Range<usize>>)> {
    let mut table =
        doc.table(cell, "what needs no person", "{ tools = [\"shop.refund\"], times = 1, within = \"5m\" }")?;
    let tools = table.need("tools", "[\"shop.refund\"]").and_then(|cell| {
        let items = doc.array(cell, "tools = [\"shop.refund\"]")?;
        if items.is_empty() {
            doc.error(&cell.span(), "no tool is opened by this", "for example: tools = [\"shop.refund\"]");
        }
        let placed: Vec<Option<Vec<_>>> = items
            .iter()
            .map(|item| Some(facts.usages(doc, item)?.into_iter().map(|usage| (usage, item.span())).collect()))
            .collect();
        Some(placed.into_iter().collect::<Option<Vec<Vec<_>>>>()?.into_iter().flatten().unzip::<_, _, Vec<_>, Vec<_>>())
    });
    let times = table.need("times", "1").and_then(|cell| {
        let times = doc.count(cell, "times = 1")?;
        if times > TIMES_MAX {
            doc.error(&cell.span(), format!("more than {TIMES_MAX} calls"), "let the class stand, or ask a person");
        }
        (times <= TIMES_MAX).then_some(times)
    });
    let within = table.need("within", "\"5m\"").and_then(|cell| doc.duration(cell, WITHIN_MS_MAX, "within = \"5m\""));
    table.finish();
    let (uses, spans) = tools?;
    Some((Alone { uses, times: times?, within_ms: within? }, spans))
}

impl Read {
    /// Says what of it could never be used, or must not be
    pub(super) fn check(&self, doc: &Document<'_>, facts: &Facts, limits: &Limits, entries: &[&Entry]) {
        let named: BTreeSet<&Usage> = entries.iter().flat_map(|entry| &entry.uses).collect();
        for (class, alone) in &self.elevate.alone {
            let Some((span, places)) = self.spans.get(class) else { continue };
            if *class == Class::Escalate {
                let remedy = "take it out; `ask = { who = \"GROUP\" }` under `[elevate]` says who opens it";
                doc.error(span, "`escalate` is never opened without a person", remedy);
                continue;
            }
            let mut standing = true;
            for (usage, span) in alone.uses.iter().zip(places) {
                if !named.contains(usage) {
                    let message = format!("no `[[allow]]` names `{usage}`, so it stays closed");
                    doc.error(span, message, "name it in an `[[allow]]`, or take it out");
                }
                let tier = facts.tier_of(&usage.tool.connector);
                match facts.class_of(usage) {
                    Some(is) if is != *class => {
                        let message = format!("`{usage}` is `{is}`, and no grant of one class opens another");
                        doc.error(span, message, format!("write it under `{is}` of `[elevate]`"));
                    }
                    Some(_) if tier == Tier::High && tier.needs_person(*class) => {
                        let message = format!(
                            "`{}` is of tier `high`: `{class}` is never opened there without a person",
                            usage.tool.connector
                        );
                        doc.error(
                            span,
                            message,
                            "take it out; `ask = { who = \"GROUP\" }` under `[elevate]` says who opens it",
                        );
                    }
                    _ => {}
                }
                standing &= tier.stands(*class, &limits.standing);
            }
            if standing && !alone.uses.is_empty() {
                let message = format!("`{class}` stands already, so nobody has to open it");
                doc.warn(span, message, format!("take it out, or take \"{class}\" out of `standing` under `[task]`"));
            }
        }
        if self.elevate.ask.is_some() && self.elevate.alone.is_empty() && limits.on_hold == OnHold::Deny {
            let message = "a person would be asked, and `on_hold = \"deny\"` says that nobody is";
            doc.warn(&self.first(), message, "take `on_hold` out, or `[elevate]`");
        }
    }

    fn first(&self) -> Range<usize> {
        self.spans.values().next().map_or(0..0, |(span, _)| span.clone())
    }
}

/// Whether some way opens a class for a use
pub(super) fn opens(elevate: Option<&Elevate>, class: Class, usage: &Usage) -> bool {
    elevate.is_some_and(|elevate| {
        elevate.ask.is_some() || elevate.alone.get(&class).is_some_and(|alone| alone.uses.contains(usage))
    })
}

/// What is read of `[break_glass]`: who opens it together, and who reviews it
pub(super) struct Glass {
    pub(super) glass: BreakGlass,
    /// Who has to agree beside whoever opens it
    others: Quorum,
    span: Range<usize>,
}

/// Reads `[break_glass]`
pub(super) fn break_glass<'t>(doc: &Document<'t>, cell: &Cell<'t>, facts: &Facts) -> Option<Glass> {
    let mut table = doc.table(cell, "[break_glass]", "who = \"sre\", people = 2, review = \"auditors\"")?;
    let all = quorum(doc, &mut table, facts);
    let review = table.need("review", "\"auditors\"").and_then(|cell| {
        let group: Name = doc.parsed(cell, "review = \"auditors\"")?;
        if facts.with_role(&group, PersonRole::Auditor) == 0 {
            let message =
                format!("nobody in the group `{group}` is an auditor, so no emergency would ever be reviewed");
            let remedy = format!("give somebody `groups = [\"{group}\"]` and `roles = [\"auditor\"]` in `users/`");
            doc.error(&cell.span(), message, remedy);
        }
        Some(group)
    });
    table.finish();
    let (all, review) = (all?, review?);
    if all.people < 2 {
        let message = "an emergency is opened by two people at least: whoever opens it, and another one";
        doc.error(&cell.span(), message, "for example: people = 2");
        return None;
    }
    let others = Quorum { people: all.people - 1, ..all };
    Some(Glass { glass: BreakGlass { review }, others, span: cell.span() })
}

impl Glass {
    /// Makes the purpose one for emergencies, or says why it cannot be
    pub(super) fn apply(&self, doc: &Document<'_>, open: &mut Opening, limits: &Limits) {
        let error = |message: &str, remedy: &str| doc.error(&self.span, message, remedy);
        if open.ask.is_some() {
            error("both `[open] ask` and `[break_glass]` say who agrees", "take `ask` out of `[open]`");
        }
        if open.users == Users::None {
            error("an emergency is somebody's: `[open] users` is \"none\"", "for example: users = { group = \"sre\" }");
        }
        if limits.expires_after_ms > BreakGlass::LASTS_MS_MAX {
            error("an emergency is over after an hour at most", "expires_after = \"1h\", or less");
        }
        if limits.on_hold == OnHold::Deny {
            error("people opened this, so they are there: `on_hold` is \"deny\"", "take `on_hold` out of `[task]`");
        }
        open.ask = Some(self.others.clone());
    }
}
