//! Who may write, and who may read and change.
//!
//! Keys select a site and may only write; browser keys are public, so they count only from listed origins. The admin token
//! opens everything else. Without a token that is open to this machine alone: to connections from loopback that came through
//! no proxy and whose `Host` is this machine's own, since a page elsewhere can make a browser on this machine ask for it. A proxy
//! that hides well is not told from this machine: who puts one in front sets a token, and `spiked check` says so.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, Uri};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use crate::config::{Config, KeyKind};
use crate::model::{Secret, Timestamp};

/// Name of the cookie that the login form sets.
pub(super) const COOKIE: &str = "spiked_admin";

/// What a request shows of its sender.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Address of the connection; absent where unknown, which is never loopback.
    pub peer: Option<IpAddr>,
    /// Headers as sent.
    pub headers: &'a HeaderMap,
    /// Address as sent.
    pub uri: &'a Uri,
    /// Whether it speaks HTTP/1.0: of what is in use, only proxies do.
    pub is_old: bool,
}

impl<'a> Seen<'a> {
    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether it comes from this machine, through no proxy, and asks for this machine by name.
    pub fn is_local(&self) -> bool {
        let proxied = ["x-forwarded-for", "forwarded", "x-real-ip", "via"].iter().any(|name| self.headers.contains_key(*name));
        self.peer.is_some_and(|peer| peer.to_canonical().is_loopback()) && !proxied && self.host_is_local()
    }

    fn host_is_local(&self) -> bool {
        let Some(host) = self.header("host") else { return !self.headers.contains_key("host") };
        let name = host
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
            .map_or_else(|| host.rsplit_once(':').map_or(host, |(name, _)| name), |(name, _)| name);
        name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "::1"
    }

    /// Whether another site's page sent it: such a request may read nothing and must change nothing.
    pub fn is_cross_site(&self) -> bool {
        if self.header("sec-fetch-site").is_some_and(|from| from == "cross-site" || from == "same-site") {
            return true;
        }
        let Some(origin) = self.header("origin") else { return self.headers.contains_key("origin") };
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        !self.header("host").is_some_and(|own| own.eq_ignore_ascii_case(host))
    }

    /// The origin of the page that sent it.
    fn origin(&self) -> Option<String> {
        if let Some(origin) = self.header("origin") {
            return Some(origin.trim_end_matches('/').to_ascii_lowercase());
        }
        let referer: Uri = self.header("referer")?.parse().ok()?;
        Some(format!("{}://{}", referer.scheme_str()?, referer.authority()?).to_ascii_lowercase())
    }

    /// User and password of `Authorization: Basic`.
    fn basic(&self) -> Option<(String, String)> {
        let encoded = strip_scheme(self.header("authorization")?, "basic")?;
        let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (user, password) = text.split_once(':').unwrap_or((&text, ""));
        Some((user.to_owned(), password.to_owned()))
    }

    fn bearer(&self) -> Option<&'a str> {
        strip_scheme(self.header("authorization")?, "bearer")
    }

    fn cookie(&self) -> Option<&'a str> {
        let pairs = self.header("cookie")?.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.into_iter().find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
    }

    /// Every key that it shows, wherever clients put them.
    fn keys(&self) -> Vec<String> {
        let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(self.uri).map(|q| q.0).unwrap_or_default();
        let mut keys: Vec<String> = query.into_iter().filter(|(name, _)| name == "key").map(|(_, key)| key).collect();
        keys.extend(self.bearer().map(str::to_owned));
        keys.extend(self.basic().map(|(user, _)| user));
        keys.extend(["x-spiked-key", "x-api-key"].iter().filter_map(|name| self.header(name)).map(str::to_owned));
        keys.retain(|key| !key.is_empty());
        keys
    }
}

fn strip_scheme<'a>(value: &'a str, scheme: &str) -> Option<&'a str> {
    let (found, rest) = value.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// Why a request is refused. No text names a key or a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// 401.
    #[error("no key; send one as ?key=, as a bearer token or as X-Spiked-Key")]
    NoKey,
    /// 401.
    #[error("unknown key; see `keys` of the site in spiked.yaml")]
    UnknownKey,
    /// 401.
    #[error("without sites and keys in spiked.yaml, events are taken from this machine only")]
    KeylessFromElsewhere,
    /// 403.
    #[error("this origin may not use the key; add it to `origins` of the key in spiked.yaml")]
    Origin,
    /// 401.
    #[error("this needs the admin token, as a bearer token or a basic password")]
    NoToken,
    /// 403.
    #[error("no admin token is configured, so only this machine may ask, directly and as localhost; set admin_token_file")]
    LocalOnly,
    /// 403.
    #[error("a page of another site sent this")]
    CrossSite,
}

