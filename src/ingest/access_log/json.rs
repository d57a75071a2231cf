//! Access logs as JSON: one object a line, in whatever names the proxy or its shipper uses.
//!
//! nginx (`escape=json`), Caddy, Traefik, Envoy, the Elastic common schema, and records of Fluent Bit and Vector differ in names
//! and nesting only, so one table of names serves all. A record that carries the raw line (`log`, `message`) is read as combined.

use std::borrow::Cow;
use std::fmt;

use memchr::memmem;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::field::{Field, from_number, set_text, status, time_of};
use super::{Access, LineError, combined};

/// Reads one object.
pub(super) fn parse(line: &[u8]) -> Result<Access<'_>, LineError> {
    let mut record = Record::default();
    if read(line, &mut record).is_ok() {
        return record.finish();
    }
    let repaired = repair(line).ok_or(LineError::Shape)?;
    let mut record = Record::default();
    read(repaired.as_bytes(), &mut record).map_err(|_| LineError::Shape)?;
    record.finish().map(Access::into_owned)
}

fn read<'a>(line: &'a [u8], record: &mut Record<'a>) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_slice(line);
    Node { record, slot: Slot::Object(Inside::Top), depth: 0 }.deserialize(&mut json)?;
    json.end()
}

/// A `log_format` that draws JSON without `escape=json` writes `\x22`, and with `escape=none` raw bytes: neither is JSON.
fn repair(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line);
    let escaped = memmem::find(line, br"\x").is_some();
    (escaped || matches!(text, Cow::Owned(_))).then(|| text.replace(r"\x", r"\u00"))
}

/// What an object has said so far.
#[derive(Default)]
struct Record<'a> {
    access: Access<'a>,
    raw: Cow<'a, str>,
    target_rank: u8,
    time_rank: u8,
    error: Option<LineError>,
    /// A shipper says where it read the line; then `host` is its own machine.
    shipped: bool,
}

impl<'a> Record<'a> {
    fn finish(mut self) -> Result<Access<'a>, LineError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.access.status == 0 {
            if self.raw.is_empty() {
                return Err(LineError::Status);
            }
            return match self.raw {
                Cow::Borrowed(raw) => combined::parse(raw.as_bytes()),
                Cow::Owned(raw) => combined::parse(raw.trim_ascii_end().as_bytes()).map(Access::into_owned),
            };
        }
        if self.target_rank == 0 {
            return Err(LineError::Shape);
        }
        if self.shipped {
            self.access.host = Cow::Borrowed("");
        }
        Ok(self.access)
    }

    fn text(&mut self, slot: Slot, text: Cow<'a, str>) {
        match slot {
            Slot::Raw => self.raw = text,
            Slot::Shipped => self.shipped = true,
            Slot::Field(Field::Status, _) => match status(text.trim_ascii().as_bytes()) {
                Ok(status) => self.access.status = status,
                Err(error) if !text.is_empty() => self.error = Some(error),
                Err(_) => {}
            },
            Slot::Field(Field::Time, rank) if rank > self.time_rank => match time_of(text.as_bytes()) {
                Ok(Some(at)) => (self.access.at, self.time_rank) = (Some(at), rank),
                Err(error) if rank > 1 => self.error = Some(error),
                // A better time may follow; without any, the arrival serves.
                Ok(None) | Err(_) => {}
            },
            Slot::Field(Field::Time, _) => {}
            Slot::Field(field @ (Field::Request | Field::Target), rank) => {
                if rank > self.target_rank {
                    self.target_rank = rank;
                    set_text(&mut self.access, field, text);
                }
            }
            Slot::Field(field, _) if text != "-" => set_text(&mut self.access, field, text),
            Slot::Field(..) | Slot::Object(_) | Slot::Ignore => {}
        }
    }

    fn number(&mut self, slot: Slot, number: f64) {
        match slot {
            Slot::Field(Field::Status, _) if (100.0..600.0).contains(&number) => self.access.status = number as u16,
            Slot::Field(Field::Status, _) => self.error = Some(LineError::Status),
            Slot::Field(Field::Time, rank) if rank > self.time_rank => match from_number(number) {
                Ok(at) => (self.access.at, self.time_rank) = (Some(at), rank),
                Err(error) => self.error = Some(error),
            },
            _ => {}
        }
    }
}

/// Where a value goes.
#[derive(Clone, Copy, PartialEq)]
enum Slot {
    /// To this field; of several values the one of the highest rank stays.
    Field(Field, u8),
    /// The raw line.
    Raw,
    /// Says that a shipper wrote the record.
    Shipped,
    /// Perhaps an object with fields inside.
    Object(Inside),
    /// Nowhere.
    Ignore,
}

