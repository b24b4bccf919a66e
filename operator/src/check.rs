//! `vk-operator check`: has a CmdJob run on a vk-node and waits for its end, which is the whole way from the API server to a
//! process and back. `helm test` runs it. It acts with the rights of whoever calls it: to create, get and delete CmdJobs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use kube::api::{DeleteParams, ObjectMeta};
use kube::{Api, ResourceExt};
use tokio::time::{Instant, sleep};
use vk_api_client::chain;
use vk_cmd_crds::{CmdJob, CmdJobSpec, CmdJobStatus, State, Target};

use crate::api::{CallError, call, post_params};
use crate::cli::duration;
use crate::run;

/// How often the CmdJob is looked at.
const GLANCE: Duration = Duration::from_secs(1);
/// What runs on the node.
const SCRIPT: &str = "echo \"vk-cmd works on $(uname -n)\"";
/// How long a CmdJob that has failed is there to be looked at.
const KEPT_SECONDS: i64 = 600;

/// The arguments of `vk-operator check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The kubeconfig to use. Without it: $KUBECONFIG, ~/.kube/config, or the pod's own ServiceAccount, in this order.
    #[arg(long, env = "VK_OPERATOR_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The namespace of the CmdJob. Without it: that of the pod, or of the kubeconfig.
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// The CmdJob's target, as JSON.
    #[arg(long, value_name = "JSON", value_parser = target, default_value = r#"{"nodeSelector": {"type": "virtual-kubelet"}}"#)]
    target: Target,

    /// How long its end is waited for.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "2m")]
    timeout: Duration,
}

fn target(text: &str) -> Result<Target, String> {
    serde_json::from_str(text).map_err(|error| format!("not a target such as {{\"node\": \"vk-a\"}}: {error}"))
}

/// How it is with the CmdJob.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It has not ended.
    GoesOn,
    /// It has run.
    Works,
    /// It has ended, and not well.
    Failed,
}

/// What its status means here.
fn verdict(status: &CmdJobStatus) -> Verdict {
    match status.state {
        Some(State::Complete) => Verdict::Works,
        Some(State::Failed | State::Invalid) => Verdict::Failed,
        Some(State::Waiting | State::Pending | State::Running | State::Terminating | State::Suspended) | None => {
            Verdict::GoesOn
        }
    }
}

/// Where it is, for people.
fn words(status: &CmdJobStatus) -> String {
    let state = status.state.map_or_else(|| "not seen by an operator".to_owned(), |state| state.to_string());
    let more = [&status.reason, &status.message].into_iter().flatten();
    more.fold(state, |text, word| format!("{text}: {word}"))
}

impl CheckArgs {
    /// Does what they say.
    ///
    /// # Errors
    /// When the CmdJob could not be made, has failed, or has not ended in time.
    pub async fn run(self) -> anyhow::Result<()> {
        let config = run::kube_config(self.kubeconfig.as_deref()).await?;
        let client = vk_api_client::client(&config).context("cannot set up the way to the API server")?;
        let namespace = self.namespace.unwrap_or_else(|| config.default_namespace.clone());
        let jobs: Api<CmdJob> = Api::namespaced(client, &namespace);
        let begun = Instant::now();
        let job = call("make a CmdJob", jobs.create(&post_params(), &job(self.target)?)).await?;
        let name = job.name_any();
        println!("made the CmdJob {name} in the namespace {namespace}");
        let status = watch(&jobs, &name, begun, self.timeout).await?;
        match verdict(&status) {
            Verdict::Works => {
                let node = status.attempts.last().map_or("(unknown)", |attempt| &attempt.node);
                println!("it has run on {node}, and its end is told {:.1} s after it was made", elapsed(begun));
                remove(&jobs, &name).await
            }
            Verdict::Failed => bail!(
                "{name} has failed: {}. It is there for ten minutes: kubectl -n {namespace} describe cmdjob {name}",
                words(&status)
            ),
            Verdict::GoesOn => {
                let last = words(&status);
                // It is not to run later, when nobody waits for it.
                if let Err(error) = remove(&jobs, &name).await {
                    println!("{error:#}");
                }
                bail!(
                    "{name} has not ended within {:?}; the last that was heard of it is: {last}. See whether there is a node for \
                     it (kubectl get nodes -l type=virtual-kubelet) and what the operator logs",
                    self.timeout
                )
            }
        }
    }
}

