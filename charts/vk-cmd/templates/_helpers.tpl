{{- define "vk-cmd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* The release's name, with the chart's if it is not part of it already. */}}
{{- define "vk-cmd.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "vk-cmd.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "vk-cmd.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "vk-cmd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "vk-cmd.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "vk-cmd.relay.name" -}}
{{- printf "%s-relay" (include "vk-cmd.fullname" . | trunc 50 | trimSuffix "-") }}
{{- end }}

{{- define "vk-cmd.test.name" -}}
{{- printf "%s-test" (include "vk-cmd.fullname" . | trunc 50 | trimSuffix "-") }}
{{- end }}

{{- define "vk-cmd.test.namespace" -}}
{{- default .Release.Namespace .Values.helmTest.namespace }}
{{- end }}

{{- /* What is the same of all objects of a part. In: root; part. */}}
{{- define "vk-cmd.selectorLabelsOf" -}}
app.kubernetes.io/name: {{ include "vk-cmd.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "vk-cmd.labelsOf" -}}
{{ include "vk-cmd.selectorLabelsOf" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "vk-cmd.selectorLabels" -}}
{{ include "vk-cmd.selectorLabelsOf" (dict "root" . "part" "operator") }}
{{- end }}

{{- define "vk-cmd.labels" -}}
{{ include "vk-cmd.labelsOf" (dict "root" . "part" "operator") }}
{{- end }}

{{- define "vk-cmd.relay.selectorLabels" -}}
{{ include "vk-cmd.selectorLabelsOf" (dict "root" . "part" "relay") }}
{{- end }}

{{- define "vk-cmd.relay.labels" -}}
{{ include "vk-cmd.labelsOf" (dict "root" . "part" "relay") }}
{{- end }}

{{- define "vk-cmd.test.labels" -}}
{{ include "vk-cmd.labelsOf" (dict "root" . "part" "test") }}
{{- end }}

{{- /* The one image of all pods. */}}
{{- define "vk-cmd.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What the template of a Deployment says of its pods. In: root; part. */}}
{{- define "vk-cmd.podMetadata" -}}
labels:
  {{- include "vk-cmd.labelsOf" . | nindent 2 }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* What all pods have in common. */}}
{{- define "vk-cmd.podCommons" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Where pods of a part go. In: root; part; values, those of the part. */}}
{{- define "vk-cmd.podPlace" -}}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  {{- if .values.affinity }}
  {{- toYaml .values.affinity | nindent 2 }}
  {{- else }}
  # A second one is of use where the first one is not.
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "vk-cmd.selectorLabelsOf" . | nindent 14 }}
  {{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml (merge . (dict "labelSelector" (dict "matchLabels" (include "vk-cmd.selectorLabelsOf" $ | fromYaml)))) | nindent 4 }}
  {{- end }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The probes of operator and relay. */}}
{{- define "vk-cmd.probes" -}}
livenessProbe:
  httpGet:
    path: /livez
    port: health
  periodSeconds: 20
  timeoutSeconds: 5
readinessProbe:
  httpGet:
    path: /readyz
    port: health
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}

{{- /* A length of time in milliseconds. */}}
{{- define "vk-cmd.milliseconds" -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+(ms|h|m|s)" . -1 -}}
{{- $unit := get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000) (regexFind "[a-z]+" .) -}}
{{- $sum = add $sum (mul (regexFind "[0-9]+" . | int64) $unit) -}}
{{- end -}}
{{- $sum -}}
{{- end }}
