//! Mounts of a task's own, as root and as another user: what it sees where, and that all else is as without them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use vk_record::process::Stat;
use vk_task::{
    End, ErrorReason, FilePath, HostAlias, HostPathType, Image, MountNamespaces, Place, Security, StartFailure, TaskId,
    TaskSpec, TerminationMessage, VolumeContent, VolumeMount, VolumeSource,
};

use crate::Test;
use crate::pods::{files, mount, name, put, refusal};
use crate::streams::all;
use crate::support::{Host, PATIENCE, block_on, copy_program, eventually, exec, id, kill, script, stop_in};

pub(crate) const TESTS: &[Test] = &[
    ("mounts_show_where_they_are_to_be", || as_each(shown)),
    ("mounts_are_the_tasks_own_and_leave_the_host_as_it_is", || as_each(apart)),
    ("devices_are_all_there_in_a_mirror_of_few_mounts", || as_each(devices)),
    ("mounts_are_seen_by_exec_too", || as_each(exec_sees)),
    ("mounts_keep_nobody_from_ending_the_task", || as_each(ended)),
    ("a_root_that_is_read_only_has_its_volumes_and_own_directories_to_write_to", || as_each(read_only_root)),
    ("names_of_hosts_are_added_to_those_of_the_host", || as_each(host_aliases)),
    ("mounts_that_cannot_be_are_told_of", || as_each(failed)),
    ("mounts_of_the_host_are_as_the_site_allows", site),
    ("mounts_are_given_to_the_runtime_of_an_image", image),
];

/// Nobody: a user who owns nothing.
const USER: u32 = 65534;

/// With a pipe of this user, and where that is root, with one of another user too.
fn as_each(test: fn(Host)) {
    block_on(async {
        let mut host = Host::without_pipe();
        host.start_pipe().await;
        host
    })
    .test(test);
    if !rustix::process::geteuid().is_root() {
        return;
    }
    block_on(async {
        let mut host = Host::without_pipe();
        host.spawn_pipe_of(USER);
        host.wait_for_pipe().await;
        host
    })
    .test(test);
}

impl Host {
    /// Unless the kernel of this machine does not let its user have mounts.
    fn test(self, test: fn(Self)) {
        match block_on(self.client.info()).unwrap().mount_namespaces {
            MountNamespaces::Available => test(self),
            other => {
                assert!(std::env::var_os("VK_CMD_REQUIRE_RUNTIMES").is_none(), "{other:?}");
                println!("left out: {other:?}");
            }
        }
    }

    async fn start(&self, name: &str, text: &str, mounts: &[VolumeMount]) -> TaskId {
        let id = id(name);
        let spec = TaskSpec { own_directory: true, mounts: mounts.into(), ..script(text) };
        self.client.start(&id, &spec).await.unwrap();
        id
    }

    /// What a script prints that is run with these mounts.
    async fn prints(&self, name: &str, text: &str, mounts: &[VolumeMount]) -> String {
        let id = self.start(name, &format!("exec > $HOME/seen-{name} 2>&1\n{text}"), mounts).await;
        let end = self.ended(&id).await;
        let seen = self.read(&format!("seen-{name}"));
        assert_eq!(end, End::Exited { code: 0 }, "{seen}");
        seen
    }
}

fn part(volume: &str, sub: &str, target: &str) -> VolumeMount {
    VolumeMount { sub_path: Some(FilePath::new(sub).unwrap()), ..mount(volume, target) }
}

fn read_only(mount: VolumeMount) -> VolumeMount {
    VolumeMount { read_only: true, ..mount }
}

fn of_host(path: &Path, target: &str) -> VolumeMount {
    let source = VolumeSource::Host { path: path.to_owned(), expects: HostPathType::Unchecked };
    VolumeMount { source, sub_path: None, target: target.into(), read_only: false }
}

async fn volumes(host: &Host) {
    put(host, "config", &files(&[("a", "first\n"), ("sub/b", "second\n")])).await;
    put(host, "scratch", &VolumeContent::Empty { memory: false }).await;
    put(host, "memory", &VolumeContent::Empty { memory: true }).await;
}

