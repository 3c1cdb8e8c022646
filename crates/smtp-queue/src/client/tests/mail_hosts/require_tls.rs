//! RFC 8689: messages that must go over verified TLS, and those that rather go without it than not at all.

use super::*;

const WAIVES: &[u8] = b"Subject: x\r\nTLS-Required:\r\n No\r\n\r\n.dot\r\n";

impl World {
    async fn send_securely(&self) -> String {
        let message = message(MESSAGE);
        let outgoing = Outgoing::plain("alice@example.org", &["bob@d.test"], message.size());
        let outgoing = Outgoing { require_tls: true, ..outgoing };
        self.send_outgoing(&outgoing, &message).await
    }

    async fn send_outgoing(&self, outgoing: &Outgoing, message: &MessageFile) -> String {
        let destination = Way::MailHosts("d.test".parse().unwrap()).into();
        send_to(&self.relay, &destination, outgoing, message).await.concat()
    }
}

/// A mail host under TLS that announces REQUIRETLS and takes such a message.
fn takes_securely(reply: &str) -> Vec<String> {
    let greeting = ["TLS", "< EHLO us.example.org", "> 250-mx", "> 250 REQUIRETLS"];
    let mut whole = takes(&[&STARTTLS[..], &greeting].concat(), reply);
    let mail = whole.iter_mut().find(|step| step.starts_with("< MAIL")).unwrap();
    mail.push_str(" REQUIRETLS");
    whole
}

/// RFC 8689 §4.2.1: by a policy, even one that is only tested, by DANE, or by a name that the signed DNS gives.
#[tokio::test]
async fn a_message_that_requires_tls_goes_to_a_host_that_proves_its_name() -> Result<()> {
    for mode in ["enforce", "testing"] {
        let mut world = World::with_policy(mode, &["first.d.test"]).await?;
        let shown = world.authority.identity(&["first.d.test"])?;
        let first = world.host(Some(shown), vec![takes_securely(mode)]);
        assert_eq!(world.send_securely().await, format!("+ 250 {mode}"));
        first.end().await;
    }
    let authority = TestAuthority::new()?;
    let shown = TestAuthority::new()?.identity(&["else.test"])?;
    let mut world = World::with_records(authority, &record(&shown, (3, 1, 1)), ("none", &[]), None).await?;
    let first = world.host(Some(shown), vec![takes_securely("dane")]);
    assert_eq!(world.send_securely().await, "+ 250 dane");
    first.end().await;

    let mut world = World::with_records(TestAuthority::new()?, "", ("none", &[]), None).await?;
    let shown = world.authority.identity(&["first.d.test"])?;
    let first = world.host(Some(shown), vec![takes_securely("signed")]);
    assert_eq!(world.send_securely().await, "+ 250 signed");
    first.end().await;
    Ok(())
}

/// RFC 8689 §4.2.1: "repeat … with each host".
#[tokio::test]
async fn a_host_that_is_not_fit_for_it_is_passed_over_and_where_none_is_the_message_fails() -> Result<()> {
    let unsupported = || script(&under_tls());
    let mut world = World::with_policy("enforce", &["*.d.test"]).await?;
    let (one, two) =
        (world.authority.identity(&["first.d.test"])?, world.authority.identity(&["second.d.test"])?);
    let first = world.host(Some(one), vec![unsupported()]);
    let second = world.host(Some(two), vec![takes_securely("second")]);
    assert_eq!(world.send_securely().await, "+ 250 second");
    first.end().await;
    second.end().await;

    let mut world = World::with_policy("enforce", &["*.d.test"]).await?;
    let (one, two) =
        (world.authority.identity(&["first.d.test"])?, world.authority.expired(&["second.d.test"])?);
    let servers =
        [world.host(Some(two), vec![not_trusted()]), world.host(Some(one.clone()), vec![not_trusted()])];
    let sent = world.send_securely().await;
    assert!(
        sent.starts_with("- 5.7.10 second.d.test") && sent.contains("certificate-host-mismatch"),
        "{sent}"
    );
    for server in servers {
        server.end().await;
    }

    let mut world = World::with_policy("none", &[]).await?;
    let servers =
        [world.host(Some(one.clone()), vec![unsupported()]), world.host(Some(one), vec![unsupported()])];
    let sent = world.send_securely().await;
    assert!(sent.starts_with("- 5.7.10 second.d.test") && sent.contains("(REQUIRETLS)"), "{sent}");
    for server in servers {
        server.end().await;
    }

    let mut world = World::with_policy("enforce", &["*.d.test"]).await?;
    let (one, two) =
        (world.authority.identity(&["first.d.test"])?, world.authority.identity(&["second.d.test"])?);
    let servers = [world.host(Some(one), vec![unsupported()]), world.host(Some(two), vec![unsupported()])];
    let sent = world.send_securely().await;
    assert!(sent.starts_with("- 5.7.30 second.d.test"), "{sent}");
    for server in servers {
        server.end().await;
    }
    Ok(())
}

#[tokio::test]
async fn where_a_fit_host_may_only_be_down_the_message_waits() -> Result<()> {
    let mut world = World::with_policy("enforce", &["*.d.test"]).await?;
    let shown = world.authority.expired(&["first.d.test"])?;
    drop(world.listeners.remove(1));
    let first = world.host(Some(shown), vec![not_trusted()]);
    let sent = world.send_securely().await;
    assert!(sent.starts_with("~ 4.4.1 second.d.test"), "{sent}");
    first.end().await;
    Ok(())
}

/// RFC 8689 §3, §4.2.2
#[tokio::test]
async fn a_message_that_says_tls_required_no_goes_where_no_other_does_and_takes_no_other_along() -> Result<()>
{
    let mut world = World::with_policy("enforce", &["first.d.test"]).await?;
    drop(world.listeners.remove(1));
    let shown = world.authority.expired(&["first.d.test"])?;
    let mut waived = takes(&under_tls(), "waived");
    for step in &mut waived {
        *step = step.replace(STUFFED, "Subject: x\r\nTLS-Required:\r\n No\r\n\r\n..dot\r\n.\r\n");
    }
    waived.extend(script(&["< QUIT", "> 221 bye"]));
    let scripts = vec![not_trusted(), not_trusted(), waived, not_trusted()];
    let first = world.host(Some(shown), scripts);
    assert!(world.send().await.starts_with("~ 4."), "the policy holds");

    let message = message(WAIVES);
    let outgoing = Outgoing::plain("alice@example.org", &["bob@d.test"], message.size());
    let destination = Way::MailHosts("d.test".parse().unwrap()).into();
    // Due as long as the message before, whose failure it would share otherwise.
    let sent = world.relay.send(&destination, &outgoing, &message, Timestamp::UNIX_EPOCH).await;
    assert!(matches!(sent.outcomes.as_slice(), [Outcome::Delivered(..)]), "{sent:?}");
    assert!(world.send().await.starts_with("~ 4."), "that connection is not for others");
    first.end().await;

    let mut world = World::with_policy("enforce", &["first.d.test"]).await?;
    drop(world.listeners.remove(1));
    let shown = world.authority.expired(&["first.d.test"])?;
    let first = world.host(Some(shown), vec![not_trusted()]);
    let outgoing = Outgoing { require_tls: true, ..outgoing };
    let sent = world.send_outgoing(&outgoing, &message).await;
    assert!(sent.starts_with("- 5.7.10"), "the envelope goes before the header: {sent}");
    first.end().await;
    Ok(())
}
