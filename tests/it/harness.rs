//! The real binary in a folder of its own: configured, started, killed, asked over HTTP; and a receiver that keeps what it hears.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use spiked::daemon::clock;

/// How long a state may take to come about: far longer than it does, so that a busy machine fails no test.
pub(crate) const SOON: Duration = Duration::from_secs(40);

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_at_most(SOON, what, ask)
}

/// As [`wait_for`], for what takes its time.
#[track_caller]
pub(crate) fn wait_at_most<T>(time: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = clock::monotonic() + time;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(clock::monotonic() < end, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// The built command.
pub(crate) fn spiked() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spiked"));
    for name in ["RUST_LOG", "JOURNAL_STREAM", "INVOCATION_ID", "NOTIFY_SOCKET", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end with `input` on standard input.
pub(crate) fn run(folder: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut child = spiked()
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// A folder with a configuration, rules and data.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// `config` goes below the address, the data folder and the rule files; `{dir}` stands for the folder.
    pub(crate) fn new(config: &str, rules: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(place.path("rules")).unwrap();
        place.configure(config);
        place.write("rules/test.yaml", rules);
        place
    }

    /// Writes another configuration.
    pub(crate) fn configure(&self, config: &str) {
        let head = "listen: 127.0.0.1:0\ndata_dir: \"{dir}/data\"\nrule_files: [\"{dir}/rules/*.yaml\"]\n";
        self.write("spiked.yaml", &format!("{head}{config}").replace("{dir}", &self.folder.path().display().to_string()));
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces a file at once, as editors do.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let aside = self.path("aside");
        fs::write(&aside, text).unwrap();
        fs::rename(aside, self.path(name)).unwrap();
    }

    pub(crate) fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    /// Starts the daemon and waits until it takes events.
    pub(crate) fn start_with(&self, args: &[&str]) -> Daemon {
        let mut daemon = self.spawn(args);
        daemon.wait_started();
        daemon
    }

    /// Starts the daemon and waits for nothing.
    pub(crate) fn spawn(&self, args: &[&str]) -> Daemon {
        let config = self.path("spiked.yaml").display().to_string();
        let mut child = spiked()
            .args(["run", "--config", &config])
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        collect(child.stderr.take().unwrap(), Arc::clone(&log));
        collect(child.stdout.take().unwrap(), Arc::clone(&log));
        Daemon { child, log, address: ([127, 0, 0, 1], 0).into() }
    }
}

fn collect(stream: impl Read + Send + 'static, into: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            let mut log = into.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
}

/// A running daemon; killed when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    pub(crate) address: SocketAddr,
}

impl Daemon {
    /// All it has printed so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it takes events, and learns where.
    #[track_caller]
    pub(crate) fn wait_started(&mut self) {
        self.address = wait_for("the daemon to start", || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended with {ended:?}:\n{}", self.log());
            let log = self.log();
            let line = log.lines().find(|line| line.contains("event=\"started\""))?;
            line.split_whitespace().find_map(|field| field.strip_prefix("listen="))?.parse().ok()
        });
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub(crate) fn wait_log(&self, text: &str) {
        wait_for(&format!("`{text}` in the log"), || self.log().contains(text).then_some(()));
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// SIGTERM, and the end.
    pub(crate) fn stop(mut self) -> (ExitStatus, String) {
        self.signal("-TERM");
        let status = wait_for("the daemon to stop", || self.child.try_wait().unwrap());
        wait_for("the end of its log", || self.log().contains("event=\"stopped").then_some(()));
        (status, self.log())
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    #[track_caller]
    pub(crate) fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Posts native events; they must all be taken.
    #[track_caller]
    pub(crate) fn send(&self, lines: &[String]) {
        let body = lines.join("\n");
        let answer = self.ask("POST", "/v1/events", &[], body.as_bytes());
        let all = format!(r#"{{"accepted":{},"rejected":[]}}"#, lines.len());
        assert_eq!((answer.status, answer.text()), (200, all));
    }

    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        request(self.address, method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The rows of `/api/v1/series` as (page, views, errors), once there are as many views as expected.
    #[track_caller]
    pub(crate) fn counts(&self, query: &str, views: u64) -> Vec<(String, u64, u64)> {
        let read = || -> Vec<(String, u64, u64)> {
            let rows = self.json(&format!("/api/v1/series?{query}"));
            let row = |row: &Value| {
                let page = row["page"].as_str().unwrap_or("-").to_owned();
                (page, row["views"].as_u64().unwrap(), row["errors"].as_u64().unwrap())
            };
            rows["series"].as_array().unwrap().iter().map(row).collect()
        };
        let sum = |rows: &[(String, u64, u64)]| rows.iter().map(|row| row.1).sum::<u64>();
        let end = clock::monotonic() + SOON;
        loop {
            let rows = read();
            if sum(&rows) >= views || clock::monotonic() > end {
                assert_eq!(sum(&rows), views, "{rows:?}\n{}", self.log());
                return rows;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    /// The incidents in this state, newest first.
    pub(crate) fn incidents(&self, state: &str) -> Vec<Value> {
        let all = self.json("/api/v1/incidents")["incidents"].as_array().unwrap().clone();
        all.into_iter().filter(|incident| incident["state"] == state).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log:\n{}", self.log());
        }
    }
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One request on a connection of its own.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SOON))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    // A refusal may come before the whole body was read.
    let _refused = stream.write_all(body);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let bad = || std::io::Error::other("the answer was cut off");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or_else(bad)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(bad)?;
    let body = answer.split_off(end + 4);
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    if length.is_some_and(|length: usize| length != body.len()) {
        return Err(bad());
    }
    Ok(Answer { status, head, body })
}

/// A message as a webhook got it.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    /// `webhook-id`: the same for the same message.
    pub(crate) id: String,
    /// How often [`Hook::settle`] was called before it came.
    pub(crate) life: u32,
    pub(crate) body: Value,
}

#[derive(Default)]
struct Heard {
    letters: Mutex<Vec<Letter>>,
    life: AtomicU32,
    open: AtomicUsize,
    refuses: AtomicBool,
}

/// A webhook that answers 200 and keeps all it is sent.
pub(crate) struct Hook {
    pub(crate) url: String,
    address: SocketAddr,
    heard: Arc<Heard>,
}

impl Hook {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Heard::default());
        let kept = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                kept.open.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let _cut = hear(stream, &kept);
                    kept.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { url: format!("http://{address}/hook"), address, heard }
    }

    /// From now on answers 503 and keeps nothing, or does no more.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.heard.refuses.store(refuses, Ordering::SeqCst);
    }

    /// All that was heard, oldest first.
    pub(crate) fn letters(&self) -> Vec<Letter> {
        self.heard.letters.lock().unwrap().clone()
    }

    /// What was heard of an alert, oldest first.
    pub(crate) fn heard(&self, alert: &str) -> Vec<Value> {
        let letters = self.heard.letters.lock().unwrap();
        letters.iter().map(|letter| &letter.body).filter(|body| body["commonLabels"]["alertname"] == alert).cloned().collect()
    }

    /// As [`heard`](Self::heard), each message once: one that was on its way at a crash may come twice, the same.
    pub(crate) fn told(&self, alert: &str) -> Vec<Value> {
        let mut ids = std::collections::BTreeSet::new();
        let letters = self.letters().into_iter().filter(|letter| letter.body["commonLabels"]["alertname"] == alert);
        letters.filter(|letter| ids.insert(letter.id.clone())).map(|letter| letter.body).collect()
    }

    /// After the death of a sender: takes in all that it had sent, so that what comes from now on is its successor's.
    #[track_caller]
    pub(crate) fn settle(&self) {
        // Connections are accepted in order: when this one is answered, those before it are.
        request(self.address, "GET", "/", &[], b"").unwrap();
        wait_for("the connections to end", || (self.heard.open.load(Ordering::SeqCst) == 0).then_some(()));
        self.heard.life.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until the newest message about an alert has this status, and gives it.
    #[track_caller]
    pub(crate) fn wait(&self, alert: &str, status: &str) -> Value {
        wait_for(&format!("{alert} to be told as {status}"), || self.heard(alert).pop().filter(|body| body["status"] == status))
    }
}

fn hear(stream: TcpStream, heard: &Heard) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut id, mut last) = (0, String::new(), false);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            match name.to_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "webhook-id" => value.trim().clone_into(&mut id),
                "connection" => last = value.trim().eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if heard.refuses.load(Ordering::SeqCst) {
            reader.get_mut().write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")?;
            continue;
        }
        if length > 0 {
            let body = serde_json::from_slice(&body).unwrap_or_default();
            heard.letters.lock().unwrap().push(Letter { id, life: heard.life.load(Ordering::SeqCst), body });
        }
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        if last {
            return Ok(());
        }
    }
}

/// A view.
pub(crate) fn view(page: &str) -> String {
    format!(r#"{{"type":"view","site":"shop","page":"{page}"}}"#)
}

/// An error.
pub(crate) fn error(page: &str) -> String {
    format!(r#"{{"type":"error","site":"shop","page":"{page}","error":{{"type":"PaymentError","message":"declined"}}}}"#)
}

/// `count` times the same line.
pub(crate) fn times(count: usize, line: &str) -> Vec<String> {
    vec![line.to_owned(); count]
}
