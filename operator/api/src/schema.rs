//! Parts of the schema that types cannot express. Pure: schema in, schema out.
//!
//! The pod template stays fully typed, so that a typo in it is refused. Its descriptions are
//! dropped, since they alone would make the CRD too large for a client-side `kubectl apply`. Lists
//! that a CEL rule looks into get bounds here, because the API server refuses rules without them.

use k8s_openapi::{
    api::core::v1::{EnvVar, PodTemplateSpec, ResourceRequirements, Toleration},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::well_known;

/// The most containers and init containers of a pod.
const MAX_CONTAINERS: u32 = 20;
/// The most environment variables of a container.
const MAX_VARIABLES: u32 = 200;
/// The most volumes of a pod.
const MAX_VOLUMES: u32 = 100;
/// The longest name of a variable: longer than any in use, short enough for the cost of the rules.
const MAX_VARIABLE_NAME: u32 = 253;

/// The most containers and init containers that the template of a queue may have. Each queue has
/// its own, so the rules cost up to 100 times as much there.
const MAX_QUEUE_CONTAINERS: u32 = 10;
/// The most environment variables of a container in the template of a queue.
const MAX_QUEUE_VARIABLES: u32 = 100;

/// The pod template of a fleet.
pub(crate) fn pod_template(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = pods(generator, MAX_CONTAINERS, MAX_VARIABLES);
    schema.insert("required".to_owned(), json!(["spec"]));
    edit(&mut schema, "/properties/spec", |spec| {
        let worker = well_known::WORKER_CONTAINER;
        let mut rules = vec![json!({
            "rule": format!("self.containers.exists(c, c.name == '{worker}')"),
            "message": format!("containers must have one named {worker}, which receives the \
                                connection and the task queue"),
            "fieldPath": ".containers",
        })];
        rules.extend(pod_rules(""));
        spec.insert(RULES.to_owned(), json!(rules));
    });
    schema
}

/// The pod template of a queue: the same fields, none of which it needs.
pub(crate) fn partial_pod_template(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = pods(generator, MAX_QUEUE_CONTAINERS, MAX_QUEUE_VARIABLES);
    edit(&mut schema, "/properties/spec", |spec| {
        spec.remove("required");
        spec.insert(
            RULES.to_owned(),
            json!(pod_rules("!has(self.containers) || ")),
        );
    });
    schema
}

fn pods(generator: &mut SchemaGenerator, max_containers: u32, max_variables: u32) -> Schema {
    let mut schema = bare::<PodTemplateSpec>(generator);
    edit(&mut schema, "/properties/metadata", |metadata| {
        if let Some(properties) = metadata
            .get_mut("properties")
            .and_then(Value::as_object_mut)
        {
            properties.retain(|name, _| name == "labels" || name == "annotations");
        }
    });
    for map in ["labels", "annotations"] {
        let path = format!("/properties/metadata/properties/{map}");
        edit(&mut schema, &path, |entries| {
            entries.insert("maxProperties".to_owned(), json!(64));
            entries.insert(RULES.to_owned(), json!([own_prefix_rule(map)]));
        });
    }
    for list in ["containers", "initContainers"] {
        bound_containers(&mut schema, list, max_containers, max_variables);
    }
    edit(
        &mut schema,
        "/properties/spec/properties/volumes",
        |volumes| {
            volumes.insert("maxItems".to_owned(), json!(MAX_VOLUMES));
            key_by(volumes, "name");
        },
    );
    edit(
        &mut schema,
        "/properties/spec/properties/volumes/items/properties/name",
        |name| {
            name.insert("maxLength".to_owned(), json!(63));
        },
    );
    edit(
        &mut schema,
        "/properties/spec/properties/restartPolicy",
        |policy| {
            policy.insert("maxLength".to_owned(), json!(16));
        },
    );
    schema
}

fn bound_containers(schema: &mut Schema, list: &str, max_containers: u32, max_variables: u32) {
    let path = format!("/properties/spec/properties/{list}");
    edit(schema, &path, |containers| {
        containers.insert("maxItems".to_owned(), json!(max_containers));
        key_by(containers, "name");
    });
    edit(schema, &format!("{path}/items/properties/name"), |name| {
        name.insert("maxLength".to_owned(), json!(63));
    });
    edit(schema, &format!("{path}/items/properties/env"), |env| {
        env.insert("maxItems".to_owned(), json!(max_variables));
        key_by(env, "name");
    });
    edit(
        schema,
        &format!("{path}/items/properties/env/items/properties/name"),
        |name| {
            name.insert("maxLength".to_owned(), json!(MAX_VARIABLE_NAME));
        },
    );
}

/// Rules for the pods of a worker; each message says how to fix the problem. `unless`
/// begins the rules about the containers: what holds if they may be missing.
fn pod_rules(unless: &str) -> Vec<Value> {
    let worker = well_known::WORKER_CONTAINER;
    let reserved = quoted(&well_known::RESERVED_VARIABLES);
    let volumes = quoted(&well_known::RESERVED_VOLUMES);
    let absent = |field: &str, message: &str| {
        json!({
            "rule": format!("!has(self.{field})"),
            "message": format!("{field} must not be set: {message}"),
            "fieldPath": format!(".{field}"),
        })
    };
    let found_by_name = "the operator finds the pod of a worker by its host name";
    vec![
        json!({
            "rule": format!("{unless}self.containers.all(c, c.name != '{worker}' || \
                             !has(c.env) || c.env.all(e, !(e.name in [{reserved}])))"),
            "message": format!(
                "the env of the container {worker} must not set the variables that the operator \
                 sets: {}; set spec.connection, queues[].taskQueue and drain.gracePeriod instead",
                well_known::RESERVED_VARIABLES.join(", ")
            ),
            "fieldPath": ".containers",
        }),
        json!({
            "rule": format!("!has(self.volumes) || self.volumes.all(v, !(v.name in [{volumes}]))"),
            "message": format!(
                "volumes must not use the names {}, which are reserved for the operator",
                well_known::RESERVED_VOLUMES.join(" and ")
            ),
            "fieldPath": ".volumes",
        }),
        absent("hostname", found_by_name),
        absent("hostnameOverride", found_by_name),
        json!({
            "rule": "!has(self.hostNetwork) || !self.hostNetwork",
            "message": format!("hostNetwork must not be true: {found_by_name}"),
            "fieldPath": ".hostNetwork",
        }),
        json!({
            "rule": "!has(self.setHostnameAsFQDN) || !self.setHostnameAsFQDN",
            "message": format!("setHostnameAsFQDN must not be true: {found_by_name}"),
            "fieldPath": ".setHostnameAsFQDN",
        }),
        absent(
            "terminationGracePeriodSeconds",
            "set drain.gracePeriod, which sets the grace period of both the pod and the worker",
        ),
        absent(
            "activeDeadlineSeconds",
            "a worker runs until the operator removes it",
        ),
        absent(
            "ephemeralContainers",
            "kubectl debug adds them to running pods",
        ),
        json!({
            "rule": "!has(self.restartPolicy) || self.restartPolicy == 'Always'",
            "message": "restartPolicy must be Always or left out: a worker runs until the \
                        operator removes it",
            "fieldPath": ".restartPolicy",
        }),
    ]
}

fn own_prefix_rule(what: &str) -> Value {
    let prefix = well_known::OWN_PREFIX;
    json!({
        "rule": format!("self.all(key, !key.startsWith('{prefix}'))"),
        "message": format!("{what} must not start with {prefix}, which is reserved for the \
                            operator"),
    })
}

fn quoted(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("'{name}'"))
        .collect::<Vec<_>>()
        .join(", ")
}

