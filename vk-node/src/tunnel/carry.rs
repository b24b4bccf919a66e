//! What the connection is to carry, and what of it it does.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{info, warn};
use vk_cmd_crds::NodeName;
use vk_node_core::facts::Endpoint;
use vk_node_core::node::{By, Fault, Reach, Through, WayIn};
use vk_node_core::tunnel::Bind;
use vk_node_core::tunnel::forward::{self, Elsewhere, Forward, Granted, Port, Refused};

use super::prove::prove;
use super::{Inner, ssh};
use crate::way::{Reached, Standing};

/// What one want is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// An API server or a relay, by host and port. They come first: without one there is no node.
    Server(String, u16),
    /// A node.
    Node(String),
}

#[derive(Debug)]
struct Want {
    what: What,
    state: State,
    /// What was told last: of a refusal, and of what was granted and leads elsewhere.
    told: Option<Refused>,
    elsewhere: Option<Elsewhere>,
}

#[derive(Debug)]
enum What {
    Out {
        socket: PathBuf,
        to: Endpoint,
    },
    In {
        bind: Bind,
        address: IpAddr,
        port: Port,
        to: SocketAddr,
        reached: watch::Sender<Option<Reach>>,
        standing: watch::Sender<WayIn>,
    },
}

/// How it stands on this connection.
#[derive(Clone, Debug)]
enum State {
    /// It was not asked for yet.
    New,
    /// It is there; and that it is reached is to be tried out still, or was.
    Made { forward: Forward, is_proved: bool },
    /// It was refused so often, and is asked for again then.
    Refused { tries: u32, again: Instant },
}

/// All that is wanted.
#[derive(Debug, Default)]
pub(super) struct Wants {
    all: Mutex<BTreeMap<Key, Want>>,
    /// Forwards that nobody wants any more.
    unwanted: Mutex<Vec<Forward>>,
    changed: Notify,
}

impl Wants {
    /// A server is to be reached by this socket.
    pub(super) fn out(&self, to: Endpoint, socket: PathBuf) {
        let key = Key::Server(to.host.clone(), to.port);
        self.all().entry(key).or_insert(Want::new(What::Out { socket, to }));
        self.changed.notify_one();
    }

    /// A node that listens at `to` is to be reached. What was wanted for the same node before is not any more.
    pub(super) fn inward(
        &self,
        node: &NodeName,
        bind: Bind,
        (address, port): (IpAddr, u16),
        to: SocketAddr,
    ) -> (Reached, Standing) {
        let ((reached, receiver), (standing, stands)) =
            (watch::channel(None), watch::channel(WayIn::Begins(By::Tunnel)));
        let mut want = Want::new(What::In { bind, address, port: Port::wanted(port), to, reached, standing });
        let mut all = self.all();
        let key = Key::Node(node.as_str().to_owned());
        if let Some(before) = all.remove(&key) {
            if let (What::In { port, .. }, What::In { port: had, .. }) = (&mut want.what, &before.what) {
                *port = *had;
            }
            if let State::Made { forward, .. } = before.state {
                lock(&self.unwanted).push(forward);
            }
        }
        all.insert(key, want);
        self.changed.notify_one();
        (receiver, stands)
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, Want>> {
        lock(&self.all)
    }

    /// There is another connection, which carries nothing yet.
    pub(super) fn begin_anew(&self) {
        for want in self.all().values_mut() {
            want.state = State::New;
        }
        lock(&self.unwanted).clear();
    }

    /// What is carried now.
    pub(super) fn made(&self) -> Vec<Forward> {
        let made =
            |want: &Want| if let State::Made { forward, .. } = &want.state { Some(forward.clone()) } else { None };
        self.all().values().filter_map(made).collect()
    }

    /// Has the connection that takes orders at `control` carry what is wanted, for as long as it is polled. What is cut
    /// short is ordered again by the next.
    pub(super) async fn carry(&self, inner: &Inner, control: &Path) -> Infallible {
        let program = inner.program();
        loop {
            let unwanted = std::mem::take(&mut *lock(&self.unwanted));
            for forward in &unwanted {
                ssh::cancel(program, control, forward).await;
            }
            let next = self.next();
            match next {
                Some((key, forward, at)) if at <= Instant::now() => {
                    if let Forward::Out { socket, .. } = &forward {
                        // What an earlier connection has left there.
                        let _ = std::fs::remove_file(socket);
                    }
                    let outcome = ssh::order(program, control, &forward).await;
                    self.settle(&key, &forward, outcome);
                }
                later => {
                    if let Some((key, at)) = self.unproved() {
                        let proof = prove(&inner.ear, program, control, inner.place.proof(), at).await;
                        self.proved(&key, at, proof);
                        continue;
                    }
                    let later = later.map(|(_, _, at)| at);
                    // Cancel-safe: both only wait, and a change that has come is kept.
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = super::keep::until(later) => {}
                    }
                }
            }
        }
    }

