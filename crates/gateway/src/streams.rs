//! What clients are told without asking each time: streams of sessions, and subscriptions.
//!
//! Each resource that somebody follows is judged as `resources/subscribe`, and its stream ends with the token that it was
//! opened with, with its task, and as soon as it would not be permitted any more.

use crate::{
    asks::{Asks, done, end_of},
    client::{Client, Waits},
    door::Door,
    endpoint::At,
    fate::Fate,
    links::{Linked, Links, Unready},
    lists::Lists,
    outlet::{Last, Outlet, Reply, empty},
    session::Session,
    settings::answer_limits,
    under_way::{Place, UnderWay, unless},
    using,
};
use bytes::Bytes;
use http::StatusCode;
use portreeve_core::{
    names::{Name, RunId},
    operation::Operation,
    policy::Class,
    reason::{Reason, Word},
    time::Millis,
};
use portreeve_identity::token::Good;
use portreeve_mcp::{
    can::Can,
    message::Message,
    method::{Method, Notice},
    params::{self, ListenFilter, META_SUBSCRIPTION},
    reply, translate,
    version::Era,
};
use portreeve_upstream::{clock::SteadyClock, event::News, latch::Latches, link::Listening};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};

/// Streams and subscriptions
#[derive(Debug)]
pub struct Streams {
    door: Door,
    latches: Arc<Latches>,
    links: Arc<Links>,
    asks: Arc<Asks>,
    under_way: Arc<UnderWay>,
    lists: Lists,
    clock: SteadyClock,
    /// How many stops there were
    stops: watch::Sender<u64>,
    /// How many of them were of something that tasks rest on: an agent, a purpose, all
    kills: watch::Sender<u64>,
    /// Dropped when a run is over; held only for a look-up
    runs: Mutex<HashMap<RunId, watch::Sender<()>>>,
    /// What sessions follow, by session and resource; held only for a look-up
    followed: Mutex<HashMap<Key, Following>>,
}

/// Who follows what: run, session, resource
type Key = (RunId, String, String);

/// A resource that a session follows, until this is dropped
#[derive(Debug)]
struct Following(AbortHandle);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A resource that is followed at its connector
struct Followed {
    connector: Name,
    uri: String,
    _listening: Listening,
}

/// What a client listens to on the stream of one request
struct Subscription {
    /// The id of its request, as it was written
    id: String,
    outlet: Outlet,
    honoured: ListenFilter,
    followed: Vec<Followed>,
    /// What happens to what is followed
    news: mpsc::Receiver<News>,
    /// Whether it is about lists too
    lists: bool,
    _place: Place,
}

/// Why a resource is not followed
enum Unfollowed {
    Refused(Vec<Reason>),
    Failed(Fate),
}

/// What changed of what a task can see
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its tools, with the digests of their definitions
    pub tools: BTreeMap<Name, Vec<(portreeve_core::names::ToolName, portreeve_core::hash::Hash)>>,
    /// Its prompts, by connector and the digest of what was accepted
    pub prompts: BTreeMap<Name, portreeve_core::hash::Hash>,
}

/// News that may wait for a client to read
const NEWS_MAX: usize = 64;
/// Resources that sessions of one run follow at most
const FOLLOWED_MAX: usize = 256;

impl Streams {
    /// No streams
    #[must_use]
    pub fn new(
        (door, latches): (Door, Arc<Latches>),
        links: Arc<Links>,
        (asks, under_way): (Arc<Asks>, Arc<UnderWay>),
        lists: Lists,
        clock: SteadyClock,
    ) -> Arc<Self> {
        let (stops, kills) = (watch::Sender::new(0), watch::Sender::new(0));
        let (runs, followed) = (Mutex::default(), Mutex::default());
        Arc::new(Self { door, latches, links, asks, under_way, lists, clock, stops, kills, runs, followed })
    }

