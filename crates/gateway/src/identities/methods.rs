//! The methods of the Workload API.

use super::{Caller, Entry, Identities, wire};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::Stream;
use hyper::body::Incoming;
use portreeve_core::time::Millis;
use portreeve_identity::{jose::Audience, svid};
use prost_types::{ListValue, Struct, Value, value::Kind};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::mpsc;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, ServerStreamingService, UnaryService},
};
use tonic_prost::ProstCodec;

/// Without it a request could have been forwarded by somebody who was tricked into it (Workload API, 4.1)
const HEADER: &str = "workload.spiffe.io";
/// How often it is looked whether a process still has what it was given, where nothing tells
const AGAIN: Duration = Duration::from_secs(5);
/// How long a certificate and a token count at most
const CERTIFICATE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const TOKEN_MAX: Duration = Duration::from_secs(5 * 60);
/// Bytes of a request at most
const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Whom one token may be for at most
const AUDIENCE_MAX: usize = 16;

/// Answers one request
pub(super) fn answer(
    this: &Arc<Identities>,
    caller: &Arc<Caller>,
    request: http::Request<Incoming>,
) -> Pin<Box<dyn Future<Output = http::Response<Body>> + Send>> {
    Box::pin(answered(Arc::clone(this), Arc::clone(caller), request))
}

async fn answered(
    this: Arc<Identities>,
    caller: Arc<Caller>,
    request: http::Request<Incoming>,
) -> http::Response<Body> {
    let mut shown = request.headers().get_all(HEADER).iter();
    if shown.next().is_none_or(|value| value != "true") || shown.next().is_some() {
        return Status::invalid_argument("the metadata workload.spiffe.io: true is missing").into_http();
    }
    match request.uri().path() {
        "/SpiffeWorkloadAPI/FetchX509SVID" => {
            let method = Streams(move |_: wire::Nothing| follow(&this, &caller, x509));
            grpc().server_streaming(method, request).await
        }
        "/SpiffeWorkloadAPI/FetchX509Bundles" => {
            let method = Streams(move |_: wire::Nothing| follow(&this, &caller, x509_bundles));
            grpc().server_streaming(method, request).await
        }
        "/SpiffeWorkloadAPI/FetchJWTBundles" => {
            let method = Streams(move |_: wire::Nothing| follow(&this, &caller, jwt_bundles));
            grpc().server_streaming(method, request).await
        }
        "/SpiffeWorkloadAPI/FetchJWTSVID" => {
            grpc().unary(Once(move |ask| jwt(Arc::clone(&this), Arc::clone(&caller), ask)), request).await
        }
        "/SpiffeWorkloadAPI/ValidateJWTSVID" => {
            grpc().unary(Once(move |ask| validate(Arc::clone(&this), Arc::clone(&caller), ask)), request).await
        }
        _ => Status::unimplemented("there is no such method").into_http(),
    }
}

fn grpc<E, D>() -> Grpc<ProstCodec<E, D>>
where
    E: prost::Message + Send + 'static,
    D: prost::Message + Default + Send + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(REQUEST_BYTES_MAX)
}

type Pending<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

/// What is pushed, as it comes
struct Pushed<T>(mpsc::Receiver<Result<T, Status>>);

impl<T> Stream for Pushed<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

/// A method with one answer
struct Once<F>(F);

impl<A, B, F, P> UnaryService<A> for Once<F>
where
    F: Fn(A) -> P,
    P: Future<Output = Result<B, Status>> + Send + 'static,
    B: Send + 'static,
{
    type Response = B;
    type Future = Pending<B>;

    fn call(&mut self, request: Request<A>) -> Pending<B> {
        let answer = (self.0)(request.into_inner());
        Box::pin(async move { answer.await.map(Response::new) })
    }
}

/// A method that answers as often as something changes
struct Streams<F>(F);

impl<A, B, F> ServerStreamingService<A> for Streams<F>
where
    F: Fn(A) -> Pushed<B>,
    B: Send + 'static,
{
    type Response = B;
    type ResponseStream = Pushed<B>;
    type Future = Pending<Pushed<B>>;

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let stream = (self.0)(request.into_inner());
        Box::pin(std::future::ready(Ok(Response::new(stream))))
    }
}

/// What one push says, and until when it counts
type Push<T> = fn(&Identities, &Caller, &[Entry], Millis) -> Result<(T, Millis), Status>;

/// Pushes what a process has: at once, when that changes, and before it ends; until it has nothing any more
fn follow<T: Send + 'static>(this: &Arc<Identities>, caller: &Arc<Caller>, push: Push<T>) -> Pushed<T> {
    let (this, caller) = (Arc::clone(this), Arc::clone(caller));
    let (out, into) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut changes = this.catalogue.changes();
        let (mut had, mut renew): (Vec<Entry>, Millis) = (Vec::new(), Millis(i64::MIN));
        loop {
            changes.mark_unchanged();
            let entries = match this.entries(&caller).await {
                Ok(entries) => entries,
                Err(status) => return drop(out.send(Err(status)).await),
            };
            let now = this.clock.now();
            if entries != had || renew <= now {
                let pushed = push(&this, &caller, &entries, now);
                // Half of its time is left for whoever is slow to take it up.
                let until = pushed.as_ref().map_or(now, |(_, until)| *until);
                renew = now.plus(until.since(now) / 2);
                had = entries;
                let failed = pushed.is_err();
                if out.send(pushed.map(|(answer, _)| answer)).await.is_err() || failed {
                    return;
                }
            }
            let wait = u64::try_from(renew.since(this.clock.now())).unwrap_or_default();
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(Duration::from_millis(wait).min(AGAIN)) => {}
                () = out.closed() => return,
            }
        }
    });
    Pushed(into)
}

