//! How a node comes to its own certificates, and keeps them good.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStdout;
use vk_cmd_crds::certificates::{BOOTSTRAP_GROUP, Purpose};
use vk_cmd_e2e::exec;
use vk_cmd_e2e::kubelet::Kubelet;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use crate::fixture::SOON;
use crate::ground::{GLANCE, LONG, Room, room};

impl Room {
    async fn bootstrap(&self, node: &str, token: &str) -> Settings {
        let kubeconfig = self.ground.plane.cluster().bootstrap_kubeconfig(token, BOOTSTRAP_GROUP).await.unwrap();
        // Its own copy, to be removed. The cluster's authority is in it, and no other is told.
        Settings { kubeconfig, bootstrap: true, client_ca: None, ..Settings::on(self.ground.plane, node).unwrap() }
    }

    fn requests(&self) -> Api<CertificateSigningRequest> {
        Api::all(self.client.clone())
    }

    /// The names of the requests that a node has made.
    async fn requests_of(&self, node: &str) -> BTreeSet<String> {
        let all = self.requests().list(&ListParams::default()).await.unwrap();
        let prefix = [format!("{node}-client-"), format!("{node}-serving-")];
        all.into_iter().map(|r| r.name_any()).filter(|n| prefix.iter().any(|p| n.starts_with(p))).collect()
    }

    /// Waits until a client that verifies what it dials, as the API server may be told to, takes the node for itself.
    async fn verified(&self, site: &mut Site) {
        let kubelet = Kubelet::of(&site.ready(&self.client).await.unwrap()).unwrap();
        let authority = std::fs::read_to_string(self.ground.plane.client_ca()).unwrap();
        let verified = wait::until("a serving certificate of the cluster", LONG, GLANCE, async || {
            Ok(match kubelet.verify(&authority).await {
                Ok(_) => Probe::Ready(()),
                Err(error) => Probe::not_yet(format!("{error:#}")),
            })
        });
        verified.await.unwrap();
    }
}

fn pki(site: &Site) -> PathBuf {
    site.hostpipe().join("pki").join(site.node_name())
}

/// Which file is the current one: another for each certificate.
fn current(site: &Site, stem: &str) -> Option<PathBuf> {
    std::fs::read_link(pki(site).join(format!("{stem}-current.pem"))).ok()
}

async fn says(room: &Room, kubeconfig: &Path, arguments: &[&str]) -> std::process::Output {
    let mut kubectl = room.ground.plane.kubectl();
    // The last one counts.
    kubectl.arg("--kubeconfig").arg(kubeconfig).args(arguments);
    exec::output(kubectl, SOON).await.unwrap()
}

#[tokio::test]
async fn a_bootstrap_token_becomes_a_node_that_needs_it_no_more() {
    const NODE: &str = "vk-bootstrap";
    let room = room("identity-bootstrap").await;
    let settings = room.bootstrap(NODE, "boots1").await;
    let token = settings.kubeconfig.clone();
    let mut site = room.site_with(settings).await;
    room.verified(&mut site).await;
    let job = room.script("hello", NODE, "echo hello").await;
    job.ended().await;
    // The API server has found the node by its serving certificate or without, and is known to it by the authority of the
    // token's kubeconfig.
    assert_eq!(room.says(&["logs", "-l", "vk-cmd.io/job=hello"]).await, "hello\n");

    // It is a node and no more than that: what it cannot do is what the Node authorizer keeps from it.
    let own = pki(&site).join("kubeconfig");
    let who = says(&room, &own, &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]).await;
    assert_eq!(String::from_utf8_lossy(&who.stdout), format!("system:node:{NODE}"));
    let secrets = says(&room, &own, &["get", "secrets", "--all-namespaces"]).await;
    assert!(!secrets.status.success() && String::from_utf8_lossy(&secrets.stderr).contains("Forbidden"));
    let other = says(&room, &own, &["annotate", "node", "vk-somebody-else", "a=b"]).await;
    assert!(!other.status.success());

    let asked = room.requests_of(NODE).await;
    assert_eq!(asked.len(), 2, "{asked:?}");
    let (client, serving) = (current(&site, "kubelet-client"), current(&site, "kubelet-server"));
    assert!(client.is_some() && serving.is_some());
    std::fs::remove_file(&token).unwrap();
    site.kill_node().unwrap();
    site.start_node().unwrap();
    room.script("again", NODE, "echo again").await.ended().await;
    room.verified(&mut site).await;
    assert_eq!((current(&site, "kubelet-client"), current(&site, "kubelet-server")), (client, serving));
    assert_eq!(room.requests_of(NODE).await, asked);
}

