//! Every page over a world that is partly hostile, read as a browser and a screen reader would.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, reason = "tests")]

mod key;
mod sample;

use axum::body::Body;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use key::Key;
use portreeve_console::{desk::Desk as _, router};
use portreeve_core::event::How;
use sample::{ELEVATION, GLASS_TASK, GRAVE, HOSTILE, HOSTILE_TASK, NOW, OPENING, OWN, REFUND, STEP_UP, Sample, TASK};
use scraper::{ElementRef, Html, Selector};
use std::sync::Arc;
use tower::ServiceExt as _;

const BASE: &str = "http://localhost:7420";

struct Browser {
    world: Arc<Sample>,
    pages: axum::Router,
    cookie: Option<String>,
}

struct Page {
    status: StatusCode,
    location: Option<String>,
    text: String,
    html: Html,
}

impl Browser {
    /// Somebody at a browser that is not signed in
    fn new(world: Sample) -> Self {
        let world = Arc::new(world);
        let pages = router(Arc::clone(&world) as _, false).unwrap();
        Self { world, pages, cookie: None }
    }

    /// Somebody who came in by a link
    async fn of(user: &str) -> Self {
        let mut browser = Self::new(Sample::new(BASE));
        browser.sign_in(user).await;
        browser
    }

    async fn sign_in(&mut self, user: &str) {
        let response = self.send(Self::post(&self.world.link(user, None), "")).await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
        for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        self.cookie = cookie.split(';').next().map(str::to_owned);
    }

    async fn send(&self, mut request: Request<Body>) -> Response<Body> {
        if let Some(cookie) = &self.cookie {
            request.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
        }
        self.pages.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> Page {
        Page::of(self.send(Request::get(path).body(Body::empty()).unwrap()).await).await
    }

    fn post(path: &str, form: &str) -> Request<Body> {
        Request::post(path)
            .header(header::HOST, "localhost:7420")
            .header(header::ORIGIN, "http://localhost:7420")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()))
            .unwrap()
    }

    /// Fills in the form of a page that has this label, and sends it
    async fn fill(&self, path: &str, label: &str, fields: &[(&str, &str)]) -> Page {
        let form = self.form(path, label, fields).await;
        Page::of(self.send(Self::post(&form.0, &form.1)).await).await
    }

    async fn form(&self, path: &str, label: &str, fields: &[(&str, &str)]) -> (String, String) {
        let page = self.get(path).await;
        let form = page.one(&format!("form[aria-label=\"{label}\"]"));
        let action = form.value().attr("action").unwrap().to_owned();
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        for field in form.select(&Selector::parse("input[type=hidden]").unwrap()) {
            body.append_pair(field.value().attr("name").unwrap(), field.value().attr("value").unwrap_or_default());
        }
        for (name, value) in fields {
            body.append_pair(name, value);
        }
        (action, body.finish())
    }
}

impl Page {
    async fn of(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let location = head.headers.get(header::LOCATION).map(|value| value.to_str().unwrap().to_owned());
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(head.headers[name], value);
        }
        let csp = head.headers["content-security-policy"].to_str().unwrap();
        assert!(csp.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{csp}");
        assert!(!csp.contains("unsafe"), "{csp}");
        Self { status: head.status, location, html: Html::parse_document(&text), text }
    }

    fn all(&self, selector: &str) -> Vec<ElementRef<'_>> {
        self.html.select(&Selector::parse(selector).unwrap()).collect()
    }

    fn one(&self, selector: &str) -> ElementRef<'_> {
        let all = self.all(selector);
        assert_eq!(all.len(), 1, "{selector} in {}", self.text);
        all[0]
    }

    fn has(&self, selector: &str) -> bool {
        !self.all(selector).is_empty()
    }

    /// The text of a region, as somebody reads it
    fn says(&self, selector: &str) -> String {
        let texts = self.all(selector).into_iter().flat_map(|element| element.text());
        texts.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
    }
}

fn all_pages() -> Vec<String> {
    let codes = [REFUND, HOSTILE, GRAVE, OPENING, ELEVATION, OWN, STEP_UP, "PAST-0001", "PAST-0003"];
    let tasks = [TASK, HOSTILE_TASK, GLASS_TASK];
    let fixed = ["/", "/approvals", "/tasks", "/me"].map(str::to_owned).into_iter();
    fixed
        .chain(codes.map(|code| format!("/approvals/{code}")))
        .chain(tasks.map(|task| format!("/tasks/{task}")))
        .chain([format!("/tasks/{TASK}/stop")])
        .collect()
}

