use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::argv::{self, Asking, Order};
use super::forward;
use super::words::{self, Heard};
use super::*;
use crate::config::TunnelConfig;
use crate::facts::Endpoint;

fn config(to: &str) -> TunnelConfig {
    TunnelConfig {
        to: to.parse().unwrap(),
        bind: None,
        api_server: None,
        program: "ssh".into(),
        config_file: None,
        options: vec!["ServerAliveInterval=60".into()],
    }
}

fn line(argv: Vec<std::ffi::OsString>) -> String {
    argv.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn destinations_are_read() {
    for (text, user, host, port) in [
        ("ssh:me@host", Some("me"), "host", None),
        ("ssh:host", None, "host", None),
        ("ssh:me@host:2222", Some("me"), "host", Some(2222)),
        ("ssh://me@host:2222", Some("me"), "host", Some(2222)),
        ("ssh:me@realm@host", Some("me@realm"), "host", None),
        ("ssh:me@[2001:db8::1]:22", Some("me"), "2001:db8::1", Some(22)),
        ("ssh:2001:db8::1", None, "2001:db8::1", None),
    ] {
        let to: Destination = text.parse().unwrap();
        assert_eq!((to.user.as_deref(), to.host.as_str(), to.port), (user, host, port), "{text}");
        assert_eq!(to.to_string().parse::<Destination>().unwrap(), to, "{to}");
    }
    for text in [
        "me@host",
        "ssh:",
        "ssh:@host",
        "ssh:-oProxyCommand=evil",
        "ssh:-x@host",
        "ssh:host:0",
        "ssh:host:x",
        "ssh:a b",
        "ssh:`x`",
    ] {
        assert!(text.parse::<Destination>().unwrap_err().contains("ssh:USER@HOST"), "{text}");
    }
    assert!("elsewhere".parse::<Bind>().is_err());
    assert_eq!("0.0.0.0".parse::<Bind>().unwrap(), Bind::Every);
}

#[test]
fn what_must_be_stands_before_the_users_options_and_what_may_be_behind() {
    let said = line(argv::connect(&config("ssh:me@host:2222"), Path::new("/tmp/x/ssh"), Asking::Nobody));
    let place = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text}: {said}"));
    assert!(place("BatchMode=yes") < place("ServerAliveInterval=60"));
    assert!(place("ClearAllForwardings=yes") < place("ServerAliveInterval=60"));
    assert!(place("ServerAliveInterval=60") < place("ServerAliveInterval=5"));
    assert!(said.ends_with("-l me -p 2222 -- host"), "{said}");
    let asking = line(argv::connect(&config("ssh:host"), Path::new("/tmp/x/ssh"), Asking::Somebody));
    assert!(asking.contains("BatchMode=no"));
}

#[test]
fn orders_are_as_ssh_takes_them() {
    let control = Path::new("/tmp/x/ssh");
    let out = Forward::Out { socket: "/tmp/x/api".into(), to: Endpoint { host: "::1".into(), port: 6443 } };
    let here = "127.0.0.1:40000".parse().unwrap();
    for (order, wanted) in [
        (Order::Check, "-O check vk-node"),
        (Order::Forward(&out), "-O forward -L /tmp/x/api:[::1]:6443 vk-node"),
        (
            Order::Forward(&Forward::In { bind: Bind::Every, port: 0, to: here }),
            "-O forward -R *:0:127.0.0.1:40000 vk-node",
        ),
        (
            Order::Cancel(&Forward::In { bind: "2001:db8::1".parse().unwrap(), port: 7, to: here }),
            "-O cancel -R [2001:db8::1]:7:127.0.0.1:40000 vk-node",
        ),
    ] {
        assert_eq!(line(argv::order(control, order)), format!("-F /dev/null -S /tmp/x/ssh {wanted}"));
    }
}

#[test]
fn a_shared_connection_is_one_with_a_path() {
    let told = "user me\ncontrolmaster false\ncontrolpath /home/me/.ssh/cm-1\ncontrolpersist no\n";
    assert_eq!(argv::shared_socket(told), Some(Path::new("/home/me/.ssh/cm-1")));
    assert_eq!(argv::shared_socket("controlpath none\n"), None);
    assert_eq!(argv::shared_socket("user me\n"), None);
    assert!(argv::can_hold_sockets(Path::new("/tmp/vk"), 24));
    assert!(!argv::can_hold_sockets(Path::new("/tmp/%h"), 24), "ssh would put the host's name in");
    assert!(!argv::can_hold_sockets(&Path::new("/tmp").join("x".repeat(80)), 24));
}

