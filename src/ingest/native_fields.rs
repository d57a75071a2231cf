//! One native event's JSON object to raw fields: the only place that knows the JSON reader.
//!
//! Every known field is read as a small value first and checked after, so that a wrong type gives a reason with the field's name
//! rather than a position in a line. Unknown fields are skipped without being built; `null` is absent; of duplicate keys the last
//! one counts.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::model::{Dim, Timestamp};

use super::raw::{RawEvent, RawKind};

/// The largest `count` of a line.
pub(super) const COUNT_MAX: f64 = 1e9;

const TYPES: &str = "view, error, track, request, deploy, heartbeat";

/// What is wrong with a line that is sound JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// A field is missing or of the wrong type.
    Field(String),
    /// A time that is no time.
    Time(String),
}

/// A line's fields, or the first thing wrong with them.
pub(super) struct Line<'a>(pub(super) Result<RawEvent<'a>, Problem>);

impl<'de> Deserialize<'de> for Line<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Fields::default()).map(|fields| Self(fields.finish()))
    }
}

/// A JSON value as far as events need it; arrays and objects are skipped.
#[derive(Clone, Debug, Default)]
enum Scalar<'a> {
    #[default]
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'a, str>),
    Array,
    Object,
}

impl Scalar<'_> {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Object)
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// A key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(ScalarVisitor)? {
            Scalar::Text(text) => Ok(Self(text)),
            _ => Err(D::Error::custom("expected a string as key")),
        }
    }
}

/// An object read field by field into what it belongs to; any other value is told by its kind.
struct Nested<'f, 'a> {
    fields: &'f mut Fields<'a>,
    read: fn(&mut Fields<'a>, Cow<'a, str>, Scalar<'a>),
}

impl<'de> DeserializeSeed<'de> for Nested<'_, 'de> {
    type Value = Scalar<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_, 'de> {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        ScalarVisitor.visit_seq(seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let value = map.next_value()?;
            (self.read)(self.fields, key, value);
        }
        Ok(Scalar::Object)
    }
}

/// The fields while they are read.
#[derive(Default)]
struct Fields<'a> {
    event: RawEvent<'a>,
    kind: Option<Cow<'a, str>>,
    /// Of a request (a number) or a heartbeat (a text): the type decides, which may come later in the line.
    status: Scalar<'a>,
    problem: Option<Problem>,
}

impl<'de> Visitor<'de> for Fields<'de> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "error" => {
                    let value = map.next_value_seed(Nested { fields: &mut self, read: Self::error_field })?;
                    self.expect_object("error", &value);
                }
                "tags" => {
                    let value = map.next_value_seed(Nested { fields: &mut self, read: Self::tag })?;
                    self.expect_object("tags", &value);
                }
                name if is_known(name) => {
                    let value = map.next_value()?;
                    self.field(&key, value);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(self)
    }
}

fn is_known(name: &str) -> bool {
    matches!(
        name,
        "ts" | "type"
            | "site"
            | "env"
            | "page"
            | "step"
            | "session"
            | "count"
            | "id"
            | "name"
            | "value"
            | "currency"
            | "event_id"
            | "job"
            | "status"
    ) || Dim::parse(name).is_some()
}

impl<'a> Fields<'a> {
    fn field(&mut self, name: &str, value: Scalar<'a>) {
        let event = &mut self.event;
        let target = match name {
            "type" => {
                self.kind = self.text(name, value);
                return;
            }
            "ts" => return self.time(value),
            "count" => return self.count(&value),
            "value" => {
                self.event.value = match value {
                    Scalar::Number(number) => Some(number),
                    Scalar::Null => None,
                    other => return self.wrong(name, "a number", &other),
                };
                return;
            }
            "status" => {
                self.status = value;
                return;
            }
            "site" => &mut event.site,
            "env" => &mut event.env,
            "page" => &mut event.page,
            "step" => &mut event.step,
            "session" => &mut event.session,
            "id" => &mut event.id,
            "name" => &mut event.name,
            "currency" => &mut event.currency,
            "event_id" => &mut event.event_id,
            "job" => &mut event.job,
            _ => match Dim::parse(name) {
                Some(dim) => &mut event.dims[dim as usize],
                None => return,
            },
        };
        match value {
            Scalar::Text(text) => *target = text,
            Scalar::Null => *target = Cow::default(),
            other => self.wrong(name, "a string", &other),
        }
    }

