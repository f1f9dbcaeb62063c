{{/* One place for names, labels and the image. */}}
{{- define "speechtrain.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "speechtrain.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "speechtrain.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "speechtrain.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "speechtrain.selector" -}}
app.kubernetes.io/name: {{ include "speechtrain.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "speechtrain.labels" -}}
{{ include "speechtrain.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "speechtrain.serviceAccount" -}}
{{- default (include "speechtrain.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "speechtrain.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* What the operator does in the namespaces of jobs: exactly the calls it makes. */}}
{{- define "speechtrain.jobRules" -}}
- apiGroups: [speechtrain.dev]
  resources: [speechtrainingjobs]
  verbs: [delete, get, list, watch] # delete: ttlSecondsAfterFinished
- apiGroups: [speechtrain.dev]
  resources: [speechtrainingruntimes]
  verbs: [list, watch]
- apiGroups: [speechtrain.dev]
  resources: [speechtrainingjobs/status]
  verbs: [update]
- apiGroups: [speechtrain.dev]
  resources: [speechtrainingjobs/finalizers]
  verbs: [update] # no call of ours: some clusters ask for it before they take our owner references
- apiGroups: [""]
  resources: [pods]
  verbs: [create, delete, get, list, watch]
- apiGroups: [""]
  resources: [services]
  verbs: [create, get, list]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, delete, list]
- apiGroups: [""]
  resources: [events]
  verbs: [create, list] # list: why a kubelet does not start a pod, which it says nowhere else
{{- if .Values.kueue.enabled }}
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [create, delete, get, list, watch]
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads/status]
  verbs: [update] # the quota of an evicted job is given back once its pods are gone, of a finished one at its end
{{- end }}
{{- end -}}

{{/* A rules file, of either server, with the links and labels of this release. Takes the root and the file. */}}
{{- define "speechtrain.alerts" -}}
{{- $root := index . 0 -}}
{{- $file := index . 1 -}}
{{- $own := $root.Values.prometheusRule -}}
{{- range $group := $file.groups -}}
{{- range $rule := $group.rules -}}
{{- $notes := $rule.annotations -}}
{{- $_ := set $notes "runbook_url" (replace "docs/runbooks.md" $own.runbookUrl $notes.runbook_url) -}}
{{- $_ := set $notes "dashboard_url" (printf "%s%s" $own.grafanaUrl $notes.dashboard_url) -}}
{{- with omit $own.additionalRuleLabels "severity" -}}
{{- $_ := set $rule "labels" (merge (deepCopy ($rule.labels | default dict)) .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $file -}}
{{- end -}}
