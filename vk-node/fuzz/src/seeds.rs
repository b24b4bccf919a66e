//! What makes sense to each target, for mutations to begin with.

use jiff::Timestamp;
use serde::Serialize;
use vk_record::process::Identity;
use vk_record::{Exit, Intent, LingeringProcesses, Lost, Start, Stop, Version};
use vk_site::audit::{Entry, Event, What};
use vk_streaming::spdy::{Codec, Frame, ResetStatus};
use vk_task::control::{ControlAnswer, ControlRequest};
use vk_task::stream::{Channel, Head, StreamEnd, StreamRequest, TerminalSize};
use vk_task::{
    ApiError, ContainerRun, End, EnvName, ErrorReason, Gpus, HostSetup, Image, Launch, Leftovers, LimitKind, Mount,
    Origin, Place, Program, ScriptRunner, Signal, SignalRequest, StartFailure, StopRequest, TaskId, TaskSpec,
    TaskState, TaskView, WatchEvent,
};

const T: Timestamp = Timestamp::UNIX_EPOCH;

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).unwrap()
}

fn id() -> TaskId {
    TaskId::new("u_main_0").unwrap()
}

fn origin() -> Origin {
    Origin::Pod(ContainerRun {
        namespace: "default".into(),
        pod: "p".into(),
        uid: "u".into(),
        service_account: "default".into(),
        container: "main".into(),
        restart: 0,
        node: None,
    })
}

fn specs() -> [TaskSpec; 2] {
    let mut exec =
        TaskSpec::new(origin(), Program::Exec { argv: vec!["/bin/true".into(), "a".into()] }, Leftovers::Kill);
    exec.place = Place::Image(Image {
        reference: "docker://godlovedc/lolcow".into(),
        mounts: vec![Mount { source: "/a".into(), target: "/b".into(), read_only: true }],
        gpus: Gpus::Nvidia(1),
    });
    exec.env.insert(EnvName::new("NAME").unwrap(), "value".into());
    exec.working_dir = Some("/tmp".into());
    let runner = ScriptRunner::Shell { path: "/bin/sh".into() };
    let program = Program::Script { text: "true\n".into(), runner };
    [exec, TaskSpec::new(Origin::Fifo { writer: None }, program, Leftovers::Await)]
}

fn ends() -> [End; 3] {
    [
        End::Exited { code: 3 },
        End::Signaled { signal: Signal(9), core_dumped: false },
        End::NotStarted { failure: StartFailure::NotFound, message: "no such file".into() },
    ]
}

fn view() -> TaskView {
    let [end, ..] = ends();
    let state = TaskState::Ended { started_at: T, finished_at: T, end, exceeded: Some(LimitKind::Memory) };
    TaskView {
        id: id(),
        origin: origin(),
        state,
        stop: None,
        lingering: Vec::new(),
        reported: false,
        termination_message: None,
    }
}

fn error() -> ApiError {
    ApiError { reason: ErrorReason::Denied, message: "no".into() }
}

pub(super) fn fifo() -> Vec<Vec<u8>> {
    let mut long = vec![4, 4, 255];
    long.extend(std::iter::repeat_n(b'x', 300));
    let line = |what: &[u8], text: &[u8]| [what, text].concat();
    vec![
        line(&[4, 37], b"echo a > $HOME/out; echo b\n"),
        line(&[4, 53], b"VK_CMD_TASK=u_main_0 apptainer exec image.sif program\n\x01"),
        line(&[4, 4, 13], b"\xff\xfe\nprintf"),
        long,
        vec![4, 3, 0, 1, 4, 2, 0, 0, 0],
    ]
}

pub(super) fn records() -> Vec<Vec<u8>> {
    let [one, two] = specs();
    let intent = |spec| Intent {
        version: Version,
        id: id(),
        accepted_at: T,
        spec,
        launch: Launch::Direct,
        setup: HostSetup::default(),
    };
    let process = Identity { pid: 7, start_ticks: 8, boot_id: "b".into() };
    let request = StopRequest { kill_at: T, reason: "over".into() };
    let denied = Event::Denied { what: What::of(&one), reasons: vec!["no".into()] };
    let entry = Entry { at: T, task: id(), by: origin(), event: denied };
    let mut seeds: Vec<Vec<u8>> = ends()
        .into_iter()
        .map(|end| {
            json(&Exit {
                version: Version,
                started_at: T,
                finished_at: T,
                end,
                exceeded: None,
                termination_message: Some("ü".into()),
            })
        })
        .collect();
    seeds.extend([
        json(&intent(one)),
        json(&intent(two)),
        json(&Start { version: Version, process, run: "r".into(), started_at: T, cgroup: None }),
        json(&Lost { version: Version, started_at: T, noticed_at: T, message: "nobody saw it".into() }),
        json(&Stop { version: Version, request }),
        json(&LingeringProcesses::default()),
        json(&entry),
    ]);
    seeds
}

