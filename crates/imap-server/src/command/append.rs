//! APPEND and REPLACE. RFC 3501 §6.3.11, RFC 3502, RFC 3516 §4.4, RFC 4315 §3, RFC 4469, RFC 8508.

use std::sync::Arc;

use imap_proto::{AppendRequest, AppendStep, MessageSet, MessageUrl, Within};
use mail_message::BodyStructure;
use mail_message::binary::without_nuls;
use mail_store::{Append, Mailbox, StoreError, View};
use mail_types::{Flags, InternalDate, MailboxName, Rights, Uid, UidSet, Usage};
use tracing::{error, info};

use crate::access::{Access, Place};
use crate::answer::{Failure, Output, Status};
use crate::command::list;
use crate::command::mailbox::{meant, resolved};
use crate::contents::unreadable;
use crate::mod_seqs::Enabled;
use crate::section;
use crate::session::Session;
use crate::text::{RespText, Text};

/// Messages of one APPEND: each holds a file open.
const MOST_MESSAGES: usize = 500;

/// Messages on their way into a mailbox. Dropped uncommitted, they leave nothing.
#[derive(Debug)]
pub(crate) struct Appending {
    /// As the client gave it.
    given: MailboxName,
    name: MailboxName,
    place: Place,
    view: View,
    messages: Vec<Message>,
    /// Of the messages, as far as they are announced.
    announced: Usage,
    /// What goes for it, by REPLACE.
    replaced: Option<Replaced>,
    /// How the mailboxes in URLs are found, and what the client knows of their names.
    access: Access,
    enabled: Enabled,
    /// What URLs without a mailbox are relative to.
    selected: Option<Arc<Mailbox>>,
    /// Octets that a message may have.
    most: u64,
}

#[derive(Debug)]
struct Message {
    append: Append,
    flags: Flags,
    date: Option<InternalDate>,
    /// A part of it came as `literal8`, so that NULs are meant.
    binary: bool,
}

/// The message that goes when the new one comes.
#[derive(Debug)]
struct Replaced {
    mailbox: Arc<Mailbox>,
    uid: Uid,
    usage: Usage,
}

impl Appending {
    /// Opens the mailbox that the messages go to.
    pub(crate) fn start(session: &mut Session, request: &AppendRequest) -> Result<Self, Failure> {
        let replaced = request.replaces.as_ref().map(|set| Replaced::find(session, set)).transpose()?;
        let given = request.mailbox.clone();
        let name = resolved(session, &given)?;
        let selected = session.selected().ok().map(|selected| Arc::clone(selected.mailbox()));
        let (access, enabled) = (session.access()?, session.enabled);
        let place = access.check(&name, Rights::INSERT).map_err(Failure::try_create)?;
        let view = place.open().map_err(|error| Failure::from(error).try_create())?;
        place.limit()?;
        let (messages, announced, most) = (Vec::new(), Usage::default(), session.max_append());
        Ok(Self { given, name, place, view, messages, announced, replaced, access, enabled, selected, most })
    }

    /// Does what stands before the next literal.
    pub(crate) fn perform(&mut self, steps: Vec<AppendStep>) -> Result<(), Failure> {
        for step in steps {
            match step {
                AppendStep::Begin { flags, date } => self.begin(flags, date)?,
                AppendStep::Url(url) => self.copy(&url)?,
            }
        }
        Ok(())
    }

    fn begin(&mut self, flags: Flags, date: Option<InternalDate>) -> Result<(), Failure> {
        if self.replaced.is_some() && !self.messages.is_empty() {
            // RFC 8508 §4.4.
            return Err(Failure::bad(Text::OneForOne));
        }
        self.is_complete()?;
        if self.messages.len() >= MOST_MESSAGES {
            return Err(Failure::no(Text::TooManyMessages.coded("LIMIT")));
        }
        let flags = self.place.rights().of_flags(&flags);
        let append = self.view.append(&flags, date);
        let append = append.map_err(|error| Failure::from(error).try_create())?;
        self.messages.push(Message { append, flags, date, binary: false });
        self.announced = self.announced + Usage::message(0);
        Ok(())
    }

