//! What is said of the nodes' own certificates.

use std::path::{Path, PathBuf};
use std::time::Duration;

use vk_cmd_crds::NodeName;

/// How nodes come to their certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateConfig {
    /// The kubeconfig with which a node that has no certificate yet asks for its first: that of a bootstrap token.
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// Where they are kept, each node's in a directory of its name.
    pub directory: PathBuf,
    /// Whether a node asks the cluster for a serving certificate too, instead of making do with one of its own making.
    pub serving: bool,
    /// For how long they are asked for; `None`: as long as the signer likes.
    pub lifetime: Option<Duration>,
    /// How long after it was taken into use one is replaced; `None`: when most of its time is over. For tests.
    pub rotate_after: Option<Duration>,
}

impl CertificateConfig {
    /// Where the certificates of one node are.
    #[must_use]
    pub fn directory_of(&self, node: &NodeName) -> PathBuf {
        self.directory.join(node.as_str())
    }
}

/// One layer of it. All of it may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateSettings {
    /// See [`CertificateConfig::bootstrap_kubeconfig`].
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// See [`CertificateConfig::directory`].
    pub directory: Option<PathBuf>,
    /// See [`CertificateConfig::serving`].
    pub serving: Option<bool>,
    /// See [`CertificateConfig::lifetime`].
    pub lifetime: Option<Duration>,
    /// See [`CertificateConfig::rotate_after`].
    pub rotate_after: Option<Duration>,
}

impl CertificateSettings {
    /// This layer over a lower one.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        Self {
            bootstrap_kubeconfig: self.bootstrap_kubeconfig.or(lower.bootstrap_kubeconfig),
            directory: self.directory.or(lower.directory),
            serving: self.serving.or(lower.serving),
            lifetime: self.lifetime.or(lower.lifetime),
            rotate_after: self.rotate_after.or(lower.rotate_after),
        }
    }

    /// With the defaults for what is left out: the directory is `pki` in the pipe's.
    pub(super) fn finish(self, pipe: &Path) -> CertificateConfig {
        CertificateConfig {
            bootstrap_kubeconfig: self.bootstrap_kubeconfig,
            directory: self.directory.unwrap_or_else(|| pipe.join("pki")),
            serving: self.serving.unwrap_or(true),
            lifetime: self.lifetime,
            rotate_after: self.rotate_after,
        }
    }
}
