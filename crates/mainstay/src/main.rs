//! The binary: the command line, and nothing else.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    mainstay::kernel::ask();
    mainstay::cli::parsed().map_or_else(|code| code, mainstay::cli::run)
}
