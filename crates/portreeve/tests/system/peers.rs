//! Connectors that are known by their SPIFFE ID, that are shown ours, and bundles from endpoints that show theirs.

use crate::support::{
    PATIENCE,
    front::Front,
    http::{exchange, request},
    issuer::Issuer,
    place::{PROGRAM, Place, Serve, Task, word},
    tls::{Authority, Certificate},
    until,
    upstream::Upstream,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rcgen::{ExtendedKeyUsagePurpose, IsCa, SanType};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    fmt::Write as _,
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant, SystemTime},
};
use tokio_rustls::rustls::pki_types::CertificateDer;

const SHOP: &str = "spiffe://example.org/tools/shop";
const OTHER: &str = "spiffe://example.org/tools/other";
const ENDPOINT: &str = "spiffe://example.org/spire/server";
const US: &str = "spiffe://host.test/gateway";

/// A connector behind TLS, and who vouches for its trust domain
struct House {
    place: Place,
    shop: Upstream,
    front: Front,
    domain: Authority,
    bundles: Issuer,
}

impl House {
    /// With this certificate, by what the bundle endpoint serves; `more` stands in the connector's file
    fn new(domain: Authority, bundle: Value, shows: &Certificate, more: &str) -> Self {
        let (place, shop) = (Place::new(), Upstream::http(&["act"], |_, _| false));
        let front = Front::of(at(&shop.url()), shows, &[]);
        let bundles = Issuer::with(&[]);
        bundles.serves("/bundle.json", bundle);
        let house = Self { place, shop, front, domain, bundles };
        house.vouched(&format!("\"{}/bundle.json\"", house.bundles.name));
        house.reached(more);
        house.place.purpose("work", &[("shop", &house.shop)], "", "");
        house
    }

    /// One that is who it has to be
    fn good() -> Self {
        let domain = Authority::new("domain");
        let (bundle, shows) = (domain.bundle(), domain.svid(SHOP));
        Self::new(domain, bundle, &shows, &format!("spiffe = \"{SHOP}\"\n"))
    }

    fn vouched(&self, bundle: &str) {
        let text = format!("trust_domain = \"example.org\"\nprivate = true\nbundle = {bundle}\n");
        self.place.write("policy/issuers/house.toml", &text);
    }

    /// Writes the file of the connector
    fn reached(&self, more: &str) {
        self.place.connector("shop", &self.shop, more);
        let text = self.place.read("policy/connectors/shop.toml");
        let text = text.replace(&self.shop.reach(), &format!("url = \"{}\"\n", self.front.url("/mcp")));
        self.place.write("policy/connectors/shop.toml", &text);
    }

    /// What `connector show` says now
    fn look(&self) -> Value {
        self.front.cut();
        self.place.json(&["connector", "show", "shop"])
    }

    /// Why the connector cannot be reached
    #[track_caller]
    fn refused(&self) -> String {
        let shown = self.look();
        shown["unreachable"].as_str().unwrap_or_else(|| panic!("it is reached: {shown}")).to_owned()
    }
}

fn at(url: &str) -> SocketAddr {
    url.split('/').nth(2).unwrap().parse().unwrap()
}

fn names(der: &CertificateDer<'_>, id: &str) -> bool {
    der.windows(id.len()).any(|part| part == id.as_bytes())
}

/// Calls until `end` says so, each of which has to come through
#[track_caller]
fn calls(task: &Task, mut end: impl FnMut() -> bool) -> usize {
    let (mut count, deadline) = (0, Instant::now() + PATIENCE);
    while !end() {
        assert!(Instant::now() < deadline, "waited too long, after {count} calls");
        assert_eq!(task.word("shop", "act", "x"), "ok", "after {count} calls");
        count += 1;
    }
    count
}

