//! A disk that is full: mail is refused for now, and nothing that was acknowledged is lost.

use anyhow::{Context as _, Result, ensure};
use e2e::{Installation, free_port, program, python_of};
use serde_json::{Value, json};
use testkit::{OnSmallDisk, SmallDisk};

/// Where nothing may be mounted, not as root and not in a namespace of a user's own, the queue's database alone says that the disk is full: so much of
/// it is proved there, and what is delivered here is not.
#[test]
fn a_full_disk_is_452_in_sessions_that_go_on_and_nothing_acknowledged_is_lost() -> Result<()> {
    match SmallDisk::run("full_disk::on_a_small_disk", "32m")? {
        OnSmallDisk::Passed => Ok(()),
        OnSmallDisk::NotHere(why) => {
            println!("no disk can be made here that is soon full, only a queue: {why}");
            dialogue(&json!({}))
        }
    }
}

#[test]
#[ignore = "what another test runs on a small disk"]
fn on_a_small_disk() -> Result<()> {
    let Some(disk) = SmallDisk::here() else { return Ok(()) };
    dialogue(&json!({ "filling": disk.folder().join("filling") }))
}

/// Where nothing may be mounted, a disk of so little room can't be had.
#[test]
fn a_disk_that_is_full_of_mail_has_room_for_logins_deletions_and_outcomes() -> Result<()> {
    match SmallDisk::run("full_disk::full_of_mail", "32m")? {
        OnSmallDisk::Passed => {}
        OnSmallDisk::NotHere(why) => println!("no disk can be made here that is soon full: {why}"),
    }
    Ok(())
}

#[test]
#[ignore = "what another test runs on a small disk"]
fn full_of_mail() -> Result<()> {
    let Some(disk) = SmallDisk::here() else { return Ok(()) };
    let port = free_port();
    let relay = format!("[relay]\nsmarthost = \"127.0.0.1:{port}\"\ntls = \"none\"\n");
    let installation = Installation::new("full.test", &["alice", "bob"], &relay)?;
    let servers = installation.serve()?;
    let told = json!({
        "smarthost": port, "mailstead": program("mailstead"), "config": installation.config(), "disk": disk.folder(),
    });
    python_of("/usr/bin/python3", "disk_full_of_mail.py", installation.site(), told)
        .with_context(|| servers.log())?;
    let log = servers.log();
    let told = log.matches("mail is refused for now: too little is free on the disk").count();
    ensure!((1..=6).contains(&told), "{told} times\n{log}");
    ensure!(log.contains("the disk has room for mail again"), "{log}");
    Ok(())
}

/// `more` says which file takes all the room.
fn dialogue(more: &Value) -> Result<()> {
    let port = free_port();
    let relay = format!("[relay]\nsmarthost = \"127.0.0.1:{port}\"\ntls = \"none\"\n");
    let installation = Installation::new("full.test", &["alice", "bob"], &relay)?;
    installation.mailstead(&["alias", "add", "away@full.test", "eve@elsewhere.test"]).run()?;
    let servers = installation.serve()?;
    let mut told = json!({
        "smarthost": port, "mailstead": program("mailstead"), "config": installation.config(),
        "queue": installation.data().join("queue/queue.sqlite"),
    });
    if let (Some(told), Some(more)) = (told.as_object_mut(), more.as_object()) {
        told.extend(more.clone());
    }
    // Debian's Python has aiosmtpd.
    python_of("/usr/bin/python3", "full_disk.py", installation.site(), told)
        .with_context(|| servers.log())?;
    Ok(())
}
