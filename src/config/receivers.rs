//! `global:` and `receivers:` with Alertmanager's key names. What Alertmanager reads and spiked does not is said aloud, not refused.

use super::diagnostic::{Level, did_you_mean};
use super::http::{self, Http};
use super::intervals::zone;
use super::raw::{Check, Kind, Map, Node};
use super::{Email, Integration, MailTls, PagerDuty, Receiver, Slack, View, Webhook};
use crate::model::Secret;

/// Keys of `global:` that are read.
pub(super) const GLOBAL: [&str; 17] = [
    "smtp_from",
    "smtp_smarthost",
    "smtp_hello",
    "smtp_auth_username",
    "smtp_auth_password",
    "smtp_auth_password_file",
    "smtp_require_tls",
    "smtp_force_implicit_tls",
    "smtp_tls_config",
    "slack_api_url",
    "slack_api_url_file",
    "pagerduty_url",
    "http_config",
    "resolve_timeout",
    "smtp_auth_identity",
    "smtp_auth_secret",
    "smtp_auth_secret_file",
];
/// Keys of `global:` that Alertmanager reads and spiked does not.
pub(super) const GLOBAL_UNREAD: [&str; 28] = [
    "slack_app_token",
    "slack_app_token_file",
    "slack_app_url",
    "victorops_api_key",
    "victorops_api_key_file",
    "victorops_api_url",
    "opsgenie_api_key",
    "opsgenie_api_key_file",
    "opsgenie_api_url",
    "rocketchat_api_url",
    "rocketchat_token",
    "rocketchat_token_file",
    "rocketchat_token_id",
    "rocketchat_token_id_file",
    "wechat_api_url",
    "wechat_api_secret",
    "wechat_api_secret_file",
    "wechat_api_corp_id",
    "telegram_api_url",
    "telegram_bot_token",
    "telegram_bot_token_file",
    "webex_api_url",
    "mattermost_webhook_url",
    "mattermost_webhook_url_file",
    "jira_api_url",
    "hipchat_api_url",
    "hipchat_auth_token",
    "victorops_url",
];
/// Keys of a receiver that are read.
pub(super) const RECEIVER: [&str; 9] = [
    "name",
    "view",
    "time_zone",
    "fallback",
    "slack_configs",
    "email_configs",
    "pagerduty_configs",
    "webhook_configs",
    "terminal_configs",
];
/// Integrations that Alertmanager has and spiked does not.
pub(super) const RECEIVER_UNREAD: [&str; 16] = [
    "discord_configs",
    "msteams_configs",
    "msteamsv2_configs",
    "incidentio_configs",
    "jira_configs",
    "opsgenie_configs",
    "pushover_configs",
    "rocketchat_configs",
    "sns_configs",
    "telegram_configs",
    "victorops_configs",
    "webex_configs",
    "wechat_configs",
    "mattermost_configs",
    "hipchat_configs",
    "opsramp_configs",
];
/// Keys of an entry of `slack_configs` that are read.
pub(super) const SLACK: [&str; 5] = ["api_url", "api_url_file", "send_resolved", "http_config", "timeout"];
/// Keys of an entry of `slack_configs` that Alertmanager reads and spiked does not.
pub(super) const SLACK_UNREAD: [&str; 25] = [
    "channel",
    "username",
    "icon_emoji",
    "icon_url",
    "link_names",
    "actions",
    "callback_id",
    "color",
    "fallback",
    "fields",
    "footer",
    "mrkdwn_in",
    "pretext",
    "short_fields",
    "text",
    "title",
    "title_link",
    "image_url",
    "thumb_url",
    "message_text",
    "app_token",
    "app_token_file",
    "app_url",
    "update_message",
    "unfurl_links",
];
/// Keys of an entry of `email_configs` that are read.
pub(super) const EMAIL: [&str; 11] = [
    "to",
    "from",
    "smarthost",
    "hello",
    "auth_username",
    "auth_password",
    "auth_password_file",
    "require_tls",
    "force_implicit_tls",
    "tls_config",
    "send_resolved",
];
/// Keys of an entry of `email_configs` that Alertmanager reads and spiked does not.
pub(super) const EMAIL_UNREAD: [&str; 7] =
    ["auth_secret", "auth_secret_file", "auth_identity", "html", "text", "headers", "threading"];
/// Keys of an entry of `pagerduty_configs` that are read.
pub(super) const PAGERDUTY: [&str; 6] = ["routing_key", "routing_key_file", "url", "send_resolved", "http_config", "timeout"];
/// Keys of an entry of `pagerduty_configs` that Alertmanager reads and spiked does not.
pub(super) const PAGERDUTY_UNREAD: [&str; 13] = [
    "service_key",
    "service_key_file",
    "client",
    "client_url",
    "description",
    "severity",
    "source",
    "details",
    "images",
    "links",
    "component",
    "group",
    "class",
];
/// Keys of an entry of `webhook_configs` that are read.
pub(super) const WEBHOOK: [&str; 8] =
    ["url", "url_file", "signing_secret", "signing_secret_file", "max_alerts", "send_resolved", "http_config", "timeout"];
