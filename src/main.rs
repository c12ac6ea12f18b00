//! The `pharos` program.

use std::process::ExitCode;

/// Commits free on one thread what others made on theirs, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pharos::cli::run()
}
