//! The site's file: what it denies, what it takes away, and what becomes of it when it changes.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use vk_pipe::ClientError;
use vk_task::{ApiError, End, ErrorReason, Limits, Rlimit, TaskSpec};

use crate::Test;
use crate::support::{Host, block_on, exec, id, script, with_env};

pub(crate) const TESTS: &[Test] = &[
    ("a_denied_task_is_told_why_and_nothing_runs", denied),
    ("rules_are_in_force_as_soon_as_they_are_written", reload),
    ("a_wrong_file_leaves_the_last_good_one_in_force", broken_later),
    ("a_wrong_file_ends_a_pipe_that_starts", broken_at_start),
    ("a_task_that_is_known_is_not_asked_about_again", known),
    ("limits_and_variables_are_what_the_site_gives", clamped),
];

async fn refused(host: &Host, name: &str, spec: &TaskSpec) -> ApiError {
    match host.client.start(&id(name), spec).await {
        Err(ClientError::Refused(e)) => e,
        other => panic!("{other:?}"),
    }
}

fn denied() {
    block_on(async {
        let mut host = Host::of_site("policy: {namespaces: {allow: [physics]}, programs: {allow: [/bin/true]}}");
        host.start_pipe().await;
        let e = refused(&host, "t", &script("touch $HOME/ran")).await;
        assert_eq!(e.reason, ErrorReason::Denied);
        assert_eq!(
            e.message,
            "this site does not run it: pods of the namespace default are not allowed; the program \"/bin/sh\" is not \
             allowed on the host"
        );
        assert_eq!(host.client.list().await.unwrap(), vec![]);
        assert_eq!(fs::read_dir(host.directory().join("tasks")).unwrap().count(), 0);
        assert!(!host.file("ran").exists());
    });
}

fn reload() {
    block_on(async {
        let mut host = Host::of_site("policy: {programs: {allow: [/bin/true]}}");
        host.start_pipe().await;
        refused(&host, "t", &exec(&["/bin/false"])).await;
        for (round, program) in ["/bin/false", "/bin/true", "/bin/false"].into_iter().enumerate() {
            host.write_site(&format!("policy: {{programs: {{allow: [{program}]}}}}"));
            let name = format!("t{round}");
            host.client.start(&id(&name), &exec(&[program])).await.unwrap();
            let other = if program == "/bin/true" { "/bin/false" } else { "/bin/true" };
            refused(&host, "other", &exec(&[other])).await;
            host.ended(&id(&name)).await;
        }
    });
}

fn broken_later() {
    block_on(async {
        let mut host = Host::of_site("policy: {scripts: false}");
        host.start_pipe().await;
        host.write_site("policy: {script: true}");
        refused(&host, "t", &script("true")).await;
        let site = host.client.info().await.unwrap().site;
        let error = site.error.unwrap();
        assert!(error.contains("line 2: policy has no key \"script\": did you mean \"scripts\"?"), "{error}");
        assert_eq!(site.file, Some(host.site_file()));
        // Right, but everybody may write to it.
        host.write_site("policy: {scripts: true}");
        fs::set_permissions(host.site_file(), fs::Permissions::from_mode(0o666)).unwrap();
        refused(&host, "t", &script("true")).await;
        fs::set_permissions(host.site_file(), fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(host.run("t", "true").await, End::Exited { code: 0 });
        assert_eq!(host.client.info().await.unwrap().site.error, None);
    });
}

fn broken_at_start() {
    let host = Host::of_site("polcy: {}");
    let words = || {
        let output = host.pipe_command().output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let wrong = words();
    assert!(wrong.contains("nothing is run: correct it") && wrong.contains("did you mean \"policy\"?"), "{wrong}");
    host.write_site("policy: {}");
    fs::set_permissions(host.site_file(), fs::Permissions::from_mode(0o620)).unwrap();
    let wrong = words();
    assert!(wrong.contains("others may write to it (mode 0620): chmod go-w"), "{wrong}");
}

fn known() {
    block_on(async {
        let mut host = Host::of_site("policy: {}");
        host.start_pipe().await;
        let spec = script("true");
        host.client.start(&id("t"), &spec).await.unwrap();
        host.write_site("policy: {scripts: false}");
        assert_eq!(host.client.start(&id("t"), &spec).await.unwrap().id, id("t"));
        host.ended(&id("t")).await;
        // Nor by a pipe that finds it on disk.
        host.kill_pipe();
        host.start_pipe().await;
        assert_eq!(host.client.start(&id("t"), &spec).await.unwrap().id, id("t"));
        refused(&host, "u", &spec).await;
    });
}

fn clamped() {
    block_on(async {
        let mut host =
            Host::of_site("policy: {dropEnv: ['BAD*']}\nlimits: {max: {rlimits: {openFiles: 77}}, niceAtLeast: 7}");
        host.start_pipe().await;
        let text = "echo $(ulimit -n) $(nice) [$BAD_ONE$BADTWO] [$GOOD] > $HOME/seen";
        let mut spec = with_env(script(text), "BAD_ONE", "1");
        spec = with_env(with_env(spec, "BADTWO", "2"), "GOOD", "3");
        spec.limits = Limits { rlimits: [(Rlimit::OpenFiles, 500)].into(), nice: Some(3), ..Limits::default() };
        host.client.start(&id("t"), &spec).await.unwrap();
        assert_eq!(host.ended(&id("t")).await, End::Exited { code: 0 });
        assert_eq!(fs::read_to_string(host.file("seen")).unwrap(), "77 7 [] [3]\n");
    });
}
