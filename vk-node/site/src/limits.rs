//! How much a task may use: what it asks, or else the default, and never more than the maximum.

use std::collections::BTreeMap;

use vk_task::{Limits, LogLimits, Rlimit};
use vk_words::counted;

/// The rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitRules {
    /// No task gets more. It is also what a task gets that asks for nothing and has no default.
    pub max: Amounts,
    /// What a task gets that asks for nothing.
    pub default: Amounts,
    /// The niceness of a task that asks for none.
    pub default_nice: Option<i8>,
    /// No task is less nice than that.
    pub nice_at_least: Option<i8>,
}

/// An amount of each thing that [`Limits`] limits; `None` is no rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// See [`Limits::wall_seconds`].
    pub wall_seconds: Option<u64>,
    /// See [`Limits::memory_bytes`].
    pub memory_bytes: Option<u64>,
    /// See [`Limits::cpu_millis`].
    pub cpu_millis: Option<u64>,
    /// See [`Limits::processes`].
    pub processes: Option<u64>,
    /// See [`Limits::output_bytes`].
    pub output_bytes: Option<u64>,
    /// See [`Limits::rlimits`].
    pub rlimits: BTreeMap<Rlimit, u64>,
    /// See [`LogLimits::file_bytes`].
    pub log_file_bytes: Option<u64>,
    /// See [`LogLimits::files`].
    pub log_files: Option<u32>,
}

impl LimitRules {
    /// Makes `asked` fit the rules; says what became less than was asked.
    pub(crate) fn clamp(&self, asked: &Limits, told: &mut Vec<String>) -> Limits {
        let Self { max, default, default_nice, nice_at_least } = self;
        let mut fit = |what: &str, asked: Option<u64>, default: Option<u64>, max: Option<u64>| {
            let wanted = asked.or(default).or(max)?;
            let given = max.map_or(wanted, |max| wanted.min(max));
            if asked.is_some_and(|asked| given < asked) {
                told.push(format!("the site's limit: {what} is {given}, not {wanted}"));
            }
            Some(given)
        };
        let wall_seconds = fit("the wall time in seconds", asked.wall_seconds, default.wall_seconds, max.wall_seconds);
        let memory_bytes = fit("the memory in bytes", asked.memory_bytes, default.memory_bytes, max.memory_bytes);
        let cpu_millis =
            fit("the number of thousandths of a processor", asked.cpu_millis, default.cpu_millis, max.cpu_millis);
        let processes = fit("the number of processes", asked.processes, default.processes, max.processes);
        let output_bytes = fit("the output in bytes", asked.output_bytes, default.output_bytes, max.output_bytes);
        let names = asked.rlimits.keys().chain(default.rlimits.keys()).chain(max.rlimits.keys());
        let rlimits = names
            .filter_map(|name| {
                let of = |map: &BTreeMap<Rlimit, u64>| map.get(name).copied();
                let given = fit(&name.to_string(), of(&asked.rlimits), of(&default.rlimits), of(&max.rlimits))?;
                Some((*name, given))
            })
            .collect();
        let log = self.clamp_log(asked.log, told);
        let nice = match (asked.nice.or(*default_nice), nice_at_least) {
            (Some(nice), Some(least)) if nice < *least => {
                if asked.nice.is_some() {
                    told.push(format!("the site's limit: the niceness is {least}, not {nice}"));
                }
                Some(*least)
            }
            (nice, least) => nice.or(*least),
        };
        Limits { wall_seconds, memory_bytes, cpu_millis, processes, output_bytes, nice, rlimits, log }
    }