/// As OpenSSH 9.2 says it.
#[test]
fn what_ssh_says_is_understood() {
    let why = |lines: &[&str]| {
        let mut heard = Heard::default();
        lines.iter().for_each(|line| heard.line(&format!("{line}\r")));
        heard.why("exit status: 255").to_string()
    };
    for (lines, wanted) in [
        (
            &[
                "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@",
                "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @",
                "Offending ED25519 key in /home/me/.ssh/known_hosts:3",
                "Host key verification failed.",
            ][..],
            "remove the old one, /home/me/.ssh/known_hosts:3",
        ),
        (
            &[
                "No ED25519 host key is known for [host]:22 and you have requested strict checking.",
                "Host key verification failed.",
            ],
            "the server's host key is not known here",
        ),
        (
            &["me@host: Permission denied (publickey,keyboard-interactive)."],
            "does not let us in (me@host: Permission denied",
        ),
        (&["ssh: Could not resolve hostname nowhere: Name or service not known"], "check the host's name"),
        (&["ssh: connect to host host port 22: Connection refused"], "check that an sshd listens there"),
        (
            &["kex_exchange_identification: Connection closed by remote host", "Connection closed by 10.0.0.1 port 22"],
            "MaxStartups",
        ),
        (
            &[
                "/home/me/.ssh/config: line 3: Bad configuration option: proxyjmp",
                "/home/me/.ssh/config: terminating, 1 bad configuration options",
            ],
            "line 3",
        ),
        (&["Timeout, server host not responding."], "does not answer any more"),
        (&["Connection to host closed by remote host."], "the connection was lost"),
        (&["vk-node: cannot run ssh: No such file or directory"], "cannot run ssh: No such file or directory: install"),
        (&["something new"], "ssh ended (exit status: 255): something new"),
        (&[], "ssh ended (exit status: 255)"),
    ] {
        let told = why(lines);
        assert!(told.contains(wanted), "{wanted:?}: {told}");
    }
    let prohibited =
        words::of_one_connection("channel 2: open failed: administratively prohibited: open failed\r\n").unwrap();
    assert!(prohibited.to_string().contains("PermitOpen"));
    let refused = words::of_one_connection("channel 2: open failed: connect failed: Connection refused").unwrap();
    assert!(refused.to_string().contains("(connect failed: Connection refused)"));
    assert_eq!(words::of_one_connection("channel 2: free"), None);
}

#[test]
fn a_port_that_was_given_is_asked_for_again_and_let_go_when_it_is_taken() {
    let mut any = Port::wanted(0);
    assert_eq!(any.ask(), 0);
    any.granted(40_001);
    assert_eq!(any.ask(), 40_001);
    assert!(any.refused(), "another may be had");
    assert_eq!(any.ask(), 0);
    assert!(!any.refused(), "none may be had");
    let mut one = Port::wanted(10_250);
    one.granted(10_250);
    assert!(!one.refused());
    assert_eq!(one.ask(), 10_250, "it is that one or none");
    let waits: Vec<u64> = [0, 1, 4, 5, u32::MAX].map(|refusals| forward::again_in(refusals).as_secs()).to_vec();
    assert_eq!(waits, [1, 2, 16, 30, 30]);
    // At its loopback address the far end listens if it says so.
    for (at, wanted) in [("127.0.0.1:1", false), ("[::1]:1", false), ("127.0.0.2:1", true), ("10.0.0.7:1", true)] {
        assert_eq!(forward::is_to_be_proved(at.parse().unwrap()), wanted, "{at}");
    }
}

#[test]
fn what_became_of_an_order_is_known_by_what_ssh_printed() {
    let to = "127.0.0.1:40000".parse().unwrap();
    let inward = |port| Forward::In { bind: Bind::Every, port, to };
    assert_eq!(forward::outcome(&inward(0), true, "43215\n", ""), Ok(Granted::In { port: 43_215 }));
    assert_eq!(forward::outcome(&inward(7), true, "", ""), Ok(Granted::In { port: 7 }));
    let words = "mux_client_forward: forwarding request failed: remote port forwarding failed for listen port 7\r\n";
    let refused = forward::outcome(&inward(7), false, "", words).unwrap_err();
    assert!(refused.to_string().contains("does not give port 7 on *"), "{refused}");
    let gone = "Control socket connect(/tmp/x/ssh): No such file or directory\r\n";
    assert!(matches!(forward::outcome(&inward(7), false, "", gone), Err(Refused::NoOrders { .. })));
}

fn ended(random: f64) -> Seen {
    Seen::Ended { how: "exit status: 255".into(), random }
}

#[test]
fn a_connection_that_is_lost_is_begun_again_within_a_second() {
    let mut course = Course::new(Asking::Nobody);
    let at = Duration::from_secs;
    assert_eq!(course.on(Seen::Time, at(0)), Some(Step::Start));
    assert_eq!(course.on(Seen::Answers, at(1)), Some(Step::Order));
    assert!(course.is_up());
    course.on(Seen::Line("Timeout, server host not responding.".into()), at(100));
    let Some(Step::Tell { trouble, again_in, is_known: false }) = course.on(ended(1.0), at(100)) else { panic!() };
    assert!(matches!(trouble, Trouble::Silent { .. }));
    assert!(again_in < at(1));
    assert_eq!(course.wakes_at(), Some(at(100) + again_in));
    assert_eq!(course.on(Seen::Time, at(101)), Some(Step::Start));
}

