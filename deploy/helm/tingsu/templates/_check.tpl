{{/* What a schema cannot say: values that contradict each other, each with what to do. */}}
{{- define "tingsu.check" -}}
{{- $v := .Values -}}{{- $candidate := include "tingsu.candidate" . -}}{{- $sides := include "tingsu.sides" . | fromJsonArray -}}
{{- $weight := int $v.rollout.weight -}}
{{- if not $v.image.repository }}{{ fail "image.repository is empty; name the image of the service as you pushed it" }}{{ end -}}
{{- if not (has $v.champion $sides) }}{{ fail (printf "champion is %s, and %s.bundle and %s.generate are empty; give the digest of a promoted bundle (./tingsu why VERSION)" $v.champion $v.champion $v.champion) }}{{ end -}}
{{- if and (gt $weight 0) (not (has $candidate $sides)) }}{{ fail (printf "rollout.weight is %d, and there is no candidate: %s.bundle is empty; give it the candidate's digest, or set rollout.weight 0" $weight $candidate) }}{{ end -}}
{{- if and (eq $v.rollout.by "switch") (not (has $weight (list 0 100))) }}{{ fail (printf "rollout.weight %d cannot be had by switch, which is all or nothing; set 0 or 100, or rollout.by replicas or gateway" $weight) }}{{ end -}}
{{- if and (eq $v.rollout.by "gateway") (not $v.gateway.parentRefs) }}{{ fail "rollout.by is gateway, and gateway.parentRefs is empty; name your Gateway, or set rollout.by replicas or switch" }}{{ end -}}
{{- if and (eq $v.rollout.by "replicas") (gt $weight 0) (lt $weight 100) }}{{ include "tingsu.checkSplit" . }}{{ end -}}
{{- if and (eq $v.bundles.from "s3") (not (hasPrefix "s3://" $v.bundles.url)) }}{{ fail (printf "bundles.url %q is no s3://BUCKET/PREFIX; give that of store.url, or set bundles.from claim" $v.bundles.url) }}{{ end -}}
{{- if and (eq $v.bundles.from "claim") (not $v.bundles.claim) }}{{ fail "bundles.from is claim, and bundles.claim is empty; name the PersistentVolumeClaim that holds the store" }}{{ end -}}
{{- if and $v.networkPolicy.enabled (eq $v.bundles.from "s3") (not $v.networkPolicy.to) }}{{ fail "networkPolicy.to is empty, and so the bundle cannot be fetched; name where the bucket is, such as [{ports: [{port: 443}]}], or set networkPolicy.enabled false" }}{{ end -}}
{{- if and $v.serviceMonitor.enabled (not $v.serviceMonitor.keySecret) }}{{ fail "serviceMonitor.enabled is true, and serviceMonitor.keySecret is empty: /metrics asks for a key; name the Secret that holds one" }}{{ end -}}
{{- if dig "serve" "compile" false $v.settings }}{{ fail "settings.serve.compile true needs a C++ compiler and a home that is written to, and a pod has neither; leave it out" }}{{ end -}}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) }}{{ fail (printf "autoscaling.minReplicas %d is more than autoscaling.maxReplicas %d" (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) }}{{ end -}}
{{- if gt (len .Release.Name) 40 }}{{ fail (printf "the release is called %s, %d letters; 40 at most leave room for what its objects are called after it" .Release.Name (len .Release.Name)) }}{{ end -}}
{{- if and $v.networkPolicy.enabled $v.serviceMonitor.enabled (not $v.networkPolicy.metricsFrom) }}{{ fail "serviceMonitor.enabled is true, and networkPolicy.metricsFrom is empty, which shuts Prometheus out; name where it runs, [{podSelector: {}}] for this namespace" }}{{ end -}}
{{- if and $v.networkPolicy.enabled (eq $v.rollout.by "gateway") (not $v.networkPolicy.from) }}{{ range $v.gateway.parentRefs }}
{{- if not (has .namespace (list nil "" $.Release.Namespace)) }}{{ fail (printf "gateway.parentRefs names a Gateway in namespace %s, and networkPolicy.from is empty, which shuts it out; name where its pods run, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %s}}}]" .namespace .namespace) }}{{ end -}}
{{- end }}{{ end -}}
{{- $loads := mulf 3 (dig "serve" "start_timeout_s" 180.0 $v.settings | float64) -}}
{{- if gt $loads (float64 $v.startSeconds) }}{{ fail (printf "startSeconds %d ends a pod before the three loads of %v s that settings.serve.start_timeout_s allows; set startSeconds %v or more" (int $v.startSeconds) (divf $loads 3) $loads) }}{{ end -}}
{{- range $sides }}{{ $side := index $v . }}
{{- if and $v.autoscaling.enabled (gt (int $side.replicas) (int $v.autoscaling.maxReplicas)) }}{{ fail (printf "%s.replicas %d is more than autoscaling.maxReplicas %d" . (int $side.replicas) (int $v.autoscaling.maxReplicas)) }}{{ end -}}
{{- end }}
{{- end -}}

{{/* What ./tingsu deploy did since is kept in the cluster: older values would take it back, unverified and off the record. Its own record, other
than the chart's, says whether something is staged. */}}
{{- define "tingsu.checkRecord" -}}
{{- $name := printf "%s-sides" (include "tingsu.name" .) -}}
{{- $held := dig "data" "sides.json" "{}" (lookup "v1" "ConfigMap" .Release.Namespace $name) | fromJson -}}
{{- if hasKey $held "is_staged" -}}
{{- if $held.is_staged }}{{ fail (printf "a rollout by ./tingsu deploy is under way in %s; let it end, or ./tingsu undo it" .Release.Namespace) }}{{ end -}}
{{- $asked := include "tingsu.record" . | fromJson -}}{{- $set := printf "champion=%s,rollout.weight=%v" $held.champion $held.weight -}}
{{- range list "blue" "green" }}{{ $side := index $held . }}{{ $set = printf "%s,%s.bundle=%s,%s.version=%v" $set . $side.bundle . $side.version }}{{ end -}}
{{- range list "champion" "weight" "blue" "green" -}}
{{- if ne (toJson (index $held .)) (toJson (index $asked .)) }}{{ fail (printf "./tingsu deploy has released since these values were written, and %s would be taken back; give what serves: --set %s (to go back: ./tingsu rollback; to forget what it did: kubectl -n %s delete configmap %s)" . $set $.Release.Namespace $name) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tingsu.checkSplit" -}}
{{- $total := int .Values.replicas -}}{{- $weight := int .Values.rollout.weight -}}
{{- if .Values.autoscaling.enabled }}{{ fail "rollout.by is replicas, and autoscaling.enabled true would change the shares; set autoscaling.enabled false and `replicas` for the time of the canary" }}{{ end -}}
{{- $share := div (add (mul $total $weight) 50) 100 -}}{{- $off := sub (mul $total $weight) (mul 100 $share) -}}
{{- if or (lt $share 1) (ge $share $total) (gt $off (int64 $total)) (lt $off (sub 0 $total)) }}{{ fail (printf "rollout.weight %d cannot be split over %d replicas to within a point; one replica is %d percent: choose another weight, more replicas, or rollout.by gateway" $weight $total (div 100 $total)) }}{{ end -}}
{{- end -}}
