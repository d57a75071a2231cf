//! The chart in a mail: share of tries that fail over time, what is usual, when it began, and the release before it.
//!
//! Written as SVG by hand and turned into a PNG with an embedded font (assets/, licence beside it), so that it looks the same on
//! every machine. It has its own light ground: a mail client's dark mode does not touch pictures.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono_tz::Tz;
use resvg::usvg::{Options, Tree, fontdb};
use resvg::{tiny_skia, usvg};

use super::numbers;
use crate::model::{Finding, Metric, Timestamp, Transition};

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 232.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 584.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 196.0;
/// Pixels per unit: sharp on phones.
const SCALE: f32 = 2.0;

static FONTS: OnceLock<Arc<fontdb::Database>> = OnceLock::new();
static FONT: &[u8] = include_bytes!("assets/DejaVuSans-subset.ttf");

/// What is drawn: one value for each step, and what is usual.
struct Series {
    title: String,
    share: bool,
    /// (time, value, usual); no value where nothing came.
    points: Vec<(Timestamp, Option<f64>, Option<f64>)>,
    step: Duration,
    /// The usual range as factors of the usual value.
    range: Option<(f64, f64)>,
}

/// The chart of an alert as a PNG of at most a few tens of kB; `None` where there is too little to draw. `over` ends the mark.
pub fn png(transition: &Transition, over: Option<Timestamp>, zone: Tz, unit: &str) -> Option<Vec<u8>> {
    let svg = svg(transition, over, zone, unit)?;
    let fonts = FONTS.get_or_init(|| {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_data(FONT.to_vec());
        Arc::new(fonts)
    });
    let options = Options { fontdb: Arc::clone(fonts), font_family: "DejaVu Sans".into(), ..Options::default() };
    let tree = Tree::from_str(&svg, &options).ok()?;
    let mut pixels = tiny_skia::Pixmap::new((WIDTH as f32 * SCALE) as u32, (HEIGHT as f32 * SCALE) as u32)?;
    resvg::render(&tree, usvg::Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().ok()
}

/// The same as SVG text.
pub fn svg(transition: &Transition, over: Option<Timestamp>, zone: Tz, unit: &str) -> Option<String> {
    let series = series(&transition.finding, unit)?;
    let (first, last) = (series.points.first()?.0, series.points.last()?.0 + series.step);
    let greatest = series.points.iter().flat_map(|(_, value, usual)| [*value, *usual]).flatten().fold(0.0, f64::max);
    let (top, tick) = axis(greatest, series.share);
    let x = |at: Timestamp| LEFT + (RIGHT - LEFT) * (at.0 - first.0) as f64 / (last.0 - first.0).max(1) as f64;
    let y = |value: f64| BOTTOM - (BOTTOM - TOP) * (value / top).clamp(0.0, 1.0);
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="DejaVu Sans" font-size="11" fill="#51565e">
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fbfbf9"/>
<text x="12" y="20" font-size="12.5" fill="#23272e">{}</text>
"##,
        escape(&series.title)
    );
    mark(&mut out, transition, over, &x, (first, last));
    y_axis(&mut out, top, tick, series.share, &y);
    x_axis(&mut out, first, last, zone, &x);
    usual(&mut out, &series, &x, &y);
    let end = over.unwrap_or(Timestamp(i64::MAX));
    line(&mut out, &series, |_| true, "#6b7280", 1.6, (&x, &y));
    line(&mut out, &series, |at| at + series.step > transition.began && at <= end, "#c4281c", 2.6, (&x, &y));
    deploy(&mut out, transition, &x, (first, last), zone);
    legend(&mut out, &series);
    out.push_str("</svg>");
    Some(out)
}

fn series(finding: &Finding, unit: &str) -> Option<Series> {
    let chart = &finding.chart;
    if chart.len() < 3 || chart.windows(2).any(|pair| pair[0].at >= pair[1].at) {
        return None;
    }
    let step = chart[1].at.since(chart[0].at);
    let share = finding.metric.is_rate() && finding.metric != Metric::Conversion;
    let errors = finding.metric == Metric::Errors;
    let points = chart.iter().map(|point| {
        let usual = point.usual.filter(|usual| usual.is_finite() && *usual >= 0.0);
        let (value, usual) = if share {
            ((point.views > 0).then(|| (point.errors as f64 / point.views as f64).min(1.0)), usual)
        } else if errors {
            (Some(point.errors as f64), usual.map(|usual| usual * point.views as f64))
        } else {
            (Some(point.views as f64), None)
        };
        (point.at, value, usual)
    });
    let what = if share {
        format!("Share of {unit} that fail")
    } else if errors {
        "Errors".to_string()
    } else {
        super::words::capital(unit)
    };
    let range = finding.baseline_range.zip(finding.baseline).filter(|(_, usual)| share && *usual > 0.0);
    let range =
        range.map(|((low, high), usual)| (low / usual, high / usual)).filter(|(low, high)| low <= high && high.is_finite());
    Some(Series { title: format!("{what}, every {}", numbers::duration(step)), share, points: points.collect(), step, range })
}

