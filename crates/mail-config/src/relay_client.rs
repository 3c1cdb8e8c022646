use std::net::IpAddr;

use mail_types::{Address, AddressPattern, Network};

use crate::SmtpConfig;
use crate::reader::{NETWORK, Reader};

/// The shortest prefix of a network on the internet whose machines may have us send mail: what is greater is a mistake.
const SHORTEST_IPV4: u32 = 8;
const SHORTEST_IPV6: u32 = 16;

/// `[[smtp.relay_clients]]`: machines that have mail sent by us without logging in, or an account with limits of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayClient {
    /// Under which the log, reports and schedules know it, in lower case; without an `@`, so that no account has it.
    pub name: String,
    /// Who comes.
    pub from: RelayOrigin,
    /// Octets of a message; `None` for what others may send.
    pub max_message_size: Option<u64>,
    /// Recipients of a message; `None` for as many as a message of an account may have.
    pub recipients_per_message: Option<usize>,
    /// Recipients in an hour, 0 for as many as it likes; `None` for as many as any account.
    pub recipients_per_hour: Option<u32>,
    /// Messages in an hour, likewise.
    pub messages_per_hour: Option<u32>,
}

/// Who a relay client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayOrigin {
    /// Machines in these networks.
    Networks {
        /// At least one.
        networks: Vec<Network>,
        /// As whom they may send, in the envelope and in From, in lower case: at least one.
        senders: Vec<AddressPattern>,
        /// They need no TLS.
        allow_plaintext: bool,
    },
    /// Who has logged in as this account, in lower case.
    Account(Address),
}

impl RelayClient {
    /// True if it is known by its address, and may send as `sender`.
    #[must_use]
    pub fn may_send_as(&self, sender: &Address) -> bool {
        match &self.from {
            RelayOrigin::Networks { senders, .. } => senders.iter().any(|pattern| pattern.fits(sender)),
            RelayOrigin::Account(_) => false,
        }
    }

    /// True if it needs no TLS where an account would.
    #[must_use]
    pub const fn allows_plaintext(&self) -> bool {
        matches!(self.from, RelayOrigin::Networks { allow_plaintext: true, .. })
    }

    /// Those from which it is known; none where it logs in.
    fn networks(&self) -> &[Network] {
        match &self.from {
            RelayOrigin::Networks { networks, .. } => networks,
            RelayOrigin::Account(_) => &[],
        }
    }

    fn is_at(&self, peer: IpAddr) -> bool {
        self.networks().iter().any(|network| network.contains(peer))
    }

    fn is_account(&self, account: &Address) -> bool {
        matches!(&self.from, RelayOrigin::Account(known) if *known == account.to_lowercase())
    }
}

impl SmtpConfig {
    /// The client that comes from here. A proxy, which speaks for whom it likes, is none.
    #[must_use]
    pub fn relay_client_at(&self, peer: IpAddr) -> Option<&RelayClient> {
        let is_proxy = self.xclient.iter().any(|network| network.contains(peer));
        self.relay_clients.iter().find(|client| !is_proxy && client.is_at(peer))
    }

    /// Networks of which the config says that machines there are trusted, or have mail sent by us.
    #[must_use]
    pub fn networks_of_ours(&self) -> Vec<Network> {
        let relaying = self.relay_clients.iter().flat_map(RelayClient::networks);
        self.verdicts.trusted.iter().chain(relaying).copied().collect()
    }

    /// The client that an account is.
    #[must_use]
    pub fn relay_client_of(&self, account: &Address) -> Option<&RelayClient> {
        self.relay_clients.iter().find(|client| client.is_account(account))
    }
}

