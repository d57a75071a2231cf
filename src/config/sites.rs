//! `sites:` and what may stand at the top level for all of them: keys, pages, funnels, value, owners; and `sources:`.

use std::collections::BTreeMap;

use chrono_tz::Tz;

use super::diagnostic::{Level, did_you_mean};
use super::intervals::zone;
use super::raw::{Check, Kind, Map, Node};
use super::{Funnel, FunnelStep, Key, KeyKind, LogFormat, Owner, Site, Source, Value};

/// Keys of a site.
pub(super) const SITE: [&str; 7] = ["keys", "time_zone", "pages", "funnels", "value", "owners", "tags"];
/// Keys of an entry of `keys:`.
pub(super) const KEY: [&str; 5] = ["key", "key_file", "kind", "origins", "quota"];
/// Keys of `pages:`.
pub(super) const PAGES: [&str; 2] = ["templates", "collapse"];
/// Keys of a step of a funnel.
pub(super) const STEP: [&str; 2] = ["step", "pages"];
/// Keys of `value:`.
pub(super) const VALUE: [&str; 3] = ["event", "order", "currency"];
/// Keys of an entry of `owners:`.
pub(super) const OWNER: [&str; 4] = ["pages", "owner", "slack", "email"];
/// Keys of an entry of `sources:`.
pub(super) const SOURCE: [&str; 4] = ["access_log", "format", "site", "env"];

/// A site of which nothing is said.
pub(super) fn default_site() -> Site {
    Site { collapse: true, time_zone: Tz::UTC, ..Site::default() }
}

/// `pages`, `time_zone` and `value` at the top level.
pub(super) fn top_level(check: &mut Check<'_>, map: &Map<'_>) -> Site {
    let mut site = default_site();
    shared(check, map, &mut site);
    site
}

fn shared(check: &mut Check<'_>, map: &Map<'_>, site: &mut Site) {
    if let Some(node) = map.get("time_zone") {
        site.time_zone = zone(check, node, "`time_zone`");
    }
    if let Some(node) = map.get("value") {
        site.value = value(check, node);
    }
    let Some(node) = map.get("pages") else { return };
    let pages = check.map(node, "`pages`", &PAGES);
    if let Some(node) = pages.get("templates") {
        site.templates = Vec::new();
        for item in node.items() {
            let template = check.text(item, "`templates`");
            if !template.starts_with('/') && !template.is_empty() {
                check.error_hint(item, format!("template `{template}` must begin with `/`"), "write for example /product/:sku");
            }
            site.templates.push(template);
        }
    }
    if let Some(node) = pages.get("collapse") {
        site.collapse = match node.scalar() {
            Some("auto" | "true") => true,
            Some("off" | "false") => false,
            _ => {
                check.error(node, "`collapse` is auto or off");
                true
            }
        };
    }
}

/// Reads the section.
pub(super) fn sites(check: &mut Check<'_>, node: &Node, default: &Site) -> BTreeMap<String, Site> {
    let mut out = BTreeMap::new();
    for (name, node) in check.any_map(node, "`sites`").pairs {
        let map = check.map(node, "a site", &SITE);
        let mut site = default.clone();
        shared(check, &map, &mut site);
        for item in map.get("keys").map(Node::items).unwrap_or_default() {
            site.keys.extend(key(check, item));
        }
        if let Some(node) = map.get("funnels") {
            for (name, steps) in check.any_map(node, "`funnels`").pairs {
                site.funnels.push(funnel(check, name, steps));
            }
        }
        for item in map.get("owners").map(|node| check.list(node, "`owners`")).unwrap_or_default() {
            site.owners.push(owner(check, item));
        }
        site.tags = map.get("tags").map(|node| check.texts(node, "`tags`")).unwrap_or_default();
        out.insert(name.scalar().unwrap_or("").to_owned(), site);
    }
    out
}

fn key(check: &mut Check<'_>, node: &Node) -> Option<Key> {
    if !matches!(node.kind, Kind::Map(_)) {
        // `keys: [abc]` is short for a server key.
        let text = check.text(node, "a key");
        return Some(text).filter(|text| !text.is_empty()).map(|text| Key {
            key: crate::model::Secret::new(text),
            kind: KeyKind::Server,
            origins: Vec::new(),
            quota: None,
        });
    }
    let map = check.map(node, "a key", &KEY);
    let key = check.secret(&map, "key");
    if key.is_none() && map.get("key").is_none() && map.get("key_file").is_none() {
        check.error(node, "the key needs `key` or `key_file`");
    }
    let kind = map.get("kind").map_or(KeyKind::Server, |node| match check.text(node, "`kind`").as_str() {
        "browser" => KeyKind::Browser,
        "server" => KeyKind::Server,
        other => {
            let hint = did_you_mean(other, ["browser", "server"]);
            check.say(Level::Error, node.place, format!("`kind` is browser or server, but this is `{other}`"), hint);
            KeyKind::Server
        }
    });
    let origins = map.get("origins").map(|node| check.texts(node, "`origins`")).unwrap_or_default();
    for (item, origin) in map.get("origins").map(Node::items).unwrap_or_default().iter().zip(&origins) {
        let sound = origin == "*" || origin.split_once("://").is_some_and(|(_, host)| !host.is_empty() && !host.contains('/'));
        if !sound && !origin.is_empty() {
            check.error_hint(
                item,
                format!("`{origin}` is not an origin"),
                "write scheme and host alone, for example https://shop.example",
            );
        }
    }
    if kind == KeyKind::Browser && origins.is_empty() {
        check.warn(node, "a browser key without `origins` takes events from any page on the web");
    }
    let quota = map.get("quota").and_then(|node| quota(check, node));
    Some(Key { key: key?, kind, origins, quota })
}

