use proptest::prelude::*;

use super::*;
use crate::values::{Array, Variable};

fn script() -> What {
    What::Script { name: "dir/My Script.v2.sh".to_owned(), text: "hostname\n".to_owned(), arguments: vec![] }
}

fn at(node: &str) -> Wish {
    Wish { place: Place { node: Some(node.to_owned()), ..Place::default() }, ..Wish::default() }
}

fn built(wish: &Wish) -> Result<Value, Vec<String>> {
    let here = BTreeMap::from([("SET".to_owned(), "a$b".to_owned())]);
    build(wish, &script(), &name(wish, &script(), "x2b4z"), &here).map(|job| json!(job))
}

#[test]
fn names_are_made_of_what_is_run() {
    let of = |wish: &Wish, what: &What| name(wish, what, "x2b4z");
    let made_up = |text: &str| Name { text: text.to_owned(), is_made_up: true };
    assert_eq!(of(&Wish::default(), &script()), made_up("my-script-x2b4z"));
    assert_eq!(of(&Wish::default(), &What::Command(vec!["/usr/bin/env".to_owned()])), made_up("env-x2b4z"));
    assert_eq!(of(&Wish::default(), &What::Command(vec!["...".to_owned()])), made_up("job-x2b4z"));
    let base = Wish { base: Some("Fit (β=3)".to_owned()), ..Wish::default() };
    assert_eq!(of(&base, &script()), made_up("fit-3-x2b4z"));
    let exact = Wish { name: Some("exact".to_owned()), ..base };
    assert_eq!(of(&exact, &script()), Name { text: "exact".to_owned(), is_made_up: false });
}

#[test]
fn a_script_on_a_node_is_a_cmdjob() {
    let job = built(&at("vk-a")).unwrap();
    assert_eq!(job["metadata"], json!({"name": "my-script-x2b4z"}));
    assert_eq!((&job["spec"]["target"], &job["spec"]["script"]), (&json!({"node": "vk-a"}), &json!("hostname\n")));
    assert_eq!(job["spec"].get("env"), None);
    assert_eq!(job["spec"].get("resources"), None);
}

#[test]
fn a_fleet_with_labels_is_labels() {
    let labels = BTreeMap::from([("vk-cmd.io/nodetype".to_owned(), "cpu".to_owned())]);
    let place = Place { node: None, fleet: Some("perlmutter".to_owned()), labels };
    let job = built(&Wish { place, ..Wish::default() }).unwrap();
    let expected = json!({"nodeSelector": {"vk-cmd.io/fleet": "perlmutter", "vk-cmd.io/nodetype": "cpu"}});
    assert_eq!(job["spec"]["target"], expected);
}

#[test]
fn an_array_is_an_indexed_job_whose_tasks_fail_alone() {
    let array = Some(Array { tasks: 10, at_a_time: Some(4) });
    let spec = &built(&Wish { array, ..at("vk-a") }).unwrap()["spec"];
    let of = |field: &str| spec[field].clone();
    assert_eq!((of("completions"), of("parallelism"), of("completionMode")), (json!(10), json!(4), json!("Indexed")));
    assert_eq!(of("backoffLimitPerIndex"), json!(0));
    assert_eq!(spec["env"][0]["name"], "SLURM_ARRAY_TASK_ID");
    let again = &built(&Wish { array, retries: Some(2), ..at("vk-a") }).unwrap()["spec"];
    assert_eq!((&again["backoffLimitPerIndex"], again.get("backoffLimit")), (&json!(2), None));
}

#[test]
fn everything_that_is_wanted_is_in_it() {
    let wish = Wish {
        cpus: Some("4".to_owned()),
        memory: Some(Memory::PerCpu(1 << 30)),
        gpus: Some(2),
        walltime: Some(Some(90)),
        hold: Some(true),
        requeue: Some(true),
        warning: Some("USR1@60".to_owned()),
        comment: Some("a test".to_owned()),
        env: vec![
            Variable { name: "SET".to_owned(), value: None },
            Variable { name: "B".to_owned(), value: Some("c".to_owned()) },
        ],
        ..at("vk-a")
    };
    let job = built(&wish).unwrap();
    let limits = json!({"cpu": "4", "memory": "4Gi", "nvidia.com/gpu": "2"});
    assert_eq!(job["spec"]["resources"], json!({"limits": limits}));
    assert_eq!((&job["spec"]["walltimeSeconds"], &job["spec"]["suspend"]), (&json!(90), &json!(true)));
    assert_eq!(job["spec"]["podFailurePolicy"]["rules"][0]["action"], "Ignore");
    let notes = json!({"vk-cmd.io/warning-signal": "USR1@60", "kubernetes.io/description": "a test"});
    assert_eq!(job["metadata"]["annotations"], notes);
    assert_eq!(job["spec"]["env"], json!([{"name": "SET", "value": "a$$b"}, {"name": "B", "value": "c"}]));
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let wish = Wish {
        name: Some("Wrong_Name".to_owned()),
        directory: Some("here".to_owned()),
        env: vec![Variable { name: "UNSET".to_owned(), value: None }],
        memory: Some(Memory::PerCpu(1)),
        cpus: Some("500m".to_owned()),
        every_node: Some(true),
        array: Some(Array { tasks: 1, at_a_time: None }),
        ..Wish::default()
    };
    let problems = built(&wish).unwrap_err();
    for word in
        ["where shall it run", "UNSET", "whole number of processors", "not absolute", "--every-node", "Wrong_Name"]
    {
        assert!(problems.iter().any(|problem| problem.contains(word)), "{word}: {problems:?}");
    }
    assert_eq!(problems.len(), 6, "{problems:?}");
}

proptest! {
    #[test]
    fn any_text_begins_a_name(base: String, suffix in "[b-z2-9]{5}") {
        let wish = Wish { base: Some(base), ..Wish::default() };
        let name = name(&wish, &script(), &suffix);
        prop_assert_eq!(checked(&name.text), Ok(()));
        prop_assert!(!name.text.contains('.'));
    }
}
