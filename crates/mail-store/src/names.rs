//! The grammar of file names: `<unique>,S=<size>[,W=<wire size>][,H=<hash>][,U=<uid>,V=<mark>[,D=<seconds>][,W=<wire size>]]:2,<flags>`.
//! The second `W=` stands in names that another program gave without one.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mail_types::{Flag, Uid};

use crate::content_hash::ContentHash;
use crate::mark::Mark;

/// A file name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileName<'a> {
    /// All before `:2,`, without `,U=`, `,V=` and what follows these: what stays the same for the message's life.
    pub(crate) base: Cow<'a, str>,
    /// `,S=`
    pub(crate) size: Option<u64>,
    /// `,W=`
    pub(crate) wire: Option<u64>,
    /// `,H=`
    pub(crate) hash: Option<ContentHash>,
    /// `,U=`
    pub(crate) uid: Option<Uid>,
    /// `,V=`: the mailbox that gave the UID.
    pub(crate) mark: Option<Mark>,
    /// `,D=`: when that mailbox got it, in seconds since 1970, if not when the name was made.
    pub(crate) saved: Option<i64>,
    /// What stands behind `:2,`.
    pub(crate) info: &'a str,
}

impl<'a> FileName<'a> {
    /// True for a message of ours in which no LF is taken for the end of a line.
    pub(crate) fn is_binary(&self) -> bool {
        is_ours(&self.base) && self.wire.is_some() && self.wire == self.size
    }

    pub(crate) fn parse(name: &'a str) -> Self {
        let (front, info) = name.split_once(':').unwrap_or((name, ""));
        let mut parsed = Self {
            base: Cow::Borrowed(""),
            size: None,
            wire: None,
            hash: None,
            uid: None,
            mark: None,
            saved: None,
            info: info.strip_prefix("2,").unwrap_or(""),
        };
        let mut end = 0;
        for (position, field) in front.split(',').enumerate() {
            let begin = end + usize::from(position > 0);
            end = begin + field.len();
            match field.split_once('=') {
                Some(("U", uid)) if position > 0 => {
                    parsed.uid = uid.parse().ok().and_then(|uid: u32| Uid::try_from(uid).ok());
                    continue;
                }
                Some(("V", mark))
                    if position > 0
                        && let Ok(mark) = mark.parse() =>
                {
                    parsed.mark = Some(mark);
                    continue;
                }
                Some(("D", seconds)) if let (Some(_), Ok(seconds)) = (parsed.mark, seconds.parse()) => {
                    parsed.saved = Some(seconds);
                    continue;
                }
                Some(("W", size))
                    if let (None, Some(_), Ok(size)) = (parsed.wire, parsed.mark, size.parse()) =>
                {
                    parsed.wire = Some(size);
                    continue;
                }
                Some(("S", size)) => parsed.size = size.parse().ok(),
                Some(("W", size)) => parsed.wire = size.parse().ok(),
                Some(("H", hash)) => parsed.hash = hash.parse().ok(),
                _ => {}
            }
            // All so far, as a rule: what is left out of it stands at the end.
            match front.get(..end) {
                Some(whole) if parsed.base.len() + 1 == begin || position == 0 => parsed.base = whole.into(),
                _ => parsed.base = format!("{},{field}", parsed.base).into(),
            }
        }
        parsed
    }

    /// A name of which only what stands behind `:2,` is known.
    pub(crate) const fn of_info(info: &'a str) -> Self {
        Self {
            base: Cow::Borrowed(""),
            size: None,
            wire: None,
            hash: None,
            uid: None,
            mark: None,
            saved: None,
            info,
        }
    }

