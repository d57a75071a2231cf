//! All rule files together: the good rules, and what is to be known of the others so that a reload can keep their last good
//! version.
//!
//! Annotations are templates, and templates are the business of `render`: their texts and places are handed on here.

use super::Reader;
use super::check::read;
use super::diagnostic::Diagnostic;
use super::raw::Check;
use super::rules::{Names, rule_file};
use crate::rule::Rule;
use crate::rule::matcher::glob_matches;

/// What rule files say.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    /// The good rules, whatever the others are.
    pub rules: Vec<Rule>,
    /// Rules that cannot be used as they are written.
    pub broken: Vec<Broken>,
    /// The texts of all annotations, those of broken rules too.
    pub templates: Vec<Template>,
    /// Errors, warnings and notes.
    pub found: Vec<Diagnostic>,
}

/// A rule, or a whole file, that cannot be used as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The file, or the pattern that finds it.
    pub file: String,
    /// The rule's name; `None`: any rule of the file may be meant.
    pub alert: Option<String>,
}

impl Broken {
    /// Whether this mistake may be what keeps a rule that was in force from being in the new set. A rule that was taken out of
    /// a file beside a broken one was meant to be taken out.
    pub fn concerns(&self, old: &Rule) -> bool {
        self.alert.as_ref().map_or_else(|| self.names(&old.place.file), |alert| *alert == old.alert)
    }

    /// Whether it is in this file.
    pub fn names(&self, file: &str) -> bool {
        self.file == file || self.file.contains('*') && glob_matches(&self.file, file)
    }
}

/// The text of an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The rule's name; `None` in `defaults:`, and where the rule has no name.
    pub alert: Option<String>,
    /// The annotation's name.
    pub name: String,
    /// What is written there.
    pub text: String,
    /// A finding without words, at the place of the text.
    pub at: Diagnostic,
}

/// Checks rule files given as name and text. Good rules are returned whatever the others are.
pub fn load_rules(reader: &dyn Reader, files: &[(String, String)]) -> (Vec<Rule>, Vec<Diagnostic>) {
    load_rules_for(reader, files, &[])
}

/// Like [`load_rules`], with the tags that the configuration's sites declare: they may stand in `by` by their bare names.
pub fn load_rules_for(reader: &dyn Reader, files: &[(String, String)], declared: &[String]) -> (Vec<Rule>, Vec<Diagnostic>) {
    let set = read_rules(reader, files, declared);
    (set.rules, set.found)
}

/// Reads all that rule files say.
pub fn read_rules(reader: &dyn Reader, files: &[(String, String)], declared: &[String]) -> RuleSet {
    let (mut names, mut set) = (Names::new(), RuleSet::default());
    for (file, text) in files {
        let mut check = Check::new(file, text, reader);
        match read(&mut check, text) {
            Some(node) if check.errors() == 0 => rule_file(&mut check, &node, declared, &mut names, &mut set),
            Some(node) => {
                set.broken.push(Broken { file: file.clone(), alert: None });
                rule_file(&mut check, &node, declared, &mut names, &mut set);
            }
            None => set.broken.push(Broken { file: file.clone(), alert: None }),
        }
        set.found.extend(check.finish());
    }
    set
}

#[cfg(test)]
mod tests {
    use super::super::Nothing;
    use super::*;

    fn read(text: &str) -> RuleSet {
        read_rules(&Nothing, &[("a.yaml".to_owned(), text.to_owned())], &[])
    }

    /// The names of old rules, all of `a.yaml`, that a new text keeps.
    fn kept(old: &str, new: &str) -> Vec<String> {
        let set = read(new);
        let gone = |rule: &&Rule| !set.rules.iter().any(|new| new.alert == rule.alert);
        let old = read(old).rules;
        let kept = old.iter().filter(gone).filter(|rule| set.broken.iter().any(|broken| broken.concerns(rule)));
        kept.map(|rule| rule.alert.clone()).collect()
    }

    const TWO: &str = "rules:\n  - alert: A\n    frequency: {of: errors, more_than: 3, within: 5m}\n  - alert: B\n    absent: {of: views, for: 5m}\n";

    #[test]
    fn a_broken_rule_is_kept_and_a_deleted_one_is_not() {
        assert_eq!(kept(TWO, &TWO.replace("more_than", "more_then")), ["A"]);
        assert_eq!(kept(TWO, "rules:\n  - alert: A\n    frequency: {of: errors}\n"), ["A"], "B was deleted on purpose");
        assert_eq!(kept(TWO, "rules:\n  - alert: A\n    absent: {of: views, for: 5m}\n"), Vec::<String>::new());
        assert_eq!(kept(TWO, "rules: ["), ["A", "B"], "nobody knows what was meant");
        assert_eq!(kept(TWO, "rulez: []\n"), ["A", "B"]);
        assert_eq!(kept(TWO, "defaults: {severity: P9}\nrules: []\n"), ["A", "B"]);
    }

    #[test]
    fn the_texts_of_broken_rules_are_handed_on_with_their_places() {
        let text = "rules:\n  - alert: A\n    frequency: {of: errors}\n    annotations:\n      summary: \"{{ lables }}\"\n";
        let set = read(text);
        assert_eq!((set.rules.len(), set.templates.len()), (0, 1));
        let template = &set.templates[0];
        assert_eq!((template.text.as_str(), template.at.line, template.at.column), ("{{ lables }}", 5, 16));
    }
}
