//! What time it is, and being woken at a time.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use vk_task::Limits;

use crate::ShimError;

pub(crate) use vk_record::clock::boot;

/// When it will be this time by the wall clock, as [`boot`] tells it, unless somebody sets that clock.
pub(crate) fn boot_at(wall: Timestamp) -> Duration {
    boot().saturating_add(Duration::try_from(wall.duration_since(Timestamp::now())).unwrap_or_default())
}

/// Wakes the shim when a wall time is over, and again after the grace. The timeouts of poll(2) stand still while the
/// host sleeps, so they alone would wake it too late.
#[derive(Debug)]
pub(crate) struct Alarm(OwnedFd);

impl Alarm {
    /// One that is not set.
    pub(crate) fn new() -> Result<Self, ShimError> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        timerfd_create(TimerfdClockId::Boottime, flags).map(Self).map_err(ShimError::system("make a timer"))
    }

    /// Sets it to a time of [`boot`], and every grace after it.
    pub(crate) fn set(&self, at: Duration) {
        let spec = |duration| Timespec::try_from(duration).unwrap_or_default();
        let times = Itimerspec { it_value: spec(at), it_interval: spec(Duration::from_secs(Limits::GRACE_SECONDS)) };
        // It fails for times that are out of range, which are years away.
        let _ = timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &times);
    }

    /// The descriptor to wait at.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Takes in that it has gone off, if it has.
    pub(crate) fn take(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}
