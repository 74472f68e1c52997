//! The Workload API of our own, asked by an independent client: whom it gives which identity, and until when.

use crate::{
    interop::interop,
    support::{
        http::{exchange, request},
        place::{PROGRAM, Place, Serve, Task, finish},
        upstream::Upstream,
    },
};
use futures_util::StreamExt as _;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portreeve_core::hash::Hash;
use serde_json::{Value, json};
use spiffe::{TrustDomain, WorkloadApiClient, WorkloadApiError};
use std::{net::TcpStream, path::PathBuf, time::Duration};

const ID: &str = "spiffe://host.test/bot";
/// Where a test that runs as a workload of its own finds the API
const SOCKET: &str = "PORTREEVE_TEST_SPIFFE";

struct House {
    place: Place,
    serve: Serve,
    shop: Upstream,
}

fn itself() -> PathBuf {
    std::env::current_exe().unwrap().canonicalize().unwrap()
}

fn digest() -> Hash {
    Hash::of(&std::fs::read(itself()).unwrap())
}

fn agent(attest: &str) -> String {
    format!("owner = \"tests\"\n\n[[proof]]\nspiffe = \"{ID}\"\nattest = {{ {attest} }}\n")
}

impl House {
    fn of(attest: &str, ttl: &str) -> Self {
        let shop = Upstream::http(&["act"], |_, _| false);
        let place = Place::with(&[("shop", &shop)], "", "");
        let purpose = place.read("policy/purposes/work.toml").replace("[\"assistant\"]", "[\"assistant\", \"bot\"]");
        place.write("policy/purposes/work.toml", &purpose);
        place.write("policy/issuers/here.toml", "trust_domain = \"host.test\"\nbundle = \"own\"\n");
        place.write("policy/agents/bot.toml", &agent(attest));
        let config = place.read(".portreeve/portreeve.toml");
        let spiffe = format!("\n[spiffe]\ntrust_domain = \"host.test\"\nttl = \"{ttl}\"\n");
        place.write(".portreeve/portreeve.toml", &format!("{config}{spiffe}"));
        let serve = place.serve(&["shop"]);
        Self { place, serve, shop }
    }

    fn socket(&self) -> PathBuf {
        self.place.data().join("spiffe.sock")
    }

    async fn client(&self) -> WorkloadApiClient {
        WorkloadApiClient::connect_to(format!("unix://{}", self.socket().display())).await.unwrap()
    }

    fn record(&self) -> Vec<Value> {
        let record = self.place.run(&["--json", "audit", "tail", "-n", "200"]).good().out;
        record
            .lines()
            .filter(|line| line.contains("\"issued\""))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test)
}

fn is_denied<T>(answer: Result<T, WorkloadApiError>) -> bool {
    matches!(answer, Err(WorkloadApiError::PermissionDenied(_) | WorkloadApiError::NoIdentityIssued))
}

