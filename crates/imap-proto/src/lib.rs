//! IMAP commands and responses: parse and encode, no I/O. Still to be written.