#[test]
fn a_connector_is_its_spiffe_id_whatever_its_key() {
    let house = House::good();
    let serve = house.place.serve(&["shop"]);
    let task = serve.open("work");
    assert_eq!(task.word("shop", "act", "a"), "ok");
    let shown = house.look();
    assert_eq!(shown["identity"], json!({ "accepted": SHOP, "seen": SHOP }), "{shown}");
    let record = house.place.run(&["--json", "audit", "tail", "-n", "100"]).good().out;
    assert!(record.lines().any(|line| line.contains("\"pins\"") && line.contains(SHOP)), "{record}");

    // Its certificate and its key are others, and it is the same.
    house.front.shows(&house.domain.svid(SHOP), &[]);
    house.front.cut();
    assert_eq!(task.word("shop", "act", "b"), "ok");

    // Somebody else in its place is not spoken to.
    let before = house.shop.received().len();
    house.front.shows(&house.domain.svid(OTHER), &[]);
    house.front.cut();
    let answer = task.call("shop", "act", &json!({ "value": "c" }));
    assert_eq!(word(&answer), "withheld", "{answer}");
    assert!(answer.to_string().contains("spiffe_id_other"), "{answer}");
    assert_eq!(house.shop.received().len(), before, "nothing was sent");

    // Nor is it the one that was accepted when the policy says that it may be somebody else.
    house.reached(&format!("spiffe = \"{OTHER}\"\n"));
    house.place.run(&["policy", "apply"]).good();
    let shown = house.look();
    assert_eq!(shown["identity"], json!({ "accepted": SHOP, "seen": OTHER }), "{shown}");
    let task = serve.open("work");
    assert_eq!(task.word("shop", "act", "d"), "connector_changed");
    house.place.run(&["connector", "accept", "shop", "--yes"]).good();
    assert_eq!(serve.open("work").word("shop", "act", "e"), "ok");
    assert_eq!(house.shop.values(), ["a", "b", "e"]);
}

#[test]
fn a_connector_is_added_with_its_spiffe_id() {
    let house = House::good();
    let _serve = house.place.serve(&["shop"]);
    let url = house.front.url("/mcp");
    let add = |name: &str, id: &str| house.place.run(&["connector", "add", name, &url, "--spiffe", id, "--yes"]);
    add("store", SHOP).good();
    let file = house.place.read("policy/connectors/store.toml");
    assert!(file.contains(&format!("spiffe = \"{SHOP}\"\n")), "{file}");
    let ran = add("other", OTHER);
    assert!(ran.code != 0 && ran.err.contains("spiffe_id_other"), "{ran:?}");
    let ran = house.place.run(&["connector", "add", "third", &url, "--yes"]);
    assert!(
        ran.code != 0 && ran.err.contains("connector_unreachable"),
        "its authority is no one of this machine: {ran:?}"
    );
    let ran = house.place.run(&["connector", "add", "fourth", &url, "--spiffe", SHOP, "--svid", "--yes"]);
    assert!(ran.code != 0 && ran.err.contains("no Workload API is configured"), "{ran:?}");
}

