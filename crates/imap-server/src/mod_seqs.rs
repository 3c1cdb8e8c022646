//! Who is told of mod-sequences, and up to which one a client knows all. RFC 7162.

use imap_proto::{Command, FetchItem, SearchKey, StatusItem};
use mail_types::ModSeq;

/// What a client has said that it understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an extension, in any combination")]
pub(crate) struct Enabled {
    /// FETCH responses that it did not ask for have MODSEQ. RFC 7162 §3.1.
    pub(crate) condstore: bool,
    /// VANISHED takes the place of EXPUNGE. RFC 7162 §3.2.3.
    pub(crate) qresync: bool,
    /// No `\Recent`, ESEARCH for every SEARCH, LIST at SELECT. RFC 9051.
    pub(crate) imap4rev2: bool,
    /// Mailbox names in UTF-8. RFC 6855.
    pub(crate) utf8: bool,
    /// No sequence numbers either way: UIDFETCH, and VANISHED. RFC 9586.
    pub(crate) uid_only: bool,
    /// Told of annotations that others change. RFC 5464 §4.4.
    pub(crate) metadata: bool,
}

impl Enabled {
    pub(crate) const fn new() -> Self {
        Self {
            condstore: false,
            qresync: false,
            imap4rev2: false,
            utf8: false,
            uid_only: false,
            metadata: false,
        }
    }

    /// Enables what is named and there, and gives the names of it. RFC 5161 §3.1.
    pub(crate) fn enable(&mut self, names: &[String]) -> Vec<&'static str> {
        let is_named = |name: &str| names.iter().any(|it| it == name);
        let qresync = is_named("QRESYNC");
        let condstore = qresync || is_named("CONDSTORE");
        self.qresync |= qresync;
        self.condstore |= condstore;
        let (imap4rev2, utf8) = (is_named("IMAP4REV2"), is_named("UTF8=ACCEPT"));
        self.imap4rev2 |= imap4rev2;
        // RFC 9051 §5.1: UTF-8 comes with it.
        self.utf8 |= imap4rev2 || utf8;
        let uid_only = is_named("UIDONLY");
        self.uid_only |= uid_only;
        let (metadata, of_server) = (is_named("METADATA"), is_named("METADATA-SERVER"));
        self.metadata |= metadata || of_server;
        let enabled = [
            ("CONDSTORE", condstore),
            ("QRESYNC", qresync),
            ("IMAP4rev2", imap4rev2),
            ("UTF8=ACCEPT", utf8),
            ("UIDONLY", uid_only),
            ("METADATA", metadata),
            ("METADATA-SERVER", of_server),
        ];
        enabled.into_iter().filter(|(_, is)| *is).map(|(it, _)| it).collect()
    }
}

/// True for the commands by which a client shows that it understands mod-sequences, but for ENABLE and SELECT. RFC 7162 §3.1.
#[expect(clippy::wildcard_enum_match_arm, reason = "the standard names them")]
pub(crate) fn asks_for_mod_seqs(command: &Command) -> bool {
    let asks = |items: &[StatusItem]| items.contains(&StatusItem::HighestModSeq);
    match command {
        Command::Status(_, items) => asks(items),
        Command::List(request) => request.status().is_some_and(asks),
        Command::Fetch(_, items, modifiers) => {
            modifiers.changed_since.is_some() || items.contains(&FetchItem::ModSeq)
        }
        Command::Search(request)
        | Command::Sort(_, request)
        | Command::Thread(_, request)
        | Command::Esearch(_, request) => has_mod_seq(&request.key),
        Command::Store { unchanged_since, .. } => unchanged_since.is_some(),
        _ => false,
    }
}

/// True if messages are looked for by mod-sequence: then the answer tells the highest.
pub(crate) fn has_mod_seq(key: &SearchKey) -> bool {
    key.any(&|key| matches!(key, SearchKey::ModSeq(_)))
}

/// What a client takes for the mod-sequence up to which it knows all. RFC 7162 §6.
#[derive(Debug)]
pub(crate) struct ClientModSeq {
    /// At the last tagged response.
    copy: ModSeq,
    /// The highest in a MODSEQ since.
    told: ModSeq,
}

impl ClientModSeq {
    pub(crate) const fn new(copy: ModSeq) -> Self {
        Self { copy, told: ModSeq::MIN }
    }

    /// A MODSEQ goes out.
    pub(crate) fn tell(&mut self, mod_seq: ModSeq) {
        self.told = self.told.max(mod_seq);
    }

    /// A command ends, and up to `known` the client has been told all: true if it must be told that number since it would reckon
    /// with a higher one, or, where it cares (`all`), with a lower one.
    pub(crate) fn complete(&mut self, known: ModSeq, all: bool) -> bool {
        let reckoned = self.copy.max(std::mem::replace(&mut self.told, ModSeq::MIN));
        let is_wrong = reckoned > known || (all && reckoned < known);
        self.copy = if is_wrong { known } else { reckoned };
        is_wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64) -> ModSeq {
        ModSeq::try_from(number).unwrap()
    }

    #[test]
    fn a_client_that_would_reckon_wrongly_is_told() {
        let mut client = ClientModSeq::new(at(96));
        // RFC 7162 §6: VANISHED with 100 is held back.
        client.tell(at(103));
        client.tell(at(101));
        assert!(client.complete(at(99), true));
        assert!(!client.complete(at(99), true));
        client.tell(at(104));
        assert!(!client.complete(at(104), true));
        assert!(client.complete(at(105), true), "something went");
        assert!(!client.complete(at(106), false), "who knows no VANISHED needs not be told");
    }

    #[test]
    fn qresync_brings_condstore() {
        let mut enabled = Enabled::default();
        assert!(enabled.enable(&["X-UNKNOWN".to_owned()]).is_empty());
        assert_eq!(enabled.enable(&["QRESYNC".to_owned()]), ["CONDSTORE", "QRESYNC"]);
        assert!(enabled.condstore && enabled.qresync && !enabled.utf8);
        assert_eq!(enabled.enable(&["UTF8=ACCEPT".to_owned()]), ["UTF8=ACCEPT"]);
        assert!(enabled.utf8 && !enabled.imap4rev2);
    }
}
