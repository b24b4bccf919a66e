//! The scripts that pilots are: what they are (golden, `UPDATE_GOLDEN=1` writes them anew), and what they do with a batch system that
//! is a few shell functions. The real Slurm has its say in e2e.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says so that it failed"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vk_cmd_crds::launcher::Launcher;
use vk_operator_core::pilots::name::PilotName;
use vk_operator_core::pilots::{ValidLauncher, job, script};

const NASTY: &str = "it's $HOME `id` \"x\" \\ ; rm -rf / #";

fn launcher(system: &Value, more: &Value) -> Launcher {
    let mut all = json!({
        "gateway": {"node": "vk-gw"}, "namespace": "pilots", "walltimeSeconds": 3599, "pollSeconds": 1,
    });
    json_patch::merge(&mut all, system);
    json_patch::merge(&mut all, more);
    serde_json::from_value(all).unwrap()
}

fn script_of(launcher: &Launcher) -> String {
    let valid = ValidLauncher::read("f", "uid", launcher).unwrap();
    script::of_pilot(&valid, &PilotName::new("f", "uid", 7))
}

fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == text,
        "{name} differs from tests/golden/{name}:\n{text}"
    );
}

#[test]
fn scripts_are_as_they_are_written() {
    let node =
        json!({"node": {"config": "/home/me/node.yaml", "args": ["--kubelet-port", "0"], "setup": "module load vk\n"}});
    let slurm =
        json!({"slurm": {"partition": "gpu", "account": "m1", "constraint": NASTY, "extraArgs": ["--gres=gpu:4"]}});
    golden("pilot_slurm.sh", &script_of(&launcher(&slurm, &node)));
    let array = json!({"nodesPerPilot": 4, "environment": {"SLURM_CONF": NASTY}});
    golden(
        "pilot_slurm_array.sh",
        &script_of(&launcher(&json!({"slurm": {"layout": "Array", "requeue": true}}), &array)),
    );
    let srun = script_of(&launcher(&json!({"slurm": {}}), &json!({"nodesPerPilot": 4})));
    assert!(srun.contains("--nodes=4 --ntasks=4") && srun.contains("exec srun --ntasks=4"), "{srun}");
    let pbs = json!({"pbs": {"queue": "workq", "account": "m1", "chunk": "ncpus=128:mem=512gb"}, "nodesPerPilot": 2});
    golden("pilot_pbs.sh", &script_of(&launcher(&pbs, &node)));
    let condor = json!({"condor": {"submit": {"request_cpus": "8", "requirements": "Arch == \"X86_64\""}}});
    golden("pilot_condor.sh", &script_of(&launcher(&condor, &node)));
}

#[test]
fn a_pilot_is_a_cmdjob_of_its_fleet() {
    let launcher = launcher(&json!({"slurm": {}}), &json!({}));
    let valid = ValidLauncher::read("f", "uid", &launcher).unwrap();
    let mut job = serde_json::to_value(job::of(&valid, 7).unwrap()).unwrap();
    assert_eq!(job["spec"]["script"].take(), json!(script_of(&launcher)));
    golden("pilot_job.yaml", &serde_yaml_ng::to_string(&job).unwrap());
}

/// A directory with a batch system in it: commands that write down how they were called, and do what stands in files.
struct Site {
    home: tempfile::TempDir,
    system: Value,
}

/// What `submit`, `state` and `cancel` come to for every one of the systems: see the commands below.
const FAKE: &str = r#"
cd "$SITE" || exit 9
echo "$*" >>"calls.$name"
verb() {
    case $1 in
    submit) [ ! -e refuse ] || { cat refuse >&2; exit 1; }; echo x >>submitted; echo waiting >state; cat "$2" >text; [ ! -e cut ] || exit 1 ;;
    find) [ ! -e submitted ] || echo 12 ;;
    cancel) echo x >>cancelled; echo removed >state ;;
    esac
}
state=$(cat state 2>/dev/null)
"#;

