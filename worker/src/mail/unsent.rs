//! What an unsent mail means for its recipient and for the others. Pure.

/// Why a mail was not sent, in one sentence, by what it means for the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// This recipient, or this mail, is refused for good.
    #[error("{0}")]
    Refused(String),
    /// This recipient is put off to a later time; others can be mailed.
    #[error("{0}")]
    PutOff(String),
    /// The mail server broke off over this mail, and may have sent it. Others can be mailed, unless it
    /// breaks off over every one.
    #[error("{0}")]
    BrokenOff(String),
    /// No mail goes out at present, whoever it is for.
    #[error("{0}")]
    Unavailable(String),
}
