//! Completion of words for kubectl: see [`vk_cli_core::completion`].

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate, complete};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use vk_cli_core::args::{Cli, ClusterFlags};
use vk_cli_core::completion::{self, Candidate};
use vk_cli_core::{plain, table};

use crate::cluster::{self, Cluster};
use crate::{fleets, nodes, screen};

/// The longest that somebody who has pressed Tab waits for the cluster.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Prints what the words could go on with. The last of them is being typed.
pub(crate) fn answer(words: Vec<OsString>) -> ExitCode {
    let typed = words.last().and_then(|word| word.to_str()).unwrap_or_default().to_owned();
    let mut command = with_names(Cli::command(), &flags(&words));
    let words: Vec<OsString> = std::iter::once(OsString::from("kubectl-cmdjob")).chain(words).collect();
    let last = words.len().saturating_sub(1);
    let here = std::env::current_dir().ok();
    let found = complete(&mut command, words, last, here.as_deref()).unwrap_or_default();
    let candidates: Vec<Candidate> = found
        .iter()
        .filter(|candidate| !candidate.is_hide_set())
        .map(|candidate| Candidate {
            word: candidate.get_value().to_string_lossy().into_owned(),
            help: candidate.get_help().map(ToString::to_string),
        })
        .collect();
    match screen::print(&completion::answer(&typed, &candidates)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Which cluster the words mean, as far as they say.
fn flags(words: &[OsString]) -> ClusterFlags {
    let command = Cli::command().ignore_errors(true).subcommand_required(false).arg_required_else_help(false);
    let words = std::iter::once(OsString::from("kubectl-cmdjob")).chain(words.iter().cloned());
    let Ok(matches) = command.try_get_matches_from(words) else { return ClusterFlags::default() };
    let of = |matches: &ArgMatches| ClusterFlags::from_arg_matches(matches).ok();
    let of_subcommand = matches.subcommand().and_then(|(_, matches)| of(matches));
    of_subcommand.or_else(|| of(&matches)).unwrap_or_default()
}

/// What is asked for.
#[derive(Clone, Copy)]
enum Names {
    Jobs,
    Nodes,
    Fleets,
    Namespaces,
    Contexts,
}

/// The command line, with what only the cluster knows.
fn with_names(command: Command, flags: &ClusterFlags) -> Command {
    let of = |names: Names| {
        let flags = flags.clone();
        ArgValueCandidates::new(move || ask(names, &flags))
    };
    let mut command = command
        .mut_arg("namespace", |arg| arg.add(of(Names::Namespaces)))
        .mut_arg("context", |arg| arg.add(of(Names::Contexts)))
        .mut_subcommand("run", |run| {
            run.mut_arg("node", |arg| arg.add(of(Names::Nodes))).mut_arg("fleet", |arg| arg.add(of(Names::Fleets)))
        })
        .mut_subcommand("nodes", |nodes| {
            nodes.mut_arg("names", |arg| arg.add(of(Names::Nodes))).mut_arg("fleet", |arg| arg.add(of(Names::Fleets)))
        })
        .mut_subcommand("fleets", |fleets| fleets.mut_arg("names", |arg| arg.add(of(Names::Fleets))));
    for (subcommand, argument) in [
        ("list", "names"),
        ("logs", "name"),
        ("cancel", "names"),
        ("wait", "names"),
        ("hold", "names"),
        ("release", "names"),
        ("requeue", "name"),
        ("explain", "name"),
        ("top", "names"),
    ] {
        command = command.mut_subcommand(subcommand, |it| it.mut_arg(argument, |arg| arg.add(of(Names::Jobs))));
    }
    command
}

/// Asks the cluster. Who gets no answer completes nothing.
fn ask(names: Names, flags: &ClusterFlags) -> Vec<CompletionCandidate> {
    if let Names::Contexts = names {
        return cluster::contexts(flags.kubeconfig.as_ref()).into_iter().map(CompletionCandidate::new).collect();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let found = runtime.ok().and_then(|runtime| {
        let asked = async { tokio::time::timeout(PATIENCE, found(names, flags)).await };
        runtime.block_on(asked).ok()?.ok()
    });
    let candidate = |(name, help): (String, String)| {
        let help = (!help.is_empty()).then(|| table::cut(&help, 60).into());
        CompletionCandidate::new(name).help(help)
    };
    found.unwrap_or_default().into_iter().map(candidate).collect()
}

/// Names, each with what it is.
async fn found(names: Names, flags: &ClusterFlags) -> anyhow::Result<Vec<(String, String)>> {
    let cluster = Cluster::of(flags).await?;
    let text = |name: &Option<String>| name.clone().unwrap_or_default();
    Ok(match names {
        Names::Jobs => {
            let jobs = cluster.chosen(&[], None).await?;
            jobs.iter()
                .map(|job| (plain::name(job).to_owned(), format!("{}: {}", plain::state(job), plain::reason(job))))
                .collect()
        }
        Names::Nodes => {
            let nodes = nodes::of_vk_cmd(&cluster, None).await?;
            nodes.iter().map(|node| (text(&node.metadata.name), String::new())).collect()
        }
        Names::Fleets => {
            let message =
                |fleet: &vk_cmd_crds::CmdFleet| fleet.status.as_ref().and_then(|status| status.message.clone());
            let fleets = fleets::all(&cluster).await?;
            fleets.iter().map(|fleet| (text(&fleet.metadata.name), message(fleet).unwrap_or_default())).collect()
        }
        Names::Namespaces => {
            let api: Api<Namespace> = Api::all(cluster.client.clone());
            let list = cluster.call("list namespaces", api.list(&ListParams::default())).await?;
            list.items.iter().map(|namespace| (text(&namespace.metadata.name), String::new())).collect()
        }
        Names::Contexts => Vec::new(),
    })
}
