//! `portreeve init`

use crate::{
    cli::Init,
    failure::{Failure, exit},
    output,
    place::{CONFIG, FOLDER},
};
use portreeve_gateway::admin::account_name;
use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

const CONFIGURATION: &str = "# Configuration of Portreeve; see docs/configuration.md.\n\
    # The policy directory, which belongs into version control.\n\
    policy = \"../policy\"\n\
    # Where agents reach `portreeve serve` (a port of 0 lets the system choose).\n\
    # listen = \"127.0.0.1:7420\"\n";

pub(crate) fn run(init: &Init) -> Result<u8, Failure> {
    let here = match &init.folder {
        Some(folder) => folder.clone(),
        None => std::env::current_dir()?,
    };
    let data = here.join(FOLDER);
    if data.exists() {
        return Err(Failure::new(exit::CONFLICT, "exists", format!("{} is there already.", data.display()))
            .fix("Use it as it is, or choose another folder."));
    }
    let account = account_name(rustix::process::getuid().as_raw()).unwrap_or_else(|| "nobody".to_owned());
    make(&here, &account)?;
    output::line(&format!("made {} and {}", data.display(), here.join("policy").display()));
    output::tip("next: portreeve connector add NAME -- COMMAND…   (an MCP server that you use)");
    Ok(0)
}

/// Makes a data folder and a policy below `here`; files of a policy that is there already are left alone
pub(crate) fn make(here: &Path, account: &str) -> Result<PathBuf, Failure> {
    let data = make_folder(here)?;
    for (path, text) in portreeve_rules::init(account) {
        let path = here.join("policy").join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        if !path.exists() {
            fs::write(path, text)?;
        }
    }
    Ok(data)
}

/// Makes a data folder below `here` that only its owner can enter
pub(crate) fn make_folder(here: &Path) -> Result<PathBuf, Failure> {
    let data = here.join(FOLDER);
    fs::create_dir_all(here)?;
    fs::DirBuilder::new().mode(0o700).create(&data)?;
    fs::write(data.join(CONFIG), CONFIGURATION)?;
    fs::write(data.join(".gitignore"), "*\n")?;
    Ok(data)
}
