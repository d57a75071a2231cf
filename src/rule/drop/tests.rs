//! Streams minute by minute: what is a drop, what is none, and how soon it is told.

use super::*;

/// Feeds minutes with a steady rate; the changes with the minutes after which they came.
fn feed(traffic: &mut Traffic, minutes: i64, rate: f64) -> Vec<(i64, Change)> {
    let start = traffic.minute;
    let mut carry = 0.5;
    let mut changes = Vec::new();
    for minute in start..start + minutes {
        carry += rate;
        traffic.add(minute, minute, carry.floor());
        carry -= carry.floor();
        let change = traffic.judge_next(minute + 1, 0.0, threshold(0.001)).unwrap();
        changes.extend(change.map(|change| (minute + 1 - start, change)));
    }
    changes
}

#[test]
fn silence_fires_as_soon_as_the_budget_allows_and_only_traffic_resolves() {
    for (rate, soonest, latest) in [(60.0, 1, 2), (1.0, 19, 70)] {
        let mut traffic = Traffic::new(0);
        assert_eq!(feed(&mut traffic, 2 * DAY, rate), []);
        let changes = feed(&mut traffic, 600, 0.0);
        let [(at, Change::Fell)] = changes[..] else { panic!("{changes:?}") };
        assert!((soonest..=latest).contains(&at), "rate {rate}: {at} min");
        assert_eq!(traffic.onset.count, 0.0);
        assert_eq!(feed(&mut traffic, 2 * DAY, 0.0), [], "no data resolves nothing");
        let changes = feed(&mut traffic, 60, rate);
        assert!(matches!(changes[..], [(1..=30, Change::Back) | (1, Change::NewUsual)]), "rate {rate}: {changes:?}");
    }
}

#[test]
fn a_tenth_of_the_traffic_is_a_drop_and_half_is_none() {
    let mut traffic = Traffic::new(0);
    feed(&mut traffic, 2 * DAY, 40.0);
    assert_eq!(feed(&mut traffic.clone(), 240, 24.0), []);
    let changes = feed(&mut traffic, 30, 3.0);
    assert!(matches!(changes[..], [(1..=3, Change::Fell)]), "{changes:?}");
    let view = traffic.view(0.0);
    assert!((view.expected / 40.0 - 1.0).abs() < 0.1, "the drop was learned: {view:?}");
}

#[test]
fn the_end_of_a_surge_is_no_drop_and_a_lasting_change_is_accepted() {
    let mut traffic = Traffic::new(0);
    feed(&mut traffic, 3 * DAY, 20.0);
    feed(&mut traffic, 120, 200.0);
    assert_eq!(feed(&mut traffic, 120, 20.0), []);
    let changes = feed(&mut traffic, 2 * DAY, 1.0);
    assert!(matches!(changes[..], [(_, Change::Fell), (1442..=1450, Change::NewUsual)]), "{changes:?}");
}

#[test]
fn nothing_is_said_in_the_first_hour_and_only_of_near_silence_on_the_first_day() {
    let mut traffic = Traffic::new(0);
    feed(&mut traffic, 20, 100.0);
    assert_eq!(feed(&mut traffic.clone(), 40, 0.0), []);
    feed(&mut traffic, 300, 100.0);
    assert_eq!(feed(&mut traffic.clone(), 120, 20.0), []);
    assert!(matches!(feed(&mut traffic, 10, 0.0)[..], [(_, Change::Fell)]));
}

#[test]
fn a_stream_whose_lines_come_late_as_a_habit_is_waited_for() {
    let mut traffic = Traffic::new(0);
    let mut changes = Vec::new();
    for now in 0..2 * DAY {
        // Every tenth line comes three minutes late.
        let lines = [(now, now % 10 != 0), (now - 3, now % 10 == 3)];
        for (minute, _) in lines.into_iter().filter(|(_, comes)| *comes) {
            traffic.add(minute, now, 600.0);
        }
        while let Some(change) = traffic.judge_next(now + 1, 0.0, threshold(0.001)) {
            changes.extend(change);
        }
    }
    assert_eq!(changes, []);
    assert!(traffic.late.is_some());
}

#[test]
fn the_wake_is_never_later_than_the_crossing() {
    for rate in [0.05, 0.3, 1.0, 7.0, 100.0] {
        let mut traffic = Traffic::new(0);
        feed(&mut traffic, 2 * DAY, rate);
        let mut asked = traffic.wake(0.0, threshold(0.001));
        while traffic.firing.is_none() && traffic.minute < 10 * DAY {
            if traffic.minute == asked {
                asked = traffic.wake(0.0, threshold(0.001));
            }
            feed(&mut traffic, 1, 0.0);
            assert!(traffic.firing.is_none() || traffic.minute >= asked, "rate {rate}: crossed before the wake");
        }
    }
}