/// Reads lines that are numbers, one after the other, up to the first beyond `last`.
async fn count_on(lines: &mut Lines<BufReader<ChildStdout>>, next: &mut u64, last: u64) {
    while *next <= last {
        let line = tokio::time::timeout(LONG, lines.next_line()).await.unwrap().unwrap();
        assert_eq!(line.as_deref(), Some(next.to_string().as_str()), "the stream is to have each line once");
        *next += 1;
    }
}

#[tokio::test]
async fn both_certificates_are_replaced_while_a_log_is_followed() {
    const NODE: &str = "vk-rotate";
    let room = room("identity-rotate").await;
    let flags = ["--cert-lifetime=600", "--cert-rotate-after=3"].map(Into::into).to_vec();
    let settings = Settings { node_flags: flags, ..room.bootstrap(NODE, "rotat1").await };
    let site = room.site_with(settings).await;
    let script = "n=0; while :; do echo $n; n=$((n+1)); sleep 0.05; done";
    let job = room.script("counter", NODE, script).await;
    job.running().await;
    let pod = job.pods().await[0].name_any();
    let mut kubectl = tokio::process::Command::from(room.kubectl(&["logs", "--follow", &pod]));
    let mut follower = kubectl.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = 0;
    count_on(&mut lines, &mut next, 5).await;

    for stem in ["kubelet-client", "kubelet-server"] {
        let mut seen = BTreeSet::new();
        let what = format!("{stem} to be replaced twice");
        let replaced = wait::until(&what, LONG, GLANCE, async || {
            seen.extend(current(&site, stem));
            Ok(if seen.len() > 2 { Probe::Ready(()) } else { Probe::not_yet(format!("{seen:?}")) })
        });
        replaced.await.unwrap();
    }
    // What was open goes on, up to lines that were written only now.
    let now = room.says(&["logs", "--tail=1", &pod]).await.trim().parse().unwrap();
    count_on(&mut lines, &mut next, now).await;
    assert!(follower.try_wait().unwrap().is_none());
    // And the node works: its watches, its writes, and what it serves.
    room.script("after", NODE, "true").await.ended().await;
}

