//! The options, in the order of sbatch's manual page.

use super::effects::{
    array, comment, constraint, cpus, dependency, directory, export, fleet, gpus, gres, hold, image, job_name, kill,
    licences, memory, memory_per_cpu, nice, no_requeue, node, one, only_nothing, priority, requeue, time, wait,
    warning,
};
use super::{Effect, Opt, Takes};
use crate::wish::Wish;

const MAIL: &str = "nobody sends mail: `kubectl cmdjob wait NAME` returns at the end";
const FILES: &str =
    "output is kept at the node: read it with `kubectl cmdjob logs NAME`, or write `exec >FILE 2>&1` into the script";
pub(super) const WHOLE: &str = "what a job may use is said by --cpus-per-task and --mem";
pub(super) const TASKS: &str =
    "a CmdJob is one process on one node: for many alike use --array, for one on each node `run --every-node`";
const BILLING: &str = "there is no accounting: who may use a node its site says, and Kubernetes' quotas";
const PLACES: &str = "name one node by --nodelist, or what its labels must be by --constraint";
const GPUS: &str = "so many graphics processors of the image's container runtime";

const fn sets(
    long: &'static str,
    short: Option<char>,
    set: fn(&mut Wish, &str) -> Result<(), String>,
    what: &'static str,
) -> Opt {
    Opt { long, short, takes: Takes::Value, effect: Effect::Sets(set, what) }
}

const fn depends(
    long: &'static str,
    short: Option<char>,
    set: fn(&mut Wish, &str) -> Result<(), String>,
    what: &'static str,
) -> Opt {
    Opt { long, short, takes: Takes::Value, effect: Effect::Depends(set, what) }
}

const fn never(long: &'static str, short: Option<char>, takes: Takes, why: &'static str) -> Opt {
    Opt { long, short, takes, effect: Effect::Never(why) }
}

const fn anyway(long: &'static str, short: Option<char>, takes: Takes, why: &'static str) -> Opt {
    Opt { long, short, takes, effect: Effect::Anyway(why) }
}

