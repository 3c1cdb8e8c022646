use bytes::{BufMut as _, BytesMut};
use nom::bytes::complete::take_till;
use nom::multi::many0;
use nom::number::complete::be_u32;
use nom::sequence::terminated;
use nom::{IResult, Parser as _};

use crate::command::Stage;
use crate::frame::packet;

/// The version spoken here.
pub const VERSION: u32 = 6;
/// The least that a milter may speak: Sendmail 8.12's.
const LEAST_VERSION: u32 = 2;

/// A set of flags of a negotiation.
macro_rules! flags {
    ($(#[$doc:meta])* $name:ident { $($(#[$flag_doc:meta])* $flag:ident = $bit:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name(pub u32);

        impl $name {
            $($(#[$flag_doc])* pub const $flag: Self = Self($bit);)*

            /// All that there are.
            pub const ALL: Self = Self($($bit)|*);

            /// True if all of `other` are in it.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }
        }
    };
}

flags! {
    /// What a milter may do to a message: `SMFIF_…`.
    Actions {
        /// Add header fields.
        ADD_HEADERS = 0x01,
        /// Replace the body.
        CHANGE_BODY = 0x02,
        /// Add recipients.
        ADD_RECIPIENTS = 0x04,
        /// Remove recipients.
        DELETE_RECIPIENTS = 0x08,
        /// Change and remove header fields.
        CHANGE_HEADERS = 0x10,
        /// Have the message put aside.
        QUARANTINE = 0x20,
        /// Change the reverse path.
        CHANGE_FROM = 0x40,
        /// Add recipients with ESMTP parameters.
        ADD_RECIPIENTS_WITH_PARAMETERS = 0x80,
        /// Say which macros it wants.
        SET_MACROS = 0x100,
    }
}

flags! {
    /// What a milter wants to be left out, and what it can do: `SMFIP_…`.
    Steps {
        /// Send no connection.
        NO_CONNECT = 0x01,
        /// Send no HELO.
        NO_HELO = 0x02,
        /// Send no MAIL.
        NO_MAIL = 0x04,
        /// Send no RCPT.
        NO_RCPT = 0x08,
        /// Send no body.
        NO_BODY = 0x10,
        /// Send no header fields.
        NO_HEADERS = 0x20,
        /// Send no end of the header.
        NO_EOH = 0x40,
        /// It does not reply to header fields.
        SILENT_HEADER = 0x80,
        /// Send no unknown commands.
        NO_UNKNOWN = 0x100,
        /// Send no DATA.
        NO_DATA = 0x200,
        /// It may reply that it has seen enough of the body.
        SKIP = 0x400,
        /// It wants to see recipients that are refused.
        REFUSED_RCPT = 0x800,
        /// It does not reply to the connection.
        SILENT_CONNECT = 0x1000,
        /// It does not reply to HELO.
        SILENT_HELO = 0x2000,
        /// It does not reply to MAIL.
        SILENT_MAIL = 0x4000,
        /// It does not reply to RCPT.
        SILENT_RCPT = 0x8000,
        /// It does not reply to DATA.
        SILENT_DATA = 0x1_0000,
        /// It does not reply to unknown commands.
        SILENT_UNKNOWN = 0x2_0000,
        /// It does not reply to the end of the header.
        SILENT_EOH = 0x4_0000,
        /// It does not reply to pieces of the body.
        SILENT_BODY = 0x8_0000,
        /// Values of header fields have their leading blank.
        LEADING_SPACE = 0x10_0000,
    }
}

/// `SMFIC_OPTNEG`: what one side can do, or what the other wants of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Of the protocol.
    pub version: u32,
    /// What the milter may do.
    pub actions: Actions,
    /// What is left out.
    pub steps: Steps,
    /// The macros that the milter wants at a stage, instead of the usual ones.
    pub macros: Vec<(Stage, Vec<String>)>,
}

impl Offer {
    /// All that this crate can do.
    #[must_use]
    pub const fn ours() -> Self {
        Self { version: VERSION, actions: Actions::ALL, steps: Steps::ALL, macros: Vec::new() }
    }

    /// Appends it as a packet.
    pub fn encode(&self, output: &mut BytesMut) {
        packet(output, b'O', |output| {
            output.put_u32(self.version);
            output.put_u32(self.actions.0);
            output.put_u32(self.steps.0);
            for (stage, names) in &self.macros {
                output.put_u32(*stage as u32);
                output.put_slice(names.join(" ").as_bytes());
                output.put_u8(0);
            }
        });
    }

    /// `version actions steps *(stage names NUL)`
    pub(crate) fn parse(input: &[u8]) -> IResult<&[u8], Self> {
        let (input, (version, actions, steps)) = (be_u32, be_u32, be_u32).parse(input)?;
        let names = terminated(take_till(|octet| octet == 0), nom::bytes::complete::tag(&b"\0"[..]));
        let (input, lists) = many0((be_u32, names)).parse(input)?;
        let list = |(stage, names): (u32, &[u8])| {
            let names = String::from_utf8_lossy(names);
            let names = names.split([' ', ',']).filter(|name| !name.is_empty()).map(ToOwned::to_owned);
            Some((Stage::numbered(stage)?, names.collect()))
        };
        let macros = lists.into_iter().filter_map(list).collect();
        Ok((input, Self { version, actions: Actions(actions), steps: Steps(steps), macros }))
    }

    /// True if what a milter answers to [`Offer::ours`] can be done.
    #[must_use]
    pub fn is_acceptable(&self) -> bool {
        let ours = Self::ours();
        (LEAST_VERSION..=VERSION).contains(&self.version)
            && ours.actions.contains(self.actions)
            && ours.steps.contains(self.steps)
    }
}
