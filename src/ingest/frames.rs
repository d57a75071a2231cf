//! Stack traces as text: which function in which file, in the ways that V8, Firefox, Safari, Python and Java write them.

use super::fingerprint::normal_numbers;

/// Frames looked at.
const FRAMES_MAX: usize = 50;

/// Longest line that is read as a frame, in bytes.
const LINE_BYTES_MAX: usize = 1000;

/// Parts of a path or function that belong to libraries and runtimes.
const FOREIGN: &[&str] = &[
    "node_modules/",
    "/vendor",
    "vendors~",
    "vendor.",
    "webpack/",
    "webpack:///(",
    "polyfill",
    "site-packages",
    "dist-packages",
    "/lib/python",
    "<frozen",
    "node:",
    "internal/",
    "native code",
    "zone.js",
    "jquery",
    "react-dom",
    "vue.runtime",
    "sentry",
    "rollbar",
    "datadog",
    "newrelic",
    "googletagmanager",
    "framework-",
];

/// Packages of Java's runtime and frameworks.
const FOREIGN_JAVA: &[&str] = &[
    "java.",
    "javax.",
    "jakarta.",
    "jdk.",
    "sun.",
    "com.sun.",
    "kotlin.",
    "scala.",
    "org.springframework.",
    "org.apache.",
    "org.hibernate.",
    "io.netty.",
];

/// One frame as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) function: &'a str,
    /// Path or URL, without line and column.
    pub(super) file: &'a str,
}

/// The frames of a stack trace, the one that threw first.
pub(super) fn read(stack: &str) -> Vec<Frame<'_>> {
    let lines = || stack.lines().filter(|line| line.len() <= LINE_BYTES_MAX).map(str::trim);
    if stack.contains("Traceback (most recent call last)") || stack.trim_start().starts_with("File \"") {
        let mut frames: Vec<Frame<'_>> = lines().filter_map(python).collect();
        // The last exception told is the one that was thrown; its innermost call comes last.
        frames.reverse();
        frames.truncate(FRAMES_MAX);
        return frames;
    }
    lines().filter_map(|line| v8_or_java(line).or_else(|| firefox(line))).take(FRAMES_MAX).collect()
}

/// `File "/srv/app/cart.py", line 12, in total`
fn python(line: &str) -> Option<Frame<'_>> {
    let (file, rest) = line.strip_prefix("File \"")?.split_once('"')?;
    Some(Frame { function: rest.rsplit_once(" in ").map_or("", |(_, function)| function.trim()), file })
}

/// `at pay (https://x/app.js:5:63)`, `at https://x/app.js:5:63`, `at shop.Cart.total(Cart.java:12)`
fn v8_or_java(line: &str) -> Option<Frame<'_>> {
    let text = line.strip_prefix("at ")?;
    let Some(inner) = text.strip_suffix(')') else {
        return Some(Frame { function: "", file: without_place(text.trim_start_matches("async ")) });
    };
    let (function, place) = match inner.rsplit_once(" (") {
        Some(parts) => parts,
        None => inner.rsplit_once('(')?,
    };
    let function = function.split(" [as ").next().unwrap_or_default();
    let function = function.trim_start_matches("async ").trim_start_matches("new ");
    // `at eval (eval at run (https://x/app.js:1:2), <anonymous>:1:1)`
    Some(Frame { function, file: without_place(place.split(", ").next().unwrap_or_default()) })
}

/// `pay@https://x/app.js:5:63`, Safari's `pay@` and bare `https://x/app.js:5:63`
fn firefox(line: &str) -> Option<Frame<'_>> {
    let (function, place) = line.split_once('@').unwrap_or(("", line));
    let is_place = place.contains("://") || place == "[native code]";
    (is_place && !function.contains(' ') && !place.contains(' ')).then(|| Frame { function, file: without_place(place) })
}

/// Drops `:line:column`.
fn without_place(text: &str) -> &str {
    let mut text = text.trim();
    for _ in 0..2 {
        if let Some((rest, number)) = text.rsplit_once(':')
            && !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit())
        {
            text = rest;
        }
    }
    text
}