    fn text(&mut self, name: &str, value: Scalar<'a>) -> Option<Cow<'a, str>> {
        match value {
            Scalar::Text(text) => Some(text),
            Scalar::Null => None,
            other => {
                self.wrong(name, "a string", &other);
                None
            }
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "`Nested` calls it as it calls `tag`, which keeps the name")]
    fn error_field(&mut self, name: Cow<'a, str>, value: Scalar<'a>) {
        let error = &mut self.event.error;
        let target = match &*name {
            "type" => &mut error.class,
            "message" => &mut error.message,
            "stack" => &mut error.stack,
            "fingerprint" => &mut error.fingerprint,
            "level" => &mut error.level,
            "handled" => {
                error.handled = match value {
                    Scalar::Bool(handled) => Some(handled),
                    Scalar::Null => None,
                    other => return self.wrong("error.handled", "true or false", &other),
                };
                return;
            }
            "status" => {
                match status_of("error.status", &value) {
                    Ok(status) => error.status = status.unwrap_or(0),
                    Err(problem) => self.note(problem),
                }
                return;
            }
            _ => return,
        };
        match value {
            Scalar::Text(text) => *target = text,
            Scalar::Null => *target = Cow::default(),
            other => self.wrong(&format!("error.{name}"), "a string", &other),
        }
    }

    fn tag(&mut self, name: Cow<'a, str>, value: Scalar<'a>) {
        let value = match value {
            Scalar::Text(text) => text,
            Scalar::Null => return,
            Scalar::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
            Scalar::Number(number) => Cow::Owned(number.to_string()),
            other => return self.wrong(&format!("tags.{}", clip(&name)), "a string", &other),
        };
        self.event.tags.push((name, value));
    }

    fn count(&mut self, value: &Scalar<'a>) {
        match *value {
            Scalar::Null => {}
            Scalar::Number(number) if (1.0..=COUNT_MAX).contains(&number) && number.fract() == 0.0 => {
                self.event.count = number as u32;
            }
            Scalar::Number(number) => {
                self.note(Problem::Field(format!("field `count`: expected a whole number from 1 to 1000000000, found {number}")));
            }
            ref other => self.wrong("count", "a positive whole number", other),
        }
    }

    fn time(&mut self, value: Scalar<'a>) {
        let parsed = match value {
            Scalar::Null => Ok(None),
            Scalar::Number(secs) if (secs * 1000.0).abs() < 1e18 => Ok(Some(Timestamp((secs * 1000.0).round() as i64))),
            Scalar::Number(_) => Ok(Some(Timestamp(i64::MAX))),
            Scalar::Text(text) => match parse_time(&text) {
                Some(at) => Ok(Some(at)),
                None => {
                    Err(format!("expected RFC 3339 (2026-11-21T07:05:43Z) or Unix seconds as a number, found `{}`", clip(&text)))
                }
            },
            other => Err(format!("expected RFC 3339 or Unix seconds as a number, found {}", other.kind())),
        };
        match parsed {
            Ok(at) => self.event.at = at,
            Err(reason) => self.note(Problem::Time(format!("field `ts`: {reason}"))),
        }
    }

    fn expect_object(&mut self, name: &str, value: &Scalar<'a>) {
        if !matches!(value, Scalar::Object | Scalar::Null) {
            self.wrong(name, "an object", value);
        }
    }

    fn wrong(&mut self, name: &str, expected: &str, found: &Scalar<'a>) {
        self.note(Problem::Field(format!("field `{name}`: expected {expected}, found {}", found.kind())));
    }

    fn note(&mut self, problem: Problem) {
        self.problem.get_or_insert(problem);
    }

    fn finish(mut self) -> Result<RawEvent<'a>, Problem> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let Some(kind) = self.kind else { return Err(Problem::Field(format!("field `type` is missing: one of {TYPES}"))) };
        self.event.kind = match &*kind {
            "view" => RawKind::View,
            "error" => RawKind::Error,
            "track" => RawKind::Track,
            "deploy" => RawKind::Deploy,
            "request" => match status_of("status", &self.status)? {
                Some(status) => RawKind::Request { status },
                None => {
                    return Err(Problem::Field(
                        "field `status` is missing: a request needs the HTTP status it was answered with".to_owned(),
                    ));
                }
            },
            "heartbeat" => {
                self.event.job_status = match self.status {
                    Scalar::Text(text) => text,
                    Scalar::Null => Cow::default(),
                    ref other => {
                        return Err(Problem::Field(format!(
                            "field `status`: expected in_progress, ok or error, found {}",
                            other.kind()
                        )));
                    }
                };
                RawKind::Heartbeat
            }
            other => return Err(Problem::Field(format!("field `type`: `{}` is not one of {TYPES}", clip(other)))),
        };
        Ok(self.event)
    }
}

