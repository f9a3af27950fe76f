{{/* Name of the release's objects: the release's, with the chart's behind it unless it is in it. */}}
{{- define "rowfleet.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* Labels that select a component's pods. Takes (list . "component"). */}}
{{- define "rowfleet.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of a component's pods: no version among them, so that an upgrade rolls only what changed.
     Takes (list . "component"). */}}
{{- define "rowfleet.podLabels" -}}
{{ include "rowfleet.selector" . }}
app.kubernetes.io/part-of: rowfleet
{{- end }}

{{/* All labels of a component's objects. Takes (list . "component"). */}}
{{- define "rowfleet.labels" -}}
{{- $root := index . 0 -}}
{{ include "rowfleet.selector" . }}
app.kubernetes.io/part-of: rowfleet
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end }}

{{/* One of Rowfleet's own images. Takes (list . imageValues). */}}
{{- define "rowfleet.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $tag := coalesce $image.tag $root.Values.image.tag $root.Chart.AppVersion -}}
{{- with $root.Values.image.registry }}{{ . }}/{{ end }}{{ $image.repository }}:{{ $tag }}
{{- end }}

{{/* What every pod has: no links, no token, no root. Takes (dict "root" . "user" UID). */}}
{{- define "rowfleet.podBasics" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .user }}
  fsGroup: {{ .user }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Where a component's pods may run. Takes the component's values. */}}
{{- define "rowfleet.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "rowfleet.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* UID of Rowfleet's own images; any other works, too. */}}
{{- define "rowfleet.user" -}}10001{{- end }}

{{/* --- secrets: name and key of each, the release's own or one that exists */}}

{{- define "rowfleet.openaiSecret" -}}
{{ .Values.openai.existingSecret | default (printf "%s-openai" (include "rowfleet.fullname" .)) }}
{{- end }}

{{- define "rowfleet.redisSecret" -}}
{{- $values := ternary .Values.redis .Values.externalRedis .Values.redis.enabled -}}
{{ $values.existingSecret | default (printf "%s-redis" (include "rowfleet.fullname" .)) }}
{{- end }}

{{- define "rowfleet.redisSecretKey" -}}
{{- $values := ternary .Values.redis .Values.externalRedis .Values.redis.enabled -}}
{{ ternary $values.existingSecretKey "redis-password" (not (empty $values.existingSecret)) }}
{{- end }}

{{/* Secret with the passwords of the release's own Redis' other users. */}}
{{- define "rowfleet.redisUsersSecret" -}}
{{ .Values.redis.users.existingSecret | default (printf "%s-redis-users" (include "rowfleet.fullname" .)) }}
{{- end }}

{{/* Where a user of the broker has its password, as a secretKeyRef. In the release's own Redis each has
     one: people and their Jobs are `submitter`. Takes (list . USER). */}}
{{- define "rowfleet.redisPassword" -}}
{{- $root := index . 0 -}}
{{- $user := index . 1 -}}
{{- if and $root.Values.redis.enabled (ne $user "submitter") -}}
name: {{ include "rowfleet.redisUsersSecret" $root }}
key: {{ $user }}-password
{{- else -}}
name: {{ include "rowfleet.redisSecret" $root }}
key: {{ include "rowfleet.redisSecretKey" $root }}
{{- end -}}
{{- end }}

{{/* Whether the broker has a password: "true" or nothing. */}}
{{- define "rowfleet.redisHasPassword" -}}
{{- if or .Values.redis.enabled .Values.externalRedis.password .Values.externalRedis.existingSecret -}}
true
{{- end -}}
{{- end }}

{{- define "rowfleet.postgresqlSecret" -}}
{{ .Values.postgresql.existingSecret | default (printf "%s-postgresql" (include "rowfleet.fullname" .)) }}
{{- end }}

{{- define "rowfleet.postgresqlSecretKey" -}}
{{ ternary .Values.postgresql.existingSecretKey "postgres-password" (not (empty .Values.postgresql.existingSecret)) }}
{{- end }}

{{/* Secret with the password of the role that owns the tables of the release's own PostgreSQL. */}}
{{- define "rowfleet.ownerSecret" -}}
{{ .Values.postgresql.owner.existingSecret | default (printf "%s-postgresql-owner" (include "rowfleet.fullname" .)) }}
{{- end }}

{{- define "rowfleet.ownerSecretKey" -}}
{{ ternary .Values.postgresql.owner.existingSecretKey "owner-password" (not (empty .Values.postgresql.owner.existingSecret)) }}
{{- end }}

{{/* The ledger's URL in the release's own PostgreSQL, without a password. Takes (list . USER). */}}
{{- define "rowfleet.databaseUrl" -}}
postgresql://{{ index . 1 }}@{{ include "rowfleet.fullname" (index . 0) }}-postgresql:5432/rowfleet{{ if (index . 0).Values.tls.enabled }}?sslmode=verify-full&sslrootcert=/etc/rowfleet/postgresql-ca/ca.crt{{ end }}
{{- end }}

{{- define "rowfleet.databaseSecret" -}}
{{ .Values.externalDatabase.existingSecret | default (printf "%s-database" (include "rowfleet.fullname" .)) }}
{{- end }}

{{- define "rowfleet.databaseSecretKey" -}}
{{ ternary .Values.externalDatabase.existingSecretKey "DATABASE_URL" (not (empty .Values.externalDatabase.existingSecret)) }}
{{- end }}

{{- define "rowfleet.flowerSecret" -}}
{{ .Values.flower.existingSecret | default (printf "%s-flower" (include "rowfleet.fullname" .)) }}
{{- end }}

{{- define "rowfleet.flowerSecretKey" -}}
{{ ternary .Values.flower.existingSecretKey "FLOWER_BASIC_AUTH" (not (empty .Values.flower.existingSecret)) }}
{{- end }}

{{/* The value of a password: the given one, else the one the release has already, else a new one.
     Takes (dict "root" . "secret" NAME "key" KEY "given" VALUE). Without a cluster to ask, as in
     `helm template`, it is a new one each time. */}}
{{- define "rowfleet.password" -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- if .given -}}
{{ .given | b64enc }}
{{- else if and $found (hasKey ($found.data | default dict) .key) -}}
{{ index $found.data .key }}
{{- else -}}
{{ randAlphaNum 32 | b64enc }}
{{- end -}}
{{- end }}

{{/* --- broker and ledger */}}

{{/* The broker's URL for a user of it, without the password. Takes (list . USER). */}}
{{- define "rowfleet.redisUrl" -}}
{{- $user := index . 1 -}}
{{- with index . 0 -}}
{{- if .Values.redis.enabled -}}
{{ .Values.tls.enabled | ternary "rediss" "redis" }}://{{ $user }}@{{ include "rowfleet.fullname" . }}-redis:6379/0{{ if .Values.tls.enabled }}?ssl_ca_certs=/etc/rowfleet/redis-ca/ca.crt{{ end }}
{{- else if .Values.externalRedis.caSecret -}}
{{ .Values.externalRedis.url }}{{ contains "?" .Values.externalRedis.url | ternary "&" "?" }}ssl_ca_certs=/etc/rowfleet/redis-ca/ca.crt
{{- else -}}
{{ .Values.externalRedis.url }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The broker as KEDA's redis scaler wants it, as YAML: address, databaseIndex, enableTLS, username.
     KEDA asks from a namespace of its own, so the name of our Service has ours in it. */}}
{{- define "rowfleet.redisForKeda" -}}
{{- if .Values.redis.enabled }}
address: {{ printf "%s-redis.%s.svc:6379" (include "rowfleet.fullname" .) .Release.Namespace | quote }}
{{- else }}
address: {{ printf "%s:%s" (include "rowfleet.redisPart" (list . 3)) (include "rowfleet.redisPort" .) | quote }}
{{- end }}
databaseIndex: {{ include "rowfleet.redisPart" (list . 5) | default "0" | quote }}
enableTLS: {{ include "rowfleet.redisPart" (list . 1) | eq "rediss" | quote }}
{{- with include "rowfleet.redisPart" (list . 2) }}
username: {{ trimSuffix ":" . | quote }}
{{- end }}
{{- end }}

{{/* A part of the broker's URL: 1 scheme, 2 user, 3 host, 4 port, 5 database, 6 what is behind the ?.
     Takes (list . PART). Not by urlParse: where that fails, it prints the URL, password and all. */}}
{{- define "rowfleet.redisPart" -}}
{{- $form := include "rowfleet.redisUrlForm" . -}}
{{- $url := include "rowfleet.redisUrl" (list (index . 0) "keda") -}}
{{- if regexMatch $form $url -}}
{{ regexReplaceAll $form $url (printf "${%d}" (index . 1)) }}
{{- end -}}
{{- end }}

{{- define "rowfleet.redisUrlForm" -}}
^(rediss?)://(?:([^@/?#]*)@)?(\[[0-9a-fA-F:.]+\]|[^:@/?#\[\]]+)(?::([0-9]{1,5}))?(?:/([0-9]+))?/?(?:\?([^#]*))?$
{{- end }}

{{/* Port of the broker. */}}
{{- define "rowfleet.redisPort" -}}
{{ include "rowfleet.redisPart" (list . 4) | default "6379" }}
{{- end }}

{{/* How a user of the broker gets in, as a container's env. The URL of `submitter` is in the ConfigMap,
     where Jobs of the user's own find it. Takes (list . USER). */}}
{{- define "rowfleet.userOfTheBroker" -}}
{{- $root := index . 0 -}}
{{- $user := index . 1 -}}
{{- if and $root.Values.redis.enabled (ne $user "submitter") }}
- {name: REDIS_URL, value: {{ include "rowfleet.redisUrl" . | quote }}}
{{- end }}
{{- if include "rowfleet.redisHasPassword" $root }}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      {{- include "rowfleet.redisPassword" . | nindent 6 }}
{{- end }}
{{- end }}

{{/* Access for the ledger's owner, the only role that may change its tables, as a container's env. */}}
{{- define "rowfleet.ownerOfTheLedger" -}}
{{- if .Values.postgresql.enabled }}
- {name: DATABASE_URL, value: {{ include "rowfleet.databaseUrl" (list . "rowfleet_owner") | quote }}}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "rowfleet.ownerSecret" . }}
      key: {{ include "rowfleet.ownerSecretKey" . }}
{{- else }}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef:
      {{- with .Values.externalDatabase.ownerSecret }}
      name: {{ . }}
      key: {{ $.Values.externalDatabase.ownerSecretKey }}
      {{- else }}
      name: {{ include "rowfleet.databaseSecret" . }}
      key: {{ include "rowfleet.databaseSecretKey" . }}
      {{- end }}
{{- end }}
{{- end }}

