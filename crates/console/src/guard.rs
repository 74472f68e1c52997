//! Who is there, and that a form came from a page of ours.

use crate::{Console, Reached, desk::Problem, pages::Refusal};
use axum::{
    body::{Body, to_bytes},
    extract::{FromRequest, FromRequestParts, Request},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};
use portreeve_core::event::How;
use portreeve_gateway::office::Person;
use portreeve_identity::Bearer;
use std::{collections::BTreeMap, sync::Arc};

/// Somebody who is signed in
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Who, with what they may do now
    pub person: Person,
    /// The value of their session's cookie
    pub(crate) cookie: String,
    /// What every form of the session carries
    pub(crate) csrf: String,
    /// Whether they have used a passkey here minutes ago
    pub(crate) fresh: bool,
}

impl Visitor {
    /// A problem on a page for who is signed in
    pub(crate) fn refuse(&self) -> impl Fn(Problem) -> Refusal + use<> {
        let visitor = Box::new(self.clone());
        move |problem| Refusal::Page { problem, visitor: Some(visitor.clone()) }
    }
}

impl FromRequestParts<Arc<Console>> for Visitor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Result<Self, Refusal> {
        let out = || match parts.method {
            Method::GET | Method::HEAD => Refusal::SignIn,
            _ => Refusal::Page { problem: signed_out(), visitor: None },
        };
        let cookie = cookie(&parts.headers, console.reached).ok_or_else(out)?;
        let now = console.desk.now();
        let session = console.sessions.look(cookie, now).ok_or_else(out)?;
        let fresh = session.is_fresh(now);
        let person = person(console, session.bearer, session.how.how()).await;
        let person = person.map_err(|problem| Refusal::Page { problem, visitor: None })?.ok_or_else(out)?;
        Ok(Self { person, cookie: cookie.to_owned(), csrf: session.csrf, fresh })
    }
}

/// Who bears the name, if they still do; whoever does not is signed out everywhere
pub(crate) async fn person(console: &Console, bearer: Bearer, how: How) -> Result<Option<Person>, Problem> {
    let found = console.desk.person(bearer.user.clone(), how).await;
    let gone = match &found {
        Ok(person) => person.bearer() != bearer,
        // That nothing can be said at the moment is no reason.
        Err(problem) => problem.status < 500,
    };
    if gone {
        console.sessions.end_all(&bearer);
    }
    found.map(|person| (!gone).then_some(person))
}

/// The fields of a form that came from a page of the visitor's session
#[derive(Debug)]
pub struct Filled {
    /// Who filled it in
    pub(crate) visitor: Visitor,
    fields: BTreeMap<String, String>,
}

impl Filled {
    /// A field; one that is missing is empty
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// The reason that somebody gave for what they do
    pub(crate) fn why(&self) -> Result<String, Refusal> {
        let why = self.field("why").trim();
        if why.is_empty() || why.chars().count() > WHY_CHARS_MAX {
            let message = format!("A reason of 1 to {WHY_CHARS_MAX} characters has to be given.");
            let problem = Problem::new(422, "reason_missing", message, "Go back and write why.");
            return Err(self.visitor.refuse()(problem));
        }
        // What browsers send for a line break.
        Ok(why.replace("\r\n", "\n"))
    }
}

impl FromRequest<Arc<Console>> for Filled {
    type Rejection = Refusal;

    async fn from_request(request: Request, console: &Arc<Console>) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, console).await?;
        let refuse = visitor.refuse();
        let fields = fields(&parts.headers, body).await.map_err(&refuse)?;
        let filled = Self { visitor, fields };
        if !console.sessions.check_csrf(&filled.visitor.cookie, filled.field("csrf"), console.desk.now()) {
            let message = "This form is not from a page of your session, so nothing was done.";
            return Err(refuse(Problem::new(403, "form_stale", message, "Open the page anew and answer there.")));
        }
        Ok(filled)
    }
}

/// The fields of a form, each of which comes once
pub(crate) async fn fields(headers: &HeaderMap, body: Body) -> Result<BTreeMap<String, String>, Problem> {
    let remedy = "Use the form on the page.";
    if !headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(FORM)) {
        return Err(Problem::new(415, "malformed", "What came is not a form.", remedy));
    }
    let body = to_bytes(body, FORM_BYTES_MAX).await.map_err(|_| {
        let message = format!("A form has at most {FORM_BYTES_MAX} bytes.");
        Problem::new(413, "too_long", message, "Write less.")
    })?;
    let mut fields = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(&body) {
        // Two of one name: whoever checks might read another one than whoever acts.
        if fields.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(Problem::new(400, "malformed", "A field came twice.", remedy));
        }
    }
    Ok(fields)
}

/// The value of the session's cookie; none if there are several, of which one may be somebody else's
pub(crate) fn cookie(headers: &HeaderMap, reached: Reached) -> Option<&str> {
    let name = cookie_name(reached);
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut ours = all.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    });
    let first = ours.next()?;
    ours.next().is_none().then_some(first)
}

/// The header that gives a browser its cookie, or with no value takes it away
pub(crate) fn set_cookie(value: Option<&str>, reached: Reached) -> (HeaderName, String) {
    let name = cookie_name(reached);
    let secure = if reached == Reached::Https { "; Secure" } else { "" };
    let (value, age) = value.map_or(("", "; Max-Age=0"), |value| (value, ""));
    (header::SET_COOKIE, format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}"))
}

/// Browsers take a `__Host-` cookie over https only
fn cookie_name(reached: Reached) -> &'static str {
    match reached {
        Reached::Loopback => "portreeve_session",
        Reached::Https => "__Host-portreeve_session",
    }
}

/// Refuses what changes something and comes from another site's page
pub(crate) async fn same_origin(request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) || is_ours(request.headers()) {
        return next.run(request).await;
    }
    let message = "This request did not come from a page of this console, so nothing was done.";
    let problem = Problem::new(403, "other_origin", message, "Open the console itself and answer there.");
    Refusal::Page { problem, visitor: None }.into_response()
}

fn is_ours(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(origin), Some(host)) = (text(header::ORIGIN), text(header::HOST)) else { return false };
    let site = text(HeaderName::from_static("sec-fetch-site"));
    site.is_none_or(|site| site == "same-origin")
        && ["http://", "https://"].iter().any(|scheme| origin.strip_prefix(scheme) == Some(host))
}

/// What every response says to the browser
pub(crate) async fn headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn signed_out() -> Problem {
    let message = "You are not signed in any more, so nothing was done.";
    Problem::new(401, "signed_out", message, "Sign in again, then open the page anew.")
}

/// A script from elsewhere, a frame around us, a form to elsewhere: none of it
///
/// Other sites learn nothing of where somebody came from. `no-referrer` would go further: browsers then hide from us,
/// too, that a form came from our own page (`Origin: null`).
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-frame-options", "DENY"),
    (
        "permissions-policy",
        "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), midi=(), \
         payment=(), publickey-credentials-create=(self), publickey-credentials-get=(self), usb=()",
    ),
];

const FORM: &[u8] = b"application/x-www-form-urlencoded";
/// Bytes of a form
const FORM_BYTES_MAX: usize = 64 << 10;
/// Characters of a reason
pub(crate) const WHY_CHARS_MAX: usize = 1000;
