//! A CmdJob does what a native Job does: the same scenario is played with each of them, on the same node, by the real Job
//! controller and by vk-operator, and comes to the same end. Where it does not, that is listed and intended.

mod counts;
mod differences;
mod life;
mod policies;
mod scenario;
mod side;
mod sight;
mod stage;

use std::collections::BTreeSet;

use futures::future::join_all;

use self::differences::Difference;
use self::scenario::Scenario;
use self::side::Side;
use self::stage::Stage;

/// Plays all of them side by side.
async fn play(stage: &str, scenarios: Vec<Scenario>) {
    let stage = Stage::new(stage).await;
    let problems = join_all(scenarios.iter().map(|scenario| compared(&stage, scenario))).await;
    let problems: Vec<String> = problems.into_iter().flatten().collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Plays one scenario on both sides.
async fn compared(stage: &Stage, scenario: &Scenario) -> Vec<String> {
    let [native, cmdjob] = Side::ALL.map(|side| Box::pin(stage.play(scenario, side)));
    let problems = match tokio::join!(native, cmdjob) {
        (Ok(native), Ok(cmdjob)) => differences::problems(&scenario.name, &native.fields(), &cmdjob.fields()),
        (native, cmdjob) => {
            let sides = [(Side::Native, native.err()), (Side::CmdJob, cmdjob.err())];
            sides.into_iter().filter_map(|(side, error)| Some(format!("{}: {:#}", side.word(), error?))).collect()
        }
    };
    problems.into_iter().map(|problem| format!("{}: {problem}", scenario.name)).collect()
}

#[tokio::test]
async fn counts_are_those_of_a_job() {
    play("like-job-counts", counts::scenarios()).await;
}

#[tokio::test]
async fn policies_do_what_they_do_to_a_job() {
    play("like-job-policies", policies::scenarios()).await;
}

#[tokio::test]
async fn a_life_goes_as_that_of_a_job() {
    play("like-job-life", life::scenarios()).await;
}

/// The rows of docs/explanation/like-job.md: all scenarios, and all differences.
fn rows() -> Vec<String> {
    let scenarios = [counts::scenarios(), policies::scenarios(), life::scenarios()];
    let of_scenario = |scenario: &Scenario| format!("| `{}` | {} |", scenario.name, scenario.shows);
    let of_difference = |difference: &Difference| {
        let fields = difference.fields.iter();
        let fields: Vec<_> = fields.map(|(field, native, cmdjob)| format!("{field}: {native} → {cmdjob}")).collect();
        format!("| `{}` | {} | {} |", difference.scenario, difference.why, fields.join("; "))
    };
    differences::INTENDED.iter().map(of_difference).chain(scenarios.iter().flatten().map(of_scenario)).collect()
}

#[test]
fn the_document_lists_all_scenarios_and_differences() {
    const DOCUMENT: &str = include_str!("../../../../docs/explanation/like-job.md");
    let rows = rows();
    let written: Vec<&str> = DOCUMENT.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(written == rows, "the rows of docs/explanation/like-job.md are to be:\n{}", rows.join("\n"));
    let names: BTreeSet<&str> = rows.iter().map(String::as_str).collect();
    assert_eq!(names.len(), rows.len(), "a scenario has two rows");
    for condition in differences::KSTATUS {
        assert!(DOCUMENT.contains(condition.trim_start_matches("condition ")), "{condition}");
    }
}
