//! What is run: a script, one with arguments, or a program.

/// The longest argument of execve on Linux (`MAX_ARG_STRLEN`), the zero at its end included.
const ARGUMENT_MAX: usize = 131_072;
/// The longest script, by the API server's rule on `spec.script`.
pub const SCRIPT_MAX: usize = 524_288;
/// Shells that take a text by `-c`, and after it what the text sees as `$0`, `$1` and so on.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ksh", "zsh", "ash"];

/// What somebody gives to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A script.
    Script {
        /// What it is called: its file's name.
        name: String,
        /// The text.
        text: String,
        /// What it is given.
        arguments: Vec<String>,
    },
    /// A program and its arguments, run without a shell.
    Command(Vec<String>),
}

/// The fields of a CmdJob that say what is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// `spec.script`, and `spec.shell` if that is not the default.
    Script {
        /// The text.
        text: String,
        /// What runs it.
        shell: Option<String>,
    },
    /// `spec.command` and `spec.args`.
    Command {
        /// The program.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
    },
}

/// How that is said in a CmdJob. A script without arguments is sent as it is. One with arguments becomes the argument of its shell, for
/// a CmdJob's script takes none.
///
/// # Errors
/// Why it cannot be.
pub fn form(what: &What, shell: Option<&str>) -> Result<Form, String> {
    match what {
        What::Command(words) => {
            if shell.is_some() {
                return Err("a command is run without a shell: leave --shell out, or name the shell in the command (-- bash -c '…')".to_owned());
            }
            let (program, arguments) = words.split_first().ok_or("there is no command after --")?;
            if program.is_empty() {
                return Err("the program after -- is an empty word".to_owned());
            }
            let arguments = arguments.iter().map(|argument| literal(argument)).collect();
            Ok(Form::Command { program: literal(program), arguments })
        }
        What::Script { name, text, .. } if text.trim().is_empty() => Err(format!("the script {name} is empty")),
        What::Script { name, text, .. } if text.len() > SCRIPT_MAX => Err(format!(
            "the script {name} has {} bytes, and at most {SCRIPT_MAX} can be sent: put its data where the node sees it, and the script will read it there",
            text.len()
        )),
        What::Script { text, arguments, .. } if arguments.is_empty() => {
            Ok(Form::Script { text: text.clone(), shell: shell.map(str::to_owned) })
        }
        What::Script { name, text, arguments } => with_arguments(name, text, arguments, shell),
    }
}

fn with_arguments(name: &str, text: &str, arguments: &[String], shell: Option<&str>) -> Result<Form, String> {
    let mut words = match shell {
        Some(shell) => vec![shell.to_owned()],
        None => interpreter(text),
    };
    let program = words.first().cloned().unwrap_or_default();
    // `#!/usr/bin/env bash` names its shell in the second word.
    let shell = words.iter().map(|word| word.rsplit('/').next().unwrap_or_default()).find(|word| *word != "env");
    if !shell.is_some_and(|shell| SHELLS.contains(&shell)) {
        return Err(format!(
            "the script {name} is run by {program}, and arguments can be given to shell scripts only: give it what it needs by --env NAME=VALUE"
        ));
    }
    let text = literal(text);
    if text.len() >= ARGUMENT_MAX {
        return Err(format!(
            "the script {name} is too long to be given arguments ({} bytes, {ARGUMENT_MAX} are too many): give it what it needs by --env NAME=VALUE",
            text.len()
        ));
    }
    words.extend(["-c".to_owned(), text, literal(name)]);
    words.extend(arguments.iter().map(|argument| literal(argument)));
    let arguments = words.split_off(1);
    Ok(Form::Command { program, arguments })
}

/// The words of the `#!` line; without one, the shell that a CmdJob's script is run by.
fn interpreter(text: &str) -> Vec<String> {
    let line = text.lines().next().and_then(|line| line.strip_prefix("#!"));
    let words: Vec<String> = line.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    if words.is_empty() { vec![vk_cmd_crds::cmdjob::DEFAULT_SHELL.to_owned()] } else { words }
}

/// A word that arrives as it is: Kubernetes would replace `$(VAR)`, and makes one `$` of two.
fn literal(word: &str) -> String {
    word.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn script(text: &str, arguments: &[&str]) -> What {
        What::Script { name: "job.sh".to_owned(), text: text.to_owned(), arguments: words(arguments) }
    }

    fn command(all: &[&str]) -> Form {
        let (program, arguments) = all.split_first().unwrap();
        Form::Command { program: (*program).to_owned(), arguments: words(arguments) }
    }

    #[test]
    fn a_script_is_sent_as_it_is() {
        let text = "#!/bin/bash -l\necho $HOME $(date)\n";
        let sent = Form::Script { text: text.to_owned(), shell: None };
        assert_eq!(form(&script(text, &[]), None), Ok(sent));
        let sent = Form::Script { text: text.to_owned(), shell: Some("/bin/dash".to_owned()) };
        assert_eq!(form(&script(text, &[]), Some("/bin/dash")), Ok(sent));
    }

    #[test]
    fn arguments_reach_the_script_as_they_are() {
        assert_eq!(
            form(&script("echo $1", &["a b", "$(x)"]), None),
            Ok(command(&["/bin/sh", "-c", "echo $$1", "job.sh", "a b", "$$(x)"]))
        );
        assert_eq!(
            form(&script("#!/bin/bash -l\n$0", &["x"]), None),
            Ok(command(&["/bin/bash", "-l", "-c", "#!/bin/bash -l\n$$0", "job.sh", "x"]))
        );
        assert_eq!(
            form(&script("#!/usr/bin/env bash\n:", &["x"]), None),
            Ok(command(&["/usr/bin/env", "bash", "-c", "#!/usr/bin/env bash\n:", "job.sh", "x"]))
        );
    }

    #[test]
    fn what_cannot_be_is_said() {
        let long = "x".repeat(SCRIPT_MAX + 1);
        let rather_long = "x".repeat(ARGUMENT_MAX);
        for (what, shell, word) in [
            (script(" \n", &[]), None, "is empty"),
            (script(&long, &[]), None, "at most 524288"),
            (script(&rather_long, &["a"]), None, "too long to be given arguments"),
            (script("#!/usr/bin/env python3\n", &["a"]), None, "--env NAME=VALUE"),
            (What::Command(vec![]), None, "no command"),
            (What::Command(words(&[""])), None, "empty word"),
            (What::Command(words(&["a"])), Some("/bin/sh"), "without a shell"),
        ] {
            let error = form(&what, shell).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_command_arrives_as_it_was_typed() {
        let typed = What::Command(words(&["echo", "$(date)", "a$b"]));
        assert_eq!(form(&typed, None), Ok(command(&["echo", "$$(date)", "a$$b"])));
    }
}
