//! The POP3 server. RFC 1939 without APOP; CAPA, STLS, SASL, UTF8 and LANG.

mod connection;
mod encoder;
mod lock;
mod maildrop;
mod server;
mod session;

pub use server::run;
