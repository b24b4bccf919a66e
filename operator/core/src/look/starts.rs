//! Making the pods that were started, and what has become of each.

use k8s_openapi::api::core::v1::Pod;

use crate::effects::{At, Effects, Refusal};
use crate::events::Event;
use crate::floor::Placed;
use crate::pod::{self, Confinement};
use crate::status::Outcome;
use crate::{Sight, Start, ValidJob};

/// Makes the pods that were started, each on the node that was found for it, and says what has become of each. Like the Job
/// controller it begins with one and goes on with twice as many, as long as none is refused: a namespace whose quota is used up
/// is not asked a hundred times.
///
/// Which namespaces enforce a Pod Security Standard is the API server's to say: by labels, by its own configuration, with
/// exceptions. So a pod is first made as usual, and one that is refused for that is made once more as the standard wants it; so are
/// those that come after it in this look. What is refused is not made, so its name is free.
pub(super) async fn starts_of<E: Effects>(
    job: &ValidJob<'_>,
    starts: &[(&Start, Placed)],
    effects: &mut E,
) -> Result<Vec<Outcome>, E::Error> {
    let mut outcomes = Vec::new();
    let (mut left, mut batch) = (starts, 1_usize);
    let mut confinement = Confinement::Usual;
    while !left.is_empty() {
        let (now, rest) = left.split_at(batch.min(left.len()));
        let made = batch_of(job, now, &mut confinement, effects).await?;
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
    confinement: &mut Confinement,
    effects: &mut E,
) -> Result<Vec<Outcome>, E::Error> {
    let placed = starts.iter().filter_map(|(start, placed)| Some((*start, placed.as_ref().ok()?.as_str()))).collect();
    let answers = create(job, placed, confinement, effects).await;
    // What was made is noted before anything else can go wrong.
    for made in answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()) {
        note(job, made, effects);
        effects.tell(job.object.at(), job.object.uid, Event::created(made));
    }
    let mut answered = answers.into_iter();
    let mut outcomes = Vec::new();
    for (_, placed) in starts {
        match placed {
            Err((reason, why)) => outcomes.push(Outcome::NotPlaced(*reason, why.clone())),
            Ok(_) => {
                let Some((pod, answer)) = answered.next() else { break };
                outcomes.push(outcome(job, &pod, answer, effects).await?);
            }
        }
    }
    Ok(outcomes)
}

/// Makes pods side by side, those that are below the standard of their namespace once more, and says of each what was answered.
async fn create<E: Effects>(
    job: &ValidJob<'_>,
    placed: Vec<(&Start, &str)>,
    confinement: &mut Confinement,
    effects: &mut E,
) -> Vec<(Pod, Result<Pod, E::Error>)> {
    if placed.is_empty() {
        return Vec::new();
    }
    let build =
        |(start, node): &(&Start, &str), confinement| pod::build(job, start.index, start.attempt, node, confinement);
    let pods: Vec<Pod> = placed.iter().map(|start| build(start, *confinement)).collect();
    let answers = effects.create_pods(&pods).await;
    let mut all: Vec<(Pod, Result<Pod, E::Error>)> = pods.into_iter().zip(answers).collect();
    if *confinement == Confinement::Restricted {
        return all;
    }
    let mut below: Vec<_> =
        all.iter_mut().zip(&placed).filter(|((_, answer), _)| is_below_standard::<E>(answer)).collect();
    if !below.is_empty() {
        *confinement = Confinement::Restricted;
        let pods: Vec<Pod> = below.iter().map(|(_, start)| build(start, *confinement)).collect();
        let answers = effects.create_pods(&pods).await;
        for ((refused, _), again) in below.iter_mut().zip(pods.into_iter().zip(answers)) {
            **refused = again;
        }
    }
    all
}

fn is_below_standard<E: Effects>(answer: &Result<Pod, E::Error>) -> bool {
    answer.as_ref().is_err_and(|error| E::refusal(error) == Refusal::PodSecurity)
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
    match E::refusal(&error) {
        Refusal::AlreadyExists => {
            // It may go between the two calls: look again then.
            let found = effects.get_pod(At { namespace: job.object.namespace, name }).await?.ok_or(error)?;
            note(job, &found, effects);
            Ok(sight(job, &found))
        }
        Refusal::Malformed => Ok(Outcome::Rejected(E::words(&error))),
        Refusal::Forbidden | Refusal::NotFound => Ok(Outcome::Refused(E::words(&error))),
        // It was made as `restricted` wants it, so what is said there is about what the job itself asks for.
        Refusal::PodSecurity => Ok(Outcome::Refused(format!(
            "{}. Leave out of the CmdJob what is named there, or make it in a namespace that allows it (kubectl get namespace {} \
             --show-labels)",
            E::words(&error),
            job.object.namespace
        ))),
        Refusal::Conflict | Refusal::Trouble => {
            effects.memory(|memory| memory.be_unsure(job.object.at()));
            Err(error)
        }
    }
}

/// A pod of the name that was wanted.
fn sight(job: &ValidJob<'_>, pod: &Pod) -> Outcome {
    match Sight::of(pod, job.object.uid) {
        Sight::Ours(seen) => Outcome::Made(seen),
        Sight::Foreign => Outcome::NameTaken(pod.metadata.name.clone().unwrap_or_default()),
    }
}

/// Notes a pod of the job that the watch will tell of soon.
fn note<E: Effects>(job: &ValidJob<'_>, pod: &Pod, effects: &mut E) {
    let now = effects.now();
    if let Sight::Ours(_) = Sight::of(pod, job.object.uid) {
        effects.floor(|floor| ((), floor.put_pod(pod, now)));
    }
}
