//! One message of a client: what it is, in which era it is spoken, and who answers it.

use crate::{
    asks::Asks,
    call::{Calls, away::Away},
    catalogue::Catalogue,
    client::{Client, Speaker, Waits},
    door::Door,
    elevating::{self, Elevating},
    endpoint::{At, Via, modern},
    held::Holds,
    lists::Lists,
    outlet::{Last, Outlet},
    polls::Polls,
    session::{Session, Sessions},
    settings::{REQUEST_BYTES_MAX, TTL_MS_MAX},
    streams::Streams,
    under_way::{Place, UnderWay},
    using::{Reading, Using},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use portreeve_core::{
    json::{Json, Limits},
    names::RunId,
    reason::{Reason, Word},
    request::{Refusal, Request as Asking},
};
use portreeve_identity::token::Good;
use portreeve_mcp::{
    asked::{self, Spoken},
    can::Can,
    message::{Id, Message, Shape},
    method::{Method, Notice},
    outgoing,
    params::{self, META_VERSION},
    reply::{self, Server},
    version::{Era, Version},
};
use portreeve_upstream::http::SESSION;
use std::{borrow::Cow, sync::Arc};

/// Who answers what
#[derive(Debug)]
pub struct Dispatch {
    /// The door
    pub door: Door,
    /// What the connectors offer
    pub catalogue: Arc<Catalogue>,
    /// Calls
    pub calls: Arc<Calls>,
    /// What is under way
    pub under_way: Arc<UnderWay>,
    /// Questions to clients
    pub asks: Arc<Asks>,
    /// Questions to people
    pub holds: Arc<Holds>,
    /// Sessions
    pub sessions: Arc<Sessions>,
    /// Discovery
    pub lists: Lists,
    /// Subscriptions
    pub streams: Arc<Streams>,
    /// MCP tasks
    pub polls: Polls,
    /// MCP tasks of what waits for people
    pub away: Arc<Away>,
    /// Classes that are asked for
    pub elevating: Elevating,
}

/// A message that arrived
#[derive(Debug)]
pub struct Arrived {
    /// At which endpoint
    pub at: At,
    /// What its token says
    pub good: Good,
    /// How
    pub via: Via,
    /// With which headers
    pub headers: HeaderMap,
    /// In which session
    pub session: Option<Arc<Session>>,
    /// The message
    pub body: Bytes,
}

impl Arrived {
    /// Its headers; a stream of lines has none of the protocol, so what they would repeat is taken from the body
    fn headers(&self, message: &Message<'_>) -> Cow<'_, HeaderMap> {
        let meta = message.params().and_then(|params| params.get("_meta"));
        let version = meta.and_then(|meta| meta.get(META_VERSION)).and_then(Json::as_str).and_then(Version::read);
        match (self.via, version) {
            (Via::Socket, Some(version)) => Cow::Owned(outgoing::headers(message, version, &[]).into_iter().collect()),
            _ => Cow::Borrowed(&self.headers),
        }
    }
}

impl Dispatch {
    /// Answers one message through its outlet
    pub async fn message(&self, arrived: Arrived, outlet: Outlet, place: Place) {
        let limits = Limits { bytes_max: REQUEST_BYTES_MAX, ..Limits::DEFAULT };
        let message = match Message::read(&arrived.body, &limits) {
            Ok(message) => message,
            Err(error) => {
                let text = reply::error(None, error.code(), &error.to_string(), None);
                return outlet.last(Last::with(StatusCode::BAD_REQUEST, text)).await;
            }
        };
        match message.shape() {
            Shape::Notification { method } => {
                let last = self.notification(&arrived, &message, method);
                outlet.last(last).await;
            }
            Shape::Response { id, error } => {
                let last = Self::response(&arrived, &message, id.as_ref(), *error);
                outlet.last(last).await;
            }
            Shape::Request { id, method } => match self.speaker(&arrived, &message) {
                Ok(speaker) => {
                    let progress = match params::progress_token(message.params()) {
                        Ok(token) => token.map(str::to_owned),
                        Err(wrong) => {
                            let text = reply::error(Some(id.raw()), -32_602, wrong, None);
                            return outlet.last(Last::ok(text)).await;
                        }
                    };
                    let client = Client::new(speaker, Waits { id: id.raw().to_owned(), progress, outlet });
                    self.request(&arrived, &message, (id, method), client, place).await;
                }
                Err(refused) => {
                    let text = reply::refused_early(Some(id.raw()), &refused);
                    outlet.last(Last::with(refused.status, text)).await;
                }
            },
        }
    }

    /// How the client speaks in this request (2026-07-28, Versioning)
    fn speaker(&self, arrived: &Arrived, message: &Message<'_>) -> Result<Speaker, asked::Refused> {
        let spoken = asked::spoken(&arrived.headers(message), message)?;
        let (run, until) = (arrived.good.run, arrived.good.until);
        Ok(match spoken {
            Spoken::Modern(modern) => Speaker {
                run,
                until,
                version: modern.version,
                can: modern.can,
                session: None,
                log_level: modern.log_level,
            },
            Spoken::Legacy(header) => match &arrived.session {
                Some(session) if header.is_some_and(|header| header != session.version) => {
                    return Err(asked::Refused {
                        status: StatusCode::BAD_REQUEST,
                        code: -32_600,
                        message: format!("this session speaks {}", session.version.as_str()),
                        data: None,
                    });
                }
                Some(session) => Speaker {
                    run,
                    until,
                    version: session.version,
                    can: session.can,
                    session: Some(Arc::clone(session)),
                    log_level: session.level(),
                },
                // No session is needed by whoever wants nothing that needs one.
                None => {
                    let version = header.unwrap_or(Version::March2025);
                    Speaker { run, until, version, can: Can::NONE, session: None, log_level: None }
                }
            },
        })
    }

    fn notification(&self, arrived: &Arrived, message: &Message<'_>, method: &str) -> Last {
        if let Err(refused) = asked::spoken(&arrived.headers(message), message) {
            return Last::with(refused.status, reply::refused_early(None, &refused));
        }
        // In the era without sessions hanging up is the cancellation, but where there are only lines.
        let cancels = arrived.via == Via::Socket || !modern(&arrived.headers);
        if method == Notice::Cancelled.as_str()
            && cancels
            && let Some(id) = params::cancelled(message)
        {
            let session = arrived.session.as_ref().map_or_else(|| arrived.at.to_string(), |session| session.id.clone());
            self.under_way.cancel_request(&(arrived.good.run, session, id.to_owned()));
        }
        Last::empty(StatusCode::ACCEPTED)
    }

    /// The answer to a question that we put to a client with a session
    fn response(arrived: &Arrived, message: &Message<'_>, id: Option<&Id<'_>>, error: bool) -> Last {
        let number = id.and_then(|id| id.raw().parse().ok());
        let answer = if error {
            let code = message.error().and_then(|error| error.get("code")).and_then(Json::as_number);
            let text = message.error().and_then(|error| error.get("message")).and_then(Json::as_str);
            Err((code.and_then(|code| code.parse().ok()).unwrap_or(-32_603), text.unwrap_or_default().to_owned()))
        } else {
            Ok(message.result().map_or("{}", Json::raw).to_owned())
        };
        let answered = number.zip(arrived.session.as_ref()).is_some_and(|(number, session)| {
            let taken: bool = session.answered(number, answer);
            taken
        });
        Last::empty(if answered { StatusCode::ACCEPTED } else { StatusCode::BAD_REQUEST })
    }

    async fn request(
        &self,
        arrived: &Arrived,
        message: &Message<'_>,
        (id, name): (&Id<'_>, &str),
        client: Arc<Client>,
        place: Place,
    ) {
        let Some(method) = Method::read(name).filter(|method| method.from_client(client.era())) else {
            let last = self.unknown(arrived, id, name, client.era());
            return client.answer(|_| last).await;
        };
        let (at, raw) = (&arrived.at, id.raw());
        // Whoever brings something back ends a wait; it always finds a place.
        let ends_a_wait = message.params().is_some_and(|params| params.get("requestState").is_some());
        if self.under_way.is_full(client.run) && !ends_a_wait {
            return client.answer(|_| Last::empty(StatusCode::TOO_MANY_REQUESTS)).await;
        }
        let last = match method {
            Method::Initialize => self.initialize(arrived, message, id).await,
            Method::Ping => Last::ok(reply::result_text(raw, "{}")),
            Method::Discover => match self.lists.greet(client.run, at).await {
                Ok(hello) => {
                    let server = Server {
                        connector: &name_of(at),
                        capabilities: hello.capabilities(Era::Modern),
                        instructions: Some(&hello.instructions),
                    };
                    Last::ok(server.discover(raw, TTL_MS_MAX))
                }
                Err(reasons) => Last::ok(reply::refused(raw, &reasons)),
            },
            Method::ListTools | Method::ListPrompts | Method::ListResources | Method::ListTemplates => {
                match params::cursor(message.params()) {
                    Ok(cursor) => self.lists.list(&client, at, method, raw, cursor).await,
                    Err(wrong) => Last::ok(reply::error(Some(raw), -32_602, wrong, None)),
                }
            }
            Method::Subscribe | Method::Unsubscribe | Method::Listen => {
                return self.streams.request(&client, at, method, message, raw, place).await;
            }
            Method::GetTask | Method::UpdateTask | Method::CancelTask => {
                if let Some(last) = self.away.answer(&client, at, method, message, raw).await {
                    return client.answer(|_| last).await;
                }
                return self.polls.request(&client, at, method, message, raw).await;
            }
            Method::SetLevel if self.keeps_level(&client, at, message).await => Last::ok(reply::result_text(raw, "{}")),
            _ if elevating::is_called(at, method, message) => {
                return self.elevating.request(&client, (at, &self.lists), message, raw, place).await;
            }
            _ => {
                let reading = Reading { at, via: arrived.via, headers: &arrived.headers, client: &client };
                match Using::read(self, &reading, method, (&arrived.body, message), id).await {
                    Ok(using) => return self.calls.run(using, Arc::clone(&client), place).await,
                    Err(last) => last,
                }
            }
        };
        client.answer(|_| last).await;
    }

    /// Keeps the level of a session, and says whether nobody else has to know it
    async fn keeps_level(&self, client: &Client, at: &At, message: &Message<'_>) -> bool {
        let (Some(session), Ok(level)) = (&client.session, params::level(message.params())) else { return false };
        let At::One(connector) = at else {
            session.set_level(level);
            return true;
        };
        let (method, asked) = (Method::SetLevel, serde_json::json!({ "level": level.as_str() }).to_string());
        if self.asks.may(client.run, connector, method, &asked).await.is_err() {
            return false;
        }
        session.set_level(level);
        // A connector of the era without sessions is told with each request.
        let linked = self.lists.links.look(client.run, connector, client.can).await;
        linked.is_ok_and(|linked| linked.link.version().era() == Era::Modern)
    }

    async fn initialize(&self, arrived: &Arrived, message: &Message<'_>, id: &Id<'_>) -> Last {
        let wanted = match params::initialize(message.params()) {
            Ok(wanted) => wanted,
            Err(wrong) => return Last::ok(reply::error(Some(id.raw()), -32_602, wrong, None)),
        };
        let (version, can) = (Version::negotiate(wanted.version), wanted.can);
        let hello = match self.lists.greet(arrived.good.run, &arrived.at).await {
            Ok(hello) => hello,
            Err(reasons) => return Last::ok(reply::refused(id.raw(), &reasons)),
        };
        let server = Server {
            connector: &name_of(&arrived.at),
            capabilities: hello.capabilities(Era::Legacy),
            instructions: Some(&hello.instructions),
        };
        let mut last = Last::ok(server.initialize(id.raw(), version));
        let session = self.sessions.open(arrived.good.run, &arrived.at.to_string(), version, can);
        if let Some(Ok(id)) = session.map(|session| HeaderValue::from_str(&session.id)) {
            last.headers.push((SESSION, id));
        }
        last
    }

    /// What is not enforced is refused, and that is on the record
    fn unknown(&self, arrived: &Arrived, id: &Id<'_>, name: &str, era: Era) -> Last {
        let name: String = name.chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
        let reason = Reason::new(Word::MethodNotEnforced, &arrived.at).with("method", &name);
        self.refused(arrived.good.run, format!("{} {name}", arrived.at), &reason);
        let refused = asked::Refused::method_not_found(era);
        Last::with(refused.status, reply::refused_early(Some(id.raw()), &refused))
    }

    /// Has a refusal recorded that never came to a judgement
    pub fn refused(&self, run: RunId, what: String, reason: &Reason) {
        self.door.later(Asking::Refused(Refusal { run, what, reason: reason.clone() }));
    }
}

fn name_of(at: &At) -> String {
    match at {
        At::One(connector) => connector.to_string(),
        At::All => "all".to_owned(),
    }
}
