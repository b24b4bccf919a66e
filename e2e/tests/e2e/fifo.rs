//! The way in that the original had: lines written to `$HOME/hostpipe/vk-cmd`.

use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, room};

#[tokio::test]
async fn a_pod_that_writes_to_the_fifo_works_as_it_did() {
    let room = room("fifo").await;
    let site = room.site("vk-fifo").await;
    let script =
        "echo 'printf hello > $HOME/out.txt && ls -l $HOME/out.txt && touch $HOME/done' > $HOME/hostpipe/vk-cmd";
    let job = room.script("writer", "vk-fifo", script).await;
    assert_eq!(job.ended().await.exit_code, Some(0));
    let done = site.home().join("done");
    let run = wait::until("the line to be run", LONG, GLANCE, async || {
        Ok(if done.exists() { Probe::Ready(()) } else { Probe::not_yet("not yet") })
    });
    run.await.unwrap();
    assert_eq!(std::fs::read_to_string(site.home().join("out.txt")).unwrap(), "hello");
}
