//! `spiked incident`: what fires at a running daemon, and what people say about it.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::config::HttpConfig;
use crate::notifier::http;

/// Where the daemon is, and what it must be shown.
#[derive(Clone, Debug, clap::Args)]
pub struct Connection {
    /// Address of the daemon
    #[arg(long, env = "SPIKED_URL", default_value = "http://127.0.0.1:7745", global = true)]
    pub url: String,
    /// File with the admin token; without it SPIKED_ADMIN_TOKEN
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
    /// The answer as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// Arguments of `spiked incident`.
#[derive(Clone, Debug, clap::Args)]
pub struct IncidentArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// What fires now
    List {
        /// What is over, too: the newest 200
        #[arg(long)]
        all: bool,
    },
    /// All there is to know of one incident
    Show {
        /// `SPK-12`, or `12`
        id: String,
    },
    /// Somebody has it: no repeats until it is worse
    Ack {
        /// `SPK-12`, or `12`
        id: String,
    },
    /// It is over, whatever the numbers say
    Resolve {
        /// `SPK-12`, or `12`
        id: String,
    },
}

/// Asks the daemon and prints what it says.
pub fn run(args: &IncidentArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let ask = |method: &str, path: String| runtime.block_on(ask(&args.connection, method, &path));
    let (answer, is_list) = match &args.what {
        What::List { all } => {
            let mut incidents = ask("GET", "/api/v1/incidents".into())?["incidents"].take();
            if let (false, Some(listed)) = (*all, incidents.as_array_mut()) {
                listed.retain(|incident| incident["state"] == "firing");
            }
            (incidents, true)
        }
        What::Show { id } => (ask("GET", path(id, "")?)?, false),
        What::Ack { id } => (ask("POST", path(id, "/ack")?)?, false),
        What::Resolve { id } => (ask("POST", path(id, "/resolve")?)?, false),
    };
    if args.connection.json {
        serde_json::to_writer_pretty(&mut *out, &answer)?;
        writeln!(out)?;
    } else if is_list {
        let incidents = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        for incident in incidents {
            writeln!(out, "{}", row(incident))?;
        }
        if incidents.is_empty() {
            super::say("nothing fires");
        }
    } else {
        show(&answer, out)?;
    }
    Ok(0)
}

/// Only what a name can be gets into the path.
fn path(id: &str, verb: &str) -> anyhow::Result<String> {
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        bail!("`{id}` is no incident; write for example SPK-12");
    }
    Ok(format!("/api/v1/incidents/{id}{verb}"))
}

async fn ask(connection: &Connection, method: &str, path: &str) -> anyhow::Result<Value> {
    // Whoever came first has installed the same provider; an error only says so.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = http::client(&HttpConfig::default())?;
    let url = format!("{}{path}", connection.url.trim_end_matches('/'));
    let mut request = if method == "POST" { client.post(&url) } else { client.get(&url) };
    if let Some(token) = token(connection)? {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.map_err(reqwest::Error::without_url);
    let answer = answer.with_context(|| format!("cannot ask {}; is spiked running there?", connection.url))?;
    let status = answer.status();
    let body: Value = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
    if !status.is_success() {
        bail!("{}: {}", status.as_u16(), printable(body["error"].as_str().unwrap_or("no reason was given")));
    }
    Ok(body)
}

/// From the file, else from the environment: never from the command line, which others on the machine can see.
fn token(connection: &Connection) -> anyhow::Result<Option<String>> {
    let Some(path) = &connection.token_file else {
        return Ok(std::env::var("SPIKED_ADMIN_TOKEN").ok().filter(|token| !token.is_empty()));
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Some(text.trim_end().to_owned()))
}

/// `SPK-12  firing  P1  2026-11-21T07:05:00Z  Payment step of checkout is failing`
fn row(incident: &Value) -> String {
    let text = |name: &str| printable(incident[name].as_str().unwrap_or("-"));
    let acked = incident["acknowledged_by"].as_str().map(|by| format!("  (acknowledged by {})", printable(by)));
    let (id, state, severity) = (text("id"), text("state"), text("severity"));
    format!("{id:<8}  {state:<8}  {severity}  {}  {}{}", text("began"), text("headline"), acked.unwrap_or_default())
}

fn show(incident: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "{}", row(incident))?;
    for (name, field) in [("what", "detail"), ("why", "reason"), ("owner", "owner"), ("opened", "opened"), ("over", "resolved")] {
        if let Some(value) = incident[field].as_str().filter(|value| !value.is_empty()) {
            writeln!(out, "  {name:<7} {}", printable(value))?;
        }
    }
    let group = incident["group"].as_object().into_iter().flatten();
    let group: Vec<String> = group.filter_map(|(name, value)| Some(format!("{name}={}", printable(value.as_str()?)))).collect();
    writeln!(out, "  where   {}", group.join(" "))
}

/// A page's name came from outside: it must not write to the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_stays_within_its_path_and_a_text_within_its_line() {
        assert_eq!(path("SPK-12", "/ack").unwrap(), "/api/v1/incidents/SPK-12/ack");
        for bad in ["", "../rules", "1/ack", "1?x"] {
            assert!(path(bad, "").is_err(), "{bad}");
        }
        let incident = json!({"id": "SPK-1", "state": "firing", "severity": "P1", "began": "t", "headline": "a\u{1b}[31m\nb"});
        assert_eq!(row(&incident), "SPK-1     firing    P1  t  a\u{fffd}[31m\u{fffd}b");
    }
}
