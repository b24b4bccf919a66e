//! What an operator says of itself, the real program: whether it lives, what it measures, what it logs. Its API server is away.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;
use vk_cmd_e2e::control_plane::free_port;
use vk_cmd_e2e::loopback::get;
use vk_cmd_e2e::operator::Operator;
use vk_cmd_e2e::scratch::Scratch;
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG};

/// Waits until its log says this.
async fn says(operator: &mut Operator, text: &str) {
    wait::until("the operator to say it", LONG, GLANCE, async || {
        operator.must_be_running()?;
        let log = fs::read_to_string(operator.log())?;
        Ok(if log.contains(text) { Probe::Ready(()) } else { Probe::not_yet(format!("{text:?} is not in {log}")) })
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_operator_without_an_api_server_lives_and_logs_what_it_is_told_to() {
    let scratch = Scratch::new("vk-cmd-operator-alone-").unwrap();
    let (away, port) = (free_port().unwrap(), free_port().unwrap());
    let kubeconfig = scratch.path().join("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": format!("http://127.0.0.1:{away}")}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "users": [{"name": "it", "user": {}}],
    });
    fs::write(&kubeconfig, config.to_string()).unwrap();
    // As a ConfigMap is mounted: the file is behind a link, which another one takes the place of.
    let mount = scratch.path().join("mount");
    fs::create_dir(&mount).unwrap();
    symlink("..data/filter", mount.join("filter")).unwrap();
    let mut version = 0;
    let mut put = |text: &str| {
        version += 1;
        let name = format!("..{version}");
        fs::create_dir(mount.join(&name)).unwrap();
        fs::write(mount.join(&name).join("filter"), text).unwrap();
        symlink(&name, mount.join("..new")).unwrap();
        fs::rename(mount.join("..new"), mount.join("..data")).unwrap();
    };
    put("warn\n");
    let (address, file) = (format!("127.0.0.1:{port}"), mount.join("filter"));
    let flags = ["--leader-elect", "--health-address", &address, "--log-filter-file", file.to_str().unwrap()];
    let mut operator = Operator::start_with(&kubeconfig, &flags).await.unwrap();
    says(&mut operator, "cannot read the lease").await;
    put("info,hyper=off");
    says(&mut operator, "logs by info,hyper=off").await;
    put("vk_operator=loud");
    says(&mut operator, "logs by info,hyper=off as before: \"vk_operator=loud\" is no filter").await;
    put("debug");
    says(&mut operator, "logs by debug").await;
    let log = fs::read_to_string(operator.log()).unwrap();
    assert!(!log.contains("has started"), "{log}");
    assert_eq!(log.matches("is no filter").count(), 1, "{log}");

    assert_eq!(get(port, "/livez").await.unwrap(), "ok\n");
    let measured = get(port, "/metrics").await.unwrap();
    let requests = format!("rest_client_requests_total{{code=\"<error>\",host=\"127.0.0.1:{away}\",method=\"GET\"}} ");
    assert!(measured.contains(&requests), "{measured}");
    for name in [
        "cmdjob_attempts_total{result=\"succeeded\"} 0",
        "cmdjob_events_total{result=\"dropped\"} 0",
        "cmdjob_start_delay_seconds_count 0",
        "controller_runtime_reconcile_panics_total{controller=\"cmdjob\"} 0",
    ] {
        assert!(measured.contains(name), "{name} is not in {measured}");
    }
}
