//! An API server that has fleets, connections of the cluster, Secrets and ConfigMaps, accepts every
//! write, and records it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Request, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

const FLEETS: &str = "/apis/taskqueue.dev/v1alpha1/namespaces/shop/taskqueueworkers/";
const SECRETS: &str = "/api/v1/namespaces/shop/secrets/";
const OPERATOR_SECRETS: &str = "/api/v1/namespaces/taskqueue-system/secrets/";
const CONFIG_MAPS: &str = "/api/v1/namespaces/shop/configmaps/";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";

#[derive(Clone)]
pub(crate) struct Cluster {
    address: String,
    objects: Arc<Mutex<Objects>>,
}

/// What the cluster has at the start, by name.
pub(crate) struct Given {
    pub(crate) fleets: BTreeMap<String, Value>,
    pub(crate) cluster_connections: Vec<Value>,
    pub(crate) secrets: BTreeMap<String, Value>,
    /// Those in the namespace of the operator.
    pub(crate) operator_secrets: BTreeMap<String, Value>,
    pub(crate) config_maps: BTreeMap<String, Value>,
}

struct Objects {
    given: Given,
    events: Vec<Value>,
    /// The body of every write.
    written: Vec<String>,
}

impl Cluster {
    pub(crate) async fn start(given: Given) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let objects = Objects {
            given,
            events: Vec::new(),
            written: Vec::new(),
        };
        let cluster = Self {
            address,
            objects: Arc::new(Mutex::new(objects)),
        };
        let router = Router::new().fallback(answer).with_state(cluster.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        cluster
    }

    pub(crate) fn kubeconfig(&self, token: &str) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{
                "name": "c", "context": {"cluster": "c", "user": "u", "namespace": "shop"},
            }],
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "u", "user": {"token": token}}],
        })
        .to_string()
    }

    /// The reason of every condition that is not true, by fleet and type.
    pub(crate) fn reasons(&self) -> BTreeMap<(String, String), String> {
        let objects = self.objects.lock().unwrap();
        let mut reasons = BTreeMap::new();
        for (name, fleet) in &objects.given.fleets {
            let conditions = fleet["status"]["conditions"].as_array();
            for condition in conditions.into_iter().flatten() {
                let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
                if text("status") != "True" {
                    reasons.insert((name.clone(), text("type")), text("reason"));
                }
            }
        }
        reasons
    }

    pub(crate) fn events(&self) -> String {
        Value::from(self.objects.lock().unwrap().events.clone()).to_string()
    }

    /// Everything that was written, one line per write.
    pub(crate) fn written(&self) -> String {
        self.objects.lock().unwrap().written.join("\n")
    }
}

async fn answer(State(cluster): State<Cluster>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    if parts
        .uri
        .query()
        .is_some_and(|query| query.contains("watch=true"))
    {
        // Nobody else ever changes anything.
        let silence = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        return Body::from_stream(silence).into_response();
    }
    let mut objects = cluster.objects.lock().unwrap();
    let answer = if parts.method == Method::GET {
        objects.read(&parts.uri)
    } else {
        let text = String::from_utf8_lossy(&body).into_owned();
        let sent = serde_json::from_str(&text).unwrap_or(Value::Null);
        objects.written.push(text);
        Some(objects.write(&parts.uri, sent))
    };
    if let Some(object) = answer {
        return (StatusCode::OK, object.to_string()).into_response();
    }
    let failure = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 404,
        "reason": "NotFound", "message": "not found",
    });
    (StatusCode::NOT_FOUND, failure.to_string()).into_response()
}

/// A connection like that of a fleet, of the same name.
fn connection_of((name, fleet): (&String, &Value)) -> Option<Value> {
    let spec = fleet["spec"].get("connection")?;
    Some(json!({
        "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TemporalConnection",
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("connection-{name}"),
            "generation": 1, "resourceVersion": "1",
        },
        "spec": spec,
    }))
}

impl Objects {
    fn read(&self, uri: &Uri) -> Option<Value> {
        let list = |items: Vec<Value>| {
            Some(json!({
                "apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"},
                "items": items,
            }))
        };
        let path = uri.path();
        if let Some(name) = path.strip_prefix(FLEETS) {
            return self.given.fleets.get(name).cloned();
        }
        if let Some(name) = path.strip_prefix(SECRETS) {
            return self.given.secrets.get(name).cloned();
        }
        if let Some(name) = path.strip_prefix(OPERATOR_SECRETS) {
            return self.given.operator_secrets.get(name).cloned();
        }
        if let Some(name) = path.strip_prefix(CONFIG_MAPS) {
            return self.given.config_maps.get(name).cloned();
        }
        match path.rsplit('/').next()? {
            "taskqueueworkers" => list(self.given.fleets.values().cloned().collect()),
            "events" => list(self.events.clone()),
            "temporalconnections" => {
                list(self.given.fleets.iter().filter_map(connection_of).collect())
            }
            "clustertemporalconnections" => list(self.given.cluster_connections.clone()),
            "deployments" | "pods" | "replicasets" | "poddisruptionbudgets" => list(Vec::new()),
            _ => None,
        }
    }

    fn write(&mut self, uri: &Uri, mut sent: Value) -> Value {
        let path = uri.path();
        let fleet = path
            .strip_prefix(FLEETS)
            .and_then(|rest| rest.strip_suffix("/status"))
            .and_then(|name| self.given.fleets.get_mut(name));
        if let Some(fleet) = fleet {
            fleet["status"] = sent["status"].take();
            return fleet.clone();
        }
        if path == EVENTS {
            self.events.push(sent.clone());
            return sent;
        }
        sent["metadata"]["resourceVersion"] = json!("100");
        sent["metadata"]["uid"] = json!("uid-of-what-was-made");
        if path.contains("/deployments/") {
            for field in ["selector", "template"] {
                if sent["spec"].get(field).is_none() {
                    sent["spec"][field] = json!({});
                }
            }
            if sent["spec"].get("replicas").is_none() {
                sent["spec"]["replicas"] = json!(0);
            }
        }
        sent
    }
}
