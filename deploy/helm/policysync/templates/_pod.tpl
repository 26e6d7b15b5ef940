{{/* What every container of the release may do. */}}
{{- define "policysync.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* A container of policysync, without its ports and probes: (list . NAME ARGS) */}}
{{- define "policysync.container" -}}
{{- $root := index . 0 -}}
{{- $values := $root.Values -}}
name: {{ index . 1 }}
image: {{ include "policysync.image" $root | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
args: {{ index . 2 | toJson }}
env:
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  - name: POD_NAMESPACE
    valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
  {{- with dig "limits" "memory" "" $values.resources }}
  # The rest is for what Go's heap does not count.
  - name: GOMEMLIMIT
    value: {{ div (mul (include "policysync.bytes" .) 9) 10 | quote }}
  {{- end }}
  {{- if dig "limits" "cpu" "" $values.resources }}
  - name: GOMAXPROCS
    valueFrom: {resourceFieldRef: {containerName: {{ index . 1 }}, resource: limits.cpu}}
  {{- end }}
  {{- range $name, $value := $values.env }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
  {{- with $values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.secrets.env }}
envFrom:
  {{- range . }}
  - secretRef: {name: {{ . }}}
  {{- end }}
{{- end }}
resources: {{- toYaml $values.resources | nindent 2 }}
securityContext: {{- include "policysync.containerSecurity" $root | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/policysync, readOnly: true}
  {{- range $i, $name := $values.secrets.files }}
  - {name: secret-{{ $i }}, mountPath: /run/secrets/{{ $name }}, readOnly: true}
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Init container: a wrong config is an error of the new pod, and no member starts. */}}
{{- define "policysync.validate" -}}
{{- include "policysync.container" (list . "validate" (list "validate" "-c" "/etc/policysync/policysync.yaml")) }}
{{- end -}}

{{/* The volumes: (list . NAME-OF-CONFIGMAP) */}}
{{- define "policysync.volumes" -}}
{{- $root := index . 0 -}}
- name: config
  configMap: {name: {{ index . 1 }}}
{{- range $i, $name := $root.Values.secrets.files }}
- name: secret-{{ $i }}
  secret: {secretName: {{ $name }}, defaultMode: 0440}
{{- end }}
{{- with $root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What pods of members and of the job have in common: (list . NAME-OF-CONFIGMAP) */}}
{{- define "policysync.podSpec" -}}
{{- $root := index . 0 -}}
{{- $values := $root.Values -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "hostAliases" }}
{{- with index $values $key }}
{{ $key }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
securityContext: {{- toYaml $values.podSecurityContext | nindent 2 }}
volumes: {{- include "policysync.volumes" . | nindent 2 }}
{{- end -}}

{{- define "policysync.configData" -}}
policysync.yaml: |
  {{- .Values.config | trim | nindent 2 }}
{{- range $name, $text := .Values.files }}
{{ $name }}: |
  {{- $text | nindent 2 }}
{{- end }}
{{- end -}}
