//! A config that does not hold, or a machine that does not allow what it asks for: said plainly, and nothing is started.

use std::net::{TcpListener, TcpStream};

use anyhow::Result;
use e2e::{Client, Finished, HOST, Installation, program};

/// The ways to start something from a config.
const STARTERS: [&[&str]; 8] = [
    &["mailstead", "serve"],
    &["mailstead", "smtp"],
    &["mailstead", "queue"],
    &["mailstead", "imap"],
    &["mailstead", "pop3"],
    &["smtp-server"],
    &["imap-server"],
    &["pop3-server"],
];

/// Runs a command over the config, which must end by itself.
#[track_caller]
fn fails(installation: &Installation, command: &[&str], code: i32) -> Finished {
    let (executable, args) = command.split_first().unwrap();
    let client = Client::new(program(executable)).home(installation.folder()).args(args);
    let (ended, said) = client.args(["--config"]).args([installation.config()]).run_to_code().unwrap();
    assert_eq!(ended, Some(code), "{command:?}: {said:?}");
    assert!(!said.errors.contains("panicked"), "{command:?}: {said:?}");
    said
}

fn nothing_runs(installation: &Installation) {
    for (name, port) in &installation.site().ports {
        assert!(TcpStream::connect((HOST, *port)).is_err(), "{name} is served");
    }
}

#[test]
fn every_mistake_of_a_config_is_told_with_line_and_column_and_nothing_starts() -> Result<()> {
    let installation = Installation::new("mistaken.test", &[], "")?;
    let text = std::fs::read_to_string(installation.config())?;
    let first = text.lines().count() + 1;
    installation.write_config(
        "[smtp]\nmax_message_size = \"huge\"\nmax_hopps = 3\n[queue]\nretry_min = -1\n[limits]\nmax_connections = \"all\"\n[nonsense]\nkey = 1\n",
    )?;
    let file = installation.config().display().to_string();
    let expected = [
        format!("{file}:{}:20: smtp.max_message_size", first),
        format!("{file}:{}:1: smtp.max_hopps", first + 1),
        format!("{file}:{}:13: queue.retry_min", first + 3),
        format!("{file}:{}:19: limits.max_connections", first + 5),
        format!("{file}:{}:2: nonsense", first + 6),
    ];
    let check: &[&str] = &["mailstead", "config", "check"];
    for command in STARTERS.iter().chain([&check]) {
        let said = fails(&installation, command, 2);
        for mistake in &expected {
            assert!(said.errors.contains(mistake), "{command:?}: {mistake} is missing:\n{}", said.errors);
        }
        assert_eq!(said.errors.lines().count(), expected.len(), "{command:?}: and no more: {}", said.errors);
    }
    nothing_runs(&installation);
    Ok(())
}

#[test]
fn a_config_that_is_not_there_or_no_toml_is_told_as_such() -> Result<()> {
    let installation = Installation::new("absent.test", &[], "")?;
    installation.write_config("[smtp\nmax_hops = \n")?;
    for command in STARTERS {
        let said = fails(&installation, command, 2);
        assert!(said.errors.contains("mailstead.toml:"), "{command:?}: {said:?}");
    }
    std::fs::remove_file(installation.config())?;
    for command in STARTERS {
        let said = fails(&installation, command, 2);
        assert!(
            said.errors.contains("can't be read") && said.errors.contains("mailstead init"),
            "{command:?}: {said:?}"
        );
    }
    Ok(())
}

#[test]
fn a_data_dir_that_can_not_be_written_is_told_as_such() -> Result<()> {
    let installation = Installation::new("unwritable.test", &[], "")?;
    // Root may write anywhere but below a file.
    let text = std::fs::read_to_string(installation.config())?;
    std::fs::write(installation.data().join("file"), "")?;
    std::fs::write(installation.config(), text.replace("data_dir = \".\"", "data_dir = \"file/below\""))?;
    for command in STARTERS {
        let said = fails(&installation, command, 1);
        assert!(said.errors.contains("file/below"), "{command:?}: {said:?}");
    }
    nothing_runs(&installation);
    Ok(())
}

#[test]
fn a_port_in_use_is_told_with_its_address_and_what_to_do() -> Result<()> {
    let installation = Installation::new("busy.test", &[], "")?;
    let port = |name: &str| installation.site().port(name);
    let taken = ["imaps", "smtp", "pop3"].map(|name| TcpListener::bind((HOST, port(name))).unwrap());
    let said = fails(&installation, &["mailstead", "serve"], 1);
    for name in ["imaps", "smtp", "pop3"] {
        let told = format!("can't listen on 127.0.0.1:{} ({name})", port(name));
        assert!(said.errors.contains(&told) && said.errors.contains("another program"), "{told}: {said:?}");
    }
    assert!(TcpStream::connect((HOST, port("imap"))).is_err(), "the free ones are not served either");
    for (command, name) in [("smtp-server", "smtp"), ("imap-server", "imaps"), ("pop3-server", "pop3")] {
        let said = fails(&installation, &[command], 1);
        assert!(said.errors.contains(&format!("127.0.0.1:{}", port(name))), "{said:?}");
    }
    drop(taken);
    Ok(())
}

#[test]
fn a_certificate_that_does_not_parse_or_fit_is_told_with_its_file() -> Result<()> {
    let installation = Installation::new("untrusted.test", &[], "")?;
    let tls = installation.data().join("tls");
    let certificate = std::fs::read(tls.join("cert.pem"))?;
    let foreign_key = {
        let other = Installation::new("other.test", &[], "")?;
        std::fs::read(other.data().join("tls/key.pem"))?
    };
    // Whether it counts as a mistake of the config or of the machine, the code is not 0.
    let told = |command: &[&str], file: &str| {
        let (executable, args) = command.split_first().unwrap();
        let client = Client::new(program(executable)).home(installation.folder()).args(args);
        let (code, said) = client.args(["--config"]).args([installation.config()]).run_to_code().unwrap();
        assert!([Some(1), Some(2)].contains(&code) && said.errors.contains(file), "{command:?}: {said:?}");
    };
    let servers = STARTERS.iter().filter(|command| command.last() != Some(&"queue"));
    for command in servers {
        std::fs::write(
            tls.join("cert.pem"),
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )?;
        told(command, "cert.pem");
        std::fs::write(tls.join("cert.pem"), &certificate)?;
    }
    std::fs::write(tls.join("key.pem"), foreign_key)?;
    told(&["mailstead", "serve"], "key.pem");
    std::fs::remove_file(tls.join("key.pem"))?;
    told(&["mailstead", "serve"], "key.pem");
    nothing_runs(&installation);
    Ok(())
}