fn status_of(name: &str, value: &Scalar<'_>) -> Result<Option<u16>, Problem> {
    match *value {
        Scalar::Null => Ok(None),
        Scalar::Number(number) if (100.0..1000.0).contains(&number) && number.fract() == 0.0 => Ok(Some(number as u16)),
        Scalar::Number(number) => {
            Err(Problem::Field(format!("field `{name}`: expected an HTTP status from 100 to 999, found {number}")))
        }
        ref other => Err(Problem::Field(format!("field `{name}`: expected an HTTP status as a number, found {}", other.kind()))),
    }
}

/// The start of a text for an error, on one line. What clients send is repeated in part only: it may be anything.
fn clip(text: &str) -> String {
    let mut clipped = String::new();
    super::scrub::scrub(text, &mut clipped);
    super::scrub::cut_chars(&mut clipped, 40);
    clipped
}

/// RFC 3339; the shape that nearly all clients send (`2026-11-21T07:05:43.123Z`) without the general parser.
fn parse_time(text: &str) -> Option<Timestamp> {
    parse_plain_utc(text.as_bytes()).or_else(|| Timestamp::parse_rfc3339(text))
}

pub(super) fn parse_plain_utc(text: &[u8]) -> Option<Timestamp> {
    let digits = |from: usize, to: usize| {
        text[from..to].iter().try_fold(0i64, |value, b| b.is_ascii_digit().then(|| value * 10 + i64::from(b - b'0')))
    };
    let millis = match text.len() {
        20 => 0,
        24 if text[19] == b'.' => digits(20, 23)?,
        _ => return None,
    };
    let shaped =
        text[4] == b'-' && text[7] == b'-' && text[10] == b'T' && text[13] == b':' && text[16] == b':' && text.ends_with(b"Z");
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    // Days that every month has, and no leap second: the rest is left to the general parser.
    if !shaped || !(1..=12).contains(&month) || !(1..=28).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days from the civil calendar, with years that begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468;
    Some(Timestamp((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_to_a_time_agrees_with_the_general_parser() {
        for year in [1970, 2000, 2023, 2024, 2026, 2100] {
            for month in 1..=12 {
                for day in [1, 9, 28] {
                    let text = format!("{year}-{month:02}-{day:02}T23:59:58.123Z");
                    assert_eq!(parse_plain_utc(text.as_bytes()), Timestamp::parse_rfc3339(&text), "{text}");
                }
            }
        }
        assert_eq!(parse_plain_utc(b"2026-02-30T00:00:00Z"), None);
        assert_eq!(parse_time("2026-02-30T00:00:00Z"), None);
        assert_eq!(parse_time("2026-11-21 07:05:43+01:00"), Timestamp::parse_rfc3339("2026-11-21T06:05:43Z"));
    }
}
