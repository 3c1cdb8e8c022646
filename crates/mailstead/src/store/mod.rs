//! Mail on its way into accounts and out of them: `mailstead store`.

mod dates;
pub(crate) mod export;
pub(crate) mod import;
mod input;
mod mbox_header;
pub(crate) mod progress;
mod trouble;
