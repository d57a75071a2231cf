//! What the shop is made of: pages and how visitors go from one to the next, who they are, and what goes wrong every day.

use serde::Serialize;

use super::rng::Rng;

/// A page of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Page {
    /// `/`
    Home,
    /// `/c/lamps`
    Category,
    /// `/product/48213`
    Product,
    /// `/search`
    Search,
    /// `/blog/…`
    Blog,
    /// `/account`
    Account,
    /// `/cart`
    Cart,
    /// `/checkout/address`
    Address,
    /// `/checkout/payment`
    Payment,
    /// `/checkout/confirm`
    Confirm,
}

use Page::{Account, Address, Blog, Cart, Category, Confirm, Home, Payment, Product, Search};

/// The first page of a visit.
pub const ENTRIES: &[(Page, f64)] = &[(Home, 0.40), (Category, 0.20), (Product, 0.25), (Search, 0.08), (Blog, 0.07)];

impl Page {
    /// All pages.
    pub const ALL: [Self; 10] = [Home, Category, Product, Search, Blog, Account, Cart, Address, Payment, Confirm];

    /// Where visitors go next; the rest leave.
    pub const fn next(self) -> &'static [(Self, f64)] {
        match self {
            Home => &[(Category, 0.40), (Search, 0.15), (Product, 0.22), (Account, 0.03), (Blog, 0.03)],
            Category => &[(Product, 0.62), (Category, 0.12), (Search, 0.05)],
            Product => &[(Cart, 0.46), (Product, 0.16), (Category, 0.10), (Search, 0.03)],
            Search => &[(Product, 0.66), (Search, 0.12)],
            Blog => &[(Product, 0.20), (Blog, 0.15), (Home, 0.10)],
            Account => &[(Home, 0.20), (Category, 0.25)],
            Cart => &[(Address, 0.85), (Product, 0.06), (Category, 0.03)],
            Address => &[(Payment, 0.94), (Cart, 0.02)],
            Payment => &[(Confirm, 0.86), (Address, 0.03), (Payment, 0.03)],
            Confirm => &[(Account, 0.10), (Home, 0.08)],
        }
    }

    /// The path, with ids where real ones have them.
    pub fn path(self, product: u64) -> String {
        match self {
            Home => "/".to_owned(),
            Category => format!("/c/{}", ["lamps", "chairs", "rugs", "kitchen", "garden"][(product % 5) as usize]),
            Product => format!("/product/{}", 40_000 + product % 9000),
            Search => "/search?q=lamp".to_owned(),
            Blog => format!("/blog/{}", ["oak-or-ash", "small-rooms", "warm-light"][(product % 3) as usize]),
            Account => "/account".to_owned(),
            Cart => "/cart".to_owned(),
            Address => "/checkout/address".to_owned(),
            Payment => "/checkout/payment".to_owned(),
            Confirm => "/checkout/confirm".to_owned(),
        }
    }

    /// A page on the way to an order.
    pub const fn is_checkout(self) -> bool {
        matches!(self, Address | Payment | Confirm)
    }

    /// Whose service the page calls: tries at payment go to one of two.
    pub fn vendor(self, visitor: &Visitor) -> Option<&'static str> {
        (self == Payment)
            .then(|| if visitor.country == "NL" || visitor.country == "PL" { "wallet.example" } else { "psp.example" })
    }

    /// What goes wrong here on any day, and in which share of the views.
    pub fn faults(self) -> Vec<(Fault, f64)> {
        let own: &[(Fault, f64)] = match self {
            Home => &[(error("TypeError", "undefined is not an object (evaluating 'hero.slides')", "renderHero"), 0.0006)],
            Category => &[(error("TypeError", "Cannot read properties of undefined (reading 'facets')", "applyFilter"), 0.0008)],
            Product => &[(error("TypeError", "Cannot read properties of null (reading 'variants')", "selectVariant"), 0.0012)],
            Search => &[(handled("SearchTimeout", "no answer from search within 3000 ms", "runSearch"), 0.0018)],
            Blog => &[(error("ReferenceError", "Can't find variable: lazySizes", "loadImages"), 0.0004)],
            Account => &[(handled("AuthError", "session expired", "loadAccount"), 0.0015)],
            Cart => &[(handled("CartConflict", "cart was changed in another tab", "updateCart"), 0.0012)],
            Address => &[(handled("AddressError", "postcode does not fit the city", "checkAddress"), 0.0018)],
            Payment => &[
                (handled("PaymentError", "card declined by issuer", "submitPayment"), 0.0022),
                (handled("PaymentError", "authorization failed", "authorizePayment"), 0.0008),
                (handled("PaymentError", "3-D Secure was not completed", "openChallenge"), 0.0006),
            ],
            Confirm => &[(error("TypeError", "undefined is not an object (evaluating 'order.lines')", "showOrder"), 0.0006)],
        };
        [own, TAIL].concat()
    }
}