{{/* Access for programs that read and write the ledger's rows, as a container's env. */}}
{{- define "rowfleet.userOfTheLedger" -}}
{{- if .Values.postgresql.enabled }}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "rowfleet.postgresqlSecret" . }}
      key: {{ include "rowfleet.postgresqlSecretKey" . }}
{{- else }}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ include "rowfleet.databaseSecret" . }}
      key: {{ include "rowfleet.databaseSecretKey" . }}
{{- end }}
{{- end }}

{{/* Secret with the certificates of the release's own servers. */}}
{{- define "rowfleet.tlsSecret" -}}
{{ .Values.tls.existingSecret | default (printf "%s-tls" (include "rowfleet.fullname" .)) }}
{{- end }}

{{/* Secret with the certificate of the CA that clients of the broker trust, or nothing. */}}
{{- define "rowfleet.redisCa" -}}
{{- if not .Values.redis.enabled -}}
{{ .Values.externalRedis.caSecret }}
{{- else if .Values.tls.enabled -}}
{{ include "rowfleet.tlsSecret" . }}
{{- end -}}
{{- end }}

{{/* The same for the ledger. */}}
{{- define "rowfleet.postgresqlCa" -}}
{{- if and .Values.postgresql.enabled .Values.tls.enabled -}}
{{ include "rowfleet.tlsSecret" . }}
{{- end -}}
{{- end }}

