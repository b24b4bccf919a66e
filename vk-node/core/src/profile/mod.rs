//! Ready-made files for a site: `vk-node init`.
//!
//! ```text
//!   Profile ──┐
//!   Wanted ───┴──▶ node.yaml, site.yaml, for a batch system its script ──▶ vk-node run
//! ```

use std::path::{Path, PathBuf};

use vk_cmd_crds::NodeName;

/// The node's file, in the pipe's directory, where `vk-node run` looks for it.
pub const CONFIG: &str = "node.yaml";
/// The site's file, beside it, where `vk-node pipe` looks for it.
pub const SITE: &str = "site.yaml";

/// The sites that there are files for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The farm of Jefferson Lab: Apptainer, and ssh as the only way out.
    JlabIfarm,
    /// NERSC's Perlmutter: Shifter, and Slurm.
    Perlmutter,
    /// A workstation behind a firewall: Docker, ssh, and a systemd of the user's own.
    Workstation,
    /// Any Slurm.
    Slurm,
    /// Any PBS.
    Pbs,
}

impl Profile {
    /// By their names.
    pub const ALL: [(&'static str, Self); 5] = [
        ("jlab-ifarm", Self::JlabIfarm),
        ("perlmutter", Self::Perlmutter),
        ("workstation", Self::Workstation),
        ("slurm", Self::Slurm),
        ("pbs", Self::Pbs),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, profile)| *profile == self).map_or("", |(name, _)| name)
    }

    fn texts(self) -> Texts {
        match self {
            Self::JlabIfarm => Texts {
                node: include_str!("jlab-ifarm.node.yaml"),
                site: include_str!("jlab-ifarm.site.yaml"),
                script: None,
            },
            Self::Perlmutter => Texts {
                node: include_str!("perlmutter.node.yaml"),
                site: include_str!("perlmutter.site.yaml"),
                script: Some(("vk-node.sbatch", include_str!("perlmutter.sbatch"))),
            },
            Self::Workstation => Texts {
                node: include_str!("workstation.node.yaml"),
                site: include_str!("workstation.site.yaml"),
                script: None,
            },
            Self::Slurm => Texts {
                node: include_str!("slurm.node.yaml"),
                site: include_str!("batch.site.yaml"),
                script: Some(("vk-node.sbatch", include_str!("slurm.sbatch"))),
            },
            Self::Pbs => Texts {
                node: include_str!("pbs.node.yaml"),
                site: include_str!("batch.site.yaml"),
                script: Some(("vk-node.pbs", include_str!("pbs.pbs"))),
            },
        }
    }
}

struct Texts {
    node: &'static str,
    site: &'static str,
    script: Option<(&'static str, &'static str)>,
}

/// What is known of the node that the files are for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Its name.
    pub name: &'a NodeName,
    /// How it shows who it is.
    pub credentials: &'a Credentials,
    /// The tunnel, `ssh:me@gateway`, if it is known that there is to be one.
    pub tunnel: Option<&'a str>,
    /// The directory that the files are for.
    pub directory: &'a Path,
    /// The program that is run there.
    pub program: &'a Path,
}

/// How a node shows who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// By a kubeconfig that is of this node alone.
    Own(PathBuf),
    /// By a bootstrap token's, with which it asks for a certificate of its own.
    Bootstrap(PathBuf),
    /// That is to be written down yet.
    Unknown,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub name: &'static str,
    /// Its text.
    pub text: String,
}

/// The files of a site.
///
/// # Errors
/// When a path cannot be written down.
pub fn files(profile: Profile, wanted: &Wanted<'_>) -> Result<Vec<Written>, String> {
    let Texts { node, site, script } = profile.texts();
    let mut files = vec![
        Written { name: CONFIG, text: filled(node, wanted)? },
        Written { name: SITE, text: filled(site, wanted)? },
    ];
    if let Some((name, text)) = script {
        files.push(Written { name, text: filled(text, wanted)? });
    }
    Ok(files)
}

