//! The mails that an attempt leaves for the next one, and when it must end because of them. Pure.

use std::time::Duration;

use crate::domain::failure::{Failure, FailureType};
use crate::mail::Unsent;

/// How many mails in a row the mail server may not allow before the attempt ends.
const NOT_ALLOWED: u32 = 20;
/// Pause before the next attempt if the settings must change first.
const NOT_ALLOWED_PAUSE: Duration = Duration::from_mins(15);

/// The mails of an attempt that must be retried.
#[derive(Debug, Default)]
pub(super) struct Remaining {
    count: usize,
    /// Index of the first of them, where the next attempt begins.
    first: Option<usize>,
    /// Why the last of them was not sent.
    words: Option<String>,
    /// Whether the mail server broke off during the previous mail.
    broke_off: bool,
    /// How many mails in a row were not allowed.
    not_allowed: u32,
    /// How many of them may be sent later without a change of the settings.
    transient: usize,
}

impl Remaining {
    /// Index of the first recipient that needs further work, if the one at `index` comes next.
    pub(super) fn done(&self, index: usize) -> usize {
        self.first.unwrap_or(index)
    }

    /// Notes the outcome of a mail; `index` is its place among the recipients. An error says why
    /// the attempt must stop: the server takes no mails, or breaks off at every one, or allows
    /// none.
    pub(super) fn note(&mut self, index: usize, sent: Result<(), Unsent>) -> Result<(), Failure> {
        let broke_off_before = std::mem::take(&mut self.broke_off);
        let not_allowed_before = std::mem::take(&mut self.not_allowed);
        let words = match sent {
            Ok(()) | Err(Unsent::Refused(_)) => return Ok(()),
            Err(Unsent::Unavailable(words)) => return Err(failure(words)),
            Err(Unsent::NotAllowed(words)) => {
                self.not_allowed = not_allowed_before + 1;
                if self.not_allowed == NOT_ALLOWED {
                    return Err(failure(words).retry_after(Some(NOT_ALLOWED_PAUSE)));
                }
                words
            }
            Err(Unsent::BrokenOff(words) | Unsent::Unconfirmed(words)) => {
                if broke_off_before {
                    return Err(failure(words));
                }
                self.broke_off = true;
                self.transient += 1;
                words
            }
            Err(Unsent::PutOff(words)) => {
                self.transient += 1;
                words
            }
        };
        self.count += 1;
        self.first.get_or_insert(index);
        self.words = Some(words);
        Ok(())
    }

    /// The end of an attempt that tried all mails, of `all` recipients.
    pub(super) fn end(self, all: usize) -> Result<(), Failure> {
        let Some(words) = self.words else {
            return Ok(());
        };
        let pause = (self.transient == 0).then_some(NOT_ALLOWED_PAUSE);
        let words = format!("{} of {all} mails are left: {words}", self.count);
        Err(failure(words).retry_after(pause))
    }
}

fn failure(words: String) -> Failure {
    Failure::new(FailureType::MailUnavailable, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = Result<(), Unsent>;

    fn put_off() -> Outcome {
        Err(Unsent::PutOff("put off".to_owned()))
    }

    fn broken_off() -> Outcome {
        Err(Unsent::BrokenOff("broke off".to_owned()))
    }

    fn unconfirmed() -> Outcome {
        Err(Unsent::Unconfirmed("broke off".to_owned()))
    }

    fn not_allowed() -> Outcome {
        Err(Unsent::NotAllowed("does not relay".to_owned()))
    }

    fn unavailable() -> Outcome {
        Err(Unsent::Unavailable("away".to_owned()))
    }

    #[test]
    fn an_attempt_ends_when_the_mail_server_is_to_blame_and_not_a_recipient() {
        let refused = || Err(Unsent::Refused("refused".to_owned()));
        // The outcomes of the mails, after how many of them the attempt ends, and how many are left
        // by then.
        for (sent, ends_after, left) in [
            (vec![Ok(()), refused(), Ok(())], None, 0),
            (vec![put_off(), put_off(), put_off()], None, 3),
            (vec![broken_off(), Ok(()), broken_off(), Ok(())], None, 2),
            (vec![broken_off(), put_off(), broken_off()], None, 3),
            (vec![broken_off(), refused(), broken_off()], None, 2),
            (vec![Ok(()), broken_off(), broken_off()], Some(3), 1),
            (vec![unconfirmed(), broken_off()], Some(2), 1),
            (vec![unconfirmed(), Ok(()), unconfirmed()], None, 2),
            (vec![put_off(), unavailable()], Some(2), 1),
            (vec![broken_off(), unavailable()], Some(2), 1),
            (vec![not_allowed(), Ok(()), not_allowed()], None, 2),
            (vec![not_allowed(); 25], Some(20), 19),
        ] {
            let shown = format!("{sent:?}");
            let first = sent
                .iter()
                .position(|sent| !matches!(sent, Ok(()) | Err(Unsent::Refused(_))));
            let mut remaining = Remaining::default();
            let ended = sent
                .into_iter()
                .enumerate()
                .position(|(index, sent)| remaining.note(index, sent).is_err());
            assert_eq!(ended.map(|index| index + 1), ends_after, "{shown}");
            assert_eq!((remaining.count, remaining.first), (left, first), "{shown}");
            assert_eq!(remaining.words.is_some(), left > 0, "{shown}");
        }
    }

    #[test]
    fn an_attempt_pauses_longer_if_only_the_settings_can_help() {
        for (sent, pause) in [
            (vec![not_allowed(), Ok(())], Some(NOT_ALLOWED_PAUSE)),
            (vec![not_allowed(), put_off()], None),
            (vec![unconfirmed()], None),
        ] {
            let mut remaining = Remaining::default();
            for (index, sent) in sent.into_iter().enumerate() {
                remaining.note(index, sent).unwrap();
            }
            assert_eq!(remaining.end(2).unwrap_err().retry_after, pause);
        }
    }
}
