//! From what was asked to what `execve` is given. Pure.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use vk_record::runtime::environment;
use vk_task::{
    ContainerRun, HostSetup, Program, RUN_VARIABLE, RuntimeLaunch, ScriptRunner, StopSignal, TASK_VARIABLE,
    TERMINATION_LOG_VARIABLE, TaskId, TaskSpec, Terminate,
};

use crate::ShimError;
use crate::limits::Confinement;
use crate::mounts::{self, Sight};

/// Where programs are looked up when the environment has no `PATH`: what execvp(3) uses.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What `execve` is given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The files to try, in order: one, or one for each directory of `PATH`.
    pub(crate) files: Vec<CString>,
    /// The arguments, the program's name first.
    pub(crate) argv: Vec<CString>,
    /// The environment.
    pub(crate) env: Vec<CString>,
    /// Where it starts.
    pub(crate) dir: CString,
    /// The program's name, for people.
    pub(crate) name: String,
    /// What it is held to.
    pub(crate) confinement: Confinement,
    /// What it sees of the host's files.
    pub(crate) sight: Sight,
    /// Who is asked to end when the task is to.
    pub(crate) terminate: Terminate,
    /// With which signal.
    pub(crate) stop_signal: StopSignal,
}

/// Makes the command of a task, whose script (if it is one) is at `script`, beside its records, and whose processes are to carry the mark
/// `run`, from what was asked and the base environment of the pipe.
pub(crate) fn command(
    id: &TaskId,
    run: &str,
    spec: &TaskSpec,
    setup: &HostSetup,
    script: &Path,
    base: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Command, ShimError> {
    let mut env: BTreeMap<OsString, OsString> = base.into_iter().collect();
    let home = env.get(OsStr::new("HOME")).map_or_else(|| PathBuf::from("/"), PathBuf::from);
    for (name, value) in spec.origin.run().map(ContainerRun::variables).into_iter().flatten() {
        env.insert(name.into(), value.into());
    }
    if let Some(own) = &setup.own {
        env.insert("TMPDIR".into(), own.tmp.clone().into());
    }
    if let Some(file) = &setup.termination_log {
        env.insert(TERMINATION_LOG_VARIABLE.into(), file.into());
    }
    for (name, value) in &spec.env {
        env.insert(name.as_str().into(), value.into());
    }
    // Last: by these its processes are known to be the task's.
    env.insert(TASK_VARIABLE.into(), id.as_str().into());
    env.insert(RUN_VARIABLE.into(), run.into());

    let argv: Vec<OsString> = match &spec.program {
        Program::Exec { argv } => argv.iter().map(OsString::from).collect(),
        Program::Script { runner: ScriptRunner::Shebang, .. } => vec![script.into()],
        Program::Script { runner: ScriptRunner::Shell { path }, .. } => vec![path.into(), script.into()],
    };
    let dir = working_dir(&home, setup.own.as_ref().map_or(&home, |own| &own.work), spec.working_dir.as_deref());
    let sight = mounts::sight(setup, script.parent().unwrap_or(script), &home);
    Ok(Command { sight, ..assemble(&argv, &env, &dir)? })
}

/// The command of a container runtime's client, which has the program run: in the home directory, for the task's own
/// environment and working directory are the container's.
pub(crate) fn client_command(
    launch: &RuntimeLaunch,
    id: &TaskId,
    run: &str,
    base: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Command, ShimError> {
    let env = environment(launch, id, run, base);
    let home = env.get(OsStr::new("HOME")).map_or_else(|| PathBuf::from("/"), PathBuf::from);
    let argv: Vec<OsString> = launch.argv.iter().map(OsString::from).collect();
    Ok(Command { terminate: launch.terminate, ..assemble(&argv, &env, &home)? })
}

/// Where a program starts that asks for `wanted`: a relative path counts from `start`, and `~` is `home`.
fn working_dir(home: &Path, start: &Path, wanted: Option<&Path>) -> PathBuf {
    match wanted {
        None => start.to_owned(),
        Some(path) => match path.strip_prefix("~") {
            Ok(rest) if rest.as_os_str().is_empty() => home.to_owned(),
            Ok(rest) => home.join(rest),
            Err(_) => start.join(path),
        },
    }
}

fn assemble(argv: &[OsString], env: &BTreeMap<OsString, OsString>, dir: &Path) -> Result<Command, ShimError> {
    let program = argv.first().cloned().unwrap_or_default();
    Ok(Command {
        files: files(&program, env.get(OsStr::new("PATH")))
            .iter()
            .map(|f| c_string("the program", f.as_os_str()))
            .collect::<Result<_, _>>()?,
        argv: argv.iter().map(|a| c_string("an argument", a)).collect::<Result<_, _>>()?,
        env: env
            .iter()
            .map(|(name, value)| {
                let mut entry = name.clone();
                entry.push("=");
                entry.push(value);
                c_string("the environment", &entry)
            })
            .collect::<Result<_, _>>()?,
        dir: c_string("the working directory", dir.as_os_str())?,
        name: program.to_string_lossy().into_owned(),
        confinement: Confinement::default(),
        sight: Sight::Host,
        terminate: Terminate::Tree,
        stop_signal: StopSignal::TERM,
    })
}

impl Command {
    /// Another program in the same place, with the sight that it is to have of it: the same working directory and limits, and the same environment unless another
    /// is given. The marks by which the task's processes are known are in either.
    pub(crate) fn beside(&self, argv: Vec<String>, env: Option<Vec<CString>>, sight: Sight) -> Result<Self, ShimError> {
        let env = match env {
            None => self.env.clone(),
            Some(mut env) => {
                env.retain(|entry| !is_mark(entry));
                env.extend(self.env.iter().filter(|entry| is_mark(entry)).cloned());
                env
            }
        };
        let path = env.iter().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="));
        let path = path.map(|p| OsStr::from_bytes(p).to_owned());
        let program = OsString::from(argv.first().cloned().unwrap_or_default());
        Ok(Self {
            files: files(&program, path.as_ref())
                .iter()
                .map(|f| c_string("the program", f.as_os_str()))
                .collect::<Result<_, _>>()?,
            argv: argv.iter().map(|a| c_string("an argument", OsStr::new(a))).collect::<Result<_, _>>()?,
            env,
            dir: self.dir.clone(),
            name: program.to_string_lossy().into_owned(),
            confinement: self.confinement.clone(),
            sight,
            terminate: Terminate::Tree,
            stop_signal: StopSignal::TERM,
        })
    }
}

/// Whether an entry of the environment is one by which processes are known to be the task's.
fn is_mark(entry: &CString) -> bool {
    let value_of =
        |name: &str| entry.as_bytes().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
    value_of(RUN_VARIABLE) || value_of(TASK_VARIABLE)
}

/// The files that `program` may mean, as execvp(3) looks it up.
fn files(program: &OsStr, path: Option<&OsString>) -> Vec<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return vec![program.into()];
    }
    let path = path.map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str);
    path.as_bytes()
        .split(|b| *b == b':')
        // An empty entry means the working directory.
        .map(|dir| Path::new(if dir.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(dir) }).join(program))
        .collect()
}

