//! Secrets are planted in every place of the configuration that takes one, the services on the other side echo all they are
//! sent in their refusals, and then everything that spiked shows or writes is searched for them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use base64::Engine as _;

use crate::daemon::BURST;
use crate::harness::{Daemon, Place, error, run, times, view, wait_for};

const ADMIN: &str = "planted-admin-token-7f3a";
const KEY: &str = "planted-ingest-key-9c1e";
const SMTP: &str = "planted-smtp-password-4b2d";

/// Every planted secret as it is written, and as it may look in transit.
fn planted() -> Vec<String> {
    let mut all: Vec<String> =
        ["hook", "slack", "proxy", "bearer", "basic", "routing", "beat", "quoted"].map(|n| format!("planted-{n}-secret")).into();
    all.extend([ADMIN, KEY, SMTP].map(str::to_owned));
    all.push(signing_secret());
    let encoded: Vec<String> = all.iter().map(|secret| base64::prelude::BASE64_STANDARD.encode(secret)).collect();
    all.push(base64::prelude::BASE64_STANDARD.encode(format!("\0shop\0{SMTP}")));
    all.push(base64::prelude::BASE64_STANDARD.encode("user:planted-basic-secret"));
    all.extend(encoded);
    all
}

fn signing_secret() -> String {
    format!("whsec_{}", base64::prelude::BASE64_STANDARD.encode("planted-signing-secret"))
}

/// Answers every request with 400 and the request itself.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(parrot(stream)));
        }
    });
    url
}

fn parrot(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        if reader.read_line(&mut head)? == 0 || head[start..].trim().is_empty() {
            break;
        }
        if let Some(value) = head[start..].to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let said = format!("{head}{}", String::from_utf8_lossy(&body));
    write!(reader.get_mut(), "HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{said}", said.len())
}

/// A mail server that refuses the login with the words of the login.
fn echo_mail() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || -> std::io::Result<()> {
                let mut reader = BufReader::new(stream);
                write!(reader.get_mut(), "220 here\r\n")?;
                let mut line = String::new();
                while reader.read_line(&mut line)? > 0 {
                    let said = line.trim().to_owned();
                    line.clear();
                    let answer = if said.starts_with("EHLO") {
                        "250-here\r\n250 AUTH PLAIN LOGIN".into()
                    } else {
                        format!("535 no: {said}")
                    };
                    write!(reader.get_mut(), "{answer}\r\n")?;
                }
                Ok(())
            });
        }
    });
    address
}

fn config(http: &str, mail: &str) -> String {
    let port = http.rsplit(':').next().unwrap();
    format!(
        r#"
admin_token: {ADMIN}
sites: {{shop: {{keys: [{{key: {KEY}, kind: server}}]}}}}
heartbeat: {{url: "{http}/planted-beat-secret", every: 1s}}
global: {{smtp_smarthost: "{mail}", smtp_from: a@shop.example, smtp_auth_username: shop, smtp_auth_password: {SMTP}, smtp_require_tls: false}}
route:
  receiver: all
  group_by: ["..."]
  group_wait: 0s
receivers:
  - name: all
    slack_configs: [{{api_url: "{http}/planted-slack-secret"}}]
    pagerduty_configs: [{{routing_key: planted-routing-secret, url: "{http}/v2"}}]
    email_configs: [{{to: b@shop.example}}]
    webhook_configs:
      - {{url: "{http}/planted-hook-secret", signing_secret: {sign}, http_config: {{authorization: {{credentials: planted-bearer-secret}}}}}}
      - {{url: "{http}/x", http_config: {{basic_auth: {{username: user, password: planted-basic-secret}}}}}}
      - {{url: "http://127.0.0.1:9/planted-hook-secret", http_config: {{proxy_url: "http://u:planted-proxy-secret@127.0.0.1:{port}"}}}}
"#,
        sign = signing_secret()
    )
}

/// All bytes below a folder, the planted configuration left out.
fn written(folder: &Path, into: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            written(&entry.path(), into);
        } else {
            into.extend(std::fs::read(entry.path()).unwrap());
        }
    }
}

