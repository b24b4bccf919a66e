//! Flags over variables over the file, and who says what.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use vk_node_core::config::{self, ConfigError, Layer, NO_HOME, NodeConfig, Origin, Settings, Shown, home_pipe};

use super::run::{Meant, Run, given};
use super::sources::Sources;

/// What the layers come to.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// All of them over each other, without the defaults.
    pub(crate) settings: Settings,
    /// What is in force, and who says so.
    pub(crate) shown: Vec<Shown>,
    /// The file, if there is one.
    pub(crate) file: Option<PathBuf>,
}

impl Loaded {
    /// What a node works with.
    ///
    /// # Errors
    /// All that is missing or does not fit together.
    pub(crate) fn config(self) -> Result<NodeConfig, ConfigError> {
        self.settings.finish(std::env::home_dir())
    }

    /// What is logged, where the command line says nothing else.
    pub(crate) fn log(&self) -> &str {
        self.settings.log.as_deref().unwrap_or(config::LOG)
    }

    /// The directory of the pipe.
    ///
    /// # Errors
    /// When nobody says, and there is no home directory.
    pub(crate) fn hostpipe(&self) -> anyhow::Result<PathBuf> {
        self.settings.hostpipe.clone().or_else(|| home_pipe(std::env::home_dir())).context(NO_HOME)
    }
}

/// All that the node is started with: flags and their variables over the original's variables over the file.
///
/// # Errors
/// All that is wrong with the variables, or else with the file.
pub(crate) fn load(run: &Run, log: Option<&str>, sources: &Sources) -> anyhow::Result<Loaded> {
    let file = match run.file() {
        Meant::None => None,
        Meant::One(file) => Some(file),
        Meant::Several(files) => {
            let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
            bail!(
                "several nodes have joined with this pipe's directory: say which one is meant, --config {}",
                files.join(" or --config ")
            );
        }
    };
    let variables = config::from_environment(|name| std::env::var(name).ok()).map_err(ConfigError);
    let (text, said) = match &file {
        Some(path) => read_file(path)?,
        None => (String::new(), Settings::default()),
    };
    let flags = Settings { log: log.map(str::to_owned), ..given(run.clone()) };
    let by_flag = |path: &[String]| sources.of_setting(path);
    let by_variable = |path: &[String]| {
        let key = path.first().map_or("", String::as_str);
        Origin::Variable { name: config::variable_of(key).unwrap_or(key).to_owned() }
    };
    let shown_as = file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let by_file = |path: &[String]| Origin::File { path: shown_as.clone(), line: config::line_of(&text, path) };
    let layers = [
        Layer { settings: flags, origin: &by_flag },
        Layer { settings: variables?, origin: &by_variable },
        Layer { settings: said, origin: &by_file },
    ];
    let shown = config::effective(&layers, std::env::home_dir());
    let settings = layers.into_iter().fold(Settings::default(), |upper, layer| upper.over(layer.settings));
    Ok(Loaded { settings, shown, file })
}

fn read_file(path: &Path) -> anyhow::Result<(String, Settings)> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the file of --config, {name}"))?;
    let path = std::path::absolute(path).with_context(|| format!("cannot tell where {name} is"))?;
    let directory = path.parent().unwrap_or(&path);
    let settings =
        config::read(&text, directory).with_context(|| format!("the file of --config, {name}, makes no sense"))?;
    Ok((text, settings))
}
