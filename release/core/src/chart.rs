//! The chart, packed as `helm package` packs it, but the same each time.

use std::collections::BTreeMap;
use std::io;

use globset::GlobBuilder;

use crate::edition::Edition;
use crate::program::Program;
use crate::tree::{Item, Tree};

/// What the chart is called, which is also the directory in its archive.
pub const NAME: &str = "vk-cmd";
/// Before the name of an image, if nothing is said: what the chart's values have.
pub const IMAGES: &str = "vk-cmd";

/// Why there is no chart.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that every chart has.
    #[error("the chart has no {0} that is text")]
    Missing(&'static str),
    /// The chart would not go with the programs.
    #[error("Chart.yaml does not say `{line}`: set it to the version in Cargo.toml")]
    Version {
        /// The line that it ought to have.
        line: String,
    },
    /// Where the image is named cannot be found.
    #[error("values.yaml does not say `{line}` once: that is where the release names its image")]
    Repository {
        /// The line that it ought to have.
        line: String,
    },
    /// A pattern in `.helmignore`.
    #[error(".helmignore: {pattern:?} is no pattern that is known here")]
    Pattern {
        /// Which.
        pattern: String,
        /// What is wrong with it.
        source: Option<globset::Error>,
    },
    /// It cannot be put into an archive.
    #[error("cannot write the chart")]
    Io(#[from] io::Error),
}

/// The chart's archive, out of its files by their paths in its directory. Its images are in `images`.
///
/// # Errors
/// If the chart is of another version than the release, or not as expected.
pub fn package(mut files: BTreeMap<String, Vec<u8>>, images: &str, edition: &Edition) -> Result<Vec<u8>, Error> {
    let ignored = Ignored::parse(files.get(".helmignore").map(Vec::as_slice).unwrap_or_default())?;
    let chart = text(&files, "Chart.yaml")?;
    let chart = replaced(chart, &edition.version, |version| format!("version: {version}"))?;
    let chart = replaced(&chart, &edition.version, |version| format!("appVersion: \"{version}\""))?;
    let values = text(&files, "values.yaml")?;
    let repository = |images: &str| format!("  repository: {images}/{}", Program::Operator.name());
    let line = repository(IMAGES);
    if values.lines().filter(|have| **have == line).count() != 1 {
        return Err(Error::Repository { line });
    }
    let values = values.replace(&format!("{line}\n"), &format!("{}\n", repository(images)));
    files.insert("Chart.yaml".to_owned(), chart.into_bytes());
    files.insert("values.yaml".to_owned(), values.into_bytes());
    let mut tree = Tree::default();
    for (path, bytes) in files.into_iter().filter(|(path, _)| !ignored.has(path)) {
        tree.put(format!("{NAME}/{path}"), Item::Data(bytes));
    }
    Ok(tree.tar_gz(edition.time)?)
}

fn text<'a>(files: &'a BTreeMap<String, Vec<u8>>, name: &'static str) -> Result<&'a str, Error> {
    files.get(name).and_then(|bytes| str::from_utf8(bytes).ok()).ok_or(Error::Missing(name))
}

/// The text with a line for what the release is called in place of that for the version in Cargo.toml, which it must have.
fn replaced(
    text: &str,
    version: &crate::edition::Version,
    line: impl Fn(&dyn std::fmt::Display) -> String,
) -> Result<String, Error> {
    let wanted = line(&version.number());
    if !text.lines().any(|have| have == wanted) {
        return Err(Error::Version { line: wanted });
    }
    let lines = text.lines().map(|have| if have == wanted { line(version) } else { have.to_owned() });
    Ok(lines.flat_map(|line| [line, "\n".to_owned()]).collect())
}

/// What of a chart's directory is not part of it: `.helmignore`.
struct Ignored(Vec<Pattern>);

struct Pattern {
    glob: globset::GlobMatcher,
    /// Matches the whole path, and not each part of it.
    is_anchored: bool,
    /// Matches directories alone.
    is_directory: bool,
}

impl Ignored {
    fn parse(text: &[u8]) -> Result<Self, Error> {
        let text = String::from_utf8_lossy(text);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(Pattern::parse).collect::<Result<_, _>>().map(Self)
    }

    fn has(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| (at, true)).chain([(path.len(), false)]);
        // Each directory that it is in, and the file itself.
        let mut parts = ends.filter_map(|(end, is_directory)| Some((path.get(..end)?, is_directory)));
        parts.any(|(part, is_directory)| {
            let name = part.rsplit('/').next().unwrap_or(part);
            self.0.iter().any(|pattern| {
                let of = if pattern.is_anchored { part } else { name };
                (is_directory || !pattern.is_directory) && pattern.glob.is_match(of)
            })
        })
    }
}