#[tokio::test]
async fn nothing_hostile_is_markup_or_hides() {
    let browser = Browser::of("dana").await;
    for path in all_pages() {
        let page = browser.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert_eq!(page.all("script").len(), 1, "{path}");
        assert_eq!(page.one("script").value().attr("src"), Some("/assets/console.js"));
        assert!(!page.has("img, iframe, object, style, [style], [onclick], [onerror]"), "{path}");
        for hidden in ['\u{202e}', '\u{200b}', '\0', '\u{a0}'] {
            assert!(!page.text.contains(hidden), "{path} has {hidden:?}");
        }
        // Words of attackers stand where their direction stays theirs.
        for element in page.all(".odd") {
            let isolated = ["code", "bdi", "q", "span", "dt"];
            let parent = element.parent().and_then(ElementRef::wrap).unwrap();
            assert!(isolated.contains(&parent.value().name()), "{path}: {}", parent.html());
        }
    }
    let page = browser.get(&format!("/approvals/{HOSTILE}")).await;
    assert!(page.says("main").contains("U+202E"), "{}", page.says("main"));
    assert!(page.says("main").contains("<script>alert(1)</script>"));
}

#[tokio::test]
async fn every_page_can_be_found_through_without_seeing_it() {
    let browser = Browser::of("dana").await;
    for path in all_pages() {
        let page = browser.get(&path).await;
        assert_eq!(page.all("h1").len(), 1, "{path}");
        assert_eq!(page.one(".skip").value().attr("href"), Some("#main"), "{path}");
        page.one("main#main");
        page.one("header nav[aria-label]");
        page.one("[role=status][aria-live=polite]");
        assert!(page.says("title").ends_with("Portreeve"), "{path}");
        for svg in page.all("svg") {
            assert_eq!(svg.value().attr("aria-hidden"), Some("true"), "{path}");
        }
        let mut ids: Vec<_> = page.all("[id]").iter().map(|one| one.value().id().unwrap().to_owned()).collect();
        ids.sort();
        let before = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), before, "{path} has an id twice");
        for one in page.all("[aria-labelledby]") {
            let named = one.value().attr("aria-labelledby").unwrap();
            assert!(ids.iter().any(|id| id == named), "{path} has no {named}");
        }
        for form in page.all("form[method=post]") {
            let token = Selector::parse("input[name=csrf]").unwrap();
            assert!(form.select(&token).all(|field| field.value().attr("value").unwrap().len() > 20), "{path}");
            assert_eq!(form.select(&token).count(), 1, "{path}");
        }
        for part in page.all("[data-live]") {
            assert!(part.value().id().is_some(), "{path}: what is replaced needs an id");
        }
    }
}

#[tokio::test]
async fn a_question_shows_everything() {
    let page = Browser::of("dana").await.get(&format!("/approvals/{REFUND}")).await;
    assert_eq!(page.says("h1"), "support-bot wants to call shop.refund");
    let who = page.says("section[aria-labelledby=who-title]");
    assert!(who.contains("support-bot under front-desk") && who.contains("ann"), "{who}");
    let what = page.says("section[aria-labelledby=what-title]");
    for part in
        ["\"ord_5831\"", "84.50", "the model", "task's opener", "changed before: 20.00", "write", "confidential"]
    {
        assert!(what.contains(part), "{part}: {what}");
    }
    assert!(page.says("section[aria-labelledby=changes-title]").contains("added: +") || page.has(".comes"));
    assert!(page.says("section[aria-labelledby=undo-title]").contains("Can be undone: shop.cancel_refund"));
    let why = page.says("section[aria-labelledby=why-title]");
    assert!(why.contains("Check one order and refund it") && why.contains("parcel arrived broken"), "{why}");
    assert!(page.says("section[aria-labelledby=steps-title]").contains("shop.get_order id: \"ord_5831\" read done"));
    let asked = page.says("aside");
    for part in ["1 of 2 from payments-leads", "purpose:refund-order", "yes yuki", "Photographs", "14 min more"] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    assert!(!page.has(".alarm") && !page.has("input[name=understood]"));
}

