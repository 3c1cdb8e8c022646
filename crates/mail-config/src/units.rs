//! Sizes and durations as people write them.

use std::time::Duration;

/// `52428800`, `50 MiB`, `50MB`: octets. `K`, `M`, `G` and `T` count in powers of 1024 with an `i`, of 1000 without.
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// A size as people read it, rounded to a tenth of its unit.
#[must_use]
pub fn show_size(octets: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let Some((bits, name)) = units.into_iter().find(|(bits, _)| octets >> bits > 0) else {
        return format!("{octets} B");
    };
    let tenths = (u128::from(octets) * 10 + (1 << (bits - 1))) >> bits;
    match tenths % 10 {
        0 => format!("{} {name}", tenths / 10),
        tenth => format!("{}.{tenth} {name}", tenths / 10),
    }
}

/// `500ms`, `30s`, `5m`, `1h`, `5d`.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// A time as [`duration`] reads it.
pub(crate) fn show(time: Duration) -> String {
    let seconds = time.as_secs();
    let whole = [(86_400, "d"), (3600, "h"), (60, "m")]
        .into_iter()
        .find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{seconds}s"), |(unit, name)| format!("{}{name}", seconds / unit))
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_are_read_as_people_write_them() {
        assert_eq!(size("50 MiB"), Some(50 << 20));
        assert_eq!(size("1GB"), Some(1_000_000_000));
        assert_eq!(size("1024"), Some(1024));
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(duration("250 ms"), Some(Duration::from_millis(250)));
        for text in ["", "MiB", "5 parsecs", "-1 MiB", "1.5 h"] {
            assert_eq!((size(text), duration(text)), (None, None), "{text}");
        }
        assert_eq!(duration("5"), None, "a time needs its unit");
        for (octets, shown) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1600, "1.6 KiB"), (5 << 30, "5 GiB")]
        {
            assert_eq!(show_size(octets), shown);
        }
        assert!(show_size(u64::MAX).ends_with(" TiB"));
        for text in ["1s", "90s", "30m", "1h", "5d"] {
            assert_eq!(duration(text).map(show).as_deref(), Some(text));
        }
    }
}
