//! From files to a checked configuration and checked rules: the entry of the room.

use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Level};
use super::raw::{Check, Kind, Map, Node};
use super::rules::FILE;
use super::{Config, DEFAULT_PLACES, Heartbeat, Integration, Reader, Receiver, TERMINAL, View};
use super::{http, intervals, receivers, routes, sites, yaml};

/// Keys of the configuration, in the order of the manual.
pub const CONFIG: [&str; 24] = [
    "listen",
    "data_dir",
    "rule_files",
    "external_url",
    "admin_token",
    "admin_token_file",
    "sites",
    "pages",
    "time_zone",
    "value",
    "sources",
    "lateness",
    "limits",
    "privacy",
    "heartbeat",
    "global",
    "route",
    "receivers",
    "inhibit_rules",
    "time_intervals",
    "mute_time_intervals",
    "templates",
    "tracing",
    "alert_relabel_configs",
];
/// Keys of `limits:`.
pub const LIMITS: [&str; 6] = ["series_per_site", "body_bytes", "line_bytes", "inflated_bytes", "queue_entries", "queue_bytes"];
/// Keys of `privacy:`.
pub const PRIVACY: [&str; 1] = ["sample_messages"];
/// Fewest characters of an admin token that nobody guesses.
const TOKEN_CHARS_MIN: usize = 16;
/// Keys of `heartbeat:`.
pub const HEARTBEAT: [&str; 3] = ["url", "url_file", "every"];

/// Reads the configuration: the named file, or the first of the default places that is there, or the defaults alone.
/// `None` when there is an error; warnings and notes come with a configuration.
pub fn load(reader: &dyn Reader, config_path: Option<&Path>) -> (Option<Config>, Vec<Diagnostic>) {
    let path = config_path.map(Path::to_path_buf).or_else(|| default_place(reader));
    let Some(path) = path else { return (Some(Config::default()), Vec::new()) };
    match reader.read(&path) {
        Ok(text) => parse_str(reader, &path.to_string_lossy(), &text),
        Err(error) => (None, vec![unreadable_file(&path.to_string_lossy(), &error)]),
    }
}

/// The first of the default places of a configuration that is there.
pub fn default_place(reader: &dyn Reader) -> Option<PathBuf> {
    DEFAULT_PLACES.iter().map(PathBuf::from).find(|path| reader.read(path).is_ok())
}

/// Checks the text of a configuration file; `file` is its name in diagnostics, and relative paths start from its folder.
pub fn parse_str(reader: &dyn Reader, file: &str, text: &str) -> (Option<Config>, Vec<Diagnostic>) {
    let mut check = Check::new(file, text, reader);
    let config = read(&mut check, text).map(|node| config(&mut check, &node));
    let good = check.errors() == 0;
    (config.filter(|_| good), check.finish())
}

/// Reads the files that `rule_files` names, in order of their paths, each once. A pattern that finds nothing is a warning,
/// a file that cannot be read an error.
pub fn read_rule_files(reader: &dyn Reader, config: &Config) -> (Vec<(String, String)>, Vec<Diagnostic>) {
    let (mut files, mut found): (Vec<(String, String)>, Vec<Diagnostic>) = (Vec::new(), Vec::new());
    for pattern in &config.rule_files {
        let paths = match reader.glob(pattern) {
            Ok(paths) => paths,
            Err(error) => {
                found.push(unreadable_file(pattern, &error));
                continue;
            }
        };
        if paths.is_empty() {
            let message = "`rule_files` finds no file with this pattern";
            found.push(whole_file(pattern, Level::Warning, message.to_owned()));
        }
        for path in paths {
            let name = path.to_string_lossy().into_owned();
            if files.iter().any(|(known, _)| *known == name) {
                continue;
            }
            match reader.read(&path) {
                Ok(text) => files.push((name, text)),
                Err(error) => found.push(unreadable_file(&name, &error)),
            }
        }
    }
    (files, found)
}

/// Whether a text is a rule file rather than a configuration: by its top-level keys.
pub fn is_rule_file(text: &str) -> bool {
    let (node, _) = yaml::parse(text);
    match node.map(|node| node.kind) {
        Some(Kind::Map(pairs)) => pairs.iter().any(|(key, _)| key.scalar().is_some_and(|key| FILE.contains(&key))),
        Some(_) => false,
        // Not readable as YAML: the lines tell.
        None => text.lines().any(|line| FILE.iter().any(|key| line.trim_end() == format!("{key}:"))),
    }
}

/// A finding about a whole file.
pub fn whole_file(file: &str, level: Level, message: String) -> Diagnostic {
    Diagnostic { file: file.to_owned(), line: 0, column: 0, level, message, hint: None, span_len: 0, excerpt: String::new() }
}

/// A file that cannot be read.
pub fn unreadable_file(file: &str, error: &std::io::Error) -> Diagnostic {
    whole_file(file, Level::Error, format!("cannot be read: {error}"))
}

