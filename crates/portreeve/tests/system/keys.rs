//! Keys: exchanged under load, broken off at any moment, from every source, and found nowhere else.

use crate::support::{
    http::{exchange, request},
    place::{PROGRAM, Place, Serve, Task, finish},
    upstream::{Received, Upstream, Wire},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use portreeve_identity::key::SigningKey;
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    net::TcpStream,
    os::unix::{
        fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

const NAMES: [&str; 5] = ["token", "answer", "webhook", "master", "upstream"];

fn good(_: &Received, _: &mut Wire) -> bool {
    false
}

fn house() -> (Place, Upstream) {
    let shop = Upstream::http(&["act"], good);
    (Place::with(&[("shop", &shop)], "", ""), shop)
}

/// The keys of one name, as `key list` shows them
fn keys(place: &Place, name: &str) -> Vec<Value> {
    let listed = place.json(&["key", "list"]);
    let all = listed["keys"].as_array().unwrap().clone();
    all.into_iter().filter(|key| key["name"] == name).collect()
}

fn current(place: &Place, name: &str) -> Value {
    keys(place, name).into_iter().find(|key| key["state"] == "current").unwrap()
}

fn kid(token: &str) -> String {
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

fn jwks(serve: &Serve) -> Vec<String> {
    let stream = TcpStream::connect(serve.address).unwrap();
    let host = serve.address.to_string();
    let answer = exchange(stream, &request("GET", "/.well-known/jwks.json", &[("host", &host)], b""));
    assert_eq!(answer.status, 200, "{answer:?}");
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    assert!(keys.iter().all(|key| key["alg"] == "EdDSA" && key.get("d").is_none()), "{keys:?}");
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Says hello as a client of an era with sessions; its session
fn session(task: &Task) -> String {
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": { "sampling": {} }, "clientInfo": { "name": "t", "version": "1" },
    }});
    let answer = task.post("shop", hello.to_string().as_bytes());
    answer.header("mcp-session-id").unwrap_or_else(|| panic!("no session: {answer:?}")).to_owned()
}

/// The status of a request in a session
fn in_session(task: &Task, session: &str) -> u16 {
    let (host, bearer) = (task.address.to_string(), format!("Bearer {}", task.token));
    let headers = [
        ("host", host.as_str()),
        ("authorization", &bearer),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-06-18"),
        ("mcp-session-id", session),
    ];
    let list = br#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;
    exchange(TcpStream::connect(task.address).unwrap(), &request("POST", "/mcp/shop", &headers, list)).status
}

#[test]
fn keys_are_exchanged_under_load_and_no_call_is_refused() {
    let (place, _shop) = house();
    let serve = place.serve(&["shop"]);
    let task = serve.open("work");
    let held = session(&task);
    let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let agents: Vec<_> = (0..4)
        .map(|agent| {
            let (task, over, calls) = (task.clone(), Arc::clone(&over), Arc::clone(&calls));
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let call = calls.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(task.word("shop", "act", &format!("{agent}-{call}")), "ok");
                }
            })
        })
        .collect();
    let first = kid(&task.token);
    let mut seen = vec![first.clone()];
    for round in 0..4 {
        for name in NAMES {
            let before = current(&place, name);
            let next = keys(&place, name).into_iter().find(|key| key["state"] == "next");
            let ran = place.run(&["key", "rotate", name]).good();
            let after = current(&place, name);
            assert!(ran.out.contains(after["thumbprint"].as_str().unwrap()), "{ran:?}");
            assert_ne!(before["key"], after["key"]);
            // What takes over is what was told beforehand.
            assert_eq!(next.is_some(), ["token", "upstream"].contains(&name));
            assert!(next.is_none_or(|next| next["key"] == after["key"]), "round {round}");
            assert!(keys(&place, name).iter().any(|key| key["key"] == before["key"] && key["state"] == "earlier"));
        }
        let fresh = serve.rejoin(&task);
        seen.push(kid(&fresh.token));
        assert_eq!(seen.last().unwrap(), current(&place, "token")["thumbprint"].as_str().unwrap());
        assert_eq!(fresh.word("shop", "act", "fresh"), "ok");
        let told = jwks(&serve);
        assert!(seen.iter().all(|kid| told.contains(kid)) && told.len() == seen.len() + 1, "{told:?}");
    }
    over.store(true, Ordering::Relaxed);
    agents.into_iter().for_each(|agent| agent.join().unwrap());
    assert!(calls.load(Ordering::Relaxed) > 4, "nothing was called meanwhile");
    assert_eq!(in_session(&task, &held), 200);

    // Earlier keys still count after a start, and at once no more. The issuer is another one where the system chose
    // another port, so of tokens only the keys can be looked at.
    serve.terminate();
    let serve = place.serve(&[]);
    assert!(jwks(&serve).contains(&first));
    let task = serve.rejoin(&task);
    assert_eq!(in_session(&task, &held), 200, "what was sealed is opened with earlier keys");
    place.run(&["key", "rotate", "master", "--now"]).good();
    serve.terminate();
    let serve = place.serve(&[]);
    let task = serve.rejoin(&task);
    assert_eq!(in_session(&task, &held), 404, "what was sealed under a key that was given up is not opened");
    assert_eq!(task.word("shop", "act", "before"), "ok");
    let ran = place.run(&["key", "rotate", "token", "--now"]).good();
    assert!(ran.out.contains("nothing counts any more"), "{ran:?}");
    assert_eq!(task.post("shop", br#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#).status, 401);
    assert_eq!(serve.rejoin(&task).word("shop", "act", "after"), "ok");
    assert_eq!(jwks(&serve).len(), 2, "only the one that signs and the next one");
    assert_eq!(keys(&place, "token").len(), 2);

    // All of it is on the record, each by the owner and vouched for.
    let record = place.record();
    let changes: Vec<&Value> = record.events("changed").filter_map(|(_, changed)| changed.get("key")).collect();
    assert_eq!(changes.len(), 5 + 20 + 2, "{changes:?}");
    for name in NAMES {
        let chain: Vec<_> = changes.iter().filter(|change| change["use"] == name).collect();
        assert!(chain[0].get("before").is_none());
        for pair in chain.windows(2) {
            assert_eq!(pair[1]["before"], pair[0]["key"]);
            assert!(pair[1]["vouched"].is_string());
        }
    }
    assert!(place.run(&["audit", "tail", "-n", "100"]).good().out.contains("changed    token key ed25519:"));
    let read = Command::new("python3").arg("../../tests/readers/approvals.py").arg(place.data()).output();
    if let Ok(read) = read {
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stdout));
    }
}

