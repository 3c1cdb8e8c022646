use tokio::task::{JoinError, spawn_blocking};
use tracing::Span;

/// Runs what blocks off the async threads; what it logs is of the same connection.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, JoinError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let span = Span::current();
    spawn_blocking(move || span.in_scope(work)).await
}
