//! One look at one CmdJob, from the first to the last effect: what is done, in which order, and when it is looked at again.
//!
//! ```text
//!   read ─► plan ─► its steps, in order ─► ask the floor for room ─► make pods: 1, 2, 4 … ─► write the status ─► look again
//!    │                  │ one fails             │ too early to say         │ one is refused          │ may wait     after a pause,
//!    │ invalid:         ▼                       ▼                          ▼ no more of them         ▼ a moment     or when something
//!    └► say so      again, later            when named                 say so, again later      again then         has changed
//! ```
//!
//! The operator and the model in `model/` have their own [`Effects`] and this order in common: it stands nowhere else.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use vk_cmd_crds::{CmdJob, CmdJobStatus, labels};

use crate::effects::{At, CallFailure, Effects, Only, Refusal};
use crate::floor::Placed;
use crate::memory::at;
use crate::pods::Owner;
use crate::status::Outcome;
use crate::{
    Invalid, Plan, PodSeen, Seen, Sight, Start, Step, ValidJob, dependencies, patch, plan, pod, status, validate,
};

/// How long a change of the status waits for the next one, if it only tells how far the work is.
const SOFT: Duration = Duration::from_millis(500);
/// The same where the job comes into another state: people wait for that. What ends sooner than this is told of in one write.
const SOFT_STATE: Duration = Duration::from_millis(100);

/// What the cache has under the name of a CmdJob.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// A CmdJob.
    Job(&'a CmdJob),
    /// An object that does not fit the type.
    Unreadable {
        /// What of it can be read.
        metadata: &'a ObjectMeta,
        /// What does not fit.
        why: &'a str,
    },
}

/// When to look again though nothing has changed; none: not before something has.
pub type Again = Option<Duration>;

/// A look that did not get to its end. It is taken again after a pause that grows with each.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Failed<C> {
    /// Why.
    pub why: Why<C>,
    /// The pause.
    pub again: Duration,
}

/// Why a look did not get to its end.
#[derive(Debug)]
pub enum Why<C> {
    /// A call went wrong.
    Call(C),
    /// A status does not turn into JSON.
    Json(serde_json::Error),
    /// A pod could not be made for now; why.
    NotMade(String),
}

impl<C> From<C> for Why<C> {
    fn from(error: C) -> Self {
        Self::Call(error)
    }
}

impl<C: std::fmt::Display> std::fmt::Display for Why<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Call(error) => error.fmt(f),
            Self::Json(error) => write!(f, "cannot write the status of a CmdJob as JSON: {error}"),
            Self::NotMade(why) => write!(f, "the pod could not be made: {why}"),
        }
    }
}

/// Looks at a CmdJob and does what there is to do.
pub async fn look<E: Effects>(found: Found<'_>, effects: &mut E) -> Result<Again, Failed<E::Error>> {
    let metadata = match found {
        Found::Job(job) => &job.metadata,
        Found::Unreadable { metadata, .. } => metadata,
    };
    let done = match found {
        Found::Job(job) => readable(job, effects).await,
        Found::Unreadable { metadata, why } => unreadable(metadata, why, effects).await,
    };
    let at = at_of(metadata);
    let done = match done {
        Ok(again) => Ok(again),
        Err(why) => Err(Failed { why, again: effects.memory(|memory| memory.failed(at)) }),
    };
    let now = effects.now();
    if let Some(uid) = &metadata.uid {
        effects.floor(|floor| ((), floor.looked(uid, now)));
    }
    done
}

/// Lets a pod go whose CmdJob is gone; false: it is still there. The API server itself is asked: the cache may be behind.
pub async fn stray<E: Effects>(owner: &Owner, pod: &PodSeen, effects: &mut E) -> Result<bool, E::Error> {
    let found = effects.get_job(At { namespace: &owner.namespace, name: &owner.name }).await?;
    if found.is_some_and(|job| job.uid.as_ref() == Some(&owner.uid)) {
        return Ok(false);
    }
    release_pod(At { namespace: &owner.namespace, name: &pod.name }, &pod.uid, effects).await?;
    Ok(true)
}

