/// Why a message did not get where it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// This one can't be had: it is named, and the others go on.
    #[error("{0}")]
    Message(String),
    /// Nothing can go on, the store or the target being at fault.
    #[error(transparent)]
    Fatal(#[from] anyhow::Error),
}

impl Trouble {
    pub(crate) fn fatal(error: impl Into<anyhow::Error>) -> Self {
        Self::Fatal(error.into())
    }

    /// The source can't be read.
    pub(crate) fn unreadable(error: impl std::fmt::Display) -> Self {
        Self::Message(error.to_string())
    }
}
