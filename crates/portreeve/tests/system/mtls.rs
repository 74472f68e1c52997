//! TLS: agents that are known by their X.509-SVID, what is refused there, our own certificate, people.

use crate::support::{
    http::{Response, exchange, request},
    issuer::Issuer,
    place::{Place, Serve, word},
    tls::{Authority, Certificate, Peer, pem},
    upstream::Upstream,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use rcgen::{ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    fs,
    io::Read as _,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    time::{Duration, SystemTime},
};

const PURPOSE: &str = "about = \"Whatever a test needs\"\nowner = \"tests\"\n\n\
    [open]\nagents = [\"bot\", \"other\"]\nusers = \"none\"\n\n\
    [task]\nexpires_after = \"1h\"\nstanding = [\"read\", \"write\"]\n\n\
    [[allow]]\nname = \"act\"\nuse = [\"shop.act\"]\nwhere = { value = { any = true } }\n";
const BOT: &str = "spiffe://example.org/bot";
const OTHER: &str = "spiffe://example.org/other";

/// A served folder with TLS beside plain HTTP, and two agents that are known by SPIFFE IDs of `example.org`
struct House {
    place: Place,
    serve: Serve,
    shop: Upstream,
    bundles: Issuer,
    domain: Authority,
    people: Authority,
}

/// Writes a certificate for our own server where `portreeve.toml` says
fn certify(place: &Place, own: &Certificate) {
    let (chain, key) = own.pem();
    place.write(".portreeve/tls/own.pem", &chain);
    place.write(".portreeve/tls/own.key", &key);
    fs::set_permissions(place.data().join("tls/own.key"), fs::Permissions::from_mode(0o600)).unwrap();
}

/// `portreeve.toml` with TLS
fn configure(place: &Place, more: &str) {
    let before = place.read(".portreeve/portreeve.toml");
    let tls = "[tls]\nlisten = \"127.0.0.1:0\"\ncertificate = \"tls/own.pem\"\nkey = \"tls/own.key\"\n";
    place.write(".portreeve/portreeve.toml", &format!("{more}{before}\n{tls}"));
}

impl House {
    fn new(proof: &str, more: &str) -> Self {
        let (place, shop) = (Place::new(), Upstream::http(&["act"], |_, _| false));
        let (domain, people) = (Authority::new("domain"), Authority::new("people"));
        place.connector("shop", &shop, "");
        let bundles = Issuer::with(&[]);
        bundles.serves("/bundle.json", domain.bundle());
        let issuer =
            format!("trust_domain = \"example.org\"\nbundle = \"{}/bundle.json\"\nprivate = true\n", bundles.name);
        place.write("policy/issuers/house.toml", &issuer);
        for (name, id) in [("bot", BOT), ("other", OTHER)] {
            let agent = format!("owner = \"tests\"\n\n[[proof]]\nspiffe = \"{id}\"\n{proof}");
            place.write(&format!("policy/agents/{name}.toml"), &agent);
        }
        place.write("policy/purposes/work.toml", PURPOSE);
        certify(&place, &people.server());
        configure(&place, more);
        let serve = place.serve(&["shop"]);
        Self { place, serve, shop, bundles, domain, people }
    }

    fn secure(&self) -> SocketAddr {
        self.serve.secure.expect("no TLS")
    }

    fn peer(&self) -> Peer {
        Peer::of(&self.people)
    }

    fn bot(&self) -> Peer {
        self.peer().with(&self.domain.svid(BOT))
    }

    fn open(&self, peer: &Peer) -> Response {
        peer.send(self.secure(), ("POST", "/v1/tasks"), &[], &json!({ "purpose": "work" }))
    }

    /// What comes of a call with this token over TLS: its word, or the status
    fn call(&self, peer: &Peer, token: &str) -> String {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("accept", "application/json")];
        said(peer.send(self.secure(), ("POST", "/mcp/shop"), &headers, &act()))
    }

    fn refused(&self, peer: &Peer) -> (u16, String, String) {
        let answer = self.open(peer);
        let error = answer.json()["error"].clone();
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (answer.status, text("word"), text("message"))
    }
}

fn act() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "act", "arguments": { "value": "x" } } })
}

fn said(answer: Response) -> String {
    if answer.status == 200 { word(&answer.json()) } else { answer.status.to_string() }
}

