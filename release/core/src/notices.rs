//! The licenses of what is linked into a program, with their texts: most ask that whoever hands the program on hands these on too.

use std::collections::BTreeMap;

use crate::program::Program;
use crate::sbom::Key;

/// What the file is called.
pub const FILE: &str = "THIRD-PARTY-LICENSES";

/// What a package asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which package.
    pub package: Key,
    /// Its license, in SPDX's words.
    pub license: String,
    /// What it says of it, file by file. Some say nothing: then only its name is told.
    pub texts: Vec<String>,
}

/// Whether a package's file of this name says something of its license.
#[must_use]
pub fn is_notice(file: &str) -> bool {
    let name = file.to_ascii_uppercase();
    ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"].iter().any(|begin| name.starts_with(begin))
}

/// All of them, each text once.
#[must_use]
pub fn of(program: Program, notices: &[Notice]) -> String {
    let mut text = format!(
        "{} is linked with what is named here, under the licenses named here. Their texts follow, each once.\n\n",
        program.name()
    );
    let mut by_text: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for notice in notices {
        text.push_str(&format!("{} {}\n", notice.package, notice.license));
        for one in &notice.texts {
            by_text.entry(plain(one)).or_default().push(notice.package.to_string());
        }
    }
    // In the order of the first package that has it.
    let mut texts: Vec<(Vec<String>, String)> = by_text.into_iter().map(|(text, packages)| (packages, text)).collect();
    texts.sort();
    for (packages, one) in texts {
        text.push_str(&format!("\n{}\n{}\n\n{one}\n", "-".repeat(80), packages.join(", ")));
    }
    text
}

/// Without what differs between systems and editors.
fn plain(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_there_once_with_all_who_have_it() {
        let notice = |name: &str, texts: &[&str]| Notice {
            package: Key { name: name.to_owned(), version: "1.0.0".to_owned() },
            license: "MIT".to_owned(),
            texts: texts.iter().map(|&text| text.to_owned()).collect(),
        };
        let notices = [
            notice("a", &["mine\r\n"]),
            notice("b", &["ours\n", "second"]),
            notice("c", &["ours  \n\n"]),
            notice("d", &[]),
        ];
        let line = "-".repeat(80);
        assert_eq!(
            of(Program::Node, &notices),
            format!(
                "vk-node is linked with what is named here, under the licenses named here. Their texts follow, each once.\n\n\
                 a@1.0.0 MIT\nb@1.0.0 MIT\nc@1.0.0 MIT\nd@1.0.0 MIT\n\n\
                 {line}\na@1.0.0\n\nmine\n\n{line}\nb@1.0.0\n\nsecond\n\n{line}\nb@1.0.0, c@1.0.0\n\nours\n"
            )
        );
    }

    #[test]
    fn notices_are_known_by_their_names() {
        for name in ["LICENSE", "LICENSE-MIT", "license.txt", "COPYING", "NOTICE.md", "LICENCE"] {
            assert!(is_notice(name), "{name}");
        }
        for name in ["README.md", "Cargo.toml", "src"] {
            assert!(!is_notice(name), "{name}");
        }
    }
}
