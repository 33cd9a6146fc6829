{{/* Name of all objects. It is not the release's: the old chart called them so, and a Deployment keeps its selector. */}}
{{- define "postgres-provisioner.name" -}}
{{ .Values.fullnameOverride | default "postgres-provisioner" }}
{{- end }}

{{- define "postgres-provisioner.namespace" -}}
{{ .Values.namespace | default .Release.Namespace }}
{{- end }}

{{- define "postgres-provisioner.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "postgres-provisioner.name" .) }}
{{- end }}

{{- define "postgres-provisioner.labels" -}}
app: {{ include "postgres-provisioner.name" . }}
app.kubernetes.io/name: postgres-provisioner
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* "true" when the operator has a server of its own; half a server is an error. */}}
{{- define "postgres-provisioner.hasServer" -}}
{{- if and .Values.postgres.host .Values.postgres.secretName -}}
true
{{- else if or .Values.postgres.host .Values.postgres.secretName -}}
{{- fail "postgres.host and postgres.secretName count only together: set both, or make both empty" }}
{{- end }}
{{- end }}

{{/* What the operator does in a namespace that it watches. */}}
{{- define "postgres-provisioner.rules" -}}
# patch: the finalizer.
- apiGroups: [pgprovisioner.drewsonne.github.io]
  resources: [postgresdatabases, postgresusers]
  verbs: [list, watch, patch]
# A database that is deleted takes its users along.
- apiGroups: [pgprovisioner.drewsonne.github.io]
  resources: [postgresusers]
  verbs: [delete]
- apiGroups: [pgprovisioner.drewsonne.github.io]
  resources: [postgresdatabases/status, postgresusers/status]
  verbs: [patch]
# Credentials, and the admin credentials that resources name.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
