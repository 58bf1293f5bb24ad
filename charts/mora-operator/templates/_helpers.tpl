{{- define "mora.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "mora.fullname" -}}
{{- $name := include "mora.name" . }}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "mora.selector" -}}
app.kubernetes.io/name: {{ include "mora.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* What everything bears. The chart's own labels win: selectors and upgrades go by them. */}}
{{- define "mora.labels" -}}
{{- $own := include "mora.selector" . | fromYaml }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- merge $own .Values.commonLabels | toYaml }}
{{- end }}

{{/* Labels of the pod of `helm test`: none that the operator's Services select. */}}
{{- define "mora.testSelector" -}}
app.kubernetes.io/name: {{ include "mora.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mora.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "mora.fullname" .) }}
{{- else }}{{ required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "mora.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Rights in a namespace (or in all): exactly the requests that mora_operator/kube makes. No Secrets. */}}
{{- define "mora.rules" -}}
- apiGroups: [mora.dev]
  resources: [rolloutjobs, rewritejobs, alignmentjobs]
  verbs: [get, list, watch, delete]  # delete: spec.ttlSecondsAfterFinished
- apiGroups: [mora.dev]
  resources: [rolloutjobs/status, rewritejobs/status, alignmentjobs/status]
  verbs: [patch]
- apiGroups: [ray.io]
  resources: [rayjobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, create]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, create]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, list]  # list: why pods do not come up
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list, watch]
{{- end }}

{{/* Rights in the operator's own namespace: who leads, and the certificate authorities of all replicas. */}}
{{- define "mora.ownRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, patch]
{{- end }}
