//! Counterparts that take minutes to get: SPIRE, Vault and Kubernetes, built from their Go modules, and Keycloak, from its Maven artifact
//!
//! They are kept in the account's cache folder, so that another clone, and the next run of CI, finds them there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::shell;

/// SPIRE's server and agent, in a folder of their own
pub(super) fn spire(link: &Path) -> anyhow::Result<()> {
    let folder = cache()?.join(format!("spire-{SPIRE}"));
    let installed =
        || PROGRAMS.iter().all(|program| shell::succeeds(&mut shell::command(folder.join(program), &["--version"])));
    if !installed() {
        super::time_to_build()?;
        println!("building SPIRE {SPIRE}, which takes ten minutes and more");
        ensure!(shell::succeeds(&mut shell::command("cc", &["--version"])), "its server's store needs a C compiler");
        // In its own module, whose go.sum says what each of its parts has to be.
        let (name, module) = (format!("github.com/spiffe/spire@v{SPIRE}"), folder.join("module"));
        fs::remove_dir_all(&module).ok();
        super::with_go(&folder, |go| {
            shell::run(go().args(["mod", "download", "-modcacherw", &name]).current_dir(&folder))?;
            let fetched = folder.join("scratch").join(super::MODULES).join(&name);
            shell::run(shell::command("cp", &["-r"]).arg(fetched).arg(&module))?;
            let packages = PROGRAMS.iter().map(|program| format!("./cmd/{program}"));
            let mut build = go();
            build.args(["build", "-trimpath", "-modcacherw", "-ldflags=-s -w", "-o"]).arg(&folder).args(packages);
            shell::run(build.current_dir(&module).env("CGO_ENABLED", "1"))
        })?;
        fs::remove_dir_all(&module).ok();
        ensure!(installed(), "it does not run");
    }
    point(link, &folder)
}

/// HashiCorp Vault with what the tests ask it for, in a folder of its own; OpenBao has the same API
///
/// Its licence lets anybody run it for tests; nothing of it is passed on.
pub(super) fn vault(link: &Path) -> anyhow::Result<()> {
    let folder = cache()?.join(format!("vault-{VAULT}"));
    let program = folder.join("vault");
    let installed = || {
        let said = shell::output(&mut shell::command(&program, &["version"]));
        said.is_ok_and(|text| text.starts_with(&format!("Vault v{VAULT},")))
    };
    if !installed() {
        super::time_to_build()?;
        println!("building Vault {VAULT}, which takes six minutes and more");
        let (module, sdk) = (folder.join("module"), folder.join("sdk"));
        super::with_go(&folder, |go| {
            for (name, at) in
                [(format!("{HASHICORP}@v{VAULT}"), &module), (format!("{HASHICORP}/sdk@v{VAULT_SDK}"), &sdk)]
            {
                fs::remove_dir_all(at).ok();
                shell::run(go().args(["mod", "download", "-modcacherw", &name]).current_dir(&folder))?;
                let fetched = folder.join("scratch").join(super::MODULES).join(&name);
                shell::run(shell::command("cp", &["-r"]).arg(fetched).arg(at))?;
            }
            // Its release was built with parts beside it that were published otherwise: of one, a type differs.
            edit(&sdk.join("framework/backend.go"), "*logical.Request, string) error", "*logical.Request) error")?;
            // The small edition has no engine for databases, and one that does not fit the published parts.
            let registry = module.join("helper/builtinplugins");
            let text = fs::read_to_string(registry.join("registry.go"))?;
            let kept: Vec<_> = text.lines().filter(|line| !line.contains("logicalTransit")).collect();
            fs::write(registry.join("registry.go"), kept.join("\n"))?;
            fs::write(registry.join("registry_min.go"), DATABASES)?;
            let mut own = go();
            own.args(["mod", "edit", &format!("-replace={HASHICORP}/sdk={}", sdk.display())]);
            own.args(VAULT_BESIDE.map(|part| format!("-dropreplace={HASHICORP}/{part}")));
            shell::run(own.current_dir(&module))?;
            let mut build = go();
            build.args(["build", "-mod=mod", "-trimpath", "-modcacherw", "-tags=minimal", "-ldflags=-s -w", "-o"]);
            shell::run(build.arg(&program).arg(".").current_dir(&module))
        })?;
        fs::remove_dir_all(&module).ok();
        fs::remove_dir_all(&sdk).ok();
        ensure!(installed(), "it does not run");
    }
    point(link, &folder)
}

