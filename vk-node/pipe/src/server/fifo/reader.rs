//! The thread that reads the FIFOs: it does what [`Fifos`] decides, and hands on what comes out.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use tracing::{error, warn};
use vk_record::{Dir, names};

use super::counter::{Counted, Watcher};
use super::inode::{Inode, Item, Opens};
use super::place::{self, Fifo, Verdict};
use super::plan::{Fifos, Key, Step};
use crate::server::told;

/// How much is read at once: as much as a FIFO holds, by default.
const CHUNK_BYTES: usize = 64 << 10;
/// How often the path is looked at where changes of it are told, and where they are not.
const LOOK: Duration = Duration::from_secs(10);
const LOOK_WITHOUT_WATCH: Duration = Duration::from_secs(1);
/// So often one that is to be closed is read still, whoever goes on writing to it.
const LAST_READS: u32 = 16;
/// How soon a FIFO that could not be made is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Wakes the thread.
#[derive(Clone, Debug)]
pub(super) struct Waker {
    event: Arc<OwnedFd>,
    stop: Arc<AtomicBool>,
}

impl Waker {
    pub(super) fn new() -> std::io::Result<Self> {
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok(Self { event, stop: Arc::default() })
    }

    /// There is room for what has been read.
    pub(super) fn wake(&self) {
        // It fails only when it has been woken very often already.
        let _ = rustix::io::write(&*self.event, &1_u64.to_ne_bytes());
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake();
    }
}

/// The thread's own.
#[derive(Debug)]
pub(super) struct Reader {
    root: Arc<Dir>,
    fifos: Fifos,
    open: BTreeMap<Key, Fifo>,
    /// The next to be put at the path, so that it takes but a moment.
    spare: Option<Fifo>,
    watcher: Watcher,
    next_number: u64,
    /// What could not be handed on yet. While there is something, nothing is read, and writers wait.
    outbox: VecDeque<Item>,
    items: Sender<Item>,
    waker: Waker,
    look_at: Instant,
    /// Not to be tried to put a FIFO at the path before that.
    retry_at: Instant,
    /// What was complained of last, so that it is not said again and again.
    complained: Option<String>,
    chunk: Vec<u8>,
}

impl Reader {
    /// With a FIFO at its path.
    pub(super) fn new(root: Arc<Dir>, items: Sender<Item>, waker: Waker) -> anyhow::Result<Self> {
        let now = Instant::now();
        let watcher = Watcher::new(&root);
        let mut reader = Self {
            root,
            fifos: Fifos::default(),
            open: BTreeMap::new(),
            spare: None,
            watcher,
            next_number: 0,
            outbox: VecDeque::new(),
            items,
            waker,
            look_at: now,
            retry_at: now,
            complained: None,
            chunk: vec![0; CHUNK_BYTES],
        };
        reader.adopt_all()?;
        // One that is at the path and has no hidden name is taken up by this.
        reader.clear_path()?;
        let adopted: Vec<Key> = reader.open.keys().copied().collect();
        reader.publish()?;
        for key in adopted {
            reader.read(key);
        }
        Ok(reader)
    }

    /// Reads until it is told to end. What has been read is then handed on by whoever takes it; what has not is still in
    /// the FIFOs.
    pub(super) fn run(mut self) {
        while !self.waker.stop.load(Ordering::Relaxed) {
            let ready = self.wait();
            self.take_news();
            if let Some(key) = self.fifos.at_path() {
                self.count(key);
            }
            if Instant::now() >= self.look_at {
                self.look();
            }
            for key in &ready {
                self.fifos.readable(*key);
            }
            // Before it is read: the sooner the path is another's, the fewer share.
            self.act();
            for key in ready {
                if self.outbox.is_empty() {
                    self.read(key);
                    self.hand_on();
                }
            }
            self.act();
            self.hand_on();
        }
    }

