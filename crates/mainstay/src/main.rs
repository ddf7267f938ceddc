//! The binary: the command line, and nothing else.

use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    mainstay::huge_pages::refuse();
    mainstay::cli::run(mainstay::cli::Cli::parse())
}
