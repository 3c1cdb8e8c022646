use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::BytesMut;
use jiff::Timestamp;
use mail_store::{Delivery, Store};
use smtp_proto::Reply;
use smtp_queue::{Envelope, Queue, QueueWriter};
use tracing::{error, info};

use crate::session::{Transaction, too_big, trouble};

/// What is gathered in memory before it goes to disk.
pub(crate) const PIECE: usize = 256 * 1024;

/// Where messages go.
#[derive(Debug, Clone)]
pub(crate) struct Destinations {
    pub(crate) store: Arc<Store>,
    pub(crate) queue: Arc<Queue>,
}

/// How a message came to us, for its Received field.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    pub(crate) hostname: String,
    pub(crate) greeting: String,
    pub(crate) peer: String,
    /// `ESMTPSA` and the like. RFC 3848.
    pub(crate) protocol: String,
    pub(crate) is_submission: bool,
    pub(crate) max_hops: usize,
    pub(crate) max_size: u64,
}

/// One message on its way from the socket to the disk.
pub(crate) struct Incoming {
    trace: Trace,
    pub(crate) piece: BytesMut,
    files: Option<Files>,
    size: u64,
    last_octet: u8,
    has_bare: bool,
    is_eight_bit: bool,
    refusal: Option<Reply>,
}

struct Files {
    delivery: Option<Delivery>,
    queued: Option<QueueWriter>,
}

impl Incoming {
    pub(crate) fn new(trace: Trace) -> Self {
        Self {
            trace,
            piece: BytesMut::new(),
            files: None,
            size: 0,
            last_octet: b'\n',
            has_bare: false,
            is_eight_bit: false,
            refusal: None,
        }
    }

    /// Refuses the message once all of it has been read; the first reason counts.
    pub(crate) fn refuse(&mut self, reply: Reply) {
        self.refusal.get_or_insert(reply);
        self.files = None;
    }

    pub(crate) fn is_piece_full(&self) -> bool {
        self.piece.len() >= PIECE
    }

    /// Brings what has been gathered to disk. Blocks.
    pub(crate) fn spill(&mut self, to: &Destinations, transaction: &Transaction) {
        let piece = std::mem::take(&mut self.piece);
        self.inspect(&piece);
        if self.size > self.trace.max_size {
            self.refuse(too_big());
        }
        if self.refusal.is_none()
            && let Err(error) = self.write(&piece, to, transaction)
        {
            error!(%error, "the message can't be written");
            self.refuse(trouble());
        }
        self.piece = piece;
        self.piece.clear();
    }

    /// Looks for a CR or LF that stands alone. RFC 5321 §2.3.8.
    fn inspect(&mut self, piece: &[u8]) {
        self.size += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.is_eight_bit |= !piece.is_ascii();
        for octet in piece {
            self.has_bare |= (self.last_octet == b'\r') != (*octet == b'\n')
                && (self.last_octet == b'\r' || *octet == b'\n');
            self.last_octet = *octet;
        }
    }

    fn write(&mut self, piece: &[u8], to: &Destinations, transaction: &Transaction) -> Result<(), String> {
        if self.files.is_none() {
            let header = header_of(piece);
            if count(header, "received:") >= self.trace.max_hops {
                self.refuse(Reply::new(554, "5.4.6", "The message goes round in a loop"));
                return Ok(());
            }
            let added = self.trace.fields(header, transaction);
            self.files = Some(Files::open(to, transaction, &added)?);
        }
        self.files.as_mut().map_or(Ok(()), |files| files.write(piece))
    }

    /// Makes the message durable, and says so: nothing else may say 250 to it. Blocks.
    pub(crate) fn finish(mut self, to: &Destinations, transaction: &Transaction) -> Reply {
        if !self.piece.is_empty() || self.files.is_none() {
            self.spill(to, transaction);
        }
        if self.has_bare || self.last_octet == b'\r' {
            self.refuse(Reply::new(554, "5.6.0", "A CR or LF stands alone; lines end in CRLF"));
        }
        let eight_bit = self.is_eight_bit || transaction.says_eight_bit();
        match (self.refusal.take(), self.files.take()) {
            (Some(reply), _) => reply,
            (None, Some(files)) => files.commit(transaction, eight_bit),
            (None, None) => trouble(),
        }
    }
}

