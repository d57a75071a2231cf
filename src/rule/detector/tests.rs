//! A stream, minute by minute.

use super::*;
use crate::stats::shiryaev_roberts::threshold;

/// Feeds `minutes` of `views` a minute with an error every `1/rate` views; returns the last look and the first minute at
/// which the evidence passed the threshold of α = 0.001.
fn feed(detector: &mut Detector, from: i64, minutes: i64, views: f64, rate: f64, carry: &mut f64) -> (Look, Option<i64>) {
    let mut fired = None;
    let mut last = None;
    for minute in from..from + minutes {
        *carry += views * rate;
        let errors = carry.floor();
        *carry -= errors;
        let counts = Counts { views, units: errors, errors };
        let look = detector.look(minute as f64 * 60.0 + 59.0, counts, 0.0, None);
        if look.evidence > threshold(0.001) && fired.is_none() {
            fired = Some(minute - from);
        }
        last = Some(look);
    }
    (last.unwrap(), fired)
}

#[test]
fn a_jump_is_found_within_minutes_frozen_and_found_over() {
    let mut detector = Detector::new(0.0);
    let mut carry = 0.0;
    let (_, quiet) = feed(&mut detector, 0, 2880, 200.0, 0.004, &mut carry);
    assert_eq!(quiet, None);
    let (look, fired) = feed(&mut detector, 2880, 10, 200.0, 0.06, &mut carry);
    assert!(fired.unwrap() <= 2, "{fired:?}");
    assert!((look.usual / 0.004 - 1.0).abs() < 0.1, "{}", look.usual);
    let since = detector.since();
    assert!((since.began - 2880.0 * 60.0).abs() <= 120.0, "{since:?}");
    detector.fire(2890.0 * 60.0);
    let (look, _) = feed(&mut detector, 2890, 120, 200.0, 0.06, &mut carry);
    assert!((look.usual / 0.004 - 1.0).abs() < 0.1, "a spike became its own baseline: {}", look.usual);
    assert_eq!(look.over, None);
    let mut over = None;
    for minute in 3010..3040 {
        let (look, _) = feed(&mut detector, minute, 1, 200.0, 0.004, &mut carry);
        if look.over.is_some() {
            over = Some(minute - 3010);
            break;
        }
    }
    assert!(over.unwrap() <= 3, "{over:?}");
}

#[test]
fn looking_every_second_or_every_minute_gives_the_same_evidence() {
    let (mut often, mut seldom) = (Detector::new(0.0), Detector::new(0.0));
    for minute in 0..300 {
        let mut look = None;
        for second in 0..60 {
            let counts = Counts { views: 2.0, units: f64::from(u8::from(second == 7)), errors: 0.0 };
            look = Some(often.look(f64::from(minute * 60 + second), counts, 0.0, None));
        }
        let counts = Counts { views: 120.0, units: 1.0, errors: 0.0 };
        let once = seldom.look(f64::from(minute * 60 + 59), counts, 0.0, None);
        let many = look.unwrap();
        assert!((many.usual / once.usual - 1.0).abs() < 0.05, "minute {minute}: {many:?} against {once:?}");
    }
}

#[test]
fn three_of_four_on_a_quiet_page_is_not_enough_and_many_on_a_clean_page_is() {
    let mut detector = Detector::new(0.0);
    let mut carry = 0.0;
    feed(&mut detector, 0, 2880, 5.0 / 60.0, 0.0, &mut carry);
    let counts = Counts { views: 4.0, units: 3.0, errors: 3.0 };
    let look = detector.look(2880.0 * 60.0, counts, 0.0, None);
    assert!(look.evidence < threshold(0.001), "{look:?}");
    let counts = Counts { views: 60.0, units: 40.0, errors: 40.0 };
    detector.look(2881.0 * 60.0, counts, 0.0, None);
    let look = detector.look(2881.0 * 60.0 + 10.0, counts, 0.0, None);
    assert!(look.evidence > threshold(0.001), "{look:?}");
}

#[test]
fn what_lasts_becomes_the_new_usual() {
    let mut detector = Detector::new(0.0);
    let mut carry = 0.0;
    feed(&mut detector, 0, 2880, 200.0, 0.004, &mut carry);
    detector.fire(2880.0 * 60.0);
    for minute in 2880..2880 + 1442 {
        let (look, _) = feed(&mut detector, minute, 1, 200.0, 0.06, &mut carry);
        if let Some(over) = look.over {
            assert_eq!(over, Over::NewUsual);
            return;
        }
    }
    panic!("the lasting change was never accepted");
}

