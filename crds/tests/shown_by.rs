//! What the documentation names of the source is there: a page that says by which test something is shown cannot outlive the test.
//!
//! Of what stands in backticks on a page,
//!
//! - a name of three words or more (`a_full_disk_costs_no_end`, a metric) is somewhere in the source; `…` at its end stands for the rest;
//! - a name behind "e2e" is a test or a module there;
//! - in a column or a paragraph "shown by" every name with an underscore is a test, or a module of tests;
//! - what begins as a path of the repository is one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so that it failed")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Names of Linux and Kubernetes.
const OTHERS: [&str; 3] =
    ["apiserver_validating_admission_policy_check_duration_seconds", "find_inode_bit", "no_new_privs"];
/// Files with these endings are source.
const SOURCE: [&str; 6] = ["rs", "yaml", "tpl", "json", "toml", "sh"];

#[derive(Default)]
struct Source {
    /// Every name of three words or more.
    names: BTreeSet<String>,
    /// What a test may be called: functions, and texts, for some tests are rows of a table.
    tests: BTreeSet<String>,
    /// Files and directories without their endings, for modules are named after them: those of end-to-end tests, and all.
    ends: BTreeSet<String>,
    modules: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files below, but for what builds leave there.
fn files(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if path.is_dir() && !path.is_symlink() && !name.starts_with('.') && !name.starts_with("target") {
            files(&path, into);
        } else if path.is_file() {
            into.push(path);
        }
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether it is a name of at least so many words, in small letters.
fn has_words(text: &str, at_least: usize) -> bool {
    let is_small = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    is_small
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.split('_').filter(|w| !w.is_empty()).count() >= at_least
}

impl Source {
    fn read() -> Self {
        let mut this = Self::default();
        let mut all = Vec::new();
        files(&root(), &mut all);
        for path in all {
            let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default();
            if !SOURCE.contains(&ending) {
                continue;
            }
            // This one has names in its rules.
            if path.ends_with(file!()) {
                continue;
            }
            let Ok(text) = fs::read_to_string(&path) else { continue };
            this.names.extend(text.split(|c| !is_name(c)).filter(|name| has_words(name, 3)).map(str::to_owned));
            if ending == "rs" {
                this.add_tests(&path, &text);
            }
        }
        this
    }

    fn add_tests(&mut self, path: &Path, text: &str) {
        let functions = text.split("fn ").skip(1).filter_map(|rest| rest.split(|c| !is_name(c)).next());
        let texts = text.split('"').filter(|text| text.chars().all(is_name));
        self.tests.extend(functions.chain(texts).filter(|name| !name.is_empty()).map(str::to_owned));
        let relative = path.strip_prefix(root()).unwrap().with_extension("");
        let parts: Vec<&str> = relative.iter().filter_map(OsStr::to_str).collect();
        let is_end = relative.starts_with("e2e/tests");
        for part in parts {
            self.modules.insert(part.to_owned());
            if is_end {
                self.ends.insert(part.to_owned());
            }
        }
    }

    /// What is wrong with a name: nothing, or why.
    fn problem(&self, span: &str, before: &str, is_shown_by: bool) -> Option<&'static str> {
        let (name, is_cut) = span.strip_suffix('…').map_or((span, false), |name| (name, true));
        let has = |all: &BTreeSet<String>| {
            all.contains(name)
                || (is_cut && all.range(name.to_owned()..).next().is_some_and(|next| next.starts_with(name)))
        };
        let is_test = || has(&self.tests) || has(&self.modules);
        if before.trim_end().ends_with("e2e") && has_words(name, 1) {
            return (!has(&self.tests) && !has(&self.ends)).then_some("no test or module of e2e/tests is called so");
        }
        if is_shown_by && has_words(name, 2) {
            return (!is_test()).then_some("no test and no module of tests is called so");
        }
        if has_words(name, 3) && !OTHERS.contains(&name) {
            return (!has(&self.names)).then_some("it is nowhere in the source");
        }
        None
    }
}

/// Whether it is meant as a path of the repository.
fn is_path(span: &str) -> bool {
    let Some((first, rest)) = span.split_once('/') else { return false };
    let is_plain = span.chars().all(|c| is_name(c) || "-./".contains(c));
    const PLACES: [&str; 11] =
        ["api-client", "charts", "cli", "crds", "docs", "e2e", "images", "model", "operator", "relay", "vk-node"];
    is_plain && !rest.is_empty() && PLACES.contains(&first)
}

/// Whether a heading, or the beginning of a paragraph or a column, says that tests follow.
fn says_shown_by(text: &str) -> bool {
    let text = text.trim().trim_start_matches('#').trim().to_lowercase();
    ["shown by", "what shows it", "what shows"].iter().any(|words| text.starts_with(words))
}

#[test]
fn what_pages_name_of_the_source_is_there() {
    let source = Source::read();
    let mut pages = vec![root().join("README.md"), root().join("charts/vk-cmd/README.md")];
    files(&root().join("docs"), &mut pages);
    let (mut wrong, mut names) = (Vec::new(), 0);
    for page in pages.iter().filter(|page| page.extension() == Some(OsStr::new("md"))) {
        let text = fs::read_to_string(page).unwrap();
        let place = page.strip_prefix(root()).unwrap_or(page).display();
        // In which columns of the present table tests stand, and whether they do in the present section or paragraph.
        let (mut columns, mut in_section, mut in_paragraph, mut is_code) = (Vec::new(), false, false, false);
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                is_code = !is_code;
            }
            if is_code {
                continue;
            }
            if line.starts_with('#') {
                in_section = says_shown_by(line);
            }
            let is_row = line.starts_with('|');
            if !is_row {
                columns.clear();
            } else if columns.is_empty() {
                columns = line.split('|').map(says_shown_by).collect();
            }
            in_paragraph = !line.is_empty() && !is_row && (in_paragraph || says_shown_by(line));
            let cells: Vec<&str> = if is_row { line.split('|').collect() } else { vec![line] };
            for (column, cell) in cells.iter().enumerate() {
                let here = in_section || in_paragraph || (is_row && columns.get(column) == Some(&true));
                let pieces: Vec<&str> = cell.split('`').collect();
                for pair in pieces.chunks_exact(2) {
                    let [before, span] = pair else { continue };
                    names += 1;
                    if is_path(span) && !root().join(span.trim_end_matches('/')).exists() {
                        wrong.push(format!("{place}:{}: `{span}`: there is no such path", number + 1));
                    } else if let Some(why) = source.problem(span.trim_end_matches("::"), before, here) {
                        wrong.push(format!("{place}:{}: `{span}`: {why}", number + 1));
                    }
                }
            }
        }
    }
    assert!(names > 1000, "{names} names");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn rules_find_what_they_are_for() {
    let mut source = Source::default();
    source.names.insert("a_full_disk_costs_no_end".into());
    source.add_tests(
        &root().join("e2e/tests/e2e/site_admin.rs"),
        "#[test]\nfn a_test_of_it() {}\nrow(\"another_one\", f)",
    );
    let problem = |span, before, shown| source.problem(span, before, shown).is_some();
    assert!(!problem("a_full_disk_costs_no_end", "", false) && !problem("a_full_disk_…", "", false));
    assert!(problem("a_full_disk_costs_an_end", "", false) && problem("a_fuller_disk_…", "", false));
    assert!(
        !problem("another_one", "", true) && problem("another_two", "", true) && !problem("another_two", "", false)
    );
    assert!(
        !problem("site_admin", "e2e ", false)
            && problem("site_admins", "e2e ", false)
            && !problem("some text", "", true)
    );
    assert!(is_path("crds/src/lib.rs") && !is_path("cmd/x") && !is_path("operator/src/{a,b}.rs"));
    assert!(
        says_shown_by("## Shown by")
            && says_shown_by(" shown by ")
            && says_shown_by("What shows it: x")
            && !says_shown_by("x shown by")
    );
}
