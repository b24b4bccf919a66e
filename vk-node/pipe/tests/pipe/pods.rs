//! The directories of pods: volumes, what containers have for themselves, and that all of it goes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use vk_pipe::ClientError;
use vk_task::{
    ApiError, DirName, End, ErrorReason, FileContent, FilePath, MAX_READ_BYTES, Origin, TaskSpec, VolumeContent,
    VolumeMount, VolumeSource,
};

use crate::Test;
use crate::support::{Host, PATIENCE, block_on, eventually, id, script, stop_in, with_env};

pub(crate) const TESTS: &[Test] = &[
    ("files_in_memory_are_as_those_on_disk_and_go_with_their_pod", files_in_memory),
    ("a_volume_is_seen_and_a_change_of_it_reaches_the_task", volume),
    ("a_container_has_a_directory_that_its_next_run_finds_again", own_directory),
    ("what_a_task_is_to_have_and_cannot_is_told_before_anything_runs", refused),
    ("a_pods_directory_stays_while_a_task_runs_and_goes_with_all_in_it", removed),
    ("what_a_killed_pipe_has_left_of_pods_goes", left),
    ("directories_of_pods_that_nobody_asks_for_go", forgotten),
    ("a_file_of_a_volume_is_read_where_it_is_one", read_back),
];

pub(crate) fn name(text: &str) -> DirName {
    DirName::new(text).unwrap()
}

pub(crate) fn files(files: &[(&str, &str)]) -> VolumeContent {
    let file = |(path, text): &(&str, &str)| {
        (FilePath::new(*path).unwrap(), FileContent { data: text.as_bytes().into(), mode: 0o644 })
    };
    VolumeContent::Files { files: files.iter().map(file).collect(), memory: false }
}

pub(crate) fn mount(volume: &str, target: &str) -> VolumeMount {
    let source = VolumeSource::Volume { name: name(volume) };
    VolumeMount { source, sub_path: None, target: target.into(), read_only: false }
}

pub(crate) async fn put(host: &Host, volume: &str, content: &VolumeContent) {
    host.client.put_volume(&name("u"), &name(volume), content).await.unwrap();
}

pub(crate) async fn refusal(host: &Host, spec: &TaskSpec) -> ApiError {
    match host.client.start(&id("refused"), spec).await {
        Err(ClientError::Refused(e)) => e,
        other => panic!("{other:?}"),
    }
}

fn own(text: &str, mounts: &[VolumeMount]) -> TaskSpec {
    TaskSpec { own_directory: true, mounts: mounts.into(), ..script(text) }
}

impl Host {
    pub(crate) fn pod(&self) -> PathBuf {
        self.directory().join("pods/u")
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }
}

