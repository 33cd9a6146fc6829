//! What the process itself costs, under the names that all processes use. Linux; elsewhere nothing is known.

use std::fs;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::book::Book;

/// What the process costs.
pub(super) struct Process {
    cpu: Counter<f64, AtomicU64>,
    memory: Gauge,
    files: Gauge,
    started: Gauge<f64, AtomicU64>,
}

impl Process {
    pub(super) fn new(book: &mut Book) -> Self {
        let process = Self {
            cpu: Counter::default(),
            memory: Gauge::default(),
            files: Gauge::default(),
            started: Gauge::default(),
        };
        book.process("process_cpu_seconds", "Processor time that the process has used", &process.cpu);
        book.process("process_resident_memory_bytes", "Memory that the process occupies", &process.memory);
        book.process("process_open_fds", "Files and connections that the process has open", &process.files);
        book.process("process_start_time_seconds", "When the process began", &process.started);
        process
    }

    /// Brings the values up to date.
    pub(super) fn look(&self) {
        if let Some(files) = fs::read_dir("/proc/self/fd").ok().map(Iterator::count) {
            // One of them is the folder that is being read.
            self.files.set(i64::try_from(files.saturating_sub(1)).unwrap_or(i64::MAX));
        }
        _ = self.look_at_stat();
    }

    fn look_at_stat(&self) -> Option<()> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name before is in parentheses and may hold some.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        // As proc(5) numbers them: state is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = rustix::param::clock_ticks_per_second();
        self.cpu.inner().store(seconds(field(14)? + field(15)?, ticks).to_bits(), Relaxed);
        let pages = field(24)?;
        self.memory.set(i64::try_from(pages * rustix::param::page_size() as u64).unwrap_or(i64::MAX));
        let uptime = fs::read_to_string("/proc/stat").ok()?;
        let boot: f64 = uptime.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
        self.started.set(boot + seconds(field(22)?, ticks));
        Some(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a hundredth of a second in a hundred million years")]
fn seconds(count: u64, per_second: u64) -> f64 {
    count as f64 / per_second as f64
}
