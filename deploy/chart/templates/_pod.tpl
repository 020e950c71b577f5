{{/*
What servers and executors have in common: `values` is their block, `component` names them and their container, `container`,
`env`, `envFrom`, `volumes`, `mounts` and `annotations` are what only one of them has. Gives metadata and spec.
*/}}
{{- define "lakewing.pod" -}}
{{- $values := .values }}
{{- $mounts := .mounts }}
{{- $volumes := .volumes }}
{{- range $values.configMounts }}
{{- $mounts = append $mounts (dict "name" .name "mountPath" .path "readOnly" true) }}
{{- $volumes = append $volumes (dict "name" .name "configMap" (dict "name" .configMap)) }}
{{- end }}
{{- range $values.secretMounts }}
{{- $mounts = append $mounts (dict "name" .name "mountPath" .path "readOnly" true) }}
{{- $volumes = append $volumes (dict "name" .name "secret" (dict "secretName" .secret)) }}
{{- end }}
{{- $container := mustMergeOverwrite (dict "name" .component "imagePullPolicy" .root.Values.image.pullPolicy) .container }}
{{- $_ := set $container "volumeMounts" (concat $mounts $values.extraVolumeMounts) }}
{{- $_ := set $container "env" (concat .env $values.extraEnv) }}
{{- with concat .envFrom $values.envFrom }}
{{- $_ := set $container "envFrom" . }}
{{- end }}
{{- range $key := list "resources" "securityContext" "lifecycle" "startupProbe" "readinessProbe" "livenessProbe" }}
{{- with index $values $key }}
{{- $_ := set $container $key . }}
{{- end }}
{{- end }}
{{- $spec := dict "serviceAccountName" .account "automountServiceAccountToken" .token "terminationGracePeriodSeconds" $values.terminationGracePeriodSeconds "containers" (prepend $values.sidecars $container) "volumes" (concat $volumes $values.extraVolumes) }}
{{- with .root.Values.imagePullSecrets }}
{{- $_ := set $spec "imagePullSecrets" . }}
{{- end }}
{{- with $values.podSecurityContext }}
{{- $_ := set $spec "securityContext" . }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "priorityClassName" "initContainers" }}
{{- with index $values $key }}
{{- $_ := set $spec $key . }}
{{- end }}
{{- end }}
{{- $labels := mustMergeOverwrite (deepCopy .root.Values.commonLabels) (deepCopy $values.podLabels) (dict "app.kubernetes.io/name" (include "lakewing.name" .root) "app.kubernetes.io/instance" .root.Release.Name "app.kubernetes.io/component" .component) }}
{{- $metadata := dict "labels" $labels }}
{{- with mustMergeOverwrite (deepCopy $values.podAnnotations) .annotations }}
{{- $_ := set $metadata "annotations" . }}
{{- end }}
{{- toYaml (dict "metadata" $metadata "spec" (mustMergeOverwrite $spec (deepCopy $values.extraPodSpec))) }}
{{- end }}

{{/* The Pod that the executors of `set` are made from. */}}
{{- define "lakewing.executor" -}}
{{- $root := .root }}
{{- $values := omit (deepCopy $root.Values.executor) "sets" }}
{{- range $key, $value := .set }}
{{- $_ := set $values $key $value }}
{{- end }}
{{- $mounts := list (dict "name" "config" "mountPath" "/etc/lakewing" "readOnly" true) }}
{{- $volumes := list (dict "name" "config" "configMap" (dict "name" (include "lakewing.fullname" $root))) }}
{{- with include "lakewing.executorTlsSecret" $root }}
{{- $mounts = append $mounts (dict "name" "executor-tls" "mountPath" "/etc/lakewing-executor-tls" "readOnly" true) }}
{{- $volumes = append $volumes (dict "name" "executor-tls" "secret" (dict "secretName" .)) }}
{{- end }}
{{- $env := list (dict "name" "LAKEWING__EXECUTOR__GRACE" "value" (printf "%ds" (int64 $values.graceSeconds))) }}
{{- $from := list }}
{{- with $values.existingSecret }}
{{- $from = append $from (dict "secretRef" (dict "name" .)) }}
{{- end }}
{{- include "lakewing.pod" (dict "root" $root "values" $values "component" "executor" "container" (dict) "env" $env "envFrom" $from "volumes" $volumes "mounts" $mounts "annotations" (dict) "account" (include "lakewing.executorAccount" $root) "token" false) }}
{{- end }}