/// sbatch's options.
pub const OPTIONS: &[Opt] = &[
    never("account", Some('A'), Takes::Value, BILLING),
    sets(
        "array",
        Some('a'),
        array,
        "an Indexed job: `0-9`, `0-9%4`; the indexes must count from 0. The script finds its own in `SLURM_ARRAY_TASK_ID` and `JOB_COMPLETION_INDEX`. A task that fails fails alone",
    ),
    never("batch", None, Takes::Value, PLACES),
    never(
        "begin",
        Some('b'),
        Takes::Value,
        "a time to begin cannot be set: submit it with --hold, and `kubectl cmdjob release NAME` when it may begin",
    ),
    sets(
        "chdir",
        Some('D'),
        directory,
        "`workingDir`, an absolute path of the node's; without it, the home directory there",
    ),
    never("clusters", Some('M'), Takes::Value, "name another cluster by `--context` on the command line"),
    sets("comment", None, comment, "the annotation `kubernetes.io/description`"),
    depends(
        "constraint",
        Some('C'),
        constraint,
        "labels of the node: `KEY=VALUE`, or a word such as `cpu` for `vk-cmd.io/nodetype=cpu`; `&` between several",
    ),
    sets("container", None, image, "`image`"),
    anyway("contiguous", None, Takes::Nothing, "there is one node"),
    depends("core-spec", Some('S'), only_nothing, "`0` only"),
    sets("cpus-per-task", Some('c'), cpus, "`resources.limits.cpu`"),
    never(
        "deadline",
        None,
        Takes::Value,
        "a time of the clock cannot be set: `#CMDJOB --deadline=2h` is the longest from its submission to its end",
    ),
    sets(
        "dependency",
        Some('d'),
        dependency,
        "`after`: `afterok:NAME`, `afternotok:NAME`, `afterany:NAME`, with names of CmdJobs",
    ),
    never("distribution", Some('m'), Takes::Value, TASKS),
    never("error", Some('e'), Takes::Value, FILES),
    never("exclude", Some('x'), Takes::Value, PLACES),
    never("exclusive", None, Takes::Perhaps, WHOLE),
    depends(
        "export",
        None,
        export,
        "`env`: `NAME=VALUE`, or `NAME` for the value where you submit it; `NONE`. `ALL` is an error: the node has an environment of its own",
    ),
    never(
        "get-user-env",
        None,
        Takes::Perhaps,
        "the node's account has an environment of its own: `#!/bin/bash -l` reads its profile",
    ),
    sets("gpus", Some('G'), gpus, GPUS),
    sets("gpus-per-node", None, gpus, GPUS),
    sets("gpus-per-task", None, gpus, GPUS),
    depends("gres", None, gres, "`gpu:N`, `gpu:KIND:N`: as `--gpus`"),
    Opt {
        long: "hold",
        short: Some('H'),
        takes: Takes::Nothing,
        effect: Effect::Sets(hold, "`suspend: true`, until `kubectl cmdjob release`"),
    },
    sets("image", None, image, "`image` (NERSC's Shifter has this option)"),
    sets(
        "job-name",
        Some('J'),
        job_name,
        "the beginning of the name; five letters are added, for names are there once",
    ),
    depends("kill-on-invalid-dep", None, kill, "`yes`: so it is anyway"),
    depends("licenses", Some('L'), licences, "`NAME:N` with a name that the node counts (`example.com/licence`)"),
    never("mail-type", None, Takes::Value, MAIL),
    never("mail-user", None, Takes::Value, MAIL),
    sets("mem", None, memory, "`resources.limits.memory`: megabytes, or with `K`, `M`, `G`, `T`"),
    sets("mem-per-cpu", None, memory_per_cpu, "the same for each processor of `--cpus-per-task`"),
    never("mem-per-gpu", None, Takes::Value, WHOLE),
    sets("nice", None, nice, "`priority`, lower by so much"),
    depends("nodelist", Some('w'), node, "`target.node`: one name"),
    depends("nodes", Some('N'), one, "`1` only: a CmdJob runs on one node"),
    anyway("no-kill", Some('k'), Takes::Perhaps, "there is one node"),
    Opt {
        long: "no-requeue",
        short: None,
        takes: Takes::Nothing,
        effect: Effect::Sets(no_requeue, "so it is anyway: nothing is run twice unasked"),
    },
    depends("ntasks", Some('n'), one, "`1` only: for many alike use `--array`"),
    never("ntasks-per-core", None, Takes::Value, TASKS),
    depends("ntasks-per-node", None, one, "`1` only"),
    never("ntasks-per-socket", None, Takes::Value, TASKS),
    never("open-mode", None, Takes::Value, FILES),
    never("output", Some('o'), Takes::Value, FILES),
    anyway("oversubscribe", Some('s'), Takes::Nothing, "a node is shared"),
    Opt {
        long: "parsable",
        short: None,
        takes: Takes::Nothing,
        effect: Effect::Anyway("`-o name` on the command line prints nothing but the name"),
    },
    sets("partition", Some('p'), fleet, "`target.fleet`"),
    sets("priority", None, priority, "`priority`: -1000 to 1000"),
    never("propagate", None, Takes::Perhaps, "the limits are those of the node's account"),
    never("qos", Some('q'), Takes::Value, BILLING),
    anyway("quiet", Some('Q'), Takes::Nothing, "there is little to be quiet about"),
    Opt {
        long: "requeue",
        short: None,
        takes: Takes::Nothing,
        effect: Effect::Sets(
            requeue,
            "an attempt that ends because its node ends is followed by another (`podFailurePolicy`)",
        ),
    },
    never("reservation", None, Takes::Value, BILLING),
    sets("signal", None, warning, "the annotation `vk-cmd.io/warning-signal`: `USR1@120`"),
    never("switches", None, Takes::Value, PLACES),
    never("thread-spec", None, Takes::Value, WHOLE),
    never("threads-per-core", None, Takes::Value, WHOLE),
    sets("time", Some('t'), time, "`walltimeSeconds`: `90` (minutes), `1:30:00`, `2-12`, `UNLIMITED`"),
    never("time-min", None, Takes::Value, "a time is either long enough or it is not: give --time"),
    never("tmp", None, Takes::Value, "`#CMDJOB --resource ephemeral-storage=10Gi` asks for room on the node's disk"),
    anyway("verbose", Some('v'), Takes::Nothing, "`kubectl cmdjob explain NAME` tells all"),
    Opt { long: "wait", short: Some('W'), takes: Takes::Nothing, effect: Effect::Sets(wait, "as `run --wait`") },
    never("wckey", None, Takes::Value, BILLING),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sbatch::read;
    use crate::values::Variable;

    fn wish(line: &str) -> Wish {
        let (wish, wrong) = read(&shlex::split(line).unwrap(), &[]);
        assert_eq!(wrong, [], "{line}");
        wish
    }

    #[test]
    fn a_usual_line_of_each_kind_is_honoured() {
        let env = |name: &str, value: Option<&str>| Variable { name: name.to_owned(), value: value.map(str::to_owned) };
        assert_eq!(wish("-N 1 -n 1 --ntasks-per-node=1 -Q -s --export=NONE --gres=none --no-kill"), Wish::default());
        assert_eq!(wish("--export=A,B=c").env, [env("A", None), env("B", Some("c"))]);
        assert_eq!(wish("-G a100:2").gpus, Some(2));
        assert_eq!(wish("--nice=5").priority, Some(-5));
        assert_eq!(wish("--requeue --no-requeue").requeue, Some(false));
        assert_eq!(wish("-W -H").hold, Some(true));
        let labels = |line: &str| wish(line).place.labels.into_iter().collect::<Vec<_>>();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(labels("-C cpu"), [pair("vk-cmd.io/nodetype", "cpu")]);
        assert_eq!(labels("-C 'a=b&cpu'"), [pair("a", "b"), pair("vk-cmd.io/nodetype", "cpu")]);
        assert_eq!(wish("-L x.org/l:3").resources, BTreeMap::from([pair("x.org/l", "3")]));
    }

    #[test]
    fn what_cannot_be_says_why() {
        for (line, word) in [
            ("-N 2", "one process on one node"),
            ("--export=ALL", "environment of its own"),
            ("-C 'a|b'", "one of several"),
            ("-w vk-a,vk-b", "name one"),
            ("-p a,b", "one fleet"),
            ("--gres=nic:1", "graphics processors"),
            ("--priority=5000", "-1000 to 1000"),
            ("-L l:3", "with a domain"),
            ("-o x", "kubectl cmdjob logs"),
            ("--kill-on-invalid-dep=no", "has failed"),
        ] {
            let (_, wrong) = read(&shlex::split(line).unwrap(), &[]);
            assert!(wrong.len() == 1 && wrong[0].why.contains(word), "{line}: {wrong:?}");
        }
    }
}
