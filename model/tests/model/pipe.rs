//! The pipe of a machine, by its promise: a task is started once at most, and its records survive.

use jiff::Timestamp;
use serde_json::{from_value, json};
use vk_task::{End, Origin, Signal, StopRequest, TaskId, TaskState, TaskView};

use crate::api::Key;
use crate::mutation::Mutation;
use crate::node::Machine;

impl Machine {
    /// The pipe's part: what was asked for before is not started again.
    pub(crate) fn start(
        &mut self,
        id: TaskId,
        (namespace, pod): &Key,
        uid: &str,
        container: &str,
        restart: u32,
        now: Timestamp,
    ) {
        if self.tasks.iter().any(|task| task.id == id) {
            return;
        }
        self.news = true;
        self.started.push(pod.to_owned());
        let run = json!({"namespace": namespace, "pod": pod, "uid": uid, "container": container, "restart": restart});
        self.tasks.push(TaskView {
            id,
            origin: Origin::Pod(from_value(run).unwrap()),
            state: TaskState::Accepted { at: now },
            stop: None,
            lingering: Vec::new(),
            reported: false,
            termination_message: None,
        });
    }

    pub(crate) fn stop(&mut self, id: &TaskId, request: StopRequest, now: Timestamp) {
        for task in self.tasks.iter_mut().filter(|task| task.id == *id && !task.state.is_final()) {
            // As with the pipe, the earlier time stands.
            if task.stop.as_ref().is_none_or(|before| request.kill_at < before.kill_at) {
                task.stop = Some(request.clone());
            }
        }
        self.kill(now);
    }

    pub(crate) fn gates_open(&mut self, now: Timestamp) {
        for task in &mut self.tasks {
            if let TaskState::Accepted { .. } = task.state {
                self.news = true;
                task.state = TaskState::Running { pid: 7, started_at: now };
            }
        }
    }

    /// What was to be killed by now is.
    pub(crate) fn kill(&mut self, now: Timestamp) {
        self.end(now, &End::Signaled { signal: Signal(9), core_dumped: false }, |task| {
            task.stop.as_ref().is_some_and(|stop| stop.kill_at <= now)
        });
    }

    /// What runs and is meant ends.
    pub(crate) fn end(&mut self, now: Timestamp, end: &End, which: impl Fn(&TaskView) -> bool) {
        for task in self.tasks.iter_mut().filter(|task| !task.state.is_final() && which(task)) {
            let started_at = match task.state {
                TaskState::Running { started_at, .. } => started_at,
                _ => now,
            };
            let code = match end {
                End::Exited { code } => *code,
                _ => 137,
            };
            self.news = true;
            self.ended.push((task.origin.run().unwrap().pod.clone(), code));
            task.state = TaskState::Ended { started_at, finished_at: now, end: end.clone(), exceeded: None };
        }
    }

    /// The pipe removes records that were told of.
    pub(crate) fn collects(&mut self) {
        let loses = self.mutation == Mutation::PipeLosesRecords;
        self.tasks.retain(|task| !(loses || task.state.is_final() && task.reported));
    }

    /// The pods with a process.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &str> {
        self.tasks.iter().filter(|task| !task.state.is_final()).filter_map(|task| Some(task.origin.run()?.pod.as_str()))
    }
}
