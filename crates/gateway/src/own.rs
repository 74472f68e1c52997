//! Calls that no client waits for: Portreeve makes them itself, for a task that a person opened.
//!
//! They go the way of every other call, from the judgement to the settlement; only their client is missing. A server
//! is told that it can do nothing, so it has nobody to ask.

use crate::{
    call::Calls,
    catalogue::Catalogue,
    client::{Client, Speaker, Waits},
    outlet::Outlet,
    settings::answer_limits,
    under_way::UnderWay,
    using::Using,
};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use portreeve_core::{
    names::{EffectId, RunId, Tool},
    request::Call,
    time::Millis,
    value::Value,
};
use portreeve_mcp::{can::Can, message::Message, method::Method, reply::META, version::Version};
use std::{collections::BTreeMap, sync::Arc};

/// What such calls need
#[derive(Debug)]
pub struct Own {
    calls: Arc<Calls>,
    catalogue: Arc<Catalogue>,
    under_way: Arc<UnderWay>,
}

/// What a client would have been told instead of an answer
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The word for it, if it has one
    pub word: Option<String>,
    /// In a sentence
    pub text: String,
}

/// Bytes of an answer that are looked at; the rest is read and forgotten
const SAID_BYTES_MAX: usize = 64 << 10;

impl Own {
    /// Calls that go the way of these
    #[must_use]
    pub fn new(calls: Arc<Calls>, catalogue: Arc<Catalogue>, under_way: Arc<UnderWay>) -> Self {
        Self { calls, catalogue, under_way }
    }

    /// Makes one call for a run; returns what was said once it is over
    ///
    /// What became of it is on the record of `effect`, or nothing is if it was not admitted.
    ///
    /// # Errors
    /// Why it was not even tried.
    pub async fn call(
        &self,
        (effect, run): (EffectId, RunId),
        tool: &Tool,
        arguments: &BTreeMap<String, Value>,
    ) -> Result<Said, String> {
        let name = Value::String(tool.name.to_string()).canonical();
        let given = Value::canonical_object(arguments);
        let text = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":{name},\"arguments\":{given}}}}}"
        );
        let message = Message::read(text.as_bytes(), &answer_limits()).map_err(|error| error.to_string())?;
        let place = self.under_way.place(run).ok_or("too many of its calls are under way")?;
        let (outlet, outs) = Outlet::new(false);
        let speaker = Speaker {
            run,
            until: Millis(i64::MAX),
            version: Version::July2026,
            can: Can::NONE,
            session: None,
            log_level: None,
        };
        let client = Client::new(speaker, Waits { id: "1".to_owned(), progress: None, outlet });
        let fit = self.catalogue.view().fit(tool, &Value::Object(arguments.clone()));
        let call = Call {
            effect,
            run,
            tool: tool.clone(),
            arguments: arguments.clone(),
            fit,
            answers: Vec::new(),
            continues: None,
            before: None,
            lease: None,
        };
        let using = Using {
            method: Method::CallTool,
            bytes: text.as_bytes(),
            message: &message,
            call,
            at: tool.connector.to_string(),
            key: (run, tool.connector.to_string(), effect.to_string()),
            renamed: None,
            called: tool.name.to_string(),
            brought: None,
            trace: None,
        };
        let read = async {
            let mut body = outs.reply(false).await.into_body();
            let mut kept = Vec::new();
            // To its end: what is read only in part would count as lost.
            while let Some(Ok(frame)) = body.frame().await {
                let data = frame.into_data().unwrap_or_else(|_| Bytes::new());
                let room = SAID_BYTES_MAX.saturating_sub(kept.len());
                kept.extend(data.iter().take(room));
            }
            Said::read(&kept)
        };
        let ((), said) = tokio::join!(self.calls.run(using, client, place), read);
        Ok(said)
    }
}

impl Said {
    fn read(answer: &[u8]) -> Self {
        let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
        let meta = ["/result/_meta", "/error/data"].iter().find_map(|pointer| answer.pointer(pointer)?.get(META));
        let text = |pointer| answer.pointer(pointer).and_then(serde_json::Value::as_str);
        let word = meta.and_then(|meta| meta.get("word")).and_then(serde_json::Value::as_str).map(str::to_owned);
        let text = text("/result/content/0/text").or_else(|| text("/error/message")).unwrap_or_default();
        let shown = word.as_ref().and_then(|word| text.strip_prefix(&format!("{word}: "))).unwrap_or(text);
        Self { text: shown.chars().filter(|c| !c.is_control()).take(SAID_CHARS).collect(), word }
    }
}

/// Characters of a sentence that are kept
const SAID_CHARS: usize = 400;
