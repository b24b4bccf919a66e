//! What a task's main process is held to by the kernel, and takes along to all that it starts: it sets this for itself,
//! between the gate and its program.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit as Pair, setpriority_process, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, CpuSet, capabilities, remove_capability_from_bounding_set, sched_getaffinity,
    sched_setaffinity, set_capabilities, set_no_new_privs,
};
use vk_record::cgroup::Group;
use vk_task::{Capability, Limits, Rlimit, Security};

use crate::cgroup::Held;

/// What a process sets for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Confinement {
    /// The cgroup that it is born into.
    pub(crate) group: Option<Group>,
    nice: Option<i8>,
    /// The processors that it is bound to.
    cpus: Option<Box<CpuSet>>,
    rlimits: Vec<(Rlimit, u64)>,
    /// Capabilities that it gives up.
    dropped: Vec<CapabilitySet>,
    no_new_privileges: bool,
}

/// What of a confinement could not be set: the number of its part, the least that a child can say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part(pub(crate) u8);

impl Part {
    const NICE: Self = Self(0);
    const CPUS: Self = Self(1);
    const SECURITY: Self = Self(2);
    /// The first of the rlimits; the others follow in their order.
    const RLIMITS: u8 = 3;
}

impl Confinement {
    /// Of a task with these limits, whose run has the mark `run`, and which is `held` by a cgroup. Where that does not hold
    /// it to its share of the processors, it is bound to some of them. `security` is what is taken from it.
    pub(crate) fn new(limits: &Limits, security: &Security, held: &Held, run: &str) -> Self {
        let cpus = limits.cpu_millis.filter(|_| !held.holds.cpu).and_then(|millis| {
            // A host with more processors than the set has room for does without.
            let allowed = sched_getaffinity(None).ok()?;
            let numbers: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&n| allowed.is_set(n)).collect();
            let mut set = CpuSet::new();
            choose(&numbers, millis, run)?.for_each(|n| set.set(n));
            Some(Box::new(set))
        });
        let rlimits = limits.rlimits.iter().map(|(&what, &most)| (what, most)).collect();
        let dropped = security.drop_capabilities.iter().map(|capability| one(*capability)).collect();
        Self {
            group: held.group.clone(),
            nice: limits.nice,
            cpus,
            rlimits,
            dropped,
            no_new_privileges: security.no_new_privileges,
        }
    }

    /// Sets it all for the calling process. It allocates nothing, for it may already be short of memory by its own limit.
    pub(crate) fn apply(&self) -> Result<(), (Part, Errno)> {
        if let Some(nice) = self.nice {
            setpriority_process(None, nice.into()).map_err(|e| (Part::NICE, e))?;
        }
        if let Some(cpus) = &self.cpus {
            sched_setaffinity(None, cpus).map_err(|e| (Part::CPUS, e))?;
        }
        for (number, (what, most)) in (Part::RLIMITS..).zip(&self.rlimits) {
            let pair = Pair { current: Some(*most), maximum: Some(*most) };
            setrlimit(resource(*what), pair).map_err(|e| (Part(number), e))?;
        }
        // Last, for what comes before may need what is given up here.
        self.give_up().map_err(|e| (Part::SECURITY, e))
    }

    /// Gives up capabilities, and the ways to get them back.
    fn give_up(&self) -> Result<(), Errno> {
        let mut no_way_back = self.no_new_privileges;
        if !self.dropped.is_empty() {
            let mut all = CapabilitySet::empty();
            for capability in &self.dropped {
                all |= *capability;
                match remove_capability_from_bounding_set(*capability) {
                    // A kernel that does not know it cannot give it either.
                    Ok(()) | Err(Errno::INVAL) => {}
                    // Who may not do this has none of them, but a set-uid program would give them back.
                    Err(Errno::PERM) => no_way_back = true,
                    Err(e) => return Err(e),
                }
            }
            let sets = capabilities(None)?;
            set_capabilities(
                None,
                CapabilitySets {
                    effective: sets.effective - all,
                    permitted: sets.permitted - all,
                    inheritable: sets.inheritable - all,
                },
            )?;
        }
        if no_way_back {
            set_no_new_privs(true)?;
        }
        Ok(())
    }

    /// What could not be set, for people.
    pub(crate) fn describe(&self, part: Part) -> String {
        match part {
            Part::NICE => format!(
                "its niceness cannot be {}: only a privileged user may have a lower one than the pipe",
                self.nice.unwrap_or_default()
            ),
            Part::CPUS => "it cannot be bound to its share of the processors".to_owned(),
            Part::SECURITY => "what its security context takes from it cannot be given up".to_owned(),
            Part(number) => match self.rlimits.get(usize::from(number.saturating_sub(Part::RLIMITS))) {
                Some((what, most)) => format!(
                    "its {what} cannot be {most}: only a privileged user may have more than the pipe's hard limit \
                     (`ulimit -H`)"
                ),
                None => "one of its limits cannot be set".to_owned(),
            },
        }
    }
}

