use std::fmt;
use std::str::FromStr;

/// An enhanced status code, `class.subject.detail`. RFC 3463 §2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status {
    /// 2, 4 or 5.
    pub class: u8,
    /// What it is about.
    pub subject: u16,
    /// What exactly.
    pub detail: u16,
}

/// A text is no enhanced status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an enhanced status code is three numbers, such as 5.1.1")]
pub struct StatusError;

impl Status {
    /// Shorthand for constants.
    #[must_use]
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self { class, subject, detail }
    }

    /// The same matter in another class: what was tried too long becomes permanent.
    #[must_use]
    pub const fn with_class(self, class: u8) -> Self {
        Self { class, ..self }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl FromStr for Status {
    type Err = StatusError;

    fn from_str(text: &str) -> Result<Self, StatusError> {
        let mut parts = text.split('.');
        let number = |part: &&str| matches!(part.len(), 1..=3) && part.bytes().all(|c| c.is_ascii_digit());
        let mut part = || parts.next().filter(number)?.parse::<u16>().ok();
        let (Some(class), Some(subject), Some(detail)) = (part(), part(), part()) else {
            return Err(StatusError);
        };
        if parts.next().is_some() || !matches!(class, 2 | 4 | 5) {
            return Err(StatusError);
        }
        Ok(Self::new(u8::try_from(class).map_err(|_| StatusError)?, subject, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_three_numbers() {
        assert_eq!("5.7.26".parse(), Ok(Status::new(5, 7, 26)));
        for wrong in ["", "5", "5.1", "3.1.1", "5.1.1.1", "5..1", "5.1.1000", "+5.1.1", "5.1.x"] {
            assert_eq!(wrong.parse::<Status>(), Err(StatusError), "{wrong}");
        }
        assert_eq!(Status::new(4, 4, 1).with_class(5).to_string(), "5.4.1");
    }
}