const PROGRAMS: [(&str, &str); 12] = [
    ("sbatch", "for last; do :; done; verb submit \"$last\"; echo '12;cluster'"),
    (
        "squeue",
        "[ ! -e silent ] || { echo 'cannot contact slurm controller' >&2; exit 1; }\n\
         case \"$*\" in *--name=*) verb find; exit;; esac\n\
         case $state in waiting) echo 'PENDING 0:00 Priority';; paused) echo 'PENDING 0:00 JobHeldUser';;\n\
         held) echo 'PENDING 0:00 launch failed requeued held';; running) echo 'RUNNING 0:10 None';; ended) echo 'TIMEOUT 1:00 TimeLimit';; failed) echo 'FAILED 0:02 NonZeroExitCode';;\n\
         removed) echo 'CANCELLED 0:00 Dependency1';; gone) echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1;; esac",
    ),
    ("scancel", "verb cancel"),
    ("sacct", "exit 1"),
    ("qsub", "for last; do :; done; verb submit \"$last\"; echo 12"),
    ("qselect", "[ ! -e silent ] || exit 1; verb find"),
    (
        "qstat",
        "[ ! -e silent ] || exit 1\n\
         case $state in waiting) echo '    job_state = Q';; paused) printf '    job_state = H\\n    comment = held by me\\n';;\n\
         held) printf '    job_state = H\\n    comment = job held, too many failed attempts to run\\n';; running) echo '    job_state = R';;\n\
         ended) printf '    job_state = F\\n    Exit_status = 271\\n';; failed) printf '    job_state = F\\n    Exit_status = 1\\n';;\n\
         removed) echo '    job_state = F';; gone) echo 'qstat: Unknown Job Id 12' >&2; exit 1;; esac",
    ),
    ("qdel", "verb cancel"),
    ("condor_submit", "for last; do :; done; verb submit \"$last\"; echo '12.0 - 12.0'"),
    (
        "condor_q",
        "[ ! -e silent ] || exit 1\n\
         case \"$*\" in *ClusterId*) verb find; exit;; esac\n\
         case \"$*\" in *HoldReason*) case $state in paused) echo '1 via condor_hold';; held) echo '6 too many failed attempts';; esac; exit;; esac\n\
         case $state in waiting) echo 1;; running) echo 2;; paused | held) echo 5;; esac",
    ),
    (
        "condor_history",
        "case \"$*\" in *JobStatus*) case $state in ended) echo '4 0 17';; failed) echo '4 3 17';; removed) echo '3 ';; esac;; esac",
    ),
    ("condor_rm", "verb cancel"),
];

