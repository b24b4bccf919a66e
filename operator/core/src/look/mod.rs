//! One look at one CmdJob, from the first to the last effect: what is done, in which order, and when it is looked at again.
//!
//! ```text
//!   read ─► plan ─► its steps, in order ─► ask the floor for room ─► make pods: 1, 2, 4 … ─► write the status ─► look again
//!    │                  │ one fails             │ too early to say         │ one is refused          │ may wait     after a pause,
//!    │ invalid:         ▼                       ▼                          ▼ no more of them         ▼ a moment     or when something
//!    └► say so      again, later            when named                 say so, again later      again then         has changed
//!       (if it is to go, let it: `unfit`)
//! ```
//!
//! The operator and the model in `model/` have their own [`Effects`] and this order in common: it stands nowhere else.

mod starts;
mod steps;
mod unfit;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use vk_cmd_crds::{CmdJob, CmdJobStatus, Ledger};

use self::starts::starts_of;
use self::steps::{be_sure, carry_out};
use crate::effects::{At, Effects, Refusal};
use crate::events;
use crate::floor::Placed;
use crate::memory::at;
use crate::place::Demand;
use crate::status::Outcome;
use crate::{Plan, Seen, Start, Step, ValidJob, dependencies, patch, plan, status, validate};

pub use self::steps::stray;

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
    /// Pods could not be made for now; of this generation of their job.
    NotMade(Vec<Outcome>, Option<i64>),
    /// The caches do not know yet what the API server does.
    Behind,
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
            Self::NotMade(outcomes, _) => match outcomes.iter().find(|outcome| is_refused(outcome)) {
                Some(Outcome::NameTaken(name)) => write!(f, "the pod could not be made: the name {name} is taken"),
                Some(Outcome::Refused(why) | Outcome::Rejected(why)) => write!(f, "the pod could not be made: {why}"),
                Some(Outcome::Made(_) | Outcome::NotPlaced(..)) | None => write!(f, "a pod could not be made"),
            },
            Self::Behind => write!(f, "the caches are behind: the CmdJob or a pod of it has changed meanwhile"),
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
        Found::Unreadable { metadata, why } => unfit::unreadable(metadata, why, effects).await,
    };
    let at = At::of(metadata);
    let done = match done {
        Ok(again) => Ok(again),
        Err(why) => {
            let again = effects.memory(|memory| memory.failed(at));
            if let Why::NotMade(outcomes, generation) = &why {
                let until = effects.uptime().saturating_add(again);
                effects.memory(|memory| memory.refuse(at, *generation, outcomes.clone(), until));
            }
            Err(Failed { why, again })
        }
    };
    let now = effects.now();
    if let Some(uid) = &metadata.uid {
        effects.floor(|floor| ((), floor.looked(uid, now)));
    }
    done
}

async fn readable<E: Effects>(cached: &CmdJob, effects: &mut E) -> Result<Again, Why<E::Error>> {
    let newer = effects.memory(|memory| memory.newer(cached));
    let job = newer.as_deref().unwrap_or(cached);
    if job.spec.managed_by.is_some() {
        return unfit::of_others(job, effects).await;
    }
    let valid = match validate(job) {
        Ok(valid) => valid,
        Err(problems) => return unfit::invalid(job, &problems, effects).await,
    };
    let object = valid.object;
    let recorded = job.status.clone().unwrap_or_default();
    let seen = observe(&valid, effects);
    let plan = plan(&valid, &recorded, &seen, effects.now());
    // Of a job that is new there is nothing; before one that is not held yet is started, it is held, in this version.
    let is_new = !object.is_held() && job.status.is_none();
    let must_be_sure = plan.says_still() && !is_new || object.is_held() && !plan.starts.is_empty();
    if must_be_sure && !effects.memory(|memory| memory.is_sure(object.at(), object.uid)) {
        be_sure(&object, effects).await?;
    }
    carry_out(&plan.steps, &object, effects).await?;
    if plan.steps.contains(&Step::HoldJob) && !has_begun(&recorded) {
        // Before that nobody can have made a pod.
        effects.memory(|memory| memory.be_sure(object.at(), object.uid));
    }
    let now = effects.now();
    let uptime = effects.uptime();
    let refused = effects.memory(|memory| memory.refused(at(job), object.generation, uptime));
    let (outcomes, pause) = match refused.filter(|_| !plan.starts.is_empty()) {
        Some((refused, left)) => (refused, Some(left)),
        None => {
            let Some(placed) = effects.floor(|floor| floor.ask_for(&valid, &plan.starts, now)) else {
                // It is named again when the other jobs have been looked at, too.
                return Ok(None);
            };
            let starts: Vec<(&Start, Placed)> = plan.starts.iter().zip(placed).collect();
            (starts_of(&valid, &starts, effects).await?, None)
        }
    };
    let status = status::status(&valid, &recorded, &plan, &outcomes, effects.now());
    let wait = wait(job, &recorded, &status, effects);
    if wait.is_none() {
        report(job, &status, effects).await?;
        effects.memory(|memory| memory.written(at(job)));
    }
    if pause.is_none() {
        must_be_made(&outcomes, job, effects)?;
    }
    let turn = if outcomes.iter().any(|outcome| matches!(outcome, Outcome::NotPlaced(..))) {
        effects.floor(|floor| (Demand::of(&valid).changes_at(floor.nodes(), now), Vec::new()))
    } else {
        None
    };
    let turn = turn.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
    Ok(next(&plan, wait.into_iter().chain(turn).chain(pause).min()))
}

