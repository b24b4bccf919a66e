//! The places where records make system calls, so that tests can make each of them fail.
//!
//! Without the feature `testing`, which only tests turn on, all of this is nothing. With it, a plan says which call
//! fails, and how: one of this thread (`with_plan`), or one of the whole process, out of the
//! environment (`VARIABLE`).

#[cfg(not(feature = "testing"))]
use rustix::io::Errno;

/// A kind of system call. Opening to read is `Look`, opening to make or to write is `Open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Look,
    Open,
    Read,
    Write,
    Sync,
    Rename,
    Link,
    Unlink,
    MakeDir,
    RemoveDir,
    Stat,
    List,
    Lock,
}

/// How much of `bytes` the next write may take, or why it fails. `name` is the record that it is about.
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(crate) fn room<'a>(_call: Call, _name: &str, bytes: &'a [u8]) -> Result<&'a [u8], Errno> {
    Ok(bytes)
}

/// Whether a call fails. `name` is the record that it is about.
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(crate) fn at(_call: Call, _name: &str) -> Result<(), Errno> {
    Ok(())
}

#[cfg(feature = "testing")]
pub use planned::{Effect, Kind, Plan, VARIABLE, VARIABLE_OF_SHIMS, with_plan};
#[cfg(feature = "testing")]
pub(crate) use planned::{at, room};

#[cfg(feature = "testing")]
mod planned {
    use std::cell::RefCell;
    use std::fs::OpenOptions;
    use std::path::{Path, PathBuf};
    use std::sync::{LazyLock, Mutex, PoisonError};

    use rustix::io::Errno;

    use super::Call;

    /// The variable that holds the plan of a process, as [`Plan::text`] gives it.
    pub const VARIABLE: &str = "VK_TEST_FAULT";

    /// The same for the shims of a pipe.
    pub const VARIABLE_OF_SHIMS: &str = "VK_TEST_SHIM_FAULT";

    /// What becomes of a call.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Effect {
        /// It fails.
        Fails(Errno),
        /// A write takes one byte. Other calls are not touched.
        Short,
    }

    /// What a call does to the records.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Kind {
        /// Nothing.
        Reads,
        /// Something.
        Changes,
    }

    /// Which calls fail.
    #[derive(Clone, Debug)]
    pub struct Plan {
        /// Only calls that are about records with this in their name.
        pub record: String,
        /// The first of them that fails, counted from 0.
        pub first: u32,
        /// How many in a row do.
        pub times: u32,
        /// How.
        pub effect: Effect,
        /// Only calls that read, or only those that change something.
        pub only: Option<Kind>,
        /// Of several processes only the one that makes this file keeps to the plan.
        pub only_one: Option<PathBuf>,
        seen: u32,
        hit: u32,
    }

    thread_local! {
        static OF_THREAD: RefCell<Option<Plan>> = const { RefCell::new(None) };
    }

    static OF_PROCESS: LazyLock<Mutex<Option<Plan>>> = LazyLock::new(|| {
        let is_shim = std::env::args_os().nth(1).is_some_and(|part| part == "shim");
        let variable = if is_shim { VARIABLE_OF_SHIMS } else { VARIABLE };
        Mutex::new(std::env::var(variable).ok().and_then(|text| Plan::parse(&text)))
    });

    impl Plan {
        /// One in which `times` calls fail from the `first` on, of those about records with `record` in their name.
        #[must_use]
        pub fn new(record: &str, first: u32, times: u32, effect: Effect) -> Self {
            Self { record: record.to_owned(), first, times, effect, only: None, only_one: None, seen: 0, hit: 0 }
        }

        fn parse(text: &str) -> Option<Self> {
            let [record, first, times, effect, only, file] = text.split(':').collect::<Vec<_>>().try_into().ok()?;
            let effect = match effect {
                "short" => Effect::Short,
                number => Effect::Fails(Errno::from_raw_os_error(number.parse().ok()?)),
            };
            let only_one = (!file.is_empty()).then(|| file.into());
            let only = match only {
                "read" => Some(Kind::Reads),
                "change" => Some(Kind::Changes),
                _ => None,
            };
            Some(Self { only, only_one, ..Self::new(record, first.parse().ok()?, times.parse().ok()?, effect) })
        }

        /// The text for [`VARIABLE`].
        #[must_use]
        pub fn text(&self) -> String {
            let effect = match self.effect {
                Effect::Short => "short".to_owned(),
                Effect::Fails(errno) => errno.raw_os_error().to_string(),
            };
            let file = self.only_one.as_deref().unwrap_or(Path::new("")).display();
            let only = match self.only {
                Some(Kind::Reads) => "read",
                Some(Kind::Changes) => "change",
                None => "",
            };
            format!("{}:{}:{}:{effect}:{only}:{file}", self.record, self.first, self.times)
        }

        /// Whether this process keeps to the plan.
        fn is_ours(&self) -> bool {
            let make = |file| OpenOptions::new().write(true).create_new(true).open(file).is_ok();
            self.hit > 0 || self.only_one.as_ref().is_none_or(make)
        }

        fn next(&mut self, call: Call, name: &str) -> Option<Effect> {
            let kind = match call {
                Call::Look | Call::Read | Call::Stat | Call::List | Call::Lock => Kind::Reads,
                Call::Open
                | Call::Write
                | Call::Sync
                | Call::Rename
                | Call::Link
                | Call::Unlink
                | Call::MakeDir
                | Call::RemoveDir => Kind::Changes,
            };
            if self.only.is_some_and(|only| only != kind) {
                return None;
            }
            if !name.contains(&self.record) || (self.effect == Effect::Short && call != Call::Write) {
                return None;
            }
            let n = self.seen;
            self.seen += 1;
            let fails = n >= self.first && n - self.first < self.times && self.is_ours();
            self.hit += u32::from(fails);
            fails.then_some(self.effect)
        }
    }

    /// Does `work` with this thread's calls going by `plan`; says too how many calls it hit.
    pub fn with_plan<T>(plan: Plan, work: impl FnOnce() -> T) -> (T, u32) {
        OF_THREAD.set(Some(plan));
        let value = work();
        let plan = OF_THREAD.take();
        (value, plan.map_or(0, |p| p.hit))
    }

    fn next(call: Call, name: &str) -> Option<Effect> {
        let of_thread = OF_THREAD.with_borrow_mut(|plan| plan.as_mut().and_then(|p| p.next(call, name)));
        of_thread.or_else(|| {
            let mut plan = OF_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
            plan.as_mut().and_then(|p| p.next(call, name))
        })
    }

    pub(crate) fn at(call: Call, name: &str) -> Result<(), Errno> {
        match next(call, name) {
            Some(Effect::Fails(errno)) => Err(errno),
            Some(Effect::Short) | None => Ok(()),
        }
    }

    pub(crate) fn room<'a>(call: Call, name: &str, bytes: &'a [u8]) -> Result<&'a [u8], Errno> {
        match next(call, name) {
            Some(Effect::Fails(errno)) => Err(errno),
            Some(Effect::Short) => Ok(bytes.get(..1).unwrap_or(bytes)),
            None => Ok(bytes),
        }
    }
}
