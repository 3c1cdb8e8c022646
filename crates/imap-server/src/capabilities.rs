//! What a client is offered. Only what is whole is advertised.

use mail_directory::sasl::Mechanism;

/// Offered at any time.
const ALWAYS: &[&str] =
    &["IMAP4rev1", "IMAP4rev2", "LITERAL+", "SASL-IR", "ID", "ENABLE", "IDLE", "NAMESPACE", "LANGUAGE"];

/// Offered to who has logged in.
const AFTER_LOGIN: &[&str] = &[
    "CHILDREN",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "SPECIAL-USE",
    "CREATE-SPECIAL-USE",
    "STATUS=SIZE",
    "UIDPLUS",
    "UNSELECT",
    "MOVE",
    "MULTIAPPEND",
    "ESEARCH",
    "SEARCHRES",
    "CONDSTORE",
    "QRESYNC",
    "QUOTA",
    "QUOTA=RES-STORAGE",
    "QUOTA=RES-MESSAGE",
    "BINARY",
    "CATENATE",
    "REPLACE",
    "UTF8=ACCEPT",
    "UNAUTHENTICATE",
    "XLIST",
    "PREVIEW",
    "SORT",
    "SORT=DISPLAY",
    "ESORT",
    "THREAD=ORDEREDSUBJECT",
    "THREAD=REFERENCES",
    "THREAD=REFS",
    "WITHIN",
    "OBJECTID",
    "SAVEDATE",
    "PARTIAL",
    "CONTEXT=SEARCH",
    "CONTEXT=SORT",
    "MULTISEARCH",
    "NOTIFY",
    "METADATA",
    "METADATA-SERVER",
    "LIST-METADATA",
    "FILTERS",
    "INPROGRESS",
    "SEARCH=FUZZY",
    "I18NLEVEL=1",
    "UIDONLY",
    "ACL",
    "RIGHTS=texk",
    "LIST-MYRIGHTS",
];

/// What decides on the rest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    pub(crate) is_logged_in: bool,
    pub(crate) may_start_tls: bool,
    pub(crate) may_login: bool,
    /// A login can be bound to the connection.
    pub(crate) can_bind: bool,
    pub(crate) is_compressed: bool,
    /// Octets of a message.
    pub(crate) max_append: u64,
}

impl Offer {
    /// The list as CAPABILITY tells it, without what is hidden from the client.
    pub(crate) fn list(self, is_hidden: impl Fn(&str) -> bool) -> String {
        let mut list = self.all();
        list.retain(|name| !is_hidden(name));
        list.join(" ")
    }

    fn all(self) -> Vec<String> {
        let mut list: Vec<String> = ALWAYS.iter().map(|&name| name.to_owned()).collect();
        if self.is_logged_in {
            list.extend(AFTER_LOGIN.iter().map(|&name| name.to_owned()));
            list.push(format!("APPENDLIMIT={}", self.max_append));
            list.extend((!self.is_compressed).then(|| "COMPRESS=DEFLATE".to_owned()));
            return list;
        }
        list.extend(self.may_start_tls.then(|| "STARTTLS".to_owned()));
        if self.may_login {
            list.extend(Mechanism::offered(self.can_bind).map(|it| format!("AUTH={}", it.name())));
        } else {
            list.push("LOGINDISABLED".to_owned());
        }
        list
    }
}