    /// The stream of a session for what it did not ask for
    pub fn unasked(self: &Arc<Self>, good: Good, at: &At, session: &Arc<Session>) -> Reply {
        let Some(mut stream) = session.stream() else { return empty(StatusCode::CONFLICT) };
        let (outlet, outs) = Outlet::new(true);
        let (streams, at, can, session) = (Arc::clone(self), at.clone(), session.can, Arc::clone(session));
        let over = self.over(good.run, good.until);
        let closed = outlet.clone();
        let telling = async move {
            let (mut changes, mut made) = (streams.lists.catalogue.changes(), streams.links.made());
            let mut seen = Box::pin(streams.lists.seen(good.run, &at)).await;
            let (sender, mut news) = mpsc::channel(NEWS_MAX);
            // Connectors are not begun with for this; those that are there are heard.
            let (names, mut heard) = (Box::pin(streams.lists.names(good.run, &at)).await, BTreeMap::new());
            loop {
                tokio::select! {
                    // Boxed, as all that happens seldom: the stream would keep room for it else.
                    _ = made.changed() => Box::pin(streams.hear(good.run, &names, can, &sender, &mut heard)).await,
                    Some(one) = news.recv() => {
                        Box::pin(streams.relist(good.run, heard.keys(), can, &one)).await;
                        match one.what {
                            Notice::Tools | Notice::Prompts | Notice::Resources => {
                                outlet.tell(changed(one.what, None)).await;
                            }
                            Notice::Logged if logs(&session, &one) => {
                                if let Some(told) = subscribed(&one, None) {
                                    outlet.tell(told).await;
                                }
                            }
                            _ => {}
                        }
                    }
                    message = stream.recv() => match message {
                        Some(message) => { outlet.tell(message).await; }
                        None => return,
                    },
                    _ = changes.changed() => {
                        for notice in Box::pin(streams.changed(good.run, &at, &mut seen)).await {
                            outlet.tell(changed(notice, None)).await;
                        }
                    }
                }
            }
        };
        // However slowly the client reads, its stream ends with what it rests on.
        tokio::spawn(async move {
            tokio::select! {
                () = telling => {}
                () = over => {}
                () = closed.closed() => {}
            }
        });
        outs.stream()
    }

    /// Answers `resources/subscribe`, `resources/unsubscribe` and `subscriptions/listen`
    pub async fn request(
        self: &Arc<Self>,
        client: &Arc<Client>,
        at: &At,
        method: Method,
        message: &Message<'_>,
        id: &str,
        place: Place,
    ) {
        match method {
            Method::Listen => match ListenFilter::read(message.params()) {
                Ok(filter) => self.listen(client, at, filter, place).await,
                Err(wrong) => client.answer(|id| Last::ok(reply::error(Some(id), -32_602, wrong, None))).await,
            },
            _ => {
                let last = match params::uri(message.params()) {
                    Ok(uri) => self.subscription(client, at, method, uri, id).await,
                    Err(wrong) => Last::ok(reply::error(Some(id), -32_602, wrong, None)),
                };
                client.answer(|_| last).await;
            }
        }
    }

    /// A session follows a resource, or does not any more
    async fn subscription(
        self: &Arc<Self>,
        client: &Arc<Client>,
        at: &At,
        method: Method,
        uri: &str,
        id: &str,
    ) -> Last {
        let done = || Last::ok(reply::result_text(id, "{}"));
        let Some(session) = client.session.clone() else {
            let text = "a subscription needs a session";
            return Last::ok(reply::error(Some(id), -32_600, text, None));
        };
        let key = (client.run, session.id.clone(), uri.to_owned());
        if method == Method::Unsubscribe {
            self.followed().remove(&key);
            return done();
        }
        if self.followed().contains_key(&key) {
            return done();
        }
        if self.followed().keys().filter(|(run, ..)| *run == client.run).count() >= FOLLOWED_MAX {
            return Last::ok(reply::error(Some(id), -32_603, "too many resources are followed", None));
        }
        let (sender, mut news) = mpsc::channel(NEWS_MAX);
        let followed = match self.follow(client, at, uri, sender).await {
            Ok(followed) => followed,
            Err(unfollowed) => return unfollowed.told(method, client, id, uri),
        };
        let (streams, run, forget) = (Arc::clone(self), client.run, key.clone());
        let following = tokio::spawn(async move {
            // As long as the task: the token that the session shows is another one each time.
            let over = streams.over(run, Millis(i64::MAX));
            tokio::pin!(over);
            let (mut stops, mut changes) = (streams.stops.subscribe(), streams.lists.catalogue.changes());
            // Whoever was stopped just before was told to nobody here.
            stops.mark_changed();
            loop {
                tokio::select! {
                    message = news.recv() => match message {
                        Some(message) => {
                            let told = subscribed(&message, None).map(Bytes::from);
                            let _heard: Option<bool> = told.map(|told| session.tell(&told));
                        }
                        None => break,
                    },
                    _ = async { tokio::select! { _ = stops.changed() => {}, _ = changes.changed() => {} } } => {
                        if streams.may(run, &followed.connector, &followed.uri).await.is_err() {
                            break;
                        }
                    }
                    () = &mut over => break,
                }
            }
            drop(followed);
            // Not itself: that would end this task before the subscription.
            let own = streams.followed().remove(&forget);
            drop(own);
        });
        self.followed().insert(key, Following(following.abort_handle()));
        done()
    }