/// What is refused of a connector: what it shows
fn cases(domain: &Authority) -> Vec<(&'static str, Certificate)> {
    let (foreign, stranger) = (Authority::new("foreign"), Authority::new("domain"));
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let long_over = SystemTime::now() - Duration::from_secs(5);
    vec![
        ("A website's certificate", domain.server()),
        ("Another workload of the trust domain", domain.svid(OTHER)),
        ("A workload of another trust domain", foreign.svid("spiffe://example.com/tools/shop")),
        ("Two URIs", domain.svid_with(SHOP, |one| one.subject_alt_names.push(uri(OTHER)))),
        (
            "An authority's own certificate",
            domain.svid_with(SHOP, |one| one.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
        ),
        (
            "A certificate for clients only",
            domain.svid_with(SHOP, |one| one.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
        ),
        ("A certificate whose time is over", domain.svid_with(SHOP, |one| one.not_after = long_over.into())),
        ("An authority that only has the name of the trust domain's", stranger.svid(SHOP)),
        ("Another trust domain that vouches for it", foreign.svid(SHOP)),
    ]
}

#[test]
fn who_is_not_let_through_stands_in_the_documentation() {
    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/identity.md");
    let mut table = "| What is there | Word | What is said |\n|---|---|---|\n".to_owned();
    let house = House::good();
    let serve = house.place.serve(&["shop"]);
    let (before, last) = (house.shop.received().len(), house.look());
    assert!(last["offered"].is_array(), "{last}");
    let asked = house.shop.received().len();
    assert!(asked > before);
    let mut row = |what: &str, said: &str| {
        let said = said.rsplit_once("no answer came: ").map_or(said, |(_, said)| said);
        let said =
            said.strip_prefix(&format!("it does not show that it is {SHOP}: ")).unwrap_or_else(|| panic!("{said}"));
        let (said, word) = said.strip_suffix(']').unwrap().rsplit_once(" [").unwrap();
        writeln!(table, "| {what} | `{word}` | {said} |").unwrap();
    };
    for (what, shows) in cases(&house.domain) {
        house.front.shows(&shows, &[]);
        row(what, &house.refused());
    }
    assert_eq!(house.shop.received().len(), asked, "nobody was told anything");
    serve.terminate();

    let over = Authority::over("domain");
    let empty = json!({ "keys": [], "spiffe_sequence": 1 });
    for (what, bundle) in
        [("A trust domain whose bundle is over", over.bundle()), ("A trust domain without a certificate", empty)]
    {
        let domain = Authority::new("domain");
        let shows = domain.svid(SHOP);
        let house = House::new(domain, bundle, &shows, &format!("spiffe = \"{SHOP}\"\n"));
        let _serve = house.place.serve(&[]);
        row(what, &house.refused());
        assert!(house.shop.received().is_empty());
    }

    let document = fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = document.split_once("<!-- table: connectors -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end of table: connectors -->").unwrap();
    let made = format!("{before}<!-- table: connectors -->\n\n{table}\n<!-- end of table: connectors -->{after}");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(DOCUMENT, &made).unwrap();
    }
    assert!(made == fs::read_to_string(DOCUMENT).unwrap(), "run again with UPDATE=1");
}

#[test]
fn without_a_bundle_nobody_is_spoken_to() {
    let house = House::good();
    house.bundles.goes_silent();
    let serve = house.place.serve(&[]);
    let said = house.refused();
    assert!(said.contains(&format!("{SHOP} has to be there")) && said.contains("404"), "{said}");
    serve.terminate();
    // The Workload API says nothing where there is none.
    house.vouched("\"workload-api\"");
    let ran = house.place.run(&["doctor"]);
    assert!(ran.code == 1 && ran.out.contains("the bundle of example.org needs it"), "{ran:?}");
    let serve = house.place.serve(&[]);
    assert!(house.refused().contains("no Workload API is configured"), "{}", house.refused());
    serve.terminate();
    // And a policy without anybody who vouches for it is none.
    fs::remove_file(house.place.path().join("policy/issuers/house.toml")).unwrap();
    let ran = house.place.run(&["policy", "check"]);
    assert!(ran.code != 0 && ran.out.contains("nobody vouches for the trust domain `example.org`"), "{ran:?}");
    assert!(house.shop.received().is_empty());
}

/// Another Portreeve, whose Workload API vouches for this one
struct Neighbour {
    place: Place,
    serve: Serve,
}

impl Neighbour {
    fn new(ttl: &str) -> Self {
        let place = Place::new();
        place.write("policy/issuers/here.toml", "trust_domain = \"host.test\"\nbundle = \"own\"\n");
        let program = fs::canonicalize(PROGRAM).unwrap();
        let attest = format!("attest = {{ path = \"{}\" }}\n", program.display());
        let agent = format!("owner = \"tests\"\n\n[[proof]]\nspiffe = \"{US}\"\n{attest}");
        place.write("policy/agents/gateway.toml", &agent);
        let config = place.read(".portreeve/portreeve.toml");
        let spiffe = format!("\n[spiffe]\ntrust_domain = \"host.test\"\nttl = \"{ttl}\"\n");
        place.write(".portreeve/portreeve.toml", &format!("{config}{spiffe}"));
        let serve = place.serve(&[]);
        Self { place, serve }
    }

    /// Has a house ask it who it is
    fn tells(&self, house: &House) {
        let config = house.place.read(".portreeve/portreeve.toml");
        let api = format!("\n[tls]\nworkload_api = \"unix://{}\"\n", self.place.data().join("spiffe.sock").display());
        house.place.write(".portreeve/portreeve.toml", &format!("{config}{api}"));
    }

    /// The certificate of its authority
    fn root(&self) -> CertificateDer<'static> {
        let host = self.serve.address.to_string();
        let asked = request("GET", "/.well-known/spiffe-bundle", &[("host", &host)], b"");
        let bundle = exchange(TcpStream::connect(self.serve.address).unwrap(), &asked).json();
        let text = bundle["keys"][0]["x5c"][0].as_str().unwrap().to_owned();
        BASE64.decode(text).unwrap().into()
    }
}

