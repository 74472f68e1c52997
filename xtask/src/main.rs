//! The project's own tasks: install what the tests need, run them all, measure
//!
//! Architecture Invariant: plain std. It depends on no room, so it builds in a second, also when they do not.
//! Start reading at `test.rs`.

#![expect(clippy::print_stdout, reason = "a task runner's result is its standard output")]

mod bench;
mod rooms;
mod setup;
mod shell;
mod tally;
mod test;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["test"] => test::run(),
        ["conformance"] => test::conform(),
        ["interop"] => test::interop(),
        ["setup"] => setup::run().map(|setup| setup.missing.is_empty()),
        ["bench", options @ ..] => bench::run(options).map(|()| true),
        [] | ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            Ok(true)
        }
        _ => {
            eprintln!("{HELP}");
            Ok(false)
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

const HELP: &str = "\
cargo xtask TASK

  test             install what is missing, check the code, run all tests; the last line is
                   `N passed, N failed, N skipped`
  conformance      run the official conformance suite, and write its table into docs/protocol.md
  interop          run only what is tried against real counterparts: clients, servers, SPIRE, an identity provider
  setup            only install what the tests need
  bench [OPTIONS]  build for release, compare Portreeve with its yardsticks, measure what must not
                   grow and what the protocol costs; OPTIONS go to `portreeve-bench compare`

Everything that is installed lies under target/interop, except for system packages (Node, Python),
which are installed only where they are missing, by root or with sudo that asks for no password.";