impl Site {
    fn new(system: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        for (name, text) in PROGRAMS {
            let path = bin.join(name);
            std::fs::write(&path, format!("#!/bin/sh\nname={name}\n{FAKE}{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let own = json!({
            "submit": "sbatch \"$PILOT_SCRIPT\" | cut -d ';' -f 1", "find": "squeue --name=x", "cancel": "scancel",
            "state": "[ ! -e \"$SITE/silent\" ] && sed s/paused/waiting/ \"$SITE/state\"",
        });
        let system = if system == "command" { json!({"command": own}) } else { json!({system: {}}) };
        Self { home, system }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        let draft = self.path("draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, self.path(name)).unwrap();
    }

    fn count(&self, name: &str) -> usize {
        std::fs::read_to_string(self.path(name)).unwrap_or_default().lines().count()
    }

    fn start(&self) -> Child {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let script = self.path("script");
        std::fs::write(&script, script_of(&launcher(&self.system, &json!({})))).unwrap();
        let mut command = Command::new("/bin/sh");
        command.arg(script).env("PATH", path).env("HOME", self.home.path()).env("SITE", self.home.path());
        command.env("VK_CMD_TERMINATION_LOG", self.path("words"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn until(&self, what: &str, wanted: impl Fn() -> bool) {
        let started = Instant::now();
        while !wanted() {
            assert!(started.elapsed() < Duration::from_secs(60), "{}: {what}", self.system);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How it ended, and what it said last.
    fn ended(&self, child: Child) -> (Option<i32>, String) {
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let said = std::fs::read_to_string(self.path("words")).unwrap_or_default();
        let all = String::from_utf8_lossy(&stdout);
        assert!(all.trim_end().ends_with(said.trim_end()), "{said}: {all} {}", String::from_utf8_lossy(&stderr));
        (status.code(), said)
    }

    fn term(child: &Child) {
        let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    fn submitted(&self) {
        self.until("to be submitted", || self.path(".vk-cmd/pilots/f-7/id").exists());
    }
}

/// Of each batch system, side by side: the scripts' pauses are whole seconds.
fn each_system(test: impl Fn(&str) + Sync) {
    std::thread::scope(|all| {
        for system in ["slurm", "pbs", "condor", "command"] {
            let test = &test;
            all.spawn(move || test(system));
        }
    });
}

#[test]
fn a_pilot_lives_as_long_as_its_allocation() {
    each_system(|system| {
        for (end, code) in [("ended", 0), ("failed", 10), ("removed", 12)] {
            let site = Site::new(system);
            let child = site.start();
            site.submitted();
            // What it is asked meanwhile, and what is not answered, is no end.
            site.put("state", "running\n");
            site.put("silent", "");
            std::fs::write(site.path(".vk-cmd/pilots/f-7/log"), "no credentials\n").unwrap();
            site.put("state", &format!("{end}\n"));
            std::fs::remove_file(site.path("silent")).unwrap();
            let (found, words) = site.ended(child);
            assert_eq!(
                (found, site.count("submitted"), site.count("cancelled")),
                (Some(code), 1, 0),
                "{system}: {words}"
            );
            assert_eq!(words.contains("no credentials"), end == "failed", "{words}");
            assert_eq!(site.path(".vk-cmd/pilots/f-7").exists(), code != 0);
        }
    });
}

/// Nobody is going to release it. What somebody has held on purpose waits.
#[test]
fn what_is_held_because_it_could_not_be_started_is_cancelled_and_has_failed() {
    each_system(|system| {
        let site = Site::new(system);
        let mut child = site.start();
        site.submitted();
        site.put("state", "paused\n");
        let calls = || {
            std::fs::read_dir(site.home.path())
                .unwrap()
                .flatten()
                .filter(|entry| entry.file_name().to_string_lossy().starts_with("calls."))
        };
        let asked =
            || calls().map(|entry| std::fs::read_to_string(entry.path()).unwrap().lines().count()).sum::<usize>();
        let before = asked();
        if system != "command" {
            site.until("to be asked again", || asked() > before + 3);
        }
        assert_eq!((site.count("cancelled"), child.try_wait().unwrap().is_some()), (0, false));
        // It is cancelled once it is seen, also by one that is killed meanwhile.
        site.put("state", "held\n");
        site.until("to be cancelled", || site.count("cancelled") > 0);
        child.kill().unwrap();
        child.wait().unwrap();
        let (code, words) = site.ended(site.start());
        assert_eq!((code, site.count("submitted")), (Some(10), 1), "{system}: {words}");
        assert!(words.contains("could not start 12") && words.contains("ask the site's administrators"), "{words}");
        assert_eq!(words.contains("failed"), system != "command", "{words}");
    });
}

#[test]
fn term_cancels_the_allocation_and_waits_for_its_end() {
    each_system(|system| {
        let site = Site::new(system);
        let child = site.start();
        site.submitted();
        Site::term(&child);
        let (code, words) = site.ended(child);
        assert_eq!((code, site.count("cancelled") > 0), (Some(0), true), "{system}: {words}");
        assert!(words.starts_with("cancelled"), "{words}");
    });
}

#[test]
fn what_is_run_again_finds_its_allocation_and_submits_nothing() {
    each_system(|system| {
        let site = Site::new(system);
        // The answer to the submission is lost, and then the script is killed.
        site.put("cut", "");
        let mut child = site.start();
        site.submitted();
        child.kill().unwrap();
        child.wait().unwrap();
        for lost in ["", "id"] {
            if !lost.is_empty() {
                std::fs::remove_file(site.path(".vk-cmd/pilots/f-7/id")).unwrap();
            }
            let mut again = site.start();
            site.submitted();
            again.kill().unwrap();
            again.wait().unwrap();
        }
        site.put("state", "ended\n");
        let (code, words) = site.ended(site.start());
        assert_eq!((code, site.count("submitted")), (Some(0), 1), "{system}: {words}");
    });
}

#[test]
fn a_refusal_is_told_in_the_batch_systems_own_words() {
    each_system(|system| {
        let site = Site::new(system);
        site.put("refuse", "Invalid account or account/partition combination specified");
        let (code, words) = site.ended(site.start());
        assert_eq!(code, Some(11), "{system}: {words}");
        assert!(words.contains("Invalid account"), "{words}");
    });
}

#[test]
fn what_an_object_says_is_read_by_no_shell() {
    let site = Site::new("slurm");
    let launcher = launcher(
        &json!({"slurm": {"partition": NASTY, "extraArgs": [format!("-{NASTY}")]}}),
        &json!({"node": {"program": "printf", "args": [NASTY]}, "environment": {"NASTY": NASTY}}),
    );
    let valid = ValidLauncher::read("f", "uid", &launcher).unwrap();
    let text = script::of_pilot(&valid, &PilotName::new("f", "uid", 7));
    std::fs::write(site.path("script"), text).unwrap();
    let path = format!("{}:{}", site.path("bin").display(), std::env::var("PATH").unwrap());
    site.put("state", "ended\n");
    let mut command = Command::new("/bin/sh");
    command.arg(site.path("script")).env("PATH", path).env("HOME", site.home.path()).env("SITE", site.home.path());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    site.submitted();
    site.put("state", "ended\n");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    let calls = std::fs::read_to_string(site.path("calls.sbatch")).unwrap();
    assert!(calls.contains(&format!("--partition={NASTY} -{NASTY}")), "{calls}");
    // What the node's script becomes gets its arguments as they were written.
    let ran = Command::new("/bin/sh").arg(site.path("text")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "run", "{}", String::from_utf8_lossy(&ran.stderr));
    let text = std::fs::read_to_string(site.path("text")).unwrap();
    let show = format!("{}\nprintf '%s|' \"$NASTY\" \"$@\"\n", text.split("exec ").next().unwrap());
    let shown = Command::new("/bin/sh").args(["-c", &show]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&shown.stdout), format!("{NASTY}|"));
}