fn filled(text: &str, wanted: &Wanted<'_>) -> Result<String, String> {
    let Wanted { name, credentials, tunnel, directory, program } = wanted;
    let yaml = |path: &Path| Ok::<_, String>(serde_json::Value::from(utf8(path)?).to_string());
    let credentials_line = match credentials {
        Credentials::Own(file) => format!("kubeconfig: {}", yaml(file)?),
        Credentials::Bootstrap(file) => format!("bootstrapKubeconfig: {}", yaml(file)?),
        Credentials::Unknown => "# kubeconfig: node.kubeconfig".to_owned(),
    };
    let tunnel_line = match tunnel {
        Some(to) => format!("tunnel: {}", serde_json::Value::from(*to)),
        None => "# tunnel: ssh:me@gateway.example.org".to_owned(),
    };
    // A certificate is for one name; with a token each job is a node of its own.
    let job = |variable: &str| match credentials {
        Credentials::Own(_) => shell(name.as_str()),
        Credentials::Bootstrap(_) | Credentials::Unknown => format!("{}-\"{variable}\"", shell(name.as_str())),
    };
    let pairs = [
        ("@NODE_NAME@", name.as_str().to_owned()),
        ("@CREDENTIALS@", credentials_line),
        ("@TUNNEL@", tunnel_line),
        ("@CONFIG@", shell(utf8(&directory.join(CONFIG))?)),
        ("@PROGRAM@", shell(utf8(program)?)),
        ("@SLURM_NAME@", job("$SLURM_JOB_ID")),
        ("@PBS_NAME@", job("${PBS_JOBID%%.*}")),
    ];
    // Each line for itself: what was put in is not looked at again.
    let lines = text.lines().map(|line| match pairs.iter().find(|(mark, _)| line.trim() == *mark) {
        Some((_, value)) => value.clone(),
        None => pairs.iter().fold(line.to_owned(), |line, (mark, value)| line.replace(mark, value)),
    });
    Ok(lines.collect::<Vec<_>>().join("\n") + "\n")
}

fn utf8(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} is no UTF-8 text: use another path", path.display()))
}

