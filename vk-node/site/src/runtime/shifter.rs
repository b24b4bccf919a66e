//! `shifter`: <https://docs.nersc.gov/development/containers/shifter/how-to-use/>. It becomes the program itself: there
//! is nothing to remove.
//!
//! `--entrypoint` is not used: a command in a pod stands in place of the image's entry point, which is what Shifter does
//! without it.

use vk_task::{ExecVia, Gpus, Image, RuntimeLaunch, Terminate};

use super::{Job, NamedRuntime};

/// In `--volume`, a semicolon parts the volumes and a colon the paths.
const FORBIDDEN: [char; 2] = [':', ';'];

pub(super) fn launch(runtime: &NamedRuntime, image: &Image, job: &mut Job<'_>) -> RuntimeLaunch {
    // Its images are read-only in any case.
    job.refuse_security("shifter", true);
    let mut argv = vec![runtime.program.clone()];
    argv.extend(runtime.global_args.iter().cloned());
    argv.push(format!("--image={}", reference(image, job)));
    if let Some(dir) = job.working_dir() {
        argv.push(format!("--workdir={dir}"));
    }
    for mount in &image.mounts {
        if let Some((source, target)) = job.mount_paths(mount, &FORBIDDEN) {
            let read_only = if mount.read_only { ":ro" } else { "" };
            argv.push(format!("--volume={source}:{target}{read_only}"));
        }
    }
    match image.gpus {
        Gpus::None => {}
        Gpus::Nvidia(n) => {
            argv.push("--module=gpu".to_owned());
            job.tell(format!("all NVIDIA GPUs of the job are visible to the container, not only {n}"));
        }
        Gpus::Amd(_) => job.refuse("shifter has no module for AMD GPUs: leave them out"),
    }
    // The host's environment is passed too, but a variable of the image wins over it; over these none does. They are
    // seen in a list of processes until shifter becomes the program.
    for (name, value) in job.env().clone() {
        argv.push(format!("--env={name}={value}"));
    }
    argv.extend(runtime.run_args.iter().cloned());
    let (command, _) = job.command(Err("shifter mounts directories only"));
    if command.first().is_some_and(|program| program.starts_with('-')) {
        argv.push("--".to_owned());
    }
    argv.extend(command);
    RuntimeLaunch {
        runtime: runtime.kind.name().to_owned(),
        argv,
        env: std::collections::BTreeMap::new(),
        remove: Vec::new(),
        exec: ExecVia::Namespaces,
        terminate: Terminate::Tree,
        confine_client: false,
    }
}

/// The image's type and name: `docker:ubuntu:24.04`, `id:…`.
fn reference(image: &Image, job: &mut Job<'_>) -> String {
    let reference = &image.reference;
    if let Some(name) = reference.strip_prefix("docker://") {
        return format!("docker:{name}");
    }
    if reference.starts_with(['/', '.']) || reference.contains("://") {
        job.refuse(format!(
            "{reference} is no image that shifter has: pull one with shifterimg, and name it as docker://…"
        ));
    }
    let typed = ["docker:", "id:", "custom:", "local:"].iter().any(|kind| reference.starts_with(kind));
    if typed { reference.clone() } else { format!("docker:{reference}") }
}
