//! The words for spiked's own configuration: a file that is not in force as it is written. It is about a file, so it has
//! neither views nor people nor a usual value.

use super::foreign;
use super::numbers;
use super::phrase::Phrase;
use super::words::Facts;
use crate::model::Transition;

/// Characters of the mistakes in a message; `spiked check` shows all.
const MISTAKES_CHARS: usize = 700;

impl Facts<'_> {
    /// The file, as it was named.
    pub(super) fn file(&self) -> String {
        foreign::cut_middle(&foreign::clean(self.firing().group.get("file")), foreign::PAGE_CHARS)
    }

    /// The file's own name: titles are short.
    pub(super) fn file_name(&self) -> String {
        let file = self.file();
        file.rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// Each mistake with its place and what to do about it, then what holds instead.
    pub(super) fn configuration_fact(&self) -> Phrase {
        let since = self.time(self.firing().began);
        if self.business() {
            let phrase = Phrase::new().strong("A change of the alerts' settings has a mistake");
            return phrase
                .plain(format!(" since {since}. What held before goes on as far as possible; nothing is wrong with your site."));
        }
        let mistakes = foreign::cut(&foreign::clean(&self.firing().reason), MISTAKES_CHARS);
        let phrase = Phrase::new().strong("Not in force as written");
        phrase.plain(format!(" since {since}: ")).code(mistakes).plain(" Mend it and save; `spiked check` shows every mistake.")
    }

    /// For the lock screen.
    pub(super) fn configuration_line(&self) -> String {
        if self.business() {
            return "A change of the alerts' settings has a mistake and is not in force.".into();
        }
        let reason = foreign::clean(&self.firing().reason);
        let folder = self.firing().group.get("file").rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("Not in force: {}", reason.replacen(&format!("{folder}/"), "", usize::from(!folder.is_empty())))
    }

    /// How it ended.
    pub(super) fn configuration_over(&self, resolved: &Transition) -> Phrase {
        let lasted = numbers::duration(resolved.at.since(self.firing().began));
        let phrase = Phrase::new().strong(format!("Mended at {}", self.time(resolved.at)));
        phrase.plain(format!(
            ", after {lasted}. {} is in force as it is written.",
            if self.business() { "It".into() } else { self.file() }
        ))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::View;
    use crate::model::transition::CONFIGURATION;
    use crate::model::{Finding, Labels, Reason, State};
    use crate::render::{Audience, sample, tell};

    #[test]
    fn a_broken_file_is_told_with_its_place_and_what_to_do() {
        let mut notification = sample::fire();
        let firing = &mut notification.alerts[0].firing;
        let file = "/etc/spiked/rules/shop.yaml";
        (firing.condition, firing.alert) = (CONFIGURATION.into(), "SpikedConfigBroken".into());
        (firing.group, firing.labels) = (Labels::new().with("file", file), Labels::new().with("file", file));
        (firing.finding, firing.owner) = (Finding { errors: 1, ..Finding::default() }, String::new());
        (firing.annotations, firing.slice) = (Labels::new(), Labels::new());
        firing.reason =
            format!("{file}:4:29: unknown key `more_then` (did you mean `more_than`?). In their last good version: Burst.");
        let mut over = notification.clone();
        over.reason = Reason::Resolve;
        let mut end = over.alerts[0].firing.clone();
        (end.state, end.at) = (State::Resolved, sample::at("07:31"));
        over.alerts[0].resolved = Some(end);
        let mut lines = Vec::new();
        for view in [View::Technical, View::Business] {
            for notification in [&notification, &over] {
                let story = tell(notification, &Audience { view, time_zone: chrono_tz::UTC, external_url: "" });
                let rows: Vec<String> = story.rows.iter().map(|row| format!("{}: {}", row.name, row.value.text())).collect();
                lines.push(format!("{}\n  {}\n  {}\n  {}", story.title, story.line, story.fact.text(), rows.join(" | ")));
            }
        }
        insta::assert_snapshot!(lines.join("\n"), @r"
        Configuration has a mistake: shop.yaml
          Not in force: shop.yaml:4:29: unknown key 'more_then' (did you mean 'more_than'?). In their last good version: Burst.
          Not in force as written since 07:05 UTC: /etc/spiked/rules/shop.yaml:4:29: unknown key 'more_then' (did you mean 'more_than'?). In their last good version: Burst. Mend it and save; `spiked check` shows every mistake.
          Where: /etc/spiked/rules/shop.yaml | Owner: nobody yet | Next news: when it is over, or by 11:09 UTC at the latest
        Mended: shop.yaml
          Over after 26 min: configuration has a mistake: shop.yaml.
          Mended at 07:31 UTC, after 26 min. /etc/spiked/rules/shop.yaml is in force as it is written.
          Where: /etc/spiked/rules/shop.yaml | Owner: nobody yet
        Configuration has a mistake: shop.yaml
          A change of the alerts' settings has a mistake and is not in force.
          A change of the alerts' settings has a mistake since 07:05 UTC. What held before goes on as far as possible; nothing is wrong with your site.
          Where: /etc/spiked/rules/shop.yaml | Owner: nobody yet | Next news: when it is over, or by 11:09 UTC at the latest
        Mended: shop.yaml
          Over after 26 min: configuration has a mistake: shop.yaml.
          Mended at 07:31 UTC, after 26 min. It is in force as it is written.
          Where: /etc/spiked/rules/shop.yaml | Owner: nobody yet
        ");
    }
}
