//! The files that people have written.

use super::Verdict::{Failed, Fine, Skipped, Warning};
use super::{Check, Facts, FileFacts, Verdict};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "config",
        about: "flags, variables and the node's file make sense together",
        fix: "correct what is named; `vk-node config validate` tells all of it, `vk-node config show` what is in force",
        look: config,
    },
    Check {
        id: "config-writers",
        about: "nobody else can write to the node's file",
        fix: "make it yours and chmod go-w it",
        look: config_writers,
    },
    Check {
        id: "site-file",
        about: "the site's file makes sense",
        fix: "correct what is named (docs/reference/site.md); a pipe that runs keeps to what it said last, and one that starts does not start",
        look: site_file,
    },
    Check {
        id: "site-writers",
        about: "nobody but root and you can write to the site's file",
        fix: "chown it to root or to yourself and chmod go-w it: the pipe does not read it else",
        look: site_writers,
    },
    Check {
        id: "secrets",
        about: "nobody else can read kubeconfigs and keys",
        fix: "chmod go-rwx them; where others may have read them, have new ones made",
        look: secrets,
    },
];

fn config(facts: &Facts) -> Verdict {
    match &facts.config {
        Err(problems) => Failed(problems.join("; ")),
        Ok(config) => {
            let names: Vec<&str> = config.members.iter().take(3).map(|member| member.name.as_str()).collect();
            let file = facts.config_file.as_ref().map_or("no file".to_owned(), |file| file.path.display().to_string());
            Fine(format!("{} ({file})", names.join(", ")))
        }
    }
}

fn config_writers(facts: &Facts) -> Verdict {
    match &facts.config_file {
        None => Skipped("there is no file".to_owned()),
        Some(FileFacts { owner: None, .. }) => Skipped("it cannot be looked at".to_owned()),
        Some(FileFacts { path, owner: Some((uid, mode)) }) => {
            written_by(facts, &path.display().to_string(), *uid, *mode, Warning)
        }
    }
}

fn written_by(facts: &Facts, name: &str, uid: u32, mode: u32, verdict: fn(String) -> Verdict) -> Verdict {
    if uid != 0 && uid != facts.uid {
        return verdict(format!("{name} belongs to uid {uid}"));
    }
    if mode & 0o022 != 0 {
        return verdict(format!("{name} can be written to by others (mode {mode:04o})"));
    }
    Fine(name.to_owned())
}

fn site_file(facts: &Facts) -> Verdict {
    match &facts.site_file {
        None => Skipped("there is none: all is allowed that Linux allows you".to_owned()),
        Some(file) if facts.site_problems.is_empty() => Fine(file.path.display().to_string()),
        Some(file) => Failed(format!("{}: {}", file.path.display(), facts.site_problems.join("; "))),
    }
}

fn site_writers(facts: &Facts) -> Verdict {
    match &facts.site_file {
        None => Skipped("there is none".to_owned()),
        Some(FileFacts { path, owner: None }) => Failed(format!("{} cannot be looked at", path.display())),
        Some(FileFacts { path, owner: Some((uid, mode)) }) => {
            written_by(facts, &path.display().to_string(), *uid, *mode, Failed)
        }
    }
}

fn secrets(facts: &Facts) -> Verdict {
    if facts.secrets.is_empty() {
        return Skipped("there are none".to_owned());
    }
    let open = facts.secrets.iter().find(|file| file.owner.is_some_and(|(_, mode)| mode & 0o077 != 0));
    match open {
        Some(file) => {
            let mode = file.owner.map_or(0, |(_, mode)| mode);
            Warning(format!("{} is open to others (mode {mode:04o})", file.path.display()))
        }
        None => Fine("they are closed to others".to_owned()),
    }
}
