//! The user that owns the data, and that the servers become.

use std::ffi::CString;

use anyhow::Context;
use nix::unistd::{Uid, User, geteuid, getgrouplist, getgroups, setegid, seteuid, setgroups};

use crate::soundness::Unusable;

/// The user that the servers become, where that is not who we are.
pub(crate) fn other_owner(user: Option<&str>) -> anyhow::Result<Option<User>> {
    let Some(name) = user.filter(|_| geteuid().is_root()) else { return Ok(None) };
    let user = User::from_name(name).with_context(|| format!("can't look up the user {name}"))?;
    let missing = || format!("the user {name} in the config does not exist: make it or correct `user`");
    user.map(Some).ok_or_else(|| Unusable(vec![missing()]).into())
}

/// Does `work` with the rights of `user`, and becomes root again.
pub(crate) fn with_the_rights_of<T>(user: Option<&User>, work: impl FnOnce() -> T) -> anyhow::Result<T> {
    let Some(user) = user else { return Ok(work()) };
    let own_groups = getgroups()?;
    let groups = getgrouplist(&CString::new(user.name.as_str())?, user.gid)?;
    setgroups(&groups).context("can't take on the groups of the user")?;
    setegid(user.gid).context("can't take on the group of the user")?;
    seteuid(user.uid).context("can't take on the rights of the user")?;
    let result = work();
    seteuid(Uid::from_raw(0)).context("can't become root again")?;
    setegid(0.into()).context("can't become root again")?;
    setgroups(&own_groups).context("can't become root again")?;
    Ok(result)
}
