/// A language in which a server speaks to people. RFC 5255 §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// `en`
    English,
    /// `pt`
    Portuguese,
    /// `es`
    Spanish,
    /// `i-default`: English, in US-ASCII, for who has chosen nothing. RFC 2277 §4.5.
    #[default]
    Unchosen,
}

impl Language {
    /// Every language, as LANGUAGE lists them.
    pub const ALL: [Self; 4] = [Self::English, Self::Portuguese, Self::Spanish, Self::Unchosen];

    /// Its tag. RFC 5646.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Portuguese => "pt",
            Self::Spanish => "es",
            Self::Unchosen => "i-default",
        }
    }

    /// The language of a tag, in any case.
    #[must_use]
    pub fn tagged(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_known_by_its_tag() {
        for language in Language::ALL {
            assert_eq!(Language::tagged(&language.tag().to_ascii_uppercase()), Some(language));
        }
        assert_eq!(Language::tagged("pt-BR"), None);
    }
}