#[tokio::test]
async fn what_cannot_be_undone_or_may_have_happened_is_loud() {
    let browser = Browser::of("dana").await;
    let page = browser.get(&format!("/approvals/{GRAVE}")).await;
    assert!(page.says(".alarm").contains("nobody knows what became of it"), "{}", page.says(".alarm"));
    assert!(page.says(".alarm").contains("outcome unknown"));
    assert!(page.says("section[aria-labelledby=undo-title]").contains("Cannot be undone."));
    assert!(page.has("form[aria-label=Approve] input[name=understood][required]"));
    assert!(!page.has("form[aria-label=Deny] input[name=understood]"));
    assert!(browser.get("/").await.says("#inbox").contains("cannot be undone earlier outcome unknown"));
    let again = browser.get(&format!("/approvals/{STEP_UP}")).await.says(".alarm");
    assert!(again.contains("The same call went out before A yes here lets it happen once more."), "{again}");
    assert!(browser.get(&format!("/approvals/{OPENING}")).await.says(".alarm").contains("Break-glass"));
    let path = format!("/approvals/{GRAVE}");
    let refused = browser.fill(&path, "Approve", &[("why", "fine")]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.says("h1").contains("not_confirmed"));
    assert_eq!(browser.world.said().len(), 0);
    let done = browser.fill(&path, "Approve", &[("why", "fine"), ("understood", "yes")]).await;
    assert_eq!(done.location.as_deref(), Some("/approvals/DEAD-BEEF?said=yes"));
}

#[tokio::test]
async fn yes_and_no_reach_the_office_with_what_was_shown() {
    let browser = Browser::of("dana").await;
    let path = format!("/approvals/{REFUND}");
    let fields = [("why", "  looked\r\nat it "), ("understood", "")];
    let (action, form) = browser.form(&path, "Approve", &fields).await;
    let form = form.replace("read_ms=", "read_ms=4321");
    let done = Page::of(browser.send(Browser::post(&action, &form)).await).await;
    assert_eq!((done.status, done.location.as_deref()), (StatusCode::SEE_OTHER, Some("/approvals/7F3K-9QAB?said=yes")));
    let after = browser.get("/approvals/7F3K-9QAB?said=yes").await;
    assert!(after.says("[role=status]").contains("Your yes is signed and recorded."));
    assert!(after.says("#asked").contains("yes dana"));
    assert!(!after.has("form[aria-label=Approve]"), "who answered is not asked again");
    browser.fill(&format!("/approvals/{ELEVATION}"), "Deny", &[("why", "no need")]).await;
    let said = browser.world.said();
    assert_eq!((said[0].yes, said[0].why.as_str(), said[0].read_ms), (true, "looked\nat it", Some(4321)));
    assert_eq!((said[1].yes, said[1].why.as_str(), said[1].read_ms), (false, "no need", None));
    let closed = browser.get(&format!("/approvals/{ELEVATION}")).await;
    assert!(closed.says("#state").contains("denied") && closed.says("#forms").contains("closed"));
    assert!(!browser.get("/?said=%3Cscript%3E").await.text.contains("%3C"));
}

#[tokio::test]
async fn a_no_is_taken_until_it_is_used() {
    let browser = Browser::of("dana").await;
    browser.world.approve(REFUND);
    let path = format!("/approvals/{REFUND}");
    let page = browser.get(&path).await;
    assert!(page.says("#forms").contains("Approved, not used yet."), "{}", page.says("#forms"));
    assert!(page.has("form[aria-label=Deny]") && !page.has("form[aria-label=Approve]"));
    let done = browser.fill(&path, "Deny", &[("why", "wait")]).await;
    assert_eq!(done.location.as_deref(), Some("/approvals/7F3K-9QAB?said=no"));
    assert!(!browser.get(&path).await.has("#forms form"));
}

#[tokio::test]
async fn what_has_no_card_is_counted() {
    let browser = Browser::of("dana").await;
    assert!(!browser.get("/").await.says("#inbox").contains("more that are not shown"));
    browser.world.ask_many(120);
    let open = browser.get("/").await.says("#waiting").split(' ').next().unwrap().parse::<usize>().unwrap();
    for (path, part) in [("/", "#inbox"), ("/approvals", "#open")] {
        let page = browser.get(path).await;
        assert_eq!(page.all(&format!("{part} .cards > *")).len(), 100, "{path}");
        // One of the open ones is not dana's to answer.
        assert!(page.says(part).contains(&format!("And {} more", open + 1 - 100)), "{path}: {open}");
    }
}

#[tokio::test]
async fn who_may_not_answer_is_told_why_and_gets_no_form() {
    let page = Browser::of("dana").await.get(&format!("/approvals/{OWN}")).await;
    assert!(page.says("#forms").contains("You may not answer this. not_yours"), "{}", page.says("#forms"));
    assert!(!page.has("#forms form"));
}

