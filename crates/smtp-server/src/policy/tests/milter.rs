//! As much of the milter protocol as it takes to have OpenDKIM sign a message.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

struct OpenDkim(Child);

impl Drop for OpenDkim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The message (lines ended by CRLF) with the signature that OpenDKIM gives it, in these canonical forms.
pub(super) fn signed_by_opendkim(folder: &Path, key: &Path, forms: &str, message: &str) -> String {
    let socket = folder.join(forms.replace('/', "-"));
    let config = folder.join("opendkim.conf");
    // It wants keys where nobody else can write, which a test's folder below /tmp is not.
    std::fs::write(&config, "RequireSafeKeys no\n").unwrap();
    let child = Command::new("/usr/sbin/opendkim")
        .args(["-f", "-b", "s", "-S", "rsa-sha256", "-d", "football.example.com", "-s", "test", "-c", forms])
        .arg("-x")
        .arg(&config)
        .arg("-k")
        .arg(key)
        .arg("-p")
        .arg(format!("local:{}", socket.display()))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let _opendkim = OpenDkim(child);
    let begun = Instant::now();
    let mut stream = loop {
        match UnixStream::connect(&socket) {
            Ok(stream) => break stream,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "opendkim does not listen: {error}"),
        }
        std::thread::yield_now();
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let signature = converse(&mut stream, message);
    format!("{signature}\r\n{message}")
}

fn converse(stream: &mut UnixStream, message: &str) -> String {
    let (header, body) = message.split_once("\r\n\r\n").unwrap();
    // Version 6, every action, no step left out.
    let options = [6_u32, 0x1ff, 0].map(u32::to_be_bytes).concat();
    assert_eq!(ask(stream, b'O', &options).0, b'O');
    let connect = [b"localhost\x004".as_slice(), &25_u16.to_be_bytes(), b"127.0.0.1\0"].concat();
    assert_eq!(ask(stream, b'C', &connect).0, b'c');
    assert_eq!(ask(stream, b'H', b"localhost\0").0, b'c');
    assert_eq!(ask(stream, b'M', b"<joe@football.example.com>\0").0, b'c');
    assert_eq!(ask(stream, b'R', b"<suzie@shopping.example.net>\0").0, b'c');
    for field in header.split("\r\n") {
        let (name, value) = field.split_once(": ").unwrap();
        assert_eq!(ask(stream, b'L', format!("{name}\0{value}\0").as_bytes()).0, b'c');
    }
    assert_eq!(ask(stream, b'N', b"").0, b'c');
    assert_eq!(ask(stream, b'B', body.as_bytes()).0, b'c');
    let mut answer = ask(stream, b'E', b"");
    let mut signature = String::new();
    while answer.0 == b'h' || answer.0 == b'i' {
        let field = if answer.0 == b'i' { answer.1.split_off(4) } else { answer.1 };
        let text = String::from_utf8(field).unwrap();
        let mut parts = text.split('\0');
        let (name, value) = (parts.next().unwrap(), parts.next().unwrap());
        if name == "DKIM-Signature" {
            signature = format!("{name}: {}", value.replace("\r\n", "\n").replace('\n', "\r\n"));
        }
        answer = read(stream);
    }
    assert!(b"ac".contains(&answer.0), "{answer:?}");
    signature
}

fn ask(stream: &mut UnixStream, command: u8, data: &[u8]) -> (u8, Vec<u8>) {
    let length = u32::try_from(data.len() + 1).unwrap();
    stream.write_all(&[&length.to_be_bytes(), [command].as_slice(), data].concat()).unwrap();
    read(stream)
}

fn read(stream: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut packet = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut packet).unwrap();
    (packet[0], packet.split_off(1))
}
