//! `vk-node config validate | show | diff`: the settings of a node, before it is started and while it runs.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::json;
use vk_api_client::chain;
use vk_node_core::config::{self, Difference, Origin, Shown};
use vk_site::Site;

use super::ask::NodeClient;
use super::{Code, Format, Output, print};
use crate::cli::{Run, Sources, load};

/// What is asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Reads the node's file and the site's, with flags and variables as for `vk-node run`, and tells all that is wrong.
    Validate(Box<Asked>),
    /// Prints what would be in force: a file that says the same, with a comment of who says each.
    Show(Box<Asked>),
    /// Prints in what that differs from the node that runs here, or from the defaults.
    Diff(Box<Diff>),
}

/// With which settings.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    run: Run,
    #[command(flatten)]
    output: Output,
}

/// What is compared with what.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    #[command(flatten)]
    asked: Asked,
    /// What is compared with.
    #[arg(long, value_enum, default_value_t = Against::Running)]
    against: Against,
}

/// What settings are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    /// The node that runs here.
    Running,
    /// What is in force where nothing is said.
    Defaults,
}

impl Config {
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Validate(asked) | Self::Show(asked) => asked.output.format(),
            Self::Diff(diff) => diff.asked.output.format(),
        }
    }

    pub(crate) async fn act(self, log: Option<&str>, sources: &Sources) -> anyhow::Result<Code> {
        let format = self.format();
        match self {
            Self::Validate(asked) => validate(&asked.run, log, sources, format),
            Self::Show(asked) => {
                let loaded = load(&asked.run, log, sources)?;
                print(format, &json!({"file": loaded.file, "settings": loaded.shown}), &config::yaml(&loaded.shown))?;
                Ok(Code::Fine)
            }
            Self::Diff(diff) => diff.act(log, sources).await,
        }
    }
}

impl Diff {
    async fn act(self, log: Option<&str>, sources: &Sources) -> anyhow::Result<Code> {
        let loaded = load(&self.asked.run, log, sources)?;
        let before: Vec<Shown> = match self.against {
            Against::Running => NodeClient::new(&loaded.hostpipe()?).config().await?,
            Against::Defaults => config::effective(&[], std::env::home_dir()),
        };
        let differences = config::differences(&before, &loaded.shown);
        print(self.asked.output.format(), &json!({"differences": differences}), &text(&differences, &loaded.shown))?;
        Ok(if differences.is_empty() { Code::Fine } else { Code::No })
    }
}

fn text(differences: &[Difference], shown: &[Shown]) -> String {
    let from = |path: &[String]| shown.iter().find(|shown| shown.path == path).map(|shown| shown.from.clone());
    let lines = differences.iter().map(|Difference { path, before, after }| {
        let key = path.join(".");
        let before = before.as_ref().map(|value| format!("- {key}: {value}\n")).unwrap_or_default();
        let from =
            from(path).filter(|from| *from != Origin::Default).map(|from| format!("  # {from}")).unwrap_or_default();
        let after = after.as_ref().map(|value| format!("+ {key}: {value}{from}\n")).unwrap_or_default();
        before + &after
    });
    lines.collect()
}

/// A file that was looked at.
#[derive(Debug, Serialize)]
struct Looked {
    /// Where it is.
    path: PathBuf,
    /// All that is wrong with it.
    problems: Vec<Wrong>,
}

/// Something that is wrong with a file.
#[derive(Debug, Serialize)]
struct Wrong {
    /// The line, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// What is wrong, and what to write.
    message: String,
}

impl Looked {
    fn at(path: &Path, read: impl FnOnce(&str) -> Result<(), vk_yaml::Problems>) -> Self {
        let problems = match std::fs::read_to_string(path) {
            Err(error) => vec![Wrong { line: None, message: format!("cannot read it: {error}") }],
            Ok(text) => {
                let problems = read(&text).err().map(|problems| problems.0).unwrap_or_default();
                problems.into_iter().map(|p| Wrong { line: Some(p.line), message: p.message }).collect()
            }
        };
        Self { path: path.to_owned(), problems }
    }
}

fn validate(run: &Run, log: Option<&str>, sources: &Sources, format: Format) -> anyhow::Result<Code> {
    let mut files = Vec::new();
    if let Some(path) = run.file().one() {
        let absolute = std::path::absolute(&path)?;
        let directory = absolute.parent().unwrap_or(&absolute).to_owned();
        files.push(Looked::at(&path, |text| config::read(text, &directory).map(drop)));
    }
    // What stands in none of the files: variables, and what does not fit together.
    let mut others: Vec<String> = Vec::new();
    let mut site = run.site_file();
    if files.iter().all(|file| file.problems.is_empty()) {
        match load(run, log, sources) {
            Err(error) => others.push(chain(&*error)),
            Ok(loaded) => {
                site = site.or_else(|| site_file(&loaded.settings.site_file, &loaded.hostpipe().ok()?));
                others.extend(loaded.config().err().map(|error| error.0).unwrap_or_default());
            }
        }
    }
    files.extend(site.map(|path| Looked::at(&path, |text| Site::parse(text).map(drop))));
    let is_valid = others.is_empty() && files.iter().all(|file| file.problems.is_empty());
    let mut text = String::new();
    for Looked { path, problems } in &files {
        for Wrong { line, message } in problems {
            let line = line.map(|line| format!("{line}: ")).unwrap_or_default();
            text.push_str(&format!("{}:{line}{message}\n", path.display()));
        }
    }
    others.iter().for_each(|problem| text.push_str(&format!("{problem}\n")));
    if is_valid {
        let names: Vec<String> = files.iter().map(|file| file.path.display().to_string()).collect();
        text = match names.is_empty() {
            true => "flags and variables are right; there is no file\n".to_owned(),
            false => format!("{}: all right\n", names.join(", ")),
        };
    }
    print(format, &json!({"valid": is_valid, "files": files, "problems": others}), &text)?;
    Ok(if is_valid { Code::Fine } else { Code::No })
}

/// The site's file: the one that is named, or the first of the usual places that has one. As the pipe looks for it.
pub(super) fn site_file(named: &Option<PathBuf>, hostpipe: &Path) -> Option<PathBuf> {
    let usual = [PathBuf::from(vk_pipe::server::SYSTEM_SITE_FILE), hostpipe.join(vk_pipe::server::OWN_SITE_FILE)];
    named.clone().or_else(|| usual.into_iter().find(|path| path.exists()))
}
