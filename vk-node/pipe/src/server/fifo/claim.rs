//! A line that says who wrote it. Pure.
//!
//! A pod's process has its task's id in its environment, and writes it before its line:
//! `echo "VK_CMD_TASK=$VK_CMD_TASK apptainer exec …" > $HOME/hostpipe/vk-cmd`. The line's processes then belong to that
//! pod. A line that claims a task which is not there, or which is being stopped, is refused, and not run as nobody's: its
//! pod would not know of it, and nobody would end it with the pod. A task that has ended by itself still has its pod as
//! long as its records are there: `echo … > vk-cmd` is often a pod's last act, and it may be over before its line is read.

use vk_task::{ContainerRun, Origin, TASK_VARIABLE, TaskId, TaskView};

/// Why a claim is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadClaim {
    /// It names no task.
    #[error(
        "it begins with {TASK_VARIABLE}={0:?}, which is no task's id: leave that out where the line belongs to no pod"
    )]
    NoId(String),
    /// There is no such task.
    #[error("it says that task {0} wrote it, and there is no such task here")]
    NoTask(TaskId),
    /// That task is being stopped, or was.
    #[error("it says that task {0} wrote it, which was told to stop: nothing more is started for it")]
    Stopped(TaskId),
}

/// The task that a line claims to be of, and what is left of the line; `None` when it claims nothing.
pub(super) fn split(line: &str) -> Result<Option<(TaskId, &str)>, BadClaim> {
    let Some(rest) = line.trim_start().strip_prefix(TASK_VARIABLE).and_then(|rest| rest.strip_prefix('=')) else {
        return Ok(None);
    };
    let end = rest.find([' ', '\t']).unwrap_or(rest.len());
    let (word, command) = rest.split_at(end);
    let bare = word.strip_prefix('"').and_then(|w| w.strip_suffix('"')).unwrap_or(word);
    let id = TaskId::new(bare).map_err(|e| BadClaim::NoId(e.0.chars().take(80).collect()))?;
    Ok(Some((id, command.trim_start())))
}

/// The pod's run that a line belongs to which claims to be of task `id`, of which `view` is known. A line that a line
/// wrote belongs to the same pod, or to none.
pub(super) fn writer(id: &TaskId, view: Option<&TaskView>) -> Result<Option<ContainerRun>, BadClaim> {
    let view = view.ok_or_else(|| BadClaim::NoTask(id.clone()))?;
    if view.stop.is_some() {
        return Err(BadClaim::Stopped(id.clone()));
    }
    match &view.origin {
        Origin::Pod(run) => Ok(Some(run.clone())),
        Origin::Fifo { writer } => Ok(writer.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use vk_task::{StopRequest, TaskState};

    fn id() -> TaskId {
        TaskId::new("u_c_0").unwrap()
    }

    fn view(origin: Origin) -> TaskView {
        let state = TaskState::Accepted { at: Timestamp::UNIX_EPOCH };
        TaskView {
            id: id(),
            origin,
            state,
            stop: None,
            lingering: Vec::new(),
            reported: false,
            termination_message: None,
        }
    }

    fn run() -> ContainerRun {
        ContainerRun {
            namespace: "ns".into(),
            pod: "p".into(),
            uid: "u".into(),
            service_account: "default".into(),
            container: "c".into(),
            restart: 0,
            node: None,
        }
    }

    #[test]
    fn the_claim_is_no_part_of_the_command() {
        assert_eq!(split("VK_CMD_TASK=u_c_0 a  b"), Ok(Some((id(), "a  b"))));
        assert_eq!(split("  VK_CMD_TASK=\"u_c_0\"\tA=1 b"), Ok(Some((id(), "A=1 b"))));
        assert_eq!(split("VK_CMD_TASK=u_c_0"), Ok(Some((id(), ""))));
        assert_eq!(split("echo VK_CMD_TASK=u_c_0 a"), Ok(None));
        assert_eq!(split("VK_CMD_TASKS=u a"), Ok(None));
        for bad in ["VK_CMD_TASK= a", "VK_CMD_TASK=../x a", "VK_CMD_TASK=$VK_CMD_TASK a", "VK_CMD_TASK=\" a"] {
            assert!(matches!(split(bad), Err(BadClaim::NoId(_))), "{bad}");
        }
    }

    #[test]
    fn a_line_belongs_to_the_pod_of_its_writer() {
        assert_eq!(writer(&id(), Some(&view(Origin::Pod(run())))), Ok(Some(run())));
        assert_eq!(writer(&id(), Some(&view(Origin::Fifo { writer: Some(run()) }))), Ok(Some(run())));
        assert_eq!(writer(&id(), Some(&view(Origin::Fifo { writer: None }))), Ok(None));
    }

    #[test]
    fn nothing_is_started_for_a_task_that_is_not_there_or_is_stopped() {
        assert_eq!(writer(&id(), None), Err(BadClaim::NoTask(id())));
        let mut over = view(Origin::Pod(run()));
        over.stop = Some(StopRequest { kill_at: Timestamp::UNIX_EPOCH, reason: String::new() });
        assert_eq!(writer(&id(), Some(&over)), Err(BadClaim::Stopped(id())));
        over.stop = None;
        let at = Timestamp::UNIX_EPOCH;
        over.state = TaskState::Unknown { started_at: at, noticed_at: at, message: String::new() };
        assert_eq!(writer(&id(), Some(&over)), Ok(Some(run())));
    }
}
