//! The flags that say what a job is: of `run`, and of `#CMDJOB` lines.

use clap::{ArgAction, Args};

use crate::sbatch;
use crate::values;
use crate::wish::{Memory, Place, Wish};

/// What a job is. Where sbatch has such an option, it has the same name and letter here.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "The job", args_override_self = true)]
pub struct JobFlags {
    /// Its name, exactly. Without it one is made of --job-name, or of what is run.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// What its name begins with; five letters are added.
    #[arg(long, short = 'J', value_name = "TEXT")]
    pub job_name: Option<String>,

    /// The node to run on.
    #[arg(long, short = 'w', visible_alias = "nodelist", value_name = "vk-NAME")]
    pub node: Option<String>,

    /// The fleet to run in: on the node of it that is the least used.
    #[arg(long, short = 'p', visible_alias = "partition", value_name = "NAME")]
    pub fleet: Option<String>,

    /// Labels that the node must have: KEY=VALUE, or a word such as cpu for vk-cmd.io/nodetype=cpu; & between several.
    #[arg(long, short = 'C', visible_alias = "node-selector", value_name = "LABELS")]
    pub constraint: Vec<String>,

    /// One attempt on each node of the fleet or of the labels.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set, value_name = "BOOL")]
    pub every_node: Option<bool>,

    /// A container image to run it in, by the site's own container runtime.
    #[arg(long, visible_alias = "container", value_name = "IMAGE")]
    pub image: Option<String>,

    /// What runs the script, if its #! line is not to say it.
    #[arg(long, value_name = "PATH")]
    pub shell: Option<String>,

    /// The directory to run in, an absolute path of the node's. Without it: the home directory there.
    #[arg(long, short = 'D', visible_alias = "workdir", value_name = "PATH")]
    pub chdir: Option<String>,

    /// A variable: NAME=VALUE, or NAME for the value that it has here. May be repeated.
    #[arg(long, visible_alias = "export", value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,

    /// Processors: 4, or 500m for half of one.
    #[arg(long, short = 'c', visible_alias = "cpus-per-task", value_name = "N")]
    pub cpus: Option<String>,

    /// Memory: 4G; a plain number is megabytes.
    #[arg(long, value_name = "SIZE")]
    pub mem: Option<String>,

    /// Graphics processors, for an image.
    #[arg(long, short = 'G', value_name = "N")]
    pub gpus: Option<String>,

    /// Another resource that its node counts: example.com/licence=3. May be repeated.
    #[arg(long, value_name = "NAME=N")]
    pub resource: Vec<String>,

    /// The longest that an attempt may take: minutes, hours:minutes:seconds, days-hours, 1h30m or UNLIMITED.
    #[arg(long, short = 't', value_name = "TIME")]
    pub time: Option<String>,

    /// An array of tasks: 0-9, or 0-9%4 for four at a time.
    #[arg(long, short = 'a', value_name = "TASKS")]
    pub array: Option<String>,

    /// What it waits for: afterok:NAME, afternotok:NAME, afterany:NAME, with commas between several.
    #[arg(long, short = 'd', visible_alias = "after", value_name = "LIST")]
    pub dependency: Option<String>,

    /// Of two jobs of a namespace that wait, the one with the higher number starts first.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1000..=1000))]
    pub priority: Option<i32>,

    /// Start nothing until `kubectl cmdjob release NAME`.
    #[arg(long, short = 'H', num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set, value_name = "BOOL")]
    pub hold: Option<bool>,

    /// How many failed attempts are followed by another; of an array, of each task.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub retries: Option<i32>,

    /// An attempt that ends because its node ends is followed by another.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set, value_name = "BOOL")]
    pub requeue: Option<bool>,

    /// The longest from its submission to its end, waiting included: 2h.
    #[arg(long, value_name = "TIME")]
    pub deadline: Option<String>,

    /// How long it is kept after its end: 1h. Without it: until it is deleted.
    #[arg(long, value_name = "TIME")]
    pub ttl: Option<String>,

    /// How long its processes may take between TERM and KILL: 30s.
    #[arg(long, value_name = "TIME")]
    pub grace: Option<String>,

    /// A signal before the end of its node: USR1@120.
    #[arg(long, value_name = "SIGNAL@SECONDS")]
    pub signal: Option<String>,

    /// What it is, for people.
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,

    /// A label of the CmdJob: KEY=VALUE, with commas between several.
    #[arg(long = "labels", value_delimiter = ',', value_name = "KEY=VALUE")]
    pub labels: Vec<String>,

    /// An annotation of the CmdJob: KEY=VALUE. May be repeated.
    #[arg(long = "annotation", value_name = "KEY=VALUE")]
    pub annotations: Vec<String>,
}

impl JobFlags {
    /// What they want.
    ///
    /// # Errors
    /// The first value that cannot be read, with the flag that it belongs to.
    pub fn wish(self) -> Result<Wish, String> {
        fn read<T>(
            flag: &str,
            value: Option<&String>,
            how: impl Fn(&str) -> Result<T, String>,
        ) -> Result<Option<T>, String> {
            value.map(|value| how(value)).transpose().map_err(|why| format!("--{flag}: {why}"))
        }
        fn all<T, C: FromIterator<T>>(
            flag: &str,
            values: &[String],
            how: impl Fn(&str) -> Result<T, String>,
        ) -> Result<C, String> {
            values.iter().map(|value| how(value)).collect::<Result<C, _>>().map_err(|why| format!("--{flag}: {why}"))
        }
        let constraints: Vec<_> = all("constraint", &self.constraint, sbatch::constraints)?;
        Ok(Wish {
            place: Place { node: self.node, fleet: self.fleet, labels: constraints.into_iter().flatten().collect() },
            env: all("env", &self.env, values::variable)?,
            memory: read("mem", self.mem.as_ref(), values::memory)?.map(Memory::Whole),
            gpus: read("gpus", self.gpus.as_ref(), values::gpus)?,
            resources: all("resource", &self.resource, values::pair)?,
            walltime: read("time", self.time.as_ref(), values::time)?,
            array: read("array", self.array.as_ref(), values::array)?,
            after: read("dependency", self.dependency.as_ref(), values::dependency)?,
            deadline: read("deadline", self.deadline.as_ref(), values::seconds)?,
            ttl: read("ttl", self.ttl.as_ref(), values::seconds)?,
            grace: read("grace", self.grace.as_ref(), values::seconds)?,
            warning: read("signal", self.signal.as_ref(), values::warning)?,
            labels: all("labels", &self.labels, values::pair)?,
            annotations: all("annotation", &self.annotations, values::pair)?,
            name: self.name,
            base: self.job_name,
            every_node: self.every_node,
            image: self.image,
            shell: self.shell,
            directory: self.chdir,
            cpus: self.cpus,
            priority: self.priority,
            hold: self.hold,
            retries: self.retries,
            requeue: self.requeue,
            comment: self.comment,
            wait: false,
        })
    }
}