/// Which object a name stands in, where that changes its meaning.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Top,
    Url,
    Agent,
}

/// The table of names, in lower case with `_` for `-`.
fn slot_of(name: &str, inside: Inside) -> Slot {
    match (name, inside) {
        ("original", Inside::Agent) => return Slot::Field(Field::UserAgent, 1),
        ("original" | "full", Inside::Url) => return Slot::Field(Field::Target, 1),
        _ => {}
    }
    match name {
        "request" => Slot::Field(Field::Request, 4),
        "request_method" | "method" | "verb" | "http_method" | "requestmethod" | "http.request.method" => {
            Slot::Field(Field::Method, 1)
        }
        "request_uri" => Slot::Field(Field::Target, 4),
        "path" | "url" | "request_path" | "requestpath" | "requesturl" | "url_path" | "url.path" => Slot::Field(Field::Target, 3),
        "uri" | "url.original" => Slot::Field(Field::Target, 2),
        "query_string" | "args" | "query" | "url.query" => Slot::Field(Field::Query, 1),
        "status"
        | "status_code"
        | "code"
        | "response"
        | "response_code"
        | "response_status"
        | "http_status"
        | "downstreamstatus"
        | "http.response.status_code" => Slot::Field(Field::Status, 1),
        "time_iso8601" | "time_local" | "msec" | "ts" | "startutc" | "start_time" => Slot::Field(Field::Time, 3),
        "time" | "timestamp" | "datetime" => Slot::Field(Field::Time, 2),
        "@timestamp" | "date" => Slot::Field(Field::Time, 1),
        "http_referer" | "referer" | "referrer" | "http_referrer" | "request_referer" | "http.request.referrer" => {
            Slot::Field(Field::Referer, 1)
        }
        "http_user_agent" | "user_agent" | "useragent" | "agent" | "request_user_agent" | "user_agent.original" => {
            Slot::Field(Field::UserAgent, 1)
        }
        "host" | "http_host" | "vhost" | "requesthost" | "authority" | "domain" | "url.domain" => Slot::Field(Field::Host, 1),
        "country" | "country_code" | "country_iso_code" | "geoip_country_code" | "cf_ipcountry" | "http_cf_ipcountry" => {
            Slot::Field(Field::Country, 1)
        }
        "request_id" => Slot::Field(Field::Id, 1),
        "log" | "message" | "raw" => Slot::Raw,
        "source_type" => Slot::Shipped,
        "headers" | "request_headers" | "http" | "httprequest" | "geoip" | "geo" | "nginx" | "access" => {
            Slot::Object(Inside::Top)
        }
        _ => Slot::Ignore,
    }
}

/// Objects deeper than this hold nothing of an access log.
const DEPTH: u8 = 4;

/// One value and where it goes.
struct Node<'r, 'a> {
    record: &'r mut Record<'a>,
    slot: Slot,
    depth: u8,
}

impl<'a> DeserializeSeed<'a> for Node<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.slot == Slot::Ignore {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|_| ());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Node<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an access log record")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<(), E> {
        self.record.text(self.slot, Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.record.text(self.slot, Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.record.number(self.slot, number as f64);
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.record.number(self.slot, number as f64);
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.record.number(self.slot, number);
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    /// Of a list (Caddy's headers) the first value counts.
    fn visit_seq<S: SeqAccess<'a>>(self, mut list: S) -> Result<(), S::Error> {
        // A list of records is no line.
        if self.depth == 0 {
            return Err(S::Error::custom("expected an object"));
        }
        let first = Node { record: &mut *self.record, slot: self.slot, depth: self.depth + 1 };
        if list.next_element_seed(first)?.is_some() {
            while list.next_element::<IgnoredAny>()?.is_some() {}
        }
        Ok(())
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        let inside = match self.slot {
            Slot::Object(inside) => Some(inside),
            // `request`, `response`, `url` and `user_agent` are values here and objects there.
            Slot::Field(Field::Request | Field::Status, _) => Some(Inside::Top),
            Slot::Field(Field::Target, _) => Some(Inside::Url),
            Slot::Field(Field::UserAgent, _) => Some(Inside::Agent),
            _ => None,
        };
        while let Some(slot) = map.next_key_seed(Name(inside.filter(|_| self.depth < DEPTH)))? {
            map.next_value_seed(Node { record: &mut *self.record, slot, depth: self.depth + 1 })?;
        }
        Ok(())
    }
}