impl Refused {
    /// The status to answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::NoKey | Self::UnknownKey | Self::KeylessFromElsewhere | Self::NoToken => 401,
            Self::Origin | Self::LocalOnly | Self::CrossSite => 403,
        }
    }
}

/// One key, and what is left of its quota.
#[derive(Debug)]
struct KeyEntry {
    key: Secret,
    site: String,
    kind: KeyKind,
    origins: Vec<String>,
    quota: Option<Bucket>,
}

/// A token bucket: a second's worth may come at once.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    left: Mutex<(f64, Timestamp)>,
}

impl Bucket {
    fn new(per_second: f64) -> Self {
        Self { per_second, left: Mutex::new((per_second.max(1.0), Timestamp(i64::MIN))) }
    }

    /// Takes `count`, or says when to come again. A count over the whole bucket is taken when it is full, and paid off after.
    fn take(&self, count: f64, now: Timestamp) -> Result<(), Duration> {
        let full = self.per_second.max(1.0);
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let grown = now.since(left.1).as_secs_f64() * self.per_second;
        let tokens = (left.0 + grown).min(full);
        let needed = count.min(full);
        if tokens < needed {
            let secs = ((needed - tokens) / self.per_second.max(1e-3)).ceil().clamp(1.0, 3600.0);
            *left = (tokens, now.max(left.1));
            return Err(Duration::from_secs(secs as u64));
        }
        *left = (tokens - count, now.max(left.1));
        Ok(())
    }
}

/// Keys and token in force; made anew at each reload.
#[derive(Debug, Default)]
pub struct Access {
    keys: Vec<KeyEntry>,
    admin: Option<Secret>,
    has_sites: bool,
}

/// Who writes: the site of the key, and the key's quota.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a>(Option<&'a KeyEntry>);

impl<'a> Writer<'a> {
    /// The key's site; absent without keys.
    pub fn site(self) -> Option<&'a str> {
        self.0.map(|entry| entry.site.as_str())
    }

    /// Takes `count` events from the key's quota, or says when to come again.
    pub fn take(self, count: u64, now: Timestamp) -> Result<(), Duration> {
        self.0.and_then(|entry| entry.quota.as_ref()).map_or(Ok(()), |bucket| bucket.take(count as f64, now))
    }
}

impl Access {
    /// What the configuration allows.
    pub fn from_config(config: &Config) -> Self {
        let entries = config.sites.iter().flat_map(|(site, said)| said.keys.iter().map(move |key| (site, key)));
        let keys = entries
            .map(|(site, key)| KeyEntry {
                key: key.key.clone(),
                site: site.clone(),
                kind: key.kind,
                origins: key.origins.iter().map(|o| o.trim_end_matches('/').to_ascii_lowercase()).collect(),
                quota: key.quota.map(Bucket::new),
            })
            .collect();
        Self { keys, admin: config.admin_token.clone(), has_sites: !config.sites.is_empty() }
    }

