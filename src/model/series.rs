//! The identity of a series: site, environment, page template and funnel step.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::labels::Labels;

/// A series' labels, in full. Hot paths carry only the [hash](SeriesKey::hash).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesKey {
    /// Which property.
    pub site: String,
    /// Which environment.
    pub env: String,
    /// The page template.
    pub page: String,
    /// The funnel step; empty where the page is in no funnel.
    pub step: String,
}

impl SeriesKey {
    /// The stable hash of a series; equal on every machine.
    pub fn hash_of(site: &str, env: &str, page: &str, step: &str) -> u64 {
        let mut hash = Xxh3::new();
        for part in [site, env, page, step] {
            hash.update(part.as_bytes());
            hash.update(&[0xff]);
        }
        hash.digest()
    }

    /// The stable hash of this series.
    pub fn hash(&self) -> u64 {
        Self::hash_of(&self.site, &self.env, &self.page, &self.step)
    }

    /// As labels `site`, `env`, `page`, `step`; absent ones are left out.
    pub fn labels(&self) -> Labels {
        [("site", &self.site), ("env", &self.env), ("page", &self.page), ("step", &self.step)]
            .into_iter()
            .map(|(name, value)| (name, value.clone()))
            .collect()
    }
}
