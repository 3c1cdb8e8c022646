//! How much is queued, for monitoring: looked at now and then, by a connection of its own, so that no delivery waits for that.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mail_metrics::{Metric, Metrics};
use tokio::task::spawn_blocking;
use tracing::error;

use crate::{Queue, QueueError, Summary};

/// How often.
const PERIOD: Duration = Duration::from_secs(15);

/// Looks until it is dropped.
pub(crate) async fn watch(folder: PathBuf, metrics: Metrics) {
    let mut queue: Option<Arc<Queue>> = None;
    loop {
        let (known, folder) = (queue.take(), folder.clone());
        match spawn_blocking(move || look(known, folder)).await {
            Ok(Ok((opened, summary))) => {
                tell(&metrics, &summary, Timestamp::now());
                queue = Some(opened);
            }
            Ok(Err(error)) => error!(%error, "the queue can't be counted"),
            Err(error) => error!(%error, "counting the queue failed unexpectedly"),
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Blocks.
fn look(known: Option<Arc<Queue>>, folder: PathBuf) -> Result<(Arc<Queue>, Summary), QueueError> {
    let queue = known.map_or_else(|| Queue::visit(&folder), Ok)?;
    let summary = queue.summary()?;
    Ok((queue, summary))
}

fn tell(metrics: &Metrics, summary: &Summary, now: Timestamp) {
    let age = summary.oldest.map(|oldest| now.duration_since(oldest).as_secs());
    metrics.set(Metric::QueueMessages, &[], summary.messages);
    metrics.set(Metric::QueueOctets, &[], summary.octets);
    metrics.set(Metric::QueueHeld, &[], summary.held);
    metrics.set(Metric::QueueOldest, &[], age.and_then(|age| u64::try_from(age).ok()).unwrap_or_default());
}