/// Exchanges a key again and again, as long as somebody answers; and how often that was begun
pub(crate) fn rotating(place: &Place, name: &'static str, now: bool) -> (Arc<AtomicUsize>, thread::JoinHandle<()>) {
    let (path, running) = (place.data(), Arc::new(AtomicUsize::new(0)));
    let begun = Arc::clone(&running);
    let rotating = thread::spawn(move || {
        loop {
            let Ok(mut stream) = std::os::unix::net::UnixStream::connect(path.join("admin.sock")) else {
                return;
            };
            begun.fetch_add(1, Ordering::SeqCst);
            let ask = request(
                "POST",
                &format!("/v1/keys/{name}/rotate"),
                &[("host", "p"), ("content-type", "application/json")],
                json!({ "now": now }).to_string().as_bytes(),
            );
            if stream.write_all(&ask).is_err() || stream.read_to_end(&mut Vec::new()).is_err() {
                return;
            }
        }
    });
    (running, rotating)
}

#[test]
fn a_rotation_that_is_killed_leaves_the_old_key_or_the_new_one() {
    let (place, _shop) = house();
    let mut serve = place.serve(&["shop"]);
    let mut recorded = 0;
    for round in 0..12u32 {
        let task = serve.open("work");
        let name = NAMES[round as usize % 5];
        let before = current(&place, name);
        let (running, rotating) = rotating(&place, name, false);
        crate::support::until("a rotation has begun", || running.load(Ordering::SeqCst) > (round as usize / 4) + 1);
        for _ in 0..round * 200 {
            std::hint::spin_loop();
        }
        serve.kill();
        rotating.join().unwrap();
        serve = Serve::start(&place).unwrap_or_else(|ran| panic!("round {round}: it does not start again: {ran:?}"));
        let after = current(&place, name);
        let listed = keys(&place, name);
        let has = |key: &Value| listed.iter().any(|known| known["key"] == key["key"]);
        assert!(has(&before) && has(&after), "round {round}: {listed:?}");
        // The file holds just the key that the record names, and nothing but what is listed lies about.
        let file = fs::read(place.data().join(format!("keys/{name}.key"))).unwrap();
        assert_eq!(SigningKey::read(&file).unwrap().public_key().to_string(), after["key"].as_str().unwrap());
        let record = place.record();
        let last = record.events("changed").filter_map(|(_, changed)| changed.get("key"));
        let last = last.filter(|change| change["use"] == name).last().unwrap();
        assert_eq!(last["key"], after["key"]);
        recorded += usize::from(before["key"] != after["key"]);
        assert_eq!(serve.rejoin(&task).word("shop", "act", "v"), "ok");
    }
    assert!(recorded > 0, "nothing was ever exchanged");
    place.json(&["audit", "verify"]);
}

