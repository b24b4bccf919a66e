//! The words, each in the table of the page that it is in.

/// The word; where it is met; what it means; what to do.
pub(super) type Word = [&'static str; 4];

pub(super) const ATTEMPTS: &[Word] = &[
    ["Suspended", "attempt", "the operator ended it because `spec.suspend` is true", "nothing; it does not count"],
    [
        "ScaledDown",
        "attempt",
        "the operator ended it because fewer are wanted: `parallelism` or `completions` was made smaller",
        "nothing; it does not count",
    ],
    ["DeadlineExceeded", "attempt", "the job's `activeDeadlineSeconds` were over", "give the job more time"],
];

pub(super) const PODS: &[Word] = &[
    [
        "UnsupportedPodSpec",
        "Failed",
        "the node cannot run it as it is; the message names all that it cannot do",
        "change the fields that are named: docs/reference/pod-fields.md",
    ],
    [
        "OutOf",
        "Failed",
        "`OutOfcpu`, `OutOfmemory`, `OutOfpods`, `OutOf` and another resource: the node has less of it left than is asked for",
        "a CmdJob tries again by itself. Ask for less, or go elsewhere",
    ],
    ["NodeAffinity", "Failed", "its `nodeSelector` or node affinity means other nodes", "see the node's labels"],
    [
        "OutOfWalltime",
        "Failed",
        "the node ends before it would be done",
        "a CmdJob goes elsewhere by itself. Say a shorter `walltimeSeconds`",
    ],
    [
        "NodeShutdown",
        "Failed",
        "the node was told to end, or is drained: nothing was started",
        "a CmdJob goes elsewhere by itself",
    ],
    [
        "DeniedBySitePolicy",
        "Failed",
        "the site's file does not allow it; the message names all rules",
        "ask whoever runs the site: docs/reference/site.md",
    ],
    ["DeadlineExceeded", "Failed", "it was active for longer than `activeDeadlineSeconds`", "give it more time"],
    [
        "WalltimeExceeded",
        "Failed",
        "the node's walltime, or the pod's own, was over",
        "ask for a node that lasts longer, or for more `walltimeSeconds`",
    ],
    [
        "Terminated",
        "Failed",
        "it was ended with its node, which was told to end",
        "have it run again; a CmdJob's `podFailurePolicy` can tell it by `DisruptionTarget`",
    ],
    ["Evicted", "Failed", "it used more room on disk than it may", "ask for more `ephemeral-storage`, or write less"],
    [
        "FailedKillPod",
        "any",
        "some of its processes were killed and do not end; the message names them",
        "see `lingering` in docs/reference/limits.md; a file server that does not answer, often",
    ],
];

pub(super) const WAITING: &[Word] = &[
    [
        "ContainerCreating",
        "waiting",
        "it has not been started yet; with a message: a volume cannot be made yet, and why",
        "nothing, or make what the message names",
    ],
    ["PodInitializing", "waiting", "the init containers before it have not ended", "nothing"],
    [
        "CreateContainerConfigError",
        "waiting",
        "a ConfigMap, a Secret or a key of it that its variables need is missing",
        "make what the message names: it is tried again every 5 s",
    ],
    [
        "CreateContainerError",
        "waiting",
        "the pipe could not take it: no room on disk, say",
        "see the message; it is tried again every 5 s",
    ],
    [
        "CrashLoopBackOff",
        "waiting",
        "it is to be run again, after a pause",
        "see its last run: `kubectl logs --previous`",
    ],
];

pub(super) const ENDED: &[Word] = &[
    ["Completed", "terminated", "exit code 0", "nothing"],
    [
        "Error",
        "terminated",
        "another exit code, or a signal, which the message names; or it was ended because a probe failed",
        "see its log",
    ],
    ["OOMKilled", "terminated", "it went past its memory limit", "ask for more memory"],
    ["WalltimeExceeded", "terminated", "it went past its walltime, the site's, or its node's", "ask for more time"],
    [
        "TooManyProcesses",
        "terminated",
        "it went past the site's limit of processes",
        "start fewer, or ask the site: docs/reference/limits.md",
    ],
    ["OutputLimitExceeded", "terminated", "it wrote more than the site lets it", "write to a file, or ask the site"],
    ["DefinitionChanged", "terminated", "it was ended to be run again with another image", "nothing"],
    [
        "CommandNotFound",
        "terminated",
        "there is no such program: 127",
        "see the message: is it on this machine, and on the pipe's `PATH`?",
    ],
    [
        "CommandNotExecutable",
        "terminated",
        "it is there and cannot be executed: 126",
        "chmod +x it, or name its interpreter",
    ],
    [
        "WorkingDirectoryError",
        "terminated",
        "its directory is not there or cannot be entered: 126",
        "make it, or name another",
    ],
    ["StartError", "terminated", "something else kept it from starting; the message says what", "see the message"],
    ["StoppedBeforeStart", "terminated", "it was ended before it was started", "nothing"],
    [
        "ContainerStatusUnknown",
        "terminated",
        "it ran, and nobody saw its end: 137",
        "look at the machine what it has done",
    ],
];

pub(super) const POD_CONDITIONS: &[Word] = &[
    ["PodScheduled", "condition", "it is bound to the node", ""],
    ["PodReadyToStartContainers", "condition", "the node has its directories and volumes", ""],
    ["Initialized", "condition", "its init containers have ended", ""],
    ["ContainersReady", "condition", "all of its containers are ready", ""],
    ["Ready", "condition", "it is ready, its readiness gates too", ""],
    [
        "DisruptionTarget",
        "condition",
        "it was ended for something that is not its own: its node ended, or it was evicted",
        "",
    ],
    ["PodResizePending", "condition", "new resources hold from a container's next run on", ""],
    ["PodCompleted", "reason", "all has ended well: what was ready is no more", ""],
    ["PodFailed", "reason", "it has failed", ""],
    [
        "ContainersNotInitialized",
        "reason",
        "of `Initialized`: the message names the init containers that have not ended",
        "",
    ],
    ["ContainersNotReady", "reason", "of `Ready`, `ContainersReady`: the message names them", ""],
    ["ReadinessGatesNotReady", "reason", "of `Ready`: a readiness gate is not true", ""],
    ["TerminationByKubelet", "reason", "of `DisruptionTarget`: the node has ended it", ""],
    ["Deferred", "reason", "of `PodResizePending`", ""],
];

pub(super) const NODES: &[Word] = &[
    ["KubeletReady", "Ready=True", "the node runs pods", "nothing"],
    [
        "PipeUnreachable",
        "Ready=False, vk-cmd.io/PipeReady=False",
        "the pipe does not answer: nothing can be started or stopped",
        "at the site: `vk-node doctor`; where the node is in a container, `vk-node pipe` on the host",
    ],
    [
        "PodsRefused",
        "Ready=False",
        "the API server does not let the node see its pods",
        "give the node its own credentials: docs/explanation/identity.md",
    ],
    ["NodeShutdown", "Ready=False", "it was told to end, and what runs goes on; or it has ended", "start it again"],
    ["PipeReachable", "vk-cmd.io/PipeReady=True", "the message says what is in force on the host", "nothing"],
    ["PipeTellsNothing", "…Pressure=Unknown", "the pipe has not told yet what is used", "nothing"],
    [
        "KubeletHasInsufficientMemory",
        "MemoryPressure=True",
        "less memory is available than `pressure` wants",
        "nothing is placed there; end something, or change `pressure`",
    ],
    ["KubeletHasSufficientMemory", "MemoryPressure=False", "there is enough", "nothing"],
    [
        "KubeletHasDiskPressure",
        "DiskPressure=True",
        "less room on disk, or fewer inodes, than `pressure` wants",
        "make room; nothing is placed there",
    ],
    ["KubeletHasNoDiskPressure", "DiskPressure=False", "there is enough", "nothing"],
    [
        "KubeletHasInsufficientPID",
        "PIDPressure=True",
        "fewer processes can be started than `pressure` wants",
        "end some; nothing is placed there",
    ],
    ["KubeletHasSufficientPID", "PIDPressure=False", "there are enough", "nothing"],
    ["NoEndKnown", "vk-cmd.io/Ending=False", "nobody says when the node ends", "nothing"],
    ["WalltimeLasts", "vk-cmd.io/Ending=False", "its end is known, and not near", "nothing"],
    [
        "WalltimeNearlyOver",
        "vk-cmd.io/Ending=True",
        "its end is near: nothing is placed there",
        "nothing: docs/explanation/walltime.md",
    ],
    ["Signalled", "vk-cmd.io/Ending=True", "it was told to end", "nothing"],
    ["Preempted", "vk-cmd.io/Ending=True", "its batch job was preempted", "nothing"],
    ["Drained", "vk-cmd.io/Ending=True", "its site has drained it", "`vk-node drain --undo` at the site"],
    [
        "NodeListens",
        "vk-cmd.io/Reachable=True",
        "it listens at its own address; whether the API server gets there it cannot tell",
        "nothing",
    ],
    ["RelayConnected", "vk-cmd.io/Reachable=True", "it is reached by a relay", "nothing"],
    ["TunnelListens", "vk-cmd.io/Reachable=True", "it is reached by a tunnel", "nothing"],
    ["RelayNotReachedYet", "vk-cmd.io/Reachable=Unknown", "no relay has let it in yet", "nothing, at first"],
    ["TunnelNotUpYet", "vk-cmd.io/Reachable=Unknown", "the tunnel is not up yet", "nothing, at first"],
    [
        "NoRelay",
        "vk-cmd.io/Reachable=False",
        "no relay lets it in; the message says why. Pods run all the same, logs and exec do not come through",
        "docs/how-to/relay.md",
    ],
    [
        "TunnelPortRefused",
        "vk-cmd.io/Reachable=False",
        "the far end does not give the tunnel its port",
        "docs/how-to/tunnel.md",
    ],
    [
        "TunnelListensElsewhere",
        "vk-cmd.io/Reachable=False",
        "the far end listens on its loopback only",
        "`GatewayPorts` there: docs/how-to/tunnel.md",
    ],
];

pub(super) const EVENTS: &[Word] = &[
    ["SuccessfulCreate", "CmdJob", "a pod was made", ""],
    ["SuccessfulDelete", "CmdJob", "a pod was deleted", ""],
    [
        "FailedCreate",
        "CmdJob",
        "the API server did not take a pod, or another's pod has its name; the reason in the status says which",
        "",
    ],
    ["Suspended", "CmdJob", "it is suspended, and nothing of it runs", ""],
    ["Resumed", "CmdJob", "it goes on", ""],
    ["Completed", "CmdJob", "it is complete", ""],
    ["Starting", "Node", "vk-node has started", ""],
    ["NodeReady", "Node", "it is ready", ""],
    ["NodeNotReady", "Node", "it is not", ""],
    ["NodeHasInsufficientMemory", "Node", "`MemoryPressure` has begun", ""],
    ["NodeHasSufficientMemory", "Node", "and has ended", ""],
    ["NodeHasDiskPressure", "Node", "`DiskPressure` has begun", ""],
    ["NodeHasNoDiskPressure", "Node", "and has ended", ""],
    ["NodeHasInsufficientPID", "Node", "`PIDPressure` has begun", ""],
    ["NodeHasSufficientPID", "Node", "and has ended", ""],
    ["NodeEnding", "Node, pod", "the node's end is near; of a pod: a container was warned of it", ""],
    ["NodeNotEnding", "Node", "it is not any more", ""],
    ["NodeNotReachable", "Node", "the API server does not reach it for logs and exec; the message says why", ""],
    ["NodeReachable", "Node", "it does again", ""],
    ["Started", "pod", "a container was started", ""],
    ["Killing", "pod", "a container is being ended; the message says why", ""],
    ["Failed", "pod", "a container could not be started; the message says why", ""],
    ["BackOff", "pod", "a container is run again after a pause", ""],
    ["Unhealthy", "pod", "a probe has failed", ""],
    ["ProbeWarning", "pod", "a probe has something to say", ""],
    ["FailedPostStartHook", "pod", "the hook has failed, and the container is ended", ""],
    ["FailedPreStopHook", "pod", "the hook has failed; the container is ended all the same", ""],
    ["FailedMount", "pod", "a volume cannot be made yet; the message says why", ""],
];