pub(crate) fn resources(generator: &mut SchemaGenerator) -> Schema {
    bare::<ResourceRequirements>(generator)
}

pub(crate) fn env(generator: &mut SchemaGenerator) -> Schema {
    let mut items = bare::<EnvVar>(generator);
    edit(&mut items, "/properties/name", |name| {
        name.insert("maxLength".to_owned(), json!(MAX_VARIABLE_NAME));
    });
    let mut schema = list(&items, 100, Some("name"));
    schema.insert(
        RULES.to_owned(),
        json!([{
            "rule": format!(
                "self.all(e, !(e.name in [{}]))",
                quoted(&well_known::RESERVED_VARIABLES)
            ),
            "message": format!(
                "env must not set the variables that the operator sets: {}",
                well_known::RESERVED_VARIABLES.join(", ")
            ),
        }]),
    );
    schema
}

pub(crate) fn tolerations(generator: &mut SchemaGenerator) -> Schema {
    list(&bare::<Toleration>(generator), 50, None)
}

pub(crate) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    list(&bare::<Condition>(generator), 16, Some("type"))
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

/// Labels of a Deployment. A value that is no label would make Kubernetes refuse the Deployment.
pub(crate) fn deployment_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE},
        RULES: [own_prefix_rule("labels")],
    })
}

