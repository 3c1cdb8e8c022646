//! SEARCH. RFC 3501 §6.4.4. What the indexes know is asked first; a message's file is read only where that does not decide.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::io;

use encoding_rs::Encoding;
use imap_proto::{SearchKey, SearchRequest, SearchReturns, Tag};
use mail_message::header;
use mail_message::search::{Needle, SearchedMessage, Within};
use mail_store::{Message, MessageFile, StoreError, TextAnswer};
use mail_types::{Uid, UidSet};

use crate::answer::{Failure, Output};
use crate::selected::SelectedMailbox;
use crate::session::Session;
use crate::summaries::{Summaries, is_field, summary};

pub(crate) fn search(
    session: &mut Session,
    tag: &Tag,
    request: &SearchRequest,
    out: &mut Output,
) -> Result<String, Failure> {
    let selected = session.selected()?;
    let found = find(selected, request);
    let saves = request.returns.is_some_and(|returns| returns.save);
    if saves {
        // RFC 5182 §2.1: a search that fails empties it.
        let found = found.as_ref().map(Vec::as_slice).unwrap_or_default();
        let uids: Vec<Uid> = saved(request, found).filter_map(|index| selected.uid(index)).collect();
        selected.save(uids);
    }
    let found = found?;
    match &request.returns {
        Some(returns) => tell_extended(selected, tag, request.uid, *returns, &found, out),
        None => {
            out.octets(b"* SEARCH");
            for index in &found {
                out.text(format_args!(" {}", number(selected, request.uid, *index)));
            }
            out.octets(b"\r\n");
        }
    }
    Ok("Searched".to_owned())
}

/// What the client calls the message at an index of the snapshot.
fn number(selected: &SelectedMailbox, by_uid: bool, index: usize) -> u32 {
    if by_uid {
        selected.uid(index).map_or(0, Uid::value)
    } else {
        u32::try_from(selected.seq(index)).unwrap_or(u32::MAX)
    }
}

/// The messages that `$` means from now on: RFC 5182 §2.4.
fn saved(request: &SearchRequest, found: &[usize]) -> impl Iterator<Item = usize> {
    let returns = request.returns.unwrap_or_default();
    let only_ends = (returns.min || returns.max) && !returns.all && !returns.count;
    let is_told_twice = returns.min && found.len() == 1;
    let last = found.last().filter(|_| returns.max && !is_told_twice);
    let ends = [found.first().filter(|_| returns.min), last];
    let (all, ends) = if only_ends { (&[][..], ends) } else { (found, [None, None]) };
    all.iter().chain(ends.into_iter().flatten()).copied()
}

/// RFC 4731 §3.1; where only SAVE is asked for, there is no answer (RFC 5182 §2.2).
fn tell_extended(
    selected: &SelectedMailbox,
    tag: &Tag,
    by_uid: bool,
    returns: SearchReturns,
    found: &[usize],
    out: &mut Output,
) {
    if !(returns.min || returns.max || returns.all || returns.count) {
        return;
    }
    let numbers = || found.iter().filter_map(|index| Uid::try_from(number(selected, by_uid, *index)).ok());
    out.text(format_args!("* ESEARCH (TAG \"{tag}\"){}", if by_uid { " UID" } else { "" }));
    if let Some(first) = numbers().next().filter(|_| returns.min) {
        out.text(format_args!(" MIN {first}"));
    }
    if let Some(last) = numbers().next_back().filter(|_| returns.max) {
        out.text(format_args!(" MAX {last}"));
    }
    if returns.all && !found.is_empty() {
        // Sequence numbers are written as UIDs are.
        out.text(format_args!(" ALL {}", UidSet::from_ascending(numbers())));
    }
    if returns.count {
        out.text(format_args!(" COUNT {}", found.len()));
    }
    out.octets(b"\r\n");
}

/// The messages found, as ascending indexes of the snapshot.
fn find(selected: &SelectedMailbox, request: &SearchRequest) -> Result<Vec<usize>, Failure> {
    let charset = charset(request.charset.as_deref())?;
    let search = Search::new(selected, &request.key, charset);
    let summaries = RefCell::default();
    let mut found = Vec::new();
    for index in 0..selected.now().len() {
        let Some(message) = selected.now().get(index) else { continue };
        match search.holds(&request.key, &Candidate::new(selected, &summaries, selected.seq(index), message))
        {
            Ok(true) => found.push(index),
            Ok(false) | Err(StoreError::MessageGone(_)) => {}
            Err(error) => return Err(error.into()),
        }
        summaries.borrow_mut().keep_if_many(selected.mailbox());
    }
    summaries.into_inner().keep(selected.mailbox());
    Ok(found)
}

