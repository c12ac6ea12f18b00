//! The `pharos` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    pharos::cli::run()
}
