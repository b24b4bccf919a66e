//! `vk-node service`: a unit of the user's systemd.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::json;
use vk_node_core::service::{self, UNIT, Wanted};

use super::{Code, Format, Output, print};

/// What the unit is to say.
#[derive(Debug, Args)]
pub(crate) struct Service {
    /// Write it where systemd looks for it. One that is there already is not overwritten.
    #[arg(long)]
    install: bool,
    #[command(flatten)]
    output: Output,
    /// What `vk-node run` is started with, after `--`. Files are named by absolute paths: a service starts elsewhere.
    #[arg(last = true, value_name = "FLAGS")]
    flags: Vec<String>,
}

impl Service {
    pub(crate) fn format(&self) -> Format {
        self.output.format()
    }

    pub(crate) fn act(self) -> anyhow::Result<Code> {
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let wanted = Wanted { program: &program, arguments: &self.flags, systemd: systemd_version() };
        let unit = service::unit(&wanted).map_err(|why| anyhow!(why))?;
        let place = place()?;
        if self.install {
            install(&place, &unit)?;
        }
        let steps = service::steps(self.install, lingers());
        let what = match self.install {
            true => format!("wrote {}\n", place.display()),
            false => unit.clone(),
        };
        // What is printed can be written to a file as it is.
        let text = format!(
            "{what}\n# Next:\n{}\n",
            steps.iter().map(|step| format!("#   {step}")).collect::<Vec<_>>().join("\n")
        );
        let value = json!({"path": place, "installed": self.install, "unit": unit, "next": steps});
        print(self.output.format(), &value, &text)?;
        Ok(Code::Fine)
    }
}

/// Where systemd looks for a user's own units: systemd.unit(5).
fn place() -> anyhow::Result<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let config = config.or_else(|| Some(std::env::home_dir()?.join(".config")));
    let config =
        config.filter(|path| path.is_absolute()).context("there is no home directory for the unit: set $HOME")?;
    Ok(config.join("systemd/user").join(UNIT))
}

fn install(place: &Path, unit: &str) -> anyhow::Result<()> {
    let directory = place.parent().unwrap_or(place);
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o644).open(place);
    match made.and_then(|mut file| file.write_all(unit.as_bytes()).and_then(|()| file.sync_all())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!(
                "{} is there already, and was not written: remove it, or see what is new without --install",
                place.display()
            )
        }
        Err(error) => Err(error).with_context(|| format!("cannot write {}", place.display())),
    }
}

/// The version of systemd here.
fn systemd_version() -> Option<u32> {
    let output = Command::new("systemctl").arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    String::from_utf8_lossy(&output.stdout).split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Whether the user's systemd outlives the last session; none where there is none.
pub(super) fn lingers() -> Option<bool> {
    // Where systemd runs at all: sd_booted(3).
    if !Path::new("/run/systemd/system").is_dir() {
        return None;
    }
    let user = std::fs::metadata("/proc/self").ok().map(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata))?;
    let name = user_name(user)?;
    // What `loginctl enable-linger` leaves.
    Some(Path::new("/var/lib/systemd/linger").join(name).exists())
}

fn user_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of_passwd = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid)).then(|| fields.first().map(|&name| name.to_owned()))?
    });
    // A user of a directory service stands in the environment only.
    of_passwd.or_else(|| std::env::var("USER").ok().filter(|name| !name.is_empty() && !name.contains('/')))
}
