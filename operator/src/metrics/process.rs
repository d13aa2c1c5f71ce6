//! The metrics of this process that every client of Prometheus exports, by their usual names. Reads
//! `/proc`. What it cannot read is absent, as everything is on another system than Linux.
//!
//! Why not the feature `process` of the crate prometheus: it brings a second version of procfs, and
//! libc, for a few lines of four files.

use std::fs;

use taskqueue_exposition::Spec;
use taskqueue_exposition::table::process as table;

use super::family::{Family, Subject, number};

/// The kernel counts processor time in hundredths of a second, on every architecture that the
/// operator is built for (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Appends what is known of this process.
pub(super) fn write(text: &mut String) {
    let read = |name: &str| fs::read_to_string(format!("/proc/{name}")).unwrap_or_default();
    let files = Files {
        stat: read("self/stat"),
        status: read("self/status"),
        limits: read("self/limits"),
        system: read("stat"),
        // The folder itself is open while it is read.
        open: fs::read_dir("/proc/self/fd")
            .ok()
            .and_then(|entries| entries.count().checked_sub(1)),
    };
    for (spec, value) in files.values() {
        if let Some(value) = value {
            let mut family = Family::new(spec);
            family.add(&Subject::new(&[]), &[], value);
            family.write(text);
        }
    }
}

/// What `/proc` says of a process.
struct Files {
    /// `/proc/PID/stat`.
    stat: String,
    /// `/proc/PID/status`.
    status: String,
    /// `/proc/PID/limits`.
    limits: String,
    /// `/proc/stat`.
    system: String,
    /// The number of entries of `/proc/PID/fd`.
    open: Option<usize>,
}

impl Files {
    /// The value of each metric, if it is known.
    fn values(&self) -> [(Spec, Option<f64>); 7] {
        // Numbers as in proc(5): the first field after the name, which may hold anything, is 3.
        let (_, fields) = self.stat.rsplit_once(')').unwrap_or_default();
        let ticks = |position: usize| {
            let ticks = fields.split_whitespace().nth(position.checked_sub(3)?)?;
            Some(number(ticks.parse().ok()?) / TICKS_PER_SECOND)
        };
        let status = |name: &str| field(&self.status, name);
        let bytes = |name: &str| Some(number(status(name)?.checked_mul(1024)?));
        let started = || Some(number(field(&self.system, "btime")?) + ticks(22)?);
        let open = self.open.and_then(|open| u64::try_from(open).ok());
        [
            (table::CPU, ticks(14).zip(ticks(15)).map(|(a, b)| a + b)),
            (table::RESIDENT, bytes("VmRSS:")),
            (table::VIRTUAL, bytes("VmSize:")),
            (table::THREADS, status("Threads:").map(number)),
            (table::OPEN_FILES, open.map(number)),
            (
                table::MAX_FILES,
                field(&self.limits, "Max open files").map(number),
            ),
            (table::START, started()),
        ]
    }
}

/// The first number after a name at the beginning of a line; `unlimited` is none.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use taskqueue_exposition::Sample;

    use super::*;
    use crate::clock::Clock;

    /// What Linux says of a process whose name is meant to confuse.
    fn files() -> Files {
        let before = "7 (a) b) c) S 1 7 7 0 -1 4194304 1180 0 0 0";
        Files {
            stat: format!("{before} 250 75 0 0 20 0 13 0 4242 30000000 2000"),
            status: "Name:\ta\nVmSize:\t   30000 kB\nVmRSS:\t    8000 kB\n\
                     Threads:\t13\n"
                .to_owned(),
            limits: "Limit                     Soft Limit           Hard Limit           Units\n\
                     Max open files            1024                 524288               files\n"
                .to_owned(),
            system: "cpu  1 2 3\nbtime 1767355200\nprocesses 9\n".to_owned(),
            open: Some(12),
        }
    }

    #[test]
    fn the_numbers_are_those_of_the_kernel_in_base_units() {
        let values = files()
            .values()
            .map(|(spec, value)| (spec.name, value.unwrap()));
        let expected = [
            ("process_cpu_seconds_total", 3.25),
            ("process_resident_memory_bytes", 8_192_000.0),
            ("process_virtual_memory_bytes", 30_720_000.0),
            ("process_threads", 13.0),
            ("process_open_fds", 12.0),
            ("process_max_fds", 1024.0),
            ("process_start_time_seconds", 1_767_355_242.42),
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        let unlimited = "Max open files            unlimited            unlimited            files";
        let files = Files {
            stat: String::new(),
            status: "Name:\ta\n".to_owned(),
            limits: unlimited.to_owned(),
            open: None,
            ..files()
        };
        assert_eq!(files.values().map(|(_, value)| value), [None; 7]);
    }

    #[test]
    fn this_process_is_as_large_as_linux_says() {
        let samples = || {
            let mut text = String::new();
            write(&mut text);
            let samples = text.lines().filter_map(Sample::parse);
            let samples = samples.map(|sample| (sample.name.to_owned(), sample.value));
            samples.collect::<BTreeMap<_, _>>()
        };
        let before = samples();
        assert_eq!(before.len(), table::ALL.len(), "{before:?}");
        assert!(before.values().all(|value| *value >= 0.0), "{before:?}");
        let ours = before["process_resident_memory_bytes"];
        assert!(ours > 500_000.0, "{ours}");
        assert!(before["process_open_fds"] >= 3.0, "{before:?}");
        assert!(before["process_threads"] >= 1.0, "{before:?}");
        assert!(before["process_max_fds"] > before["process_open_fds"]);
        let now = Clock::start().now().wall.as_second();
        let age = number(u64::try_from(now).unwrap()) - before["process_start_time_seconds"];
        assert!((-2.0..3600.0).contains(&age), "{age}");
    }
}
