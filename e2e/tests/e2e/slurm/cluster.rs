//! The batch system of the tests.

use vk_cmd_e2e::slurm;
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG};

#[tokio::test]
async fn slurm_runs_and_ends_jobs_on_all_machines() {
    let Some(slurm) = slurm::shared().await else { return };
    let out = slurm.directory().join("log/hello");
    let _witness = super::Witness(slurm);
    let script = "--wrap=hostname; echo $SLURMD_NODENAME; exec sleep 600";
    let nodes = format!("--nodes={}", slurm::SHARED);
    let output = format!("--output={}", out.display());
    let id = slurm.says("sbatch", &["--parsable", "--chdir=/", &nodes, &output, script]).await.unwrap();
    let state =
        async || slurm.says("squeue", &["--noheader", "--states=all", "--format=%T", "--jobs", id.trim()]).await;
    for (wanted, then) in [("RUNNING", true), ("CANCELLED", false)] {
        let reached = wait::until(wanted, LONG, GLANCE, async || {
            let seen = state().await?;
            Ok(if seen.trim() == wanted { Probe::Ready(()) } else { Probe::not_yet(seen) })
        });
        reached.await.unwrap();
        if then {
            slurm.says("scancel", &[id.trim()]).await.unwrap();
        }
    }
    assert!(std::fs::read_to_string(out).unwrap().contains(&slurm::machine(0)));
}
