//! `cargo demo`: the main job on a real control plane, for a person to watch and then to try things on.

mod cli;
mod closing;
mod jobs;
mod outcome;
mod screen;
mod stage;
mod watching;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use cli::Cli;
use screen::Screen;
use stage::Stage;

/// Runs the demo; what its command line says comes from the process's arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let screen = Screen::new();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime");
    match runtime.and_then(|runtime| runtime.block_on(until_told_to_stop(&cli, &screen))) {
        Ok(code) => code,
        Err(error) => {
            screen.line(&format!("\ndemo: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whatever is running is dropped when we are told to stop, and stops its processes with it.
async fn until_told_to_stop(cli: &Cli, screen: &Screen) -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    tokio::select! {
        result = run(cli, screen) => result,
        _ = tokio::signal::ctrl_c() => {
            screen.line("\nstopping");
            // After the jobs have run Ctrl-C is the way to end; before, it cuts the demo short.
            Ok(if screen.is_done() { ExitCode::SUCCESS } else { ExitCode::from(130) })
        }
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    }
}

async fn run(cli: &Cli, screen: &Screen) -> Result<ExitCode> {
    let mut stage = Stage::set(cli, screen).await?;
    let jobs = jobs::apply(&stage, screen).await?;
    let finished = watching::until_finished(&mut stage, &jobs, screen).await?;
    let outcomes = outcome::show(&stage, &finished, screen).await?;
    let code = if outcomes.all_as_expected() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if cli.once {
        return Ok(code);
    }
    screen.done();
    closing::show_what_to_try(&stage, &finished, screen)?;
    stage.run_on().await?;
    Ok(code)
}
