//! `spiked schema`: the JSON Schema of rule files, the configuration or native events, for editors.

use std::io::{self, Write};

use crate::config::schema;

/// Arguments of `spiked schema`.
#[derive(Clone, Debug, clap::Args)]
pub struct SchemaArgs {
    /// Which schema
    #[arg(value_enum)]
    pub what: What,
}

/// What there is a schema of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Rule files
    Rules,
    /// The configuration, spiked.yaml
    Config,
    /// Native events
    Events,
}

/// Prints the schema. Exit code 0, or 2 when it cannot be written.
pub fn run(args: &SchemaArgs, out: &mut dyn Write) -> u8 {
    let text = match args.what {
        What::Rules => schema::RULES,
        What::Config => schema::CONFIG,
        What::Events => schema::EVENTS,
    };
    match out.write_all(text.as_bytes()) {
        Ok(()) => 0,
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(_) => 2,
    }
}
