//! The binary: arguments, exit code. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    spiked::cli::main()
}
