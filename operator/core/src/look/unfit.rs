//! CmdJobs that the operator does not act on: those that say something that cannot be done, those that cannot be read, and those that are
//! somebody else's to run. What runs of them goes on, and nothing new is made. An operator that has become stricter may find such a one
//! that it has begun itself: so its deletion gets to its end as that of any other.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use vk_cmd_crds::CmdJob;

use super::steps::carry_out;
use super::{Again, Why, report, unless_deleted, withdraw};
use crate::effects::{At, Effects};
use crate::memory::at;
use crate::plan::{Leave, leave};
use crate::{Invalid, Object, patch, seen, status};

/// Says what is wrong with the CmdJob. It is looked at again when it, a pod of it or the node of one has changed.
pub(super) async fn invalid<E: Effects>(
    job: &CmdJob,
    problems: &Invalid,
    effects: &mut E,
) -> Result<Again, Why<E::Error>> {
    withdraw(job.metadata.uid.as_deref().unwrap_or_default(), effects);
    let recorded = job.status.clone().unwrap_or_default();
    let generation = job.metadata.generation;
    let finished = status::finished(&recorded, generation);
    // What is held is to be let go when it is finished, too. Its time is left alone: who knows whether it is what was meant.
    let left = match Object::of(&job.metadata) {
        Ok(object) if object.deleting || finished.is_some() => Some(let_go(&object, effects).await?),
        Ok(_) | Err(_) => None,
    };
    let status = match (finished, left) {
        (Some(finished), _) => finished,
        (None, Some(left)) => status::leaving(&recorded, generation, &left, effects.now()),
        (None, None) => status::invalid(&recorded, generation, problems, effects.now()),
    };
    report(job, &status, effects).await?;
    effects.memory(|memory| memory.succeeded(at(job)));
    Ok(None)
}

/// Says of an object that cannot be read what does not fit. Unless it is being deleted, it is left alone until it is changed: whether
/// it is finished cannot be read either.
pub(super) async fn unreadable<E: Effects>(
    metadata: &ObjectMeta,
    why: &str,
    effects: &mut E,
) -> Result<Again, Why<E::Error>> {
    let uid = metadata.uid.as_deref().unwrap_or_default();
    withdraw(uid, effects);
    let patch = match Object::of(metadata) {
        Ok(object) if object.deleting => patch::unreadable_leaving(&object, &let_go(&object, effects).await?),
        Ok(_) | Err(_) => patch::unreadable(uid, metadata.generation, why),
    };
    unless_deleted::<E, _>(effects.write_status(At::of(metadata), &patch, None).await)?;
    effects.memory(|memory| memory.succeeded(At::of(metadata)));
    Ok(None)
}

/// Somebody else's to run, status and all. Ours is the finalizer, if it has got that (by a copy of another CmdJob, say), and what it
/// stands for.
pub(super) async fn of_others<E: Effects>(job: &CmdJob, effects: &mut E) -> Result<Again, Why<E::Error>> {
    withdraw(job.metadata.uid.as_deref().unwrap_or_default(), effects);
    if let Ok(object) = Object::of(&job.metadata)
        && object.deleting
        && object.is_held()
    {
        let_go(&object, effects).await?;
        effects.memory(|memory| memory.succeeded(at(job)));
    }
    Ok(None)
}

/// Lets a CmdJob go, as far as it can go now.
async fn let_go<E: Effects>(object: &Object<'_>, effects: &mut E) -> Result<Leave, E::Error> {
    let left = effects.floor(|floor| {
        let pods = floor.pods().of_job(object.uid);
        (leave(object, &pods, &seen::absences(&pods, floor.nodes())), Vec::new())
    });
    carry_out(&left.steps, object, effects).await?;
    Ok(left)
}
