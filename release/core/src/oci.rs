//! Images, as archives of the OCI image layout: what podman, skopeo, buildah, docker and containerd read.
//!
//! What is in an image is said once, by its Containerfile. Of the instructions of such files those are known that ours have; any
//! other is an error.

use std::collections::HashMap;
use std::io;

use oci_spec::OciSpecError;
use oci_spec::image::{
    ANNOTATION_LICENSES, ANNOTATION_REF_NAME, ANNOTATION_REVISION, ANNOTATION_TITLE, ANNOTATION_VERSION, Arch, Config,
    ConfigBuilder, Descriptor, DescriptorBuilder, Digest, HistoryBuilder, ImageConfigurationBuilder, ImageIndexBuilder,
    ImageManifestBuilder, MediaType, OciLayoutBuilder, Os, PlatformBuilder, RootFsBuilder, SCHEMA_VERSION,
};
use parse_dockerfile::{Command, Instruction, Source};
use serde::Serialize;

use crate::edition::{Architecture, Edition};
use crate::program::Program;
use crate::sums::sha256;
use crate::tree::{Item, Tree, gzip};

/// What containerd calls an image that it imports.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// The version of the layout, which is not that of the specification.
const LAYOUT_VERSION: &str = "1.0.0";

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Containerfile is not one.
    #[error("the Containerfile of {image} does not parse")]
    Syntax {
        /// Whose it is.
        image: &'static str,
        /// What is wrong.
        source: parse_dockerfile::Error,
    },
    /// It asks for what is not done here.
    #[error(
        "the Containerfile of {image}: {what}; known are FROM scratch, COPY of the program, and USER, ENV, ENTRYPOINT and CMD with \
         values as they are"
    )]
    Unknown {
        /// Whose it is.
        image: &'static str,
        /// What it asks for.
        what: String,
    },
    /// What is to be written is not as the specification asks.
    #[error("cannot describe the image")]
    Spec(#[from] OciSpecError),
    /// It cannot be written.
    #[error("cannot write the description of the image")]
    Json(#[from] serde_json::Error),
    /// It cannot be put into an archive.
    #[error("cannot write the image")]
    Io(#[from] io::Error),
}

/// What a Containerfile says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    program: Program,
    /// Where the program is, without the `/` before it.
    path: String,
    user: Option<String>,
    env: Vec<String>,
    entrypoint: Vec<String>,
    command: Vec<String>,
}

impl Image {
    /// Reads the Containerfile of a program's image.
    ///
    /// # Errors
    /// If it does not parse, or asks for what is not known here.
    pub fn parse(program: Program, containerfile: &str) -> Result<Self, Error> {
        let image = program.name();
        let unknown = |what: String| Error::Unknown { image, what };
        let parsed = parse_dockerfile::parse(containerfile).map_err(|source| Error::Syntax { image, source })?;
        let mut read = Self {
            program,
            path: String::new(),
            user: None,
            env: Vec::new(),
            entrypoint: Vec::new(),
            command: Vec::new(),
        };
        for instruction in &parsed.instructions {
            read.take(instruction).map_err(unknown)?;
        }
        if read.path.is_empty() {
            return Err(unknown("no COPY of the program".to_owned()));
        }
        Ok(read)
    }

    /// Does what an instruction says; else what is not known of it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else there is, now or later, is not known")]
    fn take(&mut self, instruction: &Instruction<'_>) -> Result<(), String> {
        match instruction {
            Instruction::From(from) if from.image.value == "scratch" && from.options.is_empty() => {}
            Instruction::Copy(copy) if copy.options.is_empty() => {
                let from: Vec<&str> = copy.src.iter().map(source).collect();
                let to = copy.dest.value.strip_prefix('/').filter(|to| !to.is_empty() && !to.ends_with('/'));
                match to {
                    Some(to) if from == [self.program.name()] && self.path.is_empty() => self.path = to.to_owned(),
                    _ => return Err(format!("COPY of {from:?} to {:?}", copy.dest.value)),
                }
            }
            Instruction::User(user) => self.user = Some(plain(&user.arguments.value)?),
            Instruction::Env(env) => {
                let variable = plain(&env.arguments.value)?;
                if !variable.contains('=') {
                    return Err(format!("ENV {variable} without a ="));
                }
                self.env.push(variable);
            }
            Instruction::Entrypoint(entrypoint) => self.entrypoint = words(&entrypoint.arguments)?,
            Instruction::Cmd(command) => self.command = words(&command.arguments)?,
            other => {
                // The crate calls them after their keywords.
                let all = format!("{other:?}");
                let keyword = all.split('(').next().unwrap_or_default().to_uppercase();
                return Err(format!("an instruction {keyword} like this"));
            }
        }
        Ok(())
    }

    fn config(&self, edition: &Edition) -> Result<Config, Error> {
        let labels: HashMap<String, String> = [
            (ANNOTATION_TITLE, self.program.name().to_owned()),
            (ANNOTATION_VERSION, edition.version.to_string()),
            (ANNOTATION_REVISION, edition.revision.clone()),
            (ANNOTATION_LICENSES, "Apache-2.0".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let mut config = ConfigBuilder::default().entrypoint(self.entrypoint.clone()).cmd(self.command.clone());
        if let Some(user) = &self.user {
            config = config.user(user.clone());
        }
        if !self.env.is_empty() {
            config = config.env(self.env.clone());
        }
        Ok(config.labels(labels).build()?)
    }

    /// The image with this program in it, as an archive. `name` is what it is called where it is loaded.
    ///
    /// # Errors
    /// If it cannot be described: none that is known.
    pub fn archive(&self, program: Vec<u8>, name: &str, edition: &Edition) -> Result<Vec<u8>, Error> {
        let (architecture, time) = (arch(edition.architecture), edition.time);
        let mut root = Tree::default();
        root.put(self.path.clone(), Item::Program(program));
        let unpacked = root.tar(time)?;
        let mut layout = Tree::default();
        let layer = blob(&mut layout, gzip(&unpacked)?, MediaType::ImageLayerGzip)?.build()?;
        let rootfs = RootFsBuilder::default().typ("layers").diff_ids(vec![format!("sha256:{}", sha256(&unpacked))]);
        let history = HistoryBuilder::default().created(time.to_string()).created_by(format!("COPY /{}", self.path));
        let configuration = ImageConfigurationBuilder::default()
            .created(time.to_string())
            .architecture(architecture.clone())
            .os(Os::Linux)
            .config(self.config(edition)?)
            .rootfs(rootfs.build()?)
            .history(vec![history.build()?])
            .build()?;
        let configuration = blob(&mut layout, json(&configuration)?, MediaType::ImageConfig)?.build()?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(configuration)
            .layers(vec![layer])
            .build()?;
        let names = [ANNOTATION_REF_NAME, CONTAINERD_NAME].map(|key| (key.to_owned(), name.to_owned()));
        let manifest: Descriptor = blob(&mut layout, json(&manifest)?, MediaType::ImageManifest)?
            .annotations(HashMap::from(names))
            .platform(PlatformBuilder::default().architecture(architecture).os(Os::Linux).build()?)
            .build()?;
        let index = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests(vec![manifest])
            .build()?;
        layout.put("index.json", Item::Data(json(&index)?));
        let version = OciLayoutBuilder::default().image_layout_version(LAYOUT_VERSION).build()?;
        layout.put("oci-layout", Item::Data(json(&version)?));
        Ok(layout.tar(time)?)
    }
}

fn source<'a>(source: &'a Source<'_>) -> &'a str {
    match source {
        Source::Path(path) => &path.value,
        Source::HereDoc(_) | _ => "a here-document",
    }
}

/// A value in which nothing is to be put in place of anything.
fn plain(value: &str) -> Result<String, String> {
    let is_plain = !value.contains(['$', '"', '\'', '\\', ' ']);
    is_plain.then(|| value.to_owned()).ok_or_else(|| format!("the value {value:?}"))
}

fn words(command: &Command<'_>) -> Result<Vec<String>, String> {
    match command {
        Command::Exec(words) => Ok(words.value.iter().map(|word| word.value.clone().into_owned()).collect()),
        Command::Shell(line) => Err(format!("the line {:?} for a shell, which the image does not have", line.value)),
        _ => Err("a command that is neither an array nor a line".to_owned()),
    }
}

fn arch(architecture: Architecture) -> Arch {
    match architecture {
        Architecture::Amd64 => Arch::Amd64,
        Architecture::Arm64 => Arch::ARM64,
    }
}

/// Puts a blob into the layout; what is to be said of it.
fn blob(layout: &mut Tree, bytes: Vec<u8>, kind: MediaType) -> Result<DescriptorBuilder, Error> {
    let (digest, size) = (sha256(&bytes), bytes.len() as u64);
    layout.put(format!("blobs/sha256/{digest}"), Item::Data(bytes));
    let digest: Digest = format!("sha256:{digest}").parse()?;
    Ok(DescriptorBuilder::default().media_type(kind).digest(digest).size(size))
}

/// JSON with the keys of every object in order: the crate's maps have none.
fn json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut value = serde_json::to_value(value)?;
    value.sort_all_objects();
    Ok(serde_json::to_vec(&value)?)
}

#[cfg(test)]
#[path = "oci_tests.rs"]
mod tests;
