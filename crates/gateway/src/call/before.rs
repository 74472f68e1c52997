//! Reads what is there before a call, so that it can be put back: a call of its own, judged and recorded as any other.
//!
//! Its agent sees nothing of it. Whatever goes wrong only means that the call has no undo.

use super::{Calls, Leg, Legged, Walk};
use crate::{client::Client, outlet, settings::answer_limits, under_way::Entered, using::Using};
use portreeve_core::{
    event::Actor,
    judge::{Reading, Ticket},
    life::Happened,
    names::{EffectId, Tool},
    node::{Node, Why},
    request::{Call, Read, Request, Stop},
    value::Value,
};
use portreeve_mcp::{edit::quoted, message::Message, method::Method, version::Version};
use portreeve_upstream::link::fields;
use std::{collections::BTreeMap, pin::Pin, sync::Arc};

/// Bytes of an answer from which fields are taken
const READ_BYTES_MAX: usize = 256 << 10;

/// A call of a tool in words of our own; `meta` as a client of the modern era has it
pub(super) fn message(tool: &Tool, arguments: &BTreeMap<String, Value>, meta: Option<&str>) -> Vec<u8> {
    let (name, arguments) = (quoted(tool.name.as_str()), Value::canonical_object(arguments));
    let meta = meta.map_or_else(String::new, |meta| format!(",\"_meta\":{meta}"));
    let params = format!("{{\"name\":{name},\"arguments\":{arguments}{meta}}}");
    format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{params}}}").into_bytes()
}

impl Calls {
    /// Reads what has to be read before a call
    pub(super) async fn before(
        self: &Arc<Self>,
        reading: Reading,
        of: &Using<'_>,
        client: &Client,
        entered: &mut Entered,
    ) -> Happened {
        let Ok(effect) = crate::tasks::draw().map(EffectId) else { return Happened::WasRead(Read::default()) };
        let bytes = message(&reading.tool, &reading.arguments, None);
        let Ok(read) = Message::read(&bytes, &answer_limits()) else { return Happened::WasRead(Read::default()) };
        let fit = self.catalogue.view().fit(&reading.tool, &Value::Object(reading.arguments.clone()));
        let call = Call {
            effect,
            run: of.call.run,
            tool: reading.tool.clone(),
            arguments: reading.arguments,
            fit,
            answers: Vec::new(),
            continues: None,
            before: None,
            lease: None,
        };
        let using = Using {
            method: Method::CallTool,
            bytes: &bytes,
            message: &read,
            call: call.clone(),
            at: of.at.clone(),
            key: (call.run, "before".to_owned(), effect.to_string()),
            renamed: None,
            called: reading.tool.name.to_string(),
            brought: None,
            trace: of.trace.clone(),
        };
        let silent = Client::away(client.run, client.until, Version::LATEST_LEGACY);
        let mut own = self.under_way.enter(&using, None, Arc::clone(&self.asks));
        let mut walk = Walk::nested();
        let leg = Leg { call, state: None, answers: BTreeMap::new() };
        let mut walking = self.boxed(&using, leg, &silent, &mut own, &mut walk);
        let mut cancelled = None;
        let legged = loop {
            tokio::select! {
                legged = &mut walking => break legged,
                // What has begun is called off, and recorded as any other: it is never just dropped.
                why = entered.cancelled(client), if cancelled.is_none() => {
                    self.under_way.cancel(effect, &why);
                    cancelled = Some(why);
                }
            }
        };
        if let Some(why) = cancelled {
            return Happened::NotPrepared(why);
        }
        Happened::WasRead(match legged {
            Legged::Told(answer) => match answer("1").message {
                outlet::Message::Whole(answer) if is_good(&answer) => {
                    Read { effect: Some(effect), values: fields(&answer, &reading.fields) }
                }
                _ => Read::default(),
            },
            Legged::Passed | Legged::Asks(_) => Read::default(),
        })
    }

    /// A leg within a leg
    pub(super) fn boxed<'l>(
        self: &'l Arc<Self>,
        using: &'l Using<'_>,
        leg: Leg,
        client: &'l Arc<Client>,
        entered: &'l mut Entered,
        walk: &'l mut Walk,
    ) -> Pin<Box<dyn Future<Output = Legged> + Send + 'l>> {
        Box::pin(self.leg(using, leg, client, entered, walk))
    }

    /// Takes a question back that nobody should be asked: a read that needs a person is not made
    pub(super) async fn withdraw(&self, ticket: &Ticket) {
        let stop = Stop { node: Node::Hold(ticket.hold), why: Why::Ended, by: Actor::System, at: None };
        self.door.submit(Request::Stop(stop)).await;
    }
}

/// Whether something can be taken from an answer
fn is_good(answer: &[u8]) -> bool {
    let Ok(message) = Message::read_answer(answer, &answer_limits()) else { return false };
    let failed = |result: &portreeve_core::json::Json<'_>| {
        result.get("isError").and_then(portreeve_core::json::Json::as_bool) == Some(true)
    };
    answer.len() <= READ_BYTES_MAX && message.result().is_some_and(|result| !failed(result))
}
