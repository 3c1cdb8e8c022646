use mail_types::{Address, Domain};

use crate::reader::Reader;

/// `[reports]`: what others report about mail in our name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportsConfig {
    /// Mail to these holds reports. In lower case.
    pub addresses: Vec<Address>,
    /// Who is believed, with the domains below, when it says that somebody elsewhere has complained; of itself every domain is.
    pub complaints_from: Vec<Domain>,
    /// From whom domains that ask for it get reports of what was found out about mail in their name (DMARC); none are sent without.
    pub dmarc_from: Option<Address>,
}

pub(crate) fn read(reader: &mut Reader<'_, '_>) -> ReportsConfig {
    let address = |text: &str| text.parse::<Address>().ok().map(|address| address.to_lowercase());
    let addresses = reader.list("addresses", "an address such as \"reports@example.org\"", address);
    let domain = |text: &str| text.parse::<Domain>().ok();
    let complaints_from = reader.list("complaints_from", "a domain such as \"feedback.example.net\"", domain);
    let dmarc_from =
        reader.parsed("dmarc_from", "an address such as \"reports@example.org\"", |text| text.parse().ok());
    ReportsConfig {
        addresses: addresses.unwrap_or_default(),
        complaints_from: complaints_from.unwrap_or_default(),
        dmarc_from,
    }
}
