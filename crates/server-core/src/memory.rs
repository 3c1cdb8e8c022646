//! The allocator of every program that is linked with this crate.
//!
//! The system's one keeps what was freed, in an arena for each thread: a flood of logins, each with its 19 MiB for Argon2, then
//! left a server with gigabytes. This one gives large areas back at once.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
