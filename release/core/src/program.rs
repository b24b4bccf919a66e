//! The programs of a release.

/// A program that is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// What a site runs.
    Node,
    /// What runs in the cluster.
    Operator,
    /// The plugin of kubectl.
    Plugin,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Node, Self::Operator, Self::Plugin];

    /// What its file is called, and all that is about it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "vk-node",
            Self::Operator => "vk-operator",
            Self::Plugin => "kubectl-cmdjob",
        }
    }

    /// The package that it is built of.
    #[must_use]
    pub fn package(self) -> &'static str {
        match self {
            Self::Node => "vk-node",
            Self::Operator => "vk-operator",
            Self::Plugin => "vk-cli",
        }
    }

    /// The alias in `.cargo/config.toml` that builds it as a static program.
    #[must_use]
    pub fn alias(self) -> &'static str {
        match self {
            Self::Node => "static",
            Self::Operator => "static-operator",
            Self::Plugin => "static-plugin",
        }
    }

    /// Another name that the program answers to. kubectl looks for one that completes the words of its plugin.
    #[must_use]
    pub fn other_name(self) -> Option<&'static str> {
        match self {
            Self::Node | Self::Operator => None,
            Self::Plugin => Some("kubectl_complete-cmdjob"),
        }
    }

    /// Whether there is an image of it, with a Containerfile in `images/`.
    #[must_use]
    pub fn has_image(self) -> bool {
        match self {
            Self::Node | Self::Operator => true,
            Self::Plugin => false,
        }
    }
}
