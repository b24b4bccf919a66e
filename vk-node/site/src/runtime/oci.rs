//! `docker run` and `podman run`, which have the same command line but for some flags:
//! <https://docs.docker.com/reference/cli/docker/container/run/>, podman-run(1).

use vk_task::{
    ExecVia, Gpus, Image, Mount, RUN_VARIABLE, Rlimit, RuntimeLaunch, Security, Stdin, TASK_VARIABLE, Terminate,
};

use super::env::changes;
use super::{Job, Kind, NamedRuntime};

/// Names of the clients' own variables begin so.
const PREFIXES: [&str; 8] =
    ["DOCKER_", "BUILDKIT_", "CONTAINER", "_CONTAINERS_", "PODMAN_", "STORAGE_", "REGISTRY_AUTH_FILE", "TMP"];
/// In `--mount`, a comma parts the fields, and quotes and line ends belong to CSV.
const FORBIDDEN: [char; 4] = [',', '"', '\n', '\r'];

pub(super) fn launch(runtime: &NamedRuntime, image: &Image, job: &mut Job<'_>) -> RuntimeLaunch {
    let name = job.container_name();
    let client = |subcommand: &[&str]| {
        let words = subcommand.iter().map(|&word| word.to_owned());
        [runtime.program.clone()].into_iter().chain(runtime.global_args.clone()).chain(words).collect::<Vec<_>>()
    };
    let mut argv = client(&["run", "--rm", "--name", &name]);
    let mut add = Args { argv: &mut argv, site: &runtime.run_args };
    // A pod's address is its node's, so its ports must be the host's.
    add.default("--network", "host", &["--net", "-p", "--publish"]);
    // The shim keeps the output; the runtime need not keep it too.
    add.default("--log-driver", "none", &[]);
    if let Some(dir) = job.working_dir() {
        add.flag("--workdir", &dir);
    }
    if job.spec.stdio.stdin != Stdin::Null {
        add.argv.push("--interactive".to_owned());
    }
    if job.spec.stdio.terminal {
        add.argv.push("--tty".to_owned());
    }
    let (command, script) = job.command(Ok(()));
    for mount in image.mounts.iter().chain(&script) {
        if let Some(text) = mount_text(job, mount) {
            add.flag("--mount", &text);
        }
    }
    gpus(runtime.kind, image.gpus, job, &mut add);
    limits(runtime.kind, job, &mut add);
    security(runtime.kind, &job.spec.security, &mut add);
    let podman = runtime.kind == Kind::Podman;
    // For podman, a name with a star at its end means all variables that begin so.
    let variables = job.variables(|name| changes(name, &PREFIXES) || (podman && name.ends_with('*')));
    // The marks that the shim gives to the client: by them the processes in the container are known to be the task's.
    for name in [TASK_VARIABLE, RUN_VARIABLE] {
        add.flag("--env", name);
    }
    for name in variables.inherited.keys() {
        add.flag("--env", name.as_str());
    }
    for (name, value) in &variables.others {
        add.flag("--env", &format!("{name}={value}"));
    }
    // In place of the image's entry point, as a container's command in a pod is.
    let mut command = command.into_iter();
    add.flag("--entrypoint", &command.next().unwrap_or_default());
    argv.extend(runtime.run_args.iter().cloned());
    argv.push(reference(image, job));
    argv.extend(command);

    let remove = if podman {
        client(&["rm", "--force", "--ignore", "--time", "0", &name])
    } else {
        // It succeeds where there is no such container, since 20.10.
        client(&["rm", "--force", &name])
    };
    RuntimeLaunch {
        runtime: runtime.kind.name().to_owned(),
        argv,
        env: variables.inherited,
        remove: vec![remove],
        exec: ExecVia::Command {
            prefix: client(&["exec"]),
            stdin: vec!["--interactive".to_owned()],
            terminal: vec!["--tty".to_owned()],
            target: vec![name],
        },
        // Their clients pass on what they get (`--sig-proxy`).
        terminate: Terminate::Client,
        confine_client: false,
    }
}

/// Arguments before the site's own.
struct Args<'a> {
    argv: &'a mut Vec<String>,
    site: &'a [String],
}

impl Args<'_> {
    fn flag(&mut self, name: &str, value: &str) {
        self.argv.push(format!("{name}={value}"));
    }

    /// A flag that the site's arguments replace.
    fn default(&mut self, name: &str, value: &str, others: &[&str]) {
        let is =
            |arg: &str, flag: &str| arg.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='));
        if !self.site.iter().any(|arg| is(arg, name) || others.iter().any(|other| is(arg, other))) {
            self.flag(name, value);
        }
    }
}