/// The API server of Kubernetes and its store, in a folder of their own
pub(super) fn kubernetes(link: &Path) -> anyhow::Result<()> {
    let folder = cache()?.join(format!("kubernetes-{KUBERNETES}"));
    let installed = || {
        let runs = |program: &str| shell::succeeds(&mut shell::command(folder.join(program), &["--version"]));
        runs("kube-apiserver") && runs("etcd")
    };
    if !installed() {
        super::time_to_build()?;
        println!("building the API server of Kubernetes {KUBERNETES}, which takes six minutes and more");
        let module = folder.join("module");
        fs::remove_dir_all(&module).ok();
        fs::create_dir_all(&module)?;
        fs::write(module.join("go.mod"), "module portreeve.example/kubernetes\n\ngo 1.25\n")?;
        super::with_go(&folder, |go| {
            let name = format!("k8s.io/kubernetes@v{KUBERNETES}");
            shell::run(go().args(["mod", "download", "-modcacherw", &name]).current_dir(&module))?;
            // Its parts are beside it in its own repository, and published under a version of their own.
            let theirs = fs::read_to_string(folder.join("scratch").join(super::MODULES).join(&name).join("go.mod"))?;
            let beside = theirs.lines().filter(|line| line.contains("=> ./staging/")).filter_map(|line| {
                let part = line.trim().trim_start_matches("replace ").split(' ').next()?;
                Some(format!("-replace={part}={part}@v0.{}", KUBERNETES.trim_start_matches("1.")))
            });
            let mut edit = go();
            edit.args(["mod", "edit", &format!("-require={name}")]).args(beside).arg(format!("-require={ETCD}"));
            shell::run(edit.current_dir(&module))?;
            let etcd = ETCD.split('@').next().unwrap_or(ETCD);
            for (program, package) in [("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"), ("etcd", etcd)] {
                let mut build = go();
                build.args(["build", "-mod=mod", "-trimpath", "-modcacherw", "-ldflags=-s -w", "-o"]);
                shell::run(build.arg(folder.join(program)).arg(package).current_dir(&module))?;
            }
            Ok(())
        })?;
        fs::remove_dir_all(&module).ok();
        ensure!(installed(), "it does not run");
    }
    point(link, &folder)
}

/// Puts one text in the place of another, which has to be there
fn edit(file: &Path, from: &str, to: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("could not read {}", file.display()))?;
    ensure!(text.contains(from), "{} is not what was expected", file.display());
    Ok(fs::write(file, text.replace(from, to))?)
}

/// Keycloak's distribution
pub(super) fn keycloak(link: &Path) -> anyhow::Result<()> {
    let folder = cache()?.join(format!("keycloak-{KEYCLOAK}"));
    let home = folder.join(format!("keycloak-{KEYCLOAK}"));
    if !home.join("bin/kc.sh").exists() {
        ensure!(shell::succeeds(&mut shell::command("java", &["-version"])), "no Java here");
        ensure!(shell::succeeds(&mut shell::command("mvn", &["-version"])), "no Maven here");
        println!("fetching Keycloak {KEYCLOAK}, 160 MB");
        let scratch = folder.join("scratch");
        fs::create_dir_all(&folder)?;
        let mut unpack = shell::command("mvn", &["-B", "-q", "-Dstyle.color=never", UNPACK]);
        // The plugin leaves marks where it runs.
        unpack.current_dir(&folder);
        unpack.arg(format!("-Dartifact=org.keycloak:keycloak-quarkus-dist:{KEYCLOAK}:zip"));
        unpack.arg(format!("-Dmaven.repo.local={}", scratch.display()));
        unpack.arg(format!("-DoutputDirectory={}", folder.display()));
        let result = shell::run(&mut unpack);
        fs::remove_dir_all(&scratch).ok();
        result?;
        ensure!(home.join("bin/kc.sh").exists(), "Maven did not put it where it should be");
    }
    point(link, &home)
}

/// Where what takes long to get is kept
fn cache() -> anyhow::Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let folder = base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("portreeve-interop");
    fs::create_dir_all(&folder).with_context(|| format!("could not create {}", folder.display()))?;
    Ok(folder)
}

/// Makes `link` lead to the folder
fn point(link: &Path, folder: &Path) -> anyhow::Result<()> {
    if fs::read_link(link).is_ok_and(|now| now == folder) {
        return Ok(());
    }
    fs::remove_file(link).ok();
    std::os::unix::fs::symlink(folder, link).with_context(|| format!("could not make {}", link.display()))
}

const SPIRE: &str = "1.13.3";
const PROGRAMS: &[&str] = &["spire-server", "spire-agent"];
const KUBERNETES: &str = "1.34.4";
/// The store that this version is published with
const ETCD: &str = "go.etcd.io/etcd/server/v3@v3.6.4";
const HASHICORP: &str = "github.com/hashicorp/vault";
const VAULT: &str = "1.21.4";
/// The published parts that it is built with
const VAULT_SDK: &str = "0.21.0";
const VAULT_BESIDE: [&str; 4] = ["api", "api/auth/approle", "api/auth/kubernetes", "api/auth/userpass"];
/// What the small edition has beside its own
const DATABASES: &str = r#"//go:build minimal

package builtinplugins

import (
	"github.com/hashicorp/vault/builtin/logical/database"
	"github.com/hashicorp/vault/plugins/database/postgresql"
)

func extendAddonPlugins(all *registry) {
	all.logicalBackends["database"] = logicalBackend{Factory: database.Factory}
	all.databasePlugins["postgresql-database-plugin"] = databasePlugin{Factory: postgresql.New}
}
"#;
const KEYCLOAK: &str = "26.4.2";
/// Maven's own way to unpack an archive
const UNPACK: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:unpack";
