{{/* The configuration file of servers and executors. Scalars that the chart decides are variables, so that their sections may stand in `config`. */}}
{{- define "lakewing.config" -}}
listen = "0.0.0.0:31415"
data_dir = "/var/lib/lakewing/data"
{{ .Values.config | trim }}
{{- if include "lakewing.tlsSecret" . }}

[tls]
certificate = "/etc/lakewing-tls/tls.crt"
key = "/etc/lakewing-tls/tls.key"
{{- if .Values.tls.clientAuthority }}
client_authority = "/etc/lakewing-tls/ca.crt"
client_certificate_required = {{ .Values.tls.clientCertificateRequired }}
{{- end }}
{{- end }}

[metrics]
listen = "0.0.0.0:{{ int64 .Values.metrics.port }}"

[executor.mode]
type = "kubernetes"
lease = {{ include "lakewing.fullname" . | quote }}
namespace = {{ .Release.Namespace | quote }}
image = {{ include "lakewing.image" . | quote }}
port = {{ int64 .Values.executor.port }}
{{- if .Values.executor.resultsPort }}

[executor.results]
listen = "0.0.0.0:{{ int64 .Values.executor.resultsPort }}"
{{- end }}
{{- if include "lakewing.executorTlsSecret" . }}

[executor.tls]
certificate = "/etc/lakewing-executor-tls/tls.crt"
key = "/etc/lakewing-executor-tls/tls.key"
authority = "/etc/lakewing-executor-tls/ca.crt"
name = {{ .Values.executorTls.name | quote }}
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
{{- with $value }}
{{ $key }} = {{ . | quote }}
{{- end }}
{{- end }}

[executor.sets.pod]
template = "/etc/lakewing/executor-{{ .name }}.yaml"
{{- with .cpu }}
cpu = {{ . | toString | quote }}
{{- end }}
{{- with .pendingTimeout }}
pending_timeout = {{ . | quote }}
{{- end }}
{{- range $key, $value := dict "memory_bytes" .memoryBytes "memory_overhead_bytes" .memoryOverheadBytes "scratch_bytes" .scratchBytes }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ int64 $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