fn shown(host: Host) {
    block_on(async {
        volumes(&host).await;
        let account = "/var/run/secrets/kubernetes.io/serviceaccount";
        let mounts = [
            mount("config", "/etc/vk-missing"),
            read_only(mount("config", account)),
            mount("scratch", "/vk-data"),
            mount("memory", "/vk-data/nested"),
            part("config", "a", "/etc/vk-one.txt"),
            part("config", "sub", "/mnt"),
            part("scratch", "new/deep", "/vk-part"),
            mount("config", "relative/config"),
            of_host(host.home(), "/vk-home"),
            read_only(of_host(Path::new("/etc/hostname"), "/etc/hosts")),
            mount("scratch", "/tmp/vk-mount-in-tmp"),
        ];
        let text = format!(
            "cat /etc/vk-missing/a {account}/sub/b /etc/vk-one.txt /mnt/b relative/config/a
             echo 1 > /vk-data/x && echo 2 > /vk-data/nested/y && echo 3 > /vk-part/z
             cat /tmp/vk-mount-in-tmp/x /vk-data/new/deep/z
             cmp /etc/hosts /etc/hostname && echo same
             (: > {account}/new) 2> /dev/null || echo read-only
             (: > /etc/hosts) 2> /dev/null || echo read-only
             (: > /vk-new) 2> /dev/null || echo closed
             head -1 /etc/passwd > /dev/null && ls /usr /proc/self/fd > /dev/null && id -u && test -w /dev/null && pwd -P
             test -e /vk-home/seen-t && readlink /proc/self/ns/pid"
        );
        let seen = host.prints("t", &text, &mounts).await;
        let lines: Vec<&str> = seen.lines().collect();
        let uid = block_user(&host).await;
        let work = host.pod().join("containers/main/work").display().to_string();
        let pid = fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
        let expected = [
            "first",
            "second",
            "first",
            "second",
            "first",
            "1",
            "3",
            "same",
            "read-only",
            "read-only",
            "closed",
            &uid,
            &work,
            &pid,
        ];
        assert_eq!(lines, expected, "{seen}");
        // What was written is where it belongs, and the host has nothing of it.
        let volume = |path: &str| fs::read_to_string(host.pod().join("volumes").join(path)).unwrap();
        assert_eq!(
            (volume("scratch/x"), volume("memory/y"), volume("scratch/new/deep/z")),
            ("1\n".into(), "2\n".into(), "3\n".into())
        );
        for path in ["/vk-data", "/etc/vk-missing", "/etc/vk-one.txt", account, "/vk-part", "/vk-home"] {
            assert!(!Path::new(path).exists(), "{path}");
        }
        let _ = fs::remove_dir("/tmp/vk-mount-in-tmp");
    });
}

/// A mirror of `/dev`, as each pod of Kubernetes has it for `/dev/termination-log`.
fn devices(host: Host) {
    block_on(async {
        put(&host, "config", &files(&[("log", "")])).await;
        let text = "for at in /dev/*; do [ -c $at ] || [ -b $at ] && echo -n \"$at \"; done; true";
        let plainly = host.prints("plainly", text, &[]).await;
        let log = [part("config", "log", "/dev/vk-log")];
        assert_eq!(host.prints("mirrored", text, &log).await, plainly);
        let text =
            "grep -c ' /dev' /proc/self/mountinfo; readlink -f /dev/null; stat -c %F /dev/tty; echo x > /dev/full";
        let seen = host.prints("few", &format!("{text} || ls /dev/vk-log /dev/pts/ptmx"), &log).await;
        let mut lines = seen.lines();
        let mounts: usize = lines.next().unwrap().parse().unwrap();
        let nodes = plainly.split_whitespace().count();
        assert!(mounts < 60, "{mounts} mounts for {nodes} devices: {seen}");
        let rest: Vec<&str> = lines.filter(|line| !line.contains("echo:")).collect();
        assert_eq!(rest, ["/dev/null", "character special file", "/dev/pts/ptmx", "/dev/vk-log"]);
    });
}

