//! What goes wrong in the shop, and when: the truth that spiked's words can be held against.

use std::time::Duration;

use crate::model::Timestamp;

use super::catalogue::{Fault, Page, Visitor, error, handled};

/// The release that history ends with.
pub const FIRST_RELEASE: &str = "web@4.2.0";

/// Seconds from the start of live traffic: the first bad release, its failure, its repair.
const FIRST: (i64, i64, i64) = (25, 35, 120);
/// From then on another story begins so often, in seconds.
const EVERY: i64 = 360;
/// How long the later ones last, in seconds.
const LASTS: i64 = 90;

/// The stories in time.
#[derive(Clone, Debug)]
pub struct Script {
    start: Timestamp,
    told: Timestamp,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Mobile Safari cannot pay on a release; the number of the bad release among the bad ones.
    Payment(i64),
    /// The cart shows an error that nobody has seen before.
    Cart(&'static Fault),
    /// A payment provider does not answer.
    Vendor,
}

/// One story: what, from when until when.
#[derive(Clone, Copy, Debug)]
struct Story {
    trouble: Trouble,
    from: Timestamp,
    to: Timestamp,
}

const AUTHORIZATION_FAILED: Fault = handled("PaymentError", "authorization failed", "authorizePayment");
const VENDOR_TIMEOUT: Fault = handled("VendorTimeout", "psp.example did not answer within 10 s", "authorizePayment");
/// Each is new once.
const CART_FAULTS: [Fault; 4] = [
    error("TypeError", "undefined is not an object (evaluating 'voucher.discount')", "applyVoucher"),
    error("RangeError", "Invalid currency code", "formatTotal"),
    error("ReferenceError", "giftWrap is not defined", "renderOptions"),
    error("SyntaxError", "Unexpected token '<' in JSON", "readShipping"),
];

impl Script {
    /// Stories for live traffic that starts now.
    pub const fn new(start: Timestamp) -> Self {
        Self { start, told: start }
    }

    fn at(&self, secs: i64) -> Timestamp {
        Timestamp(self.start.millis() + secs * 1000)
    }

    /// The story with this number.
    fn story(&self, number: i64) -> Story {
        if number == 0 {
            return Story { trouble: Trouble::Payment(0), from: self.at(FIRST.1), to: self.at(FIRST.2) };
        }
        let trouble = match number % 3 {
            1 => Trouble::Cart(&CART_FAULTS[(number / 3) as usize % CART_FAULTS.len()]),
            2 => Trouble::Vendor,
            _ => Trouble::Payment(number / 3),
        };
        Story { trouble, from: self.at(number * EVERY), to: self.at(number * EVERY + LASTS) }
    }

    /// The stories that may have to do with a time: the last that has begun, and the next.
    fn near(&self, at: Timestamp) -> impl Iterator<Item = Story> + '_ {
        let number = (at.millis() - self.start.millis()).div_euclid(EVERY * 1000);
        (number.max(0)..=number.max(0) + 1).map(|number| self.story(number))
    }

    /// The release in force.
    pub fn release(&self, at: Timestamp) -> String {
        // Payment stories are every third; each brings a bad release and its repair.
        let number = (at.millis() - self.start.millis()).div_euclid(EVERY * 1000).max(0) + 1;
        let last = (0..=number / 3).flat_map(|story| self.story(story * 3).deploys()).rfind(|deploy| deploy.0 <= at);
        last.map_or_else(|| FIRST_RELEASE.to_owned(), |(_, release)| release)
    }

    /// Releases put live in a span.
    pub fn deploys(&self, from: Timestamp, to: Timestamp) -> Vec<(Timestamp, String)> {
        let last = (to.millis() - self.start.millis()).div_euclid(EVERY * 1000).max(0) + 1;
        let first = (from.millis() - self.start.millis()).div_euclid(EVERY * 1000).max(1) - 1;
        (first..=last)
            .flat_map(|number| self.story(number).deploys())
            .filter(|deploy| from <= deploy.0 && deploy.0 < to)
            .collect()
    }

