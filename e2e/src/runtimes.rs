//! Real container runtimes for the tests of sites: podman with a storage of its own, Charliecloud, and beside them
//! stand-ins for the clients that cannot be had, which write down how they were called. Debian has what is needed; as
//! root it is installed.

mod install;
pub(crate) mod rootfs;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::OnceCell;

use crate::scratch::Scratch;
use crate::{binaries, exec, packages};

/// Set this to have tests fail, rather than be skipped with a loud word, where a runtime is missing.
pub const REQUIRE_VARIABLE: &str = "VK_CMD_REQUIRE_RUNTIMES";

/// The image of the tests, as a pod names it. Each site's runtime has it under its own kind of name.
pub const IMAGE: &str = "docker://localhost/vk-cmd/tools:1";
/// What the file `/etc/vk-image` in it says.
pub const IMAGE_MARK: &str = "tools";
/// The image of the node.
const NODE_IMAGE: &str = "localhost/vk-cmd/vk-node:e2e";

/// Building an image copies a few files: generous, because all tests run at the same time.
const LIMIT: Duration = Duration::from_secs(120);

/// The stand-ins, by the names that they have on PATH.
const STAND_INS: [(&str, &str); 3] = [
    ("docker", include_str!("runtimes/docker.sh")),
    ("apptainer", include_str!("runtimes/apptainer.sh")),
    ("shifter", include_str!("runtimes/shifter.sh")),
];

/// The runtimes with the images that the tests use.
#[derive(Debug)]
pub struct Runtimes {
    scratch: Scratch,
}

/// The runtimes, once in this process; `None`, after a loud word about what is missing, where they cannot be had.
///
/// # Panics
/// Where they cannot be had and [`REQUIRE_VARIABLE`] is set.
pub async fn shared() -> Option<&'static Runtimes> {
    static SHARED: OnceCell<Result<Runtimes, String>> = OnceCell::const_new();
    let made = SHARED.get_or_init(async || Runtimes::new().await.map_err(|error| format!("{error:#}"))).await;
    or_skipped("container runtimes", made.as_ref())
}

/// A busybox that needs no libraries, installed where it is missing.
pub(crate) async fn static_busybox() -> Result<PathBuf> {
    install::busybox().await
}

/// What a test needs; `None`, after a loud word about what is missing, where it cannot be had.
///
/// # Panics
/// Where it cannot be had and [`REQUIRE_VARIABLE`] is set.
#[allow(clippy::panic, reason = "a test that must not be skipped fails")]
pub(crate) fn or_skipped<T, E: Display>(what: &str, made: Result<T, E>) -> Option<T> {
    match made {
        Ok(made) => Some(made),
        Err(error) if std::env::var_os(REQUIRE_VARIABLE).is_some() => panic!("{error:#}"),
        Err(error) => {
            packages::announce(&format!("SKIPPED: a test with {what}. {error:#}"));
            None
        }
    }
}

impl Runtimes {
    async fn new() -> Result<Self> {
        let busybox = install::all().await?;
        let this = Self { scratch: Scratch::new("vk-rt-")? };
        this.write_clients()?;
        rootfs::tools(&this.root_of_tools(), &busybox)?;
        this.build_tools().await?;
        this.build_node().await?;
        Ok(this)
    }

    /// podman, as the tests use it: with storage, locks and settings of their own.
    pub fn podman(&self) -> PathBuf {
        self.bin().join("podman")
    }

    /// The directory of `podman` and the stand-ins, for PATH.
    pub fn bin(&self) -> PathBuf {
        self.scratch.path().join("bin")
    }