/// Keys of an entry of `webhook_configs` that Alertmanager reads and spiked does not.
pub(super) const WEBHOOK_UNREAD: [&str; 1] = ["payload"];

const PAGERDUTY_URL: &str = "https://events.pagerduty.com/v2/enqueue";

/// What `global:` says for all receivers.
#[derive(Default)]
pub(super) struct Global {
    mail: Mail,
    slack_api_url: Option<Secret>,
    pagerduty_url: Option<String>,
    http: Http,
}

/// The mail settings of `global:` or of one integration.
#[derive(Clone, Default)]
struct Mail {
    from: Option<String>,
    smarthost: Option<String>,
    hello: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
    require_tls: Option<bool>,
    implicit_tls: Option<bool>,
    ca_file: Option<std::path::PathBuf>,
}

/// Reads the section.
pub(super) fn global(check: &mut Check<'_>, node: Option<&Node>) -> Global {
    let Some(node) = node else { return Global::default() };
    let map = half_known(check, node, "`global`", &GLOBAL, &GLOBAL_UNREAD);
    for key in ["resolve_timeout", "smtp_auth_identity", "smtp_auth_secret", "smtp_auth_secret_file"] {
        if let (Some(key_node), Some(_)) = (map.key(key), map.get(key)) {
            let why =
                if key == "resolve_timeout" { "alerts resolve by their own statistics" } else { "PLAIN and LOGIN are spoken" };
            check.say(Level::Note, key_node.place, format!("`{key}` is not read: {why}"), None);
        }
    }
    Global {
        mail: mail(check, &map, "smtp_"),
        slack_api_url: check
            .secret(&map, "slack_api_url")
            .inspect(|url| http::check_secret_url(check, &map, "slack_api_url", url)),
        pagerduty_url: map.get("pagerduty_url").map(|node| http::url(check, node, "`pagerduty_url`")),
        http: map.get("http_config").map(|node| http::http_config(check, node)).unwrap_or_default(),
    }
}

