use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use mail_config::Config;
use nix::sys::memfd::{MFdFlags, memfd_create};
use server_core::{BindError, TlsContext};

use super::Sockets;
use crate::server::Server;

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
        if copy.config.data_dir != self.config.data_dir {
            bail!("data_dir can't change while the servers run: restart");
        }
        let sockets = self.sockets.rebind(&copy.config);
        Self::assemble(copy, sockets)
    }

    /// All failures are told at once.
    fn assemble(copy: ConfigCopy, sockets: Result<Sockets, Vec<BindError>>) -> anyhow::Result<Self> {
        let ConfigCopy { config, text } = copy;
        let mut failures = Vec::new();
        if Server::enabled(&config).is_empty() {
            failures.push("the config enables no server".to_owned());
        }
        if let Err(error) = TlsContext::load(&config.tls) {
            failures.push(error.to_string());
        }
        let sockets = sockets.unwrap_or_else(|errors| {
            failures.extend(errors.iter().map(ToString::to_string));
            Sockets::default()
        });
        if failures.is_empty() {
            Ok(Self { config, text, sockets })
        } else {
            Err(anyhow!(failures.join("\n")))
        }
    }

    /// The text of the config, for a server.
    pub(super) fn text(&self) -> BorrowedFd<'_> {
        self.text.as_fd()
    }
}
