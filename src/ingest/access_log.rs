//! Access logs: one line of nginx's, Apache's or another proxy's log to the few fields that are counted.
//!
//! A proxy's log is the one source that every site has and that brings both sides of an error rate: all requests, and those
//! that failed. Reading (`LogParser`, what a line says) and policy ([`judge`], what it means) are apart. Addresses, user names
//! and cookies are never read out of the line, so they cannot be stored; of the query only the campaign survives.

mod combined;
mod compile;
mod field;
mod format;
mod json;
mod judge;
mod records;

use std::borrow::Cow;

use crate::config::LogFormat;
use crate::model::{Refusal, Timestamp};

pub use compile::LogFormatError;
pub use judge::{Meaning, View, judge};
pub use records::records;

/// The method of a request, as far as it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// A page load, or a try at reading. Also assumed where a format does not log methods.
    #[default]
    Get,
    /// A try at a step.
    Post,
    /// Another method of HTTP: no page load.
    Other,
    /// The request line was none of HTTP (a TLS hello on a plain port, an empty line).
    None,
}

/// What one line says. Borrowed from the line, but for values that had to be unescaped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Access<'a> {
    /// When the request was logged; absent where the format has no time.
    pub at: Option<Timestamp>,
    /// The method.
    pub method: Method,
    /// Path and query as requested; empty where the request was no HTTP.
    pub target: Cow<'a, str>,
    /// The query where it is logged apart from the path; mostly empty.
    pub query: Cow<'a, str>,
    /// HTTP status, 100 to 599.
    pub status: u16,
    /// The `Referer` header; empty where absent.
    pub referer: Cow<'a, str>,
    /// The `User-Agent` header; empty where absent.
    pub user_agent: Cow<'a, str>,
    /// The virtual host without port; empty where not logged.
    pub host: Cow<'a, str>,
    /// Two-letter country as the proxy found it; empty where not logged.
    pub country: Cow<'a, str>,
    /// The proxy's own id of the request (`$request_id`), to drop re-sent lines; empty where not logged.
    pub id: Cow<'a, str>,
}

impl Access<'_> {
    /// The same without a borrow of the line.
    #[must_use]
    pub fn into_owned(self) -> Access<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Access {
            at: self.at,
            method: self.method,
            target: own(self.target),
            query: own(self.query),
            status: self.status,
            referer: own(self.referer),
            user_agent: own(self.user_agent),
            host: own(self.host),
            country: own(self.country),
            id: own(self.id),
        }
    }
}

/// Why a line could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It has another shape than the format.
    #[error("not a line of the configured log format")]
    Shape,
    /// Its status is no HTTP status.
    #[error("the status is not a number from 100 to 599")]
    Status,
    /// Its time is no time, or lies outside of 2000 to 2100.
    #[error("the time cannot be read")]
    Time,
}

impl LineError {
    /// The reason as outcomes name it.
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::Shape => Refusal::Syntax,
            Self::Status => Refusal::Field,
            Self::Time => Refusal::Time,
        }
    }
}

/// Reads the lines of one access log. Made once for each source, shared freely.
#[derive(Clone, Debug)]
pub struct LogParser {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Combined,
    Json,
    Custom(format::Format),
}

impl LogParser {
    /// A parser for the format; a `log_format` or `LogFormat` string is checked and compiled here.
    pub fn new(format: &LogFormat) -> Result<Self, LogFormatError> {
        let kind = match format {
            LogFormat::Combined => Kind::Combined,
            LogFormat::Json => Kind::Json,
            LogFormat::Custom(text) => Kind::Custom(compile::compile(text)?),
        };
        Ok(Self { kind })
    }

