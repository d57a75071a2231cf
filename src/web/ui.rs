//! The page for people: what fires now, in words, then each site's pages and steps. Rendered here, whole, at each request.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Form, FromRequest, Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, SET_COOKIE};
use axum::http::{HeaderValue, Response, StatusCode};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, context};
use serde::{Deserialize, Serialize};

use super::auth::{COOKIE, Refused};
use super::overview::{IncidentRow, Overview, PageRow, SiteTable};
use super::router::{App, error, seen};
use super::{Backend, api, body};
use crate::model::{Timestamp, format_duration};

type Shared<B> = State<Arc<App<B>>>;

/// The templates, parsed once.
#[derive(Debug)]
pub(super) struct Pages(Environment<'static>);

impl Pages {
    pub(super) fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        for (name, text) in [("page", include_str!("assets/page.html")), ("login", include_str!("assets/login.html"))] {
            environment.add_template(name, text).expect("the built-in templates are sound: a test renders them");
        }
        Self(environment)
    }

    fn render(&self, name: &str, values: impl Serialize) -> Result<String, minijinja::Error> {
        self.0.get_template(name)?.render(Serde(values))
    }

    /// The page for one state of things.
    pub(super) fn overview(&self, overview: &Overview) -> Result<String, minijinja::Error> {
        self.render("page", View::new(overview))
    }
}

/// `GET /`
pub(super) async fn page<B: Backend>(State(app): Shared<B>, request: Request) -> Response<Body> {
    if let Err(refused) = app.backend.access().admin(&seen(&request), false) {
        app.backend.metrics().auth_failures.inc();
        return login_page(&app, refused, false);
    }
    match app.pages.overview(&app.backend.overview().await) {
        Ok(text) => html(StatusCode::OK, text),
        Err(why) => broken(&why),
    }
}

/// The longest login form.
const LOGIN_BYTES: usize = 4096;

/// What the login form sends.
#[derive(Deserialize)]
pub(super) struct Login {
    token: String,
}

