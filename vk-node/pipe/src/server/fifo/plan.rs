//! Which FIFO is the one at the path, and when each is done with. Pure: events in, steps out.
//!
//! ```text
//!             somebody opens it: a spare takes the path         all have closed it
//!   at the path ──────────────────────────────────▶ in use ─────────────────────▶ left ──a while──▶ closed
//!        ▲   │                                        │ ▲                          │
//!        │   └─ no room for one more in use: it stays │ └──── somebody opens it ───┘
//!      spare    where it is, and is shared            ▼      (who was about to when it lost the path)
//!                                                  suspect ──nothing comes for a moment──▶ closed
//! ```
//!
//! So each writer gets a FIFO of its own as nearly as can be. Those that meet share one, and [`Inode`] sees to it that
//! no line of theirs is run that may be mixed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::inode::{Inode, Item};

/// So many FIFOs may be in use besides the one at the path. It bounds the memory: each may hold the beginning of a line.
pub(super) const MAX_IN_USE: usize = 32;
/// So many that all have left are kept for those who were about to open them.
pub(super) const MAX_LEFT: usize = 128;
/// How long they are kept: whoever was about to open one would wait for ever once nobody reads it.
const LEFT_FOR: Duration = Duration::from_secs(5);
/// How long nothing must have come from a FIFO of which nothing is run any more until it is closed: who writes after
/// that gets an error (EPIPE). What came before is told of.
const QUIET: Duration = Duration::from_millis(200);
/// It is closed after that long in any case.
const SUSPECT_FOR: Duration = Duration::from_secs(1);
/// After so many bytes of it, it is closed at once.
const MAX_SUSPECT_BYTES: usize = 4 << 20;

/// A FIFO, by a number that no other ever has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) u64);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Put a new FIFO at the path, and tell of it by [`Fifos::published`].
    Publish,
    /// Write on the FIFO itself that whoever reads it next cannot trust its first line.
    Mark(Key),
    /// Read on without counting: all have closed it.
    Leave(Key),
    /// Read what there is still, tell of the rest by [`Fifos::finish`], and close it for good.
    Finish(Key),
    /// Close it for good.
    Close(Key),
}

#[derive(Debug)]
struct Fifo {
    inode: Inode,
    /// Somebody has opened it, or something of it could be read.
    used: bool,
    left_at: Option<Instant>,
    last_bytes: Instant,
    /// Since when nothing of it is run.
    suspect_since: Option<Instant>,
    marked: bool,
}

/// All FIFOs.
#[derive(Debug, Default)]
pub(super) struct Fifos {
    all: BTreeMap<Key, Fifo>,
    at_path: Option<Key>,
    /// Those that have just been left.
    leaving: Vec<Key>,
}

impl Fifos {
    /// A FIFO that was there before.
    pub(super) fn adopted(&mut self, key: Key, inode: Inode, now: Instant) {
        self.all.insert(key, Fifo { used: true, marked: true, ..Fifo::new(inode, now) });
    }

    /// A FIFO has been put at the path.
    pub(super) fn published(&mut self, key: Key, inode: Inode, now: Instant) {
        self.all.insert(key, Fifo::new(inode, now));
        self.at_path = Some(key);
    }

    /// It cannot be read any more.
    pub(super) fn gone(&mut self, key: Key) {
        self.all.remove(&key);
        self.at_path = self.at_path.filter(|at_path| *at_path != key);
    }

    /// The one at the path is no longer there. If nobody has opened it, hardly anybody will.
    pub(super) fn lost_path(&mut self, now: Instant) {
        if let Some(fifo) = self.at_path.take().and_then(|key| self.all.get_mut(&key))
            && !fifo.used
        {
            fifo.left_at = Some(now);
        }
    }

    /// The one at the path.
    pub(super) fn at_path(&self) -> Option<Key> {
        self.at_path
    }

    /// It has been opened `n` times more. To be told before the bytes that came after that.
    pub(super) fn opened(&mut self, key: Key, n: u32) {
        if let Some(fifo) = self.all.get_mut(&key)
            && n > 0
        {
            fifo.used = true;
            fifo.inode.opened(n);
        }
    }

    /// Nobody counts any more how often it is opened.
    pub(super) fn lost_count(&mut self, key: Key) {
        if let Some(fifo) = self.all.get_mut(&key) {
            fifo.inode.lose_count();
        }
    }

    /// Something can be read from it: bytes, or its end.
    pub(super) fn readable(&mut self, key: Key) {
        if let Some(fifo) = self.all.get_mut(&key) {
            fifo.used = true;
        }
    }

    /// Bytes have been read from it; `all` says that there were no more at that moment.
    pub(super) fn bytes(&mut self, key: Key, bytes: &[u8], all: bool, now: Instant) -> Vec<Item> {
        let Some(fifo) = self.all.get_mut(&key) else { return Vec::new() };
        fifo.last_bytes = now;
        if fifo.left_at.take().is_some() {
            // Nobody has counted since then.
            fifo.inode.lose_count();
        }
        let items = fifo.inode.push(bytes, all);
        if fifo.inode.suspect_bytes().is_some() {
            fifo.suspect_since.get_or_insert(now);
        }
        items
    }

