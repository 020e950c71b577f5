{{- define "lakewing.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "lakewing.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "lakewing.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "lakewing.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The labels that servers are found by. */}}
{{- define "lakewing.selector" -}}
app.kubernetes.io/name: {{ include "lakewing.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{/* The labels that executors are found by; the server puts them on its pods. */}}
{{- define "lakewing.executors" -}}
app.kubernetes.io/managed-by: lakewing
lakewing.dev/release: {{ include "lakewing.fullname" . }}
{{- end }}

{{/* The metadata of an object; `name` is what follows the full name. */}}
{{- define "lakewing.metadata" -}}
{{- $labels := dict "app.kubernetes.io/name" (include "lakewing.name" .root) "app.kubernetes.io/instance" .root.Release.Name "app.kubernetes.io/managed-by" .root.Release.Service "app.kubernetes.io/version" .root.Chart.AppVersion "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version) }}
{{- $metadata := dict "name" (printf "%s%s" (include "lakewing.fullname" .root) (default "" .suffix)) "namespace" .root.Release.Namespace "labels" (mustMergeOverwrite (deepCopy .root.Values.commonLabels) $labels) }}
{{- with .name }}
{{- $_ := set $metadata "name" . }}
{{- end }}
{{- with .annotations }}
{{- $_ := set $metadata "annotations" . }}
{{- end }}
{{- toYaml (dict "metadata" $metadata) }}
{{- end }}

{{- define "lakewing.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "lakewing.serverAccount" -}}
{{- default (include "lakewing.fullname" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "lakewing.executorAccount" -}}
{{- default (printf "%s-executor" (include "lakewing.fullname" .)) .Values.executor.serviceAccount.name }}
{{- end }}

{{- define "lakewing.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled }}{{ include "lakewing.fullname" . }}-tls{{ else }}{{ .Values.tls.existingSecret }}{{ end }}
{{- end }}

{{- define "lakewing.executorTlsSecret" -}}
{{- if .Values.executorTls.certManager.enabled }}{{ include "lakewing.fullname" . }}-executor-tls{{ else }}{{ .Values.executorTls.existingSecret }}{{ end }}
{{- end }}
