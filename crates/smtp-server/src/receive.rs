//! DATA and BDAT: the mail data from the socket to [`Incoming`].

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use jiff::Timestamp;
use line_codec::mail_data::DataDecoder;
use mail_config::SmtpRole;
use server_core::{Connection, Stream};
use smtp_proto::Reply;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument as _, error};

use crate::blocking::blocking;
use crate::connection::{Dialogue, End};
use crate::incoming::{Incoming, MessageLimits, bare_cr_or_lf, trouble};
use crate::patience::Pace;
use crate::policy::Checks;
use crate::rights::{Holder, SendRights};
use crate::trace::Trace;
use crate::transaction::Transaction;

/// Octets read at once.
const READ: usize = 16 * 1024;
/// The same of a long message.
const READ_MOST: usize = 64 * 1024;
/// Octets that are hashed in less time than another thread takes to wake up.
const SHORT: usize = 64 * 1024;

impl Dialogue {
    pub(crate) async fn receive_data(&mut self, transaction: Transaction) -> io::Result<Option<Reply>> {
        let refusal = self.refusal_of_data().await;
        let mut incoming = self.begin(transaction);
        if let Some(refusal) = refusal {
            incoming.refuse(refusal);
            return Ok(Some(finish(incoming).await));
        }
        self.say(&Reply::new(354, "", "End with <CRLF>.<CRLF>"));
        let mut decoder = DataDecoder::new();
        self.flush().await?;
        let mut pace = self.pace();
        while !decoder.decode(&mut self.input, &mut incoming.piece) {
            if incoming.is_piece_full() {
                incoming = spill(incoming).await?;
                incoming.prepare();
            }
            let read = self.read_data(incoming.piece.len(), &mut pace).await;
            if !matches!(read, Ok(true)) {
                incoming.lose();
                return read.map(|_| None);
            }
        }
        // What stands behind a message whose lines are doubtful may be meant to be part of it by whoever sends it on: it is not obeyed.
        let is_doubtful = decoder.has_bare_cr_or_lf() && !self.input.is_empty();
        if decoder.has_bare_cr_or_lf() {
            incoming.refuse(bare_cr_or_lf());
        }
        let reply = self.finish(incoming).await;
        if is_doubtful {
            return self.close(reply).await.map(|_| None);
        }
        Ok(Some(reply))
    }

    pub(crate) async fn receive_chunk(
        &mut self,
        first: Option<Box<Transaction>>,
        size: u64,
        last: bool,
    ) -> io::Result<Option<Reply>> {
        let begun = match first {
            Some(transaction) => {
                let refusal = self.refusal_of_data().await;
                let mut incoming = self.begin(*transaction);
                if let Some(refusal) = refusal {
                    incoming.refuse(refusal);
                }
                Some(incoming)
            }
            None => self.incoming.take(),
        };
        let Some(incoming) = begun else { return Ok(Some(trouble())) };
        Ok(match self.read_chunk(size, incoming).await? {
            Some(incoming) if last => Some(self.finish(incoming).await),
            Some(incoming) => Some(self.keep(incoming, size)),
            None => None,
        })
    }

    /// Stores the message. LMTP has a reply for each recipient, the same one, as they all get it or none does: RFC 2033 §4.2.
    async fn finish(&mut self, incoming: Incoming) -> Reply {
        let replies = if self.is_lmtp() { incoming.recipients() } else { 1 };
        let reply = self.settle(incoming).await;
        self.patience.message(&reply, Instant::now());
        for _ in 1..replies {
            self.say(&reply);
        }
        reply
    }

    /// Has the message judged and filtered, and stores it.
    async fn settle(&mut self, mut incoming: Incoming) -> Reply {
        if incoming.awaits_verdict() {
            match look_at_rest(incoming).await {
                Ok(looked_at) => incoming = looked_at,
                Err(error) => {
                    error!(%error, "the message can't be looked at");
                    return trouble();
                }
            }
            let span = incoming.span.clone();
            incoming.conclude().instrument(span).await;
        }
        if self.facts.is_some() && incoming.refusal().is_none() {
            let gathered = blocking(move || {
                let mail = incoming.gather();
                (incoming, mail)
            });
            incoming = match gathered.await {
                Ok((incoming, Some(mail))) => Box::pin(self.filter(incoming, mail)).await,
                Ok((incoming, None)) => incoming,
                Err(error) => {
                    error!(%error, "the message can't be looked at");
                    return trouble();
                }
            };
        }
        finish(incoming).await
    }