    /// A client follows lists and resources on the stream of this very request
    async fn listen(self: &Arc<Self>, client: &Arc<Client>, at: &At, filter: ListenFilter, place: Place) {
        let over = self.over(client.run, client.until);
        let hello = match self.lists.greet(client.run, at).await {
            Ok(hello) => hello,
            Err(reasons) => return client.answer(|id| Last::ok(reply::refused(id, &reasons))).await,
        };
        let (sender, news) = mpsc::channel(NEWS_MAX);
        let mut followed = Vec::new();
        for uri in &filter.uris {
            // What may not be followed is not acknowledged (2026-07-28, Subscriptions).
            followed.extend(self.follow(client, at, uri, sender.clone()).await);
        }
        drop(sender);
        let honoured = ListenFilter {
            tools: filter.tools,
            prompts: filter.prompts && hello.has(Operation::GetPrompt),
            resources: filter.resources && hello.has(Operation::ReadResource),
            uris: followed.iter().map(|followed| followed.uri.clone()).collect(),
            tasks: Vec::new(),
        };
        let Some(Waits { id, outlet, .. }) = client.take() else { return };
        outlet.tell(reply::acknowledged(&id, &honoured)).await;
        let lists = filter.tools || filter.prompts || filter.resources;
        let subscription = Subscription { id, outlet, honoured, followed, news, lists, _place: place };
        let (streams, client, at) = (Arc::clone(self), Arc::clone(client), at.clone());
        // In a task of its own: the request, and the room that its judgement took, are let go of.
        tokio::spawn(async move { streams.attend(&client, &at, subscription, over).await });
    }

    /// Tells a client what it subscribed to, until it may not any more
    async fn attend(&self, client: &Client, at: &At, subscription: Subscription, over: impl Future<Output = ()>) {
        let Subscription { id, outlet, honoured, mut followed, mut news, lists, _place } = subscription;
        let (mut stops, mut changes) = (self.stops.subscribe(), self.lists.catalogue.changes());
        // However slowly the client reads, its stream ends with what it rests on.
        let telling = async {
            let (sender, mut told) = mpsc::channel(NEWS_MAX);
            let heard = Box::pin(self.begin(client, at, lists, &sender)).await;
            let mut seen = Box::pin(self.lists.seen(client.run, at)).await;
            loop {
                tokio::select! {
                    Some(message) = news.recv() => {
                        if let Some(told) = subscribed(&message, Some(&id)) {
                            outlet.tell(told).await;
                        }
                    }
                    Some(one) = told.recv() => {
                        Box::pin(self.relist(client.run, heard.keys(), client.can, &one)).await;
                        if wants(&honoured, one.what) {
                            outlet.tell(changed(one.what, Some(&id))).await;
                        }
                    }
                    _ = changes.changed() => {
                        followed = Box::pin(self.permitted(client.run, std::mem::take(&mut followed))).await;
                        for notice in Box::pin(self.changed(client.run, at, &mut seen)).await {
                            if wants(&honoured, notice) {
                                outlet.tell(changed(notice, Some(&id))).await;
                            }
                        }
                    }
                    _ = stops.changed() => {
                        followed = Box::pin(self.permitted(client.run, std::mem::take(&mut followed))).await;
                    }
                }
            }
        };
        tokio::select! {
            () = telling => {}
            () = over => {}
            () = outlet.closed() => return,
        }
        // The specification says both (2026-07-28, Subscriptions and Cancellation); who does not read hears neither.
        let _heard: bool = outlet.try_tell(cancelled(&id));
        let ended = outlet.last(Last::ok(reply::subscription_over(&id)));
        let _ = tokio::time::timeout(Duration::from_secs(1), ended).await;
    }

    /// Hears from all connectors of an endpoint, which are begun with for it
    async fn begin(
        &self,
        client: &Client,
        at: &At,
        lists: bool,
        news: &mpsc::Sender<News>,
    ) -> BTreeMap<Name, Listening> {
        let mut heard = BTreeMap::new();
        if lists {
            let names = self.lists.names(client.run, at).await;
            for connector in &names {
                let _ = self.links.look(client.run, connector, client.can).await;
            }
            self.hear(client.run, &names, client.can, news, &mut heard).await;
        }
        heard
    }

