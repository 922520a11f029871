{{/* The Job of one run of the pipeline, as a base job template of Prefect: what stands in double braces there, Prefect fills in. */}}
{{- define "tingsu.jobTemplate" -}}
{{- $w := .Values.prefectWorker -}}
variables:
  type: object
  properties:
    name: {type: string, title: Name}
    command: {type: string, title: Command}
    env: {type: object, title: Environment, additionalProperties: {type: string}, default: {}}
    labels: {type: object, title: Labels, additionalProperties: {type: string}, default: {}}
    image: {type: string, title: Image, default: {{ include "tingsu.image" $w.image | quote }}}
job_configuration:
  name: {{ "\"{{ name }}\"" }}
  command: {{ "\"{{ command }}\"" }}
  env: {{ "\"{{ env }}\"" }}
  labels: {{ "\"{{ labels }}\"" }}
  namespace: {{ .Release.Namespace }}
  stream_output: true
  pod_watch_timeout_seconds: 600
  job_manifest:
    apiVersion: batch/v1
    kind: Job
    metadata:
      generateName: {{ "\"{{ name }}-\"" }}
      namespace: {{ .Release.Namespace }}
      labels: {{ "\"{{ labels }}\"" }}
    spec:
      backoffLimit: 0 # the pipeline goes on where it stopped when it is run again; Prefect decides that
      ttlSecondsAfterFinished: 86400
      template:
        metadata:
          labels: {{- include "tingsu.worker" . | nindent 12 }}
        spec:
          parallelism: 1
          completions: 1
          restartPolicy: Never
{{- if $w.job.rollsOut }}
          serviceAccountName: {{ include "tingsu.name" . }}-rollout
{{- end }}
          automountServiceAccountToken: {{ $w.job.rollsOut | default false }}
{{- with .Values.image.pullSecrets }}
          imagePullSecrets: {{- range . }}
            - name: {{ . }}
{{- end }}
{{- end }}
{{- with $w.job.nodeSelector }}
          nodeSelector: {{- toYaml . | nindent 12 }}
{{- end }}
{{- with $w.job.tolerations }}
          tolerations: {{- toYaml . | nindent 12 }}
{{- end }}
          securityContext: {{- include "tingsu.pod" . | nindent 12 }}
          containers:
            - name: prefect-job
              image: {{ "\"{{ image }}\"" }}
              args: {{ "\"{{ command }}\"" }}
              env: {{ "\"{{ env }}\"" }}
              envFrom: # AWS_CA_BUNDLE too, where bundles.caConfigMap names one
                - configMapRef: {name: {{ include "tingsu.name" . }}-worker}
{{- with $w.job.credentialsSecret }}
                - secretRef: {name: {{ . }}}
{{- end }}
{{- with $w.job.serviceKeySecret }}
                - secretRef: {name: {{ . }}}
{{- end }}
              resources:
{{- range $kind := list "requests" "limits" }}
                {{ $kind }}: {{- toYaml (index $w.job.resources $kind) | nindent 18 }}
{{- if $w.job.gpus }}
                  {{ $.Values.gpu.resource }}: {{ $w.job.gpus }}
{{- end }}
{{- end }}
              securityContext: {{- include "tingsu.container" . | nindent 16 }}
              volumeMounts:
                - {name: tmp, mountPath: /tmp}
                - {name: home, mountPath: /var/lib/tingsu}
{{- with .Values.bundles.caConfigMap }}
                - {name: ca, mountPath: /etc/tingsu-ca, readOnly: true}
{{- end }}
          volumes:
{{- with .Values.bundles.caConfigMap }}
            - {name: ca, configMap: {name: {{ . }}, items: [{key: ca.crt, path: ca.crt}]}}
{{- end }}
            - {name: tmp, emptyDir: {}}
            - {name: home, persistentVolumeClaim: {claimName: {{ $w.job.homeClaim }}}}
{{- end -}}

{{- define "tingsu.worker" -}}
app.kubernetes.io/name: tingsu
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: pipeline
{{- end -}}

{{- define "tingsu.checkWorker" -}}
{{- $w := .Values.prefectWorker -}}
{{- range $name, $value := dict "image.repository" $w.image.repository "apiUrl" $w.apiUrl "job.homeClaim" $w.job.homeClaim }}
{{- if not $value }}{{ fail (printf "prefectWorker.%s is empty; set it, or set prefectWorker.enabled false" $name) }}{{ end -}}
{{- end }}
{{- if and $.Values.networkPolicy.enabled (not $w.to) }}{{ fail "prefectWorker.to is empty, and so the worker reaches neither Prefect nor the API server; name where they are, or set networkPolicy.enabled false" }}{{ end -}}
{{- end -}}
