//! A control plane that tests may ill-treat, one at a time.

use std::sync::OnceLock;

use tokio::sync::{Mutex, MutexGuard, OnceCell};
use vk_cmd_e2e::audit::AuditLog;
use vk_cmd_e2e::chart;
use vk_cmd_e2e::control_plane::{ControlPlane, Options};

use crate::fixture::operator_of;
use crate::ground::Ground;

/// The control plane, for as long as the guard lives. Whoever breaks something mends it before letting go.
pub(crate) async fn rough() -> MutexGuard<'static, Ground> {
    static ROUGH: OnceCell<Mutex<Ground>> = OnceCell::const_new();
    ROUGH.get_or_init(start).await.lock().await
}

/// What operators have asked its API server for, watches apart.
pub(crate) fn audit_log() -> &'static AuditLog {
    static LOG: OnceLock<AuditLog> = OnceLock::new();
    LOG.get_or_init(|| {
        let operators = format!("system:serviceaccounts:{}", chart::NAMESPACE);
        let verbs = "[create, update, patch, delete, deletecollection, get, list]";
        AuditLog::new(&format!("{{level: Metadata, userGroups: ['{operators}'], verbs: {verbs}}}")).unwrap()
    })
}

/// It lives as long as the test program, as the shared one does.
async fn start() -> Mutex<Ground> {
    let options = Options { api_server_flags: audit_log().flags(), ..Options::default() };
    let plane: &ControlPlane = Box::leak(Box::new(Box::pin(ControlPlane::start(options)).await.unwrap()));
    let chart = chart::install(plane.cluster(), chart::WITHOUT_OPERATOR).await.unwrap();
    let operator = Box::leak(Box::new(Mutex::new(operator_of(plane, &chart).await.unwrap())));
    Mutex::new(Ground { plane, operator })
}
