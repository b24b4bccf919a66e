//! `vk-node support-bundle`: what others need to see what is wrong here. Secrets are left out.
//!
//! Nothing is in it because it was lying around: each file is made here, or named here, and all of them go through the scrubber.
//! What jobs write, their scripts and their variables are not part of it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tokio::process::Command;
use vk_api_client::chain;
use vk_node_core::config;
use vk_node_core::scrub::{Scrubber, is_secret_name};
use vk_node_core::service::UNIT;
use vk_pipe::PipeClient;
use vk_words::counted;

use super::ask::NodeClient;
use super::config::site_file;
use super::doctor;
use super::jobs::Found;
use super::{Code, Format, Output, Place, print};
use crate::cli::{Run, Sources, load};

/// No more of a log, from its end.
const TAIL_BYTES: u64 = 1 << 20;
/// No longer for another program to answer.
const PROGRAM: Duration = Duration::from_secs(5);
/// So much of the service's log.
const JOURNAL_LINES: &str = "5000";

/// What goes into it.
#[derive(Debug, Args)]
pub(crate) struct Bundle {
    #[command(flatten)]
    place: Place,
    /// The file to write [default: vk-node-support-TIME.tar.gz in this directory].
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The node's log, where it is in a file. That of the service is taken by itself.
    #[arg(long = "log-file", value_name = "FILE")]
    log_files: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
}

impl Bundle {
    pub(crate) fn format(&self) -> Format {
        self.output.format()
    }

    pub(crate) async fn act(self) -> anyhow::Result<Code> {
        let now = Timestamp::now();
        let name = format!("vk-node-support-{}", now.strftime("%Y%m%d-%H%M%S"));
        let place = self.file.clone().unwrap_or_else(|| format!("{name}.tar.gz").into());
        let mut parts = Parts::default();
        Box::pin(self.gather(&mut parts)).await;
        let scrubber = Scrubber::new(parts.secrets.iter().cloned()).context("the scrubber cannot be made")?;
        let files: BTreeMap<String, String> =
            parts.files.iter().map(|(name, text)| (name.clone(), scrubber.scrub(text))).collect();
        write(&place, &name, &files, now).with_context(|| format!("cannot write {}", place.display()))?;
        let names: Vec<&String> = files.keys().collect();
        let text = format!(
            "wrote {}: {}. Secrets are left out, as far as they can be known: look at it before you hand it on\n",
            place.display(),
            counted(names.len(), "file", "files")
        );
        print(self.output.format(), &json!({"file": place, "contents": names}), &text)?;
        Ok(Code::Fine)
    }

    async fn gather(&self, parts: &mut Parts) {
        parts.variables();
        let sources = Sources::default();
        let run = Run::of(self.place.config.clone(), self.place.hostpipe.clone());
        let loaded = load(&run, None, &sources);
        let hostpipe = match &loaded {
            Ok(loaded) => {
                parts.add("config/effective.yaml", config::yaml(&loaded.shown));
                loaded.hostpipe()
            }
            Err(error) => {
                parts.add("config/problems.txt", format!("{}\n", chain(&**error)));
                self.place.hostpipe()
            }
        };
        if let Some(file) = run.file().one() {
            parts.file("config/node.yaml", &file);
        }
        let findings = Box::pin(doctor::examine(&run, None, &sources)).await;
        parts.json("doctor.json", &findings);
        let settings = loaded.ok().map(|loaded| loaded.settings);
        if let Some(settings) = &settings {
            parts.credentials(settings.member.kubeconfig.as_deref());
            parts.credentials(settings.certificates.bootstrap_kubeconfig.as_deref());
            // What jobs are given as variables is theirs.
            let variables = settings.images.iter().flatten().flat_map(|rule| rule.env.values().cloned());
            parts.secrets.extend(variables);
        }
        let Ok(hostpipe) = hostpipe else { return };
        parts.secrets_beneath(&hostpipe.join("pki"));
        parts.secrets_beneath(&hostpipe.join("join"));
        if let Some(file) = site_file(&settings.and_then(|settings| settings.site_file), &hostpipe) {
            let site = std::fs::read_to_string(&file).ok().and_then(|text| vk_site::Site::parse(&text).ok());
            parts.secrets.extend(site.iter().flat_map(|site| site.runtime.env().values().cloned()));
            parts.file("config/site.yaml", &file);
        }
        let (client, pipe) = (NodeClient::new(&hostpipe), PipeClient::new(&hostpipe));
        let (status, shown, info, usage, found) =
            tokio::join!(client.status(), client.config(), pipe.info(), pipe.host_usage(), Found::look(&hostpipe));
        parts.answer("node/status.json", status);
        parts.answer("node/config.json", shown);
        parts.answer("pipe/info.json", info.map_err(anyhow::Error::from));
        parts.answer("pipe/usage.json", usage.map_err(anyhow::Error::from));
        // What they run may say anything, and is told without it.
        let jobs = found.map(|found| {
            found.jobs.into_iter().map(|job| vk_node_core::jobs::Job { command: None, ..job }).collect::<Vec<_>>()
        });
        parts.answer("pipe/jobs.json", jobs);
        parts.tail("pipe/pipeline.err", &hostpipe.join(vk_record::names::PIPELINE_ERR));
        for (number, file) in self.log_files.iter().enumerate() {
            parts.tail(&format!("logs/{number}.log"), file);
        }
        parts
            .program(
                "logs/journal.log",
                "journalctl",
                &["--user", "--unit", UNIT, "--lines", JOURNAL_LINES, "--no-pager"],
            )
            .await;
        parts.program("host/uname.txt", "uname", &["-a"]).await;
        parts.program("host/df.txt", "df", &["-hT"]).await;
        parts.file("host/os-release", Path::new("/etc/os-release"));
        parts.file("host/limits.txt", Path::new("/proc/self/limits"));
        parts.file("host/cgroup.txt", Path::new("/proc/self/cgroup"));
        parts.file("host/mounts.txt", Path::new("/proc/self/mounts"));
    }
}

