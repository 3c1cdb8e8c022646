use bytes::{BufMut as _, BytesMut};

use crate::frame::{packet, text};

/// The stages of a dialogue that macros belong to: `SMFIM_…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The connection.
    Connect = 0,
    /// HELO or EHLO.
    Helo = 1,
    /// MAIL.
    Mail = 2,
    /// RCPT.
    Rcpt = 3,
    /// DATA.
    Data = 4,
    /// The end of the message.
    EndOfMessage = 5,
    /// The end of the header.
    EndOfHeader = 6,
}

impl Stage {
    pub(crate) const fn numbered(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Connect,
            1 => Self::Helo,
            2 => Self::Mail,
            3 => Self::Rcpt,
            4 => Self::Data,
            5 => Self::EndOfMessage,
            6 => Self::EndOfHeader,
            _ => return None,
        })
    }

    /// The letter of the command that macros are sent for.
    const fn code(self) -> u8 {
        match self {
            Self::Connect => b'C',
            Self::Helo => b'H',
            Self::Mail => b'M',
            Self::Rcpt => b'R',
            Self::Data => b'T',
            Self::EndOfMessage => b'E',
            Self::EndOfHeader => b'N',
        }
    }
}

/// How a client's address is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `192.0.2.1`
    Inet,
    /// `2001:db8::1`
    Inet6,
}

/// What a mail server says: `SMFIC_…`. Text is taken as it is, but for NULs, which are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// What the macros of the next command are worth.
    Macros {
        /// Which command that is.
        stage: Stage,
        /// Names, with their braces where they are longer than a letter, and values.
        values: &'a [(String, String)],
    },
    /// Who has connected.
    Connect {
        /// The client's name, or what says that it has none.
        name: &'a str,
        /// How `address` is written.
        family: Family,
        /// Of the client.
        port: u16,
        /// Of the client.
        address: &'a str,
    },
    /// How the client calls itself.
    Helo(&'a str),
    /// The reverse path between angle brackets, and the ESMTP parameters.
    Mail(&'a [String]),
    /// The forward path between angle brackets, and the ESMTP parameters.
    Rcpt(&'a [String]),
    /// The message begins.
    Data,
    /// A header field; lines of its value are ended by LF.
    Header {
        /// Before the colon.
        name: &'a [u8],
        /// Behind the colon.
        value: &'a [u8],
    },
    /// The header is over.
    EndOfHeader,
    /// A piece of the body of at most [`crate::MAX_BODY`] octets, its lines ended by CRLF.
    Body(&'a [u8]),
    /// The message is over.
    EndOfMessage,
    /// A line that is no command of SMTP.
    Unknown(&'a [u8]),
    /// This message comes to nothing; another may begin.
    Abort,
    /// The connection is over.
    Quit,
}

impl Command<'_> {
    /// Appends it as a packet.
    pub fn encode(&self, output: &mut BytesMut) {
        let all = |texts: &[String], output: &mut BytesMut| {
            texts.iter().for_each(|it| text(output, it.as_bytes()));
        };
        match *self {
            Self::Macros { stage, values } => packet(output, b'D', |output| {
                output.put_u8(stage.code());
                for (name, value) in values {
                    text(output, name.as_bytes());
                    text(output, value.as_bytes());
                }
            }),
            Self::Connect { name, family, port, address } => packet(output, b'C', |output| {
                text(output, name.as_bytes());
                output.put_u8(match family {
                    Family::Inet => b'4',
                    Family::Inet6 => b'6',
                });
                output.put_u16(port);
                text(output, address.as_bytes());
            }),
            Self::Helo(name) => packet(output, b'H', |output| text(output, name.as_bytes())),
            Self::Mail(arguments) => packet(output, b'M', |output| all(arguments, output)),
            Self::Rcpt(arguments) => packet(output, b'R', |output| all(arguments, output)),
            Self::Data => packet(output, b'T', |_| {}),
            Self::Header { name, value } => packet(output, b'L', |output| {
                text(output, name);
                text(output, value);
            }),
            Self::EndOfHeader => packet(output, b'N', |_| {}),
            Self::Body(piece) => packet(output, b'B', |output| output.put_slice(piece)),
            Self::EndOfMessage => packet(output, b'E', |_| {}),
            Self::Unknown(line) => packet(output, b'U', |output| text(output, line)),
            Self::Abort => packet(output, b'A', |_| {}),
            Self::Quit => packet(output, b'Q', |_| {}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(command: Command<'_>, expected: &[u8]) {
        let mut output = BytesMut::new();
        command.encode(&mut output);
        let (length, packet) = output.split_at(4);
        assert_eq!(packet, expected);
        assert_eq!(length, u32::try_from(expected.len()).unwrap().to_be_bytes());
    }

    /// As libmilter reads them.
    #[test]
    fn commands_are_encoded() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let values = [pair("i", "1.2"), pair("{mail_addr}", "a@b.c")];
        check(Command::Macros { stage: Stage::Mail, values: &values }, b"DMi\x001.2\0{mail_addr}\0a@b.c\0");
        let connect = Command::Connect { name: "x.y", family: Family::Inet, port: 258, address: "192.0.2.1" };
        check(connect, b"Cx.y\x004\x01\x02192.0.2.1\0");
        let connect =
            Command::Connect { name: "x.y", family: Family::Inet6, port: 25, address: "2001:db8::1" };
        check(connect, b"Cx.y\x006\0\x192001:db8::1\0");
        check(Command::Helo("x\0y"), b"Hxy\0");
        check(Command::Mail(&["<a@b.c>".to_owned(), "SIZE=9".to_owned()]), b"M<a@b.c>\0SIZE=9\0");
        check(Command::Rcpt(&["<>".to_owned()]), b"R<>\0");
        check(Command::Data, b"T");
        check(Command::Header { name: b"Subject", value: b"a\n b" }, b"LSubject\0a\n b\0");
        check(Command::EndOfHeader, b"N");
        check(Command::Body(b"a\0b\r\n"), b"Ba\0b\r\n");
        check(Command::EndOfMessage, b"E");
        check(Command::Unknown(b"XPERT 1"), b"UXPERT 1\0");
        check(Command::Abort, b"A");
        check(Command::Quit, b"Q");
    }
}
