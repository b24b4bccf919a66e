//! `apptainer exec` and `singularity exec`: <https://apptainer.org/docs/user/latest/cli/apptainer_exec.html>. The
//! client becomes the container's first process: there is nothing to remove.

use vk_task::{EnvName, ExecVia, Gpus, Image, RuntimeLaunch, Terminate};

use super::env::{changes, is_shell_name};
use super::{Job, Kind, NamedRuntime};

const PREFIXES: [&str; 3] = ["APPTAINER", "SINGULARITY", "TMP"];
/// In `--bind`, a comma parts the binds and a colon the paths.
const FORBIDDEN: [char; 2] = [',', ':'];
/// Files that are images.
const FILE_ENDS: [&str; 5] = [".sif", ".sqfs", ".sqsh", ".simg", ".img"];

pub(super) fn launch(runtime: &NamedRuntime, image: &Image, job: &mut Job<'_>) -> RuntimeLaunch {
    let mut argv = vec![runtime.program.clone()];
    argv.extend(runtime.global_args.iter().cloned());
    argv.push("exec".to_owned());
    if let Some(dir) = job.working_dir() {
        argv.extend(["--pwd".to_owned(), dir]);
    }
    let (command, script) = job.command(Ok(()));
    for mount in image.mounts.iter().chain(&script) {
        if let Some((source, target)) = job.mount_paths(mount, &FORBIDDEN) {
            let read_only = if mount.read_only { ":ro" } else { "" };
            argv.extend(["--bind".to_owned(), format!("{source}:{target}{read_only}")]);
        }
    }
    match image.gpus {
        Gpus::None => {}
        Gpus::Nvidia(n) => {
            argv.push("--nv".to_owned());
            job.tell(format!("all NVIDIA GPUs of the host are visible to the container, not only {n}"));
        }
        Gpus::Amd(n) => {
            argv.push("--rocm".to_owned());
            job.tell(format!("all AMD GPUs of the host are visible to the container, not only {n}"));
        }
    }
    // That its processes get no more than they have is what it sees to always.
    let security = &job.spec.security;
    if security.drops_all() {
        argv.extend(["--drop-caps".to_owned(), "all".to_owned()]);
    } else if !security.drop_capabilities.is_empty() {
        let names: Vec<String> = security.drop_capabilities.iter().map(|c| format!("CAP_{c}")).collect();
        argv.extend(["--drop-caps".to_owned(), names.join(",")]);
    }
    argv.extend(runtime.run_args.iter().cloned());
    argv.push(reference(image, job));
    argv.extend(command);
    let env = variables(runtime.kind, job);
    RuntimeLaunch {
        runtime: runtime.kind.name().to_owned(),
        argv,
        env,
        remove: Vec::new(),
        exec: ExecVia::Namespaces,
        terminate: Terminate::Tree,
        confine_client: false,
    }
}

/// The client's environment is the container's, but for what would change the client: that has a prefix.
fn variables(kind: Kind, job: &mut Job<'_>) -> std::collections::BTreeMap<EnvName, String> {
    let prefix = if kind == Kind::Singularity { "SINGULARITY" } else { "APPTAINER" };
    let name = kind.name();
    for variable in job.env().keys().cloned().collect::<Vec<_>>() {
        if variable.as_str() == "HOME" {
            job.refuse(format!(
                "{name} sets HOME in a container itself: leave it out, or let the site's file say --home in runArgs"
            ));
        } else if !is_shell_name(variable.as_str()) {
            job.refuse(format!(
                "{name} passes variables through a shell, which cannot have one named {variable:?}: use letters, digits \
                 and _",
                variable = variable.as_str()
            ));
        }
    }
    let sides = job.variables(|name| changes(name, &PREFIXES));
    let mut env = sides.inherited;
    let prefixed = sides.others.into_iter().map(|(name, value)| (format!("{prefix}ENV_{name}"), value));
    // Values are passed as they are; otherwise `$` and backticks in them would be a shell's.
    let no_eval = [(format!("{prefix}_NO_EVAL"), "1".to_owned())];
    env.extend(prefixed.chain(no_eval).filter_map(|(name, value)| Some((EnvName::new(name).ok()?, value))));
    env
}

/// A file, a directory or a URL as it is; anything else is a name in a registry.
fn reference(image: &Image, job: &mut Job<'_>) -> String {
    let reference = &image.reference;
    if reference.starts_with('/') || reference.contains("://") {
        return reference.clone();
    }
    if reference.starts_with('.') || FILE_ENDS.iter().any(|end| reference.ends_with(end)) {
        job.refuse(format!("{reference} is a file without its directory: write an absolute path"));
    }
    format!("docker://{reference}")
}
