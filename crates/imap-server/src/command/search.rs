//! SEARCH. RFC 3501 §6.4.4. What the index knows is asked first; a message's file is read only where that does not decide.

use std::cell::OnceCell;

use encoding_rs::Encoding;
use imap_proto::{SearchKey, SearchRequest};
use mail_message::search::{Needle, body_holds, header_holds, text_holds};
use mail_store::{Message, StoreError};

use crate::answer::{Failure, Output};
use crate::selected::SelectedMailbox;
use crate::session::Session;

pub(crate) fn search(
    session: &mut Session,
    request: &SearchRequest,
    out: &mut Output,
) -> Result<String, Failure> {
    let charset = charset(request.charset.as_deref())?;
    let selected = session.selected()?;
    let search = Search { selected, charset };
    let mut found = String::new();
    for index in 0..selected.now().len() {
        let Some(message) = selected.now().get(index) else { continue };
        let candidate = Candidate { seq: selected.seq(index), message, selected, octets: OnceCell::new() };
        match search.holds(&request.key, &candidate) {
            Ok(true) if request.uid => found.push_str(&format!(" {}", candidate.message.uid)),
            Ok(true) => found.push_str(&format!(" {}", candidate.seq)),
            Ok(false) | Err(StoreError::MessageGone(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    out.line(format!("* SEARCH{found}"));
    Ok("Searched".to_owned())
}

/// Without CHARSET, UTF-8 is taken, of which US-ASCII is a part.
fn charset(name: Option<&str>) -> Result<&'static Encoding, Failure> {
    match name {
        None => Ok(encoding_rs::UTF_8),
        Some(name) => Encoding::for_label(name.as_bytes())
            .ok_or_else(|| Failure::no("[BADCHARSET (US-ASCII UTF-8 ISO-8859-1)] Unknown charset")),
    }
}

struct Search<'a> {
    selected: &'a SelectedMailbox,
    charset: &'static Encoding,
}

/// One message that is looked at; its file is read at most once.
struct Candidate<'a> {
    seq: usize,
    message: Message,
    selected: &'a SelectedMailbox,
    octets: OnceCell<Vec<u8>>,
}

impl Candidate<'_> {
    fn octets(&self) -> Result<&[u8], StoreError> {
        if let Some(octets) = self.octets.get() {
            return Ok(octets);
        }
        let uid = self.message.uid;
        let read = self.selected.mailbox().open_message(uid)?.read();
        let octets = read.map_err(|source| StoreError::Io {
            context: "reading",
            path: format!("the message with UID {uid}").into(),
            source,
        })?;
        Ok(self.octets.get_or_init(|| octets))
    }

    /// The Date field's day on the calendar, zone and time left out.
    fn sent_day(&self) -> Result<Option<i64>, StoreError> {
        Ok(mail_message::search::sent_day(self.octets()?))
    }
}

impl Search<'_> {
    fn holds(&self, key: &SearchKey, candidate: &Candidate<'_>) -> Result<bool, StoreError> {
        let message = &candidate.message;
        let day = message.internal_date.day();
        Ok(match key {
            SearchKey::All => true,
            SearchKey::Flag(flag) => message.flags.contains(*flag),
            SearchKey::Keyword(keyword) => message.flags.keywords().contains(keyword),
            SearchKey::Recent => self.selected.is_recent(message.uid),
            SearchKey::Seq(set) => self.names_seq(set, candidate.seq),
            SearchKey::Uid(set) => set.contains(message.uid, self.selected.highest_uid()),
            SearchKey::Before(date) => day < *date,
            SearchKey::On(date) => day == *date,
            SearchKey::Since(date) => day >= *date,
            SearchKey::SentBefore(date) => candidate.sent_day()?.is_some_and(|day| day < *date),
            SearchKey::SentOn(date) => candidate.sent_day()?.is_some_and(|day| day == *date),
            SearchKey::SentSince(date) => candidate.sent_day()?.is_some_and(|day| day >= *date),
            SearchKey::Larger(size) => message.size > *size,
            SearchKey::Smaller(size) => message.size < *size,
            SearchKey::Address(header, text) => {
                header_holds(candidate.octets()?, header.name(), &self.needle(text))
            }
            SearchKey::Header(name, text) => header_holds(candidate.octets()?, name, &self.needle(text)),
            SearchKey::Body(text) => body_holds(candidate.octets()?, &self.needle(text)),
            SearchKey::Text(text) => text_holds(candidate.octets()?, &self.needle(text)),
            SearchKey::And(keys) => self.all_hold(keys, candidate)?,
            SearchKey::Or(left, right) => {
                let (first, second) = if reads_file(left) { (right, left) } else { (left, right) };
                self.holds(first, candidate)? || self.holds(second, candidate)?
            }
            SearchKey::Not(key) => !self.holds(key, candidate)?,
        })
    }

    fn names_seq(&self, set: &mail_types::SeqSet, seq: usize) -> bool {
        let highest = u32::try_from(self.selected.len()).unwrap_or(u32::MAX);
        let seq = u32::try_from(seq).ok().and_then(|seq| mail_types::SeqNum::try_from(seq).ok());
        seq.is_some_and(|seq| set.contains(seq, highest))
    }

    /// The keys that the index answers come first.
    fn all_hold(&self, keys: &[SearchKey], candidate: &Candidate<'_>) -> Result<bool, StoreError> {
        for read in [false, true] {
            for key in keys.iter().filter(|key| reads_file(key) == read) {
                if !self.holds(key, candidate)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn needle(&self, text: &[u8]) -> Needle {
        Needle::new(&self.charset.decode_without_bom_handling(text).0)
    }
}

/// True if the message's file may have to be read for `key`.
fn reads_file(key: &SearchKey) -> bool {
    match key {
        SearchKey::SentBefore(_)
        | SearchKey::SentOn(_)
        | SearchKey::SentSince(_)
        | SearchKey::Address(..)
        | SearchKey::Header(..)
        | SearchKey::Body(_)
        | SearchKey::Text(_) => true,
        SearchKey::And(keys) => keys.iter().any(reads_file),
        SearchKey::Or(left, right) => reads_file(left) || reads_file(right),
        SearchKey::Not(key) => reads_file(key),
        SearchKey::All
        | SearchKey::Flag(_)
        | SearchKey::Keyword(_)
        | SearchKey::Recent
        | SearchKey::Seq(_)
        | SearchKey::Uid(_)
        | SearchKey::Before(_)
        | SearchKey::On(_)
        | SearchKey::Since(_)
        | SearchKey::Larger(_)
        | SearchKey::Smaller(_) => false,
    }
}
