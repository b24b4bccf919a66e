//! Scripts with headers, and what they write.

use std::path::Path;

use serde_json::Value;
use vk_cmd_e2e::scratch::Scratch;

use super::{Done, Plugin};
use crate::ground::{LONG, room};

const ARRAY: &str = r#"#!/bin/bash
#SBATCH -J "An Array"
#SBATCH --array=0-2%2 -t 5   # five minutes
#SBATCH -N 1 --export=FROM_HERE,OTHER=x
#CMDJOB --labels=test=headers

echo "task $SLURM_ARRAY_TASK_ID of $JOB_COMPLETION_INDEX: $FROM_HERE $OTHER"
echo "args: $0 $1 $2"
"#;

fn write(scratch: &Scratch, name: &str, text: &str) -> String {
    let path = scratch.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_script_with_headers_runs_as_it_would_by_sbatch() {
    let room = room("cli-script").await;
    let _site = room.site("vk-cli-script").await;
    let plugin = Plugin::of(&room).await;
    let scratch = Scratch::new("vk-cli-").unwrap();
    let script = write(&scratch, "array.sh", ARRAY);
    let words = ["run", "-f", "--node", "vk-cli-script", &script, "--", "$(a)", "b c"];
    let mut command = plugin.command(&words);
    command.env("FROM_HERE", "he$re");
    let done = Done::of(vk_cmd_e2e::exec::output(command, LONG).await.unwrap());
    assert_eq!(done.code, Some(0), "{done:?}");
    let mut lines: Vec<&str> = done.out.lines().collect();
    lines.sort_unstable();
    let expected: Vec<String> = (0..3)
        .flat_map(|n| [format!("[{n}] args: array.sh $(a) b c"), format!("[{n}] task {n} of {n}: he$re x")])
        .collect();
    assert_eq!(lines, expected, "{done:?}");

    let list: Value = serde_json::from_str(&plugin.says(&["list", "-l", "test=headers", "-o", "json"]).await).unwrap();
    let job = &list["items"][0];
    let name = job["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("an-array-"), "{name}");
    assert_eq!((&job["spec"]["walltimeSeconds"], &job["spec"]["parallelism"]), (&300.into(), &2.into()));
    assert!(done.err.contains(name), "{done:?}");

    // The same afterwards; and of one task, by objects.
    let again = plugin.says(&["logs", name]).await;
    assert_eq!(
        again.lines().collect::<Vec<_>>(),
        expected.chunks(2).flat_map(|two| two.iter().rev()).collect::<Vec<_>>()
    );
    let one = plugin.says(&["logs", name, "--index", "1", "--tail", "1", "-o", "json"]).await;
    let line: Value = serde_json::from_str(one.trim()).unwrap();
    assert_eq!((&line["index"], &line["line"]), (&1.into(), &"args: array.sh $(a) b c".into()));
    assert!(line["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{line}");
}

#[tokio::test]
async fn headers_that_cannot_be_honoured_are_told_and_nothing_is_submitted() {
    let room = room("cli-headers").await;
    let plugin = Plugin::of(&room).await;
    let script = "#!/bin/sh\n#SBATCH -A m1 -o %j.out\n#SBATCH --mail-type=END -N 2\n#SBATCH --tiem=5\nhostname\n";
    let done = plugin.does_with(&["run", "-p", "any", "-"], script.as_bytes()).await;
    assert_eq!(done.code, Some(125), "{done:?}");
    for word in [
        "line 2: #SBATCH -A m1",
        "line 2: #SBATCH -o %j.out",
        "line 3: #SBATCH --mail-type=END",
        "line 3: #SBATCH -N 2",
        "did you mean --time",
    ] {
        assert!(done.err.contains(word), "{word}: {}", done.err);
    }
    assert!(done.err.contains("--ignore=account,mail-type,nodes,output"), "{}", done.err);
    let mended = script.replace("tiem", "time");
    let words = ["run", "-p", "any", "--ignore=account,mail-type,nodes,output", "--dry-run=server", "-o", "json", "-"];
    let done = plugin.does_with(&words, mended.as_bytes()).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let job: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((&job["spec"]["script"], &job["spec"]["target"]["fleet"]), (&mended.into(), &"any".into()));
    assert_eq!(plugin.says(&["list", "-o", "name"]).await, "");
}

#[tokio::test]
async fn logs_wait_for_a_job_that_has_not_begun_and_follow_it_to_its_end() {
    let room = room("cli-logs").await;
    let site = room.site("vk-cli-logs").await;
    let plugin = Plugin::of(&room).await;
    // It goes on when somebody who has seen its first line says so.
    let go = site.home().join("go");
    let text = format!("echo first; until test -e {}; do sleep 0.05; done; echo last", go.display());
    let words = ["run", "-w", "vk-cli-logs", "--name", "slow", "--hold", "--wrap", &text];
    assert_eq!(plugin.says(&words).await, "cmdjob.vk-cmd.io/slow created (held)\n");
    let nothing = plugin.does(&["logs", "slow", "--no-wait"]).await;
    assert_eq!((nothing.code, &*nothing.out), (Some(0), ""), "{nothing:?}");
    assert!(nothing.err.contains("slow has written nothing"), "{nothing:?}");
    let follow = plugin.does(&["logs", "-f", "slow"]);
    let rest = async {
        // It waits while nothing runs, and prints what is there when something does.
        let (once, ()) = tokio::join!(plugin.says(&["logs", "slow"]), async {
            assert_eq!(plugin.says(&["release", "slow"]).await, "cmdjob.vk-cmd.io/slow released\n");
        });
        assert!(once.is_empty() || once == "first\n", "{once:?}");
        touch(&go);
    };
    let (followed, ()) = tokio::join!(follow, rest);
    assert_eq!((followed.code, &*followed.out), (Some(0), "first\nlast\n"), "{followed:?}");
}

fn touch(path: &Path) {
    std::fs::write(path, "").unwrap();
}