#[test]
fn a_process_gets_the_identity_of_its_agent_and_comes_in_with_it() {
    let house = House::of(&format!("path = \"{}\", sha256 = \"{}\"", itself().display(), digest()), "1h");
    let base = format!("http://{}", house.serve.address);
    let token = run(async {
        let client = house.client().await;
        let svid = client.fetch_x509_svid().await.unwrap();
        assert_eq!((svid.spiffe_id().to_string().as_str(), svid.hint()), (ID, Some("bot")));
        assert_eq!(svid.cert_chain().len(), 1);
        let domain = TrustDomain::new("host.test").unwrap();
        let bundles = client.fetch_x509_bundles().await.unwrap();
        assert_eq!(bundles.get(&domain).unwrap().authorities().len(), 1);
        let keys = client.fetch_jwt_bundles().await.unwrap();
        assert!(keys.get(&domain).is_some());
        let jwt = client.fetch_jwt_svid([base.as_str()], None).await.unwrap();
        assert_eq!(jwt.spiffe_id().to_string(), ID);
        let good = client.validate_jwt_token(&base, jwt.token()).await.unwrap();
        assert_eq!(good.spiffe_id().to_string(), ID);
        assert!(client.validate_jwt_token("http://elsewhere", jwt.token()).await.is_err());
        let other = "spiffe://host.test/other".parse().unwrap();
        assert!(is_denied(client.fetch_jwt_svid([base.as_str()], Some(&other)).await));
        jwt.token().to_owned()
    });

    // Its own gateway believes it without fetching anything.
    let bearer = format!("Bearer {token}");
    let host = house.serve.address.to_string();
    let headers = [("host", host.as_str()), ("content-type", "application/json"), ("authorization", &bearer)];
    let send = |method: &str, path: &str, body: &str| {
        exchange(TcpStream::connect(house.serve.address).unwrap(), &request(method, path, &headers, body.as_bytes()))
    };
    let opened = send("POST", "/v1/tasks", &json!({ "purpose": "work" }).to_string());
    assert_eq!(opened.status, 201, "{opened:?}");
    let opened = opened.json();
    let text = |name: &str| opened[name].as_str().unwrap().to_owned();
    let task = Task { id: text("task"), run: text("run"), token: text("access_token"), address: house.serve.address };
    assert_eq!(task.word("shop", "act", "a"), "ok");
    assert_eq!(house.shop.calls().len(), 1);

    // Others trust the domain by its bundle.
    let bundle = send("GET", "/.well-known/spiffe-bundle", "").json();
    let uses: Vec<&str> = bundle["keys"].as_array().unwrap().iter().map(|key| key["use"].as_str().unwrap()).collect();
    assert_eq!(uses, ["x509-svid", "jwt-svid"]);

    // Each is on the record: who, which, until when.
    let issued = house.record();
    assert_eq!(issued.len(), 2, "{issued:?}");
    let text = serde_json::to_string(&issued).unwrap();
    assert!(text.contains(ID) && text.contains("serial") && text.contains(&std::process::id().to_string()), "{text}");
    assert!(!text.contains(&token));
}

#[test]
fn what_is_another_program_gets_nothing() {
    let other = format!("path = \"{}\", sha256 = \"{}\"", itself().display(), "0".repeat(64));
    let account = format!("path = \"{}\", uid = 12345", itself().display());
    for attest in [other.as_str(), account.as_str(), "path = \"/bin/cat\""] {
        let house = House::of(attest, "1h");
        run(async {
            let client = house.client().await;
            assert!(is_denied(client.fetch_x509_svid().await), "{attest}");
            assert!(is_denied(client.fetch_jwt_svid(["a"], None).await), "{attest}");
            assert!(is_denied(client.fetch_x509_bundles().await), "{attest}");
        });
        assert_eq!(house.record(), Vec::<Value>::new());
    }
}

#[test]
fn certificates_are_renewed_before_they_end_and_taken_away_with_their_entry() {
    let attest = format!("path = \"{}\"", itself().display());
    let house = House::of(&attest, "4s");
    run(async {
        let mut svids = Box::pin(house.client().await.stream_x509_svids().await.unwrap());
        let mut next = async || tokio::time::timeout(Duration::from_secs(30), svids.next()).await.unwrap().unwrap();
        let (first, second) = (next().await.unwrap(), next().await.unwrap());
        assert_ne!(first.cert_chain()[0].as_bytes(), second.cert_chain()[0].as_bytes());
        // Another program is this agent from now on.
        house.place.write("policy/agents/bot.toml", &agent("path = \"/bin/cat\""));
        tokio::task::block_in_place(|| house.place.run(&["policy", "apply"]).good());
        // One may have been on its way.
        let mut last = next().await;
        if last.is_ok() {
            last = next().await;
        }
        assert!(is_denied(last));
        house.place.write("policy/agents/bot.toml", &agent(&attest));
        tokio::task::block_in_place(|| house.place.run(&["policy", "apply"]).good());
        house.client().await.fetch_x509_svid().await.unwrap();
        let halted = tokio::task::block_in_place(|| house.place.run(&["agent", "pause", "bot"]));
        halted.good();
        assert!(is_denied(house.client().await.fetch_x509_svid().await), "an agent that is halted gets none");
    });
}

