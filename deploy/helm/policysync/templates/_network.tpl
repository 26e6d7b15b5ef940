{{/* Where pods of the release may go. */}}
{{- define "policysync.egress" -}}
- ports: # names are looked up in the cluster's DNS
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- range .Values.networkPolicy.egress }}
- ports: # {{ .name }}
    {{- range .ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  to:
    {{- range .cidrs }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
    {{- if or .pods .namespaces }}
    - {{- with .namespaces }}
      namespaceSelector:
        matchLabels: {{- toYaml . | nindent 10 }}
      {{- end }}
      {{- with .pods }}
      podSelector:
        matchLabels: {{- toYaml . | nindent 10 }}
      {{- end }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* Who may come in: every pod of the cluster, if nobody is named. */}}
{{- define "policysync.from" -}}
{{- if . -}}
{{- toYaml . -}}
{{- else -}}
- namespaceSelector: {}
{{- end -}}
{{- end -}}