    /// What is to be ordered next, and when.
    fn next(&self) -> Option<(Key, Forward, Instant)> {
        let now = Instant::now();
        let all = self.all();
        let due = all.iter().filter_map(|(key, want)| match want.state {
            State::New => Some((now, key, want)),
            State::Refused { again, .. } => Some((again, key, want)),
            State::Made { .. } => None,
        });
        let (at, key, want) = due.min_by_key(|(at, _, _)| *at)?;
        Some((key.clone(), want.what.forward(), at))
    }

    /// Which node is to be tried out, and where.
    fn unproved(&self) -> Option<(Key, SocketAddr)> {
        self.all().iter().find_map(|(key, want)| match (&want.what, &want.state) {
            (What::In { reached, .. }, State::Made { is_proved: false, .. }) => {
                Some((key.clone(), (*reached.borrow())?.at))
            }
            _ => None,
        })
    }

    /// It was tried out.
    fn proved(&self, key: &Key, at: SocketAddr, outcome: Result<(), Elsewhere>) {
        let mut all = self.all();
        let Some(want) = all.get_mut(key) else { return };
        if !matches!(&want.what, What::In { reached, .. } if reached.borrow().is_some_and(|reach| reach.at == at)) {
            return;
        }
        if let State::Made { is_proved, .. } = &mut want.state {
            *is_proved = true;
        }
        let elsewhere = outcome.err();
        want.what.say(match elsewhere {
            Some(elsewhere) => broken(Fault::ListensElsewhere, &elsewhere),
            None => WayIn::Stands(By::Tunnel),
        });
        if let Some(elsewhere) = elsewhere.filter(|elsewhere| want.elsewhere != Some(*elsewhere)) {
            warn!("{elsewhere}");
        }
        want.elsewhere = elsewhere;
    }

    fn settle(&self, key: &Key, forward: &Forward, outcome: Result<Granted, Refused>) {
        let mut all = self.all();
        let wanted = all.get_mut(key).filter(|want| want.what.forward() == *forward);
        let Some(want) = wanted else {
            // It changed meanwhile.
            if let Ok(granted) = outcome {
                lock(&self.unwanted).push(granted_as(forward, granted));
                self.changed.notify_one();
            }
            return;
        };
        match outcome {
            Ok(granted) => {
                want.state = State::Made { forward: granted_as(forward, granted), is_proved: true };
                want.told = None;
                if let (What::In { address, port, reached, .. }, Granted::In { port: given }) =
                    (&mut want.what, granted)
                {
                    port.granted(given);
                    let at = SocketAddr::new(*address, given);
                    if let State::Made { is_proved, .. } = &mut want.state {
                        *is_proved = !forward::is_to_be_proved(at);
                    }
                    info!(at = %at, for_ = %forward, "the far end listens for the node");
                    let reach = Reach { at, through: Through::Another };
                    reached.send_if_modified(|before| before.replace(reach) != Some(reach));
                    // Where it is to be tried out, that says more.
                    if !forward::is_to_be_proved(at) {
                        want.what.say(WayIn::Stands(By::Tunnel));
                    }
                }
            }
            Err(refused) => {
                let another = match &mut want.what {
                    What::In { port, .. } => port.refused(),
                    What::Out { .. } => false,
                };
                if another {
                    info!("the far end does not give {forward} again: asking for another");
                    want.state = State::New;
                    return;
                }
                let tries = if let State::Refused { tries, .. } = want.state { tries.saturating_add(1) } else { 0 };
                if want.told.as_ref() != Some(&refused) {
                    warn!("the tunnel does not carry all that it is to: {refused}; asking again and again");
                }
                want.what.say(broken(Fault::PortRefused, &refused));
                want.told = Some(refused);
                want.state = State::Refused { tries, again: Instant::now() + forward::again_in(tries) };
            }
        }
    }
}

impl Want {
    fn new(what: What) -> Self {
        Self { what, state: State::New, told: None, elsewhere: None }
    }
}

/// The node is not reached by the tunnel.
fn broken(fault: Fault, why: &dyn std::fmt::Display) -> WayIn {
    WayIn::Broken { by: By::Tunnel, fault, why: why.to_string() }
}

impl What {
    /// How a node's way in stands.
    fn say(&self, way: WayIn) {
        if let Self::In { standing, .. } = self {
            standing.send_if_modified(|before| std::mem::replace(before, way.clone()) != way);
        }
    }

    fn forward(&self) -> Forward {
        match self {
            Self::Out { socket, to } => Forward::Out { socket: socket.clone(), to: to.clone() },
            Self::In { bind, port, to, .. } => Forward::In { bind: *bind, port: port.ask(), to: *to },
        }
    }
}

/// The forward as it is to be cancelled: with the port that it was given.
fn granted_as(forward: &Forward, granted: Granted) -> Forward {
    match (forward, granted) {
        (Forward::In { bind, to, .. }, Granted::In { port }) => Forward::In { bind: *bind, port, to: *to },
        (Forward::In { .. } | Forward::Out { .. }, Granted::In { .. } | Granted::Out) => forward.clone(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
