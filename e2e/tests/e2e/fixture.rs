//! What the tests share, and what each makes for itself.

use std::sync::Once;
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell};
use vk_cmd_e2e::chart::{self, Chart};
use vk_cmd_e2e::control_plane::{ControlPlane, Options};
use vk_cmd_e2e::operator::Operator;

/// How the chart is installed for tests: what is off by default is on.
const CHART: &[&str] = &["--set", "replicas=0,bootstrap.enabled=true,admissionPolicy.cmdJobs=true"];

/// For commands that answer at once; generous, because all tests run at the same time.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The control plane that all tests use, started by the first that asks. It ends with the process.
pub(crate) async fn control_plane() -> &'static ControlPlane {
    static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
    let start = async || Box::pin(ControlPlane::start(Options::default())).await.map_err(|error| format!("{error:#}"));
    let shared = SHARED.get_or_init(start).await.as_ref().unwrap_or_else(|error| panic!("{error}"));
    keep_logs_of_failures(shared);
    shared
}

/// The chart, installed on it, without an operator inside the cluster.
pub(crate) async fn chart() -> &'static Chart {
    static SHARED: OnceCell<Result<Chart, String>> = OnceCell::const_new();
    let install = async || {
        let cluster = control_plane().await.cluster();
        chart::install(cluster, CHART).await.map_err(|error| format!("{error:#}"))
    };
    SHARED.get_or_init(install).await.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

/// The operator of all tests, with the rights of the chart's ServiceAccount. Whoever kills it starts it again before letting go.
pub(crate) async fn operator() -> &'static Mutex<Operator> {
    static SHARED: OnceCell<Result<Mutex<Operator>, String>> = OnceCell::const_new();
    let start = async || {
        let started = operator_of(control_plane().await, chart().await).await;
        started.map(Mutex::new).map_err(|error| format!("{error:#}"))
    };
    SHARED.get_or_init(start).await.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

/// An operator with the rights of the ServiceAccount of `chart`, which is what tests the chart's RBAC.
pub(crate) async fn operator_of(plane: &ControlPlane, chart: &Chart) -> anyhow::Result<Operator> {
    let account = plane.service_account_kubeconfig(&chart.namespace, &chart.service_account).await?;
    Operator::start_with(&account, &["--approve-client-certificates"]).await
}

/// A namespace of the test's own.
pub(crate) async fn namespace(plane: &ControlPlane, name: &str) {
    let mut command = plane.kubectl();
    command.args(["create", "namespace", name]);
    vk_cmd_e2e::exec::text(command, SOON).await.unwrap();
}

/// A static is never dropped, so without this the logs would go with the process also when a test has failed.
fn keep_logs_of_failures(plane: &'static ControlPlane) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            plane.keep_logs();
            eprintln!("the control plane's logs are kept in {}", plane.directory().display());
            report(info);
        }));
    });
}