    /// What in the name breaks the grammar.
    pub(crate) fn breach(&self, name: &str) -> Option<&'static str> {
        let (front, info) = name.split_once(':').map_or((name, None), |(front, info)| (front, Some(info)));
        if name.bytes().any(|octet| !matches!(octet, b' '..=b'~')) && name.chars().any(char::is_control) {
            Some("a control character")
        } else if info.is_some_and(|info| !info.is_empty() && !info.starts_with("2,")) {
            Some("what follows the colon is no list of flags")
        } else {
            front.split(',').skip(1).find_map(|field| self.breach_in(field.split_once('=')?.0))
        }
    }

    fn breach_in(&self, key: &str) -> Option<&'static str> {
        match key {
            "U" if self.uid.is_none() => Some("U= is no UID"),
            "S" if self.size.is_none() => Some("S= or W= is no size"),
            "W" if self.wire.is_none() => Some("S= or W= is no size"),
            "H" if self.hash.is_none() && is_ours(&self.base) => Some("H= is no hash"),
            _ => None,
        }
    }

    /// The system flags, as a bit set.
    pub(crate) fn system(&self) -> u8 {
        let set = |flag: &Flag| self.info.contains(flag.maildir_letter());
        Flag::ALL.into_iter().filter(set).fold(0, |bits, flag| bits | flag as u8)
    }

    /// The letters of keywords, a to z.
    pub(crate) fn letters(&self) -> impl Iterator<Item = char> + '_ {
        self.info.chars().filter(char::is_ascii_lowercase)
    }

    /// Flags of others that we only keep, `P` (passed) for one.
    fn foreign(&self) -> impl Iterator<Item = char> + '_ {
        let ours = |c: &char| Flag::ALL.iter().any(|flag| flag.maildir_letter() == *c);
        self.info.chars().filter(move |c| !ours(c) && !c.is_ascii_lowercase())
    }

    /// The info with other flags; the foreign ones stay. The letters ascend, as the Maildir rules want.
    pub(crate) fn info_with(&self, system: u8, letters: impl Iterator<Item = char>) -> String {
        let ours = Flag::ALL.into_iter().filter(|flag| system & *flag as u8 != 0).map(Flag::maildir_letter);
        let mut all: Vec<char> = ours.chain(self.foreign()).chain(letters).collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter().collect()
    }
}

/// The hash of the content that the base of a name says. Without a size it is no name of ours.
pub(crate) fn content_hash(base: &str) -> Option<ContentHash> {
    let name = FileName::parse(base);
    name.size.and(name.hash)
}

/// What is added to a base in `cur/`, in octets, seldom more.
const LONGEST_ADDED: usize = 64;

/// The name in `cur/`. The mark says whose UID it is: to which mailbox a file was given it, whatever other program has moved or
/// copied the file since. `saved` is when that mailbox got it, if the base doesn't say.
///
/// The size on the wire is put there where another program gave a size only: then no file has to be read for its bare LFs when
/// the index is lost. It counts as long as the other is that of the file.
pub(crate) fn in_cur(
    base: &str,
    (uid, mark): (u32, Mark),
    saved: Option<i64>,
    wire: u64,
    info: &str,
) -> String {
    let mut name = String::with_capacity(base.len() + LONGEST_ADDED + info.len());
    name.push_str(base);
    // To a String nothing fails.
    let _ = write!(name, ",U={uid},V={mark}");
    if let Some(seconds) = saved {
        let _ = write!(name, ",D={seconds}");
    }
    if lacks_wire(base) {
        let _ = write!(name, ",W={wire}");
    }
    name.push_str(":2,");
    name.push_str(info);
    name
}

/// True for a name with a size that doesn't say what that is on the wire.
fn lacks_wire(base: &str) -> bool {
    let has = |key: &str| base.split(',').skip(1).any(|field| field.starts_with(key));
    !is_ours(base) && has("S=") && !has("W=")
}

/// When a name was made, in seconds since 1970, if it begins with that as names in Maildirs do, whichever program gave them.
pub(crate) fn stamped(base: &str) -> Option<i64> {
    let (seconds, _) = base.split_once('.')?;
    let is_time = (9..=10).contains(&seconds.len()) && seconds.bytes().all(|c| c.is_ascii_digit());
    seconds.parse().ok().filter(|_| is_time)
}

/// The name in `new/` of a finished message. The hash stands in it so that it outlives the index, goes wherever the file
/// goes and costs no write of its own; to other programs it is a field like any other.
/// A `wire` is said where it is not the size, or where that is no matter of line ends: of a binary message.
pub(crate) fn sealed(unique: &str, size: u64, wire: Option<u64>, hash: Option<ContentHash>) -> String {
    let wire = wire.map(|wire| format!(",W={wire}")).unwrap_or_default();
    let hash = hash.map(|hash| format!(",H={hash}")).unwrap_or_default();
    format!("{unique},S={size}{wire}{hash}")
}

/// A name that no other process on any machine gives: time, process, counter, randomness, host. Names sort in the order of time.
pub(crate) fn unique() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    static HOST: OnceLock<String> = OnceLock::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
    let host = HOST.get_or_init(host_name);
    format!(
        "{}P{}Q{counter}R{:08x}.{host}",
        stamp(now),
        std::process::id(),
        getrandom::u32().unwrap_or_default()
    )
}