/// Days of a clean page with a batch that fails from 03:00 to 03:40; the nights on which somebody would be told.
fn nights_told(batch: impl Fn(i64) -> (i64, f64)) -> Vec<i64> {
    let mut detector = Detector::new(0.0);
    let mut carry = 0.0;
    let mut told = Vec::new();
    for minute in 0..14 * 1440 {
        let (day, of_day) = (minute / 1440, minute % 1440);
        let (lasts, height) = batch(day);
        let rate = if day >= 2 && (180..180 + lasts).contains(&of_day) { 0.004 * height } else { 0.004 };
        carry += 200.0 * rate;
        let errors = f64::floor(carry);
        carry -= errors;
        let now = minute as f64 * 60.0 + 59.0;
        let look = detector.look(now, Counts { views: 200.0, units: errors, errors }, 0.0, None);
        if look.over.is_none() && !look.recurs && !detector.is_firing() && look.evidence > threshold(0.001) {
            detector.fire(now);
            told.push(day);
        }
    }
    told
}

#[test]
fn a_nightly_batch_is_told_once() {
    assert_eq!(nights_told(|_| (40, 10.0)), [2]);
}

#[test]
fn a_batch_that_is_higher_or_longer_than_usual_is_told_again() {
    assert_eq!(nights_told(|day| if day == 8 { (40, 60.0) } else { (40, 10.0) }), [2, 8]);
    assert_eq!(nights_told(|day| if day == 8 { (200, 10.0) } else { (40, 10.0) }), [2, 8]);
}

#[test]
fn the_same_trouble_at_another_time_of_day_is_told() {
    let mut detector = Detector::new(0.0);
    let mut carry = 0.0;
    let mut told = 0;
    for (minutes, rate) in [(2880, 0.004), (40, 0.06), (1440, 0.004), (40, 0.06), (60, 0.004)] {
        let from = (detector.seen / 60.0).ceil() as i64;
        for minute in from..from + minutes {
            let (look, _) = feed(&mut detector, minute, 1, 200.0, rate, &mut carry);
            if look.over.is_none() && !look.recurs && !detector.is_firing() && look.evidence > threshold(0.001) {
                detector.fire(minute as f64 * 60.0 + 59.0);
                told += 1;
            }
        }
    }
    assert_eq!(told, 2, "40 minutes later than the day before is another trouble");
}

#[test]
fn a_bad_start_is_forgotten() {
    // Few errors by chance in the first half hour, then the page's true rate: never a spike.
    let mut detector = Detector::new(0.0);
    let mut carry = 0.0;
    feed(&mut detector, 0, 30, 40.0, 0.002, &mut carry);
    let (look, fired) = feed(&mut detector, 30, 1440, 40.0, 0.006, &mut carry);
    assert_eq!(fired, None);
    assert!((look.usual / 0.006 - 1.0).abs() < 0.25, "{look:?}");
}

#[test]
fn a_stream_is_small() {
    let mut detector = Detector::new(0.0);
    feed(&mut detector, 0, 600, 40.0, 0.01, &mut 0.0);
    let bytes = size_of::<Detector>() + detector.pending.heap_bytes();
    assert!(bytes <= 1024, "{bytes} bytes");
}

/// An hour's total of a noisy series: between half and twice the usual.
fn hour_of_noise(hour: u32) -> f64 {
    let swing = f64::from(hour * 7919 % 101) / 50.0 - 1.0;
    (30.0 * 2f64.powf(swing)).round()
}

#[test]
fn hourly_totals_whose_noise_multiplies_are_judged_by_their_spread() {
    let mut detector = Detector::new(0.0);
    let mut hour = |number: u32, errors: f64| {
        let look = detector.look(f64::from(number) * 3600.0, Counts { views: 1000.0, units: errors, errors }, 0.0, None);
        if look.evidence > threshold(0.001) && !detector.is_firing() {
            detector.fire(f64::from(number) * 3600.0);
            return ("fires", look);
        }
        (if look.over.is_some() { "over" } else { "" }, look)
    };
    for number in 1..400 {
        let (what, look) = hour(number, hour_of_noise(number));
        assert_eq!(what, "", "hour {number}: {look:?}");
    }
    let (what, look) = hour(400, 240.0);
    assert_eq!(what, "fires", "{look:?}");
    assert!((0.025..0.04).contains(&look.usual), "{look:?}");
    assert!(look.usual_range.0 < 0.025 && look.usual_range.1 > 0.045, "{look:?}");
    let usual = hour(401, 260.0).1.usual;
    assert_eq!(usual, look.usual, "what is usual stands still while it fires");
    let over = (402..410).find(|number| hour(*number, hour_of_noise(*number)).0 == "over");
    assert!(over.is_some_and(|number| number <= 405), "{over:?}");
}
