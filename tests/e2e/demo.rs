//! `mailstead demo`: a domain to try things on.

use anyhow::{Result, ensure};
use e2e::{Demo, Mail, program, python};
use nix::sys::signal::Signal;

use crate::relay::{submit_to, wait};

#[test]
fn a_demo_started_again_goes_on_with_its_data() -> Result<()> {
    let first = Demo::start()?;
    let passwords = |demo: &Demo| -> Vec<String> {
        demo.site().people.iter().map(|person| person.password.clone()).collect()
    };
    let before = passwords(&first);
    python("fill_and_find.py", first.site(), "fill".into())?;
    let (folder, _) = first.stop()?;
    let again = Demo::start_in(folder)?;
    assert_eq!(passwords(&again), before);
    python("fill_and_find.py", again.site(), "find".into())?;
    again.stop()?;
    Ok(())
}

#[test]
fn two_demos_run_side_by_side_on_ports_of_their_own() -> Result<()> {
    let (one, other) = (Demo::start()?, Demo::start()?);
    for (name, port) in &one.site().ports {
        assert_ne!(*port, other.site().port(name), "{name}");
    }
    for demo in [&one, &other] {
        python("fill_and_find.py", demo.site(), "fill".into())?;
    }
    Ok(())
}

/// Alice's mail for elsewhere, tried once. No resolver was asked, or it would say more than that there is no way.
fn mail_for_elsewhere_stays(demo: &Demo) -> Result<()> {
    let alice = demo.site().person("alice");
    let mail = Mail::new(&alice.address, "eve@elsewhere.test", "far", "text");
    submit_to(demo.site(), &mail, &["eve@elsewhere.test"])?;
    wait(|| {
        let listed = demo.mailstead(&["queue", "list", "--json"]).run()?.output;
        ensure!(listed.contains("direct delivery is switched off"), "{listed}");
        Ok(())
    })
}

#[test]
fn mail_for_elsewhere_stays_in_the_demo() -> Result<()> {
    let demo = Demo::start()?;
    mail_for_elsewhere_stays(&demo)?;
    let (folder, _) = demo.stop()?;
    // As older versions wrote it.
    let file = folder.path().join("mailstead-demo/mailstead.toml");
    let text = std::fs::read_to_string(&file)?;
    ensure!(text.contains("[relay]\ndirect = false\n"), "{text}");
    std::fs::write(&file, text.replace("[relay]\ndirect = false\n", ""))?;
    std::fs::remove_dir_all(folder.path().join("mailstead-demo/queue"))?;
    let again = Demo::start_in(folder)?;
    mail_for_elsewhere_stays(&again)?;
    again.stop()?;
    Ok(())
}

#[test]
fn a_second_demo_in_the_same_folder_is_refused() -> Result<()> {
    let demo = Demo::start()?;
    let (code, said) = demo.mailstead(&["demo", "--json"]).run_to_code()?;
    assert_eq!(code, Some(1), "{said:?}");
    assert!(said.output.is_empty() && said.errors.contains("mailstead-demo"), "{said:?}");
    Ok(())
}

#[test]
fn ctrl_c_and_sigterm_stop_the_demo_with_all_its_servers() -> Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let demo = Demo::start()?;
        let servers = demo.status()?.servers;
        demo.process().signal(signal)?;
        let (_folder, log) = demo.wait()?;
        assert!(log.contains("stopped"), "{log}");
        for server in servers {
            let process = format!("/proc/{}", server.pid.unwrap());
            assert!(!std::path::Path::new(&process).exists(), "{server:?} outlives the demo");
        }
    }
    Ok(())
}

#[test]
fn the_table_for_people_names_every_server_with_its_port() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = std::process::Command::new(program("mailstead"));
    let (process, stdout) = e2e::Process::start(command.arg("demo").current_dir(folder.path()))?;
    let mut table = String::new();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
    while !table.contains("Ctrl-C") {
        table += &(lines.next().unwrap()? + "\n");
    }
    for word in [
        "demo.test",
        "alice@demo.test",
        "bob@demo.test",
        "password",
        "IMAP",
        "POP3",
        "SMTP",
        "SSL/TLS",
        "STARTTLS",
    ] {
        assert!(table.contains(word), "{word} is missing:\n{table}");
    }
    process.stop(Signal::SIGINT)?;
    Ok(())
}
