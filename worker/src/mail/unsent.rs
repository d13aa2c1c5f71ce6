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
    /// The server does not let this worker mail this recipient, for example because it does not
    /// relay. The settings are to blame, not the recipient; other mails may be allowed.
    #[error("{0}")]
    NotAllowed(String),
    /// The mail server broke off before it had the whole mail, so it has not sent it. Other mails
    /// can be sent, unless it breaks off at every one.
    #[error("{0}")]
    BrokenOff(String),
    /// The mail server broke off after it had the whole mail, and may have sent it. Other mails can
    /// be sent, unless it breaks off at every one.
    #[error("{0}")]
    Unconfirmed(String),
    /// No mail can be sent at present, whoever the recipient is.
    #[error("{0}")]
    Unavailable(String),
}

impl Unsent {
    /// The metric label of this outcome.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::PutOff(_) => "put_off",
            Self::NotAllowed(_) => "not_allowed",
            Self::BrokenOff(_) => "broken_off",
            Self::Unconfirmed(_) => "unconfirmed",
            Self::Unavailable(_) => "unavailable",
        }
    }
}