pub(super) fn read(check: &mut Check<'_>, text: &str) -> Option<Node> {
    let (node, faults) = yaml::parse(text);
    for fault in faults {
        check.say(Level::Error, fault.place, fault.message, fault.hint);
    }
    node
}

fn config(check: &mut Check<'_>, node: &Node) -> Config {
    let mut config = Config::default();
    let map = check.map(node, "the configuration", &CONFIG);
    for key in ["templates", "tracing", "alert_relabel_configs"] {
        if let (Some(place), Some(value)) = (map.key(key), map.get(key))
            && !value.items().is_empty()
        {
            check.say(Level::Note, place.place, format!("`{key}` is Alertmanager's and not read by spiked"), None);
        }
    }
    basics(check, &map, &mut config);
    config.default_site = sites::top_level(check, &map);
    if let Some(node) = map.get("sites") {
        config.sites = sites::sites(check, node, &config.default_site);
    }
    if let Some(node) = map.get("sources") {
        config.sources = sites::sources(check, node, &config.sites);
    }
    limits(check, &map, &mut config);
    if let Some(node) = map.get("heartbeat") {
        config.heartbeat = heartbeat(check, node);
    }
    alerting(check, &map, &mut config);
    config
}

fn basics(check: &mut Check<'_>, map: &Map<'_>, config: &mut Config) {
    let errors = check.errors();
    if let Some(node) = map.get("listen") {
        config.listen = listen(check, node);
    }
    let listen_sound = check.errors() == errors;
    config.external_url = match map.get("external_url") {
        Some(node) => http::url(check, node, "`external_url`").trim_end_matches('/').to_owned(),
        None => format!("http://{}", config.listen),
    };
    if let Some(node) = map.get("data_dir") {
        let text = check.text(node, "`data_dir`");
        config.data_dir = PathBuf::from(text);
    }
    if let Some(node) = map.get("rule_files") {
        config.rule_files = check
            .texts(node, "`rule_files`")
            .iter()
            .map(|pattern| check.beside(pattern).to_string_lossy().into_owned())
            .collect();
    }
    config.admin_token = check.secret(map, "admin_token");
    if let (Some(node), None) = (map.get("listen"), &config.admin_token) {
        let said = map.get("admin_token").is_some() || map.get("admin_token_file").is_some();
        if listen_sound && !said && !is_loopback(&config.listen) {
            let hint = Some("add `admin_token_file`".to_owned());
            check.say(
                Level::Warning,
                node.place,
                "listens beyond loopback without an admin token: nobody else may read or change anything",
                hint,
            );
        }
    }
    tokens(check, map, config);
    if let Some(node) = map.get("lateness") {
        config.lateness = check.duration(node, "`lateness`");
    }
}

/// What an attacker would try first.
fn tokens(check: &mut Check<'_>, map: &Map<'_>, config: &Config) {
    let said = map.get("admin_token").or_else(|| map.get("admin_token_file"));
    match (&config.admin_token, said, map.get("external_url")) {
        (Some(token), Some(node), _) if token.expose().chars().count() < TOKEN_CHARS_MIN => {
            let hint = Some("make one with `openssl rand -hex 32`".to_owned());
            let message = format!("the admin token has fewer than {TOKEN_CHARS_MIN} characters and can be guessed");
            check.say(Level::Warning, node.place, message, hint);
        }
        (None, None, Some(node)) if !is_loopback_url(&config.external_url) => {
            let message = "behind a proxy everybody may look like this machine, which needs no admin token";
            check.say(Level::Warning, node.place, message, Some("add `admin_token_file`".to_owned()));
        }
        _ => {}
    }
}

fn is_loopback_url(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    is_loopback(&if host.contains(':') { host.to_owned() } else { format!("{host}:80") })
}

fn listen(check: &mut Check<'_>, node: &Node) -> String {
    let errors = check.errors();
    let text = check.text(node, "`listen`");
    let sound = match text.rsplit_once(':') {
        Some((host, port)) => {
            let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let host_sound = match v6 {
                Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
                None if host.chars().all(|c| c.is_ascii_digit() || c == '.') => host.parse::<std::net::Ipv4Addr>().is_ok(),
                None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')),
            };
            host_sound && port.parse::<u16>().is_ok()
        }
        None => false,
    };
    if !sound && check.errors() == errors {
        check.error_hint(
            node,
            format!("`{text}` is not an address to listen on"),
            "write address and port, for example 127.0.0.1:7745",
        );
    }
    text
}

fn is_loopback(listen: &str) -> bool {
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
    host == "localhost" || host.starts_with("127.") || host == "[::1]"
}

