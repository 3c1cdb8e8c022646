//! Mail hosts that greet with a refusal: RFC 5321 §3.1, RFC 7504.

use super::*;

fn greeting(words: &str) -> Vec<String> {
    script(&[&format!("> {words}"), "< QUIT", "> 221 bye"])
}

/// What comes of mail to a domain whose two mail hosts greet so.
async fn sent(first: &str, second: &str) -> Result<String> {
    let mut world = World::with_policy("none", &[]).await?;
    let hosts = [world.host(None, vec![greeting(first)]), world.host(None, vec![greeting(second)])];
    let sent = world.send().await;
    for host in hosts {
        host.end().await;
    }
    Ok(sent)
}

/// RFC 7504 §3: the status is ours where the host says none, RFC 3463 §3.4.
#[tokio::test]
async fn a_domain_of_which_no_host_takes_mail_fails() -> Result<()> {
    assert_eq!(sent("521 mx", "521 no mail here").await?, "- 5.3.2 521 no mail here");
    assert_eq!(sent("521 mx", "521 5.7.0 none").await?, "- 5.7.0 521 5.7.0 none");
    Ok(())
}

/// RFC 5321 §5.1: the others are asked all the same.
#[tokio::test]
async fn a_host_that_takes_no_mail_is_passed_over_for_the_next() -> Result<()> {
    let mut world = World::with_policy("none", &[]).await?;
    let first = world.host(None, vec![greeting("521 no mail here")]);
    let plain = ["> 220 mx", "< EHLO us.example.org", "> 250 mx"];
    let second = world.host(None, vec![takes(&plain, "second")]);
    assert_eq!(world.send().await, "+ 250 second");
    first.end().await;
    second.end().await;
    Ok(())
}

/// What one may take another time waits for that.
#[tokio::test]
async fn mail_waits_as_long_as_one_host_of_the_domain_may_take_it() -> Result<()> {
    assert_eq!(sent("421 busy", "521 no mail here").await?, "~ 4.0.0 421 busy");
    assert_eq!(sent("521 no mail here", "421 busy").await?, "~ 4.0.0 421 busy");
    Ok(())
}

/// Nor does it fail where there was no time to ask the others.
#[tokio::test]
async fn mail_waits_as_long_as_a_host_of_the_domain_has_not_been_tried() -> Result<()> {
    let mut world = World::with_policy("none", &[]).await?;
    let first = world.host(None, vec![greeting("521 no mail here")]);
    world.relay.haste.set(Duration::from_nanos(1));
    let sent = world.send().await;
    assert!(sent.starts_with('~'), "{sent}");
    first.end().await;
    Ok(())
}

/// RFC 5321 §3.1: 554 is said to who is not wanted there as well, which lists and operators mend: other hosts are asked, then it waits.
#[tokio::test]
async fn a_greeting_that_refuses_us_is_no_failure_of_the_message() -> Result<()> {
    assert_eq!(sent("554 5.7.1 not you", "554 5.7.1 nor you").await?, "~ 4.7.1 554 5.7.1 nor you");
    assert_eq!(sent("521 no mail here", "554 5.7.1 not you").await?, "~ 4.7.1 554 5.7.1 not you");
    Ok(())
}