fn volume() {
    block_on(async {
        let host = Host::new().await;
        put(&host, "config", &files(&[("a", "old"), ("sub/b", "2")])).await;
        put(&host, "scratch", &VolumeContent::Empty { memory: true }).await;
        let text = "cat etc/config/a etc/config/sub/b > $HOME/seen; echo x > scratch/x; touch $HOME/up
            while [ \"$(cat etc/config/a)\" != new ]; do sleep 0.01; done; ls etc/config > $HOME/then";
        let spec = own(text, &[mount("config", "etc/config"), mount("scratch", "scratch")]);
        host.client.start(&id("t"), &spec).await.unwrap();
        eventually("it runs", || host.file("up").exists()).await;
        assert_eq!(host.read("seen"), "old2");
        // What stands in both is not lost.
        put(&host, "scratch", &VolumeContent::Empty { memory: true }).await;
        put(&host, "config", &files(&[("a", "new"), ("c", "")])).await;
        assert_eq!(host.ended(&id("t")).await, End::Exited { code: 0 });
        assert_eq!(host.read("then"), "a\nc\n");
        assert_eq!(fs::read_to_string(host.pod().join("volumes/scratch/x")).unwrap(), "x\n");
        let mode = fs::metadata(host.directory().join("pods")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    });
}

fn files_in_memory() {
    block_on(async {
        let host = Host::new().await;
        let secret = |text: &str| match files(&[("token", text), ("sub/b", "2")]) {
            VolumeContent::Files { files, .. } => VolumeContent::Files { files, memory: true },
            other => other,
        };
        put(&host, "secret", &secret("old")).await;
        let place = fs::canonicalize(host.pod().join("volumes/secret")).unwrap();
        assert!(place.starts_with("/dev/shm"), "{place:?}");
        let text = "cat s/token s/sub/b > $HOME/seen; touch $HOME/up
            while [ \"$(cat s/token)\" != new ]; do sleep 0.01; done";
        host.client.start(&id("t"), &own(text, &[mount("secret", "s")])).await.unwrap();
        eventually("it runs", || host.file("up").exists()).await;
        assert_eq!(host.read("seen"), "old2");
        put(&host, "secret", &secret("new")).await;
        assert_eq!(host.ended(&id("t")).await, End::Exited { code: 0 });
        // After the host was started anew it is put again.
        fs::remove_dir_all(place.parent().unwrap()).unwrap();
        put(&host, "secret", &secret("newest")).await;
        assert_eq!(fs::read_to_string(place.join("token")).unwrap(), "newest");
        host.client.remove_pod(&name("u")).await.unwrap();
        eventually("it is gone", || !place.exists()).await;
        assert_eq!(fs::read_dir(place.parent().unwrap().parent().unwrap()).unwrap().count(), 0);
    });
}

fn own_directory() {
    block_on(async {
        let host = Host::new().await;
        let run = async |restart: u32, text: &str, dir: Option<&str>| {
            let mut spec = own(&format!("exec > $HOME/seen; {text}"), &[]);
            spec.working_dir = dir.map(Into::into);
            if let Origin::Pod(run) = &mut spec.origin {
                run.restart = restart;
            }
            let id = id(&format!("t{restart}"));
            host.client.start(&id, &spec).await.unwrap();
            assert_eq!(host.ended(&id).await, End::Exited { code: 0 });
            host.read("seen")
        };
        let container = host.pod().join("containers/main");
        let expected = format!("{0}/work\n{0}/tmp\n", container.display());
        assert_eq!(run(0, "pwd; echo $TMPDIR; echo kept > file; mkdir sub; chmod 777 . $TMPDIR", None).await, expected);
        assert_eq!(run(1, "cat file", None).await, "kept\n");
        assert_eq!(run(2, "pwd", Some("sub")).await, format!("{}/work/sub\n", container.display()));
        assert_eq!(run(3, "pwd", Some("~")).await, format!("{}\n", host.home().display()));
        let spec = with_env(own("echo $TMPDIR > $HOME/seen", &[]), "TMPDIR", "/mine");
        host.client.start(&id("mine"), &spec).await.unwrap();
        host.ended(&id("mine")).await;
        assert_eq!(host.read("seen"), "/mine\n");
    });
}

fn refused() {
    block_on(async {
        let host = Host::new().await;
        let e = refusal(&host, &own("touch $HOME/ran", &[mount("v", "v")])).await;
        assert_eq!(e.reason, ErrorReason::Conflict);
        assert_eq!(e.message, "the volume v of the pod has not been written: put it first");
        put(&host, "v", &files(&[])).await;
        let work = host.pod().join("containers/main/work");
        fs::create_dir_all(work.join("v")).unwrap();
        for path in ["containers", "containers/main"] {
            fs::set_permissions(host.pod().join(path), fs::Permissions::from_mode(0o700)).unwrap();
        }
        let e = refusal(&host, &own("touch $HOME/ran", &[mount("v", "v")])).await;
        assert_eq!(e.reason, ErrorReason::Conflict);
        assert!(e.message.contains("work/v is in the place of a link to a volume: move it away"), "{e}");
        let e = refusal(&host, &TaskSpec { own_directory: false, ..own("", &[mount("v", "v")]) }).await;
        assert!(e.message.contains("it has none: write an absolute path"), "{e}");
        assert_eq!(fs::read_dir(host.directory().join("tasks")).unwrap().count(), 0);
        assert!(!host.file("ran").exists());
    });
}

fn removed() {
    block_on(async {
        let host = Host::new().await;
        put(&host, "v", &files(&[("a", "1")])).await;
        put(&host, "m", &VolumeContent::Empty { memory: true }).await;
        let memory = fs::canonicalize(host.pod().join("volumes/m")).unwrap();
        fs::write(host.file("precious"), "1").unwrap();
        let text =
            "ln -s $HOME link; mkdir -p a/b; ln -s $HOME a/b/link; : > $PWD/m/x; chmod 0 a/b a .; exec sleep 1000";
        host.client.start(&id("t"), &own(text, &[mount("m", "m")])).await.unwrap();
        host.running(&id("t")).await;
        match host.client.remove_pod(&name("u")).await {
            Err(ClientError::Refused(e)) => assert_eq!(e.reason, ErrorReason::Conflict),
            other => panic!("{other:?}"),
        }
        eventually("it is closed", || {
            let mode = fs::metadata(host.pod().join("containers/main/work")).unwrap().permissions().mode();
            mode & 0o777 == 0
        })
        .await;
        host.client.stop(&id("t"), &stop_in(PATIENCE)).await.unwrap();
        host.ended(&id("t")).await;
        host.client.remove_pod(&name("u")).await.unwrap();
        assert!(!host.pod().exists() && !memory.exists());
        assert_eq!(fs::read_dir(host.directory().join("trash")).unwrap().count(), 0);
        assert_eq!(host.read("precious"), "1");
        // Again, and of a pod that never was.
        host.client.remove_pod(&name("u")).await.unwrap();
        host.client.remove_pod(&name("other")).await.unwrap();
        // Its records are another matter.
        assert!(host.client.get(&id("t")).await.unwrap().state.is_final());
    });
}

fn left() {
    block_on(async {
        let mut host = Host::new().await;
        put(&host, "m", &VolumeContent::Empty { memory: true }).await;
        put(&host, "v", &files(&[("a", "1")])).await;
        let memory = fs::canonicalize(host.pod().join("volumes/m")).unwrap();
        host.kill_pipe();
        // Killed after it moved the directory; and in the middle of writing a volume.
        fs::rename(host.pod(), host.directory().join("trash/.u.1.2.3")).unwrap();
        fs::set_permissions(host.directory().join("trash/.u.1.2.3/volumes"), fs::Permissions::from_mode(0o0)).unwrap();
        host.start_pipe().await;
        eventually("it is gone", || !memory.exists()).await;
        assert_eq!(fs::read_dir(host.directory().join("trash")).unwrap().count(), 0);
        put(&host, "v", &files(&[("a", "1")])).await;
        let volume = host.pod().join("volumes/v");
        fs::create_dir(volume.join("..half")).unwrap();
        symlink("..half", volume.join("..data_tmp")).unwrap();
        put(&host, "v", &files(&[("a", "1")])).await;
        assert_eq!(fs::read_dir(&volume).unwrap().count(), 3);
    });
}

fn forgotten() {
    block_on(async {
        let mut host = Host::of_site("records: {keepSeconds: 0}");
        host.start_pipe().await;
        let old = |pod: &str| {
            let status = std::process::Command::new("touch")
                .args(["-d", "2 hours ago"])
                .arg(host.directory().join("pods").join(pod))
                .status();
            assert!(status.unwrap().success());
        };
        for pod in ["u", "gone", "fresh"] {
            host.client.put_volume(&name(pod), &name("v"), &files(&[])).await.unwrap();
        }
        host.client.start(&id("t"), &own("exec sleep 1000", &[])).await.unwrap();
        host.running(&id("t")).await;
        old("u");
        old("gone");
        // It looks at once when it starts.
        host.kill_pipe();
        host.start_pipe().await;
        eventually("it is gone", || !host.directory().join("pods/gone").exists()).await;
        assert!(host.pod().exists() && host.directory().join("pods/fresh").exists());
    });
}

/// What the node reads to make variables of it: see `fileKeyRef`.
fn read_back() {
    block_on(async {
        let host = Host::new().await;
        put(&host, "v", &VolumeContent::Empty { memory: false }).await;
        let volume = host.directory().join("pods/u/volumes/v");
        fs::create_dir(volume.join("d")).unwrap();
        fs::write(volume.join("d/env"), "A='1'\n").unwrap();
        fs::write(volume.join("long"), vec![b'x'; usize::try_from(MAX_READ_BYTES).unwrap() + 1]).unwrap();
        symlink("d/env", volume.join("inside")).unwrap();
        symlink("/etc/passwd", volume.join("outside")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(volume.join("fifo")).status().unwrap().success());
        let read = async |volume: &str, path: &str| {
            let path = FilePath::new(path).unwrap();
            host.client.read_volume(&name("u"), &name(volume), &path).await.map(|content| content.data)
        };
        for path in ["d/env", "inside"] {
            assert_eq!(read("v", path).await.unwrap(), b"A='1'\n");
        }
        for (volume, path, reason) in [
            ("v", "none", ErrorReason::NotFound),
            ("v", "d/env/none", ErrorReason::NotFound),
            ("other", "d/env", ErrorReason::NotFound),
            ("v", "outside", ErrorReason::Invalid),
            ("v", "d", ErrorReason::Invalid),
            ("v", "fifo", ErrorReason::Invalid),
            ("v", "long", ErrorReason::Invalid),
        ] {
            let refused = read(volume, path).await.unwrap_err();
            assert_eq!(refused.refusal().map(|refusal| refusal.reason), Some(reason), "{path}: {refused:?}");
        }
    });
}
