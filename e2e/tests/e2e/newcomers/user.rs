//! From a kubeconfig to a CmdJob that has ended, by the commands with which README.md begins.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use vk_cmd_e2e::wait::{self, Probe};
use vk_cmd_e2e::{binaries, exec};

use super::commands;
use crate::fixture::SOON;
use crate::ground::{GLANCE, LONG, Room, room};

const README: &str = include_str!("../../../../README.md");
const NODE: &str = "vk-newcomers-user";
const NAMESPACE: &str = "newcomers-user";

/// Somebody with an empty home, a kubeconfig, and two programs.
struct User {
    directory: tempfile::TempDir,
}

impl User {
    /// One with the role `edit` in the namespace, as the cluster has it for everybody.
    async fn of(room: &Room) -> Self {
        let this = Self { directory: tempfile::tempdir().unwrap() };
        for object in [
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "newcomer"}}),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "newcomer"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
                "subjects": [{"kind": "ServiceAccount", "name": "newcomer", "namespace": NAMESPACE}],
            }),
        ] {
            room.apply(&object).await;
        }
        let plane = room.ground.plane;
        let kubeconfig = plane.service_account_kubeconfig(NAMESPACE, "newcomer").await.unwrap();
        for directory in [this.home(), this.bin(), this.home().join(".kube")] {
            std::fs::create_dir(directory).unwrap();
        }
        let link = |program: &Path, name: &str| std::os::unix::fs::symlink(program, this.bin().join(name)).unwrap();
        link(plane.cluster().kubectl_path(), "kubectl");
        link(binaries::plugin().await.unwrap(), "kubectl-cmdjob");
        std::fs::copy(kubeconfig, this.home().join(".kube/config")).unwrap();
        this.says(&format!("kubectl config set-context --current --namespace {NAMESPACE}")).await;
        this
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    fn bin(&self) -> PathBuf {
        self.directory.path().join("bin")
    }

    /// A line that they type.
    fn shell(&self, line: &str) -> Command {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", line]).current_dir(self.home()).env_clear();
        shell.env("PATH", self.bin()).env("HOME", self.home()).env("USER", "newcomer");
        shell
    }

    /// What a line that they type prints; it must succeed.
    async fn says(&self, line: &str) -> String {
        let shell = self.shell(line);
        exec::text(shell, LONG).await.unwrap_or_else(|error| panic!("{error:#}"))
    }
}

#[tokio::test]
async fn by_the_first_lines_of_the_readme_and_by_one() {
    let room = room(NAMESPACE).await;
    let _site = room.site(NODE).await;
    let user = User::of(&room).await;

    let (_, rest) = README.split_once("```yaml\n").unwrap();
    let hello = rest.split_once("```").unwrap().0.replace("vk-perlmutter-01", NODE);
    std::fs::write(user.home().join("hello.yaml"), hello).unwrap();
    let [apply, get, logs] = &*commands(README, "hostname\n    ls -l") else { panic!("they are not three commands") };
    // Where the cluster's administrator has turned on the check of who may run commands where, they are told what to ask for.
    let refused = exec::output(user.shell(apply), LONG).await.unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("ask for a RoleBinding of the ClusterRole vk-cmd-node-user there"), "{said}");
    room.says(&[
        "create",
        "rolebinding",
        "runs",
        "--clusterrole=vk-cmd-node-user",
        &format!("--serviceaccount={NAMESPACE}:newcomer"),
    ])
    .await;
    let made = wait::until("hello to be made", LONG, GLANCE, async || {
        // The API server hears of the binding a moment later.
        let applied = exec::output(user.shell(apply), LONG).await?;
        let said = String::from_utf8(applied.stdout)?;
        Ok(if applied.status.success() { Probe::Ready(said) } else { Probe::not_yet(said) })
    });
    assert_eq!(made.await.unwrap(), "cmdjob.vk-cmd.io/hello created\n");
    let done = wait::until("hello to be complete", LONG, GLANCE, async || {
        let said = user.says(get).await;
        Ok(if said.contains("Complete") { Probe::Ready(said) } else { Probe::not_yet(said) })
    });
    let shown = done.await.unwrap();
    let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "STATUS", "NODE", "EXIT", "AGE"], "as in README.md");
    assert_eq!(rows[1][..4], ["hello", "Complete", NODE, "0"]);
    let host = exec::text(Command::new("hostname"), SOON).await.unwrap();
    let said = user.says(logs).await;
    assert!(said.starts_with(&host) && said.contains("total"), "{said}");

    // The same in one line.
    let [run] = &*commands(README, "for people with sbatch habits:") else { panic!("it is not one command") };
    let run = run.replace("vk-perlmutter-01", NODE);
    let mut fqdn = Command::new("hostname");
    fqdn.arg("-f");
    assert_eq!(user.says(&run).await, exec::text(fqdn, SOON).await.unwrap());
}
