//! Finds the type of a private key, by the identifiers in it. Pure.

use rustls::pki_types::PrivateKeyDer;
use x509_parser::asn1_rs::Tag;

use crate::pem::der::{expect, expect_first_optional};

/// Unsupported types of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// RSA with a modulus of fewer than 2048 or more than 4096 bits.
    RsaOfOtherSize,
    /// RSA restricted to PSS signatures.
    RsaPss,
    /// ECDSA on P-224.
    P224,
    /// ECDSA on P-521.
    P521,
    /// ECDSA on secp256k1.
    Secp256k1,
    /// ECDSA on a Brainpool curve.
    Brainpool,
    /// ECDSA on a curve unknown here, or on explicit curve parameters.
    OtherCurve,
    /// Ed448.
    Ed448,
    /// X25519 or X448, which are for key agreement and cannot sign.
    KeyAgreement,
    /// DSA.
    Dsa,
    /// ML-DSA.
    MlDsa,
    /// Anything else.
    Other,
}

impl KeyType {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::RsaOfOtherSize => "an RSA key of fewer than 2048 or more than 4096 bits",
            Self::RsaPss => "an RSA-PSS key",
            Self::P224 => "an ECDSA key on P-224",
            Self::P521 => "an ECDSA key on P-521",
            Self::Secp256k1 => "an ECDSA key on secp256k1",
            Self::Brainpool => "an ECDSA key on a Brainpool curve",
            Self::OtherCurve => "an ECDSA key on another curve",
            Self::Ed448 => "an Ed448 key",
            Self::KeyAgreement => "an X25519 or X448 key, which cannot sign",
            Self::Dsa => "a DSA key",
            Self::MlDsa => "an ML-DSA key",
            Self::Other => "a key of another type",
        }
    }
}

/// Object identifiers as encoded in keys: `AlgorithmIdentifier` of PKCS#8, and curves.
mod oid {
    pub(super) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    pub(super) const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
    pub(super) const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    pub(super) const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    pub(super) const P224: &[u8] = &[0x2b, 0x81, 4, 0, 33];
    pub(super) const P384: &[u8] = &[0x2b, 0x81, 4, 0, 34];
    pub(super) const P521: &[u8] = &[0x2b, 0x81, 4, 0, 35];
    pub(super) const SECP256K1: &[u8] = &[0x2b, 0x81, 4, 0, 10];
    pub(super) const BRAINPOOL: &[u8] = &[0x2b, 0x24, 3, 3, 2, 8, 1, 1];
    pub(super) const X25519: &[u8] = &[0x2b, 0x65, 110];
    pub(super) const X448: &[u8] = &[0x2b, 0x65, 111];
    pub(super) const ED25519: &[u8] = &[0x2b, 0x65, 112];
    pub(super) const ED448: &[u8] = &[0x2b, 0x65, 113];
    pub(super) const DSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1];
    pub(super) const ML_DSA: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3];
}

/// Whether the type of a key is supported; if not, `Err` with its type. `None` if the type cannot
/// be found.
pub(super) fn supported(key: &PrivateKeyDer<'_>) -> Option<Result<(), KeyType>> {
    let content = |mut der| expect(&mut der, Tag::Sequence);
    match key {
        PrivateKeyDer::Pkcs1(der) => rsa(content(der.secret_pkcs1_der())?),
        PrivateKeyDer::Sec1(der) => sec1(content(der.secret_sec1_der())?),
        PrivateKeyDer::Pkcs8(der) => pkcs8(content(der.secret_pkcs8_der())?),
        _ => None,
    }
}

/// A PKCS#8 key: version, algorithm, key.
fn pkcs8(mut key: &[u8]) -> Option<Result<(), KeyType>> {
    expect(&mut key, Tag::Integer)?;
    let mut algorithm = expect(&mut key, Tag::Sequence)?;
    let unsupported = match expect(&mut algorithm, Tag::Oid)? {
        oid::RSA => {
            let mut key = expect(&mut key, Tag::OctetString)?;
            return rsa(expect(&mut key, Tag::Sequence)?);
        }
        oid::EC => return Some(curve(algorithm)),
        oid::ED25519 => return Some(Ok(())),
        oid::ED448 => KeyType::Ed448,
        oid::X25519 | oid::X448 => KeyType::KeyAgreement,
        oid::RSA_PSS => KeyType::RsaPss,
        oid::DSA => KeyType::Dsa,
        other if other.starts_with(oid::ML_DSA) => KeyType::MlDsa,
        _ => KeyType::Other,
    };
    Some(Err(unsupported))
}

/// A PKCS#1 key: version, modulus and more.
fn rsa(mut key: &[u8]) -> Option<Result<(), KeyType>> {
    expect(&mut key, Tag::Integer)?;
    let modulus = expect(&mut key, Tag::Integer)?;
    let leading = modulus.iter().position(|byte| *byte != 0)?;
    let (first, rest) = modulus.get(leading..)?.split_first()?;
    let bits = rest.len() * 8 + (8 - first.leading_zeros() as usize);
    let fits = (2048..=4096).contains(&bits);
    Some(fits.then_some(()).ok_or(KeyType::RsaOfOtherSize))
}

/// A SEC1 key: version, key, and the curve, which is optional.
fn sec1(mut key: &[u8]) -> Option<Result<(), KeyType>> {
    expect(&mut key, Tag::Integer)?;
    expect(&mut key, Tag::OctetString)?;
    expect_first_optional(&mut key).map(curve)
}

fn curve(mut parameters: &[u8]) -> Result<(), KeyType> {
    Err(match expect(&mut parameters, Tag::Oid) {
        Some(oid::P256 | oid::P384) => return Ok(()),
        Some(oid::P224) => KeyType::P224,
        Some(oid::P521) => KeyType::P521,
        Some(oid::SECP256K1) => KeyType::Secp256k1,
        Some(other) if other.starts_with(oid::BRAINPOOL) => KeyType::Brainpool,
        _ => KeyType::OtherCurve,
    })
}
