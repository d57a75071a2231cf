//! Which page an event belongs to: a URL or path becomes a page template, and a template a funnel step.
//!
//! One resolver for every source, because a rate whose numerator and denominator name the same page differently is nonsense.
//! Scheme, host, query, fragment and path parameters go; escapes are decoded; empty segments and a trailing slash are dropped.
//! Then the site's own templates are tried in order; what fits none has its identifiers collapsed to `:id`.
//!
//! Collapsed are segments that are numbers (also dates, versions, addresses), UUIDs, hashes, long random tokens, order codes,
//! e-mail and card numbers. Names with a number in them stay (`v2`, `p3`, `iphone-15-pro`, `trail-running-00123`): whether a slug
//! is one page or thousands only the site knows, and says with a template. With `collapse: off`, secrets still go.

use crate::config::{Funnel, Site};
use crate::model::limits::PAGE_CHARS;
use crate::rule::matcher::glob_matches;

use super::scrub;

/// What stands for a collapsed segment.
const ID: &str = ":id";

/// Segments of a path that are looked at; the rest is cut.
const SEGMENTS_MAX: usize = 40;

/// How one site names its pages and steps.
#[derive(Clone, Debug, Default)]
pub struct PageRules {
    templates: Vec<Template>,
    collapse: bool,
    funnels: Vec<Funnel>,
}

#[derive(Clone, Debug)]
struct Template {
    name: String,
    segments: Vec<Segment>,
    /// Ends in `*`: one or more further segments.
    open: bool,
}

#[derive(Clone, Debug)]
enum Segment {
    /// `:name`
    Any,
    /// Literal, or a glob within the segment.
    Glob(String),
}

impl PageRules {
    /// From a site's configuration.
    pub fn new(site: &Site) -> Self {
        Self {
            templates: site.templates.iter().map(|text| Template::parse(text)).collect(),
            collapse: site.collapse,
            funnels: site.funnels.clone(),
        }
    }

    /// The page template of a URL or path. Always starts with `/`, at most [`PAGE_CHARS`] characters.
    pub fn page_of(&self, url: &str) -> String {
        let path = path_of(url);
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).take(SEGMENTS_MAX).collect();
        if let Some(template) = self.templates.iter().find(|template| template.fits(&segments)) {
            return template.name.clone();
        }
        let mut page = String::with_capacity(path.len() + 1);
        for segment in segments {
            page.push('/');
            let hidden = if self.collapse { is_identifier(segment) } else { is_secret(segment) };
            page.push_str(if hidden { ID } else { segment });
        }
        if page.is_empty() {
            page.push('/');
        }
        scrub::cut_chars(&mut page, PAGE_CHARS);
        page
    }

    /// The step of a page: the first whose globs name it, in order of writing; empty when in no funnel. A glob may name the
    /// template (`/product/:sku`) or the path as it was (`/product/lamp-9`).
    pub fn step_of(&self, page: &str, url: &str) -> &str {
        if self.funnels.is_empty() {
            return "";
        }
        let path = path_of(url);
        let fits = |glob: &String| {
            let glob = if glob.len() > 1 { glob.strip_suffix('/').unwrap_or(glob) } else { glob };
            glob_matches(glob, page) || glob_matches(glob, &path)
        };
        let mut steps = self.funnels.iter().flat_map(|funnel| &funnel.steps);
        steps.find(|step| step.pages.iter().any(fits)).map_or("", |step| &step.step)
    }
}

impl Template {
    fn parse(text: &str) -> Self {
        let name = format!("/{}", text.trim().trim_matches('/'));
        let mut segments: Vec<Segment> = name
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| if segment.starts_with(':') { Segment::Any } else { Segment::Glob(segment.to_owned()) })
            .collect();
        let open = matches!(segments.last(), Some(Segment::Glob(glob)) if glob == "*");
        if open {
            segments.pop();
        }
        Self { name, segments, open }
    }

    fn fits(&self, path: &[&str]) -> bool {
        let long_enough = if self.open { path.len() > self.segments.len() } else { path.len() == self.segments.len() };
        long_enough
            && self.segments.iter().zip(path).all(|(segment, text)| match segment {
                Segment::Any => true,
                Segment::Glob(glob) => glob_matches(glob, text),
            })
    }
}

