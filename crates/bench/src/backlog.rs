//! Messages put into a queue directly, many at once.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use smtp_queue::{Body, Envelope, Handling, Queue, QueueWriter, Requests};

use crate::maildir;

/// A domain whose host is out of reach: nobody listens there.
pub(crate) const DEAD: &str = "dead.test";

/// Messages that are made durable together.
const TOGETHER: usize = 1000;

/// Queues so many messages of 1 KB for a domain.
pub(crate) fn add(queue: &Arc<Queue>, domain: &str, count: usize) -> Result<()> {
    let text = maildir::message(0, 1024);
    let envelope = Envelope {
        sender: Some("sender@bench.test".parse()?),
        origin: String::new(),
        recipients: vec![format!("somebody@{domain}").parse()?],
        smtputf8: false,
        body: Body::SevenBit,
        requests: Requests::default(),
        handling: Handling::default(),
    };
    let one = || -> Result<(QueueWriter, Envelope)> {
        let mut writer = queue.add()?;
        writer.write_all(text.as_bytes())?;
        Ok((writer, envelope.clone()))
    };
    for begin in (0..count).step_by(TOGETHER) {
        let together = (begin..count.min(begin + TOGETHER)).map(|_| one()).collect::<Result<Vec<_>>>()?;
        queue.commit_all(together, Duration::ZERO)?;
    }
    Ok(())
}

/// Waits until each message was tried once.
pub(crate) fn until_tried(queue: &Queue) -> Result<()> {
    let (began, mut after) = (Instant::now(), None);
    loop {
        let page = queue.list(after.as_ref(), TOGETHER)?;
        let tried = page.iter().take_while(|it| it.recipients.iter().all(|it| it.attempts > 0));
        let Some(last) = tried.last() else {
            if page.is_empty() {
                return Ok(());
            }
            ensure!(began.elapsed() < Duration::from_secs(1200), "not all of the queue was tried");
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        after = Some(last.id.clone());
    }
}
