//! A process dies at each step of what the queue does, and the next one goes on: nothing is lost, and nothing is sent twice but what was on its way.

#[path = "../../tests/delivery/host.rs"]
#[expect(dead_code, reason = "it is made for other tests as well")]
mod host;
#[path = "../../tests/delivery/peer.rs"]
#[expect(dead_code, reason = "it is made for other tests as well")]
mod peer;
mod reporting;
mod sending;
mod writing;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Step;

/// Of a process that is to die: the step, a colon, and how often it is to be reached before.
const STEP: &str = "MAILSTEAD_TEST_STEP";
/// Where it works.
const FOLDER: &str = "MAILSTEAD_TEST_FOLDER";
/// Whom it sends to.
const PORT: &str = "MAILSTEAD_TEST_PORT";

static REACHED: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn reached(step: Step) {
    let Ok(deadly) = std::env::var(STEP) else { return };
    let (name, times) = deadly.split_once(':').unwrap();
    if name == format!("{step:?}")
        && REACHED.fetch_add(1, Ordering::SeqCst) == times.parse::<usize>().unwrap()
    {
        std::process::abort();
    }
}

/// Runs an ignored test in a process that dies when it reaches the step after so many times. True if it did; and what it said before.
fn dies(test: &str, folder: &Path, port: u16, (step, times): (Step, usize)) -> (bool, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--quiet", "--ignored", "--nocapture", "--exact", &format!("step::tests::{test}")])
        .env(FOLDER, folder)
        .env(PORT, port.to_string())
        .env(STEP, format!("{step:?}:{times}"))
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!said.contains("test result: FAILED"), "{step:?} {times}: {said}");
    (!output.status.success(), said)
}

/// Where a process works that is to die; `None` if it was started by hand.
fn instructions() -> Option<(std::path::PathBuf, u16)> {
    Some((std::env::var(FOLDER).ok()?.into(), std::env::var(PORT).ok()?.parse().ok()?))
}
