//! For tests: a server running in process with real accounts and a real store ([`Fixture`]), and golden dialogues with it
//! ([`Transcript`]).
//!
//! A transcript is a text file, one step a line:
//! ```text
//! # RFC 1939 §5: the rule that it proves
//! given: user dave                       another account; alice and bob (password `<name>-secret`) are always there
//! given: message in INBOX of alice       a message, whose lines follow, each behind a bar
//! |Subject: hello
//! |
//! |Hello.
//! given: alias sales@example.org to bob@example.org far@example.net
//! given: smtp role submission            for an SMTP server, whose role is mx otherwise (or lmtp); or a limit: smtp max_recipients 2
//! given: dns a.test. MX 10 mx.a.test.     a record of a DNS server that is asked from then on; without one, this client is not looked at
//! given: through a proxy from 192.0.2.9   all clients come through a proxy, which says by the PROXY protocol that they are this one
//! given: over plain                      run in the clear only (for STLS); otherwise it runs over TLS too
//! C: STAT                                send this line
//! S: +OK 1 $size                         expect this line; $name binds at first sight
//! S: +OK...                              expect a line that begins so
//! 2C: QUIT                               a second client
//! C-raw: QU\x49T\r\n                     send exactly these octets (\r \n \t \\ \xNN)
//! TLS                                    negotiate TLS now
//! DEFLATE                                compress from here on, as COMPRESS agreed
//! S: <close>                             the server closes the connection
//! C: <close>                             the client does
//! drain                                  the server begins to drain
//! remove: UID 1 in INBOX of alice        another program removes a message's file
//! unreadable: INBOX of alice             from now on to open any of its files is an error
//! mail: bob 1                            so many messages were delivered to bob
//! mail: bob has Subject: hello           the newest of them has a line that matches this
//! mail: bob lacks Bcc:...                and none that matches this
//! mail: bob/Junk 1                       the same of another mailbox than INBOX
//! ```
//! Lines that begin with `* ` and stand together may come in any order. `$Name` with a capital is no variable.

mod authority;
mod client;
mod dns;
mod fixture;
mod pattern;
mod resolver;
mod scram;
mod small_disk;
mod transcript;
mod web;

pub use authority::{TestAuthority, TestIdentity};
pub use client::Security;
pub use dns::TestDns;
pub use fixture::{Fixture, Server};
pub use resolver::TestResolver;
pub use rustls::version::{TLS12, TLS13};
pub use scram::{Bound, ScramDialogue, scram, scram_over_tls};
pub use small_disk::{Filling, OnSmallDisk, SmallDisk};
pub use transcript::{LineRule, Transcript, run_folder};
pub use web::{TestWeb, WebRequest};
