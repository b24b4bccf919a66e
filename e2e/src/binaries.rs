//! The project's own programs, built by cargo as the tests, the demo or the benchmarks were: same profile, same target directory.
//! In a release build, which the benchmarks are, vk-node is the static program that sites get.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::exec;
use crate::scratch::Scratch;

/// A directory with `vk-operator` and `vk-node` to use instead of building any, to compare builds for one.
pub const GIVEN_VARIABLE: &str = "VK_CMD_PROGRAMS";

const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `vk-operator`
    pub operator: PathBuf,
    /// `vk-node`
    pub node: PathBuf,
    /// Where a copy is that stays as it is whatever else cargo puts into its place; removed with this process.
    _copy: Option<Arc<Scratch>>,
}

/// Builds the programs, once in this process, and says where they are. Nothing to build takes cargo well under a second.
pub async fn built() -> Result<&'static Binaries> {
    static BUILT: OnceCell<Binaries> = OnceCell::const_new();
    BUILT.get_or_try_init(build).await
}

/// vk-node as a static program, for an image: once in this process.
pub async fn static_node() -> Result<&'static PathBuf> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    BUILT.get_or_try_init(|| static_program("vk-node", |programs| &programs.node)).await
}

/// vk-operator as a static program, for an image: once in this process.
pub async fn static_operator() -> Result<&'static PathBuf> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    BUILT.get_or_try_init(|| static_program("vk-operator", |programs| &programs.operator)).await
}

/// In a build for tests it is linked anew from what is compiled already; in a release build vk-node is static anyway.
async fn static_program(name: &str, usual: impl Fn(&Binaries) -> &PathBuf) -> Result<PathBuf> {
    // That one is where it is to be before this one takes its place.
    let programs = built().await?;
    let place = target_and_profile(&std::env::current_exe().context("cannot find out where this program is")?);
    let is_release = place.as_ref().is_none_or(|(_, profile)| profile == "release");
    if std::env::var_os(GIVEN_VARIABLE).is_some() || (is_release && name == "vk-node") {
        return Ok(usual(programs).clone());
    }
    let mut cargo = cargo();
    cargo.args(["rustc", "--message-format=json-render-diagnostics", "--package", name, "--bin", name]);
    if let Some((target, profile)) = &place {
        cargo.arg("--profile").arg(profile).arg("--target-dir").arg(target);
    }
    cargo.args(["--", "-C", "target-feature=+crt-static", "-C", "relocation-model=static"]);
    find(&succeed(cargo, &format!("the static {name}")).await?, name)
}

/// kubectl-cmdjob, once in this process: no other test needs it.
pub async fn plugin() -> Result<&'static PathBuf> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let build = async || {
        if let Some(given) = std::env::var_os(GIVEN_VARIABLE).map(|given| PathBuf::from(given).join("kubectl-cmdjob"))
            && given.is_file()
        {
            return Ok(given);
        }
        let place = target_and_profile(&std::env::current_exe().context("cannot find out where this program is")?);
        find(&compile(&["vk-cli"], &[], place.as_ref()).await?, "kubectl-cmdjob")
    };
    BUILT.get_or_try_init(build).await
}

/// vk-release, which is `cargo make-release`, once in this process.
pub async fn release() -> Result<&'static PathBuf> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let build = async || {
        let place = target_and_profile(&std::env::current_exe().context("cannot find out where this program is")?);
        find(&compile(&["vk-release"], &[], place.as_ref()).await?, "vk-release")
    };
    BUILT.get_or_try_init(build).await
}

/// vk-node with a wall clock that can be set, once in this process: see `e2e/clock`. Whoever sets it makes a copy first.
pub async fn node_with_clock() -> Result<&'static PathBuf> {
    static BUILT: OnceCell<(PathBuf, Scratch)> = OnceCell::const_new();
    let build = async || {
        // That one is where it is to be before this one takes its place.
        built().await?;
        let place = target_and_profile(&std::env::current_exe().context("cannot find out where this program is")?);
        let messages = compile(&["vk-node"], &["--features", "test-clock"], place.as_ref()).await?;
        let copy = Scratch::new("vk-bin-")?;
        let node = copy.path().join("vk-node");
        crate::binaries::copy(&find(&messages, "vk-node")?, &node)?;
        anyhow::Ok((node, copy))
    };
    Ok(&BUILT.get_or_try_init(build).await?.0)
}

/// Copies a program that is to be run. By a process of its own: a child that another thread starts meanwhile would hold a
/// file open for writing that is ours, and what somebody can write to is not run.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg(from).arg(to).status().context("cannot run cp")?;
    if !copied.success() {
        bail!("cannot copy {} to {}", from.display(), to.display());
    }
    Ok(())
}

