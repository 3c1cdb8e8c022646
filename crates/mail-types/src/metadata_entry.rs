use std::fmt;
use std::str::FromStr;

/// Octets of the longest name.
const LONGEST: usize = 512;

/// Who sees an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataScope {
    /// `/private`: the user who set it.
    Private,
    /// `/shared`: all who may see what it belongs to.
    Shared,
}

/// The name of an annotation, `/private/comment` for one, in lower case. RFC 5464 §3.2.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataEntry(Box<str>);

/// No name of an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an annotation's name begins with /private or /shared, and is ASCII without *, % and empty parts")]
pub struct MetadataEntryError;

impl MetadataEntry {
    /// As it is written in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Who sees it.
    #[must_use]
    pub fn scope(&self) -> MetadataScope {
        if self.0.starts_with("/private") { MetadataScope::Private } else { MetadataScope::Shared }
    }

    /// True if it may have a value: the scope alone has none, nor has a vendor's token alone (RFC 5464 §3.2).
    #[must_use]
    pub fn may_have_value(&self) -> bool {
        let mut parts = self.0.split('/').skip(2);
        match parts.next() {
            Some("vendor") => parts.count() >= 2,
            first => first.is_some(),
        }
    }

    /// How many levels it lies below `above`; `None` if it is neither that nor below it.
    #[must_use]
    pub fn levels_below(&self, above: &Self) -> Option<usize> {
        let behind = self.0.strip_prefix(&*above.0)?;
        (behind.is_empty() || behind.starts_with('/')).then(|| behind.matches('/').count())
    }
}

impl FromStr for MetadataEntry {
    type Err = MetadataEntryError;

    fn from_str(text: &str) -> Result<Self, MetadataEntryError> {
        let name = text.to_ascii_lowercase();
        let is_scope = |part: &str| matches!(part, "private" | "shared");
        let mut parts = name.strip_prefix('/').ok_or(MetadataEntryError)?.split('/');
        let is_valid = name.len() <= LONGEST
            && name.bytes().all(|c| matches!(c, b' '..=b'~') && !matches!(c, b'*' | b'%'))
            && parts.next().is_some_and(is_scope)
            && parts.all(|part| !part.is_empty());
        if is_valid { Ok(Self(name.into())) } else { Err(MetadataEntryError) }
    }
}

impl fmt::Display for MetadataEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> MetadataEntry {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_compared_without_regard_to_case() {
        assert_eq!(entry("/Private/Comment"), entry("/private/comment"));
        assert_eq!(entry("/SHARED/comment").scope(), MetadataScope::Shared);
        assert_eq!(entry("/private").scope(), MetadataScope::Private);
    }

    #[test]
    fn what_the_standard_forbids_is_no_name() {
        for text in [
            "",
            "/",
            "comment",
            "/comment",
            "/privates/comment",
            "private/comment",
            "/private/",
            "/private//comment",
            "/private/comment/",
            "/private/com*ment",
            "/private/com%ment",
            "/private/com\tment",
            "/private/cömment",
            &format!("/private/{}", "x".repeat(LONGEST)),
        ] {
            assert_eq!(text.parse::<MetadataEntry>(), Err(MetadataEntryError), "{text:?}");
        }
    }

    #[test]
    fn a_vendors_entries_have_four_parts() {
        for (text, may) in [
            ("/shared", false),
            ("/shared/comment", true),
            ("/shared/vendor", false),
            ("/shared/vendor/acme", false),
            ("/shared/vendor/acme/color", true),
            ("/private/vendors/x", true),
        ] {
            assert_eq!(entry(text).may_have_value(), may, "{text}");
        }
    }

    #[test]
    fn levels_are_counted_in_whole_parts() {
        let above = entry("/private/a");
        for (text, levels) in [
            ("/private/a", Some(0)),
            ("/private/a/b", Some(1)),
            ("/private/a/b/c", Some(2)),
            ("/private/ab", None),
            ("/private", None),
            ("/shared/a/b", None),
        ] {
            assert_eq!(entry(text).levels_below(&above), levels, "{text}");
        }
    }
}
