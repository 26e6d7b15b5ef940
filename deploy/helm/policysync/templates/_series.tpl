{{/* The selector of this release's series, as the ServiceMonitor labels them. */}}
{{- define "policysync.series" -}}
{namespace="{{ .Release.Namespace }}",job="{{ include "policysync.fullname" . }}"}
{{- end -}}