fn mail(check: &mut Check<'_>, map: &Map<'_>, prefix: &str) -> Mail {
    let key = |name: &str| format!("{prefix}{name}");
    let mut text = |name: &str| map.get(&key(name)).map(|node| check.text(node, &format!("`{}`", key(name))));
    let (from, smarthost, hello, username) = (text("from"), text("smarthost"), text("hello"), text("auth_username"));
    if let (Some(host), Some(node)) = (&smarthost, map.get(&key("smarthost"))) {
        let port = host.rsplit_once(':').filter(|(name, _)| !name.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() && !host.is_empty() {
            check.error_hint(
                node,
                format!("`{}` must be host:port", key("smarthost")),
                "write for example mail.shop.example:587",
            );
        }
    }
    Mail {
        from,
        smarthost,
        hello,
        username,
        password: check.secret(map, &key("auth_password")),
        require_tls: map.get(&key("require_tls")).map(|node| check.boolean(node, &format!("`{}`", key("require_tls")), true)),
        implicit_tls: map.get(&key("force_implicit_tls")).map(|node| check.boolean(node, "`force_implicit_tls`", false)),
        ca_file: map.get(&key("tls_config")).and_then(|node| http::tls_config(check, node)),
    }
}

/// Reads the section; names must be unique.
pub(super) fn receivers(check: &mut Check<'_>, node: &Node, global: &Global) -> Vec<Receiver> {
    let mut out: Vec<Receiver> = Vec::new();
    for item in check.list(node, "`receivers`") {
        let map = receiver_map(check, item);
        let Some(name_node) = map.get("name") else {
            check.error(item, "the receiver has no `name`");
            continue;
        };
        let name = check.text(name_node, "`name`");
        if out.iter().any(|known| known.name == name) {
            check.error(name_node, format!("receiver `{name}` is defined twice"));
        }
        let view = map.get("view").map_or(View::Technical, |node| match check.text(node, "`view`").as_str() {
            "technical" => View::Technical,
            "business" => View::Business,
            other => {
                let hint = did_you_mean(other, ["technical", "business"]);
                check.say(Level::Error, node.place, format!("`view` is technical or business, but this is `{other}`"), hint);
                View::Technical
            }
        });
        let time_zone = map.get("time_zone").map(|node| zone(check, node, "`time_zone`"));
        let fallback = map.get("fallback").map(|node| check.text(node, "`fallback`")).unwrap_or_default();
        let integrations = integrations(check, &map, &name, name_node, global);
        out.push(Receiver { name, view, time_zone, fallback, integrations });
    }
    out
}

/// `fallback` of each receiver must name another one, and lead to an end.
pub(super) fn fallbacks(check: &mut Check<'_>, node: &Node, receivers: &[Receiver]) {
    for item in node.items() {
        let (Some(name), Some(node)) = (item.get("name").and_then(Node::scalar), item.get("fallback")) else { continue };
        let Some(receiver) = receivers.iter().find(|receiver| receiver.name == name) else { continue };
        let mut at = receiver;
        for _ in 0..=receivers.len() {
            let Some(next) = receivers.iter().find(|other| other.name == at.fallback) else { break };
            if next.name == receiver.name {
                check.error(node, format!("the fallbacks of `{name}` lead back to itself"));
                break;
            }
            at = next;
        }
        let known = receivers.iter().map(|receiver| receiver.name.as_str());
        if !receiver.fallback.is_empty() && !known.clone().any(|name| name == receiver.fallback) {
            let hint = did_you_mean(&receiver.fallback, known);
            check.say(Level::Error, node.place, format!("receiver `{}` is not defined", receiver.fallback), hint);
        }
    }
}

fn integrations(check: &mut Check<'_>, map: &Map<'_>, name: &str, name_node: &Node, global: &Global) -> Vec<Integration> {
    let mut out = Vec::new();
    let mut unread = false;
    let errors = check.errors();
    for (key, value) in &map.pairs {
        let kind = key.scalar().unwrap_or("");
        if RECEIVER_UNREAD.contains(&kind) {
            check.say(
                Level::Warning,
                key.place,
                format!("`{kind}` is not supported yet: receiver `{name}` will not use it"),
                None,
            );
            unread = true;
        }
        if !kind.ends_with("_configs") || !RECEIVER.contains(&kind) {
            continue;
        }
        for item in check.list(value, &format!("`{kind}`")) {
            out.extend(match kind {
                "slack_configs" => slack(check, item, global).map(Integration::Slack),
                "email_configs" => email(check, item, global).map(Integration::Email),
                "pagerduty_configs" => pagerduty(check, item, global).map(Integration::PagerDuty),
                "webhook_configs" => webhook(check, item, global).map(Integration::Webhook),
                _ => {
                    check.map(item, "`terminal_configs`", &[]);
                    Some(Integration::Terminal)
                }
            });
        }
    }
    if out.is_empty() && check.errors() == errors {
        let why = if unread { " that is supported" } else { "" };
        check.warn(name_node, format!("receiver `{name}` has no integration{why}: it tells nobody"));
    }
    out
}

fn slack(check: &mut Check<'_>, node: &Node, global: &Global) -> Option<Slack> {
    let map = half_known(check, node, "`slack_configs`", &SLACK, &SLACK_UNREAD);
    let own = check.secret(&map, "api_url").inspect(|url| http::check_secret_url(check, &map, "api_url", url));
    let said = map.get("api_url").is_some() || map.get("api_url_file").is_some();
    let api_url = own.or_else(|| global.slack_api_url.clone().filter(|_| !said));
    if api_url.is_none() && !said {
        check.error_hint(
            node,
            "`slack_configs` needs an incoming webhook",
            "give `api_url`, `api_url_file`, or `slack_api_url` under `global`",
        );
    }
    Some(Slack { api_url: api_url?, send_resolved: send_resolved(check, &map), http: http::of(check, &map, &global.http) })
}

fn pagerduty(check: &mut Check<'_>, node: &Node, global: &Global) -> Option<PagerDuty> {
    let map = half_known(check, node, "`pagerduty_configs`", &PAGERDUTY, &PAGERDUTY_UNREAD);
    let key = check.secret(&map, "routing_key");
    if key.is_none() && map.get("routing_key").is_none() && map.get("routing_key_file").is_none() {
        let hint = "give the integration key of an Events API v2 integration";
        if map.get("service_key").is_some() || map.get("service_key_file").is_some() {
            check.say(
                Level::Warning,
                node.place,
                "`service_key` is PagerDuty's old API, which is not spoken",
                Some(hint.to_owned()),
            );
        } else {
            check.error_hint(node, "`pagerduty_configs` needs `routing_key` or `routing_key_file`", hint);
        }
    }
    let url = map.get("url").map(|node| http::url(check, node, "`url`")).or_else(|| global.pagerduty_url.clone());
    let (send_resolved, http) = (send_resolved(check, &map), http::of(check, &map, &global.http));
    Some(PagerDuty { routing_key: key?, url: url.unwrap_or_else(|| PAGERDUTY_URL.to_owned()), send_resolved, http })
}

fn webhook(check: &mut Check<'_>, node: &Node, global: &Global) -> Option<Webhook> {
    let map = half_known(check, node, "`webhook_configs`", &WEBHOOK, &WEBHOOK_UNREAD);
    let url = check.secret(&map, "url").inspect(|url| http::check_secret_url(check, &map, "url", url));
    if url.is_none() && map.get("url").is_none() && map.get("url_file").is_none() {
        check.error(node, "`webhook_configs` needs `url` or `url_file`");
    }
    let signing_secret = check.secret(&map, "signing_secret");
    let max_alerts = map.get("max_alerts").map_or(0, |node| check.whole(node, "`max_alerts`") as usize);
    let (send_resolved, http) = (send_resolved(check, &map), http::of(check, &map, &global.http));
    Some(Webhook { url: url?, signing_secret, max_alerts, send_resolved, http })
}

fn email(check: &mut Check<'_>, node: &Node, global: &Global) -> Option<Email> {
    let map = half_known(check, node, "`email_configs`", &EMAIL, &EMAIL_UNREAD);
    let own = mail(check, &map, "");
    let errors = check.errors();
    let to: Vec<String> = map.get("to").map(|node| check.texts(node, "`to`")).unwrap_or_default();
    let to: Vec<String> =
        to.iter().flat_map(|to| to.split(',')).map(|to| to.trim().to_owned()).filter(|to| !to.is_empty()).collect();
    if to.is_empty() && check.errors() == errors {
        check.error(node, "`email_configs` needs `to`");
    }
    let from = own.from.or_else(|| global.mail.from.clone());
    let smarthost = own.smarthost.or_else(|| global.mail.smarthost.clone());
    for (value, key) in [(&from, "from"), (&smarthost, "smarthost")] {
        if value.as_ref().is_none_or(String::is_empty) {
            check.error_hint(
                node,
                format!("the mail has no `{key}`"),
                format!("give `{key}` here or `smtp_{key}` under `global`"),
            );
        }
    }
    for address in to.iter().chain(&from) {
        if !address.contains('@') && !address.is_empty() {
            check.error(map.get("to").unwrap_or(node), format!("`{address}` is not a mail address"));
        }
    }
    let smarthost = smarthost?;
    let require = own.require_tls.or(global.mail.require_tls).unwrap_or(true);
    let implicit = own.implicit_tls.or(global.mail.implicit_tls);
    Some(Email {
        to,
        from: from?,
        hello: own.hello.or_else(|| global.mail.hello.clone()).unwrap_or_default(),
        auth_username: own.username.or_else(|| global.mail.username.clone()).unwrap_or_default(),
        auth_password: own.password.or_else(|| global.mail.password.clone()),
        tls: mail_tls(&smarthost, require, implicit),
        smarthost,
        ca_file: own.ca_file.or_else(|| global.mail.ca_file.clone()),
        send_resolved: send_resolved(check, &map),
    })
}

/// Port 465 speaks TLS from the first byte; without `require_tls` a loopback relay is spoken to plainly, others by chance.
fn mail_tls(smarthost: &str, require: bool, implicit: Option<bool>) -> MailTls {
    let (host, port) = smarthost.rsplit_once(':').unwrap_or((smarthost, ""));
    let loopback = host == "localhost" || host.starts_with("127.") || matches!(host, "::1" | "[::1]");
    match (implicit.unwrap_or(port == "465"), require) {
        (true, _) => MailTls::Implicit,
        (false, true) => MailTls::Required,
        (false, false) if loopback => MailTls::None,
        (false, false) => MailTls::Opportunistic,
    }
}

fn send_resolved(check: &mut Check<'_>, map: &Map<'_>) -> bool {
    map.get("send_resolved").is_none_or(|node| check.boolean(node, "`send_resolved`", true))
}

/// A mapping of which Alertmanager reads more than spiked: keys known to it alone are a note, keys known to neither an error.
pub(super) fn half_known<'n>(check: &mut Check<'_>, node: &'n Node, what: &str, read: &[&str], unread: &[&str]) -> Map<'n> {
    let map = check.any_map(node, what);
    for (key, value) in &map.pairs {
        let name = key.scalar().unwrap_or("");
        if read.contains(&name) {
            continue;
        }
        if unread.contains(&name) {
            if value.kind != Kind::Null {
                check.say(Level::Note, key.place, format!("`{name}` of {what} is Alertmanager's and not read by spiked"), None);
            }
        } else {
            let hint = did_you_mean(name, read.iter().chain(unread).copied());
            check.say(Level::Error, key.place, format!("unknown key `{name}` in {what}"), hint);
        }
    }
    map
}

/// Like [`half_known`], but silent about the integrations that are not read: [`integrations`] says more about them.
fn receiver_map<'n>(check: &mut Check<'_>, node: &'n Node) -> Map<'n> {
    let all: Vec<&str> = RECEIVER.into_iter().chain(RECEIVER_UNREAD).collect();
    check.map(node, "a receiver", &all)
}
