//! What is logged: by the command line, and by a file that may change while the operator runs (a ConfigMap that is mounted).
//!
//! The file is looked at every few seconds. A ConfigMap changes by a rename of the directory that it is in, so that a watch on
//! the file would not hear of it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{info, warn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Begins to log, by the file if there is one that says something.
///
/// # Errors
/// When something logs already.
pub fn begin(by_flags: &EnvFilter, file: Option<PathBuf>) -> anyhow::Result<Follow> {
    let mut follow = Follow { file, filter: Filter::new(by_flags.to_string()), handle: None };
    let read = follow.file.as_deref().map(std::fs::read_to_string);
    let change = read.and_then(|read| follow.filter.read(read));
    // What is wrong with it cannot be said yet; it is said by the first look.
    let first = match change {
        Some(Change::Use(filter)) => *filter,
        Some(Change::Complain(_)) | None => {
            follow.filter = Filter::new(by_flags.to_string());
            by_flags.to_string().parse()?
        }
    };
    let (layer, handle) = reload::Layer::new(first);
    let output = fmt::layer().with_writer(io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(layer).with(output).try_init()?;
    follow.handle = Some(handle);
    Ok(follow)
}

/// Follows the file.
pub struct Follow {
    file: Option<PathBuf>,
    filter: Filter,
    handle: Option<Handle<EnvFilter, Registry>>,
}

impl Follow {
    /// Looks for ever.
    pub async fn run(mut self) {
        let Some((file, handle)) = self.file.take().zip(self.handle.take()) else {
            return std::future::pending().await;
        };
        loop {
            self.look(&file, &handle).await;
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn look(&mut self, file: &Path, handle: &Handle<EnvFilter, Registry>) {
        let file_says = tokio::fs::read_to_string(file).await;
        match self.filter.read(file_says) {
            Some(Change::Use(filter)) => match handle.reload(*filter) {
                Ok(()) => info!(file = %file.display(), "logs by {}", self.filter.used),
                Err(error) => warn!("cannot change what is logged: {error}"),
            },
            Some(Change::Complain(why)) => {
                warn!(file = %file.display(), "logs by {} as before: {why}", self.filter.used);
            }
            None => {}
        }
    }
}

/// What is to be done after a look at the file.
#[derive(Debug)]
enum Change {
    /// Log by this from now on.
    Use(Box<EnvFilter>),
    /// Go on as before, and say why.
    Complain(String),
}

/// What is logged by, and what the file has said.
struct Filter {
    /// What the flags say, which counts where the file says nothing.
    by_flags: String,
    /// What is used.
    used: String,
    /// What was wrong with the file at the last look.
    wrong: Option<String>,
}

impl Filter {
    fn new(by_flags: String) -> Self {
        Self { used: by_flags.clone(), by_flags, wrong: None }
    }

    /// Something is to be done only if what the file says is new.
    fn read(&mut self, file: io::Result<String>) -> Option<Change> {
        let text = match file {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return self.complain(format!("it cannot be read: {error}")),
        };
        let wanted = if text.is_empty() { self.by_flags.clone() } else { text };
        match wanted.parse::<EnvFilter>() {
            Ok(filter) => {
                self.wrong = None;
                (wanted != self.used).then(|| {
                    self.used = wanted;
                    Change::Use(Box::new(filter))
                })
            }
            Err(error) => self.complain(format!("{wanted:?} is no filter: {error}")),
        }
    }

    fn complain(&mut self, why: String) -> Option<Change> {
        let is_new = self.wrong.as_ref() != Some(&why);
        self.wrong = Some(why.clone());
        is_new.then_some(Change::Complain(why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(filter: &mut Filter, file: io::Result<&str>) -> String {
        match filter.read(file.map(str::to_owned)) {
            None => "-".to_owned(),
            Some(Change::Use(filter)) => format!("use {filter}"),
            Some(Change::Complain(why)) => format!("wrong: {why}"),
        }
    }

    #[test]
    fn what_is_new_is_used_and_what_is_wrong_is_said_once() {
        let mut filter = Filter::new("info".to_owned());
        let missing = || Err(io::Error::from(ErrorKind::NotFound));
        let unreadable = || Err(io::Error::from(ErrorKind::PermissionDenied));
        for (file, expected) in [
            (missing(), "-"),
            (Ok("\n"), "-"),
            (Ok("info"), "-"),
            (Ok("debug\n"), "use debug"),
            (Ok("debug"), "-"),
            (Ok("vk_operator=nonsense"), "wrong: "),
            (Ok("vk_operator=nonsense"), "-"),
            (Ok("vk_operator=other"), "wrong: "),
            (unreadable(), "wrong: it cannot be read"),
            (unreadable(), "-"),
            (Ok("debug"), "-"),
            (unreadable(), "wrong: it cannot be read"),
            (Ok("warn,vk_operator=trace"), "use "),
            (missing(), "use info"),
            (missing(), "-"),
        ] {
            let said = says(&mut filter, file);
            assert!(said.starts_with(expected), "{said} is not {expected}");
        }
    }
}
