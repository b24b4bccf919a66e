//! What is watched of the node's own health, and when it is told: what passes by itself in a moment is not.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use vk_node_core::node::Trouble;

use crate::tasks::Link;

/// How long the pipe may be away before it is told of: it is back at once where it was only restarted.
pub(super) const PIPE_GRACE: Duration = Duration::from_secs(10);
/// How long the API server may refuse the node its pods before that is told of: one that has just started does, until its
/// authorizer knows the node.
const REFUSAL_GRACE: Duration = Duration::from_secs(30);

/// What is watched of the node's own health.
pub(super) struct Health {
    /// The pipe's link.
    pub(super) link: watch::Receiver<Link>,
    /// Why the API server refuses the node its pods, if it does.
    pub(super) refusal: watch::Receiver<Option<String>>,
}

/// Since when something is as it is.
#[derive(Default)]
pub(super) struct Since {
    pub(super) lost: Option<Instant>,
    refused: Option<Instant>,
}

/// Why the node cannot run pods, if that has lasted long enough to be told of.
pub(super) fn trouble(health: &mut Health, since: &mut Since) -> Option<Trouble> {
    let now = Instant::now();
    let is_lost = *health.link.borrow_and_update() == Link::Lost;
    let refusal = health.refusal.borrow_and_update().clone();
    since.lost = is_lost.then(|| since.lost.unwrap_or(now));
    since.refused = refusal.as_ref().and(Some(since.refused.unwrap_or(now)));
    let lasts = |since: Option<Instant>, grace| since.is_some_and(|since| now.duration_since(since) >= grace);
    if lasts(since.lost, PIPE_GRACE) {
        return Some(Trouble::PipeUnreachable);
    }
    refusal.filter(|_| lasts(since.refused, REFUSAL_GRACE)).map(|why| Trouble::PodsRefused { why })
}

/// Returns when something has lasted so long; never if it is not so, or has been told of already.
pub(super) async fn due(since: Option<Instant>, grace: Duration) {
    not_before(since.map(|since| since + grace)).await;
}

/// Returns at this moment; never, if there is none, or it is over: what was to be done then is done at every look.
pub(super) async fn not_before(moment: Option<Instant>) {
    match moment.filter(|at| *at > Instant::now()) {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_by_itself_is_told_after_its_grace() {
        let (link, refusal) = (watch::Sender::new(Link::Live), watch::Sender::new(None));
        let mut health = Health { link: link.subscribe(), refusal: refusal.subscribe() };
        let mut since = Since::default();
        let why = "pods is forbidden".to_owned();
        assert_eq!(trouble(&mut health, &mut since), None);
        refusal.send_replace(Some(why.clone()));
        assert_eq!(trouble(&mut health, &mut since), None, "its authorizer may not know the node yet");
        // It is looked at when it is time, whether anything else happens or not.
        let begun = Instant::now();
        due(since.refused, REFUSAL_GRACE).await;
        assert_eq!(begun.elapsed(), REFUSAL_GRACE);
        assert_eq!(trouble(&mut health, &mut since), Some(Trouble::PodsRefused { why: why.clone() }));
        // Another refusal is the same trouble.
        refusal.send_replace(Some("still".to_owned()));
        assert_eq!(trouble(&mut health, &mut since), Some(Trouble::PodsRefused { why: "still".to_owned() }));
        // Without the pipe that is what counts.
        link.send_replace(Link::Lost);
        assert_eq!(trouble(&mut health, &mut since), Some(Trouble::PodsRefused { why: "still".to_owned() }));
        tokio::time::advance(PIPE_GRACE).await;
        assert_eq!(trouble(&mut health, &mut since), Some(Trouble::PipeUnreachable));
        link.send_replace(Link::Live);
        refusal.send_replace(None);
        assert_eq!(trouble(&mut health, &mut since), None);
        // What has passed begins anew.
        refusal.send_replace(Some(why));
        assert_eq!(trouble(&mut health, &mut since), None);
    }
}
