//! `cargo demo`: the main job on a real control plane, for a person to watch and then to try things on.

mod cli;
mod closing;
mod jobs;
mod outcome;
mod screen;
mod stage;
mod watching;
mod world;

use std::future::Future;
use std::pin::pin;
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

/// Sets the stage, plays, and clears up: also when told to stop in the midst of it.
async fn until_told_to_stop(cli: &Cli, screen: &Screen) -> Result<ExitCode> {
    let mut stop = pin!(told_to_stop()?);
    let mut stage = tokio::select! {
        stage = Stage::set(cli, screen) => stage?,
        code = &mut stop => return Ok(code),
    };
    let played = tokio::select! {
        played = play(cli, &mut stage, screen) => played,
        code = &mut stop => {
            screen.line("\nstopping");
            // Once the examples have run, Ctrl-C is the way to end; before, it cuts the demo short.
            Ok(screen.verdict().unwrap_or(code))
        }
    };
    stage.clear_up(screen).await;
    played
}

async fn play(cli: &Cli, stage: &mut Stage, screen: &Screen) -> Result<ExitCode> {
    let jobs = jobs::apply(stage, screen).await?;
    let finished = watching::until_finished(stage, &jobs, screen).await?;
    let outcomes = outcome::show(stage, &finished, screen).await?;
    let code = if outcomes.all_as_expected() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if cli.once {
        return Ok(code);
    }
    screen.set_verdict(code);
    closing::show_what_to_try(stage, &finished, screen);
    stage.run_on().await?;
    Ok(code)
}

/// Ends, with the exit code that shells know for it, at Ctrl-C or `kill`.
fn told_to_stop() -> Result<impl Future<Output = ExitCode>> {
    let why = "cannot listen for signals";
    let mut interrupt = signal(SignalKind::interrupt()).context(why)?;
    let mut terminate = signal(SignalKind::terminate()).context(why)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => ExitCode::from(130),
            _ = terminate.recv() => ExitCode::from(143),
        }
    })
}
