//! Volumes, in-cluster credentials and what else a plain pod is given, by a real API server that lets the node see no more
//! than the Node authorizer does.

use std::path::Path;

use serde_json::{Value, json};
use vk_cmd_e2e::scratch::Scratch;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use crate::events::told;
use crate::ground::{GLANCE, LONG, Room, room};
use crate::plain_pods::{phase, placed};

/// A pod on `node` of one container that runs `script` and is given these volumes.
fn pod(name: &str, node: &str, volumes: Value, mounts: Value, script: &str) -> Value {
    let mut spec = placed(node);
    spec["restartPolicy"] = json!("Never");
    spec["terminationGracePeriodSeconds"] = json!(1);
    spec["volumes"] = volumes;
    spec["containers"] = json!([{
        "name": "c", "image": "vk-cmd.io/host", "command": ["sh", "-euc", script], "volumeMounts": mounts,
    }]);
    json!({
        "apiVersion": "v1", "kind": "Pod", "spec": spec,
        "metadata": {"name": name, "labels": {"b": "2", "a": "x"}, "annotations": {"note": "one\ntwo"}},
    })
}

impl Room {
    /// The output of a pod that must succeed.
    async fn output_of(&self, pod: &Value) -> String {
        let name = pod["metadata"]["name"].as_str().unwrap();
        self.apply(pod).await;
        let ended = self.pod(name, "to end", |pod| matches!(phase(pod), "Succeeded" | "Failed")).await;
        let output = self.says(&["logs", name]).await;
        assert_eq!(phase(&ended), "Succeeded", "{output}\n{:?}", ended.status);
        output
    }
}

/// The directories that pods have at a site.
fn pod_directories(site: &Site) -> Vec<String> {
    let names = std::fs::read_dir(site.hostpipe().join("pods")).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn files_come_from_maps_secrets_and_the_pod_itself() {
    let room = room("volumes").await;
    let mut site = room.site("vk-volumes").await;
    room.says(&["create", "configmap", "map", "--from-literal=one=1", "--from-literal=two=2"]).await;
    room.says(&["create", "secret", "generic", "key", "--from-literal=token=s3cr3t"]).await;
    let volumes = json!([
        {"name": "map", "configMap": {"name": "map", "defaultMode": 0o444}},
        {"name": "items", "configMap": {"name": "map", "items": [{"key": "two", "path": "deep/er", "mode": 0o600}]}},
        {"name": "key", "secret": {"secretName": "key", "defaultMode": 0o400}},
        {"name": "gone", "secret": {"secretName": "gone", "optional": true}},
        {"name": "self", "downwardAPI": {"items": [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}},
            {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu", "divisor": "1m"}},
        ]}},
        {"name": "all", "projected": {"defaultMode": 0o640, "sources": [
            {"configMap": {"name": "map"}},
            {"secret": {"name": "key", "items": [{"key": "token", "path": "one"}]}},
            {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        ]}},
        {"name": "scratch", "emptyDir": {}},
    ]);
    let mounts = json!([
        {"name": "map", "mountPath": "in/map"}, {"name": "map", "mountPath": "one", "subPath": "one"},
        {"name": "items", "mountPath": "items"}, {"name": "key", "mountPath": "key"}, {"name": "gone", "mountPath": "gone"},
        {"name": "self", "mountPath": "self"}, {"name": "all", "mountPath": "all"},
        {"name": "scratch", "mountPath": "scratch", "subPath": "mine"},
    ]);
    let script = "pwd; ls gone scratch; echo x > scratch/new; cat one; echo
        for file in in/map/one in/map/two items/deep/er key/token self/labels self/annotations all/one all/two all/name; do
            printf '%s %s ' $file $(stat -L -c %a $file); cat $file; echo
        done; test $(cat self/cpu) -ge 1000; case $TMPDIR in */tmp) test -d $TMPDIR -a -w $TMPDIR;; *) exit 9;; esac";
    let object = pod("reads", "vk-volumes", volumes, mounts, script);
    let output = room.output_of(&object).await;
    let uid = room.says(&["get", "pod", "reads", "-o", "jsonpath={.metadata.uid}"]).await;
    let (directory, files) = output.split_once('\n').unwrap();
    assert!(directory.ends_with(&format!("pods/{uid}/containers/c/work")), "{directory}");
    let (first, rest) = files.split_once("self/annotations 644 ").unwrap();
    assert_eq!(
        first,
        "gone:\n\nscratch:\n1\nin/map/one 444 1\nin/map/two 444 2\nitems/deep/er 600 2\nkey/token 400 s3cr3t\n\
         self/labels 644 a=\"x\"\nb=\"2\"\n"
    );
    // kubectl has left an annotation of its own before it.
    assert!(rest.contains("note=\"one\\ntwo\"\n"), "{rest}");
    assert!(rest.ends_with("all/one 640 s3cr3t\nall/two 640 2\nall/name 640 reads\n"), "{rest}");
    // What a pod has on the host goes with it, whoever removes its object.
    assert_eq!(pod_directories(&site), [uid]);
    assert!(site.hostpipe().join("pods").join(directory_name(directory)).join("volumes/scratch/mine/new").exists());
    room.says(&["delete", "pod", "reads", "--timeout=60s"]).await;
    none_are_left(&site).await;
    let sleeper = pod(
        "sleeps",
        "vk-volumes",
        json!([{"name": "e", "emptyDir": {}}]),
        json!([{"name": "e", "mountPath": "e"}]),
        "exec sleep 1000",
    );
    room.apply(&sleeper).await;
    room.pod("sleeps", "to run", |pod| phase(pod) == "Running").await;
    assert_eq!(pod_directories(&site).len(), 1);
    room.says(&["delete", "pod", "sleeps", "--timeout=60s"]).await;
    assert_eq!(pod_directories(&site), [""; 0]);
    room.apply(&sleeper).await;
    room.pod("sleeps", "to run", |pod| phase(pod) == "Running").await;
    room.says(&["delete", "pod", "sleeps", "--force", "--grace-period=0"]).await;
    none_are_left(&site).await;
    // Also where the node learns only later that the object is gone.
    room.output_of(&object).await;
    site.kill_node().unwrap();
    room.says(&["delete", "pod", "reads"]).await;
    assert_eq!(pod_directories(&site).len(), 1);
    site.start_node().unwrap();
    none_are_left(&site).await;
}