/// The clean path of a URL or path: decoded, no query, no fragment, no empty segments, no trailing slash.
pub fn path_of(url: &str) -> String {
    let url = url.trim();
    let path = match url.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]),
        _ => match url.split_once(':') {
            // Opaque addresses hold content, not a path.
            Some((scheme @ ("data" | "blob" | "javascript" | "mailto" | "tel"), _)) => return format!("/{scheme}"),
            _ => url,
        },
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut out = String::with_capacity(path.len() + 1);
    for segment in path.split('/') {
        let segment = segment.split(';').next().unwrap_or_default();
        match segment {
            "" | "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            _ => {
                out.push('/');
                decode_segment(segment, &mut out);
            }
        }
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= 30
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
}

/// Decodes `%XX`; what does not decode to UTF-8 stays as it is. An encoded `?`, `#` or `;` ends the segment as a plain one would
/// (a path that was encoded twice), an encoded `/` stays encoded; control characters become blanks.
fn decode_segment(segment: &str, out: &mut String) {
    if !segment.contains('%') {
        push_clean(segment, out);
        return;
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let raw = segment.as_bytes();
    let mut at = 0;
    while at < raw.len() {
        let escaped = (raw[at] == b'%')
            .then(|| raw.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(b'?' | b'#' | b';') => break,
            Some(b'/') => bytes.extend_from_slice(b"%2F"),
            Some(byte) => bytes.push(byte),
            None => bytes.push(raw[at]),
        }
        at += if escaped.is_some() { 3 } else { 1 };
    }
    match std::str::from_utf8(&bytes) {
        Ok(decoded) => push_clean(decoded, out),
        Err(_) => push_clean(segment, out),
    }
}

fn push_clean(text: &str, out: &mut String) {
    out.extend(text.chars().map(|c| if scrub::is_unprintable(c) { ' ' } else { c }));
}

/// Whether a segment names one thing of many.
fn is_identifier(segment: &str) -> bool {
    is_numberlike(segment) || is_hash(segment) || is_uuid(segment) || is_code(segment) || is_secret(segment) || is_token(segment)
}

/// What must not be kept, whatever the site wants to tell apart.
fn is_secret(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    if !segment.contains('@') && !segment.starts_with("eyJ") && digits < 13 {
        return false;
    }
    let mut scrubbed = String::new();
    scrub::scrub(segment, &mut scrubbed);
    scrubbed != segment
}

/// Digits with nothing but separators: `42`, `2026-11-21`, `4.2.1`, `10.0.0.1`, `2001:db8::1`.
fn is_numberlike(segment: &str) -> bool {
    let mut digits = false;
    let plain = segment.bytes().all(|b| {
        digits |= b.is_ascii_digit();
        b.is_ascii_digit() || b"-_.,:+ ".contains(&b)
    });
    let colons = segment.bytes().filter(|b| *b == b':').count();
    digits && (plain || colons >= 2 && segment.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'))
}

/// 16 or more hexadecimal digits, or 8 and one of them a number; also with `0x`.
fn is_hash(segment: &str) -> bool {
    let hex = segment.strip_prefix("0x").unwrap_or(segment);
    hex.bytes().all(|b| b.is_ascii_hexdigit()) && (hex.len() >= 16 || hex.len() >= 8 && hex.bytes().any(|b| b.is_ascii_digit()))
}

/// `123e4567-e89b-12d3-a456-426614174000`, also in braces.
pub(super) fn is_uuid(segment: &str) -> bool {
    let text = segment.trim_matches(['{', '}']);
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() })
}

/// An article or order code in one piece: upper-case letters and at least two digits (`B08N5WRWNW`), or five digits and more
/// beside some letters (`o1234567`).
fn is_code(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let upper = segment.bytes().filter(u8::is_ascii_uppercase).count();
    let letters = segment.bytes().filter(u8::is_ascii_alphabetic).count();
    digits + letters == segment.len()
        && letters > 0
        && (segment.len() >= 8 && digits >= 2 && upper == letters || digits >= 5 && segment.len() >= 6)
}

