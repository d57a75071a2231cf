//! The manual against the program: commands, links, metrics, and every example of a rule or a configuration.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use spiked::config::{Diagnostic, Reader, load_rules_for, parse_str};

use crate::none;
use crate::source::{all_sources, files, root};

/// README, CONTRIBUTING, CHANGELOG and the book.
fn pages() -> Vec<(String, String)> {
    files(&root(), &["md"]).into_iter().filter(|(name, _)| !name.starts_with("tests/")).collect()
}

/// A fenced block: the words behind its fence, where it begins, what is in it.
struct Block {
    info: String,
    line: usize,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open = false;
    for (at, line) in page.lines().enumerate() {
        if let Some(info) = line.trim_start().strip_prefix("```") {
            if !open {
                found.push(Block { info: info.trim().to_owned(), line: at + 1, text: String::new() });
            }
            open = !open;
        } else if let Some(block) = found.last_mut().filter(|_| open) {
            block.text.push_str(line);
            block.text.push('\n');
        }
    }
    found
}

/// What stands where a reader of the manual has files and variables of his own.
struct Anything;

impl Reader for Anything {
    fn read(&self, _: &Path) -> io::Result<String> {
        Ok("https://example.com/x".to_owned())
    }
    fn env(&self, _: &str) -> Option<String> {
        Some("https://example.com/x".to_owned())
    }
    fn glob(&self, _: &str) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
    fn is_folder(&self, _: &Path) -> bool {
        false
    }
}

#[test]
fn examples_of_rules_and_configurations_are_right() {
    let mut found: Vec<String> = Vec::new();
    let mut told = |name: &str, block: &Block, diagnostics: &[Diagnostic]| {
        let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
        found.extend(errors.map(|error| format!("{name}:{}: {}", block.line + error.line, error.message)));
    };
    let mut examples = 0;
    for (name, page) in pages() {
        for block in blocks(&page) {
            match block.info.as_str() {
                "yaml rules" => {
                    let declared = ["tenant".to_owned()];
                    told(&name, &block, &load_rules_for(&Anything, &[(name.clone(), block.text.clone())], &declared).1);
                }
                "yaml config" => told(&name, &block, &parse_str(&Anything, &name, &block.text).1),
                _ => continue,
            }
            examples += 1;
        }
    }
    none("examples that do not pass `spiked check`", &found);
    assert!(examples >= 10, "only {examples} examples are marked as `yaml rules` or `yaml config`");
}

#[test]
fn commands_that_the_manual_names_exist() {
    let sources = all_sources("src/cli");
    let exists = |verb: &str| {
        let file = [format!("src/cli/{verb}.rs"), format!("src/cli/{verb}/mod.rs")];
        let variant: String = verb[..1].to_ascii_uppercase() + &verb[1..];
        sources.iter().any(|source| {
            file.contains(&source.name) || source.name == "src/cli/mod.rs" && source.code.contains(&format!(" {variant}"))
        })
    };
    let mut found = BTreeSet::new();
    for (name, page) in pages() {
        let lines = blocks(&page).into_iter().filter(|block| matches!(block.info.as_str(), "sh" | "console"));
        let mut said: Vec<String> = lines.flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        said.extend(page.split('`').skip(1).step_by(2).filter(|code| !code.contains('\n')).map(str::to_owned));
        for line in said {
            let line = line.trim_start_matches(['$', ' ']);
            let rest = ["spiked ", "cargo run --release -- ", "./target/release/spiked "]
                .iter()
                .find_map(|start| line.strip_prefix(start));
            let Some(verb) = rest.and_then(|rest| rest.split_whitespace().next()) else { continue };
            if verb.bytes().all(|byte| byte.is_ascii_lowercase()) && !exists(verb) {
                found.insert(format!("{name}: spiked {verb}"));
            }
        }
    }
    none("commands that the binary does not have", &found.into_iter().collect::<Vec<_>>());
}

#[test]
fn the_readme_begins_with_two_commands() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let screen: String = readme.lines().take(40).flat_map(|line| [line, "\n"]).collect();
    for command in ["cargo run --release -- demo", "cargo test", "http://127.0.0.1:7745"] {
        assert!(screen.contains(command), "`{command}` is not on the first screen of README.md");
    }
}

/// How a heading is addressed.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut found = Vec::new();
    for (name, page) in pages() {
        for (at, _) in page.match_indices("](") {
            let target: String = page[at + 2..].chars().take_while(|c| *c != ')').collect();
            if target.contains("://") || target.starts_with("mailto:") || target.contains('\n') {
                continue;
            }
            let (path, fragment) = target.split_once('#').unwrap_or((&target, ""));
            let folder = root().join(&name).parent().map(Path::to_path_buf).unwrap_or_default();
            let file = if path.is_empty() { root().join(&name) } else { folder.join(path) };
            if !file.exists() {
                found.push(format!("{name}: {target} does not exist"));
            } else if !fragment.is_empty() {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#')));
                if !headings.into_iter().any(|heading| heading == fragment) {
                    found.push(format!("{name}: {target} names no heading"));
                }
            }
        }
    }
    none("links into the void", &found);
}

#[test]
fn every_page_of_the_book_is_in_its_index() {
    let index = std::fs::read_to_string(root().join("docs/README.md")).unwrap();
    let pages = files(&root().join("docs"), &["md"]);
    let found: Vec<String> = pages
        .into_iter()
        .map(|(name, _)| name.trim_start_matches("docs/").to_owned())
        .filter(|name| name != "README.md" && !index.contains(&format!("]({name})")))
        .collect();
    none("pages that docs/README.md does not name", &found);
}

#[test]
fn every_metric_is_in_the_manual() {
    let metrics = std::fs::read_to_string(root().join("src/telemetry/metrics.rs")).unwrap();
    let manual = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let mut names: Vec<&str> = Vec::new();
    for start in ["d.plain(", "d.unit(", "d.0.register("] {
        names.extend(metrics.split(start).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next()));
    }
    assert!(names.len() > 10, "metrics are declared in another way than this test knows: {names:?}");
    let found: Vec<String> =
        names.into_iter().filter(|name| !manual.contains(&format!("`spiked_{name}"))).map(str::to_owned).collect();
    none("metrics that docs/metrics.md does not mention", &found);
}
