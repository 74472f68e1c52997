//! With a real SPIRE: our own certificate, agents by X.509-SVIDs and JWT-SVIDs, connectors by theirs, the endpoint of the
//! trust domain's bundle, rotation, and what is withdrawn.

use crate::{
    interop::interop,
    support::{
        front::Front,
        http::{Response, exchange, request},
        place::{PROGRAM, Place, Serve, word},
        spire::{LIVES, NEEDS, Spire},
        tls::{Certificate, Peer},
        until,
        upstream::Upstream,
    },
};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    net::{SocketAddr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};
use tokio_rustls::rustls::pki_types::CertificateDer;

const OURS: &str = "spiffe://example.org/portreeve";
const SHOP: &str = "spiffe://example.org/tools/shop";
const BOT: &str = "spiffe://example.org/bot";
const PURPOSE: &str = "about = \"Whatever a test needs\"\nowner = \"tests\"\n\n\
    [open]\nagents = [\"bot\"]\nusers = \"none\"\n\n\
    [task]\nexpires_after = \"1h\"\nstanding = [\"read\", \"write\"]\n\n\
    [[allow]]\nname = \"act\"\nuse = [\"shop.act\"]\nwhere = { value = { any = true } }\n";

fn call(peer: &Peer, at: SocketAddr, token: &str) -> String {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "act", "arguments": { "value": "x" } } });
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("accept", "application/json")];
    let answer = peer.send(at, ("POST", "/mcp/shop"), &headers, &body);
    if answer.status == 200 { word(&answer.json()) } else { answer.status.to_string() }
}

#[track_caller]
fn token(answer: &Response) -> String {
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

/// Whether a certificate names this SPIFFE ID
fn names(der: &CertificateDer<'_>, id: &str) -> bool {
    der.windows(id.len()).any(|part| part == id.as_bytes())
}

fn shown(peer: &Peer, at: SocketAddr) -> Option<CertificateDer<'static>> {
    let stream = peer.connect(at)?;
    Some(stream.conn.peer_certificates()?.first()?.clone().into_owned())
}

#[test]
fn agents_and_portreeve_itself_are_who_a_real_spire_says() {
    let Some(folder) = interop("spire", &NEEDS) else { return };
    let (place, shop) = (Place::new(), Upstream::http(&["act"], |_, _| false));
    let spire = Spire::start(&folder, &place);
    place.connector("shop", &shop, "");
    place.write("policy/issuers/house.toml", "trust_domain = \"example.org\"\nbundle = \"workload-api\"\n");
    place.write("policy/agents/bot.toml", &format!("owner = \"tests\"\n\n[[proof]]\nspiffe = \"{BOT}\"\n"));
    place.write("policy/purposes/work.toml", PURPOSE);
    let config = place.read(".portreeve/portreeve.toml");
    // An agent of SPIRE that is not root may not look at processes that cannot be dumped.
    let looked_at = if rustix::process::geteuid().is_root() { "" } else { "core_dumps = true\n" };
    let tls = format!("[tls]\nlisten = \"127.0.0.1:0\"\nsvid = true\nworkload_api = \"{}\"\n", spire.socket());
    place.write(".portreeve/portreeve.toml", &format!("{looked_at}{config}\n{tls}"));

    let bot = spire.workload("bot");
    let ours = spire.enter(OURS, Path::new(PROGRAM));
    let entry = spire.enter(BOT, bot.program());
    until("SPIRE vouches for the agent", || bot.certificate().is_some());
    let serve: Serve = place.serve(&["shop"]);
    let at = serve.secure.expect("no TLS");
    let (first, roots) = bot.certificate().unwrap();
    let peer = |certificate: &Certificate| Peer::of_domain(&roots).with(certificate);
    let nobody = Peer::of_domain(&roots);
    until("SPIRE vouches for us", || shown(&nobody, at).is_some());
    let own = shown(&nobody, at).unwrap();
    assert!(names(&own, OURS));

    // Both ways: the certificate of the connection, and a token over it.
    let asked = json!({ "purpose": "work" });
    let opened = peer(&first).send(at, ("POST", "/v1/tasks"), &[], &asked);
    let by_certificate = token(&opened);
    assert_eq!(call(&peer(&first), at, &by_certificate), "ok");
    assert_eq!(call(&nobody, at, &by_certificate), "401");
    let svid = bot.token(&format!("https://{at}")).expect("no JWT-SVID");
    let bearer = format!("Bearer {svid}");
    let by_token = nobody.send(at, ("POST", "/v1/tasks"), &[("authorization", &bearer)], &asked);
    assert_eq!(call(&nobody, at, &token(&by_token)), "ok");
    let record = place.run(&["--json", "audit", "tail", "-n", "100"]).good().out;
    for how in ["x509_svid", "jwt_svid"] {
        assert!(record.lines().any(|line| line.contains(how) && line.contains(BOT)), "{how}");
    }

    // Calls go on while certificates are rotated, longer than any of them lives.
    let task = opened.json()["task"].as_str().unwrap().to_owned();
    let (mut current, mut good, mut rotations, mut calls) = (first, by_certificate, 0, 0);
    let end = Instant::now() + Duration::from_secs(LIVES * 2);
    while Instant::now() < end {
        let (next, _) = bot.certificate().expect("SPIRE vouches for it");
        if next.chain != current.chain {
            let path = format!("/v1/tasks/{task}/token");
            good = token(&peer(&next).send(at, ("POST", &path), &[], &Value::Null));
            (current, rotations) = (next, rotations + 1);
        }
        assert_eq!(call(&peer(&current), at, &good), "ok", "after {rotations} rotations and {calls} calls");
        calls += 1;
    }
    assert!(rotations >= 2, "{rotations} rotations, {calls} calls");
    let later = shown(&nobody, at).unwrap();
    assert!(names(&later, OURS) && later != own, "our own certificate was rotated, too");

    // Whoever SPIRE no longer vouches for, is over with the certificate that it has.
    spire.remove(&entry);
    until("SPIRE no longer vouches for it", || bot.certificate().is_none());
    let over = || place.run(&["--json", "audit", "tail", "-n", "1000"]).good().out.contains("\"unproven\"");
    until("its task is over", over);
    assert_eq!(call(&peer(&current), at, &good), "401");

    // Nor do we believe anything of what is withdrawn from us.
    let again = spire.enter(BOT, bot.program());
    until("SPIRE vouches for it again", || bot.token(&format!("https://{at}")).is_some());
    let plain = |svid: &str| {
        let (host, bearer) = (serve.address.to_string(), format!("Bearer {svid}"));
        let headers = [("host", host.as_str()), ("authorization", &bearer), ("content-type", "application/json")];
        let stream = TcpStream::connect(serve.address).unwrap();
        exchange(stream, &request("POST", "/v1/tasks", &headers, asked.to_string().as_bytes()))
    };
    assert_eq!(plain(&bot.token(&format!("https://{at}")).unwrap()).status, 201, "{again}");
    spire.remove(&ours);
    until("nobody vouches for us", || shown(&nobody, at).is_none());
    let refused = || plain(&bot.token(&format!("https://{at}")).unwrap());
    until("nothing counts any more", || refused().status == 503);
    assert_eq!(refused().json()["error"]["word"], "issuer_unreachable");
}