impl Frame<'_> {
    /// Whether it is the site's own code rather than a library's or the runtime's.
    pub(super) fn is_in_app(&self) -> bool {
        let lower = self.file.to_ascii_lowercase();
        !self.file.is_empty()
            && self.file != "<anonymous>"
            && self.file != "native"
            && !FOREIGN.iter().any(|part| lower.contains(part))
            && !FOREIGN_JAVA.iter().any(|package| self.function.starts_with(package))
    }

    /// `function (file)` without what changes with a build: hashes, directories, minified names.
    pub(super) fn normal(&self) -> String {
        let address = self.file.split_once("://").map_or(self.file, |(_, rest)| rest);
        let path = address.split(['?', '#']).next().unwrap_or_default();
        let file = file_name(path.rsplit(['/', '\\']).next().unwrap_or_default());
        let function = self.function_name();
        match (function.is_empty(), file.is_empty()) {
            (true, _) => file,
            (false, true) => function,
            (false, false) => format!("{function} ({file})"),
        }
    }

    /// The function's own name. Receivers differ between browsers; names of one or two letters are a minifier's.
    fn function_name(&self) -> String {
        let java = matches!(self.file.rsplit('.').next(), Some("java" | "kt"));
        let plain = self.function.trim_end_matches(['<', '/', '*']);
        let mut parts = plain.rsplit(['.', '/']).filter(|part| !part.is_empty());
        let last = parts.next().unwrap_or_default();
        if last.len() <= 2 || last.contains("anonymous") || last.starts_with('<') || last == "lambda" {
            return String::new();
        }
        let mut name = String::new();
        if let (true, Some(class)) = (java, parts.next()) {
            name.push_str(class.split('$').next().unwrap_or_default());
            name.push('.');
        }
        normal_numbers(last, &mut name);
        name
    }
}

/// Whether a word names a script or style, as bundlers make them.
pub(super) fn is_script(word: &str) -> bool {
    [".js", ".mjs", ".cjs", ".css", ".js.map", ".ts", ".tsx", ".jsx", ".vue"].iter().any(|extension| word.ends_with(extension))
}

/// A path without identifiers and versions: `/assets/main.js`.
pub(super) fn normal_path(path: &str, out: &mut String) {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty()).peekable();
    if path.starts_with('/') && segments.peek().is_none() {
        out.push('/');
    }
    while let Some(segment) = segments.next() {
        out.push('/');
        if is_script(without_place(segment)) {
            out.push_str(&file_name(without_place(segment)));
        } else if segments.peek().is_none() {
            normal_numbers(without_place(segment), out);
        } else {
            normal_numbers(segment, out);
        }
    }
}

/// A file's name without the hash that a bundler put in: `main.3f2a9c.js`, `main-Bq3xK9_a.js` and `main.js` are one file.
pub(super) fn file_name(name: &str) -> String {
    let (stem, extension) = name.split_once('.').map_or((name, ""), |_| split_extension(name));
    let stem = without_short_hash(stem);
    let mut out = String::new();
    for part in stem.split_inclusive(['.', '-', '_', '~']) {
        let text = part.trim_end_matches(['.', '-', '_', '~']);
        if is_bundle_hash(text) || text == "[token]" || text == "min" {
            continue;
        }
        normal_numbers(text, &mut out);
        out.push_str(&part[text.len()..]);
    }
    let mut out = out.trim_end_matches(['.', '-', '_', '~']).to_owned();
    out.push_str(extension);
    out
}

fn split_extension(name: &str) -> (&str, &str) {
    let end = name.strip_suffix(".map").map_or(name.len(), str::len);
    let at = name[..end].rfind('.').unwrap_or(end);
    (&name[..at], &name[at..end])
}

