//! What must hold of whatever the world is told to do.

use super::*;

impl World {
    /// The rules of starting.
    pub(super) fn check_start(&self, container: usize, restart: u32) {
        assert!(self.deletion == Deletion::NotAsked && !is_terminal(&self.published), "it is over");
        let all = &self.admitted.as_ref().unwrap().containers;
        let this = &all[container];
        let own = |task: &&TaskView| matches!(&task.origin, Origin::Pod(run) if run.container == this.name);
        for task in self.tasks.iter().filter(own) {
            assert!(task.state.is_final(), "{} runs", task.id);
            assert!(task.origin.run().unwrap().restart < restart, "{} came before", task.id);
        }
        if this.role == Role::Ephemeral {
            assert_eq!(restart, 0, "never again");
            return;
        }
        for before in all.iter().take_while(|other| other.name != this.name) {
            assert!(!self.is_in_post_start(&before.name), "{} waits for {}", this.name, before.name);
            match before.role {
                Role::Init => assert!(self.succeeded.contains(&before.name), "{} before {}", this.name, before.name),
                Role::Sidecar => {
                    let first = TaskId::for_container("u", &before.name, 0).unwrap();
                    assert!(self.started.contains(&first), "{} before {}", this.name, before.name);
                }
                Role::Main | Role::Ephemeral => {}
            }
        }
    }

    /// Whether a container runs whose `postStart` is not known to have been done.
    fn is_in_post_start(&self, name: &str) -> bool {
        let container = self.admitted.as_ref().unwrap().containers.iter().find(|c| c.name == name).unwrap();
        let own = |task: &&TaskView| matches!(&task.origin, Origin::Pod(run) if run.container == name);
        let Some(task) = self.tasks.iter().filter(own).find(|task| !task.state.is_final()) else { return false };
        let restart = task.origin.run().unwrap().restart;
        let hooks = self.hooks.get(name).filter(|hooks| hooks.restart == restart);
        let is_done = hooks.is_some_and(|hooks| matches!(hooks.post_start, Hook::Done { .. }));
        let was_done = published_of(&self.published, name).is_some_and(|status| status.started == Some(true));
        container.hooks.post_start.is_some() && !is_done && !was_done
    }

    /// After a restart of the node, what has come up is up, and what can serve can serve.
    pub(super) fn check_nothing_is_taken_back(&self, new: &PodStatus) {
        for old in all_published(&self.published) {
            let new = published_of(new, &old.name).unwrap();
            assert!(!old.ready || new.ready, "{new:?}");
            assert!(old.started != Some(true) || new.started == Some(true), "{new:?}");
        }
    }

    /// The rules of publishing: nothing goes backwards.
    pub(super) fn check_status(&self, new: &PodStatus) {
        // A terminal status is never changed, but for what it says of containers that somebody else has ended, or given up.
        if is_terminal(&self.published) {
            let runs = |status: &ContainerStatus| status.state.as_ref().unwrap().running.is_some();
            let is_unsaid = |status| status::is_given_up(status) && !status::is_told(status);
            let is_due = all_published(&self.published).any(runs) || is_unsaid(&self.published);
            assert!(is_due && !all_published(new).any(runs) && !is_unsaid(new), "{new:?}");
            let told = |status: &PodStatus| [&status.phase, &status.reason, &status.message].map(Clone::clone);
            assert_eq!(told(&self.published), told(new));
        }
        assert_ne!(new, &self.published, "nothing new");
        let is_running = |status: &PodStatus| status.phase.as_deref() == Some("Running");
        assert!(!is_running(&self.published) || is_running(new) || is_terminal(new), "{:?}", new.phase);
        for container in all_published(new) {
            if let Some(old) = published_of(&self.published, &container.name) {
                assert!(old.restart_count <= container.restart_count, "{container:?}");
            }
        }
    }
}
