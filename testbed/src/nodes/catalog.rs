//! What the node manager offers: zones, and instance types with their capacity and price.

use std::fs;

use anyhow::{Context as _, Result};

/// The region of all zones.
pub const REGION: &str = "testbed";

/// The zones. The first node is in the first one.
pub const ZONES: [&str; 3] = ["testbed-a", "testbed-b", "testbed-c"];

/// A size of added nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InstanceType {
    /// The name.
    pub name: &'static str,
    /// The CPU time that pods may request, in thousandths of a CPU.
    pub cpu_millis: u64,
    /// The memory that pods may request, in MiB.
    pub memory_mib: u64,
    /// The number of pods.
    pub pods: u32,
    /// The price per hour, in an imaginary currency. It is the same in each zone.
    pub price: f64,
}

/// The instance types, from the smallest to the largest. Each doubles the one before, in capacity and in price.
pub const TYPES: [InstanceType; 3] = [
    InstanceType {
        name: "small",
        cpu_millis: 300,
        memory_mib: 512,
        pods: 20,
        price: 0.01,
    },
    InstanceType {
        name: "medium",
        cpu_millis: 600,
        memory_mib: 1024,
        pods: 40,
        price: 0.02,
    },
    InstanceType {
        name: "large",
        cpu_millis: 1200,
        memory_mib: 2048,
        pods: 80,
        price: 0.04,
    },
];

/// The instance type `name`.
///
/// # Errors
/// When there is none. The message lists the types.
pub fn instance_type(name: &str) -> Result<InstanceType> {
    let names = TYPES.map(|instance_type| instance_type.name).join(", ");
    let found = TYPES.into_iter().find(|instance_type| instance_type.name == name);
    found.with_context(|| format!("no instance type {name:?}: the types are {names}"))
}

/// The memory that the kubelet keeps free by evicting pods, in MiB. `kubeadm::configuration` sets it, and the kubelet subtracts
/// it from the memory that pods may request.
pub(crate) const EVICTION_MEMORY_MIB: u64 = 100;

impl InstanceType {
    /// The type as in `GET /types`.
    #[must_use]
    pub fn to_json(self) -> serde_json::Value {
        serde_json::json!({
            "name": self.name,
            "cpu": format!("{}m", self.cpu_millis),
            "memory": format!("{}Mi", self.memory_mib),
            "pods": self.pods,
            "price": self.price,
        })
    }

    /// `systemReserved` of the kubelet: the rest of the machine. The node then offers pods what the type has.
    ///
    /// Fails if the machine is smaller than the type.
    pub(crate) fn reserved(self, machine: Machine) -> Result<String> {
        let name = self.name;
        let cpu = reserved_cpu(self.cpu_millis, machine).with_context(|| format!("type {name}"))?;
        let needed_mib = self.memory_mib + EVICTION_MEMORY_MIB;
        let memory_kib = machine.memory_kib.checked_sub(needed_mib << 10).with_context(|| {
            let available_mib = machine.memory_kib >> 10;
            format!("type {name}: the machine has {available_mib} MiB of memory, and the node needs {needed_mib} MiB")
        })?;
        Ok(format!("{cpu},memory={memory_kib}Ki"))
    }
}

/// The CPU time that a kubelet reserves so that its node offers `cpu_millis`. Fails if the machine has less.
pub(crate) fn reserved_cpu(cpu_millis: u64, machine: Machine) -> Result<String> {
    let reserved = machine.cpu_millis.checked_sub(cpu_millis).with_context(|| {
        let (available, needed) = (cpu_quantity(machine.cpu_millis), cpu_quantity(cpu_millis));
        format!("the machine has {available} CPU, and the node needs {needed} CPU")
    })?;
    Ok(format!("cpu={reserved}m"))
}

/// Parses a CPU time as in Kubernetes, into thousandths of a CPU: `1400m`, `2`.
///
/// # Errors
/// When the text has another form, or the CPU time is 0.
pub fn cpu_millis(text: &str) -> Result<u64> {
    let parsed = match text.strip_suffix('m') {
        Some(millis) => millis.parse(),
        None => text.parse().map(|cpus: u64| cpus.saturating_mul(1000)),
    };
    parsed
        .ok()
        .filter(|millis| *millis > 0)
        .context("a CPU time is a number of CPUs or of thousandths: 2, 1400m")
}

/// A CPU time as the API server writes it: `1400m`, `2`. The inverse of [`cpu_millis`].
#[must_use]
pub fn cpu_quantity(cpu_millis: u64) -> String {
    match cpu_millis % 1000 {
        0 => (cpu_millis / 1000).to_string(),
        _ => format!("{cpu_millis}m"),
    }
}

/// The capacity of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    cpu_millis: u64,
    memory_kib: u64,
}

impl Machine {
    /// Reads the capacity as the kubelet does.
    pub(crate) fn read() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| path.to_owned());
        Self::parse(&read("/proc/cpuinfo")?, &read("/proc/meminfo")?)
    }

    fn parse(cpuinfo: &str, meminfo: &str) -> Result<Self> {
        let processors = cpuinfo.lines().filter(|line| line.starts_with("processor"));
        let memory = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next())
            .context("/proc/meminfo has no MemTotal")?;
        Ok(Self {
            cpu_millis: 1000 * processors.count() as u64,
            memory_kib: memory.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_reserves_what_its_type_does_not_offer() {
        let cpuinfo = "processor\t: 0\nmodel name\t: x\n\nprocessor\t: 1\nmodel name\t: x\n";
        let machine = Machine::parse(cpuinfo, "MemTotal:        4096000 kB\nMemFree: 1 kB\n").unwrap();
        let small = instance_type("small").unwrap().reserved(machine).unwrap();
        // 4096000 - (512 + 100) * 1024
        assert_eq!(small, "cpu=1700m,memory=3469312Ki");
        assert_eq!(reserved_cpu(2000, machine).unwrap(), "cpu=0m");
    }

    #[test]
    fn a_type_larger_than_the_machine_is_an_error_with_both_sizes() {
        let machine = Machine::parse("processor: 0\n", "MemTotal: 1048576 kB\n").unwrap();
        for (name, expected) in [
            (
                "medium",
                "type medium: the machine has 1024 MiB of memory, and the node needs 1124 MiB",
            ),
            (
                "large",
                "type large: the machine has 1 CPU, and the node needs 1200m CPU",
            ),
        ] {
            let error = instance_type(name).unwrap().reserved(machine).unwrap_err();
            assert_eq!(format!("{error:#}"), expected);
        }
    }

    #[test]
    fn a_cpu_time_is_a_number_of_cpus_or_of_thousandths() {
        for (text, millis) in [("1400m", 1400), ("2", 2000)] {
            assert_eq!(cpu_millis(text).unwrap(), millis);
            assert_eq!(cpu_quantity(millis), text);
        }
        for text in ["", "0", "1.5", "-1m", "m"] {
            assert!(cpu_millis(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_unknown_type_is_answered_with_the_known_ones() {
        let error = instance_type("huge").unwrap_err().to_string();
        assert!(error.contains("small, medium, large"), "{error}");
    }
}