fn mount_text(job: &mut Job<'_>, mount: &Mount) -> Option<String> {
    let (source, target) = job.mount_paths(mount, &FORBIDDEN)?;
    let read_only = if mount.read_only { ",readonly" } else { "" };
    Some(format!("type=bind,source={source},target={target}{read_only}"))
}

fn gpus(kind: Kind, gpus: Gpus, job: &mut Job<'_>, add: &mut Args<'_>) {
    match (gpus, kind) {
        (Gpus::None, _) => {}
        (Gpus::Nvidia(n), Kind::Docker) => add.flag("--gpus", &n.to_string()),
        // By the Container Device Interface; each device has its number.
        (Gpus::Nvidia(n), _) => (0..n).for_each(|i| add.flag("--device", &format!("nvidia.com/gpu={i}"))),
        (Gpus::Amd(n), _) => {
            add.flag("--device", "/dev/kfd");
            add.flag("--device", "/dev/dri");
            add.flag("--group-add", if kind == Kind::Podman { "keep-groups" } else { "video" });
            job.tell(format!("all AMD GPUs of the host are visible to the container, not only {n}"));
        }
    }
}

/// What is taken from the container's processes. The client itself is left what it needs.
fn security(kind: Kind, security: &Security, add: &mut Args<'_>) {
    if security.read_only_root {
        add.argv.push("--read-only".to_owned());
        // As with Kubernetes' own runtimes: no place is made that can be written to after all.
        if kind == Kind::Podman {
            add.argv.push("--read-only-tmpfs=false".to_owned());
        }
    }
    if security.no_new_privileges {
        add.flag("--security-opt", "no-new-privileges");
    }
    if security.drops_all() {
        add.flag("--cap-drop", "ALL");
    } else {
        security.drop_capabilities.iter().for_each(|capability| add.flag("--cap-drop", &capability.to_string()));
    }
}

/// The limits that only the runtime can hold. Docker's containers are the daemon's processes, so the shim does not reach
/// them; podman's are the shim's, which it watches itself.
fn limits(kind: Kind, job: &mut Job<'_>, add: &mut Args<'_>) {
    let limits = &job.spec.limits;
    if kind == Kind::Docker {
        if let Some(bytes) = limits.memory_bytes {
            add.flag("--memory", &bytes.to_string());
        }
        if let Some(millis) = limits.cpu_millis {
            add.flag("--cpus", &format!("{}.{:03}", millis / 1000, millis % 1000));
        }
        if let Some(n) = limits.processes {
            add.flag("--pids-limit", &n.to_string());
        }
    }
    let mut without = Vec::new();
    for (rlimit, n) in &limits.rlimits {
        match ulimit(*rlimit) {
            Some(name) => add.flag("--ulimit", &format!("{name}={n}:{n}")),
            None => without.push(*rlimit),
        }
    }
    if kind == Kind::Docker && limits.nice.is_some() {
        job.tell("docker has no flag for niceness: the container runs with the daemon's");
    }
    for rlimit in without {
        job.tell(format!("{} has no flag for {rlimit}: it is not set in the container", kind.name()));
    }
}

fn ulimit(rlimit: Rlimit) -> Option<&'static str> {
    match rlimit {
        Rlimit::AddressSpace => None,
        Rlimit::Core => Some("core"),
        Rlimit::CpuSeconds => Some("cpu"),
        Rlimit::Data => Some("data"),
        Rlimit::FileSize => Some("fsize"),
        Rlimit::LockedMemory => Some("memlock"),
        Rlimit::OpenFiles => Some("nofile"),
        Rlimit::UserProcesses => Some("nproc"),
        Rlimit::Stack => Some("stack"),
    }
}

/// An image by name; podman also knows other transports.
fn reference(image: &Image, job: &mut Job<'_>) -> String {
    let reference = &image.reference;
    let name = reference.strip_prefix("docker://").unwrap_or(reference);
    if name.starts_with(['/', '.']) || [".sif", ".sqfs", ".sqsh"].iter().any(|end| name.ends_with(end)) {
        job.refuse(format!(
            "{reference} is a file, and this site's runtime takes images by name: name one in a registry or in the \
             runtime's own storage"
        ));
    } else if name.contains("://") {
        job.refuse(format!("{reference} is of a kind that this site's runtime does not know: name one as docker://…"));
    }
    name.to_owned()
}
