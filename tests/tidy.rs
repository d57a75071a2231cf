//! The house rules that no compiler checks: floors and imports, sizes, open ends, and that the manual says what is there.
//!
//! Sources are read as text. That is crude and enough: what is checked is how the project is written.

#[path = "tidy/manual.rs"]
mod manual;
#[path = "tidy/source.rs"]
mod source;

use source::{Source, all_sources, files, long_functions, root};

/// What each module may import, without tests. A module may name only those that stand above it, so there can be no circle.
const IMPORTS: [(&str, &[&str]); 20] = [
    // F0: vocabulary and mathematics.
    ("model", &[]),
    ("stats", &[]),
    // F1: the parts of the cores.
    ("window", &["model"]),
    ("rule", &["model", "stats", "window"]),
    ("alert", &["model"]),
    ("dispatch", &["model"]),
    ("outbox", &["model"]),
    // F2: the cores, and what is pure around them. `config` builds the types of rules and routes; `ingest` uses the globs of
    // rules, so that a page is matched alike everywhere.
    ("config", &["model", "rule", "dispatch"]),
    ("render", &["model", "rule", "config"]),
    ("watch", &["model", "stats", "window", "rule", "alert"]),
    ("desk", &["model", "alert", "dispatch", "outbox"]),
    ("ingest", &["model", "rule", "config"]),
    // F3: hands. Of each other they know telemetry alone; `store` writes down what the desk hands it.
    ("telemetry", &["model"]),
    ("wal", &["model", "telemetry"]),
    ("store", &["model", "alert", "dispatch", "outbox", "desk"]),
    ("notifier", &["model", "config", "render"]),
    ("web", &["model", "config", "telemetry"]),
    // F4 and F5 may import everything below.
    ("daemon", BELOW_DAEMON),
    ("cli", BELOW_CLI),
    ("main", &["cli"]),
];

const BELOW_DAEMON: &[&str] = &[
    "model",
    "stats",
    "window",
    "rule",
    "alert",
    "dispatch",
    "outbox",
    "config",
    "render",
    "watch",
    "desk",
    "ingest",
    "telemetry",
    "wal",
    "store",
    "notifier",
    "web",
];
const BELOW_CLI: &[&str] = &[
    "model",
    "stats",
    "window",
    "rule",
    "alert",
    "dispatch",
    "outbox",
    "config",
    "render",
    "watch",
    "desk",
    "ingest",
    "telemetry",
    "wal",
    "store",
    "notifier",
    "web",
    "daemon",
];

/// The rooms that read no clock, file, environment or network.
const PURE: [&str; 12] =
    ["model", "stats", "window", "rule", "alert", "dispatch", "outbox", "config", "render", "watch", "desk", "ingest"];

/// What is never named in a pure room, outside of tests.
const IMPURE: [&str; 20] = [
    "tokio::",
    "reqwest::",
    "rusqlite::",
    "tracing::",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "Instant::now",
    "SystemTime",
    "Utc::now",
    "Local::now",
    "getrandom::",
    "RandomState",
    "std::sync::Mutex",
    "std::sync::atomic",
];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

#[track_caller]
fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn imports_point_down_and_never_in_a_circle() {
    for (place, (module, may)) in IMPORTS.iter().enumerate() {
        let above: Vec<&str> = IMPORTS[..place].iter().map(|(name, _)| *name).collect();
        for name in *may {
            assert!(above.contains(name), "the table lets `{module}` import `{name}`, which does not stand above it");
        }
    }
    let mut found = Vec::new();
    for source in all_sources("src").iter().filter(|source| !source.is_test) {
        let module = source.module();
        if module == "lib" {
            continue;
        }
        let Some((_, may)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
            found.push(format!("{}: module `{module}` is not in the table of tests/tidy.rs", source.name));
            continue;
        };
        for (line, name) in source.imports() {
            if name != module && !may.contains(&name.as_str()) {
                found.push(format!("{}:{line}: `{module}` must not import `{name}`", source.name));
            }
        }
    }
    none("imports against the floors", &found);
}

