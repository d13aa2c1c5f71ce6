//! The metrics of the process. Their names and meanings are those of every client of Prometheus.

use crate::spec::{Spec, counter, gauge};

/// Processor time.
pub const CPU: Spec = counter(
    "process_cpu_seconds_total",
    &[],
    "Processor time of the process, user and system, in seconds.",
);
/// Resident memory.
pub const RESIDENT: Spec = gauge(
    "process_resident_memory_bytes",
    &[],
    "Resident memory of the process.",
);
/// Virtual memory.
pub const VIRTUAL: Spec = gauge(
    "process_virtual_memory_bytes",
    &[],
    "Virtual memory of the process.",
);
/// Threads.
pub const THREADS: Spec = gauge("process_threads", &[], "Threads of the process.");
/// Open file descriptors.
pub const OPEN_FILES: Spec = gauge("process_open_fds", &[], "Open file descriptors.");
/// Limit of open file descriptors.
pub const MAX_FILES: Spec = gauge(
    "process_max_fds",
    &[],
    "The limit of open file descriptors. Absent if there is none.",
);
/// Start.
pub const START: Spec = gauge(
    "process_start_time_seconds",
    &[],
    "Unix time at which the process started.",
);

/// Every metric of the process.
pub const ALL: [Spec; 7] = [
    CPU, RESIDENT, VIRTUAL, THREADS, OPEN_FILES, MAX_FILES, START,
];
