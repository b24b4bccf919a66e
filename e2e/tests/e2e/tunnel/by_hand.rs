//! A tunnel that a person has begun, as the users of the original do: `ssh -NfL`, `ssh -NfR`.

use vk_cmd_e2e::control_plane::free_port;
use vk_cmd_e2e::process::Process;
use vk_cmd_e2e::site::Settings;
use vk_cmd_e2e::sshd::Sshd;

use super::{GATEWAY, sshd, told_address};
use crate::ground::room;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_that_was_begun_by_hand_is_as_good() {
    const NODE: &str = "vk-by-hand";
    const FAR: &str = "127.7.0.7";
    let Some(sshd) = sshd(&[GATEWAY]).await else { return };
    let room = room("by-hand").await;
    let plane = room.ground.plane;
    let url = plane.server_url();
    let (here, kubelet) = (free_port().unwrap(), free_port().unwrap());
    let forwards = [
        ["-L".to_owned(), format!("127.0.0.1:{here}:{}", url.strip_prefix("https://").unwrap())],
        ["-R".to_owned(), format!("{FAR}:{kubelet}:127.0.0.1:{kubelet}")],
    ];
    let mut begun = Vec::new();
    for forward in forwards {
        let [flag, spec] = &forward;
        let ssh = sshd.command(&["-N", "-o", "ExitOnForwardFailure=yes", flag, spec, Sshd::HOST]);
        begun.push(Process::start(format!("ssh {flag}"), ssh, sshd.directory().join("by-hand.log")).unwrap());
    }
    let settings = Settings::on(plane, NODE).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    let text = std::fs::read_to_string(&settings.kubeconfig).unwrap();
    std::fs::write(&kubeconfig, text.replace(&url, &format!("https://127.0.0.1:{here}"))).unwrap();
    let _site = room
        .site_with(Settings {
            kubeconfig,
            address: Some(FAR.parse().unwrap()),
            kubelet_port: kubelet,
            node_flags: vec!["--listen-address".into(), "127.0.0.1".into()],
            ..settings
        })
        .await;
    assert_eq!(told_address(&room, NODE).await.to_string(), format!("{FAR}:{kubelet}"));
    let job = room.script("job", NODE, "echo by hand").await;
    let pod = job.ended().await.attempt().pod.clone();
    assert_eq!(room.says(&["logs", &pod]).await, "by hand\n");
}