async fn build() -> Result<Binaries> {
    if let Some(given) = std::env::var_os(GIVEN_VARIABLE).map(PathBuf::from) {
        let given = Binaries { operator: given.join("vk-operator"), node: given.join("vk-node"), _copy: None };
        if let Some(missing) = [&given.operator, &given.node].into_iter().find(|program| !program.is_file()) {
            bail!("there is no {}: unset {GIVEN_VARIABLE} to have the programs built", missing.display());
        }
        return Ok(given);
    }
    let ours = std::env::current_exe().context("cannot find out where this program is")?;
    let place = target_and_profile(&ours);
    if let Some((target, profile)) = &place
        && profile == "release"
    {
        let messages = compile(&["vk-operator"], &[], place.as_ref()).await?;
        let node = compile_static_node(target).await?;
        return Ok(Binaries { operator: find(&messages, "vk-operator")?, node, _copy: None });
    }
    let messages = compile(&["vk-operator", "vk-node"], &[], place.as_ref()).await?;
    // `static_program` has cargo put other programs into the same places.
    let directory = Scratch::new("vk-bin-")?;
    let copied = |name: &str| {
        let program = directory.path().join(name);
        copy(&find(&messages, name)?, &program)?;
        anyhow::Ok(program)
    };
    Ok(Binaries { operator: copied("vk-operator")?, node: copied("vk-node")?, _copy: Some(directory.into()) })
}

/// `cargo build` of these packages; what cargo tells of its artifacts.
async fn compile(packages: &[&str], flags: &[&str], place: Option<&(PathBuf, OsString)>) -> Result<Vec<u8>> {
    let mut cargo = cargo();
    cargo.args(["build", "--message-format=json-render-diagnostics"]);
    cargo.args(packages.iter().flat_map(|package| ["-p", package]));
    cargo.args(flags);
    if let Some((target, profile)) = place {
        cargo.arg("--profile").arg(profile).arg("--target-dir").arg(target);
    }
    succeed(cargo, &packages.join(" and ")).await
}

/// `cargo static`, the one place with the compiler's flags for it. It puts the program where cargo puts those of a release.
async fn compile_static_node(target: &Path) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.arg("static").env("CARGO_TARGET_DIR", target);
    succeed(cargo, "the static vk-node").await?;
    let program = target.join("release/vk-node");
    if !program.is_file() {
        bail!("`cargo static` has made no {}: does the alias still build vk-node for release?", program.display());
    }
    Ok(program)
}

async fn succeed(cargo: Command, what: &str) -> Result<Vec<u8>> {
    let output = exec::output(cargo, LIMIT).await.with_context(|| format!("cannot build {what}"))?;
    if !output.status.success() {
        bail!("cannot build {what}; cargo says:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    for (name, _) in std::env::vars_os().filter(|(name, _)| about_our_own_package(name)) {
        cargo.env_remove(name);
    }
    cargo
}

fn find(messages: &[u8], name: &str) -> Result<PathBuf> {
    executable(messages, name).with_context(|| format!("cargo has built no program `{name}`: is it still a [[bin]]?"))
}

/// From `<target>/<profile>/demo` or `<target>/<profile>/deps/e2e-…` of a program built by cargo.
pub(crate) fn target_and_profile(program: &Path) -> Option<(PathBuf, OsString)> {
    let directory = program.parent()?;
    let directory = if directory.ends_with("deps") { directory.parent()? } else { directory };
    // The only profile whose directory is not called like itself.
    let name = directory.file_name()?;
    let profile = if name == "debug" { OsStr::new("dev") } else { name };
    Some((directory.parent()?.to_owned(), profile.to_owned()))
}

/// What cargo tells a program it runs about that program's package. Build scripts (ring's for one) watch these, and would build
/// everything anew each time cargo is run from here and from a shell in turn.
fn about_our_own_package(variable: &OsStr) -> bool {
    let name = variable.to_string_lossy();
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

fn executable(messages: &[u8], name: &str) -> Option<PathBuf> {
    // Other kinds of messages do not parse as an artifact.
    let artifacts =
        messages.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Artifact>(line).ok());
    artifacts.filter(|artifact| artifact.target.name == name).find_map(|artifact| artifact.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_is_read_from_the_path() {
        let of = |path: &str| target_and_profile(Path::new(path));
        assert_eq!(of("/t/debug/demo"), Some(("/t".into(), "dev".into())));
        assert_eq!(of("/t/debug/deps/e2e-123"), Some(("/t".into(), "dev".into())));
        assert_eq!(of("/t/release/deps/bench-123"), Some(("/t".into(), "release".into())));
    }

    #[test]
    fn executable_is_found_among_messages() {
        let messages = br#"{"reason":"compiler-artifact","target":{"name":"vk_pipe"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"vk-node"},"executable":"/t/debug/vk-node"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "vk-node"), Some("/t/debug/vk-node".into()));
        assert_eq!(executable(messages, "vk-operator"), None);
    }
}
