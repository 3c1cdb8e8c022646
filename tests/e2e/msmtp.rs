//! msmtp, which mutt and cron jobs send by.

use anyhow::Result;
use e2e::{Client, Demo, HOST, Mail, Person, Site, messages_in};

use crate::relay::wait;

/// msmtp on the listener `name`, as `person`.
fn msmtp(site: &Site, name: &str, mechanism: &str, person: &Person) -> Client {
    let starttls = if name == "submissions" { "off" } else { "on" };
    Client::new("msmtp")
        .args(["--file=/dev/null", "--tls=on", "--auto-from=off"])
        .args([format!("--host={HOST}"), format!("--port={}", site.port(name))])
        .args([format!("--tls-starttls={starttls}"), format!("--auth={mechanism}")])
        .args([format!("--tls-trust-file={}", site.ca_file.display()), format!("--user={}", person.address)])
        .args([format!("--passwordeval=echo {}", person.password), format!("--from={}", person.address)])
}

#[test]
fn msmtp_submits_by_every_mechanism_and_hears_that_it_arrived() -> Result<()> {
    let demo = Demo::start()?;
    let (alice, bob) = (demo.site().person("alice"), demo.site().person("bob"));
    for (number, (listener, mechanism)) in
        [("submission", "scram-sha-256"), ("submission", "plain"), ("submissions", "login")]
            .iter()
            .enumerate()
    {
        let mail = Mail::new(&alice.address, &bob.address, mechanism, ".dots\n..are kept\nGrüße");
        let client = msmtp(demo.site(), listener, mechanism, alice).args(["--dsn-return=hdrs"]);
        client
            .args(["--dsn-notify=success", &bob.address])
            .input(mail.as_str().replace("\r\n", "\n"))
            .run()?;
        let stored = messages_in(&bob.maildir)?;
        assert!(stored.iter().any(|stored| stored.ends_with(mail.as_str())), "{mechanism}: {stored:?}");
        let reports = wait(|| {
            let mut reports = messages_in(&alice.maildir)?;
            reports.retain(|message| message.contains("report-type=delivery-status"));
            anyhow::ensure!(reports.len() == number + 1, "{reports:?}");
            Ok(reports)
        })?;
        let action = format!("Final-Recipient: rfc822; {}\r\nAction: delivered\r\n", bob.address);
        assert!(reports.iter().all(|report| report.contains(&action)), "{reports:?}");
    }
    demo.stop()?;
    Ok(())
}

#[test]
fn msmtp_says_why_it_is_refused() -> Result<()> {
    let demo = Demo::start()?;
    let (alice, bob) = (demo.site().person("alice"), demo.site().person("bob"));
    let guess = Person { password: "guess".to_owned(), ..alice.clone() };
    for (client, reply) in [
        (msmtp(demo.site(), "submission", "plain", &guess).args([&bob.address]), "535 5.7.8"),
        (msmtp(demo.site(), "submission", "plain", alice).args(["nobody@demo.test"]), "550 5.1.1"),
    ] {
        let (code, said) = client.input("Subject: x\n\nx\n").run_to_code()?;
        assert!(code != Some(0) && said.errors.contains(reply), "expected {reply}: {said:?}");
    }
    demo.stop()?;
    Ok(())
}
