//! The inputs of activities, decoded so that decoding never fails inside the SDK. The SDK would
//! turn a decoding error into a failure that is retried forever and that no metric and no log of
//! this process shows. Here it becomes `InvalidInput`, which is final.
//!
//! Any program in any language may call the activities. It may leave out every field that has a
//! default, and may send a whole order as the input.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use temporalio_common::data_converters::{
    GenericPayloadConverter, PayloadConversionError, SerializationContext, TemporalDeserializable,
    TemporalSerializable,
};
use temporalio_common::protos::temporal::api::common::v1::Payload;
use temporalio_sdk::activities::{ActivityContext, ActivityError, ActivityInfo};

use crate::domain::failure::{Failure, FailureType, Reason};
use crate::domain::order::messages::{
    CancelOrder, CountMails, CreateOrder, Mailing, PaymentRequest, ReleaseInventory, Reservation,
};
use crate::domain::order::{Fields, ORDER_FIELDS, OrderInput, Rules, is_order_id};

/// Maximum length of a run id, in bytes.
const MAX_RUN_ID_LENGTH: usize = 100;

/// The input of an activity: a typed value from this program, or the payloads of a caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent<T>(Form<T>);

#[derive(Clone, Debug, PartialEq)]
enum Form<T> {
    Typed(T),
    Raw(Vec<Payload>),
}

impl<T> From<T> for Sent<T> {
    fn from(input: T) -> Self {
        Self(Form::Typed(input))
    }
}

impl<T> TemporalDeserializable for Sent<T> {
    fn from_payloads(
        _: &SerializationContext<'_>,
        payloads: Vec<Payload>,
    ) -> Result<Self, PayloadConversionError> {
        Ok(Self(Form::Raw(payloads)))
    }
}

impl<T: Serialize + 'static> TemporalSerializable for Sent<T> {
    fn to_payload(&self, to: &SerializationContext<'_>) -> Result<Payload, PayloadConversionError> {
        match &self.0 {
            Form::Typed(input) => to.converter.to_payload(to, input),
            // Received payloads are never sent on.
            Form::Raw(_) => Err(PayloadConversionError::WrongEncoding),
        }
    }
}

impl<T> Sent<T> {
    /// Returns the checked input, or the failure `InvalidInput`, which says what is wrong. Logs the
    /// fields that are ignored.
    pub(super) fn read(self, ctx: &ActivityContext) -> Result<T, ActivityError>
    where
        T: Input,
    {
        let info = ctx.info();
        let payloads = match self.0 {
            Form::Typed(input) => return Ok(input),
            Form::Raw(payloads) => payloads,
        };
        match read(&payloads, &Caller::of(info)) {
            Ok((input, ignored)) => {
                if !ignored.is_empty() {
                    tracing::warn!(
                        activity = info.activity_type,
                        fields = ignored.join(", "),
                        "unknown fields of the input are ignored"
                    );
                }
                Ok(input)
            }
            Err(problem) => Err(refused(info, &problem)),
        }
    }
}

impl Sent<OrderInput> {
    /// Returns the order as it was sent, unchecked, or the failure `InvalidInput` if it is not one
    /// JSON value.
    pub(super) fn unchecked(self, ctx: &ActivityContext) -> Result<OrderInput, ActivityError> {
        match self.0 {
            Form::Typed(input) => Ok(input),
            Form::Raw(payloads) => json(&payloads)
                .map(OrderInput::from_value)
                .map_err(|problem| refused(ctx.info(), &problem)),
        }
    }
}

/// The failure of an input that cannot be read.
fn refused(info: &ActivityInfo, problem: &str) -> ActivityError {
    tracing::warn!(
        activity = info.activity_type,
        workflow_id = info.workflow_id.as_deref().unwrap_or_default(),
        "input refused: {problem}"
    );
    let message = format!("the input of {}: {problem}", info.activity_type);
    Failure::new(FailureType::InvalidInput, message).into_activity()
}

