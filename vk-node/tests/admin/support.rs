//! A machine of one test's own: a home, a pipe, a node that has no API server.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use vk_pipe::PipeClient;
use vk_task::{ContainerRun, Leftovers, Origin, Program, ScriptRunner, TaskId, TaskSpec, TaskState};

/// Longer than anything here takes, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(20);

/// Codes of the command line, as documented.
pub(crate) const FINE: i32 = 0;
pub(crate) const FAILED: i32 = 1;
pub(crate) const USAGE: i32 = 2;
pub(crate) const UNREACHABLE: i32 = 3;
pub(crate) const NO: i32 = 4;
pub(crate) const TIMED_OUT: i32 = 5;

pub(crate) struct Machine {
    directory: TempDir,
    running: Vec<Child>,
    /// The main processes of its jobs.
    jobs: Vec<i32>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("home")).unwrap();
        Self { directory, running: Vec::new(), jobs: Vec::new() }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    pub(crate) fn hostpipe(&self) -> PathBuf {
        self.home().join("hostpipe")
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The program with nothing of our environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.program(env!("CARGO_BIN_EXE_vk-node"), arguments)
    }

    /// Any program, likewise.
    pub(crate) fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("HOME", self.home()).env("USER", "somebody");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir(self.home()).stdin(Stdio::null());
        command
    }

    /// What it says, with its output in a pipe.
    pub(crate) fn says(&self, arguments: &[&str]) -> Said {
        Said::of(arguments, self.command(arguments).output().unwrap())
    }

    /// Starts the pipe, and waits until it answers.
    pub(crate) fn start_pipe(&mut self) {
        let mut command = self.command(&["pipe"]);
        self.running.push(command.stderr(Stdio::null()).process_group(0).spawn().unwrap());
        self.until("the pipe to answer", |machine| machine.says(&["jobs", "-o", "json"]).json()["from"] == "pipe");
    }

    /// A kubeconfig that leads nowhere, with a secret in it.
    pub(crate) fn kubeconfig(&self, server: &str) -> PathBuf {
        self.file(
            "node.kubeconfig",
            &format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
                 clusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
                 contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
                 users:\n- name: u\n  user:\n    token: kubeconfig-hunter2-token\n"
            ),
        )
    }

    /// Starts a node whose API server nobody reaches, and waits until it answers here.
    pub(crate) fn start_node(&mut self, more: &[&str]) {
        // Nobody listens on the port of discard(1).
        let kubeconfig = self.kubeconfig("http://127.0.0.1:9");
        let mut arguments = vec!["run", "--kubeconfig", kubeconfig.to_str().unwrap(), "--kubelet-port", "0"];
        arguments.extend(more);
        let mut node = self.command(&arguments).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
        let log = BufReader::new(node.stderr.take().unwrap());
        let place = self.home().join("node.log");
        // It is read to its end, so that the node never waits for us.
        std::thread::spawn(move || {
            use std::io::Write;
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(place).unwrap();
            for line in log.lines().map_while(Result::ok) {
                let _ = writeln!(file, "{line}");
            }
        });
        self.running.push(node);
        self.until("the node to answer", |machine| machine.says(&["status"]).code != UNREACHABLE);
    }

    /// What the node has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home().join("node.log")).unwrap_or_default()
    }

    /// The process that was started last.
    pub(crate) fn last(&mut self) -> &mut Child {
        self.running.last_mut().unwrap()
    }

    pub(crate) fn pid(&mut self) -> Pid {
        Pid::from_raw(self.last().id().try_into().unwrap())
    }

    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < end, "it does not come to this: {what}\n{}", self.log());
            std::thread::sleep(GLANCE);
        }
    }

    /// Runs a script as the container of a pod, and waits until it does.
    pub(crate) fn run(&mut self, pod: &str, script: &str) -> i32 {
        let run = ContainerRun {
            namespace: "team-a".into(),
            pod: pod.into(),
            uid: format!("uid-{pod}"),
            service_account: "default".into(),
            container: "main".into(),
            restart: 0,
            node: None,
        };
        let id = TaskId::for_container(&run.uid, &run.container, 0).unwrap();
        let program = Program::Script { text: script.into(), runner: ScriptRunner::Shell { path: "/bin/sh".into() } };
        let mut spec = TaskSpec::new(Origin::Pod(run), program, Leftovers::Kill);
        spec.env.insert(vk_task::EnvName::new("PLAIN_NAME").unwrap(), "job-hunter2-variable".into());
        let client = PipeClient::new(self.hostpipe());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pid = runtime.block_on(async {
            client.start(&id, &spec).await.unwrap();
            let end = Instant::now() + PATIENCE;
            loop {
                match client.get(&id).await.unwrap().state {
                    TaskState::Running { pid, .. } => return pid,
                    TaskState::Accepted { .. } => {}
                    ended @ (TaskState::Ended { .. } | TaskState::Unknown { .. }) => panic!("{ended:?}"),
                }
                assert!(Instant::now() < end, "it does not start");
                tokio::time::sleep(GLANCE).await;
            }
        });
        self.jobs.push(pid);
        pid
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for process in &mut self.running {
            if let Ok(None) = process.try_wait() {
                // With the pipe that it has started itself, which is in a group of its own: TERM, so that it ends that.
                let _ = kill(Pid::from_raw(process.id().cast_signed()), Signal::SIGTERM);
            }
        }
        for pid in &self.jobs {
            // The shim then has nothing left to stand beside.
            let _ =
                killpg(Pid::from_raw(*pid), Signal::SIGKILL).or_else(|_| kill(Pid::from_raw(*pid), Signal::SIGKILL));
        }
        let end = Instant::now() + Duration::from_secs(5);
        for process in &mut self.running {
            while let Ok(None) = process.try_wait() {
                if Instant::now() > end {
                    let _ = process.kill();
                }
                std::thread::sleep(GLANCE);
            }
        }
    }
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    #[expect(dead_code, reason = "it is for who reads what a test says")]
    asked: Vec<String>,
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    fn of(arguments: &[&str], output: Output) -> Self {
        Self {
            asked: arguments.iter().map(|&word| word.to_owned()).collect(),
            code: output.status.code().expect("it ends by itself"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// With this exit code.
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
