//! `cargo xtask bench`: Portreeve against its yardsticks, the floors under both, what must not grow, and what
//! the protocol costs

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::{setup, shell};

/// Builds for release and measures; the options go to `portreeve-bench compare`
pub(crate) fn run(options: &[&str]) -> anyhow::Result<()> {
    setup::nginx();
    shell::run(&mut shell::cargo(&["build", "--release", "--package", "portreeve", "--package", "portreeve-bench"]))?;

    let target = shell::target()?;
    let programs = target.join("release");
    let folder = target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("could not create {}", folder.display()))?;
    let date = shell::output(&mut shell::command("date", &["+%F"]))?;

    let bench = programs.join("portreeve-bench");
    let portreeve = programs.join("portreeve");
    let mut compare = shell::command(&bench, &["compare", "--form", "legacy", "--date", date.trim()]);
    compare.arg("--dir").arg(&folder).arg("--json").arg(folder.join("result.json"));
    compare.arg("--portreeve-cmd").arg(subject(&portreeve, &folder));
    shell::run(compare.args(options))?;

    shell::run(shell::command(&bench, &["floors"]).arg("--dir").arg(&folder))?;
    shell::run(shell::command(&bench, &["index"]).arg("--dir").arg(&folder))?;
    let mut growth = shell::command(&bench, &["growth"]);
    growth.arg("--portreeve").arg(&portreeve).arg("--dir").arg(&folder);
    shell::run(growth.arg("--json").arg(folder.join("growth.json")))?;
    let mut who = shell::command(&bench, &["who"]);
    who.arg("--portreeve").arg(&portreeve).arg("--dir").arg(&folder);
    shell::run(who.arg("--json").arg(folder.join("who.json")))?;
    let mut leases = shell::command(&bench, &["leases"]);
    leases.arg("--portreeve").arg(&portreeve).arg("--dir").arg(&folder);
    shell::run(leases.arg("--json").arg(folder.join("leases.json")))?;
    let mut wire = shell::command(&bench, &["wire", "--date", date.trim()]);
    wire.arg("--portreeve").arg(&portreeve).arg("--dir").arg(&folder);
    shell::run(wire.arg("--json").arg(folder.join("wire.json")))
}

/// The shell command that starts Portreeve in front of the upstream whose URL is put behind it
///
/// Its data comes to lie where it runs, on the disk that is measured.
fn subject(portreeve: &Path, folder: &Path) -> String {
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    format!("cd {} && exec {} __bench-subject", quoted(folder), quoted(portreeve))
}