/// Says of an object that cannot be read what does not fit. It is left alone until it is changed.
async fn unreadable<E: Effects>(metadata: &ObjectMeta, why: &str, effects: &mut E) -> Result<Again, Why<E::Error>> {
    let uid = metadata.uid.as_deref().unwrap_or_default();
    withdraw(uid, effects);
    let patch = patch::unreadable(uid, metadata.generation, why);
    written(effects.write_status(at_of(metadata), &patch, None).await)?;
    effects.memory(|memory| memory.succeeded(at_of(metadata)));
    Ok(None)
}

async fn readable<E: Effects>(cached: &CmdJob, effects: &mut E) -> Result<Again, Why<E::Error>> {
    let newer = effects.memory(|memory| memory.newer(cached));
    let job = newer.as_deref().unwrap_or(cached);
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let recorded = job.status.clone().unwrap_or_default();

    if job.spec.managed_by.is_some() {
        // Somebody else's to run, status and all.
        withdraw(uid, effects);
        return Ok(None);
    }
    let valid = match validate(job) {
        Ok(valid) => valid,
        Err(problems) => return reject(job, &problems, effects).await,
    };
    let seen = observe(&valid, effects);
    let plan = plan(&valid, &recorded, &seen, effects.now());
    for step in &plan.steps {
        act(step, &valid, job.metadata.resource_version.as_deref(), effects).await?;
    }
    let now = effects.now();
    let Some(placed) = effects.floor(|floor| floor.ask_for(&valid, &plan.starts, now)) else {
        // It is named again when the other jobs have been looked at, too.
        return Ok(None);
    };
    let starts: Vec<(&Start, Placed)> = plan.starts.iter().zip(placed).collect();
    let outcomes = starts_of(&valid, &starts, effects).await?;
    let status = status::status(&valid, &recorded, &plan, &outcomes, effects.now());
    let wait = wait(job, &recorded, &status, effects);
    if wait.is_none() {
        report(job, &status, effects).await?;
        effects.memory(|memory| memory.written(at(job)));
    }
    must_be_made(&outcomes, job, effects)?;
    Ok(next(&plan, wait))
}

/// The job's pods, the nodes that they are on, and the jobs that it waits for.
fn observe<E: Effects>(job: &ValidJob<'_>, effects: &mut E) -> Seen {
    let known = |name: &str| effects.dependency(At { namespace: job.namespace, name });
    let after = dependencies::all(job.name, job.after, &known);
    effects.floor(|floor| (Seen::of(job, floor.pods().of_job(job.uid), floor.nodes(), after), Vec::new()))
}

/// How long the status is not yet written; none: it is written now.
fn wait<E: Effects>(job: &CmdJob, recorded: &CmdJobStatus, status: &CmdJobStatus, effects: &mut E) -> Option<Duration> {
    if patch::is_urgent(recorded, status) || status == recorded {
        return None;
    }
    let length = if recorded.state == status.state { SOFT } else { SOFT_STATE };
    let uptime = effects.uptime();
    let unwritten = effects.memory(|memory| memory.unwritten(at(job), uptime));
    length.checked_sub(unwritten).filter(|wait| !wait.is_zero())
}

/// Says what is wrong with the CmdJob. It is looked at again when it has changed.
async fn reject<E: Effects>(job: &CmdJob, problems: &Invalid, effects: &mut E) -> Result<Again, Why<E::Error>> {
    withdraw(job.metadata.uid.as_deref().unwrap_or_default(), effects);
    let recorded = job.status.clone().unwrap_or_default();
    let status = status::invalid(&recorded, job.metadata.generation, problems, effects.now());
    report(job, &status, effects).await?;
    effects.memory(|memory| memory.succeeded(at(job)));
    Ok(None)
}

/// Makes the status of `job` as it was read into `wanted`, by one write or none. The answer is kept until the cache has caught
/// up, but not of an object that is gone meanwhile.
async fn report<E: Effects>(job: &CmdJob, wanted: &CmdJobStatus, effects: &mut E) -> Result<(), Why<E::Error>> {
    let recorded = job.status.clone().unwrap_or_default();
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let version = job.metadata.resource_version.as_deref();
    let Some(patch) = patch::status(&recorded, wanted, uid, version).map_err(Why::Json)? else { return Ok(()) };
    let answer = written(effects.write_status(at(job), &patch, Some((job, wanted))).await)?;
    if let Some(answer) = answer.filter(|answer| effects.has(answer)) {
        effects.memory(|memory| memory.keep(answer));
    }
    Ok(())
}

