use std::path::PathBuf;

use serde_json::{Value, json};

/// What a client must know of a running domain: its ports, its certificate authority, its people.
#[derive(Debug, Clone)]
pub struct Site {
    /// The hosted domain.
    pub domain: String,
    /// The certificate authority that clients are to trust.
    pub ca_file: PathBuf,
    /// The name of each listener, and its port on loopback.
    pub ports: Vec<(String, u16)>,
    /// Who has an account.
    pub people: Vec<Person>,
}

/// Somebody with an account.
#[derive(Debug, Clone)]
pub struct Person {
    /// The address, which is the user name too.
    pub address: String,
    /// The password.
    pub password: String,
    /// The Maildir of the INBOX.
    pub maildir: PathBuf,
}

/// The host that every server listens on; the certificate is good for it.
pub const HOST: &str = "localhost";

impl Site {
    /// The port of the listener `name`, as `smtp`, `submission`, `submissions`, `imap`, `imaps`, `pop3`, `pop3s`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn port(&self, name: &str) -> u16 {
        let found = self.ports.iter().find(|(known, _)| known == name);
        found.map(|(_, port)| *port).unwrap_or_else(|| panic!("no listener {name} in {:?}", self.ports))
    }

    /// The person whose address begins with `local_part`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn person(&self, local_part: &str) -> &Person {
        let address = format!("{local_part}@{}", self.domain);
        let found = self.people.iter().find(|person| person.address == address);
        found.unwrap_or_else(|| panic!("no {address} in {:?}", self.people))
    }

    /// What the Python programs are told.
    pub(crate) fn to_json(&self) -> Value {
        let mut value = json!({ "domain": self.domain, "ca_file": self.ca_file, "host": HOST, "ports": {}, "people": {} });
        for (name, port) in &self.ports {
            value["ports"][name] = json!(port);
        }
        for person in &self.people {
            let local_part = person.address.split('@').next().unwrap_or_default();
            value["people"][local_part] =
                json!({ "address": person.address, "password": person.password, "maildir": person.maildir });
        }
        value
    }
}