/// Drops eight characters of base64 after a dash, as Vite and esbuild write them: a digit in them, or a capital not at the start.
fn without_short_hash(stem: &str) -> &str {
    let Some(at) = stem.len().checked_sub(9) else { return stem };
    let Some((name, hash)) = stem.split_at_checked(at) else { return stem };
    let Some(hash) = hash.strip_prefix(['-', '.']) else { return stem };
    let drawn = hash.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        && (hash.bytes().any(|b| b.is_ascii_digit()) || hash.bytes().skip(1).any(|b| b.is_ascii_uppercase()));
    if drawn && hash.len() == 8 && !name.is_empty() { name } else { stem }
}

/// A hash in the place where bundlers put one: six hex digits with a number in them, or eight without.
fn is_bundle_hash(part: &str) -> bool {
    let hex = part.bytes().all(|b| b.is_ascii_hexdigit());
    let digit = part.bytes().any(|b| b.is_ascii_digit());
    hex && (part.len() >= 8 || part.len() >= 6 && digit)
        || part.len() >= 16 && digit && part.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// A hash anywhere in a text: hex digits with numbers and letters among them, or a long mixture.
pub(super) fn is_hash(word: &str) -> bool {
    let hex = word.strip_prefix("0x").unwrap_or(word);
    let digit = hex.bytes().any(|b| b.is_ascii_digit());
    let is_hex = hex.bytes().all(|b| b.is_ascii_hexdigit());
    digit && is_hex && (hex.len() >= 6 || hex.len() < word.len())
        || word.len() >= 16 && digit && word.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stack: &str, expected: &str) {
        let frames = read(stack);
        let frame = frames.iter().find(|frame| frame.is_in_app()).or(frames.first());
        assert_eq!(frame.map(Frame::normal).unwrap_or_default(), expected, "{frames:?}");
    }

    #[test]
    fn the_first_own_frame_is_found_in_every_language() {
        check(
            "TypeError: x\n    at submitPayment (https://shop.example/app.js:5:63)\n    at payNow (https://shop.example/app.js:9:57)",
            "submitPayment (app.js)",
        );
        check("Error: x\n    at HTMLButtonElement.<anonymous> (https://shop.example/app.js:22:81)", "app.js");
        check("Error\n    at async Object.load (file:///srv/shop/src/cart.js:3:1)", "load (cart.js)");
        check(
            "Error\n    at f (/srv/node_modules/express/lib/router.js:1:1)\n    at checkout (/srv/src/checkout.js:2:2)",
            "checkout (checkout.js)",
        );
        check("pay@https://shop.example/main.3f2a9c.js:1:200\n@https://shop.example/x.js:1:1", "pay (main.js)");
        check("[native code]\npay@https://shop.example/app.js:1:2", "pay (app.js)");
        check(
            "Traceback (most recent call last):\n  File \"/srv/app/views.py\", line 3, in checkout\n    total()\n  File \"/srv/app/cart.py\", line 12, in total\n    1/0\n  File \"/usr/lib/python3.12/decimal.py\", line 9, in div\nZeroDivisionError: x",
            "total (cart.py)",
        );
        check(
            "java.lang.IllegalStateException: x\n\tat java.util.List.get(List.java:7)\n\tat com.shop.Cart.total(Cart.java:12)",
            "Cart.total (Cart.java)",
        );
        check("no stack at all", "");
    }

    #[test]
    fn file_names_lose_what_a_build_gave_them() {
        for name in [
            "main.js",
            "main.3f2a9c.js",
            "main-3f2a9cde.js",
            "main.deadbeef.js",
            "main-DfGhJkLm.js",
            "main.min.js",
            "main.8e21ab44cd01f2e3a4b5.chunk.js",
        ] {
            let expected = if name.contains("chunk") { "main.chunk.js" } else { "main.js" };
            assert_eq!(file_name(name), expected, "{name}");
        }
        assert_eq!(file_name("index-Checkout.js"), "index-Checkout.js");
        assert_eq!(file_name("cart.py"), "cart.py");
        assert_eq!(file_name("42.js"), "#.js");
    }
}