/// Returns the input and the names of the ignored fields.
fn read<T: Input>(payloads: &[Payload], caller: &Caller<'_>) -> Result<(T, Vec<String>), String> {
    let map = match json(payloads)? {
        Value::Object(map) => map,
        // The order's id alone is enough.
        Value::String(id) if T::BY_ID => Map::from_iter([("order_id".to_owned(), id.into())]),
        Value::Null => return Err("it is null; send a JSON object".to_owned()),
        _ => return Err("it must be a JSON object".to_owned()),
    };
    let mut fields = Fields::new(&map, "", T::KNOWN, &ORDER_FIELDS, Rules::Current)?;
    let input = T::from_fields(&mut fields, caller)?;
    Ok((input, fields.into_ignored()))
}

/// Returns the one JSON value that was sent.
fn json(payloads: &[Payload]) -> Result<Value, String> {
    let payload = match payloads {
        [payload] => payload,
        [] => return Err("it is missing; send one JSON object".to_owned()),
        _ => {
            let count = payloads.len();
            return Err(format!("it is one JSON object, not {count} arguments"));
        }
    };
    let encoding = payload.metadata.get("encoding").map(Vec::as_slice);
    match encoding {
        None | Some(b"json/plain" | b"json/protobuf") => serde_json::from_slice(&payload.data)
            .map_err(|error| {
                // The error's own text could repeat what was sent.
                let (line, column) = (error.line(), error.column());
                format!("it is not JSON (line {line}, column {column})")
            }),
        Some(b"binary/null") => Ok(Value::Null),
        Some(other) => {
            let shown: String = String::from_utf8_lossy(other).chars().take(40).collect();
            Err(format!(
                "its encoding {shown:?} cannot be read here; send json/plain"
            ))
        }
    }
}

/// The caller of an activity, as far as an input depends on it.
pub(super) struct Caller<'a> {
    workflow_id: &'a str,
    run_id: &'a str,
    activity_id: &'a str,
    /// When the activity was scheduled; the same for all attempts. Needed because an activity
    /// without a workflow may reuse an activity id.
    scheduled: Option<SystemTime>,
}

impl<'a> Caller<'a> {
    fn of(info: &'a ActivityInfo) -> Self {
        Self {
            workflow_id: info.workflow_id.as_deref().unwrap_or_default(),
            run_id: info.workflow_run_id.as_deref().unwrap_or_default(),
            activity_id: &info.activity_id,
            scheduled: info.scheduled_time,
        }
    }
}

/// An input that is read field by field.
pub(super) trait Input: Sized {
    /// All fields, including alternative names.
    const KNOWN: &'static [&'static str];
    /// Whether the order's id alone, as a JSON string, is a valid input.
    const BY_ID: bool = false;

    /// Reads the fields, or says which one is wrong and why.
    fn from_fields(fields: &mut Fields<'_>, caller: &Caller<'_>) -> Result<Self, String>;
}

impl Input for CreateOrder {
    const KNOWN: &'static [&'static str] = &[
        "order_id",
        "id",
        "total",
        "amount",
        "currency",
        "first_run_id",
    ];

    fn from_fields(fields: &mut Fields<'_>, _: &Caller<'_>) -> Result<Self, String> {
        Ok(Self {
            order_id: fields.order_id()?,
            total: fields.amount("total", "amount")?,
            currency: fields.currency()?,
            first_run_id: fields.text("first_run_id", MAX_RUN_ID_LENGTH)?,
        })
    }
}

impl Input for CancelOrder {
    const KNOWN: &'static [&'static str] = &["order_id", "id", "reason"];
    const BY_ID: bool = true;

    fn from_fields(fields: &mut Fields<'_>, _: &Caller<'_>) -> Result<Self, String> {
        let requested = FailureType::CancelledByRequest.name();
        let reason = match fields.get("reason") {
            None => Reason::of(requested, "the workflow cancelled the order"),
            Some(Value::String(words)) => Reason::of(requested, words),
            Some(Value::Object(reason)) => {
                let text = |name: &str| reason.get(name).and_then(Value::as_str);
                let kind = text("type").filter(|kind| !kind.trim().is_empty());
                Reason::of(
                    kind.unwrap_or(requested),
                    text("message").unwrap_or_default(),
                )
            }
            Some(_) => {
                return Err("reason must be a text, or an object with type and message".to_owned());
            }
        };
        Ok(Self {
            order_id: fields.order_id()?,
            reason,
        })
    }
}

