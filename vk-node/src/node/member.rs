//! One of the nodes of a process: from its registration to its good-bye.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{SemaphorePermit, watch};
use tracing::{error, info, warn};
use vk_api_client::chain;
use vk_cmd_crds::certificates::Names;
use vk_node_core::config::MemberConfig;
use vk_node_core::events::{Note, NoteKind};
use vk_node_core::facts::{Endpoint, NodeFacts, SiteUser};
use vk_node_core::node::{self, Nearing, NodeProfile, WayIn};

use super::api_server::ApiServer;
use super::health::Health;
use super::host::Host;
use super::registration::{self, Registration};
use super::shared::Shared;
use super::unregistered;
use crate::credentials::{self, Serving};
use crate::ending::OwnEnd;
use crate::events;
use crate::kubelet;
use crate::pods;
use crate::probes::Prober;
use crate::way::Way;

/// How often it is looked whether a node that is to go has anything left.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The pause of one of many nodes that has failed.
const PAUSE: Duration = Duration::from_secs(10);

/// Whether the process is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// It is.
    On,
    /// It was told to end.
    Ending,
}

/// One of many: runs until the process ends, again after a pause whenever it fails. What fails for one need not for the
/// others.
pub(super) async fn keep(shared: Arc<Shared>, config: MemberConfig, host: Arc<Host>, course: watch::Receiver<Course>) {
    loop {
        match Box::pin(run(&shared, &config, &host, course.clone())).await {
            Ok(()) => return,
            Err(error) => error!(node = %config.name, "the node has failed: {}; it begins again", chain(&*error)),
        }
        if ends(course.clone(), PAUSE).await {
            return;
        }
    }
}

/// Whether the process is told to end within this time.
async fn ends(mut course: watch::Receiver<Course>, within: Duration) -> bool {
    tokio::time::timeout(within, ending(&mut course)).await.is_ok()
}

/// Returns when the process is told to end.
async fn ending(course: &mut watch::Receiver<Course>) {
    // Nobody is left to tell: the process is ending.
    let _ = course.wait_for(|course| *course == Course::Ending).await;
}

