{{/*
What the operator may do in the namespaces it watches: the rules of the ClusterRole, or of one Role per namespace.
Every rule says why each verb is needed; a test refuses a rule without its comment. No wildcard, no delete beyond
the kinds that the operator creates, Secrets by get only. CRDs, namespaces and nodes are never read.
*/}}
{{- define "taskqueue-operator.workloadRules" -}}
# The resources that users write. get, list, watch: read and follow them. They are never written, apart from their status.
- apiGroups: [taskqueue.dev]
  resources: [taskqueueworkers, temporalconnections]
  verbs: [get, list, watch]
# patch: conditions and the last decision of each queue, by server-side apply.
- apiGroups: [taskqueue.dev]
  resources: [taskqueueworkers/status]
  verbs: [patch]
# update: owner references that block their owner's deletion, where the admission plugin
# OwnerReferencesPermissionEnforcement is on (as in OpenShift). No finalizer is set.
- apiGroups: [taskqueue.dev]
  resources: [taskqueueworkers/finalizers]
  verbs: [update]
# The workers: one Deployment per task queue. get, list, watch: notice when one is changed or deleted by hand.
# create, patch: server-side apply. delete: the Deployment of a queue that left the resource.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# patch: replicas are set through the scale subresource only, under a field manager of its own.
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
# The workers' disruption budgets, for fleets that ask for one. get: not to take over one of somebody else. create, patch:
# server-side apply. delete: one that is no longer asked for.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch, delete]
# get, list, watch: which workers are starting, ready, ending or stuck. patch: the deletion cost that makes Kubernetes
# end an idle pod before a busy one. Pods are never created or deleted directly.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
# get, and by name only: the certificates and API keys that a connection refers to. Secrets are never listed or watched.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
# create: say what was decided and why. patch: count a repeated event instead of writing another.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
