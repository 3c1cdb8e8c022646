use mail_types::Uid;

/// What a server learned of a message's content, in the form in which it writes that to clients. The store keeps it beside
/// the message, wherever that is moved or copied to, but doesn't look into it; it may be lost at any time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// `ENVELOPE`
    pub envelope: Option<Vec<u8>>,
    /// `BODY`
    pub body: Option<Vec<u8>>,
    /// `BODYSTRUCTURE`
    pub body_structure: Option<Vec<u8>>,
    /// The header fields that clients ask for, as they stand in the message.
    pub fields: Option<Vec<u8>>,
}

/// A message with its [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summarized {
    /// Its UID.
    pub uid: Uid,
    /// Octets on the wire, as the message had when it was read.
    pub size: u64,
    /// What was learned.
    pub summary: Summary,
}
