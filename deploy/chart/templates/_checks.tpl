{{/* Values that contradict each other end the render here. */}}
{{- define "lakewing.checks" -}}
{{- $values := .Values }}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$" (include "lakewing.fullname" .)) }}
{{- fail (printf "the full name %q must be of lower-case letters, digits and -: set fullnameOverride" (include "lakewing.fullname" .)) }}
{{- end }}
{{- include "lakewing.checks.config" . }}
{{- if and (eq $values.auth.mode "basic") (or (not $values.auth.existingSecret) (not $values.auth.usersKey)) }}
{{- fail "auth.mode basic needs auth.existingSecret, a Secret whose key auth.usersKey holds a line of `lakewing hash-password --user NAME` for each user" }}
{{- end }}
{{- if eq (include "lakewing.isSeveral" .) "true" }}
{{- if or (not $values.auth.existingSecret) (not $values.auth.secretKey) }}
{{- fail "several servers need auth.existingSecret and auth.secretKey: what one has signed the others must accept" }}
{{- end }}
{{- if not $values.spool.location }}
{{- fail "several servers need spool.location, a place that all of them reach, such as s3://bucket/spool" }}
{{- end }}
{{- end }}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas must be at most autoscaling.maxReplicas" }}
{{- end }}
{{- $sleep := dig "preStop" "sleep" "seconds" 0 $values.server.lifecycle }}
{{- if le (int $values.server.terminationGracePeriodSeconds) (add (int $values.server.shutdownGraceSeconds) (int $sleep)) }}
{{- fail "server.terminationGracePeriodSeconds must be longer than server.shutdownGraceSeconds and the sleep of server.lifecycle together" }}
{{- end }}
{{- if not (or $values.serviceAccount.create $values.serviceAccount.name) }}
{{- fail "serviceAccount.name is needed where serviceAccount.create is false" }}
{{- end }}
{{- if not (or $values.executor.serviceAccount.create $values.executor.serviceAccount.name) }}
{{- fail "executor.serviceAccount.name is needed where executor.serviceAccount.create is false" }}
{{- end }}
{{- $budget := $values.podDisruptionBudget }}
{{- if and $budget.enabled (eq (toString $budget.minAvailable | empty) (toString $budget.maxUnavailable | empty)) }}
{{- fail "podDisruptionBudget takes one of minAvailable and maxUnavailable: set the other to \"\"" }}
{{- end }}
{{- range $name := list "tls" "executorTls" }}
{{- $tls := index $values $name }}
{{- if and $tls.existingSecret $tls.certManager.enabled }}
{{- fail (printf "%s takes one of existingSecret and certManager" $name) }}
{{- end }}
{{- if and $tls.certManager.enabled (not $tls.certManager.issuerRef.name) }}
{{- fail (printf "%s.certManager.issuerRef.name is needed" $name) }}
{{- end }}
{{- end }}
{{- if and $values.tls.certManager.enabled (not $values.tls.certManager.dnsNames) }}
{{- fail "tls.certManager.dnsNames must name the server as clients do" }}
{{- end }}
{{- if and (or $values.tls.clientAuthority $values.tls.clientCertificateRequired) (not (include "lakewing.tlsSecret" .)) }}
{{- fail "tls.clientAuthority needs tls.existingSecret or tls.certManager" }}
{{- end }}
{{- if and $values.tls.clientCertificateRequired (not $values.tls.clientAuthority) }}
{{- fail "tls.clientCertificateRequired needs tls.clientAuthority" }}
{{- end }}
{{- if and $values.ingress.enabled (not $values.ingress.hosts) }}
{{- fail "ingress.hosts must name at least one host" }}
{{- end }}
{{- if and $values.grpcRoute.enabled (not $values.grpcRoute.parentRefs) }}
{{- fail "grpcRoute.parentRefs must name at least one Gateway" }}
{{- end }}
{{- if eq (int64 $values.metrics.port) 31415 }}
{{- fail "metrics.port must not be 31415, which is Flight SQL's" }}
{{- end }}
{{- $results := int64 $values.executor.resultsPort }}
{{- if and $results (include "lakewing.tlsSecret" .) }}
{{- fail "executor.resultsPort takes servers without TLS: clients with it are not sent to plain connections" }}
{{- end }}
{{- if eq $results (int64 $values.executor.port) }}
{{- fail "executor.resultsPort must not be executor.port, where tasks arrive" }}
{{- end }}
{{- include "lakewing.checks.sets" . }}
{{- end }}

{{- define "lakewing.isSeveral" -}}
{{- if .Values.autoscaling.enabled }}{{ gt (int .Values.autoscaling.maxReplicas) 1 }}{{ else }}{{ gt (int .Values.replicaCount) 1 }}{{ end }}
{{- end }}