/// Annotations of a Deployment.
pub(crate) fn deployment_annotations(_: &mut SchemaGenerator) -> Schema {
    let controller = well_known::DEPLOYMENT_CONTROLLER_PREFIX;
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string"},
        RULES: [
            own_prefix_rule("annotations"),
            {
                "rule": format!("self.all(key, !key.startsWith('{controller}'))"),
                "message": format!("annotations must not start with {controller}, which \
                                    Kubernetes sets itself"),
            },
        ],
    })
}

/// What Kubernetes accepts as the value of a label.
const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";

/// A number, or a percentage as a string.
pub(crate) fn count_or_percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 0,
        "maxLength": 4,
        "pattern": PERCENT,
    })
}

/// A percentage from 0 to 100.
const PERCENT: &str = "^(100|[1-9]?[0-9])%$";

/// For enums: the field that holds one describes it, and the type's own text would replace that.
pub(crate) fn no_description(schema: &mut Schema) {
    schema.remove("description");
}

const RULES: &str = "x-kubernetes-validations";

/// What Kubernetes accepts as a quantity, such as `500m`, `1.5Gi` or `1e3`. Anything else makes it
/// refuse the whole object, with a message that names no field.
const QUANTITY: &str =
    r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$";

/// The schema of a Kubernetes type without its descriptions, and with a pattern for each quantity.
fn bare<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<T>();
    if let Some(object) = schema.as_object_mut() {
        drop_descriptions(object);
        check_quantities(object);
    }
    schema
}

/// Adds the pattern to fields that hold quantities. By type they cannot be told from ports, which
/// are numbers or names; by field name they can.
fn check_quantities(schema: &mut Map<String, Value>) {
    for (name, field) in fields(schema) {
        match name.as_str() {
            "limits" | "requests" | "overhead" => {
                if let Some(Value::Object(value)) = field.get_mut("additionalProperties") {
                    value.insert("pattern".to_owned(), json!(QUANTITY));
                }
            }
            "sizeLimit" | "divisor" => {
                field.insert("pattern".to_owned(), json!(QUANTITY));
            }
            _ => {}
        }
        check_quantities(field);
    }
    for inside in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = schema.get_mut(inside) {
            check_quantities(inner);
        }
    }
}

/// The properties of a schema that are schemas themselves.
fn fields(
    schema: &mut Map<String, Value>,
) -> impl Iterator<Item = (&String, &mut Map<String, Value>)> {
    let properties = schema.get_mut("properties");
    let properties = properties.and_then(Value::as_object_mut).into_iter();
    properties
        .flatten()
        .filter_map(|(name, field)| Some((name, field.as_object_mut()?)))
}

/// Removes all descriptions. Visits only schema positions: `description` may also be the name of a
/// property.
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

fn list(items: &Schema, max_items: u32, key: Option<&str>) -> Schema {
    let mut schema = json_schema!({"type": "array", "maxItems": max_items, "items": items});
    if let (Some(key), Some(object)) = (key, schema.as_object_mut()) {
        key_by(object, key);
    }
    schema
}

/// Makes a list a map: the API server then refuses two items with the same key.
fn key_by(list: &mut Map<String, Value>, key: &str) {
    list.insert("x-kubernetes-list-type".to_owned(), json!("map"));
    list.insert("x-kubernetes-list-map-keys".to_owned(), json!([key]));
}

/// Changes the schema at a JSON pointer. The table of malformed resources proves that every pointer
/// still exists: a rule that got lost refuses nothing.
fn edit(schema: &mut Schema, pointer: &str, change: impl FnOnce(&mut Map<String, Value>)) {
    if let Some(Value::Object(object)) = schema.pointer_mut(pointer) {
        change(object);
    }
}
