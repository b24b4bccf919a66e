//! The volumes of one pod, kept as they should be while it is there.
//!
//! ```text
//!   an object that they come from changes ─┐
//!   the pod's labels or annotations change ─┼─▶ make the files ─▶ put those volumes that are not so already
//!   a token is to be replaced              ─┤
//!   something has failed: a while later    ─┘
//! ```
//!
//! All of it may be lost: what is put again and was there already costs the pipe a comparison. A volume that has been made
//! once stays as it is where it cannot be made anew, as with the kubelet.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, SinkExt, future};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tracing::{info, warn};
use vk_api_client::chain;
use vk_node_core::admit::{AdmittedVolume, FileSource, PodKey, TokenRequest, VolumeKind};
use vk_node_core::events::{Note, NoteKind};
use vk_node_core::files::{self, Materials, NotMade};
use vk_node_core::sources::{SourceRef, Sources, needed_by};
use vk_pipe::client::ClientError;
use vk_task::{DirName, VolumeContent};

use super::Shared;
use super::objects::{Seen, Watched};
use super::tokens::{Texts, Tokens};
use crate::pods::KeptPod;

/// The first and the longest wait after something has failed. The first is short: an API server that has just bound many pods
/// to a node refuses it their tokens until its authorizer has seen them, too, which is a matter of milliseconds.
const RETRY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));
/// How long volumes that are being made for the first time may fail before that is told: see above.
const TELL_AFTER: Duration = Duration::from_secs(1);
/// How often all volumes are put again, though nothing has changed: whatever has become of them on the host is mended, and
/// the pipe, which removes what nobody asks for, sees that they are asked for.
const PUT_AGAIN: Duration = Duration::from_secs(1200);
/// The longest sleep: a clock that was set is noticed so soon.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);

/// How a pod's volumes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// They are being made for the first time.
    Making,
    /// They have been made: containers can be started.
    Made,
    /// They cannot be made yet, and why.
    Failing(String),
}

/// What keeps them.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    key: PodKey,
    uid: DirName,
    volumes: Vec<AdmittedVolume>,
    requests: Vec<TokenRequest>,
    pod: watch::Receiver<Arc<KeptPod>>,
    /// Each with what is known of it, and what keeps it being watched.
    objects: BTreeMap<SourceRef, (watch::Receiver<Seen>, Arc<Watched>)>,
    tokens: Tokens,
    /// What each volume held when it was last put, as a digest, and when that was.
    put: BTreeMap<DirName, (u64, Instant)>,
    begun: Instant,
    state: watch::Sender<State>,
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        (key, uid, account): (PodKey, DirName, String),
        volumes: Vec<AdmittedVolume>,
        pod: watch::Receiver<Arc<KeptPod>>,
        state: watch::Sender<State>,
    ) -> Self {
        let objects = volumes.iter().flat_map(|volume| needed_by(&volume.kind));
        let objects = objects.map(|object| {
            let watched = shared.watches.objects.watch(&key.namespace, &object);
            (object, (watched.seen(), watched))
        });
        let objects = objects.collect();
        let tokens = Tokens::new(&shared.client, &account, key.clone());
        let requests = volumes.iter().flat_map(|volume| token_requests(&volume.kind)).collect();
        Self {
            shared,
            key,
            uid,
            volumes,
            requests,
            pod,
            objects,
            tokens,
            put: BTreeMap::new(),
            begun: Instant::now(),
            state,
        }
    }

    /// Keeps them, until it is dropped.
    pub(super) async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            // It takes much more room than the wait, which is most of a keeper's life: there is one for each pod.
            let is_well = Box::pin(self.round()).await;
            failures = if is_well { 0 } else { failures.saturating_add(1) };
            let retry = RETRY.0.saturating_mul(1 << failures.saturating_sub(1).min(13)).min(RETRY.1);
            let renewal = self.tokens.next_renewal().unwrap_or(LONGEST_SLEEP);
            let put_again = self.put.values().map(|(_, at)| PUT_AGAIN.saturating_sub(at.elapsed())).min();
            let calm = renewal.min(put_again.unwrap_or(LONGEST_SLEEP)).min(LONGEST_SLEEP);
            self.changed(if is_well { calm } else { retry }).await;
        }
    }

    /// Waits for a reason to look again.
    async fn changed(&mut self, sleep: Duration) {
        let Self { objects, pod, .. } = self;
        let objects = objects.values_mut().map(|(seen, _)| news(seen).boxed());
        let objects = objects.chain([news(pod).boxed()]);
        // Cancel-safe: what has changed and was not taken notice of is still marked as changed.
        tokio::select! {
            _ = future::select_all(objects) => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }

    /// Makes and puts what is not as it should be. Says whether there is nothing that only time can mend.
    async fn round(&mut self) -> bool {
        let pod = self.pod.borrow_and_update().read();
        let pod = match pod {
            Ok(pod) => pod,
            Err(error) => {
                warn!(pod = %self.key, "{}; trying again", chain(&error));
                return false;
            }
        };
        let (sources, unseen) = self.sources();
        if unseen.values().any(Option::is_none) && *self.state.borrow() == State::Making {
            return true;
        }
        let requests = std::mem::take(&mut self.requests);
        let (tokens, mut is_well) = self.tokens.valid(&requests).await;
        self.requests = requests;
        let mut wrong = Vec::new();
        for volume in std::mem::take(&mut self.volumes) {
            let content = content(&volume, &pod, (&sources, &unseen, &tokens), &self.shared);
            let put = match content {
                Ok(content) => self.put(&volume.name, content).await.inspect_err(|_| is_well = false),
                Err(not_made) => Err(not_made),
            };
            wrong.extend(put.err().map(|not_made| not_made.to_string()));
            self.volumes.push(volume);
        }
        self.tell(&pod, wrong, is_well).await;
        is_well
    }

    /// What is known of the objects: what is in them, and why it is not known of others; `None`: they have not been read
    /// yet.
    fn sources(&mut self) -> (Sources, BTreeMap<SourceRef, Option<String>>) {
        let (mut sources, mut unseen) = (Sources::new(), BTreeMap::new());
        for (object, (seen, _)) in &mut self.objects {
            match &*seen.borrow_and_update() {
                Seen::NotYet => drop(unseen.insert(object.clone(), None)),
                Seen::Unreadable(why) => drop(unseen.insert(object.clone(), Some(why.clone()))),
                Seen::Gone => drop(sources.insert(object.clone(), None)),
                Seen::There(content) => drop(sources.insert(object.clone(), Some(content.clone()))),
            }
        }
        (sources, unseen)
    }

    async fn put(&mut self, name: &DirName, content: VolumeContent) -> Result<(), NotMade> {
        let digest = digest(&content);
        if self.put.get(name).is_some_and(|(before, at)| *before == digest && at.elapsed() < PUT_AGAIN) {
            return Ok(());
        }
        match self.shared.pipe.put_volume(&self.uid, name, &content).await {
            Ok(()) => {
                let before = self.put.insert(name.clone(), (digest, Instant::now()));
                if before.is_some_and(|(before, _)| before != digest) {
                    info!(pod = %self.key, volume = %name, "a volume has changed");
                }
                Ok(())
            }
            Err(error) => {
                let why = match &error {
                    ClientError::Refused(refusal) => refusal.message.clone(),
                    ClientError::Unreachable { .. } | ClientError::TimedOut { .. } | ClientError::Protocol(_) => {
                        error.to_string()
                    }
                };
                Err(NotMade { volume: name.to_string(), reasons: vec![why] })
            }
        }
    }

    /// Tells of what has come of it where that is news: to those who wait for it, and to people.
    async fn tell(&self, pod: &Pod, wrong: Vec<String>, is_well: bool) {
        let before = self.state.borrow().clone();
        if before == State::Making && !is_well && self.begun.elapsed() < TELL_AFTER {
            return;
        }
        let message = wrong.join("; ");
        let now = match (&before, wrong.is_empty()) {
            (_, true) => State::Made,
            (State::Made, false) => {
                // They stay as they are, and that is told once for each reason.
                if self.shared.tell_once(&self.key.uid, &message) {
                    warn!(pod = %self.key, "{message}; what was there before stays");
                    self.shared.events.pod(pod, Note::new(NoteKind::Warning, FAILED_MOUNT, message));
                }
                return;
            }
            (State::Making | State::Failing(_), false) => State::Failing(message.clone()),
        };
        if before == now {
            return;
        }
        if let State::Failing(message) = &now {
            warn!(pod = %self.key, "{message}");
            for message in wrong {
                self.shared.events.pod(pod, Note::new(NoteKind::Warning, FAILED_MOUNT, message));
            }
        }
        self.state.send_replace(now);
        // The receiver lives as long as the controller, and without that there is nobody to be told.
        let _ = self.shared.news.clone().send(self.key.clone()).await;
    }
}