#[test]
fn pure_rooms_touch_nothing_outside() {
    let mut found = Vec::new();
    for source in all_sources("src").iter().filter(|source| !source.is_test && PURE.contains(&source.module())) {
        for word in IMPURE {
            found.extend(source.lines_with(word).map(|line| format!("{}:{line}: `{word}`", source.name)));
        }
    }
    none("not for a room without clock and I/O; let the daemon pass it in", &found);
}

#[test]
fn the_yaml_crate_has_one_user() {
    let mut found = Vec::new();
    for source in all_sources("src").iter().filter(|source| source.name != "src/config/yaml.rs") {
        found.extend(source.lines_with("serde_yaml::").map(|line| format!("{}:{line}", source.name)));
    }
    none("only config/yaml.rs knows the YAML crate", &found);
}

#[test]
fn files_and_functions_fit_a_head() {
    let mut found = Vec::new();
    for source in all_sources("src").iter().chain(&all_sources("tests")) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", source.name));
        }
        for (line, name, length) in long_functions(source, FUNCTION_LINES_MAX) {
            found.push(format!("{}:{line}: fn {name} has {length} lines, at most {FUNCTION_LINES_MAX}", source.name));
        }
    }
    none("too long", &found);
}

#[test]
fn every_module_says_why_it_exists() {
    let opens = |source: &&Source| !source.text.starts_with("//! ");
    let found: Vec<String> =
        all_sources("src").iter().chain(&all_sources("tests")).filter(opens).map(|source| source.name.clone()).collect();
    none("must open with `//! ` and a sentence", &found);
}

#[test]
fn nothing_is_left_open() {
    // In two parts, so that this file does not find itself.
    let marks =
        [["to", "do!("], ["unimple", "mented!("], ["db", "g!("], ["FIX", "ME"], ["TO", "DO"], ["XX", "X:"], ["(to c", "ome)"]];
    let mut found = Vec::new();
    for source in all_sources("src").iter().chain(&all_sources("tests")) {
        for mark in marks.iter().map(|parts| parts.concat()) {
            let lines = source.text.lines().enumerate().filter(|(_, line)| line.contains(&mark));
            found.extend(lines.map(|(at, _)| format!("{}:{}: {mark}", source.name, at + 1)));
        }
    }
    none("finish it, or take it out", &found);
}

#[test]
fn no_place_of_one_machine_is_named() {
    let places = [["/wo", "rk/"], ["/ro", "ot/"], ["/far", "m/"], ["/Us", "ers/"]].map(|parts| parts.concat());
    let mut found = Vec::new();
    for (name, text) in
        files(&root(), &["rs", "md", "toml", "yaml", "yml", "json", "service", "sysusers", "tmpfiles", "run", "html", "js"])
    {
        for (at, line) in text.lines().enumerate() {
            found.extend(places.iter().filter(|place| line.contains(*place)).map(|place| format!("{name}:{}: {place}", at + 1)));
        }
    }
    none("these exist on one machine only", &found);
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap_or_default();
    let official = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let others: Vec<String> =
        lock.lines().filter(|line| line.starts_with("source = ") && *line != official).map(str::to_owned).collect();
    none("a dependency that does not come from crates.io", &others);
}

#[test]
fn schemas_are_sound_and_the_ones_that_the_binary_shows() {
    for (name, text) in files(&root().join("src"), &["json"]).into_iter().chain(files(&root().join("rules"), &["json"])) {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
        assert!(parsed.is_ok(), "{name}: {parsed:?}");
    }
    let rules = std::fs::read_to_string(root().join("rules/schema.json")).unwrap();
    assert_eq!(rules, spiked::config::schema::RULES, "rules/schema.json is not what `spiked schema rules` prints");
}
