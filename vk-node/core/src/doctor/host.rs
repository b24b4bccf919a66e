//! The machine and the user's place on it.

use vk_task::MountNamespaces;

use super::Verdict::{Failed, Fine, Skipped, Warning};
use super::{CgroupFacts, Check, DirectoryFacts, Facts, Systemd, Verdict};
use crate::ending::{Batch, OnTerm};

/// The first kernel with all that the pipe and the shims stand on: pidfd_open(2), and waiting for one.
const LEAST_KERNEL: (u32, u32) = (5, 4);
/// With less there is no room for the logs of a few jobs.
const LEAST_BYTES: u64 = 1 << 30;
/// Each job takes some twenty files while it runs.
const LEAST_INODES: u64 = 10_000;
/// The pipe has some ten files open for each job.
const LEAST_OPEN_FILES: u64 = 4096;
/// With fewer processes to go, jobs fail to fork.
const LEAST_PROCESSES: u64 = 200;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "kernel",
        about: "the kernel is 5.4 or later",
        fix: "run the node on a machine with a newer kernel: jobs are watched and ended by pidfds, which are not there before",
        look: kernel,
    },
    Check {
        id: "proc",
        about: "/proc shows this user's processes",
        fix: "have /proc mounted where vk-node runs; in a container give it one",
        look: proc_is_there,
    },
    Check {
        id: "home",
        about: "the home directory is there and can be written to",
        fix: "set $HOME, or name another place with --hostpipe",
        look: home,
    },
    Check {
        id: "pipe-directory",
        about: "the pipe's directory is yours alone, or can be made",
        fix: "make it yours and chmod 700 it, or name another with --hostpipe",
        look: pipe_directory,
    },
    Check {
        id: "pipe-parents",
        about: "nobody else can replace the pipe's directory",
        fix: "chmod go-w the directory that is named, or name another place with --hostpipe (docs/reference/pipe-directory.md)",
        look: pipe_parents,
    },
    Check {
        id: "records-place",
        about: "records are on a disk of this host",
        fix: "name a place on a local disk with --records (docs/reference/pipe-directory.md)",
        look: records_place,
    },
    Check {
        id: "disk",
        about: "1 GiB is free where the records are",
        fix: "make room, or name another place with --records; the node says DiskPressure, and jobs are refused when it is full",
        look: disk,
    },
    Check {
        id: "inodes",
        about: "10000 files can be made where the records are",
        fix: "remove files there, or name another place with --records",
        look: inodes,
    },
    Check {
        id: "temporary",
        about: "$TMPDIR, or /tmp, can be written to",
        fix: "set $TMPDIR to a directory of yours",
        look: temporary,
    },
    Check {
        id: "memory",
        about: "the memory that is available is more than `pressure` asks for",
        fix: "end something, or ask for less with memory.available in `pressure` (docs/reference/node.md)",
        look: memory,
    },
    Check {
        id: "open-files",
        about: "4096 files may be open",
        fix: "raise the hard limit (ulimit -Hn), or ask for that: limits.conf(5)",
        look: open_files,
    },
    Check {
        id: "processes",
        about: "200 more processes may be started",
        fix: "end some, or ask for a higher limit (ulimit -u)",
        look: processes,
    },
    Check {
        id: "mounts",
        about: "jobs can have mounts at absolute paths",
        fix: "ask for user namespaces (user.max_user_namespaces, kernel.unprivileged_userns_clone, \
              kernel.apparmor_restrict_unprivileged_userns), or have jobs mount at relative paths (docs/reference/mounts.md)",
        look: mounts,
    },
    Check {
        id: "cgroup",
        about: "a cgroup holds jobs to their limits",
        fix: "run the node as a unit of your systemd (vk-node service), or name a delegated cgroup with --cgroup (docs/reference/limits.md); \
              without, the shim looks and ends what takes too much",
        look: cgroup,
    },
    Check {
        id: "runtime",
        about: "there is the container runtime that the site's file names, or one of those that are known",
        fix: "load its module before the node starts, put it into PATH, or name it in the site's file (docs/reference/site.md)",
        look: runtime,
    },
    Check {
        id: "batch-tools",
        about: "in a job of Slurm or PBS, squeue or qstat can be asked",
        fix: "put it into PATH, or say how long the node is there with --walltime (docs/explanation/walltime.md)",
        look: batch_tools,
    },
    Check {
        id: "on-term",
        about: "in a job of a batch system, TERM ends the jobs of the node too",
        fix: "leave onTerm at auto: the batch system ends them anyway, and without a word to Kubernetes",
        look: on_term,
    },
    Check {
        id: "linger",
        about: "what you run goes on when you log out",
        fix: "loginctl enable-linger, or ask an administrator for it; or run the node in a batch job",
        look: linger,
    },
];

