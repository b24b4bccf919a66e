//! Every command in a pipe, for people and for programs, with and without what it asks.

use crate::support::{FAILED, FINE, Machine, NO, UNREACHABLE, USAGE};

/// A command, its exit code on a machine where nothing runs, and where a pipe and a node without an API server do.
type Form = (&'static [&'static str], i32, i32);

const FORMS: &[Form] = &[
    (&["status"], UNREACHABLE, NO),
    (&["jobs"], UNREACHABLE, FINE),
    (&["jobs", "--all"], UNREACHABLE, FINE),
    (&["drain", "--no-wait"], UNREACHABLE, FINE),
    (&["drain", "--undo"], UNREACHABLE, FINE),
    (&["config", "validate", "--node-name", "vk-a"], FINE, FINE),
    (&["config", "validate", "--node-name", "vk-a", "--relay", "r:1"], NO, NO),
    (&["config", "show", "--node-name", "vk-a"], FINE, FINE),
    (&["config", "diff", "--node-name", "vk-a", "--against", "defaults"], NO, NO),
    (&["config", "diff", "--node-name", "vk-a"], UNREACHABLE, NO),
    (&["doctor", "--node-name", "vk-a", "--timeout", "0.5"], NO, NO),
    (&["service"], FINE, FINE),
    (&["init", "--profile", "workstation", "--node-name", "vk-a", "--dry-run"], FINE, FINE),
    (&["support-bundle", "--file", "/nonexistent/x.tar.gz"], FAILED, FAILED),
    (&["join", "--offline"], FAILED, FAILED),
    // Last: it ends what it asks.
    (&["stop"], UNREACHABLE, FINE),
];

fn each(machine: &Machine, code: impl Fn(&Form) -> i32) {
    for form in FORMS {
        let arguments = form.0;
        if arguments == ["stop"] {
            continue;
        }
        let text = machine.says(arguments).with(code(form));
        assert!(!text.out.contains('\u{1b}') && !text.err.contains('\u{1b}'), "no colours in a pipe: {text:?}");
        if code(form) == FINE {
            assert!(!text.out.is_empty(), "{text:?}");
        }
        let json = machine.says(&[arguments, &["-o", "json"]].concat()).with(code(form));
        let value = json.json();
        assert!(value.is_object(), "{json:?}");
        // A command that could not be done says so in its form too.
        let failed = matches!(code(form), FAILED) || (code(form) == UNREACHABLE && arguments != ["status"]);
        assert_eq!(value.get("error").is_some(), failed, "{json:?}");
        assert_eq!(failed, json.err.starts_with("vk-node: "), "{json:?}");
    }
}

#[test]
fn every_command_answers_in_its_form_where_nothing_runs() {
    each(&Machine::new(), |form| form.1);
}

#[test]
fn every_command_answers_in_its_form_where_a_node_runs() {
    let mut machine = Machine::new();
    machine.start_pipe();
    machine.start_node(&["--node-name", "vk-a"]);
    each(&machine, |form| form.2);
    let stopped = machine.says(&["stop", "--keep-jobs", "-o", "json"]).with(FINE).json();
    assert_eq!(stopped["stopped"], true);
}

#[test]
fn a_command_line_that_makes_no_sense_is_2() {
    let machine = Machine::new();
    for arguments in [
        &["stats"][..],
        &["status", "-o", "yaml"],
        &["logs"],
        &["init"],
        &["init", "--profile", "perlmuter"],
        &["drain", "--undo", "--no-wait"],
        &["doctor", "--timeout", "0"],
        &["config"],
        &["--log", "vk_node=loud", "status"],
    ] {
        machine.says(arguments).with(USAGE);
    }
}

/// Whoever has read enough is no reason for an error.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let machine = Machine::new();
    let mut command = machine.command(&["config", "show", "--node-name", "vk-a"]);
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
