//! What the viewer can do now.

use vk_cmd_crds::CmdJob;

use super::outcome::last_pod;
use super::screen::Screen;
use super::stage::Stage;
use crate::tools;

/// Prints lines to paste into another terminal.
pub(super) fn show_what_to_try(stage: &Stage, finished: &[CmdJob], screen: &Screen) {
    let node = stage.site.node_name();
    let mut lines = vec![
        String::new(),
        "Everything stays up until Ctrl-C. In another terminal:".to_owned(),
        String::new(),
        format!("  export KUBECONFIG={}", stage.kubeconfig.display()),
    ];
    let kubectl = stage.cluster().kubectl_path();
    if let Some(directory) = kubectl.parent().filter(|_| !tools::is_on_path(kubectl)) {
        // None on PATH, or one too old for this server.
        lines.push(format!("  export PATH={}:$PATH", directory.display()));
    }
    lines.push("  kubectl get cmdjobs,pods,nodes -o wide".to_owned());
    if let Some(pod) = finished.iter().find_map(last_pod) {
        lines.push(format!("  kubectl logs {pod}"));
    }
    lines.push("  kubectl explain cmdjob.spec".to_owned());
    lines.push(format!(
        "  echo '{{apiVersion: vk-cmd.io/v1alpha1, kind: CmdJob, metadata: {{name: mine}}, spec: {{target: {{node: {node}}}, script: \"hostname; uptime\"}}}}' | kubectl apply -f -"
    ));
    lines.push("  kubectl get cmdjobs --watch".to_owned());
    lines.push(String::new());
    lines.push(format!("Logs: {}", stage.logs()));
    lines.iter().for_each(|line| screen.line(line));
}