    /// Why the milters don't want the data of this message, if that is so.
    async fn refusal_of_data(&mut self) -> Option<Reply> {
        self.facts.as_ref()?;
        Box::pin(self.ask_about_data()).await
    }

    /// Keeps a message for the chunks to come; one that is refused already is told so at once (RFC 3030 §2).
    fn keep(&mut self, incoming: Incoming, size: u64) -> Reply {
        if let Some(refusal) = incoming.refusal() {
            self.session.reset();
            return refusal.clone();
        }
        self.incoming = Some(incoming);
        Reply::new(250, "2.0.0", format!("{size} octets received"))
    }

    /// Reads a chunk into the message. `None` if the client left.
    async fn read_chunk(&mut self, size: u64, mut incoming: Incoming) -> io::Result<Option<Incoming>> {
        let (mut left, mut pace) = (size, self.pace());
        while left > 0 {
            let part = match self.next_part(&mut left, &mut pace).await {
                Ok(Some(part)) => part,
                ended => {
                    incoming.lose();
                    return ended.map(|_| None);
                }
            };
            incoming.piece.extend_from_slice(&part);
            if incoming.is_piece_full() {
                incoming = spill(incoming).await?;
                incoming.prepare();
            }
        }
        Ok(Some(incoming))
    }

    /// Reads a chunk and throws it away. `None` if the client left.
    pub(crate) async fn skip_chunk(&mut self, size: u64) -> io::Result<Option<()>> {
        let (mut left, mut pace) = (size, self.pace());
        while left > 0 {
            if self.next_part(&mut left, &mut pace).await?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    /// What is here of the `left` octets of a chunk, at least one. `None` if the client left.
    async fn next_part(&mut self, left: &mut u64, pace: &mut Pace) -> io::Result<Option<BytesMut>> {
        if self.input.is_empty() && !self.read_data(0, pace).await? {
            return Ok(None);
        }
        let now = self.input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= u64::try_from(now).unwrap_or(*left);
        Ok(Some(self.input.split_to(now)))
    }

    /// Reads more mail data; false if the client left or is too slow (RFC 5321 §4.5.3.2). A message that is `long` so far is read in
    /// larger parts.
    async fn read_data(&mut self, long: usize, pace: &mut Pace) -> io::Result<bool> {
        self.flush().await?;
        self.input.reserve(long.clamp(READ, READ_MOST));
        let (may_be_sent_away, whole) = (!self.comes_from_us(), self.shared.config.limits.drain_timeout);
        let Connection { stream, drain, guard, .. } = &mut self.connection;
        let (deadline, in_crowd) = (pace.deadline, pace.in_crowd);
        // On the heap, so that no other session has to have room for it.
        let ends = Box::pin(async {
            let crowd = async {
                guard.crowd().await;
                sleep_until(in_crowd).await;
            };
            tokio::select! {
                () = drain.nearly_over(whole) => End::Draining,
                () = crowd, if may_be_sent_away => End::Crowded,
                () = sleep_until(deadline) => End::TimedOut,
            }
        });
        let read = tokio::select! {
            biased;
            read = stream.read_buf(&mut self.input) => Ok(read?),
            end = ends => Err(end),
        };
        match read {
            Ok(octets) => {
                pace.came(octets, Instant::now());
                Ok(octets > 0)
            }
            Err(end) => self.end(end).await.map(|_| false),
        }
    }

    /// How fast mail data has to come from now on.
    fn pace(&self) -> Pace {
        let smtp = &self.shared.config.smtp;
        Pace::new(smtp.data_timeout, smtp.max_message_size, Instant::now())
    }

    fn begin(&mut self, transaction: Transaction) -> Incoming {
        let checks = self.checks.take();
        let smtp = &self.shared.config.smtp;
        let limits = MessageLimits { hops: smtp.max_hops, size: self.session.max_message_size() };
        let (trace, quotas, rights) = (self.trace(), self.quotas(), self.rights());
        let incoming = Incoming::new(self.shared.to.clone(), transaction, trace, limits, quotas, rights);
        let check = checks.map(Checks::of_message);
        if check.is_none() && self.facts.is_none() {
            return incoming;
        }
        incoming.await_whole(check, self.shared.config.data_dir.clone())
    }

    /// True if the message gets what it lacks: RFC 6409 §8.
    fn is_submission(&self) -> bool {
        self.connection.listener.role == SmtpRole::Submission || self.session.is_ours()
    }

    fn rights(&self) -> Option<SendRights> {
        let client = || self.session.relay_client().map(|client| Holder::Machine(Arc::clone(client)));
        let holder = self.session.login().cloned().map(Holder::Account).or_else(client)?;
        let (directory, delimiter) =
            (Arc::clone(&self.shared.directory), self.shared.config.smtp.recipient_delimiter);
        let checks_from = self.shared.config.smtp.check_from;
        Some(SendRights { directory, holder, delimiter, checks_from })
    }

    fn trace(&mut self) -> Trace {
        let id = self.trace_id();
        let greeting = self.session.greeting();
        let plain = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:[]".contains(c));
        let extended = greeting.is_some_and(|greeting| greeting.is_extended);
        let stream = &self.connection.stream;
        let mut protocol = match (self.is_lmtp(), extended) {
            (true, _) => "LMTP".to_owned(),
            (false, true) => "ESMTP".to_owned(),
            (false, false) => "SMTP".to_owned(),
        };
        // RFC 3848: S for TLS, A for authentication; plain SMTP has neither.
        if extended && self.connection.is_secure() {
            protocol.push('S');
        }
        if extended && self.session.login().is_some() {
            protocol.push('A');
        }
        let ip = self.connection.peer.ip().to_canonical();
        Trace {
            id,
            at: Timestamp::now(),
            hostname: self.shared.config.hostname.to_ascii(),
            greeting: greeting.map(|g| g.name.as_str()).filter(plain).unwrap_or("unknown").to_owned(),
            peer: if ip.is_ipv6() { format!("IPv6:{ip}") } else { ip.to_string() },
            protocol,
            cipher: cipher_suite(stream),
            listener: self.connection.listener.name.clone(),
            account: self.session.login().cloned(),
            machine: self.session.relay_client().map(|client| client.name.clone()),
            is_submission: self.is_submission(),
            hides_client: self.is_submission() && self.shared.config.smtp.hide_client,
            // By LMTP comes what another server of ours has received, under whatever name.
            own_results: (!self.is_lmtp()).then(|| self.shared.config.hostname.to_ascii()),
        }
    }
}

/// The cipher suite by the name that IANA gives it, as `tls` in a Received field has it. RFC 8314 §4.3.
pub(crate) fn cipher_suite(stream: &Stream) -> Option<String> {
    let Stream::Tls(secured) = stream else { return None };
    let suite = secured.negotiated().negotiated_cipher_suite()?.suite();
    suite.as_str().map(|name| name.replacen("TLS13_", "TLS_", 1))
}

async fn spill(mut incoming: Incoming) -> io::Result<Incoming> {
    let written = blocking(move || {
        incoming.spill();
        incoming
    });
    written.await.map_err(io::Error::other)
}

/// Looks at the last piece: here where it is short, as nearly all are, which costs less than the way to another thread.
async fn look_at_rest(mut incoming: Incoming) -> io::Result<Incoming> {
    if incoming.piece.len() <= SHORT {
        incoming.look_at_rest();
        return Ok(incoming);
    }
    let looked_at = blocking(move || {
        incoming.look_at_rest();
        incoming
    });
    looked_at.await.map_err(io::Error::other)
}

async fn finish(incoming: Incoming) -> Reply {
    let stored = blocking(move || incoming.finish()).await;
    stored.unwrap_or_else(|error| {
        error!(%error, "the message can't be stored");
        trouble()
    })
}