/// What happens on every page now and then.
const TAIL: &[(Fault, f64)] = &[
    (error("ChunkLoadError", "Loading chunk 417 failed", "loadChunk"), 0.0002),
    (error("TypeError", "Failed to fetch", "request"), 0.0001),
    (warning("Error", "ResizeObserver loop completed with undelivered notifications", "observe"), 0.0001),
];

/// An error as the code throws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its type.
    pub class: &'static str,
    /// Its message.
    pub message: &'static str,
    /// The function of the shop's own code that threw it.
    pub function: &'static str,
    /// `error` or `warning`.
    pub level: &'static str,
    /// The code caught it and told the visitor.
    pub handled: bool,
}

/// Nobody caught it.
pub const fn error(class: &'static str, message: &'static str, function: &'static str) -> Fault {
    Fault { class, message, function, level: "error", handled: false }
}

/// The visitor was told.
pub const fn handled(class: &'static str, message: &'static str, function: &'static str) -> Fault {
    Fault { class, message, function, level: "error", handled: true }
}

const fn warning(class: &'static str, message: &'static str, function: &'static str) -> Fault {
    Fault { class, message, function, level: "warning", handled: false }
}

/// Who visits, and how they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Visitor {
    /// Browser.
    pub browser: &'static str,
    /// Operating system.
    pub os: &'static str,
    /// `mobile` or `desktop`.
    pub device: &'static str,
    /// ISO 3166.
    pub country: &'static str,
    /// How they came.
    pub source: &'static str,
    /// By which campaign, if any.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub campaign: &'static str,
}

// In each of the tables below one value is common and the others are rare: what is half-rare gathers just enough errors to be
// found, and then takes long to prove that it is well again.

/// Browser, system, device, share.
const CLIENTS: &[(&str, &str, &str, f64)] = &[
    ("Mobile Safari", "iOS", "mobile", 0.40),
    ("Chrome Mobile", "Android", "mobile", 0.20),
    ("Chrome", "Windows", "desktop", 0.16),
    ("Safari", "macOS", "desktop", 0.08),
    ("Firefox", "Windows", "desktop", 0.06),
    ("Edge", "Windows", "desktop", 0.06),
    ("Samsung Internet", "Android", "mobile", 0.04),
];
const COUNTRIES: &[(&str, f64)] =
    &[("DE", 0.66), ("FR", 0.07), ("NL", 0.06), ("AT", 0.06), ("CH", 0.05), ("PL", 0.05), ("BE", 0.05)];
/// Source, campaign, share.
const SOURCES: &[(&str, &str, f64)] = &[
    ("direct", "", 0.66),
    ("organic_search", "", 0.08),
    ("paid_social", "autumn", 0.08),
    ("paid_search", "brand", 0.07),
    ("email", "newsletter", 0.06),
    ("referral", "", 0.05),
];

impl Visitor {
    /// Anyone.
    pub fn any(rng: &mut Rng) -> Self {
        let (browser, os, device, _) = *rng.pick(CLIENTS, |client| client.3).unwrap_or(&CLIENTS[0]);
        let (country, _) = *rng.pick(COUNTRIES, |country| country.1).unwrap_or(&COUNTRIES[0]);
        let (source, campaign, _) = *rng.pick(SOURCES, |source| source.2).unwrap_or(&SOURCES[0]);
        Self { browser, os, device, country, source, campaign }
    }
}

/// Expected views of each page in one visit, in the order of [`Page::ALL`].
pub fn views_per_visit() -> [f64; 10] {
    let mut total = [0.0; 10];
    let mut now = [0.0; 10];
    for (page, share) in ENTRIES {
        now[*page as usize] += share;
    }
    // Visits end: after so many steps nobody is left.
    for _ in 0..100 {
        let mut next = [0.0; 10];
        for page in Page::ALL {
            total[page as usize] += now[page as usize];
            for (to, share) in page.next() {
                next[*to as usize] += now[page as usize] * share;
            }
        }
        now = next;
    }
    total
}

/// The hash in the name of a release's bundle.
pub fn bundle_hash(release: &str) -> u64 {
    crate::model::batch::hash_text(release) & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_sum_up_to_one_and_nobody_stays_for_ever() {
        let sum = |shares: &mut dyn Iterator<Item = f64>| shares.sum::<f64>();
        assert!((sum(&mut ENTRIES.iter().map(|e| e.1)) - 1.0).abs() < 1e-9);
        assert!((sum(&mut CLIENTS.iter().map(|c| c.3)) - 1.0).abs() < 1e-9);
        assert!((sum(&mut COUNTRIES.iter().map(|c| c.1)) - 1.0).abs() < 1e-9);
        assert!((sum(&mut SOURCES.iter().map(|s| s.2)) - 1.0).abs() < 1e-9);
        for page in Page::ALL {
            assert!(sum(&mut page.next().iter().map(|next| next.1)) < 0.99, "{page:?}");
        }
    }

    #[test]
    fn enough_visits_reach_the_payment_for_a_failure_to_be_seen_within_a_minute() {
        let views = views_per_visit();
        let share = views[Payment as usize] / views.iter().sum::<f64>();
        assert!((0.06..0.12).contains(&share), "{share}");
    }
}