/// A seed of a key, as somebody keeps it
fn seed() -> Vec<u8> {
    let mut seed = vec![0; 32];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut seed).unwrap();
    seed
}

fn public(seed: &[u8]) -> String {
    SigningKey::read(seed).unwrap().public_key().to_string()
}

fn configure(place: &Place, keys: &str) {
    place.write(".portreeve/portreeve.toml", &format!("policy = \"../policy\"\n{keys}"));
}

/// Whether these bytes stand in the memory of a process; only root may look
fn in_memory(pid: u32, what: &[u8]) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw"))).any(|line| {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // Some regions are only reserved.
        let read = memory.seek(SeekFrom::Start(from)).and_then(|_| memory.read_exact(&mut bytes));
        read.is_ok() && bytes.windows(what.len()).any(|window| window == what)
    })
}

fn in_folder(folder: &Path, what: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(in_folder(&path, what));
        } else if let Ok(bytes) = fs::read(&path)
            && bytes.windows(what.len()).any(|window| window == what)
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn keys_from_the_environment_and_credentials_are_nowhere_else() {
    let (place, _shop) = house();
    let credentials = place.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    let (token, answer, master) = (seed(), seed(), seed());
    let text = STANDARD.encode(&token);
    let mut file = fs::OpenOptions::new();
    file.write(true).create_new(true).mode(0o400).open(credentials.join("answer")).unwrap().write_all(&answer).unwrap();
    configure(
        &place,
        "[keys]\ntoken = \"env:TOKEN_KEY\"\nanswer = \"credential:answer\"\nmaster = \"env:MASTER_KEY\"\n",
    );
    let env = |command: &mut Command| {
        command.env("TOKEN_KEY", &text).env("MASTER_KEY", STANDARD.encode(&master));
        command.env("CREDENTIALS_DIRECTORY", &credentials);
    };
    let serve = Serve::start_as(&place, env).unwrap();
    place.run(&["connector", "accept", "shop", "--yes"]).good();
    let task = serve.open("work");
    assert_eq!(task.word("shop", "act", "v"), "ok");
    for (name, source, seed) in [
        ("token", "env:TOKEN_KEY", &token),
        ("answer", "credential:answer", &answer),
        ("master", "env:MASTER_KEY", &master),
    ] {
        let key = current(&place, name);
        assert_eq!((key["source"].as_str(), key["key"].as_str()), (Some(source), Some(public(seed).as_str())));
        let ran = place.run(&["key", "rotate", name]);
        assert!(ran.code == 8 && ran.err.contains("key_elsewhere") && ran.err.contains("[keys.earlier]"), "{ran:?}");
    }
    // Not in the environment that others can look at, nor its arguments, nor anywhere in the folder.
    let pid = serve.pid();
    for about in ["environ", "cmdline"] {
        let shown = fs::read(format!("/proc/{pid}/{about}")).unwrap_or_default();
        assert!(!shown.windows(text.len()).any(|window| window == text.as_bytes()), "{about}");
        assert!(about != "environ" || !String::from_utf8_lossy(&shown).contains("MASTER_KEY"));
    }
    for seed in [&token, &master] {
        assert_eq!(in_folder(place.path(), seed), Vec::<String>::new());
        assert_eq!(in_folder(place.path(), STANDARD.encode(seed).as_bytes()), Vec::<String>::new());
    }
    assert!(!place.data().join("keys/token.key").exists());
    if rustix::process::geteuid().is_root() {
        assert!(in_memory(pid, &token), "the key that signs is there, or this looks in the wrong place");
        assert!(!in_memory(pid, text.as_bytes()), "the text that it came in is not");
    }
    // What an agent is started with has nothing of it, although the shell has.
    let mut exec = place.command(PROGRAM, &["exec", "--purpose", "work", "--", "env"]);
    env(&mut exec);
    let ran = finish(exec, "").good();
    assert!(ran.out.contains("PORTREEVE_SOCKET") && !ran.out.contains("TOKEN_KEY"), "{ran:?}");
    serve.terminate();

    // Without the variable nothing is served, and nothing of it is said.
    let Err(ran) = Serve::start(&place) else { panic!("it is served without a key") };
    assert!(ran.code == 1 && ran.err.contains("key_unusable") && ran.err.contains("env:TOKEN_KEY"), "{ran:?}");
    let Err(ran) = Serve::start_as(&place, |command| {
        env(command);
        command.env("TOKEN_KEY", "geheim-und-falsch");
    }) else {
        panic!("it is served with nonsense")
    };
    assert!(ran.code == 1 && !ran.err.contains("geheim"), "{ran:?}");

    // Another key, vouched for by the one before; tokens go over, and so does what was sealed.
    let next = seed();
    configure(
        &place,
        "[keys]\ntoken = \"env:NEXT_KEY\"\nanswer = \"credential:answer\"\nmaster = \"env:MASTER_KEY\"\n\
         [keys.earlier]\ntoken = \"env:TOKEN_KEY\"\n",
    );
    let serve = Serve::start_as(&place, |command| {
        env(command);
        command.env("NEXT_KEY", STANDARD.encode(&next));
    });
    let serve = serve.unwrap();
    assert_eq!(current(&place, "token")["key"].as_str(), Some(public(&next).as_str()));
    let record = place.record();
    let last = record.events("changed").filter_map(|(_, changed)| changed.get("key")).last().unwrap().clone();
    assert!(last["vouched"].is_string(), "{last}");
    let told = jwks(&serve);
    assert!(told.contains(&SigningKey::read(&token).unwrap().public_key().thumbprint()), "{told:?}");
}

