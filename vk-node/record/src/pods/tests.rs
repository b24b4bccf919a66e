use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use proptest::prelude::*;
use vk_task::{FileContent, FilePath};

struct Place {
    temporary: tempfile::TempDir,
    pods: Pods,
    trash: Dir,
}

fn place() -> Place {
    // In memory where that can be had: a very deep tree takes a disk long.
    let temporary = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let open = |name: &str| Dir::open_or_create(&temporary.path().join(name)).unwrap();
    let (pods, trash) = (Pods::new(open("pods"), Some(open("memory"))), open("trash"));
    Place { temporary, pods, trash }
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    fn volume(&self) -> PathBuf {
        self.path("pods/uid/volumes/v")
    }

    fn put(&self, files: &[(&str, &str, u32)]) -> bool {
        let files = files.iter().map(|(path, text, mode)| {
            let content = FileContent { data: text.as_bytes().into(), mode: *mode };
            (FilePath::new(*path).unwrap(), content)
        });
        self.pods
            .put_volume(&name("uid"), &name("v"), &VolumeContent::Files { files: files.collect(), memory: false })
            .unwrap()
    }

    fn remove(&self) {
        if let Some(name) = self.pods.discard(&name("uid"), &self.trash).unwrap() {
            remove_tree(&self.trash, &name).unwrap();
        }
    }

    /// All that can be read in the volume as a task does, by path.
    fn seen(&self) -> BTreeMap<String, (String, u32)> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.volume()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.volume()).unwrap().to_str().unwrap().to_owned();
                let metadata = fs::metadata(&path).unwrap();
                match metadata.is_dir() {
                    _ if name.starts_with("..") => {}
                    true => open.push(path),
                    false => {
                        let text = fs::read_to_string(&path).unwrap_or_default();
                        found.insert(name, (text, metadata.mode() & 0o7777));
                    }
                }
            }
        }
        found
    }
}

fn name(text: &str) -> DirName {
    DirName::new(text).unwrap()
}

fn entries(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Without the set itself.
fn visible(volume: &Path) -> Vec<String> {
    entries(volume).into_iter().filter(|name| !name.starts_with("..set")).collect()
}

#[test]
fn files_are_there_with_their_modes_and_old_ones_go() {
    let place = place();
    assert!(place.put(&[("a", "1", 0o400), ("sub/b", "2", 0o666), ("sub/deep/c", "3", 0o751)]));
    let expected = [("a", ("1", 0o400)), ("sub/b", ("2", 0o666)), ("sub/deep/c", ("3", 0o751))];
    assert_eq!(place.seen(), expected.map(|(n, (t, m))| (n.to_owned(), (t.to_owned(), m))).into());
    assert_eq!(visible(&place.volume()), ["..data", "a", "sub"]);
    let before = fs::metadata(place.volume().join("a")).unwrap().ino();
    assert!(!place.put(&[("a", "1", 0o400), ("sub/b", "2", 0o666), ("sub/deep/c", "3", 0o751)]));
    assert_eq!(fs::metadata(place.volume().join("a")).unwrap().ino(), before);
    // Content, mode, and what there is.
    assert!(place.put(&[("a", "one", 0o400), ("sub/b", "2", 0o666)]));
    assert!(place.put(&[("a", "one", 0o444), ("sub/b", "2", 0o666)]));
    assert!(place.put(&[("a", "one", 0o444)]));
    assert_eq!(visible(&place.volume()), ["..data", "a"]);
    assert_eq!(entries(&place.volume()).len(), 3);
    assert!(place.put(&[]));
    assert_eq!(place.seen(), BTreeMap::new());
}

#[test]
fn a_reader_sees_the_old_or_the_new() {
    let place = place();
    let texts = ["x".repeat(10_000), "y".repeat(10_000)];
    place.put(&[("a", &texts[0], 0o600), ("b", &texts[0], 0o600)]);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for _ in 0..300 {
                // The directory is held, as a careful reader does; it may be gone, but is never mixed.
                let Ok(set) = fs::canonicalize(place.volume().join("..data")) else { continue };
                let both = ["a", "b"].map(|name| fs::read_to_string(set.join(name)));
                if let [Ok(a), Ok(b)] = both {
                    assert!(a == b && a.len() == 10_000);
                }
                assert_eq!(fs::read_to_string(place.volume().join("a")).unwrap_or_default().len() % 10_000, 0);
            }
        });
        for round in 1..200 {
            let text = &texts[round % 2];
            assert!(place.put(&[("a", text, 0o600), ("b", text, 0o600)]));
        }
        reader.join().unwrap();
    });
}

