//! What a CmdJob runs, and in what.

use vk_cmd_crds::CmdJob;
use vk_cmd_crds::cmdjob::DEFAULT_SHELL;

use super::{Problem, Problems, has_nul};

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run<'a> {
    /// `SHELL FILE`, where FILE holds the text.
    Shell {
        /// The absolute path of the shell.
        shell: &'a str,
        /// The script.
        text: &'a str,
    },
    /// FILE itself, where FILE holds the text, which begins with `#!`.
    Shebang {
        /// The script.
        text: &'a str,
    },
    /// A program without a shell.
    Command {
        /// The program and its first arguments; not empty.
        command: &'a [String],
        /// More arguments.
        args: &'a [String],
    },
}

/// What a CmdJob runs, if that is right.
pub(super) fn run<'a>(job: &'a CmdJob, problems: &mut Problems) -> Option<Run<'a>> {
    let spec = &job.spec;
    let args = spec.args.as_deref().unwrap_or_default();
    if spec.command.is_none() && !args.is_empty() {
        problems.0.push(Problem::ArgsWithoutCommand);
    }
    if spec.command.is_some() && spec.shell.is_some() {
        problems.0.push(Problem::ShellWithCommand);
    }
    if let Some(shell) = spec.shell.as_deref() {
        problems.path("spec.shell", shell);
    }
    match (spec.script.as_deref(), spec.command.as_deref()) {
        (None, None) => problems.some(None, Problem::NothingToRun),
        (Some(_), Some(_)) => problems.some(None, Problem::ScriptAndCommand),
        (Some(text), None) => {
            if text.is_empty() {
                problems.0.push(Problem::Empty("spec.script"));
            }
            if has_nul(text) {
                problems.0.push(Problem::Nul("spec.script".to_owned()));
            }
            Some(match spec.shell.as_deref() {
                None if text.starts_with("#!") => Run::Shebang { text },
                shell => Run::Shell { shell: shell.unwrap_or(DEFAULT_SHELL), text },
            })
        }
        (None, Some(command)) => {
            if command.first().is_none_or(String::is_empty) {
                problems.0.push(Problem::Empty("the first entry of spec.command"));
            }
            if command.iter().chain(args).any(|arg| has_nul(arg)) {
                problems.0.push(Problem::Nul("an entry of spec.command or spec.args".to_owned()));
            }
            Some(Run::Command { command, args })
        }
    }
}

/// Looks at its image, its volumes and where it sees them.
pub(super) fn image(job: &CmdJob, problems: &mut Problems) {
    let spec = &job.spec;
    if spec.image.as_deref().is_some_and(str::is_empty) {
        problems.0.push(Problem::Empty("spec.image"));
    }
    let (volumes, mounts) =
        (spec.volumes.as_deref().unwrap_or_default(), spec.volume_mounts.as_deref().unwrap_or_default());
    for volume in volumes {
        if volume.kinds() != 1 {
            problems.say(Problem::VolumeKinds(volume.name.clone()));
        }
        if let Some(host) = &volume.host_path {
            problems.path("spec.volumes[].hostPath.path", &host.path);
        }
    }
    for mount in mounts {
        if mount.mount_path.is_empty() {
            problems.say(Problem::Empty("spec.volumeMounts[].mountPath"));
        }
        if !volumes.iter().any(|volume| volume.name == mount.name) {
            problems.0.push(Problem::NoVolume(mount.name.clone()));
        }
    }
}
