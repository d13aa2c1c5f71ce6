{{/* The operator's rights in the namespaces that it watches: the rules of the ClusterRole, or of
     one Role per namespace. Every rule says why it needs each verb; a test rejects a rule without a
     comment. No wildcard, no delete beyond the kinds that the operator creates, Secrets and
     ConfigMaps by get only. The operator never reads CRDs, namespaces and nodes. */}}
{{- define "taskqueue-operator.workloadRules" -}}
# The resources that users write. get, list, watch: read and follow them. The operator writes only
# their status.
- apiGroups: [taskqueue.dev]
  resources: [taskqueueworkers, temporalconnections]
  verbs: [get, list, watch]
# patch: conditions and the last decision of each queue, by server-side apply.
- apiGroups: [taskqueue.dev]
  resources: [taskqueueworkers/status]
  verbs: [patch]
# patch: whether a connection is valid, which fleets refer to it and when its certificates expire,
# by server-side apply.
- apiGroups: [taskqueue.dev]
  resources: [temporalconnections/status]
  verbs: [patch]
# update: owner references that block their owner's deletion, if the admission plugin
# OwnerReferencesPermissionEnforcement is on (as in OpenShift). The operator sets no finalizer.
- apiGroups: [taskqueue.dev]
  resources: [taskqueueworkers/finalizers]
  verbs: [update]
# The workers: one Deployment per task queue. get, list, watch: notice when somebody changes or
# deletes one. create, patch: server-side apply, and the annotation that keeps the recurring load of
# a queue. delete: the Deployment of a queue that was removed from the spec.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# patch: set replicas, only through the scale subresource and with a separate field manager.
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
# list, watch: name an autoscaler that scales the same workload as a queue.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch]
# The workers' disruption budgets, for fleets that set one. get: never take over somebody else's.
# create, patch: server-side apply. delete: a budget that the fleet no longer sets.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch, delete]
# get, list, watch: which workers are starting, ready, draining or stuck. patch: the deletion cost
# that makes Kubernetes remove an idle pod before a busy one, and the annotations that spare the
# node of a busy pod. The operator never creates or deletes pods directly.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
# get, by name only: the certificates and API keys that a connection refers to. The operator never
# lists or watches Secrets.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
# get, by name only: the certificate authorities that a connection takes from a ConfigMap. The
# operator never lists or watches ConfigMaps.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
# create: report decisions and their reasons. patch: count a repeated Event instead of creating
# another.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* The operator's rights to what belongs to no namespace: rules of a ClusterRole. */}}
{{- define "taskqueue-operator.clusterConnectionRules" -}}
# The connections that cluster administrators write. get, list, watch: read and follow them. The
# operator writes only their status.
- apiGroups: [taskqueue.dev]
  resources: [clustertemporalconnections]
  verbs: [get, list, watch]
# patch: whether a connection is valid, which fleets refer to it and when the operator's own
# certificate expires, by server-side apply.
- apiGroups: [taskqueue.dev]
  resources: [clustertemporalconnections/status]
  verbs: [patch]
{{- end -}}
