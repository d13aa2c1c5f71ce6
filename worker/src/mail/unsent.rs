//! What a failed mail means for its recipient and for the other mails. Pure.

/// Why a mail was not sent, in one sentence. The variants say what that means for the other mails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// The server refused this recipient, or this mail, permanently.
    #[error("{0}")]
    Refused(String),
    /// The server put this recipient off to a later time; other mails can be sent.
    #[error("{0}")]
    PutOff(String),
    /// The mail server broke off in the middle of this mail and may have sent it. Other mails can
    /// be sent, unless it breaks off at every one.
    #[error("{0}")]
    BrokenOff(String),
    /// No mail can be sent at present, whoever the recipient is.
    #[error("{0}")]
    Unavailable(String),
}