    /// The node's image in podman's storage.
    pub fn node_image(&self) -> &'static str {
        NODE_IMAGE
    }

    /// The node's image as a directory, for Charliecloud.
    pub fn root_of_node(&self) -> PathBuf {
        self.scratch.path().join("node")
    }

    /// The tests' image as a directory, where the stand-ins look for it.
    fn root_of_tools(&self) -> PathBuf {
        self.scratch.path().join("images/localhost%vk-cmd%tools+1")
    }

    /// Has the stand-ins know a directory as an image of this name.
    ///
    /// # Errors
    /// If it cannot be linked.
    pub fn knows(&self, image: &str, root: &Path) -> Result<()> {
        let link = self.scratch.path().join("images").join(image.replace('/', "%").replace(':', "+"));
        match std::os::unix::fs::symlink(root, &link) {
            // Another test has said so.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            made => made.with_context(|| format!("cannot make {}", link.display())),
        }
    }

    /// The names of podman's containers, ended ones included.
    pub async fn containers(&self) -> Result<Vec<String>> {
        let mut podman = Command::new(self.podman());
        podman.args(["ps", "--all", "--format", "{{.Names}}"]);
        Ok(exec::text(podman, LIMIT).await?.lines().map(str::to_owned).collect())
    }

    fn write_clients(&self) -> Result<()> {
        let root = self.scratch.path();
        std::fs::create_dir_all(self.bin())?;
        let shown = root.display();
        // The limits: where we are in a container ourselves, podman may not raise what it would raise.
        let containers = format!(
            "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=1000:1000\"]\n\
             [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
             lock_type = \"file\"\ntmp_dir = \"{shown}/podman/tmp\"\n"
        );
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{shown}/podman/storage\"\nrunroot = \"{shown}/podman/run\"\n"
        );
        std::fs::write(root.join("containers.conf"), containers)?;
        std::fs::write(root.join("storage.conf"), storage)?;
        let podman = format!(
            "#!/bin/sh\nexport CONTAINERS_CONF={shown}/containers.conf CONTAINERS_STORAGE_CONF={shown}/storage.conf\n\
             exec {} \"$@\"\n",
            packages::find("podman").context("podman is gone")?.display()
        );
        rootfs::write_program(&self.podman(), &podman)?;
        for (name, text) in STAND_INS {
            rootfs::write_program(&self.bin().join(name), &text.replace("@ROOT@", &shown.to_string()))?;
        }
        Ok(())
    }

    async fn build_tools(&self) -> Result<()> {
        let root = self.root_of_tools();
        let file = self.scratch.path().join("Containerfile");
        std::fs::write(&file, "FROM scratch\nCOPY . /\nENV PATH=/bin\nENTRYPOINT [\"/bin/entry\"]\n")?;
        let mut podman = Command::new(self.podman());
        let name = IMAGE.trim_start_matches("docker://");
        podman.args(["build", "--quiet", "--tag", name, "--file"]).arg(file).arg(root);
        exec::text(podman, LIMIT).await.context("cannot build the tests' image").map(drop)
    }

    /// By the script that sites use, out of the program that the tests use.
    async fn build_node(&self) -> Result<()> {
        let program = binaries::static_node().await?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/vk-node/build.sh");
        let mut build = Command::new(script);
        build.arg(NODE_IMAGE).env("CONTAINER_TOOL", self.podman()).env("VK_NODE_PROGRAM", program);
        exec::text(build, LIMIT).await.context("cannot build the node's image")?;
        let archive = self.scratch.path().join("node.tar");
        for arguments in [&["create", "--name", "unpacked", NODE_IMAGE][..], &["export", "unpacked", "--output"]] {
            let mut podman = Command::new(self.podman());
            podman.args(arguments);
            if arguments.contains(&"--output") {
                podman.arg(&archive);
            }
            exec::text(podman, LIMIT).await.context("cannot unpack the node's image")?;
        }
        let mut podman = Command::new(self.podman());
        podman.args(["rm", "unpacked"]);
        exec::text(podman, LIMIT).await?;
        let root = self.root_of_node();
        rootfs::skeleton(&root)?;
        let mut tar = Command::new("tar");
        tar.arg("--extract").arg("--file").arg(&archive).arg("--directory").arg(&root).arg("vk-node");
        exec::text(tar, LIMIT).await.context("cannot unpack the node's image")?;
        std::fs::remove_file(archive).context("cannot remove the unpacked archive")
    }
}
