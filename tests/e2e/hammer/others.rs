//! Who else is at work on the mailbox: one fetches by POP3, one delivers by SMTP, one destroys the index.

use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Mail, PATIENCE, Person, Site};
use fastrand::Rng;

use super::ledger::Ledger;

/// Delivers to alice until all are to stop.
pub(crate) fn deliver(site: &Site, ledger: &Ledger, seed: u64) -> Result<()> {
    let mut rng = Rng::with_seed(seed);
    while !ledger.is_over() {
        let before = ledger.steps();
        let (id, text) = ledger.write("smtp", rng.usize(0..80));
        site.deliver("alice", &Mail::of(&text))?;
        ledger.acknowledge(&id);
        std::thread::sleep(Duration::from_millis(rng.u64(20..120)));
        ledger.wait_for(before + 1);
    }
    Ok(())
}

struct Pop3 {
    stream: BufReader<TcpStream>,
}

impl Pop3 {
    /// Octets up to the line's end; it is an error only if the connection breaks.
    fn say(&mut self, command: &str) -> Result<String> {
        self.stream.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        self.line()
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line.strip_suffix("\r\n").with_context(|| format!("half a line: {line:?}"))?.to_owned())
    }

    fn lines(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            if line == "." {
                return Ok(lines);
            }
            lines.push(line.strip_prefix('.').map(str::to_owned).unwrap_or(line));
        }
    }

    /// Number and second word of each line.
    fn table(&mut self, command: &str) -> Result<Vec<(usize, String)>> {
        let reply = self.say(command)?;
        ensure!(reply.starts_with("+OK"), "{command}: {reply}");
        let pair = |line: String| {
            let (number, value) = line.split_once(' ').context("one word")?;
            Ok((number.parse()?, value.to_owned()))
        };
        self.lines()?.into_iter().map(pair).collect()
    }
}

/// Reads, and now and then removes, by one POP3 session after the other until all are to stop.
pub(crate) fn fetch(site: &Site, person: &Person, ledger: &Ledger, seed: u64) -> Result<()> {
    let mut rng = Rng::with_seed(seed);
    while !ledger.is_over() {
        let stream = TcpStream::connect(("127.0.0.1", site.port("pop3")))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut pop3 = Pop3 { stream: BufReader::new(stream) };
        pop3.line()?;
        pop3.say(&format!("USER {}", person.address))?;
        let reply = pop3.say(&format!("PASS {}", person.password))?;
        if ledger.is_patient && reply.starts_with("-ERR [SYS/TEMP]") {
            continue;
        }
        ensure!(reply.starts_with("+OK"), "PASS: {reply}");
        visit(&mut pop3, ledger, &mut rng)?;
        // Of what it is to remove, others may have removed some.
        pop3.say("QUIT")?;
        std::thread::sleep(Duration::from_millis(rng.u64(10..60)));
    }
    Ok(())
}

fn visit(pop3: &mut Pop3, ledger: &Ledger, rng: &mut Rng) -> Result<()> {
    let (sizes, ids) = (pop3.table("LIST")?, pop3.table("UIDL")?);
    ensure!(sizes.len() == ids.len(), "{} sizes, {} ids", sizes.len(), ids.len());
    for ((number, size), (_, unique)) in sizes.into_iter().zip(ids) {
        if rng.u8(0..8) > 0 {
            continue;
        }
        if !pop3.say(&format!("RETR {number}"))?.starts_with("+OK") {
            continue; // another session was faster
        }
        let text: String = pop3.lines()?.into_iter().map(|line| line + "\r\n").collect();
        ensure!(size.parse() == Ok(text.len()), "LIST says {size}, RETR gives {} octets", text.len());
        let id = ledger.read(text.as_bytes())?;
        let (uid, validity) = unique.split_at_checked(8).context("no UIDL of ours")?;
        let hex = |text: &str| u32::from_str_radix(text, 16);
        ledger.bind((hex(validity)?, hex(uid)?), &id)?;
        if rng.u8(0..6) == 0 {
            ledger.may_go(&id);
            let reply = pop3.say(&format!("DELE {number}"))?;
            ensure!(reply.starts_with("+OK"), "DELE: {reply}");
        }
    }
    Ok(())
}

/// Removes, cuts and fills the index with noise until all are to stop.
pub(crate) fn destroy(index: &Path, ledger: &Ledger, seed: u64) -> Result<()> {
    let (mut rng, mut before) = (Rng::with_seed(seed), 0);
    while !ledger.is_over() {
        std::thread::sleep(Duration::from_millis(rng.u64(50..400)));
        // Who waits for a session may wait for all others, each of which may have to rebuild it first.
        ledger.wait_for(before + 4);
        before = ledger.steps();
        let Ok(file) = std::fs::File::options().write(true).open(index) else { continue };
        let size = file.metadata()?.len();
        match rng.u8(0..6) {
            0 => std::fs::remove_file(index)?,
            1 => ["", "-shm", "-wal"].iter().for_each(|suffix| {
                let _ = std::fs::remove_file(index.with_file_name(format!("index.sqlite{suffix}")));
            }),
            2 => file.set_len(0)?,
            3 => file.set_len(rng.u64(0..=size))?,
            4 => fill(&file, 0, size, &mut rng)?,
            _ => fill(&file, size / 2, size, &mut rng)?,
        }
    }
    Ok(())
}

fn fill(mut file: &std::fs::File, from: u64, to: u64, rng: &mut Rng) -> Result<()> {
    file.seek(SeekFrom::Start(from))?;
    let noise: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(usize::try_from(to - from)?).collect();
    Ok(file.write_all(&noise)?)
}