    /// All who had it open have closed it.
    pub(super) fn ended(&mut self, key: Key, now: Instant) -> Vec<Item> {
        let Some(fifo) = self.all.get_mut(&key) else { return Vec::new() };
        fifo.left_at.get_or_insert(now);
        // Also when it had been left before: somebody came late, and went.
        self.leaving.push(key);
        fifo.inode.end()
    }

    /// What is to be done now, in this order.
    pub(super) fn next(&mut self, now: Instant) -> Vec<Step> {
        let mut steps: Vec<Step> = std::mem::take(&mut self.leaving).into_iter().map(Step::Leave).collect();
        let in_use =
            self.all.iter().filter(|(key, fifo)| Some(**key) != self.at_path && fifo.left_at.is_none()).count();
        let publish = match self.at_path.and_then(|key| self.all.get(&key)) {
            None => true,
            Some(fifo) => fifo.used && (in_use < MAX_IN_USE || fifo.left_at.is_some() || fifo.is_to_close(now)),
        };
        if publish {
            steps.push(Step::Publish);
            // What had the path has it no longer; if publishing fails, that is tried again.
            self.at_path = None;
        }
        for (key, fifo) in &mut self.all {
            let shared = Some(*key) == self.at_path && fifo.used;
            if !fifo.marked && (shared || fifo.inode.is_within_line()) {
                fifo.marked = true;
                steps.push(Step::Mark(*key));
            }
        }
        let mut left: Vec<(Instant, Key)> = self.off_path().filter_map(|(k, f)| Some((f.left_at?, k))).collect();
        left.sort_unstable();
        let too_many = left.len().saturating_sub(MAX_LEFT);
        let old = left.iter().enumerate().filter(|(i, (at, _))| *i < too_many || now >= *at + LEFT_FOR);
        let closing: Vec<Key> = old.map(|(_, (_, key))| *key).collect();
        let suspect = self.off_path().filter(|(_, f)| f.left_at.is_none() && f.is_to_close(now));
        steps.extend(suspect.map(|(key, _)| Step::Finish(key)));
        for key in closing {
            self.all.remove(&key);
            steps.push(Step::Close(key));
        }
        steps
    }

    /// It is closed: the beginning of a line that may have come of it is told of.
    pub(super) fn finish(&mut self, key: Key) -> Vec<Item> {
        self.all.remove(&key).map(|mut fifo| fifo.inode.end()).unwrap_or_default()
    }

    /// When [`Self::next`] has something to do though nothing happens.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let left = self.off_path().filter_map(|(_, f)| Some(f.left_at? + LEFT_FOR));
        let suspect = self.all.values().filter(|f| f.left_at.is_none()).filter_map(Fifo::close_at);
        left.chain(suspect).min()
    }

    fn off_path(&self) -> impl Iterator<Item = (Key, &Fifo)> {
        self.all.iter().map(|(key, fifo)| (*key, fifo)).filter(|(key, _)| Some(*key) != self.at_path)
    }
}

impl Fifo {
    fn new(inode: Inode, now: Instant) -> Self {
        Self { inode, used: false, left_at: None, last_bytes: now, suspect_since: None, marked: false }
    }

    /// When it is to be closed, because nothing of it is run any more.
    fn close_at(&self) -> Option<Instant> {
        Some((self.last_bytes + QUIET).min(self.suspect_since? + SUSPECT_FOR))
    }