impl Pattern {
    fn parse(pattern: &str) -> Result<Self, Error> {
        let wrong = |source| Error::Pattern { pattern: pattern.to_owned(), source };
        if pattern.starts_with('!') {
            return Err(wrong(None));
        }
        let is_directory = pattern.ends_with('/');
        let bare = pattern.trim_end_matches('/');
        let is_anchored = bare.contains('/');
        let glob = GlobBuilder::new(bare.trim_start_matches('/')).literal_separator(true).build();
        Ok(Self { glob: glob.map_err(|source| wrong(Some(source)))?.compile_matcher(), is_anchored, is_directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edition::{Architecture, Time, Version};

    fn edition(version: &str, dirty: bool) -> Edition {
        Edition {
            version: Version::new(version, dirty),
            architecture: Architecture::Amd64,
            revision: String::new(),
            time: Time::of_epoch(0),
        }
    }

    fn files() -> BTreeMap<String, Vec<u8>> {
        [
            ("Chart.yaml", "name: vk-cmd\nversion: 0.1.0\nappVersion: \"0.1.0\"\n"),
            ("values.yaml", "image:\n  repository: vk-cmd/vk-operator\n"),
            (".helmignore", "# x\n/ci/\n*.orig\n"),
            ("ci/a.yaml", ""),
            ("templates/ci/b.yaml", ""),
            ("templates/c.orig", ""),
        ]
        .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
        .into()
    }

    fn unpacked(packed: &[u8]) -> BTreeMap<String, String> {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
        let entries =
            archive.entries().unwrap().map(Result::unwrap).filter(|entry| entry.header().entry_type().is_file());
        entries
            .map(|mut entry| {
                let mut text = String::new();
                io::Read::read_to_string(&mut entry, &mut text).unwrap();
                (entry.path().unwrap().display().to_string(), text)
            })
            .collect()
    }

    #[test]
    fn it_holds_what_helm_would_pack() {
        let chart = unpacked(&package(files(), IMAGES, &edition("0.1.0", false)).unwrap());
        assert_eq!(
            chart.keys().collect::<Vec<_>>(),
            ["vk-cmd/.helmignore", "vk-cmd/Chart.yaml", "vk-cmd/templates/ci/b.yaml", "vk-cmd/values.yaml"]
        );
        assert_eq!(chart["vk-cmd/Chart.yaml"].as_bytes(), files()["Chart.yaml"]);
        assert_eq!(chart["vk-cmd/values.yaml"].as_bytes(), files()["values.yaml"]);
    }

    #[test]
    fn it_names_the_image_of_its_release() {
        let chart = unpacked(&package(files(), "registry.example.org/me", &edition("0.1.0", true)).unwrap());
        assert_eq!(chart["vk-cmd/Chart.yaml"], "name: vk-cmd\nversion: 0.1.0-dirty\nappVersion: \"0.1.0-dirty\"\n");
        assert_eq!(chart["vk-cmd/values.yaml"], "image:\n  repository: registry.example.org/me/vk-operator\n");
    }

    #[test]
    fn a_chart_of_another_version_is_refused() {
        let error = package(files(), IMAGES, &edition("0.2.0", false)).unwrap_err().to_string();
        assert!(error.contains("`version: 0.2.0`") && error.contains("Cargo.toml"), "{error}");
        let mut other = files();
        other.insert("values.yaml".to_owned(), b"image: {repository: vk-cmd/vk-operator}\n".to_vec());
        assert!(matches!(package(other, IMAGES, &edition("0.1.0", false)), Err(Error::Repository { .. })));
    }
}