/// If it was deleted meanwhile, nobody is left to be told.
fn written<C: CallFailure>(answer: Result<Option<CmdJob>, C>) -> Result<Option<CmdJob>, C> {
    match answer {
        Err(error) if error.refusal() == Refusal::NotFound => Ok(None),
        other => other,
    }
}

async fn act<E: Effects>(
    step: &Step,
    job: &ValidJob<'_>,
    version: Option<&str>,
    effects: &mut E,
) -> Result<(), E::Error> {
    let here = At { namespace: job.namespace, name: job.name };
    match step {
        Step::HoldJob => effects.patch_job(here, &patch::hold(job.finalizers, job.uid, version)).await,
        Step::DeletePod { name, uid } => {
            let there = At { namespace: job.namespace, name };
            match effects.delete_pod(there, Only { uid, version: None }).await {
                // Gone, or another pod by now: in both cases this one is no more.
                Err(error) if matches!(error.refusal(), Refusal::NotFound | Refusal::Conflict) => Ok(()),
                other => other,
            }
        }
        Step::ReleasePod { name, uid } => release_pod(At { namespace: job.namespace, name }, uid, effects).await,
        // Somebody may just have lengthened its time.
        Step::DeleteJob => unless_gone(effects.delete_job(here, Only { uid: job.uid, version }).await),
        Step::ReleaseJob if is_held(job, effects).await? => {
            // The cache is behind: what it is about to tell of will have the job looked at again.
            Ok(())
        }
        Step::ReleaseJob => unless_gone(effects.patch_job(here, &patch::release(job.finalizers, job.uid, None)).await),
    }
}

/// Whether there is a pod of the job that has not been counted, by the API server's own word.
async fn is_held<E: Effects>(job: &ValidJob<'_>, effects: &mut E) -> Result<bool, E::Error> {
    // One that was taken from the job (`--cascade=orphan`) is nobody's to count.
    let is_held = |pod: &ObjectMeta| {
        pod.owner_references.iter().flatten().any(|owner| owner.uid == job.uid)
            && pod.finalizers.iter().flatten().any(|finalizer| finalizer == labels::FINALIZER)
    };
    let mut from = None;
    loop {
        let (pods, next) = effects.list_pods(job.namespace, job.uid, from.as_deref()).await?;
        if pods.iter().any(is_held) {
            return Ok(true);
        }
        if next.is_none() {
            return Ok(false);
        }
        from = next;
    }
}

/// Takes our finalizer from a pod, if it still has this UID. Those of others stay.
async fn release_pod<E: Effects>(pod: At<'_>, uid: &str, effects: &mut E) -> Result<(), E::Error> {
    let Some(there) = effects.get_pod_metadata(pod).await?.filter(|there| there.uid.as_deref() == Some(uid)) else {
        return Ok(());
    };
    let finalizers = there.finalizers.as_deref().unwrap_or_default();
    let patch = patch::release(finalizers, uid, there.resource_version.as_deref());
    unless_gone(effects.patch_pod(pod, &patch).await)
}

fn unless_gone<C: CallFailure>(answer: Result<(), C>) -> Result<(), C> {
    match answer {
        Err(error) if error.refusal() == Refusal::NotFound => Ok(()),
        other => other,
    }
}

/// Makes the pods that were started, each on the node that was found for it, and says what has become of each. Like the Job
/// controller it begins with one and goes on with twice as many, as long as none is refused: a namespace whose quota is used up
/// is not asked a hundred times.
async fn starts_of<E: Effects>(
    job: &ValidJob<'_>,
    starts: &[(&Start, Placed)],
    effects: &mut E,
) -> Result<Vec<Outcome>, E::Error> {
    let mut outcomes = Vec::new();
    let (mut left, mut batch) = (starts, 1_usize);
    while !left.is_empty() {
        let (now, rest) = left.split_at(batch.min(left.len()));
        let made = batch_of(job, now, effects).await?;
        let refused = made.iter().any(|outcome| matches!(outcome, Outcome::Refused(_) | Outcome::Rejected(_)));
        outcomes.extend(made);
        if refused {
            break;
        }
        (left, batch) = (rest, batch.saturating_mul(2));
    }
    Ok(outcomes)
}