/// What may stand at a name that the volume needs: a file, a directory with something in it, a link to elsewhere.
fn plant(at: &Path, what: u8, elsewhere: &Path) {
    let _ = fs::remove_file(at);
    let _ = fs::remove_dir_all(at);
    match what {
        0 => fs::write(at, "planted").unwrap(),
        1 => {
            fs::create_dir(at).unwrap();
            fs::write(at.join("in"), "planted").unwrap();
        }
        2 => symlink(elsewhere, at).unwrap(),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_a_task_has_made_of_it_it_is_as_it_is_to_be(
        first in proptest::collection::btree_map("[ab]{1}(/[cd]{2})?", "[xy]{0,2}", 0..4),
        then in proptest::collection::btree_map("[ab]{1}(/[cd]{2})?", "[xy]{0,2}", 0..4),
        planted in proptest::collection::vec((prop_oneof![Just("..data"), Just("..data_tmp"), Just("a"), Just("b"),
            Just("..old"), Just("new")], 0_u8..4), 0..5),
        whole in 0_u8..8,
    ) {
        // A name cannot be a file and a directory.
        let sound = |files: &BTreeMap<String, String>| {
            !files.keys().any(|a| files.keys().any(|b| b.starts_with(&format!("{a}/"))))
        };
        prop_assume!(sound(&first) && sound(&then));
        let place = place();
        let elsewhere = place.path("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("precious"), "1").unwrap();
        let put = |files: &BTreeMap<String, String>| {
            let files: Vec<_> = files.iter().map(|(n, t)| (n.as_str(), t.as_str(), 0o640)).collect();
            place.put(&files)
        };
        put(&first);
        for (at, what) in planted {
            plant(&place.volume().join(at), what, &elsewhere);
        }
        if whole < 3 {
            plant(&place.volume(), whole, &elsewhere);
        }
        put(&then);
        let expected = then.iter().map(|(n, t)| (n.clone(), (t.clone(), 0o640))).collect();
        prop_assert_eq!(place.seen(), expected);
        prop_assert!(!put(&then));
        prop_assert_eq!(entries(&elsewhere), ["precious"]);
    }
}

#[test]
fn an_empty_volume_is_left_as_it_is() {
    let place = place();
    for (memory, dir) in [(false, place.volume()), (true, place.path("memory/uid/m"))] {
        let volume = name(if memory { "m" } else { "v" });
        let put = || place.pods.put_volume(&name("uid"), &volume, &VolumeContent::Empty { memory }).unwrap();
        assert_eq!(place.pods.volume(&name("uid"), &volume).unwrap(), None);
        assert!(put());
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0o777);
        fs::write(dir.join("x"), "1").unwrap();
        assert!(!put());
        assert_eq!(entries(&dir), ["x"]);
        assert_eq!(place.pods.volume(&name("uid"), &volume).unwrap(), Some(dir));
    }
    assert_eq!(fs::read(place.path("pods/uid/volumes/m/x")).unwrap(), b"1");
    // As after the host was started anew.
    fs::remove_dir_all(place.path("memory/uid")).unwrap();
    assert_eq!(place.pods.volume(&name("uid"), &name("m")).unwrap(), None);
    assert!(place.pods.put_volume(&name("uid"), &name("m"), &VolumeContent::Empty { memory: true }).unwrap());
    assert_eq!(entries(&place.path("memory/uid/m")), Vec::<String>::new());
    // It stays while its pod does.
    place.pods.sweep_memory().unwrap();
    assert_eq!(entries(&place.path("memory")), ["uid"]);
    place.remove();
    place.pods.sweep_memory().unwrap();
    assert_eq!(entries(&place.path("memory")), Vec::<String>::new());
}

#[test]
fn own_directories_and_links_are_kept_and_nothing_of_a_tasks_is_replaced() {
    let place = place();
    let own = || place.pods.own_directory(&name("uid"), &name("c"));
    let paths = own().unwrap();
    assert_eq!(paths.work, place.path("pods/uid/containers/c/work"));
    fs::write(paths.work.join("kept"), "1").unwrap();
    // What its owner may do with it.
    fs::set_permissions(&paths.work, fs::Permissions::from_mode(0o777)).unwrap();
    own().unwrap();
    assert_eq!(entries(&paths.work), ["kept"]);
    assert_eq!(fs::metadata(&paths.work).unwrap().mode() & 0o777, 0o777);

    let link = |target: &str, to: &str| place.pods.link(&name("uid"), &name("c"), Path::new(target), Path::new(to));
    link("data/in", "/one").unwrap();
    link("data/in", "/one").unwrap();
    link("data/in", "/two").unwrap();
    assert_eq!(fs::read_link(paths.work.join("data/in")).unwrap(), Path::new("/two"));
    let e = link("kept", "/one").unwrap_err();
    assert!(e.to_string().ends_with("kept is in the place of a link to a volume: move it away"), "{e}");
    symlink("/tmp", paths.work.join("away")).unwrap();
    let e = link("away/in", "/one").unwrap_err();
    assert!(e.to_string().ends_with("away is in the place of a directory: move it away"), "{e}");
    fs::remove_dir_all(&paths.tmp).unwrap();
    symlink("/tmp", &paths.tmp).unwrap();
    assert!(matches!(own(), Err(RecordError::InTheWay { .. })));
}

#[test]
fn whatever_tasks_have_left_goes_and_nothing_else() {
    let place = place();
    let elsewhere = place.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("precious"), "1").unwrap();
    let work = place.pods.own_directory(&name("uid"), &name("c")).unwrap().work;
    symlink(&elsewhere, work.join("link")).unwrap();
    symlink("/no/where", work.join("dangling")).unwrap();
    fs::write(work.join(std::ffi::OsStr::from_bytes(b"\xff\n")), "").unwrap();
    (0..500).for_each(|n| fs::write(work.join(format!("many-{n}")), "").unwrap());
    // A closed directory with a closed one in it, and one with a link out of it.
    fs::create_dir_all(work.join("closed/closed/open")).unwrap();
    symlink(&elsewhere, work.join("closed/closed/link")).unwrap();
    for path in ["closed/closed", "closed", ""] {
        fs::set_permissions(work.join(path), fs::Permissions::from_mode(0o0)).unwrap();
    }
    fs::set_permissions(place.path("pods/uid"), fs::Permissions::from_mode(0o0)).unwrap();
    place.remove();
    assert_eq!(entries(&place.path("pods")), Vec::<String>::new());
    assert_eq!(entries(&place.path("trash")), Vec::<String>::new());
    assert_eq!(entries(&elsewhere), ["precious"]);
    place.remove();
}

