//! Schema pieces that types alone cannot say. Pure: schema in, schema out.
//!
//! The pod template stays fully typed, so that a typo in it is refused; its descriptions are dropped,
//! since they alone would make the CRD too large for a client-side `kubectl apply`. Lists that a
//! CEL rule looks into get bounds here, because the API server refuses rules without them.

use k8s_openapi::{
    api::core::v1::{EnvVar, PodTemplateSpec, ResourceRequirements, Toleration},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

pub(crate) fn pod_template(generator: &mut SchemaGenerator) -> Schema {
    bare::<PodTemplateSpec>(generator)
}

pub(crate) fn resources(generator: &mut SchemaGenerator) -> Schema {
    bare::<ResourceRequirements>(generator)
}

pub(crate) fn env(generator: &mut SchemaGenerator) -> Schema {
    list(bare::<EnvVar>(generator), 100, Some("name"))
}

pub(crate) fn tolerations(generator: &mut SchemaGenerator) -> Schema {
    list(bare::<Toleration>(generator), 50, None)
}

pub(crate) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    list(bare::<Condition>(generator), 16, Some("type"))
}

pub(crate) fn time(generator: &mut SchemaGenerator) -> Schema {
    bare::<Time>(generator)
}

pub(crate) fn node_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 50,
        "additionalProperties": {"type": "string", "maxLength": 63},
    })
}

/// The schema of a Kubernetes type without its descriptions.
fn bare<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<T>();
    if let Some(object) = schema.as_object_mut() {
        drop_descriptions(object);
    }
    schema
}

/// Only schema positions are visited: `description` may also be the name of a property.
fn drop_descriptions(schema: &mut Map<String, Value>) {
    schema.remove("description");
    for (key, value) in schema.iter_mut() {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                properties
                    .values_mut()
                    .filter_map(Value::as_object_mut)
                    .for_each(drop_descriptions);
            }
            ("items" | "additionalProperties", Value::Object(inner)) => drop_descriptions(inner),
            _ => {}
        }
    }
}

fn list(items: Schema, max_items: usize, key: Option<&str>) -> Schema {
    let mut schema = json_schema!({"type": "array", "maxItems": max_items, "items": items});
    if let Some(key) = key {
        schema.insert("x-kubernetes-list-type".to_owned(), json!("map"));
        schema.insert("x-kubernetes-list-map-keys".to_owned(), json!([key]));
    }
    schema
}