/// The job's pods, the nodes that they are on, and the jobs that it waits for.
fn observe<E: Effects>(job: &ValidJob<'_>, effects: &mut E) -> Seen {
    let known = |name: &str| effects.dependency(At { namespace: job.object.namespace, name });
    let after = dependencies::all(job.object.name, job.after, &known);
    effects.floor(|floor| (Seen::of(job, floor.pods().of_job(job.object.uid), floor.nodes(), after), Vec::new()))
}

/// Whether a status tells of a pod, or of one that there was.
fn has_begun(recorded: &CmdJobStatus) -> bool {
    let counts = [recorded.active, recorded.terminating, recorded.succeeded, recorded.failed];
    counts.iter().any(|count| *count > 0) || !recorded.attempts.is_empty() || recorded.ledger != Ledger::default()
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

/// Makes the status of `job` as it was read into `wanted`, by one write or none. The answer is kept until the cache has caught
/// up, but not of an object that is gone meanwhile.
async fn report<E: Effects>(job: &CmdJob, wanted: &CmdJobStatus, effects: &mut E) -> Result<(), Why<E::Error>> {
    let recorded = job.status.clone().unwrap_or_default();
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let version = job.metadata.resource_version.as_deref();
    let Some(patch) = patch::status(&recorded, wanted, uid, version).map_err(Why::Json)? else { return Ok(()) };
    let answer = unless_deleted::<E, _>(effects.write_status(at(job), &patch, Some((job, wanted))).await)?;
    if answer.is_some() {
        events::of_change(&recorded, wanted).into_iter().for_each(|event| effects.tell(at(job), uid, event));
    }
    if let Some(answer) = answer.filter(|answer| effects.has(answer)) {
        effects.memory(|memory| memory.keep(answer));
    }
    Ok(())
}

/// To a CmdJob that was deleted meanwhile nothing is to be done, and nobody is left to be told.
fn unless_deleted<E: Effects, T: Default>(answer: Result<T, E::Error>) -> Result<T, E::Error> {
    match answer {
        Err(error) if E::refusal(&error) == Refusal::NotFound => Ok(T::default()),
        other => other,
    }
}

/// A pod that is refused now may be taken later (a quota, a policy, a name): that is tried again with growing pauses. So is one
/// of which it was said that it never can be: a policy says that too, and may be changed. Meanwhile it keeps no room from others.
fn must_be_made<E: Effects>(outcomes: &[Outcome], job: &CmdJob, effects: &mut E) -> Result<(), Why<E::Error>> {
    if !outcomes.iter().any(is_refused) {
        effects.memory(|memory| memory.succeeded(at(job)));
        return Ok(());
    }
    withdraw(job.metadata.uid.as_deref().unwrap_or_default(), effects);
    let missing = outcomes.iter().filter(|outcome| !matches!(outcome, Outcome::Made(_)));
    Err(Why::NotMade(missing.cloned().collect(), job.metadata.generation))
}

fn is_refused(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused(_) | Outcome::Rejected(_) | Outcome::NameTaken(_) => true,
        Outcome::Made(_) | Outcome::NotPlaced(..) => false,
    }
}

/// A job wants no room, or not now.
fn withdraw<E: Effects>(uid: &str, effects: &mut E) {
    let now = effects.now();
    effects.floor(|floor| ((), floor.withdraw(uid, now)));
}

/// When to look again though nothing has changed: as the plan says, or after this time.
fn next(plan: &Plan, wait: Option<Duration>) -> Again {
    // A length of time that cannot be waited for is no time to look again at.
    let pause = plan.look_again.and_then(|pause| Duration::try_from(pause).ok());
    pause.into_iter().chain(wait).min()
}
