//! All tasks, as they were last seen, and those who want to know of changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::{Stream, stream};
use tokio::sync::broadcast::{self, Receiver, error::RecvError};
use tokio::sync::{Notify, OwnedMutexGuard};
use vk_task::{TaskId, TaskView, WatchEvent};

use super::busy::Busy;
use super::lock;

/// How many changes are kept for a watcher that is slow. One that is slower begins anew with a snapshot.
const KEPT_CHANGES: usize = 1024;

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    tasks: Mutex<BTreeMap<TaskId, Known>>,
    /// Those tasks that somebody makes, stops or removes at this moment.
    busy: Busy<TaskId>,
    changes: broadcast::Sender<Arc<WatchEvent>>,
}

#[derive(Debug)]
struct Known {
    view: TaskView,
    /// Wakes the task's keeper.
    nudge: Arc<Notify>,
    /// Wakes all who wait for a change of the view.
    changed: Arc<Notify>,
    /// Its shim has said that its end is on record, durably.
    end_is_durable: bool,
}

/// What a watcher has still to be told of.
enum Watching {
    /// All there is.
    Anew,
    /// What comes out of this.
    From(Receiver<Arc<WatchEvent>>),
}

impl Default for Table {
    fn default() -> Self {
        Self { tasks: Mutex::default(), busy: Busy::default(), changes: broadcast::Sender::new(KEPT_CHANGES) }
    }
}

impl Table {
    /// Takes in what is now known of a task, and tells the watchers if that is new.
    pub(super) fn publish(&self, view: TaskView) -> Arc<Notify> {
        let mut tasks = lock(&self.tasks);
        let nudge = match tasks.get_mut(&view.id) {
            Some(known) if known.view == view => return Arc::clone(&known.nudge),
            Some(known) => {
                known.view = view.clone();
                known.changed.notify_waiters();
                Arc::clone(&known.nudge)
            }
            None => {
                let nudge = Arc::new(Notify::new());
                let known = Known {
                    view: view.clone(),
                    nudge: Arc::clone(&nudge),
                    changed: Arc::default(),
                    end_is_durable: false,
                };
                tasks.insert(view.id.clone(), known);
                nudge
            }
        };
        // Within the lock, so that changes come in the order in which they are in the table. Nobody may be listening.
        let _ = self.changes.send(Arc::new(WatchEvent::Changed { task: view }));
        nudge
    }

    /// Forgets a task.
    pub(super) fn remove(&self, id: &TaskId) {
        let mut tasks = lock(&self.tasks);
        if let Some(known) = tasks.remove(id) {
            known.changed.notify_waiters();
            let _ = self.changes.send(Arc::new(WatchEvent::Removed { id: id.clone() }));
        }
    }

    /// What is known of a task.
    pub(super) fn get(&self, id: &TaskId) -> Option<TaskView> {
        lock(&self.tasks).get(id).map(|k| k.view.clone())
    }

    /// What rings for all who wait, whenever what is known of a task has changed.
    pub(super) fn changes_of(&self, id: &TaskId) -> Option<Arc<Notify>> {
        lock(&self.tasks).get(id).map(|k| Arc::clone(&k.changed))
    }

    /// What is known of all tasks.
    pub(super) fn list(&self) -> Vec<TaskView> {
        self.map(TaskView::clone)
    }

    /// What `f` makes of each task.
    pub(super) fn map<T>(&self, f: impl Fn(&TaskView) -> T) -> Vec<T> {
        lock(&self.tasks).values().map(|k| f(&k.view)).collect()
    }

