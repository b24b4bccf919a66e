//! Many at once: all run, none touches another, none is lost.

use std::collections::BTreeSet;

use futures::future::join_all;
use vk_cmd_crds::State;

use crate::ground::room;

#[tokio::test]
async fn fifty_at_once_are_isolated_and_none_is_lost() {
    let room = room("many").await;
    let site = room.site("vk-many").await;
    let witness = site.home().join("witness");
    let jobs = join_all((0..50).map(|n| {
        // Each changes what a shared shell would share: directory, variables, the shell's own end.
        let script = format!(
            "test \"$(pwd)\" = \"$HOME\" && test -z \"$SHARED\" || exit 99\n\
             cd /tmp; export SHARED={n}; umask 077\n\
             echo {n} >> {}\n\
             echo output of {n}\n\
             exit {}",
            witness.display(),
            n % 3
        );
        let room = &room;
        async move { room.script(&format!("job-{n}"), "vk-many", &script).await }
    }))
    .await;
    let ends = join_all(jobs.iter().map(super::ground::Job::ended)).await;
    for (n, ended) in ends.iter().enumerate() {
        let code = i32::try_from(n % 3).unwrap();
        assert_eq!(ended.exit_code, Some(code), "job-{n}: {ended:?}");
        assert_eq!(ended.state, Some(if code == 0 { State::Complete } else { State::Failed }), "job-{n}");
    }
    let text = std::fs::read_to_string(witness).unwrap();
    let seen: BTreeSet<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!((text.lines().count(), seen.len()), (50, 50), "each ran once");
    for (n, ended) in ends.iter().enumerate().step_by(10) {
        assert_eq!(room.says(&["logs", &ended.attempt().pod]).await, format!("output of {n}\n"));
    }
}