    /// What spoils a view for certain visitors now, and how likely.
    pub fn trouble(&self, at: Timestamp, page: Page, visitor: &Visitor) -> Option<(&'static Fault, f64)> {
        let story = self.near(at).find(|story| story.from <= at && at < story.to)?;
        match story.trouble {
            Trouble::Payment(_) if page == Page::Payment && visitor.browser == "Mobile Safari" => {
                Some((&AUTHORIZATION_FAILED, 0.3))
            }
            Trouble::Cart(fault) if page == Page::Cart => Some((fault, 0.06)),
            Trouble::Vendor if page.vendor(visitor) == Some("psp.example") => Some((&VENDOR_TIMEOUT, 0.12)),
            _ => None,
        }
    }

    /// What happened since the last call, one line each with its time (UTC).
    pub fn announcements(&mut self, now: Timestamp) -> Vec<String> {
        let (from, now) = (self.told, now.max(self.told));
        self.told = now;
        let first = (from.millis() - self.start.millis()).div_euclid(EVERY * 1000).max(1) - 1;
        let last = (now.millis() - self.start.millis()).div_euclid(EVERY * 1000).max(0) + 1;
        let mut happened: Vec<(Timestamp, String)> = (first..=last).flat_map(|number| self.story(number).scenes()).collect();
        happened.retain(|(at, _)| from <= *at && *at < now);
        happened.sort_by_key(|scene| scene.0);
        happened.into_iter().map(|(at, what)| format!("{}  the shop: {what}", at.utc().format("%H:%M:%S"))).collect()
    }
}

impl Story {
    /// The releases that come with it.
    fn deploys(&self) -> Vec<(Timestamp, String)> {
        let Trouble::Payment(number) = self.trouble else { return Vec::new() };
        let lead = Duration::from_secs((FIRST.1 - FIRST.0) as u64);
        let release = |patch: i64| format!("web@4.2.{patch}");
        vec![(self.from - lead, release(2 * number + 1)), (self.to, release(2 * number + 2))]
    }

    /// What a bystander would have seen.
    fn scenes(&self) -> Vec<(Timestamp, String)> {
        let (begins, ends) = match self.trouble {
            Trouble::Payment(_) => ("payment begins to fail for 30 % of Mobile Safari".to_owned(), "payment works again"),
            Trouble::Cart(fault) => {
                (format!("/cart begins to show a new error, {}: {}", fault.class, fault.message), "/cart works again")
            }
            Trouble::Vendor => ("psp.example times out for 12 % of its payments".to_owned(), "psp.example answers again"),
        };
        let deployed = self.deploys().into_iter().map(|(at, release)| (at, format!("{release} is deployed")));
        deployed.chain([(self.from, begins), (self.to, ends.to_owned())]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_is_told_once_in_order_and_agrees_with_what_happens() {
        let start = Timestamp::parse_rfc3339("2026-11-21T12:00:00Z").unwrap();
        let mut script = Script::new(start);
        let told: Vec<String> = (1..=1300).flat_map(|secs| script.announcements(start + Duration::from_secs(secs))).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        12:00:25  the shop: web@4.2.1 is deployed
        12:00:35  the shop: payment begins to fail for 30 % of Mobile Safari
        12:02:00  the shop: web@4.2.2 is deployed
        12:02:00  the shop: payment works again
        12:06:00  the shop: /cart begins to show a new error, TypeError: undefined is not an object (evaluating 'voucher.discount')
        12:07:30  the shop: /cart works again
        12:12:00  the shop: psp.example times out for 12 % of its payments
        12:13:30  the shop: psp.example answers again
        12:17:50  the shop: web@4.2.3 is deployed
        12:18:00  the shop: payment begins to fail for 30 % of Mobile Safari
        12:19:30  the shop: web@4.2.4 is deployed
        12:19:30  the shop: payment works again
        ");
        let release = |secs| script.release(start + Duration::from_secs(secs));
        assert_eq!([release(0), release(25), release(120), release(1075)], ["web@4.2.0", "web@4.2.1", "web@4.2.2", "web@4.2.3"]);
        let deploys = script.deploys(start, start + Duration::from_secs(1300));
        assert_eq!(deploys.len(), 4, "{deploys:?}");
    }
}
