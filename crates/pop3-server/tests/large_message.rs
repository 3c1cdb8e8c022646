//! A large message takes little memory: alone in its process, so that nothing else is counted.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::io::Write as _;

use support::{Client, maildir};
use testkit::Fixture;

/// The most memory that this process ever had, in octets.
fn peak_memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_takes_little_memory() {
    const SIZE: usize = 100 << 20;
    let fixture = Fixture::new().unwrap();
    let line = format!(".{}\r\n", "x".repeat(61));
    let block = line.repeat((1 << 20) / line.len());
    let path = maildir(&fixture).join("new/1.a.host");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(b"Subject: large\r\n\r\n").unwrap();
    (0..SIZE / block.len()).for_each(|_| file.write_all(block.as_bytes()).unwrap());
    let size = file.metadata().unwrap().len();
    let server = fixture.start(pop3_server::run).unwrap();
    let mut client = Client::bob(&server).await;
    let before = peak_memory();
    assert_eq!(client.ok("RETR 1").await, format!("+OK {size} octets"));
    let mut received = 0;
    loop {
        let line = client.line().await;
        if line == b".\r\n" {
            break;
        }
        received += line.strip_prefix(b".").unwrap_or(&line).len() as u64;
    }
    assert_eq!(received, size);
    // The kernel counts memory in batches for each thread: a peak may be told a little lower than before.
    let more = peak_memory().saturating_sub(before);
    assert!(more < SIZE / 4, "{more} octets more");
}