/// Runs the node until the process ends. Tasks go on without it.
///
/// # Errors
/// When it cannot be started, or somebody else took its name.
pub(super) async fn run(
    shared: &Shared,
    config: &MemberConfig,
    host: &Host,
    mut course: watch::Receiver<Course>,
) -> anyhow::Result<()> {
    let end = shared.endings.of_node(config.walltime, host.clock().clone());
    let mut keep_end = std::pin::pin!(shared.endings.keep_node(config.walltime, &end));
    // Cancel-safe: what it has done so far is done again by the next start.
    let mut prepared = tokio::select! {
        () = ending(&mut course) => {
            info!(node = %config.name, "told to end before the node was registered: its tasks, if there are any, go on");
            return Ok(());
        }
        () = unregistered::ended(shared, config, &end, None) => return Ok(()),
        () = &mut keep_end => return Ok(()),
        prepared = Box::pin(prepare(shared, config, host, &end)) => prepared?,
    };
    // Cancel-safe, as above; what may have been told the API server by then is taken back.
    let lineage = tokio::select! {
        () = ending(&mut course) => {
            info!(node = %config.name, "told to end while the node was being registered: its tasks, if there are any, go on");
            prepared.registration.withdraw().await;
            return Ok(());
        }
        () = unregistered::ended(shared, config, &end, Some(&prepared.registration)) => {
            prepared.registration.withdraw().await;
            return Ok(());
        }
        () = &mut keep_end => return Ok(()),
        lineage = prepared.registration.register() => lineage,
    };
    drop(prepared.turn.take());
    prepared.facts.uid = lineage.first().cloned().unwrap_or_default();
    info!(
        node = prepared.facts.name,
        address = prepared.facts.address,
        port = prepared.registration.port(),
        "registered"
    );
    let member = MemberConfig {
        address: prepared.facts.address.parse().ok(),
        port: prepared.registration.port(),
        ..config.clone()
    };
    let Prepared { server, serving, way, facts, profile, registration, turn: _ } = prepared;
    // The keeper is held to the end: what people have open is ended by its way.
    let Way { entrance, reach, figures, keeper: _keeper, .. } = way;
    let Shared { pipe, mirror, .. } = shared;
    let (pod_store, pod_writer) = pods::store();
    let (events, event_sender) = events::channel(server.client.clone(), &facts.name);
    events.node(&facts.name, Note::new(NoteKind::Normal, "Starting", "Starting vk-node."));
    let (prober, verdicts) = Prober::new(pipe.clone(), mirror.clone(), events.clone(), &facts, host.clock().clone());
    let streams = kubelet::Streams::default();
    let seen = host.seen();
    let hostname = seen.borrow().info.hostname.clone();
    let (tuned, own_name) = (shared.tuning.tuned(), config.name.as_str().to_owned());
    let can_run = Box::new(move |facts: &NodeFacts| {
        let profile = tuned.node(&own_name).profile(profile.clone());
        let seen = seen.borrow();
        let view = registration::view(&seen, None, Nearing::Unknown, &WayIn::Own);
        NodeFacts { allocatable: node::allocatable(&profile, &view), ..facts.at(&seen.info) }
    });
    let itself = pods::Itself { facts: facts.clone(), can_run, lineage, end: end.clone() };
    let (context, news) = pods::Context::new(
        (server.client.clone(), server.watches.clone(), pod_store.clone()),
        pipe.clone(),
        mirror.clone(),
        itself,
        events.clone(),
        prober.clone(),
        host.clock().clone(),
    );
    let context = Arc::new(context);
    let health = Health { link: mirror.link(), refusal: context.refusal() };
    let task_changes = mirror.subscribe(&facts.name);
    let kubelet = kubelet::serve(
        entrance,
        kubelet::Context {
            node: facts,
            pods: pod_store.clone(),
            mirror: mirror.clone(),
            pipe: pipe.clone(),
            client: server.client.clone(),
            prober,
            status_writes: context.status_writes(),
            evictions: context.evictions(),
            rejections: context.rejections(),
            durations: context.durations(),
            end: end.clone(),
            requests: server.requests.clone(),
            way: figures,
            measured: kubelet::Measured::default(),
            streams: streams.clone(),
            config: shared.config.clone(),
            member: Arc::new(member),
            tuned: shared.tuning.tuned(),
        },
        serving.shown(),
        server.client_ca.clone(),
    )?;
    let pods = pods::run(context.clone(), (pod_store, pod_writer), task_changes, verdicts, news);
    let mut has_left = false;
    // Cancel-safe: each arm is a part of the node that is to run as long as the node does; the first that ends ends
    // the node, and what the others have not finished is taken up again from the records by the next start.
    tokio::select! {
        () = ending(&mut course) => {}
        () = leave(&end, &context, &registration) => has_left = true,
        () = &mut keep_end => {}
        () = pods => {}
        () = kubelet => {}
        () = event_sender.run() => {}
        () = serving.keep(server.client.clone(), reach, &hostname) => {}
        error = registration.keep(health, &events) => return Err(error),
    }
    // Cancel-safe: both end by themselves, in whatever order.
    tokio::join!(streams.end(), registration.sign_off(has_left));
    Ok(())
}

