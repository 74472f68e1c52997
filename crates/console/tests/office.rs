//! The pages over a real office: a gateway of its own, spoken to over its sockets.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod key;

use key::Key;
use portreeve_core::event::Actor;
use portreeve_gateway::{
    listen,
    office::Office,
    serve::{self, Serving, admin_socket},
    settings::{Account, Settings},
};
use portreeve_identity::keyring::Sources;
use std::{fs, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

struct House {
    folder: tempfile::TempDir,
    serving: Serving,
    cookie: String,
}

/// Status, head and body of an answer
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl House {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy");
        for (name, text) in POLICY {
            let path = policy.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace("ACCOUNT", &account())).unwrap();
        }
        let data = folder.path().join("data");
        let listen = "127.0.0.1:0".parse().unwrap();
        let hold_wait = std::time::Duration::from_secs(1);
        let keeper = "/bin/false".into();
        let settings = Settings {
            data,
            policy,
            listen,
            address: None,
            tls: None,
            workload_api: None,
            keeper,
            log_bytes_max: None,
            hold_wait,
            keys: Sources::default(),
            given: Arc::default(),
            spiffe: None,
            account: Account::default(),
            secrets: Arc::default(),
            core_dumps: true,
        };
        let pages = |office: Arc<Office>, https| portreeve_console::router(office, https).unwrap();
        let serving = serve::serve(settings, pages).await.unwrap();
        assert!(serving.findings.is_empty(), "{:?}", serving.findings);
        let mut house = Self { folder, serving, cookie: String::new() };
        house.sign_in("lea").await;
        house
    }

    async fn sign_in(&mut self, user: &str) {
        let link = self.serving.office.link(Actor::Owner { user: None }, user.parse().unwrap(), None).await.unwrap();
        let path = link.strip_prefix(self.serving.office.base()).unwrap();
        assert!(self.get(path).await.body.contains("Sign in as"));
        let entered = self.post(path, "").await;
        assert_eq!(entered.status, 303, "{}", entered.body);
        let cookie = entered.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        self.cookie = cookie.split(';').next().unwrap().to_owned();
    }

    fn host(&self) -> String {
        format!("localhost:{}", self.serving.address.port())
    }

    async fn get(&self, path: &str) -> Answer {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\n", self.host(), self.cookie);
        exchange(TcpStream::connect(self.serving.address).await.unwrap(), head, "").await
    }

    async fn post(&self, path: &str, form: &str) -> Answer {
        self.post_as(path, form, &self.host(), &format!("http://{}", self.host())).await
    }

    async fn post_as(&self, path: &str, form: &str, host: &str, origin: &str) -> Answer {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\ncookie: {}\r\ncontent-type: \
             application/x-www-form-urlencoded\r\n",
            self.cookie
        );
        exchange(TcpStream::connect(self.serving.address).await.unwrap(), head, form).await
    }

    /// What every form of the session carries
    async fn csrf(&self) -> String {
        let page = self.get("/me").await.body;
        let (_, rest) = page.split_once("name=\"csrf\" value=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }

    async fn admin(&self, path: &str, body: &serde_json::Value) -> serde_json::Value {
        let (status, answer) = self.admin_says(path, body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn admin_says(&self, path: &str, body: &serde_json::Value) -> (u16, serde_json::Value) {
        let data = self.folder.path().join("data");
        let socket = listen::connect(&admin_socket(&data)).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: portreeve\r\ncontent-type: application/json\r\n");
        let answer = exchange(socket, head, &body.to_string()).await;
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    /// What a form asks a passkey for
    async fn asked(&self, path: &str, fields: &[(&str, &str)]) -> serde_json::Value {
        let asked = self.fill(&format!("{path}/ask"), fields).await;
        assert_eq!(asked.status, 200, "{}", asked.body);
        serde_json::from_str(&asked.body).unwrap()
    }

    /// Sends a form of the session
    async fn fill(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("csrf", &self.csrf().await).extend_pairs(fields);
        self.post(path, &form.finish()).await
    }

    async fn register(&self, key: &Key) {
        let asked = self.asked("/me/passkeys", &[]).await;
        let made = key.create(&asked["create"], self.serving.office.base()).to_string();
        let registered = self.fill("/me/passkeys", &[("name", "Key"), ("passkey", &made)]).await;
        assert_eq!(registered.status, 303, "{}", registered.body);
    }

    /// A yes with a passkey to the opening of a task, which is asked for with `objective`
    async fn approve(&self, held: &serde_json::Value, key: &Key) -> Answer {
        let path = format!("/approvals/{}", held["code"].as_str().unwrap());
        let fields = [("answer", "yes"), ("why", "fine"), ("binding", held["binding"].as_str().unwrap())];
        let asked = self.asked(&path, &fields).await;
        let used = key.get(&asked["get"], self.serving.office.base()).to_string();
        let at = asked["at"].to_string();
        self.fill(&path, &[&fields[..], &[("at", &at), ("passkey", &used)]].concat()).await
    }

    /// A task of an emergency, which lea opens and ben agrees to
    async fn emergency(&mut self) -> String {
        let ask = serde_json::json!({ "purpose": "outage", "objective": "orders do not load" });
        let (status, held) = self.admin_says("/v1/tasks", &ask).await;
        assert_eq!(status, 202, "{held}");
        let path = format!("/approvals/{}", held["held"]["code"].as_str().unwrap());
        let binding = held["held"]["binding"].as_str().unwrap();
        let yes = [("answer", "yes"), ("why", "it is one"), ("binding", binding)];
        // Who opens it is one of the two, and not both.
        let own = self.fill(&path, &yes).await;
        assert!(own.status == 403 && own.body.contains("own_call"), "{}", own.body);
        self.sign_in("ben").await;
        let page = self.get(&path).await.body;
        assert!(page.contains("Break-glass") && page.contains("orders do not load"), "{page}");
        let agreed = self.fill(&path, &yes).await;
        assert_eq!(agreed.status, 303, "{}", agreed.body);
        let opened = self.admin("/v1/tasks", &ask).await;
        opened["task"].as_str().unwrap().to_owned()
    }

    /// Asks for a task that people have to agree to
    async fn ask(&self, objective: &str) -> serde_json::Value {
        let ask = serde_json::json!({ "purpose": "guarded", "objective": objective });
        let (status, held) = self.admin_says("/v1/tasks", &ask).await;
        assert_eq!(status, 202, "{held}");
        held["held"].clone()
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: String, body: &str) -> Answer {
    let request = format!("{head}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn account() -> String {
    let id = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(id.stdout).unwrap().trim().to_owned()
}

const POLICY: [(&str, &str); 9] = [
    ("users/lea.toml", "accounts = [\"ACCOUNT\"]\ngroups = [\"support\", \"sre\"]\n"),
    ("agents/bot.toml", "owner = \"lea@example.com\"\nabout = \"Answers customers\"\n"),
    ("connectors/shop.toml", "command = [\"/bin/false\"]\n\n[tools.get_order]\nclass = \"read\"\n"),
    ("purposes/look.toml", PURPOSE),
    (
        "users/ben.toml",
        "accounts = [\"nobody\"]\ngroups = [\"leads\", \"sre\", \"auditors\"]\nroles = [\"approver\", \"auditor\"]\n",
    ),
    ("users/olga.toml", "accounts = [\"olga\"]\ngroups = [\"support\"]\nroles = [\"operator\"]\n"),
    ("users/ava.toml", "accounts = [\"ava\"]\ngroups = [\"auditors\"]\nroles = [\"auditor\"]\n"),
    ("purposes/guarded.toml", GUARDED),
    ("purposes/outage.toml", OUTAGE),
];

const GUARDED: &str = r#"
name = "guarded"
about = "Look at one order, if somebody agrees"
owner = "lea@example.com"

[open]
agents = ["bot"]
users = { group = "support" }
ask = { who = "leads", passkey = true }

[task]
expires_after = "15m"
standing = ["read"]

[[allow]]
name = "look"
use = ["shop.get_order"]
"#;

const OUTAGE: &str = r#"
name = "outage"
about = "Look at whatever it takes"
owner = "lea@example.com"

[open]
agents = ["bot"]
users = { group = "support" }

[break_glass]
who = "sre"
people = 2
review = "auditors"

[task]
expires_after = "15m"
standing = ["read"]

[[allow]]
name = "look"
use = ["shop.get_order"]
"#;

const PURPOSE: &str = r#"
name = "look"
about = "Look at one order"
owner = "lea@example.com"

[open]
agents = ["bot"]
users = { group = "support" }

[task]
expires_after = "15m"
standing = ["read"]

[[allow]]
name = "look"
use = ["shop.get_order"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_the_record_is_on_the_pages() {
    let house = House::open().await;
    let opened =
        house.admin("/v1/tasks", &serde_json::json!({ "purpose": "look", "objective": "see <b>it</b>" })).await;
    let task = opened["task"].as_str().unwrap();
    let overview = house.get("/").await;
    assert_eq!(overview.status, 200);
    assert!(overview.body.contains(task) && overview.body.contains("Nothing waits for people."), "{}", overview.body);
    let page = house.get(&format!("/tasks/{task}")).await;
    assert_eq!(page.status, 200, "{}", page.body);
    for part in ["see &lt;b&gt;it&lt;/b&gt;", "began", "look", "bot"] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    assert_eq!(house.get("/approvals").await.status, 200);
    assert_eq!(house.get("/approvals/ABCD-EFGH").await.status, 404);
    assert_eq!(house.get("/tasks/task_0000000000001").await.status, 404);
    house.serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opened_a_task_ends_it_without_being_an_operator() {
    let house = House::open().await;
    let opened = house.admin("/v1/tasks", &serde_json::json!({ "purpose": "look" })).await;
    let task = opened["task"].as_str().unwrap();
    let path = format!("/tasks/{task}/stop");
    assert_eq!(house.get(&path).await.status, 200);
    let stopped = house.post(&path, &format!("csrf={}", house.csrf().await)).await;
    assert_eq!(stopped.status, 303, "{}", stopped.body);
    assert!(!house.get("/tasks").await.body.contains(task));
    house.serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_names_and_origins_do_not_reach_the_pages() {
    let house = House::open().await;
    let ours = house.host();
    let form = format!("csrf={}", house.csrf().await);
    for (host, origin) in
        [("rebound.example", "http://rebound.example"), (ours.as_str(), "http://evil.example"), (ours.as_str(), "null")]
    {
        let answer = house.post_as("/sign-out", &form, host, origin).await;
        assert_eq!(answer.status, 403, "{host} {origin}: {}", answer.body);
    }
    assert_eq!(house.post("/sign-out", &form).await.status, 303);
    assert_eq!(house.get("/").await.status, 303);
    house.serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_counts_for_what_is_asked_once_it_is_there() {
    let mut house = House::open().await;
    let before = house.ask("one").await;
    house.sign_in("ben").await;
    let key = Key::new();
    house.register(&key).await;
    let refused = house.approve(&before, &key).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    assert!(refused.body.contains("registered after the question was put"), "{}", refused.body);
    let after = house.ask("two").await;
    let agreed = house.approve(&after, &key).await;
    assert_eq!(agreed.status, 303, "{}", agreed.body);
    house.serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_stopped_is_signed_out() {
    let mut house = House::open().await;
    house.sign_in("ben").await;
    let link = house.serving.office.link(Actor::Owner { user: None }, "ben".parse().unwrap(), None).await.unwrap();
    let link = link.strip_prefix(house.serving.office.base()).unwrap().to_owned();
    assert_eq!((house.get("/").await.status, house.get(&link).await.status), (200, 200));
    house.admin("/v1/stop", &serde_json::json!({ "node": "user:ben" })).await;
    assert_eq!((house.get("/").await.status, house.get(&link).await.status), (403, 410), "told why once");
    assert_eq!(house.get("/").await.status, 303, "then signed out");
    house.serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_stops_a_task() {
    let mut house = House::open().await;
    let opened = house.admin("/v1/tasks", &serde_json::json!({ "purpose": "look" })).await;
    let page = format!("/tasks/{}", opened["task"].as_str().unwrap());
    let stop = format!("{page}/stop");
    assert!(house.get(&page).await.body.contains(&stop), "it runs for lea");
    house.sign_in("ava").await;
    assert!(!house.get(&page).await.body.contains(&stop), "ava audits");
    let pressed = house.post(&stop, &format!("csrf={}", house.csrf().await)).await;
    assert!(pressed.status == 403 && pressed.body.contains("role_missing"), "{}", pressed.body);
    house.sign_in("olga").await;
    assert!(house.get(&page).await.body.contains(&stop));
    assert_eq!(house.get(&stop).await.status, 200);
    assert!(house.get("/tasks").await.body.contains("live"), "looking stops nothing");
    let stopped = house.fill(&stop, &[]).await;
    assert_eq!(stopped.status, 303, "{}", stopped.body);
    assert!(stopped.head.contains(&format!("location: {page}?said=stopped")), "{}", stopped.head);
    let after = house.get(&format!("{page}?said=stopped")).await.body;
    for part in ["The task is stopped.", "because: killed", "olga (link)"] {
        assert!(after.contains(part), "{part}: {after}");
    }
    assert!(!after.contains(&stop), "there is nothing left to stop");
    assert!(!house.get("/tasks").await.body.contains(opened["task"].as_str().unwrap()));
    house.serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_open_a_task_of_an_emergency_and_everybody_sees_that_it_is_one() {
    let mut house = House::open().await;
    let task = house.emergency().await;
    for user in ["lea", "ben", "ava", "olga"] {
        house.sign_in(user).await;
        let overview = house.get("/").await.body;
        assert!(overview.contains(&task) && overview.contains("Break-glass"), "{user}: {overview}");
    }
    let page = house.get(&format!("/tasks/{task}")).await.body;
    for part in ["to be reviewed by <bdi>auditors</bdi>", "Opened by <bdi>lea</bdi>, approved by <bdi>ben</bdi>"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    house.serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_review_of_an_emergency_is_closed_by_a_third_once_it_is_over() {
    let mut house = House::open().await;
    let task = house.emergency().await;
    let (page, review) = (format!("/tasks/{task}"), format!("/tasks/{task}/review"));
    let found = [("why", "each call was needed")];
    house.sign_in("ava").await;
    let early = house.fill(&review, &found).await;
    assert_eq!(early.status, 404, "it is not over: {}", early.body);
    house.sign_in("olga").await;
    assert_eq!(house.fill(&format!("{page}/stop"), &[]).await.status, 303);
    let refused = house.fill(&review, &found).await;
    assert!(refused.status == 403 && refused.body.contains("not_approver"), "no auditor: {}", refused.body);
    house.sign_in("ben").await;
    assert!(house.get(&page).await.body.contains("You may not close it."));
    let refused = house.fill(&review, &found).await;
    assert!(refused.status == 403 && refused.body.contains("own_call"), "one of the two: {}", refused.body);

    house.sign_in("ava").await;
    assert!(house.get("/").await.body.contains(&page));
    assert!(house.get(&page).await.body.contains(&format!("action=\"{review}\"")));
    assert_eq!(house.fill(&review, &[("why", " ")]).await.status, 422);
    let closed = house.fill(&review, &found).await;
    assert_eq!(closed.status, 303, "{}", closed.body);
    let after = house.get(&format!("{page}?said=reviewed")).await.body;
    for part in ["The review is closed.", "each call was needed", "ava (link)"] {
        assert!(after.contains(part), "{part}: {after}");
    }
    assert!(!after.contains(&review), "{after}");
    assert!(!house.get("/").await.body.contains("Break-glass"));
    assert_eq!(house.fill(&review, &found).await.status, 404, "once is enough");
    house.serving.end().await;
}
