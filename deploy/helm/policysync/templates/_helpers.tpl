{{/* The release's full name, short enough to be a label. */}}
{{- define "policysync.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "policysync.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "policysync.labels" -}}
{{ include "policysync.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "policysync.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "policysync.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The port of health.listen in the config, so that it is said in one place only. */}}
{{- define "policysync.healthPort" -}}
{{- $config := fromYaml (required "config is empty: set it to the text of policysync.yaml" .Values.config) -}}
{{- if hasKey $config "Error" -}}
{{- fail (printf "config is no YAML mapping: %s" $config.Error) -}}
{{- end -}}
{{- $listen := dig "health" "listen" ":8080" $config -}}
{{- required (printf "config: health.listen %q has no port" $listen) (regexFind "[0-9]+$" $listen) -}}
{{- end -}}
