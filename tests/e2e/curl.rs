//! curl, which speaks SMTP, IMAP and POP3.

use anyhow::Result;
use e2e::{Client, Demo, HOST, Mail, Person, Site};

/// curl on the listener `name`, logged in as `person`; `path` follows the authority of the URL.
fn curl(site: &Site, name: &str, person: &Person, path: &str) -> Client {
    let scheme = match name {
        "smtp" | "submission" => "smtp",
        "submissions" => "smtps",
        other => other,
    };
    let url = format!("{scheme}://{HOST}:{}{path}", site.port(name));
    let user = format!("{}:{}", person.address, person.password);
    Client::new("curl")
        .args(["--silent", "--show-error", "--ssl-reqd", "--cacert"])
        .args([&site.ca_file])
        .args(["--url", &url, "--user", &user])
}

/// curl's IMAP with a command of one's own.
fn request(site: &Site, name: &str, person: &Person, path: &str, command: &str) -> Result<String> {
    Ok(curl(site, name, person, path).args(["--request", command]).run()?.output)
}

fn upload(site: &Site, name: &str, mail: &Mail) -> Result<()> {
    let (alice, bob) = (site.person("alice"), site.person("bob"));
    curl(site, name, alice, "/client.e2e.test")
        .args(["--mail-from", &alice.address, "--mail-rcpt", &bob.address, "--upload-file", "-"])
        .input(mail.as_str())
        .run()?;
    Ok(())
}

#[test]
fn what_curl_submits_it_fetches_by_imap_and_pop3() -> Result<()> {
    let demo = Demo::start()?;
    let site = demo.site();
    let (alice, bob) = (site.person("alice"), site.person("bob"));
    for (number, (smtp, imap, pop3)) in
        [("submission", "imap", "pop3"), ("submissions", "imaps", "pop3s")].into_iter().enumerate()
    {
        let mail = Mail::new(&alice.address, &bob.address, &format!("by {smtp}"), ".\n.dots\nend");
        upload(site, smtp, &mail)?;
        let position = number + 2;
        let by_imap = curl(site, imap, bob, &format!("/INBOX;MAILINDEX={position}")).run()?.output;
        assert!(by_imap.ends_with(mail.as_str()), "{by_imap}");
        let by_pop3 = curl(site, pop3, bob, &format!("/{position}")).run()?.output;
        assert_eq!(by_pop3, by_imap, "IMAP and POP3 give the same octets");
    }
    Ok(())
}

#[test]
fn curl_lists_and_reads_a_maildrop() -> Result<()> {
    let demo = Demo::start()?;
    let site = demo.site();
    let bob = site.person("bob");
    upload(site, "submission", &Mail::new("alice@demo.test", &bob.address, "top", "first\nsecond\nthird"))?;
    for name in ["pop3", "pop3s"] {
        let list = curl(site, name, bob, "/").run()?.output;
        assert_eq!(list.lines().count(), 2, "{list}");
        let unique = curl(site, name, bob, "/").args(["--request", "UIDL"]).run()?.output;
        assert_eq!(unique.lines().count(), 2, "{unique}");
        let top = curl(site, name, bob, "/").args(["--request", "TOP 2 1"]).run()?.output;
        assert!(top.contains("Subject: top\r\n") && top.ends_with("\r\n\r\nfirst\r\n"), "{top:?}");
    }
    Ok(())
}

#[test]
fn curl_searches_appends_and_makes_mailboxes() -> Result<()> {
    let demo = Demo::start()?;
    let site = demo.site();
    let bob = site.person("bob");
    for name in ["imap", "imaps"] {
        let mailbox = format!("by-{name}");
        request(site, name, bob, "", &format!("CREATE {mailbox}"))?;
        assert!(request(site, name, bob, "", "LIST \"\" *")?.contains(&mailbox));
        let mail = Mail::new(&bob.address, &bob.address, "a note", "to myself: Größe");
        // APPEND needs the size beforehand, so curl wants a file.
        let file = demo.folder().join("note.eml");
        std::fs::write(&file, mail.as_str())?;
        curl(site, name, bob, &format!("/{mailbox}")).args(["--upload-file"]).args([&file]).run()?;
        let path = format!("/{mailbox}");
        assert_eq!(request(site, name, bob, &path, "SEARCH SUBJECT note")?.trim(), "* SEARCH 1");
        assert_eq!(request(site, name, bob, &path, "SEARCH SUBJECT absent")?.trim(), "* SEARCH");
        let text = curl(site, name, bob, &format!("/{mailbox};MAILINDEX=1;SECTION=TEXT")).run()?.output;
        assert_eq!(text, "to myself: Größe\r\n");
        let whole = curl(site, name, bob, &format!("/{mailbox};MAILINDEX=1")).run()?.output;
        assert_eq!(whole, mail.as_str(), "APPEND adds nothing");
    }
    Ok(())
}

#[test]
fn a_client_that_does_not_trust_the_authority_is_not_served_by_mistake() -> Result<()> {
    let demo = Demo::start()?;
    let site = Site { ca_file: "/dev/null".into(), ..demo.site().clone() };
    for name in ["submissions", "imaps", "pop3s", "submission", "imap", "pop3"] {
        let (code, said) = curl(&site, name, site.person("bob"), "/").run_to_code()?;
        assert!([Some(60), Some(77)].contains(&code), "{name}: {said:?}");
    }
    Ok(())
}
