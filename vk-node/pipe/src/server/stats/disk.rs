//! How much room the pods' directories take. That is looked at seldom: a pod may have very many files.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use vk_record::Dir;
use vk_task::{DirName, PodUsage, VolumeUsage};

use super::BLOCK_BYTES;

/// Where pods' directories are, below the records.
const PODS: &str = "pods";
/// Where a pod's volumes are, below its directory.
const VOLUMES: &str = "volumes";
/// How long an answer holds: the kubelet's `volumeStatsAggPeriod`.
const HOLDS: Duration = Duration::from_secs(60);
/// How many files are looked at in one go, over all pods. What is beyond that is not counted: a pod with more files shows
/// less than it has.
const MOST_FILES: u64 = 200_000;

/// What was found the last time.
#[derive(Debug, Default)]
pub(super) struct PodSizes {
    last: Option<(Instant, Vec<PodUsage>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    bytes: u64,
    inodes: u64,
}

impl PodSizes {
    /// The sizes of all pods' directories, which may be a minute old.
    pub(super) fn look(&mut self, records: &Dir, now: Instant) -> Vec<PodUsage> {
        if let Some((at, pods)) = &self.last
            && now.duration_since(*at) < HOLDS
        {
            return pods.clone();
        }
        let pods = all(&records.path().join(PODS));
        self.last = Some((now, pods.clone()));
        pods
    }
}

fn all(pods: &Path) -> Vec<PodUsage> {
    let mut left = MOST_FILES;
    let mut found = Vec::new();
    for pod in fs::read_dir(pods).into_iter().flatten().flatten() {
        let name = |entry: &fs::DirEntry| DirName::new(entry.file_name().to_str()?).ok();
        let Some(uid) = name(&pod) else { continue };
        let volumes: Vec<VolumeUsage> = fs::read_dir(pod.path().join(VOLUMES))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|volume| {
                let Size { bytes, inodes } = size(&volume.path(), &mut left);
                Some(VolumeUsage { name: name(&volume)?, bytes, inodes })
            })
            .collect();
        let rest: Vec<Size> = fs::read_dir(pod.path())
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name() != VOLUMES)
            .map(|entry| size(&entry.path(), &mut left))
            .collect();
        let bytes = volumes.iter().map(|v| v.bytes).chain(rest.iter().map(|s| s.bytes)).sum();
        let inodes = volumes.iter().map(|v| v.inodes).chain(rest.iter().map(|s| s.inodes)).sum();
        found.push(PodUsage { uid, bytes, inodes, volumes });
    }
    found
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
            let Size { bytes, inodes } = of(&found);
            sum = Size { bytes: sum.bytes + bytes, inodes: sum.inodes + inodes };
            if found.is_dir() {
                open.push(entry.path());
            }
        }
    }
    sum
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
        let records = Dir::open_or_create(dir.path()).unwrap();
        let mut sizes = PodSizes::default();
        let begin = Instant::now();
        assert_eq!(sizes.look(&records, begin), []);
        let pod = dir.path().join("pods/u-1");
        fs::create_dir_all(pod.join("volumes/data/deep")).unwrap();
        fs::create_dir_all(pod.join("containers/c/work")).unwrap();
        fs::write(pod.join("volumes/data/deep/file"), vec![1; 100_000]).unwrap();
        fs::write(pod.join("containers/c/work/file"), vec![1; 50_000]).unwrap();
        std::os::unix::fs::symlink("/", pod.join("containers/c/work/everything")).unwrap();
        assert_eq!(sizes.look(&records, begin + HOLDS / 2), []);
        let found = sizes.look(&records, begin + HOLDS);
        let [PodUsage { uid, bytes, inodes, volumes }] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((uid.as_str(), *inodes), ("u-1", 3 + 5));
        assert!((150_000..400_000).contains(bytes), "{bytes}");
        let [volume] = volumes.as_slice() else { panic!("{volumes:?}") };
        assert_eq!((volume.name.as_str(), volume.inodes), ("data", 3));
        assert!((100_000..300_000).contains(&volume.bytes), "{volume:?}");
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
