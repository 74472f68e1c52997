//! What we show of ourselves, and what tells us who others are: certificates in files, and the Workload API.

use super::{Check, fail, now, ok, warn};
use crate::output;
use portreeve_core::{
    policy::{Bootstrap, Bundle, BundleSource, Reach, Vouches},
    time::Millis,
};
use portreeve_gateway::{
    settings::{OwnCertificate, Settings},
    tls::{Files, NoCertificate},
    workload::{Look, look},
};
use std::collections::BTreeSet;

/// How long before its end somebody is told of a certificate, at most, in milliseconds: two weeks
const SOON_MS: i64 = 14 * 24 * 60 * 60 * 1000;

/// The certificate in files, if it comes from there
pub(super) fn certificate(settings: &Settings) -> Option<Check> {
    let id = "tls";
    let OwnCertificate::Files { certificate, key } = &settings.tls.as_ref()?.own else { return None };
    let at = certificate.display();
    let lives = match Files::new(certificate.clone(), key.clone()).look() {
        Ok(lives) => lives,
        Err(error) => {
            let remedy = match &error {
                NoCertificate::Open { path } => format!("chmod 600 {}", path.display()),
                NoCertificate::File { .. } => "Put it there, or name it in `[tls]` of portreeve.toml.".to_owned(),
                NoCertificate::Form { .. } => "Both have to be in PEM; the key without a password.".to_owned(),
                NoCertificate::Pair(_) => "Put the certificate and its own key there.".to_owned(),
            };
            return Some(fail(id, error.to_string(), remedy));
        }
    };
    let remedy = "Have a new one issued and put it in its place; it is taken up without a restart.";
    Some(match lives.map(|lives| (lives, standing(lives, now()))) {
        None => warn(id, format!("until when {at} is good cannot be read"), remedy),
        Some(((from, _), Standing::NotYet)) => {
            fail(id, format!("{at} is good from {} on only", output::time(from)), "Set the clock right, or wait.")
        }
        Some(((_, until), Standing::Over)) => fail(id, format!("{at} is over since {}", output::time(until)), remedy),
        Some(((_, until), Standing::Soon)) => warn(id, format!("{at} ends at {}", output::time(until)), remedy),
        Some(((_, until), Standing::Good)) => ok(id, format!("{at} is good until {}", output::time(until))),
    })
}

/// How a moment stands to the time of a certificate
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    NotYet,
    Good,
    /// In the last third of its time, and within two weeks
    Soon,
    Over,
}

fn standing((from, until): (Millis, Millis), now: Millis) -> Standing {
    let left = until.since(now);
    if now < from {
        Standing::NotYet
    } else if left < 0 {
        Standing::Over
    } else if left < SOON_MS.min(until.since(from) / 3) {
        Standing::Soon
    } else {
        Standing::Good
    }
}

/// The Workload API, if anything needs it
pub(super) async fn workload_api(settings: &Settings, bundle: Option<&Bundle>) -> Vec<Check> {
    let id = "workload";
    let needs = Needs::of(settings, bundle);
    if needs.is_nothing() {
        return Vec::new();
    }
    let Some(endpoint) = &settings.workload_api else {
        let what = format!("no Workload API is configured, and {} it", needs.who());
        return vec![fail(id, what, "Set `[tls] workload_api` in portreeve.toml, or SPIFFE_ENDPOINT_SOCKET.")];
    };
    match look(endpoint).await {
        Ok(said) => said_to(&said, &needs, endpoint),
        Err(why) => {
            let what = format!("the Workload API at {endpoint} cannot be asked: {why}");
            vec![fail(id, what, "Start its agent, and see whether this account may open its socket.")]
        }
    }
}

fn said_to(said: &Look, needs: &Needs, endpoint: &str) -> Vec<Check> {
    let id = "workload";
    let mut checks = Vec::new();
    match &said.own {
        None => {
            let remedy =
                "Register the program and account that run `portreeve serve` there; this command asked as itself.";
            checks.push(fail(id, format!("the Workload API at {endpoint} gives this process nothing"), remedy));
            return checks;
        }
        Some((own, lives)) => {
            let stands = lives.map(|lives| (lives.1, standing(lives, now())));
            checks.push(match stands {
                Some((until, Standing::Over | Standing::NotYet)) => {
                    let what = format!(
                        "the X.509-SVID of {own} does not count at this moment (until {})",
                        output::time(until)
                    );
                    fail(id, what, "Set the clock right, and see why its agent does not renew it.")
                }
                // It is renewed in the midst of its time.
                Some((until, Standing::Soon)) => {
                    let what = format!("the X.509-SVID of {own} ends at {} and was not renewed", output::time(until));
                    warn(id, what, "See why its agent does not renew it.")
                }
                Some((until, Standing::Good)) => ok(id, format!("we are {own}, until {}", output::time(until))),
                None => fail(id, format!("the X.509-SVID of {own} cannot be read"), "See its agent's log."),
            });
        }
    }
    for domain in needs.domains.iter().filter(|domain| !said.domains.contains(domain)) {
        let remedy = "Have the two trust domains federate, or take the bundle from its endpoint.";
        checks.push(fail(id, format!("the Workload API at {endpoint} has no bundle of {domain}"), remedy));
    }
    checks
}

