//! Making the pods that were started, and what has become of each.

use k8s_openapi::api::core::v1::Pod;

use crate::effects::{At, CallFailure as _, Effects, Refusal};
use crate::events::Event;
use crate::floor::Placed;
use crate::status::Outcome;
use crate::{Sight, Start, ValidJob, pod};

/// Makes the pods that were started, each on the node that was found for it, and says what has become of each. Like the Job
/// controller it begins with one and goes on with twice as many, as long as none is refused: a namespace whose quota is used up
/// is not asked a hundred times.
pub(super) async fn starts_of<E: Effects>(
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
    for made in answers.iter().flatten() {
        note(job, made, effects);
        effects.tell(At::of_job(job), job.uid, Event::created(made));
    }
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
        Refusal::Conflict | Refusal::Trouble => {
            effects.memory(|memory| memory.be_unsure(At::of_job(job)));
            Err(error)
        }
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