    /// Whether this request may write, and for which site.
    pub fn writer(&self, seen: &Seen<'_>) -> Result<Writer<'_>, Refused> {
        if !self.has_sites {
            return if seen.is_local() { Ok(Writer(None)) } else { Err(Refused::KeylessFromElsewhere) };
        }
        let shown = seen.keys();
        if shown.is_empty() {
            return Err(Refused::NoKey);
        }
        let entry = shown.iter().find_map(|key| self.find(key)).ok_or(Refused::UnknownKey)?;
        if entry.kind == KeyKind::Browser && !entry.origins.is_empty() {
            let origin = seen.origin().ok_or(Refused::Origin)?;
            if !entry.origins.iter().any(|listed| origin_fits(listed, &origin)) {
                return Err(Refused::Origin);
            }
        }
        Ok(Writer(Some(entry)))
    }

    /// Compares with every key, whichever fits.
    fn find(&self, shown: &str) -> Option<&KeyEntry> {
        let mut found = None;
        for entry in &self.keys {
            if bool::from(equal(entry.key.expose(), shown)) {
                found = Some(entry);
            }
        }
        found
    }

    /// Whether this request may read, and change if `changes`.
    pub fn admin(&self, seen: &Seen<'_>, changes: bool) -> Result<(), Refused> {
        let Some(token) = &self.admin else {
            // A proxy on this machine with nothing configured shows neither itself nor whom it speaks for, but its old protocol.
            if !seen.is_local() || seen.is_old {
                return Err(Refused::LocalOnly);
            }
            return if changes && seen.is_cross_site() { Err(Refused::CrossSite) } else { Ok(()) };
        };
        let bearer = seen.bearer().map_or(Choice::from(0), |shown| equal(token.expose(), shown));
        let basic = seen.basic().map_or(Choice::from(0), |(_, shown)| equal(token.expose(), &shown));
        let cookie = seen.cookie().map_or(Choice::from(0), |shown| equal(&cookie_of(token), shown));
        if !bool::from(bearer | basic | cookie) {
            return Err(Refused::NoToken);
        }
        // A browser adds cookies and basic passwords by itself, a bearer token never.
        if changes && !bool::from(bearer) && seen.is_cross_site() { Err(Refused::CrossSite) } else { Ok(()) }
    }

    /// The cookie's value for a token typed into the login form, if it is the token.
    pub(super) fn login(&self, typed: &str) -> Option<String> {
        let token = self.admin.as_ref()?;
        bool::from(equal(token.expose(), typed)).then(|| cookie_of(token))
    }

    /// Whether there is a token to log in with.
    pub(super) fn has_token(&self) -> bool {
        self.admin.is_some()
    }
}

/// Takes the same time wherever the texts differ; only a difference in length shows.
fn equal(ours: &str, shown: &str) -> Choice {
    ours.as_bytes().ct_eq(shown.as_bytes())
}

/// What stands for the token in a cookie, so that the token itself is stored in no browser. A new token ends all sessions.
fn cookie_of(token: &Secret) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(token.expose().as_bytes()).expect("HMAC takes keys of any length");
    mac.update(b"spiked admin cookie");
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

/// `https://shop.example`, `https://*.shop.example` (subdomains) or `*`.
fn origin_fits(listed: &str, origin: &str) -> bool {
    match listed.split_once("*.") {
        _ if listed == "*" || listed == origin => true,
        Some((scheme, domain)) if scheme.ends_with("://") => origin
            .strip_prefix(scheme)
            .and_then(|host| host.strip_suffix(domain))
            .is_some_and(|sub| sub.len() > 1 && sub.ends_with('.')),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(admin: Option<&str>, has_sites: bool) -> Access {
        let key = |key: &str, kind, quota| KeyEntry {
            key: Secret::new(key),
            site: "shop".into(),
            kind,
            origins: if kind == KeyKind::Browser { vec!["https://shop.example".into()] } else { vec![] },
            quota: Option::map(quota, Bucket::new),
        };
        let keys = vec![key("public", KeyKind::Browser, None), key("backend", KeyKind::Server, Some(10.0))];
        Access { keys: if has_sites { keys } else { vec![] }, admin: admin.map(Secret::new), has_sites }
    }

    #[track_caller]
    fn check<T>(
        ask: impl Fn(&Seen<'_>) -> Result<T, Refused>,
        peer: &str,
        uri: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<T, Refused> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        ask(&Seen { peer: Some(peer.parse().unwrap()), headers: &map, uri: &uri.parse().unwrap(), is_old: false })
    }

    #[test]
    fn keys_are_found_where_clients_put_them() {
        let access = access(None, true);
        let writer = |seen: &Seen<'_>| access.writer(seen).map(|w| w.site().map(str::to_owned));
        let shop = Ok(Some("shop".to_owned()));
        assert_eq!(check(writer, "9.9.9.9", "/v1/events?a=b&key=backend", &[]), shop);
        assert_eq!(check(writer, "9.9.9.9", "/", &[("authorization", "bearer backend")]), shop);
        assert_eq!(check(writer, "9.9.9.9", "/", &[("authorization", &format!("Basic {}", STANDARD.encode("backend:")))]), shop);
        assert_eq!(check(writer, "9.9.9.9", "/", &[("x-api-key", "backend")]), shop);
        assert_eq!(check(writer, "9.9.9.9", "/?key=backen", &[]), Err(Refused::UnknownKey));
        assert_eq!(check(writer, "127.0.0.1", "/", &[]), Err(Refused::NoKey));
    }

    #[test]
    fn browser_keys_count_from_listed_origins_only() {
        let access = access(None, true);
        let writer = |seen: &Seen<'_>| access.writer(seen).map(|_| ());
        assert_eq!(check(writer, "9.9.9.9", "/?key=public", &[("origin", "https://Shop.example")]), Ok(()));
        assert_eq!(check(writer, "9.9.9.9", "/?key=public", &[("referer", "https://shop.example/cart?x=1")]), Ok(()));
        assert_eq!(check(writer, "9.9.9.9", "/?key=public", &[("origin", "https://evil.example")]), Err(Refused::Origin));
        assert_eq!(check(writer, "9.9.9.9", "/?key=public", &[("origin", "null")]), Err(Refused::Origin));
        assert_eq!(check(writer, "9.9.9.9", "/?key=public", &[]), Err(Refused::Origin));
        assert!(origin_fits("https://*.shop.example", "https://m.shop.example"));
        assert!(!origin_fits("https://*.shop.example", "https://evilshop.example"));
    }

    #[test]
    fn without_sites_only_this_machine_may_write() {
        let access = access(None, false);
        let writer = |seen: &Seen<'_>| access.writer(seen).map(|_| ());
        assert_eq!(check(writer, "127.0.0.1", "/", &[("host", "localhost:7745")]), Ok(()));
        assert_eq!(check(writer, "::1", "/", &[("host", "[::1]:7745")]), Ok(()));
        for (peer, header, value) in [
            ("9.9.9.9", "host", "localhost"),
            ("127.0.0.1", "host", "evil.example:7745"),
            ("127.0.0.1", "x-forwarded-for", "127.0.0.1"),
            ("127.0.0.1", "forwarded", "for=127.0.0.1"),
        ] {
            assert_eq!(check(writer, peer, "/", &[(header, value)]), Err(Refused::KeylessFromElsewhere), "{header}: {value}");
        }
    }

    #[test]
    fn reading_needs_the_token_or_this_machine() {
        let with = access(Some("s3cret"), true);
        let read = |seen: &Seen<'_>| with.admin(seen, false);
        let write = |seen: &Seen<'_>| with.admin(seen, true);
        let cookie = format!("a=b; {COOKIE}={}", with.login("s3cret").unwrap());
        let basic = format!("Basic {}", STANDARD.encode("admin:s3cret"));
        assert_eq!(with.login("S3cret"), None);
        assert_eq!(check(read, "127.0.0.1", "/", &[]), Err(Refused::NoToken));
        assert_eq!(check(read, "9.9.9.9", "/", &[("authorization", "Bearer s3cret")]), Ok(()));
        assert_eq!(check(read, "9.9.9.9", "/", &[("authorization", &basic)]), Ok(()));
        assert_eq!(check(read, "9.9.9.9", "/", &[("cookie", &cookie)]), Ok(()));
        assert_eq!(check(read, "9.9.9.9", "/?key=backend", &[]), Err(Refused::NoToken));
        let evil = ("origin", "https://evil.example");
        assert_eq!(check(write, "9.9.9.9", "/", &[("cookie", &cookie), evil]), Err(Refused::CrossSite));
        assert_eq!(check(write, "9.9.9.9", "/", &[("authorization", "Bearer s3cret"), evil]), Ok(()));

        let without = access(None, true);
        let write = |seen: &Seen<'_>| without.admin(seen, true);
        assert_eq!(check(write, "127.0.0.1", "/", &[("host", "127.0.0.1:7745")]), Ok(()));
        assert_eq!(check(write, "127.0.0.1", "/", &[("host", "127.0.0.1:7745"), evil]), Err(Refused::CrossSite));
        assert_eq!(check(write, "127.0.0.1", "/", &[("x-real-ip", "1.1.1.1")]), Err(Refused::LocalOnly));
        assert_eq!(check(write, "9.9.9.9", "/", &[]), Err(Refused::LocalOnly));
    }

    #[test]
    fn a_quota_refills_with_time() {
        let bucket = Bucket::new(10.0);
        let at = Timestamp::from_secs;
        assert_eq!(bucket.take(6.0, at(100)), Ok(()));
        assert_eq!(bucket.take(6.0, at(100)), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(6.0, at(101)), Ok(()));
        assert_eq!(bucket.take(35.0, at(110)), Ok(()), "a batch over the bucket is taken when it is full");
        assert_eq!(bucket.take(10.0, at(111)), Err(Duration::from_secs(3)), "and paid off after");
        assert_eq!(bucket.take(10.0, at(114)), Ok(()));
    }
}
