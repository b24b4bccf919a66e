//! What `run` makes of its arguments, and how it is submitted.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use kube::api::PostParams;
use vk_api_client::CallError;
use vk_cli_core::args::Run;
use vk_cli_core::job::{self, Name, SUFFIX_LENGTH, SUFFIX_LETTERS};
use vk_cli_core::script::What;
use vk_cli_core::wish::{Place, Wish};
use vk_cli_core::{headers, output};
use vk_cmd_crds::CmdJob;

use crate::cluster::{Cluster, FIELD_MANAGER};

/// The node to run on where neither headers nor flags say a place.
const NODE_VARIABLE: &str = "CMDJOB_NODE";
/// The fleet, likewise.
const FLEET_VARIABLE: &str = "CMDJOB_FLEET";
/// How many names that are made up are tried.
const TRIES: usize = 5;

/// What is to be submitted.
pub(crate) struct Order {
    wish: Wish,
    what: What,
    here: BTreeMap<String, String>,
}

impl Order {
    /// Reads the script, its headers and the flags.
    pub(crate) fn of(args: &Run) -> Result<Self> {
        let what = what(args)?;
        let said = match &what {
            What::Script { name, text, .. } => {
                let read = headers::read(text, &args.ignore);
                read.map_err(|problems| anyhow!("the headers of {name} cannot be honoured as they are:\n{problems}"))?
            }
            What::Command(_) => Wish::default(),
        };
        let flags = args.job.clone().wish().map_err(anyhow::Error::msg)?;
        let here: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let mut wish = flags.over(said);
        if wish.place.is_empty() {
            let of = |name: &str| here.get(name).filter(|value| !value.is_empty()).cloned();
            wish.place = Place { node: of(NODE_VARIABLE), fleet: of(FLEET_VARIABLE), ..Place::default() };
        }
        Ok(Self { wish, what, here })
    }

    /// Whether its headers want it to be waited for.
    pub(crate) fn waits(&self) -> bool {
        self.wish.wait
    }

    /// A name for it.
    pub(crate) fn name(&self) -> Name {
        let letter = || SUFFIX_LETTERS.get(fastrand::usize(..SUFFIX_LETTERS.len())).copied().unwrap_or(b'x');
        let suffix: String = (0..SUFFIX_LENGTH).map(|_| char::from(letter())).collect();
        job::name(&self.wish, &self.what, &suffix)
    }

    /// The job under this name.
    pub(crate) fn job(&self, name: &Name) -> Result<CmdJob> {
        let built = job::build(&self.wish, &self.what, name, &self.here);
        built.map_err(|problems| anyhow::Error::msg(problems.join("\n  ")))
    }

    /// Submits it. Another name is made up where that one is taken.
    pub(crate) async fn submit(&self, cluster: &Cluster, dry_run: bool) -> Result<CmdJob> {
        let params = PostParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let jobs = cluster.jobs();
        for left in (0..TRIES).rev() {
            let name = self.name();
            let job = self.job(&name)?;
            match cluster.call("submit the job", jobs.create(&params, &job)).await {
                Ok(made) => return Ok(made),
                Err(error) if error.is_already_exists() && name.is_made_up && left > 0 => {}
                Err(error) => return Err(unsubmitted(cluster, &name.text, error)),
            }
        }
        bail!("no name that was made up is free")
    }
}

/// Why it was not submitted; or that nobody knows, which is said with the name.
fn unsubmitted(cluster: &Cluster, name: &str, error: CallError) -> anyhow::Error {
    let is_known = error.status().is_some();
    let words = match is_known {
        true => return cluster.no_job(name, error),
        false => format!(
            "whether {name} was submitted is not known: `kubectl cmdjob list -n {} {name}` tells, when the API server is there again",
            cluster.namespace
        ),
    };
    anyhow::Error::new(error).context(words)
}

fn what(args: &Run) -> Result<What> {
    let arguments = args.command.clone();
    if let Some(text) = &args.wrap {
        return Ok(What::Script { name: "wrap".to_owned(), text: format!("{text}\n"), arguments });
    }
    match args.script.as_deref() {
        Some("-") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read the script from standard input")?;
            Ok(What::Script { name: "stdin".to_owned(), text, arguments })
        }
        Some(path) => {
            let bytes = std::fs::read(path).with_context(|| {
                format!("cannot read the script {path} (to run a program of the node's, write it behind two dashes: -- {path})")
            })?;
            let name =
                Path::new(path).file_name().map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned());
            let text = String::from_utf8(bytes).ok().with_context(|| {
                format!(
                    "{path} is not text: put the program where the node sees it, and run it there: -- /path/to/{name}"
                )
            })?;
            Ok(What::Script { name, text, arguments })
        }
        None if arguments.is_empty() => {
            bail!("there is nothing to run: name a script, or a command behind two dashes: -- hostname -f")
        }
        None => Ok(What::Command(arguments)),
    }
}

/// How a job that was submitted is told of.
pub(crate) fn told(job: &CmdJob) -> String {
    let name = output::job_name(job.metadata.name.as_deref().unwrap_or_default());
    let held = if job.spec.suspend { " (held)" } else { "" };
    format!("{name} created{held}\n")
}
