//! Draws docs/pictures/growth.svg: what an event costs as the number of series grows, against a thousand series.

use std::fmt::Write as _;
use std::path::Path;

/// One kind of load: its name, and for each number of series the cost of an event against that of the first.
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(usize, f64)>,
}

const LEFT: f64 = 60.0;
const RIGHT: f64 = 560.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 330.0;
const COLORS: [&str; 5] = ["#8d99ae", "#2c6e49", "#1d3557", "#b5651d", "#a3321f"];

pub(crate) fn draw(curves: &[Curve]) {
    let largest = curves.iter().flat_map(|curve| &curve.points).map(|point| point.0).max().unwrap_or(1000);
    let highest = curves.iter().flat_map(|curve| &curve.points).map(|point| point.1).fold(6.5, f64::max);
    let decades = (largest as f64 / 1000.0).log10().max(1.0);
    let x = |series: usize| LEFT + (series as f64 / 1000.0).log10() / decades * (RIGHT - LEFT);
    let y = |growth: f64| BOTTOM - growth / highest * (BOTTOM - TOP);
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 820 390\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"820\" height=\"390\" fill=\"#fff\"/>\n",
    );
    let mut put = |text: String| svg.push_str(&(text + "\n"));
    put(format!("<text x=\"{LEFT}\" y=\"28\" font-weight=\"bold\">Cost of an event, times that with a thousand series</text>"));
    for growth in 0..=highest as usize {
        let at = y(growth as f64);
        put(format!("<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>"));
        put(format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{growth}</text>", LEFT - 6.0, at + 4.0));
    }
    let at = y(6.0);
    put(format!(
        "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#a3321f\" stroke-dasharray=\"5 4\"/>"
    ));
    put(format!("<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#a3321f\">no more than this</text>", LEFT + 6.0, at - 6.0));
    let mut series = 1000;
    while series <= largest {
        let label = if series < 1_000_000 { format!("{} k", series / 1000) } else { format!("{} M", series / 1_000_000) };
        put(format!("<text x=\"{:.1}\" y=\"350\" text-anchor=\"middle\">{label}</text>", x(series)));
        series *= 10;
    }
    put(format!("<text x=\"{:.1}\" y=\"374\" text-anchor=\"middle\">series</text>", f64::midpoint(LEFT, RIGHT)));
    for (place, (curve, color)) in curves.iter().zip(COLORS).enumerate() {
        let points = curve.points.iter().fold(String::new(), |mut points, (series, growth)| {
            let _ = write!(points, "{:.1},{:.1} ", x(*series), y(*growth));
            points
        });
        put(format!("<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>"));
        let key = TOP + 20.0 * place as f64;
        put(format!("<rect x=\"{:.1}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{color}\"/>", RIGHT + 16.0, key));
        put(format!("<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", RIGHT + 34.0, key + 11.0, curve.name));
    }
    svg.push_str("</svg>\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures/growth.svg");
    std::fs::write(path, svg).expect("docs/pictures can be written");
}