    /// A snapshot, then the changes; if there were too many while nobody took them, a snapshot again.
    pub(super) fn events(self: Arc<Self>) -> impl Stream<Item = Arc<WatchEvent>> + Send + 'static {
        stream::unfold((self, Watching::Anew), |(table, watching)| async move {
            if let Watching::From(mut changes) = watching {
                match changes.recv().await {
                    Ok(event) => return Some((event, (table, Watching::From(changes)))),
                    Err(RecvError::Closed) => return None,
                    Err(RecvError::Lagged(_)) => {}
                }
            }
            let (tasks, changes) = table.snapshot();
            Some((Arc::new(WatchEvent::Snapshot { tasks }), (table, Watching::From(changes))))
        })
    }

    /// All tasks there are, and all changes from then on.
    fn snapshot(&self) -> (Vec<TaskView>, Receiver<Arc<WatchEvent>>) {
        let tasks = lock(&self.tasks);
        let changes = self.changes.subscribe();
        (tasks.values().map(|k| k.view.clone()).collect(), changes)
    }

    /// Has a task's records read again.
    pub(super) fn nudge(&self, id: &TaskId) {
        if let Some(known) = lock(&self.tasks).get(id) {
            // One that is kept if the keeper is not waiting just now.
            known.nudge.notify_one();
        }
    }

    /// Has a task's records read for the last time: its shim says that the end is on record, durably.
    pub(super) fn nudge_durable(&self, id: &TaskId) {
        if let Some(known) = lock(&self.tasks).get_mut(id) {
            known.end_is_durable = true;
            known.nudge.notify_one();
        }
    }

    /// Whether a task's shim has said that its end is on record, durably.
    pub(super) fn end_is_durable(&self, id: &TaskId) -> bool {
        lock(&self.tasks).get(id).is_some_and(|known| known.end_is_durable)
    }

    /// The one who makes, stops or removes a task: others wait.
    pub(super) async fn busy_with(&self, id: &TaskId) -> OwnedMutexGuard<()> {
        self.busy.with(id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use jiff::Timestamp;
    use vk_task::Origin;
    use vk_task::TaskState;

    fn view(name: &str, second: i64) -> TaskView {
        let at = Timestamp::from_second(second).unwrap();
        let id = TaskId::new(name).unwrap();
        TaskView {
            id,
            origin: Origin::Fifo { writer: None },
            state: TaskState::Accepted { at },
            stop: None,
            lingering: Vec::new(),
            reported: false,
            termination_message: None,
        }
    }

    fn run(work: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work);
    }

    #[test]
    fn a_watcher_is_told_of_all_there_is_and_of_each_change() {
        run(async {
            let table = Arc::new(Table::default());
            table.publish(view("a", 1));
            let mut events = Box::pin(Arc::clone(&table).events());
            assert_eq!(*events.next().await.unwrap(), WatchEvent::Snapshot { tasks: vec![view("a", 1)] });
            table.publish(view("a", 1));
            table.publish(view("a", 2));
            table.remove(&TaskId::new("a").unwrap());
            assert_eq!(*events.next().await.unwrap(), WatchEvent::Changed { task: view("a", 2) });
            assert_eq!(*events.next().await.unwrap(), WatchEvent::Removed { id: TaskId::new("a").unwrap() });
        });
    }

    #[test]
    fn a_watcher_that_is_too_slow_begins_anew() {
        run(async {
            let table = Arc::new(Table::default());
            let mut events = Box::pin(Arc::clone(&table).events());
            events.next().await.unwrap();
            let last = i64::try_from(KEPT_CHANGES).unwrap() + 1;
            (0..=last).for_each(|n| {
                table.publish(view("a", n));
            });
            assert_eq!(*events.next().await.unwrap(), WatchEvent::Snapshot { tasks: vec![view("a", last)] });
            table.publish(view("b", 1));
            assert_eq!(*events.next().await.unwrap(), WatchEvent::Changed { task: view("b", 1) });
        });
    }

    #[test]
    fn one_at_a_time_is_busy_with_a_task() {
        run(async {
            let table = Table::default();
            let id = TaskId::new("a").unwrap();
            let first = table.busy_with(&id).await;
            assert!(futures::poll!(Box::pin(table.busy_with(&id))).is_pending());
            drop(table.busy_with(&TaskId::new("b").unwrap()).await);
            drop(first);
            drop(table.busy_with(&id).await);
        });
    }
}
