//! Real clients and peers against the running program, one file for each client or theme.
#![allow(clippy::unwrap_used, missing_docs)]

mod curl;
mod demo;
mod python_libraries;
mod supervisor;
mod swaks;
