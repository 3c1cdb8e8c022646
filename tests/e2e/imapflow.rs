//! imapflow, which uses CONDSTORE, QRESYNC and COMPRESS and lives on what is pushed into IDLE.

use anyhow::Result;
use e2e::{Demo, node};

#[test]
fn imapflow_is_told_of_every_change_and_catches_up_after_a_reconnect() -> Result<()> {
    let demo = Demo::start()?;
    node("imapflow.mjs", demo.site())?;
    demo.stop()?;
    Ok(())
}
