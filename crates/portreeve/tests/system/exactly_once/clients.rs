//! Clients of one run that make the same call, each in its own way.

use crate::{
    checklist::agent::Agent,
    support::{
        place::{Task, word},
        until,
    },
};
use serde_json::{Value, json};
use std::{cell::RefCell, thread, time::Duration};

/// A client, and what it brings back to its call
pub(super) struct Client {
    agent: Agent,
    tool: String,
    /// The MCP task that its call became
    task: Option<String>,
    /// What was sealed for it while people were asked
    state: Option<Value>,
}

/// A client, and what it was told each time, as one word; nothing where the connection broke
pub(super) type Told = (Client, Vec<Option<String>>);

/// Whether somebody who is told this has no reason to repeat the call
pub(super) fn is_over(word: &str) -> bool {
    !matches!(word, "approval_needed" | "call_under_way" | "working" | "withheld" | "connector_unreachable")
}

impl Client {
    /// One of either era, of each way to hear of people who are asked, and one at the endpoint of all connectors
    pub(super) fn of_each_kind(task: &Task, connector: &str) -> Vec<Self> {
        let pages = json!({ "elicitation": { "url": {} } });
        let tasks = json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } });
        let modern = || Agent::modern(task, connector);
        let agents = [
            modern(),
            Agent::legacy(task, connector, json!({})),
            Agent::modern(task, ""),
            Agent { can: tasks, ..modern() },
            Agent { can: pages.clone(), ..modern() },
            Agent::legacy(task, connector, pages),
        ];
        let prefix = |agent: &Agent| if agent.path == "/mcp" { format!("{connector}__") } else { String::new() };
        let client = |agent: Agent| Self { tool: format!("{}act", prefix(&agent)), agent, task: None, state: None };
        agents.into_iter().map(client).collect()
    }

    /// Has its connection made ready
    pub(super) fn warm(&self) {
        assert_eq!(self.agent.word(&self.tool.replace("act", "free"), "ready"), "ok");
    }

    /// Goes on with a fresh token after a restart; with the session that it had, or with a new one
    pub(super) fn rejoins(&mut self, task: &Task, anew: bool) {
        self.agent.task = task.clone();
        if anew && !self.agent.modern {
            let connector = self.agent.path.trim_start_matches("/mcp/").to_owned();
            self.agent = Agent::legacy(task, &connector, self.agent.can.clone());
        }
    }

    /// Makes the call, brings back what it was given, or looks at the task that it became; what it is told
    pub(super) fn attempt(&mut self, value: &str) -> Option<String> {
        if let Some(task) = &self.task {
            let shown = self.agent.try_ask("tasks/get", json!({ "taskId": task }))?;
            let result = &shown["result"];
            let ended = match result["status"].as_str() {
                Some("working") => return Some("working".to_owned()),
                Some("completed") => json!({ "result": result["result"] }),
                Some("failed") => json!({ "error": result["error"] }),
                _ => shown.clone(),
            };
            // Whatever came of it, another look says the same; only a call can go on.
            self.task = None;
            return Some(word(&ended));
        }
        let mut params = json!({ "name": self.tool, "arguments": { "value": value } });
        if let Some(state) = self.state.take() {
            params["requestState"] = state;
            params["inputResponses"] = json!({});
        }
        let answer = self.agent.try_ask("tools/call", params)?;
        let result = &answer["result"];
        let waits = match result["resultType"].as_str() {
            Some("task") => {
                self.task = result["taskId"].as_str().map(ToOwned::to_owned);
                "working"
            }
            Some("input_required") => {
                self.state = Some(result["requestState"].clone());
                "approval_needed"
            }
            _ if answer["error"]["code"] == -32042 => "approval_needed",
            _ => return Some(word(&answer)),
        };
        Some(waits.to_owned())
    }

    /// Attempts it once; if it is to be `patient`, looks at a task until that is over
    pub(super) fn goes_on(&mut self, value: &str, patient: bool) -> Option<String> {
        loop {
            let told = self.attempt(value)?;
            if !patient || told != "working" {
                return Some(told);
            }
            // As often as an eager client looks.
            thread::park_timeout(Duration::from_millis(2));
        }
    }

    /// Repeats the call until there is an outcome
    pub(super) fn repeats(self, value: &str) -> String {
        let (client, last) = (RefCell::new(self), RefCell::new(String::new()));
        until("there is an outcome", || {
            let told = client.borrow_mut().attempt(value).expect("no answer");
            *last.borrow_mut() = told;
            is_over(&last.borrow())
        });
        last.into_inner()
    }
}
