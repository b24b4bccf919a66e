//! What runs here already.

use vk_words::counted;

use super::Verdict::{Failed, Fine, Skipped, Warning};
use super::{Check, Facts, Verdict};
use crate::config::PipeOwner;
use crate::report::Health;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "pipe",
        about: "the pipe answers, where somebody else is to run it",
        fix: "start `vk-node pipe` on the host, as the same user and with the same --hostpipe",
        look: pipe,
    },
    Check {
        id: "pipe-version",
        about: "pipe and node are of one version",
        fix: "end the older one and start it anew: jobs go on meanwhile",
        look: pipe_version,
    },
    Check {
        id: "node-answers",
        about: "the node that has the pipe's directory answers",
        fix: "it may wait for its pipe, or be of an older version: see its log, and start it anew; jobs go on meanwhile",
        look: node_answers,
    },
    Check {
        id: "node-ready",
        about: "the node that runs here is ready",
        fix: "see `vk-node status`, and the node's log",
        look: node_ready,
    },
    Check { id: "drained", about: "the node takes what comes", fix: "vk-node drain --undo", look: drained },
    Check {
        id: "site-in-force",
        about: "the site's file is in force as it is",
        fix: "correct what is named; what the file said before is in force",
        look: site_in_force,
    },
    Check {
        id: "lingering",
        about: "what was killed has ended",
        fix: "see `lingering` in docs/reference/limits.md: a file server that does not answer, or a process that became another user's",
        look: lingering,
    },
];

fn pipe(facts: &Facts) -> Verdict {
    let is_external = facts.config.as_ref().is_ok_and(|config| config.pipe.owner == PipeOwner::External);
    match &facts.pipe {
        Some(pipe) => Fine(format!("it runs jobs as {} on {}", pipe.user, pipe.hostname)),
        None if is_external => Failed(format!("none answers in {}", facts.pipe_directory.path.display())),
        None => Skipped("the node will start one".to_owned()),
    }
}

fn pipe_version(facts: &Facts) -> Verdict {
    match &facts.pipe {
        None => Skipped("none answers".to_owned()),
        Some(pipe) if pipe.version == facts.version => Fine(pipe.version.clone()),
        Some(pipe) => Warning(format!("the pipe is of {}, and this is {}", pipe.version, facts.version)),
    }
}

fn node_answers(facts: &Facts) -> Verdict {
    match (&facts.node, facts.is_locked) {
        (Some(node), _) => Fine(format!("process {}", node.pid)),
        (None, true) => Failed("a node has the pipe's directory, and does not answer".to_owned()),
        (None, false) => Skipped("no node runs here".to_owned()),
    }
}

fn node_ready(facts: &Facts) -> Verdict {
    let Some(report) = &facts.node else { return Skipped("no node runs here".to_owned()) };
    let health = |(name, node): (&String, &crate::report::MemberReport)| {
        (name.clone(), node.health(facts.now), node.trouble.clone())
    };
    let not = report.nodes.iter().map(health).find(|(_, health, _)| *health != Health::Ready);
    match not {
        None => Fine("it is".to_owned()),
        Some((name, health, trouble)) => {
            Failed(format!("{name} is {}{}", health.word(), trouble.map(|why| format!(": {why}")).unwrap_or_default()))
        }
    }
}

fn drained(facts: &Facts) -> Verdict {
    match facts.node.as_ref().map(|node| &node.drain) {
        None => Skipped("no node runs here".to_owned()),
        Some(None) => Fine("it does".to_owned()),
        Some(Some(drain)) => Warning(format!("it takes nothing new since {}: {}", drain.since, drain.reason)),
    }
}

fn site_in_force(facts: &Facts) -> Verdict {
    match &facts.pipe {
        None => Skipped("no pipe answers".to_owned()),
        Some(pipe) => match &pipe.site.error {
            Some(error) => Failed(error.clone()),
            None => Fine(pipe.site.file.as_ref().map_or("there is none".to_owned(), |file| file.display().to_string())),
        },
    }
}

fn lingering(facts: &Facts) -> Verdict {
    match (&facts.pipe, facts.lingering) {
        (None, _) => Skipped("no pipe answers".to_owned()),
        (Some(_), 0) => Fine("all of it".to_owned()),
        (Some(_), n) => Warning(format!("{} processes that do not end", counted(n, "job has", "jobs have"))),
    }
}
