//! Metrics of this process, read from the kernel at each scrape. The names are those of the Prometheus client
//! libraries.

use std::fs;

use prometheus::IntGauge;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

/// Reads `/proc/self`. The values stay 0 on a system without it.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    resident_memory_bytes: IntGauge,
    open_fds: IntGauge,
}

impl ProcessCollector {
    pub(super) fn new() -> Self {
        let gauge = |name, help| IntGauge::new(name, help).expect("the name of the metric is valid");
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
            // One of the descriptors belongs to this read of the directory.
            self.open_fds
                .set(i64::try_from(entries.count()).unwrap_or(i64::MAX) - 1);
        }
        [&self.resident_memory_bytes, &self.open_fds]
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

/// Returns `VmRSS` of `proc_pid_status(5)`, which is in kibibytes, in bytes.
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
    fn the_resident_memory_is_above_100_kb() {
        assert!(resident_memory_bytes().is_some_and(|bytes| bytes > 100_000));
    }
}
