{{/* Names. */}}
{{- define "homeostat.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 40 letters, so that what stands behind it (a hash, "-migrate-") fits into the 63 of a label. */}}
{{- define "homeostat.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- end -}}
{{- $full | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "homeostat.serviceAccountName" -}}
{{- default (.Values.serviceAccount.create | ternary (include "homeostat.fullname" .) "default") .Values.serviceAccount.name -}}
{{- end -}}

{{- define "homeostat.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{- printf "%s:%s@%s" .Values.image.repository $tag .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end -}}
{{- end -}}

{{/* What tells the replicas of this release from all other pods; never changes. */}}
{{- define "homeostat.selectorLabels" -}}
app.kubernetes.io/name: {{ include "homeostat.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of an object: (dict "root" . "component" "controller" "more" map). The chart's own win. */}}
{{- define "homeostat.labels" -}}
{{- $own := dict
  "app.kubernetes.io/name" (include "homeostat.name" .root)
  "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/component" .component
  "app.kubernetes.io/version" (.root.Chart.AppVersion | replace "+" "_" | trunc 63)
  "app.kubernetes.io/managed-by" .root.Release.Service
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63) -}}
{{- toYaml (merge $own (default dict .more) .root.Values.commonLabels) -}}
{{- end -}}

{{/* metadata of an object: (dict "root" . "component" c "name" n "labels" map "annotations" map). */}}
{{- define "homeostat.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "homeostat.labels" (dict "root" .root "component" .component "more" .labels) | nindent 2 }}
{{- with merge dict (default dict .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* "1h30m" in whole seconds, rounded up. */}}
{{- define "homeostat.seconds" -}}
{{- $milliseconds := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h|d)" (toString .) -1 -}}
{{- $n := regexFind "^[0-9]+" . | atoi -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $milliseconds = add $milliseconds (mul $n (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000) $unit)) -}}
{{- end -}}
{{- div (add $milliseconds 999) 1000 -}}
{{- end -}}

{{/* A value of the settings file, where every number that came as a float but is whole is written as one (not as 1e+06). */}}
{{- define "homeostat.config" -}}
{{- $out := dict -}}
{{- range $name, $value := . -}}
{{- if kindIs "map" $value -}}
{{- $_ := set $out $name (include "homeostat.config" $value | fromYaml) -}}
{{- else if and (kindIs "float64" $value) (eq (floor $value) $value) -}}
{{- $_ := set $out $name (int64 $value) -}}
{{- else -}}
{{- $_ := set $out $name $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $out -}}
{{- end -}}

{{- define "homeostat.drainSeconds" -}}
{{- $fallback := eq (default "" .Values.config.profile) "development" | ternary "5s" "25s" -}}
{{- include "homeostat.seconds" (default $fallback (dig "drain" "budget" "" .Values.config)) -}}
{{- end -}}

{{- define "homeostat.graceSeconds" -}}
{{- $drain := include "homeostat.drainSeconds" . | atoi -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- add $drain 15 -}}
{{- else -}}
{{- int .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}

{{- define "homeostat.port" -}}
{{- regexFind "[0-9]+$" .Values.config.http.listen -}}
{{- end -}}

{{/* Which file of /run/secrets/homeostat each login is, and the variable that names it to the program. */}}
{{- define "homeostat.logins" -}}
database: {{ toYaml .Values.database | nindent 2 }}
reader: {{ toYaml .Values.reader | nindent 2 }}
observer: {{ toYaml .Values.observer | nindent 2 }}
httpToken: {{ toYaml .Values.httpToken | nindent 2 }}
{{- end -}}

{{/* The variables, volumes and mounts of a container: (dict "root" . "logins" (dict FILE LOGIN) "config" bool). */}}
{{- define "homeostat.env" -}}
{{- $names := dict "database" "HOMEOSTAT_DATABASE_URL" "reader" "HOMEOSTAT_DATABASE_READER_URL" "observer" "HOMEOSTAT_DATABASE_OBSERVE_URL" "httpToken" "HOMEOSTAT_HTTP_TOKEN" -}}
{{- $env := list -}}
{{- range $file := list "database" "reader" "observer" "httpToken" -}}
{{- if (get $.logins $file | default dict).existingSecret -}}
{{- $env = append $env (dict "name" (get $names $file) "value" (printf "file:/run/secrets/homeostat/%s" $file)) -}}
{{- end -}}
{{- end -}}
{{- toYaml (concat $env .root.Values.extraEnv) -}}
{{- end -}}

{{- define "homeostat.volumes" -}}
{{- $sources := list -}}
{{- range $file := list "database" "reader" "observer" "httpToken" -}}
{{- $login := get $.logins $file | default dict -}}
{{- if $login.existingSecret -}}
{{- $sources = append $sources (dict "secret" (dict "name" $login.existingSecret "items" (list (dict "key" $login.key "path" $file)))) -}}
{{- end -}}
{{- end -}}
{{- $volumes := list (dict "name" "tmp" "emptyDir" (dict "sizeLimit" .root.Values.tmpSizeLimit)) -}}
{{- if $sources -}}
{{- $volumes = append $volumes (dict "name" "logins" "projected" (dict "defaultMode" 288 "sources" $sources)) -}}
{{- end -}}
{{- if .config -}}
{{- $volumes = append $volumes (dict "name" "config" "configMap" (dict "name" (include "homeostat.fullname" .root))) -}}
{{- $providers := list -}}
{{- range $name, $secret := .root.Values.providerSecrets -}}
{{- $providers = append $providers (dict "secret" (dict "name" $secret.existingSecret "items" (list (dict "key" $secret.key "path" $name)))) -}}
{{- end -}}
{{- if $providers -}}
{{- $volumes = append $volumes (dict "name" "providers" "projected" (dict "defaultMode" 288 "sources" $providers)) -}}
{{- end -}}
{{- end -}}
{{- if .declarations -}}
{{- $volumes = append $volumes (dict "name" "declarations" "configMap" (dict "name" .declarations)) -}}
{{- end -}}
{{- toYaml (concat $volumes .root.Values.extraVolumes) -}}
{{- end -}}

{{- define "homeostat.mounts" -}}
{{- $mounts := list (dict "name" "tmp" "mountPath" "/tmp") -}}
{{- $logins := false -}}
{{- range $_, $login := .logins -}}
{{- if $login.existingSecret -}}{{- $logins = true -}}{{- end -}}
{{- end -}}
{{- if $logins -}}
{{- $mounts = append $mounts (dict "name" "logins" "mountPath" "/run/secrets/homeostat" "readOnly" true) -}}
{{- end -}}
{{- if .config -}}
{{- $mounts = append $mounts (dict "name" "config" "mountPath" "/etc/homeostat" "readOnly" true) -}}
{{- if .root.Values.providerSecrets -}}
{{- $mounts = append $mounts (dict "name" "providers" "mountPath" "/run/secrets/providers" "readOnly" true) -}}
{{- end -}}
{{- end -}}
{{- if .declarations -}}
{{- $mounts = append $mounts (dict "name" "declarations" "mountPath" "/etc/homeostat/declarations" "readOnly" true) -}}
{{- end -}}
{{- toYaml (concat $mounts .root.Values.extraVolumeMounts) -}}
{{- end -}}

{{/* One container: (dict "root" . "name" n "args" list "logins" map "config" bool "declarations" name "resources" map "more" map). */}}
{{- define "homeostat.container" -}}
name: {{ .name }}
image: {{ include "homeostat.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args:
  {{- toYaml .args | nindent 2 }}
{{- $env := include "homeostat.env" . }}
{{- if not (has $env (list "[]" "null")) }}
env:
  {{- $env | nindent 2 }}
{{- end }}
{{- with .root.Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .more }}
{{ toYaml . }}
{{- end }}
resources:
  {{- toYaml .resources | nindent 2 }}
securityContext:
  {{- toYaml .root.Values.securityContext | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  {{- include "homeostat.mounts" . | nindent 2 }}
{{- end -}}

{{/* What every pod of this chart has: no token of the API server, which nothing here asks, and no variables of services, which would
be taken for settings. */}}
{{- define "homeostat.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* A Job that runs one command to its end: (dict "root" . "component" c "name" n "labels" "annotations" "job" values "account" name
"container" text "volumes" text). Its name carries a hash of what it runs: the pods of a Job cannot be changed. */}}
{{- define "homeostat.job" -}}
{{- $spec := include "homeostat.jobSpec" . -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "homeostat.metadata" (dict "root" .root "component" .component "name" (printf "%s-%s-%s" (include "homeostat.fullname" .root) .component (sha256sum $spec | trunc 10)) "annotations" .annotations) | nindent 2 }}
spec:
  {{- $spec | nindent 2 }}
{{- end -}}

{{- define "homeostat.jobSpec" -}}
backoffLimit: {{ int .job.backoffLimit }}
activeDeadlineSeconds: {{ int .job.activeDeadlineSeconds }}
{{- if eq .job.mode "hook" }}
# One that failed is kept for a day to be read; a hook that is a day old is of no use to anybody.
ttlSecondsAfterFinished: 86400
{{- end }}
template:
  metadata:
    labels:
      {{- include "homeostat.labels" (dict "root" .root "component" .component "more" .root.Values.podLabels) | nindent 6 }}
    {{- with .podAnnotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    restartPolicy: OnFailure
    {{- with .account }}
    serviceAccountName: {{ . }}
    {{- end }}
    {{- include "homeostat.pod" .root | nindent 4 }}
    containers:
      - {{- .container | nindent 8 }}
    volumes:
      {{- .volumes | nindent 6 }}
{{- end -}}

{{/* What no schema can say; each sentence says what to do. */}}
{{- define "homeostat.validate" -}}
{{- $v := .Values -}}
{{- $variables := list -}}
{{- range $v.extraEnv -}}{{- $variables = append $variables .name -}}{{- end -}}
{{- if not (or $v.database.existingSecret (dig "database" "url" "" $v.config) (has "PGHOST" $variables) (has "PGSERVICE" $variables) (has "HOMEOSTAT_DATABASE_URL" $variables) $v.extraEnvFrom) -}}
{{- fail "nothing says where the database is: set database.existingSecret to a Secret whose key database.key holds the URL of homeostat's login, or config.database.url, or PGHOST and so on in extraEnv" -}}
{{- end -}}
{{- range $what, $name := dict "database" "HOMEOSTAT_DATABASE_URL" "reader" "HOMEOSTAT_DATABASE_READER_URL" "observer" "HOMEOSTAT_DATABASE_OBSERVE_URL" "httpToken" "HOMEOSTAT_HTTP_TOKEN" -}}
{{- if and (get $v $what).existingSecret (has $name $variables) -}}
{{- fail (printf "%s.existingSecret and %s in extraEnv both say the same thing: keep one of them" $what $name) -}}
{{- end -}}
{{- end -}}
{{- $listen := $v.config.http.listen -}}
{{- if or (hasPrefix "127." $listen) (hasPrefix "[::1]" $listen) -}}
{{- fail (printf "config.http.listen is %s, where the kubelet's probes cannot ask; listen on 0.0.0.0:8687 or [::]:8687, and keep others out with httpToken and networkPolicy" $listen) -}}
{{- end -}}
{{- if and (eq (default "" $v.config.profile) "production") (not $v.httpToken.existingSecret) (not (dig "http" "token" "" $v.config)) -}}
{{- fail "profile production asks for a token at /metrics: set httpToken.existingSecret to a Secret whose key httpToken.key holds it" -}}
{{- end -}}
{{- range $name, $url := default dict (get $v.config "database") -}}
{{- if and (hasSuffix "url" $name) (regexMatch "://[^/@]*:[^/@]*@|password *=" $url) -}}
{{- fail (printf "config.database.%s has a password in it, which everybody could read in the ConfigMap: put the URL into a Secret and name it in %s.existingSecret" $name (get (dict "url" "database" "reader_url" "reader" "observe_url" "observer") $name)) -}}
{{- end -}}
{{- end -}}
{{- range $what, $setting := dict "database" "url" "reader" "reader_url" "observer" "observe_url" -}}
{{- if and (get $v $what).existingSecret (dig "database" $setting "" $v.config) -}}
{{- fail (printf "%s.existingSecret and config.database.%s both say how to log in: keep one of them" $what $setting) -}}
{{- end -}}
{{- end -}}
{{- $drain := include "homeostat.drainSeconds" . | atoi -}}
{{- $grace := include "homeostat.graceSeconds" . | atoi -}}
{{- if lt $grace (add $drain 5 | int) -}}
{{- fail (printf "terminationGracePeriodSeconds (%d) must be 5 seconds longer than config.drain.budget (%d s) at least, or replicas are killed with batches in flight" $grace $drain) -}}
{{- end -}}
{{- if and $v.autoscaling.enabled $v.keda.enabled -}}
{{- fail "autoscaling.enabled and keda.enabled both set the number of replicas: turn one of them off" -}}
{{- end -}}
{{- range $name := list "autoscaling" "keda" -}}
{{- $scaler := get $v $name -}}
{{- if gt (int $scaler.minReplicas) (int $scaler.maxReplicas) -}}
{{- fail (printf "%s.minReplicas (%d) must be no more than %s.maxReplicas (%d)" $name (int $scaler.minReplicas) $name (int $scaler.maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- if and $v.keda.enabled (not $v.keda.triggers) (not $v.keda.prometheusAddress) -}}
{{- fail "keda.enabled needs keda.prometheusAddress, where the backlog is read from, or triggers of your own in keda.triggers" -}}
{{- end -}}
{{- if and (or $v.providers $v.pipelines $v.targetViews) (not $v.declarations.existingSecret) -}}
{{- fail "providers, pipelines and targetViews are declared by a login of their own: set declarations.existingSecret to a Secret whose key declarations.key holds its URL (a member of homeostat_declarer)" -}}
{{- end -}}
{{- $pdb := $v.podDisruptionBudget -}}
{{- if and $pdb.enabled (not (kindIs "invalid" $pdb.maxUnavailable)) (not (kindIs "invalid" $pdb.minAvailable)) -}}
{{- fail "podDisruptionBudget has both maxUnavailable and minAvailable: set one of them to null" -}}
{{- end -}}
{{- end -}}