#[test]
fn a_key_that_was_exchanged_is_wiped_and_nobody_looks_into_the_process() {
    let (place, _shop) = house();
    let root = rustix::process::geteuid().is_root();
    // Under another account than root, what others see shows whether they may look.
    let nobody = 65_534;
    if root {
        give(place.path(), nobody);
    }
    let as_nobody = |command: &mut Command| {
        if root {
            command.uid(nobody).gid(nobody);
        }
    };
    let serve = Serve::start_as(&place, as_nobody).unwrap();
    let file = |name: &str| fs::read(place.data().join(format!("keys/{name}.key"))).unwrap();
    let owner = fs::metadata(format!("/proc/{}/environ", serve.pid())).unwrap().uid();
    assert_eq!(owner, 0, "a process that may not be dumped belongs to root for whoever looks");
    let old = NAMES.map(|name| file(name)[16..48].to_vec());
    for name in NAMES {
        // The socket is for the account that serves.
        let mut command = place.command(PROGRAM, &["key", "rotate", name, "--now"]);
        as_nobody(&mut command);
        finish(command, "").good();
    }
    if root {
        for (name, old) in NAMES.iter().zip(&old) {
            let new = &file(name)[16..48];
            assert_ne!(new, old);
            assert!(in_memory(serve.pid(), new), "{name}: the key that signs is there");
            assert!(!in_memory(serve.pid(), old), "{name}: the key before is still in memory");
            assert_eq!(in_folder(&place.data(), old), Vec::<String>::new(), "{name}");
        }
    }
    serve.terminate();
    place.write(".portreeve/portreeve.toml", "policy = \"../policy\"\ncore_dumps = true\n");
    if root {
        give(place.path(), nobody);
        let serve = Serve::start_as(&place, as_nobody).unwrap();
        assert_eq!(fs::metadata(format!("/proc/{}/environ", serve.pid())).unwrap().uid(), nobody);
    }
}

