//! The methods of the protocol: which side sends them, in which era, and what their headers mirror.

use crate::version::Era;

/// A request of the protocol
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// `initialize`
    Initialize,
    /// `ping`
    Ping,
    /// `server/discover`
    Discover,
    /// `tools/list`
    ListTools,
    /// `tools/call`
    CallTool,
    /// `resources/list`
    ListResources,
    /// `resources/templates/list`
    ListTemplates,
    /// `resources/read`
    ReadResource,
    /// `resources/subscribe`
    Subscribe,
    /// `resources/unsubscribe`
    Unsubscribe,
    /// `prompts/list`
    ListPrompts,
    /// `prompts/get`
    GetPrompt,
    /// `completion/complete`
    Complete,
    /// `logging/setLevel`
    SetLevel,
    /// `subscriptions/listen`
    Listen,
    /// `tasks/get`, of the extension for MCP tasks
    GetTask,
    /// `tasks/update`, of the extension for MCP tasks
    UpdateTask,
    /// `tasks/cancel`, of the extension for MCP tasks
    CancelTask,
    /// `sampling/createMessage`, asked by a server
    Sample,
    /// `elicitation/create`, asked by a server
    Elicit,
    /// `roots/list`, asked by a server
    ListRoots,
}

impl Method {
    /// All of them
    pub const ALL: [Self; 21] = [
        Self::Initialize,
        Self::Ping,
        Self::Discover,
        Self::ListTools,
        Self::CallTool,
        Self::ListResources,
        Self::ListTemplates,
        Self::ReadResource,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::ListPrompts,
        Self::GetPrompt,
        Self::Complete,
        Self::SetLevel,
        Self::Listen,
        Self::GetTask,
        Self::UpdateTask,
        Self::CancelTask,
        Self::Sample,
        Self::Elicit,
        Self::ListRoots,
    ];

    /// As it stands in messages
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Ping => "ping",
            Self::Discover => "server/discover",
            Self::ListTools => "tools/list",
            Self::CallTool => "tools/call",
            Self::ListResources => "resources/list",
            Self::ListTemplates => "resources/templates/list",
            Self::ReadResource => "resources/read",
            Self::Subscribe => "resources/subscribe",
            Self::Unsubscribe => "resources/unsubscribe",
            Self::ListPrompts => "prompts/list",
            Self::GetPrompt => "prompts/get",
            Self::Complete => "completion/complete",
            Self::SetLevel => "logging/setLevel",
            Self::Listen => "subscriptions/listen",
            Self::GetTask => "tasks/get",
            Self::UpdateTask => "tasks/update",
            Self::CancelTask => "tasks/cancel",
            Self::Sample => "sampling/createMessage",
            Self::Elicit => "elicitation/create",
            Self::ListRoots => "roots/list",
        }
    }

    /// The method of this name
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == text)
    }

    /// Whether a client of this era sends it as a request
    #[must_use]
    pub fn from_client(self, era: Era) -> bool {
        match self {
            Self::Sample | Self::Elicit | Self::ListRoots => false,
            Self::Initialize | Self::Ping | Self::Subscribe | Self::Unsubscribe | Self::SetLevel => era == Era::Legacy,
            Self::Discover | Self::Listen | Self::GetTask | Self::UpdateTask | Self::CancelTask => era == Era::Modern,
            _ => true,
        }
    }

    /// Whether a server asks it of its client
    #[must_use]
    pub fn from_server(self) -> bool {
        matches!(self, Self::Sample | Self::Elicit | Self::ListRoots)
    }

    /// The member of `params` that `Mcp-Name` repeats (2026-07-28, Streamable HTTP, Standard Request Headers; Tasks)
    #[must_use]
    pub fn named_by(self) -> Option<&'static str> {
        match self {
            Self::CallTool | Self::GetPrompt => Some("name"),
            Self::ReadResource => Some("uri"),
            Self::GetTask | Self::UpdateTask | Self::CancelTask => Some("taskId"),
            _ => None,
        }
    }

    /// Whether its answer may be a question back (2026-07-28, Multi Round-Trip Requests)
    #[must_use]
    pub fn may_ask(self) -> bool {
        matches!(self, Self::CallTool | Self::ReadResource | Self::GetPrompt)
    }

    /// Whether its complete answers say how long they hold (2026-07-28, Caching)
    #[must_use]
    pub fn is_cacheable(self) -> bool {
        matches!(
            self,
            Self::Discover
                | Self::ListTools
                | Self::ListPrompts
                | Self::ListResources
                | Self::ListTemplates
                | Self::ReadResource
        )
    }
}

/// A notification of the protocol
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Notice {
    /// `notifications/initialized`, said by legacy clients
    Initialized,
    /// `notifications/cancelled`
    Cancelled,
    /// `notifications/progress`
    Progress,
    /// `notifications/message`: something was logged
    Logged,
    /// `notifications/tools/list_changed`
    Tools,
    /// `notifications/prompts/list_changed`
    Prompts,
    /// `notifications/resources/list_changed`
    Resources,
    /// `notifications/resources/updated`
    Updated,
    /// `notifications/roots/list_changed`, said by legacy clients
    Roots,
    /// `notifications/elicitation/complete`, of 2025-11-25
    UrlDone,
    /// `notifications/subscriptions/acknowledged`
    Acknowledged,
    /// `notifications/tasks`, of the extension for tasks
    Task,
}

impl Notice {
    /// All of them
    pub const ALL: [Self; 12] = [
        Self::Initialized,
        Self::Cancelled,
        Self::Progress,
        Self::Logged,
        Self::Tools,
        Self::Prompts,
        Self::Resources,
        Self::Updated,
        Self::Roots,
        Self::UrlDone,
        Self::Acknowledged,
        Self::Task,
    ];

    /// As it stands in messages
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initialized => "notifications/initialized",
            Self::Cancelled => "notifications/cancelled",
            Self::Progress => "notifications/progress",
            Self::Logged => "notifications/message",
            Self::Tools => "notifications/tools/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
            Self::Resources => "notifications/resources/list_changed",
            Self::Updated => "notifications/resources/updated",
            Self::Roots => "notifications/roots/list_changed",
            Self::UrlDone => "notifications/elicitation/complete",
            Self::Acknowledged => "notifications/subscriptions/acknowledged",
            Self::Task => "notifications/tasks",
        }
    }

    /// The notification of this name
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|notice| notice.as_str() == text)
    }
}