/// A request of `purpose` for `common_name` with these names.
fn request(name: &str, purpose: Purpose, common_name: &str, names: &[SanType]) -> CertificateSigningRequest {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names = names.to_vec();
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    CertificateSigningRequest {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: purpose.signer().to_owned(),
            usages: Some(purpose.usages().map(str::to_owned).to_vec()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    }
}

#[tokio::test]
async fn the_operator_approves_ours_and_leaves_the_others() {
    const NODE: &str = "vk-approve";
    let user = format!("system:node:{NODE}");
    let room = room("identity-approve").await;
    let plane = room.ground.plane;
    let _site = room.site(NODE).await;
    let node = plane.cluster().client_of(&plane.node_kubeconfig(NODE).unwrap()).await.unwrap();
    let token = plane.cluster().bootstrap_kubeconfig("appro1", BOOTSTRAP_GROUP).await.unwrap();
    let token = plane.cluster().client_of(&token).await.unwrap();
    let stranger = plane.cluster().bootstrap_kubeconfig("appro2", "system:bootstrappers:others").await.unwrap();
    room.says(&[
        "create",
        "clusterrolebinding",
        "identity-approve-others",
        "--clusterrole=system:node-bootstrapper",
        "--group=system:bootstrappers:others",
    ])
    .await;
    let stranger = plane.cluster().client_of(&stranger).await.unwrap();
    let ask = async |client: &Client, request: &CertificateSigningRequest| {
        Api::<CertificateSigningRequest>::all(client.clone()).create(&PostParams::default(), request).await
    };
    let (here, elsewhere) = (SanType::IpAddress([127, 0, 0, 1].into()), SanType::IpAddress([10, 9, 8, 7].into()));
    let serving = |name: &str, names: &[SanType]| request(name, Purpose::Serving, &user, names);
    let client = |name: &str, user: &str| request(name, Purpose::Client, user, &[]);

    let mut wrong_usages = serving("approve-wrong-usages", std::slice::from_ref(&here));
    wrong_usages.spec.usages.as_mut().unwrap().push("client auth".to_owned());
    let mut other_signer = client("approve-other-signer", &user);
    other_signer.spec.signer_name = "kubernetes.io/kube-apiserver-client".to_owned();
    let left = [
        (&node, serving("approve-other-address", &[here.clone(), elsewhere])),
        (&node, wrong_usages),
        (&node, other_signer),
        // Whoever has a token may become a new vk-node: none that is there, and no other node.
        (&token, client("approve-ready-node", &user)),
        (&token, client("approve-master", "system:node:master-1")),
        (&token, serving("approve-serving-by-token", std::slice::from_ref(&here))),
        (&stranger, client("approve-stranger", "system:node:vk-approve-stranger")),
        (&room.client, serving("approve-serving-by-admin", std::slice::from_ref(&here))),
    ];
    // A binding may take a moment to be known.
    let known = wait::until("the stranger to be let in", LONG, GLANCE, async || {
        let list = Api::<CertificateSigningRequest>::all(stranger.clone()).list(&ListParams::default()).await;
        Ok(list.map_or_else(|error| Probe::not_yet(error.to_string()), |_| Probe::Ready(())))
    });
    known.await.unwrap();
    for (by, request) in &left {
        ask(by, request).await.unwrap();
    }
    // The API server itself keeps a node from asking for another's.
    let other = request("approve-other-node", Purpose::Serving, "system:node:vk-another", std::slice::from_ref(&here));
    assert!(ask(&node, &other).await.is_err());

    let good = [
        (&node, serving("approve-serving", &[here])),
        (&node, client("approve-next", &user)),
        (&token, client("approve-first", "system:node:vk-approve-new")),
    ];
    for (by, request) in &good {
        ask(by, request).await.unwrap();
    }
    for (_, request) in &good {
        let what = format!("{} to be signed", request.name_any());
        let signed = wait::until(&what, LONG, GLANCE, async || {
            let status = room.requests().get(&request.name_any()).await?.status.unwrap_or_default();
            let is_signed = status.certificate.is_some();
            Ok(if is_signed { Probe::Ready(()) } else { Probe::not_yet(format!("{:?}", status.conditions)) })
        });
        signed.await.unwrap();
    }
    // Those came later, and so the operator has looked at the others by now.
    for (_, request) in &left {
        let status = room.requests().get(&request.name_any()).await.unwrap().status.unwrap_or_default();
        assert!(status.conditions.is_none_or(|all| all.is_empty()), "{}", request.name_any());
    }
}

/// Nobody approves: the node is there all the same, with a certificate of its own making.
#[tokio::test]
async fn a_node_whose_certificate_nobody_approves_is_ready() {
    const NODE: &str = "vk-unapproved";
    let room = room("identity-unapproved").await;
    // As those of an administrator: the signer would give it nothing, so it does not ask.
    let plane = room.ground.plane;
    let settings = Settings { kubeconfig: plane.kubeconfig().to_owned(), ..Settings::on(plane, NODE).unwrap() };
    let _site = room.site_with(settings).await;
    let job = room.script("hello", NODE, "echo hello").await;
    job.ended().await;
    assert_eq!(room.says(&["logs", "-l", "vk-cmd.io/job=hello"]).await, "hello\n");
    assert_eq!(room.requests_of(NODE).await, BTreeSet::new());
}

/// As clusters are hardened: the API server verifies the kubelets that it dials.
#[tokio::test]
async fn an_api_server_that_verifies_kubelets_reaches_the_pods_of_a_node() {
    const NODE: &str = "vk-verified";
    let room = room("identity-verified").await;
    let plane = room.ground.plane;
    let mut site = room.site_with(room.bootstrap(NODE, "verif1").await).await;
    let job = room.script("waits", NODE, "echo hello; exec sleep 1000").await;
    job.running().await;
    let pod = job.pods().await[0].name_any();
    let another = pki(&site).join("another-ca.crt");
    let other = KeyPair::generate().unwrap();
    std::fs::write(&another, CertificateParams::default().self_signed(&other).unwrap().pem()).unwrap();
    let verifying = async |authority: &Path| {
        let flags = [format!("--kubelet-certificate-authority={}", authority.display())];
        plane.another_api_server(&flags).await.unwrap()
    };
    let ask = async |server: &str, arguments: &[&str]| {
        let mut kubectl = room.kubectl(arguments);
        kubectl.args(["--server", server]);
        exec::output(kubectl, SOON).await.unwrap()
    };
    room.verified(&mut site).await;
    let (server, url) = verifying(plane.client_ca()).await;
    let logs = ask(&url, &["logs", &pod]).await;
    assert_eq!(String::from_utf8_lossy(&logs.stdout), "hello\n", "{logs:?}");
    let mut kubectl = room.kubectl(&["exec", "--stdin", "--server", &url, &pod, "--", "cat"]);
    kubectl.stdin(Stdio::piped());
    let said = exec::text_with_input(kubectl, b"there and back", SOON).await.unwrap();
    assert_eq!(said, "there and back");
    drop(server);
    // It does verify.
    let (_server, url) = verifying(&another).await;
    let logs = ask(&url, &["logs", &pod]).await;
    assert!(!logs.status.success() && String::from_utf8_lossy(&logs.stderr).contains("x509"), "{logs:?}");
}
