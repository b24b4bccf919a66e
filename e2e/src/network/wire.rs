//! A wire between two networks: two TUN devices, and packets that are carried from one to the other as well as the wire is.
//!
//! The kernel's own way to have packets late or lost (netem) is a module that many kernels do not have.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tun_rs::{AsyncDevice, DeviceBuilder, SyncDevice};

/// The wire's end at the gateway.
pub(super) const NAME_THERE: &str = "wire";
const MTU: u16 = 1500;
/// How many packets are under way in one direction; further ones are lost, as in a router.
const UNDER_WAY: usize = 4096;

/// The wire's end at this host.
pub(super) fn name_here(number: u8) -> String {
    format!("vk-wire-{number}")
}

/// How packets fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quality {
    /// How long each is under way.
    pub delay: Duration,
    /// Of a thousand packets so many are lost; all of them when the wire is cut.
    pub lost: u16,
}

impl Quality {
    /// Nothing comes through.
    pub const CUT: Self = Self { delay: Duration::ZERO, lost: 1000 };

    fn loses(self) -> bool {
        self.lost >= 1000 || (self.lost > 0 && fastrand::u16(0..1000) < self.lost)
    }
}

#[derive(Debug, Default)]
struct Counts {
    carried: AtomicU64,
    lost: AtomicU64,
}

/// A wire. Dropping it takes it away.
#[derive(Debug)]
pub(super) struct Wire {
    quality: watch::Sender<Quality>,
    counts: Arc<Counts>,
    tasks: Vec<JoinHandle<()>>,
}

impl Wire {
    /// Lays a wire of this number to the network of a process.
    pub(super) fn lay(number: u8, pid: u32) -> Result<Self> {
        let here = Arc::new(AsyncDevice::new(device(&name_here(number))?).context("cannot use a TUN device")?);
        let there = Arc::new(AsyncDevice::new(device_of(pid)?).context("cannot use a TUN device")?);
        let (quality, counts) = (watch::Sender::new(Quality::default()), Arc::new(Counts::default()));
        let carry = |from: &Arc<AsyncDevice>, to: &Arc<AsyncDevice>| {
            let (leave, arrive) = mpsc::channel(UNDER_WAY);
            let (from, to) = (Arc::clone(from), Arc::clone(to));
            let taken = take(from, leave, quality.subscribe(), Arc::clone(&counts));
            [tokio::spawn(taken), tokio::spawn(give(arrive, to))]
        };
        let tasks = [carry(&here, &there), carry(&there, &here)].into_iter().flatten().collect();
        Ok(Self { quality, counts, tasks })
    }

    pub(super) fn set(&self, quality: Quality) {
        self.quality.send_replace(quality);
    }

    pub(super) fn packets(&self) -> (u64, u64) {
        (self.counts.carried.load(Ordering::Relaxed), self.counts.lost.load(Ordering::Relaxed))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn device(name: &str) -> Result<SyncDevice> {
    let made = DeviceBuilder::new().name(name).mtu(MTU).build_sync();
    made.with_context(|| format!("cannot make the TUN device {name}: it takes root, and /dev/net/tun"))
}

/// A device in the network of a process: a thread goes there, makes it, and ends.
fn device_of(pid: u32) -> Result<SyncDevice> {
    let network = File::open(format!("/proc/{pid}/ns/net")).context("cannot see the network of a process")?;
    let make = move || -> Result<SyncDevice> {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .context("cannot go into the network of a process")?;
        device(NAME_THERE)
    };
    std::thread::scope(|scope| scope.spawn(make).join())
        .unwrap_or_else(|_| Err(anyhow::anyhow!("the thread that makes a TUN device has panicked")))
}

/// Takes packets off a network, and notes when each arrives.
async fn take(
    from: Arc<AsyncDevice>,
    leave: mpsc::Sender<(Instant, Vec<u8>)>,
    quality: watch::Receiver<Quality>,
    counts: Arc<Counts>,
) {
    let mut room = vec![0; usize::from(MTU) + 64];
    while let Ok(length) = from.recv(&mut room).await {
        let quality = *quality.borrow();
        let packet = room.get(..length).unwrap_or_default().to_vec();
        if quality.loses() || leave.try_send((Instant::now() + quality.delay, packet)).is_err() {
            counts.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            counts.carried.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Gives packets to a network when they arrive, in the order in which they left.
async fn give(mut arrive: mpsc::Receiver<(Instant, Vec<u8>)>, to: Arc<AsyncDevice>) {
    while let Some((at, packet)) = arrive.recv().await {
        sleep_until(at).await;
        // A device that takes no packet has lost it, as networks do.
        let _ = to.send(&packet).await;
    }
}
