//! The `portreeve` command: configuration, wiring, and what people see.
//!
//! `serve` is the one process that holds a data folder; every other command talks to it over `admin.sock` in
//! that folder. Start with [`cli`] for the commands; each has a file of its own below `commands`.

mod cli;
mod client;
mod commands;
mod demo;
mod failure;
mod given;
mod output;
mod place;
mod sessions;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let threads = match cli.command {
        // What is only a go-between gets by with one thread.
        cli::Command::Keeper(_) | cli::Command::Bridge(_) => 1,
        _ => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            output::problem(&format!("error: the system does not give what is needed: {error}"));
            return ExitCode::from(1);
        }
    };
    let json = cli.json;
    let code = match runtime.block_on(commands::run(cli)) {
        Ok(code) => code,
        Err(failure) => {
            failure.show(json);
            failure.exit
        }
    };
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    ExitCode::from(code)
}