#[test]
fn a_connector_is_shown_who_we_are_for_as_long_as_somebody_vouches_for_us() {
    let (house, neighbour) = (House::good(), Neighbour::new("4s"));
    house.reached(&format!("spiffe = \"{SHOP}\"\nsvid = true\n"));
    neighbour.tells(&house);
    house.front.shows(&house.domain.svid(SHOP), &[neighbour.root()]);
    let serve = house.place.serve(&["shop"]);
    let ran = house.place.run(&["doctor"]);
    assert!(ran.code == 0 && ran.out.contains(US), "{ran:?}");
    let task = serve.open("work");

    // It is exchanged while calls go on, for longer than any of them lives.
    let shown = || house.front.clients().into_iter().flatten().collect::<HashSet<_>>();
    let made = calls(&task, || shown().len() > 4);
    assert!(shown().iter().all(|one| names(one, US)) && !house.front.clients().contains(&None), "after {made} calls");

    // Nobody vouches for us any more: nobody is spoken to where we have to say who we are.
    let unreachable = || task.word("shop", "act", "x") == "withheld";
    neighbour.place.run(&["agent", "pause", "gateway"]).good();
    until("nobody vouches for us", unreachable);
    assert!(house.refused().contains("gives us nothing"), "{}", house.refused());
    let ran = house.place.run(&["doctor"]);
    assert!(ran.code == 1 && ran.out.contains("gives this process nothing"), "{ran:?}");
    neighbour.place.run(&["agent", "resume", "gateway"]).good();
    until("somebody vouches for us again", || task.word("shop", "act", "x") == "ok");

    // Nor when what was said of us is over.
    drop(neighbour);
    until("what was said of us is over", unreachable);
    assert!(house.refused().contains("is over"), "{}", house.refused());
    let ran = house.place.run(&["doctor"]);
    assert!(ran.code == 1 && ran.out.contains("cannot be asked"), "{ran:?}");
    // Without showing who we are, nobody is let in there.
    house.reached(&format!("spiffe = \"{SHOP}\"\n"));
    house.place.run(&["policy", "apply"]).good();
    assert!(house.look()["unreachable"].is_string());
    house.front.shows(&house.domain.svid(SHOP), &[]);
    assert!(house.look()["offered"].is_array(), "{}", house.look());
}

#[test]
fn a_bundle_comes_from_an_endpoint_that_shows_who_it_is() {
    let house = House::good();
    let (domain, later, foreign) = (&house.domain, Authority::new("later"), Authority::new("foreign"));
    let serving = Front::of(at(&house.bundles.name), &domain.svid(ENDPOINT), &[]);
    // Only what is fetched vouches for the connector.
    house.front.shows(&later.svid(SHOP), &[]);
    let bundle = later.bundle();
    let (mut count, own) = (0, domain.bundle().to_string());
    let mut next = |id: &str, bootstrap: Option<&str>| {
        count += 1;
        let path = format!("/{count}.json");
        house.bundles.serves(&path, bundle.clone());
        let bootstrap = bootstrap.map(|text| format!(", bootstrap = '{text}'")).unwrap_or_default();
        let url = serving.url(&path);
        house.vouched(&format!("{{ endpoint = \"{url}\", endpoint_spiffe_id = \"{id}\"{bootstrap} }}"));
        path
    };
    let path = next(ENDPOINT, Some(&own));
    let serve = house.place.serve(&["shop"]);
    assert_eq!(serve.open("work").word("shop", "act", "a"), "ok");
    assert_eq!(house.bundles.asked(&path), 1);

    // Whoever else is there is not asked for it.
    let refused = |path: &str, word: &str| {
        house.place.run(&["policy", "apply"]).good();
        let said = house.refused();
        assert!(said.contains(&format!("[{word}]")), "{word}: {said}");
        assert_eq!(house.bundles.asked(path), 0, "{word}");
    };
    for (shows, word) in [
        (domain.svid(OTHER), "spiffe_id_other"),
        (domain.server(), "uri_missing"),
        (Authority::new("domain").svid(ENDPOINT), "chain_signature_wrong"),
        (later.svid(ENDPOINT), "path_unknown"),
    ] {
        serving.shows(&shows, &[]);
        refused(&next(ENDPOINT, Some(&own)), word);
    }
    serving.shows(&domain.svid(ENDPOINT), &[]);
    refused(&next(ENDPOINT, Some(&foreign.bundle().to_string())), "path_unknown");
    refused(&next(ENDPOINT, Some(&Authority::over("domain").bundle().to_string())), "bundle_expired");

    // One of another trust domain, whose own file says what vouches for it.
    let id = "spiffe://root.example/bundles";
    serving.shows(&foreign.svid(id), &[]);
    house.bundles.serves("/root.json", foreign.bundle());
    let url = format!("{}/root.json", house.bundles.name);
    let root = format!("trust_domain = \"root.example\"\nprivate = true\nbundle = \"{url}\"\n");
    house.place.write("policy/issuers/root.toml", &root);
    next(id, None);
    house.place.run(&["policy", "apply"]).good();
    assert_eq!(serve.open("work").word("shop", "act", "b"), "ok");
    serving.shows(&domain.svid(ENDPOINT), &[]);
    refused(&next(id, None), "spiffe_id_other");
}