{{/* The pods of servers. */}}
{{- define "lakewing.server" -}}
{{- $values := .Values.server }}
{{- $mounts := list (dict "name" "config" "mountPath" "/etc/lakewing" "readOnly" true) (dict "name" "data" "mountPath" "/var/lib/lakewing/data") (dict "name" "scratch" "mountPath" "/var/lib/lakewing/scratch") }}
{{- $volumes := list (dict "name" "config" "configMap" (dict "name" (include "lakewing.fullname" .))) }}
{{- $volumes = append $volumes (dict "name" "data" "emptyDir" (dict "sizeLimit" (div (mul (int64 .Values.spool.bytesMax) 11) 10 | toString))) }}
{{- $volumes = append $volumes (dict "name" "scratch" "emptyDir" (dict "sizeLimit" (int64 $values.scratchBytes | toString))) }}
{{- range $name, $secret := dict "tls" (include "lakewing.tlsSecret" .) "executor-tls" (include "lakewing.executorTlsSecret" .) }}
{{- if $secret }}
{{- $mounts = append $mounts (dict "name" $name "mountPath" (printf "/etc/lakewing-%s" $name) "readOnly" true) }}
{{- $volumes = append $volumes (dict "name" $name "secret" (dict "secretName" $secret)) }}
{{- end }}
{{- end }}
{{- $settings := dict "SHUTDOWN_GRACE" (printf "%ds" (int64 $values.shutdownGraceSeconds)) "AUTH__MODE" .Values.auth.mode "SPOOL__BYTES_MAX" (int64 .Values.spool.bytesMax) "SPOOL__LIFETIME" .Values.spool.lifetime "EXECUTOR__TARGET_PARTITIONS" (int64 .Values.executor.targetPartitions) "EXECUTOR__LOCAL_SCAN_BYTES_MAX" (int64 .Values.executor.localScanBytesMax) "EXECUTOR__GRACE" (printf "%ds" (int64 .Values.executor.graceSeconds)) "EXECUTOR__SPILL_DIR" "/var/lib/lakewing/scratch" "EXECUTOR__SPILL_BYTES_MAX" (sub (int64 $values.scratchBytes) (div (int64 $values.scratchBytes) 10)) }}
{{- with .Values.spool.location }}
{{- $_ := set $settings "SPOOL__LOCATION" . }}
{{- end }}
{{- if eq .Values.auth.mode "anonymous" }}
{{- $_ := set $settings "AUTH__ALLOW_ANONYMOUS_REMOTE" "true" }}
{{- end }}
{{- $env := list }}
{{- $auth := .Values.auth }}
{{- if and $auth.existingSecret $auth.usersKey (ne $auth.mode "anonymous") }}
{{- $_ := set $settings "AUTH__USERS_FILE" "/etc/lakewing-auth/users" }}
{{- $mounts = append $mounts (dict "name" "auth" "mountPath" "/etc/lakewing-auth" "readOnly" true) }}
{{- $volumes = append $volumes (dict "name" "auth" "secret" (dict "secretName" $auth.existingSecret "items" (list (dict "key" $auth.usersKey "path" "users")))) }}
{{- end }}
{{- range $key, $value := $settings }}
{{- $env = append $env (dict "name" (printf "LAKEWING__%s" $key) "value" (toString $value)) }}
{{- end }}
{{- if and $auth.existingSecret $auth.secretKey }}
{{- $env = append $env (dict "name" "LAKEWING__AUTH__SECRET" "valueFrom" (dict "secretKeyRef" (dict "name" $auth.existingSecret "key" $auth.secretKey "optional" (ne (include "lakewing.isSeveral" .) "true")))) }}
{{- end }}
{{- $from := list }}
{{- with .Values.existingSecret }}
{{- $from = append $from (dict "secretRef" (dict "name" .)) }}
{{- end }}
{{- $container := dict "image" (include "lakewing.image" .) "args" (list "serve" "--config" "/etc/lakewing/lakewing.toml") "ports" (list (dict "name" "flight" "containerPort" 31415) (dict "name" "metrics" "containerPort" (int64 .Values.metrics.port))) }}
{{- $annotations := dict "checksum/config" (include (print $.Template.BasePath "/configmap.yaml") . | sha256sum) }}
{{- include "lakewing.pod" (dict "root" . "values" $values "component" "server" "container" $container "env" $env "envFrom" $from "volumes" $volumes "mounts" $mounts "annotations" $annotations "account" (include "lakewing.serverAccount" .) "token" true) }}
{{- end }}
