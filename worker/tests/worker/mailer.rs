//! One mail: which answers of a mail server concern the recipient, and which the server itself.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use order_worker::mail::{Mailer, Unsent};
use taskqueue_worker::testing::free_port;
use tokio::net::TcpListener;

use crate::smtp::{Behavior, SmtpServer};
use crate::support::init;

const TO: &str = "a@example.com";

fn answering(command: &str, answer: &str) -> Behavior {
    Behavior {
        answers: BTreeMap::from([(command.to_owned(), answer.to_owned())]),
        ..Behavior::default()
    }
}

fn mailer(url: &str, from: &str) -> Mailer {
    init();
    Mailer::new(url, from.parse().unwrap()).unwrap()
}

async fn send(mailer: &Mailer, to: &str) -> Result<(), Unsent> {
    let handed_over = AtomicBool::new(false);
    mailer
        .send("<1@test>", to, "subject", "body", &handed_over)
        .await
}

/// Why a mail was not sent to a server with this behavior. `SERVER` in `url` is replaced with the
/// server's address.
async fn unsent(behavior: Behavior, url: &str) -> Unsent {
    let server = SmtpServer::start(behavior).await;
    let url = url.replace("SERVER", &server.address.to_string());
    let unsent = send(&mailer(&url, "shop@example.com"), TO).await;
    assert_eq!(server.mails(), vec![]);
    unsent.unwrap_err()
}

#[tokio::test]
async fn a_problem_of_the_server_or_the_settings_refuses_no_recipient() {
    let login = Behavior {
        extensions: vec!["AUTH PLAIN".to_owned()],
        ..answering("AUTH", "535 no")
    };
    let table = [
        (
            answering("CONNECT", "554 busy"),
            "smtp://SERVER",
            "answered 554 to the greeting",
        ),
        (
            answering("CONNECT", "421 busy"),
            "smtp://SERVER",
            "answered 421 to the greeting",
        ),
        (
            answering("EHLO", "550 no"),
            "smtp://SERVER",
            "answered 550 to the greeting",
        ),
        (
            login,
            "smtp://me:wrong@SERVER?tls=none",
            "answered 535 to the login",
        ),
        (
            Behavior::default(),
            "smtp://me:right@SERVER?tls=none",
            "cannot be used: No compatible authentication mechanism was found",
        ),
        (
            Behavior::default(),
            "smtp://SERVER?tls=required",
            "cannot be used: STARTTLS is not supported on this server",
        ),
    ];
    for (behavior, url, expected) in table {
        let expected = format!("the mail server of SMTP_URL {expected}");
        assert_eq!(unsent(behavior, url).await, Unsent::Unavailable(expected));
    }
    let nobody = format!("smtp://127.0.0.1:{}", free_port());
    let away = send(&mailer(&nobody, "shop@example.com"), TO).await;
    let unreachable =
        |words: &str| words.starts_with("the mail server of SMTP_URL cannot be reached");
    assert!(
        matches!(&away, Err(Unsent::Unavailable(words)) if unreachable(words)),
        "{away:?}"
    );
}

#[tokio::test]
async fn a_sender_that_is_not_allowed_refuses_no_recipient() {
    let (wrong, login) = (
        "the mail server answered 550 to the sender: MAIL_FROM or the login in SMTP_URL may be \
         wrong",
        "the mail server answered 530: it rejected the login in SMTP_URL, or requires one",
    );
    let table = [
        (answering("MAIL", "550 not you"), wrong),
        (answering("MAIL", "530 who are you"), login),
        (answering("RCPT", "530 who are you"), login),
        (
            answering("MAIL", "451 later"),
            "the mail server answered 451 to the sender",
        ),
        (
            answering("RCPT", "421 bye"),
            "the mail server is shutting down (421)",
        ),
    ];
    for (behavior, expected) in table {
        assert_eq!(
            unsent(behavior, "smtp://SERVER").await,
            Unsent::Unavailable(expected.to_owned())
        );
    }
}

#[tokio::test]
async fn an_answer_to_the_recipient_or_the_mail_concerns_only_the_recipient() {
    let refused =
        |code: u16| Unsent::Refused(format!("the mail server refused the mail with {code}"));
    let put_off = |code: u16| Unsent::PutOff(format!("the mail server put it off with {code}"));
    let table = [
        (answering("RCPT", "550 nobody"), refused(550)),
        (answering("DATA", "554 no"), refused(554)),
        (answering("END", "554 spam"), refused(554)),
        (answering("RCPT", "450 later"), put_off(450)),
        (answering("END", "452 full"), put_off(452)),
    ];
    for (behavior, expected) in table {
        assert_eq!(unsent(behavior, "smtp://SERVER").await, expected);
    }
}

