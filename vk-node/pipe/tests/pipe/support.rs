//! A host of one test's own: a directory, a pipe in it as a process of its own, and a client.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use vk_pipe::server::FileSystem;
use vk_pipe::{ClientError, PipeClient, PipeOptions};
use vk_record::process::{self, Stat};
use vk_record::{Dir, LockHolder, names};
use vk_task::{
    ContainerRun, End, EnvName, Leftovers, Origin, Program, ScriptRunner, StopRequest, TaskId, TaskSpec, TaskState,
    TaskView, WatchEvent,
};

/// By which a test tells its pipe which cgroup to use.
pub(crate) const CGROUP_VARIABLE: &str = "VK_TEST_CGROUP";

/// By which it tells its pipe what its directory is taken to be on, and where its records go.
pub(crate) const FILE_SYSTEM_VARIABLE: &str = "VK_TEST_FILE_SYSTEM";
pub(crate) const RECORDS_VARIABLE: &str = "VK_TEST_RECORDS";

/// Longer than anything here takes, on a machine that does other things too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What `<this program> pipe <directory>` does; `SIGUSR1` has it end.
pub(crate) fn be_the_pipe(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let directory = PathBuf::from(args.next().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut options = PipeOptions::new(directory).unwrap();
    if let Some(shim) = args.next() {
        options.shim_program = shim.into();
    }
    if let Ok(cgroup) = std::env::var(CGROUP_VARIABLE) {
        options.cgroup = cgroup.parse().unwrap();
    }
    if std::env::var(FILE_SYSTEM_VARIABLE).is_ok() {
        options.file_system = Some(FileSystem::Shared("nfs"));
    }
    options.records = std::env::var_os(RECORDS_VARIABLE).map(PathBuf::from);
    let shutdown = async {
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined1()).unwrap().recv().await;
    };
    match runtime.block_on(vk_pipe::server::run(options, shutdown)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a test's async part.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.expect("it takes too long") })
}

/// A host.
pub(crate) struct Host {
    dir: TempDir,
    name: String,
    pipe: Option<Child>,
    /// Pipes that were killed, and that the kernel has not let go of yet.
    dying: Vec<Child>,
    pub(crate) client: PipeClient,
}

impl Host {
    /// With a pipe that answers.
    pub(crate) async fn new() -> Self {
        let mut host = Self::without_pipe();
        host.start_pipe().await;
        host
    }

    /// With its directory only.
    pub(crate) fn without_pipe() -> Self {
        Self::with_directory("hostpipe")
    }

    /// With a directory of this name.
    pub(crate) fn with_directory(name: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let client = PipeClient::new(dir.path().join(name));
        Self { dir, name: name.to_owned(), pipe: None, dying: Vec::new(), client }
    }

    /// The pipe's directory.
    pub(crate) fn directory(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    /// With a site's file that says this, and no pipe.
    pub(crate) fn of_site(site: &str) -> Self {
        let host = Self::without_pipe();
        std::fs::DirBuilder::new().mode(0o700).create(host.directory()).unwrap();
        host.write_site(site);
        host
    }

    /// Writes the site's file, in one step, as an editor does it.
    pub(crate) fn write_site(&self, site: &str) {
        let new = self.directory().join(".site.yaml.new");
        std::fs::write(&new, format!("version: 1\n{site}\n")).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::rename(new, self.site_file()).unwrap();
    }

    pub(crate) fn site_file(&self) -> PathBuf {
        self.directory().join("site.yaml")
    }

    /// The home directory of its user.
    pub(crate) fn home(&self) -> &Path {
        self.dir.path()
    }

    /// A file for a test's own use.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn pipe_command(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("pipe").arg(self.directory()).env("HOME", self.home()).stdin(Stdio::null());
        command
    }

    /// A shim, as the pipe starts it.
    pub(crate) fn shim_command(&self, id: &TaskId) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("shim").arg(self.directory().join("tasks").join(id.as_str())).arg(self.directory());
        command.env("HOME", self.home());
        command.stdin(Stdio::null());
        command
    }

    /// Starts the pipe, and waits until it answers.
    pub(crate) async fn start_pipe(&mut self) {
        self.spawn_pipe();
        self.wait_for_pipe().await;
    }

    /// Starts the pipe.
    pub(crate) fn spawn_pipe(&mut self) {
        self.spawn_pipe_as(self.pipe_command());
    }

    pub(crate) fn spawn_pipe_as(&mut self, mut command: Command) {
        assert!(self.pipe.is_none());
        self.pipe = Some(command.spawn().unwrap());
    }

    /// Starts a pipe of this user, who can execute a copy of this program where it can be reached, and owns the home
    /// directory. Only root can do that.
    pub(crate) fn spawn_pipe_of(&mut self, user: u32) {
        let program = self.file("program");
        copy_program(&std::env::current_exe().unwrap(), &program);
        std::os::unix::fs::chown(self.home(), Some(user), Some(user)).unwrap();
        let mut command = Command::new(&program);
        command.arg("pipe").arg(self.directory()).env("HOME", self.home());
        std::os::unix::process::CommandExt::uid(&mut command, user);
        std::os::unix::process::CommandExt::gid(&mut command, user);
        self.spawn_pipe_as(command);
    }

    pub(crate) async fn wait_for_pipe(&mut self) {
        loop {
            match self.client.info().await {
                Ok(_) => return,
                Err(ClientError::Unreachable { .. } | ClientError::Protocol(_)) => {}
                Err(e) => panic!("{e:?}"),
            }
            let ended = self.pipe.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the pipe ended: {ended:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// SIGKILL for the pipe.
    pub(crate) fn kill_pipe(&mut self) {
        let mut pipe = self.pipe.take().unwrap();
        pipe.kill().unwrap();
        pipe.wait().unwrap();
    }

    /// SIGKILL for the pipe, of which the kernel's work is not waited for: a process that has watched files stays until no processor
    /// may still look at one of its watches (`fsnotify_wait_marks_destroyed` in fs/notify/mark.c), which takes up to a second where
    /// the machine is busy. The next pipe can start as soon as the killed one has closed its files, and with them let go of its lock.
    pub(crate) fn kill_pipe_and_go_on(&mut self) {
        let mut pipe = self.pipe.take().unwrap();
        let pid = pipe.id().cast_signed();
        pipe.kill().unwrap();
        let until = Instant::now() + PATIENCE;
        while has_files(pid) || holds_lock(&self.directory(), pid) {
            assert!(Instant::now() < until, "the killed pipe {pid} keeps its files");
            std::thread::sleep(Duration::from_micros(200));
        }
        self.dying.push(pipe);
        self.dying.retain_mut(|pipe| pipe.try_wait().unwrap().is_none());
    }

    /// Waits for the pipes that were killed.
    pub(crate) fn reap(&mut self) {
        for mut pipe in self.dying.drain(..) {
            pipe.wait().unwrap();
        }
    }

    pub(crate) fn pipe_pid(&self) -> i32 {
        self.pipe.as_ref().unwrap().id().cast_signed()
    }

    /// Waits until a task is as wanted; gives what is known of it then.
    pub(crate) async fn until(&self, id: &TaskId, wanted: impl Fn(&TaskState) -> bool) -> TaskView {
        let mut events = self.client.watch().await.unwrap();
        until(&mut events, id, wanted).await
    }

    /// Waits for a task's end.
    pub(crate) async fn ended(&self, id: &TaskId) -> End {
        match self.until(id, TaskState::is_final).await.state {
            TaskState::Ended { end, .. } => end,
            other => panic!("{id} is {other:?}"),
        }
    }

    /// Waits until a task runs; gives its main process.
    pub(crate) async fn running(&self, id: &TaskId) -> i32 {
        match self.until(id, |s| !matches!(s, TaskState::Accepted { .. })).await.state {
            TaskState::Running { pid, .. } => pid,
            other => panic!("{id} is {other:?}"),
        }
    }

    /// Runs a shell script to its end.
    pub(crate) async fn run(&self, name: &str, text: &str) -> End {
        let id = id(name);
        self.client.start(&id, &script(text)).await.unwrap();
        self.ended(&id).await
    }

    /// The files of a task's log, with their lengths.
    pub(crate) fn log_files(&self, id: &TaskId) -> BTreeMap<String, u64> {
        let entries = std::fs::read_dir(self.directory().join("tasks").join(id.as_str())).unwrap();
        entries
            .filter_map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                // One that has just been removed has no length.
                (name.starts_with("log")).then(|| Some((name, entry.metadata().ok()?.len())))?
            })
            .collect()
    }

    /// The process that is the task's shim.
    pub(crate) fn shim_of(&self, main: i32) -> i32 {
        Stat::of(main).unwrap().parent
    }

    /// All processes that were started with this host's task ids.
    pub(crate) fn processes_of(&self, id: &TaskId) -> Vec<i32> {
        let marker = format!("{}={id}", vk_task::TASK_VARIABLE);
        let home = format!("HOME={}", self.home().display());
        process::all()
            .unwrap()
            .into_values()
            .filter(|s| !s.zombie && process::has_variable(s.pid, &marker) && process::has_variable(s.pid, &home))
            .map(|s| s.pid)
            .collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.pipe.is_some() {
            self.kill_pipe();
        }
        self.reap();
        // Whatever a failed test has left; by the home directory, which is this host's alone.
        let home = format!("HOME={}", self.home().display());
        for stat in process::all().unwrap_or_default().into_values() {
            if process::has_variable(stat.pid, &home) {
                let _ = process::send(&stat, Signal::KILL, |_| true);
            }
        }
    }
}

/// Waits until a task is as wanted.
pub(crate) async fn until(
    events: &mut (impl Stream<Item = Result<WatchEvent, ClientError>> + Unpin),
    id: &TaskId,
    wanted: impl Fn(&TaskState) -> bool,
) -> TaskView {
    until_view(events, id, |view| wanted(&view.state)).await
}

/// Waits until what is known of a task is as wanted.
pub(crate) async fn until_view(
    events: &mut (impl Stream<Item = Result<WatchEvent, ClientError>> + Unpin),
    id: &TaskId,
    wanted: impl Fn(&TaskView) -> bool,
) -> TaskView {
    while let Some(event) = events.next().await {
        let views = match event.unwrap() {
            WatchEvent::Snapshot { tasks } => tasks,
            WatchEvent::Changed { task } => vec![task],
            WatchEvent::Removed { .. } => vec![],
        };
        if let Some(view) = views.into_iter().find(|v| v.id == *id && wanted(v)) {
            return view;
        }
    }
    panic!("the watch ended");
}

pub(crate) fn id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

/// Of a pod's container, whose leftovers are killed.
pub(crate) fn spec(program: Program) -> TaskSpec {
    let origin = Origin::Pod(ContainerRun {
        namespace: "default".into(),
        pod: "p".into(),
        uid: "u".into(),
        service_account: "default".into(),
        container: "main".into(),
        restart: 0,
        node: None,
    });
    TaskSpec::new(origin, program, Leftovers::Kill)
}

pub(crate) fn script(text: &str) -> TaskSpec {
    spec(Program::Script { text: text.into(), runner: ScriptRunner::Shell { path: "/bin/sh".into() } })
}

pub(crate) fn exec(argv: &[&str]) -> TaskSpec {
    spec(Program::Exec { argv: argv.iter().map(|&a| a.into()).collect() })
}

pub(crate) fn with_env(mut spec: TaskSpec, name: &str, value: &str) -> TaskSpec {
    spec.env.insert(EnvName::new(name).unwrap(), value.into());
    spec
}

pub(crate) fn stop_in(grace: Duration) -> StopRequest {
    StopRequest { kill_at: Timestamp::now() + grace, reason: "the test says so".into() }
}

/// Whether a thread of a process may still open or lock a file: one that ends has none left.
fn has_files(pid: i32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| std::fs::read_dir(thread.path().join("fd")).ok())
        .any(|mut files| files.next().is_some())
}

/// Whether a process is the pipe of a directory.
fn holds_lock(directory: &Path, pid: i32) -> bool {
    // Where there is no directory yet, there is no lock.
    let Ok(directory) = Dir::open(directory) else { return false };
    LockHolder::of(&directory, names::PIPE_LOCK).unwrap() == LockHolder::Process(Pid::from_raw(pid).unwrap())
}

/// Waits for something that nothing tells of.
pub(crate) async fn eventually(what: &str, check: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < until, "it does not come to this: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// Copies a program that is to be executed. By a process of its own: a file that this one writes to is held open by
/// whatever another test forks meanwhile, and what is open for writing cannot be executed.
pub(crate) fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("cp").arg(from).arg(to).stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{} is not copied: {status}", from.display());
}