/// Feeds minutes whose rate depends on the minute, from a zone that may change; the changes with the minutes after which they came.
fn live(traffic: &mut Traffic, days: i64, rate: impl Fn(i64) -> f64, zone: impl Fn(i64) -> f64) -> Vec<(i64, Change)> {
    let start = traffic.judged;
    let mut carry = 0.5;
    let mut changes = Vec::new();
    for minute in start..start + days * DAY {
        carry += rate(minute);
        traffic.add(minute, minute, carry.floor());
        carry -= carry.floor();
        let change = traffic.judge_next(minute + 1, zone(minute), threshold(0.001)).unwrap();
        changes.extend(change.map(|change| (minute + 1, change)));
    }
    changes
}

/// Six by day and 0.4 by night, with an hour or two between them.
fn of_day(local: i64) -> f64 {
    let hour = local.rem_euclid(DAY) as f64 / 60.0;
    let day = ((hour - 5.0) / 3.0).clamp(0.0, 1.0) * ((24.0 - hour) / 2.0).clamp(0.0, 1.0);
    0.4 + 5.6 * day
}

#[test]
fn a_nightly_low_is_no_drop_and_the_clock_change_neither() {
    for scale in [1.0, 30.0] {
        let mut traffic = Traffic::new(600);
        assert_eq!(live(&mut traffic, 8, |minute| scale * of_day(minute), |_| 0.0), []);
        // The site's clocks go forward, then back: its people live by them.
        for ahead in [60, 0] {
            let changes = live(&mut traffic, 3, |minute| scale * of_day(minute + ahead), |_| ahead as f64 * 60.0);
            assert_eq!(changes, [], "scale {scale}, {ahead} minutes ahead");
        }
    }
}

#[test]
fn a_weak_weekend_is_no_drop_and_a_nearly_empty_one_is_told_once() {
    // Day 0 is a Thursday, as at the epoch.
    let week = |weekend: f64| {
        move |minute: i64| if matches!((minute / DAY) % 7, 2 | 3) { weekend * of_day(minute) } else { of_day(minute) }
    };
    let mut traffic = Traffic::new(4 * DAY);
    assert_eq!(live(&mut traffic, 30, |minute| 20.0 * week(0.45)(minute), |_| 0.0), []);
    let mut traffic = Traffic::new(4 * DAY);
    let changes = live(&mut traffic, 33, |minute| 20.0 * week(0.1)(minute), |_| 0.0);
    let fell: Vec<_> = changes.iter().filter(|(_, change)| *change == Change::Fell).map(|(at, _)| at / DAY).collect();
    assert_eq!(fell, [9], "the first Saturday alone: {changes:?}");
    // An outage of a Monday is told as ever.
    let outage = |minute: i64| if minute % DAY > 900 { 0.0 } else { 20.0 * of_day(minute) };
    assert!(matches!(live(&mut traffic, 3, outage, |_| 0.0)[..], [(_, Change::Fell), ..]));
}

#[test]
fn the_end_of_a_campaign_is_no_drop_on_the_days_after_either() {
    for rate in [0.4, 20.0, 2000.0] {
        let mut traffic = Traffic::new(0);
        let campaign = |minute: i64| if (3000..3180).contains(&minute) { 8.0 * rate } else { rate };
        assert_eq!(live(&mut traffic, 7, campaign, |_| 0.0), [], "rate {rate}");
    }
}

#[test]
fn a_busy_stream_with_late_lines_is_told_of_as_soon_as_its_lateness_allows() {
    // Each minute is one line; two in ten come late, by one to five minutes.
    let delay = |minute: i64| {
        [0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 3, 0, 0, 1, 0, 0, 0, 0, 2, 0, 1, 0, 0, 5, 0][(minute * 7 % 30) as usize]
    };
    let mut traffic = Traffic::new(0);
    let (mut changes, end) = (Vec::new(), 3 * DAY);
    for now in 0..end + 30 {
        for minute in (now - 5..=now).filter(|minute| (0..end).contains(minute) && minute + delay(*minute) == now) {
            traffic.add(minute, now, 600.0);
        }
        while let Some(change) = traffic.judge_next(now + 1, 0.0, threshold(0.001)) {
            changes.extend(change.map(|change| (now + 1 - end, change)));
        }
    }
    assert!(matches!(changes[..], [(3..=6, Change::Fell)]), "{changes:?}");
}

/// A step with `rate` sessions a minute, of which a share goes on three minutes later.
fn walk(traffic: &mut Traffic, minutes: i64, rate: f64, share: f64) -> Vec<(i64, Change)> {
    let start = traffic.judged;
    let (mut came, mut went) = (0.5, 0.5);
    let mut changes = Vec::new();
    for minute in start..start + minutes {
        (came, went) = (came + rate, went + share * rate);
        traffic.add_sessions(minute, came.floor());
        if went >= 1.0 {
            traffic.add(minute, minute, went.floor());
        }
        (came, went) = (came - came.floor(), went - went.floor());
        let change = traffic.judge_next(minute + 1, 0.0, threshold(0.001)).unwrap();
        changes.extend(change.map(|change| (minute + 1 - start, change)));
    }
    changes
}

