//! From the one program to a node that is Ready, by the commands with which docs/how-to/site-admin.md begins.

use serde_json::json;
use vk_cmd_crds::certificates::BOOTSTRAP_GROUP;
use vk_cmd_e2e::exec;
use vk_cmd_e2e::process::Process;

use super::{commands, machine, seen_from, works};
use crate::ground::{LONG, room};
use crate::join::{operator, text, token_of};

const GUIDE: &str = include_str!("../../../../docs/how-to/site-admin.md");
const README: &str = include_str!("../../../../README.md");

#[tokio::test]
async fn by_a_line_of_the_clusters_administrator() {
    const FLEET: &str = "newcomers";
    const NODE: &str = "vk-newcomers-login07";
    let room = room(FLEET).await;
    let Some(machine) = machine(&room).await else { return };
    let fleet = room.fleet(FLEET, json!({})).await;
    let made = operator(&room, &["--fleet", FLEET, "--server", &machine.api_server()]).await;
    let line = text(&made.stdout);

    let [join, run] = &*commands(GUIDE, "Then two commands.") else { panic!("they are not two commands") };
    let join = join.replace("vkj1.eyJzZXJ2ZXIiOi…", token_of(&line));
    assert_eq!(join, line.trim_end(), "what the operator prints is what the guide shows");
    let said = exec::text(machine.types(&join), LONG).await.unwrap();
    assert!(said.contains(&format!("{NODE} belongs to the fleet {FLEET} now")), "{said}");
    let mut node = Process::start(NODE, machine.types(run), machine.log("node")).unwrap();
    works(&room, &machine, NODE, &mut node).await;
    fleet.remove().await;
}

#[tokio::test]
async fn by_a_kubeconfig_and_a_profile() {
    const NODE: &str = "vk-newcomers-own";
    let room = room("newcomers-own").await;
    let Some(machine) = machine(&room).await else { return };
    let credentials = room.ground.plane.node_kubeconfig(NODE).unwrap();
    machine.put("node.kubeconfig", &seen_from(&machine, &room, &credentials)).unwrap();

    let [init, run] = &*commands(GUIDE, "or with a kubeconfig of the node's own") else {
        panic!("they are not two commands")
    };
    let said = exec::text(machine.types(&init.replace("vk-workstation", NODE)), LONG).await.unwrap();
    assert!(said.contains("wrote /home/newcomer/hostpipe/node.yaml"), "{said}");
    let mut node = Process::start(NODE, machine.types(run), machine.log("node")).unwrap();
    works(&room, &machine, NODE, &mut node).await;
}

#[tokio::test]
async fn by_a_bootstrap_token() {
    const NODE: &str = "vk-newcomers-token";
    let room = room("newcomers-token").await;
    let Some(machine) = machine(&room).await else { return };
    let bootstrap = room.ground.plane.cluster().bootstrap_kubeconfig("newcom", BOOTSTRAP_GROUP).await.unwrap();
    machine.put("bootstrap.kubeconfig", &seen_from(&machine, &room, &bootstrap)).unwrap();

    let [run] = &*commands(README, "with a bootstrap token: the node then asks") else {
        panic!("it is not one command")
    };
    let run = run.replace("vk-perlmutter-01", NODE);
    let mut node = Process::start(NODE, machine.types(&run), machine.log("node")).unwrap();
    works(&room, &machine, NODE, &mut node).await;
}
