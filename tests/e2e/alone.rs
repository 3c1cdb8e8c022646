//! Each server without a supervisor: by its own executable, as a subcommand, and with sockets that it is given.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::Result;
use e2e::{HOST, Installation, Site, python};
use nix::sys::signal::Signal;
use serde_json::Value;

fn work_together(smtp: &[&str], imap: &[&str], pop3: &[&str]) -> Result<()> {
    let installation = Installation::new("alone.test", &["alice", "bob"], "")?;
    let servers = [
        installation.alone(smtp, "smtp")?,
        installation.alone(imap, "imap")?,
        installation.alone(pop3, "pop3")?,
    ];
    for script in ["idle.py", "way_of_a_message.py"] {
        python(script, installation.site(), Value::Null)?;
    }
    for server in servers {
        server.stop(Signal::SIGTERM)?;
    }
    Ok(())
}

#[test]
fn the_executables_of_the_servers_work_together_without_a_supervisor() -> Result<()> {
    work_together(&["smtp-server"], &["imap-server"], &["pop3-server"])
}

#[test]
fn the_subcommands_of_the_servers_work_together_without_a_supervisor() -> Result<()> {
    work_together(&["mailstead", "smtp"], &["mailstead", "imap"], &["mailstead", "pop3"])
}

#[test]
fn each_server_takes_the_sockets_that_it_is_given_by_name() -> Result<()> {
    let installation = Installation::new("given.test", &["alice", "bob"], "")?;
    for (executable, names, greeting) in [
        ("smtp-server", ["submissions", "smtp", "submission"].as_slice(), "220 "),
        ("imap-server", &["imaps", "imap"], "* OK "),
        ("pop3-server", &["pop3s", "pop3"], "+OK "),
    ] {
        // In another order than in the config: the names count.
        let sockets = names.iter().map(|_| TcpListener::bind((HOST, 0))).collect::<Result<Vec<_>, _>>()?;
        let given = names.iter().zip(&sockets);
        let ports = given.map(|(name, socket)| Ok(((*name).to_owned(), socket.local_addr()?.port())));
        let site = Site { ports: ports.collect::<Result<_>>()?, ..installation.site().clone() };
        let clear = names.iter().find(|name| !name.ends_with('s')).unwrap();
        // Who connects before the server is there waits and is served.
        let early = TcpStream::connect((HOST, site.port(clear)))?;
        let server = installation.given(&[executable], names, sockets)?;
        let mut line = String::new();
        BufReader::new(early).read_line(&mut line)?;
        assert!(line.starts_with(greeting), "{line}");
        for name in names {
            assert!(
                TcpStream::connect((HOST, installation.site().port(name))).is_err(),
                "{name} is bound as well"
            );
        }
        let implicit = names.iter().find(|name| name.ends_with('s')).unwrap();
        let mut in_clear = TcpStream::connect((HOST, site.port(implicit)))?;
        in_clear.write_all(b"NOOP\r\n\r\n")?;
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut in_clear, &mut answer);
        assert!(!answer.starts_with(greeting.as_bytes()), "{implicit} is served with TLS: {answer:?}");
        server.stop(Signal::SIGTERM)?;
    }
    Ok(())
}
