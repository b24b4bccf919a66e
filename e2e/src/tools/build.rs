//! Building Go programs once, into a cache outside the checkout.

use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::progress::Progress;

/// More than any machine that is of use needs; a build that hangs ends then.
const LIMIT: Duration = Duration::from_secs(90 * 60);
const OLDEST_GO: (u32, u32) = (1, 26);

/// A directory in `e2e/go` with a go.mod of its own: programs whose dependencies agree with each other.
#[derive(Debug, Clone, Copy)]
pub(super) enum GoModule {
    Kubernetes,
    Helm,
    Helm4,
    /// What judges charts.
    Charts,
    KubeScore,
    Promtool,
    Kwok,
    MetricsServer,
}

impl GoModule {
    fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Helm => "helm",
            Self::Helm4 => "helm4",
            Self::Charts => "charts",
            Self::KubeScore => "kube-score",
            Self::Promtool => "promtool",
            Self::Kwok => "kwok",
            Self::MetricsServer => "metrics-server",
        }
    }

    fn directory(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("go").join(self.name())
    }

    /// The module whose version the programs are to report as theirs.
    fn versioned_by(self) -> &'static str {
        match self {
            Self::Kubernetes => "k8s.io/kubernetes",
            Self::Helm => "helm.sh/helm/v3",
            Self::Helm4 => "helm.sh/helm/v4",
            Self::Charts => "github.com/norwoodj/helm-docs",
            Self::KubeScore => "github.com/zegl/kube-score",
            Self::Promtool => "github.com/prometheus/prometheus",
            Self::Kwok => "sigs.k8s.io/kwok",
            Self::MetricsServer => "sigs.k8s.io/metrics-server",
        }
    }

    /// Linker flags that put the version in: built without them Kubernetes calls itself v0.0.0-master, which clients take at its word.
    fn linker_flags(self, version: &str, go_mod: &str) -> Vec<String> {
        let mut flags = vec!["-s".to_owned(), "-w".to_owned()];
        let mut set = |variable: &str, value: &str| flags.push(format!("-X {variable}={value}"));
        match self {
            Self::Kubernetes => {
                let mut numbers = version.trim_start_matches('v').split('.');
                let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
                for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
                    set(&format!("{package}.gitVersion"), version);
                    set(&format!("{package}.gitMajor"), major);
                    set(&format!("{package}.gitMinor"), minor);
                }
            }
            Self::Helm => {
                set("helm.sh/helm/v3/internal/version.version", version);
                // The Kubernetes that `helm template` and `helm lint` assume; 1.20 if nobody says. client-go v0.N belongs to 1.N.
                let client = required_version(go_mod, "k8s.io/client-go").unwrap_or_default();
                let minor = client.split('.').nth(1).unwrap_or_default();
                for package in ["helm.sh/helm/v3/pkg/lint/rules", "helm.sh/helm/v3/pkg/chartutil"] {
                    set(&format!("{package}.k8sVersionMajor"), "1");
                    set(&format!("{package}.k8sVersionMinor"), minor);
                }
            }
            // It finds out by itself what Kubernetes its client is of.
            Self::Helm4 => set("helm.sh/helm/v4/internal/version.version", version),
            Self::Charts => set("main.version", version),
            Self::Kwok => {}                                             // has it in its source
            Self::KubeScore | Self::Promtool | Self::MetricsServer => {} // nobody asks it
        }
        flags
    }

    /// Go names a program after the last part of its package's path; where that is not what the world calls it: (Go's name, the name).
    fn renames(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Kubernetes => &[("server", "etcd")],
            Self::Helm4 => &[("helm", "helm4")],
            Self::Helm | Self::Charts | Self::KubeScore | Self::Promtool | Self::Kwok | Self::MetricsServer => &[],
        }
    }

    /// Tags for the compiler.
    fn tags(self) -> &'static str {
        match self {
            // All clouds in which Prometheus finds servers would take more time than all else of it.
            Self::Promtool => "remove_all_sd",
            Self::Kubernetes
            | Self::Helm
            | Self::Helm4
            | Self::Charts
            | Self::KubeScore
            | Self::Kwok
            | Self::MetricsServer => "",
        }
    }
}

