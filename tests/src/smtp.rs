use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use anyhow::{Result, ensure};

use crate::{HOST, Mail, PATIENCE, Site};

impl Site {
    /// Delivers a message from elsewhere to the person whose address begins with `local_part`.
    ///
    /// # Errors
    /// With the reply, if it is refused.
    pub fn deliver(&self, local_part: &str, mail: &Mail) -> Result<()> {
        let stream = TcpStream::connect((HOST, self.port("smtp")))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut peer = Peer { replies: BufReader::new(stream.try_clone()?), stream };
        peer.expect("220")?;
        let to = &self.person(local_part).address;
        let commands =
            ["HELO peer.e2e.test", "MAIL FROM:<stranger@elsewhere.test>", &format!("RCPT TO:<{to}>")];
        for command in commands {
            peer.say(command, "250")?;
        }
        peer.say("DATA", "354")?;
        let stuffed = mail.as_str().replace("\r\n.", "\r\n..");
        peer.say(&format!("{stuffed}."), "250")?;
        peer.say("QUIT", "221")
    }
}

struct Peer {
    stream: TcpStream,
    replies: BufReader<TcpStream>,
}

impl Peer {
    fn say(&mut self, line: &str, code: &str) -> Result<()> {
        self.stream.write_all(format!("{line}\r\n").as_bytes())?;
        self.expect(code)
    }

    fn expect(&mut self, code: &str) -> Result<()> {
        let mut reply = String::new();
        self.replies.read_line(&mut reply)?;
        ensure!(reply.starts_with(code), "expected {code}, got {reply:?}");
        Ok(())
    }
}
