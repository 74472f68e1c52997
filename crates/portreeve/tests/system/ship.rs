//! A gateway that lives only as long as a job brings its record to one that stays.

use crate::{
    agents::{House, key_of},
    support::{
        http::{Response, exchange, request},
        issuer::{Issuer, Signer, now},
        place::{Place, Ran, Serve},
        upstream::Upstream,
    },
};
use portreeve_core::{
    log::{Group, Head},
    time::Millis,
};
use portreeve_identity::{
    attest::{Attested, Checkpoint, Receipt},
    key::SigningKey,
};
use portreeve_log::{Reader, shipped};
use serde_json::{Value, json};
use std::{fs, io::Write as _, net::TcpStream, path::PathBuf, process::Command};

/// The gateway that stays, and who vouches for jobs
struct Keep {
    house: House,
    issuer: Issuer,
    key: Signer,
}

impl Keep {
    /// `bot` and `second` may ship, `other` may not
    fn new() -> Self {
        let key = Signer::new("jobs");
        let issuer = Issuer::with(&[&key]);
        let agent = |sub: &str, more: &str| {
            format!("owner = \"tests\"\n{more}\n[[proof]]\nissuer = \"jobs\"\nclaims = {{ sub = \"{sub}\" }}\n")
        };
        let files = [
            ("policy/issuers/jobs.toml", format!("issuer = \"{}\"\nprivate = true\n", issuer.name)),
            ("policy/agents/second.toml", agent("second", "ships = true")),
        ];
        let house = House::of("issuer = \"jobs\"\nclaims = { sub = \"nobody\" }", &files);
        house.place.write("policy/agents/bot.toml", &agent("bot", "ships = true"));
        house.place.write("policy/agents/other.toml", &agent("other", ""));
        house.place.run(&["policy", "apply"]).good();
        Self { house, issuer, key }
    }

    fn token(&self, sub: &str) -> String {
        let claims = json!({ "iss": self.issuer.name, "sub": sub, "aud": self.house.base(), "iat": now(),
            "exp": now() + 600, "jti": format!("{sub}-1") });
        self.key.token("JWT", &claims)
    }

    /// `portreeve audit ship` in a job
    fn ship(&self, job: &Place, more: &[&str]) -> Ran {
        job.write("token", &self.token("bot"));
        let url = format!("{}/", self.house.base());
        job.run(&[&["audit", "ship", "--to", &url, "--proof", "token"], more].concat())
    }

    fn send(&self, method: &str, sub: &str, log: &str, body: &[u8]) -> Response {
        let (host, bearer) = (self.house.serve.address.to_string(), format!("Bearer {}", self.token(sub)));
        let headers = [("host", host.as_str()), ("authorization", &bearer), ("content-type", "application/json")];
        let stream = TcpStream::connect(self.house.serve.address).unwrap();
        exchange(stream, &request(method, &format!("/v1/ships/{log}"), &headers, body))
    }

    /// Brings lines as they are; status and word
    #[track_caller]
    fn brings(&self, sub: &str, log: &str, body: &str) -> (u16, String) {
        let answer = self.send("POST", sub, log, body.as_bytes());
        (answer.status, answer.json()["error"]["word"].as_str().unwrap_or_default().to_owned())
    }

    fn folder(&self, shipper: &str, log: &str) -> PathBuf {
        self.house.place.data().join("shipped").join(shipper).join(log)
    }

    /// What the own record says about shipped ones: up to which group, and whether it forked
    fn noted(&self) -> Vec<(u64, bool)> {
        let tail = self.house.place.run(&["--json", "audit", "tail", "-n", "100000"]).good().out;
        let shipped = tail.lines().filter_map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let shipped = line.pointer("/record/event/noted/shipped")?.clone();
            Some((shipped["n"].as_u64().unwrap(), shipped["forked"].as_bool().unwrap_or_default()))
        });
        shipped.collect()
    }
}

/// The gateway of a job, which has done something
struct Job {
    place: Place,
    serve: Option<Serve>,
    shop: Upstream,
}

impl Job {
    fn new() -> Self {
        let shop = Upstream::http(&["act"], |_, _| false);
        let place = Place::with(&[("shop", &shop)], "", "");
        let serve = place.serve(&["shop"]);
        let job = Self { place, serve: Some(serve), shop };
        job.works("first");
        job
    }

    fn serve(&self) -> &Serve {
        self.serve.as_ref().unwrap()
    }