/// Returns when the node has ended: its time is over, nothing of it runs, all ends are told, and nothing more comes to it. That
/// takes as long as it takes: whatever is not told when the batch system ends this process is told by the next start.
async fn leave(end: &OwnEnd, pods: &pods::Context, registration: &Registration) {
    let mut asked = false;
    loop {
        end.closing().await;
        if !pods.is_cleared().await {
            asked = false;
            tokio::time::sleep(LOOK_EVERY).await;
        } else if !asked {
            // Nothing is placed on a node that is not ready; what was placed before is there when it is asked for next.
            match registration.close().await {
                Ok(()) => asked = true,
                Err(error) => {
                    warn!("cannot say that the node has ended: {}; trying again", chain(&*error));
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        } else if pods.is_cleared_for_good().await && end.is_closing() {
            info!("the node has ended: nothing of it runs, and all is told");
            return;
        } else {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// A node that can be registered.
struct Prepared<'a> {
    server: Arc<ApiServer>,
    serving: Serving,
    way: Way,
    facts: NodeFacts,
    profile: NodeProfile,
    registration: Registration,
    /// That it is its turn to register.
    turn: Option<SemaphorePermit<'a>>,
}

/// Waits for the API server, however long it takes, and for what the node is registered with.
async fn prepare<'a>(
    shared: &'a Shared,
    config: &MemberConfig,
    host: &Host,
    end: &OwnEnd,
) -> anyhow::Result<Prepared<'a>> {
    // The semaphore is never closed.
    let turn = shared.registering.acquire().await.ok();
    let report = shared.reports.of(config.name.as_str(), 0);
    report.trouble("it looks for its API server, or waits for its first certificate".to_owned());
    let server = shared.server(config).await?;
    let address = match config.address {
        Some(address) => address,
        None => server.local_address().await?,
    };
    let mut way = match (&shared.config.relay, shared.tunnel()) {
        // A tunnel leads to the API server all the same, and to the relay.
        (Some(relay), tunnel) => {
            let identity = credentials::identity(&shared.config.certificates, &config.name, &server.identity);
            Way::by_relay(relay, tunnel, &config.name, identity)?
        }
        // The port that is wanted is one of the far end.
        (None, Some(tunnel)) => {
            let listener = kubelet::bind(config.listen_address.unwrap_or(address), 0).await?;
            Way::by_tunnel(listener, tunnel, &config.name, (address, config.port))?
        }
        (None, None) => {
            let listener = kubelet::bind(config.listen_address.unwrap_or(address), config.port).await?;
            Way::by_port(listener, address)?
        }
    };
    let profile = NodeProfile {
        name: config.name.clone(),
        // The registration has it, now and later.
        reach: None,
        max_pods: config.max_pods,
        labels: config.labels.clone(),
        taints: config.taints.clone(),
        capacity: config.capacity.clone(),
        reserved: config.reserved.clone(),
        images: shared.images.clone(),
    };
    let seen = host.seen();
    let holds = u64::try_from(shared.config.lease_duration.as_secs()).unwrap_or_default();
    let registration = Registration::new(
        server.client.clone(),
        profile.clone(),
        (way.reach.clone(), way.standing.clone()),
        seen.clone(),
        end.clone(),
        (shared.tuning.tuned(), shared.reports.of(config.name.as_str(), holds)),
        &shared.config,
    );
    let (status, host_info) = {
        let seen = seen.borrow();
        let view = registration::view(&seen, None, Nearing::Unknown, &WayIn::Own);
        (node::status(&profile, &view, None, Timestamp::now()), seen.info.clone())
    };
    if way.is_cold() {
        registration.claim().await;
        way.begin();
    }
    way.found().await;
    let names = way.reach.borrow().map(|reach| Names::of(&reach.addresses(&host_info.hostname))).unwrap_or_default();
    let serving = Serving::new(&shared.config.certificates, &config.name, names)?;
    let service = shared.config.kubernetes_service.as_ref();
    let api_server = service.map(|at| Endpoint { host: at.host.clone(), port: at.port });
    let facts = NodeFacts {
        name: config.name.as_str().to_owned(),
        // It is known when the node is registered.
        uid: String::new(),
        address: address.to_string(),
        mount_namespaces: host_info.mount_namespaces.clone(),
        image_runtime: host_info.site.runtime.clone(),
        user: SiteUser::of(&host_info),
        groups: host_info.groups.clone(),
        images: shared.images.clone(),
        api_server: api_server.unwrap_or_else(|| server.endpoint()),
        labels: node::lasting_labels(&profile, end.lives().lasts).into(),
        allocatable: status.allocatable.unwrap_or_default(),
    };
    Ok(Prepared { server, serving, way, facts, profile, registration, turn })
}