async fn block_user(host: &Host) -> String {
    host.client.info().await.unwrap().uid.to_string()
}

fn apart(host: Host) {
    block_on(async {
        volumes(&host).await;
        let text = "touch $HOME/up; while [ \"$(cat /etc/vk-missing/a)\" != new ]; do sleep 0.01; done; cat /vk-one > $HOME/one";
        let id = host.start("t", text, &[mount("config", "/etc/vk-missing"), part("config", "a", "/vk-one")]).await;
        eventually("it runs", || host.file("up").exists()).await;
        // Others do not see it, tasks of the same pod included.
        assert_eq!(host.prints("other", "ls -d /etc/vk-missing 2> /dev/null || echo none", &[]).await, "none\n");
        assert!(!Path::new("/etc/vk-missing").exists());
        // A change of the volume is seen, but for a part of it: as with the kubelet.
        put(&host, "config", &files(&[("a", "new")])).await;
        assert_eq!(host.ended(&id).await, End::Exited { code: 0 });
        assert_eq!(host.read("one"), "first\n");
        // The next run finds the same.
        assert_eq!(host.prints("again", "cat /etc/vk-missing/a", &[mount("config", "/etc/vk-missing")]).await, "new");
    });
}

fn exec_sees(host: Host) {
    block_on(async {
        volumes(&host).await;
        let mounts = [mount("config", "/vk-config"), mount("scratch", "/etc/vk-scratch")];
        let id = host.start("t", "exec sleep 1000", &mounts).await;
        // As soon as it is said to run, though the mounts may still be in the making.
        host.running(&id).await;
        let run = async |argv: &[&str]| {
            let argv = argv.iter().map(|&arg| arg.to_owned()).collect();
            let (_input, mut output) = host.client.exec(&id, argv, false, false, "u").await.unwrap().split();
            let got = all(&mut output).await;
            assert_eq!(got.stderr, b"");
            got.text()
        };
        assert_eq!(run(&["cat", "/vk-config/a"]).await, "first\n");
        let work = host.pod().join("containers/main/work");
        let text = "pwd -P; id -u; echo x > /etc/vk-scratch/x; echo $VK_CMD_TASK; readlink /proc/self/ns/mnt /proc/$PPID/ns/mnt";
        let seen = run(&["sh", "-c", text]).await;
        let uid = block_user(&host).await;
        assert!(seen.starts_with(&format!("{}\n{uid}\nt\n", work.display())), "{seen}");
        assert_eq!(fs::read_to_string(host.pod().join("volumes/scratch/x")).unwrap(), "x\n");
        host.client.stop(&id, &stop_in(PATIENCE)).await.unwrap();
        host.ended(&id).await;
    });
}

fn ended(host: Host) {
    block_on(async {
        volumes(&host).await;
        let text = "trap 'echo asked > /vk-data/said; exit 7' TERM; setsid sleep 1000 & touch $HOME/up; while :; do sleep 0.01; done";
        let id = host.start("asked", text, &[mount("scratch", "/vk-data")]).await;
        eventually("it runs", || host.file("up").exists()).await;
        host.client.stop(&id, &stop_in(PATIENCE)).await.unwrap();
        assert_eq!(host.ended(&id).await, End::Exited { code: 7 });
        assert_eq!(fs::read_to_string(host.pod().join("volumes/scratch/said")).unwrap(), "asked\n");
        assert_eq!(host.processes_of(&id), Vec::<i32>::new());
        fs::remove_file(host.file("up")).unwrap();
        // One that does not want to end.
        let text = "trap '' TERM; touch $HOME/up; while :; do sleep 0.01; done";
        let id = host.start("killed", text, &[mount("scratch", "/vk-data")]).await;
        eventually("it runs", || host.file("up").exists()).await;
        host.client.stop(&id, &stop_in(Duration::ZERO)).await.unwrap();
        assert!(matches!(host.ended(&id).await, End::Signaled { .. }));
        fs::remove_file(host.file("up")).unwrap();
        // And one whose shim is killed: the kernel still kills it, as it would without a namespace.
        let id = host.start("orphan", "touch $HOME/up; exec sleep 1000", &[mount("scratch", "/vk-data")]).await;
        eventually("it runs", || host.file("up").exists()).await;
        let main = host.running(&id).await;
        kill(host.shim_of(main));
        eventually("it is killed too", || Stat::of(main).is_none_or(|s| s.zombie)).await;
        host.until(&id, vk_task::TaskState::is_final).await;
        assert_eq!(host.processes_of(&id), Vec::<i32>::new());
    });
}

