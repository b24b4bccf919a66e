//! Reading the wall clock and `CLOCK_BOOTTIME` together, and remembering the steps of the former: see [`vk_task::clock`].

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::fs::Mode;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use vk_task::clock::{Reading, Steps};

use crate::process::boot_id;
use crate::{Dir, RecordError};

/// The time since the host was started, its sleep included. Nobody can set this clock.
#[must_use]
pub fn boot() -> Duration {
    // The kernel's time since its start is neither negative nor out of range.
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// Both clocks now.
fn read() -> Reading {
    Reading { wall: Timestamp::now(), boot: SignedDuration::try_from(boot()).unwrap_or(SignedDuration::MAX) }
}

/// The wall clock of this host, with its steps.
#[derive(Debug, Default)]
pub struct Clock {
    steps: Mutex<Steps>,
    place: Option<Place>,
}

/// Where the steps are kept.
#[derive(Debug)]
struct Place {
    dir: Dir,
    file: &'static str,
    boot_id: String,
}

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Of which boot.
    boot_id: String,
    steps: Steps,
}

/// What time it is, and what the wall clock has gone through.
#[derive(Clone, Debug)]
pub struct Now {
    /// By the wall clock.
    pub wall: Timestamp,
    /// The same moment, since the host was started.
    pub boot: Duration,
    /// Its steps.
    pub steps: Steps,
    /// By how much it was stepped since it was last read, if it was.
    pub stepped: Option<SignedDuration>,
}

impl Clock {
    /// One that remembers the steps since it was made.
    #[must_use]
    pub fn new() -> Self {
        let this = Self::default();
        this.now();
        this
    }

    /// One that keeps them in the file `file` of `dir` too, and begins with what is there of this boot. Each process has a
    /// file of its own.
    ///
    /// # Errors
    /// When what is there cannot be read. What makes no sense, or is of another boot, is as good as nothing.
    pub fn kept_in(dir: Dir, file: &'static str) -> Result<Self, RecordError> {
        let boot_id = boot_id().map_err(|source| RecordError::Io {
            action: "read",
            path: "the id of this boot".into(),
            source,
        })?;
        let kept = dir.read(file)?.and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
        let kept = kept.filter(|kept| kept.boot_id == boot_id).map(|kept| kept.steps);
        let is_new = kept.is_none();
        let mut steps = kept.unwrap_or_default();
        // When it was stepped while nobody looked is not known. As late as can be: no pod was taken in meanwhile, and what
        // was recorded before is older than that.
        steps.looked_at(read().boot);
        let this = Self { steps: Mutex::new(steps), place: Some(Place { dir, file, boot_id }) };
        this.now();
        if is_new {
            this.keep();
        }
        Ok(this)
    }

    /// What time it is.
    pub fn now(&self) -> Now {
        let now = {
            let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
            let reading = read();
            let stepped = steps.note(reading);
            Now { wall: reading.wall, boot: reading.boot.unsigned_abs(), steps: steps.clone(), stepped }
        };
        if now.stepped.is_some() {
            self.keep();
        }
        now
    }

    /// What the clock that runs now would have shown when `recorded` was recorded.
    pub fn present(&self, recorded: Timestamp) -> Timestamp {
        self.now().steps.present(recorded)
    }

    /// How long ago that was; nothing for what is still to come.
    pub fn age(&self, recorded: Timestamp) -> Duration {
        let now = self.now();
        Duration::try_from(now.wall.duration_since(now.steps.present(recorded))).unwrap_or_default()
    }

    /// Keeps the steps for the next process. Where that fails, the next one knows of them only what it sees itself.
    fn keep(&self) {
        let Some(Place { dir, file, boot_id }) = &self.place else { return };
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Ok(text) = serde_json::to_vec(&Kept { boot_id: boot_id.clone(), steps }) {
            let _ = dir.write(file, &text, Mode::RUSR | Mode::WUSR);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says so that it failed")]
mod tests {
    use super::*;

    const FILE: &str = "clock.json";

    #[test]
    fn steps_outlive_the_process_and_not_the_boot() {
        let directory = tempfile::tempdir().unwrap();
        let dir = || Dir::open_or_create(directory.path()).unwrap();
        let first = Clock::kept_in(dir(), FILE).unwrap().now();
        assert_eq!(first.stepped, None);
        // As if the clock had been two days behind until now.
        let path = directory.path().join(FILE);
        let mut kept: Kept = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let mut behind = Steps::default();
        let boot = read().boot;
        let days = SignedDuration::from_hours(48);
        behind.note(Reading { wall: first.wall - days, boot });
        kept.steps = behind;
        std::fs::write(&path, serde_json::to_vec(&kept).unwrap()).unwrap();
        let clock = Clock::kept_in(dir(), FILE).unwrap();
        let hour = SignedDuration::from_hours(1);
        let age = clock.age(first.wall - days - hour);
        assert!(age.as_secs().abs_diff(3600) < 60, "{age:?}");
        // And it is kept that it was stepped.
        let kept: Kept = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            Clock::kept_in(dir(), FILE).unwrap().now().steps.present(first.wall - days),
            kept.steps.present(first.wall - days)
        );
        for other in [r#"{"boot_id": "other", "steps": {"scales": [], "last": "PT0S"}}"#, "no JSON"] {
            std::fs::write(&path, other).unwrap();
            let clock = Clock::kept_in(dir(), FILE).unwrap();
            assert_eq!(clock.present(first.wall - days), first.wall - days);
        }
    }
}