fn kernel(facts: &Facts) -> Verdict {
    let (major, minor) = facts.kernel;
    match facts.kernel >= LEAST_KERNEL {
        true => Fine(format!("{major}.{minor}")),
        false => Failed(format!("it is {major}.{minor}")),
    }
}

fn proc_is_there(facts: &Facts) -> Verdict {
    match facts.sees_itself {
        true => Fine("it does".to_owned()),
        false => Failed("this process is not to be found in it".to_owned()),
    }
}

fn home(facts: &Facts) -> Verdict {
    match &facts.home {
        None => Failed("there is none, or $HOME is no absolute path".to_owned()),
        Some(home) if !home.answers => Failed(silent(home)),
        Some(home) if !home.is_there => Failed(format!("{} is not there", home.path.display())),
        Some(home) if !home.is_writable => Warning(format!("{} cannot be written to", home.path.display())),
        Some(home) => Fine(home.path.display().to_string()),
    }
}

fn pipe_directory(facts: &Facts) -> Verdict {
    let directory = &facts.pipe_directory;
    let name = directory.path.display();
    match directory.is_there {
        _ if !directory.answers => Failed(silent(directory)),
        false if directory.is_writable => Fine(format!("{name} can be made")),
        false => Failed(format!("{name} is not there and cannot be made")),
        true if directory.uid != facts.uid => Failed(format!("{name} belongs to uid {}", directory.uid)),
        true if directory.mode & 0o077 != 0 => {
            Warning(format!("{name} is open to others (mode {:04o}); the pipe closes it", directory.mode))
        }
        true if !directory.is_writable => Failed(format!("{name} cannot be written to")),
        true => Fine(name.to_string()),
    }
}

fn pipe_parents(facts: &Facts) -> Verdict {
    match facts.pipe_weaknesses.as_slice() {
        [] => Fine("nobody can".to_owned()),
        // The pipe refuses only what everybody may write to.
        all if all.iter().any(|weakness| weakness.contains("by everybody")) => Failed(all.join("; ")),
        all => Warning(all.join("; ")),
    }
}

/// Of a directory whose file system does not answer.
fn silent(directory: &DirectoryFacts) -> String {
    format!("the file system of {} has not answered in time", directory.path.display())
}

fn records_place(facts: &Facts) -> Verdict {
    let records = &facts.records;
    if !records.answers {
        return Failed(silent(records));
    }
    match &records.shared {
        Some(kind) => Warning(format!("{} is on a shared file system ({kind})", records.path.display())),
        None => Fine(records.path.display().to_string()),
    }
}

fn disk(facts: &Facts) -> Verdict {
    if !facts.records.answers {
        return Skipped(silent(&facts.records));
    }
    let free = facts.records.free_bytes;
    let text = format!("{} MiB are free beneath {}", free >> 20, facts.records.path.display());
    match free {
        0 => Failed(text),
        free if free < LEAST_BYTES => Warning(text),
        _ => Fine(text),
    }
}

fn inodes(facts: &Facts) -> Verdict {
    match facts.records.free_inodes {
        None if !facts.records.answers => Skipped(silent(&facts.records)),
        None => Skipped("the file system does not count them".to_owned()),
        Some(free) if free < LEAST_INODES => Warning(format!("{free} can")),
        Some(free) => Fine(format!("{free} can")),
    }
}

fn temporary(facts: &Facts) -> Verdict {
    let directory = &facts.temporary;
    match directory.is_there && directory.is_writable {
        _ if !directory.answers => Failed(silent(directory)),
        true => Fine(directory.path.display().to_string()),
        false => Failed(format!("{} cannot be", directory.path.display())),
    }
}