/// Without CHARSET, UTF-8 is taken, of which US-ASCII is a part.
fn charset(name: Option<&str>) -> Result<&'static Encoding, Failure> {
    match name {
        None => Ok(encoding_rs::UTF_8),
        Some(name) => Encoding::for_label(name.as_bytes())
            .ok_or_else(|| Failure::no("[BADCHARSET (US-ASCII UTF-8 ISO-8859-1)] Unknown charset")),
    }
}

/// Of a few messages the texts are read sooner than looked up.
const READ_BEFORE_ASKING: u32 = 16;

struct Search<'a> {
    selected: &'a SelectedMailbox,
    /// The texts that are looked for, by their octets in the command.
    wanted: HashMap<&'a [u8], Wanted>,
    /// How many messages more are read before the full-text index is asked, which costs more than reading a few.
    to_read: Cell<u32>,
}

/// A text that is looked for, and what the full-text index knows of it.
struct Wanted {
    needle: Needle,
    in_body: OnceCell<TextAnswer>,
    in_text: OnceCell<TextAnswer>,
}

/// One message that is looked at; its header and its file are read at most once.
struct Candidate<'a> {
    seq: usize,
    message: Message,
    selected: &'a SelectedMailbox,
    summaries: &'a RefCell<Summaries>,
    /// The header fields that were kept of it.
    fields: OnceCell<Option<SearchedMessage>>,
    header: OnceCell<SearchedMessage>,
    whole: OnceCell<SearchedMessage>,
}

impl<'a> Candidate<'a> {
    const fn new(
        selected: &'a SelectedMailbox,
        summaries: &'a RefCell<Summaries>,
        seq: usize,
        message: Message,
    ) -> Self {
        Self {
            seq,
            message,
            selected,
            summaries,
            fields: OnceCell::new(),
            header: OnceCell::new(),
            whole: OnceCell::new(),
        }
    }

    /// Those of the message's header fields at least that have this name.
    fn fields(&self, name: &str) -> Result<&SearchedMessage, StoreError> {
        if !is_field(name) {
            return self.header();
        }
        match self.fields.get_or_init(|| self.kept()) {
            Some(fields) => Ok(fields),
            None => self.header(),
        }
    }

    fn kept(&self) -> Option<SearchedMessage> {
        let summary = self.summaries.borrow_mut().find(self.selected.mailbox(), &self.message)?;
        summary.fields.map(SearchedMessage::new)
    }

    /// The message's header at least.
    fn header(&self) -> Result<&SearchedMessage, StoreError> {
        match self.whole.get() {
            Some(whole) => Ok(whole),
            None => self.read(&self.header, |file| self.read_header(file)),
        }
    }

    /// Reads the header, of which the fields that clients ask for are kept unless they are.
    fn read_header(&self, mut file: MessageFile) -> io::Result<Vec<u8>> {
        let lines = header::read(&mut file.file)?;
        let header = file.on_the_wire(lines);
        if matches!(self.fields.get(), Some(None)) {
            self.summaries.borrow_mut().add(&self.message, &summary(&header, None));
        }
        Ok(header)
    }

    fn whole(&self) -> Result<&SearchedMessage, StoreError> {
        self.read(&self.whole, MessageFile::read)
    }

    fn read<'b>(
        &self,
        cell: &'b OnceCell<SearchedMessage>,
        read: impl FnOnce(MessageFile) -> io::Result<Vec<u8>>,
    ) -> Result<&'b SearchedMessage, StoreError> {
        if let Some(read) = cell.get() {
            return Ok(read);
        }
        let uid = self.message.uid;
        let octets = read(self.selected.mailbox().open_message(uid)?).map_err(|source| StoreError::Io {
            context: "reading",
            path: format!("the message with UID {uid}").into(),
            source,
        })?;
        Ok(cell.get_or_init(|| SearchedMessage::new(octets)))
    }
}

