//! What the system says of this process, under the names that all exporters use. Where `/proc` is not there, nothing is said.

use std::fmt::Write as _;

/// Clock ticks a second in `/proc/self/stat`: 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// Samples in the text format.
pub(super) fn encode() -> String {
    let mut out = String::new();
    let mut say = |name: &str, kind: &str, help: &str, sample: &str, value: Option<f64>| {
        if let Some(value) = value {
            let written = writeln!(out, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{sample} {value}");
            written.expect("writing to a string does not fail");
        }
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let (cpu, memory) = ("process_cpu_seconds", "process_resident_memory_bytes");
    say(cpu, "counter", "Processor time spent", "process_cpu_seconds_total", cpu_seconds(&stat));
    say(memory, "gauge", "Memory in use", memory, resident_bytes(&status));
    let open = std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64);
    say("process_open_fds", "gauge", "Open files and connections", "process_open_fds", open);
    out
}

/// User and system time: the 12th and 13th field after the name, which may hold blanks and parentheses.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = |field: Option<&str>| field?.parse::<f64>().ok();
    Some((ticks(fields.next())? + ticks(fields.next())?) / TICKS)
}

fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_moves_no_field() {
        assert_eq!(cpu_seconds("7 (a) b c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20"), Some(2.0));
        assert_eq!(cpu_seconds("nonsense"), None);
        assert_eq!(resident_bytes("VmPeak:\t9 kB\nVmRSS:\t 12 kB\n"), Some(12_288.0));
    }
}
