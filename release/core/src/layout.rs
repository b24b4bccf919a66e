//! What the archive of a program holds, and where: laid out so that `tar -xzf ARCHIVE -C ~/.local` puts everything where a shell, `man`
//! and the completions of bash and fish look for it (XDG base directories, file-hierarchy(7)).

use std::collections::BTreeMap;

use crate::program::Program;
use crate::tree::{Item, Tree};

/// A shell whose words are completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shell {
    /// bash, with the package bash-completion.
    Bash,
    /// zsh; the directory must be in `$fpath`.
    Zsh,
    /// fish
    Fish,
}

impl Shell {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bash, Self::Zsh, Self::Fish];

    /// Where it looks for the completions of a program.
    fn path(self, program: &str) -> String {
        match self {
            Self::Bash => format!("share/bash-completion/completions/{program}"),
            Self::Zsh => format!("share/zsh/site-functions/_{program}"),
            Self::Fish => format!("share/fish/vendor_completions.d/{program}.fish"),
        }
    }
}

/// What is made of a program's command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// Manual pages of section 1, by the names of their files: `vk-node-run.1`.
    pub manual: BTreeMap<String, Vec<u8>>,
    /// What completes words.
    pub completions: BTreeMap<Shell, Vec<u8>>,
}

/// Where the program is in its archive.
#[must_use]
pub fn program_path(program: Program) -> String {
    format!("bin/{}", program.name())
}

/// Where the license is in it.
#[must_use]
pub fn license_path(program: Program) -> String {
    format!("share/doc/{}/LICENSE", program.name())
}

/// The archive of a program, with our license and the [`crate::notices`] of others.
#[must_use]
pub fn archive(program: Program, bytes: Vec<u8>, pages: Pages, license: Vec<u8>, notices: String) -> Tree {
    let mut tree = Tree::default();
    tree.put(program_path(program), Item::Program(bytes));
    if let Some(name) = program.other_name() {
        tree.put(format!("bin/{name}"), Item::Link(program.name().to_owned()));
    }
    for (name, page) in pages.manual {
        tree.put(format!("share/man/man1/{name}"), Item::Data(page));
    }
    for (shell, script) in pages.completions {
        tree.put(shell.path(program.name()), Item::Data(script));
    }
    tree.put(license_path(program), Item::Data(license));
    tree.put(format!("share/doc/{}/{}", program.name(), crate::notices::FILE), Item::Data(notices.into_bytes()));
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_where_it_is_looked_for() {
        let pages = Pages {
            manual: [("kubectl-cmdjob.1".to_owned(), Vec::new())].into(),
            completions: Shell::ALL.map(|shell| (shell, Vec::new())).into(),
        };
        let tree = archive(Program::Plugin, Vec::new(), pages, Vec::new(), String::new());
        assert_eq!(
            tree.paths().collect::<Vec<_>>(),
            [
                "bin/kubectl-cmdjob",
                "bin/kubectl_complete-cmdjob",
                "share/bash-completion/completions/kubectl-cmdjob",
                "share/doc/kubectl-cmdjob/LICENSE",
                "share/doc/kubectl-cmdjob/THIRD-PARTY-LICENSES",
                "share/fish/vendor_completions.d/kubectl-cmdjob.fish",
                "share/man/man1/kubectl-cmdjob.1",
                "share/zsh/site-functions/_kubectl-cmdjob",
            ]
        );
    }
}
