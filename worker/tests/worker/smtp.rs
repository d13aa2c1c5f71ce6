//! The outside party of the mails: an SMTP server that keeps what it gets and refuses what it is
//! told to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// One mail as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) message_id: String,
    pub(crate) subject: String,
    pub(crate) body: String,
}

/// How it behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Behaviour {
    /// Refuse these recipients with 550.
    pub(crate) refuse: Vec<String>,
    /// Break the connection this many times when this recipient comes up.
    pub(crate) break_at: BTreeMap<String, u32>,
    /// Wait this long before accepting a mail.
    pub(crate) delay: Duration,
}

#[derive(Clone)]
pub(crate) struct SmtpServer {
    pub(crate) address: SocketAddr,
    mails: Arc<Mutex<Vec<Mail>>>,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl SmtpServer {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        Self::start_with(behaviour, None).await
    }

    /// A server that speaks TLS from the first byte (`smtps://`).
    pub(crate) async fn start_tls(config: Arc<ServerConfig>) -> Self {
        let acceptor = TlsAcceptor::from(config);
        Self::start_with(Behaviour::default(), Some(acceptor)).await
    }

    async fn start_with(behaviour: Behaviour, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            mails: Arc::default(),
            behaviour: Arc::new(Mutex::new(behaviour)),
        };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, tls) = (accepting.clone(), tls.clone());
                tokio::spawn(async move {
                    // A client that goes away in the middle is part of the tests.
                    let _gone = match tls {
                        None => server.talk(stream).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => server.talk(stream).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        server
    }

    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }

    /// How often each recipient was mailed.
    pub(crate) fn counts(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for mail in self.mails() {
            *counts.entry(mail.to).or_default() += 1;
        }
        counts
    }

    async fn talk(&self, stream: impl AsyncRead + AsyncWrite) -> std::io::Result<()> {
        let (read, mut write) = tokio::io::split(stream);
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 test ESMTP\r\n").await?;
        let mut to = String::new();
        while let Some(line) = lines.next_line().await? {
            let verb = line
                .split([' ', ':'])
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase();
            let answer = match verb.as_str() {
                "EHLO" => "250-test\r\n250 8BITMIME",
                "RCPT" => {
                    to = address_in(&line);
                    if self.breaks(&to) {
                        return Ok(());
                    }
                    if self.behaviour.lock().unwrap().refuse.contains(&to) {
                        "550 no such mailbox"
                    } else {
                        "250 ok"
                    }
                }
                "DATA" => {
                    write.write_all(b"354 go on\r\n").await?;
                    let mut text = String::new();
                    while let Some(line) = lines.next_line().await? {
                        if line == "." {
                            break;
                        }
                        text.push_str(line.strip_prefix('.').unwrap_or(&line));
                        text.push('\n');
                    }
                    let delay = self.behaviour.lock().unwrap().delay;
                    tokio::time::sleep(delay).await;
                    self.mails.lock().unwrap().push(mail_of(&to, &text));
                    "250 kept"
                }
                "QUIT" => {
                    write.write_all(b"221 bye\r\n").await?;
                    return Ok(());
                }
                "HELO" | "MAIL" | "RSET" | "NOOP" => "250 ok",
                _ => "502 unknown",
            };
            write.write_all(format!("{answer}\r\n").as_bytes()).await?;
        }
        Ok(())
    }

    fn breaks(&self, recipient: &str) -> bool {
        match self.behaviour.lock().unwrap().break_at.get_mut(recipient) {
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }
}

fn address_in(line: &str) -> String {
    let inner = line
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    inner
        .map(|(address, _)| address.to_owned())
        .unwrap_or_default()
}

fn mail_of(to: &str, text: &str) -> Mail {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let header = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim_start_matches(':').trim().to_owned())
            .unwrap_or_default()
    };
    Mail {
        to: to.to_owned(),
        message_id: header("Message-ID"),
        subject: header("Subject"),
        body: body.trim_end().to_owned(),
    }
}