/// Looks at the CmdJob until it has ended, or time is up, and tells of each change. Gives its last status.
async fn watch(jobs: &Api<CmdJob>, name: &str, begun: Instant, limit: Duration) -> Result<CmdJobStatus, CallError> {
    let mut told = String::new();
    loop {
        let status = match call("get a CmdJob", jobs.get(name)).await {
            Ok(job) => job.status.unwrap_or_default(),
            // Somebody has deleted it, or what serves it is gone: that will not pass.
            Err(error) if error.status().is_some_and(|status| (400..500).contains(&status.code)) => return Err(error),
            Err(error) => {
                println!("{}; trying again", chain(&error));
                CmdJobStatus::default()
            }
        };
        let words = words(&status);
        if words != told {
            println!("{:6.1} s  {words}", elapsed(begun));
            told = words;
        }
        if verdict(&status) != Verdict::GoesOn || begun.elapsed() >= limit {
            return Ok(status);
        }
        sleep(GLANCE).await;
    }
}

fn elapsed(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64()
}

async fn remove(jobs: &Api<CmdJob>, name: &str) -> anyhow::Result<()> {
    match call("delete the CmdJob", jobs.delete(name, &DeleteParams::background())).await {
        Err(error) if !error.is_not_found() => {
            Err(error).with_context(|| format!("delete it yourself: kubectl delete cmdjob {name}"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The CmdJob, which the API server gives its name.
fn job(target: Target) -> anyhow::Result<CmdJob> {
    let spec = serde_json::json!({"target": target, "script": SCRIPT, "ttlSecondsAfterFinished": KEPT_SECONDS});
    let spec: CmdJobSpec = serde_json::from_value(spec).context("cannot make a CmdJob for this target")?;
    let metadata = ObjectMeta { generate_name: Some("vk-cmd-check-".to_owned()), ..ObjectMeta::default() };
    Ok(CmdJob { metadata, spec, status: None })
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::*;

    #[test]
    fn the_job_is_one_that_the_operator_takes() {
        for text in [r#"{"node": "vk-a"}"#, r#"{"fleet": "f"}"#, r#"{"nodeSelector": {"type": "virtual-kubelet"}}"#] {
            let mut job = job(target(text).unwrap()).unwrap();
            (job.metadata.name, job.metadata.namespace) = (Some("a".into()), Some("b".into()));
            job.metadata.uid = Some("1a2b3c4d-5e6f-4000-8000-000000000000".into());
            vk_operator_core::validate(&job).unwrap();
        }
        assert!(target("{}").is_ok() && target("vk-a").is_err());
    }

    #[test]
    fn only_an_end_ends_the_wait() {
        let of = |state| verdict(&CmdJobStatus { state, ..CmdJobStatus::default() });
        assert_eq!(of(None), Verdict::GoesOn);
        for state in State::VARIANTS {
            let expected = match state {
                State::Complete => Verdict::Works,
                State::Failed | State::Invalid => Verdict::Failed,
                State::Waiting | State::Pending | State::Running | State::Terminating | State::Suspended => {
                    Verdict::GoesOn
                }
            };
            assert_eq!(of(Some(*state)), expected, "{state}");
        }
        let status = CmdJobStatus {
            state: Some(State::Waiting),
            reason: Some("NoNodes".into()),
            message: Some("there is none".into()),
            ..CmdJobStatus::default()
        };
        assert_eq!(words(&status), "Waiting: NoNodes: there is none");
    }
}