fn x509(
    this: &Identities,
    caller: &Caller,
    entries: &[Entry],
    now: Millis,
) -> Result<(wire::X509Svids, Millis), Status> {
    let until = this.until(now, CERTIFICATE_MAX);
    let issue = |entry: &Entry| {
        let svid =
            this.authority.x509(&entry.spiffe()?, now, until).map_err(|error| Status::internal(error.to_string()))?;
        this.note(caller, entry, svid.serial, until, false);
        Ok::<_, Status>(wire::X509Svid {
            id: entry.id.clone(),
            chain: svid.certificate,
            key: svid.key.to_vec(),
            bundle: this.authority.root().to_vec(),
            hint: entry.agent.to_string(),
        })
    };
    let svids = entries.iter().map(issue).collect::<Result<_, _>>()?;
    Ok((wire::X509Svids { svids, crl: Vec::new(), federated: BTreeMap::new() }, until))
}

/// What we trust does not change while we run
const NEVER: Millis = Millis(i64::MAX);

fn domain(this: &Identities) -> String {
    format!("spiffe://{}", this.authority.domain().as_str())
}

fn x509_bundles(this: &Identities, _: &Caller, _: &[Entry], _: Millis) -> Result<(wire::X509Bundles, Millis), Status> {
    let bundles = [(domain(this), this.authority.root().to_vec())].into();
    Ok((wire::X509Bundles { crl: Vec::new(), bundles }, NEVER))
}

fn jwt_bundles(this: &Identities, _: &Caller, _: &[Entry], _: Millis) -> Result<(wire::JwtBundles, Millis), Status> {
    let bundles = [(domain(this), this.authority.keys().to_string().into_bytes())].into();
    Ok((wire::JwtBundles { bundles }, NEVER))
}

async fn jwt(this: Arc<Identities>, caller: Arc<Caller>, ask: wire::JwtRequest) -> Result<wire::JwtSvids, Status> {
    if ask.audience.is_empty() || ask.audience.len() > AUDIENCE_MAX || ask.audience.iter().any(String::is_empty) {
        return Err(Status::invalid_argument("a token is for somebody: name one to 16 audiences"));
    }
    let mut entries = this.entries(&caller).await?;
    if !ask.id.is_empty() {
        entries.retain(|entry| entry.id == ask.id);
        if entries.is_empty() {
            return Err(Status::permission_denied("this identity is not issued to this process"));
        }
    }
    let now = this.clock.now();
    let until = this.until(now, TOKEN_MAX);
    let issue = |entry: &Entry| {
        let failed = |error: &dyn std::fmt::Display| Status::internal(error.to_string());
        let jti = crate::tasks::draw().map(|id| format!("{id:016x}")).map_err(|error| failed(&error))?;
        let svid =
            this.authority.jwt(&entry.spiffe()?, &ask.audience, &jti, now, until).map_err(|error| failed(&error))?;
        this.note(&caller, entry, jti, until, true);
        Ok::<_, Status>(wire::JwtSvid { id: entry.id.clone(), svid, hint: entry.agent.to_string() })
    };
    Ok(wire::JwtSvids { svids: entries.iter().map(issue).collect::<Result<_, _>>()? })
}

async fn validate(this: Arc<Identities>, caller: Arc<Caller>, ask: wire::Validate) -> Result<wire::Validated, Status> {
    if ask.audience.is_empty() || ask.svid.is_empty() {
        return Err(Status::invalid_argument("a token is held against an audience"));
    }
    this.entries(&caller).await?;
    let bundles = this.authority.bundles().map_err(|error| Status::internal(error.to_string()))?;
    let checked = svid::jwt(&ask.svid, &bundles, Audience::Only(&ask.audience), this.clock.now());
    let svid = checked.map_err(|invalid| Status::invalid_argument(invalid.to_string()))?;
    Ok(wire::Validated { id: svid.id.to_string(), claims: claims(&ask.svid) })
}

/// The claims of a token that is good
fn claims(token: &str) -> Option<Struct> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    match value(serde_json::from_slice(&payload).ok()?).kind? {
        Kind::StructValue(claims) => Some(claims),
        _ => None,
    }
}

fn value(json: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(truth) => Kind::BoolValue(truth),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(items) => Kind::ListValue(ListValue { values: items.into_iter().map(value).collect() }),
        Json::Object(members) => {
            let fields = members.into_iter().map(|(name, json)| (name, value(json))).collect();
            Kind::StructValue(Struct { fields })
        }
    };
    Value { kind: Some(kind) }
}