/// The time since the epoch, with as many digits for the fraction as it can have.
fn stamp(time: Duration) -> String {
    format!("{}.M{:06}", time.as_secs(), time.subsec_micros())
}

/// True if the name came from [`unique`].
pub(crate) fn is_ours(base: &str) -> bool {
    let mut rest = base.split('.').nth(1).unwrap_or_default();
    for letter in ['M', 'P', 'Q'] {
        let Some(digits) = rest.strip_prefix(letter) else { return false };
        rest = digits.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    let random = rest.strip_prefix('R').unwrap_or_default();
    random.len() == 8 && random.bytes().all(|c| c.is_ascii_hexdigit())
}

/// The machine's name without what a file name or its grammar can't hold.
fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .take(64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_base_whatever_is_put_on() {
        let hash = "00112233445566778899aabbccddeeff";
        let text = format!("1.M2P3.host,S=10,W=12,H={hash},U=7,V=1766000000-00ff,D=1767000000:2,PSab");
        let name = FileName::parse(&text);
        assert_eq!(name.base, format!("1.M2P3.host,S=10,W=12,H={hash}"));
        assert_eq!(name.hash.map(|it| it.to_string()).as_deref(), Some(hash));
        assert_eq!(name.mark.map(|it| it.to_string()).as_deref(), Some("1766000000-00ff"));
        assert_eq!(name.saved, Some(1_767_000_000));
        assert_eq!((name.size, name.wire, name.uid.map(Uid::value)), (Some(10), Some(12), Some(7)));
        assert_eq!(name.system(), Flag::Seen as u8);
        assert_eq!(name.letters().collect::<String>(), "ab");
        assert_eq!(name.info_with(Flag::Flagged as u8, "b".chars()), "FPb");
    }

    #[test]
    fn the_size_on_the_wire_is_put_on_where_a_name_has_a_size_only() {
        let mark = "1766000000-00ff".parse().unwrap();
        for (base, has_wire) in [
            ("1.M2P3.host,S=10", true),
            ("1.M2P3.host,S=10,W=12", false),
            ("1.M2P3.host", false),
            ("1.M2P3Q0R01234567.host,S=10", false),
        ] {
            let text = in_cur(base, (7, mark), Some(5), 12, "S");
            assert_eq!(text.contains(",D=5,W=12:2,S"), has_wire, "{text}");
            let name = FileName::parse(&text);
            assert_eq!((name.base.as_ref(), name.saved, name.info), (base, Some(5), "S"));
            assert_eq!(name.wire.is_some(), base.contains("W=") || has_wire);
        }
    }

    #[test]
    fn names_of_others_parse() {
        for (text, base) in [
            ("plain", "plain"),
            ("a,U=x:2,S", "a"),
            ("a:1,xyz", "a"),
            ("a,U=0", "a"),
            ("a,V=3I4f", "a,V=3I4f"),
            ("a,D=1767000000", "a,D=1767000000"),
        ] {
            let name = FileName::parse(text);
            assert_eq!((name.base.as_ref(), name.uid), (base, None), "{text}");
        }
    }

    #[test]
    fn a_name_tells_when_it_was_made_if_it_begins_with_a_time() {
        assert!(stamped(&unique()).is_some_and(|seconds| seconds > 1_700_000_000));
        assert_eq!(stamped("1276528487.M364837P9451.kurkku,S=1355"), Some(1_276_528_487));
        for other in ["1.host", "12765284871.host", "+127652848.host", "1276528487", "mail.eml", ""] {
            assert_eq!(stamped(other), None, "{other}");
        }
    }

    #[test]
    fn names_sort_in_the_order_of_time() {
        let stamps = [9, 10, 99_999, 100_000, 999_999, 1_000_000].map(Duration::from_micros).map(stamp);
        assert!(stamps.is_sorted(), "{stamps:?}");
    }

    #[test]
    fn our_own_names_are_known() {
        assert!(is_ours(&sealed(&unique(), 1, Some(2), None)));
        for foreign in ["1276528487.M364837P9451.kurkku,S=1355", "1.M1P2V3I4.host", "1.M1P2Q3Rxyz.host", "x"]
        {
            assert!(!is_ours(foreign), "{foreign}");
        }
    }

    #[test]
    fn unique_names_differ() {
        assert_ne!(unique(), unique());
    }
}