/// What goes into the bundle, not scrubbed yet, and what must not.
#[derive(Default)]
struct Parts {
    files: BTreeMap<String, String>,
    secrets: Vec<String>,
}

impl Parts {
    fn add(&mut self, name: &str, text: String) {
        self.files.insert(name.to_owned(), text);
    }

    fn json(&mut self, name: &str, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.add(name, text + "\n"),
            Err(error) => self.add(name, format!("{error}\n")),
        }
    }

    /// What somebody answered, or why they did not.
    fn answer(&mut self, name: &str, answer: anyhow::Result<impl Serialize>) {
        match answer {
            Ok(value) => self.json(name, &value),
            Err(error) => self.add(name, format!("{}\n", chain(&*error))),
        }
    }

    /// A file that is text and short.
    fn file(&mut self, name: &str, path: &Path) {
        self.tail(name, path);
    }

    /// The end of a file.
    fn tail(&mut self, name: &str, path: &Path) {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = std::fs::File::open(path)?;
            let length = file.metadata()?.len();
            if length > TAIL_BYTES {
                file.seek(SeekFrom::End(-TAIL_BYTES.cast_signed()))?;
            }
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => self.add(name, String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => self.add(name, format!("cannot read {}: {error}\n", path.display())),
        }
    }

    /// What another program says. One that is not here says nothing.
    async fn program(&mut self, name: &str, program: &str, arguments: &[&str]) {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        if let Ok(Ok(output)) = tokio::time::timeout(PROGRAM, command.output()).await {
            self.add(name, String::from_utf8_lossy(&output.stdout).into_owned());
        }
    }

    /// The names of the variables of this process, with the values of those that vk-node and batch systems have; and what secrets
    /// are among all of them.
    fn variables(&mut self) {
        const OURS: [&str; 12] = [
            "VK_NODE_",
            "VKUBELET_",
            "KUBE",
            "JOBNAME",
            "NODENAME",
            "JIRIAF_",
            "SLURM_",
            "PBS_",
            "HOME",
            "PATH",
            "TMPDIR",
            "XDG_",
        ];
        let mut text = String::new();
        for (name, value) in std::env::vars_os() {
            let (name, value) = (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned());
            let is_secret = is_secret_name(&name) || name == crate::join::VARIABLE;
            let is_ours = OURS.iter().any(|prefix| name.starts_with(prefix));
            match is_ours && !is_secret {
                true => text.push_str(&format!("{name}={value}\n")),
                false => text.push_str(&format!("{name}\n")),
            }
            if is_secret {
                self.secrets.push(value);
            }
        }
        self.add("host/environment.txt", text);
    }

    /// The secrets of a kubeconfig, of which nothing goes into the bundle.
    fn credentials(&mut self, kubeconfig: Option<&Path>) {
        let Some(text) = kubeconfig.and_then(|file| std::fs::read_to_string(file).ok()) else { return };
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let key = key.trim().trim_matches(['"', '-', ' ']);
            if matches!(key, "token" | "password" | "client-key-data" | "username" | "id-token" | "refresh-token") {
                self.secrets.push(value.trim().trim_end_matches(',').trim_matches(['"', '\'']).to_owned());
            }
        }
    }

    /// The secrets of all files beneath a directory of credentials.
    fn secrets_beneath(&mut self, directory: &Path) {
        let Ok(entries) = std::fs::read_dir(directory) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.secrets_beneath(&path),
                Ok(kind) if kind.is_file() => {
                    self.credentials(Some(&path));
                    let text = std::fs::read_to_string(&path).unwrap_or_default();
                    // Lines of keys in PEM: no other text has such.
                    self.secrets
                        .extend(text.lines().filter(|line| line.len() >= 40 && !line.contains(' ')).map(str::to_owned));
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// Writes it, for its user alone.
fn write(place: &Path, name: &str, files: &BTreeMap<String, String>, now: Timestamp) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place)?;
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now.as_second()).unwrap_or_default());
        header.set_entry_type(tar::EntryType::Regular);
        archive.append_data(&mut header, format!("{name}/{path}"), text.as_bytes())?;
    }
    let mut file = archive.into_inner()?.finish()?;
    file.flush()?;
    Ok(file.sync_all()?)
}
