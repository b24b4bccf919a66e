//! Who may ask a node's own API, and what: every kind of client with every kind of request, without the API server between.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use vk_cmd_e2e::control_plane::Signed;
use vk_cmd_e2e::exec;
use vk_cmd_e2e::kubelet::{Kubelet, Who};
use vk_cmd_e2e::wait::{self, Probe};

use crate::fixture::SOON;
use crate::ground::{GLANCE, LONG, Room, room};

/// ServiceAccounts, each with one right: a verb on a subresource of nodes.
const ACCOUNTS: [(&str, &str, &str); 11] = [
    ("get-proxy", "get", "nodes/proxy"),
    ("create-proxy", "create", "nodes/proxy"),
    ("get-pods", "get", "nodes/pods"),
    ("get-healthz", "get", "nodes/healthz"),
    ("get-configz", "get", "nodes/configz"),
    ("get-stats", "get", "nodes/stats"),
    ("get-metrics", "get", "nodes/metrics"),
    ("get-log", "get", "nodes/log"),
    ("create-checkpoint", "create", "nodes/checkpoint"),
    // Nothing that a kubelet knows of: it must open nothing.
    ("create-exec", "create", "nodes/exec"),
    ("update-proxy", "update", "nodes/proxy"),
];
/// Clients whose word is not taken, whatever they ask for.
const UNKNOWN: [&str; 5] = ["nobody", "bad-token", "empty-token", "expired-master", "master-of-another-cluster"];
/// Clients with an identity and no right at all.
const POWERLESS: [&str; 2] = ["account-without-rights", "user-without-rights"];
/// Clients that may do everything, but for checkpoints: the role `system:kubelet-api-admin` leaves those out.
const MIGHTY: [&str; 3] = ["kubelet-api-admin", "master", "expired-master-with-token-of-admin"];

struct Asked {
    method: Method,
    path: &'static str,
    web_socket: bool,
    allowed: &'static [&'static str],
}

fn requests() -> Vec<Asked> {
    let get = |path, allowed| Asked { method: Method::GET, path, web_socket: false, allowed };
    let post = |path, allowed| Asked { method: Method::POST, path, web_socket: false, allowed };
    let web_socket = |path, allowed| Asked { method: Method::GET, path, web_socket: true, allowed };
    let create: &[&str] = &["create-proxy"];
    vec![
        get("/healthz", &["get-healthz", "get-proxy"]),
        get("/pods", &["get-pods", "get-proxy"]),
        get("/runningpods/", &["get-pods", "get-proxy"]),
        get("/configz", &["get-configz", "get-proxy"]),
        get("/stats/summary", &["get-stats"]),
        get("/metrics", &["get-metrics"]),
        get("/metrics/resource", &["get-metrics"]),
        get("/logs/", &["get-log"]),
        get("/containerLogs/none/none/none", &["get-proxy"]),
        get("/debug/pprof/", &["get-proxy"]),
        get("/no/such/route", &["get-proxy"]),
        post("/pods", create),
        post("/checkpoint/none/none/none", &["create-checkpoint"]),
        // `get` on nodes/proxy is what monitoring has. It must not run anything.
        web_socket("/exec/none/none/none?command=id&output=1", create),
        web_socket("/exec/none/none/uid/none?command=id&output=1", create),
        web_socket("/attach/none/none/none?output=1", create),
        web_socket("/portForward/none/none?port=80", create),
        get("/exec/none/none/none?command=id&output=1", create),
        get("/run/none/none/none?cmd=id", create),
        post("/exec/none/none/none?command=id&output=1", create),
        post("/attach/none/none/none?output=1", create),
        post("/portForward/none/none", create),
        post("/run/none/none/none?cmd=id", create),
        Asked { method: Method::PUT, path: "/exec/none/none/none?command=id", web_socket: false, allowed: create },
        Asked { method: Method::PUT, path: "/debug/flags/v", web_socket: false, allowed: &["update-proxy"] },
    ]
}

impl Room {
    /// A ServiceAccount's token; `right` binds it to a ClusterRole, which is made if it names a verb and a resource.
    async fn account(&self, name: &str, role: Option<&str>) -> String {
        let namespace = &self.namespace;
        self.says(&["create", "serviceaccount", name]).await;
        if let Some(role) = role {
            let account = format!("--serviceaccount={namespace}:{name}");
            let (binding, role) = (format!("{namespace}-{name}"), format!("--clusterrole={role}"));
            self.says(&["create", "clusterrolebinding", &binding, &role, &account]).await;
        }
        self.says(&["create", "token", name]).await.trim().to_owned()
    }