/// A server that never answers this command.
fn silent_at(command: &str) -> Behavior {
    Behavior {
        silent_at: vec![command.to_owned()],
        ..Behavior::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_mail_server_causes_a_timeout() {
    let silent = "the mail server did not answer in time".to_owned();
    for command in ["MAIL", "RCPT", "DATA"] {
        let unsent = unsent(silent_at(command), "smtp://SERVER").await;
        assert_eq!(unsent, Unsent::BrokenOff(silent.clone()), "{command}");
    }
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", mute.local_addr().unwrap());
    let at_once = send(&mailer(&url, "shop@example.com"), TO).await;
    assert_eq!(at_once, Err(Unsent::Unavailable(silent)));
}

/// RFC 5321, section 4.5.3.2.6: a client that waits less than ten minutes sends copies.
#[tokio::test(start_paused = true)]
async fn a_mail_server_that_has_the_mail_is_given_ten_minutes() {
    let slow = Behavior {
        delay: Duration::from_mins(9),
        ..Behavior::default()
    };
    let server = SmtpServer::start(slow).await;
    let url = format!("smtp://{}", server.address);
    send(&mailer(&url, "shop@example.com"), TO).await.unwrap();
    assert_eq!(server.mails().len(), 1);

    let words = |what: &str| format!("the mail server {what} after it had the whole mail");
    let silent = unsent(silent_at("END"), "smtp://SERVER").await;
    assert_eq!(silent, Unsent::Unconfirmed(words("did not answer in time")));
    server.behave(Behavior {
        take_and_close: BTreeMap::from([(TO.to_owned(), 1)]),
        ..Behavior::default()
    });
    let closed = send(&mailer(&url, "shop@example.com"), TO).await;
    assert_eq!(closed, Err(Unsent::Unconfirmed(words("broke off"))));
}

#[tokio::test(start_paused = true)]
async fn kept_connections_that_died_in_silence_cost_seconds_once() {
    let server = SmtpServer::start(Behavior {
        delay: Duration::from_secs(1),
        ..Behavior::default()
    })
    .await;
    let mailer = mailer(&format!("smtp://{}", server.address), "shop@example.com");
    let sent = tokio::join!(send(&mailer, TO), send(&mailer, TO), send(&mailer, TO));
    assert_eq!(sent, (Ok(()), Ok(()), Ok(())));
    assert_eq!(server.connections(), 3);
    server.behave(Behavior {
        deaf: 3,
        ..Behavior::default()
    });
    let started = tokio::time::Instant::now();
    assert_eq!(send(&mailer, TO).await, Ok(()));
    let took = started.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(server.connections(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_was_idle_for_long_is_not_used_again() {
    let server = SmtpServer::start(Behavior::default()).await;
    let mailer = mailer(&format!("smtp://{}", server.address), "shop@example.com");
    for (idle, connections) in [(0, 1), (59, 1), (61, 2)] {
        tokio::time::advance(Duration::from_secs(idle)).await;
        send(&mailer, TO).await.unwrap();
        assert_eq!(server.connections(), connections, "{idle}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_relay_refuses_nobody_for_good() {
    let words = "the mail server of SMTP_URL does not let this worker mail a recipient, because it \
                 does not relay or wants a login";
    for answer in [
        "554 5.7.1 <a@example.com>: Relay access denied",
        "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
        "550 relay not permitted",
    ] {
        let expected = format!("{words}: {}", &answer[..3]);
        let unsent = unsent(answering("RCPT", answer), "smtp://SERVER").await;
        assert_eq!(unsent, Unsent::NotAllowed(expected));
    }
    // A mail that looks like spam gets the same code, after its text.
    let spam = unsent(answering("END", "554 5.7.1 spam"), "smtp://SERVER").await;
    let refused = "the mail server refused the mail with 554".to_owned();
    assert_eq!(spam, Unsent::Refused(refused));
}

#[tokio::test]
async fn an_address_in_an_unsupported_script_is_refused_unless_it_is_the_senders() {
    let server = SmtpServer::start(Behavior::default()).await;
    let url = format!("smtp://{}", server.address);
    let ours = mailer(&url, "shop@example.com");
    let refused = "the mail server does not support SMTPUTF8, which this address needs";
    assert_eq!(
        send(&ours, "grüße@example.com").await,
        Err(Unsent::Refused(refused.to_owned()))
    );
    let unavailable = "the mail server does not support SMTPUTF8, which MAIL_FROM needs";
    assert_eq!(
        send(&mailer(&url, "grüße@example.com"), TO).await,
        Err(Unsent::Unavailable(unavailable.to_owned()))
    );
    server.behave(Behavior {
        extensions: vec!["SMTPUTF8".to_owned()],
        ..Behavior::default()
    });
    // The server's extensions are queried once per connection.
    let again = mailer(&url, "shop@example.com");
    send(&again, "grüße@example.com").await.unwrap();
    assert_eq!(server.mails()[0].to, "grüße@example.com");
}

#[tokio::test]
async fn a_connection_is_kept_after_a_refusal_and_replaced_when_it_breaks() {
    let server = SmtpServer::start(Behavior {
        refuse: vec!["gone@example.com".to_owned()],
        break_at: BTreeMap::from([("break@example.com".to_owned(), 1)]),
        ..Behavior::default()
    })
    .await;
    let mailer = mailer(&format!("smtp://{}", server.address), "shop@example.com");
    let refused = send(&mailer, "gone@example.com").await;
    assert!(matches!(refused, Err(Unsent::Refused(_))), "{refused:?}");
    send(&mailer, TO).await.unwrap();
    assert_eq!(server.connections(), 1);
    let broken = send(&mailer, "break@example.com").await;
    let expected = Unsent::BrokenOff("the mail server broke off".to_owned());
    assert_eq!(broken, Err(expected));
    send(&mailer, "break@example.com").await.unwrap();
    assert_eq!(server.connections(), 2);
}
