//! The kinds of jobs in a load: what each runs, and what is done to it meanwhile.

#![expect(clippy::wildcard_enum_match_arm, reason = "there are forty kinds, and few of them are special")]

use std::path::Path;

use kube::api::PropagationPolicy;
use serde_json::{Value, json};
use strum::{Display, VariantArray};
use vk_cmd_crds::labels;

/// The label by which the nodes of a load are told apart.
pub(super) const PLACE: &str = "example.org/place";

/// A kind of job. How each ends is in [`super::ends`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Display, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub(super) enum Kind {
    Succeeds,
    Fails,
    Killed,
    Retried,
    UsesUp,
    Several,
    Queue,
    Indexed,
    Narrowed,
    IndexFails,
    IndexRetried,
    MaxFailedIndexes,
    FailJob,
    Ignored,
    FailIndex,
    SuccessPolicy,
    Resumed,
    Paused,
    PausedIndexes,
    Suspended,
    Ttl,
    TtlFailed,
    AfterComplete,
    AfterFailed,
    AfterFinished,
    AfterNever,
    Fleet,
    EveryNode,
    EveryNodeFails,
    Selector,
    DeletedBackground,
    DeletedForeground,
    DeletedOrphan,
    DeletedSuspended,
    Deadline,
    DeadlineWaiting,
    Unknown,
    UnknownRetried,
    PodDeleted,
    PodDeletedAtOnce,
    PodDeletedRetried,
    PodDeletedOfIndexes,
}

/// What is done to a job by hand.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Its spec is changed.
    Change(Value),
    /// Its pods are deleted.
    DeletePods { at_once: bool },
    /// It is deleted.
    Delete(PropagationPolicy),
}

/// Where a load runs.
pub(super) struct Place<'a> {
    /// Where its processes leave their notes.
    pub(super) notes: &'a Path,
    /// Its nodes; all are of the fleet that is called like the first one.
    pub(super) nodes: &'a [String],
}

impl Place<'_> {
    /// The fleet of all nodes.
    pub(super) fn fleet(&self) -> &str {
        &self.nodes[0]
    }
}

/// What every process does: it notes that attempt A of index I of job J has begun, in a file that nobody else makes; who finds
/// it there has run twice. What follows may end it in any way; `end` notes that it has come to the end of its script.
const PRELUDE: &str = r#"
note() { (set -C; echo "$NODE $POD" > "$NOTES/$J.$I.$A.$1") 2>/dev/null || echo "$J.$I.$A.$1 $NODE $POD" >> "$NOTES/twice"; }
end() { note end; exit 0; }
note begin
"#;

impl Kind {
    /// Its spec. `others`: the name of the last job of a kind.
    pub(super) fn spec(self, place: &Place<'_>, node: &str, others: &dyn Fn(Self) -> String) -> Value {
        let (script, spec) = self.work();
        let mut spec: Value = serde_yaml_ng::from_str(&format!("{{{spec}}}")).unwrap();
        spec["script"] = json!(format!("{PRELUDE}{script}"));
        spec["target"] = self.target(place, node);
        if let Some((other, when)) = self.after() {
            spec["after"] = json!([{"name": others(other), "when": when}]);
        }
        let of_pod = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let label = |name: &str, label: &str| of_pod(name, &format!("metadata.labels['{label}']"));
        spec["env"] = json!([
            {"name": "NOTES", "value": place.notes},
            label("J", labels::JOB_UID),
            label("I", labels::INDEX),
            label("A", labels::ATTEMPT),
            of_pod("POD", "metadata.uid"),
            of_pod("NODE", "spec.nodeName"),
        ]);
        spec
    }

    fn target(self, place: &Place<'_>, node: &str) -> Value {
        match self {
            Self::Fleet | Self::EveryNode | Self::EveryNodeFails | Self::Narrowed => json!({"fleet": place.fleet()}),
            Self::Selector => json!({"nodeSelector": {labels::FLEET: place.fleet(), PLACE: "1"}}),
            Self::DeadlineWaiting => json!({"node": format!("{}-nowhere", place.fleet())}),
            _ => json!({"node": node}),
        }
    }

    /// What it waits for.
    fn after(self) -> Option<(Self, &'static str)> {
        Some(match self {
            Self::AfterComplete => (Self::Succeeds, "Complete"),
            Self::AfterFailed => (Self::Fails, "Failed"),
            Self::AfterFinished => (Self::Fails, "Finished"),
            Self::AfterNever => (Self::Fails, "Complete"),
            _ => return None,
        })
    }