impl Files {
    fn open(to: &Destinations, transaction: &Transaction, added: &str) -> Result<Self, String> {
        let mut files = Self { delivery: None, queued: None };
        if !transaction.accounts.is_empty() {
            let mut delivery = to.store.deliver(&transaction.accounts).map_err(|error| error.to_string())?;
            let from = transaction.from.as_ref().map(ToString::to_string).unwrap_or_default();
            write!(delivery, "Return-Path: <{from}>\r\n").map_err(|error| error.to_string())?;
            files.delivery = Some(delivery);
        }
        if !transaction.remote.is_empty() {
            files.queued = Some(to.queue.add().map_err(|error| error.to_string())?);
        }
        files.write(added.as_bytes())?;
        Ok(files)
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), String> {
        if let Some(delivery) = &mut self.delivery {
            delivery.write_all(piece).map_err(|error| error.to_string())?;
        }
        if let Some(queued) = &mut self.queued {
            queued.write_all(piece).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn commit(self, transaction: &Transaction, eight_bit: bool) -> Reply {
        if let Some(delivery) = self.delivery {
            for (account, result) in transaction.accounts.iter().zip(delivery.commit()) {
                if let Err(error) = result {
                    error!(%account, %error, "the message can't be delivered");
                    return trouble();
                }
                info!(%account, "delivered");
            }
        }
        if let Some(queued) = self.queued {
            let envelope = Envelope {
                sender: transaction.from.clone(),
                recipients: transaction.remote.clone(),
                smtputf8: transaction.needs_utf8(),
                eight_bit,
            };
            match queued.commit(&envelope) {
                Ok(id) => info!(%id, "queued"),
                Err(error) => {
                    error!(%error, "the message can't be queued");
                    return trouble();
                }
            }
        }
        Reply::new(250, "2.0.0", "The message is safe")
    }
}

impl Trace {
    /// The fields that stand before the message: Received, and what a submission lacks.
    fn fields(&self, header: &[u8], transaction: &Transaction) -> String {
        let id = new_id();
        let date = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S +0000").to_string();
        let Self { hostname, greeting, peer, protocol, .. } = self;
        let utf8 = transaction.parameters.smtputf8;
        let protocol = if utf8 { protocol.replace("ESMTP", "UTF8SMTP") } else { protocol.clone() };
        let mut fields =
            format!("Received: from {greeting} ([{peer}])\r\n\tby {hostname} with {protocol} id {id}");
        // With several recipients, one would learn of the others. RFC 5321 §7.6.
        if let [only] = transaction.recipients.as_slice() {
            let _ = write!(fields, "\r\n\tfor <{only}>");
        }
        let _ = write!(fields, ";\r\n\t{date}\r\n");
        if self.is_submission && count(header, "date:") == 0 {
            let _ = write!(fields, "Date: {date}\r\n");
        }
        if self.is_submission && count(header, "message-id:") == 0 {
            let _ = write!(fields, "Message-ID: <{id}@{hostname}>\r\n");
        }
        fields
    }
}

/// A name that no other message of this host has.
fn new_id() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:x}.{:x}.{count:x}", Timestamp::now().as_microsecond(), std::process::id())
}

/// Everything before the first empty line.
fn header_of(piece: &[u8]) -> &[u8] {
    if piece.starts_with(b"\r\n") {
        return &[];
    }
    let end = piece.windows(4).position(|four| four == b"\r\n\r\n");
    end.and_then(|end| piece.get(..end)).unwrap_or(piece)
}

/// How many fields of this name (in lower case, with its colon) the header holds.
fn count(header: &[u8], name: &str) -> usize {
    let is_named = |line: &&[u8]| {
        line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
    };
    header.split(|octet| *octet == b'\n').filter(is_named).count()
}