fn c_string(what: &str, text: &OsStr) -> Result<CString, ShimError> {
    CString::new(text.as_bytes()).map_err(|_| ShimError::Nul(what.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vk_task::{EnvName, ExecVia, Leftovers, Origin, OwnDirectory};

    fn spec(program: Program) -> TaskSpec {
        TaskSpec::new(Origin::Fifo { writer: None }, program, Leftovers::Kill)
    }

    fn base() -> Vec<(OsString, OsString)> {
        [("HOME", "/home/u"), ("PATH", "/a::/b")].map(|(n, v)| (n.into(), v.into())).into()
    }

    fn make(spec: &TaskSpec) -> Command {
        make_in(spec, &HostSetup::default())
    }

    fn make_in(spec: &TaskSpec, setup: &HostSetup) -> Command {
        command(&TaskId::new("t").unwrap(), "r", spec, setup, Path::new("/p/tasks/t/script"), base()).unwrap()
    }

    fn texts(strings: &[CString]) -> Vec<&str> {
        strings.iter().map(|s| s.to_str().unwrap()).collect()
    }

    #[test]
    fn a_name_is_looked_up_and_a_path_is_not() {
        let made = make(&spec(Program::Exec { argv: vec!["ls".into(), "".into()] }));
        assert_eq!(texts(&made.files), ["/a/ls", "./ls", "/b/ls"]);
        assert_eq!(texts(&made.argv), ["ls", ""]);
        let made = make(&spec(Program::Exec { argv: vec!["./ls".into()] }));
        assert_eq!(texts(&made.files), ["./ls"]);
    }

    #[test]
    fn scripts_are_run_by_their_runner() {
        let text = String::new();
        let made = make(&spec(Program::Script { text: text.clone(), runner: ScriptRunner::Shebang }));
        assert_eq!(texts(&made.files), ["/p/tasks/t/script"]);
        let runner = ScriptRunner::Shell { path: "/bin/sh".into() };
        let made = make(&spec(Program::Script { text, runner }));
        assert_eq!(texts(&made.argv), ["/bin/sh", "/p/tasks/t/script"]);
    }

    #[test]
    fn what_was_asked_wins_over_the_base() {
        let mut asked = spec(Program::Exec { argv: vec!["x".into()] });
        asked.env.insert(EnvName::new("PATH").unwrap(), "/own".into());
        asked.env.insert(EnvName::new("LINES").unwrap(), "a\nb\"'$".into());
        asked.working_dir = Some("sub".into());
        let made = make(&asked);
        assert_eq!(texts(&made.files), ["/own/x"]);
        assert_eq!(texts(&made.env), ["HOME=/home/u", "LINES=a\nb\"'$", "PATH=/own", "VK_CMD_RUN=r", "VK_CMD_TASK=t"]);
        assert_eq!(made.dir.to_str().unwrap(), "/home/u/sub");
        asked.working_dir = Some("/abs".into());
        assert_eq!(make(&asked).dir.to_str().unwrap(), "/abs");
    }

    #[test]
    fn it_starts_in_its_own_directory_if_it_has_one() {
        let own = OwnDirectory { work: "/pods/u/work".into(), tmp: "/pods/u/tmp".into() };
        let setup = HostSetup { own: Some(own), ..HostSetup::default() };
        let mut asked = spec(Program::Exec { argv: vec!["x".into()] });
        assert_eq!(
            texts(&make_in(&asked, &setup).env),
            ["HOME=/home/u", "PATH=/a::/b", "TMPDIR=/pods/u/tmp", "VK_CMD_RUN=r", "VK_CMD_TASK=t"]
        );
        for (wanted, dir, without) in [
            (None, "/pods/u/work", "/home/u"),
            (Some("sub"), "/pods/u/work/sub", "/home/u/sub"),
            (Some("/abs"), "/abs", "/abs"),
            (Some("~"), "/home/u", "/home/u"),
            (Some("~/x"), "/home/u/x", "/home/u/x"),
            (Some("~x"), "/pods/u/work/~x", "/home/u/~x"),
        ] {
            asked.working_dir = wanted.map(PathBuf::from);
            assert_eq!(make_in(&asked, &setup).dir.to_str().unwrap(), dir);
            assert_eq!(make(&asked).dir.to_str().unwrap(), without);
        }
        asked.env.insert(EnvName::new("TMPDIR").unwrap(), "/mine".into());
        assert!(texts(&make_in(&asked, &setup).env).contains(&"TMPDIR=/mine"));
    }

    #[test]
    fn a_program_beside_it_has_the_same_place() {
        let main = make(&spec(Program::Exec { argv: vec!["ls".into()] }));
        let beside = main.beside(vec!["ps".into(), "-e".into()], None, Sight::Host).unwrap();
        assert_eq!(texts(&beside.files), ["/a/ps", "./ps", "/b/ps"]);
        assert_eq!(texts(&beside.argv), ["ps", "-e"]);
        assert_eq!((&beside.env, &beside.dir), (&main.env, &main.dir));
        let env = ["PATH=/c", "X=1", "VK_CMD_RUN=other"].map(|entry| CString::new(entry).unwrap()).into();
        let other = main.beside(vec!["ps".into()], Some(env), Sight::Host).unwrap();
        assert_eq!(texts(&other.files), ["/c/ps"]);
        assert_eq!(texts(&other.env), ["PATH=/c", "X=1", "VK_CMD_RUN=r", "VK_CMD_TASK=t"]);
        assert!(main.beside(vec!["a\0".into()], None, Sight::Host).is_err());
    }

    #[test]
    fn a_mark_cannot_be_forged() {
        let mut asked = spec(Program::Exec { argv: vec!["x".into()] });
        for name in [RUN_VARIABLE, TASK_VARIABLE] {
            asked.env.insert(EnvName::new(name).unwrap(), "forged".into());
        }
        let made = make(&asked);
        assert!(texts(&made.env).ends_with(&["VK_CMD_RUN=r", "VK_CMD_TASK=t"]));
    }

    #[test]
    fn a_client_is_given_what_the_launch_says() {
        let launch = RuntimeLaunch {
            terminate: vk_task::Terminate::Tree,
            confine_client: false,
            runtime: "podman".into(),
            argv: ["podman", "run", "-e", "X=1", "image"].map(str::to_owned).into(),
            env: [("X", "1"), (RUN_VARIABLE, "forged")].map(|(n, v)| (EnvName::new(n).unwrap(), v.into())).into(),
            remove: vec![],
            exec: ExecVia::Namespaces,
        };
        let made = client_command(&launch, &TaskId::new("t").unwrap(), "r", base()).unwrap();
        assert_eq!(texts(&made.files), ["/a/podman", "./podman", "/b/podman"]);
        assert_eq!(texts(&made.argv), ["podman", "run", "-e", "X=1", "image"]);
        assert_eq!(texts(&made.env), ["HOME=/home/u", "PATH=/a::/b", "VK_CMD_RUN=r", "VK_CMD_TASK=t", "X=1"]);
        assert_eq!(made.dir.to_str().unwrap(), "/home/u");
    }

    #[test]
    fn a_pod_is_told_who_it_is() {
        let mut asked = spec(Program::Exec { argv: vec!["x".into()] });
        asked.origin = Origin::Pod(ContainerRun {
            namespace: "ns".into(),
            pod: "p".into(),
            uid: "u".into(),
            service_account: "default".into(),
            container: "c".into(),
            restart: 0,
            node: None,
        });
        let made = make(&asked);
        let own: Vec<_> = texts(&made.env).into_iter().filter(|e| e.starts_with("VK_")).collect();
        let wanted = [
            "VK_CMD_CONTAINER=c",
            "VK_CMD_NAMESPACE=ns",
            "VK_CMD_POD=p",
            "VK_CMD_POD_UID=u",
            "VK_CMD_RUN=r",
            "VK_CMD_TASK=t",
        ];
        assert_eq!(own, wanted);
    }
}
