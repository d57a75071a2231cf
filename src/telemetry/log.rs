//! Log lines: for people on a terminal, as JSON under systemd. Always to standard error; standard output is for data.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What holds where neither `--log` nor `RUST_LOG` says otherwise.
pub const DEFAULT_FILTER: &str = "info,hyper=warn,reqwest=warn,rustls=warn,h2=warn";

/// How to write log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people, in colour on a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// JSON when started by systemd: `journal_stream` and `invocation_id` are the variables of those names.
    pub fn choose(journal_stream: Option<&str>, invocation_id: Option<&str>) -> Self {
        let under_systemd = [journal_stream, invocation_id].into_iter().any(|value| value.is_some_and(|v| !v.is_empty()));
        // A shell in a systemd user session inherits INVOCATION_ID: a terminal is read by people all the same.
        if under_systemd && !std::io::stderr().is_terminal() { Self::Json } else { Self::Human }
    }
}

/// Why no log could be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("`{0}` is not a log filter; write for example `info` or `info,spiked::web=debug`")]
    Filter(String, #[source] tracing_subscriber::filter::ParseError),
    /// Called twice.
    #[error("the log is set up already")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Starts the log of this process. `filter` is `--log`, else `RUST_LOG`, else absent.
pub fn init(format: Format, filter: Option<&str>) -> Result<(), LogError> {
    let text = filter.map(str::trim).filter(|text| !text.is_empty()).unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(text).map_err(|error| LogError::Filter(text.to_owned(), error))?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        Format::Human => registry.with(layer.with_ansi(std::io::stderr().is_terminal()).with_target(false)).try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true).with_current_span(false)).try_init(),
    }
    .map_err(LogError::Twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        let refused = init(Format::Human, Some("info,=x=")).unwrap_err();
        assert!(refused.to_string().contains("`info,=x=` is not a log filter"), "{refused}");
    }

    #[test]
    fn without_systemd_lines_are_for_people() {
        assert_eq!(Format::choose(None, None), Format::Human);
        assert_eq!(Format::choose(Some(""), None), Format::Human);
    }
}