/// Gives a folder and everything in it to an account
fn give(path: &Path, account: u32) {
    chown(path, Some(account), Some(account)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().flatten().for_each(|entry| give(&entry.path(), account));
    }
}

/// A PKCS#11 token in software with these keys, or nothing where there is none
struct Token {
    module: &'static str,
    config: std::path::PathBuf,
}

impl Token {
    fn new(place: &Place, keys: &[(&str, &[u8])]) -> Option<Self> {
        let modules = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"];
        let module = modules.into_iter().find(|module| Path::new(module).exists())?;
        let folder = place.path().join("token");
        fs::create_dir(&folder).unwrap();
        let config = place.path().join("softhsm2.conf");
        fs::write(&config, format!("directories.tokendir = {}\nlog.level = ERROR\n", folder.display())).unwrap();
        let util = |arguments: &[&str]| {
            let mut command = place.command("softhsm2-util", arguments);
            command.env("SOFTHSM2_CONF", &config);
            finish(command, "").good()
        };
        util(&["--init-token", "--free", "--label", "house", "--pin", PIN, "--so-pin", "12345678"]);
        for (at, (label, seed)) in keys.iter().enumerate() {
            let der = [&PKCS8[..], seed].concat();
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
            place.write("key.pem", &pem);
            let id = format!("{:02}", at + 1);
            util(&["--import", "key.pem", "--token", "house", "--label", label, "--id", &id, "--pin", PIN]);
            fs::remove_file(place.path().join("key.pem")).unwrap();
        }
        Some(Self { module, config })
    }

    fn uri(&self, label: &str) -> String {
        format!("pkcs11:module={};token=house;object={label};pin-source=env:HSM_PIN", self.module)
    }

    fn env<'a>(&'a self, pin: &'a str) -> impl Fn(&mut Command) + 'a {
        move |command| {
            command.env("SOFTHSM2_CONF", &self.config).env("HSM_PIN", pin);
        }
    }
}

const PIN: &str = "8273645190";

/// What stands before the seed in PKCS#8 (RFC 8410, 7)
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

