//! swaks as a proxy that speaks for its client, and HAProxy in front of all.

use std::process::Command;

use anyhow::{Result, ensure};
use e2e::{Client, HOST, Installation, Process, Site, free_port, messages_in};

/// As bob, whose password a proxy need not know.
fn swaks(site: &Site) -> Client {
    let bob = &site.person("bob").address;
    Client::new("swaks")
        .args(["--server", HOST, "--port", &site.port("submission").to_string(), "--from", bob, "--to", bob])
        .args(["--xclient-addr", "192.0.2.9", "--xclient-name", "client.example.net", "--xclient-login", bob])
        .args(["--xclient-helo", "client.example.net"])
}

#[test]
fn a_proxy_that_the_config_names_speaks_for_its_client() -> Result<()> {
    let installation = Installation::new("example.test", &["bob"], "[smtp]\nxclient = [\"127.0.0.1\"]\n")?;
    let _server = installation.serve()?;
    let site = installation.site();
    swaks(site).run()?;
    let stored = messages_in(&site.person("bob").maildir)?;
    let from = "\r\nReceived: from client.example.net ([192.0.2.9])\r\n\tby ";
    ensure!(stored.len() == 1 && stored.iter().all(|message| message.contains(from)), "{stored:?}");
    Ok(())
}

/// Which ports HAProxy takes clients on, and which it brings them to.
struct Ports {
    /// Under TLS, which ends at it.
    imaps: u16,
    submissions: u16,
    /// In the clear.
    smtp: u16,
    behind: [u16; 3],
}

/// HAProxy in front of three listeners that believe it.
fn haproxy(installation: &Installation, ports: &Ports) -> Result<Process> {
    let tls = installation.data().join("tls");
    let both =
        std::fs::read_to_string(tls.join("cert.pem"))? + &std::fs::read_to_string(tls.join("key.pem"))?;
    let (certificate, config) =
        (installation.folder().join("both.pem"), installation.folder().join("haproxy.cfg"));
    std::fs::write(&certificate, both)?;
    let shown = certificate.display();
    let [imap, submission, mx] = ports.behind;
    let Ports { imaps, submissions, smtp, .. } = ports;
    let text = format!(
        "defaults\n mode tcp\n timeout connect 10s\n timeout client 1m\n timeout server 1m\n\
         listen imaps\n bind 127.0.0.1:{imaps} ssl crt {shown}\n server mail 127.0.0.1:{imap} send-proxy-v2-ssl\n\
         listen submissions\n bind 127.0.0.1:{submissions} ssl crt {shown}\n server mail 127.0.0.1:{submission} send-proxy-v2-ssl\n\
         listen smtp\n bind 127.0.0.1:{smtp}\n server mail 127.0.0.1:{mx} send-proxy-v2\n"
    );
    std::fs::write(&config, text)?;
    let (mut process, _) = Process::start(Command::new("/usr/sbin/haproxy").args(["-db", "-f"]).arg(config))?;
    for port in [imaps, submissions, smtp] {
        process.wait_for_port(*port)?;
    }
    Ok(process)
}

#[test]
fn behind_haproxy_clients_are_known_by_their_own_addresses_and_their_tls_counts() -> Result<()> {
    let behind = [free_port(), free_port(), free_port()];
    let ports = Ports { imaps: free_port(), submissions: free_port(), smtp: free_port(), behind };
    let [imap, submission, mx] = ports.behind;
    let listener = |server: &str, name: &str, role: &str, port: u16| {
        format!(
            "[[{server}.listener]]\nname = \"{name}\"\ntls = \"none\"\naddresses = [\"127.0.0.1:{port}\"]\n{role}proxies = [\"127.0.0.1\"]\n"
        )
    };
    let config = listener("imap", "imap-behind", "", imap)
        + &listener("smtp", "submission-behind", "role = \"submission\"\n", submission)
        + &listener("smtp", "smtp-behind", "role = \"mx\"\n", mx);
    let installation = Installation::new("example.test", &["bob"], &config)?;
    let server = installation.serve()?;
    let _haproxy = haproxy(&installation, &ports)?;
    let bob = installation.site().person("bob");
    let swaks = |port: u16, client: &str| {
        let port = port.to_string();
        let common =
            ["--server", "127.0.0.1", "--port", &port, "--to", &bob.address, "--local-interface", client];
        Client::new("swaks").args(common)
    };
    let login = ["--auth", "PLAIN", "--auth-user", &bob.address, "--auth-password", &bob.password];
    swaks(ports.submissions, "127.0.0.2")
        .args(["--tls-on-connect", "--from", &bob.address])
        .args(login)
        .run()?;
    swaks(ports.smtp, "127.0.0.3").args(["--from", "eve@elsewhere.test"]).run()?;
    let stored = messages_in(&bob.maildir)?.join("\n");
    for (client, protocol) in [("127.0.0.2", "ESMTPSA"), ("127.0.0.3", "ESMTP")] {
        let trace = format!("[{client}])\r\n\tby localhost with {protocol} id ");
        ensure!(stored.contains(&trace), "{trace} is not in\n{stored}");
    }
    let user = format!("{}:{}", bob.address, bob.password);
    let mailbox = format!("imaps://{HOST}:{}/INBOX", ports.imaps);
    let listed = Client::new("curl")
        .args([
            "--silent",
            "--ipv4",
            "--interface",
            "127.0.0.4",
            "--user",
            &user,
            &mailbox,
            "-X",
            "STATUS INBOX (MESSAGES)",
        ])
        .args(["--cacert".as_ref(), installation.site().ca_file.as_os_str()])
        .run()?;
    ensure!(listed.output.contains("(MESSAGES 2)"), "{listed:?}");
    ensure!(server.log().contains("peer=127.0.0.4:"), "{}", server.log());
    Ok(())
}
