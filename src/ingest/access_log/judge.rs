//! What a request means: a view of a page, or something that a shop's rate of errors must not count.
//!
//! Left out are crawlers and monitors (by user agent), health checks and scanners (by path, or a page that is not there and that
//! no page of the site links to), files of a page, and methods other than GET and POST. All else is a view, whatever its
//! status: a client that left (499) and a request turned away (429) were tries too. Errors are the caller's: status 500 and up.

use std::borrow::Cow;

use super::{Access, Method};
use crate::ingest::agent::{Agent, Agents};
use crate::model::{Refusal, Timestamp};

/// What a request means.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning<'a> {
    /// A page load or a try at a step; also an error where `status` is 500 or more.
    View(View<'a>),
    /// Left out on purpose.
    Filtered(Refusal),
}

/// A request that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct View<'a> {
    /// When it was logged; absent where the format has no time: then the arrival serves.
    pub at: Option<Timestamp>,
    /// The path as requested, without query and host; ids are not collapsed yet.
    pub page: &'a str,
    /// HTTP status.
    pub status: u16,
    /// Browser, system and device.
    pub agent: Agent,
    /// Two capital letters, or empty.
    pub country: &'a str,
    /// `utm_source` in lower case, or empty.
    pub source: Cow<'a, str>,
    /// `utm_campaign` in lower case, or empty.
    pub campaign: Cow<'a, str>,
    /// The virtual host, or empty.
    pub host: &'a str,
    /// The proxy's id of the request, or empty.
    pub id: &'a str,
}

/// Judges one request. `agents` remembers user agents between lines; it does not change the result.
pub fn judge<'a>(access: &'a Access<'_>, agents: &mut Agents) -> Meaning<'a> {
    let (path, query) = split(&access.target);
    if access.method == Method::None || is_probe(path) {
        return Meaning::Filtered(Refusal::Probe);
    }
    let agent = agents.look_up(&access.user_agent);
    if agent.bot {
        return Meaning::Filtered(Refusal::Bot);
    }
    if access.method == Method::Other || access.status < 200 {
        return Meaning::Filtered(Refusal::Kind);
    }
    if is_asset(path) {
        return Meaning::Filtered(Refusal::Asset);
    }
    if matches!(access.status, 404 | 410) && !is_internal(&access.referer, &access.host) {
        return Meaning::Filtered(Refusal::Probe);
    }
    let query = if query.is_empty() { access.query.trim_start_matches('?') } else { query };
    let (source, campaign) = campaign(query);
    let country = if is_country(&access.country) { access.country.as_ref() } else { "" };
    let (at, status) = (access.at, access.status);
    Meaning::View(View { at, page: path, status, agent, country, source, campaign, host: &access.host, id: &access.id })
}

/// Path and query of a target; a target in absolute form loses its host.
fn split(target: &str) -> (&str, &str) {
    let target = if target.starts_with('/') {
        target
    } else {
        match target.split_once("://") {
            Some(("http" | "https", rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
            _ => target,
        }
    };
    let mut parts = memchr::memchr2_iter(b'?', b'#', target.as_bytes());
    let Some(end) = parts.next() else { return (target, "") };
    if target.as_bytes()[end] == b'#' {
        return (&target[..end], "");
    }
    let query = &target[end + 1..];
    (&target[..end], query.split('#').next().unwrap_or(""))
}

/// Paths that only machines ask for: health checks, metrics, hidden files, and what is no path at all (`*`, `host:443`).
fn is_probe(path: &str) -> bool {
    const PATHS: [&str; 21] = [
        "/healthz",
        "/health",
        "/healthcheck",
        "/health-check",
        "/health_check",
        "/_health",
        "/-/healthy",
        "/-/ready",
        "/livez",
        "/liveness",
        "/readyz",
        "/ready",
        "/readiness",
        "/ping",
        "/up",
        "/server-status",
        "/nginx_status",
        "/stub_status",
        "/metrics",
        "/_status",
        "/actuator/health",
    ];
    if !path.starts_with('/') {
        return true;
    }
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    PATHS.contains(&trimmed)
        || ["/healthz/", "/health/", "/actuator/health/"].iter().any(|prefix| path.starts_with(prefix))
        || memchr::memchr_iter(b'.', path.as_bytes()).any(|dot| path.as_bytes()[dot - 1] == b'/')
}

/// Files that a page is made of, or that machines read: by the ending of the last part of the path.
fn is_asset(path: &str) -> bool {
    const ENDINGS: [&str; 44] = [
        "js",
        "mjs",
        "cjs",
        "css",
        "map",
        "wasm",
        "webmanifest",
        "png",
        "jpg",
        "jpeg",
        "gif",
        "webp",
        "avif",
        "svg",
        "ico",
        "bmp",
        "tif",
        "tiff",
        "woff",
        "woff2",
        "ttf",
        "otf",
        "eot",
        "mp3",
        "mp4",
        "m4a",
        "m4v",
        "ogg",
        "ogv",
        "wav",
        "webm",
        "mov",
        "m3u8",
        "ts",
        "pdf",
        "zip",
        "gz",
        "txt",
        "xml",
        "xsl",
        "rss",
        "atom",
        "scss",
        "less",
    ];
    let Some(dot) = memchr::memrchr2(b'.', b'/', path.as_bytes()) else { return false };
    let ending = &path[dot + 1..];
    path.as_bytes()[dot] == b'.' && ending.len() <= 11 && ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending))
}