/// `UID` of `…/pods/UID/containers/c/work`.
fn directory_name(work: &str) -> &str {
    let parts: Vec<&str> = work.rsplitn(5, '/').collect();
    parts[3]
}

async fn none_are_left(site: &Site) {
    let gone = wait::until("the pods' directories to go", LONG, GLANCE, async || {
        let left = pod_directories(site);
        Ok(if left.is_empty() { Probe::Ready(()) } else { Probe::not_yet(format!("{left:?}")) })
    });
    gone.await.unwrap();
}

#[tokio::test]
async fn a_change_reaches_a_running_pod_all_at_once() {
    let room = room("updates").await;
    let mut site = room.site("vk-updates").await;
    let map = |n: usize| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"},
               "data": {"a": n.to_string(), "b": n.to_string(), "last": if n == 8 { "yes" } else { "no" }}})
    };
    room.apply(&map(1)).await;
    let volumes = json!([
        {"name": "m", "configMap": {"name": "m"}},
        {"name": "l", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]);
    let mounts = json!([{"name": "m", "mountPath": "m"}, {"name": "l", "mountPath": "l"}]);
    // Both keys are read from the directory that one look at the link has told of; where it is gone by then, again.
    let script = "seen=0; until test \"${last:-no}\" = yes; do
            d=$(readlink -f m/..data)
            if a=$(cat $d/a 2>&1) && b=$(cat $d/b 2>&1) && last=$(cat $d/last 2>&1); then
                test \"$a\" = \"$b\" || { echo torn $a $b; exit 9; }
                test $a = $seen || echo $a; seen=$a
            else last=no; fi
            sleep 0.01
        done
        until grep -q 'c=\"new\"' l/labels; do sleep 0.01; done; echo labelled";
    room.apply(&pod("watches", "vk-updates", volumes, mounts, script)).await;
    room.pod("watches", "to run", |pod| phase(pod) == "Running").await;
    for n in 2..8 {
        room.apply(&map(n)).await;
    }
    // A node that is started again goes on where the other ended.
    site.kill_node().unwrap();
    room.apply(&map(8)).await;
    site.start_node().unwrap();
    room.says(&["label", "pod", "watches", "c=new"]).await;
    room.pod("watches", "to succeed", |pod| phase(pod) == "Succeeded").await;
    let output = room.says(&["logs", "watches"]).await;
    let seen: Vec<&str> = output.lines().collect();
    assert!(seen.first() == Some(&"1") && seen.ends_with(&["8", "labelled"]), "{output}");
}

