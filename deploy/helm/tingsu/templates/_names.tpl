{{- define "tingsu.name" -}}{{ .Release.Name }}{{- end -}}

{{- define "tingsu.labels" -}}
app.kubernetes.io/name: tingsu
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* The pods of the service, of both sides. */}}
{{- define "tingsu.pods" -}}
app.kubernetes.io/name: tingsu
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: service
{{- end -}}

{{/* The sides that are there, as a list in JSON. */}}
{{- define "tingsu.sides" -}}
{{- $sides := list -}}
{{- range list "blue" "green" -}}
{{- $side := index $.Values . -}}
{{- if or $side.bundle $side.generate }}{{ $sides = append $sides . }}{{ end -}}
{{- end -}}
{{- toJson $sides -}}
{{- end -}}

{{/* Which side holds what and who has the traffic, as ./tingsu deploy reads it. */}}
{{- define "tingsu.record" -}}
{{- dict "blue" (pick .Values.blue "bundle" "version") "green" (pick .Values.green "bundle" "version") "champion" .Values.champion "weight" .Values.rollout.weight | toJson -}}
{{- end -}}

{{/* blue's counterpart is green. */}}
{{- define "tingsu.candidate" -}}{{ ternary "green" "blue" (eq .Values.champion "blue") }}{{- end -}}

{{- define "tingsu.image" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end -}}
{{- end -}}

{{/* How many pods a side gets without autoscaling. By replicas, and while requests are split, `replicas` are shared out by weight. */}}
{{- define "tingsu.replicas" -}}
{{- $root := index . 0 -}}{{- $name := index . 1 -}}{{- $side := index $root.Values $name -}}
{{- $total := int $root.Values.replicas -}}{{- $weight := int $root.Values.rollout.weight -}}
{{- $isCandidate := ne $name $root.Values.champion -}}
{{- $split := and (eq $root.Values.rollout.by "replicas") (gt $weight 0) (lt $weight 100) -}}
{{- $share := div (add (mul $total $weight) 50) 100 -}}
{{- if $split }}{{ ternary $share (sub $total $share) $isCandidate }}
{{- else }}{{ default $total (int $side.replicas) }}{{ end -}}
{{- end -}}

{{/* Where a bundle lies in the pod. */}}
{{- define "tingsu.bundle" -}}
{{- $root := index . 0 -}}
{{- ternary "/srv/tingsu/cache/bundles" "/srv/tingsu/bundles" (eq $root.Values.bundles.from "s3") }}/{{ index . 1 }}
{{- end -}}

{{/* Of every container. */}}
{{- define "tingsu.container" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "tingsu.pod" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}
