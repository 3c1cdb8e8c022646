//! The allocator of every program that is linked with this crate.
//!
//! The system's one keeps what was freed, in an arena for each thread: a flood of logins, each with its 19 MiB for Argon2, then
//! left a server with gigabytes. This one gives large areas back at once.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Has this program, and all that it starts, live in pages of the usual size: the allocator asks for huge ones, of which three hold 6 MiB
/// in a server that needs half of one.
pub fn use_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages can't be switched off");
    }
}