    fn is_to_close(&self, now: Instant) -> bool {
        let flooded = self.inode.suspect_bytes().is_some_and(|n| n >= MAX_SUSPECT_BYTES);
        flooded || self.close_at().is_some_and(|at| now >= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::fifo::inode::Opens;

    /// All FIFOs, with a number for the next.
    struct World {
        fifos: Fifos,
        next: u64,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            let mut world = Self { fifos: Fifos::default(), next: 0, now: Instant::now() };
            assert_eq!(world.act(), [Step::Publish]);
            world
        }

        /// Does what is to be done, as the thread would.
        fn act(&mut self) -> Vec<Step> {
            let steps = self.fifos.next(self.now);
            if steps.contains(&Step::Publish) {
                self.next += 1;
                self.fifos.published(Key(self.next), Inode::new(), self.now);
            }
            steps
        }

        fn open(&mut self) -> Key {
            let key = self.fifos.at_path().unwrap();
            self.fifos.opened(key, 1);
            key
        }
    }

    #[test]
    fn who_opens_the_fifo_gets_one_of_its_own() {
        let mut world = World::new();
        assert_eq!(world.act(), []);
        let first = world.open();
        assert_eq!(world.act(), [Step::Publish]);
        let second = world.open();
        assert_ne!(first, second);
        assert_eq!(world.fifos.bytes(first, b"a", true, world.now), []);
        assert_eq!(world.fifos.bytes(second, b"b\n", true, world.now), [Item::Run("b".into())]);
        assert_eq!(world.act(), [Step::Publish, Step::Mark(first)]);
        assert_eq!(world.fifos.ended(first, world.now), [Item::Run("a".into())]);
        assert_eq!(world.act(), [Step::Leave(first)]);
        assert_eq!(world.fifos.wake_at(), Some(world.now + LEFT_FOR));
        world.now += LEFT_FOR;
        assert_eq!(world.act(), [Step::Close(first)]);
        assert_eq!(world.fifos.wake_at(), None);
    }

    #[test]
    fn who_comes_late_to_one_that_all_have_left_is_heard_and_not_trusted() {
        let mut world = World::new();
        let first = world.open();
        world.act();
        world.fifos.ended(first, world.now);
        world.act();
        assert_eq!(world.fifos.bytes(first, b"late\nin pieces", true, world.now), [Item::Run("late".into())]);
        assert!(matches!(world.fifos.ended(first, world.now).as_slice(), [Item::Refuse(_)]));
    }

    #[test]
    fn where_there_is_no_room_writers_share() {
        let mut world = World::new();
        let held: Vec<Key> = (0..MAX_IN_USE)
            .map(|_| {
                let key = world.open();
                assert_eq!(world.act(), [Step::Publish]);
                key
            })
            .collect();
        let shared = world.open();
        assert_eq!(world.act(), [Step::Mark(shared)]);
        assert_eq!(world.open(), shared);
        assert_eq!(world.act(), []);
        // One leaves: there is room.
        world.fifos.ended(held[0], world.now);
        assert_eq!(world.act(), [Step::Leave(held[0]), Step::Publish]);
        assert_ne!(world.open(), shared);
    }

    #[test]
    fn a_suspect_one_is_closed_when_nothing_comes() {
        let mut world = World::new();
        let key = world.open();
        world.open();
        world.act();
        world.fifos.bytes(key, b"a piece", true, world.now);
        world.act();
        assert_eq!(world.fifos.wake_at(), Some(world.now + QUIET));
        world.now += QUIET / 2;
        assert!(matches!(
            world.fifos.bytes(key, b"\nx\n", true, world.now).as_slice(),
            [Item::Refuse(_), Item::Refuse(_)]
        ));
        world.now += QUIET / 2;
        assert_eq!(world.act(), []);
        world.now += QUIET / 2;
        assert_eq!(world.act(), [Step::Finish(key)]);
        assert_eq!(world.fifos.finish(key), []);
        assert_eq!(world.act(), []);
    }

    #[test]
    fn a_suspect_one_is_closed_also_to_who_never_rests_and_its_last_words_are_told() {
        let mut world = World::new();
        let key = world.open();
        world.open();
        world.act();
        let until = world.now + SUSPECT_FOR;
        while world.now < until {
            assert!(!world.act().contains(&Step::Finish(key)));
            assert_eq!(world.fifos.bytes(key, b"x", true, world.now), []);
            world.now += QUIET / 2;
        }
        assert_eq!(world.act(), [Step::Finish(key)]);
        assert!(matches!(world.fifos.finish(key).as_slice(), [Item::Refuse(_)]));
    }

    #[test]
    fn one_that_is_taken_from_the_path_unopened_does_not_stay() {
        let mut world = World::new();
        let first = world.fifos.at_path().unwrap();
        world.fifos.lost_path(world.now);
        assert_eq!(world.act(), [Step::Publish]);
        world.now += LEFT_FOR;
        assert_eq!(world.act(), [Step::Close(first)]);
    }

    #[test]
    fn one_at_the_path_is_replaced_before_it_is_closed() {
        let mut world = World::new();
        for _ in 0..MAX_IN_USE {
            world.open();
            world.act();
        }
        let key = world.open();
        world.open();
        world.fifos.bytes(key, &[b'x'; MAX_SUSPECT_BYTES], true, world.now);
        world.fifos.bytes(key, &[b'x'; MAX_SUSPECT_BYTES], true, world.now);
        assert_eq!(world.act(), [Step::Publish, Step::Mark(key), Step::Finish(key)]);
    }

    #[test]
    fn of_those_that_all_have_left_only_so_many_are_kept() {
        let mut world = World::new();
        let mut closed = 0;
        for _ in 0..MAX_LEFT + 10 {
            let key = world.open();
            world.act();
            world.fifos.ended(key, world.now);
            closed += world.act().iter().filter(|s| matches!(s, Step::Close(_))).count();
        }
        assert_eq!(closed, 10);
    }

    #[test]
    fn one_that_was_there_before_is_read_to_its_end() {
        let mut world = World::new();
        let key = Key(99);
        world.fifos.adopted(key, Inode::adopted(Opens::Unknown, true), world.now);
        assert_eq!(world.act(), []);
        let items = world.fifos.bytes(key, b"tail\nwhole\n", true, world.now);
        assert!(matches!(items.as_slice(), [Item::Refuse(_), Item::Run(_)]), "{items:?}");
        world.fifos.ended(key, world.now);
        assert_eq!(world.act(), [Step::Leave(key)]);
    }
}