/// The axis' end and the distance of its ticks: 1, 2 or 5 times a power of ten, three to five ticks.
fn axis(greatest: f64, share: bool) -> (f64, f64) {
    let greatest = if greatest > 0.0 { greatest * 1.08 } else { 1.0 };
    let mut tick = 10f64.powf((greatest / 4.0).log10().floor());
    for factor in [1.0, 2.0, 5.0, 10.0] {
        if greatest / (tick * factor) <= 4.5 {
            tick *= factor;
            break;
        }
    }
    let tick = if share { tick } else { tick.max(1.0) };
    ((greatest / tick).ceil() * tick, tick)
}

fn y_axis(out: &mut String, top: f64, tick: f64, share: bool, y: &impl Fn(f64) -> f64) {
    let ticks = (top / tick).round() as u32;
    for i in 0..=ticks {
        let value = f64::from(i) * tick;
        let label = if share { numbers::percent(value) } else { numbers::thousands(value.round() as u64) };
        let (at, color) = (y(value), if i == 0 { "#a3a8b0" } else { "#e3e4e2" });
        let _ = writeln!(out, r#"<line x1="{LEFT}" x2="{RIGHT}" y1="{at:.1}" y2="{at:.1}" stroke="{color}"/>"#);
        let _ = writeln!(out, r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{label}</text>"#, LEFT - 7.0, at + 4.0);
    }
}

fn x_axis(out: &mut String, first: Timestamp, last: Timestamp, zone: Tz, x: &impl Fn(Timestamp) -> f64) {
    let minutes = (last.0 - first.0) / 60_000;
    let steps = [5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10_080];
    let step = steps.into_iter().find(|step| minutes / step <= 7).unwrap_or(43_200);
    let offset = numbers::offset_minutes(first, zone);
    let mut minute = ((first.0 / 60_000 + offset).div_euclid(step) + 1) * step - offset;
    while minute * 60_000 < last.0 {
        let (at, local) = (Timestamp(minute * 60_000), Timestamp(minute * 60_000).utc().with_timezone(&zone));
        let label = local.format(if step >= 1440 { "%-d %b" } else { "%H:%M" });
        let place = x(at);
        let _ =
            writeln!(out, r##"<line x1="{place:.1}" x2="{place:.1}" y1="{BOTTOM}" y2="{:.1}" stroke="#a3a8b0"/>"##, BOTTOM + 4.0);
        let _ = writeln!(out, r#"<text x="{place:.1}" y="{:.1}" text-anchor="middle">{label}</text>"#, BOTTOM + 17.0);
        minute += step;
    }
    let zone = escape(&numbers::zone_name(zone));
    let _ =
        writeln!(out, r#"<text x="{RIGHT}" y="{:.1}" text-anchor="end" font-size="10.5">Times in {zone}</text>"#, HEIGHT - 5.0);
}

/// The time of trouble as a tinted ground.
fn mark(
    out: &mut String,
    transition: &Transition,
    over: Option<Timestamp>,
    x: &impl Fn(Timestamp) -> f64,
    (first, last): (Timestamp, Timestamp),
) {
    let (from, to) = (transition.began.clamp(first, last), over.unwrap_or(last).clamp(first, last));
    let width = (x(to) - x(from)).max(3.0);
    let _ =
        writeln!(out, r##"<rect x="{:.1}" y="{TOP}" width="{width:.1}" height="{:.1}" fill="#fbe3df"/>"##, x(from), BOTTOM - TOP);
}

fn usual(out: &mut String, series: &Series, x: &impl Fn(Timestamp) -> f64, y: &impl Fn(f64) -> f64) {
    let middle = |at: Timestamp| x(at + series.step / 2);
    let known: Vec<(f64, f64)> = series.points.iter().filter_map(|(at, _, usual)| usual.map(|u| (middle(*at), u))).collect();
    if known.len() < 2 {
        return;
    }
    if let Some((low, high)) = series.range {
        let upper = known.iter().map(|(x, usual)| format!("{x:.1},{:.1}", y(usual * high)));
        let lower = known.iter().rev().map(|(x, usual)| format!("{x:.1},{:.1}", y(usual * low)));
        let points: Vec<String> = upper.chain(lower).collect();
        let _ = writeln!(out, r##"<polygon points="{}" fill="#9db8d2" fill-opacity="0.55"/>"##, points.join(" "));
    }
    let points: Vec<String> = known.iter().map(|(x, usual)| format!("{x:.1},{:.1}", y(*usual))).collect();
    let _ = writeln!(
        out,
        r##"<polyline points="{}" fill="none" stroke="#4f7ba6" stroke-width="1.4" stroke-dasharray="5 3"/>"##,
        points.join(" ")
    );
}

/// The measured line; broken where nothing came.
fn line(
    out: &mut String,
    series: &Series,
    wanted: impl Fn(Timestamp) -> bool,
    color: &str,
    width: f64,
    (x, y): (&impl Fn(Timestamp) -> f64, &impl Fn(f64) -> f64),
) {
    let mut path = String::new();
    let (mut pen_down, mut last) = (false, None);
    for (i, (at, value, _)) in series.points.iter().enumerate() {
        let Some(value) = value.filter(|_| wanted(*at)) else {
            pen_down = false;
            continue;
        };
        let place = (x(*at + series.step / 2), y(value));
        // A coloured stretch begins at the point before it, so that it hangs together with the rest of the line.
        if !pen_down && let Some((before, Some(value), _)) = i.checked_sub(1).map(|i| series.points[i]) {
            let _ = write!(path, "M{:.1} {:.1}", x(before + series.step / 2), y(value));
            pen_down = true;
        }
        let _ = write!(path, "{}{:.1} {:.1}", if pen_down { 'L' } else { 'M' }, place.0, place.1);
        pen_down = true;
        last = Some(place);
    }
    let _ = writeln!(
        out,
        r#"<path d="{path}" fill="none" stroke="{color}" stroke-width="{width}" stroke-linejoin="round" stroke-linecap="round"/>"#
    );
    if let Some((x, y)) = last.filter(|_| width > 2.0) {
        let _ = writeln!(out, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.6" fill="{color}"/>"#);
    }
}

fn deploy(out: &mut String, t: &Transition, x: &impl Fn(Timestamp) -> f64, (first, last): (Timestamp, Timestamp), zone: Tz) {
    let Some(deploy) = t.finding.deploy.as_ref().filter(|deploy| deploy.at >= first && deploy.at <= last) else { return };
    let place = x(deploy.at);
    let name: String = deploy.release.chars().filter(char::is_ascii_graphic).take(24).collect();
    let clock = numbers::clock(deploy.at, deploy.at, zone);
    let _ = writeln!(
        out,
        r##"<line x1="{place:.1}" x2="{place:.1}" y1="{:.1}" y2="{BOTTOM}" stroke="#23272e" stroke-width="1.2" stroke-dasharray="2 2"/>"##,
        TOP - 6.0
    );
    let (anchor, shift) = if place > WIDTH / 2.0 { ("end", -5.0) } else { ("start", 5.0) };
    let _ = writeln!(
        out,
        r##"<text x="{:.1}" y="{:.1}" text-anchor="{anchor}" fill="#23272e">{} went out, {clock}</text>"##,
        place + shift,
        TOP + 8.0,
        escape(&name)
    );
}

fn legend(out: &mut String, series: &Series) {
    if series.points.iter().filter(|(_, _, usual)| usual.is_some()).count() < 2 {
        return;
    }
    let text = if series.range.is_some() { "usual range" } else { "usual" };
    let _ = writeln!(
        out,
        r##"<rect x="{:.1}" y="11" width="20" height="9" fill="#9db8d2" fill-opacity="0.55"/><line x1="{:.1}" x2="{:.1}" y1="15.5" y2="15.5" stroke="#4f7ba6" stroke-width="1.4" stroke-dasharray="5 3"/><text x="{RIGHT}" y="19.5" text-anchor="end">{text}</text>"##,
        RIGHT - 94.0,
        RIGHT - 94.0,
        RIGHT - 74.0
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    #[test]
    fn a_chart_is_small_and_says_units_zone_and_release() {
        let transition = sample::transition();
        let svg = svg(&transition, None, Tz::Europe__Berlin, "tries").unwrap();
        for text in
            ["Share of tries that fail, every 5 min", "10 %", "Times in Berlin time", "web@4.2.1 went out, 08:02", "usual range"]
        {
            assert!(svg.contains(text), "{text} is missing");
        }
        let png = png(&transition, None, Tz::Europe__Berlin, "tries").unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() <= 40_000, "{} bytes", png.len());
        if let Ok(path) = std::env::var("SPIKED_CHART") {
            std::fs::write(path, png).unwrap();
        }
    }

    #[test]
    fn odd_data_draws_nothing_odd() {
        let mut transition = sample::transition();
        for point in &mut transition.finding.chart {
            (point.views, point.usual) = (0, Some(f64::NAN));
        }
        transition.finding.deploy.as_mut().unwrap().release = "<&>\u{202e}漢".into();
        let svg = svg(&transition, Some(sample::at("07:08")), Tz::UTC, "views").unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("<&"), "{svg}");
        transition.finding.chart.truncate(2);
        assert_eq!(png(&transition, None, Tz::UTC, "views"), None);
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(axis(0.13, true), (0.150_000_000_000_000_02, 0.05));
        assert_eq!(axis(830.0, false), (1000.0, 200.0));
        assert_eq!(axis(0.0, false), (1.0, 1.0));
    }
}
