//! Where a CmdJob is not like a Job, deliberately. All of it is in docs/explanation/like-job.md too.

use std::collections::BTreeMap;

use super::sight::{ABSENT, Fields};

/// In one scenario.
pub(super) struct Difference {
    pub(super) scenario: &'static str,
    pub(super) why: &'static str,
    /// What differs: the field, what the Job says, what the CmdJob says.
    pub(super) fields: &'static [(&'static str, &'static str, &'static str)],
}

/// All that there are, besides [`KSTATUS`].
pub(super) const INTENDED: &[Difference] = &[
    Difference {
        scenario: "default-limit",
        why: "`backoffLimit` is 0 if it is left out, and not 6: a command on a host is never run twice unasked",
        fields: ENDS_AT_ONCE,
    },
    Difference {
        scenario: "unknown-end",
        why: "an attempt of which nobody knows how it ended is not run again unasked: `onUnknown: Fail`",
        fields: UNKNOWN,
    },
];

/// A job that fails for good where the other one tries again.
const ENDS_AT_ONCE: &[(&str, &str, &str)] = &[
    ("succeeded", "1", "0"),
    ("completionTime", "set", ABSENT),
    ("condition SuccessCriteriaMet", "True CompletionsReached", ABSENT),
    ("condition Complete", "True CompletionsReached", ABSENT),
    ("condition FailureTarget", ABSENT, "True BackoffLimitExceeded"),
    ("condition Failed", ABSENT, "True BackoffLimitExceeded"),
    ("pods", r#"{"Failed": 1, "Succeeded": 1}"#, r#"{"Failed": 1}"#),
    ("processes", "none none", "none"),
];

const UNKNOWN: &[(&str, &str, &str)] = &[
    ("succeeded", "1", "0"),
    ("completionTime", "set", ABSENT),
    ("condition SuccessCriteriaMet", "True CompletionsReached", ABSENT),
    ("condition Complete", "True CompletionsReached", ABSENT),
    ("condition FailureTarget", ABSENT, "True UnknownEnd"),
    ("condition Failed", ABSENT, "True UnknownEnd"),
    ("pods", r#"{"Failed": 1, "Succeeded": 1}"#, r#"{"Failed": 1}"#),
    ("processes", "none none", "none"),
];

/// A CmdJob has two conditions more, for tools that know objects by kstatus (helm, flux, argo): Stalled while it is Failed,
/// Reconciling while it is neither finished nor suspended. One that somebody else manages has none.
pub(super) const KSTATUS: [&str; 2] = ["condition Reconciling", "condition Stalled"];

/// What is wrong about the outcome of a scenario: differences that are not intended, and intended ones that are not there.
pub(super) fn problems(scenario: &str, native: &Fields, cmdjob: &Fields) -> Vec<String> {
    let mut expected = native.clone();
    if let Some((field, said)) = kstatus(cmdjob) {
        expected.insert(field.to_owned(), said);
    }
    let said = |fields: &Fields, field: &str| fields.get(field).map_or(ABSENT, String::as_str).to_owned();
    let mut problems = Vec::new();
    let intended = INTENDED.iter().filter(|intended| intended.scenario == scenario);
    for (field, of_job, of_cmdjob) in intended.flat_map(|intended| intended.fields) {
        let found = said(native, field);
        if found != *of_job {
            problems.push(format!("{field}: the Job was thought to say {of_job}, and says {found}"));
        }
        expected.insert((*field).to_owned(), (*of_cmdjob).to_owned());
    }
    let names: BTreeMap<&String, ()> = expected.keys().chain(cmdjob.keys()).map(|name| (name, ())).collect();
    for name in names.into_keys() {
        let [wanted, found] = [&expected, cmdjob].map(|fields| said(fields, name));
        if wanted != found {
            let of_job = said(native, name);
            problems.push(format!("{name}: the Job says {of_job}, the CmdJob {found}, expected of it: {wanted}"));
        }
    }
    problems
}

/// The one of [`KSTATUS`] that an object of this state must have, and what it must say.
fn kstatus(cmdjob: &Fields) -> Option<(&'static str, String)> {
    let [reconciling, stalled] = KSTATUS;
    let is_true = |kind: &str| cmdjob.get(kind).filter(|said| said.starts_with("True"));
    if let Some(failed) = is_true("condition Failed") {
        // For the same reason.
        return Some((stalled, failed.clone()));
    }
    // Whoever has taken it up has not said yet what has become of it.
    let is_on = cmdjob["startTime"] != ABSENT && is_true("condition Complete").is_none();
    let says = || cmdjob.get(reconciling).cloned().filter(|said| said.starts_with("True "));
    is_on.then(|| (reconciling, says().unwrap_or_else(|| "True and a reason".to_owned())))
}
