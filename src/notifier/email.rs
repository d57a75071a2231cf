//! Mail: one for each recipient, threaded by headers that need no memory.
//!
//! Message-IDs are derived from the incident, the sequence and the recipient: equal on every retry, and the first mail's is
//! known without having kept it. A delivery to several recipients is several mails; who has got theirs is noted in the
//! reference, so that a retry reaches only the others.

use std::collections::BTreeSet;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, Message, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::mail_body;
use crate::config::{self, MailTls};
use crate::model::{AttemptResult, Delivery, Notification, Reason, Severity, Timestamp};
use crate::render::foreign::cut;
use crate::render::{Audience, Story};

/// Characters of a subject.
const SUBJECT_CHARS: usize = 60;
/// Time for each step of the conversation, and for one mail as a whole.
const STEP: Duration = Duration::from_secs(15);
const WHOLE: Duration = Duration::from_secs(45);
/// Greylisting and busy servers want about a minute.
const TRY_AGAIN: Duration = Duration::from_secs(60);

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// The subject: the state in its first word, the same stem for all mails of an incident, the incident last.
pub fn subject(notification: &Notification, story: &Story) -> String {
    let word = match (story.over, notification.reason) {
        (true, _) => "Over: ",
        (false, Reason::Update) => "Update: ",
        (false, Reason::Repeat) => "Still on: ",
        (false, _) => "",
    };
    let tail = format!(" ({})", notification.incident);
    let room = SUBJECT_CHARS.saturating_sub(word.chars().count() + tail.chars().count()).max(12);
    format!("{word}{}{tail}", cut(&story.stem, room))
}

/// The Message-ID of the mail with that sequence number to that recipient.
pub fn message_id(notification: &Notification, sequence: u32, recipient: &str, domain: &str) -> String {
    let incident: String = notification.incident.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    format!("<{incident}.{sequence}.{}@{domain}>", recipient_hash(notification, recipient))
}

fn recipient_hash(notification: &Notification, recipient: &str) -> String {
    let key = format!("{}\n{}\n{}", notification.dedup_key, notification.receiver, recipient.to_lowercase());
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(key.as_bytes()))
}

/// The whole message to one recipient.
pub fn payload(
    config: &config::Email,
    notification: &Notification,
    story: &Story,
    audience: &Audience,
    recipient: &str,
    now: Timestamp,
) -> Result<Message, String> {
    let from: Mailbox = config.from.parse().map_err(|_| "the sender's address cannot be used".to_string())?;
    let to: Mailbox = recipient.parse().map_err(|_| "a recipient's address cannot be used".to_string())?;
    let domain = from.email.domain().to_string();
    let id = |sequence| message_id(notification, sequence, recipient, &domain);
    let date = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(now.secs()).unwrap_or(0));
    let mut builder = Message::builder().from(from.clone()).to(to).reply_to(from).date(date);
    builder = builder.subject(subject(notification, story)).message_id(Some(id(notification.sequence)));
    if notification.sequence > 1 {
        let root = id(1);
        let references =
            if notification.sequence > 2 { format!("{root} {}", id(notification.sequence - 1)) } else { root.clone() };
        builder = builder.in_reply_to(root).references(references);
    }
    let mut headers = vec![
        ("Auto-Submitted", "auto-generated".to_string()),
        ("X-Auto-Response-Suppress", "All".to_string()),
        ("List-Id", format!("spiked alerts <alerts.{domain}>")),
    ];
    if notification.severity == Severity::P0 && !story.over {
        headers.push(("Importance", "high".to_string()));
    }
    for (name, value) in headers {
        let name = HeaderName::new_from_ascii(name.to_string()).map_err(|_| "a header cannot be used".to_string())?;
        builder = builder.raw_header(HeaderValue::new(name, value));
    }
    let mail = mail_body::payload(notification, story, audience);
    let html = SinglePart::html(mail.html);
    let rich = match mail.chart {
        Some(png) => {
            let kind = "image/png".parse().map_err(|_| "image/png is no content type".to_string())?;
            MultiPart::related().singlepart(html).singlepart(Attachment::new_inline(mail_body::CHART_ID.into()).body(png, kind))
        }
        None => MultiPart::related().singlepart(html),
    };
    let body = MultiPart::alternative().singlepart(SinglePart::plain(mail.text)).multipart(rich);
    builder.multipart(body).map_err(|error| format!("the mail cannot be built: {error}"))
}

/// How one mail ended.
enum Mailed {
    Taken,
    Later(String),
    Refused(String),
    BadMessage(String),
    BadTarget(String),
}

/// Sends a mail to each recipient who has not got it yet.
pub async fn send(config: &config::Email, delivery: &Delivery, audience: &Audience<'_>, now: Timestamp) -> AttemptResult {
    let notification = &delivery.notification;
    let transport = match transport(config) {
        Ok(transport) => transport,
        Err(reason) => return AttemptResult::BadTarget { reason },
    };
    let story = super::told(notification, audience);
    let mut done = settled(delivery.reference.as_deref(), notification);
    let (mut later, mut refused, mut taken) = (None, None, !done.is_empty());
    for recipient in &config.to {
        let hash = recipient_hash(notification, recipient);
        if done.contains(&hash) {
            continue;
        }
        match mail(&transport, config, notification, &story, audience, recipient, now).await {
            Mailed::Taken => {
                taken = true;
                done.insert(hash);
            }
            // One bad address stops nobody else's mail.
            Mailed::Refused(reason) => {
                tracing::warn!(event = "recipient_refused", incident = %notification.incident, %reason, "one recipient got no mail");
                refused = Some(reason);
                done.insert(hash);
            }
            Mailed::Later(reason) => later = Some(reason),
            Mailed::BadMessage(reason) if !taken => return AttemptResult::BadMessage { reason },
            Mailed::BadTarget(reason) if !taken => return AttemptResult::BadTarget { reason },
            Mailed::BadMessage(reason) | Mailed::BadTarget(reason) => refused = Some(reason),
        }
    }
    let reference = format!("{}:{}", notification.id, done.into_iter().collect::<Vec<_>>().join(","));
    match (later, refused) {
        (Some(reason), _) if taken => AttemptResult::Partial { reference, reason, retry_after: Some(TRY_AGAIN) },
        (Some(reason), _) => AttemptResult::Transient { reason, retry_after: Some(TRY_AGAIN) },
        (None, Some(reason)) if !taken => AttemptResult::BadTarget { reason },
        (None, _) => AttemptResult::Delivered { reference: Some(reference) },
    }
}

