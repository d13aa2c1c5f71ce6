{{/* Names and labels that every template uses. They render text only and create no object. */}}

{{/* The chart's name, or the user's nameOverride. */}}
{{- define "taskqueue-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of the objects: the release's name if it contains the chart's name, else release and
     chart. Cut to leave room for the suffixes of the templates within 63 characters. */}}
{{- define "taskqueue-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "taskqueue-operator.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The namespace of the operator: that of the release, or the user's namespaceOverride. */}}
{{- define "taskqueue-operator.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* The name of the leader lease. */}}
{{- define "taskqueue-operator.leaseName" -}}
{{- with .Values.leaderElection.leaseName -}}
{{- if not (regexMatch "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$" .) -}}
{{- fail (printf "leaderElection.leaseName %q is not a valid object name: use lower-case letters, digits, - and ., or leave it empty" .) -}}
{{- end -}}
{{- end -}}
{{- default (printf "%s-leader" (include "taskqueue-operator.fullname" .)) .Values.leaderElection.leaseName -}}
{{- end -}}

{{/* The lease that version 0.1.0 used, whatever the name of the release, unless the user chose
     another name. The leader holds it as well, so that the two versions never write at the same
     time. */}}
{{- define "taskqueue-operator.formerLeaseName" -}}
{{- if has .Values.leaderElection.leaseName (list "" "taskqueue-operator") -}}
taskqueue-operator
{{- end -}}
{{- end -}}

{{/* Whether this upgrade replaces a process that writes without a lease (the default of version
     0.1.0) by one that takes a lease. Kubernetes scales the old ReplicaSet to the new number of
     replicas before it starts the new one, and the old processes do not wait for a lease. Only a
     single replica that ends before the next starts keeps one writer. Empty if helm does not ask
     the cluster (`helm template`). */}}
{{- define "taskqueue-operator.replacesOneWithoutLease" -}}
{{- if .Values.leaderElection.enabled -}}
{{- $running := lookup "apps/v1" "Deployment" (include "taskqueue-operator.namespace" .) (include "taskqueue-operator.fullname" .) -}}
{{- range dig "spec" "template" "spec" "containers" (list) $running -}}
{{- range .env -}}
{{- if and (eq .name "TASKQUEUE_OPERATOR_LEADER_ELECTION") (eq (toString .value) "false") -}}
true
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The DNS policy of the pods. On the network of the node, the default would not resolve the names of
     Services. Empty: that of Kubernetes. */}}
{{- define "taskqueue-operator.dnsPolicy" -}}
{{- default (ternary "ClusterFirstWithHostNet" "" .Values.hostNetwork) .Values.dnsPolicy -}}
{{- end -}}

{{/* The labels of the selectors. They must never change in a running release. */}}
{{- define "taskqueue-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "taskqueue-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The labels of the pods: none that changes with the chart, so that a new version of it restarts no
     pod of the same image. */}}
{{- define "taskqueue-operator.podLabels" -}}
{{ include "taskqueue-operator.selectorLabels" . }}
{{- range list .Values.commonLabels .Values.podLabels }}
{{- with . }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "taskqueue-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "taskqueue-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: taskqueue-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The annotations of an object: a dict with `root` and, if the object has its own, `own`. */}}
{{- define "taskqueue-operator.annotations" -}}
{{- with merge (dict) (.own | default dict) .root.Values.commonAnnotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "taskqueue-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "taskqueue-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is required when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* registry/repository:tag, with @digest if it is set. The default tag is the chart's appVersion.
     A repository that names its registry (a host with a dot or a port, or localhost) gets no other
     in front of it. */}}
{{- define "taskqueue-operator.image" -}}
{{- $registry := default .Values.image.registry .Values.global.imageRegistry | trimSuffix "/" -}}
{{- $repository := .Values.image.repository -}}
{{- if not (or $registry (contains "/" $repository)) -}}
{{- fail (printf "image.repository %q names no registry, and there is no public image: build the image with the Dockerfile of the repository, push it, and set image.repository=REGISTRY/taskqueue-operator (localhost/taskqueue-operator for an image that the nodes have already)" $repository) -}}
{{- end -}}
{{- if and $registry (not (regexMatch "^([^/]*[.:][^/]*|localhost)/" $repository)) -}}
{{- $repository = printf "%s/%s" $registry $repository -}}
{{- end -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{- printf "%s:%s@%s" $repository $tag .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository $tag -}}
{{- end -}}
{{- end -}}

{{/* The pull secrets of the release and of a parent chart, as a list under `secrets`. A parent chart
     may give names alone. */}}
{{- define "taskqueue-operator.imagePullSecrets" -}}
{{- $secrets := list -}}
{{- range concat .Values.imagePullSecrets .Values.global.imagePullSecrets -}}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) -}}
{{- end -}}
{{- with uniq $secrets -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* The rules for the workloads that queues name in scaleTargetRef: nothing by default. */}}
{{- define "taskqueue-operator.scaleTargetRules" -}}
{{- range .Values.scaleTargets }}
# A workload that a queue names in scaleTargetRef. get: its replicas and the selector of its pods.
# patch: set its replicas. Nothing else of it.
- apiGroups: [{{ .apiGroup | quote }}]
  resources: [{{ printf "%s/scale" .resource }}]
  verbs: [get, patch]
{{- end }}
{{- end -}}
