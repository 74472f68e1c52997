//! AWS: sessions of a role, each under the lease's name and with a policy of its own.
//!
//! AWS keeps nothing of a session that could be deleted. But a role can be told to deny all that a session of a certain name does, and
//! that is known before there is one: so a lease is taken back by its name alone. It takes a while until every
//! region knows. The call that everybody makes to see who they are works whatever is denied, so another one is tried.

pub mod sign;

use crate::{
    secret::{Fields, Secret},
    source::{Held, Issued, NotIssued, Source, Wanted, Withdrawn, now},
    vault::Vault,
    web,
};
use async_trait::async_trait;
use http::Method;
use portreeve_core::{
    event::Evidence,
    names::Name,
    policy::{Aws as Account, AwsRole},
    time::Millis,
};
use portreeve_upstream::fetch::Sent;
use roxmltree::Document;
use serde_json::json;
use sign::{Keys, Signed, authorization};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// An account that sessions are asked of
#[derive(Debug)]
pub struct Aws {
    of: Account,
    vault: Arc<Vault>,
}

/// Seconds that a session lives at least, and at most: what every role allows
const SHORTEST: i64 = 900;
const LONGEST: i64 = 3_600;
/// How far AWS's clock may be behind this one: a session that has passed here may count there
const SLACK_MS: i64 = 15 * 60 * 1_000;
/// Characters of a session's policy
const POLICY_MAX: usize = 2_048;
/// How long a session is tried that was denied, and how often
const DENIES: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(500);
/// What tells a role's denials of leases from its other policies
const DENIED: &str = "ptr_";
/// What a session is tried with, because it does no harm and is as much denied as all else
const TRIED: &str = "ListAccountAliases";
const TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// The services that are asked, each in its version
#[derive(Clone, Copy)]
enum Service {
    Sts,
    Iam,
}

/// What was answered, and the members of it that are texts
struct Said {
    status: u16,
    texts: Vec<(String, String)>,
}

impl Said {
    fn read(status: u16, body: &[u8]) -> Self {
        let text = std::str::from_utf8(body).unwrap_or_default();
        let texts = Document::parse(text).map_or_else(
            |_| Vec::new(),
            |document| {
                let leaves = document.descendants().filter(|node| node.is_element());
                let texts =
                    leaves.filter_map(|node| Some((node.tag_name().name().to_owned(), node.text()?.to_owned())));
                texts.collect()
            },
        );
        Self { status, texts }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.texts.iter().filter(move |(known, _)| known == name).map(|(_, text)| text.trim())
    }

    fn is_good(&self) -> bool {
        self.status == 200
    }

    /// Nothing of the kind is there
    fn is_absent(&self) -> bool {
        self.get("Code") == Some("NoSuchEntity")
    }

    fn says(&self, what: &str) -> String {
        let (code, message) = (self.get("Code").unwrap_or_default(), self.get("Message").unwrap_or_default());
        format!("{what}: {}", web::line(&format!("{} {code} {message}", self.status)))
    }
}

/// What became of trying a session
enum Tried {
    /// It was let in
    In,
    /// It was denied, by what was told to its role
    Denied(String),
    /// It was denied, and it is not said why
    NotLet(String),
}

impl Aws {
    /// Sessions of roles of this account, with keys of this vault
    #[must_use]
    pub fn new(of: Account, vault: Arc<Vault>) -> Self {
        Self { of, vault }
    }