/// `5000 per second`, in events per second.
fn quota(check: &mut Check<'_>, node: &Node) -> Option<f64> {
    let text = check.text(node, "`quota`");
    let read = || {
        let (count, unit) = text.split_once(" per ")?;
        let secs = match unit.trim() {
            "second" => 1.0,
            "minute" => 60.0,
            "hour" => 3600.0,
            _ => return None,
        };
        count.trim().parse::<f64>().ok().filter(|n| *n > 0.0 && n.is_finite()).map(|n| n / secs)
    };
    let quota = read();
    if quota.is_none() {
        check.error_hint(node, format!("`{text}` is not a quota"), "write for example `5000 per second`");
    }
    quota
}

fn funnel(check: &mut Check<'_>, name: &Node, node: &Node) -> Funnel {
    let name = name.scalar().unwrap_or("").to_owned();
    let mut steps: Vec<FunnelStep> = Vec::new();
    for item in check.list(node, &format!("funnel `{name}`")) {
        let map = check.map(item, "a step", &STEP);
        let Some(step_node) = map.get("step") else {
            check.error(item, "the step has no name: add `step`");
            continue;
        };
        let step = check.text(step_node, "`step`");
        if steps.iter().any(|known| known.step == step) {
            check.error(step_node, format!("step `{step}` is twice in funnel `{name}`"));
        }
        let pages = map.get("pages").map(|node| check.texts(node, "`pages`")).unwrap_or_default();
        if pages.is_empty() {
            check.say(Level::Note, item.place, format!("step `{step}` has no pages: only events that name it are in it"), None);
        }
        steps.push(FunnelStep { step, pages });
    }
    if steps.is_empty() {
        check.error(node, format!("funnel `{name}` has no steps"));
    }
    Funnel { name, steps }
}

fn value(check: &mut Check<'_>, node: &Node) -> Option<Value> {
    let map = check.map(node, "`value`", &VALUE);
    let currency = map.get("currency").map(|node| {
        let text = check.text(node, "`currency`");
        if text.len() != 3 || !text.bytes().all(|b| b.is_ascii_uppercase()) {
            check.error_hint(node, format!("`{text}` is not a currency"), "write its three letters, for example EUR");
        }
        text
    });
    if currency.is_none() && matches!(node.kind, Kind::Map(_)) {
        check.error(node, "`value` needs `currency`");
    }
    match (map.get("event"), map.get("order")) {
        (Some(event), None) => Some(Value::Event { event: check.text(event, "`event`"), currency: currency? }),
        (None, Some(node)) => {
            let order = check.number(node, "`order`");
            if order < 0.0 {
                check.error(node, "`order` must not be negative");
            }
            Some(Value::Order { order, currency: currency? })
        }
        _ => {
            check.error(node, "`value` needs one of `event` and `order`");
            None
        }
    }
}

fn owner(check: &mut Check<'_>, node: &Node) -> Owner {
    let map = check.map(node, "an owner", &OWNER);
    let mut text = |key: &str| map.get(key).map(|node| check.text(node, &format!("`{key}`"))).unwrap_or_default();
    let (owner, slack, email) = (text("owner"), text("slack"), text("email"));
    let pages = map.get("pages").map(|node| check.texts(node, "`pages`")).unwrap_or_default();
    if owner.is_empty() {
        check.error(node, "the entry needs `owner`");
    }
    Owner { pages, owner, slack, email }
}

/// Reads the section; sites must be among those named, where any is.
pub(super) fn sources(check: &mut Check<'_>, node: &Node, sites: &BTreeMap<String, Site>) -> Vec<Source> {
    let mut out = Vec::new();
    for item in check.list(node, "`sources`") {
        let map = check.map(item, "a source", &SOURCE);
        let Some(log) = map.get("access_log") else {
            check.error(item, "the source needs `access_log`");
            continue;
        };
        let access_log = check.path(log, "`access_log`");
        let format = map.get("format").map_or(LogFormat::Combined, |node| {
            let text = check.text(node, "`format`");
            match text.as_str() {
                "combined" => LogFormat::Combined,
                "json" => LogFormat::Json,
                _ if text.contains('$') => LogFormat::Custom(text),
                _ => {
                    let hint = did_you_mean(&text, ["combined", "json"]);
                    let hint = hint.or_else(|| Some("write combined, json, or nginx's log_format string".to_owned()));
                    check.say(Level::Error, node.place, format!("unknown log format `{text}`"), hint);
                    LogFormat::Combined
                }
            }
        });
        let site = map.get("site").map_or_else(|| "default".to_owned(), |node| check.text(node, "`site`"));
        if let Some(node) = map.get("site").filter(|_| !sites.is_empty() && !sites.contains_key(&site)) {
            let hint = did_you_mean(&site, sites.keys().map(String::as_str));
            check.say(Level::Error, node.place, format!("site `{site}` is not defined"), hint);
        }
        let env = map.get("env").map_or_else(|| "production".to_owned(), |node| check.text(node, "`env`"));
        out.push(Source { access_log, format, site, env });
    }
    out
}
