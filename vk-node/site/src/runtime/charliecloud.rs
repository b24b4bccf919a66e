//! Charliecloud's `ch-run`: ch-run(1). It becomes the program itself: there is nothing to remove.

use vk_task::{ExecVia, Gpus, Image, RuntimeLaunch, Terminate};

use super::env::changes;
use super::{Job, NamedRuntime};

const PREFIXES: [&str; 2] = ["CH_", "TMP"];
/// In `--bind`, a colon parts the paths.
const FORBIDDEN: [char; 1] = [':'];

pub(super) fn launch(runtime: &NamedRuntime, image: &Image, job: &mut Job<'_>) -> RuntimeLaunch {
    let mut argv = vec![runtime.program.clone()];
    argv.extend(runtime.global_args.iter().cloned());
    if let Some(dir) = job.working_dir() {
        argv.push(format!("--cd={dir}"));
    }
    for mount in &image.mounts {
        if mount.read_only && job.is_pods_own(mount) {
            // Harmless: nobody but the pod sees it, and the next change of its source takes back what was written.
            job.tell(format!(
                "ch-run cannot mount {} read-only: the container may write to it",
                mount.target.display()
            ));
        } else if mount.read_only {
            job.refuse(format!(
                "ch-run cannot mount {} read-only: leave readOnly out, if the container may write to it",
                mount.source.display()
            ));
        }
        if let Some((source, target)) = job.mount_paths(mount, &FORBIDDEN) {
            argv.push(format!("--bind={source}:{target}"));
        }
    }
    if image.gpus != Gpus::None {
        job.refuse(
            "ch-run has no flag for GPUs: prepare the image with ch-fromhost, and leave the resource out; the host's \
             devices are visible in it",
        );
    }
    // The client's environment is the container's, but for what would change the client.
    let variables = job.variables(|name| changes(name, &PREFIXES));
    if !variables.others.is_empty() {
        argv.push("--env-no-expand".to_owned());
    }
    for (name, value) in &variables.others {
        argv.push(format!("--set-env={name}={value}"));
    }
    argv.extend(runtime.run_args.iter().cloned());
    argv.push(reference(image, job));
    argv.push("--".to_owned());
    argv.extend(job.command(Err("ch-run mounts over what is in the image only")).0);
    RuntimeLaunch {
        runtime: runtime.kind.name().to_owned(),
        argv,
        env: variables.inherited,
        remove: Vec::new(),
        exec: ExecVia::Namespaces,
        terminate: Terminate::Tree,
        confine_client: true,
    }
}

/// A directory or a SquashFS file by its path, or a name in the storage of ch-image.
fn reference(image: &Image, job: &mut Job<'_>) -> String {
    let reference = &image.reference;
    let name = reference.strip_prefix("docker://").unwrap_or(reference);
    if name.contains("://") {
        job.refuse(format!(
            "{reference} is of a kind that ch-run does not know: name one in ch-image's storage, or a path"
        ));
    }
    if name.starts_with('.') {
        job.refuse(format!("{reference} is a relative path: write an absolute one"));
    }
    name.to_owned()
}
