//! How a program is run where the task runs: on the host, by a container runtime's own command, or in the namespaces of
//! the container's processes. Decided purely, from facts that are looked up here too.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vk_record::process::{self, Stat};
use vk_record::{RecordError, TaskDir};
use vk_task::{ApiError, ErrorReason, ExecVia, Launch, RuntimeLaunch, TaskId, TaskState};

use crate::server::Pipe;
use crate::server::refusal::failure;

/// The namespaces that may have to be entered, as `/proc/PID/ns` names them.
const USER: &str = "user";
const MOUNT: &str = "mnt";
const PID: &str = "pid";
/// Where nsenter(1) is looked for past `PATH`: administrators' directories are not in every user's.
const MORE_DIRECTORIES: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// What the shim is to run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) argv: Vec<String>,
    /// The process whose environment it gets instead of the task's.
    pub(super) environment_of: Option<i32>,
}

/// A process in a container, and the namespaces in which it differs from the pipe.
#[derive(Debug, PartialEq, Eq)]
struct Inside {
    pid: i32,
    user: bool,
    pids: bool,
}

/// Finds it out.
pub(super) async fn find(
    pipe: &Arc<Pipe>,
    id: &TaskId,
    argv: Vec<String>,
    stdin: bool,
    terminal: bool,
) -> Result<Program, ApiError> {
    let launch = {
        let (here, id) = (Arc::clone(pipe), id.clone());
        let read = move || {
            let task = TaskDir { dir: here.tasks.open_dir(id.as_str())? };
            Ok::<_, RecordError>(task.intent()?.map(|intent| intent.launch).unwrap_or_default())
        };
        pipe.blocking.run(read).await.map_err(|e| failure("how the task was started cannot be read", &e))?
    };
    let launch = match launch {
        Launch::Direct => return Ok(Program { argv, environment_of: None }),
        Launch::Runtime(launch) => launch,
    };
    match &launch.exec {
        ExecVia::Command { prefix, stdin: input, terminal: tty, target } => {
            let wanted = |yes, words: &Vec<String>| if yes { words.clone() } else { Vec::new() };
            let argv = [prefix.clone(), wanted(stdin, input), wanted(terminal, tty), target.clone(), argv].concat();
            Ok(Program { argv, environment_of: None })
        }
        ExecVia::Namespaces => {
            let Some(TaskState::Running { pid: main, .. }) = pipe.table.get(id).map(|view| view.state) else {
                return Err(conflict(format!("task {id} does not run")));
            };
            pipe.blocking.run(move || by_namespaces(&launch, main, argv)).await
        }
    }
}

fn by_namespaces(launch: &RuntimeLaunch, main: i32, argv: Vec<String>) -> Result<Program, ApiError> {
    let runtime = &launch.runtime;
    let inside = inside(main).ok_or_else(|| {
        conflict(format!(
            "no process of the task is in a container of {runtime}: it may not have been set up yet, or it is the host's \
             own view of its files; try again in a moment"
        ))
    })?;
    let nsenter = nsenter().ok_or_else(|| ApiError {
        reason: ErrorReason::Internal,
        message: format!(
            "{runtime} has no command of its own to run a program in a container, so nsenter (util-linux) is needed, and \
             this host has none in PATH"
        ),
    })?;
    Ok(Program { argv: enter(&nsenter, &inside, argv), environment_of: Some(inside.pid) })
}

/// The command that enters a container. Pure.
fn enter(nsenter: &str, inside: &Inside, argv: Vec<String>) -> Vec<String> {
    let pid = inside.pid.to_string();
    let mut words = vec![nsenter, "--target", &pid];
    if inside.user {
        // Whoever made the user namespace has all rights in it, and needs to be nobody else.
        words.extend(["--user", "--preserve-credentials"]);
    }
    words.push("--mount");
    if inside.pids {
        words.push("--pid");
    }
    words.extend(["--root", "--wd", "--"]);
    words.into_iter().map(str::to_owned).chain(argv).collect()
}

/// The first process of the task that sees other files than the pipe: the one that the container began with.
fn inside(main: i32) -> Option<Inside> {
    let all = process::all().ok()?;
    let shim = all.get(&main)?.parent;
    let own = |kind| namespace("self", kind);
    let differs = |pid: i32, kind| namespace(&pid.to_string(), kind).is_some_and(|theirs| Some(theirs) != own(kind));
    let mut members: Vec<Stat> = process::descendants(&all, &[shim].into());
    members.sort_unstable_by_key(|s| (s.start_ticks, s.pid));
    let first = members.iter().find(|s| differs(s.pid, MOUNT))?;
    Some(Inside { pid: first.pid, user: differs(first.pid, USER), pids: differs(first.pid, PID) })
}

fn namespace(pid: &str, kind: &str) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()
}

fn nsenter() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(std::env::split_paths(OsStr::new(MORE_DIRECTORIES)));
    let found = directories.filter(|d| d.is_absolute()).map(|d| d.join("nsenter")).find(|file| is_program(file))?;
    found.into_os_string().into_string().ok()
}

fn is_program(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

fn conflict(message: String) -> ApiError {
    ApiError { reason: ErrorReason::Conflict, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_entered() {
        let words =
            |user, pids| enter("/usr/bin/nsenter", &Inside { pid: 7, user, pids }, vec!["ls".into(), "-l".into()]);
        let rootless = "/usr/bin/nsenter --target 7 --user --preserve-credentials --mount --root --wd -- ls -l";
        assert_eq!(words(true, false).join(" "), rootless);
        assert_eq!(words(false, true).join(" "), "/usr/bin/nsenter --target 7 --mount --pid --root --wd -- ls -l");
    }

    #[test]
    fn a_process_with_the_same_files_is_not_in_a_container() {
        assert_eq!(inside(std::process::id().cast_signed()), None);
    }
}