#[test]
fn a_conversion_falls_only_where_people_come_and_do_not_go_on() {
    for rate in [2.0, 60.0] {
        let mut traffic = Traffic::conversion(0);
        assert_eq!(walk(&mut traffic, 2 * DAY, rate, 0.3), []);
        assert!((traffic.view(0.0).expected - 0.3).abs() < 0.03, "{:?}", traffic.view(0.0));
        // Nobody comes; three times as many come; a few come. All is well.
        let mut well = traffic.clone();
        assert_eq!(walk(&mut well, 120, 0.0, 0.3), []);
        assert_eq!(walk(&mut well, 120, 3.0 * rate, 0.3), []);
        assert_eq!(walk(&mut well, 600, 0.1 * rate, 0.3), []);
        // All come, and next to nobody goes on.
        let changes = walk(&mut traffic, 300, rate, 0.003);
        let [(at, Change::Fell)] = changes[..] else { panic!("{changes:?}") };
        let soonest = 20.0 / (0.3 * rate);
        assert!((at as f64) < 2.0 * soonest + 2.0, "rate {rate}: {at} min");
        // Silence is no cure.
        assert_eq!(walk(&mut traffic, 300, 0.0, 0.3), []);
        let changes = walk(&mut traffic, 120, rate, 0.3);
        assert!(matches!(changes[..], [(_, Change::Back)]), "{changes:?}");
    }
}

#[test]
fn a_night_that_falls_at_once_is_told_the_first_time_at_most() {
    let rate = |minute: i64| if (420..1320).contains(&(minute % DAY)) { 60.0 } else { 0.6 };
    let mut traffic = Traffic::new(0);
    let changes = live(&mut traffic, 6, rate, |_| 0.0);
    let nights = changes.iter().filter(|(_, change)| *change == Change::Fell).count();
    assert!(nights <= 1, "{changes:?}");
}

/// A stream of chance, and Poisson clusters from it: SplitMix64.
struct Dice(u64);

impl Dice {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((word ^ (word >> 31)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// A count of this mean: clusters whose sizes are geometric around `size` (one: Poisson).
    fn count(&mut self, mean: f64, size: f64) -> f64 {
        let (mut wait, mut count) = (-self.share().ln(), 0.0);
        while wait < mean / size {
            count += if size > 1.0 { 1.0 + (self.share().ln() / (1.0 - 1.0 / size).ln()).floor() } else { 1.0 };
            wait -= self.share().ln();
        }
        count
    }
}

/// Chance at this rate for so many days; how often it fell.
fn falls_by_chance(traffic: &mut Traffic, days: i64, (rate, size): (f64, f64), dice: &mut Dice) -> usize {
    let start = traffic.judged;
    let mut falls = 0;
    for minute in start..start + days * DAY {
        let count = dice.count(rate * of_day(minute) / 3.5, size);
        if count > 0.0 {
            traffic.add(minute, minute, count);
        }
        let change = traffic.judge_next(minute + 1, 0.0, threshold(0.001)).unwrap();
        falls += usize::from(change == Some(Change::Fell));
    }
    falls
}

#[test]
fn chance_is_no_drop_however_little_comes_and_however_clustered() {
    // Single views, from one an hour to one a minute; crowds of ten and of thirty.
    for (stream, kind) in [(0.02, 1.0), (0.05, 1.0), (0.3, 1.0), (1.0, 1.0), (0.1, 10.0), (0.5, 10.0), (0.2, 30.0), (5.0, 30.0)]
        .into_iter()
        .enumerate()
    {
        let falls: usize = (0..12)
            .map(|number| {
                let mut dice = Dice(1000 * stream as u64 + number);
                falls_by_chance(&mut Traffic::new(0), 14, kind, &mut dice)
            })
            .sum();
        assert_eq!(falls, 0, "(rate, size of a cluster) {kind:?}, 24 weeks");
    }
}

#[test]
fn a_slow_stream_is_known_at_its_rate_and_its_silence_is_told() {
    for (rate, most) in [(0.02, 3000), (0.3, 500)] {
        for number in 0..8 {
            let (mut traffic, mut dice) = (Traffic::new(0), Dice(number));
            falls_by_chance(&mut traffic, 14, (rate, 1.0), &mut dice);
            let known = traffic.day.0 / traffic.day.1 / rate;
            assert!((0.5..1.7).contains(&known), "rate {rate}: taken for {known:.2} times as much");
            let changes = live(&mut traffic, 4, |_| 0.0, |_| 0.0);
            let [(at, Change::Fell)] = changes[..] else { panic!("rate {rate}: {changes:?}") };
            assert!(at - 14 * DAY < most, "rate {rate}: {} min", at - 14 * DAY);
        }
    }
}