/// A word for a shell, whatever is in it.
fn shell(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What is done next, one command in a line.
#[must_use]
pub fn next(profile: Profile, wanted: &Wanted<'_>) -> Vec<String> {
    let directory = wanted.directory.display();
    let mut next = Vec::new();
    if *wanted.credentials == Credentials::Unknown {
        next.push(format!("# name the node's credentials in {directory}/{CONFIG}: docs/explanation/identity.md"));
    }
    next.push("vk-node doctor".to_owned());
    match profile {
        Profile::JlabIfarm => next.push("vk-node run".to_owned()),
        Profile::Workstation => {
            next.push("vk-node service --install    # or, in the foreground: vk-node run".to_owned())
        }
        Profile::Perlmutter | Profile::Slurm => {
            next.push(format!("sbatch {directory}/vk-node.sbatch    # or, on a login node: vk-node run"))
        }
        Profile::Pbs => next.push(format!("qsub {directory}/vk-node.pbs    # or, on a login node: vk-node run")),
    }
    next
}

#[cfg(test)]
mod tests {
    use vk_site::Site;

    use super::*;
    use crate::config;

    fn name() -> NodeName {
        NodeName::parse("vk-site-01").unwrap()
    }

    fn all(credentials: &Credentials, tunnel: Option<&str>) -> Vec<(Profile, Vec<Written>)> {
        let name = name();
        let wanted = Wanted {
            name: &name,
            credentials,
            tunnel,
            directory: Path::new("/home/u's/hostpipe"),
            program: Path::new("/home/u's/bin/vk-node"),
        };
        Profile::ALL.map(|(_, profile)| (profile, files(profile, &wanted).unwrap())).into()
    }

    fn credentials() -> [Credentials; 3] {
        [Credentials::Own("/k: #x".into()), Credentials::Bootstrap("/b".into()), Credentials::Unknown]
    }

    #[test]
    fn each_profile_is_right_as_it_is() {
        for credentials in credentials() {
            for (profile, files) in all(&credentials, Some("ssh:me@there")).into_iter().chain(all(&credentials, None)) {
                let settings = config::read(&files[0].text, Path::new("/home/u/hostpipe"))
                    .unwrap_or_else(|e| panic!("{profile:?}: {e}"));
                let config = settings.finish(Some("/home/u".into())).unwrap();
                assert_eq!(config.members[0].name.as_str(), "vk-site-01");
                match &credentials {
                    Credentials::Own(file) => assert_eq!(config.members[0].kubeconfig.as_ref(), Some(file)),
                    Credentials::Bootstrap(file) => {
                        assert_eq!(config.certificates.bootstrap_kubeconfig.as_ref(), Some(file))
                    }
                    Credentials::Unknown => assert_eq!(config.members[0].kubeconfig, None),
                }
                Site::parse(&files[1].text).unwrap_or_else(|e| panic!("{profile:?}: {e}"));
                for file in &files {
                    assert!(!file.text.contains('@') || !file.text.contains("_NAME@"), "{profile:?}: {}", file.text);
                }
            }
        }
    }

    /// What stands there in comments is right too, each for itself.
    #[test]
    fn what_is_in_comments_can_be_taken_as_it_is() {
        for (profile, files) in all(&Credentials::Unknown, None) {
            for file in files.iter().filter(|file| file.name.ends_with(".yaml")) {
                let mut seen = 0;
                for (number, line) in file.text.lines().enumerate() {
                    let Some(setting) = line.trim_start().strip_prefix("# ") else { continue };
                    let is_setting = setting.split_once(": ").is_some_and(|(key, _)| {
                        key.starts_with(|c: char| c.is_ascii_lowercase())
                            && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
                    });
                    if !is_setting {
                        continue;
                    }
                    seen += 1;
                    let lines = file.text.lines().enumerate().map(|(n, line)| match n == number {
                        true => line.replacen("# ", "", 1),
                        false => line.to_owned(),
                    });
                    let text = lines.collect::<Vec<_>>().join("\n");
                    let read = match file.name {
                        CONFIG => config::read(&text, Path::new("/")).map(drop),
                        _ => Site::parse(&text).map(drop),
                    };
                    assert!(read.is_ok(), "{profile:?}, {}, {setting}: {}", file.name, read.unwrap_err());
                }
                assert!(seen >= 2, "{profile:?}, {}: there is nothing to choose from", file.name);
            }
        }
    }

    #[test]
    fn each_job_of_a_batch_system_is_a_node_of_its_own_where_that_can_be() {
        for (credentials, slurm, pbs) in [
            (
                Credentials::Bootstrap("/b".into()),
                "--node-name 'vk-site-01'-\"$SLURM_JOB_ID\"",
                "--node-name 'vk-site-01'-\"${PBS_JOBID%%.*}\"",
            ),
            (Credentials::Own("/k".into()), "--node-name 'vk-site-01' ", "--node-name 'vk-site-01' "),
        ] {
            for (profile, files) in all(&credentials, None) {
                let Some(script) = files.get(2) else { continue };
                let wanted = if profile == Profile::Pbs { pbs } else { slurm };
                assert!(script.text.contains(wanted), "{profile:?}: {}", script.text);
                assert!(
                    script
                        .text
                        .contains(r"exec '/home/u'\''s/bin/vk-node' run --config '/home/u'\''s/hostpipe/node.yaml'"),
                    "{}",
                    script.text
                );
            }
        }
    }

    #[test]
    fn what_is_done_next_is_said() {
        let name = name();
        for (text, profile) in Profile::ALL {
            assert_eq!(profile.name(), text);
            let wanted = Wanted {
                name: &name,
                credentials: &Credentials::Unknown,
                tunnel: None,
                directory: Path::new("/p"),
                program: Path::new("/x"),
            };
            let next = next(profile, &wanted).join("\n");
            assert!(next.contains("vk-node doctor") && next.contains("docs/explanation/identity.md"), "{next}");
        }
    }
}