#[test]
fn connectors_are_who_a_real_spire_says_and_are_shown_who_we_are() {
    let Some(folder) = interop("spire", &NEEDS) else { return };
    let (place, shop) = (Place::new(), Upstream::http(&["act"], |_, _| false));
    let spire = Spire::start(&folder, &place);
    let tool = spire.workload("shop");
    let ours = spire.enter(OURS, Path::new(PROGRAM));
    let entry = spire.enter(SHOP, tool.program());
    until("SPIRE vouches for the connector", || tool.certificate().is_some());
    let (first, roots) = tool.certificate().unwrap();
    let front = Front::of(shop.url().split('/').nth(2).unwrap().parse().unwrap(), &first, &roots);
    place.connector("shop", &shop, &format!("spiffe = \"{SHOP}\"\nsvid = true\n"));
    let file = place.read("policy/connectors/shop.toml");
    let file = file.replace(&shop.reach(), &format!("url = \"{}\"\n", front.url("/mcp")));
    place.write("policy/connectors/shop.toml", &file);
    let vouched = |bootstrap: &str| {
        let (url, id) = spire.endpoint();
        let table = format!("[bundle]\nendpoint = \"{url}\"\nendpoint_spiffe_id = \"{id}\"\nbootstrap = {bootstrap}\n");
        let text = format!("trust_domain = \"example.org\"\nprivate = true\n{table}");
        place.write("policy/issuers/house.toml", &text);
    };
    vouched(&format!("'''{}'''", spire.bundle()));
    place.purpose("work", &[("shop", &shop)], "", "");
    let config = place.read(".portreeve/portreeve.toml");
    let looked_at = if rustix::process::geteuid().is_root() { "" } else { "core_dumps = true\n" };
    let tls = format!("[tls]\nworkload_api = \"{}\"\n", spire.socket());
    place.write(".portreeve/portreeve.toml", &format!("{looked_at}{config}\n{tls}"));
    let serve: Serve = place.serve(&[]);
    let accepts = || place.run(&["connector", "accept", "shop", "--yes"]).code == 0;
    until("SPIRE vouches for us, and its endpoint for the connector", accepts);

    // Calls go on while all certificates are rotated, longer than any of them lives.
    let task = serve.open("work");
    let (mut current, mut rotations, mut calls) = (first, 0, 0);
    let end = Instant::now() + Duration::from_secs(LIVES * 2);
    while Instant::now() < end {
        let (next, _) = tool.certificate().expect("SPIRE vouches for it");
        if next.chain != current.chain {
            front.shows(&next, &roots);
            (current, rotations) = (next, rotations + 1);
        }
        assert_eq!(task.word("shop", "act", "x"), "ok", "after {rotations} rotations and {calls} calls");
        calls += 1;
    }
    let shown: HashSet<_> = front.clients().into_iter().flatten().collect();
    assert!(rotations >= 2 && shown.len() >= 2, "{rotations} rotations, {} of ours, {calls} calls", shown.len());
    assert!(shown.iter().all(|one| names(one, OURS)) && !front.clients().contains(&None));
    let look = || place.json(&["connector", "show", "shop"]);
    assert_eq!(look()["identity"], json!({ "accepted": SHOP, "seen": SHOP }));

    // At first the endpoint is believed by what the Workload API says.
    vouched("\"workload-api\"");
    place.run(&["policy", "apply"]).good();
    front.cut();
    assert!(look()["offered"].is_array(), "{}", look());

    // What is withdrawn from us we have not to show, and what is withdrawn from the connector ends.
    let unreachable = || task.word("shop", "act", "x") == "withheld";
    spire.remove(&ours);
    until("nobody vouches for us", unreachable);
    spire.enter(OURS, Path::new(PROGRAM));
    until("somebody vouches for us again", || task.word("shop", "act", "x") == "ok");
    spire.remove(&entry);
    until("the certificate of the connector is over", unreachable);
    let said = look()["unreachable"].as_str().unwrap_or_default().to_owned();
    assert!(said.contains("certificate_expired"), "{said}");
}