/// Whether a page of the site itself linked here. Where the log has no host, any page that is named counts as one.
fn is_internal(referer: &str, host: &str) -> bool {
    let Some((_, rest)) = referer.split_once("://") else { return false };
    let from = rest.split(['/', '?', '#']).next().unwrap_or("");
    let from = from.rsplit_once(':').map_or(from, |(name, _)| name);
    let bare = |name: &str| name.strip_prefix("www.").unwrap_or(name).to_ascii_lowercase();
    !from.is_empty() && (host.is_empty() || bare(from) == bare(host))
}

fn is_country(code: &str) -> bool {
    code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase()) && code != "XX"
}

/// `utm_source` and `utm_campaign`; nothing else of a query is kept.
fn campaign(query: &str) -> (Cow<'_, str>, Cow<'_, str>) {
    let (mut source, mut campaign) = (Cow::Borrowed(""), Cow::Borrowed(""));
    if query.is_empty() {
        return (source, campaign);
    }
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("utm_source", value)) => source = allowed(value),
            Some(("utm_campaign", value)) => campaign = allowed(value),
            _ => {}
        }
    }
    (source, campaign)
}

/// A value in lower case, if it is a plain name of at most 40 characters: anything else could be a person's.
fn allowed(value: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if value.len() > 40 || !value.bytes().all(plain) {
        return Cow::Borrowed("");
    }
    if value.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(value.to_ascii_lowercase())
    } else {
        Cow::Borrowed(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(target: &str, status: u16) -> Access<'_> {
        Access { target: target.into(), status, ..Access::default() }
    }

    #[track_caller]
    fn check(access: &Access<'_>, expected: Result<&str, Refusal>) {
        let page = match judge(access, &mut Agents::default()) {
            Meaning::View(view) => Ok(view.page.to_owned()),
            Meaning::Filtered(reason) => Err(reason),
        };
        assert_eq!(page, expected.map(str::to_owned), "{access:?}");
    }

    #[test]
    fn tries_are_views_whatever_became_of_them() {
        for status in [200, 302, 304, 400, 403, 429, 499, 500, 503, 504] {
            check(&access("/cart?x=1#y", status), Ok("/cart"));
        }
        check(&Access { method: Method::Post, ..access("/pay", 200) }, Ok("/pay"));
        check(&access("https://shop.example/cart?x", 200), Ok("/cart"));
        check(&access("/en/v1.2/docs", 200), Ok("/en/v1.2/docs"));
    }

    #[test]
    fn what_nobody_looks_at_is_left_out() {
        check(&access("/app.3f2a.js?v=2", 200), Err(Refusal::Asset));
        check(&access("/LOGO.PNG", 304), Err(Refusal::Asset));
        check(&access("/healthz", 200), Err(Refusal::Probe));
        check(&access("/health/", 503), Err(Refusal::Probe));
        check(&access("/.env", 200), Err(Refusal::Probe));
        check(&access("*", 200), Err(Refusal::Probe));
        check(&Access { method: Method::Other, ..access("/cart", 200) }, Err(Refusal::Kind));
        check(&Access { method: Method::None, ..access("", 400) }, Err(Refusal::Probe));
        check(&Access { user_agent: "curl/8.5.0".into(), ..access("/cart", 500) }, Err(Refusal::Bot));
    }

    #[test]
    fn a_missing_page_counts_only_where_the_site_links_to_it() {
        let missing = |referer: &'static str, host: &'static str| Access {
            referer: referer.into(),
            host: host.into(),
            ..access("/old", 404)
        };
        check(&missing("", ""), Err(Refusal::Probe));
        check(&missing("https://shop.example/", ""), Ok("/old"));
        check(&missing("https://www.Shop.example:443/a", "shop.example"), Ok("/old"));
        check(&missing("https://elsewhere.example/", "shop.example"), Err(Refusal::Probe));
    }

    #[test]
    fn of_the_query_only_a_plain_campaign_is_kept() {
        let check = |query: &str, source: &str, name: &str| assert_eq!(campaign(query), (source.into(), name.into()), "{query}");
        check("utm_source=Paid_Social&sku=1&utm_campaign=autumn-26", "paid_social", "autumn-26");
        check("utm_source=anna%40shop.example&q=utm_campaign", "", "");
        check(&format!("utm_source={}", "a".repeat(41)), "", "");
        check("", "", "");
    }
}
