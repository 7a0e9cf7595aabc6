//! What Linux tells of processes and of the machine in `/proc`: processor time and memory.

use std::time::Duration;

/// The unit of processor time there: Linux's USER_HZ is 100 wherever this runs.
const TICK_MS: u64 = 10;

/// The processor time that a process has used so far; none if it is gone.
pub(crate) fn used(process: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything: what counts comes behind it.
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Duration::from_millis((number(11)? + number(12)?) * TICK_MS))
}

/// The processor time that a process and its children have used so far; of those that are gone, none.
pub(crate) fn used_with_children(process: u32) -> Duration {
    let all = std::iter::once(process).chain(children(process));
    all.filter_map(used).sum()
}

/// The processes that the first thread of this one has started and that still run.
pub(crate) fn children(of: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children"));
    let list = list.unwrap_or_default();
    list.split_whitespace()
        .filter_map(|id| id.parse().ok())
        .collect()
}

/// The processor time that this machine has used so far, whoever used it, and what the host under a virtual machine
/// took for others.
pub(crate) fn machine_used() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let ticks = first.split_whitespace().skip(1).take(8).enumerate();
    // All but the fourth and the fifth, which are idle and waiting for disks.
    let busy = ticks.filter(|(at, _)| ![3, 4].contains(at));
    let busy: u64 = busy
        .filter_map(|(_, ticks)| ticks.parse::<u64>().ok())
        .sum();
    Duration::from_millis(busy * TICK_MS)
}

/// The memory that a process has resident; none if it is gone.
pub(crate) fn resident_bytes(process: u32) -> Option<u64> {
    status_bytes(process, "VmRSS:")
}

/// The most memory that a process has had resident so far; none if it is gone.
pub(crate) fn peak_bytes(process: u32) -> Option<u64> {
    status_bytes(process, "VmHWM:")
}

fn status_bytes(process: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}
