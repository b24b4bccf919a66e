//! Rows of what a command is given: variables, resources, volumes.

use super::rows::Native::{Differs, Same};
use super::rows::Row;
use super::rows::Verdict::{Bad, Good};

pub(super) const ENVIRONMENT: &[Row] = &[
    ("env: [{name: A=B}]", Bad("printable ASCII characters other than '='"), Same),
    ("env: [{name: ''}]", Bad("printable ASCII characters other than '='"), Same),
    ("env: [{value: x}]", Bad("spec.env[0].name: Required value"), Same),
    ("env: [{name: odd.name (1), value: \"two\\nlines\"}, {name: A}]", Good(""), Same),
    (
        "env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]",
        Bad("either value or valueFrom"),
        Same,
    ),
    ("env: [{name: A, valueFrom: {}}]", Bad("valueFrom is exactly one of"), Same),
    ("env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.volumes}}}]", Bad("fieldPath"), Same),
    ("env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]", Good(""), Same),
    ("env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.gpu}}}]", Bad("resource"), Same),
    ("env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: ''}}}]", Bad("key"), Same),
    ("env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: k, optional: true}}}]", Good(""), Same),
    ("envFrom: [{}]", Bad("exactly one of configMapRef and secretRef"), Same),
    (
        "envFrom: [{configMapRef: {name: c}, secretRef: {name: s}}]",
        Bad("exactly one of configMapRef and secretRef"),
        Same,
    ),
    ("envFrom: [{prefix: A=, configMapRef: {name: c}}]", Bad("prefix"), Same),
    ("envFrom: [{prefix: A_, configMapRef: {name: c, optional: true}}]", Good(""), Same),
];

pub(super) const RESOURCES: &[Row] = &[
    ("resources: {limits: {cpu: 1 Gi}}", Bad("spec.resources.limits.cpu"), Same),
    ("resources: {limits: {cpu: -1}}", Bad("an amount of a resource is 0 or more"), Same),
    ("resources: {limits: {cpu: 1}, requests: {cpu: 1500m}}", Bad("a request is more than its limit"), Same),
    ("resources: {limits: {cpu: 2, memory: 4Gi, ephemeral-storage: 1G}, requests: {cpu: 500m}}", Good(""), Same),
    (
        "resources: {limits: {hugepages-2Mi: 2Mi, cpu: 1, memory: 1Gi}}",
        Bad("leave the other limits out"),
        Differs("no vk-node has huge pages to give"),
    ),
    ("resources: {requests: {example.com/fpga: 1}}", Bad("is not shared: set its limit"), Same),
    ("resources: {limits: {example.com/fpga: 1500m}}", Bad("a whole number"), Same),
    ("resources: {limits: {example.com/fpga: 2}, requests: {example.com/fpga: 1}}", Bad("is not shared"), Same),
    ("resources: {limits: {example.com/fpga: 2}, requests: {example.com/fpga: 2}}", Good(""), Same),
    (
        "resources: {limits: {example.kubernetes.io/fpga: 2}}",
        Bad("leave the other limits out"),
        Differs("a name of Kubernetes' own domain is taken, and then counted by nobody"),
    ),
    ("resources: {limits: {example.com/: 2}}", Bad("leave the other limits out"), Same),
    ("resources: {limits: {fpga: 2}}", Bad("leave the other limits out"), Same),
    (
        "resources: {limits: {nvidia.com/gpu: 1}}",
        Bad("leave the limit out, or name an image"),
        Differs("a host process sees all of the host's"),
    ),
    ("image: a, resources: {limits: {nvidia.com/gpu: 1500m}}", Bad("a whole number"), Same),
    ("image: a, resources: {limits: {nvidia.com/gpu: 2}, requests: {nvidia.com/gpu: 1}}", Bad("is not shared"), Same),
    ("image: a, resources: {requests: {nvidia.com/gpu: 1}}", Bad("is not shared"), Same),
    ("image: a, resources: {limits: {nvidia.com/gpu: '1'}}", Good("resources: {limits: {nvidia.com/gpu: '1'}}"), Same),
];

