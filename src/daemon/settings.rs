//! The configuration in force: read, checked, and cut into what each part needs.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{self, Broken, Config, Diagnostic, Integration};
use crate::desk::DeskConfig;
use crate::ingest::{Door, Salts};
use crate::model::delivery::Target;
use crate::notifier::{ClientError, Clients};
use crate::outbox::{ReceiverPlan, TargetPlan};
use crate::rule::Rule;
use crate::watch::{SitePlan, WatchConfig};
use crate::web::Access;

use super::files::DiskFiles;

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A file, or the default places.
    Files(Option<PathBuf>),
    /// Given by the caller; a reload changes nothing.
    Given(Box<Settings>),
}

/// A configuration and its rules.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What `spiked.yaml` says.
    pub config: Config,
    /// What the rule files say.
    pub rules: Vec<Rule>,
}

/// Settings that were read, and what was found on the way.
pub struct Loaded {
    /// The settings, with the good rules; `None` where the configuration itself is broken.
    pub settings: Option<Settings>,
    /// What was found on the way.
    pub found: Found,
}

/// What was found while settings were read.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Errors and warnings.
    pub diagnostics: Vec<Diagnostic>,
    /// Rules that cannot be used as they are written.
    pub broken: Vec<Broken>,
    /// The rule files, name and text.
    pub files: Vec<(String, String)>,
}

impl Found {
    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|found| found.is_error()).count()
    }

    /// The rules among `last_good` that `rules` lack only because of a mistake.
    pub fn kept(&self, rules: &[Rule], last_good: Vec<Rule>) -> Vec<Rule> {
        let is_missing = |rule: &Rule| !rules.iter().any(|new| new.alert == rule.alert);
        let is_broken = |rule: &Rule| self.broken.iter().any(|broken| broken.concerns(rule));
        last_good.into_iter().filter(|rule| is_missing(rule) && is_broken(rule)).collect()
    }
}

impl Origin {
    /// Reads everything again.
    pub fn load(&self) -> Loaded {
        let path = match self {
            Self::Given(settings) => {
                return Loaded { settings: Some((**settings).clone()), found: Found::default() };
            }
            Self::Files(path) => path,
        };
        let (config, diagnostics) = config::load(&DiskFiles, path.as_deref());
        let mut found = Found { diagnostics, ..Found::default() };
        let settings = config.map(|config| {
            let (files, unreadable) = config::read_rule_files(&DiskFiles, &config);
            let errors = unreadable.iter().filter(|found| found.is_error());
            found.broken.extend(errors.map(|error| Broken { file: error.file.clone(), alert: None }));
            found.diagnostics.extend(unreadable);
            let mut set = config::read_rules(&DiskFiles, &files, &config.declared_tags());
            crate::render::check_annotations(&mut set);
            found.diagnostics.extend(set.found);
            found.broken.extend(set.broken);
            found.files = files;
            Settings { config, rules: set.rules }
        });
        Loaded { settings, found }
    }
}

/// The settings in force, in the shapes that the parts of the daemon read.
pub struct Live {
    /// The settings themselves.
    pub settings: Settings,
    /// Resolves events.
    pub door: Door,
    /// Keys and the admin token.
    pub access: Arc<Access>,
    /// Connections to receivers.
    pub clients: Clients,
    /// Rises with each change, so that caches of the old one can be told.
    pub generation: u64,
}

impl Live {
    /// Builds everything that can fail before anything is swapped.
    pub fn build(settings: Settings, salts: Salts, generation: u64) -> Result<Self, ClientError> {
        let clients = Clients::new(&settings.config.receivers)?;
        let door = Door::new(&settings.config, salts);
        let access = Arc::new(Access::from_config(&settings.config));
        Ok(Self { settings, door, access, clients, generation })
    }
}

impl Settings {
    /// For the first core.
    pub fn watch(&self) -> WatchConfig {
        let plan = |site: &config::Site| SitePlan {
            time_zone: site.time_zone,
            funnels: site
                .funnels
                .iter()
                .map(|funnel| (funnel.name.clone(), funnel.steps.iter().map(|step| step.step.clone()).collect()))
                .collect(),
            owners: site.owners.iter().map(|owner| (owner.pages.clone(), owner.owner.clone())).collect(),
        };
        WatchConfig {
            rules: self.rules.clone(),
            sites: self.config.sites.iter().map(|(name, site)| (name.clone(), plan(site))).collect(),
            default_site: plan(&self.config.default_site),
            lateness: self.config.lateness,
            series_per_site: self.config.limits.series_per_site,
        }
    }

    /// For the second core.
    pub fn desk(&self) -> DeskConfig {
        let plan = |receiver: &config::Receiver| {
            let mut targets: Vec<TargetPlan> = Vec::new();
            for integration in &receiver.integrations {
                let channel = integration.channel().to_owned();
                let index = targets.iter().filter(|plan| plan.target.channel == channel).count();
                let target = Target { receiver: receiver.name.clone(), channel, index };
                targets.push(TargetPlan { target, send_resolved: send_resolved(integration) });
            }
            ReceiverPlan { name: receiver.name.clone(), fallback: receiver.fallback.clone(), targets }
        };
        DeskConfig {
            route: self.config.route.clone(),
            receivers: self.config.receivers.iter().map(plan).collect(),
            inhibit_rules: self.config.inhibit_rules.clone(),
            time_intervals: self.config.time_intervals.clone(),
            external_url: self.config.external_url.clone(),
        }
    }

    /// The clock of a site's readers.
    pub fn zone_of(&self, site: &str) -> chrono_tz::Tz {
        self.config.sites.get(site).unwrap_or(&self.config.default_site).time_zone
    }
}

fn send_resolved(integration: &Integration) -> bool {
    match integration {
        Integration::Slack(to) => to.send_resolved,
        Integration::Email(to) => to.send_resolved,
        Integration::PagerDuty(to) => to.send_resolved,
        Integration::Webhook(to) => to.send_resolved,
        Integration::Terminal => true,
    }
}