/// The kubelet's word for a volume that is not there.
const FAILED_MOUNT: &str = "FailedMount";

/// Waits until there is something new; for ever where there never will be.
async fn news<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        future::pending::<()>().await;
    }
}

/// What is to be in a volume.
fn content(
    volume: &AdmittedVolume,
    pod: &Pod,
    (sources, unseen, tokens): (&Sources, &BTreeMap<SourceRef, Option<String>>, &Texts),
    shared: &Shared,
) -> Result<VolumeContent, NotMade> {
    let name = volume.name.as_str();
    match &volume.kind {
        VolumeKind::Empty { memory } => Ok(VolumeContent::Empty { memory: *memory }),
        VolumeKind::Files { sources: from, default_mode } => {
            let unseen = needed_by(&volume.kind).into_iter().filter_map(|object| {
                let why = unseen.get(&object)?.as_deref().unwrap_or("it has not been read yet");
                Some(format!("{object}: {why}"))
            });
            let reasons: Vec<String> = unseen.collect();
            if !reasons.is_empty() {
                return Err(NotMade { volume: name.to_owned(), reasons });
            }
            let materials = Materials { sources, tokens, node: &shared.node };
            let memory = files::are_in_memory(from);
            files::make(name, (from, *default_mode), pod, materials).map(|files| VolumeContent::Files { files, memory })
        }
        // Nothing has to be made for it: see `AdmittedPod::volumes`.
        VolumeKind::Host { .. } => {
            Err(NotMade { volume: name.to_owned(), reasons: vec!["it is a path of the host".to_owned()] })
        }
    }
}

fn token_requests(kind: &VolumeKind) -> Vec<TokenRequest> {
    let VolumeKind::Files { sources, .. } = kind else { return vec![] };
    let requests = sources.iter().filter_map(|source| match source {
        FileSource::Token(token) => Some(token.request.clone()),
        FileSource::Object { .. } | FileSource::Downward(_) => None,
    });
    requests.collect()
}

/// Whether two contents are the same can be told by these.
fn digest(content: &VolumeContent) -> u64 {
    let mut hasher = DefaultHasher::new();
    match content {
        VolumeContent::Empty { memory } => memory.hash(&mut hasher),
        VolumeContent::Files { files, memory } => {
            memory.hash(&mut hasher);
            for (path, file) in files {
                (path, &file.data, file.mode).hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}
