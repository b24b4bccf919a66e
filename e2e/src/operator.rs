//! A running `vk-operator`, outside the cluster but with the rights of a kubeconfig of one's choice.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::binaries;
use crate::process::Process;
use crate::scratch::Scratch;

/// A `vk-operator run`. Dropping it stops it.
#[derive(Debug)]
pub struct Operator {
    process: Option<Process>,
    program: PathBuf,
    kubeconfig: PathBuf,
    flags: Vec<String>,
    scratch: Scratch,
}

impl Operator {
    /// Starts one with the rights that `kubeconfig` gives: in tests those of the chart's own ServiceAccount.
    pub async fn start(kubeconfig: &Path) -> Result<Self> {
        Self::start_with(kubeconfig, &[]).await
    }

    /// The same with further flags.
    pub async fn start_with(kubeconfig: &Path, flags: &[&str]) -> Result<Self> {
        let mut this = Self::not_started(kubeconfig, flags).await?;
        this.restart()?;
        Ok(this)
    }

    /// The same, as if it had been killed: where another one does the work.
    pub async fn not_started(kubeconfig: &Path, flags: &[&str]) -> Result<Self> {
        Ok(Self {
            process: None,
            program: binaries::built().await?.operator.clone(),
            kubeconfig: kubeconfig.to_owned(),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            scratch: Scratch::new("vk-cmd-operator-")?,
        })
    }

    /// The process, to ask or to signal; none while it is killed.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Its log, of all its runs.
    pub fn log(&self) -> PathBuf {
        self.scratch.path().join("vk-operator.log")
    }

    /// Leaves the log there for good.
    pub fn keep_logs(&self) {
        self.scratch.keep();
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the operator is not running")?.kill().map(drop)
    }

    /// Starts it (again), after stopping it properly if it runs.
    pub fn restart(&mut self) -> Result<()> {
        self.process = None;
        self.process = Some(Process::start("vk-operator", self.command(), self.log())?);
        Ok(())
    }

    /// Fails, with the end of its log, if it has ended by itself.
    pub fn must_be_running(&mut self) -> Result<()> {
        self.process.as_mut().context("the operator has been killed")?.must_be_running()
    }

    /// The one place that knows the operator's command line.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--kubeconfig").arg(&self.kubeconfig).args(&self.flags);
        command
    }
}