    /// What its processes do, and what else is in its spec.
    fn work(self) -> (&'static str, &'static str) {
        match self {
            Self::Succeeds | Self::AfterComplete | Self::AfterFailed | Self::AfterFinished | Self::AfterNever => {
                ("end", "")
            }
            Self::Selector => ("end", ""),
            Self::Fails => ("exit 3", ""),
            Self::Killed => ("kill -KILL $$", ""),
            Self::Retried => ("[ $A = 0 ] && exit 5; end", "backoffLimit: 2"),
            Self::UsesUp => ("exit 6", "backoffLimit: 1"),
            Self::Several => ("sleep 0.2; end", "completions: 3, parallelism: 3"),
            Self::Fleet => ("sleep 0.2; end", "completions: 4, parallelism: 2"),
            Self::Queue => ("sleep 0.2; end", "parallelism: 2"),
            Self::Indexed => ("end", "completionMode: Indexed, completions: 4, parallelism: 2"),
            Self::Narrowed => ("sleep 1; end", "completionMode: Indexed, completions: 4, parallelism: 4"),
            Self::IndexFails => (
                "[ $I = 2 ] && exit 4; end",
                "completionMode: Indexed, completions: 4, parallelism: 2, backoffLimitPerIndex: 0",
            ),
            Self::IndexRetried => (
                "[ $I = 2 ] && exit 4; [ $I = 1 ] && [ $A = 0 ] && exit 5; end",
                "completionMode: Indexed, completions: 3, parallelism: 3, backoffLimitPerIndex: 1",
            ),
            Self::MaxFailedIndexes => (
                "exit 4",
                "completionMode: Indexed, completions: 3, parallelism: 1, backoffLimitPerIndex: 0, maxFailedIndexes: 0",
            ),
            Self::FailJob => (
                "exit 42",
                "backoffLimit: 3, podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {operator: In, values: [42]}}]}",
            ),
            Self::Ignored => (
                "[ $A = 0 ] && exit 42; end",
                "podFailurePolicy: {rules: [{action: Ignore, onExitCodes: {operator: In, values: [42]}}]}",
            ),
            Self::FailIndex => (
                "[ $I = 1 ] && exit 42; end",
                "completionMode: Indexed, completions: 3, parallelism: 2, backoffLimitPerIndex: 2, podFailurePolicy: {rules: \
                 [{action: FailIndex, onExitCodes: {operator: In, values: [42]}}]}",
            ),
            Self::SuccessPolicy => (
                "[ $I = 0 ] && end; sleep 1000; end",
                "completionMode: Indexed, completions: 3, parallelism: 3, successPolicy: {rules: [{succeededIndexes: '0'}]}",
            ),
            Self::Resumed => ("end", "suspend: true"),
            Self::Paused => ("sleep 2; end", ""),
            Self::PausedIndexes => ("sleep 1; end", "completionMode: Indexed, completions: 3, parallelism: 2"),
            Self::Suspended => ("sleep 1000; end", ""),
            Self::Ttl => ("end", "ttlSecondsAfterFinished: 1"),
            Self::TtlFailed => ("exit 3", "ttlSecondsAfterFinished: 0"),
            Self::EveryNode => ("end", "everyNode: true"),
            Self::EveryNodeFails => ("[ $I = 1 ] && exit 4; end", "everyNode: true, backoffLimitPerIndex: 0"),
            Self::DeletedBackground | Self::DeletedForeground | Self::DeletedOrphan => ("sleep 2; end", ""),
            Self::DeletedSuspended => ("end", "suspend: true"),
            Self::Deadline => ("sleep 1000; end", "activeDeadlineSeconds: 2"),
            Self::DeadlineWaiting => ("end", "activeDeadlineSeconds: 2"),
            Self::Unknown => ("kill -KILL $PPID; exit 0", ""),
            Self::UnknownRetried => {
                ("[ $A = 0 ] && kill -KILL $PPID && exit 0; end", "onUnknown: Retry, backoffLimit: 1")
            }
            Self::PodDeleted | Self::PodDeletedAtOnce => ("sleep 2; end", ""),
            Self::PodDeletedRetried => ("sleep 2; end", "backoffLimit: 1"),
            Self::PodDeletedOfIndexes => {
                ("sleep 2; end", "completionMode: Indexed, completions: 3, parallelism: 2, backoffLimitPerIndex: 1")
            }
        }
    }

    /// What is done to it meanwhile, in this order.
    pub(super) fn acts(self) -> Vec<Act> {
        let suspend = |suspend: bool| Act::Change(json!({"suspend": suspend}));
        match self {
            Self::Resumed => vec![suspend(false)],
            Self::Paused | Self::PausedIndexes => vec![suspend(true), suspend(false)],
            Self::Suspended => vec![suspend(true)],
            Self::Narrowed => vec![Act::Change(json!({"parallelism": 1}))],
            Self::DeletedBackground | Self::DeletedSuspended => vec![Act::Delete(PropagationPolicy::Background)],
            Self::DeletedForeground => vec![Act::Delete(PropagationPolicy::Foreground)],
            Self::DeletedOrphan => vec![Act::Delete(PropagationPolicy::Orphan)],
            Self::PodDeleted | Self::PodDeletedRetried | Self::PodDeletedOfIndexes => {
                vec![Act::DeletePods { at_once: false }]
            }
            Self::PodDeletedAtOnce => vec![Act::DeletePods { at_once: true }],
            _ => Vec::new(),
        }
    }
}