fn limits(check: &mut Check<'_>, map: &Map<'_>, config: &mut Config) {
    if let Some(node) = map.get("limits") {
        let map = check.map(node, "`limits`", &LIMITS);
        for (key, limit) in
            [("series_per_site", &mut config.limits.series_per_site), ("queue_entries", &mut config.limits.queue_entries)]
        {
            let Some(node) = map.get(key) else { continue };
            let errors = check.errors();
            *limit = check.whole(node, &format!("`{key}`")) as usize;
            if *limit == 0 && check.errors() == errors {
                check.error(node, format!("`{key}` must be at least 1"));
            }
        }
        for (key, limit) in [
            ("body_bytes", &mut config.limits.body_bytes),
            ("line_bytes", &mut config.limits.line_bytes),
            ("inflated_bytes", &mut config.limits.inflated_bytes),
            ("queue_bytes", &mut config.limits.queue_bytes),
        ] {
            if let Some(node) = map.get(key) {
                *limit = check.bytes(node, &format!("`{key}`"));
            }
        }
    }
    if let Some(node) = map.get("privacy") {
        let map = check.map(node, "`privacy`", &PRIVACY);
        if let Some(node) = map.get("sample_messages") {
            config.sample_messages = check.boolean(node, "`sample_messages`", true);
        }
    }
}

fn heartbeat(check: &mut Check<'_>, node: &Node) -> Option<Heartbeat> {
    let map = check.map(node, "`heartbeat`", &HEARTBEAT);
    let url = check.secret(&map, "url").inspect(|url| http::check_secret_url(check, &map, "url", url));
    if url.is_none() && map.get("url").is_none() && map.get("url_file").is_none() {
        check.error(node, "`heartbeat` needs `url` or `url_file`");
    }
    let every = map.get("every").map_or(Heartbeat::EVERY, |node| check.positive_duration(node, "`every`"));
    Some(Heartbeat { url: url?, every })
}

/// Alertmanager's sections.
fn alerting(check: &mut Check<'_>, map: &Map<'_>, config: &mut Config) {
    for key in ["time_intervals", "mute_time_intervals"] {
        if let Some(node) = map.get(key) {
            intervals::intervals(check, node, &mut config.time_intervals);
        }
    }
    let global = receivers::global(check, map.get("global"));
    if let Some(node) = map.get("receivers") {
        config.receivers = receivers::receivers(check, node, &global);
        receivers::fallbacks(check, node, &config.receivers);
    }
    // The terminal is always there to be named, unless a receiver has taken its name.
    if !config.receivers.iter().any(|receiver| receiver.name == TERMINAL) {
        config.receivers.push(terminal());
    }
    if let Some(node) = map.get("route") {
        let receivers: Vec<String> = config.receivers.iter().map(|receiver| receiver.name.clone()).collect();
        let intervals: Vec<String> = config.time_intervals.iter().map(|interval| interval.name.clone()).collect();
        config.route = routes::root(check, node, &routes::Names { receivers: &receivers, intervals: &intervals });
        unused(check, map, config);
    } else if let (Some(node), Some(key)) = (map.get("receivers"), map.key("receivers"))
        && !node.items().is_empty()
    {
        check.error_hint(key, "there are receivers, but no `route` leads to them", "add `route: {receiver: NAME}`");
    }
    if let Some(node) = map.get("inhibit_rules") {
        config.inhibit_rules = routes::inhibit_rules(check, node);
    }
}

fn unused(check: &mut Check<'_>, map: &Map<'_>, config: &Config) {
    fn used(route: &crate::dispatch::Route, name: &str) -> bool {
        route.receiver == name || route.routes.iter().any(|child| used(child, name))
    }
    for item in map.get("receivers").map(Node::items).unwrap_or_default() {
        let Some(node) = item.get("name") else { continue };
        let name = node.scalar().unwrap_or("");
        let is_fallback = config.receivers.iter().any(|receiver| receiver.fallback == name);
        if !used(&config.route, name) && !is_fallback {
            check.say(Level::Note, node.place, format!("no route leads to receiver `{name}`"), None);
        }
    }
}

/// The receiver that is there without being written.
pub fn terminal() -> Receiver {
    Receiver {
        name: TERMINAL.to_owned(),
        view: View::Technical,
        time_zone: None,
        fallback: String::new(),
        integrations: vec![Integration::Terminal],
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Nothing, load_rules};
    use super::*;
    use proptest::prelude::*;

    fn words() -> impl Strategy<Value = String> {
        let known =
            CONFIG.into_iter().chain(["alert", "rules", "spike", "of", "where", "name", "routes", "matchers", "defaults"]);
        let known: Vec<String> = known.map(|key| format!("{key}: ")).collect();
        let piece = prop_oneof![
            3 => proptest::sample::select(known),
            2 => proptest::sample::select(vec!["\n", "\n  ", "\n- ", "\n  - ", "{", "}", "[", "]", ", ", "a=~\"(\"", "5m", "%", "*", "!x ", "\u{fc}"])
                .prop_map(str::to_owned),
            1 => "[ -~]{0,6}",
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_text_panics_and_every_finding_can_be_shown(text in words()) {
            let (_, found) = parse_str(&Nothing, "spiked.yaml", &text);
            let (_, of_rules) = load_rules(&Nothing, &[("rules.yaml".to_owned(), text)]);
            for diagnostic in found.iter().chain(&of_rules) {
                prop_assert!(diagnostic.render(false).contains(&diagnostic.message.replace('\t', " ")));
            }
        }
    }
}
