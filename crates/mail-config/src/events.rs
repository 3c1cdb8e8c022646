use std::time::Duration;

use crate::reader::Reader;

/// `[log.events]`: what happened to each message, for `mailstead trace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsConfig {
    /// Anything is noted at all.
    pub enabled: bool,
    /// Octets on disk.
    pub max_size: u64,
    /// How long an event is kept.
    pub keep: Duration,
    /// Refusals that one server notes in a minute; those beyond are counted.
    pub max_refusals: u32,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            max_size: 512 << 20,
            keep: Duration::from_secs(30 * 24 * 3600),
            max_refusals: 600,
        }
    }
}

pub(crate) fn read(reader: &mut Reader<'_, '_>) -> EventsConfig {
    let standard = EventsConfig::default();
    EventsConfig {
        enabled: reader.bool("enabled", standard.enabled),
        max_size: reader.size("max_size", 1 << 20, standard.max_size),
        keep: reader.duration("keep", Duration::from_secs(3600), standard.keep),
        max_refusals: reader.number("max_refusals", 0, standard.max_refusals),
    }
}