impl<'a> Search<'a> {
    fn new(selected: &'a SelectedMailbox, key: &'a SearchKey, charset: &'static Encoding) -> Self {
        let mut texts = Vec::new();
        collect_texts(key, &mut texts);
        let wanted = |text: &[u8]| Wanted {
            needle: Needle::new(&charset.decode_without_bom_handling(text).0),
            in_body: OnceCell::new(),
            in_text: OnceCell::new(),
        };
        let wanted = texts.into_iter().map(|text| (text, wanted(text))).collect();
        Self { selected, wanted, to_read: Cell::new(READ_BEFORE_ASKING) }
    }

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
            SearchKey::SentBefore(date) => sent_day(candidate)?.is_some_and(|day| day < *date),
            SearchKey::SentOn(date) => sent_day(candidate)?.is_some_and(|day| day == *date),
            SearchKey::SentSince(date) => sent_day(candidate)?.is_some_and(|day| day >= *date),
            SearchKey::Saved => self.selected.is_saved(message.uid),
            SearchKey::Larger(size) => message.size > *size,
            SearchKey::Smaller(size) => message.size < *size,
            SearchKey::Address(header, text) => self.header_holds(header.name(), text, candidate)?,
            SearchKey::Header(name, text) => self.header_holds(name, text, candidate)?,
            SearchKey::Body(text) => self.finds(text, Within::Body, candidate)?,
            SearchKey::Text(text) => self.finds(text, Within::Text, candidate)?,
            SearchKey::And(keys) => self.all_hold(keys, candidate)?,
            SearchKey::Or(left, right) => {
                let (first, second) = if cost(left) > cost(right) { (right, left) } else { (left, right) };
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

    /// The cheap keys come first.
    fn all_hold(&self, keys: &[SearchKey], candidate: &Candidate<'_>) -> Result<bool, StoreError> {
        for wanted in [Cost::Index, Cost::Header, Cost::Whole] {
            for key in keys.iter().filter(|key| cost(key) == wanted) {
                if !self.holds(key, candidate)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn header_holds(&self, name: &str, text: &[u8], candidate: &Candidate<'_>) -> Result<bool, StoreError> {
        let fields = candidate.fields(name)?;
        Ok(self.wanted.get(text).is_some_and(|wanted| fields.header_holds(name, &wanted.needle)))
    }

    /// Whether the message holds the text. It is read only if the full-text index doesn't know.
    fn finds(&self, text: &[u8], within: Within, candidate: &Candidate<'_>) -> Result<bool, StoreError> {
        let Some(wanted) = self.wanted.get(text) else { return Ok(false) };
        if let Some(to_read) = self.to_read.get().checked_sub(1) {
            self.to_read.set(to_read);
        } else if let Some(holds) = self.known(wanted, within).holds(candidate.message.uid) {
            return Ok(holds);
        }
        let message = candidate.whole()?;
        Ok(match within {
            Within::Body => message.body_holds(&wanted.needle),
            Within::Text => message.text_holds(&wanted.needle),
        })
    }

    fn known<'b>(&self, wanted: &'b Wanted, within: Within) -> &'b TextAnswer {
        let cell = match within {
            Within::Body => &wanted.in_body,
            Within::Text => &wanted.in_text,
        };
        cell.get_or_init(|| self.selected.mailbox().find_text(&wanted.needle, within))
    }
}

fn sent_day(candidate: &Candidate<'_>) -> Result<Option<i64>, StoreError> {
    Ok(candidate.fields("Date")?.sent_day())
}

/// The texts that a key looks for. The parser bounds its depth.
fn collect_texts<'a>(key: &'a SearchKey, texts: &mut Vec<&'a [u8]>) {
    match key {
        SearchKey::Address(_, text)
        | SearchKey::Header(_, text)
        | SearchKey::Body(text)
        | SearchKey::Text(text) => texts.push(text),
        SearchKey::And(keys) => keys.iter().for_each(|key| collect_texts(key, texts)),
        SearchKey::Or(left, right) => {
            collect_texts(left, texts);
            collect_texts(right, texts);
        }
        SearchKey::Not(key) => collect_texts(key, texts),
        SearchKey::All
        | SearchKey::Flag(_)
        | SearchKey::Keyword(_)
        | SearchKey::Recent
        | SearchKey::Seq(_)
        | SearchKey::Uid(_)
        | SearchKey::Saved
        | SearchKey::Before(_)
        | SearchKey::On(_)
        | SearchKey::Since(_)
        | SearchKey::SentBefore(_)
        | SearchKey::SentOn(_)
        | SearchKey::SentSince(_)
        | SearchKey::Larger(_)
        | SearchKey::Smaller(_) => {}
    }
}

/// What must be read to know whether a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    Index,
    Header,
    Whole,
}

fn cost(key: &SearchKey) -> Cost {
    match key {
        SearchKey::Body(_) | SearchKey::Text(_) => Cost::Whole,
        SearchKey::SentBefore(_)
        | SearchKey::SentOn(_)
        | SearchKey::SentSince(_)
        | SearchKey::Address(..)
        | SearchKey::Header(..) => Cost::Header,
        SearchKey::And(keys) => keys.iter().map(cost).max().unwrap_or(Cost::Index),
        SearchKey::Or(left, right) => cost(left).max(cost(right)),
        SearchKey::Not(key) => cost(key),
        SearchKey::All
        | SearchKey::Flag(_)
        | SearchKey::Keyword(_)
        | SearchKey::Recent
        | SearchKey::Seq(_)
        | SearchKey::Uid(_)
        | SearchKey::Saved
        | SearchKey::Before(_)
        | SearchKey::On(_)
        | SearchKey::Since(_)
        | SearchKey::Larger(_)
        | SearchKey::Smaller(_) => Cost::Index,
    }
}
