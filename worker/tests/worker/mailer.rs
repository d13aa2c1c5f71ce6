//! One mail: which answers of a mail server concern the recipient, and which the server itself.

use std::collections::BTreeMap;
use std::time::Duration;

use order_worker::mail::{Mailer, Unsent};
use taskqueue_worker::testing::free_port;
use tokio::net::TcpListener;

use crate::smtp::{Behaviour, SmtpServer};
use crate::support::init;

const TO: &str = "a@example.com";

fn answering(command: &str, answer: &str) -> Behaviour {
    Behaviour {
        answers: BTreeMap::from([(command.to_owned(), answer.to_owned())]),
        ..Behaviour::default()
    }
}

fn mailer(url: &str, from: &str) -> Mailer {
    init();
    Mailer::new(url, from.parse().unwrap()).unwrap()
}

async fn send(mailer: &Mailer, to: &str) -> Result<(), Unsent> {
    mailer.send("<1@test>", to, "subject", "body").await
}

/// Why a mail was not sent to a server with this behaviour. `SERVER` in `url` is replaced with the
/// server's address.
async fn unsent(behaviour: Behaviour, url: &str) -> Unsent {
    let server = SmtpServer::start(behaviour).await;
    let url = url.replace("SERVER", &server.address.to_string());
    let unsent = send(&mailer(&url, "shop@example.com"), TO).await;
    assert_eq!(server.mails(), vec![]);
    unsent.unwrap_err()
}

#[tokio::test]
async fn trouble_with_the_server_or_the_settings_refuses_nobody() {
    let login = Behaviour {
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
        (login, "smtp://me:wrong@SERVER", "answered 535 to the login"),
        (
            Behaviour::default(),
            "smtp://me:right@SERVER",
            "cannot be used: No compatible authentication mechanism was found",
        ),
        (
            Behaviour::default(),
            "smtp://SERVER?tls=required",
            "cannot be used: STARTTLS is not supported on this server",
        ),
    ];
    for (behaviour, url, expected) in table {
        let expected = format!("the mail server of SMTP_URL {expected}");
        assert_eq!(unsent(behaviour, url).await, Unsent::Unavailable(expected));
    }
    let nobody = format!("smtp://127.0.0.1:{}", free_port());
    let away = send(&mailer(&nobody, "shop@example.com"), TO).await;
    assert!(
        matches!(&away, Err(Unsent::Unavailable(words)) if words.starts_with("the mail server of SMTP_URL cannot be reached")),
        "{away:?}"
    );
}

#[tokio::test]
async fn a_sender_that_is_not_allowed_refuses_nobody() {
    let (wrong, login) = (
        "the mail server answered 550 to the sender: MAIL_FROM or the login in SMTP_URL may be wrong",
        "the mail server wants another login than SMTP_URL has: 530",
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
            "the mail server goes away: 421",
        ),
    ];
    for (behaviour, expected) in table {
        assert_eq!(
            unsent(behaviour, "smtp://SERVER").await,
            Unsent::Unavailable(expected.to_owned())
        );
    }
}

#[tokio::test]
async fn an_answer_to_the_recipient_or_the_mail_is_about_the_recipient() {
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
    for (behaviour, expected) in table {
        assert_eq!(unsent(behaviour, "smtp://SERVER").await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_mail_server_that_falls_silent_is_not_waited_for() {
    let silent = "the mail server did not answer in time".to_owned();
    // After the server received a mail, which it may still send.
    let slow = Behaviour {
        delay: Duration::from_hours(1),
        ..Behaviour::default()
    };
    let over_a_mail = unsent(slow, "smtp://SERVER").await;
    assert_eq!(over_a_mail, Unsent::BrokenOff(silent.clone()));
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", mute.local_addr().unwrap());
    let at_once = send(&mailer(&url, "shop@example.com"), TO).await;
    assert_eq!(at_once, Err(Unsent::Unavailable(silent)));
}

#[tokio::test]
async fn an_address_in_a_script_that_the_server_cannot_take_is_refused_unless_it_is_the_senders() {
    let server = SmtpServer::start(Behaviour::default()).await;
    let url = format!("smtp://{}", server.address);
    let ours = mailer(&url, "shop@example.com");
    let refused = "the mail server cannot take the script of this address";
    assert_eq!(
        send(&ours, "grüße@example.com").await,
        Err(Unsent::Refused(refused.to_owned()))
    );
    let unavailable = "the mail server cannot take the script of MAIL_FROM";
    assert_eq!(
        send(&mailer(&url, "grüße@example.com"), TO).await,
        Err(Unsent::Unavailable(unavailable.to_owned()))
    );
    server.behave(Behaviour {
        extensions: vec!["SMTPUTF8".to_owned()],
        ..Behaviour::default()
    });
    // The server's extensions are queried once per connection.
    let again = mailer(&url, "shop@example.com");
    send(&again, "grüße@example.com").await.unwrap();
    assert_eq!(server.mails()[0].to, "grüße@example.com");
}

#[tokio::test]
async fn a_connection_is_kept_after_a_refusal_and_replaced_when_it_broke() {
    let server = SmtpServer::start(Behaviour {
        refuse: vec!["gone@example.com".to_owned()],
        break_at: BTreeMap::from([("break@example.com".to_owned(), 1)]),
        ..Behaviour::default()
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
