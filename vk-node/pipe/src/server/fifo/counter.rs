//! Counting how often a FIFO is opened.
//!
//! fanotify tells of each process that opens it, and never puts two processes into one: see fanotify(7). Without privilege that
//! takes Linux 5.13. Where it cannot be had, inotify counts, on the FIFO and on its directory: it puts two events that
//! are the same into one if nothing comes between them, and of two opens each is then told by two events that differ.
//! Two that happen at the very same moment may still be counted as one. Where neither can be had, nobody counts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use rustix::fs::OFlags;
use vk_record::{Dir, names};

/// `FAN_REPORT_FID` of linux/fanotify.h: without privilege, only events of this kind are given.
const FAN_REPORT_FID: u32 = 0x200;
/// Room for events.
const BUFFER_BYTES: usize = 16 << 10;

/// Counts for one FIFO.
#[derive(Debug)]
pub(super) enum Counter {
    /// Exactly.
    Fanotify(Exactly),
    /// Nearly.
    Inotify(Nearly),
    /// Not at all.
    None,
}

/// What fanotify tells of one FIFO.
#[derive(Debug)]
pub(super) struct Exactly {
    group: Fanotify,
    opens: u32,
    told: u32,
}

/// What inotify has told of one FIFO.
#[derive(Debug)]
pub(super) struct Nearly {
    watch: WatchDescriptor,
    by_inode: u32,
    /// Our own is not among these: it was by another name.
    by_path: u32,
    told: u32,
}

/// So often we open a FIFO ourselves once it is counted.
const OWN: u32 = 1;

/// What has happened since it was asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// It was opened so many times more.
    Opens(u32),
    /// The count is lost.
    Lost,
}

/// What inotify has to tell of the directory and the FIFOs in it.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Something else may be at the FIFO's path.
    pub(super) path_changed: bool,
    path_opens: u32,
    opens: Vec<WatchDescriptor>,
    lost: bool,
}

/// The inotify instance; none if the kernel gives no more of them.
#[derive(Debug)]
pub(super) struct Watcher {
    inotify: Option<Inotify>,
    directory: Option<WatchDescriptor>,
    counts_opens: bool,
}

const PATH_CHANGES: WatchMask =
    WatchMask::CREATE.union(WatchMask::DELETE).union(WatchMask::MOVE).union(WatchMask::ATTRIB);

impl Watcher {
    /// Watches the FIFO's path.
    pub(super) fn new(root: &Dir) -> Self {
        let mut inotify = Inotify::init().ok();
        let directory = inotify.as_mut().and_then(|i| i.watches().add(root.short_path(""), PATH_CHANGES).ok());
        Self { inotify, directory, counts_opens: false }
    }

    /// Whether changes of the path are told at all.
    pub(super) fn works(&self) -> bool {
        self.directory.is_some()
    }

    /// The descriptor to wait at.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// What has happened.
    pub(super) fn read(&mut self) -> News {
        let mut news = News::default();
        let Some(inotify) = &mut self.inotify else { return news };
        let mut buffer = [0; BUFFER_BYTES];
        // An error is that there is nothing.
        while let Ok(events) = inotify.read_events(&mut buffer) {
            for event in events {
                let at_path = event.name == Some(std::ffi::OsStr::new(names::FIFO));
                if event.mask.contains(EventMask::Q_OVERFLOW) {
                    news.lost = true;
                    news.path_changed = true;
                } else if event.mask.contains(EventMask::OPEN) {
                    if Some(&event.wd) != self.directory.as_ref() {
                        news.opens.push(event.wd);
                    } else if at_path {
                        news.path_opens += 1;
                    }
                } else if at_path {
                    news.path_changed = true;
                }
            }
        }
        news
    }

