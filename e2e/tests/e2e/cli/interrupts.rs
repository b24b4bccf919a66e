//! Ctrl-C leaves nothing behind that nobody was told of.

use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Child;

use super::{Done, Plugin};
use crate::ground::{LONG, room};

/// How many are pressed.
const MOMENTS: u32 = 20;

fn start(plugin: &Plugin<'_>, words: &[&str]) -> (Child, Pid) {
    let mut command = tokio::process::Command::from(plugin.command(words));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).unwrap();
    (child, pid)
}

/// Runs the plugin, and presses Ctrl-C after these times, each from the one before.
async fn pressed(plugin: &Plugin<'_>, words: &[&str], after: &[Duration]) -> Done {
    let (child, pid) = start(plugin, words);
    let mut ended = std::pin::pin!(child.wait_with_output());
    for pause in after {
        // Not a wait for something: the moment is what is tried.
        match tokio::time::timeout(*pause, &mut ended).await {
            Ok(output) => return Done::of(output.unwrap()),
            // Not reaped yet, so the number is still its own.
            Err(_) => kill_process(pid, Signal::INT).unwrap(),
        }
    }
    Done::of(tokio::time::timeout(LONG, ended).await.expect("it has not ended").unwrap())
}

/// Runs the plugin, and presses Ctrl-C when it has printed this; and if `twice`, when it has said what a second one does.
async fn pressed_at(plugin: &Plugin<'_>, words: &[&str], at: &str, twice: bool) -> Done {
    let (mut child, pid) = start(plugin, words);
    let run = async {
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let (mut printed, mut said) = (String::new(), String::new());
        while !printed.contains(at) {
            assert_ne!(out.read_line(&mut printed).await.unwrap(), 0, "it has ended: {printed}");
        }
        kill_process(pid, Signal::INT).unwrap();
        if twice {
            while !said.contains("Ctrl-C again") {
                assert_ne!(err.read_line(&mut said).await.unwrap(), 0, "it has ended: {said}");
            }
            kill_process(pid, Signal::INT).unwrap();
        }
        let (more, rest) = tokio::join!(out.read_to_string(&mut printed), err.read_to_string(&mut said));
        more.and(rest).unwrap();
        Done { code: child.wait().await.unwrap().code(), out: printed, err: said }
    };
    tokio::time::timeout(LONG, run).await.expect("it has not ended")
}

#[tokio::test]
async fn ctrl_c_at_random_moments_leaves_nothing_unnamed() {
    let room = room("cli-ctrl-c").await;
    let _site = room.site("vk-ctrl-c").await;
    let plugin = Plugin::of(&room).await;
    let seed =
        std::env::var("VK_CMD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("VK_CMD_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    // As long as one takes from its start until it has submitted; so many at once take longer.
    let begun = Instant::now();
    plugin.says(&["run", "-w", "vk-ctrl-c", "--name", "first", "--hold", "--", "true"]).await;
    let usual = begun.elapsed();
    plugin.says(&["cancel", "first"]).await;
    let mut moment = |latest: Duration| latest.mul_f64(random.f64());
    let runs = (0..MOMENTS).map(|n| {
        let mut after = vec![moment(usual * MOMENTS)];
        // Every third cancels.
        after.extend((n % 3 == 0).then(|| moment(Duration::from_millis(300))));
        let plugin = &plugin;
        async move {
            let words = ["run", "--wait", "-w", "vk-ctrl-c", "--", "sleep", "1000"];
            (pressed(plugin, &words, &after).await, after.len())
        }
    });
    let runs = join_all(runs.collect::<Vec<_>>()).await;
    let left = plugin.says(&["list", "-o", "name"]).await;
    let left: Vec<&str> = left.lines().map(|line| line.rsplit('/').next().unwrap()).collect();
    for name in &left {
        let told = runs.iter().find(|(done, _)| done.err.contains(name));
        let (done, _) = told.unwrap_or_else(|| panic!("{name} was not named by anybody: {runs:?}"));
        assert!(done.err.contains(&format!("kubectl cmdjob cancel -n cli-ctrl-c {name}")), "{done:?}");
        assert!(!done.err.contains("is cancelled"), "{done:?}");
    }
    // Ended by the signal itself before anything was asked for, or by the plugin's own decision.
    assert!(runs.iter().all(|(done, _)| matches!(done.code, None | Some(130))), "{runs:?}");
    assert!(runs.iter().any(|(done, _)| done.code == Some(130)), "none came so far: {runs:?}");
    plugin.says(&["cancel", "--all"]).await;
}

#[tokio::test]
async fn the_first_ctrl_c_detaches_and_the_second_cancels() {
    let room = room("cli-twice").await;
    let site = room.site("vk-cli-twice").await;
    let plugin = Plugin::of(&room).await;
    let pid = site.home().join("pid");
    let text = format!("echo $$ > {}; echo begun; exec sleep 1000", pid.display());
    plugin.says(&["run", "-w", "vk-cli-twice", "--name", "long", "--wrap", &text]).await;
    let once = pressed_at(&plugin, &["logs", "-f", "long"], "begun", false).await;
    assert_eq!(once.code, Some(130), "{once:?}");
    assert!(once.err.contains("long goes on. Come back: kubectl cmdjob logs -f -n cli-twice long"), "{once:?}");
    assert_eq!(plugin.says(&["list", "long", "-o", "name"]).await, "cmdjob.vk-cmd.io/long\n");
    let twice = pressed_at(&plugin, &["logs", "-f", "long"], "begun", true).await;
    assert_eq!(twice.code, Some(130), "{twice:?}");
    assert!(twice.err.contains("long is cancelled"), "{twice:?}");
    // It came back when it was really gone.
    let number = std::fs::read_to_string(&pid).unwrap();
    assert!(!std::path::Path::new("/proc").join(number.trim()).exists(), "its process is there");
    assert_eq!(plugin.does(&["list", "long"]).await.code, Some(1));
}
