//! `cargo xtask bench`: Portreeve against its yardsticks, on this machine

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::{setup, shell};

/// Builds for release and compares; the options go to `portreeve-bench compare`
pub(crate) fn run(options: &[&str]) -> anyhow::Result<()> {
    setup::nginx();
    shell::run(&mut shell::cargo(&["build", "--release", "--package", "portreeve", "--package", "portreeve-bench"]))?;

    let target = shell::target()?;
    let programs = target.join("release");
    let folder = target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("could not create {}", folder.display()))?;
    let date = shell::output(&mut shell::command("date", &["+%F"]))?;

    let mut compare = shell::command(programs.join("portreeve-bench"), &["compare", "--date", date.trim()]);
    compare.arg("--dir").arg(&folder).arg("--json").arg(folder.join("result.json"));
    match portreeve(&programs.join("portreeve"), &folder) {
        Some(command) => compare.arg("--portreeve-cmd").arg(command),
        None => compare.args(["--subjects", "direct,nginx,yardstick"]),
    };
    shell::run(compare.args(options))
}

/// The shell command that starts Portreeve in front of the upstream whose URL is put behind it
///
/// It prints one line of JSON and lives until its standard input closes (`bench/README.md`, "The seam").
/// Until the binary has such a command, the comparison goes without Portreeve.
fn portreeve(_program: &Path, _folder: &Path) -> Option<String> {
    None
}
