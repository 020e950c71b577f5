{{- define "lakewing.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "lakewing.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "lakewing.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "lakewing.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "lakewing.selector" -}}
app.kubernetes.io/name: {{ include "lakewing.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{- define "lakewing.labels" -}}
{{ include "lakewing.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "lakewing.account" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "lakewing.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "lakewing.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* The Pod that the executors of a set are made from: ours, then podTemplate, then that of the set. */}}
{{- define "lakewing.executor" -}}
{{- $mounts := list (dict "name" "config" "mountPath" "/etc/lakewing" "readOnly" true) }}
{{- $volumes := list (dict "name" "config" "configMap" (dict "name" (include "lakewing.fullname" .root))) }}
{{- if .root.Values.executorTls.existingSecret }}
{{- $mounts = append $mounts (dict "name" "executor-tls" "mountPath" "/etc/lakewing-executor-tls" "readOnly" true) }}
{{- $volumes = append $volumes (dict "name" "executor-tls" "secret" (dict "secretName" .root.Values.executorTls.existingSecret)) }}
{{- end }}
{{- $given := mustMergeOverwrite (dict) (deepCopy .root.Values.executor.podTemplate) (deepCopy (default (dict) .set.podTemplate)) }}
{{- $spec := default (dict) $given.spec }}
{{- $container := dict "name" "executor" "imagePullPolicy" .root.Values.image.pullPolicy }}
{{- $others := list }}
{{- range (default (list) $spec.containers) }}
{{- if eq .name "executor" }}
{{- $container = mustMergeOverwrite $container . }}
{{- else }}
{{- $others = append $others . }}
{{- end }}
{{- end }}
{{- $_ := set $container "volumeMounts" (concat $mounts (default (list) $container.volumeMounts)) }}
{{- if .root.Values.executorExistingSecret }}
{{- $secret := list (dict "secretRef" (dict "name" .root.Values.executorExistingSecret)) }}
{{- $_ := set $container "envFrom" (concat $secret (default (list) $container.envFrom)) }}
{{- end }}
{{- $_ := set $spec "containers" (prepend $others $container) }}
{{- $_ := set $spec "volumes" (concat $volumes (default (list) $spec.volumes)) }}
{{- if .root.Values.imagePullSecrets }}
{{- $_ := set $spec "imagePullSecrets" .root.Values.imagePullSecrets }}
{{- end }}
{{- if .root.Values.executor.serviceAccountName }}
{{- $_ := set $spec "serviceAccountName" .root.Values.executor.serviceAccountName }}
{{- end }}
{{- if not $spec.securityContext }}
{{- $_ := set $spec "securityContext" .root.Values.server.podSecurityContext }}
{{- end }}
{{- $metadata := default (dict) $given.metadata }}
{{- $labels := dict "app.kubernetes.io/name" (include "lakewing.name" .root) "app.kubernetes.io/instance" .root.Release.Name "app.kubernetes.io/component" "executor" }}
{{- $_ := set $metadata "labels" (mustMergeOverwrite $labels .root.Values.commonLabels (default (dict) $metadata.labels)) }}
{{- toYaml (dict "metadata" $metadata "spec" $spec) }}
{{- end }}

{{/* The configuration file of servers and executors. */}}
{{- define "lakewing.config" -}}
listen = "0.0.0.0:31415"
data_dir = "/var/lib/lakewing/data"
shutdown_grace = {{ .Values.server.shutdownGrace | quote }}
{{ required "config must name at least one catalog" .Values.config | trim }}
{{- if .Values.tls.existingSecret }}

[tls]
certificate = "/etc/lakewing-tls/tls.crt"
key = "/etc/lakewing-tls/tls.key"
{{- end }}

[executor]
target_partitions = {{ int64 .Values.executor.targetPartitions }}
local_scan_bytes_max = {{ int64 .Values.executor.localScanBytesMax }}
grace = {{ .Values.executor.grace | quote }}

[executor.mode]
type = "kubernetes"
lease = {{ include "lakewing.fullname" . | quote }}
namespace = {{ .Release.Namespace | quote }}
image = {{ include "lakewing.image" . | quote }}
port = {{ int64 .Values.executor.port }}
{{- with .Values.executorTls }}
{{- if .existingSecret }}

[executor.tls]
certificate = "/etc/lakewing-executor-tls/tls.crt"
key = "/etc/lakewing-executor-tls/tls.key"
authority = "/etc/lakewing-executor-tls/ca.crt"
name = {{ .name | quote }}
{{- end }}
{{- end }}
{{- range .Values.executor.sets }}

[[executor.sets]]
name = {{ .name | quote }}
{{- range $key, $value := dict "min" .min "initial" .initial "max" .max "tasks_per_executor" .tasksPerExecutor "budget_seconds" .budgetSeconds }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ int64 $value }}
{{- end }}
{{- end }}
{{- range $key, $value := dict "idle_timeout" .idleTimeout "start_timeout" .startTimeout "round" .round "cool_down" .coolDown "budget_period" .budgetPeriod }}
{{- if $value }}
{{ $key }} = {{ $value | quote }}
{{- end }}
{{- end }}

[executor.sets.pod]
template = "/etc/lakewing/executor-{{ .name }}.yaml"
{{- if .cpu }}
cpu = {{ .cpu | toString | quote }}
{{- end }}
{{- if .pendingTimeout }}
pending_timeout = {{ .pendingTimeout | quote }}
{{- end }}
{{- range $key, $value := dict "memory_bytes" .memoryBytes "memory_overhead_bytes" .memoryOverheadBytes "scratch_bytes" .scratchBytes }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ int64 $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
