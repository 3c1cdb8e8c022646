//! The IMAP4rev1 server. RFC 3501 and the extensions that `README.md` lists.

mod access;
mod annotations;
mod answer;
mod capabilities;
mod command;
mod connection;
mod contents;
mod contexts;
mod filter;
mod filters;
mod gaps;
mod hearing;
mod idle;
mod limits;
mod login;
mod mod_seqs;
mod notify;
mod progress;
mod receive;
mod search;
mod section;
mod selected;
mod server;
mod session;
mod speech;
mod summaries;
mod text;
mod threads;
mod uid_only;
mod wire;

pub use server::run;