#[tokio::test]
async fn what_is_missing_is_waited_for() {
    let room = room("missing").await;
    let _site = room.site("vk-missing").await;
    let volumes = json!([{"name": "v", "projected": {"sources": [
        {"configMap": {"name": "later"}},
        {"secret": {"name": "later", "items": [{"key": "k", "path": "secret"}]}},
    ]}}]);
    let script = "cat v/k v/secret";
    room.apply(&pod("waits", "vk-missing", volumes, json!([{"name": "v", "mountPath": "v"}]), script)).await;
    let says = |reason: &str| {
        let reason = reason.to_owned();
        let room = &room;
        async move {
            room.pod("waits", &format!("to say {reason:?}"), |pod| {
                let waiting = || {
                    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
                    status.state.as_ref()?.waiting.clone()
                };
                waiting().is_some_and(|waiting| {
                    waiting.reason.as_deref() == Some("ContainerCreating")
                        && waiting.message.is_some_and(|message| message.contains(&reason))
                })
            })
            .await
        }
    };
    says("MountVolume.SetUp failed for volume \"v\" : [configmap \"later\" not found, secret \"later\" not found]")
        .await;
    room.says(&["create", "configmap", "later", "--from-literal=k=1"]).await;
    room.says(&["create", "secret", "generic", "later", "--from-literal=other=x"]).await;
    says("references non-existent secret key: k").await;
    room.says(&["patch", "secret", "later", "-p", r#"{"stringData": {"k": "2"}}"#]).await;
    room.pod("waits", "to succeed", |pod| phase(pod) == "Succeeded").await;
    assert_eq!(room.says(&["logs", "waits"]).await, "12");
    let why = [("FailedMount", "configmap \"later\" not found")];
    told(&room.client, Some(&room.namespace), "waits", &why).await;
}

#[tokio::test]
async fn containers_share_a_scratch_volume() {
    let room = room("scratch").await;
    let _site = room.site("vk-scratch").await;
    let mut spec = placed("vk-scratch");
    spec["restartPolicy"] = json!("Never");
    spec["volumes"] = json!([{"name": "s", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory"}}]);
    let container = |name: &str, script: &str| {
        json!({
            "name": name, "image": "vk-cmd.io/host", "command": ["sh", "-euc", script],
            "env": [{"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "volumeMounts": [{"name": "s", "mountPath": "s"}, {"name": "m", "mountPath": "mem"},
                             {"name": "s", "mountPath": "mine", "subPathExpr": "of/$(ME)"}],
        })
    };
    spec["initContainers"] =
        json!([container("first", "echo begun > mine/log; echo \"LEFT='by first' # for both\" > mem/env")]);
    let mut asks = container(
        "asks",
        "echo $LEFT ${NONE-none}; echo question > mem/question
         until test -s s/answer; do sleep 0.05; done; cat s/answer s/of/both/log",
    );
    let of_file = |name: &str, path: &str, key: &str, optional: bool| {
        let key = json!({"volumeName": "m", "path": path, "key": key, "optional": optional});
        json!({"name": name, "valueFrom": {"fileKeyRef": key}})
    };
    let env = asks["env"].as_array_mut().unwrap();
    env.extend([of_file("LEFT", "env", "LEFT", false), of_file("NONE", "none", "NONE", true)]);
    let answers =
        container("answers", "until test -s mem/question; do sleep 0.05; done; echo 42 > s/part; mv s/part s/answer");
    spec["containers"] = json!([asks, answers]);
    room.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "both"}, "spec": spec})).await;
    room.pod("both", "to succeed", |pod| phase(pod) == "Succeeded").await;
    assert_eq!(room.says(&["logs", "both", "-c", "asks"]).await, "by first none\n42\nbegun\n");
}

#[tokio::test]
async fn a_client_in_a_pod_reaches_the_api_server_as_the_pods_account() {
    if !Path::new("/usr/bin/curl").exists() {
        eprintln!("left out: there is no curl here");
        return;
    }
    let room = room("in-cluster").await;
    let _site = room.site("vk-in-cluster").await;
    room.says(&["create", "role", "reader", "--verb=get", "--resource=configmaps"]).await;
    room.says(&["create", "rolebinding", "reader", "--role=reader", "--serviceaccount=in-cluster:default"]).await;
    // As any client library does it, but for the path: where the site has no mount namespaces, the same files are below the
    // directory that the container starts in.
    let script = r#"
        d=/var/run/secrets/kubernetes.io/serviceaccount; test -e $d/token || d=var/run/secrets/kubernetes.io/serviceaccount
        ls $d
        ask() { curl -sS -o answer -w '%{http_code}\n' --cacert $d/ca.crt -H "Authorization: Bearer $(cat $d/token)" "$@"; }
        api=https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT
        ask $api/api/v1/namespaces/$(cat $d/namespace)/configmaps/kube-root-ca.crt
        ask $api/api/v1/namespaces/$(cat $d/namespace)/secrets
        ask $api/apis/authentication.k8s.io/v1/selfsubjectreviews -H 'Content-Type: application/json' \
            -d '{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}'
        cat answer"#;
    let output = room.output_of(&pod("asks", "vk-in-cluster", json!([]), json!([]), script)).await;
    let (lines, answer) = output.split_once('{').unwrap();
    assert_eq!(lines, "ca.crt\nnamespace\ntoken\n200\n403\n201\n");
    let answer: Value = serde_json::from_str(&format!("{{{answer}")).unwrap();
    let user = &answer["status"]["userInfo"];
    assert_eq!(user["username"], "system:serviceaccount:in-cluster:default");
    let uid = room.says(&["get", "pod", "asks", "-o", "jsonpath={.metadata.uid}"]).await;
    assert_eq!(user["extra"]["authentication.kubernetes.io/pod-uid"], json!([uid]));
    assert_eq!(user["extra"]["authentication.kubernetes.io/node-name"], json!(["vk-in-cluster"]));
}

#[tokio::test]
async fn variables_come_from_everywhere() {
    let room = room("variables").await;
    let _site = room.site("vk-variables").await;
    room.says(&["create", "configmap", "map", "--from-literal=K=map"]).await;
    room.says(&["create", "secret", "generic", "key", "--from-literal=S=secret"]).await;
    room.says(&["create", "service", "clusterip", "my-db", "--tcp=5432:5432"]).await;
    room.says(&["create", "service", "clusterip", "headless", "--clusterip=None"]).await;
    let host = room.says(&["get", "service", "my-db", "-o", "jsonpath={.spec.clusterIP}"]).await;
    let mut object = pod("tells", "vk-variables", json!([]), json!([]), "env");
    let container = &mut object["spec"]["containers"][0];
    container["resources"] = json!({"limits": {"memory": "64Mi"}, "requests": {"cpu": "250m"}});
    container["envFrom"] = json!([{"configMapRef": {"name": "map"}}, {"prefix": "P_", "secretRef": {"name": "key"}},
               {"secretRef": {"name": "gone", "optional": true}}]);
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let amount = |name: &str, resource: &str, divisor: &str| json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": divisor}}});
    container["env"] = json!([
        {"name": "ALL", "value": "$(K) $(P_S) $(MY_DB_SERVICE_PORT) $(NONE) $$(K)"},
        field("NAME", "metadata.name"), field("SPACE", "metadata.namespace"), field("LABEL", "metadata.labels['a']"),
        field("ACCOUNT", "spec.serviceAccountName"), field("NODE", "spec.nodeName"), field("POD_IP", "status.podIP"),
        field("POD_IPS", "status.podIPs"), field("HOST_IP", "status.hostIP"), field("HOST_IPS", "status.hostIPs"),
        amount("MEMORY", "limits.memory", "1Mi"), amount("ASKED", "requests.cpu", "1m"), amount("CPUS", "limits.cpu", "1"),
    ]);
    let output = room.output_of(&object).await;
    for line in [
        "ALL=map secret 5432 $(NONE) $(K)",
        "K=map",
        "P_S=secret",
        "NAME=tells",
        "SPACE=variables",
        "LABEL=x",
        "ACCOUNT=default",
        "NODE=vk-variables",
        "POD_IP=127.0.0.1",
        "POD_IPS=127.0.0.1",
        "HOST_IP=127.0.0.1",
        "HOST_IPS=127.0.0.1",
        "MEMORY=64",
        "ASKED=250",
        &format!("MY_DB_SERVICE_HOST={host}"),
        &format!("MY_DB_PORT_5432_TCP=tcp://{host}:5432"),
    ] {
        assert!(output.lines().any(|found| found == line), "{line:?} is not in {output}");
    }
    assert!(!output.contains("HEADLESS_"), "{output}");
    let cpus = output.lines().find_map(|line| line.strip_prefix("CPUS=")).unwrap();
    assert!(cpus.parse::<u32>().unwrap() >= 1, "{cpus}");
    // Without links there is the API server's all the same, as with the kubelet.
    object["metadata"]["name"] = json!("silent");
    object["spec"]["enableServiceLinks"] = json!(false);
    let output = room.output_of(&object).await;
    assert!(!output.contains("MY_DB_SERVICE_HOST") && output.contains("KUBERNETES_SERVICE_HOST="), "{output}");
}

#[tokio::test]
async fn absolute_paths_are_mounts_of_the_pods_own() {
    let room = room("absolute").await;
    let site = room.site("vk-absolute").await;
    room.says(&["create", "configmap", "map", "--from-literal=one=1"]).await;
    let data = site.home().join("data");
    std::fs::create_dir_all(data.join("sub")).unwrap();
    std::fs::write(data.join("sub/file"), "of the host\n").unwrap();
    let volumes = json!([
        {"name": "map", "configMap": {"name": "map"}},
        {"name": "data", "hostPath": {"path": data, "type": "Directory"}},
        {"name": "scratch", "emptyDir": {}},
    ]);
    let mounts = json!([
        {"name": "map", "mountPath": "/etc/vk-e2e/map"}, {"name": "map", "mountPath": "/etc/vk-e2e/part", "subPath": "one"},
        {"name": "data", "mountPath": "/opt/vk-e2e", "readOnly": true}, {"name": "data", "mountPath": "linked", "subPath": "sub"},
        {"name": "scratch", "mountPath": "/scratch"},
    ]);
    let script =
        "cat /etc/vk-e2e/map/one /etc/vk-e2e/part; echo; cat /opt/vk-e2e/sub/file linked/file; touch /scratch/new
        if touch /opt/vk-e2e/new 2>/dev/null; then echo written; fi
        if touch /etc/vk-e2e/map/new 2>/dev/null; then echo written; fi
        ls /var/run/secrets/kubernetes.io/serviceaccount";
    room.apply(&pod("mounts", "vk-absolute", volumes, mounts, script)).await;
    let ended = room.pod("mounts", "to end", |pod| matches!(phase(pod), "Succeeded" | "Failed")).await;
    let status = ended.status.unwrap();
    if status.reason.as_deref() == Some("UnsupportedPodSpec") {
        // Not every machine that runs this lets its users have namespaces.
        let told = status.message.unwrap();
        assert!(told.contains("cannot be given mounts at absolute paths"), "{told}");
        eprintln!("left out: {told}");
        return;
    }
    let output = room.says(&["logs", "mounts"]).await;
    assert_eq!(output, "11\nof the host\nof the host\nca.crt\nnamespace\ntoken\n", "{status:?}");
    for path in ["/etc/vk-e2e", "/opt/vk-e2e", "/scratch"] {
        assert!(!Path::new(path).exists(), "{path} is seen outside");
    }
}

#[tokio::test]
async fn an_image_of_the_nodes_map_is_a_program_of_the_host() {
    let room = room("image-map").await;
    let mut settings = Settings::on(room.ground.plane, "vk-image-map").unwrap();
    let directory = Scratch::new("vk-map-").unwrap();
    let file = directory.path().join("node.yaml");
    std::fs::write(
        &file,
        "version: 1\nimages:\n- match: docker.io/library/shell:*\n  command: [/bin/sh, -euc]\n  args: ['echo default $NAME; pwd']\n  \
         env: {NAME: of-the-map}\n  workingDir: '~'\n",
    )
    .unwrap();
    settings.node_flags.extend(["--config".into(), file.into_os_string()]);
    let site = room.site_with(settings).await;
    let mut object = pod("plain", "vk-image-map", json!([]), json!([]), "");
    let container = &mut object["spec"]["containers"][0];
    container["image"] = json!("shell:1");
    container.as_object_mut().unwrap().remove("command");
    let home = site.home().display().to_string();
    assert_eq!(room.output_of(&object).await, format!("default of-the-map\n{home}\n"));
    let container = &mut object["spec"]["containers"][0];
    container["args"] = json!(["echo own $NAME"]);
    container["env"] = json!([{"name": "NAME", "value": "$(NAME) mine"}]);
    object["metadata"]["name"] = json!("args");
    // As an image's own variables, those of the map are not seen by $(VAR).
    assert_eq!(room.output_of(&object).await, "own $(NAME) mine\n");
    let container = &mut object["spec"]["containers"][0];
    container["image"] = json!("docker.io/other/shell:1");
    object["metadata"]["name"] = json!("other");
    room.apply(&object).await;
    let refused = room.pod("other", "to be refused", |pod| phase(pod) == "Failed").await;
    assert_eq!(refused.status.unwrap().reason.as_deref(), Some("UnsupportedPodSpec"));
}
