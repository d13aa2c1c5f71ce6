//! The workflow's inputs from clients, decoded so that decoding never fails. A workflow task that
//! cannot decode an input or a signal is retried forever, and the order is stuck; a workflow that
//! can decode it reports the error or ignores it.
//!
//! The exception is an order that a codec has encrypted or compressed. It may be right, and waits
//! for a worker with that codec.

use serde_json::Value;
use temporalio_common::data_converters::{
    GenericPayloadConverter, PayloadConversionError, SerializationContext, TemporalDeserializable,
    TemporalSerializable,
};
use temporalio_common::protos::temporal::api::common::v1::Payload;

use crate::domain::order::OrderInput;

/// Encodings of payloads that no codec has changed.
const PLAIN: [&[u8]; 5] = [
    b"json/plain",
    b"json/protobuf",
    b"binary/null",
    b"binary/plain",
    b"binary/protobuf",
];

/// The order as a client sent it. Anything but one JSON payload decodes as a missing order, which
/// fails with `InvalidOrder`.
#[derive(Clone, Debug, PartialEq)]
pub struct SentOrder(pub OrderInput);

/// Free text from a client. A string is taken as it is, other JSON as its source text, and anything
/// else as an empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub String);

impl From<&str> for Words {
    fn from(words: &str) -> Self {
        Self(words.to_owned())
    }
}

fn json(payloads: &[Payload]) -> Value {
    match payloads {
        [payload] => serde_json::from_slice(&payload.data).unwrap_or_default(),
        _ => Value::Null,
    }
}

impl TemporalDeserializable for SentOrder {
    fn from_payloads(
        _: &SerializationContext<'_>,
        payloads: Vec<Payload>,
    ) -> Result<Self, PayloadConversionError> {
        let encoding = |payload: &Payload| payload.metadata.get("encoding").cloned();
        let mut encodings = payloads.iter().filter_map(encoding);
        if encodings.any(|encoding| !PLAIN.contains(&encoding.as_slice())) {
            return Err(PayloadConversionError::WrongEncoding);
        }
        Ok(Self(OrderInput::from_value(json(&payloads))))
    }
}

impl TemporalSerializable for SentOrder {
    fn to_payload(&self, to: &SerializationContext<'_>) -> Result<Payload, PayloadConversionError> {
        to.converter.to_payload(to, &self.0)
    }
}

impl TemporalDeserializable for Words {
    fn from_payloads(
        _: &SerializationContext<'_>,
        payloads: Vec<Payload>,
    ) -> Result<Self, PayloadConversionError> {
        Ok(Self(match json(&payloads) {
            Value::Null => String::new(),
            Value::String(words) => words,
            other => other.to_string(),
        }))
    }
}

impl TemporalSerializable for Words {
    fn to_payload(&self, to: &SerializationContext<'_>) -> Result<Payload, PayloadConversionError> {
        to.converter.to_payload(to, &self.0)
    }
}
