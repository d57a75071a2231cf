//! The two bodies of a mail, text and HTML, with the same facts in the same order, and its chart.
//!
//! HTML for mail clients: one table, inline styles, no remote content; a dark scheme where it is honoured, and readable where
//! colours are inverted by force. All stands without the picture.

use std::fmt::Write as _;

use crate::model::transition::CONFIGURATION;
use crate::model::{AlertView, Notification, Transition};
use crate::render::story::is_business;
use crate::render::{Audience, Phrase, Span, Story, chart, numbers};

/// The chart's Content-ID.
pub const CHART_ID: &str = "chart@spiked";
/// Columns of the text part.
const COLUMNS: usize = 76;

/// What a mail consists of.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The text part, complete in itself.
    pub text: String,
    /// The HTML part.
    pub html: String,
    /// The PNG that the HTML names as `cid:chart@spiked`.
    pub chart: Option<Vec<u8>>,
}

/// What both parts say, in order.
struct Content {
    heading: String,
    fact: Phrase,
    chart: Option<Vec<u8>>,
    alt: String,
    rows: Vec<(String, Phrase)>,
    boxed: Option<(String, Vec<String>)>,
    foot: Vec<String>,
    link: String,
    runbook: Option<String>,
    preview: String,
}

/// Writes both parts and draws the chart.
pub fn payload(notification: &Notification, story: &Story, audience: &Audience) -> Mail {
    let content = content(notification, story, audience);
    Mail { text: text(&content), html: html(&content, story), chart: content.chart }
}

fn content(notification: &Notification, story: &Story, audience: &Audience) -> Content {
    let lead = notification.lead();
    let over = lead.resolved.as_ref().filter(|_| story.over).map(|resolved| resolved.at);
    let unit = if lead.firing.group.contains("step") { "tries" } else { "views" };
    let business = is_business(audience);
    let mut rows: Vec<(String, Phrase)> = story.rows.iter().map(|row| (row.name.clone(), row.value.clone())).collect();
    if let Some(who) = &story.who {
        rows.insert(1.min(rows.len()), ("Who".into(), who.clone()));
    }
    for other in &story.others {
        rows.push(("Also".into(), other.clone()));
    }
    if let Some(note) = &story.note {
        rows.push(("Note".into(), note.clone().into()));
    }
    let counts = counts(lead, unit);
    if business && let Some(counts) = &counts {
        let sure = if story.over { "It was real" } else { "The change is real" };
        let cause = if lead.firing.condition == "release" {
            " In the same minutes the other versions met fewer errors."
        } else if lead.firing.finding.deploy.is_some() {
            " The release came at the same time; that proves nothing yet."
        } else {
            " The cause is not known yet."
        };
        rows.push(("How sure?".into(), format!("{sure}: {counts}.{}", if story.over { "" } else { cause }).into()));
    }
    let mut foot = Vec::new();
    if business {
        foot.push(report_note(notification, story, audience));
    }
    foot.extend(story.late.clone());
    foot.push(story.context.clone());
    foot.push(format!(
        "You get this as a member of {}. Answers to this mail reach the people who run the alerts.",
        crate::render::foreign::name(&notification.receiver)
    ));
    Content {
        heading: story.title.clone(),
        fact: story.fact.clone(),
        chart: chart::png(charted(lead), over, audience.time_zone, unit),
        alt: alt(story, audience, lead),
        rows,
        boxed: business.then(|| advice(lead, story)),
        foot,
        link: story.link.clone(),
        // A runbook is for those who repair.
        runbook: story.runbook.clone().filter(|_| !business),
        preview: story.line.clone(),
    }
}

/// The transition with the longest picture: the resolve's, where it has one of its own.
fn charted(lead: &AlertView) -> &Transition {
    let last = |transition: &Transition| transition.finding.chart.last().map(|point| point.at);
    lead.resolved.as_ref().filter(|resolved| last(resolved) > last(&lead.firing)).unwrap_or(&lead.firing)
}

