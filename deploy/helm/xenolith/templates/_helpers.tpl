{{- define "xenolith.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "xenolith.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "xenolith.labels" -}}
{{ include "xenolith.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "xenolith.image" -}}
{{ .root.Values.image.registry }}{{ .root.Values.image.repository }}/{{ .component }}:{{ default .root.Chart.AppVersion .root.Values.image.tag }}
{{- end -}}

{{/* What a size gives a part: YAML with replicas and resources. Memory is what a full fleet of that size was seen to need, and half as much again as the limit. */}}
{{- define "xenolith.preset" -}}
{{- $presets := dict
  "gateway" (dict "small" (list 2 "100m" "256Mi" "512Mi") "medium" (list 2 "500m" "512Mi" "1Gi") "large" (list 3 "1" "1536Mi" "2560Mi"))
  "compute" (dict "small" (list 2 "100m" "256Mi" "512Mi") "medium" (list 2 "500m" "384Mi" "768Mi") "large" (list 2 "1" "768Mi" "1536Mi"))
  "storage" (dict "small" (list 2 "50m" "160Mi" "384Mi") "medium" (list 2 "200m" "192Mi" "512Mi") "large" (list 2 "500m" "320Mi" "768Mi"))
  "network" (dict "small" (list 2 "50m" "160Mi" "384Mi") "medium" (list 2 "200m" "192Mi" "512Mi") "large" (list 2 "500m" "320Mi" "768Mi"))
  "scheduler" (dict "small" (list 2 "50m" "192Mi" "384Mi") "medium" (list 2 "300m" "320Mi" "640Mi") "large" (list 2 "1" "768Mi" "1536Mi"))
  "agent" (dict "small" (list 1 "100m" "192Mi" "512Mi") "medium" (list 1 "500m" "384Mi" "1Gi") "large" (list 1 "1" "1536Mi" "3Gi"))
  "postgres" (dict "small" (list 1 "200m" "512Mi" "1Gi") "medium" (list 1 "1" "1Gi" "2Gi") "large" (list 1 "2" "2Gi" "4Gi"))
  "nats" (dict "small" (list 3 "50m" "128Mi" "256Mi") "medium" (list 3 "200m" "256Mi" "512Mi") "large" (list 3 "500m" "512Mi" "1Gi"))
-}}
{{- $preset := index $presets .component .root.Values.size -}}
replicas: {{ index $preset 0 }}
resources:
  requests: { cpu: {{ index $preset 1 | quote }}, memory: {{ index $preset 2 }} }
  limits: { memory: {{ index $preset 3 }} }
{{- end -}}

{{- define "xenolith.resources" -}}
{{- $own := index .root.Values .component "resources" -}}
{{- $preset := include "xenolith.preset" . | fromYaml -}}
{{ toYaml (default $preset.resources $own) }}
{{- end -}}

{{- define "xenolith.replicas" -}}
{{- $own := index .root.Values .component "replicas" -}}
{{- $preset := include "xenolith.preset" . | fromYaml -}}
{{- if kindIs "invalid" $own }}{{ $preset.replicas }}{{ else }}{{ $own }}{{ end -}}
{{- end -}}

{{/* What every container of ours may do: nothing but its work. */}}
{{- define "xenolith.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{/* Volumes are given to the group once, when they are new: at each start it would be given PostgreSQL's folder too, which PostgreSQL then refuses. */}}
{{- define "xenolith.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .user }}
fsGroup: {{ .user }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "xenolith.spread" -}}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "xenolith.selector" $ | nindent 6 }}
{{- end }}
{{- end -}}

{{- define "xenolith.databaseSecret" -}}
{{ default (printf "%s-postgres" (include "xenolith.fullname" .)) .Values.postgres.external.existingSecret }}
{{- end -}}
{{- define "xenolith.tlsSecret" -}}
{{ default (printf "%s-tls" (include "xenolith.fullname" .)) .Values.tls.existingSecret }}
{{- end -}}
{{- define "xenolith.tokensSecret" -}}
{{ default (printf "%s-tokens" (include "xenolith.fullname" .)) .Values.tokens.existingSecret }}
{{- end -}}

{{- define "xenolith.natsUrl" -}}
{{- if .Values.nats.enabled -}}
tls://{{ include "xenolith.fullname" . }}-nats:4222
{{- else -}}
{{ required "nats.external.url: set it, as nats.enabled is false" .Values.nats.external.url }}
{{- end -}}
{{- end -}}

{{/* Names of what serves a part: its Service by every name that it has, and the Pods of another one. */}}
{{- define "xenolith.serverNames" -}}
{{- $names := list "localhost" -}}
{{- range .services }}{{ $names = concat $names (list . (printf "%s.%s" . $.root.Release.Namespace) (printf "%s.%s.svc" . $.root.Release.Namespace) (printf "%s.%s.svc.cluster.local" . $.root.Release.Namespace)) }}{{ end -}}
{{ toJson $names }}
{{- end -}}

{{- define "xenolith.natsTlsSecret" -}}
{{ default (printf "%s-nats-tls" (include "xenolith.fullname" .)) .Values.nats.tls.existingSecret }}
{{- end -}}
{{- define "xenolith.natsKeysSecret" -}}
{{ default (printf "%s-nats-keys" (include "xenolith.fullname" .)) .Values.nats.keys.existingSecret }}
{{- end -}}
{{- define "xenolith.postgresTlsSecret" -}}
{{ default (printf "%s-postgres-tls" (include "xenolith.fullname" .)) .Values.postgres.tls.existingSecret }}
{{- end -}}

{{/* How a client of the built-in PostgreSQL makes sure whom it talks to. */}}
{{- define "xenolith.postgresTlsQuery" -}}
sslmode=verify-full&sslrootcert=/etc/xenolith/postgres/ca.crt
{{- end -}}

{{/* The agents, each a user of NATS: one is the fleet `default`, several are named after their Pods. */}}
{{- define "xenolith.fleets" -}}
{{- $agent := .Values.agent -}}
{{- $fleets := list -}}
{{- if $agent.enabled -}}
{{- $common := dict "hosts" (int $agent.hosts) "kvmHosts" (int $agent.kvmHosts) "profiles" $agent.hostProfiles -}}
{{- if gt (int $agent.replicas) 1 -}}
{{- range $number := until (int $agent.replicas) -}}
{{- $pod := printf "%s-agent-%d" (include "xenolith.fullname" $) $number -}}
{{- $fleets = append $fleets (merge (dict "fleet" $pod "hostPrefix" (printf "%s-" $pod) "kvmPrefix" (printf "%s-kvm-" $pod)) $common) -}}
{{- end -}}
{{- else -}}
{{- $fleets = append $fleets (merge (dict "fleet" "default") $common) -}}
{{- end -}}
{{- end -}}
{{ toJson $fleets }}
{{- end -}}

{{/*
A server's certificate: a secret that is there, one that cert-manager fills, or one of the chart's own making with an authority of its own, which is kept
over upgrades. Takes `root`, `name` (of the secret), `tls` (of the values), `value` (its name in the values), `labels`, `names` (JSON), and for whom both sides prove who they are, `mutual`.
*/}}
{{- define "xenolith.certificate" -}}
{{- $names := fromJsonArray .names -}}
{{- if .tls.existingSecret -}}
{{- else if .tls.certManager.enabled -}}
{{- if not .tls.certManager.issuerRef.name }}{{ fail (printf "%s.certManager.issuerRef: name the issuer, as %s.certManager.enabled is true" .value .value) }}{{ end }}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {{ trimSuffix "-tls" .name }}
  labels:
    {{- .labels | nindent 4 }}
spec:
  secretName: {{ .name }}
  dnsNames:
    {{- toYaml $names | nindent 4 }}
  {{- if .mutual }}
  usages: [digital signature, server auth, client auth]
  {{- end }}
  privateKey: { algorithm: ECDSA, size: 256, rotationPolicy: Always }
  issuerRef:
    {{- toYaml .tls.certManager.issuerRef | nindent 4 }}
{{- else }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ .name }}
  labels:
    {{- .labels | nindent 4 }}
type: kubernetes.io/tls
data:
  {{- include "xenolith.madeCertificate" . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The data of a certificate of the chart's own making: that of the secret that is there, or a new one, the same for all who ask within one rendering. */}}
{{- define "xenolith.madeCertificate" -}}
{{- $made := default dict .root.Values.madeCertificates -}}
{{- if not (hasKey $made .name) -}}
{{- $known := lookup "v1" "Secret" .root.Release.Namespace .name -}}
{{- if $known -}}
{{- $_ := set $made .name $known.data -}}
{{- else -}}
{{- $authority := genCAWithKey (printf "%s authority" .name) 3650 (genPrivateKey "ecdsa") -}}
{{- $certificate := genSignedCertWithKey (trimSuffix "-tls" .name) (list "127.0.0.1") (fromJsonArray .names) 3650 $authority (genPrivateKey "ecdsa") -}}
{{- $_ := set $made .name (dict "ca.crt" ($authority.Cert | b64enc) "tls.crt" ($certificate.Cert | b64enc) "tls.key" ($certificate.Key | b64enc)) -}}
{{- end -}}
{{- $_ := set .root.Values "madeCertificates" $made -}}
{{- end -}}
{{- toYaml (index $made .name) -}}
{{- end -}}

{{/* The account that a service runs as. In a cluster that serves our API the gateway is somebody there, and nobody else. */}}
{{- define "xenolith.serviceAccount" -}}
{{ include "xenolith.fullname" .root }}{{ if and .root.Values.aggregation.enabled (eq .component "gateway") }}-gateway{{ end }}
{{- end -}}

{{/* Groups that a cluster serves through the gateway. Those that Kubernetes has itself are the cluster's own. */}}
{{- define "xenolith.apiGroups" -}}
["chaos.xenolith.dev","compute.xenolith.dev","network.xenolith.dev","scheduling.xenolith.dev","storage.xenolith.dev"]
{{- end -}}

{{/* The authority of the API's certificate, in base64, for the cluster that calls it. */}}
{{- define "xenolith.apiAuthority" -}}
{{- $tls := .Values.tls -}}
{{- if .Values.aggregation.caBundle -}}
{{ .Values.aggregation.caBundle | b64enc }}
{{- else if $tls.existingSecret -}}
{{- $known := lookup "v1" "Secret" .Release.Namespace $tls.existingSecret -}}
{{- if and $known (hasKey $known.data "ca.crt") }}{{ index $known.data "ca.crt" }}{{ else }}
{{- fail "aggregation.caBundle: give the authority of the certificate in tls.existingSecret, in PEM; there is no such secret with a ca.crt yet" }}{{ end -}}
{{- else -}}
{{ index (include "xenolith.madeCertificate" (dict "root" . "name" (printf "%s-tls" (include "xenolith.fullname" .)) "names" (include "xenolith.apiNames" .)) | fromYaml) "ca.crt" }}
{{- end -}}
{{- end -}}

{{/* Names by which clients reach the API. */}}
{{- define "xenolith.apiNames" -}}
{{- $service := include "xenolith.fullname" . -}}
{{- $names := list $service (printf "%s.%s" $service .Release.Namespace) (printf "%s.%s.svc" $service .Release.Namespace) (printf "%s.%s.svc.cluster.local" $service .Release.Namespace) "localhost" -}}
{{- range list .Values.gateway.ingress.host .Values.gateway.route.host }}{{ if . }}{{ $names = append $names . }}{{ end }}{{ end -}}
{{ concat $names .Values.tls.extraNames | uniq | toJson }}
{{- end -}}

{{/* Where spans go; empty: nowhere. */}}
{{- define "xenolith.tracingEndpoint" -}}
{{- if .Values.tracing.endpoint -}}
{{ .Values.tracing.endpoint }}
{{- else if .Values.jaeger.enabled -}}
http://{{ include "xenolith.fullname" . }}-jaeger:4318
{{- end -}}
{{- end -}}

{{/* What every process of ours is told. */}}
{{- define "xenolith.processEnv" -}}
- { name: NATS_URL, value: {{ include "xenolith.natsUrl" .root | quote }} }
{{- $external := .root.Values.nats.external }}
{{- if or .root.Values.nats.enabled $external.caSecret }}
- { name: NATS_CA_FILE, value: /etc/xenolith/nats/ca.crt }
{{- end }}
{{- if .root.Values.nats.enabled }}
- { name: NATS_NKEY_FILE, value: /etc/xenolith/bus/key }
{{- else if $external.credentialsSecret }}
- { name: NATS_CREDS_FILE, value: /etc/xenolith/bus/nats.creds }
{{- end }}
- { name: LOG_LEVEL, value: {{ .root.Values.logLevel | quote }} }
- { name: HTTP_HOST, value: 0.0.0.0 }
- { name: HTTP_PORT, value: "9090" }
- name: INSTANCE
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
{{- with include "xenolith.tracingEndpoint" .root }}
- { name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }} }
{{- end }}
{{- end -}}

{{/* What a process knows the bus by, and what it proves itself by: its own key only. An agent's is named after its fleet, which its Pod alone knows. */}}
{{- define "xenolith.busMounts" -}}
{{- $nats := .root.Values.nats }}
{{- if or $nats.enabled $nats.external.caSecret }}
- { name: nats-ca, mountPath: /etc/xenolith/nats, readOnly: true }
{{- end }}
{{- if and $nats.enabled (eq .component "agent") }}
- { name: bus, mountPath: /etc/xenolith/bus/key, subPathExpr: agent.$(AGENT_FLEET), readOnly: true }
{{- else if or $nats.enabled $nats.external.credentialsSecret }}
- { name: bus, mountPath: /etc/xenolith/bus, readOnly: true }
{{- end }}
{{- end -}}

{{- define "xenolith.busVolumes" -}}
{{- $nats := .root.Values.nats }}
{{- if or $nats.enabled $nats.external.caSecret }}
- name: nats-ca
  secret: { secretName: {{ ternary (include "xenolith.natsTlsSecret" .root) $nats.external.caSecret $nats.enabled }}, items: [{ key: ca.crt, path: ca.crt }] }
{{- end }}
{{- if and $nats.enabled (eq .component "agent") }}
- name: bus
  secret: { secretName: {{ include "xenolith.natsKeysSecret" .root }} }
{{- else if $nats.enabled }}
- name: bus
  secret: { secretName: {{ include "xenolith.natsKeysSecret" .root }}, items: [{ key: {{ .component }}, path: key }] }
{{- else if $nats.external.credentialsSecret }}
- name: bus
  secret: { secretName: {{ $nats.external.credentialsSecret }}, items: [{ key: nats.creds, path: nats.creds }] }
{{- end }}
{{- end -}}

{{/* The authority of PostgreSQL's certificate. */}}
{{- define "xenolith.databaseAuthority" -}}
{{- if .Values.postgres.enabled }}{{ include "xenolith.postgresTlsSecret" . }}{{ else }}{{ .Values.postgres.external.caSecret }}{{ end -}}
{{- end -}}

{{/* Probes that differ: alive is who answers at all, ready is who has a database and a bus; a start may take as long as the log takes to read. */}}
{{- define "xenolith.probes" -}}
startupProbe:
  httpGet: { path: /livez, port: side }
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /livez, port: side }
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: side }
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end -}}

