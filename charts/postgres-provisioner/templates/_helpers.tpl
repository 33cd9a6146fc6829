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

{{/* Helm's --reuse-values leaves out what an earlier chart did not have, and templates then fail at some place or another. */}}
{{- define "postgres-provisioner.complete" -}}
{{- range list "postgres" "image" "connections" "namespaces" "crds" "log" "metrics" "leaderElection" "serviceAccount" "rbac" "networkPolicy" }}
{{- if not (kindIs "map" (get $.Values .)) }}
{{- fail (printf "the value %s is missing, as with the values of an earlier chart that --reuse-values keeps: use --reset-then-reuse-values (Helm 3.14 and later), or -f with your own values" .) }}
{{- end }}
{{- end }}
{{- end }}
