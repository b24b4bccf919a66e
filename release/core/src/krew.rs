//! The manifest by which krew installs the plugin: `cli/krew/cmdjob.yaml.in`, filled in.

use crate::edition::{Architecture, Version};

/// What a release calls it. krew asks that a manifest is called after its plugin.
pub const FILE: &str = "cmdjob.yaml";

/// Where in the template that begins which is there once for each architecture. It goes to the end.
const PLATFORM: &str = "    - selector:";

/// Where the plugin for one architecture is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// What it runs on.
    pub architecture: Architecture,
    /// Where krew gets it.
    pub uri: String,
    /// The archive's SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// The template is not what is filled in here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// It has no platform.
    #[error("cli/krew/cmdjob.yaml.in has no line `{}`: an entry of `platforms` must begin with it", PLATFORM.trim_start())]
    NoPlatform,
    /// It has a word that nothing is known to put in place of.
    #[error("cli/krew/cmdjob.yaml.in has an @ that is none of @VERSION@, @ARCH@, @URI@ and @SHA256@: {0}")]
    Unknown(String),
}

/// The manifest.
///
/// # Errors
/// If the template is not as expected.
pub fn manifest(template: &str, version: &Version, archives: &[Archive]) -> Result<String, Error> {
    let at = template.find(PLATFORM).ok_or(Error::NoPlatform)?;
    let (head, platform) = template.split_at(at);
    let mut text = head.replace("@VERSION@", &version.to_string());
    for archive in archives {
        let platform = platform.replace("@ARCH@", &archive.architecture.to_string());
        text.push_str(&platform.replace("@URI@", &archive.uri).replace("@SHA256@", &archive.sha256));
    }
    // An address may have a sign of its own.
    let left = text.lines().find(|line| line.contains('@') && !line.trim_start().starts_with("uri:"));
    left.map_or(Ok(()), |line| Err(Error::Unknown(line.trim().to_owned())))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str =
        "version: v@VERSION@\nplatforms:\n    - selector: @ARCH@\n      uri: @URI@\n      sha256: @SHA256@\n";

    #[test]
    fn each_architecture_has_its_own_archive() {
        let archive = |architecture, uri: &str, sha256: &str| Archive {
            architecture,
            uri: uri.to_owned(),
            sha256: sha256.to_owned(),
        };
        let archives = [archive(Architecture::Amd64, "u@1", "h1"), archive(Architecture::Arm64, "u2", "h2")];
        assert_eq!(
            manifest(TEMPLATE, &Version::new("1.0.0", false), &archives).unwrap(),
            "version: v1.0.0\nplatforms:\n    - selector: amd64\n      uri: u@1\n      sha256: h1\n    \
             - selector: arm64\n      uri: u2\n      sha256: h2\n"
        );
    }

    #[test]
    fn what_nobody_fills_in_is_an_error() {
        let version = Version::new("1.0.0", false);
        assert_eq!(manifest("version: v@VERSION@\n", &version, &[]), Err(Error::NoPlatform));
        let other = format!("name: @NAME@\n{TEMPLATE}");
        assert_eq!(manifest(&other, &version, &[]), Err(Error::Unknown("name: @NAME@".to_owned())));
    }
}
