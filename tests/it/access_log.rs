//! Access logs that the daemon follows: rotation, truncation, kill -9, and a real nginx.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use spiked::daemon::clock;

use crate::harness::{Daemon, Place, request, wait_for};

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36";
const BOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

fn source(format: &str) -> String {
    format!("sites: {{shop: {{}}}}\nsources: [{{access_log: \"{{dir}}/access.log\", format: {format}, site: shop}}]\n")
}

/// A request of now in the combined format.
fn line(path: &str, status: u16, agent: &str) -> String {
    let now = chrono::DateTime::from_timestamp(clock::now().secs(), 0).unwrap().format("%d/%b/%Y:%H:%M:%S +0000");
    format!("203.0.113.4 - - [{now}] \"GET {path} HTTP/1.1\" {status} 600 \"-\" \"{agent}\"\n")
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// Exact counts of a page; anything over fails at once.
#[track_caller]
fn counted(daemon: &Daemon, page: &str, views: u64, errors: u64) {
    let rows = daemon.counts(&format!("site=shop&page={page}"), views);
    assert_eq!(rows, [(page.to_owned(), views, errors)], "{}", daemon.log());
}

#[test]
fn lines_are_counted_once_through_rotation_truncation_and_kill_9() {
    let place = Place::new(&source("combined"), "rules: []\n");
    let log = place.path("access.log");
    append(&log, &line("/before", 200, AGENT).repeat(5));
    let daemon = place.start();
    // What was there before the first start is not read; from here on everything is.
    wait_for("the log to be followed", || {
        append(&log, &line("/first", 200, AGENT));
        (!daemon.json("/api/v1/series?page=/first")["series"].as_array()?.is_empty()).then_some(())
    });
    for n in 0..10 {
        append(&log, &line("/cart?x=1", if n < 3 { 502 } else { 200 }, AGENT));
        append(&log, &line("/cart", 200, BOT));
        append(&log, &line("/app.3f2a.js", 200, AGENT));
    }
    append(&log, "no line of an access log\n");
    counted(&daemon, "/cart", 10, 3);

    // Rename: the server goes on with the old file for a while.
    fs::rename(&log, place.path("access.log.1")).unwrap();
    append(&place.path("access.log.1"), &line("/cart", 200, AGENT));
    append(&log, &line("/cart", 500, AGENT));
    counted(&daemon, "/cart", 12, 4);

    // Copy and truncate, as logrotate does it.
    fs::rename(place.path("access.log.1"), place.path("access.log.2")).unwrap();
    fs::copy(&log, place.path("access.log.1")).unwrap();
    fs::write(&log, "").unwrap();
    append(&log, &line("/cart", 200, AGENT).repeat(2));
    counted(&daemon, "/cart", 14, 4);

    // Half a line, kill -9, the other half; and a rotation while nobody reads.
    let half = line("/cart", 200, AGENT);
    append(&log, &half[..40]);
    daemon.kill();
    append(&log, &half[40..]);
    fs::rename(place.path("access.log.2"), place.path("access.log.3")).unwrap();
    fs::rename(place.path("access.log.1"), place.path("access.log.2")).unwrap();
    fs::rename(&log, place.path("access.log.1")).unwrap();
    append(&log, &line("/cart", 504, AGENT));
    let daemon = place.start();
    counted(&daemon, "/cart", 16, 5);
    assert!(daemon.stop().0.success());
    append(&log, &line("/cart", 200, AGENT));
    let daemon = place.start();
    counted(&daemon, "/cart", 17, 5);
    assert_eq!(daemon.json("/api/v1/series?page=/before")["series"], Value::Array(Vec::new()));
}

#[test]
fn a_log_that_is_made_later_is_read_from_its_beginning_and_every_line_is_counted() {
    let place = Place::new(&source("json"), "rules: []\n");
    let daemon = place.start();
    let fixture = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/access_log/formats.txt")).unwrap();
    let lines = fixture.split("### ").find_map(|part| part.strip_prefix("json\n")).unwrap();
    let now = chrono::DateTime::from_timestamp(clock::now().secs(), 0).unwrap().to_rfc3339();
    append(&place.path("access.log"), &lines.replace("2026-11-21T07:37:55+00:00", &now));
    let rows = daemon.counts("", 3);
    let expected = [("/cart".to_owned(), 1, 0), ("/checkout/payment".to_owned(), 1, 1), ("/product".to_owned(), 1, 0)];
    assert_eq!(rows, expected);
    wait_for("all lines to be counted", || {
        let rows = daemon.json("/api/v1/outcomes")["outcomes"].as_array()?.clone();
        let sum: u64 = rows.iter().filter(|row| row["source"] == "access_log").filter_map(|row| row["lines"].as_u64()).sum();
        (sum == lines.lines().count() as u64).then_some(())
    });
}

/// A real nginx in a folder; ended when it is dropped.
struct Nginx {
    child: Child,
    address: SocketAddr,
    arguments: Vec<String>,
}

impl Nginx {
    /// `None` where nginx is not installed.
    fn start(folder: &Path, log_format: &str, format_name: &str) -> Option<Self> {
        let found = ["nginx", "/usr/sbin/nginx"].into_iter().find(|name| Command::new(name).arg("-v").output().is_ok())?;
        // A free port: nginx cannot say which one it was given.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dir = folder.display();
        fs::create_dir_all(folder.join("html")).unwrap();
        fs::write(folder.join("html/index.html"), "shop").unwrap();
        let text = format!(
            "daemon off;\nmaster_process on;\npid {dir}/nginx.pid;\nerror_log {dir}/error.log;\nworker_processes 1;\n\
             events {{}}\nhttp {{\n  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;\n  \
             uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;\n  {log_format}\n  access_log {dir}/access.log {format_name};\n  \
             server {{\n    listen {address};\n    location / {{ root {dir}/html; try_files /index.html =404; }}\n    \
             location /api/ {{ proxy_pass http://{dead}; }}\n  }}\n}}\n"
        );
        fs::write(folder.join("nginx.conf"), text).unwrap();
        let arguments: Vec<String> =
            [found, "-p", &dir.to_string(), "-e", &format!("{dir}/error.log"), "-c", &format!("{dir}/nginx.conf")]
                .map(str::to_owned)
                .to_vec();
        let child = Command::new(found).args(&arguments[1..]).stderr(Stdio::null()).spawn().unwrap();
        let mut nginx = Self { child, address, arguments };
        wait_for("nginx", || {
            assert!(
                nginx.child.try_wait().unwrap().is_none(),
                "{}",
                fs::read_to_string(folder.join("error.log")).unwrap_or_default()
            );
            std::net::TcpStream::connect(address).ok()
        });
        Some(nginx)
    }

    fn get(&self, path: &str, agent: &str) -> u16 {
        let headers = [("user-agent", agent), ("referer", "https://shop.example/?a=\"b\"")];
        request(self.address, "GET", path, &headers, b"").unwrap().status
    }

    fn reopen(&self) {
        let status = Command::new(&self.arguments[0]).args(&self.arguments[1..]).args(["-s", "reopen"]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with the master on SIGTERM, not on SIGKILL.
        let _ended = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ended = self.child.wait();
    }
}

#[track_caller]
fn check_nginx(log_format: &str, format_name: &str, source_format: &str) {
    let place = Place::new(&source(source_format), "rules: []\n");
    let Some(nginx) = Nginx::start(place.folder(), log_format, format_name) else {
        eprintln!("skipped: nginx is not installed");
        return;
    };
    let daemon = place.start();
    let expect = |nginx: &Nginx| {
        for _ in 0..4 {
            assert_eq!(nginx.get("/cart?utm_source=mail", AGENT), 200);
        }
        assert_eq!(nginx.get("/cart", BOT), 200);
        assert_eq!(nginx.get("/api/pay", AGENT), 502);
    };
    wait_for("the log to be followed", || {
        nginx.get("/warm", AGENT);
        (!daemon.json("/api/v1/series?page=/warm")["series"].as_array()?.is_empty()).then_some(())
    });
    expect(&nginx);
    counted(&daemon, "/cart", 4, 0);
    counted(&daemon, "/api/pay", 1, 1);
    fs::rename(place.path("access.log"), place.path("access.log.1")).unwrap();
    // Still into the old file.
    expect(&nginx);
    nginx.reopen();
    wait_for("the new file", || place.path("access.log").exists().then_some(()));
    expect(&nginx);
    counted(&daemon, "/cart", 12, 0);
    counted(&daemon, "/api/pay", 3, 3);
    daemon.kill();
    expect(&nginx);
    let daemon = place.start();
    counted(&daemon, "/cart", 16, 0);
    counted(&daemon, "/api/pay", 4, 4);
}

#[test]
fn nginx_combined() {
    check_nginx("", "combined", "combined");
}

#[test]
fn nginx_json() {
    let fields = "'{\"time_iso8601\":\"$time_iso8601\",\"request\":\"$request\",\"status\":\"$status\",' \
                  '\"http_user_agent\":\"$http_user_agent\",\"http_referer\":\"$http_referer\"}'";
    check_nginx(&format!("log_format main escape=json {fields};"), "main", "json");
}

#[test]
fn nginx_own_format() {
    let format =
        "$remote_addr [$time_iso8601] \"$request\" $status rt=\"$upstream_response_time\" \"$http_referer\" \"$http_user_agent\"";
    check_nginx(&format!("log_format main '{format}';"), "main", &format!("'{format}'"));
}
