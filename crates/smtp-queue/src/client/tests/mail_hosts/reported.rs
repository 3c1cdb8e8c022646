//! What is counted for the report to the domain. RFC 8460 §4.

use jiff::SignedDuration;

use super::*;

impl World {
    /// What would be reported: the kind of policy, how it failed and where, how often.
    fn counted(&self) -> Vec<String> {
        let trust = self.relay.trust().unwrap();
        trust.write_results().unwrap();
        let reports = trust.reports(Timestamp::now() + SignedDuration::from_hours(25), 10).unwrap();
        let sessions = reports.into_iter().flat_map(|report| report.sessions);
        let shown = sessions.map(|(applied, failed, count)| {
            let how = failed.map_or("good".to_owned(), |it| {
                let at = it.receiving_ip.map_or("nowhere".to_owned(), |ip| ip.to_string());
                format!("{} at {at}", it.result_type)
            });
            format!("{} {how} {count}", applied.policy_type)
        });
        shown.collect()
    }
}

#[tokio::test]
async fn sessions_are_counted_by_policy_and_by_how_they_failed() -> Result<()> {
    let mut world = World::with_policy("enforce", &["*.d.test"]).await?;
    let expired = world.authority.expired(&["first.d.test"])?;
    let good = world.authority.identity(&["second.d.test"])?;
    let first = world.host(Some(expired), vec![not_trusted()]);
    let second = world.host(Some(good), vec![takes(&under_tls(), "second")]);
    assert_eq!(world.send().await, "+ 250 second");
    assert_eq!(world.counted(), ["sts good 1", "sts certificate-expired at 127.0.0.2 1"]);
    first.end().await;
    second.end().await;

    let mut world = World::with_policy("testing", &["second.d.test"]).await?;
    let first = world.host(None, vec![takes(&["> 220 mx", "< EHLO us.example.org", "> 250 mx"], "plain")]);
    assert_eq!(world.send().await, "+ 250 plain");
    assert_eq!(world.counted(), ["sts validation-failure at nowhere 1"], "it is none of the policy's");
    first.end().await;

    let mut world = World::with_policy("none", &[]).await?;
    let first = world.host(None, vec![takes(&["> 220 mx", "< EHLO us.example.org", "> 250 mx"], "plain")]);
    assert_eq!(world.send().await, "+ 250 plain");
    assert_eq!(world.counted(), ["no-policy-found starttls-not-supported at 127.0.0.2 1"]);
    first.end().await;

    let authority = TestAuthority::new()?;
    let shown = authority.expired(&["else.test"])?;
    let mut world = World::with_records(authority, &record(&shown, (3, 1, 1)), ("none", &[]), None).await?;
    let first = world.host(Some(shown), vec![takes(&under_tls(), "named")]);
    assert_eq!(world.send().await, "+ 250 named");
    assert_eq!(world.counted(), ["tlsa good 1"]);
    first.end().await;
    Ok(())
}
