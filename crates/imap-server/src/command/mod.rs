//! The commands that work on the store, a file for each kind. None of them touches the socket.

pub(crate) mod acl;
pub(crate) mod append;
pub(crate) mod copy;
pub(crate) mod esearch;
pub(crate) mod expunge;
pub(crate) mod fetch;
pub(crate) mod list;
pub(crate) mod mailbox;
pub(crate) mod metadata;
pub(crate) mod notify;
pub(crate) mod pattern;
pub(crate) mod quota;
pub(crate) mod resync;
pub(crate) mod search;
pub(crate) mod select;
pub(crate) mod sort;
pub(crate) mod store;
pub(crate) mod thread;
