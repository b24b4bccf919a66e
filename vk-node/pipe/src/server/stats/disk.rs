//! How much room the pods' directories take. That is looked at seldom: a pod may have very many files.

use std::fs::{self, DirEntry, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use vk_record::Dir;
use vk_task::{ContainerDisk, DirName, PodUsage, VolumeUsage};

use super::BLOCK_BYTES;

/// Where pods' directories are, below the records.
const PODS: &str = "pods";
/// Where a pod's volumes are, below its directory.
const VOLUMES: &str = "volumes";
/// What its containers have for themselves, below its directory.
const CONTAINERS: &str = "containers";
/// How long an answer holds: at least the kubelet's period of looking at what its pods may have, at most its
/// `volumeStatsAggPeriod`.
const HOLDS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// In between it holds so many times as long as it took: a pod may have very many files.
const PATIENCE: u32 = 50;
/// How many files are looked at in one go, over all pods. What is beyond that is not counted: a pod with more files shows
/// less than it has.
const MOST_FILES: u64 = 200_000;

/// What was found the last time.
#[derive(Debug, Default)]
pub(super) struct PodSizes {
    last: Option<Answer>,
}

#[derive(Debug)]
struct Answer {
    at: Instant,
    took: Duration,
    pods: Vec<PodUsage>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    bytes: u64,
    inodes: u64,
}

impl PodSizes {
    /// The sizes of all pods' directories, which may be a minute old; what is in memory is beneath `memory`.
    pub(super) fn look(&mut self, records: &Dir, memory: Option<&Path>, now: Instant) -> Vec<PodUsage> {
        if let Some(Answer { at, took, pods }) = &self.last
            && now.duration_since(*at) < took.saturating_mul(PATIENCE).clamp(HOLDS.0, HOLDS.1)
        {
            return pods.clone();
        }
        let begun = Instant::now();
        let pods = all(&records.path().join(PODS), memory);
        self.last = Some(Answer { at: now, took: begun.elapsed(), pods: pods.clone() });
        pods
    }
}

fn all(pods: &Path, memory: Option<&Path>) -> Vec<PodUsage> {
    let mut left = MOST_FILES;
    let named = entries(pods).filter_map(|pod| Some((name(&pod)?, pod.path())));
    named.map(|(uid, path)| of_pod(uid, &path, memory, &mut left)).collect()
}

fn of_pod(uid: DirName, path: &Path, memory: Option<&Path>, left: &mut u64) -> PodUsage {
    let (mut volumes, mut containers, mut sum) = (Vec::new(), Vec::new(), Size::default());
    for volume in entries(&path.join(VOLUMES)) {
        let Some(name) = name(&volume) else { continue };
        // Of one in memory there is a link here, which a task may have led elsewhere: it is not followed.
        let in_memory = memory.filter(|_| volume.file_type().is_ok_and(|kind| kind.is_symlink()));
        let place = in_memory.map(|memory| memory.join(uid.as_str()).join(name.as_str()));
        let size = size(place.as_deref().unwrap_or(&volume.path()), left);
        if place.is_none() {
            sum = sum.and(size);
        }
        volumes.push(VolumeUsage { name, bytes: size.bytes, inodes: size.inodes });
    }
    for container in entries(&path.join(CONTAINERS)) {
        let Some(name) = name(&container) else { continue };
        let size = size(&container.path(), left);
        sum = sum.and(size);
        containers.push(ContainerDisk { name, bytes: size.bytes });
    }
    PodUsage { uid, bytes: sum.bytes, inodes: sum.inodes, volumes, containers }
}

fn entries(dir: &Path) -> impl Iterator<Item = DirEntry> {
    // It may go while this looks.
    fs::read_dir(dir).into_iter().flatten().flatten()
}

fn name(entry: &DirEntry) -> Option<DirName> {
    DirName::new(entry.file_name().to_str()?).ok()
}

/// What a file or directory takes, with all below it on the same file system. Links are not followed.
fn size(path: &Path, left: &mut u64) -> Size {
    let Ok(top) = fs::symlink_metadata(path) else { return Size::default() };
    let mut sum = of(&top);
    let mut open = if top.is_dir() { vec![path.to_owned()] } else { vec![] };
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if *left == 0 {
                return sum;
            }
            *left -= 1;
            // It may go while this looks.
            let Ok(found) = entry.metadata() else { continue };
            if found.dev() != top.dev() {
                continue;
            }
            sum = sum.and(of(&found));
            if found.is_dir() {
                open.push(entry.path());
            }
        }
    }
    sum
}

impl Size {
    fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, inodes: self.inodes + other.inodes }
    }
}

fn of(metadata: &Metadata) -> Size {
    Size { bytes: metadata.blocks() * BLOCK_BYTES, inodes: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_pods_are_measured_now_and_then() {
        let dir = tempfile::tempdir().unwrap();
        let (records, memory) = (Dir::open_or_create(dir.path()).unwrap(), dir.path().join("memory"));
        let mut sizes = PodSizes::default();
        let mut look = |at| sizes.look(&records, Some(&memory), at);
        let begin = Instant::now();
        assert_eq!(look(begin), []);
        let pod = dir.path().join("pods/u-1");
        fs::create_dir_all(pod.join("volumes/data/deep")).unwrap();
        fs::create_dir_all(pod.join("containers/c/work")).unwrap();
        fs::create_dir_all(memory.join("u-1/shm")).unwrap();
        fs::write(pod.join("volumes/data/deep/file"), vec![1; 100_000]).unwrap();
        fs::write(pod.join("containers/c/work/file"), vec![1; 50_000]).unwrap();
        fs::write(memory.join("u-1/shm/file"), vec![1; 500_000]).unwrap();
        std::os::unix::fs::symlink("/", pod.join("containers/c/work/everything")).unwrap();
        std::os::unix::fs::symlink("/", pod.join("volumes/shm")).unwrap();
        assert_eq!(look(begin + HOLDS.0 / 2), []);
        let found = look(begin + HOLDS.1);
        let [PodUsage { uid, bytes, inodes, volumes, containers }] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((uid.as_str(), *inodes), ("u-1", 3 + 4));
        assert!((150_000..400_000).contains(bytes), "{bytes}");
        let volume = |name: &str| volumes.iter().find(|volume| volume.name.as_str() == name).unwrap();
        assert_eq!((volumes.len(), volume("data").inodes), (2, 3));
        assert!((100_000..300_000).contains(&volume("data").bytes), "{volumes:?}");
        assert!((500_000..700_000).contains(&volume("shm").bytes), "{volumes:?}");
        let [container] = containers.as_slice() else { panic!("{containers:?}") };
        assert!(container.name.as_str() == "c" && (50_000..100_000).contains(&container.bytes), "{container:?}");
    }

    #[test]
    fn no_more_files_are_looked_at_than_may_be() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..10 {
            fs::write(dir.path().join(n.to_string()), "x").unwrap();
        }
        assert_eq!(size(dir.path(), &mut 5).inodes, 6);
        assert_eq!(size(dir.path(), &mut 100).inodes, 11);
    }
}