fn counts(lead: &AlertView, unit: &str) -> Option<String> {
    let finding = &lead.firing.finding;
    let span = numbers::duration(lead.firing.at.since(lead.firing.began));
    let counted = finding.errors > 0 && finding.views >= finding.errors;
    let views = numbers::thousands(finding.views);
    counted.then(|| format!("{} of {views} {unit} failed in the first {span}", numbers::thousands(finding.errors)))
}

fn alt(story: &Story, audience: &Audience, lead: &AlertView) -> String {
    let at = numbers::clock(lead.firing.began, lead.firing.at, audience.time_zone);
    let end = if story.over { "it is over now" } else { "it had not come back when this was sent" };
    format!("Chart: the measured line leaves its usual range at about {at}; {end}.")
}

/// What a reader of reports should do and leave.
fn advice(lead: &AlertView, story: &Story) -> (String, Vec<String>) {
    let absent = lead.firing.condition == "absent";
    let lines: &[&str] = match (story.over, absent) {
        _ if lead.firing.condition == CONFIGURATION => {
            &["Your site and your figures are as they were: only a change of the alerts' settings was held back."]
        }
        (false, true) => &[
            "It may be that only the counting is down while sales go on. Do not change bids on these numbers.",
            "Today's figures will have a gap. It is not your campaigns.",
        ],
        (false, false) => &[
            "Today's conversion may look low here. That is this trouble; it says nothing about your ads.",
            "Do not stop or scale campaigns on these numbers.",
            "Tests that run here: leave out this time span.",
        ],
        (true, true) => &["Figures from the silent time are missing or too low: mark them in your reports."],
        (true, false) => &[
            "Mark the time span in your reports, and tell running tests to leave it out.",
            "Figures from its end onwards can be trusted again.",
        ],
    };
    let heading = if story.over { "What to do now" } else { "What not to conclude" };
    (heading.into(), lines.iter().map(ToString::to_string).collect())
}

fn report_note(notification: &Notification, story: &Story, audience: &Audience) -> String {
    let lead = notification.lead();
    let zone = audience.time_zone;
    let from = numbers::day_and_clock(lead.firing.began, zone);
    let to = match &lead.resolved {
        Some(resolved) if story.over => format!("to {}", numbers::day_and_clock(resolved.at, zone)),
        _ => "ongoing".into(),
    };
    let stem = crate::render::foreign::cut(&story.stem, 60);
    format!("Note for your reports (copy it): {from} {} {to}: {stem}. Incident {}.", zone.name(), notification.incident)
}

/// Folded at 76 columns; words longer than that stay whole.
fn fold(out: &mut String, indent: &str, text: &str) {
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column == 0 {
            column = length;
        } else if column + 1 + length + indent.len() > COLUMNS {
            out.push('\n');
            out.push_str(indent);
            column = length;
        } else {
            out.push(' ');
            column += 1 + length;
        }
        out.push_str(word);
    }
    out.push('\n');
}

fn text(content: &Content) -> String {
    let mut out = String::new();
    fold(&mut out, "", &content.heading);
    out.push('\n');
    fold(&mut out, "", &content.fact.text());
    out.push('\n');
    for (name, value) in &content.rows {
        let colon = if name.ends_with('?') { "" } else { ":" };
        fold(&mut out, "    ", &format!("{name}{colon} {}", value.text()));
    }
    if let Some((heading, lines)) = &content.boxed {
        let _ = write!(out, "\n{heading}\n");
        for line in lines {
            out.push_str("  - ");
            fold(&mut out, "    ", line);
        }
    }
    let _ = write!(out, "\nIncident: {}\n", content.link);
    if let Some(runbook) = &content.runbook {
        let _ = writeln!(out, "Runbook: {runbook}");
    }
    for line in &content.foot {
        out.push('\n');
        fold(&mut out, "", line);
    }
    out
}

const STYLE: &str = "body{margin:0;padding:0}@media (prefers-color-scheme:dark){.bg{background:#16191d!important}.card{background:#20242a!important}\
.ink{color:#eceef0!important}.dim{color:#aeb4bc!important}.box{background:#2b2f2a!important;border-color:#5d6655!important}a{color:#8ab8f0!important}\
code{background:#2d323a!important}}";