{{/* Volume and mount of a private CA for the broker, and for the ledger. */}}
{{- define "rowfleet.redisCaVolume" -}}
{{- with include "rowfleet.redisCa" . }}
- name: redis-ca
  secret:
    secretName: {{ . }}
    items:
      - {key: ca.crt, path: ca.crt}
{{- end }}
{{- end }}

{{- define "rowfleet.postgresqlCaVolume" -}}
{{- with include "rowfleet.postgresqlCa" . }}
- name: postgresql-ca
  secret:
    secretName: {{ . }}
    items:
      - {key: ca.crt, path: ca.crt}
{{- end }}
{{- end }}

{{- define "rowfleet.postgresqlCaMount" -}}
{{- if include "rowfleet.postgresqlCa" . }}
- name: postgresql-ca
  mountPath: /etc/rowfleet/postgresql-ca
  readOnly: true
{{- end }}
{{- end }}

{{/* Volume and mount of a server's own certificate and key. PostgreSQL takes a key that root owns only
     if others than its group can't read it. */}}
{{- define "rowfleet.tlsVolume" -}}
{{- if .Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ include "rowfleet.tlsSecret" . }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{- define "rowfleet.tlsMount" -}}
{{- if .Values.tls.enabled }}
- {name: tls, mountPath: /etc/tls, readOnly: true}
{{- end }}
{{- end }}

