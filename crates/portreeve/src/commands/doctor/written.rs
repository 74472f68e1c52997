//! Secrets that stand in the files of a policy, where everybody reads them who reads the policy.

use super::{Check, ok, warn};
use portreeve_core::policy::{Bundle, Reach};

/// How names end or begin of what is usually a secret
const TELLING: [&str; 10] =
    ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "KEY", "APIKEY", "CREDENTIAL", "CREDENTIALS", "PAT"];
/// What comes before a secret in a header, or begins one of a well-known maker
const BEGINNINGS: [&str; 16] = [
    "Bearer ",
    "Basic ",
    "sk-",
    "sk_live_",
    "rk_live_",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "AIza",
    "hvs.",
    "-----BEGIN ",
];
/// Bytes from which on a text that looks random is taken for a secret
const LONG: usize = 24;

/// Whatever looks like a secret in a connector's command, environment or address
pub(super) fn secrets(bundle: &Bundle) -> Vec<Check> {
    let mut found = Vec::new();
    for (name, connector) in &bundle.connectors {
        let places: Vec<String> = match &connector.reach {
            Reach::Stdio { command, env } => {
                let env =
                    env.iter().filter(|(name, value)| is_secret(name, value)).map(|(name, _)| format!("env.{name}"));
                let arguments = command.iter().zip(command.iter().skip(1).map(Some).chain([None]));
                let given = arguments.enumerate().filter_map(|(at, (part, next))| {
                    // `--api-key=VALUE`, `--api-key VALUE`, or a value by itself.
                    let (option, value) =
                        part.split_once('=').map_or((part.as_str(), None), |(of, value)| (of, Some(value)));
                    let named = option.starts_with('-')
                        && value.or(next.map(String::as_str)).is_some_and(|of| is_secret(option, of));
                    (named || looks_random(part)).then(|| format!("argument {at} of the command"))
                });
                env.chain(given).collect()
            }
            Reach::Http { url, .. } => {
                let query = url.split_once('?').map_or("", |(_, query)| query);
                let members = query.split('&').filter_map(|member| member.split_once('='));
                members
                    .filter(|(name, value)| is_secret(name, value))
                    .map(|(name, _)| format!("{name} of the address"))
                    .collect()
            }
        };
        found.extend(places.into_iter().map(|place| {
            let what =
                format!("{place} in connectors/{name}.toml looks like a secret, and whoever reads the policy has it");
            let remedy = "Have another one made, put it into the vault (`portreeve secret set NAME`), name it in \
                credentials/*.toml, and have it put in by [credentials]: docs/credentials.md.";
            warn("written", what, remedy)
        }));
    }
    if found.is_empty() { vec![ok("written", "nothing in the policy looks like a secret")] } else { found }
}

/// Whether a value under this name looks like a secret
fn is_secret(name: &str, value: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let telling = upper.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| TELLING.contains(&word));
    // A name that tells of a secret may also tell where it lies, or that there is none.
    let elsewhere = value.contains('/') && !value.contains("://") && !looks_random(value);
    let nothing = matches!(value.to_ascii_lowercase().as_str(), "" | "none" | "true" | "false" | "no" | "yes");
    let number = value.bytes().all(|byte| byte.is_ascii_digit()) && value.len() < 6;
    (telling && !elsewhere && !nothing && !number) || looks_random(value)
}

/// Whether nobody would write such a text by hand: how makers of secrets begin them, a password in an address, or long and mixed
fn looks_random(value: &str) -> bool {
    if BEGINNINGS.iter().any(|beginning| value.strip_prefix(beginning).is_some_and(|rest| rest.len() >= 8)) {
        return true;
    }
    if let Some((_, rest)) = value.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        return authority
            .rsplit_once('@')
            .is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, it)| !it.is_empty()));
    }
    let one_word = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+=.".contains(&byte));
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    // Words of a language have few digits; versions and dates few letters.
    one_word && value.len() >= LONG && digits * 8 >= value.len() && letters * 4 >= value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(connector: &str) -> Vec<String> {
        let files = [("connectors/shop.toml".to_owned(), connector.to_owned())];
        let loaded = portreeve_rules::compile(&files.into_iter().collect()).unwrap();
        let told = secrets(&loaded.bundle);
        told.into_iter().filter(|check| check.remedy.is_some()).map(|check| check.what).collect()
    }

    #[test]
    fn secrets_in_files_are_told_and_nothing_of_them() {
        for (connector, place) in [
            ("command = [\"s\"]\nenv = { GITHUB_TOKEN = \"hunter2\" }\n", "env.GITHUB_TOKEN"),
            ("command = [\"s\"]\nenv = { AUTH = \"Bearer abcdefgh\" }\n", "env.AUTH"),
            ("command = [\"s\"]\nenv = { URI = \"postgresql://app:hunter2@db/orders\" }\n", "env.URI"),
            ("command = [\"s\"]\nenv = { ID = \"f3a9c1d28b7e4056a1b2c3d4e5f60718\" }\n", "env.ID"),
            ("command = [\"s\", \"--api-key\", \"hunter2\"]\n", "argument 1 of the command"),
            ("command = [\"s\", \"--password=hunter2\"]\n", "argument 1 of the command"),
            ("command = [\"s\", \"postgresql://app:hunter2@db/orders\"]\n", "argument 1 of the command"),
            ("url = \"https://s.example.com/mcp?v=2&api_key=hunter2\"\n", "api_key of the address"),
        ] {
            let told = found(connector);
            assert!(told.len() == 1 && told[0].contains(place), "{connector}: {told:?}");
            assert!(!told[0].contains("hunter2") && !told[0].contains("f3a9"), "{told:?}");
        }
    }

    #[test]
    fn what_is_no_secret_is_left_alone() {
        for connector in [
            "command = [\"npx\", \"-y\", \"@modelcontextprotocol/server-filesystem\", \"/home/you/project\"]\n",
            "command = [\"s\"]\nenv = { LOG_LEVEL = \"info\", REGION = \"eu-central-1\", PGUSER = \"app\" }\n",
            "command = [\"s\"]\nenv = { TOKEN_FILE = \"/run/secrets/token\", MAX_TOKEN = \"4096\", KEYBOARD = \"de\" }\n",
            "command = [\"s\"]\nenv = { IMAGE = \"registry.example.com/team/service-with-a-long-name\" }\n",
            "command = [\"s\", \"postgresql://app@db/orders\", \"--primary-key\"]\n",
            "url = \"https://s.example.com/mcp?version=2026-07-28\"\n",
        ] {
            assert_eq!(found(connector), Vec::<String>::new(), "{connector}");
        }
    }
}
