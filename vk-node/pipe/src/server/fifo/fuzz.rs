//! The FIFO's deciding parts, driven by bytes that a fuzzer gives: opens, reads, ends and time come in any order.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::claim;
use super::inode::{Inode, Item};
use super::plan::{Fifos, Key, MAX_IN_USE, MAX_LEFT, Step};

/// More of what happens in one play shows nothing new, and takes long.
const MAX_EVENTS: usize = 50;

/// Plays what `data` says. Each byte is something that happens, to one of the FIFOs there are; bytes that are read are
/// what comes next in `data`.
///
/// # Panics
/// When a law is broken: there is always a FIFO at the path, there are never too many, and all that is decided ends.
#[allow(clippy::panic)]
pub fn play(data: &[u8]) {
    let mut now = Instant::now();
    let mut fifos = Fifos::default();
    let mut open: BTreeSet<Key> = BTreeSet::new();
    let (mut next, mut taken) = (0, 0);
    let mut rest = data;
    for _ in 0..MAX_EVENTS {
        let Some((&what, more)) = rest.split_first() else { break };
        rest = more;
        let at = usize::from(what >> 3) % open.len().max(1);
        let key = open.iter().nth(at).copied().or_else(|| fifos.at_path());
        let items = match (what & 7, key) {
            (0, _) => {
                now += Duration::from_millis(50) * u32::from(what);
                Vec::new()
            }
            (1, Some(key)) => fifos.ended(key, now),
            (2, Some(key)) => {
                fifos.lost_count(key);
                Vec::new()
            }
            (3, _) => {
                fifos.lost_path(now);
                taken += 1;
                Vec::new()
            }
            (4, _) => {
                let path = fifos.at_path();
                path.into_iter().for_each(|key| fifos.opened(key, 1));
                Vec::new()
            }
            (_, Some(key)) => {
                let (bytes, more) = rest.split_at(rest.len().min(usize::from(what)));
                rest = more;
                fifos.readable(key);
                fifos.bytes(key, bytes, what & 1 == 0, now)
            }
            (_, None) => Vec::new(),
        };
        items.iter().for_each(look_at);
        // Twice: what is decided at once leaves nothing to decide but what follows from publishing.
        for _ in 0..2 {
            for step in fifos.next(now) {
                match step {
                    Step::Publish => {
                        next += 1;
                        fifos.published(Key(next), Inode::new(), now);
                        open.insert(Key(next));
                    }
                    Step::Finish(key) => {
                        fifos.finish(key).iter().for_each(look_at);
                        open.remove(&key);
                    }
                    Step::Close(key) => {
                        open.remove(&key);
                    }
                    Step::Mark(_) | Step::Leave(_) => {}
                }
            }
        }
        assert!(fifos.at_path().is_some(), "writers find no FIFO");
        // Those in use, those that all have left (some of which may be in use again), the one at the path, and those that
        // somebody took from there while they were in use.
        assert!(open.len() <= MAX_IN_USE + 2 * MAX_LEFT + 1 + taken, "there are {} FIFOs", open.len());
    }
}

fn look_at(item: &Item) {
    match item {
        Item::Run(line) => {
            assert!(!line.contains('\n') && !line.trim().is_empty(), "no line: {line:?}");
            let _ = claim::split(line);
        }
        Item::Refuse(refused) => assert!(!refused.why.to_string().is_empty()),
    }
}