    /// The message begun last has a content. RFC 3502 §6.3.11 cancels by an empty one, and a message of no octets makes
    /// Thunderbird delete it.
    fn is_complete(&self) -> Result<(), Failure> {
        match self.messages.last() {
            Some(message) if message.append.size() == 0 => {
                Err(Failure::no(Text::MessageEmpty.coded("CANNOT")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A literal of `size` octets is announced.
    ///
    /// Deviates: RFC 6855 §4 would have octets beyond ASCII in the header refused from clients that have not enabled UTF8=ACCEPT. Much
    /// mail has them, and who moves it from elsewhere must not lose it.
    pub(crate) fn announce(&mut self, size: u64, binary: bool, within: Within) -> Result<(), Failure> {
        if size == 0 && !matches!(within, Within::Catenation | Within::CatenatedUtf8) {
            return Err(Failure::no(Text::MessageEmpty.coded("CANNOT")));
        }
        if let Some(message) = self.messages.last_mut() {
            message.binary |= binary;
        }
        self.make_room(size)
    }

    /// There is to be room for so many octets more of the message begun last.
    fn make_room(&mut self, size: u64) -> Result<(), Failure> {
        let before = self.messages.last().map_or(0, |message| message.append.size());
        if before.saturating_add(size) > self.most {
            return Err(Failure::no(Text::MessageTooBig.coded("TOOBIG")));
        }
        self.announced.storage = self.announced.storage.saturating_add(size);
        self.place.account().check_disk(size)?;
        let replaced = self.replaced.as_ref().filter(|it| it.mailbox.is_in_account_of(self.view.mailbox()));
        let less = replaced.map(|replaced| replaced.usage).unwrap_or_default();
        Ok(self.place.account().check_exchange(self.announced, less)?)
    }

    /// Takes the next piece of the message begun last. Blocks.
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let Some(message) = self.messages.last_mut() else { return Ok(()) };
        Ok(message.append.write_message(piece)?)
    }

    /// Copies what a URL names into the message begun last. Blocks.
    fn copy(&mut self, text: &str) -> Result<(), Failure> {
        let octets = self.named(text)?.ok_or_else(|| bad_url(text))?;
        self.make_room(octets.len() as u64)?;
        self.write(&octets)
    }

    /// The octets that a URL names; `None` if it names none.
    fn named(&self, text: &str) -> Result<Option<Vec<u8>>, Failure> {
        let Some(url) = MessageUrl::parse(text) else { return Ok(None) };
        let mailbox = match &url.mailbox {
            None => self.selected.clone(),
            Some(name) => match self.readable(name) {
                Ok(view) => Some(Arc::clone(view.mailbox())),
                Err(Failure::Store(StoreError::NoSuchMailbox(_)) | Failure::No(_)) => None,
                Err(failure) => return Err(failure),
            },
        };
        let is_meant =
            |mailbox: &Arc<Mailbox>| url.uid_validity.is_none_or(|it| it == mailbox.uid_validity());
        let Some(mailbox) = mailbox.filter(is_meant) else { return Ok(None) };
        mailbox.sync()?;
        let file = match mailbox.open_message(url.uid) {
            Ok(file) => file,
            Err(StoreError::MessageGone(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let octets = file.read().map_err(|error| unreadable(url.uid, error))?;
        let structure = BodyStructure::parse(&octets);
        let found = section::find(&url.section, &octets, Some(&structure));
        let partial = url.partial.map(|(first, most)| (first, most.unwrap_or(u32::MAX)));
        Ok(found.map(|found| section::cut(&found, partial).to_vec()))
    }

    /// The mailbox that a URL names.
    fn readable(&self, name: &MailboxName) -> Result<View, Failure> {
        let name = meant(&self.access, self.enabled, name)?;
        Ok(self.access.check(&name, Rights::READ)?.open()?)
    }

    /// Makes the messages durable, all or none. Blocks.
    pub(crate) fn commit(mut self, session: &mut Session, out: &mut Output) -> Result<RespText, Failure> {
        self.is_complete()?;
        let messages = std::mem::take(&mut self.messages);
        let messages = messages.into_iter().map(|message| message.storable(&self.view));
        let mut messages = messages.collect::<Result<Vec<_>, _>>()?;
        let validity = self.view.mailbox().uid_validity();
        let gone_target = |error: StoreError| Failure::from(error).try_create();
        if self.name != self.given {
            list::tell(session, &self.name, Some(&self.given), out)?;
        }
        if let Some(Replaced { mailbox, uid, .. }) = self.replaced {
            let Some(new) = messages.pop() else { return Err(Failure::bad(Text::NoMessage)) };
            let new = if mailbox.is_in_account_of(self.view.mailbox()) {
                new.replace(&mailbox, uid).map_err(gone_target)?
            } else {
                let new = new.commit().map_err(gone_target)?;
                mailbox.expunge(&[uid])?;
                new
            };
            info!(mailbox = %self.name, %uid, %new, "replaced");
            session.selected()?.owe_changes();
            session.knows_messages(&self.name, [new]);
            // RFC 8508 §4.3: before the EXPUNGE.
            out.say(Status::Ok, Text::NewMessageThere.coded_as(format!("APPENDUID {validity} {new}")));
            return Ok(Text::Replaced.into());
        }
        let uids = store(messages, self.view.mailbox()).map_err(gone_target)?;
        info!(mailbox = %self.name, messages = uids.len(), "appended");
        session.knows_messages(&self.name, uids.iter().copied());
        Ok(Text::Appended.coded_as(format!("APPENDUID {validity} {}", UidSet::from_ascending(uids))))
    }
}

/// Makes them durable. What the server has saved itself of a message that was sent, a single one takes the place of.
fn store(mut messages: Vec<Append>, mailbox: &Mailbox) -> Result<Vec<Uid>, StoreError> {
    if let [message] = messages.as_mut_slice()
        && let Some(saved) = message.saved_by_server()
        && let Some(message) = messages.pop()
    {
        info!(uid = %saved, "a client's copy takes the place of the server's");
        return message.replace(mailbox, saved).map(|uid| vec![uid]);
    }
    Append::commit_all(messages)
}

impl Message {
    /// The message as any client can be sent it: what has NULs in it gets another transfer encoding, which must not show where no
    /// NULs are meant.
    fn storable(mut self, view: &View) -> Result<Append, Failure> {
        if !self.binary {
            return Ok(self.append);
        }
        let failed = |error: std::io::Error| {
            error!(%error, "a message with NULs can't be encoded");
            Failure::no(Text::StoreFailed.coded("SERVERBUG"))
        };
        let octets = self.append.octets().map_err(failed)?;
        if !octets.contains(&0) {
            return Ok(self.append);
        }
        let encoded =
            without_nuls(&octets).ok_or(Failure::no(Text::NulsOnlyInBinary.coded("UNKNOWN-CTE")))?;
        let mut append = view.append(&self.flags, self.date)?;
        append.write_message(&encoded)?;
        Ok(append)
    }
}

impl Replaced {
    fn find(session: &mut Session, set: &MessageSet) -> Result<Self, Failure> {
        let selected = session.selected()?;
        let named = selected.named(set)?;
        let uid = selected.uids(&named).first().copied();
        let uid = uid.ok_or(Failure::no(Text::MessageGone.coded("EXPUNGEISSUED")))?;
        let removing = Rights::DELETE_MESSAGES.union(Rights::EXPUNGE);
        let mailbox = Arc::clone(selected.writable(removing)?.mailbox());
        let now = selected.now();
        let size = now.position(uid).and_then(|index| now.get(index)).map_or(0, |message| message.size);
        Ok(Self { mailbox, uid, usage: Usage::message(size) })
    }
}

/// `badurl-response-code`. RFC 4469 §5: no `]` in it.
fn bad_url(url: &str) -> Failure {
    let mut shown = String::new();
    for c in url.chars().take(1000) {
        match c {
            ']' => shown.push_str("%5D"),
            ' '..='~' => shown.push(c),
            other => {
                let mut octets = [0; 4];
                shown.extend(other.encode_utf8(&mut octets).bytes().map(|octet| format!("%{octet:02X}")));
            }
        }
    }
    Failure::no(Text::UrlNamesNothing.coded_as(format!("BADURL {shown}")))
}