    /// Waits until the API server has taken note of a right.
    async fn granted(&self, account: &str, verb: &str, subresource: &str) {
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            resource: Some("nodes".to_owned()),
            subresource: Some(subresource.trim_start_matches("nodes/").to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{}:{account}", self.namespace)),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let question = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let what = format!("{account} to have its right");
        let granted = wait::until(&what, LONG, GLANCE, async || {
            let answer = reviews.create(&PostParams::default(), &question).await?;
            let allowed = answer.status.is_some_and(|status| status.allowed);
            Ok(if allowed { Probe::Ready(()) } else { Probe::not_yet("it is denied") })
        });
        granted.await.unwrap();
    }

    async fn clients(&self) -> BTreeMap<&'static str, Who> {
        let plane = self.ground.plane;
        let certificate = |user: &str, group: Option<&str>, signed| Who {
            certificate: Some(plane.client_certificate(user, group, signed).unwrap()),
            token: None,
        };
        let token = |token: String| Who { certificate: None, token: Some(token) };
        let masters = Some("system:masters");
        let mut all = BTreeMap::from([
            ("nobody", Who::default()),
            ("bad-token", token("nonsense".to_owned())),
            ("empty-token", token(String::new())),
            ("expired-master", certificate("late", masters, Signed::LongAgo)),
            ("master-of-another-cluster", certificate("stranger", masters, Signed::ByAnother)),
            ("account-without-rights", token(self.account("powerless", None).await)),
            ("user-without-rights", certificate("powerless", None, Signed::Properly)),
            ("master", certificate("mighty", masters, Signed::Properly)),
        ]);
        let admin = self.account("admin", Some("system:kubelet-api-admin")).await;
        self.granted("admin", "create", "nodes/proxy").await;
        let late = certificate("late", None, Signed::LongAgo);
        all.insert("expired-master-with-token-of-admin", Who { token: Some(admin.clone()), ..late });
        all.insert("kubelet-api-admin", token(admin));

        let roles: Vec<_> = ACCOUNTS
            .iter()
            .map(|(name, verb, resource)| {
                json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                    "metadata": {"name": format!("{}-{name}", self.namespace)},
                    "rules": [{"apiGroups": [""], "resources": [resource], "verbs": [verb]}],
                })
            })
            .collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": roles}).to_string();
        exec::text_with_input(self.kubectl(&["apply", "-f", "-"]), list.as_bytes(), SOON).await.unwrap();
        for (name, verb, resource) in ACCOUNTS {
            let role = format!("{}-{name}", self.namespace);
            all.insert(name, token(self.account(name, Some(&role)).await));
            self.granted(name, verb, resource).await;
        }
        all
    }
}

#[tokio::test]
async fn every_client_is_allowed_what_it_may_and_nothing_else() {
    let room = room("kubelet-access").await;
    let mut site = room.site("vk-access").await;
    let kubelet = Kubelet::of(&site.ready(&room.client).await.unwrap()).unwrap();
    let clients = room.clients().await;
    let mut wrong = Vec::new();
    let mut asked = 0;
    for Asked { method, path, web_socket, allowed } in requests() {
        for (name, who) in &clients {
            let may = allowed.contains(name)
                || MIGHTY.contains(name) && (*name == "master" || !path.starts_with("/checkpoint"));
            let answer = kubelet.ask(who, &method, path, web_socket).await.unwrap();
            let is_right = match answer.status {
                StatusCode::UNAUTHORIZED => UNKNOWN.contains(name),
                StatusCode::FORBIDDEN => !UNKNOWN.contains(name) && !may,
                // Whatever became of it, it was let through.
                _ => may,
            };
            asked += 1;
            if !is_right {
                wrong.push(format!("{method} {path} by {name}: {} {}", answer.status, answer.body));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {asked} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(clients.len(), ACCOUNTS.len() + UNKNOWN.len() + POWERLESS.len() + MIGHTY.len());
}

/// The words are the kubelet's: people search for them.
#[tokio::test]
async fn a_refusal_says_who_and_what() {
    let room = room("kubelet-refusal").await;
    let mut site = room.site("vk-refusal").await;
    let kubelet = Kubelet::of(&site.ready(&room.client).await.unwrap()).unwrap();
    let nobody = kubelet.ask(&Who::default(), &Method::GET, "/pods", false).await.unwrap();
    assert_eq!((nobody.status, nobody.body.as_str()), (StatusCode::UNAUTHORIZED, "Unauthorized"));
    let certificate = room.ground.plane.client_certificate("jane", None, Signed::Properly).unwrap();
    let jane = Who { certificate: Some(certificate), token: None };
    let pods = kubelet.ask(&jane, &Method::GET, "/pods", false).await.unwrap();
    let words = "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[pods proxy])\n";
    assert_eq!((pods.status, pods.body.as_str()), (StatusCode::FORBIDDEN, words));
    let exec = kubelet.ask(&jane, &Method::GET, "/exec/n/p/c?command=id", true).await.unwrap();
    let words = "Forbidden (user=jane, verb=create, resource=nodes, subresource(s)=[proxy])\n";
    assert_eq!((exec.status, exec.body.as_str()), (StatusCode::FORBIDDEN, words));
}
