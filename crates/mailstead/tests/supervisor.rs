//! What the supervisor promises: servers that stay up, reloads that lose nothing, and an orderly end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::io::{BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;

use command_fds::{CommandFdExt, FdMapping};
use common::{Installation, Running, greeting, is_alive, wait_for, wait_until_refused};
use nix::sys::signal::{Signal, kill};

#[test]
fn a_killed_server_is_back_and_its_port_never_refuses() {
    let installation = Installation::new();
    let running = installation.serve();
    let imap = installation.address_of("imap");
    let before = [installation.pid_of("imap"), installation.pid_of("pop3")];
    kill(before[0], Signal::SIGKILL).unwrap();
    // The socket is the supervisor's: who comes now waits for the next process.
    assert!(greeting(imap).0.starts_with("* OK"));
    running.wait_for_log("died (signal: 9 (SIGKILL)); it is started again");
    let after = [installation.pid_of("imap"), installation.pid_of("pop3")];
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1], "the others don't notice");
    assert_eq!(installation.status_of("imap").unwrap()["restarts"], 1);
}

#[test]
fn what_a_server_counts_is_shown_for_prometheus_and_outlives_it() {
    let installation = Installation::new();
    let running = installation.serve();
    let imap = installation.address_of("imap");
    let value = |series: &str| {
        let shown = installation.run(&["status", "--metrics"]).out;
        let value = shown.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<u64>().ok());
        value.unwrap_or_default()
    };
    let connections = || value("mailstead_connections_total{listener=\"imap\"}");
    drop(greeting(imap));
    wait_for("the connection to be counted", || (connections() == 1).then_some(()));
    kill(installation.pid_of("imap"), Signal::SIGKILL).unwrap();
    running.wait_for_log("it is started again");
    assert_eq!(connections(), 1);
    drop(greeting(imap));
    wait_for("the next one to be added", || (connections() == 2).then_some(()));
    wait_for("the queue to be counted", || {
        let shown = installation.run(&["status", "--metrics"]).out;
        shown.contains("\nmailstead_queue_messages 0\n").then_some(())
    });
    assert_eq!(value("mailstead_server_restarts_total{server=\"imap\"}"), 1);
}

#[test]
fn a_reload_with_a_bad_config_names_every_mistake_and_keeps_the_old_one() {
    let installation = Installation::new();
    let running = installation.serve();
    let before = installation.pid_of("imap");
    let good = installation.read_config();
    installation.add_to_config("[limits]\nmax_conections = 5\ndrain_timeout = \"soon\"\n");
    running.signal(Signal::SIGHUP);
    let log = running.wait_for_log("the config does not hold; the servers go on with the old one");
    let lines = good.lines().count() + 1;
    assert!(
        log.contains(&format!("mailstead.toml:{}:1: limits.max_conections: there is no such key", lines + 2)),
        "{log}"
    );
    assert!(
        log.contains(&format!("mailstead.toml:{}:17: limits.drain_timeout = \"soon\"", lines + 3)),
        "{log}"
    );
    // A server that is started again now still finds the config that was checked.
    kill(before, Signal::SIGKILL).unwrap();
    assert!(greeting(installation.address_of("imap")).0.starts_with("* OK"));
    assert_ne!(installation.pid_of("imap"), before);
    installation.run(&["status"]).succeeds();
}

#[test]
fn a_reload_binds_what_is_new_closes_what_is_gone_and_finishes_sessions() {
    let installation = Installation::new();
    let running = installation.serve();
    let imap = installation.address_of("imap");
    let (_, mut session) = greeting(imap);
    let before = installation.pid_of("imap");
    let moved = std::net::SocketAddr::from((installation.address, 13_143));
    let config = installation.read_config().replace(&imap.to_string(), &moved.to_string());
    std::fs::write(installation.config(), config + "[pop3]\nenabled = false\n").unwrap();
    running.signal(Signal::SIGHUP);
    running.wait_for_log("the config is read again");
    wait_for("the new listener", || TcpStream::connect(moved).ok());
    assert!(greeting(moved).0.starts_with("* OK"));
    wait_until_refused(imap);
    wait_until_refused(installation.address_of("pop3"));
    // The old session is let go in an orderly way: RFC 3501 §7.1.5.
    let mut rest = String::new();
    session.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("* BYE"), "{rest:?}");
    wait_for("the old process to end", || (!is_alive(before)).then_some(()));
    assert!(installation.status_of("pop3").is_none());
}

#[test]
fn sigterm_stops_everything_and_leaves_no_process() {
    let installation = Installation::new();
    let running = installation.serve();
    let servers = ["smtp", "queue", "imap", "pop3"].map(|server| installation.pid_of(server));
    let (_, mut session) = greeting(installation.address_of("smtp"));
    running.signal(Signal::SIGTERM);
    let mut rest = String::new();
    session.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("421 "), "RFC 5321 §3.8: {rest:?}");
    let (code, log) = running.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(servers.iter().all(|server| !is_alive(*server)), "{log}");
    installation.run(&["status"]).fails(1, &["not running"]);
}

#[test]
fn servers_end_with_a_killed_supervisor_and_a_new_one_starts_at_once() {
    let installation = Installation::new();
    let mut running = installation.serve();
    let servers = ["smtp", "queue", "imap", "pop3"].map(|server| installation.pid_of(server));
    running.signal(Signal::SIGKILL);
    running.child.wait().unwrap();
    for server in servers {
        wait_for("the servers to end", || (!is_alive(server)).then_some(()));
    }
    let _again = installation.serve();
    assert!(greeting(installation.address_of("imap")).0.starts_with("* OK"));
}

