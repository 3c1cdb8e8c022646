//! The files that bring Mailstead onto a machine fit the program and each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

use mail_config::{Config, Listener};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The values of a setting in a unit.
fn setting<'t>(unit: &'t str, key: &str) -> Vec<&'t str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// Every listener that there is by default, with the server it belongs to.
fn listeners() -> Vec<(&'static str, Listener)> {
    let config = Config::new("mail.example.org".parse().unwrap(), "/var/lib/mailstead".into());
    let of = |server, listeners: Vec<Listener>| listeners.into_iter().map(move |listener| (server, listener));
    let all = of("smtp", config.smtp.listeners)
        .chain(of("imap", config.imap.listeners))
        .chain(of("pop3", config.pop3.listeners));
    all.collect()
}

fn port(listener: &Listener) -> String {
    listener.addresses.first().unwrap().port().to_string()
}

#[test]
fn each_listener_has_a_socket_unit_that_hands_it_down_by_its_name() {
    for (server, listener) in listeners() {
        let name = &listener.name;
        let unit = read(&format!("config/systemd/mailstead-{name}.socket"));
        assert_eq!(setting(&unit, "ListenStream"), [port(&listener)], "{name}");
        assert_eq!(setting(&unit, "FileDescriptorName"), [name], "{name}");
        assert_eq!(setting(&unit, "Service"), [format!("mailstead-{server}.service")], "{name}");
        let service = read(&format!("config/systemd/mailstead-{server}.service"));
        let sockets = setting(&service, "Sockets").concat();
        assert!(
            sockets.split(' ').any(|socket| socket == format!("mailstead-{name}.socket")),
            "{name}: {sockets}"
        );
        assert_eq!(setting(&service, "Also"), [sockets], "{server}");
    }
}

#[test]
fn containers_show_every_port() {
    let dockerfile = read("docker/Dockerfile");
    let exposed: Vec<&str> =
        dockerfile.lines().find_map(|line| line.strip_prefix("EXPOSE ")).unwrap().split(' ').collect();
    let [whole, separate] = ["docker/compose.yaml", "docker/separate.yaml"].map(read);
    for (_, listener) in listeners() {
        let port = port(&listener);
        assert!(exposed.contains(&port.as_str()), "EXPOSE {port}");
        let published = format!("\"{port}:{port}\"");
        assert!(whole.contains(&published) && separate.contains(&published), "ports: {published}");
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for entry in root().join("config/systemd").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let unit = folder.path().join(path.file_name().unwrap());
        let text = std::fs::read_to_string(path).unwrap();
        // What is started must be there for the check.
        let program = env!("CARGO_BIN_EXE_mailstead");
        let text = text.replace("/usr/local/bin/mailstead", program).replace("/bin/kill", program);
        std::fs::write(&unit, text).unwrap();
        units.push(unit);
    }
    units.retain(|unit| unit.extension().is_some_and(|kind| kind == "service" || kind == "socket"));
    assert_eq!(units.len(), 12);
    let checked = Command::new("systemd-analyze").arg("verify").args(&units).output().unwrap();
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
}

#[test]
fn the_hook_of_certbot_is_a_sound_script_that_replaces_what_init_made() {
    let script = root().join("config/certbot-hook.sh");
    let checked = Command::new("sh").arg("-n").arg(&script).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let text = read("config/certbot-hook.sh");
    for file in ["key.pem", "cert.pem", "/var/lib/mailstead/tls"] {
        assert!(text.contains(file), "{file}");
    }
}
