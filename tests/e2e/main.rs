//! Real clients and peers against the running program, one file for each client or theme.
#![allow(clippy::unwrap_used, missing_docs)]

mod alone;
mod bad_input;
mod beside;
mod command_line;
mod config;
mod curl;
mod demo;
mod dkim;
mod dovecot;
mod fetchmail;
mod hammer;
mod imapflow;
mod mbsync;
mod milters;
mod mutt;
mod offlineimap;
mod postfix;
mod proxy;
mod python_libraries;
mod relay;
mod supervisor;
mod swaks;
mod trace;
mod verdicts;
