//! Searches that are kept under a name, as annotations of the server, and used in others by it. RFC 5466.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use imap_proto::{Command, SearchKey, SearchRequest};
use mail_types::MetadataEntry;

use crate::answer::Failure;
use crate::limits;
use crate::session::Session;
use crate::text::Text;

/// So many filters may use each other.
const DEEPEST: usize = 10;
/// Where they are, those of the user first.
const PLACES: [&str; 2] = ["/private/filters/values/", "/shared/filters/values/"];

/// False for what is to be kept as a filter and is no search. RFC 5466 §3.2.
pub(crate) fn may_be_kept(entry: &MetadataEntry, value: Option<&[u8]>) -> bool {
    let is_filter = PLACES.iter().any(|place| entry.as_str().starts_with(place));
    !is_filter || value.is_none_or(|value| SearchKey::parse(value).is_some())
}

/// Puts searches in the place of their names. What comes of it is bounded as any other command.
///
/// Deviates: RFC 5466 §3.1 puts the text in as it is; here it is as if in parentheses, so that `NOT FILTER x` is the opposite of `x`.
pub(crate) fn put_in(session: &Session, command: &mut Command) -> Result<(), Failure> {
    let Some(request) = search_of(command).filter(|request| names_filters(&request.key)) else {
        return Ok(());
    };
    let is_ours = |name: &str| ["UTF-8", "US-ASCII"].iter().any(|it| it.eq_ignore_ascii_case(name));
    if request.charset.as_deref().is_some_and(|name| !is_ours(name)) {
        return Err(Failure::Bad(Text::WithFilterUtf8.coded("BADCHARSET (UTF-8)")));
    }
    let limits = &session.shared()?.config.imap.commands;
    let mut filters = Filters {
        kept: session.metadata(None)?,
        read: HashMap::new(),
        within: Vec::new(),
        left: limits.max_search_keys,
    };
    request.key = filters.put_in(&request.key)?;
    request.charset = Some("UTF-8".to_owned());
    session.check_numbers(command)?;
    limits::check(command, limits)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the other commands search nothing")]
fn search_of(command: &mut Command) -> Option<&mut SearchRequest> {
    match command {
        Command::Search(request)
        | Command::Esearch(_, request)
        | Command::Sort(_, request)
        | Command::Thread(_, request) => Some(request),
        _ => None,
    }
}

fn names_filters(key: &SearchKey) -> bool {
    key.any(&|key| matches!(key, SearchKey::Filter(_)))
}

struct Filters {
    kept: BTreeMap<MetadataEntry, Vec<u8>>,
    /// What was read of these.
    read: HashMap<String, Rc<SearchKey>>,
    /// Those in which we are.
    within: Vec<String>,
    /// How many keys there may be more.
    left: usize,
}

impl Filters {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other keys hold no keys")]
    fn put_in(&mut self, key: &SearchKey) -> Result<SearchKey, Failure> {
        let too_many = || Failure::no(Text::TooManyKeys.coded("LIMIT"));
        self.left = self.left.checked_sub(1).ok_or_else(too_many)?;
        Ok(match key {
            SearchKey::Filter(name) => {
                let filter = self.named(name)?;
                self.within.push(name.clone());
                let key = self.put_in(&filter)?;
                self.within.pop();
                key
            }
            SearchKey::And(keys) => {
                SearchKey::And(keys.iter().map(|key| self.put_in(key)).collect::<Result<_, _>>()?)
            }
            SearchKey::Or(left, right) => {
                SearchKey::Or(Box::new(self.put_in(left)?), Box::new(self.put_in(right)?))
            }
            SearchKey::Not(key) => SearchKey::Not(Box::new(self.put_in(key)?)),
            SearchKey::Fuzzy(key) => SearchKey::Fuzzy(Box::new(self.put_in(key)?)),
            other => other.clone(),
        })
    }

    /// One that is used within itself is as one that is not there. RFC 5466 §3.1.
    fn named(&mut self, name: &str) -> Result<Rc<SearchKey>, Failure> {
        let undefined = || Failure::no(Text::NoSuchFilter.coded_as(format!("UNDEFINED-FILTER {name}")));
        if self.within.len() >= DEEPEST || self.within.iter().any(|it| it == name) {
            return Err(undefined());
        }
        if let Some(read) = self.read.get(name) {
            return Ok(Rc::clone(read));
        }
        let value = |place| self.kept.get(&format!("{place}{name}").parse::<MetadataEntry>().ok()?);
        let value = PLACES.into_iter().find_map(value).ok_or_else(undefined)?;
        let read = Rc::new(SearchKey::parse(value).ok_or_else(undefined)?);
        self.read.insert(name.to_owned(), Rc::clone(&read));
        Ok(read)
    }
}
