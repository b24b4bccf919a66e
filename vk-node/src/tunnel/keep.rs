//! Keeps a connection, for ever: acts on what the [`Course`] says.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};
use vk_api_client::chain;
use vk_node_core::tunnel::forward::Forward;
use vk_node_core::tunnel::words::NotOpened;
use vk_node_core::tunnel::{Course, Seen, Step, Trouble, argv, words};

use super::ssh::{self, Said, Ssh};
use super::{Inner, Tunnel};

/// How often it is looked whether an ssh that connects takes orders.
const GLANCE: Duration = Duration::from_millis(50);
/// How often it is looked whether the sockets are there, which a cleaner of /tmp may remove.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked for a connection that a person shares.
const LOOK_FOR_SHARED: Duration = Duration::from_secs(3);
/// How long ssh may take to end with the node.
const GRACE: Duration = Duration::from_secs(3);

/// Keeps the tunnel up. Dropping it ends the connection.
pub(crate) struct Keeper {
    task: JoinHandle<()>,
    ending: watch::Sender<bool>,
}

impl Keeper {
    /// Begins.
    pub(crate) fn start(tunnel: Tunnel) -> Self {
        let ending = watch::Sender::new(false);
        let told = ending.subscribe();
        Self { task: tokio::spawn(async move { keep(&tunnel.0, told).await }), ending }
    }

