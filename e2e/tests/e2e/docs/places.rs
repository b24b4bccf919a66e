//! What the scenes of the sites' own pages share: container runtimes, a systemd, a batch system.

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use vk_cmd_e2e::janitor::SITE_VARIABLE;
use vk_cmd_e2e::runtimes::Runtimes;
use vk_cmd_e2e::slurm::Slurm;
use vk_cmd_e2e::wait::{self, Probe};

use super::play::Play;
use crate::ground::{GLANCE, LONG};

/// The node's image, as it is called in a registry.
const IMAGE: &str = "registry.example.org/me/vk-node:1";

/// A systemctl of a user's systemd, which cannot be had here: it knows what the page asks of it, and starts what the unit says.
const SYSTEMCTL: &str = r#"#!/bin/sh
set -eu
unit=$HOME/.config/systemd/user/vk-node.service
case "$*" in
"--user daemon-reload") test -f "$unit" ;;
"--user enable --now vk-node.service")
    command=$(sed -n 's/^ExecStart=//p' "$unit")
    test -n "$command"
    eval "setsid $command" > "$HOME/service.log" 2>&1 < /dev/null & ;;
*) echo "what is $*?" >&2; exit 1 ;;
esac
"#;

/// A qsub of PBS, which cannot be had here: it runs the script as PBS does.
const QSUB: &str = r##"#!/bin/sh
set -eu
test $# = 1
grep -q '^#PBS -l walltime=' "$1"
cd "$HOME"
PBS_JOBID=4711.server PBS_ENVIRONMENT=PBS_BATCH setsid sh "$1" > "$HOME/pbs.log" 2>&1 < /dev/null &
echo 4711.server
"##;

impl Play {
    pub(super) fn has_runtimes(&self, runtimes: &Runtimes) {
        for name in ["podman", "docker", "apptainer", "shifter"] {
            self.machine.has_program(name, &runtimes.bin().join(name)).unwrap();
        }
    }

    /// Another machine, with runtimes, for this node in a container; its site's file is the block of the page with these words.
    pub(super) async fn for_container(&mut self, runtimes: &Runtimes, node: &str, page: &str, words: &str) {
        self.on_another_machine().await;
        self.node = node.to_owned();
        self.has_node_kubeconfig("node.kubeconfig", node);
        self.has_runtimes(runtimes);
        self.file("hostpipe/site.yaml", page, words);
        // In docker it has nothing of the machine's environment: not the address, nor by what its processes are known as ours.
        let mark = format!("-e {SITE_VARIABLE}={}", self.machine.home().display());
        let more = format!("-e KUBECONFIG=/kubeconfig -e KUBELET_PORT=0 -e VKUBELET_POD_IP=127.0.0.1 {mark}");
        self.word("-e KUBECONFIG=/kubeconfig", &more);
        runtimes.knows(IMAGE, &runtimes.root_of_node()).unwrap();
    }

    pub(super) fn has_systemctl(&self) {
        self.machine.has_script("systemctl", SYSTEMCTL).unwrap();
    }

    pub(super) fn has_qsub(&self) {
        self.machine.has_script("qsub", QSUB).unwrap();
    }

    pub(super) fn has_slurm(&self, slurm: &Slurm) {
        self.machine.exports("SLURM_CONF", &slurm.conf().display().to_string()).unwrap();
    }

    /// Waits until a node is ready whose name begins so.
    pub(super) async fn ready(&self, begins: &str) {
        let nodes: Api<Node> = Api::all(self.room.client.clone());
        let what = format!("a node {begins}… to be ready");
        let reached = wait::until(&what, LONG, GLANCE, async || {
            let all = nodes.list(&kube::api::ListParams::default()).await?.items;
            let of_name = |node: &&Node| node.metadata.name.as_deref().is_some_and(|name| name.starts_with(begins));
            let found: Vec<Node> = all.iter().filter(of_name).cloned().collect();
            let is_ready = found.iter().any(|node| crate::node_object::is(node, "Ready", "True"));
            let why = || format!("{:?}", found.iter().map(|node| &node.metadata.name).collect::<Vec<_>>());
            Ok(if is_ready { Probe::Ready(()) } else { Probe::not_yet(why()) })
        });
        if let Err(error) = reached.await {
            self.failed(&format!("{error:#}"));
        }
    }
}
