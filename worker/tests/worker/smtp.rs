//! An SMTP server for the tests that keeps its mails and fails as configured.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// One received mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) message_id: String,
    pub(crate) subject: String,
    pub(crate) body: String,
}

/// The server's behavior.
#[derive(Clone, Debug, Default)]
pub(crate) struct Behavior {
    /// Refuse these recipients with 550.
    pub(crate) refuse: Vec<String>,
    /// Put these recipients off this many times, with 450.
    pub(crate) put_off: BTreeMap<String, u32>,
    /// Break the connection this many times at this recipient.
    pub(crate) break_at: BTreeMap<String, u32>,
    /// Take the mails to these recipients this many times, and close the connection instead of an
    /// answer.
    pub(crate) take_and_close: BTreeMap<String, u32>,
    /// Never answer these commands.
    pub(crate) silent_at: Vec<String>,
    /// Of the connections so far, this many fall silent, as behind a router that forgot them.
    pub(crate) deaf: u32,
    /// Wait this long before accepting a mail.
    pub(crate) delay: Duration,
    /// Give these answers to these commands; also to `CONNECT` (the greeting) and `END` (of a
    /// mail).
    pub(crate) answers: BTreeMap<String, String>,
    /// Additional extensions to announce.
    pub(crate) extensions: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct SmtpServer {
    pub(crate) address: SocketAddr,
    mails: Arc<Mutex<Vec<Mail>>>,
    behavior: Arc<Mutex<Behavior>>,
    connections: Arc<Mutex<u32>>,
}

impl SmtpServer {
    pub(crate) async fn start(behavior: Behavior) -> Self {
        Self::start_with(behavior, None).await
    }

    /// Starts a server that speaks TLS from the first byte (`smtps://`).
    pub(crate) async fn start_tls(config: Arc<ServerConfig>) -> Self {
        let acceptor = TlsAcceptor::from(config);
        Self::start_with(Behavior::default(), Some(acceptor)).await
    }

    async fn start_with(behavior: Behavior, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            mails: Arc::default(),
            behavior: Arc::new(Mutex::new(behavior)),
            connections: Arc::default(),
        };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut connections = accepting.connections.lock().unwrap();
                    *connections += 1;
                    *connections
                };
                let (server, tls) = (accepting.clone(), tls.clone());
                tokio::spawn(async move {
                    // The tests include clients that disconnect in the middle.
                    let _gone = match tls {
                        None => server.talk(stream, number).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => server.talk(stream, number).await,
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

    /// The number of connections so far.
    pub(crate) fn connections(&self) -> u32 {
        *self.connections.lock().unwrap()
    }

    /// Changes the behavior.
    pub(crate) fn behave(&self, behavior: Behavior) {
        *self.behavior.lock().unwrap() = behavior;
    }

    /// The number of mails of each recipient.
    pub(crate) fn counts(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for mail in self.mails() {
            *counts.entry(mail.to).or_default() += 1;
        }
        counts
    }

    async fn talk(&self, stream: impl AsyncRead + AsyncWrite, number: u32) -> std::io::Result<()> {
        let (read, mut write) = tokio::io::split(stream);
        let mut lines = BufReader::new(read).lines();
        let greeting = self.answer("CONNECT", "220 test ESMTP".to_owned());
        write.write_all(greeting.as_bytes()).await?;
        let mut to = String::new();
        while let Some(line) = lines.next_line().await? {
            let verb = line
                .split([' ', ':'])
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase();
            self.unless_silent(&verb, number).await;
            let usual = match verb.as_str() {
                "EHLO" => self.abilities(),
                "RCPT" => {
                    to = address_in(&line);
                    if self.is_due(&to, |behavior| &mut behavior.break_at) {
                        return Ok(());
                    }
                    self.opinion_of(&to)
                }
                "DATA" => "354 go on".to_owned(),
                "QUIT" => "221 bye".to_owned(),
                "HELO" | "MAIL" | "RSET" | "NOOP" => "250 ok".to_owned(),
                _ => "502 unknown".to_owned(),
            };
            let answer = self.answer(&verb, usual);
            write.write_all(answer.as_bytes()).await?;
            if verb == "QUIT" {
                return Ok(());
            }
            if answer.starts_with("354") {
                let mut text = String::new();
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        break;
                    }
                    text.push_str(line.strip_prefix('.').unwrap_or(&line));
                    text.push('\n');
                }
                let delay = self.behavior.lock().unwrap().delay;
                tokio::time::sleep(delay).await;
                if self.is_due(&to, |behavior| &mut behavior.take_and_close) {
                    self.mails.lock().unwrap().push(mail_of(&to, &text));
                    return Ok(());
                }
                self.unless_silent("END", number).await;
                let answer = self.answer("END", "250 kept".to_owned());
                if answer.starts_with('2') {
                    self.mails.lock().unwrap().push(mail_of(&to, &text));
                }
                write.write_all(answer.as_bytes()).await?;
            }
        }
        Ok(())
    }

    /// Returns unless the connection or the server is silent at this command.
    async fn unless_silent(&self, command: &str, number: u32) {
        let silent = {
            let behavior = self.behavior.lock().unwrap();
            number <= behavior.deaf || behavior.silent_at.iter().any(|at| at == command)
        };
        if silent {
            std::future::pending::<()>().await;
        }
    }

    /// The configured answer to a command, or the usual one, as a line.
    fn answer(&self, command: &str, usual: String) -> String {
        let behavior = self.behavior.lock().unwrap();
        let answer = behavior.answers.get(command).cloned().unwrap_or(usual);
        answer + "\r\n"
    }

    fn abilities(&self) -> String {
        let behavior = self.behavior.lock().unwrap();
        let mut lines = vec!["250-test".to_owned()];
        lines.extend(behavior.extensions.iter().map(|e| format!("250-{e}")));
        lines.push("250 8BITMIME".to_owned());
        lines.join("\r\n")
    }

    fn opinion_of(&self, recipient: &str) -> String {
        if self.is_due(recipient, |behavior| &mut behavior.put_off) {
            return "450 later".to_owned();
        }
        let behavior = self.behavior.lock().unwrap();
        if behavior.refuse.iter().any(|refused| refused == recipient) {
            "550 no such mailbox".to_owned()
        } else {
            "250 ok".to_owned()
        }
    }

    /// Whether a failure is due for this recipient. Counts it down.
    fn is_due(
        &self,
        recipient: &str,
        of: impl Fn(&mut Behavior) -> &mut BTreeMap<String, u32>,
    ) -> bool {
        let mut behavior = self.behavior.lock().unwrap();
        match of(&mut behavior).get_mut(recipient) {
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

/// The mailed recipients, and how many of them were mailed twice. Checks that repeated mails have
/// the same Message-ID and that nobody was mailed three times.
pub(crate) fn mailed(mails: &[Mail]) -> (BTreeSet<String>, usize) {
    let mut ids: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for mail in mails {
        ids.entry(&mail.to).or_default().push(&mail.message_id);
    }
    for (to, ids) in &ids {
        assert!(
            ids.len() == 1 || ids.len() == 2 && ids[0] == ids[1],
            "{to}: {ids:?}"
        );
    }
    let repeated = mails.len() - ids.len();
    (ids.into_keys().map(str::to_owned).collect(), repeated)
}
