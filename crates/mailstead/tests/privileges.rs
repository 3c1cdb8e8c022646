//! What the servers may do when root starts them. Only root can try this; for others these tests have nothing to say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Installation, Running, greeting, owner, proc_status};
use nix::unistd::{User, geteuid};

const USER: &str = "nobody";

/// An installation whose servers become somebody else, who can reach it; `None` if we are not root.
fn installation() -> Option<(Installation, User)> {
    let user = geteuid().is_root().then(|| User::from_name(USER).unwrap()).flatten()?;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    Some((Installation::init(folder, &["--user", USER]), user))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            files.extend(files_below(&path));
        }
        files.push(path);
    }
    files
}

#[test]
fn servers_started_by_root_become_the_user_for_good() {
    let Some((installation, user)) = installation() else { return };
    installation.add_account("alice@example.org");
    let running = installation.serve();
    assert_eq!(proc_status(running.pid(), "Uid").split_whitespace().next(), Some("0"));
    for server in ["smtp", "queue", "imap", "pop3"] {
        let pid = installation.pid_of(server);
        let ids = |id: u32| [id; 4].map(|id| id.to_string()).join("\t");
        assert_eq!(proc_status(pid, "Uid"), ids(user.uid.as_raw()), "{server}");
        assert_eq!(proc_status(pid, "Gid"), ids(user.gid.as_raw()), "{server}");
        assert_eq!(proc_status(pid, "Groups"), user.gid.to_string(), "{server}: no group of root's");
        assert_eq!(proc_status(pid, "CapPrm"), "0000000000000000", "{server}");
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let files: Vec<&str> = limits
            .lines()
            .find(|line| line.starts_with("Max open files"))
            .unwrap()
            .split_whitespace()
            .collect();
        assert_eq!(files[3], files[4], "{server}: as many as the hard limit allows");
    }
    greeting(installation.address_of("imap"));
    for file in files_below(&installation.data()) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let expected = if name == "mailstead.toml" { 0 } else { user.uid.as_raw() };
        assert_eq!(owner(&file), expected, "{}", file.display());
        let mode = file.symlink_metadata().unwrap().permissions().mode();
        assert!(
            mode & 0o007 == 0 || name.ends_with("pem") || file.is_symlink(),
            "{}: {mode:o}",
            file.display()
        );
    }
}

#[test]
fn a_key_that_only_root_reads_is_told_before_anything_starts() {
    let Some((installation, _)) = installation() else { return };
    let key = installation.data().join("tls/key.pem");
    nix::unistd::chown(&key, Some(0.into()), Some(0.into())).unwrap();
    for command in [&["serve"][..], &["config", "check"]] {
        installation
            .run(command)
            .fails(2, &[key.to_str().unwrap(), "Permission denied", "run as the user nobody"]);
    }
}

#[test]
fn an_init_that_fails_can_be_called_again() {
    if !geteuid().is_root() {
        return;
    }
    // The user can't enter the folder above the data.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let installation = Installation { folder, address: common::address(), program: common::program() };
    let init = ["init", "example.org", "--user", USER, "--data-dir", "data"];
    installation
        .run(&init)
        .fails(1, &["can't write to the data dir", "as the user nobody", "Permission denied"]);
    std::fs::set_permissions(installation.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    installation.run(&init).succeeds();
}

#[test]
fn a_data_dir_of_another_user_is_told_with_what_to_do() {
    let Some((installation, _)) = installation() else { return };
    nix::unistd::chown(&installation.data(), Some(0.into()), None).unwrap();
    installation.run(&["serve"]).fails(1, &["belongs to root", "chown -R nobody:"]);
    let text = installation.read_config().replace("\"nobody\"", "\"no-such-user\"");
    std::fs::write(installation.config(), text).unwrap();
    installation.run(&["serve"]).fails(2, &["the user no-such-user in the config does not exist"]);
}

/// As systemd starts it with `User=` and `AmbientCapabilities=CAP_NET_BIND_SERVICE`.
#[test]
fn servers_give_up_the_capability_with_which_the_ports_were_bound() {
    let Some((installation, user)) = installation() else { return };
    if Command::new("setpriv").arg("--version").output().is_err() {
        return;
    }
    let program = installation.folder.path().join("mailstead");
    std::fs::copy(common::program(), &program).unwrap();
    let capability = "+net_bind_service";
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", &user.gid.to_string(), "--clear-groups"]);
    command.args(["--inh-caps", capability, "--ambient-caps", capability]);
    command.arg(program).args(["serve", "--config"]).arg(installation.config());
    let running = Running::start(&mut command);
    running.wait_for_log("all servers are ready");
    assert_ne!(
        proc_status(running.pid(), "CapEff"),
        "0000000000000000",
        "the supervisor may bind more at a reload"
    );
    for server in ["smtp", "queue", "imap", "pop3"] {
        let pid = installation.pid_of(server);
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(proc_status(pid, set), "0000000000000000", "{server} {set}");
        }
    }
}
