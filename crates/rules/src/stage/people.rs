//! People on the stage: what they are asked there, and what they answer.

use super::{Judgement, RUN, SALT, Stage, TASK};
use portreeve_core::{
    commit::Committed,
    event::{Actor, Assertion, ChosenBy, Elevation, Event, Given, Granted, Held, HeldCall, HeldWhat, How, Signed, To},
    hash::Hash,
    judge::{self, Agreed, Elevating, Holding},
    names::{GrantId, HoldId, Name},
    node::Node,
    policy::{Class, Usage},
    reason::Reason,
    request::{Answering, Call, Elevate},
    value::Value,
};
use std::collections::BTreeMap;

/// A class that is opened before a call
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opens {
    /// For which tools and variants
    pub uses: Vec<Usage>,
    /// With exactly which values
    pub values: BTreeMap<String, Value>,
    /// How often
    pub times: u32,
    /// For how long, in milliseconds
    pub lasts_ms: i64,
}

/// What people said to one question
enum Said {
    /// Each of them may answer, or was not asked
    Heard,
    /// Somebody answered who may not, and why; nobody else did
    Refused(Vec<Reason>),
}

impl Stage<'_> {
    /// Those who say yes to what they are asked from now on; to be named before the task is opened
    pub fn people(&mut self, people: &[Name]) {
        self.people = people.to_vec();
    }

    /// Opens a class as the task's run would, with the yes of those who are there; says which, and whether no person
    /// had to agree
    ///
    /// # Errors
    /// Why it is not opened: what refuses it, what is still asked, or why somebody may not answer.
    pub fn elevate(&mut self, opens: &Opens) -> Result<(Class, bool), Vec<Reason>> {
        for usage in &opens.uses {
            self.accept(&usage.tool);
        }
        let elevate = Elevate {
            grant: GrantId(self.next()),
            by: Actor::Run(RUN),
            task: TASK,
            uses: opens.uses.clone(),
            values: opens.values.clone(),
            times: opens.times,
            lasts_ms: opens.lasts_ms,
            why: "a case".to_owned(),
        };
        let (class, holding) = match judge::judge_elevate(&self.state, &self.shelf, &elevate, self.clock)? {
            Elevating::Granted { class, owner, until, .. } => {
                self.grant(elevate.grant, To::Elevation(elevation(&elevate, class)), owner, (until, None, None));
                return Ok((class, true));
            }
            Elevating::Agreed(hold, agreed) => {
                let class = agreed.elevation.class;
                self.agree(hold, *agreed);
                return Ok((class, false));
            }
            Elevating::Stands(class, _) => return Ok((class, true)),
            Elevating::Held(class, holding) => (class, holding),
        };
        let hold = holding.ticket.hold;
        let reasons = holding.reasons.clone();
        self.ask(holding, HeldWhat::Elevation(elevation(&elevate, class)));
        let said = self.answers(hold);
        let opened = judge::granted_elevation(&self.state, &self.shelf, hold, self.clock.steady);
        match (opened, said) {
            (Some(agreed), _) => {
                self.agree(hold, agreed);
                Ok((class, false))
            }
            (None, Said::Refused(why)) => Err(why),
            (None, Said::Heard) => Err(reasons),
        }
    }

    /// Judges a call, and once more with the yes of those who are there if people are asked
    pub fn agreed(&mut self, call: &Call) -> Judgement {
        let judgement = self.judge(call);
        let Some(held) = judgement.held.clone().filter(|_| !self.people.is_empty()) else { return judgement };
        let hold = held.holding.ticket.hold;
        let judge::Held { holding, admission } = *held;
        let given = |(name, value): (&String, &Value)| {
            (name.clone(), Given { value: Committed::new(value, SALT), by: ChosenBy::Model })
        };
        let what = HeldCall {
            tool: call.tool.clone(),
            variants: admission.variants,
            class: admission.class,
            pin: call.fit.pin,
            arguments: call.arguments.iter().map(given).collect(),
            key: admission.seen.key,
            target: admission.seen.target,
            label: admission.seen.label,
            undo: admission.seen.undo,
            before: BTreeMap::new(),
            earlier: admission.seen.earlier,
        };
        self.ask(holding, HeldWhat::Call(Box::new(what)));
        let said = self.answers(hold);
        let again = self.judge(call);
        match said {
            Said::Refused(why) if again.held.is_some() => Judgement::refused(why),
            _ => again,
        }
    }

    /// Puts a question
    fn ask(&mut self, holding: Holding, what: HeldWhat) {
        let (Some(asking), Some(task)) = (holding.new, self.state.task(TASK)) else { return };
        let held = Held {
            hold: holding.ticket.hold,
            task: Some(TASK),
            agent: task.agent.clone(),
            user: task.user.clone(),
            chain: asking.chain,
            purpose: task.purpose.clone(),
            bundle: self.bundle.digest,
            what,
            questions: holding.ticket.questions,
            own: asking.own,
            binding: asking.binding,
            until: holding.ticket.until,
        };
        self.apply(Event::Held(Box::new(held)));
    }

    /// Everybody who is there says yes as the policy asks for it, if the door would take it
    fn answers(&mut self, hold: HoldId) -> Said {
        let (mut counted, mut refused) = (false, Vec::new());
        for user in self.people.clone() {
            let Some(known) = self.state.hold(hold) else { break };
            let (binding, until) = (known.held.binding, known.held.until);
            let answer = Answering {
                hold,
                binding,
                by: Actor::Person { user: user.clone(), how: How::Passkey },
                yes: true,
                why: String::new(),
                grant: GrantId(self.next()),
                signed: signed(),
            };
            let why = judge::judge_answer(&self.state, &self.shelf, &answer, self.clock);
            if why.is_empty() {
                counted = true;
                let owner = Node::User(user).to_string();
                let to = To::Approval { hold, binding };
                self.grant(answer.grant, to, owner, (until, Some(hold), Some(answer.signed)));
            } else {
                refused.extend(why);
            }
        }
        if counted || refused.is_empty() { Said::Heard } else { Said::Refused(refused) }
    }

    fn agree(&mut self, hold: HoldId, agreed: Agreed) {
        let Agreed { elevation, until, by } = agreed;
        let owner = by.map(Node::User).unwrap_or(Node::Tenant).to_string();
        self.grant(hold.into(), To::Elevation(elevation), owner, (until, Some(hold), None));
    }

    fn grant(
        &mut self,
        grant: GrantId,
        to: To,
        owner: String,
        (until, hold, signed): (portreeve_core::time::Millis, Option<HoldId>, Option<Signed>),
    ) {
        let why = Committed::new(&Value::String(String::new()), SALT);
        self.apply(Event::Granted(Box::new(Granted { grant, to, owner, why, until, hold, signed })));
    }
}

fn elevation(elevate: &Elevate, class: Class) -> Elevation {
    let value = |(name, value): (&String, &Value)| (name.clone(), Committed::new(value, SALT));
    Elevation {
        task: elevate.task,
        class,
        uses: elevate.uses.clone(),
        values: elevate.values.iter().map(value).collect(),
        times: elevate.times,
        lasts_ms: elevate.lasts_ms,
        why: Committed::new(&Value::String(elevate.why.clone()), SALT),
    }
}

/// Nobody signs on the stage: whether a signature is good is said by whoever takes the answer
fn signed() -> Signed {
    Signed {
        how: How::Passkey,
        at: super::NOON,
        read_ms: None,
        statement: Hash::default(),
        key: String::new(),
        signature: String::new(),
        passkey: Some(Assertion {
            credential: String::new(),
            public_key: String::new(),
            authenticator_data: String::new(),
            client_data: String::new(),
            signature: String::new(),
        }),
    }
}
