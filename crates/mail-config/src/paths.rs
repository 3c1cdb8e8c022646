//! Where things lie in the data dir.

use std::path::PathBuf;

use disk_room::Room;

use crate::Config;

impl Config {
    /// The users' mail: `<mail_dir>/<domain>/<local-part>/…`.
    #[must_use]
    pub fn mail_dir(&self) -> PathBuf {
        self.data_dir.join("mail")
    }

    /// The outbound queue's folder.
    #[must_use]
    pub fn queue_dir(&self) -> PathBuf {
        self.data_dir.join("queue")
    }

    /// What mail may take of the disks where it lies: of that of [`Self::mail_dir`], and of that of [`Self::queue_dir`].
    #[must_use]
    pub fn rooms(&self) -> [Room; 2] {
        [self.mail_dir(), self.queue_dir()].map(|folder| Room::new(folder, self.limits.min_free))
    }

    /// The database of domains, accounts and aliases.
    #[must_use]
    pub fn directory_file(&self) -> PathBuf {
        self.data_dir.join("directory.sqlite")
    }

    /// The keys for return addresses of mail that goes on to others.
    #[must_use]
    pub fn srs_file(&self) -> PathBuf {
        self.data_dir.join("srs.key")
    }

    /// The database of those who have sent mail before.
    #[must_use]
    pub fn greylist_file(&self) -> PathBuf {
        self.data_dir.join("greylist.sqlite")
    }

    /// The database of where accounts have logged in.
    #[must_use]
    pub fn places_file(&self) -> PathBuf {
        self.data_dir.join("places.sqlite")
    }

    /// The database of addresses that get no bulk mail.
    #[must_use]
    pub fn suppression_file(&self) -> PathBuf {
        self.data_dir.join("suppression.sqlite")
    }

    /// The keys of DKIM: `<dkim_dir>/<domain>/…`.
    #[must_use]
    pub fn dkim_dir(&self) -> PathBuf {
        self.data_dir.join("dkim")
    }

    /// The database of what other domains want of those who send to them.
    #[must_use]
    pub fn trust_file(&self) -> PathBuf {
        self.data_dir.join("trust.sqlite")
    }

    /// The database of what others report about mail in our name.
    #[must_use]
    pub fn reports_file(&self) -> PathBuf {
        self.data_dir.join("reports.sqlite")
    }

    /// The folder of messages with such reports that are not read yet: on the file system of the mail, so that a link to it is enough.
    #[must_use]
    pub fn reports_dir(&self) -> PathBuf {
        self.mail_dir().join(".reports")
    }

    /// The event log's folder.
    #[must_use]
    pub fn events_dir(&self) -> PathBuf {
        self.data_dir.join("events")
    }
}
