//! From a volume's sources to its files, as the kubelet makes them: what is optional may be missing, what is not is named;
//! of two files of one path the later counts.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use vk_task::{FileContent, FilePath};

use crate::admit::{DownwardValue, FileSource, TokenRequest};
use crate::downward;
use crate::facts::NodeFacts;
use crate::sources::{SourceRef, Sources};

/// What volumes' files are made of, besides the pod itself.
#[derive(Clone, Copy, Debug)]
pub struct Materials<'a> {
    /// What was found of the ConfigMaps and Secrets.
    pub sources: &'a Sources,
    /// The tokens that the API server has made, or why it has not.
    pub tokens: &'a BTreeMap<TokenRequest, Result<String, String>>,
    /// This node.
    pub node: &'a NodeFacts,
}

/// Why a volume is not there (yet), in the kubelet's words for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {}", told(.reasons))]
pub struct NotMade {
    /// Its name.
    pub volume: String,
    /// All the reasons.
    pub reasons: Vec<String>,
}

/// As the kubelet tells of several errors at once.
fn told(reasons: &[String]) -> String {
    match reasons {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

/// Whether the files of a volume of these sources are kept in memory: all but those of ConfigMaps alone, as with the kubelet,
/// so that nothing secret comes onto a disk.
#[must_use]
pub fn are_in_memory(sources: &[FileSource]) -> bool {
    sources.iter().any(|source| match source {
        FileSource::Object { object, .. } => matches!(object, SourceRef::Secret(_)),
        FileSource::Downward(_) | FileSource::Token(_) => true,
    })
}

/// The files of a volume.
///
/// # Errors
/// When something that is not optional is missing, or two files cannot be beside each other.
pub fn make(
    volume: &str,
    (sources, default_mode): (&[FileSource], u32),
    pod: &Pod,
    materials: Materials<'_>,
) -> Result<BTreeMap<FilePath, FileContent>, NotMade> {
    let (mut files, mut reasons) = (BTreeMap::new(), Vec::new());
    for source in sources {
        match of_source(source, default_mode, pod, materials) {
            Ok(more) => files.extend(more),
            Err(reason) => reasons.push(reason),
        }
    }
    reasons.extend(clashes(&files));
    if reasons.is_empty() { Ok(files) } else { Err(NotMade { volume: volume.to_owned(), reasons }) }
}

fn of_source(
    source: &FileSource,
    default_mode: u32,
    pod: &Pod,
    Materials { sources, tokens, node }: Materials<'_>,
) -> Result<Vec<(FilePath, FileContent)>, String> {
    match source {
        FileSource::Object { object, items, optional } => {
            let Some(content) = sources.get(object).and_then(Option::as_ref) else {
                return if *optional { Ok(vec![]) } else { Err(format!("{object} not found")) };
            };
            if items.is_empty() {
                let all = content.data.iter().chain(&content.binary);
                return all.map(|(key, data)| Ok((path(key)?, file(data, default_mode)))).collect();
            }
            let mut files = Vec::new();
            for item in items {
                match content.file(&item.key) {
                    Some(data) => files.push((item.path.clone(), file(data, item.mode.unwrap_or(default_mode)))),
                    None if *optional => {}
                    None => return Err(missing(object, &item.key)),
                }
            }
            Ok(files)
        }
        FileSource::Downward(items) => {
            let made = items.iter().map(|item| {
                let value = match &item.value {
                    DownwardValue::Field(path) => downward::field(path, pod, node),
                    DownwardValue::Resource(selector) => downward::resource(selector, pod, "", node),
                };
                let value = value.map_err(|error| error.to_string())?;
                Ok((item.path.clone(), file(value.as_bytes(), item.mode.unwrap_or(default_mode))))
            });
            made.collect()
        }
        FileSource::Token(token) => match tokens.get(&token.request) {
            Some(Ok(text)) => Ok(vec![(token.path.clone(), file(text.as_bytes(), default_mode))]),
            Some(Err(why)) => Err(format!("failed to fetch token: {why}")),
            None => Err("failed to fetch token: it has not been asked for yet".to_owned()),
        },
    }
}

fn file(data: &[u8], mode: u32) -> FileContent {
    FileContent { data: data.to_vec(), mode }
}

/// The API server lets only keys through that are names of files.
fn path(key: &str) -> Result<FilePath, String> {
    FilePath::new(key).map_err(|error| error.to_string())
}

fn missing(object: &SourceRef, key: &str) -> String {
    match object {
        SourceRef::ConfigMap(_) => format!("configmap references non-existent config key: {key}"),
        SourceRef::Secret(_) => format!("references non-existent secret key: {key}"),
    }
}

/// Files that would have to be directories for others.
fn clashes(files: &BTreeMap<FilePath, FileContent>) -> Vec<String> {
    let is_file = |path: &str| FilePath::new(path).is_ok_and(|path| files.contains_key(&path));
    let parents = files.keys().filter_map(|path| {
        let inner = path.as_str();
        let parent = inner.match_indices('/').filter_map(|(i, _)| inner.get(..i)).find(|parent| is_file(parent))?;
        Some(format!("{parent:?} cannot be a file and the directory of {inner:?}"))
    });
    parents.collect()
}

#[cfg(test)]
mod tests;
