//! `vk-node doctor`: what keeps a node from working here. Gathered here, judged in [`vk_node_core::doctor`].

mod host;
mod network;
mod patience;
mod running;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use vk_api_client::chain;
use vk_node_core::config::{NodeConfig, home_pipe};
use vk_node_core::doctor::{self, CgroupFacts, DirectoryFacts, Facts, FileFacts, Finding, Systemd};
use vk_node_core::ending::Batch;
use vk_pipe::server::look;
use vk_site::{Runtime, Site};
use vk_task::MountNamespaces;

use self::patience::Patience;
use super::config::site_file;
use super::{Code, Format, Output, print};
use crate::cli::{Loaded, Run, Sources, load};

/// So long after its start nobody is waited for any more, where nothing is said: all of it together takes less than two seconds.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The programs of batch systems that are asked.
const PROGRAMS: [&str; 2] = ["squeue", "qstat"];

/// What is asked for.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    run: Run,
    /// Tell what is well too.
    #[arg(short, long)]
    all: bool,
    /// So many seconds after its start, nobody is waited for any more [default: 1.5].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    #[command(flatten)]
    output: Output,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let time = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| !time.is_zero()).ok_or_else(|| format!("{text:?} is no number of seconds"))
}

impl Doctor {
    pub(crate) fn format(&self) -> Format {
        self.output.format()
    }

    pub(crate) async fn act(self, log: Option<&str>, sources: &Sources) -> anyhow::Result<Code> {
        let patience = Patience::from_start(self.timeout.unwrap_or(PATIENCE));
        let findings = Box::pin(look_around(&self.run, log, sources, patience)).await;
        let failed = doctor::is_failed(&findings);
        print(
            self.output.format(),
            &json!({"healthy": !failed, "checks": findings}),
            &doctor::text(&findings, self.all),
        )?;
        Ok(if failed { Code::No } else { Code::Fine })
    }
}

/// All that is found.
pub(super) async fn examine(run: &Run, log: Option<&str>, sources: &Sources) -> Vec<Finding> {
    Box::pin(look_around(run, log, sources, Patience::from_now(PATIENCE))).await
}

async fn look_around(run: &Run, log: Option<&str>, sources: &Sources, patience: Patience) -> Vec<Finding> {
    doctor::examine(&Box::pin(gather(run, log, sources, patience)).await)
}

async fn gather(run: &Run, log: Option<&str>, sources: &Sources, patience: Patience) -> Facts {
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    let loaded = load(run, log, sources);
    let config_file = run.file().one().map(|path| file(&path));
    let (hostpipe, named_site, config) = match loaded {
        Ok(loaded) => {
            let hostpipe = loaded.hostpipe().ok();
            let site = loaded.settings.site_file.clone();
            (hostpipe, site, Loaded::config(loaded).map_err(|error| error.0))
        }
        Err(error) => (None, None, Err(vec![chain(&*error)])),
    };
    // Where nobody says, and there is no home, it is nowhere.
    let hostpipe =
        hostpipe.or_else(|| home_pipe(home.clone())).unwrap_or_else(|| PathBuf::from("/nonexistent/hostpipe"));
    let site_file = site_file(&named_site, &hostpipe);
    let (site, site_problems) = read_site(site_file.as_deref());
    let ready = config.as_ref().ok();
    let (network, local) =
        tokio::join!(network::look(ready, patience), local(&hostpipe, home.as_deref(), ready, site.as_ref(), patience));
    let Local { running, home, pipe_directory, pipe_weaknesses, records, temporary, mount_namespaces, .. } = local;
    let running::Running { pipe, node, is_locked, lingering } = running;
    Facts {
        now: Timestamp::now(),
        config_file,
        site_file: site_file.as_deref().map(file),
        site_problems,
        runtime_found: local.runtime_found,
        runtime_wanted: local.runtime_wanted,
        secrets: local.secrets,
        uid: rustix::process::geteuid().as_raw(),
        home,
        pipe_weaknesses,
        pipe_directory,
        records,
        temporary,
        kernel: host::kernel(),
        open_files: host::open_files(),
        processes: local.processes,
        memory_available: host::memory_available(),
        sees_itself: vk_record::process::Stat::of(std::process::id().cast_signed()).is_some(),
        mount_namespaces,
        cgroup: local.cgroup,
        batch: Batch::of(|name| std::env::var(name).ok()),
        programs: local.programs,
        systemd: local.systemd,
        proxy: host::proxy(),
        addresses: network.addresses,
        port: network::port(ready, node.as_ref()),
        login: network.login,
        server: network.server,
        relay_authority: network.relay_authority,
        relay_reached: network.relay_reached,
        ssh: network.ssh,
        pipe,
        node,
        is_locked,
        lingering,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config,
    }
}

