//! What the tests share.

use std::sync::Once;
use std::time::Duration;

use tokio::sync::OnceCell;
use vk_cmd_e2e::control_plane::{ControlPlane, Options};

/// For commands that answer at once; generous, because all tests run at the same time.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The control plane that all tests use, started by the first that asks. It ends with the process.
pub(crate) async fn control_plane() -> &'static ControlPlane {
    static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
    let start = async || ControlPlane::start(Options::default()).await.map_err(|error| format!("{error:#}"));
    let shared = SHARED.get_or_init(start).await;
    let shared = shared.as_ref().unwrap_or_else(|error| panic!("{error}"));
    keep_logs_of_failures(shared);
    shared
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