impl Input for Reservation {
    const KNOWN: &'static [&'static str] = &["order_id", "id", "items"];
    const BY_ID: bool = true;

    fn from_fields(fields: &mut Fields<'_>, _: &Caller<'_>) -> Result<Self, String> {
        Ok(Self {
            order_id: fields.order_id()?,
            items: fields.items()?,
        })
    }
}

impl Input for ReleaseInventory {
    const KNOWN: &'static [&'static str] = &["order_id", "id"];
    const BY_ID: bool = true;

    fn from_fields(fields: &mut Fields<'_>, _: &Caller<'_>) -> Result<Self, String> {
        let order_id = fields.order_id()?;
        Ok(Self { order_id })
    }
}

impl Input for PaymentRequest {
    const KNOWN: &'static [&'static str] = &[
        "order_id",
        "id",
        "amount",
        "total",
        "currency",
        "card",
        "payment_token",
        "attempts",
        "asked_since",
    ];

    fn from_fields(fields: &mut Fields<'_>, _: &Caller<'_>) -> Result<Self, String> {
        Ok(Self {
            order_id: fields.order_id()?,
            amount: fields.amount("amount", "total")?,
            currency: fields.currency()?,
            card: fields.card()?,
            attempts: fields.number("attempts")?,
            asked_since: fields.number("asked_since")?,
        })
    }
}

impl Input for Mailing {
    const KNOWN: &'static [&'static str] =
        &["order_id", "id", "mailing", "recipients", "subject", "body"];

    fn from_fields(fields: &mut Fields<'_>, caller: &Caller<'_>) -> Result<Self, String> {
        if fields.get("recipients").is_none() {
            return Err("recipients is missing".to_owned());
        }
        Ok(Self {
            order_id: match fields.optional_order_id()? {
                Some(order_id) => named_mailing(order_id, fields)?,
                None => mailing_id(caller),
            },
            recipients: fields.recipients()?,
            subject: fields.subject()?.ok_or("subject is missing")?,
            body: fields.body()?.unwrap_or_default(),
        })
    }
}

impl Input for CountMails {
    const KNOWN: &'static [&'static str] = &["order_id", "id", "mailing"];
    const BY_ID: bool = true;

    fn from_fields(fields: &mut Fields<'_>, _: &Caller<'_>) -> Result<Self, String> {
        let order_id = named_mailing(fields.order_id()?, fields)?;
        Ok(Self { order_id })
    }
}

/// The id of one of several mailings of an order. The mails of the order's workflow have no name.
fn named_mailing(order_id: String, fields: &Fields<'_>) -> Result<String, String> {
    match fields
        .get("mailing")
        .map(|name| name.as_str().unwrap_or_default())
    {
        None => Ok(order_id),
        // An order id holds no slash.
        Some(name) if is_order_id(name) => Ok(format!("{order_id}/{name}")),
        Some(_) => Err("mailing must have 1 to 100 characters of A-Z a-z 0-9 . _ -".to_owned()),
    }
}

/// The id of a mailing that names no order: the same for every attempt of an activity, different
/// for every activity. The workflow's id alone would not do, because a workflow may mail the same
/// people more than once.
fn mailing_id(caller: &Caller<'_>) -> String {
    let Caller {
        workflow_id,
        run_id,
        activity_id,
        scheduled,
    } = caller;
    let digest = Sha256::digest(format!(
        "{workflow_id}\0{run_id}\0{activity_id}\0{scheduled:?}"
    ));
    let short = digest
        .iter()
        .take(8)
        .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    let readable = format!("{workflow_id}-{short:016x}");
    if is_order_id(&readable) {
        readable
    } else {
        format!("mailing-{short:016x}")
    }
}

#[cfg(test)]
mod tests;