#[test]
fn a_second_supervisor_over_the_same_data_is_refused() {
    let installation = Installation::new();
    let running = installation.serve();
    let pid = running.pid().to_string();
    installation.run(&["serve"]).fails(1, &["another mailstead runs over the data dir", &pid]);
}

#[test]
fn every_port_in_use_is_named_and_nothing_starts() {
    let installation = Installation::new();
    let [smtp, imap] = ["smtp", "imap"].map(|name| installation.address_of(name));
    let _taken = [TcpListener::bind(smtp).unwrap(), TcpListener::bind(imap).unwrap()];
    let [smtp, imap] = [smtp, imap].map(|address| format!("can't listen on {address}"));
    installation.run(&["serve"]).fails(1, &[&smtp, &imap, "another program listens there"]);
}

#[test]
fn a_certificate_that_can_not_be_used_is_named_and_nothing_starts() {
    let installation = Installation::new();
    let certificate = installation.data().join("tls/cert.pem");
    std::fs::write(&certificate, "no certificate").unwrap();
    for command in [&["serve"][..], &["config", "check"]] {
        installation.run(command).fails(2, &[certificate.to_str().unwrap(), "holds no certificate"]);
    }
}

/// sd_notify(3)
#[test]
fn the_service_manager_is_told_how_it_goes() {
    let installation = Installation::new();
    let socket = installation.folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let next = |wanted: &str| loop {
        let mut buffer = [0; 4096];
        let length = manager.recv(&mut buffer).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.lines().any(|line| line == wanted) {
            return text;
        }
    };
    let mut command = installation.command(&["serve"]);
    let running = Running::start(command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "400000"));
    next("READY=1");
    assert!(greeting(installation.address_of("imap")).0.starts_with("* OK"));
    next("WATCHDOG=1");
    running.signal(Signal::SIGHUP);
    assert!(next("RELOADING=1").contains("MONOTONIC_USEC="));
    next("READY=1");
    next("WATCHDOG=1");
    running.signal(Signal::SIGTERM);
    next("STOPPING=1");
    assert_eq!(running.end().0, Some(0));
}

#[test]
fn a_socket_that_is_handed_down_outlives_a_reload_and_the_death_of_its_server() {
    let installation = Installation::new();
    let socket = TcpListener::bind((installation.address, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let mut command = installation.command(&["serve"]);
    command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "imap:nobody");
    let unknown = TcpListener::bind((installation.address, 0)).unwrap();
    let mapping = |socket: TcpListener, child_fd| FdMapping { parent_fd: socket.into(), child_fd };
    command.fd_mappings(vec![mapping(socket, 3), mapping(unknown, 4)]).unwrap();
    let running = Running::start(&mut command);
    running.wait_for_log("a socket was handed down as nobody, but no listener has that name");
    running.wait_for_log("all servers are ready");
    for step in ["start", "reload", "death"] {
        assert!(greeting(address).0.starts_with("* OK"), "{step}");
        let before = installation.pid_of("imap");
        match step {
            "start" => running.signal(Signal::SIGHUP),
            _ => kill(before, Signal::SIGKILL).unwrap(),
        }
        wait_for("another process", || (installation.pid_of("imap") != before).then_some(()));
    }
    assert!(greeting(address).0.starts_with("* OK"));
}

#[test]
fn a_server_alone_takes_the_sockets_that_are_handed_down_to_it() {
    let installation = Installation::new();
    let socket = TcpListener::bind((installation.address, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let mut command = installation.command(&["imap"]);
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "imap");
    command.fd_mappings(vec![FdMapping { parent_fd: socket.into(), child_fd: 3 }]).unwrap();
    let running = Running::start(&mut command);
    let (line, mut session) = greeting(address);
    assert!(line.starts_with("* OK"), "{line}");
    session.get_mut().write_all(b"a LOGOUT\r\n").unwrap();
    let answer: Vec<String> = session.lines().map_while(Result::ok).collect();
    assert!(answer.last().is_some_and(|line| line.starts_with("a OK")), "{answer:?}");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().0, Some(0));
}

/// Prometheus' text format, version 0.0.4, from a process of its own that a restart of the others does not end.
#[test]
fn who_asks_by_http_is_told_what_the_servers_count() {
    let installation = Installation::new();
    let address = std::net::SocketAddr::from((installation.address, 12_090));
    installation.add_to_config(&format!("[metrics]\nlisten = [\"{address}\"]\n"));
    let _running = installation.serve();
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    drop(greeting(installation.address_of("imap")));
    let page = wait_for("the connection to be counted", || {
        let page = ask("GET /metrics");
        page.contains("\nmailstead_connections_total{listener=\"imap\"} 1\n").then_some(page)
    });
    let (head, text) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(text.contains("\nmailstead_server_running{server=\"metrics\"} 1\n"), "{text}");
    let (head, none) =
        ask("HEAD /metrics").split_once("\r\n\r\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && none.is_empty(), "{head}");
    for (request, status) in
        [("GET /", "404"), ("GET /metrics/x", "404"), ("POST /metrics", "405"), ("nonsense", "400")]
    {
        assert!(ask(request).starts_with(&format!("HTTP/1.1 {status} ")), "{request}");
    }
    // A head without an end is not read to its end.
    let mut endless = TcpStream::connect(address).unwrap();
    while endless.write_all(&[b'x'; 4096]).is_ok() {}
    assert!(ask("GET /metrics").starts_with("HTTP/1.1 200 OK"));
}