#[test]
fn without_its_header_nothing_is_answered() {
    let house = House::of(&format!("path = \"{}\"", itself().display()), "1h");
    run(async {
        let stream = tokio::net::UnixStream::connect(house.socket()).await.unwrap();
        let (mut send, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let status = async |send: &mut hyper::client::conn::http2::SendRequest<_>, path: &str, header: Option<&str>| {
            let mut request = http::Request::post(format!("http://localhost/SpiffeWorkloadAPI/{path}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers");
            if let Some(header) = header {
                request = request.header("workload.spiffe.io", header);
            }
            let answer = send.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap();
            answer.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned())
        };
        for header in [None, Some("false"), Some("TRUE")] {
            assert_eq!(status(&mut send, "FetchX509SVID", header).await.as_deref(), Some("3"), "{header:?}");
        }
        assert_eq!(status(&mut send, "FetchEverything", Some("true")).await.as_deref(), Some("12"));
    });
}

#[test]
fn below_another_agent_nobody_gets_an_identity_that_is_not_its_own() {
    let house = House::of(&format!("path = \"{}\"", itself().display()), "1h");
    let program = itself().display().to_string();
    let ask = ["--exact", "spiffe::as_a_workload", "--nocapture"];
    let socket = format!("unix://{}", house.socket().display());
    let mut outside = house.place.command(&program, &ask);
    let out = outside.env(SOCKET, &socket).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains(&format!("got {ID}")), "{out:?}");
    let arguments = [&["exec", "--purpose", "work", "--agent", "assistant", "--", program.as_str()][..], &ask].concat();
    let mut below = house.place.command(PROGRAM, &arguments);
    let out = below.env(SOCKET, &socket).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains("got nothing"), "{out:?}");
}

/// Not a test by itself: what another one runs as a process of its own
#[test]
fn as_a_workload() {
    let Ok(socket) = std::env::var(SOCKET) else { return };
    run(async {
        let client = WorkloadApiClient::connect_to(socket).await.unwrap();
        match client.fetch_x509_svid().await {
            Ok(svid) => println!("got {}", svid.spiffe_id()),
            denied => {
                assert!(is_denied(denied));
                println!("got nothing");
            }
        }
    });
}

const PYTHON: &str = "venv-spiffe/bin/python";

/// The PyPI package `spiffe` asks everything that there is to ask
#[test]
fn a_client_of_another_language_gets_everything_that_there_is() {
    let Some(folder) = interop("the SPIFFE client of PyPI", &[PYTHON]) else { return };
    let python = folder.join(PYTHON);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/python/workload.py");
    // The kernel tells the interpreter's own file, and the digest is that of both.
    let real = python.canonicalize().unwrap();
    let both = [Hash::of(&std::fs::read(&real).unwrap()), Hash::of(&std::fs::read(script).unwrap())];
    let both = Hash::of_parts(&[&both[0].0, &both[1].0]);
    let run = |house: &House| {
        let (socket, base) =
            (format!("unix://{}", house.socket().display()), format!("http://{}", house.serve.address));
        let mut command = house.place.command(python.to_str().unwrap(), &[script, &socket, &base]);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        finish(command, "").good().json()
    };
    let house = House::of(&format!("path = \"{}\", sha256 = \"{both}\"", real.display()), "4s");
    let told = run(&house);
    assert_eq!([&told["id"], &told["token_id"], &told["validated"]], [ID, ID, ID], "{told}");
    assert!(told["key_fits"] == true && told["authority"] == true && told["renewed"] == 2, "{told}");
    assert_eq!(told["bundles"], json!(["host.test"]));
    assert!(told["denied"].is_null() && told["elsewhere"].is_string(), "{told}");
    // What it got is good here.
    let (host, bearer) =
        (house.serve.address.to_string(), format!("Bearer {}", told["token"].as_str().unwrap_or_default()));
    let headers = [("host", host.as_str()), ("content-type", "application/json"), ("authorization", &bearer)];
    let asked = request("POST", "/v1/tasks", &headers, json!({ "purpose": "work" }).to_string().as_bytes());
    let opened = exchange(TcpStream::connect(house.serve.address).unwrap(), &asked);
    assert_eq!(opened.status, 201, "{opened:?}");

    let house = House::of(&format!("path = \"{}\", sha256 = \"{}\"", real.display(), digest()), "1h");
    let told = run(&house);
    assert!(told["denied"].as_str().is_some_and(|said| said.contains("PERMISSION_DENIED")), "{told}");
    assert!(told["denied_token"].is_string() && house.record().is_empty(), "{told}");
}