/// The directory with the module's programs, built if they are not there yet.
pub(super) fn built(module: GoModule) -> Result<PathBuf> {
    let source = module.directory();
    let go_mod = read(&source.join("go.mod"))?;
    let go_sum = read(&source.join("go.sum"))?;
    let version = required_version(&go_mod, module.versioned_by())
        .with_context(|| format!("{}/go.mod does not require {}", source.display(), module.versioned_by()))?;
    let linker_flags = module.linker_flags(version, &go_mod).join(" ");
    let tags = module.tags();
    // Tags came later: what has none is found where it was.
    let mut parts = vec![&*go_mod, &*go_sum, &*linker_flags];
    parts.extend((!tags.is_empty()).then_some(tags));

    let cache = cache_directory()?.join("tools");
    let target = cache.join(format!("{}-{version}-{}", module.name(), key(&parts)));
    if target.is_dir() {
        return Ok(target);
    }

    std::fs::create_dir_all(&cache).with_context(|| format!("cannot create the cache {}", cache.display()))?;
    let progress = Progress::new(format!("{} {version}", module.name()));
    let _lock = lock(&cache.join(format!("{}.lock", module.name())), &progress)?;
    if target.is_dir() {
        return Ok(target); // another process has built it while we waited
    }
    check_go(&source)?;
    let stage = tempfile::Builder::new()
        .prefix(&format!(".{}-", module.name()))
        .tempdir_in(&cache)
        .with_context(|| format!("cannot write to the cache {}", cache.display()))?;
    go_build(&source, stage.path(), &linker_flags, tags, &progress)
        .with_context(|| format!("cannot build {} {version} from {}", module.name(), source.display()))?;
    for (from, to) in module.renames() {
        std::fs::rename(stage.path().join(from), stage.path().join(to))
            .with_context(|| format!("go build made no {from} from {}", source.display()))?;
    }
    // Under its final name it is complete, so whoever sees it there may use it.
    std::fs::rename(stage.path(), &target).with_context(|| format!("cannot put {} in place", target.display()))?;
    progress.done();
    Ok(target)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// `$VK_CMD_CACHE`, or the directory where the XDG convention wants it.
fn cache_directory() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("VK_CMD_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("vk-cmd")))
        .or_else(|| Some(variable("HOME")?.join(".cache/vk-cmd")))
        .context(
            "no place for built programs: set VK_CMD_CACHE to a directory (neither XDG_CACHE_HOME nor HOME is set)",
        )
}

fn key(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn required_version<'text>(go_mod: &'text str, module: &str) -> Option<&'text str> {
    let words = |line: &'text str| line.trim().trim_start_matches("require ").split_once(' ');
    go_mod
        .lines()
        .filter_map(words)
        .find(|(name, _)| *name == module)
        .and_then(|(_, rest)| rest.split_whitespace().next())
}

/// Waits for the other process that is building, if there is one. The lock goes with the file handle.
fn lock(path: &Path, progress: &Progress) -> Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.with_context(|| format!("cannot open the lock file {}", path.display()))?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if started.elapsed() > LIMIT => {
                bail!("another process has held {} for {LIMIT:.0?}; see with `fuser` which, and end it", path.display())
            }
            Err(TryLockError::WouldBlock) => progress.say("another process is building it"),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| {
                    format!("cannot lock {}; set VK_CMD_CACHE to a directory on a local disk", path.display())
                });
            }
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

fn check_go(source: &Path) -> Result<()> {
    let (major, minor) = OLDEST_GO;
    let advice = format!(
        "Kubernetes is built from source here and needs Go {major}.{minor} or newer (https://go.dev/dl/); or point KUBEBUILDER_ASSETS \
         to a directory with kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and etcd"
    );
    // Asked in the module's directory an older Go fetches the toolchain that go.mod wants, where it is allowed to, and says that version.
    let output = Command::new("go").args(["env", "GOVERSION"]).current_dir(source).output();
    let output = output.with_context(|| format!("cannot run `go`. {advice}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("`go env GOVERSION` failed: {}. {advice}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    match go_version(&stdout) {
        Some(found) if found >= OLDEST_GO => Ok(()),
        _ => bail!("`go` on PATH is {}. {advice}", stdout.trim()),
    }
}

fn go_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix("go")?.split(['.', ' ', '-', 'r', 'b']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn go_build(source: &Path, output: &Path, linker_flags: &str, tags: &str, progress: &Progress) -> Result<()> {
    let mut command = Command::new("go");
    // `tool` stands for all tool lines of go.mod. `-v` names each package as it is compiled, which is our measure of progress.
    command.args(["build", "-mod=readonly", "-trimpath", "-v", "-ldflags", linker_flags, "-tags", tags, "-o"]);
    command.arg(output).arg("tool");
    command.current_dir(source).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // Static programs, the same on every machine; no C compiler needed; and no go.work of some directory above us.
    command.env("CGO_ENABLED", "0").env("GOWORK", "off");
    let mut child = crate::process::spawn(command).context("cannot start `go build`")?;
    let stderr = child.stderr.take().context("`go build` has no standard error")?;
    let (lines, inbox) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });

    let started = Instant::now();
    let mut messages = Vec::new();
    let mut packages = 0_usize;
    loop {
        match inbox.recv_timeout(Duration::from_millis(250)) {
            Ok(line) if line.contains(' ') => messages.push(line),
            Ok(package) => {
                packages += 1;
                progress.say(&format!("{packages} packages compiled, now {package}"));
            }
            Err(RecvTimeoutError::Timeout) if started.elapsed() > LIMIT => {
                child.kill().context("cannot end `go build`")?;
                bail!("`go build` was not done after {LIMIT:.0?}");
            }
            Err(RecvTimeoutError::Timeout) => progress.say_again(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().context("cannot wait for `go build`")?;
    if !status.success() {
        let last = messages.get(messages.len().saturating_sub(20)..).unwrap_or_default();
        bail!("`go build` ended with {status}; it said:\n{}", last.join("\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_version_reads_single_lines_and_blocks() {
        let text = "module x\nrequire helm.sh/helm/v3 v3.22.0\nrequire (\n\ta.b/c v1.0.0 // indirect\n\tk8s.io/kubernetes v1.36.3\n)\n";
        assert_eq!(required_version(text, "helm.sh/helm/v3"), Some("v3.22.0"));
        assert_eq!(required_version(text, "k8s.io/kubernetes"), Some("v1.36.3"));
        assert_eq!(required_version(text, "a.b/c"), Some("v1.0.0"));
        assert_eq!(required_version(text, "a.b"), None);
    }

    #[test]
    fn go_version_reads_releases_and_candidates() {
        assert_eq!(go_version("go1.26.8\n"), Some((1, 26)));
        assert_eq!(go_version("go1.27rc1"), Some((1, 27)));
        assert_eq!(go_version("devel +abc"), None);
    }
}