    /// Hears from connectors that are there, and are not heard already, that their lists changed: that is discovery
    async fn hear(
        &self,
        run: RunId,
        names: &[Name],
        can: Can,
        news: &mpsc::Sender<News>,
        heard: &mut BTreeMap<Name, Listening>,
    ) {
        let filter = ListenFilter { tools: true, prompts: true, resources: true, ..ListenFilter::default() };
        for connector in names {
            if heard.contains_key(connector) {
                continue;
            }
            let Some(linked) = self.links.ready(run, connector, can, Class::Read) else { continue };
            if let Ok(listening) = linked.link.listen(filter.clone(), None, news.clone()).await {
                heard.insert(connector.clone(), listening);
            }
        }
    }

    /// Looks again at what connectors offer, after one of them said that it changed
    async fn relist(&self, run: RunId, connectors: impl Iterator<Item = &Name>, can: Can, news: &News) {
        if matches!(news.what, Notice::Tools | Notice::Prompts) {
            for connector in connectors {
                // Those that did not change are as ready as before; nothing is begun for a run that is over.
                if self.links.has(run, connector, can) {
                    let _ = self.links.look(run, connector, can).await;
                }
            }
        }
    }

    /// Follows a resource at its connector, once that is admitted
    async fn follow(
        &self,
        client: &Client,
        at: &At,
        uri: &str,
        news: mpsc::Sender<News>,
    ) -> Result<Followed, Unfollowed> {
        let run = client.run;
        let connector = match at {
            At::One(connector) => Some(connector.clone()),
            At::All => self.lists.of_uri(run, uri).await,
        };
        let Some(connector) = connector else {
            return Err(Unfollowed::Refused(vec![Reason::new(Word::ToolOutsidePurpose, at)]));
        };
        self.may(run, &connector, uri).await.map_err(Unfollowed::Refused)?;
        let Linked { link, lease } = match self.links.look(run, &connector, client.can).await {
            Ok(linked) => linked,
            Err(Unready::Refused(reasons)) => return Err(Unfollowed::Refused(reasons)),
            Err(Unready::Unreachable(why)) => return Err(Unfollowed::Failed(Fate::Unreachable(why))),
        };
        let admitted = self.asks.begin(run, &connector, (Method::Subscribe, &of(uri)), lease).await;
        let (permit, leaving) = admitted.map_err(Unfollowed::Refused)?;
        let effect = leaving.effect();
        let filter = ListenFilter { uris: vec![uri.to_owned()], ..ListenFilter::default() };
        let pass = self.latches.pass(permit);
        let (withdrawal, mut watched) = (pass.withdrawal(), self.under_way.watch(effect));
        match unless(watched.cancelled(), link.listen(filter, Some(pass), news), &withdrawal).await {
            Ok(listening) if !listening.honoured.uris.iter().any(|honoured| honoured == uri) => {
                self.asks.settle(leaving, done(false));
                Err(Unfollowed::Failed(Fate::Rejected("it does not tell of this resource".to_owned())))
            }
            Ok(listening) => {
                self.asks.settle(leaving, done(true));
                Ok(Followed { connector, uri: uri.to_owned(), _listening: listening })
            }
            Err(failure) => {
                self.asks.settle(leaving, end_of(Err(&failure)));
                Err(Unfollowed::Failed(failure.into()))
            }
        }
    }

    async fn may(&self, run: RunId, connector: &Name, uri: &str) -> Result<(), Vec<Reason>> {
        self.asks.may(run, connector, Method::Subscribe, &of(uri)).await
    }

    /// What of the followed may still be followed; the rest is let go of
    async fn permitted(&self, run: RunId, followed: Vec<Followed>) -> Vec<Followed> {
        let mut left = Vec::with_capacity(followed.len());
        for one in followed {
            if self.may(run, &one.connector, &one.uri).await.is_ok() {
                left.push(one);
            }
        }
        left
    }

    /// What of the lists changed for a task, since it was last looked at
    async fn changed(&self, run: RunId, at: &At, seen: &mut Seen) -> Vec<Notice> {
        let now = self.lists.seen(run, at).await;
        let tools = (now.tools != seen.tools).then_some(Notice::Tools);
        let prompts = (now.prompts != seen.prompts).then_some(Notice::Prompts);
        *seen = now;
        tools.into_iter().chain(prompts).collect()
    }

