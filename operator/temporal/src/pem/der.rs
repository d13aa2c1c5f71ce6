//! Reads DER value by value. Pure.
//!
//! The bytes come from Secrets that any tenant may write, so the parser's errors are dropped.

use x509_parser::asn1_rs::{Any, Class, FromDer, Tag};

/// The content of the next value if it has this tag; advances `der` past the value.
pub(super) fn expect<'a>(der: &mut &'a [u8], tag: Tag) -> Option<&'a [u8]> {
    let (class, found, content) = next(der)?;
    (class == Class::Universal && found == tag).then_some(content)
}

/// The content of the next value if it is the first optional part of a structure.
pub(super) fn expect_first_optional<'a>(der: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (class, found, content) = next(der)?;
    (class == Class::ContextSpecific && found == Tag(0)).then_some(content)
}

fn next<'a>(der: &mut &'a [u8]) -> Option<(Class, Tag, &'a [u8])> {
    let (rest, value) = Any::from_der(der).ok()?;
    *der = rest;
    Some((value.class(), value.tag(), value.data))
}