{{- define "rowfleet.redisCaMount" -}}
{{- if include "rowfleet.redisCa" . }}
- name: redis-ca
  mountPath: /etc/rowfleet/redis-ca
  readOnly: true
{{- end }}
{{- end }}

{{/* Roll pods when what they read has changed; Secrets that exist already are theirs who made them. */}}
{{- define "rowfleet.checksums" -}}
checksum/env: {{ (include (print $.Template.BasePath "/env-configmap.yaml") . | fromYaml).data | toJson | sha256sum }}
checksum/broker: {{ include "rowfleet.mark" (list . .Values.externalRedis.password) }}
{{- end }}

{{/* A mark that changes with secret values. Takes the root and the values. A reader of annotations may have
     no right to Secrets, so the mark must not confirm a guess: it has 16 bits, which each 65,536th guess
     matches, and differs between releases. A change goes unseen as rarely. A random salt would be
     better, but a tool that only renders has no place to keep it, and would roll all pods each time. */}}
{{- define "rowfleet.mark" -}}
{{- $root := index . 0 -}}
{{ list $root.Release.Namespace $root.Release.Name (rest .) | toJson | sha256sum | trunc 4 | quote }}
{{- end }}

{{/* Rows for each pod. */}}
{{- define "rowfleet.target" -}}
{{ .Values.autoscaling.target | default .Values.worker.slots }}
{{- end }}

{{/* Flower's path prefix without slashes around it. */}}
{{- define "rowfleet.flowerPrefix" -}}
{{ .Values.flower.urlPrefix | trimAll "/" }}
{{- end }}

{{/* Whether workers may say what ending them costs: only where the policy that narrows their right is
     wanted and served. "true" or nothing. */}}
{{- define "rowfleet.podDeletionCost" -}}
{{- $served := .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy" -}}
{{- with .Values.worker.podDeletionCost -}}
{{- if and .enabled .admissionPolicy $served -}}
true
{{- end -}}
{{- end -}}
{{- end }}

{{/* Whether KEDA needs a secret to ask the broker: "true" or nothing. */}}
{{- define "rowfleet.kedaNeedsSecret" -}}
{{- if or (include "rowfleet.redisHasPassword" .) (include "rowfleet.redisCa" .) -}}
true
{{- end -}}
{{- end }}

{{- define "rowfleet.triggerAuthentication" -}}
{{- if include "rowfleet.kedaNeedsSecret" . }}
authenticationRef:
  name: {{ include "rowfleet.fullname" . }}-redis
{{- end }}
{{- end }}

{{/* The model's API key, as a container's variable. */}}
{{- define "rowfleet.openaiKey" -}}
- name: OPENAI_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "rowfleet.openaiSecret" . }}
      key: {{ ternary .Values.openai.existingSecretKey "OPENAI_API_KEY" (not (empty .Values.openai.existingSecret)) }}
{{- end }}

