//! Diagnoses a text that the PEM parser refuses, or in which it finds nothing. Pure.

use x509_parser::asn1_rs::Tag;

use crate::pem::der::expect;
use crate::pem::error::{Block, Expected, PemError};
use crate::pem::key_type::KeyType;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// How the base64 of `-----BEGIN ` begins.
const BEGIN_IN_BASE64: &[u8] = b"LS0tLS1CRUdJTi";

impl Expected {
    /// The labels of the blocks that the TLS library accepts.
    const fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Certificate => &["CERTIFICATE"],
            Self::PrivateKey => &["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"],
        }
    }
}

/// What is wrong with a text that lacks the expected block.
pub(super) fn of(pem: &[u8], expected: Expected) -> PemError {
    if pem.trim_ascii().is_empty() {
        return PemError::Empty;
    }
    if pem.starts_with(&[0xff, 0xfe]) || pem.starts_with(&[0xfe, 0xff]) {
        return PemError::Utf16;
    }
    if pem.starts_with(&[0xef, 0xbb, 0xbf]) {
        return PemError::ByteOrderMark;
    }
    if pem.trim_ascii_start().starts_with(BEGIN_IN_BASE64) {
        return PemError::EncodedTwice;
    }
    let Ok(text) = std::str::from_utf8(pem) else {
        return PemError::Binary;
    };
    if !text.contains("-----BEGIN") {
        let mut der = pem;
        let whole = expect(&mut der, Tag::Sequence).is_some() && der.is_empty();
        return if whole || text.contains('\0') {
            PemError::Binary
        } else {
            PemError::NoBlock
        };
    }
    of_blocks(text, expected)
}

fn of_blocks(text: &str, expected: Expected) -> PemError {
    if let Some(error) = lines(text).find_map(marker) {
        return error;
    }
    let blocks: Vec<(&str, &str)> = blocks(text).collect();
    let ends = |(label, body): &(&str, &str)| {
        let end = format!("{END}{label}{DASHES}");
        lines(body).any(|line| line.starts_with(&end))
    };
    let encrypted = |(_, body): &(&str, &str)| {
        lines(body).any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"))
    };
    let found = blocks
        .iter()
        .any(|(label, _)| expected.labels().contains(label));
    match blocks.last() {
        None => PemError::NoBlock,
        Some(_) if !blocks.iter().all(ends) => PemError::NoEnd,
        // Of several blocks the last one is the payload: parameters and certificates come before
        // keys.
        Some((label, _)) if !found => instead(label, expected),
        Some(_) if blocks.iter().any(encrypted) => PemError::Encrypted,
        Some(_) => PemError::NotBase64,
    }
}

/// What is wrong with a line that contains a marker; `None` if nothing is.
fn marker(line: &str) -> Option<PemError> {
    if let Some(at) = line.find("-----BEGIN") {
        let label = line.get(at..)?.strip_prefix(BEGIN);
        let Some((_, after)) = label.and_then(|label| label.split_once(DASHES)) else {
            // Without the dashes after it, a label cannot be told from the text that follows.
            return Some(if line.len() > LONGEST_MARKER {
                PemError::LineBreaksLost
            } else {
                PemError::DamagedMarker
            });
        };
        return match (at, after.trim()) {
            (0, "") => None,
            (_, "") => Some(PemError::DamagedMarker),
            (_, dashes) if dashes.chars().all(|c| c == '-') => Some(PemError::DamagedMarker),
            _ => Some(PemError::LineBreaksLost),
        };
    }
    let before = line.get(..line.find("-----END")?)?;
    match (before, before.trim()) {
        ("", _) => None,
        (_, "") => Some(PemError::DamagedMarker),
        _ => Some(PemError::LineBreaksLost),
    }
}

/// The longest marker: the longest label has some twenty characters.
const LONGEST_MARKER: usize = 60;

/// The blocks: the label of each, and the text after its first line, up to the next block.
fn blocks(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(BEGIN)
        .skip(1)
        .filter_map(|block| block.split_once(DASHES))
}

/// Splits a text into lines as the PEM parser does.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', '\r'])
}

/// The problem with a block when another kind was expected.
fn instead(label: &str, expected: Expected) -> PemError {
    let key = expected == Expected::PrivateKey;
    PemError::Instead(match label {
        "ENCRYPTED PRIVATE KEY" if key => return PemError::Encrypted,
        "DSA PRIVATE KEY" if key => return PemError::UnsupportedKey(KeyType::Dsa),
        "OPENSSH PRIVATE KEY" => Block::OpenSshKey,
        label if label.ends_with("PRIVATE KEY") => Block::PrivateKey,
        label if label.ends_with("PUBLIC KEY") => Block::PublicKey,
        label if label.ends_with("CERTIFICATE REQUEST") => Block::Request,
        label if label.ends_with("PARAMETERS") => Block::Parameters,
        "CERTIFICATE" => Block::Certificate,
        _ => Block::Other,
    })
}
