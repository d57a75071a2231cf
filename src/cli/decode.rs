//! `spiked decode`: what a client's body or a log becomes, as native events.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Map, Value, json};

use crate::config::{LogFormat, Source};
use crate::daemon::source_task::Reader;
use crate::daemon::{clock, history};
use crate::ingest::access_log::LogParser;
use crate::ingest::agent::Agents;
use crate::ingest::{ArrivalClock, Door, Report, Salts, Scratch, native};
use crate::model::{Batch, Dim, Event, Kind, Timestamp};

use super::say;

/// Arguments of `spiked decode`.
#[derive(Clone, Debug, clap::Args)]
pub struct DecodeArgs {
    /// `native`, `combined`, `json` (an access log of JSON lines), or an nginx log_format string
    #[arg(long)]
    pub format: String,
    /// When it arrived (RFC 3339); now, where not said
    #[arg(long, value_name = "TIME")]
    pub received: Option<String>,
    /// The body or log; standard input where not said
    pub file: Option<PathBuf>,
}

/// Decodes and prints. Exit code 0; 1 when lines were refused; 2 when nothing could be read.
pub fn run(args: &DecodeArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let received = match &args.received {
        Some(text) => Timestamp::parse_rfc3339(text).with_context(|| format!("`{text}` is not an RFC 3339 time"))?,
        None => clock::now(),
    };
    let path = args.file.clone().unwrap_or_else(|| PathBuf::from("-"));
    let mut input = history::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = crate::config::Config::default();
    let door = Door::new(&config, Salts::fixed(&[0; 32]));
    let mut clock = ArrivalClock::Fixed(received);
    let mut batch = Batch::new();
    let refused = if args.format == "native" {
        let mut body = Vec::new();
        input.read_to_end(&mut body)?;
        let reader = native::Reader { door: &door, key_site: None, line_bytes: config.limits.line_bytes };
        let mut report = Report::default();
        reader.read(&body, &mut clock, &mut batch, &mut Scratch::new(), &mut report);
        for line in &report.rejected {
            say(&format!("line {}: {}", line.line, line.error));
        }
        report.rejected_count
    } else {
        access_log(args, &door, &mut clock, input.as_mut(), &mut batch)?
    };
    for event in &batch.events {
        serde_json::to_writer(&mut *out, &native_json(&batch, event))?;
        writeln!(out)?;
    }
    Ok(u8::from(refused > 0))
}

fn access_log(
    args: &DecodeArgs,
    door: &Door,
    clock: &mut ArrivalClock,
    input: &mut dyn BufRead,
    batch: &mut Batch,
) -> anyhow::Result<u64> {
    let format = match args.format.as_str() {
        "combined" => LogFormat::Combined,
        "json" => LogFormat::Json,
        text if text.contains('$') || text.contains('%') => LogFormat::Custom(text.to_owned()),
        other => anyhow::bail!("format `{other}` is not known; give native, combined, json or a log_format string"),
    };
    let parser = LogParser::new(&format)?;
    let source = Source { access_log: PathBuf::new(), format, site: "default".to_owned(), env: "production".to_owned() };
    let (agents, scratch) = (Agents::default(), Scratch::new());
    let mut reader = Reader { source: &source, parser: &parser, agents, scratch, generation: 0 };
    let mut refused = 0;
    let mut number = 0u64;
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(refused);
        }
        number += 1;
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        if let Err(outcome) = reader.line(text, door, clock, batch) {
            say(&format!("line {number}: {outcome}"));
            refused += u64::from(matches!(outcome, crate::model::Outcome::Invalid(_)));
        }
    }
}

/// An event as one would write it. The session stands as its hash.
fn native_json(batch: &Batch, event: &Event) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| {
        let empty = matches!(&value, Value::String(text) if text.is_empty()) || value.is_null();
        if !empty {
            object.insert(name.to_owned(), value);
        }
    };
    let text = |t| json!(batch.str(t));
    put("ts", json!(event.at));
    let kind = match event.kind {
        Kind::View => "view",
        Kind::Error => "error",
        Kind::Track => "track",
        Kind::Deploy => "deploy",
        Kind::Heartbeat => "heartbeat",
    };
    put("type", json!(kind));
    for (name, value) in [("site", event.site), ("env", event.env), ("page", event.page), ("step", event.step)] {
        put(name, text(value));
    }
    if event.session != 0 {
        put("session", json!(format!("{:016x}", event.session)));
    }
    if event.count != 1 {
        put("count", json!(event.count));
    }
    for dim in Dim::ALL {
        put(dim.as_str(), text(event.dims[dim as usize]));
    }
    match event.kind {
        Kind::Error => {
            let error = batch.error(event);
            let status = (error.status != 0).then_some(error.status);
            put(
                "error",
                json!({
                    "type": batch.str(error.class), "message": batch.str(error.message),
                    "fingerprint": batch.str(error.fingerprint), "level": batch.str(error.level),
                    "handled": error.handled, "status": status,
                }),
            );
        }
        Kind::Track => {
            let track = batch.track(event);
            put("name", text(track.name));
            put("value", json!(track.value));
            put("currency", text(track.currency));
        }
        Kind::Heartbeat => {
            let heartbeat = batch.heartbeat(event);
            put("job", text(heartbeat.job));
            put("status", text(heartbeat.status));
        }
        Kind::View | Kind::Deploy => {}
    }
    Value::Object(object)
}
