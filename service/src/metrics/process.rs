//! What the kernel knows of this process, read at each scrape. Names as in Prometheus' own client libraries.

use std::fs;

use prometheus::IntGauge;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

/// Reads `/proc/self`; where there is none, the values stay 0.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    resident_memory_bytes: IntGauge,
    open_fds: IntGauge,
}

impl ProcessCollector {
    pub(super) fn new() -> Self {
        let gauge = |name, help| IntGauge::new(name, help).expect("the metric's name is valid");
        Self {
            resident_memory_bytes: gauge("process_resident_memory_bytes", "Resident memory in bytes"),
            open_fds: gauge("process_open_fds", "Open file descriptors"),
        }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        [&self.resident_memory_bytes, &self.open_fds]
            .into_iter()
            .flat_map(Collector::desc)
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if let Some(bytes) = resident_memory_bytes() {
            self.resident_memory_bytes.set(bytes);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory that is being read.
            self.open_fds
                .set(i64::try_from(entries.count()).unwrap_or(i64::MAX) - 1);
        }
        [&self.resident_memory_bytes, &self.open_fds]
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

/// `VmRSS` of `proc_pid_status(5)`, which is in kibibytes.
fn resident_memory_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = value.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_has_memory() {
        assert!(resident_memory_bytes().is_some_and(|bytes| bytes > 100_000));
    }
}
