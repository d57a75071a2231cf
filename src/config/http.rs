//! `http_config`, `tls_config` and addresses, as in Alertmanager.

use std::path::PathBuf;
use std::time::Duration;

use super::HttpConfig;
use super::diagnostic::Level;
use super::raw::{Check, Map, Node};
use super::receivers::half_known;
use crate::model::Secret;

/// Keys of `http_config:` that are read.
pub(super) const HTTP: [&str; 6] =
    ["authorization", "bearer_token", "bearer_token_file", "basic_auth", "proxy_url", "tls_config"];
/// Keys of `http_config:` that Alertmanager reads and spiked does not.
pub(super) const HTTP_UNREAD: [&str; 7] =
    ["oauth2", "enable_http2", "follow_redirects", "no_proxy", "proxy_from_environment", "proxy_connect_header", "http_headers"];
/// Keys of `authorization:`.
pub(super) const AUTHORIZATION: [&str; 3] = ["type", "credentials", "credentials_file"];
/// Keys of `basic_auth:`.
pub(super) const BASIC_AUTH: [&str; 4] = ["username", "username_file", "password", "password_file"];
/// Keys of `tls_config:` that are read.
pub(super) const TLS: [&str; 1] = ["ca_file"];
/// Keys of `tls_config:` that Alertmanager reads and spiked does not.
pub(super) const TLS_UNREAD: [&str; 9] =
    ["ca", "cert", "cert_file", "key", "key_file", "server_name", "insecure_skip_verify", "min_version", "max_version"];

/// What `http_config` says.
pub(super) type Http = HttpConfig;

/// The `http_config` and `timeout` of an integration, or what `global` says.
pub(super) fn of(check: &mut Check<'_>, map: &Map<'_>, global: &Http) -> Http {
    let mut http = map.get("http_config").map_or_else(|| global.clone(), |node| http_config(check, node));
    if let Some(node) = map.get("timeout") {
        let timeout = check.duration(node, "`timeout`");
        http.timeout = (timeout > Duration::ZERO).then_some(timeout);
    }
    http
}

/// Reads the section.
pub(super) fn http_config(check: &mut Check<'_>, node: &Node) -> Http {
    let map = half_known(check, node, "`http_config`", &HTTP, &HTTP_UNREAD);
    let mut http = Http { bearer_token: check.secret(&map, "bearer_token"), ..Http::default() };
    if let Some(node) = map.get("authorization") {
        let auth = check.map(node, "`authorization`", &AUTHORIZATION);
        if let Some(kind) = auth.get("type") {
            let text = check.text(kind, "`type`");
            if !text.eq_ignore_ascii_case("bearer") {
                check.error_hint(kind, format!("authorization of type `{text}` is not supported"), "use Bearer, or `basic_auth`");
            }
        }
        if http.bearer_token.is_some() {
            check.error(node, "give either `bearer_token` or `authorization`, not both");
        }
        http.bearer_token = check.secret(&auth, "credentials");
    }
    if let Some(node) = map.get("basic_auth") {
        let auth = check.map(node, "`basic_auth`", &BASIC_AUTH);
        let name = check.secret(&auth, "username").map(|name| name.expose().to_owned());
        let password = check.secret(&auth, "password").unwrap_or_else(|| Secret::new(""));
        if name.is_none() {
            check.error(node, "`basic_auth` needs `username`");
        }
        if http.bearer_token.is_some() {
            check.error(node, "give either `basic_auth` or a bearer token, not both");
        }
        http.basic_auth = name.map(|name| (name, password));
    }
    http.proxy_url = map.get("proxy_url").map(|node| Secret::new(url(check, node, "`proxy_url`")));
    http.ca_file = map.get("tls_config").and_then(|node| tls_config(check, node));
    http
}

/// Reads the section; the authorities of a private network are what is used of it.
pub(super) fn tls_config(check: &mut Check<'_>, node: &Node) -> Option<PathBuf> {
    let map = half_known(check, node, "`tls_config`", &TLS, &TLS_UNREAD);
    if map.get("insecure_skip_verify").is_some_and(|node| node.scalar() == Some("true")) {
        let place = map.key("insecure_skip_verify").map_or(node.place, |node| node.place);
        let hint = "name the authority in `ca_file` instead".to_owned();
        check.say(Level::Warning, place, "certificates are always verified", Some(hint));
    }
    map.get("ca_file").map(|node| check.path(node, "`ca_file`"))
}

/// A URL of HTTP or HTTPS.
pub(super) fn url(check: &mut Check<'_>, node: &Node, what: &str) -> String {
    let errors = check.errors();
    let text = check.text(node, what);
    if check.errors() == errors && !is_url(&text) {
        check.error_hint(node, format!("{what} is not a URL"), "it must begin with http:// or https:// and name a host");
    }
    text
}

/// Tells where a URL that is a secret is none, without repeating it.
pub(super) fn check_secret_url(check: &mut Check<'_>, map: &Map<'_>, key: &str, url: &Secret) {
    if is_url(url.expose()) {
        return;
    }
    let file = format!("{key}_file");
    if let Some(node) = map.get(key).or_else(|| map.get(&file)) {
        check.error_hint(node, format!("`{key}` is not a URL"), "it must begin with http:// or https:// and name a host");
    }
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let sound = |c: char| !c.is_whitespace() && !c.is_control();
    rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '[' | '{')) && rest.chars().all(sound))
}
