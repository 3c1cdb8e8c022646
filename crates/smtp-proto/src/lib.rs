//! SMTP commands and replies: parse and encode, no I/O. Still to be written.