pub(super) fn log() -> Vec<Vec<u8>> {
    let time = "2026-11-23T16:40:00.123456789Z";
    vec![
        format!("{time} stdout F a whole line\n{time} stderr P a piece\n").into_bytes(),
        format!("{time} stdout F \n\n{time} stdout\n").into_bytes(),
        vec![b'x'; 40_000],
    ]
}

pub(super) fn requests() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = specs().iter().map(json).collect();
    seeds.extend([
        json(&StopRequest { kill_at: T, reason: "over".into() }),
        json(&SignalRequest { signal: Signal(15) }),
        json(&view()),
        json(&WatchEvent::Snapshot { tasks: vec![view()] }),
        json(&WatchEvent::Removed { id: id() }),
        json(&error()),
        b"u_main_0".to_vec(),
    ]);
    seeds
}

pub(super) fn streams() -> Vec<Vec<u8>> {
    let [end, ..] = ends();
    let size = TerminalSize { width: 80, height: 24 };
    let payload = b"what is typed".as_slice();
    let mut frames = Head::of(Channel::Stdin, payload).unwrap().bytes().to_vec();
    frames.extend_from_slice(payload);
    frames.extend_from_slice(&Head::of(Channel::Stdin, b"").unwrap().bytes());
    let argv = vec!["sh".to_owned(), "-c".to_owned(), "id".to_owned()];
    vec![
        frames,
        json(&StreamRequest::Exec { argv: argv.clone(), stdin: true, terminal: false, user: "someone".into() }),
        json(&StreamEnd::Ended { end: end.clone() }),
        json(&StreamEnd::Failed { error: error() }),
        json(&size),
        json(&ControlRequest::Signal { signal: Signal(10) }),
        json(&ControlRequest::Resize { size }),
        json(&ControlRequest::Exec { argv, stdin: true, terminal: false, environment_of: Some(7) }),
        json(&ControlAnswer::Ended { end }),
        json(&ControlAnswer::Refused { error: error() }),
    ]
}

pub(super) fn site() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("../../../docs/reference/site.yaml").to_vec(),
        b"version: 1\n".to_vec(),
        b"version: 1\nlimits: {}\na: &a [*a, *a]\n".to_vec(),
    ]
}

pub(super) fn processes() -> Vec<Vec<u8>> {
    vec![
        b"42 (a) Z 1 (b)) S 7 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3".to_vec(),
        b"1 (init) S 0 1 1 0 -1 4194560 5 6 7 8 9 10 11 12 20 0 1 0 3 4 5".to_vec(),
    ]
}

/// A stream as Kubernetes' clients begin it, its headers compressed with the dictionary.
const SYN_STREAM: &[u8] = b"\x80\x03\x00\x01\x00\x00\x00=\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00x\xf9\xe3\xc6\xa7\xc2\x02%:p:+)JM\xcc\x85\x16%\xac\xa9\xa0\x80\x86\x14\xcbE\xe0\x1c`a`a\x00\xa49\x8b \xd1\x98\x09J\xde\x8c\x06\x00\x00\x00\x00\xff\xff";

pub(crate) fn spdy() -> Vec<Vec<u8>> {
    let (id, bytes, fin) = (1, bytes::Bytes::from_static(b"hello"), true);
    let headers = || [("streamType", "data"), ("port", "80"), ("requestID", "0")].into_iter().collect();
    let mut codec = Codec::default();
    let mut all = bytes::BytesMut::new();
    for frame in [
        Frame::SynStream { id, headers: headers(), fin },
        Frame::SynReply { id, headers: headers(), fin },
        Frame::Headers { id, headers: headers(), fin },
        Frame::Data { id, bytes, fin },
        Frame::Reset { id, status: ResetStatus::CANCEL },
        Frame::Ping { id },
        Frame::WindowUpdate { id, delta: 1 << 16 },
        Frame::GoAway { last: id, status: 0 },
        Frame::Settings,
    ] {
        codec.write(frame, &mut all);
    }
    vec![all.to_vec(), SYN_STREAM.to_vec(), [SYN_STREAM, b"\0\0\0\x01\x01\0\0\x02hi"].concat()]
}
