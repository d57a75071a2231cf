//! What is sent to a daemon that is measured, and what listens to it. Bodies are made before the clock runs.
#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const STEPS: [&str; 5] = ["landing", "product", "cart", "payment", "confirm"];
const BROWSERS: [(&str, &str, &str); 4] = [
    ("Mobile Safari", "iOS", "mobile"),
    ("Chrome", "Windows", "desktop"),
    ("Firefox", "Windows", "desktop"),
    ("Edge", "Windows", "desktop"),
];
const COUNTRIES: [&str; 6] = ["DE", "AT", "CH", "FR", "NL", "PL"];
const SOURCES: [&str; 4] = ["direct", "organic", "paid_search", "email"];

/// Numbers that look drawn (Marsaglia's xorshift64*).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }
}

fn line(out: &mut String, draw: &mut Draw, page: usize, step: usize, is_error: bool) {
    let (browser, os, device) = BROWSERS[draw.below(4)];
    let (kind, session) = (if is_error { "error" } else { "view" }, draw.below(20_000));
    let (country, source, release) = (COUNTRIES[draw.below(6)], SOURCES[draw.below(4)], draw.below(2));
    let step = STEPS[step];
    let _ = write!(
        out,
        r#"{{"type":"{kind}","site":"shop","env":"production","page":"/c/shoes/p/{page}","step":"{step}","session":"s-{session:08}","count":1,"release":"web@4.2.{release}","browser":"{browser}","os":"{os}","device":"{device}","country":"{country}","source":"{source}""#
    );
    if is_error {
        let number = draw.below(100);
        let _ = write!(
            out,
            r#","error":{{"type":"TypeError","message":"no total {number}","stack":"TypeError\n    at submit (https://shop.example/app.js:{number}:1)"}}"#
        );
    }
    out.push_str("}\n");
}

fn request(body: &str) -> Vec<u8> {
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

/// Requests of `batch` events each; a few pages have most of them (Zipf, exponent 1), one in fifty is an error.
pub(crate) fn zipf_bodies(pages: usize, batch: usize, count: usize) -> Vec<Vec<u8>> {
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let weights: Vec<f64> = (1..=pages)
        .scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        })
        .collect();
    let all = weights[pages - 1];
    (0..count)
        .map(|_| {
            let mut body = String::new();
            for _ in 0..batch {
                let drawn = draw.below(1 << 30) as f64 / f64::from(1 << 30) * all;
                let page = weights.partition_point(|sum| *sum < drawn);
                let (step, is_error) = (draw.below(5), draw.below(50) == 0);
                line(&mut body, &mut draw, page, step, is_error);
            }
            request(&body)
        })
        .collect()
}

/// Requests with one view of each of so many series.
pub(crate) fn series_bodies(series: usize, batch: usize) -> Vec<Vec<u8>> {
    let mut draw = Draw(7);
    let bodies = (0..series).step_by(batch).map(|from| {
        let mut body = String::new();
        for number in from..(from + batch).min(series) {
            line(&mut body, &mut draw, number / 5, number % 5, false);
        }
        request(&body)
    });
    bodies.collect()
}

/// One view of each page.
pub(crate) fn views(pages: &[String]) -> Vec<u8> {
    let lines = pages.iter().map(|page| format!("{{\"type\":\"view\",\"site\":\"shop\",\"page\":\"{page}\"}}\n"));
    request(&lines.collect::<String>())
}

/// Two hundred errors of one page.
pub(crate) fn burst(address: SocketAddr, page: &str) {
    let line = format!("{{\"type\":\"error\",\"site\":\"shop\",\"page\":\"{page}\",\"error\":{{\"type\":\"PaymentError\"}}}}\n");
    send_all(address, &[request(&line.repeat(200))], 1);
}

/// Sends every request once, over so many connections.
pub(crate) fn send_all(address: SocketAddr, requests: &[Vec<u8>], connections: usize) {
    let next = AtomicUsize::new(0);
    let take = || requests.get(next.fetch_add(1, Ordering::Relaxed));
    send(address, connections, &take);
}

/// Sends requests, over and over, for a time; returns how many were answered.
pub(crate) fn send_for(address: SocketAddr, requests: &[Vec<u8>], connections: usize, time: Duration) -> usize {
    let (next, end) = (AtomicUsize::new(0), Instant::now() + time);
    let take = || (Instant::now() < end).then(|| &requests[next.fetch_add(1, Ordering::Relaxed) % requests.len()]);
    send(address, connections, &take);
    next.load(Ordering::Relaxed)
}

fn send<'r>(address: SocketAddr, connections: usize, take: &(impl Fn() -> Option<&'r Vec<u8>> + Sync)) {
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(address).expect("the daemon listens");
                stream.set_nodelay(true).expect("a socket");
                let mut answers = BufReader::new(stream.try_clone().expect("a socket"));
                while let Some(request) = take() {
                    stream.write_all(request).expect("the daemon reads");
                    let answer = message(&mut answers).expect("the daemon answers");
                    assert!(answer.0.contains(" 200 "), "{}", answer.0);
                }
            });
        }
    });
}

/// One HTTP message: its first line and its body.
fn message(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let (mut first, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if first.is_empty() {
            first = line;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first, body))
}

/// Hears messages, with the time at which each came.
pub(crate) struct Hook {
    pub(crate) url: String,
    heard: Receiver<(Instant, String)>,
}

impl Hook {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let (tell, heard) = channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let tell = tell.clone();
                std::thread::spawn(move || {
                    let Ok(copy) = stream.try_clone() else { return };
                    let mut reader = BufReader::new(copy);
                    while let Some((_, body)) = message(&mut reader) {
                        let told = tell.send((Instant::now(), String::from_utf8_lossy(&body).into_owned()));
                        if told.is_err() || stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { url, heard }
    }

    /// When a message came that names a page.
    pub(crate) fn wait_for(&self, page: &str, longest: Duration) -> Option<Instant> {
        let (named, end) = (format!("\"{page}\""), Instant::now() + longest);
        while let Ok((at, body)) = self.heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if body.contains(&named) {
                return Some(at);
            }
        }
        None
    }
}
