//! `kubectl cmdjob`: vk-cmd for people with sbatch habits. See docs/reference/cli.md.
//!
//! What is decided is in `vk-cli-core`; here it is asked, written and printed. Under the name `kubectl_complete-cmdjob` the program
//! completes words for kubectl.

mod cancel;
mod change;
mod cluster;
mod complete;
mod dashboard;
mod doctor;
mod explain;
mod fleets;
mod follow;
mod interrupt;
mod list;
mod logs;
mod man;
mod nodes;
mod run;
mod screen;
mod streams;
mod submit;
mod top;
mod version;
mod wait;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use vk_api_client::chain;
use vk_cli_core::args::{Cli, Command};
use vk_cli_core::{completion, exit};

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let called = words.next().unwrap_or_default();
    if Path::new(&called).file_name().is_some_and(|name| name == completion::PROGRAM) {
        return complete::answer(words.collect());
    }
    let words: Vec<OsString> = std::iter::once(called).chain(words).collect();
    match Cli::try_parse_from(&words) {
        Ok(cli) => begin(cli),
        Err(error) => {
            // Nobody may be there to read it.
            let _ = error.print();
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
                return ExitCode::SUCCESS;
            }
            let subcommand = words.get(1).and_then(|word| word.to_str()).unwrap_or_default();
            ExitCode::from(failure(subcommand, exit::USAGE))
        }
    }
}

/// The code of the plugin's own failures: those of `run` and `wait` are told from those of commands.
fn failure(subcommand: &str, usual: u8) -> u8 {
    if matches!(subcommand, "run" | "wait") { exit::NO_CODE } else { usual }
}

fn begin(cli: Cli) -> ExitCode {
    let returns_codes = matches!(cli.command, Command::Run(_) | Command::Wait(_));
    // The processor is not what is waited for; one thread starts sooner than several.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let done = runtime.block_on(act(cli));
        // A read of standard input that is under way is not waited for.
        runtime.shutdown_background();
        done
    });
    ExitCode::from(match done {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => exit::BROKEN_PIPE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {}", chain(&*error));
            if returns_codes { exit::NO_CODE } else { exit::FAILED }
        }
    })
}

async fn act(cli: Cli) -> anyhow::Result<u8> {
    let Cli { cluster, command } = cli;
    match command {
        Command::Run(args) => Box::pin(run::run(&cluster, *args)).await,
        Command::List(args) => list::run(&cluster, args).await,
        Command::Logs(args) => Box::pin(logs::run(&cluster, args)).await,
        Command::Cancel(args) => cancel::run(&cluster, args).await,
        Command::Wait(args) => wait::run(&cluster, args).await,
        Command::Hold(args) => change::hold(&cluster, args).await,
        Command::Release(args) => change::release(&cluster, args).await,
        Command::Requeue(args) => change::requeue(&cluster, args).await,
        Command::Nodes(args) => nodes::run(&cluster, args).await,
        Command::Fleets(args) => fleets::run(&cluster, args).await,
        Command::Explain(args) => explain::run(&cluster, args).await,
        Command::Top(args) => top::run(&cluster, args).await,
        Command::Dashboard(args) => dashboard::run(&cluster, args).await,
        Command::Doctor(args) => doctor::run(&cluster, args).await,
        Command::Version(args) => version::run(&args),
        Command::Completion => screen::print(&completion::how_to()).map(|()| 0),
        Command::Man(args) => man::write(&args.directory),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|source| source.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