{{/* Ports of the model's API and of what else a pod may reach; takes the root and a list of ports. */}}
{{- define "rowfleet.egressOutside" -}}
{{- $ports := index . 1 }}
{{- with include "rowfleet.openaiPort" (index . 0) }}
{{- $ports = append $ports (int .) }}
{{- end }}
- ports:
    {{- range uniq $ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}

{{/* The container of a submitter pod, without its args; takes `root`, and whether it `asksModel`, or
     `migrates` the ledger and asks neither model nor broker. */}}
{{- define "rowfleet.submitterContainer" -}}
{{- $asksModel := .asksModel -}}
{{- $migrates := .migrates -}}
{{- with .root -}}
name: submitter
image: {{ include "rowfleet.image" (list . .Values.submitter.image) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
envFrom:
  - configMapRef:
      name: {{ include "rowfleet.fullname" . }}-env
  {{- with .Values.submitter.extraEnvFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
env:
  {{- if $migrates }}
  {{- include "rowfleet.ownerOfTheLedger" . | nindent 2 }}
  {{- else }}
  {{- include "rowfleet.userOfTheBroker" (list . "submitter") | nindent 2 }}
  {{- include "rowfleet.userOfTheLedger" . | nindent 2 }}
  {{- end }}
  {{- if $asksModel }}
  {{- include "rowfleet.openaiKey" . | nindent 2 }}
        optional: true
  - {name: ROWFLEET_MAX_RETRIES, value: {{ int .Values.worker.maxRetries | quote }}}
  - {name: ROWFLEET_RETRY_DELAY, value: {{ .Values.worker.retryDelay | quote }}}
  {{- end }}
  {{- with .Values.submitter.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
resources:
  {{- toYaml .Values.submitter.resources | nindent 2 }}
{{ include "rowfleet.containerSecurity" . }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if include "rowfleet.recipesConfigMap" . }}
  - {name: recipes, mountPath: /etc/rowfleet/recipes, readOnly: true}
  {{- end }}
  {{- if not $migrates }}
  {{- include "rowfleet.documentsMount" . | nindent 2 }}
  {{- include "rowfleet.redisCaMount" . | nindent 2 }}
  {{- end }}
  {{- include "rowfleet.postgresqlCaMount" . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Connections to the ledger that all extractors together use at most. */}}
{{- define "rowfleet.extractorConnections" -}}
{{- $pods := ternary .Values.extractor.maxReplicas .Values.extractor.replicas .Values.autoscaling.enabled -}}
{{ ternary (mul $pods (add 4 (mul 2 .Values.extractor.processes))) 0 .Values.extractor.enabled }}
{{- end }}

{{/* The folder of documents: in object storage, or where the volume is mounted; or nothing. */}}
{{- define "rowfleet.documentsRoot" -}}
{{- if .Values.documents.volume -}}
/documents
{{- else -}}
{{ .Values.documents.root }}
{{- end -}}
{{- end }}

{{- define "rowfleet.documentsVolume" -}}
{{- with .Values.documents.volume }}
- name: documents
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "rowfleet.documentsMount" -}}
{{- if .Values.documents.volume }}
- {name: documents, mountPath: /documents, readOnly: true}
{{- end }}
{{- end }}

{{- define "rowfleet.submitterVolumes" -}}
volumes:
  - name: tmp
    emptyDir: {}
  {{- with include "rowfleet.recipesConfigMap" . }}
  - name: recipes
    configMap:
      name: {{ . }}
  {{- end }}
  {{- include "rowfleet.documentsVolume" . | nindent 2 }}
  {{- include "rowfleet.redisCaVolume" . | nindent 2 }}
  {{- include "rowfleet.postgresqlCaVolume" . | nindent 2 }}
{{- end }}

{{/* Name of the ConfigMap with recipes, or nothing. */}}
{{- define "rowfleet.recipesConfigMap" -}}
{{- if .Values.recipes.existingConfigMap -}}
{{ .Values.recipes.existingConfigMap }}
{{- else if .Values.recipes.files -}}
{{ include "rowfleet.fullname" . }}-recipes
{{- end -}}
{{- end }}

{{/* --- network policies */}}

{{/* Egress: asking for names. */}}
{{- define "rowfleet.egressDns" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end }}

{{/* Egress: the broker. */}}
{{- define "rowfleet.egressRedis" -}}
{{- if .Values.redis.enabled }}
- to:
    - podSelector:
        matchLabels:
          {{- include "rowfleet.selector" (list . "redis") | nindent 10 }}
  ports:
    - {port: 6379, protocol: TCP}
{{- else }}
- ports:
    - {port: {{ include "rowfleet.redisPort" . }}, protocol: TCP}
{{- end }}
{{- end }}

{{/* Egress: the ledger. */}}
{{- define "rowfleet.egressDatabase" -}}
{{- if .Values.postgresql.enabled }}
- to:
    - podSelector:
        matchLabels:
          {{- include "rowfleet.selector" (list . "postgresql") | nindent 10 }}
  ports:
    - {port: 5432, protocol: TCP}
{{- else }}
- ports:
    {{- range .Values.networkPolicy.databasePorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- end }}

{{/* Ingress: from the release's components. Takes (list . "worker" "submitter" …). */}}
{{- define "rowfleet.fromComponents" -}}
{{- $root := index . 0 -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride }}
      app.kubernetes.io/instance: {{ $root.Release.Name }}
    matchExpressions:
      - key: app.kubernetes.io/component
        operator: In
        values: [{{ rest . | join ", " }}]
{{- end }}

{{/* Port of openai.baseUrl, if it names one. */}}
{{- define "rowfleet.openaiPort" -}}
{{- with .Values.openai.baseUrl -}}
{{ regexFind "^https?://[^/]*:[0-9]+(/|$)" . | regexFind ":[0-9]+/?$" | trimAll ":/" | default (ternary "80" "443" (hasPrefix "http:" .)) }}
{{- end -}}
{{- end }}

{{/* Flower's path: its prefix with a slash before it, or nothing. */}}
{{- define "rowfleet.flowerPath" -}}
{{- with include "rowfleet.flowerPrefix" . }}/{{ . }}{{ end -}}
{{- end }}