fn html(content: &Content, story: &Story) -> String {
    let bar = if story.over {
        "#2e8540"
    } else if story.symbol == "🔴" {
        "#c4281c"
    } else {
        "#c77700"
    };
    let mut out = format!(
        r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark"><title>{heading}</title><style>{STYLE}</style></head>
<body class="bg" style="margin:0;padding:0;background:#f1f1ee">
<div style="display:none;max-height:0;overflow:hidden">{preview}</div>
<table role="presentation" class="bg" width="100%" cellpadding="0" cellspacing="0" style="background:#f1f1ee"><tr><td align="center" style="padding:12px 8px">
<table role="presentation" class="card" width="100%" cellpadding="0" cellspacing="0" style="max-width:600px;background:#ffffff;font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;font-size:16px;line-height:1.45">
<tr><td class="ink" style="padding:18px 18px 14px;border-left:5px solid {bar};color:#23272e"><h1 class="ink" style="margin:0 0 6px;font-size:21px;line-height:1.25;color:#23272e">{heading}</h1>
<p class="ink" style="margin:0;color:#23272e">{fact}</p></td></tr>
"#,
        heading = escape(&content.heading),
        preview = escape(&content.preview),
        fact = mark_up(&content.fact),
    );
    if content.chart.is_some() {
        let _ = writeln!(
            out,
            r#"<tr><td style="padding:0 12px 8px"><img src="cid:{CHART_ID}" alt="{}" width="576" style="display:block;width:100%;max-width:576px;height:auto;border:0;border-radius:4px"></td></tr>"#,
            escape(&content.alt)
        );
    }
    out.push_str(
        r#"<tr><td style="padding:4px 18px 8px"><table role="presentation" width="100%" cellpadding="0" cellspacing="0">"#,
    );
    for (name, value) in &content.rows {
        let _ = writeln!(
            out,
            r#"<tr><td class="dim" valign="top" style="padding:5px 12px 5px 0;width:104px;color:#5a616b;font-size:14px">{}</td><td class="ink" valign="top" style="padding:5px 0;color:#23272e">{}</td></tr>"#,
            escape(name),
            mark_up(value)
        );
    }
    out.push_str("</table></td></tr>\n");
    if let Some((heading, lines)) = &content.boxed {
        let _ = write!(
            out,
            r#"<tr><td style="padding:6px 18px 10px"><table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr><td class="box ink" style="padding:12px 14px;background:#f6f4e8;border:1px solid #ded9bd;color:#23272e"><h2 class="ink" style="margin:0 0 4px;font-size:16px;color:#23272e">{}</h2>"#,
            escape(heading)
        );
        for line in lines {
            let _ = write!(out, r#"<p class="ink" style="margin:4px 0;color:#23272e">{}</p>"#, escape(line));
        }
        out.push_str("</td></tr></table></td></tr>\n");
    }
    let link = |url: &str, label: &str| format!(r#"<a href="{}" style="color:#1a5fb4">{label}</a>"#, escape(url));
    let runbook = content.runbook.as_ref().map(|url| format!(" &nbsp;·&nbsp; {}", link(url, "Runbook"))).unwrap_or_default();
    let _ =
        write!(out, r#"<tr><td style="padding:4px 18px 6px">{}{runbook}</td></tr>"#, link(&content.link, "Open the incident"));
    out.push_str(r#"<tr><td class="dim" style="padding:6px 18px 18px;color:#5a616b;font-size:14px">"#);
    for line in &content.foot {
        let _ = write!(out, r#"<p class="dim" style="margin:6px 0;color:#5a616b">{}</p>"#, escape(line));
    }
    out.push_str("</td></tr></table></td></tr></table></body></html>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

fn mark_up(phrase: &Phrase) -> String {
    let span = |span: &Span| match span {
        Span::Plain(text) => escape(text),
        Span::Strong(text) => format!("<strong>{}</strong>", escape(text)),
        Span::Code(text) => format!(
            r#"<code style="font-family:Menlo,Consolas,monospace;font-size:14px;background:#f0f0ed;word-break:break-word">{}</code>"#,
            escape(text)
        ),
    };
    // A number and its sign stay on one line.
    phrase.0.iter().map(span).collect::<String>().replace(" %", "&nbsp;%")
}
