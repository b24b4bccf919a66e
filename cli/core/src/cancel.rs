//! `cancel`: when a job is gone, and what is said until then.

use vk_cmd_crds::CmdJob;

use crate::plain;

/// Whether the job of this UID is gone: there is none of its name any more, or there is another.
#[must_use]
pub fn is_gone(uid: Option<&str>, now: Option<&CmdJob>) -> bool {
    now.is_none_or(|job| uid.is_some() && job.metadata.uid.as_deref() != uid)
}

/// What is waited for.
#[must_use]
pub fn waits_for(job: &CmdJob) -> String {
    let status = job.status.clone().unwrap_or_default();
    let open: Vec<&str> =
        status.attempts.iter().filter(|attempt| !attempt.state.is_final()).map(|attempt| &*attempt.node).collect();
    match open.as_slice() {
        [] => format!("{}: it is being removed", plain::name(job)),
        [node] => format!("{}: its process on {node} is being ended", plain::name(job)),
        nodes => format!("{}: its processes on {} nodes are being ended", plain::name(job), nodes.len()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plain::tests::job;

    #[test]
    fn another_of_its_name_is_not_it() {
        let there = job("a", &json!({}), &json!(null));
        assert!(is_gone(Some("u1"), None) && is_gone(None, None));
        assert!(!is_gone(Some("u1"), Some(&there)) && !is_gone(None, Some(&there)));
        assert!(is_gone(Some("u0"), Some(&there)));
    }

    #[test]
    fn it_says_where_what_is_ended() {
        let attempt = |node: &str, state: &str| json!({"index": 0, "attempt": 0, "pod": "p", "podUid": "u", "node": node, "state": state});
        let of = |attempts: &[serde_json::Value]| waits_for(&job("a", &json!({}), &json!({"attempts": attempts})));
        assert_eq!(of(&[attempt("vk-a", "Failed")]), "a: it is being removed");
        assert_eq!(of(&[attempt("vk-a", "Running")]), "a: its process on vk-a is being ended");
        let two = [attempt("vk-a", "Running"), attempt("vk-b", "Stopping")];
        assert_eq!(of(&two), "a: its processes on 2 nodes are being ended");
    }
}
