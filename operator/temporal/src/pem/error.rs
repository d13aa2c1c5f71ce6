//! What can be wrong with a PEM text, as a fixed set of sentences. Pure.

use std::fmt;

use crate::pem::key_type::KeyType;

/// What a PEM text should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Certificate,
    PrivateKey,
}

/// What is wrong with a PEM text. The text continues a sentence that begins with the use of the
/// PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PemError {
    /// Empty, or only white space.
    Empty,
    /// DER, PKCS#12 or another binary format.
    Binary,
    /// UTF-16.
    Utf16,
    /// UTF-8 with a byte order mark, which no PEM parser expects.
    ByteOrderMark,
    /// Base64 of a PEM text.
    EncodedTwice,
    /// No line begins a block.
    NoBlock,
    /// Line breaks were replaced by the characters `\n`, by spaces, or by nothing.
    LineBreaksLost,
    /// The line that begins or ends a block is indented, follows other text, or lacks its dashes.
    DamagedMarker,
    /// The line that ends the block is missing, or ends another kind of block.
    NoEnd,
    /// The text between the two lines is not base64.
    NotBase64,
    /// The block is of another kind.
    Instead(Block),
    /// The key is protected by a passphrase.
    Encrypted,
    /// The TLS library does not support this type of key.
    UnsupportedKey(KeyType),
    /// The content of the block is not a private key, or is damaged.
    UnreadableKey,
    /// The content of the block is not a certificate, or is damaged.
    UnreadableCertificate,
}

/// The kinds of blocks found instead of a certificate or a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// A certificate.
    Certificate,
    /// A private key.
    PrivateKey,
    /// A private key in OpenSSH's format.
    OpenSshKey,
    /// A public key.
    PublicKey,
    /// A certificate signing request.
    Request,
    /// Elliptic curve parameters without the key.
    Parameters,
    /// Anything else.
    Other,
}

impl Block {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "a certificate",
            Self::PrivateKey => "a private key",
            Self::OpenSshKey => "a private key in OpenSSH format",
            Self::PublicKey => "a public key",
            Self::Request => "a certificate signing request",
            Self::Parameters => "key parameters without a key",
            Self::Other => "another kind of PEM block",
        }
    }
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::Binary => "is binary, for example DER or PKCS#12; convert it to PEM",
            Self::Utf16 => "is UTF-16 text; store it as UTF-8",
            Self::ByteOrderMark => "begins with a byte order mark; store it as UTF-8 without one",
            Self::EncodedTwice => {
                "is base64-encoded PEM; store the PEM itself under stringData, or its base64 \
                 under data"
            }
            Self::NoBlock => "contains no PEM block; its first line must begin with -----BEGIN",
            Self::LineBreaksLost => {
                "has lost its line breaks, which became \\n, spaces or nothing; store the \
                 unchanged file, for example with kubectl create secret and --from-file"
            }
            Self::DamagedMarker => {
                "has a damaged -----BEGIN or -----END line; nothing may come before it in the \
                 line, and it must end in five dashes"
            }
            Self::NoEnd => "is cut off: the -----END line for its -----BEGIN line is missing",
            Self::NotBase64 => "contains text between -----BEGIN and -----END that is not base64",
            Self::Instead(block) => return write!(f, "contains {} instead", block.as_str()),
            Self::Encrypted => {
                "is encrypted with a passphrase; decrypt it, for example with openssl pkey"
            }
            Self::UnsupportedKey(key_type) => {
                return write!(
                    f,
                    "is {}, which is not supported; use {SUPPORTED_KEYS}",
                    key_type.as_str()
                );
            }
            Self::UnreadableKey => {
                "cannot be read as a private key: it is damaged, or its public part is missing"
            }
            Self::UnreadableCertificate => {
                "cannot be read as a certificate: it is damaged, or not X.509 version 3"
            }
        })
    }
}

/// The keys that ring can sign with.
const SUPPORTED_KEYS: &str = "RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384, or Ed25519";
