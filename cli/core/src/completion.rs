//! What completion by the Tab key is told: kubectl runs `kubectl_complete-cmdjob` with the words of the command line, and reads what
//! cobra's programs print: a candidate on each line, with a tab before what it means, and at last a directive.
//!
//! See "Directives" in cobra's documentation of completions, `shellCompDirective` in its `completions.go`.

/// The name of the program that kubectl runs for it.
pub const PROGRAM: &str = "kubectl_complete-cmdjob";
/// No space behind the word.
const NO_SPACE: u8 = 2;
/// No names of files where there are no candidates.
const NO_FILES: u8 = 4;

/// A word that the line could go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The word.
    pub word: String,
    /// What it means.
    pub help: Option<String>,
}

/// What is printed for these candidates of the word that is being typed.
#[must_use]
pub fn answer(typed: &str, candidates: &[Candidate]) -> String {
    // Of `--flag=va` only what is behind the sign is completed.
    let flag = typed.split_once('=').filter(|(flag, _)| flag.starts_with('-')).map(|(flag, _)| format!("{flag}="));
    let mut text = String::new();
    let mut goes_on = !candidates.is_empty();
    for Candidate { word, help } in candidates {
        let word = flag.as_ref().and_then(|flag| word.strip_prefix(&**flag)).unwrap_or(word);
        goes_on &= word.ends_with(['/', '=']);
        text.push_str(word);
        let help = help.as_deref().and_then(|help| help.lines().next()).filter(|help| !help.is_empty());
        if let Some(help) = help {
            text.push('\t');
            text.push_str(help);
        }
        text.push('\n');
    }
    let directive = if goes_on { NO_FILES | NO_SPACE } else { NO_FILES };
    text.push_str(&format!(":{directive}\n"));
    text
}

/// How to have it.
#[must_use]
pub fn how_to() -> String {
    format!(
        "kubectl completes the words of this plugin if it finds {PROGRAM} on the PATH, which is the plugin under another name:\n\
         \n  ln -s kubectl-cmdjob \"$(dirname \"$(command -v kubectl-cmdjob)\")/{PROGRAM}\"\n\n\
         kubectl's own completion must be there too: source <(kubectl completion bash), or zsh, fish or powershell.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(word: &str, help: &str) -> Candidate {
        Candidate { word: word.to_owned(), help: (!help.is_empty()).then(|| help.to_owned()) }
    }

    #[test]
    fn cobra_can_read_it() {
        assert_eq!(answer("", &[]), ":4\n");
        let two = [candidate("list", "List jobs\nand more"), candidate("logs", "")];
        assert_eq!(answer("l", &two), "list\tList jobs\nlogs\n:4\n");
        assert_eq!(answer("--out", &[candidate("--output=", "")]), "--output=\n:6\n");
        assert_eq!(answer("--node=vk", &[candidate("--node=vk-a", "idle")]), "vk-a\tidle\n:4\n");
        assert_eq!(answer("dir", &[candidate("dir/", "")]), "dir/\n:6\n");
    }
}
