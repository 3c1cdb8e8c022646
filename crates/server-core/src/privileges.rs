//! What a process may do: less and less, the nearer it comes to the network.

use std::error::Error;
use std::ffi::CString;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{User, geteuid, initgroups, setgid, setuid};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use tracing::warn;

/// Becomes `name` for good if we are root: its user, its group, its supplementary groups and no others.
///
/// # Errors
/// If there is no such user, or the system refuses.
pub fn become_user(name: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let user = User::from_name(name)?
        .ok_or_else(|| format!("the user {name} in the config does not exist; make it or correct `user`"))?;
    initgroups(&CString::new(name)?, user.gid)?;
    setgid(user.gid)?;
    setuid(user.uid)?;
    if !user.uid.is_root() && setuid(0.into()) != Err(Errno::EPERM) {
        return Err("the rights of root could not be given up".into());
    }
    Ok(())
}

/// Nobody but the owner reads what is made from now on.
pub fn restrict_new_files() {
    umask(Mode::from_bits_truncate(0o077));
}

/// Gives up what the service manager granted for binding the sockets: they are bound. What is ambient goes with it,
/// capabilities(7). Root, where no user is configured, stays root.
pub(crate) fn give_up_privileges() -> Result<(), Box<dyn Error + Send + Sync>> {
    if geteuid().is_root() {
        return Ok(());
    }
    let none = CapabilitySet::empty();
    let has = capabilities(None)?;
    if (has.permitted | has.effective | has.inheritable).is_empty() {
        return Ok(());
    }
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}

/// Every session needs a descriptor or two: take as many as are allowed.
pub(crate) fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!(%error, "can't raise the limit of open files");
    }
}
