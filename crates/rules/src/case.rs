//! Tests that live with what they test: `[[case]]`, judged by the real core.

use crate::{
    document::{Cell, Document},
    files::File,
    finding::{Finding, Place},
    pattern::Placeholders,
    words::suggest,
};
use portreeve_core::{
    commit::Committed,
    event::{
        Accepted, Actor, Admitted, Began, CallFacts, Changed, Charge, ChosenBy, End, Event, Given, Inputs, Record,
        Settled, What,
    },
    hash::Hash,
    judge::{Shelf, judge_call, judge_open},
    names::{EffectId, MemoryId, Name, RunId, TaskId, Tool},
    policy::{Bundle, Class, Purpose, Users},
    reason::{Reason, Word},
    request::{Call, Clock, Fit, Open},
    state::State,
    time::Millis,
    value::Value,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// One call of a task under a purpose, and what is expected of it
#[derive(Clone, Debug)]
pub(crate) struct Case {
    place: Place,
    purpose: Name,
    tool: Tool,
    arguments: BTreeMap<String, Value>,
    given: BTreeMap<Name, Value>,
    done: Vec<Name>,
    expect: Expect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Permit,
    Reason(Word),
}

/// Reads the cases of a purpose
pub(crate) fn cases(
    doc: &Document<'_>,
    cell: &Cell<'_>,
    file: &File<'_>,
    placeholders: &Placeholders,
) -> Option<Vec<Case>> {
    let items = doc.array(cell, "[[case]]")?;
    let cases: Vec<_> = items.iter().map(|item| case(doc, item, file, placeholders)).collect();
    cases.into_iter().collect()
}

fn case(doc: &Document<'_>, cell: &Cell<'_>, file: &File<'_>, placeholders: &Placeholders) -> Option<Case> {
    const CALL: &str = "{ tool = \"shop.refund\", args = { id = \"ord_1\" } }";
    let mut table = doc.table(cell, "[[case]]", "expect = \"permit\"")?;
    let call = table.need("call", CALL).and_then(|cell| {
        let mut table = doc.table(cell, "`call`", CALL)?;
        let tool = table.need("tool", "\"shop.refund\"").and_then(|cell| doc.parsed(cell, "\"shop.refund\""));
        let arguments = table.take("args").map_or(Some(BTreeMap::new()), |cell| match doc.value(cell)? {
            Value::Object(arguments) => Some(arguments),
            _ => {
                doc.error(&cell.span(), "arguments are a table", "args = { id = \"ord_1\" }");
                None
            }
        });
        table.finish();
        tool.zip(arguments)
    });
    let given = table.take("given").map_or(Some(BTreeMap::new()), |cell| {
        let mut table = doc.table(cell, "`given`", "given = { order = \"ord_1\" }")?;
        let known = || placeholders.parameters.keys().map(Name::as_str);
        let given = |(name, span, cell): (&str, _, _)| {
            let Some((name, _)) = placeholders.parameters.get_key_value(name) else {
                doc.error(&span, format!("no parameter is called `{}`", name.escape_debug()), suggest(name, known()));
                return None;
            };
            Some((name.clone(), doc.value(cell)?))
        };
        let given: Vec<_> = table.rest().map(given).collect();
        given.into_iter().collect::<Option<_>>()
    });
    let done = table.take("done").map_or(Some(Vec::new()), |cell| doc.list(cell, "done = [\"look\"]"));
    let expected = table.need("expect", "\"permit\"");
    let expect = expected.and_then(|cell| match doc.text(cell, "expect = \"argument_outside_task\"")? {
        "permit" => Some(Expect::Permit),
        text => {
            let words = || Word::ALL.iter().map(|word| word.as_str()).chain(["permit"]);
            let word = text.parse().map(Expect::Reason);
            word.map_err(|_| doc.error(&cell.span(), format!("no reason is called {text:?}"), suggest(text, words())))
                .ok()
        }
    });
    table.finish();
    let ((tool, arguments), expect) = (call?, expect?);
    let place = doc.place(&expected?.span());
    Some(Case { place, purpose: file.name.clone(), tool, arguments, given: given?, done: done?, expect })
}

impl Case {
    /// What the bundle says of the call, if that is not what was expected
    pub(crate) fn mismatch(&self, bundle: &Arc<Bundle>) -> Option<Finding> {
        let reasons = self.judge(bundle).err().unwrap_or_default();
        let as_expected = match self.expect {
            Expect::Permit => reasons.is_empty(),
            Expect::Reason(word) => reasons.iter().any(|reason| reason.word == word),
        };
        if as_expected {
            return None;
        }
        let expected = match self.expect {
            Expect::Permit => "a permit",
            Expect::Reason(word) => word.as_str(),
        };
        let told: Vec<_> =
            reasons.iter().map(|reason| format!("{} from {}: {reason}", reason.word, reason.source)).collect();
        let (found, remedy) = match reasons.first() {
            None => ("a permit".to_owned(), "the policy allows this call".to_owned()),
            Some(first) => {
                let hint = match first.word {
                    Word::OutOfOrder => "\n  = steps that came before: `done = [...]`",
                    Word::RuleFailed => RULE_HINT,
                    _ => "",
                };
                (first.word.to_string(), told.join("\n  = ") + hint)
            }
        };
        let message = format!("`{}` was expected to give {expected}, and gives {found}", self.tool);
        Some(Finding::error(self.place.clone(), message, remedy))
    }

    /// Opens a task and judges the call in it, as the door would
    fn judge(&self, bundle: &Arc<Bundle>) -> Result<(), Vec<Reason>> {
        let purpose = bundle.purposes.get(&self.purpose).ok_or_else(Vec::new)?;
        let shelf = Shelf(BTreeMap::from([(bundle.digest, Arc::clone(bundle))]));
        let mut state = State::default();
        let mut apply = |event| state.apply(&Record { time: NOW, actor: Actor::System, event });
        apply(Event::Changed(Changed::Bundle { digest: bundle.digest, nodes: bundle.nodes() }));
        let pins = [(self.tool.name.clone(), Accepted { digest: PIN, blob: PIN })].into();
        apply(Event::Changed(Changed::Pins { connector: self.tool.connector.clone(), accepted: pins }));

        let open = self.open(bundle, purpose)?;
        let mut unmet = judge_open(&state, &shelf, &open, Clock::at(NOW.0)).err().unwrap_or_default();
        // A case says what it is about: a parameter that it leaves out matches nothing, and reviews are
        // overdue on some day only.
        unmet.retain(|reason| !matches!(reason.word, Word::ParameterMissing | Word::PurposeOverdue));
        if !unmet.is_empty() {
            return Err(unmet);
        }
        for event in self.past(bundle.digest, purpose, &open) {
            state.apply(&Record { time: NOW, actor: Actor::System, event });
        }
        let call = Call {
            effect: EffectId(u64::MAX),
            run: RUN,
            tool: self.tool.clone(),
            arguments: self.arguments.clone(),
            fit: Fit { pin: PIN, error: None },
            answers: Vec::new(),
        };
        // Nobody is asked here: what is left to outside decision points on the network counts as permitted.
        judge_call(&state, &shelf, &call, Clock::at(NOW.0)).map(|_| ())
    }

    /// The opening by the first agent and user that may
    fn open(&self, bundle: &Bundle, purpose: &Purpose) -> Result<Open, Vec<Reason>> {
        let agent = purpose.open.agents.first().cloned().ok_or_else(Vec::new)?;
        let user = match &purpose.open.users {
            Users::None => None,
            Users::Group(group) => {
                bundle.users.iter().find(|(_, user)| user.groups.contains(group)).map(|(name, _)| name.clone())
            }
            Users::Named(names) => names.first().cloned(),
        };
        let given = |(name, value): (&Name, &Value)| (name.clone(), (value.clone(), ChosenBy::Parameter));
        Ok(Open {
            task: TASK,
            run: RUN,
            memory: MemoryId(1),
            by: Actor::Owner { user: None },
            agent,
            user,
            purpose: self.purpose.clone(),
            parameters: self.given.iter().map(given).collect(),
            objective: None,
            parent: None,
        })
    }

    /// The task as it was opened, and the steps that succeeded in it
    fn past(&self, bundle: Hash, purpose: &Purpose, open: &Open) -> Vec<Event> {
        let parameter = |(name, parameter): (&Name, &portreeve_core::policy::Parameter)| {
            let value = parameter.kind.read(self.given.get(name).or(parameter.default.as_ref())?).ok()?;
            Some((name.clone(), Given { value: Committed::new(&value, [0; 16]), by: ChosenBy::Parameter }))
        };
        let began = Began {
            task: TASK,
            run: RUN,
            memory: open.memory,
            agent: open.agent.clone(),
            user: open.user.clone(),
            purpose: self.purpose.clone(),
            bundle,
            parent: None,
            parameters: purpose.parameters.iter().filter_map(parameter).collect(),
            objective: None,
            expires: NOW.plus(purpose.limits.expires_after_ms),
            idle_ms: None,
        };
        let mut events = vec![Event::Began(Box::new(began))];
        for (effect, step) in (0..).map(EffectId).zip(&self.done) {
            let facts = CallFacts {
                agent: open.agent.clone(),
                user: open.user.clone(),
                purpose: self.purpose.clone(),
                tool: self.tool.clone(),
                variants: Vec::new(),
                class: Class::Read,
                pin: PIN,
                arguments: BTreeMap::new(),
                charges: vec![Charge { task: TASK, entries: BTreeSet::from([step.clone()]), sent: 0, held: None }],
            };
            events.push(Event::Admitted(Box::new(Admitted {
                effect,
                task: TASK,
                bundle,
                now: NOW,
                what: What::Call(facts),
                inputs: Inputs::default(),
                because: None,
            })));
            let end = End::Done { ok: true, bytes: 0, result: None, returned: BTreeMap::new(), process: None };
            events.push(Event::Settled(Settled { effect, end }));
        }
        events
    }
}

const RULE_HINT: &str = "\n  = a rule asks `context.input has amount &&` first; a number with a fraction is a \
    decimal, and fails where a whole one is compared";
/// Noon of Monday, 5 January 2026 in UTC: a case gives the same answer on every day
const NOW: Millis = Millis(1_767_614_400_000);
const TASK: TaskId = TaskId(1);
const RUN: RunId = RunId(1);
const PIN: Hash = Hash([0; 32]);
