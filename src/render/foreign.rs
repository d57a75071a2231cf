//! Text that came from a browser, a log line or a label: cleaned and cut before it may stand in a sentence.
//!
//! It is never trusted to be short, one line, printable or polite. Escaping for a service comes after this, in the channel.

/// Characters of a quoted error (messages.md section 4).
pub const ERROR_CHARS: usize = 120;
/// Characters of a page path; a longer one is cut in its middle, because both ends tell pages apart.
pub const PAGE_CHARS: usize = 80;
/// Characters of any other name: a browser, a release, an owner.
pub const NAME_CHARS: usize = 48;

/// One printable line: controls and direction overrides gone, white space single, no backticks, no template braces.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(512));
    // A hostile text may be megabytes long; nothing beyond the first few thousand characters is ever shown.
    for c in text.chars().take(4000) {
        match c {
            c if c.is_whitespace() || c.is_control() => {
                if !out.is_empty() && !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            '`' => out.push('\''),
            '{' if out.ends_with('{') => out.push_str(" {"),
            '}' if out.ends_with('}') => out.push_str(" }"),
            c if is_invisible(c) => {}
            c => out.push(c),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Direction overrides, zero-width marks and other characters that change text without being seen. The zero-width joiner
/// stays: emoji and several scripts need it.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}' | '\u{200c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether a character belongs to the one before it, so that no cut may fall between them.
const fn joins(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{64b}'..='\u{65f}' | '\u{93a}'..='\u{94d}'
        | '\u{e31}' | '\u{e34}'..='\u{e3a}' | '\u{200d}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}')
}

/// At most `max` characters (at least 2), cut between words where one ends near, with an ellipsis.
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_string();
    }
    let chars: Vec<char> = text.chars().collect();
    let mut end = max.saturating_sub(1);
    while end > 1 && (joins(chars[end]) || chars[end - 1] == '\u{200d}') {
        end -= 1;
    }
    if let Some(blank) = chars[..end].iter().rposition(|c| *c == ' ')
        && blank * 4 >= end * 3
    {
        end = blank;
    }
    let mut out: String = chars[..end].iter().collect();
    out.truncate(out.trim_end_matches([' ', ',', ';', ':']).len());
    out.push('…');
    out
}

/// At most `max` characters, cut in the middle.
pub fn cut_middle(text: &str, max: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= max {
        return text.to_string();
    }
    let head = (max - 1) * 2 / 3;
    let tail = max - 1 - head;
    chars[..head].iter().chain(std::iter::once(&'…')).chain(&chars[chars.len() - tail..]).collect()
}

/// A name: a browser, a release, a rule. Mail addresses in it are masked; an owner's own address is not foreign, see [`owner`].
pub fn name(text: &str) -> String {
    cut(&masked(&clean(text)), NAME_CHARS)
}

/// An owner as the operator wrote it: may be a mail address.
pub fn owner(text: &str) -> String {
    cut(&clean(text), NAME_CHARS)
}

/// With every word that looks like a mail address masked.
pub fn masked(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').map(|word| if looks_like_mail(word) { "<email>" } else { word }).collect();
    words.join(" ")
}

/// A page path without its query.
pub fn page(text: &str) -> String {
    cut_middle(&masked(&clean(text.split(['?', '#']).next().unwrap_or_default())), PAGE_CHARS)
}

/// An error as `Class: message`, with whatever looks like a mail address taken out once more.
pub fn error(class: &str, message: &str) -> String {
    let (class, message) = (clean(class), clean(message));
    let text = match (class.is_empty(), message.is_empty()) {
        (true, true) => "an error without a name".to_string(),
        (false, true) => class,
        (true, false) => message,
        (false, false) => format!("{class}: {message}"),
    };
    cut(&masked(&text), ERROR_CHARS)
}

fn looks_like_mail(word: &str) -> bool {
    word.split_once('@').is_some_and(|(user, host)| {
        user.chars().any(char::is_alphanumeric) && host.contains('.') && host.chars().next().is_some_and(char::is_alphabetic)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_do_harm_is_gone() {
        assert_eq!(clean("a\r\nBcc: x\u{202e}y\0`z` {{x}}"), "a Bcc: xy 'z' { {x} }");
        assert_eq!(error("E", "mail ann@example.com failed"), "E: mail <email> failed");
        assert_eq!(error("", ""), "an error without a name");
        assert_eq!(page("/cart?card=4111"), "/cart");
    }

    #[test]
    fn cuts_fall_between_words_and_never_inside_a_sign() {
        assert_eq!(cut("one two three four", 15), "one two three…");
        assert_eq!(cut("ab👩\u{200d}👩\u{200d}👧cd", 5), "ab…");
        assert_eq!(cut_middle("/checkout/very/long/path/payment", 20), "/checkout/ve…payment");
    }

    proptest! {
        #[test]
        fn nothing_grows_beyond_its_limit(text in "\\PC{0,300}", max in 2usize..100) {
            prop_assert!(cut(&text, max).chars().count() <= max);
            prop_assert!(cut_middle(&text, max).chars().count() <= max);
            prop_assert!(!clean(&text).contains("{{"));
        }
    }
}