pub(crate) fn read(reader: &mut Reader<'_, '_>) -> Vec<RelayClient> {
    let (mut names, mut accounts): (Vec<String>, Vec<Address>) = Default::default();
    let clients = reader.tables("relay_clients", |reader| {
        let client = client(reader)?;
        if let RelayOrigin::Account(account) = &client.from {
            if accounts.contains(account) {
                reader.wrong(format!("two relay clients are the account {account}, of which only the first counts; say its limits in one table"));
            }
            accounts.push(account.clone());
        }
        if names.contains(&client.name) {
            let name = &client.name;
            reader.wrong(format!("two relay clients are named \"{name}\"; give each a name of its own"));
        }
        names.push(client.name.clone());
        Some(client)
    });
    clients.unwrap_or_default()
}

fn client(reader: &mut Reader<'_, '_>) -> Option<RelayClient> {
    if !reader.has("name") {
        reader.missing(
            "name",
            "the log and `mailstead report --by client` show it, such as name = \"printers\"",
        );
    }
    let is_name = |text: &str| {
        !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
    };
    let name = reader.parsed("name", "letters, digits, \"-\", \"_\" and \".\"", |text| {
        is_name(text).then(|| text.to_ascii_lowercase())
    });
    let from = origin(reader);
    let limit = |reader: &mut Reader<'_, '_>, key| reader.has(key).then(|| reader.number(key, 0, 0_u32));
    let max_message_size =
        reader.has("max_message_size").then(|| reader.size("max_message_size", 64 << 10, u64::MAX));
    let recipients_per_message =
        reader.has("recipients_per_message").then(|| reader.number("recipients_per_message", 1, usize::MAX));
    let (recipients_per_hour, messages_per_hour) =
        (limit(reader, "recipients_per_hour"), limit(reader, "messages_per_hour"));
    Some(RelayClient {
        name: name?,
        from: from?,
        max_message_size,
        recipients_per_message,
        recipients_per_hour,
        messages_per_hour,
    })
}

fn origin(reader: &mut Reader<'_, '_>) -> Option<RelayOrigin> {
    let given = |reader: &Reader<'_, '_>, key| reader.has(key).then_some(());
    let networks =
        given(reader, "networks").and_then(|()| reader.list("networks", NETWORK, |text| text.parse().ok()));
    let account = |text: &str| text.parse::<Address>().ok().map(|it| it.to_lowercase());
    let account = given(reader, "account")
        .and_then(|()| reader.parsed("account", "an account such as \"crm@example.org\"", account));
    let expected = "an address such as \"alerts@example.org\", or \"@example.org\" for all of a domain";
    let pattern = |text: &str| text.parse::<AddressPattern>().ok().map(|it| it.to_lowercase());
    let senders = given(reader, "senders").and_then(|()| reader.list("senders", expected, pattern));
    let plaintext = given(reader, "allow_plaintext").map(|()| reader.bool("allow_plaintext", false));
    match (networks, account) {
        (Some(_), Some(_)) => reader.wrong("networks or account, not both: say in two tables who both are"),
        (None, None) => reader.missing(
            "networks",
            "say who sends: networks = [\"192.0.2.0/28\"], or account = \"crm@example.org\" for who logs in",
        ),
        (None, Some(_)) if senders.is_some() || plaintext.is_some() => reader.wrong(
            "senders and allow_plaintext are for networks: `mailstead account` says as whom an account may send",
        ),
        (None, Some(account)) => return Some(RelayOrigin::Account(account)),
        (Some(networks), None) => {
            let senders = senders.unwrap_or_default();
            if networks.is_empty() || senders.is_empty() {
                reader.missing("senders", "say from where and as whom mail may come, such as senders = [\"@example.org\"]");
            }
            for network in networks.iter().filter(|network| is_open(network)) {
                reader.wrong(format!(
                    "{network} is (a great part of) the internet: anybody could send spam through this server; name the networks of your machines"
                ));
            }
            let allow_plaintext = plaintext.unwrap_or(false);
            return Some(RelayOrigin::Networks { networks, senders, allow_plaintext });
        }
    }
    None
}

/// True if it holds more than anybody's machines.
fn is_open(network: &Network) -> bool {
    let shortest = if network.is_ipv4() { SHORTEST_IPV4 } else { SHORTEST_IPV6 };
    network.prefix() < shortest && !Network::local().iter().any(|local| local.covers(network))
}
