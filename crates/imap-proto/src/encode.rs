//! How values are written in responses.

use mail_types::InternalDate;

/// A string in quotes, or as a literal where quotes can't hold it: CR, LF, NUL, or octets beyond ASCII. RFC 3501 §4.3.
#[must_use]
pub fn string(octets: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(octets) {
        Ok(text) if text.is_ascii() && !text.contains(['\r', '\n', '\0']) && text.len() <= 1024 => {
            quoted(text).into_bytes()
        }
        _ => {
            let mut literal = format!("{{{}}}\r\n", octets.len()).into_bytes();
            literal.extend_from_slice(octets);
            literal
        }
    }
}

/// `nstring = string / nil`
#[must_use]
pub fn nstring(octets: Option<&[u8]>) -> Vec<u8> {
    octets.map_or_else(|| b"NIL".to_vec(), string)
}

/// Text in quotes; it must hold no CR, LF or NUL.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// An atom where the text is one, else in quotes.
#[must_use]
pub fn astring(text: &str) -> String {
    let is_atom = !text.is_empty() && text.bytes().all(crate::grammar::is_astring_char);
    if is_atom { text.to_owned() } else { quoted(text) }
}

/// `date-time`, in quotes.
#[must_use]
pub fn internal_date(date: InternalDate) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let east = date.offset_minutes();
    let local = date.unix_seconds().saturating_add(i64::from(east) * 60);
    let time = jiff::Timestamp::from_second(local).unwrap_or_default();
    let shown = jiff::tz::TimeZone::UTC.to_datetime(time);
    let month = MONTHS.get(usize::from(shown.month().unsigned_abs()).saturating_sub(1)).unwrap_or(&"Jan");
    let (sign, zone) = (if east < 0 { '-' } else { '+' }, east.unsigned_abs());
    format!(
        "\"{:02}-{month}-{:04} {:02}:{:02}:{:02} {sign}{:02}{:02}\"",
        shown.day(),
        shown.year(),
        shown.hour(),
        shown.minute(),
        shown.second(),
        zone / 60,
        zone % 60
    )
}