#[track_caller]
fn token(opened: &Response) -> String {
    assert!(matches!(opened.status, 200 | 201), "{opened:?}");
    opened.json()["access_token"].as_str().unwrap().to_owned()
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&BASE64.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[test]
fn an_agent_is_its_certificate_and_its_token_is_good_with_that_only() {
    let house = House::new("", "");
    let svid = house.domain.svid(BOT);
    let bot = house.peer().with(&svid);
    let opened = house.open(&bot);
    let first = token(&opened);
    assert_eq!(opened.json()["agent"], "bot");
    assert_eq!(opened.json()["token_type"], "Bearer");
    let base = format!("https://{}", house.secure());
    assert_eq!(opened.json()["endpoints"]["shop"], format!("{base}/mcp/shop").as_str());
    let digest = portreeve_core::hash::Hash::of(&svid.chain[0]);
    assert_eq!(claims(&first)["cnf"], json!({ "x5t#S256": BASE64.encode(digest.0) }));
    assert_eq!(claims(&first)["iss"], base.as_str());

    // With the certificate, in either version of TLS, and with nothing else.
    assert_eq!(house.call(&bot, &first), "ok");
    assert_eq!(house.call(&bot.old(), &first), "ok");
    let again = house.domain.svid(BOT);
    for (what, peer) in [
        ("without a certificate", house.peer()),
        ("with another one of the same agent", house.peer().with(&again)),
        ("with that of another agent", house.peer().with(&house.domain.svid(OTHER))),
    ] {
        assert_eq!(house.call(&peer, &first), "401", "{what}");
    }
    assert!(house.peer().posing(&svid, &again).connect(house.secure()).is_none_or(|mut stream| {
        // In TLS 1.3 the client hears of it with the first bytes that it reads.
        stream.read(&mut [0]).is_err()
    }));
    let plain = |path: &str, bearer: &str, body: &Value| {
        let host = house.serve.address.to_string();
        let headers = [
            ("host", host.as_str()),
            ("authorization", bearer),
            ("content-type", "application/json"),
            ("accept", "*/*"),
        ];
        exchange(
            TcpStream::connect(house.serve.address).unwrap(),
            &request("POST", path, &headers, body.to_string().as_bytes()),
        )
    };
    assert_eq!(plain("/mcp/shop", &format!("Bearer {first}"), &act()).status, 401, "and not without TLS");
    assert_eq!(house.shop.calls().len(), 2);

    // The next certificate of the same agent: it proves itself anew, and both go on until the first is over.
    let next = house.peer().with(&again);
    let task = opened.json()["task"].as_str().unwrap().to_owned();
    let renewed = next.send(house.secure(), ("POST", &format!("/v1/tasks/{task}/token")), &[], &Value::Null);
    let second = token(&renewed);
    assert_eq!((house.call(&next, &second), house.call(&bot, &second)), ("ok".to_owned(), "401".to_owned()));
    assert_eq!(house.call(&bot, &first), "ok");
    let record = house.place.run(&["--json", "audit", "tail", "-n", "100"]).good().out;
    let began = record.lines().find(|line| line.contains("\"began\"")).unwrap();
    assert!(began.contains("x509_svid") && began.contains(BOT) && began.contains("x5t#S256"), "{began}");

    let ended = next.send(house.secure(), ("DELETE", &format!("/v1/tasks/{task}")), &[], &Value::Null);
    assert_eq!(ended.status, 204, "{ended:?}");
    assert_eq!(house.call(&next, &second), "task_over");
}

#[test]
fn client_credentials_give_the_token_of_a_task_to_whoever_shows_a_certificate() {
    let house = House::new("replicas = true\n", "");
    let details = json!([{ "type": "portreeve_task", "purpose": "work" }]).to_string();
    let send = |peer: &Peer, more: &[(&str, &str)]| {
        let form = [("grant_type", "client_credentials"), ("authorization_details", details.as_str())];
        let form = form.iter().chain(more).copied();
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        peer.try_send(house.secure(), ("POST", "/v1/token"), &headers, &body).unwrap()
    };
    let bot = house.bot();
    for named in [&[][..], &[("client_id", BOT)], &[("client_id", "bot")]] {
        let given = send(&bot, named);
        assert_eq!(house.call(&bot, &token(&given)), "ok");
        assert_eq!(
            (given.json()["token_type"].as_str(), given.header("cache-control")),
            (Some("Bearer"), Some("no-store"))
        );
    }
    let error = |answer: Response| (answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned());
    assert_eq!(error(send(&bot, &[("client_id", OTHER)])), (401, "invalid_client".to_owned()));
    assert_eq!(error(send(&house.peer(), &[])), (401, "invalid_client".to_owned()));
    assert_eq!(error(send(&bot, &[("subject_token", "x")])), (400, "invalid_request".to_owned()));
}

#[test]
fn a_certificate_counts_as_long_as_it_lives_and_its_trust_domain_vouches_for_it() {
    let house = House::new("", "");
    let soon = SystemTime::now() + Duration::from_secs(4);
    let short = house.domain.svid_with(BOT, |certificate| certificate.not_after = soon.into());
    let bot = house.peer().with(&short);
    let opened = house.open(&bot);
    let first = token(&opened);
    assert!(opened.json()["expires_in"].as_i64().unwrap() <= 4, "{opened:?}");
    assert_eq!(house.call(&bot, &first), "ok");
    // The task ends with the certificate: nobody has shown another one by then.
    let ended = || house.place.run(&["--json", "audit", "tail", "-n", "100"]).good().out.contains("\"unproven\"");
    crate::support::until("the task is over", ended);
    assert_eq!(house.refused(&bot).1, "certificate_expired");

    // Another authority takes over; what the one before vouched for is nothing any more.
    let later = Authority::new("later");
    house.bundles.serves("/bundle.json", later.bundle());
    assert_eq!(
        house.refused(&house.peer().with(&later.svid(BOT))).1,
        "path_unknown",
        "fetched anew at most every half minute"
    );
}

/// What is refused over mTLS: what comes, and what shows it
fn cases(house: &House) -> Vec<(&'static str, Peer)> {
    let peer = |certificate: &Certificate| house.peer().with(certificate);
    let domain = &house.domain;
    let stranger = Authority::new("domain");
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let server_only = |certificate: &mut rcgen::CertificateParams| {
        certificate.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    let long_over = SystemTime::now() - Duration::from_secs(5);
    vec![
        ("No certificate, and no token", house.peer()),
        ("A certificate without a SPIFFE ID", peer(&domain.server())),
        ("Two URIs", peer(&domain.svid_with(BOT, |one| one.subject_alt_names.push(uri(OTHER))))),
        (
            "An authority's own certificate",
            peer(&domain.svid_with(BOT, |one| {
                one.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            })),
        ),
        (
            "A key that may sign certificates",
            peer(&domain.svid_with(BOT, |one| {
                one.key_usages.push(KeyUsagePurpose::KeyCertSign);
            })),
        ),
        ("A certificate for servers only", peer(&domain.svid_with(BOT, server_only))),
        ("A certificate whose time is over", peer(&domain.svid_with(BOT, |one| one.not_after = long_over.into()))),
        ("A trust domain that no issuer of the policy is", peer(&domain.svid("spiffe://example.com/bot"))),
        ("An authority that only has the name of ours", peer(&stranger.svid(BOT))),
        ("A workload that is no agent's", peer(&domain.svid("spiffe://example.org/nobody"))),
    ]
}

#[test]
fn what_is_refused_over_mtls_stands_in_the_documentation() {
    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/identity.md");
    let house = House::new("", "");
    let mut table = "| What comes | Word | What is said |\n|---|---|---|\n".to_owned();
    for (what, peer) in cases(&house) {
        let (status, word, message) = house.refused(&peer);
        assert_eq!(status, 401, "{what}: {word}");
        writeln!(table, "| {what} | `{word}` | {} |", message.trim_end_matches('.')).unwrap();
    }
    let opened = token(&house.open(&house.bot()));
    assert_eq!(house.call(&house.peer(), &opened), "401");
    let said = "the token is bound to a key or certificate that was not shown";
    writeln!(
        table,
        "| At an endpoint: a bound token without its certificate, or with another one | `invalid_token` | {said} |"
    )
    .unwrap();
    assert!(house.shop.calls().is_empty());

    let document = fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = document.split_once("<!-- table: mtls -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end of table: mtls -->").unwrap();
    let made = format!("{before}<!-- table: mtls -->\n\n{table}\n<!-- end of table: mtls -->{after}");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(DOCUMENT, &made).unwrap();
    }
    assert!(made == fs::read_to_string(DOCUMENT).unwrap(), "run again with UPDATE=1");
}

#[test]
fn one_certificate_is_one_holder_and_a_token_counts_before_it() {
    let house = House::new("", "");
    let bot = house.bot();
    // What is in the header is what is shown: a bad token is not made good by a certificate beside it.
    let headers = [("authorization", "Bearer nonsense")];
    let answer = bot.send(house.secure(), ("POST", "/v1/tasks"), &headers, &json!({ "purpose": "work" }));
    assert_eq!((answer.status, answer.json()["error"]["word"].as_str()), (401, Some("token_form")));
    let headers = [("authorization", "Basic Ym90")];
    let answer = bot.send(house.secure(), ("POST", "/v1/tasks"), &headers, &json!({ "purpose": "work" }));
    assert_eq!((answer.status, answer.json()["error"]["word"].as_str()), (401, Some("proof_missing")));
    // A browser that has a certificate is no agent.
    let origin = format!("https://{}", house.secure());
    let answer = bot.send(house.secure(), ("POST", "/v1/tasks"), &[("origin", &origin)], &json!({ "purpose": "work" }));
    assert_eq!(answer.status, 403);
    for host in ["example.com", "127.0.0.1.example.com"] {
        let answer = bot.send(house.secure(), ("POST", "/v1/tasks"), &[("host", host)], &json!({ "purpose": "work" }));
        assert_eq!(answer.status, 403, "{host}");
    }
}

#[test]
fn our_certificate_is_exchanged_while_we_serve() {
    let house = House::new("", "");
    let shown = |authority: &Authority| {
        let stream = Peer::of(authority).connect(house.secure())?;
        Some(stream.conn.peer_certificates().unwrap()[0].clone().into_owned())
    };
    let first = shown(&house.people).unwrap();
    let mut kept = house.bot().connect(house.secure()).unwrap();

    // Half of a pair is none: what there was is shown until the other half is there.
    let next = Authority::new("next");
    let own = next.server();
    house.place.write(".portreeve/tls/own.pem", &own.pem().0);
    assert_eq!(shown(&house.people), Some(first));
    house.place.write(".portreeve/tls/own.key", &own.pem().1);
    assert_eq!(shown(&next), Some(own.chain[0].clone()));
    assert_eq!(shown(&house.people), None);

    // A connection of before goes on.
    use std::io::Write as _;
    let host = house.secure().to_string();
    let asked = request("GET", "/.well-known/jwks.json", &[("host", &host)], b"");
    kept.write_all(&asked).unwrap();
    let mut answer = Vec::new();
    let _ = kept.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn without_a_good_certificate_nothing_is_served() {
    let (place, people) = (Place::new(), Authority::new("people"));
    let own = people.server();
    certify(&place, &own);
    configure(&place, "");
    let fails = |expected: &str| {
        let ran = Serve::start(&place).err().expect("it serves");
        assert!(ran.err.contains("certificate_unusable") && ran.err.contains(expected), "{ran:?}");
    };
    let key = place.data().join("tls/own.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    fails("others can read the key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    place.write(".portreeve/tls/own.key", &people.server().pem().1);
    fails("cannot be used");
    place.write(".portreeve/tls/own.key", "hello");
    fails("does not hold a private key");
    place.write(".portreeve/tls/own.pem", &pem("CERTIFICATE", b"hello"));
    place.write(".portreeve/tls/own.key", &own.pem().1);
    fails("cannot be used");
    fs::remove_file(key).unwrap();
    fails("cannot be read");
}

#[test]
fn people_reach_the_console_over_tls_under_its_name() {
    let house = House::new("", "address = \"https://portreeve.example.com\"\n");
    let known = "https://portreeve.example.com";
    assert_eq!(house.serve.admin("GET", "/v1/status", &Value::Null).1["console"], known);
    let (status, answer) = house.serve.admin("POST", "/v1/links", &json!({ "user": null }));
    assert_eq!(status, 200, "{answer}");
    let link = answer["link"].as_str().unwrap().strip_prefix(known).expect("a link to where it is known").to_owned();
    let send = |method: &str, path: &str, more: &[(&str, &str)]| {
        let headers = [&[("host", "portreeve.example.com")], more].concat();
        house.peer().send(house.secure(), (method, path), &headers, &Value::Null)
    };
    let origin = |text| [("origin", text), ("sec-fetch-site", "same-origin")];
    assert_eq!(send("POST", &link, &origin("https://elsewhere.example")).status, 403);
    assert_eq!(send("POST", &link, &origin("http://portreeve.example.com")).status, 403);
    let entered = send("POST", &link, &origin(known));
    assert_eq!(entered.status, 303, "{entered:?}");
    let cookie = entered.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-portreeve_session=") && cookie.contains("; Secure"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(send("GET", "/approvals", &[("cookie", cookie)]).status, 200);
    // The token of an agent is for the name, and so is what has to be meant for us.
    let opened = house.bot().send(house.secure(), ("POST", "/v1/tasks"), &[], &json!({ "purpose": "work" }));
    assert_eq!(opened.json()["endpoints"]["shop"], format!("{known}/mcp/shop").as_str());
    assert_eq!(house.call(&house.bot(), &token(&opened)), "401", "the certificate is another one");
}

#[test]
fn whoever_says_nothing_is_let_go() {
    let house = House::new("", "");
    let mut silent = TcpStream::connect(house.secure()).unwrap();
    silent.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0, "the handshake takes too long");
    // And plain HTTP is no handshake.
    let host = house.secure().to_string();
    let plain = TcpStream::connect(house.secure()).unwrap();
    let answer = crate::support::http::try_exchange(plain, &request("GET", "/", &[("host", &host)], b""));
    assert!(answer.is_none(), "{answer:?}");
}