    /// Reads one line (without or with its line end). A syslog header in front is skipped.
    pub fn parse<'a>(&self, line: &'a [u8]) -> Result<Access<'a>, LineError> {
        let line = field::without_syslog(line.trim_ascii_end());
        match &self.kind {
            Kind::Combined => combined::parse(line),
            Kind::Json => json::parse(line),
            Kind::Custom(format) => format.parse(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::ingest::agent::Agents;

    /// Counts as the fixtures count them: outcome or page, and errors by status.
    fn count(format: &LogFormat, log: &str) -> BTreeMap<String, u32> {
        let parser = LogParser::new(format).unwrap();
        let mut agents = Agents::default();
        let mut counts = BTreeMap::new();
        for line in log.lines() {
            let name = match parser.parse(line.as_bytes()) {
                Err(error) => error.to_string(),
                Ok(access) => match judge(&access, &mut agents) {
                    Meaning::Filtered(reason) => format!("filtered {}", reason.as_str()),
                    Meaning::View(view) => {
                        if view.status >= 500 {
                            *counts.entry(format!("error {} HTTP {}", view.page, view.status)).or_default() += 1;
                        }
                        format!("view {}", view.page)
                    }
                },
            };
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    fn text(counts: &BTreeMap<String, u32>) -> String {
        counts.iter().map(|(name, n)| format!("{name}: {n}")).collect::<Vec<_>>().join("\n")
    }

    /// Of 135 lines of a small shop behind nginx: four kube-probes and a TLS hello, three crawler hits, two of curl (one with HEAD),
    /// and two files; the rest are views. A count of every request would have one view more of `/product` (the HEAD), and
    /// `/wp-login.php`, the script and the icon as pages.
    #[test]
    fn a_shops_syslog_gives_its_views_and_errors() {
        let log = include_str!("../../tests/fixtures/access_log/syslog.txt");
        assert_eq!(log.lines().count(), 135);
        insta::assert_snapshot!(text(&count(&LogFormat::Combined, log)), @r"
        error /api/stock HTTP 502: 3
        error /checkout/payment HTTP 500: 2
        error /checkout/payment HTTP 503: 2
        filtered asset: 2
        filtered bot: 5
        filtered probe: 5
        view /api/stock: 3
        view /cart: 27
        view /checkout/payment: 18
        view /checkout/shipping: 21
        view /hang: 1
        view /product: 41
        view /thank-you: 12
        ");
    }

    #[test]
    fn the_same_requests_count_the_same_in_every_format() {
        let log = include_str!("../../tests/fixtures/access_log/formats.txt");
        let mut sections = log.split("### ").skip(1).map(|section| section.split_once('\n').unwrap());
        let (_, combined) = sections.next().unwrap();
        let expected = count(&LogFormat::Combined, combined);
        for (format, lines) in sections {
            let format = match format {
                "combined" => LogFormat::Combined,
                "json" => LogFormat::Json,
                text => LogFormat::Custom(text.to_owned()),
            };
            assert_eq!(count(&format, lines), expected, "{format:?}");
        }
    }

    #[test]
    fn records_of_shippers_are_views_and_errors() {
        let fluent = r#"[{"date":1795246711.4,"remote":"203.0.113.0","host":"shop.example","method":"GET","path":"/cart","code":"200","referer":"https://shop.example/","agent":"Mozilla/5.0"},
            {"date":1795246711.5,"log":"203.0.113.5 - - [21/Nov/2026:07:38:31 +0000] \"POST /pay HTTP/1.1\" 500 170 \"-\" \"Mozilla/5.0\""}]"#;
        let vector = r#"{"agent":"Mozilla/5.0","host":"web-1","message":"GET /cart","method":"GET","path":"/cart","request":"GET /cart HTTP/1.1","source_type":"file","status":404,"referer":"https://shop.example/","timestamp":"2026-11-21T07:38:31.123456789Z"}"#;
        let mut lines = Vec::new();
        for body in [fluent, vector] {
            records(body.as_bytes(), |record| lines.push(String::from_utf8(record.unwrap().to_vec()).unwrap()));
        }
        let counts = count(&LogFormat::Json, &lines.join("\n"));
        assert_eq!(text(&counts), "error /pay HTTP 500: 1\nview /cart: 2\nview /pay: 1");
    }

    #[test]
    fn no_address_survives_parsing() {
        let line =
            br#"203.0.113.77 - anna@shop.example [21/Nov/2026:07:37:55 +0000] "GET /cart HTTP/1.1" 200 6 "-" "Mozilla/5.0""#;
        let access = LogParser::new(&LogFormat::Combined).unwrap().parse(line).unwrap();
        let shown = format!("{access:?}");
        assert!(!shown.contains("203.0.113.77") && !shown.contains("anna"), "{shown}");
    }

    proptest! {
        /// Lines of the fixtures with a stretch overwritten, and plain noise.
        #[test]
        fn no_line_stops_the_reader(noise in proptest::collection::vec(any::<u8>(), 0..60), pick in 0_usize..50, at in 0_usize..300) {
            let log = include_str!("../../tests/fixtures/access_log/formats.txt");
            let mut line = log.lines().nth(pick % log.lines().count()).unwrap_or("").as_bytes().to_vec();
            let at = at.min(line.len());
            let end = (at + noise.len() / 2).min(line.len());
            line.splice(at..end, noise.iter().copied());
            let custom = LogFormat::Custom(r#"$time_local $host$uri $upstream_addr "$request" $request $status"#.into());
            for format in [LogFormat::Combined, LogFormat::Json, custom] {
                let parser = LogParser::new(&format).unwrap();
                for line in [&line, &noise] {
                    if let Ok(access) = parser.parse(line) {
                        prop_assert!((100..600).contains(&access.status));
                        judge(&access, &mut Agents::default());
                    }
                }
            }
            let _ = LogParser::new(&LogFormat::Custom(String::from_utf8_lossy(&noise).into_owned()));
            let _ = LogParser::new(&LogFormat::Custom(String::from_utf8_lossy(&line).into_owned()));
        }
    }
}