/// Whether each of the places in its arguments can be written to.
const TRIES: &str = r#"tries() { for place; do
    if (: > $place/vk-$$) 2> /dev/null; then echo can $place; rm $place/vk-$$; else echo cannot $place; fi
done; }
exec > seen"#;

fn read_only_root(host: Host) {
    block_on(async {
        volumes(&host).await;
        let run = async |name: &str, text: &str, mounts: &[VolumeMount]| {
            let message = TerminationMessage { path: TerminationMessage::DEFAULT_PATH.into(), fallback_to_logs: false };
            let spec = TaskSpec {
                own_directory: true,
                mounts: mounts.into(),
                termination_message: Some(message),
                security: Security { read_only_root: true, ..Security::default() },
                ..script(&format!("{TRIES}\n{text}"))
            };
            host.client.start(&id(name), &spec).await.unwrap();
            let view = host.until(&id(name), vk_task::TaskState::is_final).await;
            let seen = fs::read_to_string(host.pod().join("containers/main/work/seen")).unwrap_or_default();
            (view, seen)
        };
        let text = "tries /vk-data $PWD $TMPDIR linked/deep /dev/shm
            tries /vk-home / /tmp /etc /var/tmp $HOME ${VK_CMD_TERMINATION_LOG%/*}
            echo last > $VK_CMD_TERMINATION_LOG && echo 1 > /vk-data/nested/x && cat config/a && echo > /dev/null &&
            ls /proc/self/fd > /dev/null";
        let mounts = [
            mount("scratch", "/vk-data"),
            mount("memory", "/vk-data/nested"),
            mount("memory", "linked/deep"),
            mount("config", "config"),
            read_only(of_host(host.home(), "/vk-home")),
        ];
        let (view, seen) = run("t", text, &mounts).await;
        let (own, home) = (host.pod().join("containers/main").display().to_string(), host.home().display());
        let expected = format!(
            "can /vk-data\ncan {own}/work\ncan {own}/tmp\ncan linked/deep\ncan /dev/shm\ncannot /vk-home\ncannot /\n\
             cannot /tmp\ncannot /etc\ncannot /var/tmp\ncannot {home}\ncannot {own}\nfirst\n"
        );
        assert_eq!(seen, expected, "{view:?}");
        assert_eq!(view.termination_message.as_deref(), Some("last\n"));
        // Without any mount of its own as well; and nobody else's root is.
        let (view, seen) = run("bare", "tries /tmp $PWD", &[]).await;
        assert_eq!(seen, format!("cannot /tmp\ncan {own}/work\n"), "{view:?}");
        assert_eq!(host.prints("other", "x=$(mktemp -p /tmp) && rm $x && echo can", &[]).await, "can\n");
    });
}

fn host_aliases(host: Host) {
    block_on(async {
        let alias = HostAlias { ip: "192.0.2.7".into(), hostnames: vec!["vk-one".into(), "vk-two.example.org".into()] };
        let aliased = |text: &str, aliases: &[HostAlias]| {
            let host_aliases = aliases.into();
            TaskSpec { own_directory: true, host_aliases, ..script(&format!("exec > seen\n{text}")) }
        };
        let aliases = [alias];
        let text = "cat /etc/hosts; getent hosts vk-two.example.org > resolved; echo 1 >> /etc/hosts";
        host.client.start(&id("t"), &aliased(text, &aliases)).await.unwrap();
        assert_eq!(host.ended(&id("t")).await, End::Exited { code: 0 });
        let own = host.pod().join("containers/main/work");
        let hosts = fs::read_to_string("/etc/hosts").unwrap();
        let expected = format!(
            "# Kubernetes-managed hosts file (host network).\n{hosts}\n# Entries added by HostAliases.\n\
             192.0.2.7\tvk-one\tvk-two.example.org\n"
        );
        assert_eq!(fs::read_to_string(own.join("seen")).unwrap(), expected);
        let resolved = fs::read_to_string(own.join("resolved")).unwrap();
        assert!(resolved.starts_with("192.0.2.7") && resolved.contains("vk-one"), "{resolved}");
        // A volume that is mounted there stands before it.
        put(&host, "names", &files(&[("hosts", "mine\n")])).await;
        let mounts = vec![part("names", "hosts", "/etc/hosts")];
        let spec = TaskSpec { mounts, ..aliased("cat /etc/hosts", &aliases) };
        host.client.start(&id("v"), &spec).await.unwrap();
        assert_eq!(host.ended(&id("v")).await, End::Exited { code: 0 });
        assert_eq!(fs::read_to_string(own.join("seen")).unwrap(), "mine\n");
        let bad = HostAlias { ip: "192.0.2.7".into(), hostnames: vec!["a\nb".into()] };
        let e = refusal(&host, &aliased("true", &[bad])).await;
        assert!(e.message.contains("are no line of /etc/hosts"), "{e}");
    });
}

fn failed(host: Host) {
    block_on(async {
        volumes(&host).await;
        let message = async |name: &str, mounts: &[VolumeMount]| {
            let id = host.start(name, "touch $HOME/ran", mounts).await;
            match host.ended(&id).await {
                End::NotStarted { failure: StartFailure::Other, message } => message,
                other => panic!("{other:?}"),
            }
        };
        let said = message("kind", &[mount("config", "/etc/passwd")]).await;
        assert!(
            said.contains("cannot mount ") && said.contains(" at /etc/passwd: /etc/passwd is a file, and"),
            "{said}"
        );
        let said = message("kind-of-part", &[part("config", "a", "/etc")]).await;
        assert!(said.ends_with("at /etc: /etc is a directory, and the source is a file"), "{said}");
        // What a task has put into a volume leads nowhere else, whenever it was put there.
        symlink("/etc", host.pod().join("volumes/scratch/out")).unwrap();
        let spec = TaskSpec { own_directory: true, mounts: vec![part("scratch", "out", "/mnt")], ..script("") };
        let e = refusal(&host, &spec).await;
        assert_eq!(e.reason, ErrorReason::Conflict);
        assert!(e.message.starts_with("the subPath out leads out of "), "{e}");
        let said = message("kernel", &[mount("scratch", "/proc/vk-missing")]).await;
        assert!(said.contains("cannot mirror /proc: it is the kernel's own"), "{said}");
        // More than may be mirrored; where root may make it, it is made.
        let many = host.file("many");
        fs::create_dir(&many).unwrap();
        (0..10_001).for_each(|n| fs::write(many.join(n.to_string()), "").unwrap());
        fs::set_permissions(&many, fs::Permissions::from_mode(0o555)).unwrap();
        if block_user(&host).await != "0" {
            let said = message("many", &[mount("scratch", many.join("missing").to_str().unwrap())]).await;
            assert!(said.contains("it has more than 10000 entries: mount at a path that is there"), "{said}");
        }
        // A program that is only there in a mount, and one that is not.
        copy_program(Path::new("/bin/true"), &host.pod().join("volumes/scratch/program"));
        let run = async |name: &str, program: &str| {
            let mounts = vec![mount("scratch", "/vk-data")];
            host.client.start(&id(name), &TaskSpec { mounts, ..exec(&[program]) }).await.unwrap();
            host.ended(&id(name)).await
        };
        assert_eq!(run("there", "/vk-data/program").await, End::Exited { code: 0 });
        assert_eq!(run("not-there", "/vk-data/none").await.exit_code(), 127);
        assert!(!host.file("ran").exists());
    });
}

fn site() {
    block_on(async {
        let mut host = Host::of_site("policy: {mountNamespaces: false}");
        host.start_pipe().await;
        volumes(&host).await;
        match host.client.info().await.unwrap().mount_namespaces {
            MountNamespaces::Unavailable { why } => assert!(why.contains("policy.mountNamespaces"), "{why}"),
            other => panic!("{other:?}"),
        }
        let spec = |mounts: &[VolumeMount]| TaskSpec { own_directory: true, mounts: mounts.into(), ..script("") };
        let e = refusal(&host, &spec(&[mount("config", "/etc/x")])).await;
        assert_eq!(e.reason, ErrorReason::Denied);
        assert!(
            e.message.contains("a mount at /etc/x would need a mount namespace") && e.message.contains("policy."),
            "{e}"
        );
        assert_eq!(host.prints("t", "cat in/a", &[mount("config", "in")]).await, "first\n");
        let security = Security { read_only_root: true, ..Security::default() };
        let e = refusal(&host, &TaskSpec { security, ..script("") }).await;
        assert!(e.message.contains("readOnlyRootFilesystem would need a mount namespace"), "{e}");
        let alias = HostAlias { ip: "192.0.2.7".into(), hostnames: vec![] };
        let e = refusal(&host, &TaskSpec { host_aliases: vec![alias], ..script("") }).await;
        assert!(e.message.contains("a mount at /etc/hosts would need a mount namespace"), "{e}");

        host.write_site("policy: {hostPaths: [{path: /usr}]}");
        let e = refusal(&host, &spec(&[of_host(Path::new("/etc"), "in")])).await;
        assert!(e.message.contains("the host path /etc may not be mounted"), "{e}");
        let e = refusal(&host, &spec(&[of_host(Path::new("/usr"), "in2")])).await;
        assert!(e.message.contains("/usr may be mounted read-only, and is not asked to be"), "{e}");
        // A forbidden path is not made either.
        let made = host.file("made");
        refusal(&host, &spec(&[of_host(&made, "in")])).await;
        assert!(!made.exists());
        let missing = VolumeSource::Host { path: "/usr/vk-none".into(), expects: HostPathType::Directory };
        let e =
            refusal(&host, &spec(&[VolumeMount { source: missing, read_only: true, ..mount("config", "in3") }])).await;
        assert_eq!(e.message, "hostPath type check failed: /usr/vk-none is not a directory");
        assert_eq!(host.prints("u", "cat in4/a", &[mount("config", "in4")]).await, "first\n");
    });
}

fn image() {
    block_on(async {
        let run = "[/bin/sh, -c, 'echo \"$@\" > $HOME/seen', x, '{mounts...}', '{image}', '{command...}']";
        let each = "{mount: ['{source}={target}'], readOnlyMount: ['{source}={target}:ro']}";
        let runtime = format!("runtime: {{kind: custom, name: box, run: {run}, each: {each}}}");
        // The pod's own needs nobody's leave.
        let mut host = Host::of_site(&format!("policy: {{hostPaths: []}}\n{runtime}"));
        host.start_pipe().await;
        volumes(&host).await;
        let place = Place::Image(Image { reference: "i".into(), mounts: vec![], gpus: vk_task::Gpus::None });
        let mounts =
            vec![read_only(mount("config", "/c")), part("config", "a", "/a"), part("scratch", "new/deep", "/s")];
        host.client.start(&id("t"), &TaskSpec { place, mounts, ..exec(&["go"]) }).await.unwrap();
        assert_eq!(host.ended(&id("t")).await, End::Exited { code: 0 });
        let volumes = host.pod().join("volumes");
        let file = fs::canonicalize(volumes.join("config/a")).unwrap();
        let at = volumes.display();
        let expected = format!("{at}/config=/c:ro {}=/a {at}/scratch/new/deep=/s i go\n", file.display());
        assert_eq!(host.read("seen"), expected);
        assert!(volumes.join("scratch/new/deep").is_dir());
        host.client.remove_pod(&name("u")).await.unwrap();
    });
}
