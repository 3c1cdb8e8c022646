//! What the processes of a server use, out of `/proc`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Ticks a second of the kernel's accounts, on every Linux.
const TICKS: u64 = 100;

/// One process, as `/proc/<pid>/stat` has it.
struct Stat {
    parent: u32,
    ticks: u64,
}

/// The process and all below it.
fn family(root: u32) -> HashMap<u32, Stat> {
    let mut all: HashMap<u32, Stat> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(stat) = stat(pid) {
            all.insert(pid, stat);
        }
    }
    let belongs = |mut pid: u32| loop {
        if pid == root {
            return true;
        }
        match all.get(&pid) {
            Some(stat) if stat.parent > 1 => pid = stat.parent,
            _ => return false,
        }
    };
    let members: Vec<u32> = all.keys().copied().filter(|pid| belongs(*pid)).collect();
    members.into_iter().filter_map(|pid| Some((pid, all.remove(&pid)?))).collect()
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |position: usize| fields.get(position)?.parse::<u64>().ok();
    // utime, stime, and those of children that have ended: fields 14 to 17, counted from 1.
    let ticks = (11..15).filter_map(number).sum();
    Some(Stat { parent: u32::try_from(number(1)?).ok()?, ticks })
}

/// CPU time that the process and all below it have used.
pub(crate) fn cpu(root: u32) -> Duration {
    let ticks: u64 = family(root).values().map(|stat| stat.ticks).sum();
    Duration::from_millis(ticks * 1000 / TICKS)
}

/// Waits until the processes rest and the disk has what they wrote, so that a round doesn't pay for the one before. Not for ever: some
/// servers never rest.
pub(crate) fn until_idle(roots: &[u32]) {
    const PATIENCE: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_millis(200);
    let used = || roots.iter().map(|root| cpu(*root)).sum::<Duration>();
    nix::unistd::sync();
    let (began, mut before) = (Instant::now(), used());
    while began.elapsed() < PATIENCE {
        std::thread::sleep(PAUSE);
        let now = used();
        if now.saturating_sub(before) < PAUSE / 10 {
            return;
        }
        before = now;
    }
}

/// Memory of the process and all below it, shared pages counted by their share, in KiB.
pub(crate) fn memory(root: u32) -> u64 {
    let of = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    family(root).keys().filter_map(of).sum()
}
