//! `spiked check`: every mistake of configuration and rules at once, and the schedule that the routes yield.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::config::check::{default_place, is_rule_file, unreadable_file, whole_file};
use crate::config::{Config, Diagnostic, Level, Reader, parse_str, read_rule_files, read_rules, schedule};

/// Arguments of `spiked check`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CheckArgs {
    /// Rule files, configuration files or folders; without any, the default places
    pub files: Vec<PathBuf>,
    /// How to print what is found
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Colours in the output
    #[arg(skip)]
    pub color: bool,
}

/// How to print what is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON array
    Json,
}

/// What was checked and found.
#[derive(Default)]
struct Checked {
    files: usize,
    rules: usize,
    found: Vec<Diagnostic>,
    configs: Vec<(String, Config)>,
    unreadable: bool,
}

/// Checks and prints. Exit code 0: fine, perhaps with warnings; 1: errors; 2: a file cannot be read, or nothing can be written.
pub fn run(args: &CheckArgs, reader: &dyn Reader, out: &mut dyn Write) -> u8 {
    let checked = check(&args.files, reader);
    let errors = checked.found.iter().filter(|found| found.is_error()).count();
    let written = match args.format {
        Format::Json => json(&checked.found, out),
        Format::Text => text(&checked, errors, args.color, out),
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => 2,
        _ if checked.unreadable => 2,
        _ => u8::from(errors > 0),
    }
}

fn check(named: &[PathBuf], reader: &dyn Reader) -> Checked {
    let mut checked = Checked::default();
    let mut rule_files: Vec<(String, String)> = Vec::new();
    let places = if named.is_empty() { default_places(reader) } else { folders_opened(named, reader) };
    if places.is_empty() {
        let what = named.first().map_or("./rules".to_owned(), |path| path.to_string_lossy().into_owned());
        checked.found.push(whole_file(&what, Level::Warning, "there is nothing to check".to_owned()));
    }
    for path in places {
        let name = path.to_string_lossy().into_owned();
        let text = match reader.read(&path) {
            Ok(text) => text,
            Err(error) => {
                checked.found.push(unreadable_file(&name, &error));
                checked.unreadable = true;
                continue;
            }
        };
        checked.files += 1;
        if is_rule_file(&text) {
            rule_files.push((name, text));
            continue;
        }
        let (config, found) = parse_str(reader, &name, &text);
        checked.found.extend(found);
        if let Some(config) = config {
            // The rules that a configuration names are checked with it.
            let (files, found) = read_rule_files(reader, &config);
            checked.unreadable |= found.iter().any(Diagnostic::is_error);
            checked.found.extend(found);
            checked.files += files.len();
            rule_files.extend(files);
            checked.configs.push((name, config));
        }
    }
    // One file may be named in two ways, as `rules/a.yaml` and `./rules/a.yaml`.
    rule_files.sort_by_key(|(name, _)| plain_path(name));
    let with_repeats = rule_files.len();
    rule_files.dedup_by_key(|(name, _)| plain_path(name));
    checked.files -= with_repeats - rule_files.len();
    let declared: Vec<String> = checked.configs.iter().flat_map(|(_, config)| config.declared_tags()).collect();
    let mut set = read_rules(reader, &rule_files, &declared);
    crate::render::check_annotations(&mut set);
    checked.rules = set.rules.len();
    checked.found.extend(set.found);
    checked
}

fn plain_path(name: &str) -> PathBuf {
    Path::new(name).components().filter(|component| component.as_os_str() != ".").collect()
}

fn default_places(reader: &dyn Reader) -> Vec<PathBuf> {
    match default_place(reader) {
        Some(path) => vec![path],
        None => yaml_files(Path::new("./rules"), reader),
    }
}

fn folders_opened(named: &[PathBuf], reader: &dyn Reader) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for path in named {
        let inside = if reader.read(path).is_ok() { Vec::new() } else { yaml_files(path, reader) };
        if inside.is_empty() && !reader.is_folder(path) {
            out.push(path.clone());
        }
        out.extend(inside);
    }
    out
}

fn yaml_files(folder: &Path, reader: &dyn Reader) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for ending in ["*.yaml", "*.yml"] {
        out.extend(reader.glob(&folder.join(ending).to_string_lossy()).unwrap_or_default());
    }
    out
}

fn json(found: &[Diagnostic], out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, found)?;
    writeln!(out)
}

fn text(checked: &Checked, errors: usize, color: bool, out: &mut dyn Write) -> io::Result<()> {
    for found in &checked.found {
        writeln!(out, "{}\n", found.render(color))?;
    }
    for (name, config) in &checked.configs {
        writeln!(out, "{name}: who hears, and when")?;
        for line in schedule(&config.route) {
            writeln!(out, "  {line}")?;
        }
    }
    let warnings = checked.found.iter().filter(|found| found.level == Level::Warning).count();
    let mut line =
        format!("{}, {}, {}", counted(checked.files, "file"), counted(checked.rules, "rule"), counted(errors, "error"));
    if warnings > 0 {
        line.extend([", ", &counted(warnings, "warning")]);
    }
    writeln!(out, "{line}")
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