/// `POST /login`: the token for a cookie.
pub(super) async fn login<B: Backend>(State(app): Shared<B>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    // Anybody may send this: its time and size are bounded as those of events are.
    let body = match body::read(&parts.headers, body, LOGIN_BYTES, &app.budget).await {
        Ok(body) => body,
        Err(why) => return error(why.status(), &why.to_string()),
    };
    let request = axum::http::Request::from_parts(parts, Body::from(body.to_vec()));
    let Ok(Form(form)) = Form::<Login>::from_request(request, &()).await else {
        return error(StatusCode::BAD_REQUEST, "the login form sends one field, `token`");
    };
    let Some(value) = app.backend.access().login(&form.token) else {
        app.backend.metrics().auth_failures.inc();
        return login_page(&app, Refused::NoToken, true);
    };
    let mut response = api::see_home();
    // Behind a proxy with TLS, the cookie never goes over a line without.
    let secure = if app.backend.is_behind_tls() { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

fn login_page<B: Backend>(app: &App<B>, refused: Refused, wrong: bool) -> Response<Body> {
    let has_token = app.backend.access().has_token();
    match app.pages.render("login", context! { has_token, wrong, reason => refused.to_string() }) {
        Ok(text) => html(StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::FORBIDDEN), text),
        Err(why) => broken(&why),
    }
}

/// `GET /assets/{file}`: nothing secret, so that the login form looks like something.
pub(super) async fn asset(Path(file): Path<String>) -> Response<Body> {
    let (kind, text) = match file.as_str() {
        "ui.css" => ("text/css; charset=utf-8", include_str!("assets/ui.css")),
        "ui.js" => ("text/javascript; charset=utf-8", include_str!("assets/ui.js")),
        "icon.svg" => ("image/svg+xml", include_str!("assets/icon.svg")),
        _ => return error(StatusCode::NOT_FOUND, "there is nothing at this path"),
    };
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

fn html(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn broken(why: &minijinja::Error) -> Response<Body> {
    tracing::error!(event = "page_failed", error = %why, "the page cannot be rendered");
    error(StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be rendered")
}

/// The page's texts, ready to be put in their places.
#[derive(Serialize)]
struct View<'a> {
    title: String,
    headline: String,
    trouble: Option<&'a str>,
    firing: Vec<Incident<'a>>,
    recent: Vec<Incident<'a>>,
    sites: Vec<Site<'a>>,
    base_url: &'a str,
    now: String,
}

#[derive(Serialize)]
struct Incident<'a> {
    path: String,
    severity: &'static str,
    headline: &'a str,
    detail: &'a str,
    site: &'a str,
    env: &'a str,
    owner: &'a str,
    began: String,
    lasted: String,
    acked: bool,
}

#[derive(Serialize)]
struct Site<'a> {
    name: &'a str,
    env: &'a str,
    window: &'a str,
    rows: Vec<Row<'a>>,
    more: u64,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    note: &'a str,
    views: String,
    errors: String,
    rate: String,
    usual: String,
    firing: bool,
    line: String,
    bars: Vec<Bar>,
}

#[derive(Serialize)]
struct Bar {
    x: String,
    y: String,
    width: String,
    height: String,
}

impl<'a> View<'a> {
    fn new(overview: &'a Overview) -> Self {
        let headline = match (overview.firing.len(), overview.sites.is_empty()) {
            (0, true) => "Waiting for the first event".to_owned(),
            (0, false) => "All is as usual".to_owned(),
            (1, _) => "One thing is wrong".to_owned(),
            (count, _) => format!("{count} things are wrong"),
        };
        let title = if overview.firing.is_empty() { "spiked".to_owned() } else { format!("({}) spiked", overview.firing.len()) };
        let incident = |row: &'a IncidentRow| Incident::new(row, overview.now);
        Self {
            title,
            headline,
            trouble: overview.trouble.as_deref(),
            firing: overview.firing.iter().map(incident).collect(),
            recent: overview.recent.iter().map(incident).collect(),
            sites: overview.sites.iter().map(Site::new).collect(),
            base_url: &overview.base_url,
            now: overview.now.utc().format("%-d %b %Y, %H:%M:%S").to_string(),
        }
    }
}

impl<'a> Incident<'a> {
    fn new(row: &'a IncidentRow, now: Timestamp) -> Self {
        let lasted = row.ended.unwrap_or(now).since(row.began);
        let same_day = now.since(row.began) < Duration::from_secs(18 * 3600);
        let format = if same_day { "%H:%M" } else { "%-d %b, %H:%M" };
        Self {
            path: row.id.bytes().filter(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(b)).map(char::from).collect(),
            severity: row.severity.as_str(),
            headline: &row.headline,
            detail: &row.detail,
            site: &row.site,
            env: &row.env,
            owner: &row.owner,
            began: row.began.utc().format(format).to_string(),
            lasted: spoken(lasted),
            acked: row.acked,
        }
    }
}

impl<'a> Site<'a> {
    fn new(table: &'a SiteTable) -> Self {
        let rows = table.rows.iter().map(Row::new).collect();
        Self { name: &table.site, env: &table.env, window: &table.window, rows, more: table.more }
    }
}

impl<'a> Row<'a> {
    fn new(row: &'a PageRow) -> Self {
        let (name, note) = if row.page.is_empty() { (&row.step, &row.page) } else { (&row.page, &row.step) };
        let (line, bars) = sparkline(&row.spark);
        Self {
            name,
            note,
            views: grouped(row.views),
            errors: grouped(row.errors),
            rate: percent(row.rate),
            usual: percent(row.usual),
            firing: row.firing,
            line,
            bars,
        }
    }
}

/// `3m`, `2h10m`, `5d`: no finer than people care.
fn spoken(duration: Duration) -> String {
    let secs = duration.as_secs();
    let step = match secs {
        0..60 => 1,
        60..86_400 => 60,
        _ => 3600,
    };
    format_duration(Duration::from_secs(secs / step * step))
}

/// `0.41 %`, `6.1 %`, `38 %`; a dash where unknown.
fn percent(rate: Option<f64>) -> String {
    let Some(percent) = rate.map(|rate| rate * 100.0).filter(|rate| rate.is_finite()) else { return "–".into() };
    let digits = if percent >= 10.0 || percent == 0.0 { 0 } else { 1 + usize::from(percent < 1.0) };
    format!("{percent:.digits$} %")
}

/// `12 400`, with thin blanks that do not break.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// Views as a line, and errors as bars from the ground on a scale of their own, in a box of 100 by 26.
fn sparkline(points: &[(u64, u64)]) -> (String, Vec<Bar>) {
    let most_views = points.iter().map(|(views, _)| *views).max().unwrap_or(0);
    // Under five at once errors stay low, so that a single one does not look like a spike.
    let most_errors = points.iter().map(|(_, errors)| *errors).max().unwrap_or(0).max(5);
    if points.len() < 2 || points.iter().all(|point| *point == (0, 0)) {
        return (String::new(), Vec::new());
    }
    let step = 100.0 / points.len() as f64;
    let line = points.iter().enumerate().map(|(i, (views, _))| {
        format!("{:.1},{:.1}", (i as f64 + 0.5) * step, 25.0 - *views as f64 / most_views.max(1) as f64 * 24.0)
    });
    let bars = points.iter().enumerate().filter(|(_, (_, errors))| *errors > 0).map(|(i, (_, errors))| {
        let height = *errors as f64 / most_errors as f64 * 16.0;
        Bar {
            x: format!("{:.1}", i as f64 * step),
            y: format!("{:.1}", 26.0 - height),
            width: format!("{:.1}", step * 0.9),
            height: format!("{height:.1}"),
        }
    });
    (line.collect::<Vec<_>>().join(" "), bars.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Severity;

    fn sample() -> Overview {
        let now = Timestamp::from_secs(1_763_708_400);
        let incident = |headline: &str, minutes: u64, ended: Option<u64>| IncidentRow {
            id: "i-17".into(),
            severity: Severity::P1,
            headline: headline.into(),
            detail: "6.1 % against 0.4 % usual, after release web@4.2.1, affecting Mobile Safari. 131 errors in 2140 views."
                .into(),
            site: "shop".into(),
            env: "production".into(),
            owner: "payments".into(),
            began: now - Duration::from_secs(minutes * 60),
            ended: ended.map(|minutes| now - Duration::from_secs(minutes * 60)),
            acked: false,
        };
        let row = |page: &str, step: &str, views, errors, usual, firing| PageRow {
            page: page.into(),
            step: step.into(),
            views,
            errors,
            rate: Some(errors as f64 / views as f64),
            usual,
            firing,
            spark: (0..30).map(|i| (40 + (i * 7) % 13, if firing && i > 22 { i - 20 } else { u64::from(i % 11 == 3) })).collect(),
        };
        Overview {
            now,
            trouble: None,
            firing: vec![incident("Error spike in step 3 of checkout (payment)", 14, None)],
            recent: vec![
                incident("First seen: TypeError on /product/:sku", 400, Some(330)),
                incident("No purchases for 15 minutes <script>alert(1)</script>", 3000, Some(2950)),
            ],
            sites: vec![SiteTable {
                site: "shop".into(),
                env: "production".into(),
                window: "last hour".into(),
                rows: vec![
                    row("/product/:sku", "product", 12_431, 38, Some(0.0029), false),
                    row("/cart", "cart", 4_120, 17, Some(0.0041), false),
                    row("/checkout/payment", "payment", 2_140, 131, Some(0.004), true),
                    row("/thank-you", "confirm", 812, 1, None, false),
                ],
                more: 212,
            }],
            base_url: "http://127.0.0.1:7745".into(),
        }
    }

    #[test]
    fn the_page_says_what_fires_in_words_and_escapes_what_it_shows() {
        let page = Pages::new().overview(&sample()).unwrap();
        for part in [
            "One thing is wrong",
            "for 14m, since",
            "6.1 %",
            "0.40 %",
            "12\u{202f}431",
            "lasted 1h10m",
            "and 212 more",
            "<polyline",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script>"), "{page}");
        assert!(!page.contains("style=") && !page.contains("onclick"), "the policy allows none");
    }

    #[test]
    fn an_empty_page_tells_how_to_send_a_first_event() {
        let overview = Overview { base_url: "http://127.0.0.1:7745".into(), ..Overview::default() };
        let page = Pages::new().overview(&overview).unwrap();
        assert!(page.contains("curl http:&#x2f;&#x2f;127.0.0.1:7745/v1/events"), "{page}");
        assert!(page.contains("Waiting for the first event"));
    }

    #[test]
    fn numbers_are_as_fine_as_people_read_them() {
        assert_eq!(
            [percent(None), percent(Some(0.0)), percent(Some(0.0041)), percent(Some(0.061)), percent(Some(0.38))].join(" "),
            "– 0 % 0.41 % 6.1 % 38 %"
        );
        assert_eq!(spoken(Duration::from_secs(200_000)), "2d7h");
        assert_eq!(grouped(999), "999");
        assert_eq!(sparkline(&[(0, 0), (0, 0)]).0, "");
    }
}
