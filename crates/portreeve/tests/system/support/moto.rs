//! An imitation of AWS that checks signatures and what identities may do (moto), on any free port, gone with the test.
//!
//! It knows no policies of sessions, and denies a whole role where a condition is about one of its sessions.

use super::{http, until};
use portreeve_credentials::aws::sign::{Keys, Signed, authorization};
use serde_json::{Value, json};
use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// What of the folder of foreign programs it needs
pub(crate) const NEEDS: [&str; 1] = ["venv-aws/bin/moto_server"];
/// The role that sessions are of
pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/orders-reader";
/// Requests that are taken from anybody: those that make who may do everything
const FROM_ANYBODY: &str = "3";

/// The server
pub(crate) struct Moto {
    port: u16,
    child: Child,
    admin: (String, String),
    _home: TempDir,
}

impl Moto {
    /// A running server with the role `orders-reader`, whose sessions may see the account's aliases and users
    pub(crate) fn start(interop: &Path) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(interop.join(NEEDS[0]));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command.env_clear().env("HOME", home.path()).env("INITIAL_NO_AUTH_ACTION_COUNT", FROM_ANYBODY);
        command.env("PATH", "/usr/bin:/bin").current_dir(home.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let nobody = ("AKIAIOSFODNN7EXAMPLE".to_owned(), "nobody".to_owned());
        let mut moto = Self { port, child: command.spawn().unwrap(), admin: nobody, _home: home };
        until("it answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        moto.admin = moto.user("admin", &json!({ "Effect": "Allow", "Action": "*", "Resource": "*" }));
        let trust = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::123456789012:user/portreeve" },
              "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"] } ] });
        moto.good("CreateRole", &[("RoleName", "orders-reader"), ("AssumeRolePolicyDocument", &trust.to_string())]);
        let may = document(
            &json!({ "Effect": "Allow", "Action": ["iam:ListAccountAliases", "iam:ListUsers"], "Resource": "*" }),
        );
        let of = [("RoleName", "orders-reader"), ("PolicyName", "may"), ("PolicyDocument", &may)];
        moto.good("PutRolePolicy", &of);
        moto
    }

    /// Keys of Portreeve's own user, as docs/credentials/aws.md has it: `ID:SECRET`
    pub(crate) fn keys(&self) -> String {
        let actions = [
            "sts:AssumeRole",
            "sts:TagSession",
            "sts:SetSourceIdentity",
            "iam:PutRolePolicy",
            "iam:GetRolePolicy",
            "iam:ListRolePolicies",
            "iam:DeleteRolePolicy",
        ];
        let (id, secret) = self.user("portreeve", &json!({ "Effect": "Allow", "Action": actions, "Resource": "*" }));
        format!("{id}:{secret}")
    }

    /// Keys of a user who may nothing of that
    pub(crate) fn poor_keys(&self) -> String {
        let (id, secret) = self.user("poor", &json!({ "Effect": "Allow", "Action": "iam:ListUsers", "Resource": "*" }));
        format!("{id}:{secret}")
    }

    /// Its address
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn user(&self, name: &str, may: &Value) -> (String, String) {
        self.good("CreateUser", &[("UserName", name)]);
        let of = [("UserName", name), ("PolicyName", "may"), ("PolicyDocument", &document(may))];
        self.good("PutUserPolicy", &of);
        let said = self.good("CreateAccessKey", &[("UserName", name)]);
        (member(&said, "AccessKeyId").unwrap(), member(&said, "SecretAccessKey").unwrap())
    }

    /// What IAM answers to who may do everything
    #[track_caller]
    pub(crate) fn good(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let keys = Keys { id: &self.admin.0, secret: &self.admin.1 };
        let (status, said) = self.ask(&keys, None, action, parameters);
        assert_eq!(status, 200, "{action}: {said}");
        said
    }

    /// What IAM answers to somebody
    pub(crate) fn ask(
        &self,
        keys: &Keys<'_>,
        token: Option<&str>,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> (u16, String) {
        let all = [("Action", action), ("Version", "2010-05-08")];
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        let byte = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        let encoded = |text: &str| text.bytes().map(byte).collect::<String>();
        let all = all.iter().chain(parameters).map(|(name, value)| format!("{name}={}", encoded(value)));
        let body = all.collect::<Vec<_>>().join("&");
        let (host, at) = (format!("127.0.0.1:{}", self.port), "20260101T000000Z");
        let mut headers =
            vec![("content-type", "application/x-www-form-urlencoded"), ("host", host.as_str()), ("x-amz-date", at)];
        headers.extend(token.map(|token| ("x-amz-security-token", token)));
        let to = ("us-east-1", "iam");
        let signed = Signed { method: "POST", query: "", headers: &headers, body: body.as_bytes(), to, at };
        let said = authorization(keys, &signed);
        headers.push(("authorization", &said));
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let answer = http::exchange(stream, &http::request("POST", "/", &headers, body.as_bytes()));
        (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// The names of a role's policies beside its own
    pub(crate) fn denials(&self) -> Vec<String> {
        let said = self.good("ListRolePolicies", &[("RoleName", "orders-reader")]);
        let names = said.split("<member>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned());
        names.filter(|name| name != "may").collect()
    }
}

/// A policy of one statement
fn document(statement: &Value) -> String {
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

/// The text of the first member of this name
pub(crate) fn member(said: &str, name: &str) -> Option<String> {
    let (_, rest) = said.split_once(&format!("<{name}>"))?;
    rest.split_once('<').map(|(text, _)| text.to_owned())
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