async fn batch_of<E: Effects>(
    job: &ValidJob<'_>,
    starts: &[(&Start, Placed)],
    effects: &mut E,
) -> Result<Vec<Outcome>, E::Error> {
    let placed = starts.iter().filter_map(|(start, placed)| Some((start, placed.as_ref().ok()?)));
    let pods: Vec<Pod> = placed.map(|(start, node)| pod::build(job, start.index, start.attempt, node)).collect();
    let answers = if pods.is_empty() { Vec::new() } else { effects.create_pods(&pods).await };
    // What was made is noted before anything else can go wrong.
    answers.iter().flatten().for_each(|made| note(job, made, effects));
    let mut answered = pods.iter().zip(answers);
    let mut outcomes = Vec::new();
    for (_, placed) in starts {
        match placed {
            Err((reason, why)) => outcomes.push(Outcome::NotPlaced(*reason, why.clone())),
            Ok(_) => {
                let Some((pod, answer)) = answered.next() else { break };
                outcomes.push(outcome(job, pod, answer, effects).await?);
            }
        }
    }
    Ok(outcomes)
}

/// What has become of a pod that was to be made.
async fn outcome<E: Effects>(
    job: &ValidJob<'_>,
    pod: &Pod,
    answer: Result<Pod, E::Error>,
    effects: &mut E,
) -> Result<Outcome, E::Error> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let error = match answer {
        Ok(made) => return Ok(sight(job, &made)),
        Err(error) => error,
    };
    match error.refusal() {
        Refusal::AlreadyExists => {
            // It may go between the two calls: look again then.
            let found = effects.get_pod(At { namespace: job.namespace, name }).await?.ok_or(error)?;
            note(job, &found, effects);
            Ok(sight(job, &found))
        }
        Refusal::Malformed => Ok(Outcome::Rejected(error.words())),
        Refusal::Forbidden | Refusal::NotFound => Ok(Outcome::Refused(error.words())),
        Refusal::Conflict | Refusal::Trouble => Err(error),
    }
}

/// A pod of the name that was wanted.
fn sight(job: &ValidJob<'_>, pod: &Pod) -> Outcome {
    match Sight::of(pod, job.uid) {
        Sight::Ours(seen) => Outcome::Made(seen),
        Sight::Foreign => Outcome::NameTaken(pod.metadata.name.clone().unwrap_or_default()),
    }
}

/// Notes a pod of the job that the watch will tell of soon.
fn note<E: Effects>(job: &ValidJob<'_>, pod: &Pod, effects: &mut E) {
    let now = effects.now();
    if let Sight::Ours(_) = Sight::of(pod, job.uid) {
        effects.floor(|floor| ((), floor.put_pod(pod, now)));
    }
}

/// A pod that is refused now may be taken later (a quota, a policy, a name): that is tried again with growing pauses.
/// Meanwhile it keeps no room from others.
fn must_be_made<E: Effects>(outcomes: &[Outcome], job: &CmdJob, effects: &mut E) -> Result<(), Why<E::Error>> {
    let why = outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Refused(why) => Some(why.clone()),
        Outcome::NameTaken(name) => Some(format!("the name {name} is taken")),
        Outcome::Made(_) | Outcome::NotPlaced(..) | Outcome::Rejected(_) => None,
    });
    let Some(why) = why else {
        effects.memory(|memory| memory.succeeded(at(job)));
        return Ok(());
    };
    withdraw(job.metadata.uid.as_deref().unwrap_or_default(), effects);
    Err(Why::NotMade(why))
}

/// A job wants no room, or not now.
fn withdraw<E: Effects>(uid: &str, effects: &mut E) {
    let now = effects.now();
    effects.floor(|floor| ((), floor.withdraw(uid, now)));
}

/// When to look again though nothing has changed.
fn next(plan: &Plan, wait: Option<Duration>) -> Again {
    // A length of time that cannot be waited for is no time to look again at.
    let pause = plan.look_again.and_then(|pause| Duration::try_from(pause).ok());
    pause.into_iter().chain(wait).min()
}

fn at_of(metadata: &ObjectMeta) -> At<'_> {
    At {
        namespace: metadata.namespace.as_deref().unwrap_or_default(),
        name: metadata.name.as_deref().unwrap_or_default(),
    }
}
