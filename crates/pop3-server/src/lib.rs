//! The POP3 server. Its sessions are not built yet; the supervisor does not offer it.

use std::error::Error;

use server_core::{BoundListener, ServerContext};

/// Serves POP3 until the context drains.
///
/// # Errors
/// Always, as long as there are no sessions to serve.
pub async fn run(_: ServerContext, _: Vec<BoundListener>) -> Result<(), Box<dyn Error + Send + Sync>> {
    Err("the POP3 server is not part of this version yet".into())
}