/// The recipients that an earlier attempt of the same notification has settled.
fn settled(reference: Option<&str>, notification: &Notification) -> BTreeSet<String> {
    match reference.and_then(|reference| reference.split_once(':')) {
        Some((id, hashes)) if id == notification.id => hashes.split(',').filter(|h| !h.is_empty()).map(String::from).collect(),
        _ => BTreeSet::new(),
    }
}

async fn mail(
    transport: &Transport,
    config: &config::Email,
    notification: &Notification,
    story: &Story,
    audience: &Audience<'_>,
    recipient: &str,
    now: Timestamp,
) -> Mailed {
    let message = match payload(config, notification, story, audience, recipient, now) {
        Ok(message) => message,
        Err(reason) => return Mailed::Refused(reason),
    };
    let envelope: &Envelope = message.envelope();
    match tokio::time::timeout(WHOLE, transport.send_raw(envelope, &message.formatted())).await {
        Ok(Ok(_)) => Mailed::Taken,
        Ok(Err(error)) => classify(&error),
        Err(_) => Mailed::Later("no answer in time".into()),
    }
}

/// 4yz: later. 5yz: for the recipient, the message or the target by its number. All else is the way there: later.
fn classify(error: &lettre::transport::smtp::Error) -> Mailed {
    let Some(code) = error.status() else {
        let what = if error.is_timeout() {
            "no answer in time"
        } else if error.is_tls() {
            "TLS failed; check the certificate, ca_file and require_tls"
        } else if error.is_client() {
            "the server does not offer what is required (STARTTLS or a way to log in)"
        } else {
            "the connection failed or broke"
        };
        return Mailed::Later(what.into());
    };
    let number = code.to_string();
    let reason = format!("the mail server said {number}");
    match number.as_str() {
        "550" | "551" | "553" => Mailed::Refused(format!("{reason}: it does not take mail for this recipient")),
        "530" | "534" | "535" | "538" => Mailed::BadTarget(format!("{reason}: the login was refused")),
        number if number.starts_with('5') => Mailed::BadMessage(reason),
        _ => Mailed::Later(reason),
    }
}

fn transport(config: &config::Email) -> Result<Transport, String> {
    let (host, port) = config.smarthost.rsplit_once(':').ok_or("smarthost is not host:port")?;
    let host = host.trim_matches(['[', ']']);
    let port: u16 = port.parse().map_err(|_| "smarthost's port is not a number")?;
    let parameters = || -> Result<TlsParameters, String> {
        // Whoever came first has installed the same provider; an error only says so.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = TlsParameters::builder(host.to_string());
        if let Some(path) = &config.ca_file {
            let pem = std::fs::read(path).map_err(|error| format!("cannot read ca_file {}: {}", path.display(), error.kind()))?;
            let wrong = || format!("ca_file {} holds no certificate in PEM", path.display());
            builder = builder.add_root_certificate(Certificate::from_pem(&pem).map_err(|_| wrong())?);
        }
        builder.build_rustls().map_err(|_| "TLS cannot be set up for this smarthost".to_string())
    };
    let tls = match config.tls {
        MailTls::Required => Tls::Required(parameters()?),
        MailTls::Implicit => Tls::Wrapper(parameters()?),
        MailTls::Opportunistic => Tls::Opportunistic(parameters()?),
        MailTls::None => Tls::None,
    };
    let domain = config.from.rsplit('@').next().unwrap_or_default().trim_end_matches('>').to_string();
    let hello = if config.hello.is_empty() { domain } else { config.hello.clone() };
    let mut builder =
        Transport::builder_dangerous(host).port(port).tls(tls).timeout(Some(STEP)).hello_name(ClientId::Domain(hello));
    if let (false, Some(password)) = (config.auth_username.is_empty(), &config.auth_password) {
        builder = builder.credentials(Credentials::new(config.auth_username.clone(), password.expose().to_string()));
    }
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{sample, tell};
    use chrono_tz::Tz;

    #[test]
    fn subjects_share_a_stem_and_say_the_state_first() {
        let audience = Audience { view: config::View::Business, time_zone: Tz::UTC, external_url: "https://x.example" };
        let subject = |notification: Notification| subject(&notification, &tell(&notification, &audience));
        assert_eq!(subject(sample::fire()), "Errors at the payment step of checkout (SPK-1432)");
        assert_eq!(subject(sample::update()), "Update: Errors at the payment step of checkout (SPK-1432)");
        assert_eq!(subject(sample::resolve()), "Over: Errors at the payment step of checkout (SPK-1432)");
    }

    #[test]
    fn who_has_got_the_mail_is_read_from_this_notifications_reference_only() {
        let notification = sample::fire();
        assert_eq!(settled(Some("SPK-1432.1:a,b"), &notification).len(), 2);
        assert_eq!(settled(Some("SPK-1432.0:a,b"), &notification).len(), 0);
        assert_eq!(settled(None, &notification).len(), 0);
    }
}