/// A piece that looks drawn at random: long with letters and digits, or switching between kinds of characters all the time.
fn is_token(segment: &str) -> bool {
    segment.len() >= 64 && !segment.contains(['-', '_', ' ', '.'])
        || segment.split(['-', '_', '.', '~']).any(|piece| {
            let digits = piece.bytes().filter(u8::is_ascii_digit).count();
            piece.len() >= 16 && digits >= 2 && piece.is_ascii() || piece.len() >= 10 && scrub::switches(piece) * 2 >= piece.len()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FunnelStep;

    fn rules(templates: &[&str], collapse: bool) -> PageRules {
        let step = |step: &str, pages: &[&str]| FunnelStep {
            step: step.to_owned(),
            pages: pages.iter().map(|page| (*page).to_owned()).collect(),
        };
        let steps = vec![step("product", &["/product/*"]), step("cart", &["/cart/"]), step("payment", &["/checkout/payment"])];
        PageRules::new(&Site {
            templates: templates.iter().map(|text| (*text).to_owned()).collect(),
            collapse,
            funnels: vec![Funnel { name: "checkout".to_owned(), steps }],
            ..Site::default()
        })
    }

    #[track_caller]
    fn check(url: &str, expected: &str) {
        assert_eq!(rules(&["/product/:sku", "/c/:category/p/:id", "/blog-*", "/docs/*"], true).page_of(url), expected, "{url}");
    }

    #[test]
    fn urls_and_paths_come_to_one_clean_path() {
        for url in [
            "/cart",
            "/cart/",
            "//cart",
            "cart",
            "https://shop.example/cart?x=1#top",
            "HTTPS://u:p@shop.example:8443/cart;jsessionid=A1",
            "/%63art",
            "/a/../cart",
            "/./cart",
            " /cart ",
            "app:///cart",
            "/cart%3Ftoken=abc",
        ] {
            check(url, "/cart");
        }
        for url in ["", "/", "https://shop.example", "https://shop.example?x=/y", "?a=b", "#/x"] {
            check(url, "/");
        }
        check("/caf%C3%A9/gr%FC%DFe", "/café/gr%FC%DFe");
        check("/100%", "/100%");
        check("/a%2Fb", "/a%2Fb");
        check("data:text/html,<b>secret</b>", "/data");
        check("/line%0Abreak", "/line break");
    }

    #[test]
    fn templates_come_first_and_in_order() {
        check("/product/lamp-9", "/product/:sku");
        check("/product/:sku", "/product/:sku");
        check("/c/shoes/p/77/", "/c/:category/p/:id");
        check("/blog-2026", "/blog-*");
        check("/docs/a/b", "/docs/*");
        check("/docs", "/docs");
        check("/product/lamp-9/reviews", "/product/lamp-9/reviews");
    }

    #[test]
    fn identifiers_collapse() {
        for id in [
            "5",
            "00123",
            "2026-11-21",
            "4.2.1",
            "10.0.0.1",
            "123e4567-e89b-12d3-a456-426614174000",
            "3f2a9c1d",
            "deadbeefdeadbeef",
            "B08N5WRWNW",
            "o1234567",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "cs_test_a1B2c3D4e5F6g7H8",
            "dQw4w9WgXcQ",
            "bob@example.com",
            "bob%40example.com",
            "4111-1111-1111-1111",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmN",
            "2001:db8::1",
        ] {
            check(&format!("/x/{id}/y"), "/x/:id/y");
        }
    }

    #[test]
    fn names_stay() {
        for name in [
            "v2",
            "p3",
            "iphone-15-pro",
            "iPhone15Pro",
            "trail-running-00123",
            "2026-sale",
            "checkout",
            "facade",
            "decade",
            "thank-you",
            "web@4",
            "summer-sale-2026-shoes-men-and-women",
            "de_DE",
            "index.html",
            "windows11",
            "größe-42",
        ] {
            check(&format!("/x/{name}"), &format!("/x/{name}"));
        }
    }

    #[test]
    fn with_collapse_off_only_secrets_go() {
        let rules = rules(&[], false);
        assert_eq!(rules.page_of("/order/123/bob@example.com/4111111111111111"), "/order/123/:id/:id");
    }

    #[test]
    fn steps_come_from_the_template_or_the_path() {
        let rules = rules(&["/product/:sku"], true);
        for (url, step) in
            [("/product/lamp-9?x", "product"), ("/cart", "cart"), ("https://a.b/checkout/payment/", "payment"), ("/", "")]
        {
            assert_eq!(rules.step_of(&rules.page_of(url), url), step, "{url}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_page_is_stable_and_bounded(url in "[a-z0-9/%?#:;@.ä\u{0}-]{0,300}") {
            let rules = rules(&["/product/:sku"], true);
            let page = rules.page_of(&url);
            proptest::prop_assert!(page.starts_with('/') && page.chars().count() <= PAGE_CHARS);
            proptest::prop_assert!(!page.contains(char::is_control));
        }
    }
}