    /// Waits until something happens; gives the FIFOs that can be read.
    fn wait(&self) -> Vec<Key> {
        let now = Instant::now();
        let retry = self.fifos.at_path().is_none().then_some(self.retry_at);
        let until = [self.fifos.wake_at(), retry, Some(self.look_at)].into_iter().flatten().min().unwrap_or(now);
        let timeout = Timespec::try_from(until.saturating_duration_since(now)).ok();
        let at_path = self.fifos.at_path().and_then(|key| self.open.get(&key));
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.waker.event.as_fd()];
        fds.extend(self.watcher.descriptor());
        fds.extend(at_path.and_then(|fifo| fifo.counter.descriptor()));
        let others = fds.len();
        if self.outbox.is_empty() {
            fds.extend(self.open.values().map(|fifo| fifo.fd.as_fd()));
        }
        let mut polled: Vec<_> = fds.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            // A lack of memory: it may pass.
            Err(_) => std::thread::sleep(RETRY),
        }
        let _ = rustix::io::read(&*self.waker.event, &mut [0; 8]);
        let fifos = polled.iter().skip(others).zip(self.open.keys());
        fifos.filter(|(fd, _)| !fd.revents().is_empty()).map(|(_, key)| *key).collect()
    }

    /// Takes in what has happened to the directory.
    fn take_news(&mut self) {
        let news = self.watcher.read();
        let at_path = self.fifos.at_path();
        for (key, fifo) in &mut self.open {
            fifo.counter.note(&news, Some(*key) == at_path);
        }
        if let Some(spare) = &mut self.spare {
            spare.counter.note(&news, false);
        }
        if news.path_changed {
            self.look_at = Instant::now();
        }
    }

    /// Takes in how often a FIFO has been opened.
    fn count(&mut self, key: Key) {
        self.take_news();
        match self.open.get_mut(&key).map(|fifo| fifo.counter.take()) {
            Some(Counted::Opens(n)) => self.fifos.opened(key, n),
            Some(Counted::Lost) => self.fifos.lost_count(key),
            None => {}
        }
    }

    /// Reads what one FIFO has, once; says whether it had anything.
    fn read(&mut self, key: Key) -> bool {
        let Some(fifo) = self.open.get(&key) else { return false };
        let n = match rustix::io::read(&fifo.fd, &mut *self.chunk) {
            Ok(n) => n,
            Err(Errno::AGAIN | Errno::INTR) => return false,
            Err(e) => {
                self.complain(format!("a FIFO cannot be read, and is given up: {e}"));
                self.fifos.gone(key);
                self.close(key);
                return false;
            }
        };
        // Whoever wrote it had opened it before: so this comes after the read, and all of them are counted.
        self.count(key);
        let now = Instant::now();
        let items = match self.chunk.get(..n) {
            Some(bytes) if n > 0 => self.fifos.bytes(key, bytes, n < CHUNK_BYTES, now),
            _ => self.fifos.ended(key, now),
        };
        self.outbox.extend(items);
        n > 0
    }

    /// Hands on what has been read, as far as there is room.
    fn hand_on(&mut self) {
        while let Some(item) = self.outbox.pop_front() {
            match self.items.try_send(item) {
                Ok(()) => {}
                Err(TrySendError::Full(item)) => {
                    self.outbox.push_front(item);
                    return;
                }
                // The pipe ends.
                Err(TrySendError::Closed(_)) => self.waker.stop.store(true, Ordering::Relaxed),
            }
        }
    }

    /// Does what is decided.
    fn act(&mut self) {
        for step in self.fifos.next(Instant::now()) {
            match step {
                Step::Publish if Instant::now() < self.retry_at => {}
                Step::Publish => match self.publish() {
                    Ok(()) => self.complained = None,
                    Err(e) => {
                        self.retry_at = Instant::now() + RETRY;
                        self.complain(format!("the FIFO cannot be opened by others: {e:#}"));
                    }
                },
                Step::Mark(key) => {
                    if let Some(Err(e)) = self.open.get(&key).map(Fifo::mark) {
                        warn!("a FIFO could not be marked: {e}");
                    }
                }
                Step::Leave(key) => {
                    if let Some(fifo) = self.open.get_mut(&key) {
                        fifo.counter.end(&mut self.watcher);
                        if let Err(e) = fifo.reopen() {
                            warn!("a FIFO could not be opened anew: {e}");
                            self.fifos.gone(key);
                            self.close(key);
                        }
                    }
                }
                Step::Finish(key) => {
                    // Who has written all it wanted gets no error, so what it wrote must be told of.
                    for _ in 0..LAST_READS {
                        if !self.read(key) {
                            break;
                        }
                    }
                    self.outbox.extend(self.fifos.finish(key));
                    self.close(key);
                }
                Step::Close(key) => self.close(key),
            }
        }
    }

    fn close(&mut self, key: Key) {
        if let Some(mut fifo) = self.open.remove(&key) {
            fifo.counter.end(&mut self.watcher);
            if let Err(e) = fifo.forget(&self.root) {
                warn!("the name of a FIFO that is done with is still there: {e:#}");
            }
        }
    }

    /// Puts a new FIFO at the path.
    fn publish(&mut self) -> anyhow::Result<()> {
        self.clear_path()?;
        let mut fifo = match self.spare.take() {
            Some(fifo) => fifo,
            None => self.make()?,
        };
        if fifo.publish(&self.root).is_err() {
            // Its hidden name may have been removed.
            fifo = self.make()?;
            fifo.publish(&self.root)?;
        }
        let key = self.next_key();
        self.open.insert(key, fifo);
        self.fifos.published(key, Inode::new(), Instant::now());
        self.spare = self.make().ok();
        Ok(())
    }

    fn next_key(&mut self) -> Key {
        self.next_number += 1;
        Key(self.next_number)
    }

    fn make(&mut self) -> anyhow::Result<Fifo> {
        let n = self.next_key().0;
        place::make(&self.root, n, &mut self.watcher)
    }

    /// Looks whether our FIFO is at the path.
    fn look(&mut self) {
        self.look_at = Instant::now() + if self.watcher.works() { LOOK } else { LOOK_WITHOUT_WATCH };
        match self.verdict() {
            Ok((Verdict::Ours, mode)) => {
                let at_path = self.fifos.at_path().and_then(|key| self.open.get(&key));
                if let Some(Err(e)) = at_path.map(|fifo| fifo.repair(mode)) {
                    self.complain(format!("the FIFO is open to others, and cannot be closed to them: {e}"));
                }
            }
            // It is put right by `publish`.
            Ok(_) => self.fifos.lost_path(Instant::now()),
            Err(e) => self.complain(format!("the FIFO's path cannot be looked at: {e:#}")),
        }
    }

    fn verdict(&self) -> anyhow::Result<(Verdict, u32)> {
        let there = place::look(&self.root)?;
        let published = self.fifos.at_path().and_then(|key| self.open.get(&key)).map(|fifo| fifo.id);
        let known: Vec<_> = self.open.values().map(|fifo| fifo.id).collect();
        Ok((place::verdict(there, place::uid(), published, &known), there.map_or(0, |there| there.mode)))
    }

    /// Sees to it that a FIFO may be put at the path.
    fn clear_path(&mut self) -> anyhow::Result<()> {
        let path = self.root.path().join(names::FIFO);
        match self.verdict()?.0 {
            Verdict::Ours | Verdict::Free => {}
            Verdict::Adopt => {
                let n = self.next_key().0;
                let name = place::hide(&self.root, n)?;
                self.adopt(name, true)?;
            }
            Verdict::MoveAside => {
                let aside = place::move_aside(&self.root)?;
                told::tell(
                    &self.root,
                    &format!(
                        "{} was no FIFO, so what was written to it has not been run: it is now {aside}, and the FIFO is \
                         there again",
                        path.display()
                    ),
                );
            }
            Verdict::Foreign => bail!(
                "{} is another user's, and so is left alone: have it removed, and the FIFO comes by itself",
                path.display()
            ),
        }
        Ok(())
    }

    /// Takes up what pipes before this one have left, the one at the path first.
    fn adopt_all(&mut self) -> anyhow::Result<()> {
        let at_path = place::look(&self.root)?.map(|there| there.id);
        for name in self.root.entries()? {
            if !name.starts_with(place::HIDDEN) {
                continue;
            }
            let Some(stat) = self.root.stat(&name)? else { continue };
            let fifo = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo;
            if fifo && stat.st_uid == place::uid() {
                let adopted = self.adopt(name, Some(place::FileId::of(&stat)) == at_path);
                if let Err(e) = adopted {
                    warn!("a FIFO of an earlier pipe is left alone: {e:#}");
                }
            }
        }
        Ok(())
    }

    /// Reads a FIFO that was there before; `count` if nobody can have it open yet who is not counted from now on.
    fn adopt(&mut self, name: String, count: bool) -> anyhow::Result<()> {
        let fifo = place::open(&self.root, name, &mut self.watcher)?;
        if self.open.values().any(|known| known.id == fifo.id) {
            return fifo.forget(&self.root);
        }
        let opens = if count && fifo.counter.is_exact() && !fifo.marked { Opens::Counted(0) } else { Opens::Unknown };
        let key = self.next_key();
        self.fifos.adopted(key, Inode::adopted(opens, fifo.marked), Instant::now());
        self.open.insert(key, fifo);
        Ok(())
    }

    fn complain(&mut self, what: String) {
        if self.complained.as_ref() != Some(&what) {
            error!("{what}");
            self.complained = Some(what);
        }
    }
}