pub(super) const VOLUMES: &[Row] = &[
    (
        "volumes: [{name: v, hostPath: {path: v}}]",
        Bad("absolute and without .."),
        Differs("there is no directory from which it would count"),
    ),
    ("volumes: [{name: v, hostPath: {path: /v/../w}}]", Bad("absolute and without .."), Same),
    ("volumes: [{name: v, hostPath: {path: /v, type: Dir}}]", Bad("supported values"), Same),
    ("volumes: [{name: v, hostPath: {path: /v}}, {name: v, hostPath: {path: /w}}]", Bad("Duplicate value"), Same),
    ("volumes: [{name: V, emptyDir: {}}]", Bad("a volume's name consists of lower-case letters"), Same),
    (
        "volumes: [{name: v}]",
        Bad("a volume is exactly one of configMap, secret"),
        Differs("Kubernetes reads it as an emptyDir, for the sake of old objects"),
    ),
    (
        "volumes: [{name: v, emptyDir: {}, hostPath: {path: /v}}]",
        Bad("a volume is exactly one of configMap, secret"),
        Same,
    ),
    (
        "volumes: [{name: v, nfs: {server: a, path: /b}}]",
        Bad("unknown field \"spec.volumes[0].nfs\""),
        Differs("no vk-node has them"),
    ),
    (
        "volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]",
        Bad("unknown field \"spec.volumes[0].persistentVolumeClaim\""),
        Differs("no vk-node has them"),
    ),
    ("volumes: [{name: v, configMap: {}}]", Bad("spec.volumes[0].configMap.name: Required value"), Same),
    (
        "volumes: [{name: v, configMap: {name: c, defaultMode: 0o1000}}]",
        Bad("should be less than or equal to 511"),
        Same,
    ),
    (
        "volumes: [{name: v, configMap: {name: c, items: [{key: k, path: ../x}]}}]",
        Bad("spec.volumes[0].configMap.items[0].path"),
        Same,
    ),
    (
        "volumes: [{name: v, configMap: {name: c, items: [{key: k, path: /x}]}}]",
        Bad("spec.volumes[0].configMap.items[0].path"),
        Same,
    ),
    ("volumes: [{name: v, configMap: {name: c, items: [{key: k, path: a/..b/.c, mode: 0o400}]}}]", Good(""), Same),
    ("volumes: [{name: v, secret: {}}]", Bad("spec.volumes[0].secret.secretName: Required value"), Same),
    ("volumes: [{name: v, secret: {secretName: s, optional: true, defaultMode: 0o400}}]", Good(""), Same),
    (
        "volumes: [{name: v, downwardAPI: {items: [{path: p}]}}]",
        Bad("exactly one of fieldRef and resourceFieldRef"),
        Same,
    ),
    (
        "volumes: [{name: v, downwardAPI: {items: [{path: p, fieldRef: {fieldPath: spec.nodeName}}]}}]",
        Bad("fieldPath"),
        Same,
    ),
    (
        "volumes: [{name: v, downwardAPI: {items: [{path: p, fieldRef: {fieldPath: \"metadata.labels['a']\"}}]}}]",
        Good(""),
        Same,
    ),
    (
        "volumes: [{name: v, downwardAPI: {items: [{path: p, resourceFieldRef: {containerName: main, resource: limits.cpu}}]}}]",
        Good(""),
        Same,
    ),
    (
        "volumes: [{name: v, downwardAPI: {items: [{path: p, resourceFieldRef: {containerName: other, resource: limits.cpu}}]}}]",
        Bad("supported values: \"\", \"main\""),
        Differs("a Job's pods find out when it is too late"),
    ),
    (
        "volumes: [{name: v, downwardAPI: {items: [{path: p, resourceFieldRef: {resource: limits.cpu}}]}}]",
        Good(""),
        Differs("there is but one container, so its name may be left out"),
    ),
    (
        "volumes: [{name: v, projected: {sources: [{}]}}]",
        Bad("a source of a projected volume is exactly one of"),
        Differs("it would say nothing"),
    ),
    (
        "volumes: [{name: v, projected: {sources: [{secret: {name: s}, configMap: {name: c}}]}}]",
        Bad("a source of a projected volume is exactly one of"),
        Same,
    ),
    (
        "volumes: [{name: v, projected: {sources: [{clusterTrustBundle: {name: c, path: p}}]}}]",
        Bad("unknown field"),
        Differs("no vk-node has them"),
    ),
    (
        "volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t, expirationSeconds: 599}}]}}]",
        Bad("expirationSeconds"),
        Same,
    ),
    (
        "volumes: [{name: v, projected: {sources: [{secret: {name: s}}, {configMap: {name: c}}, {serviceAccountToken: {path: t}}]}}]",
        Good(""),
        Same,
    ),
    (
        "volumes: [{name: v, emptyDir: {medium: HugePages}}]",
        Bad("supported values: \"\", \"Memory\""),
        Differs("no vk-node has huge pages to give"),
    ),
    ("volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Gi}}]", Good(""), Same),
    ("volumeMounts: [{name: v, mountPath: /v}]", Bad("names a volume that is not among spec.volumes"), Same),
    ("volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: ''}]", Bad("mountPath is a path"), Same),
    (
        "volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: /}]",
        Bad("not the root itself"),
        Differs("nothing can be mounted there"),
    ),
    (
        "volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /v}]",
        Bad("Duplicate value"),
        Same,
    ),
    (
        "volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]",
        Bad("supported values: \"None\""),
        Same,
    ),
    (
        "volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: /v, readOnly: true, recursiveReadOnly: Enabled}]",
        Bad("supported values"),
        Differs("a vk-node cannot promise it"),
    ),
    (
        "volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: /v, recursiveReadOnly: IfPossible}]",
        Bad("recursiveReadOnly needs readOnly"),
        Same,
    ),
    (
        "volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: /v, subPath: ../x}]",
        Bad("subPath"),
        Same,
    ),
    (
        "volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: /v, subPath: a, subPathExpr: b}]",
        Bad("either subPath or subPathExpr"),
        Same,
    ),
    (
        "volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: /v, subPath: ..a/b, readOnly: true}]",
        Good(""),
        Same,
    ),
    (
        "volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: v, readOnly: true}]",
        Bad("leave readOnly out, or write an absolute path"),
        Differs("a link keeps nobody from writing"),
    ),
    (
        "image: a, volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: v, readOnly: true}]",
        Good(""),
        Same,
    ),
    (
        "workingDir: /tmp, volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: v}]",
        Bad("leave workingDir out, or write absolute mountPaths"),
        Differs("the links are not where the command would start"),
    ),
];
