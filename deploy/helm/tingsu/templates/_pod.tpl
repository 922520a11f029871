{{/* The pod of one side: [root, "blue"]. */}}
{{- define "tingsu.podSpec" -}}
{{- $root := index . 0 -}}{{- $v := $root.Values -}}{{- $side := index $v (index . 1) -}}
serviceAccountName: {{ include "tingsu.name" $root }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ add 15 $v.drainSeconds (ceil (dig "serve" "deadline_s" 30.0 $v.settings | float64)) }}
securityContext: {{- include "tingsu.pod" $root | nindent 2 }}
{{- with $v.image.pullSecrets }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with $v.gpu.runtimeClass }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $v.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.topologySpread }}
topologySpreadConstraints:
{{- range . }}
  - topologyKey: {{ .topologyKey }}
    maxSkew: {{ .maxSkew }}
    whenUnsatisfiable: {{ .whenUnsatisfiable }}
    labelSelector:
      matchLabels: {{- include "tingsu.pods" $root | nindent 8 }}
        tingsu.io/side: {{ index $ 1 }}
{{- end }}
{{- end }}
{{- if eq $v.bundles.from "s3" }}
initContainers:
  - {{- include "tingsu.fetch" . | nindent 4 }}
{{- end }}
containers:
  - {{- include "tingsu.serve" . | nindent 4 }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 1Gi}
  - name: home
    projected:
      defaultMode: 0440
      sources:
        - configMap:
            name: {{ include "tingsu.name" $root }}-{{ index . 1 }}
            items: [{key: settings.yaml, path: settings.yaml}]
        - secret:
            name: {{ $v.keys.secret }}
            items:
              - {key: gate.pub, path: keys/gate.pub}
              - {key: service.json, path: keys/service.json}
        - secret: # what a Secret of your own may lack: emergency verdicts then admit nothing, and no call is mirrored
            name: {{ $v.keys.secret }}
            optional: true
            items:
              - {key: operators.json, path: keys/operators.json}
              - {key: machine.key, path: keys/machine.key}
  - name: bundles
{{- if eq $v.bundles.from "s3" }}
    emptyDir: {sizeLimit: {{ $v.bundles.sizeLimit }}}
{{- with $v.bundles.caConfigMap }}
  - {name: ca, configMap: {name: {{ . }}, items: [{key: ca.crt, path: ca.crt}]}}
{{- end }}
{{- else }}
    persistentVolumeClaim: {claimName: {{ $v.bundles.claim }}, readOnly: true}
{{- end }}
{{- if $v.gpu.count }}
  - name: shm
    emptyDir: {medium: Memory, sizeLimit: 2Gi}
{{- end }}
{{- end -}}

{{/* Fetches the side's bundles and verifies digest and signature; only it sees the store's credentials. */}}
{{- define "tingsu.fetch" -}}
{{- $root := index . 0 -}}{{- $v := $root.Values -}}{{- $side := index $v (index . 1) -}}
name: fetch
image: {{ include "tingsu.image" $v.image | quote }}
imagePullPolicy: {{ $v.image.pullPolicy }}
command: [python, -P, -m, deploy.fetch]
args:
{{- range compact (list $side.bundle $side.generate) }}
  - {{ . | quote }}
{{- end }}
  - --store={{ $v.bundles.url }}
{{- with $v.bundles.endpointUrl }}
  - --endpoint-url={{ . }}
{{- end }}
  - --home=/etc/tingsu
  - --into=/srv/tingsu
env:
  - {name: HOME, value: /tmp}
{{- with $v.bundles.region }}
  - {name: AWS_DEFAULT_REGION, value: {{ . | quote }}}
{{- end }}
{{- if $v.bundles.caConfigMap }}
  - {name: AWS_CA_BUNDLE, value: /etc/tingsu-ca/ca.crt}
{{- end }}
{{- with $v.bundles.credentialsSecret }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
  - name: {{ . }}
    valueFrom: {secretKeyRef: {name: {{ $v.bundles.credentialsSecret }}, key: {{ . }}}}
{{- end }}
{{- end }}
resources:
  requests: {cpu: 250m, memory: 256Mi, ephemeral-storage: 1Gi}
  limits: {cpu: "1", memory: 1Gi, ephemeral-storage: {{ index $v.resources.limits "ephemeral-storage" }}}
securityContext: {{- include "tingsu.container" $root | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: home, mountPath: /etc/tingsu, readOnly: true}
  - {name: bundles, mountPath: /srv/tingsu}
{{- if $v.bundles.caConfigMap }}
  - {name: ca, mountPath: /etc/tingsu-ca, readOnly: true}
{{- end }}
{{- end -}}

{{- define "tingsu.serve" -}}
{{- $root := index . 0 -}}{{- $v := $root.Values -}}{{- $side := index $v (index . 1) -}}
name: service
image: {{ include "tingsu.image" $v.image | quote }}
imagePullPolicy: {{ $v.image.pullPolicy }}
command: [python, -P, -m, deploy.service]
args:
{{- with $side.bundle }}
  - --bundle={{ include "tingsu.bundle" (list $root .) }}
{{- end }}
{{- with $side.generate }}
  - --generate={{ include "tingsu.bundle" (list $root .) }}
{{- end }}
  - --home=/etc/tingsu
  - --host=0.0.0.0
  - --port={{ $v.port }}
{{- if $side.version }}
  - --version={{ $side.version }}
{{- end }}
env:
  - {name: HOME, value: /tmp}
  - {name: TINGSU_HOME, value: /etc/tingsu}
  - name: OMP_NUM_THREADS # libraries that count for themselves count the cores of the node
    valueFrom: {resourceFieldRef: {containerName: service, resource: limits.cpu, divisor: "1"}}
{{- range $v.secretEnv }}
  - name: {{ .name }}
    valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}}
{{- end }}
ports:
  - {name: http, containerPort: {{ $v.port }}, protocol: TCP}
startupProbe:
  httpGet: {path: /ready, port: http}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: {{ div (add $v.startSeconds 4) 5 }}
readinessProbe:
  httpGet: {path: /ready, port: http}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe: # an engine that dies is started again by the service itself: only a web process that hangs is ended from outside
  httpGet: {path: /health, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
lifecycle:
  preStop: {exec: {command: [sleep, {{ $v.drainSeconds | quote }}]}}
resources:
  requests: {{- toYaml $v.resources.requests | nindent 4 }}
{{- if $v.gpu.count }}
    {{ $v.gpu.resource }}: {{ $v.gpu.count }}
{{- end }}
  limits: {{- toYaml $v.resources.limits | nindent 4 }}
{{- if $v.gpu.count }}
    {{ $v.gpu.resource }}: {{ $v.gpu.count }}
{{- end }}
securityContext: {{- include "tingsu.container" $root | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: home, mountPath: /etc/tingsu, readOnly: true}
  - name: bundles
    mountPath: /srv/tingsu
    readOnly: true
{{- if eq $v.bundles.from "claim" }}{{ with $v.bundles.claimPath }}
    subPath: {{ . }}
{{- end }}{{ end }}
{{- if $v.gpu.count }}
  - {name: shm, mountPath: /dev/shm}
{{- end }}
{{- end -}}