#[test]
fn what_stays_the_same_is_told_once_and_what_a_person_must_mend_is_tried_less_often() {
    let mut course = Course::new(Asking::Nobody);
    let (mut now, mut news, mut waits) = (Duration::ZERO, 0, Vec::new());
    for _ in 0..12 {
        now = course.wakes_at().unwrap();
        assert_eq!(course.on(Seen::Time, now), Some(Step::Start));
        course.on(Seen::Line("me@host: Permission denied (publickey).".into()), now);
        let Some(Step::Tell { again_in, is_known, .. }) = course.on(ended(0.5), now) else { panic!() };
        news += u32::from(!is_known);
        waits.push(again_in.as_secs());
        assert!(course.waits_for_a_person());
    }
    assert_eq!(news, 1);
    assert_eq!((waits[0], waits[1], *waits.last().unwrap()), (5, 10, 300));
    // A person has logged in.
    assert_eq!(course.on(Seen::Shared, now), Some(Step::Order));
    assert!(course.is_up());
}

#[test]
fn one_that_does_not_come_up_or_does_not_end_is_ended() {
    let mut course = Course::new(Asking::Nobody);
    let at = Duration::from_secs;
    course.on(Seen::Time, at(0));
    let given_up = course.wakes_at().unwrap();
    assert_eq!(course.on(Seen::Time, given_up), Some(Step::Terminate));
    let killed = course.wakes_at().unwrap();
    assert_eq!(course.on(Seen::Time, killed), Some(Step::Kill));
    assert_eq!(course.wakes_at(), None);
    let Some(Step::Tell { trouble: Trouble::Slow, .. }) = course.on(ended(0.0), killed) else { panic!() };
    // Where somebody types a password, it takes longer.
    let mut course = Course::new(Asking::Somebody);
    course.on(Seen::Time, at(0));
    assert!(course.wakes_at().unwrap() > given_up);
}

#[derive(Clone, Debug)]
enum Event {
    Passes(u64),
    Line(&'static str),
    Answers,
    SocketGone,
    Ended,
    Shared,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0_u64..400_000).prop_map(Event::Passes),
        2 => prop::sample::select(vec!["Permission denied (publickey).", "Connection reset", "hello"]).prop_map(Event::Line),
        2 => Just(Event::Answers),
        1 => Just(Event::SocketGone),
        2 => Just(Event::Ended),
        1 => Just(Event::Shared),
    ]
}

proptest! {
    /// Whatever happens in whatever order: no two of ours at a time, and always another try after one that has ended.
    #[test]
    fn there_is_one_at_a_time_and_always_a_next(events in prop::collection::vec(event(), 0..200), random in 0.0_f64..=1.0) {
        let mut course = Course::new(Asking::Nobody);
        let (mut now, mut runs) = (Duration::ZERO, false);
        for event in events {
            let step = match event {
                Event::Passes(ms) => {
                    now += Duration::from_millis(ms);
                    course.on(Seen::Time, now)
                }
                Event::Line(line) => course.on(Seen::Line(line.into()), now),
                // Only one that runs can answer, or end.
                Event::Answers if runs => course.on(Seen::Answers, now),
                Event::SocketGone => course.on(Seen::SocketGone, now),
                Event::Ended if runs => {
                    runs = false;
                    let step = course.on(ended(random), now);
                    let told = matches!(step, Some(Step::Tell { .. }));
                    prop_assert!(told);
                    step
                }
                Event::Shared if !runs => {
                    let step = course.on(Seen::Shared, now);
                    runs = step.is_some();
                    step
                }
                Event::Answers | Event::Ended | Event::Shared => continue,
            };
            if step == Some(Step::Start) {
                prop_assert!(!runs);
                runs = true;
            }
            if !runs {
                let next = course.wakes_at();
                prop_assert!(next.is_some_and(|at| at <= now + Duration::from_secs(400)));
            }
        }
    }

    #[test]
    fn garbage_is_no_panic(text in "\\PC{0,80}") {
        let _ = (text.parse::<Destination>(), text.parse::<Bind>(), words::meaning(&text), words::of_one_connection(&text));
        let _ = argv::shared_socket(&text);
    }

    #[test]
    fn what_is_a_destination_is_no_flag(text in "ssh:[ -~]{0,40}") {
        if let Ok(to) = text.parse::<Destination>() {
            prop_assert!(!to.host.starts_with('-') && !to.user.unwrap_or_default().starts_with('-'));
        }
    }
}
