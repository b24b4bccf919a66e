//! A hundred and more files that people write wrongly, the node's and the site's: each is told with its line, the key that it is
//! about, and what is right.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so that it failed")]

use std::path::Path;

use vk_node_core::config;
use vk_site::Site;

/// Which file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Node,
    Site,
}
use File::{Node, Site as OfSite};

/// What stands after `version: 1`, in which line of it something is wrong (the first is 2), and what is said of it: where it is,
/// and what is right.
type Bad = (File, &'static str, usize, &'static [&'static str]);

const BAD: &[Bad] = &[
    // Keys that there are not, and the nearest.
    (Node, "nodename: vk-a", 2, &["nodename", "nodeName"]),
    (Node, "name: vk-a", 2, &["\"name\"", "nodeName"]),
    (Node, "nodeNmae: vk-a", 2, &["nodeNmae", "nodeName"]),
    (Node, "kubeConfig: a", 2, &["kubeConfig", "kubeconfig"]),
    (Node, "adress: 10.0.0.7", 2, &["adress", "address"]),
    (Node, "listenAdress: 10.0.0.7", 2, &["listenAdress", "listenAddress"]),
    (Node, "Port: 1", 2, &["Port", "port"]),
    (Node, "maxPod: 3", 2, &["maxPod", "maxPods"]),
    (Node, "label: {a: b}", 2, &["label", "labels"]),
    (Node, "taints: []", 2, &["taints", "registerWithTaints"]),
    (Node, "registerwithtaints: []", 2, &["registerwithtaints", "registerWithTaints"]),
    (Node, "capacities: {}", 2, &["capacities", "capacity"]),
    (Node, "systemreserved: {}", 2, &["systemreserved", "systemReserved"]),
    (Node, "nodeType: cpu", 2, &["nodeType", "nodetype"]),
    (Node, "walltime: 3600", 2, &["walltime", "walltimeSeconds"]),
    (Node, "walltimeSecond: 3600", 2, &["walltimeSecond", "walltimeSeconds"]),
    (Node, "walltimeMargin: 10", 2, &["walltimeMargin", "walltimeMarginSeconds"]),
    (Node, "killWait: 5", 2, &["killWait", "killWaitSeconds"]),
    (Node, "onterm: end", 2, &["onterm", "onTerm"]),
    (Node, "warningsignal: USR1", 2, &["warningsignal", "warningSignal"]),
    (Node, "nodeName: vk-a\ntunel: ssh:a", 3, &["tunel", "tunnel"]),
    (Node, "clientCaFile: ca.pem", 2, &["clientCaFile", "clientCAFile"]),
    (Node, "serverTlsBootstrap: true", 2, &["serverTlsBootstrap", "serverTLSBootstrap"]),
    (Node, "bootstrapKubeConfig: b", 2, &["bootstrapKubeConfig", "bootstrapKubeconfig"]),
    (Node, "certDir: pki", 2, &["certDir", "certDirectory"]),
    (Node, "image: []", 2, &["image", "images"]),
    (Node, "logs: debug", 2, &["logs", "log"]),
    (Node, "pipe: {dir: p}", 2, &["pipe", "dir", "directory"]),
    (Node, "pipe: {sitefile: s}", 2, &["pipe", "sitefile", "siteFile"]),
    (Node, "pipe:\n  run: node\n  record: /r", 4, &["pipe", "record", "records"]),
    (Node, "pressure: {memory: 1Gi}", 2, &["pressure", "memory", "memory.available"]),
    (Node, "pressure: {nodefs.inodesfree: 5}", 2, &["pressure", "nodefs.inodesfree", "nodefs.inodesFree"]),
    (Node, "tunnel: {to: ssh:a, apiserver: b:1}", 2, &["tunnel", "apiserver", "apiServer"]),
    (Node, "relay: {address: 'r:1', ca: x}", 2, &["relay", "\"ca\"", "address, caFile"]),
    (Node, "kubernetesService: {hosts: a}", 2, &["kubernetesService", "hosts", "host"]),
    (Node, "images: [{matches: a}]", 2, &["images[0]", "matches", "match"]),
    (Node, "nodes: [{nodeName: vk-a}]", 2, &["nodes[0]", "nodeName", "name"]),
    (Node, "registerWithTaints: [{key: a, Effect: NoSchedule}]", 2, &["registerWithTaints[0]", "Effect", "effect"]),
    // Values of another kind.
    (Node, "nodeName: [vk-a]", 2, &["nodeName", "this is a list", "text"]),
    (Node, "nodeName: {a: b}", 2, &["nodeName", "this is a mapping", "text"]),
    (Node, "nodeName:", 2, &["nodeName", "this is nothing", "text"]),
    (Node, "port: high", 2, &["port", "this is text", "a whole number"]),
    (Node, "port: 1.5", 2, &["port", "a whole number"]),
    (Node, "port: '10250'", 2, &["port", "this is text", "a whole number"]),
    (Node, "maxPods: many", 2, &["maxPods", "a whole number"]),
    (Node, "labels: [a]", 2, &["labels", "this is a list", "a mapping"]),
    (Node, "labels: {a: true}", 2, &["labels.a", "true or false", "quotes"]),
    (Node, "labels: {a: 1.5}", 2, &["labels.a", "quotes"]),
    (Node, "serverTLSBootstrap: 1", 2, &["serverTLSBootstrap", "true or false is wanted"]),
    (Node, "serverTLSBootstrap: yes", 2, &["serverTLSBootstrap", "true or false is wanted"]),
    (Node, "images: {match: a}", 2, &["images", "a list is wanted"]),
    (Node, "images: [{match: a, command: sh}]", 2, &["images[0].command", "a list is wanted"]),
    (Node, "images: [{match: a, env: [A]}]", 2, &["images[0].env", "a mapping is wanted"]),
    (Node, "registerWithTaints: {key: a}", 2, &["registerWithTaints", "a list is wanted"]),
    (Node, "pipe: external", 2, &["pipe", "a mapping with run, directory"]),
    (Node, "pressure: 5%", 2, &["pressure", "a mapping with memory.available"]),
    (Node, "relay: relay.example.org:8443", 2, &["relay", "a mapping with address, caFile"]),
    (Node, "kubernetesService: api:6443", 2, &["kubernetesService", "a mapping with host, port"]),
    (Node, "nodes: 20", 2, &["nodes", "a list is wanted"]),
    (Node, "nodeStatusUpdateFrequency: 10", 2, &["nodeStatusUpdateFrequency", "10s"]),
    (Node, "walltimeSeconds: 4h", 2, &["walltimeSeconds", "a whole number"]),
    // Values that make no sense.
    (Node, "nodeName: node-1", 2, &["nodeName", "vk-perlmutter-01"]),
    (Node, "nodeName: vk-", 2, &["nodeName", "vk-"]),
    (Node, "nodeName: vk-A", 2, &["nodeName", "vk-A"]),
    (Node, "nodes: [{name: gw-1}]", 2, &["nodes[0].name", "vk-perlmutter-01"]),
    (Node, "nodes: [{port: 1}]", 2, &["nodes[0]", "it has no name"]),
    (Node, "nodes: {prefix: vk-gw-}", 2, &["nodes", "both prefix and count"]),
    (Node, "nodes: {prefix: vk-gw-, count: 0}", 2, &["nodes", "count must be 1 to 10000"]),
    (Node, "nodes: {prefix: vk-gw-, count: 100000}", 2, &["nodes", "count must be 1 to 10000"]),
    (Node, "nodeName: vk-a\nnodes: [{name: vk-b}]", 3, &["nodes", "write one of the two"]),
    (Node, "port: 70000", 2, &["port", "0 to 65535"]),
    (Node, "port: -1", 2, &["port", "0 to 65535"]),
    (Node, "maxPods: -3", 2, &["maxPods", "0 to 4294967295"]),
    (Node, "address: host.example.org", 2, &["address", "10.0.0.7"]),
    (Node, "listenAddress: eth0", 2, &["listenAddress", "no IP address"]),
    (Node, "kubeconfig: ''", 2, &["kubeconfig", "a path is wanted"]),
    (Node, "tunnel: me@there", 2, &["tunnel", "ssh:USER@HOST"]),
    (Node, "tunnel: {bind: '*'}", 2, &["tunnel", "it needs `to`"]),
    (Node, "tunnel: {to: ssh:a, bind: here}", 2, &["tunnel.bind", "here"]),
    (Node, "tunnel: {to: ssh:a, apiServer: api}", 2, &["tunnel.apiServer", "HOST:PORT"]),
    (Node, "tunnel: {to: ssh:a, options: ['-v']}", 2, &["tunnel.options[0]", "ProxyJump=gateway"]),
    (Node, "relay: {address: 'https://r:1', caFile: c}", 2, &["relay.address", "relay.example.org:8443"]),
    (Node, "relay: {caFile: c}", 2, &["relay", "it needs `address`"]),
    (Node, "kubernetesService: {port: 443}", 2, &["kubernetesService", "api.example.org"]),
    (Node, "labels: {kubernetes.io/role: agent}", 2, &["labels", "use another domain"]),
    (Node, "labels: {'a b': c}", 2, &["labels", "letters, digits"]),
    (Node, "labels: {a: 'b c'}", 2, &["labels", "letters, digits"]),
    (Node, "site: 'JLab farm'", 2, &["site", "letters, digits"]),
    (Node, "fleet: '-x'", 2, &["fleet", "letter or digit at each end"]),
    (Node, "registerWithTaints: [{key: a, effect: Never}]", 2, &["registerWithTaints[0].effect", "NoSchedule"]),
    (Node, "registerWithTaints: [{key: a}]", 2, &["registerWithTaints[0]", "needs key and effect"]),
    (Node, "registerWithTaints: [{key: 'a b', effect: NoSchedule}]", 2, &["registerWithTaints[0]", "is no key"]),
    (Node, "capacity: {cpu: lots}", 2, &["capacity.cpu", "no quantity"]),
    (Node, "capacity: {pods: 3}", 2, &["capacity.pods", "maxPods"]),
    (Node, "capacity: {gpu: 1}", 2, &["capacity.gpu", "nvidia.com/gpu"]),
    (Node, "capacity: {kubernetes.io/x: 1}", 2, &["capacity.kubernetes.io/x", "is in another"]),
    (Node, "systemReserved: {memory: 2GiB}", 2, &["systemReserved.memory", "no quantity"]),
    (Node, "pressure: {nodefs.available: 101%}", 2, &["pressure.nodefs.available", "0% to 100%"]),
    (Node, "pressure: {memory.available: 100MB}", 2, &["pressure.memory.available", "512Mi"]),
    (Node, "pressure: {transitionPeriod: 5 m}", 2, &["pressure.transitionPeriod", "1m30s"]),
    (Node, "nodeStatusReportFrequency: 0s", 2, &["nodeStatusReportFrequency", "longer than nothing"]),
    (Node, "nodeLeaseDurationSeconds: 1", 2, &["nodeLeaseDurationSeconds", "at least 10 seconds"]),
    (Node, "walltimeMarginSeconds: 604801", 2, &["walltimeMarginSeconds", "0 to 604800"]),
    (Node, "walltimeCheckSeconds: 0", 2, &["walltimeCheckSeconds", "1 to 604800"]),
    (Node, "warningSignal: KILL@5", 2, &["warningSignal", "USR1@120"]),
    (Node, "onTerm: never", 2, &["onTerm", "auto, keep, end"]),
    (Node, "pipe: {run: host}", 2, &["pipe.run", "node, external"]),
    (Node, "pipe: {cgroup: mine}", 2, &["pipe.cgroup", "`auto`"]),
    (Node, "images: [{command: [a]}]", 2, &["images[0]", "it needs `match`"]),
    (Node, "images: [{match: '[a'}]", 2, &["images[0].match", "unclosed"]),
    (Node, "images: [{match: a, env: {'a=b': c}}]", 2, &["images[0].env", "printable ASCII"]),
    (Node, "log: loud", 2, &["log", "vk_node=debug"]),
    (Node, "nodeName: vk-a\nnodeName: vk-b", 3, &["nodeName", "duplicate"]),
    // What is no YAML, or not as a file begins.
    (Node, "nodeName: [vk-a", 3, &["no YAML", "expected"]),
    (Node, "\tnodeName: vk-a", 1, &["no YAML", "tab"]),
    (Node, "1: a", 2, &["a key that is no text"]),
    // The site's file.
    (OfSite, "policies: {}", 2, &["policies", "policy"]),
    (OfSite, "limit: {}", 2, &["limit", "limits"]),
    (OfSite, "policy: {namespace: {}}", 2, &["policy", "namespace", "namespaces"]),
    (OfSite, "policy: {namespaces: [a]}", 2, &["policy.namespaces", "a mapping with allow, deny"]),
    (OfSite, "policy: {namespaces: {allow: a}}", 2, &["policy.namespaces.allow", "a list is wanted"]),
    (OfSite, "policy: {namespaces: {allowed: []}}", 2, &["policy.namespaces", "allowed", "allow"]),
    (OfSite, "policy: {users: {allow: ['system:serviceaccount:a:b']}}", 2, &["policy.users.allow[0]", "\"a:b\" say"]),
    (OfSite, "policy: {fifo: on}", 2, &["policy.fifo", "true or false is wanted"]),
    (OfSite, "policy: {images: {deny: ['[a']}}", 2, &["policy.images.deny[0]", "unclosed"]),
    (OfSite, "policy: {hostPaths: [{path: scratch}]}", 2, &["policy.hostPaths[0].path", "absolute path"]),
    (OfSite, "policy: {hostPaths: [{access: ReadOnly}]}", 2, &["policy.hostPaths[0]", "has no path"]),
    (
        OfSite,
        "policy: {hostPaths: [{path: /a, access: rw}]}",
        2,
        &["policy.hostPaths[0].access", "ReadOnly, ReadWrite"],
    ),
    (OfSite, "policy: {portForward: true}", 2, &["policy.portForward", "own or any"]),
    (OfSite, "policy: {portForward: all}", 2, &["policy.portForward", "own, any"]),
    (OfSite, "policy: {exec: maybe}", 2, &["policy.exec", "true or false is wanted"]),
    (OfSite, "policy: {dropEnv: LD_PRELOAD}", 2, &["policy.dropEnv", "a list is wanted"]),
    (OfSite, "limits: {max: {memory: 4Gi}}", 2, &["limits.max", "memory", "memoryBytes"]),
    (OfSite, "limits: {max: {memoryBytes: 4GB}}", 2, &["limits.max.memoryBytes", "512Mi"]),
    (OfSite, "limits: {max: {processes: 0}}", 2, &["limits.max.processes", "at least 1"]),
    (OfSite, "limits: {max: {nice: 5}}", 2, &["limits.max", "nice", "write one of"]),
    (OfSite, "limits: {default: {nice: 40}}", 2, &["limits.default.nice", "-20 to 19"]),
    (
        OfSite,
        "limits: {max: {wallSeconds: 10}, default: {wallSeconds: 20}}",
        2,
        &["limits.default", "wallSeconds", "10"],
    ),
    (OfSite, "limits: {niceAtLeast: 5, default: {nice: 0}}", 2, &["limits.default", "niceAtLeast, 5"]),
    (OfSite, "limits: {max: {rlimits: {nofile: 1}}}", 2, &["limits.max.rlimits", "nofile", "openFiles"]),
    (OfSite, "limits: {max: {log: {size: 1Mi}}}", 2, &["limits.max.log", "fileBytes, files"]),
    (OfSite, "runtime: {kind: pdoman}", 2, &["runtime.kind", "podman"]),
    (OfSite, "runtime: {program: /usr/bin/podman}", 2, &["runtime", "it has no kind"]),
    (OfSite, "runtime: {kind: auto, runArgs: [a]}", 2, &["runtime", "runArgs", "kind, env"]),
    (OfSite, "runtime: {kind: docker, program: bin/docker}", 2, &["runtime.program", "absolute path"]),
    (OfSite, "runtime: {kind: docker, runArgs: --rm}", 2, &["runtime.runArgs", "a list is wanted"]),
    (OfSite, "runtime: {kind: docker, env: {'a=b': c}}", 2, &["runtime.env", "printable ASCII"]),
    (OfSite, "runtime: {kind: custom}", 2, &["runtime", "needs `run`"]),
    (
        OfSite,
        "runtime:\n  kind: custom\n  run: [box, '{imge}', '{image}', '{command...}']",
        4,
        &["runtime.run", "{imge}", "{image}"],
    ),
    (OfSite, "runtime:\n  kind: custom\n  run: [box, '{image}']", 4, &["runtime.run", "{command...}"]),
    (
        OfSite,
        "runtime:\n  kind: custom\n  run: [box, '{image}', '{command...}']\n  exec: {stdin: [-i]}",
        5,
        &["runtime.exec", "it needs `prefix`"],
    ),
    (OfSite, "records: {keepSecond: 7}", 2, &["records", "keepSecond", "keepSeconds"]),
    (OfSite, "records: {keepSeconds: 7d}", 2, &["records.keepSeconds", "a whole number"]),
    (OfSite, "records: {maxBytes: 20GB}", 2, &["records.maxBytes", "512Mi"]),
    (OfSite, "audit: {file: audit.log}", 2, &["audit.file", "absolute path"]),
    (OfSite, "audit: {rotateBytes: 1}", 2, &["audit.rotateBytes", "at least 65536"]),
    (OfSite, "audit: {colour: red}", 2, &["audit", "colour", "file, rotateBytes, keepFiles"]),
];

fn problems(file: File, text: &str) -> Vec<String> {
    let problems = match file {
        Node => config::read(text, Path::new("/etc/vk")).err(),
        OfSite => Site::parse(text).err(),
    };
    problems.map(|problems| problems.0.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

#[test]
fn each_bad_file_names_the_line_the_key_and_what_is_right() {
    assert!(BAD.len() >= 120, "{}", BAD.len());
    let mut wrong = Vec::new();
    for (file, text, line, words) in BAD {
        let said = problems(*file, &format!("version: 1\n{text}\n"));
        let is_told = |problem: &String| {
            problem.starts_with(&format!("line {line}: ")) && words.iter().all(|word| problem.contains(word))
        };
        if !said.iter().any(is_told) {
            wrong.push(format!("{file:?} {text:?} should say {words:?} of line {line}, and says {said:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// None of them is accepted by half: with what is wrong taken away, the rest is right.
#[test]
fn a_file_that_says_no_more_than_its_version_is_right() {
    assert_eq!(problems(Node, "version: 1\n"), Vec::<String>::new());
    assert_eq!(problems(OfSite, "version: 1\n"), Vec::<String>::new());
}

#[test]
fn a_file_of_no_version_or_another_is_told() {
    for (text, words) in [
        ("nodeName: vk-a\n", "write `version: 1`"),
        ("version: 2\n", "this vk-node knows version 1"),
        ("version: one\n", "a whole number"),
        ("", "the file is empty"),
        ("version: 1\n---\nversion: 1\n", "second document"),
    ] {
        for file in [Node, OfSite] {
            let said = problems(file, text);
            // What only one of the files has is one more mistake in the other.
            assert!(said.iter().any(|problem| problem.contains(words)), "{file:?} {text:?}: {said:?}");
        }
    }
}

/// What is wrong only with all of it together has no line, and names the key.
#[test]
fn what_does_not_fit_together_names_the_keys() {
    for (text, words) in [
        ("nodes: [{name: vk-a, port: 7}, {name: vk-b, port: 7}]\n", &["vk-a and vk-b", "port 7"][..]),
        ("nodes: [{name: vk-a}, {name: vk-a}]\n", &["vk-a", "twice"]),
        ("nodes: []\n", &["nodes", "at least one"]),
        ("port: 65535\nnodes: {prefix: vk-, count: 2}\n", &["vk-1", "no port"]),
        ("nodeName: vk-a\nrelay: {address: 'r:1'}\n", &["relay", "caFile"]),
        ("nodeName: vk-a\ntunnel: {to: ssh:there, bind: '*'}\n", &["tunnel", "--address"]),
        ("port: 1\n", &["nodeName", "--node-name"]),
    ] {
        let settings = config::read(&format!("version: 1\n{text}"), Path::new("/etc/vk")).unwrap();
        let said = settings.finish(Some("/home/u".into())).unwrap_err().to_string();
        assert!(words.iter().all(|word| said.contains(word)), "{text:?}: {said}");
    }
}
