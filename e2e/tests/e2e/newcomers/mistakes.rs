//! What people do wrong at first, on a machine of their own: each is told with what to do next.

use serde_json::json;
use vk_cmd_e2e::bare::Bare;
use vk_cmd_e2e::exec;

use super::{machine, seen_from};
use crate::ground::{LONG, Room, room};
use crate::join::{operator, text, token_of};

/// What a line that must fail says.
async fn told(machine: &Bare, environment: Option<&[&str]>, line: &str) -> String {
    let command = match environment {
        Some(environment) => machine.types_with(environment, line),
        None => machine.types(line),
    };
    let output = exec::output(command, LONG).await.unwrap_or_else(|error| panic!("{line}: {error:#}"));
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{line}: {said}");
    said
}

/// What it must say.
fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
}

async fn bad_lines(room: &Room, machine: &Bare, fleet: &str) {
    let made = operator(room, &["--fleet", fleet, "--server", &machine.api_server()]).await;
    let line = text(&made.stdout);
    let token = token_of(&line);
    let (first, second) = token.split_at(token.len() / 2);
    let said = told(machine, None, &format!("echo {first}\n{second} | vk-node join")).await;
    says(&said, &["there is no join token"]);
    let said = told(machine, None, &format!("echo {first} | vk-node join")).await;
    says(&said, &["cut off", "copy the whole line"]);
    let said = told(machine, None, "vk-node join < /dev/null").await;
    says(&said, &["there is no join token"]);
    assert!(!machine.home().join("hostpipe").exists(), "nothing is written");
    // A line break inside quotes is no harm.
    let whole = format!("echo '{first}\n  {second}' | vk-node join");
    exec::text(machine.types(&whole), LONG).await.unwrap();
    // Two that have joined: which one is meant?
    exec::text(machine.types(&format!("{whole} --node-name vk-{fleet}-2")), LONG).await.unwrap();
    let said = told(machine, None, "vk-node run").await;
    says(&said, &["several nodes have joined", "--config /home/newcomer/hostpipe/join/vk-mistaken-2/node.yaml"]);
    std::fs::remove_dir_all(machine.home().join("hostpipe")).unwrap();
    // Without $HOME there is what the system knows of the account; where it knows nothing either, it is told.
    let no_home: &[&str] = &["PATH=/usr/local/bin:/bin", "USER=newcomer"];
    exec::text(machine.types_with(no_home, &whole), LONG).await.unwrap();
    assert!(machine.home().join("hostpipe/join").exists());
    std::fs::remove_dir_all(machine.home().join("hostpipe")).unwrap();
    machine.forgets_the_account().unwrap();
    let said = told(machine, Some(no_home), &whole).await;
    says(&said, &["set $HOME", "--hostpipe"]);
}

#[tokio::test]
async fn are_told_with_what_to_do_next() {
    const FLEET: &str = "mistaken";
    const NODE: &str = "vk-mistaken-1";
    let room = room(FLEET).await;
    let Some(machine) = machine(&room).await else { return };
    let fleet = room.fleet(FLEET, json!({})).await;
    bad_lines(&room, &machine, FLEET).await;

    let said = told(&machine, None, "vk-node run").await;
    says(&said, &["the node has no name", "vk-node join"]);
    let said = told(&machine, None, "vk-node run --node-name vk-mistaken-1").await;
    says(&said, &["there are no credentials: join a fleet", "--bootstrap-kubeconfig"]);
    let said = told(&machine, None, "vk-node run --node-name vk-mistaken-1 --kubeconfig node.kubeconfig").await;
    says(&said, &["node.kubeconfig"]);
    let said = told(&machine, None, "vk-node run --node-name mistaken").await;
    says(&said, &["vk-"]);

    let credentials = room.ground.plane.node_kubeconfig(NODE).unwrap();
    machine.put("node.kubeconfig", &seen_from(&machine, &room, &credentials)).unwrap();
    let said = told(&machine, None, "vk-node init --profile workstaton --kubeconfig node.kubeconfig").await;
    says(&said, &["workstation"]);
    let run = "vk-node run --node-name vk-mistaken-1 --kubeconfig node.kubeconfig";
    // Somebody else's node has the port.
    let said = told(
        &machine,
        None,
        &format!(
            "{{ nc -l -p 10250 > /dev/null 2>&1 & }}; until netstat -ltn | grep -q :10250; do sleep 0.1; done; {run}"
        ),
    )
    .await;
    says(&said, &["10250", "--kubelet-port"]);
    let other = run.replace("vk-mistaken-1", "vk-mistaken-2");
    // The credentials are another node's.
    let doctor = exec::output(machine.types(&other.replacen("run", "doctor", 1)), LONG).await.unwrap();
    says(&text(&doctor.stdout), &["FAILED   identity", "vk-mistaken-1"]);
    fleet.remove().await;
}

#[tokio::test]
async fn a_home_that_cannot_be_written_to() {
    const FLEET: &str = "read-only";
    let room = room(FLEET).await;
    let Some(machine) = machine(&room).await else { return };
    let fleet = room.fleet(FLEET, json!({})).await;
    let made = operator(&room, &["--fleet", FLEET, "--server", &machine.api_server()]).await;
    let credentials = room.ground.plane.node_kubeconfig("vk-read-only").unwrap();
    machine.put("node.kubeconfig", &seen_from(&machine, &room, &credentials)).unwrap();
    std::os::unix::fs::chown(machine.home(), Some(0), Some(0)).unwrap();
    for line in [
        text(&made.stdout).trim_end(),
        "vk-node init --profile workstation --node-name vk-read-only --kubeconfig node.kubeconfig",
        "vk-node run --node-name vk-read-only --kubeconfig node.kubeconfig",
    ] {
        let said = told(&machine, None, line).await;
        says(&said, &["/home/newcomer/hostpipe", "--hostpipe"]);
    }
    fleet.remove().await;
}