/// Out of the processors `allowed`, as many as `millis` thousandths come to, rounded up; `None` when that is all of them.
///
/// Tasks know nothing of each other, so each begins at a place of its own, which `run` leads to, and takes the next ones
/// from there on: neighbours in number mostly share a cache and a memory controller. Tasks are spread evenly as dice are.
fn choose(allowed: &[usize], millis: u64, run: &str) -> Option<impl Iterator<Item = usize>> {
    let wanted = usize::try_from(millis.div_ceil(1000)).unwrap_or(usize::MAX).max(1);
    if wanted >= allowed.len() {
        return None;
    }
    // FNV-1a: a hash that stays the same is all that is needed.
    let hash = run.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let first = usize::try_from(hash % allowed.len() as u64).unwrap_or_default();
    Some(allowed.iter().copied().cycle().skip(first).take(wanted))
}

fn one(capability: Capability) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << capability.number())
}

fn resource(what: Rlimit) -> Resource {
    match what {
        Rlimit::AddressSpace => Resource::As,
        Rlimit::Core => Resource::Core,
        Rlimit::CpuSeconds => Resource::Cpu,
        Rlimit::Data => Resource::Data,
        Rlimit::FileSize => Resource::Fsize,
        Rlimit::LockedMemory => Resource::Memlock,
        Rlimit::OpenFiles => Resource::Nofile,
        Rlimit::UserProcesses => Resource::Nproc,
        Rlimit::Stack => Resource::Stack,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn chosen(allowed: &[usize], millis: u64, run: &str) -> Option<BTreeSet<usize>> {
        choose(allowed, millis, run).map(Iterator::collect)
    }

    #[test]
    fn processors_are_rounded_up_and_no_more_than_there_are() {
        let allowed = [1, 3, 5, 7];
        for (millis, count) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (2500, 3)] {
            let set = chosen(&allowed, millis, "r").unwrap();
            assert_eq!(set.len(), count);
            assert!(set.iter().all(|n| allowed.contains(n)));
        }
        assert_eq!(chosen(&allowed, 3001, "r"), None);
        assert_eq!(chosen(&allowed, u64::MAX, "r"), None);
        assert_eq!(chosen(&[], 1000, "r"), None);
    }

    #[test]
    fn tasks_are_spread() {
        let allowed: Vec<usize> = (0..8).collect();
        let mut load = BTreeMap::new();
        for task in 0..800 {
            for cpu in choose(&allowed, 1000, &format!("run-{task}")).unwrap() {
                *load.entry(cpu).or_insert(0) += 1;
            }
        }
        assert_eq!(load.len(), 8);
        assert!(load.values().all(|&tasks| (50..200).contains(&tasks)), "{load:?}");
    }

    #[test]
    fn it_is_told_what_could_not_be_set() {
        let rlimits = [(Rlimit::OpenFiles, 7), (Rlimit::Core, 1)].into();
        let limits = Limits { nice: Some(-5), rlimits, ..Limits::default() };
        let confinement = Confinement::new(&limits, &Security::default(), &Held::default(), "r");
        assert!(confinement.describe(Part::NICE).contains("-5"));
        let all: Vec<String> = (3..5).map(|n| confinement.describe(Part(n))).collect();
        assert!(all[0].contains("RLIMIT_CORE cannot be 1") && all[1].contains("RLIMIT_NOFILE cannot be 7"), "{all:?}");
        confinement.describe(Part(99));
    }
}
