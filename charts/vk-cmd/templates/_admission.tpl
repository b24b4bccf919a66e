{{- /*
What the admission policies share. They look at where a pod may come to, not at what it is: docs/explanation/admission.md.
*/}}

{{- /* A CEL list of texts. */}}
{{- define "vk-cmd.admission.list" -}}
[{{ range $n, $text := . }}{{ if $n }}, {{ end }}'{{ $text }}'{{ end }}]
{{- end }}

{{- /* The variables of a policy about pods. In: pod, where the pod's spec is; changed, when there is something new about it. */}}
{{- define "vk-cmd.admission.variables" -}}
- name: changed
  expression: >-
    {{ .changed }}
- name: pod
  expression: >-
    {{ .pod }}
- name: node
  expression: >-
    has(variables.pod.nodeName) && variables.pod.nodeName != '' ? variables.pod.nodeName :
    (has(variables.pod.nodeSelector) && 'kubernetes.io/hostname' in variables.pod.nodeSelector
    ? variables.pod.nodeSelector['kubernetes.io/hostname'] : '')
- name: terms
  expression: >-
    has(variables.pod.affinity) && has(variables.pod.affinity.nodeAffinity)
    && has(variables.pod.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution)
    ? variables.pod.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms : []
# It cannot come to a vk-node: it names or selects another node, or keeps away from vk-nodes.
- name: elsewhere
  expression: >-
    (variables.node != '' && !variables.node.startsWith('vk-'))
    || (has(variables.pod.nodeSelector) && 'type' in variables.pod.nodeSelector
    && variables.pod.nodeSelector['type'] != 'virtual-kubelet')
    || (size(variables.terms) > 0 && variables.terms.all(term,
    (has(term.matchFields) && term.matchFields.exists(f, f.key == 'metadata.name' && f.operator == 'In'
    && has(f.values) && f.values.all(name, !name.startsWith('vk-'))))
    || (has(term.matchExpressions) && term.matchExpressions.exists(e,
    (e.key == 'type' && e.operator == 'NotIn' && has(e.values) && 'virtual-kubelet' in e.values)
    || (e.key == 'type' && e.operator == 'DoesNotExist')
    || (e.key == 'kubernetes.io/hostname' && e.operator == 'In' && has(e.values)
    && e.values.all(name, !name.startsWith('vk-')))))))
- name: tolerates
  expression: >-
    has(variables.pod.tolerations) && variables.pod.tolerations.exists(t,
    (!has(t.effect) || t.effect in ['', 'NoSchedule'])
    && (!has(t.key) || t.key == '' ? has(t.operator) && t.operator == 'Exists'
    : t.key == 'virtual-kubelet.io/provider' && ((has(t.operator) && !(t.operator in ['', 'Equal']))
    || (has(t.value) && t.value == 'vk-cmd'))))
# Without a toleration it waits for ever, unless the node has lost its taint.
- name: selects
  expression: >-
    (has(variables.pod.nodeSelector) && variables.pod.nodeSelector.exists(key, key.startsWith('vk-cmd.io/')
    || (key == 'type' && variables.pod.nodeSelector[key] == 'virtual-kubelet')))
    || variables.terms.exists(term,
    (has(term.matchFields) && term.matchFields.exists(f, f.operator == 'In' && has(f.values)
    && f.values.exists(name, name.startsWith('vk-'))))
    || (has(term.matchExpressions) && term.matchExpressions.exists(e,
    (e.key.startsWith('vk-cmd.io/') && e.operator in ['In', 'Exists'])
    || (e.operator == 'In' && has(e.values)
    && ((e.key == 'kubernetes.io/hostname' && e.values.exists(name, name.startsWith('vk-')))
    || (e.key == 'type' && 'virtual-kubelet' in e.values))))))
- name: why
  expression: >-
    variables.node.startsWith('vk-') ? 'it names ' + variables.node :
    (variables.elsewhere ? '' :
    (variables.tolerates ? 'it tolerates the taint virtual-kubelet.io/provider' :
    (variables.selects ? 'it selects vk-cmd nodes' : '')))
{{- end }}

{{- /* That the user may use the node: RBAC's word, in this namespace. In: node, an expression of its name; '' is any. */}}
{{- define "vk-cmd.admission.may" -}}
authorizer.group('vk-cmd.io').resource('nodes').namespace(request.namespace).name({{ .node }}).check('use').allowed()
{{- end }}

{{- /* What is said to who may not. In: root; what, an expression. */}}
{{- define "vk-cmd.admission.message" -}}
{{ .what }} + ', which ' + request.userInfo.username + ' may not in the namespace ' + request.namespace
+ ': {{ .instead }}ask for a RoleBinding of the ClusterRole {{ include "vk-cmd.fullname" .root }}-node-user there'
{{- end }}

{{- /* The validation of a policy about pods. In: root; what, what it is. */}}
{{- define "vk-cmd.admission.validation" -}}
- expression: >-
    !variables.changed || variables.why == ''
    || {{ include "vk-cmd.admission.may" (dict "node" "variables.node.startsWith('vk-') ? variables.node : ''") }}
  reason: Forbidden
  messageExpression: >-
    {{- $what := printf "'%s a vk-cmd node (' + variables.why + ')'" .what }}
    {{- $instead := "make a CmdJob, keep it away by the nodeAffinity that type is NotIn [virtual-kubelet], or " }}
    {{- include "vk-cmd.admission.message" (dict "root" .root "what" $what "instead" $instead) | nindent 4 }}
{{- end }}

{{- /* Who is not asked. In: root; users, further users. */}}
{{- define "vk-cmd.admission.conditions" -}}
- name: not-in-an-exempt-namespace
  expression: >-
    !(request.namespace in {{ include "vk-cmd.admission.list" .root.Values.admissionPolicy.exemptNamespaces }})
- name: not-by-kubernetes-itself
  expression: >-
    !(request.userInfo.username in {{ include "vk-cmd.admission.list" .users }})
{{- end }}

{{- /* The binding of a policy. In: root; name. */}}
{{- define "vk-cmd.admission.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ include "vk-cmd.fullname" .root }}-{{ .name }}
  labels:
    {{- include "vk-cmd.labels" .root | nindent 4 }}
spec:
  policyName: {{ include "vk-cmd.fullname" .root }}-{{ .name }}
  validationActions:
    {{- toYaml .root.Values.admissionPolicy.actions | nindent 4 }}
{{- end }}

{{- /* The head of a policy. In: root; name. */}}
{{- define "vk-cmd.admission.head" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ include "vk-cmd.fullname" .root }}-{{ .name }}
  labels:
    {{- include "vk-cmd.labels" .root | nindent 4 }}
spec:
  failurePolicy: {{ .root.Values.admissionPolicy.failurePolicy }}
{{- end }}
