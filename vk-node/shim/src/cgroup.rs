//! The task's own cgroup, where the pipe has a directory for that.

use std::io;
use std::path::Path;

use vk_record::cgroup::{Controllers, Group, Holds};
use vk_task::{CGROUP_VARIABLE, Limits, TaskId};

use crate::error::say;

/// The group, and what it holds the task to. It is removed with this value, once it is empty.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) group: Option<Group>,
    pub(crate) holds: Holds,
}

impl Held {
    /// Makes it for the run `run` of the task `id`. That it cannot be made is no reason not to run the task: the shim then
    /// holds it to its limits, as where there are no cgroups.
    pub(crate) fn make(id: &TaskId, run: &str, limits: &Limits) -> Self {
        let Some(base) = std::env::var_os(CGROUP_VARIABLE) else { return Self::default() };
        let base = Path::new(&base);
        match Group::make(base, id, run) {
            Ok(group) => {
                let complain =
                    |file: &str, e: &io::Error| say(format_args!("cannot set {file} of the task's cgroup: {e}"));
                let holds = group.limit(limits, Controllers::below(base), complain);
                Self { group: Some(group), holds }
            }
            Err(e) => {
                say(format_args!("cannot make a cgroup in {} for the task, which runs without: {e}", base.display()));
                Self::default()
            }
        }
    }

    /// The task's process could not be put into it.
    pub(crate) fn give_up(&mut self, e: &io::Error) {
        say(format_args!("cannot put the task into its cgroup, it runs without: {e}"));
        // The value that goes removes it.
        *self = Self::default();
    }

    /// Whether the kernel has killed for want of memory.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        self.holds.memory && self.group.as_ref().is_some_and(|group| group.oom_kills() > 0)
    }

    /// Kills all that is in it, in one step that no fork can outrun.
    pub(crate) fn kill(&self) {
        if let Some(Err(e)) = self.group.as_ref().map(Group::kill) {
            say(format_args!("cannot kill the task's cgroup as a whole: {e}"));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // If it is not empty, the pipe will see to it.
        let _ = self.group.as_ref().map(Group::remove);
    }
}
