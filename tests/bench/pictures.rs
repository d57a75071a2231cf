//! Draws docs/pictures: what the detector sees of one spike, minute by minute.
//!
//! `cargo bench --bench pictures` writes them anew. The traffic is made up (120 views a minute, one error in 200, four times as
//! many for twenty minutes); lines, boundary and evidence are those of the detector itself.

#![expect(clippy::print_stdout, reason = "it says what it wrote")]

use std::fmt::Write as _;
use std::path::Path;

use spiked::rule::detector::{Counts, Detector, Look};
use spiked::stats::shiryaev_roberts::threshold;

/// One minute of the picture.
struct Seen {
    minute: f64,
    rate: f64,
    look: Look,
    fires: bool,
}

const HISTORY: i64 = 2 * 1440;
const SHOWN: (i64, i64) = (HISTORY - 30, HISTORY + 75);
const SPIKE: (i64, i64) = (HISTORY, HISTORY + 20);

fn main() {
    let seen = run();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures");
    std::fs::create_dir_all(&path).expect("docs/ can be written");
    std::fs::write(path.join("decision.svg"), draw(&seen)).expect("docs/pictures can be written");
    println!("wrote docs/pictures/decision.svg");
}

fn run() -> Vec<Seen> {
    let (mut state, mut seen, mut detector) = (2026u64, Vec::new(), Detector::new(0.0));
    for minute in 0..SHOWN.1 {
        let rate = if (SPIKE.0..SPIKE.1).contains(&minute) { 0.02 } else { 0.005 };
        let views = poisson(&mut state, 120.0);
        let errors = poisson(&mut state, views * rate);
        let now = minute as f64 * 60.0 + 60.0;
        let look = detector.look(now - 1.0, Counts { views, units: errors, errors }, 0.0, None);
        if look.over.is_none() && !detector.is_firing() && look.evidence > threshold(0.01) {
            detector.fire(now);
        }
        if minute >= SHOWN.0 {
            let minute = (minute - SPIKE.0) as f64;
            seen.push(Seen { minute, rate: errors / views.max(1.0), look, fires: detector.is_firing() });
        }
    }
    seen
}

/// A small generator: the same picture on every machine.
fn poisson(state: &mut u64, mean: f64) -> f64 {
    let (limit, mut product, mut count) = ((-mean).exp(), 1.0, 0.0);
    loop {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        product *= ((*state >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        if product < limit {
            return count;
        }
        count += 1.0;
    }
}

const LEFT: f64 = 70.0;
const RIGHT: f64 = 700.0;

fn draw(seen: &[Seen]) -> String {
    let x = |minute: f64| LEFT + (minute + 30.0) / 105.0 * (RIGHT - LEFT);
    let rate_y = |rate: f64| 210.0 - rate / 0.05 * 170.0;
    let nats_y = |nats: f64| 400.0 - (nats + 12.0) / 30.0 * 140.0;
    let nats = |seen: &Seen| seen.look.evidence.max(1e-30).ln().clamp(-12.0, 17.5);
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 440\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"720\" height=\"440\" fill=\"#fff\"/>\n",
    );
    let mut put = |text: String| svg.push_str(&(text + "\n"));
    let firing: Vec<f64> = seen.iter().filter(|seen| seen.fires).map(|seen| seen.minute).collect();
    if let (Some(from), Some(to)) = (firing.first(), firing.last()) {
        let (a, b) = (x(*from), x(to + 1.0));
        put(format!("<rect x=\"{a:.1}\" y=\"40\" width=\"{:.1}\" height=\"360\" fill=\"#fde8e4\"/>", b - a));
        put(format!("<text x=\"{:.1}\" y=\"228\" fill=\"#a3321f\">fires</text>", a + 4.0));
    }
    for percent in [0, 1, 2, 3, 4, 5] {
        let y = rate_y(f64::from(percent) / 100.0);
        put(format!("<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>"));
        put(format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>", LEFT - 6.0, y + 4.0));
    }
    for level in [-10, 0, 10] {
        let y = nats_y(f64::from(level));
        put(format!("<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>"));
        put(format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{level}</text>", LEFT - 6.0, y + 4.0));
    }
    for seen in seen {
        let (left, y) = (x(seen.minute), rate_y(seen.rate.min(0.05)));
        put(format!("<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"4.6\" height=\"{:.1}\" fill=\"#9db4c8\"/>", 210.0 - y));
    }
    let line = |value: &dyn Fn(&Seen) -> f64| {
        seen.iter().fold(String::new(), |mut points, seen| {
            let _ = write!(points, "{:.1},{:.1} ", x(seen.minute + 0.5), value(seen));
            points
        })
    };
    let curve = |points: String, color: &str, dashes: &str| {
        format!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>"
        )
    };
    put(curve(line(&|seen| rate_y(seen.look.usual)), "#2c6e49", "none"));
    put(curve(line(&|seen| rate_y(seen.look.boundary)), "#2c6e49", "5 4"));
    put(curve(line(&|seen| nats_y(nats(seen))), "#1d3557", "none"));
    let bar = nats_y(threshold(0.01).ln());
    put(format!(
        "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{bar:.1}\" y2=\"{bar:.1}\" stroke=\"#a3321f\" stroke-dasharray=\"5 4\"/>"
    ));
    put(format!("<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#a3321f\">needed at 1 in 100 weeks</text>", LEFT + 6.0, bar - 6.0));
    for (name, dashes, left) in [("usual", "none", RIGHT - 210.0), ("boundary", "5 4", RIGHT - 115.0)] {
        put(curve(format!("{left},24 {},24", left + 30.0), "#2c6e49", dashes));
        put(format!("<text x=\"{}\" y=\"28\" fill=\"#2c6e49\">{name}</text>", left + 36.0));
    }
    put(format!("<text x=\"{LEFT}\" y=\"28\" font-weight=\"bold\">Errors per view, minute by minute</text>"));
    put(format!("<text x=\"{LEFT}\" y=\"248\" font-weight=\"bold\">Evidence that it is beyond the boundary (nats)</text>"));
    for minute in [-30, 0, 20, 40, 60] {
        put(format!("<text x=\"{:.1}\" y=\"420\" text-anchor=\"middle\">{minute}</text>", x(f64::from(minute))));
    }
    put(format!(
        "<text x=\"{:.1}\" y=\"436\" text-anchor=\"middle\">minutes since the trouble began</text>",
        f64::midpoint(LEFT, RIGHT)
    ));
    svg.push_str("</svg>\n");
    svg
}