    fn add(&mut self, root: &Dir, name: &str) -> io::Result<Nearly> {
        let unavailable = || io::Error::from(io::ErrorKind::Unsupported);
        let mut watches = self.inotify.as_ref().ok_or_else(unavailable)?.watches();
        if !self.counts_opens {
            watches.add(root.short_path(""), PATH_CHANGES | WatchMask::OPEN)?;
            self.counts_opens = true;
        }
        let watch = watches.add(root.short_path(name), WatchMask::OPEN | WatchMask::DONT_FOLLOW)?;
        Ok(Nearly { watch, by_inode: 0, by_path: 0, told: 0 })
    }

    fn forget(&mut self, nearly: Nearly) {
        if let Some(inotify) = &self.inotify {
            // It fails when the FIFO is gone, and the watch with it.
            let _ = inotify.watches().remove(nearly.watch);
        }
    }
}

impl Counter {
    /// For the FIFO `name`, from now on.
    pub(super) fn new(root: &Dir, name: &str, watcher: &mut Watcher) -> Self {
        match exact(root, name) {
            Ok(group) => Self::Fanotify(Exactly { group, opens: 0, told: 0 }),
            Err(_) => watcher.add(root, name).map_or(Self::None, Self::Inotify),
        }
    }

    /// Whether it cannot take two for one.
    pub(super) fn is_exact(&self) -> bool {
        matches!(self, Self::Fanotify(_))
    }

    /// The descriptor to wait at, if it has one of its own.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Fanotify(exact) => Some(exact.group.as_fd()),
            Self::Inotify(_) | Self::None => None,
        }
    }

    /// Takes in what the watcher has told, in case it counts by that; `at_path` says whether the FIFO is at the path.
    pub(super) fn note(&mut self, news: &News, at_path: bool) {
        match self {
            Self::Inotify(_) if news.lost => *self = Self::None,
            Self::Inotify(nearly) => {
                let opens = news.opens.iter().filter(|watch| **watch == nearly.watch).count();
                nearly.by_inode += u32::try_from(opens).unwrap_or(u32::MAX);
                nearly.by_path += if at_path { news.path_opens } else { 0 };
            }
            Self::Fanotify(_) | Self::None => {}
        }
    }

    /// How often others have opened it since this was asked last. What the watcher has told must have been noted.
    pub(super) fn take(&mut self) -> Counted {
        let (all, told) = match self {
            Self::Fanotify(exact) => match drain(&exact.group) {
                Some(n) => {
                    exact.opens += n;
                    (exact.opens, &mut exact.told)
                }
                None => return Counted::Lost,
            },
            Self::Inotify(nearly) => (nearly.by_inode.max(nearly.by_path + OWN), &mut nearly.told),
            Self::None => return Counted::Lost,
        };
        // Our own comes first.
        let others = all.saturating_sub(OWN);
        let new = others - *told;
        *told = others;
        Counted::Opens(new)
    }

    /// Ends it.
    pub(super) fn end(&mut self, watcher: &mut Watcher) {
        if let Self::Inotify(nearly) = std::mem::replace(self, Self::None) {
            watcher.forget(nearly);
        }
    }
}

fn exact(root: &Dir, name: &str) -> nix::Result<Fanotify> {
    let flags = InitFlags::FAN_CLASS_NOTIF
        | InitFlags::FAN_NONBLOCK
        | InitFlags::FAN_CLOEXEC
        | InitFlags::from_bits_retain(FAN_REPORT_FID);
    let group = Fanotify::init(flags, EventFFlags::O_RDONLY)?;
    group.mark(MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_DONT_FOLLOW, MaskFlags::FAN_OPEN, root, Some(name))?;
    Ok(group)
}

/// How many opens it has told of since it was asked last; `None` when there were too many.
fn drain(group: &Fanotify) -> Option<u32> {
    let mut opens = 0;
    // An error is that there is nothing.
    while let Ok(events) = group.read_events() {
        if events.is_empty() || events.iter().any(|e| e.mask().contains(MaskFlags::FAN_Q_OVERFLOW)) {
            return None;
        }
        opens += u32::try_from(events.len()).unwrap_or(u32::MAX);
    }
    Some(opens)
}

/// How a FIFO is opened for reading: never following a link, never waiting.
pub(super) const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