/// A key, read as the slot it stands for.
struct Name(Option<Inside>);

impl<'a> DeserializeSeed<'a> for Name {
    type Value = Slot;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Slot, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Slot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Slot, E> {
        let mut buffer = [0_u8; 32];
        let (Some(inside), Some(lower)) = (self.0, buffer.get_mut(..name.len())) else { return Ok(Slot::Ignore) };
        for (to, from) in lower.iter_mut().zip(name.bytes()) {
            *to = if from == b'-' { b'_' } else { from.to_ascii_lowercase() };
        }
        Ok(std::str::from_utf8(lower).map_or(Slot::Ignore, |name| slot_of(name, inside)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::access_log::Method;
    use crate::model::Timestamp;

    #[test]
    fn the_shapes_of_proxies_and_shippers_say_the_same() {
        let check = |line: &str| {
            let access = parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!((access.method, access.target.as_ref(), access.status), (Method::Post, "/pay?a=b", 502), "{line}");
            assert_eq!((access.referer.as_ref(), access.user_agent.as_ref()), ("https://shop.example/cart", "UA"), "{line}");
            assert_eq!(access.at, Some(Timestamp(1_795_246_711_000)), "{line}");
        };
        // nginx, in two tastes
        check(
            r#"{"time_iso8601":"2026-11-21T07:38:31+00:00","remote_addr":"::1","request":"POST /pay?a=b HTTP/1.1","uri":"/index.php","status":502,"http_referer":"https://shop.example/cart","http_user_agent":"UA"}"#,
        );
        check(
            r#"{"@timestamp":"2026-11-21T09:00:00Z","msec":"1795246711.000","request_method":"POST","uri":"/x","request_uri":"/pay?a=b","status":"502","referer":"https:\/\/shop.example/cart","user_agent":"UA"}"#,
        );
        // Caddy
        check(
            r#"{"level":"info","ts":1795246711.0,"msg":"handled request","request":{"method":"POST","host":"shop.example","uri":"/pay?a=b","headers":{"User-Agent":["UA"],"Referer":["https://shop.example/cart","x"]}},"status":502,"resp_headers":{"Server":["Caddy"]}}"#,
        );
        // Traefik
        check(
            r#"{"RequestMethod":"POST","RequestPath":"/pay?a=b","DownstreamStatus":502,"StartUTC":"2026-11-21T07:38:31Z","request_User-Agent":"UA","request_Referer":"https://shop.example/cart","time":"2026-11-21T07:38:32Z"}"#,
        );
        // Elastic common schema
        check(
            r#"{"@timestamp":"2026-11-21T07:38:31Z","http":{"request":{"method":"POST","referrer":"https://shop.example/cart"},"response":{"status_code":502}},"url":{"original":"/pay?a=b"},"user_agent":{"original":"UA","name":"Other"}}"#,
        );
        // a raw line in a record
        check(
            r#"{"date":1795246799.4,"log":"::1 - - [21/Nov/2026:07:38:31 +0000] \"POST /pay?a=b HTTP/1.1\" 502 170 \"https://shop.example/cart\" \"UA\"\n"}"#,
        );
    }

    #[test]
    fn escapes_of_a_format_that_only_looks_like_json_are_read() {
        let access = parse(br#"{"request":"GET /a HTTP/1.1","status":200,"agent":"say \x22hi\x22"}"#).unwrap();
        assert_eq!(access.user_agent, "say \"hi\"");
        let access = parse(b"{\"request\":\"GET /a HTTP/1.1\",\"status\":200,\"agent\":\"\xff\"}").unwrap();
        assert_eq!(access.user_agent, "\u{fffd}");
    }

    #[test]
    fn a_shippers_own_host_is_not_the_sites() {
        let access = parse(br#"{"host":"web-1","source_type":"file","request":"GET / HTTP/1.1","status":200}"#).unwrap();
        assert_eq!(access.host, "");
    }

    #[test]
    fn a_bad_record_says_what_is_wrong_with_it() {
        let check = |line: &str, error| assert_eq!(parse(line.as_bytes()).unwrap_err(), error, "{line}");
        check("", LineError::Shape);
        check("[]", LineError::Shape);
        check("{\"status\":200", LineError::Shape);
        check("{\"status\":200}", LineError::Shape);
        check(r#"{"status":700,"path":"/"}"#, LineError::Status);
        check(r#"{"path":"/"}"#, LineError::Status);
        check(r#"{"status":200,"path":"/","ts":5}"#, LineError::Time);
        check(r#"{"log":"hello"}"#, LineError::Shape);
    }
}