#[tokio::test]
async fn a_binding_that_changed_meanwhile_answers_nothing() {
    let browser = Browser::of("dana").await;
    let (action, form) = browser.form(&format!("/approvals/{REFUND}"), "Approve", &[("why", "ok")]).await;
    let at = form.find("binding=").unwrap() + 8;
    let form = format!("{}{}{}", &form[..at], "0".repeat(64), &form[at + 64..]);
    let page = Page::of(browser.send(Browser::post(&action, &form)).await).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    assert!(page.says("main").contains("Open the page anew."));
}

#[tokio::test]
async fn forms_of_others_do_nothing() {
    let browser = Browser::of("dana").await;
    let mut other = Browser::new(Sample::new(BASE));
    other.sign_in("omar").await;
    let (action, form) = browser.form(&format!("/approvals/{REFUND}"), "Deny", &[("why", "ok")]).await;
    let (_, omars) = other.form(&format!("/approvals/{REFUND}"), "Deny", &[("why", "ok")]).await;
    let send = async |change: &dyn Fn(&mut Request<Body>), form: &str| {
        let mut request = Browser::post(&action, form);
        change(&mut request);
        browser.send(request).await.status()
    };
    let keep = |_: &mut Request<Body>| ();
    let set = |name: header::HeaderName, value: &'static str| {
        move |request: &mut Request<Body>| {
            request.headers_mut().insert(name.clone(), value.parse().unwrap());
        }
    };
    assert_eq!(send(&set(header::ORIGIN, "http://evil.example"), &form).await, StatusCode::FORBIDDEN);
    assert_eq!(send(&set(header::ORIGIN, "null"), &form).await, StatusCode::FORBIDDEN);
    assert_eq!(send(&|request| drop(request.headers_mut().remove(header::ORIGIN)), &form).await, StatusCode::FORBIDDEN);
    let site = header::HeaderName::from_static("sec-fetch-site");
    assert_eq!(send(&set(site, "same-site"), &form).await, StatusCode::FORBIDDEN);
    assert_eq!(send(&keep, &omars).await, StatusCode::FORBIDDEN);
    assert_eq!(send(&keep, &form.replacen("csrf=", "csrf=A", 1)).await, StatusCode::FORBIDDEN);
    assert_eq!(send(&keep, "answer=yes&why=x").await, StatusCode::FORBIDDEN);
    assert_eq!(send(&keep, &format!("{form}&answer=yes")).await, StatusCode::BAD_REQUEST);
    assert_eq!(send(&set(header::CONTENT_TYPE, "text/plain"), &form).await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(send(&keep, &form.replace("why=ok", "why=+")).await, StatusCode::UNPROCESSABLE_ENTITY);
    let long = form.replace("why=ok", &format!("why={}", "x".repeat(1001)));
    assert_eq!(send(&keep, &long).await, StatusCode::UNPROCESSABLE_ENTITY);
    let huge = format!("{form}&more={}", "x".repeat(70_000));
    assert_eq!(send(&keep, &huge).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(browser.world.said().len(), 0);
    assert_eq!(send(&keep, &form).await, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_link_signs_in_once_and_only_with_the_button() {
    let browser = Browser::new(Sample::new(BASE));
    let path = browser.world.link("dana", None);
    for _ in 0..2 {
        let page = browser.get(&path).await;
        assert_eq!(page.says("h1"), "Sign in as dana ?");
    }
    let mut foreign = Browser::post(&path, "");
    foreign.headers_mut().insert(header::ORIGIN, "http://evil.example".parse().unwrap());
    assert_eq!(browser.send(foreign).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(browser.send(Browser::post(&path, "")).await.status(), StatusCode::SEE_OTHER);
    let again = Page::of(browser.send(Browser::post(&path, "")).await).await;
    assert_eq!(again.status, StatusCode::GONE);
    assert!(again.says("main").contains("link_dead"));
    assert_eq!(browser.get(&path).await.status, StatusCode::GONE);
    assert_eq!(browser.get("/sign-in/x").await.status, StatusCode::GONE);
}

#[tokio::test]
async fn signing_in_is_on_the_record_or_does_not_happen() {
    let browser = Browser::of("dana").await;
    assert_eq!(browser.world.entered(), [(sample::name("dana"), How::Link)]);
    let link = browser.world.link("omar", None);
    browser.world.fail();
    let refused = browser.send(Browser::post(&link, "")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().get(header::SET_COOKIE).is_none());
    let mut stranger = Browser::new(Sample::new(BASE));
    let link = stranger.world.link("mallory", None);
    let page = Page::of(stranger.send(Browser::post(&link, "")).await).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.says("main").contains("user_unknown"));
    stranger.cookie = None;
    assert_eq!(stranger.get("/").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_passkey_is_asked_for_exactly_this_answer() {
    let browser = Browser::of("dana").await;
    let path = format!("/approvals/{STEP_UP}");
    assert!(browser.get(&path).await.has("form[aria-label=Approve][data-passkey]"));
    assert!(browser.get(&path).await.has("form[aria-label=Deny]:not([data-passkey])"));
    let challenge = async |why: &str| {
        let (action, form) = browser.form(&path, "Approve", &[("why", why)]).await;
        let response = browser.send(Browser::post(&format!("{action}/ask"), &form)).await;
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(asked["at"], NOW.0);
        assert_eq!(asked["get"]["rpId"], "localhost");
        asked["get"]["challenge"].as_str().unwrap().to_owned()
    };
    assert_eq!(challenge("one").await, challenge("one").await);
    assert_ne!(challenge("one").await, challenge("two").await);
    let none = browser.fill(&path, "Approve", &[("why", "without it")]).await;
    assert_eq!(none.status, StatusCode::FORBIDDEN);
    let (action, form) = browser.form(&path, "Approve", &[("why", "nonsense")]).await;
    let form = form.replace("passkey=", "passkey=%7B%7D").replace("&at=", "&at=1");
    let page = Page::of(browser.send(Browser::post(&action, &form)).await).await;
    assert!(page.says("h1").contains("passkey_refused"), "{}", page.text);
    let unsigned = browser.send(Browser::post(&format!("{action}/ask"), "why=x")).await;
    assert_eq!(unsigned.status(), StatusCode::FORBIDDEN);
    for path in ["/me/passkeys/ask", "/me/passkeys", "/me/passkeys/remove"] {
        assert_eq!(browser.send(Browser::post(path, "name=x")).await.status(), StatusCode::FORBIDDEN, "{path}");
    }
    let stranger = Browser::new(Sample::new("http://192.0.2.7:7420"));
    let asked = Page::of(stranger.send(Browser::post("/sign-in/passkey/ask", "")).await).await;
    assert!(asked.says("main").contains("no passkeys at this address"), "{}", asked.text);
    let nonsense = Page::of(browser.send(Browser::post("/sign-in/passkey", "passkey=%7B%7D")).await).await;
    assert_eq!(nonsense.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.world.said().len(), 0);
}

impl Browser {
    /// Does what the script does with a form that needs a passkey; with `create`, one is made
    async fn with_passkey(&self, (label, path): (&str, &str), fields: &[(&str, &str)], key: &Key) -> Page {
        let (action, form) = self.form(path, label, fields).await;
        let asked = self.send(Self::post(&format!("{action}/ask"), &form)).await;
        if asked.status() != StatusCode::OK {
            return Page::of(asked).await;
        }
        let body = asked.into_body().collect().await.unwrap().to_bytes();
        let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let said = match asked.get("create") {
            Some(create) => key.create(create, BASE),
            None => key.get(&asked["get"], BASE),
        };
        let said: String = url::form_urlencoded::byte_serialize(said.to_string().as_bytes()).collect();
        let form = form.replace("passkey=", &format!("passkey={said}"));
        Page::of(self.send(Self::post(&action, &form)).await).await
    }

    async fn register(&self, key: &Key) -> Page {
        self.with_passkey(("Register a passkey", "/me"), &[("name", "Laptop")], key).await
    }

    /// What the page would send that has no form for it at the moment
    async fn send_own(&self, path: &str, more: &str) -> Page {
        let page = self.get("/me").await;
        let csrf = page.all("input[name=csrf]")[0].value().attr("value").unwrap();
        Page::of(self.send(Self::post(path, &format!("csrf={csrf}{more}"))).await).await
    }
}

#[tokio::test]
async fn further_passkeys_need_the_first() {
    let browser = Browser::of("dana").await;
    let first = Key::new();
    assert_eq!(browser.register(&first).await.location.as_deref(), Some("/me?said=registered"));
    assert_eq!(browser.world.passkey_changes(), ["dana gets Laptop"]);
    // A session alone is worth no more than its cookie: neither another one, nor without the first.
    let page = browser.get("/me").await;
    assert!(!page.has("form[aria-label='Register a passkey']") && !page.has("form[action='/me/passkeys/remove']"));
    assert!(page.has("form[aria-label='Use your passkey'][data-passkey]"), "{}", page.text);
    let remove = format!("&id={}", first.id());
    for (path, more) in
        [("/me/passkeys/ask", ""), ("/me/passkeys", "&name=x&passkey={}"), ("/me/passkeys/remove", &remove)]
    {
        let refused = browser.send_own(path, more).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
        assert!(refused.says("main").contains("step_up_needed"), "{path}: {}", refused.text);
    }
    let stranger = browser.with_passkey(("Use your passkey", "/me"), &[], &Key::new()).await;
    assert_eq!(stranger.status, StatusCode::FORBIDDEN, "somebody else's passkey");
    let used = browser.with_passkey(("Use your passkey", "/me"), &[], &first).await;
    assert_eq!(used.location.as_deref(), Some("/me?said=confirmed"), "{}", used.text);
    assert_eq!(browser.register(&Key::new()).await.location.as_deref(), Some("/me?said=registered"));
    browser.world.wait(5 * 60_000);
    assert_eq!(browser.send_own("/me/passkeys/remove", &remove).await.status, StatusCode::FORBIDDEN, "minutes later");
    let used = browser.with_passkey(("Use your passkey", "/me"), &[], &first).await;
    assert_eq!(used.status, StatusCode::SEE_OTHER);
    let removed = browser.send_own("/me/passkeys/remove", &remove).await;
    assert_eq!(removed.location.as_deref(), Some("/me?said=removed"));
    assert_eq!(browser.world.passkey_changes().len(), 3);
}

#[tokio::test]
async fn a_passkey_that_is_not_on_the_record_does_not_count() {
    let browser = Browser::of("dana").await;
    let key = Key::new();
    let bearer = portreeve_identity::Bearer { user: sample::name("dana"), generation: 1 };
    browser.world.forget();
    assert_eq!(browser.register(&key).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(browser.world.passkeys().of(&bearer), [], "nothing counts that is not recorded");
    browser.world.remember();
    browser.world.fill_disk("dana");
    assert_eq!(browser.register(&key).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(browser.world.passkeys().of(&bearer), []);
    assert_eq!(browser.world.passkey_changes(), ["dana gets Laptop", "dana loses Laptop"]);
}

#[tokio::test]
async fn who_gets_a_name_gets_nothing_else_of_it() {
    let mut browser = Browser::of("dana").await;
    let key = Key::new();
    browser.register(&key).await;
    let link = browser.world.link("dana", None);
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    browser.world.rename();
    assert_eq!(browser.get("/").await.status, StatusCode::SEE_OTHER, "the session is the first bearer's");
    let refused = Page::of(browser.send(Browser::post(&link, "")).await).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "so is the link");
    browser.cookie = None;
    let entered = browser.with_passkey(("Sign in with a passkey", "/sign-in"), &[], &key).await;
    assert_eq!(entered.status, StatusCode::FORBIDDEN, "so is the passkey");
    assert!(entered.says("main").contains("Somebody else has this name now"), "{}", entered.text);
}

#[tokio::test]
async fn who_had_a_link_made_stands_beside_what_is_done_with_it() {
    let mut browser = Browser::new(Sample::new(BASE));
    let link = browser.world.link("dana", Some("user:kim"));
    let response = browser.send(Browser::post(&link, "")).await;
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
    browser.cookie = cookie.split(';').next().map(str::to_owned);
    let handed = How::Handed { by: "user:kim".to_owned() };
    assert_eq!(browser.world.entered(), [(sample::name("dana"), handed)]);
    assert!(browser.get("/me").await.says("main").contains("a one-time link that user:kim had made"));
    browser.fill(&format!("/approvals/{ELEVATION}"), "Deny", &[("why", "no")]).await;
    let page = browser.get(&format!("/approvals/{ELEVATION}")).await;
    assert!(page.says("#asked").contains("user:kim"), "{}", page.says("#asked"));
    // Also beside a passkey that was made there, and beside who signs in with it.
    let key = Key::new();
    browser.register(&key).await;
    let bearer = portreeve_identity::Bearer { user: sample::name("dana"), generation: 1 };
    let [kept] = browser.world.passkeys().of(&bearer).try_into().unwrap();
    assert_eq!(kept.by.as_deref(), Some("user:kim"));
    let me = browser.get("/me").await;
    assert!(me.says("main").contains(&kept.fingerprint().to_string()), "{}", me.text);
    browser.cookie = None;
    browser.with_passkey(("Sign in with a passkey", "/sign-in"), &[], &key).await;
    let lent = How::HandedPasskey { by: "user:kim".to_owned(), fingerprint: kept.fingerprint() };
    assert_eq!(browser.world.entered().last(), Some(&(sample::name("dana"), lent)));
}

#[tokio::test]
async fn without_a_session_there_is_nothing() {
    let browser = Browser::new(Sample::new(BASE));
    for path in all_pages().iter().map(String::as_str).chain(["/events"]) {
        let page = browser.get(path).await;
        assert_eq!((page.status, page.location.as_deref()), (StatusCode::SEE_OTHER, Some("/sign-in")), "{path}");
    }
    let page = Page::of(browser.send(Browser::post(&format!("/approvals/{REFUND}"), "answer=yes")).await).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(page.says("main").contains("Sign in again"));
    let mut two = Browser::of("dana").await;
    let cookie = two.cookie.clone().unwrap();
    two.cookie = Some(format!("{cookie}; portreeve_session=other"));
    assert_eq!(two.get("/").await.status, StatusCode::SEE_OTHER, "one of two cookies is somebody else's");
    two.cookie = Some(format!("a=b; {cookie}; c=d"));
    assert_eq!(two.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn signing_out_ends_the_session() {
    let browser = Browser::of("dana").await;
    let page = browser.get("/me").await;
    assert!(page.says("main").contains("operator stops what lives"));
    let token = page.all("input[name=csrf]")[0].value().attr("value").unwrap();
    let response = browser.send(Browser::post("/sign-out", &format!("csrf={token}"))).await;
    assert!(response.headers()[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(browser.get("/").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn stopping_asks_first() {
    let browser = Browser::of("dana").await;
    let page = browser.get(&format!("/tasks/{TASK}")).await;
    let link = page.one("#stop a");
    assert_eq!(link.value().attr("href"), Some(format!("/tasks/{TASK}/stop").as_str()));
    let ask = browser.get(&format!("/tasks/{TASK}/stop")).await;
    assert!(ask.says("#confirm").contains("Stop this task?"));
    assert!(!browser.world.is_stopped(TASK), "looking stops nothing");
    let token = ask.one("#confirm input[name=csrf]").value().attr("value").unwrap();
    let done = browser.send(Browser::post(&format!("/tasks/{TASK}/stop"), &format!("csrf={token}"))).await;
    assert_eq!(done.status(), StatusCode::SEE_OTHER);
    assert!(browser.world.is_stopped(TASK));
    let after = browser.get(&format!("/tasks/{TASK}?said=stopped")).await;
    assert!(after.says("main").contains("The task is stopped."));
    assert!(after.says("#facts").contains("over because: killed") && !after.has("#stop a"));
    let omar = Browser::of("omar").await;
    assert!(!omar.get(&format!("/tasks/{TASK}")).await.has("#stop a"), "who is no operator has no button");
}

#[tokio::test]
async fn a_task_shows_every_moment_with_its_reasons() {
    let page = Browser::of("dana").await.get(&format!("/tasks/{TASK}")).await;
    let moments = page.all(".timeline > li");
    assert_eq!(moments.len(), 8);
    let says = page.says(".timeline");
    for part in ["refused shop.refund amount: 500", "argument_outside_task", "by support-bot", "record 1203.0"] {
        assert!(says.contains(part), "{part}: {says}");
    }
    assert_eq!(page.one(".timeline a").value().attr("href"), Some("/approvals/hold_0000000000001"));
    assert!(page.says("#elevations").contains("write 1 time left"));
    let by_id = Browser::of("dana").await.get("/approvals/hold_0000000000001").await;
    assert_eq!(by_id.status, StatusCode::OK);
}

#[tokio::test]
async fn a_review_stays_until_it_is_closed_with_a_reason() {
    let browser = Browser::of("dana").await;
    assert!(browser.get("/").await.says("#reviews").contains("Break-glass task to review: restore-payments"));
    let path = format!("/tasks/{GLASS_TASK}");
    let empty = browser.fill(&path, "Close the review", &[("why", "")]).await;
    assert_eq!(empty.status, StatusCode::UNPROCESSABLE_ENTITY);
    let done = browser.fill(&path, "Close the review", &[("why", "all was needed")]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    assert!(!browser.get("/").await.has("#reviews section"));
}

#[tokio::test]
async fn the_inbox_has_first_what_one_can_answer() {
    let page = Browser::of("dana").await.get("/").await;
    assert!(page.says("title").starts_with("(6) Overview"));
    let codes: Vec<String> = page.all("#inbox .code").iter().map(|one| one.text().collect()).collect();
    assert_eq!(codes, [OPENING, GRAVE, HOSTILE, ELEVATION, REFUND, STEP_UP, OWN]);
    assert!(page.says("#reflex").contains("omar 61 1 98 % 98 % 1.9 s quick"), "{}", page.says("#reflex"));
    assert!(!page.says("#tasks").contains("restore-payments"), "what is over is not live");
    let mut nobody = Browser::new(Sample::empty(BASE));
    nobody.sign_in("dana").await;
    let page = nobody.get("/").await;
    assert!(page.says("#inbox").contains("Nothing waits for people."));
    assert!(page.says("#tasks").contains("No agent works on anything."));
    assert_eq!(page.says("title"), "Overview · Portreeve");
}

#[tokio::test]
async fn codes_are_taken_as_people_type_them() {
    let browser = Browser::of("dana").await;
    let page = browser.get("/approvals?code=+7f3k-9qab%2F..%2F%3Fx+").await;
    assert_eq!(page.location.as_deref(), Some("/approvals/7f3k-9qabx"));
    assert_eq!(browser.get("/approvals/7f3k-9qab").await.status, StatusCode::OK);
    assert_eq!(browser.get("/approvals?code=").await.location.as_deref(), Some("/approvals/"));
}

#[tokio::test]
async fn errors_have_word_message_and_remedy() {
    let browser = Browser::of("dana").await;
    for (path, status, word) in [
        ("/approvals/ZZZZ-ZZZZ", StatusCode::NOT_FOUND, "hold_unknown"),
        ("/tasks/task_0000000000000", StatusCode::NOT_FOUND, "task_unknown"),
        ("/tasks/nonsense", StatusCode::NOT_FOUND, "task_unknown"),
        ("/nowhere", StatusCode::NOT_FOUND, "no_such_page"),
        ("/sign-out", StatusCode::METHOD_NOT_ALLOWED, "wrong_method"),
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, status, "{path}");
        assert_eq!(page.says("h1"), word);
        assert!(page.says(".message").len() > 10 && page.says(".note").len() > 10, "{path}");
    }
    browser.world.fail();
    let page = browser.get("/").await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.says("main").contains("Start it again."));
}

#[tokio::test]
async fn assets_are_known_by_their_content() {
    let browser = Browser::new(Sample::new(BASE));
    for (path, kind) in [
        ("/assets/console.css", "text/css; charset=utf-8"),
        ("/assets/console.js", "text/javascript; charset=utf-8"),
        ("/assets/icon.svg", "image/svg+xml"),
    ] {
        let response = browser.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], kind);
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache");
        let tag = response.headers()[header::ETAG].clone();
        let again = Request::get(path).header(header::IF_NONE_MATCH, tag).body(Body::empty()).unwrap();
        assert_eq!(browser.send(again).await.status(), StatusCode::NOT_MODIFIED);
        let other = Request::get(path).header(header::IF_NONE_MATCH, "\"x\"").body(Body::empty()).unwrap();
        assert_eq!(browser.send(other).await.status(), StatusCode::OK);
    }
    assert_eq!(browser.send(Request::get("/assets/../x").body(Body::empty()).unwrap()).await.status(), 404);
    let script = include_str!("../assets/console.js");
    assert!(script.lines().count() <= 150, "the script stays small");
    for forbidden in ["eval(", "innerHTML =", "document.write", "insertAdjacentHTML", "http://", "https://"] {
        assert!(!script.contains(forbidden), "{forbidden}");
    }
}

#[tokio::test]
async fn news_say_where_the_record_is_and_end_with_the_session() {
    let browser = Browser::of("dana").await;
    let request = Request::builder().method(Method::GET).uri("/events").body(Body::empty()).unwrap();
    let response = browser.send(request).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut body = response.into_body();
    let mut next = async || {
        let frame = body.frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    };
    let first = next().await.unwrap();
    assert!(first.contains("event: changed") && first.contains("id: 41"), "{first}");
    browser.world.ask();
    browser.world.decline(REFUND);
    let second = next().await.unwrap();
    assert!(second.contains("id: 43"), "both are one piece of news: {second}");
    let page = browser.get("/me").await;
    let token = page.all("input[name=csrf]")[0].value().attr("value").unwrap().to_owned();
    browser.send(Browser::post("/sign-out", &format!("csrf={token}"))).await;
    browser.world.ask();
    assert_eq!(next().await, None, "nothing is told to who has left");
}
