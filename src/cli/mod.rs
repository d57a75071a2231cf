//! The command line: one file a verb. Data goes to standard output, all else to standard error.
//!
//! Exit codes: 0 fine, 1 findings (bad rules, refused lines), 2 usage or input and output.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::daemon::files::DiskFiles;

pub mod backtest;
pub mod check;
pub mod decode;
pub mod demo;
pub mod incident;
pub mod init;
pub mod run;
pub mod schema;

/// Hears page views and errors, notices when something has really changed, and tells the right people once.
#[derive(Debug, Parser)]
#[command(name = "spiked", version, about, max_term_width = 100)]
#[command(after_help = "Start with `spiked demo`: a shop that breaks now and then, and what spiked says of it.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run(run::RunArgs),
    /// Run the daemon with a synthetic shop that breaks now and then
    Demo(demo::run::DemoArgs),
    /// Check configuration and rules: every mistake at once, with file, line and column
    Check(check::CheckArgs),
    /// Replay past events through the rules, in event time, and print the alerts
    Backtest(backtest::BacktestArgs),
    /// Show what a body or log becomes: native events as NDJSON
    Decode(decode::DecodeArgs),
    /// See, acknowledge or resolve the incidents of a running daemon
    Incident(incident::IncidentArgs),
    /// Print the JSON Schema of rule files, the configuration or events, for editors
    Schema(schema::SchemaArgs),
    /// Write a first configuration with rules into a folder
    Init(init::InitArgs),
    /// Print shell completions
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Runs the process' command line.
pub fn main() -> ExitCode {
    ExitCode::from(run_command(std::env::args_os()))
}

/// Runs one command line; the exit code.
pub fn run_command(args: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` are answers, not mistakes.
            let _unwritable = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let result = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::run::run(&args),
        Command::Check(args) => Ok(check::run(&check::CheckArgs { color, ..args }, &DiskFiles, &mut io::stdout().lock())),
        Command::Backtest(args) => backtest::run(&args, &mut io::stdout().lock()),
        Command::Decode(args) => decode::run(&args, &mut io::stdout().lock()),
        Command::Incident(args) => incident::run(&args, &mut io::stdout().lock()),
        Command::Schema(args) => Ok(schema::run(&args, &mut io::stdout().lock())),
        Command::Init(args) => init::run(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "spiked", &mut script);
            // A closed pipe has seen enough.
            let _closed = io::stdout().write_all(&script);
            Ok(0)
        }
    };
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => 0,
        Err(error) => {
            say(&format!("error: {error:#}"));
            2
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|e| e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}

/// A line for people, on standard error.
pub(crate) fn say(text: &str) {
    let _closed = writeln!(io::stderr(), "{text}");
}
