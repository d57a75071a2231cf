//! A log that grows, is rotated, truncated and read again, on a real file system.

use std::fs;
use std::io::Write;

use proptest::prelude::*;

use super::*;

/// A log in a folder of its own.
struct Log {
    folder: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    fn rotated(&self, number: u32) -> PathBuf {
        self.folder.path().join(format!("access.log.{number}"))
    }

    fn append(&self, text: &str) {
        fs::OpenOptions::new().create(true).append(true).open(self.path()).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Makes room for a new `.1`.
    fn shift(&self) {
        let last = (1..1000).take_while(|number| self.rotated(*number).exists()).last().unwrap_or(0);
        for number in (1..=last).rev() {
            fs::rename(self.rotated(number), self.rotated(number + 1)).unwrap();
        }
    }

    fn rename(&self) {
        self.shift();
        fs::rename(self.path(), self.rotated(1)).unwrap();
    }

    fn copy_and_truncate(&self) {
        self.shift();
        fs::copy(self.path(), self.rotated(1)).unwrap();
        fs::OpenOptions::new().write(true).open(self.path()).unwrap().set_len(0).unwrap();
    }

    fn tail(&self, from: Option<Position>) -> Tail {
        Tail::open(&self.path(), from, Start::Beginning).with_line_bytes(40)
    }
}

/// All that is there, until nothing new came for longer than a rename is waited for.
fn drain(tail: &mut Tail) -> String {
    let mut read = String::new();
    let mut quiet = 0;
    while quiet <= QUIET_POLLS {
        match tail.poll(100).unwrap() {
            Some(chunk) => {
                read += std::str::from_utf8(&chunk.data).unwrap();
                quiet = 0;
            }
            None => quiet += 1,
        }
    }
    read
}

#[test]
fn lines_are_given_out_once_they_are_whole() {
    let log = Log::new();
    let mut tail = log.tail(None);
    assert_eq!(tail.poll(100).unwrap(), None);
    log.append("one\ntw");
    assert_eq!(drain(&mut tail), "one\n");
    log.append("o\n");
    assert_eq!(drain(&mut tail), "two\n");
}

#[test]
fn a_file_never_seen_is_read_from_its_end_if_asked() {
    let log = Log::new();
    log.append("old\nhal");
    let mut tail = Tail::open(&log.path(), None, Start::End);
    assert_eq!(tail.poll(100).unwrap(), None);
    let position = tail.position().cloned();
    log.append("f\nnew\n");
    assert_eq!(drain(&mut tail), "half\nnew\n");
    assert_eq!(drain(&mut Tail::open(&log.path(), position, Start::End)), "half\nnew\n");
    let log = Log::new();
    let mut tail = Tail::open(&log.path(), None, Start::End);
    log.append("first\n");
    assert_eq!(drain(&mut tail), "first\n");
}

#[test]
fn a_renamed_file_is_read_to_its_end_also_when_the_writer_changes_late() {
    let log = Log::new();
    log.append("one\ntw");
    let mut tail = log.tail(None);
    assert_eq!(drain(&mut tail), "one\n");
    log.rename();
    log.append("three\n");
    assert_eq!(tail.poll(100).unwrap(), None);
    fs::OpenOptions::new().append(true).open(log.rotated(1)).unwrap().write_all(b"o\n").unwrap();
    assert_eq!(drain(&mut tail), "two\nthree\n");
}

#[test]
fn a_truncated_file_is_read_from_its_start_also_when_it_is_longer_again() {
    let log = Log::new();
    let mut tail = log.tail(None);
    log.append("one\ntwo\n");
    assert_eq!(drain(&mut tail), "one\ntwo\n");
    fs::write(log.path(), "3\n").unwrap();
    assert_eq!(drain(&mut tail), "3\n");
    fs::write(log.path(), "four and five and six\n").unwrap();
    assert_eq!(drain(&mut tail), "four and five and six\n");
}

#[test]
fn a_copy_made_before_truncation_is_finished_first() {
    let log = Log::new();
    let mut tail = log.tail(None);
    log.append("one\n");
    assert_eq!(drain(&mut tail), "one\n");
    log.append("two\n");
    log.copy_and_truncate();
    log.append("three\n");
    assert_eq!(drain(&mut tail), "two\nthree\n");
}

#[test]
fn every_position_is_a_good_place_to_go_on() {
    let log = Log::new();
    let lines: Vec<String> = (0..30).map(|n| format!("line {n}\n")).collect();
    let mut tail = log.tail(None);
    let mut read = String::new();
    for (n, line) in lines.iter().enumerate() {
        log.append(line);
        if n % 10 == 9 {
            log.rename();
        }
        if let Some(chunk) = tail.poll(1).unwrap() {
            read += std::str::from_utf8(&chunk.data).unwrap();
            tail = log.tail(Some(chunk.position));
        }
    }
    log.append("end\n");
    read += &drain(&mut tail);
    assert_eq!(read, lines.concat() + "end\n");
}

#[test]
fn rotations_while_down_are_read_in_order_and_a_lost_file_is_counted() {
    let log = Log::new();
    let mut tail = log.tail(None);
    log.append("one\n");
    let position = tail.poll(100).unwrap().unwrap().position;
    log.append("two\n");
    log.rename();
    log.append("three\n");
    log.rename();
    log.append("four\n");
    let mut tail = log.tail(Some(position.clone()));
    assert_eq!(drain(&mut tail), "two\nthree\nfour\n");
    assert_eq!(tail.gaps(), 0);
    fs::remove_file(log.rotated(2)).unwrap();
    let mut tail = log.tail(Some(Position { modified_ms: position.modified_ms - 1000, ..position }));
    assert_eq!(drain(&mut tail), "three\nfour\n");
    assert_eq!(tail.gaps(), 1);
}

#[test]
fn a_line_over_the_limit_is_left_out_alone_and_counted_once() {
    let log = Log::new();
    log.append("one\n");
    log.append(&"x".repeat(500));
    log.append("\ntwo\n");
    log.append(&"y".repeat(41));
    log.append("\n");
    log.append(&"z".repeat(40));
    log.append("\n");
    let (mut tail, mut read, mut long_lines) = (log.tail(None), String::new(), 0);
    while let Some(chunk) = tail.poll(1).unwrap() {
        read += std::str::from_utf8(&chunk.data).unwrap();
        long_lines += chunk.long_lines;
        tail = log.tail(Some(chunk.position));
    }
    assert_eq!((read, long_lines), (format!("one\ntwo\n{}\n", "z".repeat(40)), 2));
}

#[test]
fn a_pipe_is_refused() {
    let error = Tail::open(Path::new("/dev/null"), None, Start::Beginning).poll(1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    AppendHalf,
    Rename,
    CopyAndTruncate,
    Poll(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..6).prop_map(Step::Append),
        1 => Just(Step::AppendHalf),
        1 => Just(Step::Rename),
        1 => Just(Step::CopyAndTruncate),
        4 => (1_usize..200).prop_map(Step::Poll),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_happens_every_line_comes_once_and_in_order(steps in proptest::collection::vec(step(), 1..60)) {
        let log = Log::new();
        log.append("line 0\n");
        let (mut written, mut half) = (1_usize, false);
        let mut tail = log.tail(None);
        let first = tail.poll(1).unwrap().unwrap();
        let (mut position, mut read) = (first.position, String::from_utf8(first.data).unwrap());
        // A writer ends its line before a rotation: cut in the middle, it would be two.
        let finish = |half: &mut bool| {
            if std::mem::take(half) {
                log.append("e\n");
            }
        };
        for step in steps {
            match step {
                Step::Append(lines) => {
                    finish(&mut half);
                    for _ in 0..lines {
                        log.append(&format!("line {written}\n"));
                        written += 1;
                    }
                }
                Step::AppendHalf => {
                    finish(&mut half);
                    log.append(&format!("line {written}, in hast"));
                    (written, half) = (written + 1, true);
                }
                Step::Rename => {
                    finish(&mut half);
                    log.rename();
                    log.append("");
                }
                Step::CopyAndTruncate => {
                    finish(&mut half);
                    log.copy_and_truncate();
                }
                Step::Poll(max) => {
                    if let Some(chunk) = tail.poll(max).unwrap() {
                        read += std::str::from_utf8(&chunk.data).unwrap();
                        position = chunk.position;
                    }
                }
                Step::Restart => tail = log.tail(Some(position.clone())),
            }
        }
        finish(&mut half);
        read += &drain(&mut tail);
        let numbers: Vec<usize> = read
            .lines()
            .map(|line| line.trim_start_matches("line ").trim_end_matches(", in haste").parse().unwrap())
            .collect();
        prop_assert_eq!(numbers, (0..written).collect::<Vec<_>>());
        prop_assert_eq!(tail.gaps(), 0);
    }
}
