//! nodemailer, by which most programs written in JavaScript send.

use anyhow::Result;
use e2e::{Demo, messages_in, node};

use crate::relay::wait;

#[test]
fn nodemailer_submits_over_a_pool_and_alone_and_hears_that_it_arrived() -> Result<()> {
    let demo = Demo::start()?;
    node("nodemailer.mjs", demo.site())?;
    let (alice, bob) = (demo.site().person("alice"), demo.site().person("bob"));
    let stored = messages_in(&bob.maildir)?;
    let count = |text: &str| stored.iter().filter(|stored| stored.contains(text)).count();
    assert_eq!((count("X-Sent-By: pool"), count("X-Sent-By: alone")), (20, 2), "{stored:?}");
    assert!(!stored.concat().contains("carol@elsewhere.test"), "Bcc is nobody's business");
    let report = wait(|| {
        let reports = messages_in(&alice.maildir)?;
        let found = reports.into_iter().find(|report| report.contains("report-type=delivery-status"));
        anyhow::Context::context(found, "no report")
    })?;
    for part in
        ["Original-Envelope-Id: order 42\r\n", "Original-Recipient: rfc822; ", "Action: delivered\r\n"]
    {
        assert!(report.contains(part), "{part} is missing: {report}");
    }
    demo.stop()?;
    Ok(())
}