    /// Ends the connection in peace.
    pub(crate) async fn end(mut self) {
        self.ending.send_replace(true);
        // Otherwise it is ended by force: see `drop`.
        let _ = timeout(GRACE, &mut self.task).await;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What carries the forwards.
enum Hold {
    /// An ssh of ours.
    Own(Box<Ssh>),
    /// One that a person has started. It closes this when it ends.
    Shared(UnixStream),
}

impl Hold {
    /// What it says, or how it ended. Cancel-safe: nothing that has come is lost.
    async fn next(&mut self) -> Said {
        match self {
            Self::Own(ssh) => ssh.next().await,
            Self::Shared(socket) => {
                let mut greeting = [0; 256];
                loop {
                    if !matches!(socket.read(&mut greeting).await, Ok(read) if read > 0) {
                        return Said::Ended("whoever shared the connection has ended it".to_owned());
                    }
                }
            }
        }
    }
}

async fn keep(inner: &Inner, mut ending: watch::Receiver<bool>) {
    let began = Instant::now();
    let mut course = Course::new(inner.asking);
    let (mut hold, mut control): (Option<Hold>, PathBuf) = (None, inner.place.control());
    let mut carrying: Option<BoxFuture<'_, Infallible>> = None;
    let mut told_of_one: Option<NotOpened> = None;
    loop {
        let wakes_at = course.wakes_at();
        let is_connecting = course.is_connecting();
        let waits_for_a_person = course.waits_for_a_person();
        // Cancel-safe: what only waits or looks is begun again, and `carrying` stays where it is.
        let seen = tokio::select! {
            _ = ending.wait_for(|ending| *ending) => break,
            () = until(wakes_at.map(|at| began + at)) => Seen::Time,
            said = next(&mut hold) => match said {
                Said::Line(line) => {
                    debug!("ssh says: {}", line.trim_end());
                    tell_of_one(inner, &line, &mut told_of_one);
                    Seen::Line(line)
                }
                Said::Ended(how) => {
                    hold = None;
                    Seen::Ended { how, random: fastrand::f64() }
                }
            },
            () = appears(&control), if is_connecting => Seen::Answers,
            shared = shared(inner), if waits_for_a_person => {
                let (path, socket) = shared;
                (control, hold) = (path, Some(Hold::Shared(socket)));
                Seen::Shared
            }
            () = goes(&control, inner), if course.is_up() => Seen::SocketGone,
            never = carried(&mut carrying) => match never {},
        };
        let is_shared = matches!(hold, Some(Hold::Shared(_)));
        match course.on(seen, began.elapsed()) {
            None => {}
            Some(Step::Start) => {
                control = inner.place.control();
                hold = match start(inner, &control) {
                    Ok(ssh) => Some(Hold::Own(Box::new(ssh))),
                    Err(error) => {
                        let how = chain(&*error);
                        report(inner, course.on(Seen::Ended { how, random: fastrand::f64() }, began.elapsed()));
                        None
                    }
                };
            }
            Some(Step::Order) => {
                info!(to = %inner.config.to, pid = pid(hold.as_ref()), shared = is_shared, "the tunnel is up");
                inner.counts.up();
                told_of_one = None;
                inner.wants.begin_anew();
                let control = control.clone();
                carrying = Some(Box::pin(async move { inner.wants.carry(inner, &control).await }));
            }
            Some(Step::Terminate) => match &hold {
                Some(Hold::Own(ssh)) => ssh.terminate(),
                // It is not ours to end. Without its socket it is of no use.
                Some(Hold::Shared(_)) | None => {
                    hold = None;
                    let how = "its socket is gone".to_owned();
                    report(inner, course.on(Seen::Ended { how, random: fastrand::f64() }, began.elapsed()));
                }
            },
            Some(Step::Kill) => {
                if let Some(Hold::Own(ssh)) = &mut hold {
                    ssh.kill();
                }
            }
            step @ Some(Step::Tell { .. }) => report(inner, step),
        }
        if !course.is_up() {
            carrying = None;
            inner.counts.down();
        }
    }
    drop(carrying);
    end(inner, hold, &control).await;
}

/// Says why there is no connection.
fn report(inner: &Inner, step: Option<Step>) {
    let Some(Step::Tell { trouble, again_in, is_known }) = step else { return };
    inner.counts.failed();
    let (to, again) = (&inner.config.to, again_in.as_secs_f64());
    if is_known {
        debug!(%to, "no tunnel still: {trouble}; trying again in {again:.1} s");
    } else if trouble.needs_a_person() || !matches!(trouble, Trouble::Lost { .. } | Trouble::Ended { .. }) {
        warn!(%to, "no tunnel: {trouble}; trying again in {again:.1} s, and then again and again");
    } else {
        warn!(%to, "the tunnel is gone: {trouble}; trying again in {again:.1} s");
    }
}

/// Says why something that was asked for through the tunnel did not come to be, once for each connection.
fn tell_of_one(inner: &Inner, line: &str, told: &mut Option<NotOpened>) {
    let Some(why) = words::of_one_connection(line).filter(|why| !inner.ear.takes(why)) else { return };
    if told.as_ref() != Some(&why) {
        warn!("{why}");
        *told = Some(why);
    }
}

fn start(inner: &Inner, control: &Path) -> anyhow::Result<Ssh> {
    // What an ssh has left that was killed. Were it there, the next would go by it, or without.
    let _ = std::fs::remove_file(control);
    let ssh = Ssh::start(inner.program(), argv::connect(&inner.config, control, inner.asking), inner.asking)?;
    debug!(to = %inner.config.to, pid = ssh.pid(), "connecting");
    Ok(ssh)
}

fn pid(hold: Option<&Hold>) -> Option<u32> {
    match hold {
        Some(Hold::Own(ssh)) => ssh.pid(),
        Some(Hold::Shared(_)) | None => None,
    }
}

/// Returns at this moment, or never.
pub(super) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn next(hold: &mut Option<Hold>) -> Said {
    match hold {
        Some(hold) => hold.next().await,
        None => std::future::pending().await,
    }
}

async fn carried(carrying: &mut Option<BoxFuture<'_, Infallible>>) -> Infallible {
    match carrying {
        Some(carrying) => carrying.await,
        None => std::future::pending().await,
    }
}

/// Returns when a socket is there: ssh makes it when it has logged in and listens.
async fn appears(socket: &Path) {
    while !socket.exists() {
        sleep(GLANCE).await;
    }
}

/// Returns when a socket is gone that should be there.
async fn goes(control: &Path, inner: &Inner) {
    loop {
        sleep(LOOK_EVERY).await;
        let is_there = |forward: &Forward| match forward {
            Forward::Out { socket, .. } => socket.exists(),
            Forward::In { .. } => true,
        };
        if !control.exists() || !inner.wants.made().iter().all(is_there) {
            return;
        }
    }
}

/// Waits for a connection to the same destination that a person shares.
async fn shared(inner: &Inner) -> (PathBuf, UnixStream) {
    loop {
        sleep(LOOK_FOR_SHARED).await;
        let (_, told, _) = ssh::run(inner.program(), argv::config_of(&inner.config)).await;
        let Some(path) = argv::shared_socket(&told) else { continue };
        if ssh::answers(inner.program(), path).await
            && let Ok(socket) = UnixStream::connect(path).await
        {
            return (path.to_owned(), socket);
        }
    }
}

/// Ends what is ours.
async fn end(inner: &Inner, hold: Option<Hold>, control: &Path) {
    match hold {
        Some(Hold::Own(mut ssh)) => {
            ssh.terminate();
            while let Said::Line(_) = ssh.next().await {}
        }
        // It goes on without us, and without what it has carried for us.
        Some(Hold::Shared(_)) => {
            for forward in inner.wants.made() {
                ssh::cancel(inner.program(), control, &forward).await;
            }
        }
        None => {}
    }
}
