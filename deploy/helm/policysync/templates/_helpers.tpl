{{/* The release's full name, short enough for the longest name that is made of it. */}}
{{- define "policysync.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "policysync.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The members' pods alone: the job that creates topics has the same release. */}}
{{- define "policysync.memberSelector" -}}
{{ include "policysync.selector" . }}
app.kubernetes.io/component: member
{{- end -}}

{{- define "policysync.labels" -}}
{{ include "policysync.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* metadata of an object: (list . NAME LABELS ANNOTATIONS) */}}
{{- define "policysync.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 1 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "policysync.labels" $root | nindent 2 }}
  {{- with index . 2 }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (index . 3) $root.Values.annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "policysync.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "policysync.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The config as JSON, so that what it says is said in one place only. */}}
{{- define "policysync.config" -}}
{{- $config := fromYaml (required "config is empty: set it to the text of policysync.yaml" .Values.config) -}}
{{- if hasKey $config "Error" -}}
{{- fail (printf "config is no YAML mapping: %s" $config.Error) -}}
{{- end -}}
{{- $config | toJson -}}
{{- end -}}

{{- define "policysync.healthPort" -}}
{{- $listen := dig "health" "listen" ":8080" (include "policysync.config" . | fromJson) -}}
{{- required (printf "config: health.listen %q has no port" $listen) (regexFind "[0-9]+$" $listen) -}}
{{- end -}}

{{/* The port of admin.listen; nothing if only the pod itself can reach it. */}}
{{- define "policysync.adminPort" -}}
{{- $listen := dig "admin" "listen" "127.0.0.1:8081" (include "policysync.config" . | fromJson) -}}
{{- if not (regexMatch "^(127[.]|localhost:|\\[::1\\]:)" $listen) -}}
{{- required (printf "config: admin.listen %q has no port" $listen) (regexFind "[0-9]+$" $listen) -}}
{{- end -}}
{{- end -}}

{{/* drain_timeout in whole seconds, rounded up. */}}
{{- define "policysync.drainSeconds" -}}
{{- $drain := dig "drain_timeout" "15s" (include "policysync.config" . | fromJson) | toString -}}
{{- if not (regexMatch "^([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+$" $drain) -}}
{{- fail (printf "config: drain_timeout %q is no duration that the chart can read: write it as a value such as 15s" $drain) -}}
{{- end -}}
{{- $begin := toDate "2006-01-02" "2000-01-01" -}}
{{- sub (add 1 (dateModify (printf "%s" $drain) $begin | dateModify "-1ns" | unixEpoch | atoi)) ($begin | unixEpoch | atoi) -}}
{{- end -}}

{{/* run gives the parts that end after the members' drain 30 s. */}}
{{- define "policysync.gracePeriod" -}}
{{- $least := add (include "policysync.drainSeconds" .) 30 .Values.preStopSeconds -}}
{{- $grace := default $least .Values.terminationGracePeriodSeconds | int -}}
{{- if lt $grace ($least | int) -}}
{{- fail (printf "terminationGracePeriodSeconds %d is less than drain_timeout, preStopSeconds and 30 s, together %d: pods would be killed while they drain" $grace $least) -}}
{{- end -}}
{{- $grace -}}
{{- end -}}

{{- define "policysync.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Bytes of a quantity such as 1Gi, as far as resources have them. */}}
{{- define "policysync.bytes" -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $text := toString . -}}
{{- if not (regexMatch "^[0-9]+([.][0-9]+)?(k|M|G|T|Ki|Mi|Gi|Ti)?$" $text) -}}
{{- fail (printf "resources.limits.memory %q is no quantity that the chart can read: write it as 1Gi or 1500Mi" $text) -}}
{{- end -}}
{{- mulf (regexFind "^[0-9.]+" $text | float64) (get $units (regexFind "[A-Za-z]*$" $text)) | floor | int64 -}}
{{- end -}}

{{/* What decides how many members there may be. */}}
{{- define "policysync.replicas" -}}
{{- $most := .Values.replicas | int -}}
{{- $what := "replicas" -}}
{{- if ne .Values.autoscaling.kind "off" -}}
{{- $most = .Values.autoscaling.maxReplicas | int -}}
{{- $what = "autoscaling.maxReplicas" -}}
{{- if lt $most (.Values.autoscaling.minReplicas | int) -}}
{{- fail (printf "autoscaling.maxReplicas %d is less than autoscaling.minReplicas %d" $most (.Values.autoscaling.minReplicas | int)) -}}
{{- end -}}
{{- end -}}
{{- if and (ne .Values.autoscaling.kind "off") (not .Values.partitions) -}}
{{- fail "autoscaling needs partitions, the number of the largest topic's: members above that would be idle" -}}
{{- end -}}
{{- if and .Values.partitions (gt $most (.Values.partitions | int)) -}}
{{- fail (printf "%s %d is more than partitions, %d: the members above would be idle" $what $most (.Values.partitions | int)) -}}
{{- end -}}
{{- .Values.replicas -}}
{{- end -}}

{{/* kafka.instance_id must be decided: a pod's name, or that there is none. */}}
{{- define "policysync.checkInstance" -}}
{{- $kafka := dig "kafka" dict (include "policysync.config" . | fromJson) -}}
{{- if not (hasKey $kafka "instance_id") -}}
{{- fail "config: kafka.instance_id is missing: write instance_id: ${POD_NAME}, so that a pod that restarts keeps its partitions, or \"\" for members that leave the group at each stop" -}}
{{- end -}}
{{- if and $kafka.instance_id (not (contains "${POD_NAME}" $kafka.instance_id)) -}}
{{- fail (printf "config: kafka.instance_id %q lacks ${POD_NAME}: all pods would be the same member" $kafka.instance_id) -}}
{{- end -}}
{{- end -}}