#[test]
fn a_pkcs11_token_signs_and_keeps_its_keys() {
    let (place, _shop) = house();
    let seeds = [seed(), seed(), seed()];
    let [first, second, master] = &seeds;
    let Some(token) = Token::new(&place, &[("first", first), ("second", second), ("master", master)]) else {
        return crate::interop::left_out("a PKCS#11 token: there is no softhsm2");
    };
    // From the file to the token, without a pause.
    let serve = place.serve(&["shop"]);
    let file = current(&place, "token");
    serve.terminate();
    configure(
        &place,
        &format!(
            "[keys]\ntoken = \"{}\"\nanswer = \"{}\"\nmaster = \"{}\"\n",
            token.uri("first"),
            token.uri("second"),
            token.uri("master")
        ),
    );
    let serve = Serve::start_as(&place, token.env(PIN)).unwrap();
    let task = serve.open("work");
    assert_eq!(kid(&task.token), SigningKey::read(first).unwrap().public_key().thumbprint());
    assert_eq!(task.word("shop", "act", "v"), "ok");
    let held = session(&task);
    assert_eq!(in_session(&task, &held), 200);
    let key = current(&place, "token");
    assert_eq!(
        (key["source"].as_str(), key["key"].as_str()),
        (Some("pkcs11:token=house;object=first"), Some(&*public(first)))
    );
    assert!(keys(&place, "token").iter().any(|key| key["key"] == file["key"] && key["state"] == "earlier"));
    assert!(jwks(&serve).contains(&file["thumbprint"].as_str().unwrap().to_owned()));
    for name in ["token", "answer", "master"] {
        assert!(!place.data().join(format!("keys/{name}.key")).exists(), "{name}: a key of before lies about");
        let ran = place.run(&["key", "rotate", name]);
        assert!(ran.code == 8 && ran.err.contains("key_elsewhere"), "{ran:?}");
    }
    // The PIN is nowhere that others look, and no seed is in our folder.
    let shown = fs::read(format!("/proc/{}/environ", serve.pid())).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&shown).contains(PIN));
    for seed in &seeds {
        assert_eq!(in_folder(&place.data(), seed), Vec::<String>::new());
    }
    assert_eq!(in_folder(&place.data(), PIN.as_bytes()), Vec::<String>::new());
    let record = place.record();
    let change = |name: &str| {
        let changes = record.events("changed").filter_map(|(_, changed)| changed.get("key"));
        changes.filter(|change| change["use"] == name).last().unwrap().clone()
    };
    assert!(change("token")["vouched"].is_string() && change("answer")["vouched"].is_string());
    serve.terminate();

    // The next key of the token; the one before vouches.
    configure(
        &place,
        &format!(
            "[keys]\ntoken = \"{}\"\nanswer = \"{}\"\nmaster = \"{}\"\n[keys.earlier]\ntoken = \"{}\"\n",
            token.uri("second"),
            token.uri("second"),
            token.uri("master"),
            token.uri("first")
        ),
    );
    let serve = Serve::start_as(&place, token.env(PIN)).unwrap();
    assert_eq!(current(&place, "token")["key"].as_str(), Some(&*public(second)));
    assert_eq!(serve.rejoin(&task).word("shop", "act", "w"), "ok");
    serve.terminate();

    for (pin, keys) in [
        ("00000000", token.uri("second")),
        (PIN, token.uri("none")),
        (PIN, token.uri("second").replace("house", "barn")),
        (PIN, token.uri("second").replace(token.module, "/no/such.so")),
        (PIN, token.uri("second").replace(token.module, "/etc/hostname")),
    ] {
        configure(&place, &format!("[keys]\ntoken = \"{keys}\"\n"));
        let Err(ran) = Serve::start_as(&place, token.env(pin)) else { panic!("{keys}") };
        assert!(ran.code == 1 && ran.err.contains("key_unusable") && !ran.err.contains(pin), "{keys}: {ran:?}");
    }
}

#[test]
fn doctor_and_configuration_say_what_is_wrong_with_keys() {
    let (place, _shop) = house();
    place.serve(&["shop"]).terminate();
    let check = |what: &str| {
        let ran = place.run(&["doctor"]);
        assert!(ran.out.contains(what), "{what}: {ran:?}");
    };
    check("keys and passkeys can be read by their owner only");
    let key = place.data().join("keys/token.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    check("others can read");
    fs::rename(&key, place.path().join("moved.key")).unwrap();
    std::os::unix::fs::symlink(place.path().join("moved.key"), &key).unwrap();
    check("is no plain file");
    let Err(ran) = Serve::start(&place) else { panic!("a link is used") };
    assert!(ran.err.contains("is no plain file"), "{ran:?}");
    for (keys, says) in [
        ("[keys]\ntoken = \"elsewhere\"\n", "expected file, env:NAME"),
        ("[keys]\nother = \"file\"\n", "unknown field"),
        ("[keys]\ntoken = \"pkcs11:module=/m.so;object=k;pin-value=geheim7\"\n", "pin-source"),
    ] {
        configure(&place, keys);
        let ran = place.run(&["policy", "check"]);
        assert!(ran.code == 1 && ran.err.contains("config_broken") && ran.err.contains(says), "{keys}: {ran:?}");
        assert!(!ran.err.contains("geheim7"), "{ran:?}");
    }
    assert_eq!(place.run(&["key", "rotate", "other"]).code, 2);
    configure(&place, "");
    assert_eq!(place.run(&["key", "list"]).code, 7);
}
