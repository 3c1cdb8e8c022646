//! Texts in the languages that a server speaks.

use std::fmt;

use crate::Language;

/// What is said to people, in each language.
pub trait Localised: Copy {
    /// Each text as it is written: in English, in Portuguese, in Spanish.
    const SOURCES: &'static [[&'static str; 3]] = &[];

    /// Writes it in one language.
    ///
    /// # Errors
    /// Those of the formatter.
    fn write(self, language: Language, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// As it reads in one language.
    fn within(self, language: Language) -> InLanguage<Self> {
        InLanguage { text: self, language }
    }
}

/// A text in one language.
#[derive(Debug, Clone, Copy)]
pub struct InLanguage<T> {
    text: T,
    language: Language,
}

impl<T: Localised> fmt::Display for InLanguage<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.write(self.language, f)
    }
}

macro_rules! same_in_every_language {
    ($($type:ty)+) => {
        $(impl Localised for $type {
            fn write(self, _: Language, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self, f)
            }
        })+
    };
}

same_in_every_language!(char u64 usize &str);

/// Defines an enum of texts, each in English, Portuguese and Spanish; none can be left out. A text holds its variant's fields by
/// their names in braces, which must stand in all three.
#[macro_export]
macro_rules! texts {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $name:ident $(<$life:lifetime>)? {
            $($(#[$about:meta])* $variant:ident $({ $($(#[$what:meta])* $field:ident: $type:ty),+ })?:
                $english:literal, $portuguese:literal, $spanish:literal;)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visibility enum $name $(<$life>)? {
            $(#[doc = $english] $(#[$about])* $variant $({ $($(#[$what])* $field: $type),+ })?,)+
        }

        impl $(<$life>)? $crate::Localised for $name $(<$life>)? {
            const SOURCES: &'static [[&'static str; 3]] = &[$([$english, $portuguese, $spanish]),+];

            fn write(self, language: $crate::Language, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                match self {
                    $(Self::$variant $({ $($field),+ })? => {
                        // Each language has the fields for itself, so that one that it leaves out is unused.
                        match language {
                            $crate::Language::English | $crate::Language::Unchosen => {
                                $($(let $field = $crate::Localised::within($field, language);)+)?
                                ::std::write!(f, $english)
                            }
                            $crate::Language::Portuguese => {
                                $($(let $field = $crate::Localised::within($field, language);)+)?
                                ::std::write!(f, $portuguese)
                            }
                            $crate::Language::Spanish => {
                                $($(let $field = $crate::Localised::within($field, language);)+)?
                                ::std::write!(f, $spanish)
                            }
                        }
                    })+
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    texts! {
        enum Greeting<'a> {
            Hello {
                name: &'a str,
                times: u64
            }: "{name}, hello {times} times", "{name}, olá {times} vezes", "{name}, hola {times} veces";
        }
    }

    #[test]
    fn a_text_is_written_in_the_language_that_is_asked_for() {
        let greeting = Greeting::Hello { name: "Ana", times: 2 };
        for (language, expected) in [
            (Language::English, "Ana, hello 2 times"),
            (Language::Portuguese, "Ana, olá 2 vezes"),
            (Language::Spanish, "Ana, hola 2 veces"),
            (Language::Unchosen, "Ana, hello 2 times"),
        ] {
            assert_eq!(greeting.within(language).to_string(), expected);
        }
    }
}