/// What is found out here, while the API server is waited for: nothing of it is left for afterwards but what takes no time.
struct Local {
    running: running::Running,
    home: Option<DirectoryFacts>,
    pipe_directory: DirectoryFacts,
    pipe_weaknesses: Vec<String>,
    records: DirectoryFacts,
    temporary: DirectoryFacts,
    mount_namespaces: MountNamespaces,
    runtime_wanted: Option<String>,
    runtime_found: Option<String>,
    secrets: Vec<FileFacts>,
    processes: (u64, Option<u64>),
    cgroup: CgroupFacts,
    programs: BTreeMap<&'static str, bool>,
    systemd: Systemd,
}

async fn local(
    hostpipe: &Path,
    home: Option<&Path>,
    config: Option<&NodeConfig>,
    site: Option<&Site>,
    patience: Patience,
) -> Local {
    // By now the requests to the API server are on their way.
    let running = running::look(hostpipe, patience).await;
    let pipe = running.pipe.as_ref();
    let records = pipe.map(|pipe| pipe.records.directory.clone());
    let records =
        records.unwrap_or_else(|| look::records(config.and_then(|config| config.pipe.records.clone()), hostpipe));
    let temporary = std::env::temp_dir();
    let ask_home = async { Some(host::directory(home?, patience).await) };
    let try_namespaces = async {
        match pipe {
            // It has tried, with the same program and the same kernel.
            Some(pipe) => pipe.mount_namespaces.clone(),
            None => host::mount_namespaces(hostpipe, patience).await,
        }
    };
    let (home, pipe_directory, pipe_weaknesses, records, temporary, mount_namespaces) = tokio::join!(
        ask_home,
        host::directory(hostpipe, patience),
        host::weaknesses(hostpipe, patience),
        host::directory(&records, patience),
        host::directory(&temporary, patience),
        try_namespaces,
    );
    let runtime_wanted = match site.map(|site| &site.runtime) {
        Some(Runtime::Named(named)) => Some(named.program.clone()),
        Some(Runtime::Auto { .. } | Runtime::None | Runtime::Custom(_)) | None => None,
    };
    Local {
        home,
        pipe_directory,
        pipe_weaknesses,
        records,
        temporary,
        mount_namespaces,
        runtime_found: match &runtime_wanted {
            Some(program) => host::program(program).map(|path| path.display().to_string()),
            None => look::runtime(),
        },
        runtime_wanted,
        secrets: config.map(secrets).unwrap_or_default(),
        processes: host::processes(),
        cgroup: host::cgroup(config, pipe),
        programs: PROGRAMS.into_iter().map(|name| (name, host::program(name).is_some())).collect(),
        systemd: host::systemd(),
        running,
    }
}

/// Whose a file is.
fn file(path: &Path) -> FileFacts {
    use std::os::unix::fs::MetadataExt;
    let owner = path.metadata().ok().map(|metadata| (metadata.uid(), metadata.mode() & 0o7777));
    FileFacts { path: path.to_owned(), owner }
}

fn read_site(path: Option<&Path>) -> (Option<Site>, Vec<String>) {
    let Some(path) = path else { return (None, Vec::new()) };
    match std::fs::read_to_string(path).context("cannot read it") {
        Err(error) => (None, vec![chain(&*error)]),
        Ok(text) => match Site::parse(&text) {
            Ok(site) => (Some(site), Vec::new()),
            Err(problems) => (None, problems.0.iter().map(ToString::to_string).collect()),
        },
    }
}

/// The files with credentials, as far as they are there.
fn secrets(config: &NodeConfig) -> Vec<FileFacts> {
    let kubeconfigs = config.members.iter().take(16).filter_map(|member| member.kubeconfig.clone());
    let own = config.members.iter().take(16).flat_map(|member| {
        let directory = config.certificates.directory_of(&member.name);
        ["kubeconfig", "kubelet-client-current.pem", "kubelet-server-current.pem"].map(|name| directory.join(name))
    });
    let all = kubeconfigs.chain(config.certificates.bootstrap_kubeconfig.clone()).chain(own);
    all.map(|path| file(&path)).filter(|file| file.owner.is_some()).collect()
}
