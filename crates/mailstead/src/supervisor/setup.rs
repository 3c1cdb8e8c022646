use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use mail_config::Config;
use nix::sys::memfd::{MFdFlags, memfd_create};
use server_core::BindError;

use tracing::warn;

use super::Sockets;
use crate::soundness::{self, Unusable};

/// A config and the very text it was read from. The servers get this text, so that one that is started again
/// next month finds what was checked, whatever stands in the file by then.
pub(crate) struct ConfigCopy {
    pub(crate) config: Arc<Config>,
    text: File,
}

impl ConfigCopy {
    /// Reads and checks the file at `path`.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path)?;
        let Ok(text) = std::fs::read(&path) else {
            // Says what is wrong with the file.
            Config::load(&path)?;
            bail!("can't read {}", path.display());
        };
        let mut copy =
            File::from(memfd_create("config", MFdFlags::MFD_CLOEXEC).context("can't copy the config")?);
        copy.write_all(&text).context("can't copy the config")?;
        let config = Config::load_copy(&PathBuf::from(format!("/proc/self/fd/{}", copy.as_raw_fd())), &path)?;
        Ok(Self { config: Arc::new(config), text: copy })
    }
}

/// A config that holds, and what its servers are given.
pub(crate) struct Setup {
    pub(crate) config: Arc<Config>,
    text: File,
    pub(super) sockets: Sockets,
}

impl Setup {
    /// Checks everything that the servers need, and binds their sockets. All failures are told at once.
    pub(crate) fn check(copy: ConfigCopy) -> anyhow::Result<Self> {
        let sockets = Sockets::bind(&copy.config);
        Self::assemble(copy, sockets)
    }

    /// The same with sockets that are bound already.
    pub(crate) fn with_sockets(copy: ConfigCopy, sockets: Sockets) -> anyhow::Result<Self> {
        Self::assemble(copy, Ok(sockets))
    }

    /// Reads the config again and binds what is new in it; this setup stays as it is.
    pub(super) fn reload(&self) -> anyhow::Result<Self> {
        let copy = ConfigCopy::read(&self.config.file)?;
        if copy.config.data_dir != self.config.data_dir || copy.config.user != self.config.user {
            bail!("data_dir and user can't change while the servers run: restart");
        }
        let sockets = self.sockets.rebind(&copy.config);
        Self::assemble(copy, sockets)
    }

    /// All failures are told at once.
    fn assemble(copy: ConfigCopy, sockets: Result<Sockets, Vec<BindError>>) -> anyhow::Result<Self> {
        let ConfigCopy { config, text } = copy;
        let failed_to_bind =
            |errors: &[BindError]| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        match (soundness::check(&config), sockets) {
            (Ok(warnings), Ok(sockets)) => {
                warnings.iter().for_each(|warning| warn!("{warning}"));
                Ok(Self { config, text, sockets })
            }
            (Ok(_), Err(errors)) => Err(anyhow!(failed_to_bind(&errors).join("\n"))),
            (Err(unusable), Ok(_)) => Err(unusable.into()),
            (Err(Unusable(mut problems)), Err(errors)) => {
                problems.extend(failed_to_bind(&errors));
                Err(Unusable(problems).into())
            }
        }
    }

    /// The text of the config, for a server.
    pub(super) fn text(&self) -> BorrowedFd<'_> {
        self.text.as_fd()
    }
}