fn memory(facts: &Facts) -> Verdict {
    let available = facts.memory_available;
    let Ok(config) = &facts.config else { return Skipped("the configuration is wrong".to_owned()) };
    // A share is of all there is, which only the pipe knows.
    let least = facts
        .pipe
        .as_ref()
        .map_or_else(|| config.pressure.memory.of(0), |pipe| config.pressure.memory.of(pipe.memory_bytes));
    let text = format!("{} MiB are available", available >> 20);
    if available < least { Warning(format!("{text}, and {} MiB are asked for", least >> 20)) } else { Fine(text) }
}

fn open_files(facts: &Facts) -> Verdict {
    let (soft, hard) = facts.open_files;
    match hard {
        hard if hard < LEAST_OPEN_FILES => Warning(format!("{hard} may, at most")),
        _ => Fine(format!("{soft}, and the node may raise that")),
    }
}

fn processes(facts: &Facts) -> Verdict {
    match facts.processes {
        (_, None) => Fine("there is no limit".to_owned()),
        (now, Some(most)) if now.saturating_add(LEAST_PROCESSES) > most => {
            Warning(format!("{now} are there, and {most} may be"))
        }
        (now, Some(most)) => Fine(format!("{now} of {most} are there")),
    }
}

fn mounts(facts: &Facts) -> Verdict {
    match &facts.mount_namespaces {
        MountNamespaces::Available => Fine("they can".to_owned()),
        MountNamespaces::Unavailable { why } => Warning(why.clone()),
        MountNamespaces::Unknown => Skipped("it was not tried".to_owned()),
    }
}

fn cgroup(facts: &Facts) -> Verdict {
    match &facts.cgroup {
        CgroupFacts::Delegated(path) => Fine(path.display().to_string()),
        CgroupFacts::Off => Skipped("the configuration wants none".to_owned()),
        CgroupFacts::None(why) => Warning(why.clone()),
    }
}

fn runtime(facts: &Facts) -> Verdict {
    match (&facts.runtime_wanted, &facts.runtime_found) {
        (_, Some(found)) => Fine(found.clone()),
        (Some(wanted), None) => Failed(format!("{wanted}, which the site's file names, is not to be found")),
        (None, None) => Warning("there is none: jobs that name an image are refused".to_owned()),
    }
}

fn batch_tools(facts: &Facts) -> Verdict {
    let tool = match &facts.batch {
        Some(Batch::Slurm { .. }) => "squeue",
        Some(Batch::Pbs { .. }) => "qstat",
        Some(Batch::Other { variable, .. }) => return Skipped(format!("that of ${variable} is not asked")),
        None => return Skipped("this is no such job".to_owned()),
    };
    let says = |config: &crate::config::NodeConfig| config.members.iter().all(|member| member.walltime.said.is_some());
    match facts.programs.get(tool) {
        Some(true) => Fine(tool.to_owned()),
        _ if facts.config.as_ref().is_ok_and(says) => Fine("--walltime says how long the node is there".to_owned()),
        _ => Warning(format!("{tool} is not to be found: a job that is extended or cut is not noticed")),
    }
}

fn on_term(facts: &Facts) -> Verdict {
    match (&facts.batch, &facts.config) {
        (None, _) => Skipped("this is no such job".to_owned()),
        (_, Err(_)) => Skipped("the configuration is wrong".to_owned()),
        (Some(_), Ok(config)) if config.ending.on_term == OnTerm::Keep => Warning("onTerm is keep".to_owned()),
        (Some(_), Ok(config)) => Fine(format!("onTerm is {}", config.ending.on_term.word())),
    }
}

fn linger(facts: &Facts) -> Verdict {
    match (facts.systemd, &facts.batch) {
        (_, Some(_)) => Skipped("the batch job ends with its time".to_owned()),
        (Systemd::None, None) => Skipped("there is no systemd of yours".to_owned()),
        (Systemd::There { lingers: true }, None) => Fine("it does".to_owned()),
        (Systemd::There { lingers: false }, None) => {
            Warning("it may be ended when your last session ends: linger is off".to_owned())
        }
    }
}
