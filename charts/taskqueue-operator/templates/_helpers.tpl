{{/* Names and labels used by every template. They render text only; no object is made here. */}}

{{/* The chart's name, or what the user calls it. */}}
{{- define "taskqueue-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of the objects: the release's name if it says what this is, else release and chart. Cut to
     leave room for the suffixes of the templates within 63 characters. */}}
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

{{/* The name of the leader lease. */}}
{{- define "taskqueue-operator.leaseName" -}}
{{- with .Values.leaderElection.leaseName -}}
{{- if not (regexMatch "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$" .) -}}
{{- fail (printf "leaderElection.leaseName %q is no name of an object: use lower-case letters, digits, - and ., or leave it empty" .) -}}
{{- end -}}
{{- end -}}
{{- default (printf "%s-leader" (include "taskqueue-operator.fullname" .)) .Values.leaderElection.leaseName -}}
{{- end -}}

{{/* The lease that version 0.1.0 took, whatever the release was called, unless a name was chosen. Who leads holds it as
     well, so that the two versions never write at the same time. */}}
{{- define "taskqueue-operator.formerLeaseName" -}}
{{- if has .Values.leaderElection.leaseName (list "" "taskqueue-operator") -}}
taskqueue-operator
{{- end -}}
{{- end -}}

{{/* Whether this upgrade replaces a process that writes without a lease, as version 0.1.0 did by default, by one that takes
     a lease. Kubernetes gives the old ReplicaSet the new number of replicas before it starts the new one, and the old
     process waits for nobody: only one replica, ended first, keeps it to one writer. Empty where the cluster cannot be
     asked (`helm template`). */}}
{{- define "taskqueue-operator.replacesOneWithoutLease" -}}
{{- if .Values.leaderElection.enabled -}}
{{- $running := lookup "apps/v1" "Deployment" .Release.Namespace (include "taskqueue-operator.fullname" .) -}}
{{- range dig "spec" "template" "spec" "containers" (list) $running -}}
{{- range .env -}}
{{- if and (eq .name "TASKQUEUE_OPERATOR_LEADER_ELECTION") (eq (toString .value) "false") -}}
true
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the selectors hold. It can never change in a running release. */}}
{{- define "taskqueue-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "taskqueue-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
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

{{- define "taskqueue-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "taskqueue-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* repository:tag, with @digest behind it where one is given; the tag is the chart's appVersion unless set. */}}
{{- define "taskqueue-operator.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{- printf "%s:%s@%s" .Values.image.repository $tag .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end -}}
{{- end -}}