    /// Something was stopped: each subscription looks whether it still may go on
    pub fn look_again(&self) {
        self.stops.send_modify(|stops| *stops += 1);
    }

    /// A session is over, and so is what it follows
    pub fn forget(&self, session: &Session) {
        self.followed().retain(|(_, id, _), _| *id != session.id);
    }

    /// Something that tasks rest on was stopped: each stream looks whether its task still lives
    pub fn look_at_lives(&self) {
        self.kills.send_modify(|kills| *kills += 1);
    }

    /// A run is over, and so are its streams
    pub fn cut(&self, run: RunId) {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).remove(&run);
    }

    /// Returns once the run is over, what it rests on, or the token; listens from now on, not from when it is first
    /// waited for
    fn over(self: &Arc<Self>, run: RunId, until: Millis) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = {
            let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
            runs.entry(run).or_insert_with(|| watch::channel(()).0).subscribe()
        };
        let left = until.since(self.clock.now()).clamp(0, EXPIRY_MS_MAX).unsigned_abs();
        let (streams, mut kills) = (Arc::clone(self), self.kills.subscribe());
        async move {
            let expiry = tokio::time::sleep(Duration::from_millis(left));
            tokio::pin!(expiry);
            // Asked for after it is listened for: what was stopped meanwhile is seen either here or there.
            while Box::pin(streams.lives(run)).await {
                tokio::select! {
                    _ = ended.changed() => return,
                    () = &mut expiry => return,
                    _ = kills.changed() => {}
                }
            }
            streams.cut(run);
        }
    }

    /// Whether the task of a run may still do anything
    async fn lives(&self, run: RunId) -> bool {
        let now = self.clock.now();
        let lives = self.door.ask(move |engine| {
            let state = engine.state();
            state.task_of(run).is_some_and(|task| state.life(task, now).is_empty())
        });
        lives.await.unwrap_or(false)
    }

    fn followed(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Following>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream is looked after no longer than this without a new request: thirty days
const EXPIRY_MS_MAX: i64 = 30 * 24 * 3_600_000;

/// Whether a session wants to know what was logged
fn logs(session: &Session, news: &News) -> bool {
    let message = Message::read_answer(&news.raw, &answer_limits()).ok();
    let level = message.as_ref().and_then(translate::logged_level);
    level.zip(session.level()).is_none_or(|(level, from)| level >= from)
}

fn wants(filter: &ListenFilter, notice: Notice) -> bool {
    match notice {
        Notice::Tools => filter.tools,
        Notice::Prompts => filter.prompts,
        Notice::Resources => filter.resources,
        _ => false,
    }
}

/// What a connector tells, for a client that follows it
fn subscribed(news: &News, subscription: Option<&str>) -> Option<Vec<u8>> {
    let message = Message::read_answer(&news.raw, &answer_limits()).ok()?;
    let era = if subscription.is_some() { Era::Modern } else { Era::Legacy };
    translate::notification(&news.raw, &message, era, None, subscription)
}

/// That a list changed, in our own words
fn changed(notice: Notice, subscription: Option<&str>) -> Vec<u8> {
    let params = subscription
        .map_or_else(String::new, |id| format!(",\"params\":{{\"_meta\":{{\"{META_SUBSCRIPTION}\":{id}}}}}"));
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{}\"{params}}}", notice.as_str()).into_bytes()
}

/// That a subscription is taken down
fn cancelled(id: &str) -> Vec<u8> {
    let method = Notice::Cancelled.as_str();
    let reason = "\"the task, the token or the permission ended\"";
    format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{{\"requestId\":{id},\"reason\":{reason}}}}}")
        .into_bytes()
}

fn of(uri: &str) -> String {
    serde_json::json!({ "uri": uri }).to_string()
}

impl Unfollowed {
    fn told(self, method: Method, client: &Client, id: &str, uri: &str) -> Last {
        match self {
            Self::Refused(reasons) if reasons.first().is_some_and(|reason| reason.word == Word::ToolOutsidePurpose) => {
                using::unknown(Method::ReadResource, id, uri, client.version)
            }
            Self::Refused(reasons) => Last::ok(reply::refused(id, &reasons)),
            Self::Failed(fate) => Last::ok(fate.told(id, method, client.era())),
        }
    }
}