/// More levels than a stack has frames, or a process open files, and longer than any path.
#[test]
fn a_tree_may_be_deeper_than_anything() {
    let place = place();
    let work = place.pods.own_directory(&name("uid"), &name("c")).unwrap().work;
    let mut dir = Dir::open(&work).unwrap();
    for _ in 0..5_000 {
        dir = dir.make_dir("down", Mode::RWXU).unwrap();
        dir = Dir::of_fd(dir.try_clone().unwrap().into_fd(), PathBuf::new());
    }
    place.remove();
    assert_eq!(entries(&place.path("trash")), Vec::<String>::new());
}

impl Dir {
    fn into_fd(self) -> OwnedFd {
        std::os::fd::AsFd::as_fd(&self).try_clone_to_owned().unwrap()
    }
}

#[test]
fn a_part_is_inside_or_not_at_all() {
    let place = place();
    place.put(&[("a", "1", 0o600), ("sub/b", "2", 0o600)]);
    let root = place.volume().canonicalize().unwrap();
    let set = fs::canonicalize(root.join("..data")).unwrap();
    symlink("/etc", root.join("out")).unwrap();
    symlink("../../../none", root.join("dangling")).unwrap();
    symlink("a", root.join("again")).unwrap();
    let found = |sub: &str| part(&place.volume(), &FilePath::new(sub).unwrap()).unwrap();
    for (sub, at) in [
        ("a", set.join("a")),
        ("again", set.join("a")),
        ("sub", set.join("sub")),
        ("sub/b", set.join("sub/b")),
        ("sub/new/deep", set.join("sub/new/deep")),
        ("new", root.join("new")),
    ] {
        assert_eq!(found(sub), Part::Inside(at), "{sub}");
    }
    for sub in ["out", "out/passwd", "out/none", "dangling", "dangling/x"] {
        assert_eq!(found(sub), Part::Outside, "{sub}");
    }
    assert!(part(&place.path("none"), &FilePath::new("a").unwrap()).is_err());
}