    /// A log's limits have no "nothing was asked": the kubelet's default is taken for that.
    fn clamp_log(&self, asked: LogLimits, told: &mut Vec<String>) -> LogLimits {
        let Self { max, default, .. } = self;
        let mut wanted = asked;
        if asked == LogLimits::default() {
            wanted.file_bytes = default.log_file_bytes.unwrap_or(wanted.file_bytes);
            wanted.files = default.log_files.unwrap_or(wanted.files);
        }
        let given = LogLimits {
            file_bytes: max.log_file_bytes.map_or(wanted.file_bytes, |max| wanted.file_bytes.min(max)),
            files: max.log_files.map_or(wanted.files, |max| wanted.files.min(max)),
        };
        if asked != LogLimits::default() && given != asked {
            told.push(format!(
                "the site's limit: the log is kept in {} of {} bytes, not {} of {}",
                counted(given.files, "file", "files"),
                given.file_bytes,
                asked.files,
                asked.file_bytes
            ));
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::option::of;
    use proptest::prelude::*;

    fn amounts() -> impl Strategy<Value = Amounts> {
        let n = || of(0_u64..100);
        let rlimits = proptest::collection::btree_map(
            prop_oneof![Just(Rlimit::Core), Just(Rlimit::OpenFiles), Just(Rlimit::Stack)],
            0_u64..100,
            0..3,
        );
        ((n(), n(), n(), n(), n()), rlimits, (n(), of(1_u32..9))).prop_map(|(a, rlimits, log)| Amounts {
            wall_seconds: a.0,
            memory_bytes: a.1,
            cpu_millis: a.2,
            processes: a.3,
            output_bytes: a.4,
            rlimits,
            log_file_bytes: log.0,
            log_files: log.1,
        })
    }

    fn asked() -> impl Strategy<Value = Limits> {
        (amounts(), of(-20_i8..20)).prop_map(|(a, nice)| Limits {
            wall_seconds: a.wall_seconds,
            memory_bytes: a.memory_bytes,
            cpu_millis: a.cpu_millis,
            processes: a.processes,
            output_bytes: a.output_bytes,
            nice,
            rlimits: a.rlimits,
            log: LogLimits { file_bytes: a.log_file_bytes.unwrap_or(7), files: a.log_files.unwrap_or(3) },
        })
    }

    fn at_most(given: Option<u64>, max: Option<u64>) -> bool {
        max.is_none_or(|max| given.is_some_and(|given| given <= max))
    }

    proptest! {
        #[test]
        fn no_task_gets_more_than_the_maximum_whatever_it_asks(
            asked in asked(), max in amounts(), default in amounts(),
            default_nice in of(-20_i8..20), nice_at_least in of(-20_i8..20),
        ) {
            let rules = LimitRules { max: max.clone(), default, default_nice, nice_at_least };
            let mut told = Vec::new();
            let given = rules.clamp(&asked, &mut told);
            prop_assert!(at_most(given.wall_seconds, max.wall_seconds));
            prop_assert!(at_most(given.memory_bytes, max.memory_bytes));
            prop_assert!(at_most(given.cpu_millis, max.cpu_millis));
            prop_assert!(at_most(given.processes, max.processes));
            prop_assert!(at_most(given.output_bytes, max.output_bytes));
            for (name, max) in &max.rlimits {
                prop_assert!(at_most(given.rlimits.get(name).copied(), Some(*max)));
            }
            prop_assert!(at_most(Some(given.log.file_bytes), max.log_file_bytes));
            prop_assert!(max.log_files.is_none_or(|m| given.log.files <= m));
            prop_assert!(nice_at_least.is_none_or(|least| given.nice.is_some_and(|n| n >= least)));
            // Never more than was asked, and what is less is told.
            prop_assert!(asked.memory_bytes.is_none_or(|a| given.memory_bytes.is_some_and(|g| g <= a)));
            prop_assert_eq!(told.is_empty(), {
                let mut less = given.clone();
                for (name, asked) in &asked.rlimits { if given.rlimits.get(name) == Some(asked) { less.rlimits.remove(name); } }
                less.rlimits.retain(|name, _| asked.rlimits.contains_key(name));
                let same = |a: Option<u64>, g: Option<u64>| a.is_none() || a == g;
                same(asked.wall_seconds, given.wall_seconds) && same(asked.memory_bytes, given.memory_bytes)
                    && same(asked.cpu_millis, given.cpu_millis) && same(asked.processes, given.processes)
                    && same(asked.output_bytes, given.output_bytes) && less.rlimits.is_empty()
                    && given.log == asked.log && (asked.nice.is_none() || asked.nice == given.nice)
            });
        }
    }

    #[test]
    fn a_task_that_asks_nothing_gets_the_default_or_the_maximum() {
        let rules = LimitRules {
            max: Amounts { wall_seconds: Some(100), memory_bytes: Some(7), ..Amounts::default() },
            default: Amounts { wall_seconds: Some(10), log_files: Some(2), ..Amounts::default() },
            default_nice: Some(3),
            nice_at_least: Some(5),
        };
        let mut told = Vec::new();
        let given = rules.clamp(&Limits::default(), &mut told);
        assert_eq!((given.wall_seconds, given.memory_bytes, given.processes), (Some(10), Some(7), None));
        assert_eq!((given.nice, given.log.files), (Some(5), 2));
        assert_eq!(told, Vec::<String>::new());
        let given = rules.clamp(&Limits { wall_seconds: Some(500), ..Limits::default() }, &mut told);
        assert_eq!(given.wall_seconds, Some(100));
        assert_eq!(told, ["the site's limit: the wall time in seconds is 100, not 500"]);
    }
}