    fn works(&self, value: &str) {
        let task = self.serve().open("work");
        assert_eq!(task.word("shop", "act", value), "ok");
        self.serve().calls_settled(&task);
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.place.data()).unwrap()
    }

    fn head(&self) -> Head {
        self.reader().head().unwrap()
    }

    fn log(&self) -> String {
        shipped::origin(&self.reader()).unwrap().unwrap().to_string()
    }

    /// A checkpoint as the record's key signs it
    fn signs(&self, to: &str, n: u64) -> Value {
        let (status, signed) = self.serve().admin("POST", "/v1/checkpoint", &json!({ "to": to, "n": n }));
        assert_eq!(status, 200, "{signed}");
        signed
    }

    /// What would be brought: the groups after `after` up to `n`, changed
    fn part(&self, to: &str, (after, n): (u64, u64), change: impl Fn(&mut Vec<Value>)) -> String {
        let groups = self.reader().groups(after, usize::try_from(n - after).unwrap()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let line =
            |group: &Group| json!({ "n": group.n, "body": text(&group.body), "openings": text(&group.openings) });
        let mut lines: Vec<Value> = groups.iter().map(line).collect();
        change(&mut lines);
        let first = json!({ "checkpoint": self.signs(to, n) });
        std::iter::once(&first).chain(&lines).map(Value::to_string).collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn a_record_is_brought_kept_and_verified_without_whoever_made_it() {
    let (keep, mut job) = (Keep::new(), Job::new());
    let shipped = keep.ship(&job.place, &["--json"]).good().json();
    let log = job.log();
    assert_eq!((&shipped["log"], &shipped["shipper"]), (&json!(log), &json!("bot")), "{shipped}");
    assert_eq!(keep.noted().len(), 1);

    // What it says is signed by a key of the one that stays, which names it on its own record.
    let receipt: Attested = serde_json::from_value(shipped["receipt"].clone()).unwrap();
    let says: Receipt = receipt.read().unwrap();
    assert_eq!((says.n, says.by), (job.head().n, keep.house.base()));
    let kept = fs::read_to_string(job.place.data().join("receipts.jsonl")).unwrap();
    assert!(kept.contains(&receipt.signature));
    let keys = keep.house.place.run(&["--json", "key", "list"]).good().out;
    assert!(keys.contains(&receipt.key.to_string()), "{keys}");
    keep.house.place.run(&["audit", "verify", "--checkpoint", &says.recorded]).good();

    // Again is the same: nothing is taken or recorded twice.
    let again = keep.ship(&job.place, &["--json"]).good().json();
    assert_eq!((&again["receipt"], &again["groups"]), (&shipped["receipt"], &json!(0)));
    assert_eq!(keep.noted().len(), 1);

    // It goes on where it ended, also when the one that stays was killed, and when nobody serves the job any more.
    job.works("second");
    job.serve.take().unwrap().terminate();
    let Keep { house: House { place, serve, shop }, issuer, key } = keep;
    let address = serve.address.to_string();
    serve.kill();
    let down = Keep::ship_to(&job.place, &address);
    assert_eq!(down.code, 7, "{down:?}");
    let serve = Serve::start_at(&place, &address, |_| ()).unwrap_or_else(|ran| panic!("{ran:?}"));
    let keep = Keep { house: House { place, serve, shop }, issuer, key };
    let more = keep.ship(&job.place, &["--json"]).good().json();
    assert!(more["groups"].as_u64().unwrap() > 0, "{more}");
    let noted = keep.noted();
    assert!(noted.len() == 2 && noted[0].0 < noted[1].0, "{noted:?}");

    // What is kept is a data folder: whole, with its values, and the same as the one that made it.
    let folder = keep.folder("bot", &log).display().to_string();
    let verified = keep.house.place.run(&["--data", &folder, "--json", "audit", "verify"]).good().json();
    assert_eq!(verified["checkpoint"], more["checkpoint"], "{verified}");
    let tail = |place: &Place, more: &[&str]| {
        place.run(&[more, &["--json", "audit", "tail", "-n", "100000"]].concat()).good().out
    };
    let (theirs, ours) = (tail(&keep.house.place, &["--data", &folder]), tail(&job.place, &[]));
    assert!(theirs.contains("\"second\"") && ours.starts_with(&theirs), "{theirs}");
    let listed = keep.house.place.json(&["audit", "shipped"]);
    assert_eq!(listed["shipped"][0]["shipper"], "bot");
    assert_eq!(
        (&listed["shipped"][0]["checkpoint"], &listed["shipped"][0]["broken"]),
        (&more["checkpoint"], &Value::Null)
    );
    assert!(!job.shop.calls().is_empty());
}

impl Keep {
    /// `portreeve audit ship` to where nobody listens
    fn ship_to(job: &Place, address: &str) -> Ran {
        job.run(&["audit", "ship", "--to", &format!("http://{address}"), "--proof", "token"])
    }
}

#[test]
fn what_is_long_goes_in_parts_and_what_is_bare_without_values() {
    let (keep, job) = (Keep::new(), Job::new());
    let long = "x".repeat(2 << 20);
    for _ in 0..5 {
        job.works(&long);
    }
    let shipped = keep.ship(&job.place, &["--json"]).good().json();
    assert!(keep.noted().len() > 1, "in parts, each with its receipt");
    assert!(shipped["groups"].as_u64().unwrap() >= job.head().n - 2 && shipped["bare"] == 0, "{shipped}");

    let bare = Job::new();
    let shipped = keep.ship(&bare.place, &["--json", "--bare"]).good().json();
    assert!(shipped["bare"].as_u64().unwrap() > 0, "{shipped}");
    let folder = keep.folder("bot", &bare.log()).display().to_string();
    keep.house.place.run(&["--data", &folder, "audit", "verify"]).good();
    let tail = keep.house.place.run(&["--data", &folder, "audit", "tail", "-n", "1000"]).good();
    assert!(tail.out.contains("shop.act") && !tail.out.contains("first"), "{tail:?}");
}

#[test]
fn nothing_is_taken_that_does_not_hold_together() {
    let (keep, job) = (Keep::new(), Job::new());
    let (us, log, end) = (keep.house.base(), job.log(), job.head().n);
    let all = |change: &dyn Fn(&mut Vec<Value>)| job.part(&us, (0, end), change);
    let replace = |lines: &mut Vec<Value>, member: &str, from: &str, to: &str| {
        let line = lines.iter_mut().find(|line| line[member].as_str().unwrap_or_default().contains(from)).unwrap();
        line[member] = json!(line[member].as_str().unwrap().replace(from, to));
    };
    let stranger = Job::new();
    let good = all(&|_| ());
    let signed_by = |signed: Value| {
        let (_, groups) = good.split_once('\n').unwrap();
        format!("{}\n{groups}", json!({ "checkpoint": signed }))
    };
    let mut foreign = stranger.signs(&us, 1);
    // Somebody who has the record, and not its key.
    let head = job.head();
    let says = Checkpoint { log: log.parse().unwrap(), n: end, hash: head.hash, to: us.clone(), at: Millis(0) };
    let forged = signed_by(json!(Attested::sign(&says, &SigningKey::make().unwrap()).unwrap()));
    let statement = job.signs(&us, end)["statement"].clone();
    let cases: Vec<(&str, String, (u16, &str))> = vec![
        ("nothing", String::new(), (400, "malformed")),
        ("no checkpoint", good.split_once('\n').unwrap().1.to_owned(), (400, "malformed")),
        ("a changed record", all(&|lines| replace(lines, "body", "shop.act", "shop.acd")), (400, "ship_broken")),
        ("a changed value", all(&|lines| replace(lines, "openings", "first", "worst")), (400, "ship_broken")),
        ("a dropped record", all(&|lines| drop(lines.remove(4))), (400, "ship_broken")),
        ("records in another order", all(&|lines| lines.swap(3, 4)), (400, "ship_broken")),
        ("a cut end", all(&|lines| drop(lines.pop())), (400, "ship_broken")),
        ("a cut beginning", all(&|lines| drop(lines.remove(0))), (409, "ship_gap")),
        ("a checkpoint by another key", forged.clone(), (400, "ship_broken")),
        (
            "content that is not named",
            all(&|lines| lines[0]["content"] = json!(["something else"])),
            (400, "ship_broken"),
        ),
        ("a checkpoint for somebody else", job.part("http://elsewhere", (0, end), |_| ()), (400, "checkpoint_wrong")),
        ("a checkpoint of another record", signed_by(foreign.clone()), (400, "checkpoint_wrong")),
        (
            "a checkpoint whose signature is another's",
            {
                foreign["statement"] = statement;
                signed_by(foreign)
            },
            (400, "checkpoint_wrong"),
        ),
    ];
    for (what, body, (status, word)) in &cases {
        assert_eq!(keep.brings("bot", &log, body), (*status, (*word).to_owned()), "{what}");
    }
    // Who proves nothing, or may not, brings nothing; and what is too long is not read.
    assert_eq!(keep.brings("other", &log, &good), (403, "not_yours".to_owned()));
    assert_eq!(keep.brings("stranger", &log, &good), (401, "agent_unknown".to_owned()));
    assert_eq!(keep.brings("bot", "not-a-hash", &good).0, 400);
    let long = format!("{good}\n{}", " ".repeat(17 << 20));
    assert_eq!(keep.brings("bot", &log, &long), (413, "ship_too_long".to_owned()));
    // A connection that breaks leaves nothing half done.
    {
        let (host, bearer) = (keep.house.serve.address.to_string(), format!("Bearer {}", keep.token("bot")));
        let headers = [("host", host.as_str()), ("authorization", bearer.as_str())];
        let whole = request("POST", &format!("/v1/ships/{log}"), &headers, good.as_bytes());
        let mut stream = TcpStream::connect(keep.house.serve.address).unwrap();
        stream.write_all(&whole[..whole.len() - 40]).unwrap();
    }
    assert_eq!(keep.send("GET", "bot", &log, b"").json()["n"], 0);
    assert!(!keep.folder("bot", &log).exists() && keep.noted().is_empty());

    // Then it is brought; again it is the same, and an older part is none of its continuation.
    assert_eq!(keep.brings("bot", &log, &job.part(&us, (0, end - 2), |_| ())), (200, String::new()));
    let first = keep.send("POST", "bot", &log, good.as_bytes());
    assert_eq!(first.status, 200, "{first:?}");
    let again = keep.send("POST", "bot", &log, good.as_bytes());
    assert_eq!(first.json(), again.json());
    assert_eq!(keep.brings("bot", &log, &job.part(&us, (0, end - 2), |_| ())), (409, "ship_behind".to_owned()));
    assert_eq!(keep.noted(), [(end - 2, false), (end, false)]);

    assert_eq!(keep.brings("bot", &log, &forged), (400, "ship_broken".to_owned()));

    // Another shipper has a place of its own, whatever it calls the record.
    assert_eq!(keep.brings("second", &log, &good), (200, String::new()));
    assert!(keep.folder("second", &log).exists());
    let receipts = fs::read_to_string(keep.folder("bot", &log).join("receipts.jsonl")).unwrap();
    assert!(!receipts.contains("second"));
    // And it is no tool: the sockets of agents sign nothing.
    let stream = TcpStream::connect(keep.house.serve.address).unwrap();
    let host = keep.house.serve.address.to_string();
    let asked = exchange(stream, &request("POST", "/v1/checkpoint", &[("host", &host)], b"{\"to\":\"x\"}"));
    assert!(asked.status >= 400, "{asked:?}");
}

#[test]
fn two_histories_under_one_key_are_found_and_on_the_record() {
    let (keep, mut job) = (Keep::new(), Job::new());
    keep.ship(&job.place, &[]).good();
    // Somebody copies the folder, and both go on.
    job.serve.take().unwrap().terminate();
    let copy = Place::bare();
    let copied =
        Command::new("cp").arg("-a").arg(format!("{}/.", job.place.path().display())).arg(copy.path()).status();
    assert!(copied.unwrap().success());
    job.serve = Some(job.place.serve(&[]));
    job.works("here");
    keep.ship(&job.place, &[]).good();
    let before = keep.noted();

    let other = Job { serve: Some(copy.serve(&[])), place: copy, shop: Upstream::http(&["act"], |_, _| false) };
    for _ in 0..3 {
        other.works("there");
    }
    let refused = keep.ship(&other.place, &[]);
    assert_eq!(refused.code, 6, "{refused:?}");
    assert!(refused.err.contains("ship_forked"), "{refused:?}");
    // The one that stays finds it by itself, says so once on its record, and keeps what it had.
    let log = job.log();
    let have = keep.send("GET", "bot", &log, b"").json();
    let (us, end) = (keep.house.base(), other.head().n);
    for after in [0, have["n"].as_u64().unwrap()] {
        assert_eq!(keep.brings("bot", &log, &other.part(&us, (after, end), |_| ())), (409, "ship_forked".to_owned()));
    }
    assert_eq!(keep.send("GET", "bot", &log, b"").json(), have);
    let noted = keep.noted();
    assert_eq!(noted.len(), before.len() + 1, "{noted:?}");
    assert_eq!(noted.last().unwrap(), &(end, true));
    let told = keep.house.place.run(&["audit", "tail", "-n", "1000"]).good();
    assert!(told.out.contains("FORKED"), "{told:?}");
    // The true one goes on.
    job.works("on");
    keep.ship(&job.place, &[]).good();
}

#[test]
fn who_brings_records_has_to_be_known_by_a_proof() {
    let place = Place::new();
    place.write("policy/agents/job.toml", "owner = \"tests\"\nships = true\n");
    let checked = place.run(&["policy", "check"]);
    assert_ne!(checked.code, 0);
    assert!(format!("{checked:?}").contains("has to prove itself"), "{checked:?}");
    let key = Signer::new("k");
    place.write("policy/agents/job.toml", &format!("owner = \"tests\"\nships = true\n[[proof]]\n{}\n", key_of(&key)));
    place.run(&["policy", "check"]).good();
}