#[track_caller]
fn check_clean(what: &str, shown: &[u8]) {
    let shown = String::from_utf8_lossy(shown);
    for secret in planted() {
        if let Some(at) = shown.find(&secret) {
            let before: String = shown[..at].chars().rev().take(200).collect();
            panic!("{what} shows `{secret}` after …{}", before.chars().rev().collect::<String>());
        }
    }
}

fn pages(daemon: &Daemon) -> Vec<u8> {
    let admin = format!("Bearer {ADMIN}");
    let admin = [("authorization", admin.as_str())];
    let mut shown = Vec::new();
    for path in [
        "/",
        "/metrics",
        "/api/v1/incidents",
        "/api/v1/incidents/1",
        "/api/v1/deliveries",
        "/api/v1/rules",
        "/api/v1/outcomes",
        "/api/v1/series",
        "/-/ready",
        "/-/healthy",
        "/spiked.js",
        "/nothing",
    ] {
        let answer = daemon.ask("GET", path, &admin, b"");
        shown.extend(answer.head.into_bytes());
        shown.extend(answer.body);
    }
    for (path, body) in [("/login", "token=planted-quoted-secret"), ("/v1/events?key=planted-quoted-secret", "{")] {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        shown.extend(daemon.ask("POST", path, &form, body.as_bytes()).body);
    }
    shown
}

#[test]
fn planted_secrets_show_nowhere_even_if_services_echo_them() {
    let place = Place::new(&config(&echo(), &echo_mail()), BURST);
    let daemon = place.start_with(&["--log", "trace"]);
    let key = format!("Bearer {KEY}");
    let lines = [times(5, &error("/pay")), times(5, &view("/pay"))].concat().join("\n");
    assert_eq!(daemon.ask("POST", "/v1/events", &[("authorization", &key)], lines.as_bytes()).status, 200);
    // Every channel has heard its refusal.
    for channel in ["slack", "pagerduty", "email", "webhook"] {
        wait_for(channel, || daemon.log().contains(&format!("channel={channel}")).then_some(()));
    }
    daemon.wait_log("heartbeat_failed");
    check_clean("HTTP", &pages(&daemon));

    // A reload whose mistakes stand beside secrets, and one where a secret stands in the wrong place.
    let admin = format!("Bearer {ADMIN}");
    let admin = [("authorization", admin.as_str())];
    let good = config(&echo(), &echo_mail());
    for (from, to) in
        [("kind: server", "kind: sever"), ("routing_key: ", "routing_kee: "), ("every: 1s", "every: soon"), ("to: b@", "too: b@")]
    {
        place.configure(&good.replace(from, to));
        let reloaded = daemon.ask("POST", "/-/reload", &admin, b"");
        assert_eq!(reloaded.status, 500, "{to}");
        check_clean(&format!("the reload with `{to}`"), &reloaded.body);
        let checked = run(place.folder(), &["check", "spiked.yaml"], b"");
        assert_eq!(checked.status.code(), Some(1));
        check_clean(&format!("the check with `{to}`"), &checked.stdout);
    }
    wait_for("the configuration to be told as broken", || daemon.log().contains("reload_refused").then_some(()));
    check_clean("HTTP", &pages(&daemon));
    let (_, log) = daemon.stop();
    assert!(log.contains(" DEBUG "), "the log is not as talkative as this test needs");
    check_clean("the log", log.as_bytes());
    let mut bytes = Vec::new();
    written(&place.path("data"), &mut bytes);
    assert!(bytes.len() > 10_000);
    check_clean("the data folder", &bytes);
}

#[test]
fn a_proxy_that_hides_is_not_this_machine() {
    let place = Place::new("", "rules: []\n");
    let daemon = place.start();
    // As nginx asks behind a bare `proxy_pass`.
    let ask = |version: &str| {
        let mut stream = TcpStream::connect(daemon.address).unwrap();
        write!(stream, "GET /api/v1/rules {version}\r\nHost: {}\r\nConnection: close\r\n\r\n", daemon.address).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("HTTP/1.1").starts_with("HTTP/1.1 200"));
    let refused = ask("HTTP/1.0");
    assert!(refused.contains(" 403 "), "{refused}");
}