/// What the Workload API is needed for
#[derive(Debug, Default)]
struct Needs {
    /// Our own certificate is shown to whoever connects
    shown: bool,
    /// Connectors that are shown who we are
    connectors: BTreeSet<String>,
    /// Trust domains whose bundles come from there
    domains: BTreeSet<String>,
}

impl Needs {
    fn of(settings: &Settings, bundle: Option<&Bundle>) -> Self {
        let shown = settings.tls.as_ref().is_some_and(|tls| tls.own == OwnCertificate::Svid);
        let connectors = bundle.into_iter().flat_map(|bundle| &bundle.connectors);
        let connectors = connectors.filter(|(_, one)| matches!(one.reach, Reach::Http { svid: true, .. }));
        let domains = bundle.into_iter().flat_map(|bundle| bundle.issuers.values());
        let domains = domains.filter_map(|issuer| match &issuer.vouches {
            Vouches::TrustDomain {
                name,
                bundle: BundleSource::WorkloadApi | BundleSource::Spiffe { bootstrap: Some(Bootstrap::WorkloadApi), .. },
            } => Some(name.clone()),
            _ => None,
        });
        Self { shown, connectors: connectors.map(|(name, _)| name.to_string()).collect(), domains: domains.collect() }
    }

    fn is_nothing(&self) -> bool {
        !self.shown && self.connectors.is_empty() && self.domains.is_empty()
    }

    fn who(&self) -> String {
        let connectors = self.connectors.iter().map(|name| format!("connectors/{name}.toml"));
        let domains = self.domains.iter().map(|domain| format!("the bundle of {domain}"));
        let all: Vec<String> =
            self.shown.then(|| "`[tls] svid`".to_owned()).into_iter().chain(connectors).chain(domains).collect();
        format!("{} {}", all.join(", "), if all.len() == 1 { "needs" } else { "need" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_ends_soon_in_the_last_third_of_its_time_and_within_two_weeks() {
        let day = 24 * 60 * 60 * 1000;
        let (quarter, short) = ((Millis(0), Millis(90 * day)), (Millis(0), Millis(day)));
        let at = |lives, days: i64| standing(lives, Millis(days * day));
        assert_eq!(
            [at(quarter, -1), at(quarter, 1), at(quarter, 75)],
            [Standing::NotYet, Standing::Good, Standing::Good]
        );
        assert_eq!([at(quarter, 77), at(quarter, 91)], [Standing::Soon, Standing::Over]);
        let hour = day / 24;
        let at = |hours: i64| standing(short, Millis(hours * hour));
        assert_eq!([at(15), at(17), at(25)], [Standing::Good, Standing::Soon, Standing::Over]);
    }

    #[test]
    fn what_needs_the_workload_api_is_named() {
        let needs = Needs { shown: true, domains: BTreeSet::from(["example.org".to_owned()]), ..Needs::default() };
        assert_eq!(needs.who(), "`[tls] svid`, the bundle of example.org need");
        assert!(Needs::default().is_nothing());
        let said = |own: Option<(Millis, Millis)>, domains: &[&str]| {
            let own = own.map(|lives| ("spiffe://example.org/us".to_owned(), Some(lives)));
            let look = Look { own, domains: domains.iter().map(|domain| (*domain).to_owned()).collect() };
            said_to(&look, &needs, "unix:///socket").iter().map(|check| check.status).collect::<Vec<_>>()
        };
        use super::super::Status::{Fail, Ok, Warn};
        let hour = 60 * 60 * 1000;
        let good = Some((now().plus(-hour), now().plus(hour)));
        assert_eq!(said(None, &["example.org"]), [Fail]);
        assert_eq!(said(good, &["example.org"]), [Ok]);
        assert_eq!(said(good, &["example.com"]), [Ok, Fail]);
        assert_eq!(said(Some((now().plus(-9 * hour), now().plus(hour))), &["example.org"]), [Warn]);
        assert_eq!(said(Some((now().plus(-9 * hour), now().plus(-1))), &["example.org"]), [Fail]);
    }
}
