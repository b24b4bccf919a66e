//! The steps of a plan, one by one, and what has to be asked of the API server itself before.

use std::collections::BTreeSet;
use std::mem::discriminant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use vk_cmd_crds::labels;

use super::{Why, unless_deleted};
use crate::effects::{At, Effects, Only, Refusal, ThisPod};
use crate::events::Event;
use crate::pods::Owner;
use crate::{Object, PodSeen, Step, patch};

/// Lets a pod go whose CmdJob is gone; false: it is still there. The API server itself is asked: the cache may be behind.
pub async fn stray<E: Effects>(owner: &Owner, pod: &PodSeen, effects: &mut E) -> Result<bool, E::Error> {
    let found = effects.get_job(At { namespace: &owner.namespace, name: &owner.name }).await?;
    if found.is_some_and(|job| job.uid.as_ref() == Some(&owner.uid)) {
        return Ok(false);
    }
    let this = ThisPod { name: &pod.name, uid: &pod.uid, version: None };
    effects.release_pods(&owner.namespace, &[this]).await.into_iter().try_for_each(unless_gone::<E>)?;
    Ok(true)
}

/// Makes sure that nothing has happened to the job that the caches do not know, by the API server's own word: an operator that has
/// just begun to lead may be behind what the one before it has done, and a pod may have been made though nobody heard of it. By a
/// status that is behind, an attempt could be made a second time when its pod is gone; by pods that are, it could be said that nothing
/// runs.
pub(super) async fn be_sure<E: Effects>(job: &Object<'_>, effects: &mut E) -> Result<(), Why<E::Error>> {
    let here = job.at();
    let there = effects.get_job(here).await?;
    let is_it =
        |there: &ObjectMeta| there.uid.as_deref() == Some(job.uid) && there.resource_version.as_deref() == job.version;
    if !there.as_ref().is_some_and(is_it) {
        return Err(Why::Behind);
    }
    let known = effects.floor(|floor| (floor.pods().of_job(job.uid), Vec::new()));
    let known: BTreeSet<&str> = known.values().map(|pod| &*pod.uid).collect();
    let is_unknown = |pod: &ObjectMeta| !known.contains(pod.uid.as_deref().unwrap_or_default());
    if has_pod(job, is_unknown, effects).await? {
        return Err(Why::Behind);
    }
    effects.memory(|memory| memory.be_sure(here, job.uid));
    Ok(())
}

/// Carries out the steps of a plan in order, up to the first that fails; what is to be done about several pods, side by side.
pub(super) async fn carry_out<E: Effects>(steps: &[Step], job: &Object<'_>, effects: &mut E) -> Result<(), E::Error> {
    let here = job.at();
    for alike in steps.chunk_by(|one, next| discriminant(one) == discriminant(next)) {
        let pods: Vec<ThisPod<'_>> = alike.iter().filter_map(of_pod).collect();
        match alike.first() {
            Some(Step::DeletePod { .. }) => {
                let answers = effects.delete_pods(job.namespace, &pods).await;
                for (pod, _) in pods.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()) {
                    effects.tell(here, job.uid, Event::deleted(pod.name, pod.uid));
                }
                answers.into_iter().try_for_each(unless_gone::<E>)?;
            }
            Some(Step::ReleasePod { .. }) => {
                effects.release_pods(job.namespace, &pods).await.into_iter().try_for_each(unless_gone::<E>)?;
            }
            Some(Step::HoldJob) => hold(job, effects).await?,
            // Somebody may just have lengthened its time.
            Some(Step::DeleteJob) => {
                unless_deleted::<E, _>(effects.delete_job(here, Only { uid: job.uid, version: job.version }).await)?
            }
            Some(Step::ReleaseJob) => release(job, effects).await?,
            None => {}
        }
    }
    Ok(())
}

/// The pod that a step is about, if it is about one.
fn of_pod(step: &Step) -> Option<ThisPod<'_>> {
    match step {
        Step::DeletePod { name, uid, version } => Some(ThisPod { name, uid, version: *version }),
        Step::ReleasePod { name, uid } => Some(ThisPod { name, uid, version: None }),
        Step::HoldJob | Step::DeleteJob | Step::ReleaseJob => None,
    }
}

/// A pod that is gone, or another one by now, is no more: what was to be done about it is done. One that has only changed is
/// looked at again when the cache has heard of it.
fn unless_gone<E: Effects>(answer: Result<(), E::Error>) -> Result<(), E::Error> {
    match answer {
        Err(error) if matches!(E::refusal(&error), Refusal::NotFound | Refusal::Conflict) => Ok(()),
        other => other,
    }
}

async fn hold<E: Effects>(job: &Object<'_>, effects: &mut E) -> Result<(), E::Error> {
    effects.patch_job(job.at(), &patch::hold(job.finalizers, job.uid, job.version)).await
}

/// Takes the finalizer from the job. Whoever is sure of the caches need not ask the API server for its pods.
async fn release<E: Effects>(job: &Object<'_>, effects: &mut E) -> Result<(), E::Error> {
    let here = job.at();
    if !effects.memory(|memory| memory.is_sure(here, job.uid)) && has_pod(job, |_| true, effects).await? {
        // The cache is behind: what it is about to tell of will have the job looked at again.
        return Ok(());
    }
    // With the version: by an older one, finalizers would come back that others have taken, which is refused for good.
    unless_deleted::<E, _>(effects.patch_job(here, &patch::release(job.finalizers, job.uid, job.version)).await)
}

/// Whether there is a pod of the job that has not been counted and of which this is so, by the API server's own word.
async fn has_pod<E: Effects>(
    job: &Object<'_>,
    is_so: impl Fn(&ObjectMeta) -> bool,
    effects: &mut E,
) -> Result<bool, E::Error> {
    // One that was taken from the job (`--cascade=orphan`) is nobody's to count.
    let is_held = |pod: &&ObjectMeta| {
        pod.owner_references.iter().flatten().any(|owner| owner.uid == job.uid)
            && pod.finalizers.iter().flatten().any(|finalizer| finalizer == labels::FINALIZER)
    };
    let mut from = None;
    loop {
        let (pods, next) = effects.list_pods(job.namespace, job.uid, from.as_deref()).await?;
        if pods.iter().filter(is_held).any(&is_so) {
            return Ok(true);
        }
        if next.is_none() {
            return Ok(false);
        }
        from = next;
    }
}