    /// Where a service is, and for which region requests to it are signed
    fn place(&self, service: Service) -> (String, &str) {
        let region = self.of.region.as_str();
        let partition = self.of.roles.values().next().and_then(|role| role.arn.split(':').nth(1)).unwrap_or("aws");
        let (sts, iam, of_iam) = match partition {
            "aws-cn" => (format!("sts.{region}.amazonaws.com.cn"), "iam.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            "aws-us-gov" => (format!("sts.{region}.amazonaws.com"), "iam.us-gov.amazonaws.com", "us-gov-west-1"),
            _ => (format!("sts.{region}.amazonaws.com"), "iam.amazonaws.com", "us-east-1"),
        };
        let (host, region) = match service {
            Service::Sts => (sts, region),
            Service::Iam => (iam.to_owned(), of_iam),
        };
        (self.of.endpoint.clone().unwrap_or_else(|| format!("https://{host}")), region)
    }

    async fn ask(
        &self,
        (keys, token): (&Keys<'_>, Option<&str>),
        service: Service,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Said, NotIssued> {
        let (url, region) = self.place(service);
        let (name, version) = match service {
            Service::Sts => ("sts", "2011-06-15"),
            Service::Iam => ("iam", "2010-05-08"),
        };
        let all = [("Action", action), ("Version", version)];
        let all = all.iter().chain(parameters).map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        let body = all.collect::<Vec<_>>().join("&").into_bytes();
        let at = instant(now());
        let host = url.split_once("//").map_or("", |(_, rest)| rest).to_owned();
        let mut headers = vec![("content-type", TYPE), ("host", host.as_str()), ("x-amz-date", at.as_str())];
        headers.extend(token.map(|token| ("x-amz-security-token", token)));
        let signed = Signed { method: "POST", query: "", headers: &headers, body: &body, to: (region, name), at: &at };
        let authorization = authorization(keys, &signed);
        headers.retain(|(name, _)| *name != "host");
        headers.extend([("authorization", authorization.as_str()), ("accept", "text/xml")]);
        let sent = Sent { method: Method::POST, headers: &headers, body };
        let answer = web::send(&format!("{url}/"), sent).await?;
        Ok(Said::read(answer.status.as_u16(), &answer.body))
    }

    /// Asks as Portreeve itself
    async fn own(&self, service: Service, action: &str, parameters: &[(&str, &str)]) -> Result<Said, NotIssued> {
        let both = self.vault.get(&self.of.keys).map_err(|error| NotIssued::Refused(error.to_string()))?;
        let form = || NotIssued::Refused(format!("the secret {} is not of the form ID:SECRET", self.of.keys));
        let (id, secret) = both.expose().split_once(':').ok_or_else(form)?;
        self.ask((&Keys { id, secret }, None), service, action, parameters).await
    }

    async fn look(&self, action: &str, parameters: &[(&str, &str)]) -> Result<Said, String> {
        self.own(Service::Iam, action, parameters).await.map_err(|error| error.to_string())
    }

    /// Tries a session
    async fn tries(&self, fields: &Fields) -> Result<Tried, String> {
        let field = |name: &str| fields.get(name).map(Secret::expose).unwrap_or_default();
        let keys = Keys { id: field("access_key_id"), secret: field("secret_access_key") };
        let said = self.ask((&keys, Some(field("session_token"))), Service::Iam, TRIED, &[]).await;
        let said = said.map_err(|error| error.to_string())?;
        let message = said.get("Message").unwrap_or_default();
        Ok(match (said.status, said.get("Code")) {
            (200, _) => Tried::In,
            (_, Some("AccessDenied")) if message.contains("explicit deny") => Tried::Denied(said.says(TRIED)),
            (_, Some("AccessDenied")) => Tried::NotLet(said.says(TRIED)),
            (_, Some("ExpiredToken" | "InvalidClientTokenId")) => Tried::Denied(said.says(TRIED)),
            _ => return Err(said.says("the session could not be tried")),
        })
    }

    /// Tells a role to deny a session until its time has passed, and looks that it was told
    async fn deny(&self, role: &AwsRole, name: &str, until: Millis) -> Result<(), String> {
        let policy = format!("{name}.{}", until.0.div_euclid(1_000));
        let document = denial(name);
        let named = [("RoleName", role.name()), ("PolicyName", policy.as_str())];
        let said = self.look("PutRolePolicy", &[named[0], named[1], ("PolicyDocument", &document)]).await?;
        if !said.is_good() {
            return Err(said.says("the role was not told to deny its session"));
        }
        let said = self.look("GetRolePolicy", &named).await?;
        if said.is_good() { Ok(()) } else { Err(said.says("the role does not say that it denies its session")) }
    }

    /// Takes denials out of a role whose sessions have passed
    async fn tidy(&self, role: &AwsRole) -> Result<(), String> {
        let said = self.look("ListRolePolicies", &[("RoleName", role.name())]).await?;
        if !said.is_good() {
            return Err(said.says("the role does not say what it denies"));
        }
        let now = now().0.saturating_sub(SLACK_MS).div_euclid(1_000);
        let over = |policy: &&str| {
            let until = policy.strip_prefix(DENIED).and_then(|rest| rest.split_once('.')?.1.parse::<i64>().ok());
            until.is_some_and(|until| until < now)
        };
        for policy in said.all("member").filter(over) {
            let said = self.look("DeleteRolePolicy", &[("RoleName", role.name()), ("PolicyName", policy)]).await?;
            if !said.is_good() && !said.is_absent() {
                return Err(said.says("what a role denied could not be taken out"));
            }
        }
        Ok(())
    }

    /// The roles that a lease may be of, each once
    fn roles(&self, handle: Option<&str>) -> Vec<&AwsRole> {
        let mut seen = BTreeSet::new();
        let all = self.of.roles.values().filter(|role| handle.is_none_or(|handle| role.arn == handle));
        all.filter(|role| seen.insert(role.arn.as_str())).collect()
    }
}

#[async_trait]
impl Source for Aws {
    async fn issue(&self, wanted: &Wanted) -> Result<Issued, NotIssued> {
        let refused = NotIssued::Refused;
        let role = self.of.roles.get(&wanted.class);
        let role = role.ok_or_else(|| refused(format!("there is no role for {}", wanted.class)))?;
        let policy = policy(role, &wanted.scope).map_err(refused)?;
        let seconds = wanted.until.0.saturating_sub(now().0).div_euclid(1_000).saturating_add(1);
        let seconds = seconds.clamp(SHORTEST, LONGEST).to_string();
        let (name, task) = (wanted.name.as_str(), wanted.task.to_string());
        let mut parameters = vec![
            ("RoleArn", role.arn.as_str()),
            ("RoleSessionName", name),
            ("DurationSeconds", &seconds),
            ("Policy", &policy),
            ("SourceIdentity", name),
            ("Tags.member.1.Key", "ptr-lease"),
            ("Tags.member.1.Value", name),
            ("Tags.member.2.Key", "ptr-task"),
            ("Tags.member.2.Value", &task),
        ];
        parameters.extend(role.external_id.as_deref().map(|id| ("ExternalId", id)));
        let said = self.own(Service::Sts, "AssumeRole", &parameters).await?;
        let get = |name: &str| said.get(name).map(Secret::from);
        let until = said.get("Expiration").and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let (true, Some(id), Some(secret), Some(token), Some(until)) =
            (said.is_good(), get("AccessKeyId"), get("SecretAccessKey"), get("SessionToken"), until)
        else {
            let why = said.says("no session was made");
            return Err(if (400..500).contains(&said.status) { refused(why) } else { NotIssued::Unknown(why) });
        };
        let fields = Fields::from([
            ("access_key_id".to_owned(), id),
            ("secret_access_key".to_owned(), secret),
            ("session_token".to_owned(), token),
            ("region".to_owned(), Secret::from(self.of.region.as_str())),
        ]);
        let until = Some(Millis(until.as_millisecond()));
        Ok(Issued { fields, handle: Some(role.arn.clone()), until, keep: None })
    }

    async fn withdraw(&self, held: &Held) -> Result<Withdrawn, String> {
        let longest = || now().plus(LONGEST.saturating_mul(1_000));
        let until = held.until.unwrap_or_else(longest);
        if until.plus(SLACK_MS) < now() {
            return Ok(Withdrawn::Gone(Evidence::Expired));
        }
        let before = match &held.fields {
            Some(fields) => Some(self.tries(fields).await?),
            None => None,
        };
        for role in self.roles(held.handle.as_deref()) {
            // What is over makes room for what is not: a role has room for some sixty.
            self.tidy(role).await?;
            self.deny(role, held.name.as_str(), until).await?;
        }
        let told = "its role denies its session; that reaches every region within a minute";
        let fields = held.fields.as_ref().filter(|_| !matches!(before, Some(Tried::NotLet(_))));
        let Some(fields) = fields else {
            return Ok(Withdrawn::Gone(Evidence::Absent { says: told.to_owned() }));
        };
        let end = tokio::time::Instant::now() + DENIES;
        loop {
            match self.tries(fields).await? {
                Tried::Denied(says) | Tried::NotLet(says) => return Ok(Withdrawn::Gone(Evidence::Refused { says })),
                Tried::In if tokio::time::Instant::now() >= end => {
                    return Err("its role denies its session, and AWS still lets it in".to_owned());
                }
                Tried::In => tokio::time::sleep(LOOK).await,
            }
        }
    }

    async fn sweep(&self, _: &str) -> Result<Vec<String>, String> {
        for role in self.roles(None) {
            self.tidy(role).await?;
        }
        // It has no list of sessions.
        Ok(Vec::new())
    }

    async fn check(&self) -> Result<(), String> {
        for role in self.roles(None) {
            let said = self.look("ListRolePolicies", &[("RoleName", role.name())]).await?;
            if !said.is_good() {
                return Err(said.says("the role cannot be told what to deny"));
            }
        }
        Ok(())
    }
}

/// What a session may do: what its class is allowed, for what the task is narrowed to
fn policy(role: &AwsRole, scope: &BTreeMap<Name, String>) -> Result<String, String> {
    let mut statements = Vec::new();
    for allow in &role.allow {
        let resources = allow.resources.iter().map(|one| web::filled(one, scope, is_plain));
        let resources = resources.collect::<Result<Vec<_>, _>>()?;
        statements.push(json!({ "Effect": "Allow", "Action": allow.actions, "Resource": resources }));
    }
    // What it is tried with; the role has to allow that, too.
    statements.push(json!({ "Effect": "Allow", "Action": format!("iam:{TRIED}"), "Resource": "*" }));
    let text = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    if text.len() > POLICY_MAX {
        return Err(format!("the session's policy is longer than {POLICY_MAX} characters"));
    }
    Ok(text)
}

/// What a role is told to deny
fn denial(name: &str) -> String {
    let condition = json!({ "StringLike": { "aws:userid": format!("*:{name}") } });
    let statement = json!({ "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition });
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

/// Whether a value stands for itself in a resource: nothing in it stands for other values, and it does not leave its part
fn is_plain(value: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.=@+".contains(c);
    !value.is_empty() && value != "." && value != ".." && value.chars().all(good)
}

/// A member of a form as AWS reads it
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let byte = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}

/// A time as signatures have it
fn instant(at: Millis) -> String {
    let at = jiff::Timestamp::from_second(at.0.div_euclid(1_000)).map_or_else(|_| String::new(), |at| at.to_string());
    at.chars().filter(|c| !"-:".contains(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_core::policy::{AwsAllow, Template};
    use serde_json::Value;

    #[test]
    fn what_a_task_says_is_itself_in_a_policy_and_nothing_more() {
        let allow = AwsAllow {
            actions: vec!["s3:GetObject".to_owned()],
            resources: vec![Template::read("arn:aws:s3:::orders/{tenant}/*").unwrap()],
        };
        let role =
            AwsRole { arn: "arn:aws:iam::123456789012:role/a/b".to_owned(), external_id: None, allow: vec![allow] };
        assert_eq!(role.name(), "b");
        let filled = |tenant: &str| policy(&role, &[("tenant".parse().unwrap(), tenant.to_owned())].into());
        let text: Value = serde_json::from_str(&filled("eu-42").unwrap()).unwrap();
        assert_eq!(text["Statement"][0]["Resource"], json!(["arn:aws:s3:::orders/eu-42/*"]));
        assert_eq!(
            text["Statement"][1],
            json!({ "Effect": "Allow", "Action": "iam:ListAccountAliases", "Resource": "*" })
        );
        assert_eq!(text["Statement"].as_array().unwrap().len(), 2);
        for bad in ["", "*", "a*", "?", "${aws:username}", "a/b", "..", "a\"]", "a\\u002a", "a,b"] {
            assert!(filled(bad).is_err(), "{bad}");
        }
        assert!(filled(&"a".repeat(POLICY_MAX)).is_err());
    }

    #[test]
    fn an_answer_is_read_by_the_names_of_its_members() {
        let said = Said::read(
            403,
            b"<E xmlns=\"x\"><Error><Code>AccessDenied</Code><Message>no &amp; no</Message></Error></E>",
        );
        assert_eq!(said.says("it"), "it: 403 AccessDenied no & no");
        assert!(Said::read(200, b"<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>").texts.is_empty());
        assert_eq!(instant(Millis(1_440_938_160_000)), "20150830T123600Z");
    }
}
