//! Native events as lines of JSON.

use serde::Serialize;

use crate::model::Timestamp;

use super::catalogue::{Fault, Page, Visitor, bundle_hash};

/// The shop's name among the sites.
pub const SITE: &str = "shop";

/// One native event. What is absent is not written.
#[derive(Clone, Debug, Serialize)]
pub struct Line<'a> {
    ts: Timestamp,
    #[serde(rename = "type")]
    kind: &'static str,
    site: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    release: &'a str,
    #[serde(flatten)]
    visitor: Option<&'a Visitor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorText>,
}

#[derive(Clone, Debug, Serialize)]
struct ErrorText {
    #[serde(rename = "type")]
    class: &'static str,
    message: &'static str,
    stack: String,
    level: &'static str,
    handled: bool,
}

impl<'a> Line<'a> {
    /// Views of a page.
    pub fn view(at: Timestamp, page: Page, product: u64, release: &'a str, visitor: &'a Visitor) -> Self {
        Self {
            ts: at,
            kind: "view",
            site: SITE,
            page: Some(page.path(product)),
            session: None,
            id: None,
            count: None,
            release,
            visitor: Some(visitor),
            vendor: page.vendor(visitor),
            error: None,
        }
    }

    /// A release was put live.
    pub fn deploy(at: Timestamp, release: &'a str) -> Self {
        Self {
            ts: at,
            kind: "deploy",
            site: SITE,
            page: None,
            session: None,
            id: Some(format!("deploy-{release}-{}", at.millis())),
            count: None,
            release,
            visitor: None,
            vendor: None,
            error: None,
        }
    }

    /// Stands for so many.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = (count > 1).then_some(count);
        self
    }

    /// Belongs to a visit; the id makes it safe to send the line twice.
    #[must_use]
    pub fn of_session(mut self, session: &'a str, number: u32) -> Self {
        self.session = Some(session);
        self.id = Some(format!("{session}-{number}"));
        self
    }

    /// The error that spoils this view.
    #[must_use]
    pub fn spoilt_by(mut self, fault: &Fault) -> Self {
        let browser = self.visitor.map_or("", |visitor| visitor.browser);
        let stack = stack(fault, browser, self.release);
        self.kind = "error";
        self.id = self.id.map(|id| format!("{id}-error"));
        self.error =
            Some(ErrorText { class: fault.class, message: fault.message, stack, level: fault.level, handled: fault.handled });
        self
    }

    /// As JSON, without a line break.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("a line has text keys only")
    }
}

/// A stack as the browser writes it. The bundle's name changes with each release, as do the places in it.
fn stack(fault: &Fault, browser: &str, release: &str) -> String {
    let hash = bundle_hash(release);
    let place = 1000 + hash % 60_000;
    let file = format!("https://shop.example/assets/main.{hash:08x}.js:2");
    if browser.contains("Safari") || browser == "Firefox" {
        return format!("{}@{file}:{place}\ndispatch@{file}:{}\n[native code]", fault.function, place / 2);
    }
    let (class, message, function) = (fault.class, fault.message, fault.function);
    format!("{class}: {message}\n    at {function} ({file}:{place})\n    at dispatch ({file}:{})", place / 2)
}