{{- define "xenolith.ofRelease" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Who may come in, by the names of their namespaces; nothing: everybody. */}}
{{- define "xenolith.fromNamespaces" -}}
{{- with . }}
from:
  {{- range . }}
  - namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: {{ . }} } }
  {{- end }}
{{- end }}
{{- end -}}

{{/* A Pod that runs one of the chart's scripts against the API. The gateway's image has what they need: Node. */}}
{{- define "xenolith.scriptPod" -}}
restartPolicy: Never
serviceAccountName: {{ include "xenolith.fullname" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "xenolith.podSecurity" (dict "user" 65532) | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: script
    image: {{ include "xenolith.image" (dict "root" .root "component" "gateway") }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: [/bin/node, /scripts/{{ .script }}]
    securityContext:
      {{- include "xenolith.containerSecurity" .root | nindent 6 }}
    env:
      - { name: API_HOST, value: {{ include "xenolith.fullname" .root }} }
      - { name: API_PORT, value: {{ .root.Values.gateway.service.port | quote }} }
      - { name: TOKENS_FILE, value: /etc/xenolith/tokens/tokens.json }
      - { name: CA_FILE, value: /etc/xenolith/tls/ca.crt }
      - { name: OBJECTS_FILE, value: /scripts/objects.json }
    resources:
      requests: { cpu: 50m, memory: 64Mi }
      limits: { memory: 128Mi }
    volumeMounts:
      - { name: scripts, mountPath: /scripts, readOnly: true }
      - { name: tls, mountPath: /etc/xenolith/tls, readOnly: true }
      - { name: tokens, mountPath: /etc/xenolith/tokens, readOnly: true }
volumes:
  - name: scripts
    configMap: { name: {{ include "xenolith.fullname" .root }}-scripts }
  - name: tls
    secret: { secretName: {{ include "xenolith.tlsSecret" .root }}, items: [{ key: ca.crt, path: ca.crt }] }
  - name: tokens
    secret: { secretName: {{ include "xenolith.tokensSecret" .root }} }
{{- end -}}

{{/* The rules file for this release: figures of its namespace only, and nothing missed that it does not have. */}}
{{- define "xenolith.alerts" -}}
{{- $root := . -}}
{{- $alerts := .Files.Get "files/alerts.yaml" | fromYaml -}}
{{- $ours := printf "${1}{namespace=%q," .Release.Namespace -}}
{{- range $alerts.groups }}
{{- range .rules }}
{{- $expr := .expr }}
{{- if not $root.Values.agent.enabled }}{{ $expr = replace " or absent(xenolith_build_info{service=\"agent\"})" "" $expr }}{{ end }}
{{- $expr = regexReplaceAll "\\b(xenolith_\\w+)([^\\w{])" $expr "${1}{}${2}" }}
{{- $expr = regexReplaceAll "\\b(xenolith_\\w+|process_start_time_seconds){" $expr $ours | replace ",}" "}" }}
{{- $_ := set . "expr" $expr }}
{{- $_ := set .annotations "runbook_url" (replace "docs/operations/" $root.Values.metrics.prometheusRule.runbookBaseUrl .annotations.runbook_url) }}
{{- end }}
{{- end }}
{{- toYaml $alerts }}
{{- end -}}

{{- define "xenolith.migratePod" -}}
restartPolicy: Never
serviceAccountName: {{ include "xenolith.fullname" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "xenolith.podSecurity" (dict "user" 65532) | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: migrate
    image: {{ include "xenolith.image" (dict "root" . "component" "gateway") }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [/bin/node, /app/migrate.js]
    securityContext:
      {{- include "xenolith.containerSecurity" . | nindent 6 }}
    env:
      - { name: LOG_LEVEL, value: {{ .Values.logLevel | quote }} }
      - name: DATABASE_URL
        valueFrom: { secretKeyRef: { name: {{ include "xenolith.databaseSecret" . }}, key: url } }
      {{- if .Values.postgres.enabled }}
      - { name: DATABASE_ROLES_DIR, value: /etc/xenolith/roles }
      {{- end }}
    resources:
      requests: { cpu: 50m, memory: 96Mi }
      limits: { memory: 256Mi }
    {{- $authority := include "xenolith.databaseAuthority" . }}
    {{- if or .Values.postgres.enabled $authority }}
    volumeMounts:
      {{- if .Values.postgres.enabled }}
      - { name: roles, mountPath: /etc/xenolith/roles, readOnly: true }
      {{- end }}
      {{- if $authority }}
      - { name: postgres-ca, mountPath: /etc/xenolith/postgres, readOnly: true }
      {{- end }}
volumes:
  {{- if .Values.postgres.enabled }}
  - name: roles
    secret: { secretName: {{ include "xenolith.fullname" . }}-database-roles }
  {{- end }}
  {{- if $authority }}
  - name: postgres-ca
    secret: { secretName: {{ $authority }}, items: [{ key: ca.crt, path: ca.crt }] }
  {{- end }}
    {{- end }}
{{- end -}}

{{/* Secrets whose ca.crt the gateway is told to believe, by the name of their mount. */}}
{{- define "xenolith.authorities" -}}
{{- with .Values.auth -}}
{{- if .oidc.caSecret }}
oidc-ca: {{ .oidc.caSecret }}
{{- end }}
{{- if .clientCaSecret }}
client-ca: {{ .clientCaSecret }}
{{- end }}
{{- if .frontProxy.caSecret }}
front-proxy-ca: {{ .frontProxy.caSecret }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* How users prove who they are, beside the tokens of the platform's own. */}}
{{- define "xenolith.authEnv" -}}
{{- with .Values.auth }}
{{- if .oidc.issuerUrl }}
- { name: OIDC_ISSUER_URL, value: {{ .oidc.issuerUrl | quote }} }
- { name: OIDC_AUDIENCES, value: {{ required "auth.oidc.audiences: name the audience, as auth.oidc.issuerUrl is set" (join "," .oidc.audiences) | quote }} }
- { name: OIDC_SIGNING_ALGS, value: {{ join "," .oidc.signingAlgorithms | quote }} }
- { name: OIDC_USERNAME_CLAIM, value: {{ .oidc.usernameClaim | quote }} }
{{- with .oidc.jwksUrl }}
- { name: OIDC_JWKS_URL, value: {{ . | quote }} }
{{- end }}
{{- if .oidc.caSecret }}
- { name: OIDC_CA_FILE, value: /etc/xenolith/oidc-ca/ca.crt }
{{- end }}
{{- with .oidc.usernamePrefix }}
- { name: OIDC_USERNAME_PREFIX, value: {{ . | quote }} }
{{- end }}
{{- with .oidc.groupsClaim }}
- { name: OIDC_GROUPS_CLAIM, value: {{ . | quote }} }
{{- end }}
{{- with .oidc.groupsPrefix }}
- { name: OIDC_GROUPS_PREFIX, value: {{ . | quote }} }
{{- end }}
{{- with .oidc.requiredClaims }}
- { name: OIDC_REQUIRED_CLAIMS, value: {{ join "," . | quote }} }
{{- end }}
{{- else if or .oidc.audiences .oidc.jwksUrl .oidc.caSecret .oidc.groupsClaim .oidc.requiredClaims }}
{{- fail "auth.oidc.issuerUrl: set it, or leave the rest of auth.oidc out" }}
{{- end }}
{{- if .clientCaSecret }}
- { name: CLIENT_CA_FILE, value: /etc/xenolith/client-ca/ca.crt }
{{- end }}
{{- if .frontProxy.caSecret }}
- { name: REQUESTHEADER_CLIENT_CA_FILE, value: /etc/xenolith/front-proxy-ca/ca.crt }
{{- with .frontProxy.allowedNames }}
- { name: REQUESTHEADER_ALLOWED_NAMES, value: {{ join "," . | quote }} }
{{- end }}
{{- else if .frontProxy.allowedNames }}
{{- fail "auth.frontProxy.caSecret: set it, or leave auth.frontProxy.allowedNames out" }}
{{- end }}
{{- with .trustedProxies }}
- { name: TRUSTED_PROXIES, value: {{ join "," . | quote }} }
{{- end }}
{{- end }}
{{- end -}}

{{/* The port of an http or https URL. */}}
{{- define "xenolith.portOf" -}}
{{- $parts := urlParse . -}}
{{- $stated := regexFind ":[0-9]+$" $parts.host -}}
{{- if $stated -}}{{ trimPrefix ":" $stated }}{{- else if eq $parts.scheme "https" -}}443{{- else -}}80{{- end -}}
{{- end -}}