#[test]
fn what_an_endpoint_served_vouches_for_it_after_a_restart() {
    let house = House::good();
    let (domain, later) = (&house.domain, Authority::new("later"));
    let serving = Front::of(at(&house.bundles.name), &domain.svid(ENDPOINT), &[]);
    house.front.shows(&later.svid(SHOP), &[]);
    house.bundles.serves("/bundle.json", later.bundle());
    let url = serving.url("/bundle.json");
    let by = |bootstrap: &Authority| {
        let bootstrap = bootstrap.bundle();
        house.vouched(&format!(
            "{{ endpoint = \"{url}\", endpoint_spiffe_id = \"{ENDPOINT}\", bootstrap = '{bootstrap}' }}"
        ));
    };
    by(domain);
    house.place.serve(&["shop"]).terminate();
    // The trust domain has exchanged its authority: nobody vouches for it by what the file says.
    serving.shows(&later.svid(ENDPOINT), &[]);
    let serve = house.place.serve(&[]);
    assert_eq!(serve.open("work").word("shop", "act", "a"), "ok");
    assert_eq!(house.bundles.asked("/bundle.json"), 2);
    serve.terminate();
    let kept = house.place.data().join("bundles/house.json");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    // What the file says anew counts, and not what was served before.
    by(&Authority::new("foreign"));
    let serve = house.place.serve(&[]);
    assert!(house.refused().contains("[path_unknown]"), "{}", house.refused());
    serve.terminate();
    // Nor does anything but what was kept.
    by(domain);
    fs::write(&kept, "{}").unwrap();
    let _serve = house.place.serve(&[]);
    assert!(house.refused().contains("[path_unknown]"), "{}", house.refused());
}

#[test]
fn doctor_says_what_is_wrong_with_certificates() {
    let (place, authority) = (Place::new(), Authority::new("people"));
    let config = place.read(".portreeve/portreeve.toml");
    let tls = "[tls]\nlisten = \"127.0.0.1:0\"\ncertificate = \"own.pem\"\nkey = \"own.key\"\n";
    place.write(".portreeve/portreeve.toml", &format!("{config}\n{tls}"));
    let certify = |own: &Certificate| {
        place.write(".portreeve/own.pem", &own.pem().0);
        place.write(".portreeve/own.key", &own.pem().1);
        fs::set_permissions(place.data().join("own.key"), fs::Permissions::from_mode(0o600)).unwrap();
    };
    let says = |status: &str, what: &str| {
        let ran = place.run(&["--json", "doctor"]);
        let checks = ran.json()["checks"].as_array().unwrap().clone();
        let check = checks.into_iter().find(|check| check["id"] == "tls").unwrap_or_else(|| panic!("{ran:?}"));
        assert!(check["status"] == status && check["what"].as_str().unwrap().contains(what), "{check}");
        assert_eq!(check["remedy"].is_string(), status != "ok", "{check}");
    };
    says("fail", "cannot be read");
    let ends = |after: i64| {
        authority.server_with(|one| {
            let now = SystemTime::now();
            one.not_before = (now - Duration::from_secs(90 * 24 * 3_600)).into();
            one.not_after = (now + Duration::from_secs(24 * 3_600 * u64::try_from(after).unwrap())).into();
        })
    };
    certify(&ends(40));
    says("ok", "is good until");
    certify(&ends(10));
    says("warn", "ends at");
    certify(&ends(0));
    says("fail", "is over since");
    certify(&authority.server());
    fs::set_permissions(place.data().join("own.key"), fs::Permissions::from_mode(0o644)).unwrap();
    says("fail", "others can read the key");
    certify(&authority.server());
    place.write(".portreeve/own.key", &authority.server().pem().1);
    says("fail", "cannot be used");
    place.write(".portreeve/own.key", "hello");
    says("fail", "does not hold a private key");
}