{{/* What the chart decides, and secrets, do not stand in `config`. */}}
{{- define "lakewing.checks.config" -}}
{{- $config := fromToml .Values.config }}
{{- with $config.Error }}
{{- fail (printf "config is not TOML: %s" .) }}
{{- end }}
{{- if not $config.catalogs }}
{{- fail "config must have at least one catalog, such as\n  [catalogs.lake]\n  type = \"iceberg-rest\"\n  uri = \"https://catalog.example.org\"" }}
{{- end }}
{{- range $key, $value := dict "listen" "the chart" "data_dir" "the chart" "shutdown_grace" "server.shutdownGraceSeconds" "spool" "spool" "tls" "tls" "metrics" "metrics.port" }}
{{- if hasKey $config $key }}
{{- fail (printf "config must leave %s to %s" $key (ternary $value (printf "the value %s" $value) (eq $value "the chart"))) }}
{{- end }}
{{- end }}
{{- $auth := default (dict) $config.auth }}
{{- range $key, $value := dict "mode" "auth.mode" "users" "auth.existingSecret" "users_file" "auth.existingSecret" "secret" "auth.existingSecret" "allow_anonymous_remote" "auth.mode" }}
{{- if hasKey $auth $key }}
{{- fail (printf "config must leave auth.%s to the value %s" $key $value) }}
{{- end }}
{{- end }}
{{- $executor := default (dict) $config.executor }}
{{- range $key, $value := dict "mode" "executor.port" "sets" "executor.sets" "tls" "executorTls" "results" "executor.resultsPort" "target_partitions" "executor.targetPartitions" "local_scan_bytes_max" "executor.localScanBytesMax" "grace" "executor.graceSeconds" "spill_dir" "server.scratchBytes" "spill_bytes_max" "server.scratchBytes" }}
{{- if hasKey $executor $key }}
{{- fail (printf "config must leave executor.%s to the value %s" $key $value) }}
{{- end }}
{{- end }}
{{- range $name, $catalog := $config.catalogs }}
{{- range $key := list "credential" "token" }}
{{- if hasKey $catalog $key }}
{{- fail (printf "config must leave catalogs.%s.%s, a secret, to a variable in existingSecret" $name $key) }}
{{- end }}
{{- end }}
{{- if regexMatch "^[a-z+]+://[^/@]*:[^/@]*@" (default "" $catalog.uri) }}
{{- fail (printf "config must leave catalogs.%s.uri, which holds a password, to a variable in existingSecret" $name) }}
{{- end }}
{{- end }}
{{- range $storage := default (list) $config.storage }}
{{- range $key := list "access_key_id" "secret_access_key" "session_token" }}
{{- if hasKey $storage $key }}
{{- fail (printf "config must leave storage.%s, a secret, to the variable LAKEWING__STORAGE in existingSecret and executor.existingSecret" $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "lakewing.checks.sets" -}}
{{- $all := 0 }}
{{- $names := list }}
{{- range $set := .Values.executor.sets }}
{{- $name := $set.name }}
{{- if has $name $names }}
{{- fail (printf "executor.sets has two sets %q" $name) }}
{{- end }}
{{- $names = append $names $name }}
{{- $max := int (default 4 $set.max) }}
{{- $all = add $all $max }}
{{- range $key := list "min" "initial" }}
{{- if gt (int (default 0 (index $set $key))) $max }}
{{- fail (printf "%s of the set %q must be at most max, %d" $key $name $max) }}
{{- end }}
{{- end }}
{{- if and $set.memoryOverheadBytes (not $set.memoryBytes) }}
{{- fail (printf "memoryOverheadBytes of the set %q needs memoryBytes" $name) }}
{{- end }}
{{- $pod := mustMergeOverwrite (deepCopy (pick $.Values.executor "resources" "terminationGracePeriodSeconds" "podLabels" "extraEnv")) (deepCopy (pick $set "resources" "terminationGracePeriodSeconds" "podLabels" "extraEnv")) }}
{{- if le (int $pod.terminationGracePeriodSeconds) (int $.Values.executor.graceSeconds) }}
{{- fail (printf "terminationGracePeriodSeconds of the set %q must be longer than executor.graceSeconds" $name) }}
{{- end }}
{{- if and $set.cpu (dig "requests" "cpu" "" $pod.resources) }}
{{- fail (printf "the set %q has both cpu and resources.requests.cpu" $name) }}
{{- end }}
{{- if and $set.memoryBytes (or (dig "requests" "memory" "" $pod.resources) (dig "limits" "memory" "" $pod.resources)) }}
{{- fail (printf "the set %q has both memoryBytes and memory in resources" $name) }}
{{- end }}
{{- end }}
{{- if gt (int $all) 256 }}
{{- fail (printf "max of all executor.sets is %d together, at most 256" $all) }}
{{- end }}
{{- end }}
