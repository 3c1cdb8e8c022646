//! Who has mail sent by this server: machines in networks, and accounts with limits of their own.

use anyhow::{Result, ensure};
use e2e::{Installation, free_port, node, program, python_of};
use serde_json::{Value, json};

use crate::relay::{Sink, wait};

#[test]
fn each_relay_client_hears_its_limits_and_has_lines_of_its_own_in_the_report() -> Result<()> {
    let port = free_port();
    let more = format!(
        "[relay]\nsmarthost = \"127.0.0.1:{port}\"\ntls = \"none\"\n[smtp.rates]\nper_account = 2\n\
         [[smtp.relay_clients]]\nname = \"Printers\"\nnetworks = [\"127.0.0.2/32\"]\nsenders = [\"printer@relay.test\"]\n\
         max_message_size = \"64 KiB\"\nrecipients_per_message = 2\nrecipients_per_hour = 4\n\
         [[smtp.relay_clients]]\nname = \"monitor\"\nnetworks = [\"127.0.0.3/32\"]\nsenders = [\"@alerts.test\"]\nmessages_per_hour = 3\n\
         recipients_per_hour = 0\n\
         [[smtp.relay_clients]]\nname = \"crm\"\naccount = \"crm@relay.test\"\nrecipients_per_hour = 3\n"
    );
    let installation = Installation::new("relay.test", &["alice", "crm"], &more)?;
    let _servers = installation.serve()?;
    let told =
        json!({ "smarthost": port, "mailstead": program("mailstead"), "config": installation.config() });
    // Debian's Python has aiosmtpd.
    python_of("/usr/bin/python3", "relay_clients.py", installation.site(), told)?;
    Ok(())
}

/// A program in JavaScript, as shops and monitors have it.
#[test]
fn nodemailer_sends_from_a_network_that_may_up_to_its_limits() -> Result<()> {
    let port = free_port();
    let sink = Sink::start(port, &[])?;
    let more = format!(
        "[relay]\nsmarthost = \"127.0.0.1:{port}\"\ntls = \"none\"\n[[smtp.relay_clients]]\nname = \"shop\"\nnetworks = [\"127.0.0.2/32\"]\n\
         senders = [\"shop@relay.test\"]\nmessages_per_hour = 5\n"
    );
    let installation = Installation::new("relay.test", &["alice"], &more)?;
    let _servers = installation.serve()?;
    node("relay_client.mjs", installation.site())?;
    for message in sink.messages(5)? {
        for part in ["X-Mail-Args: <shop@relay.test>", "d=relay.test", "\nSubject: Receipt "] {
            ensure!(message.contains(part), "{part} is missing: {message}");
        }
    }
    wait(|| {
        let report = installation.mailstead(&["report", "--by", "client", "--json"]).run()?.output;
        let report: Value = serde_json::from_str(&report)?;
        let lines = report["lines"].as_array().into_iter().flatten();
        let mut shop = lines.filter(|line| line["name"] == "shop");
        let counted = shop.next().map(|it| [&it["received"], &it["sent"], &it["refused"]].map(Value::as_u64));
        ensure!(counted == Some([Some(5), Some(5), Some(2)]), "{report}");
        Ok(())
    })
}
