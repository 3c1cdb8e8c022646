use imap_proto::SearchKey;
use mail_message::DigestText;

/// What must be read to know whether a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cost {
    Index,
    Digest,
    Header,
    Whole,
}

impl Cost {
    /// The cheapest first.
    pub(super) const ALL: [Self; 4] = [Self::Index, Self::Digest, Self::Header, Self::Whole];
}

pub(super) fn cost(key: &SearchKey) -> Cost {
    match key {
        SearchKey::Body(_) | SearchKey::Text(_) => Cost::Whole,
        SearchKey::Header(name, _) if DigestText::of_field(name).is_none() => Cost::Header,
        SearchKey::SentBefore(_)
        | SearchKey::SentOn(_)
        | SearchKey::SentSince(_)
        | SearchKey::Address(..)
        | SearchKey::SavedBefore(_)
        | SearchKey::SavedOn(_)
        | SearchKey::SavedSince(_)
        | SearchKey::EmailId(_)
        | SearchKey::ThreadId(_)
        | SearchKey::Header(..) => Cost::Digest,
        SearchKey::And(keys) => keys.iter().map(cost).max().unwrap_or(Cost::Index),
        SearchKey::Or(left, right) => cost(left).max(cost(right)),
        SearchKey::Not(key) | SearchKey::Fuzzy(key) => cost(key),
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
        | SearchKey::Older(_)
        | SearchKey::Younger(_)
        | SearchKey::Larger(_)
        | SearchKey::Smaller(_)
        | SearchKey::ModSeq(_)
        | SearchKey::Filter(_) => Cost::Index,
    }
}

/// The texts that a key looks for. The parser bounds its depth.
pub(super) fn collect_texts<'a>(key: &'a SearchKey, texts: &mut Vec<&'a [u8]>) {
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
        SearchKey::Not(key) | SearchKey::Fuzzy(key) => collect_texts(key, texts),
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
        | SearchKey::SavedBefore(_)
        | SearchKey::SavedOn(_)
        | SearchKey::SavedSince(_)
        | SearchKey::EmailId(_)
        | SearchKey::ThreadId(_)
        | SearchKey::Older(_)
        | SearchKey::Younger(_)
        | SearchKey::Larger(_)
        | SearchKey::Smaller(_)
        | SearchKey::ModSeq(_)
        | SearchKey::Filter(_) => {}
    }
}
