//! A script in an image. Its file is on the host, where the container does not see it.
//!
//! Where the interpreter takes a program as an argument (`sh -c`) and the text fits one, it is passed like that: it works
//! in every image and for every user in it. Otherwise the file is mounted.

use vk_task::{MAX_EXEC_STRING_BYTES, ScriptRunner};

/// Where the file is in the container, if it is mounted.
const TARGET: &str = "/vk-cmd-script";

/// How a script is shown to its interpreter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// As an argument.
    Argument(Vec<String>),
    /// As a file, mounted at `target`.
    File {
        /// The command.
        argv: Vec<String>,
        /// Where it expects the file.
        target: &'static str,
    },
}

/// How `text` is run by `runner`.
pub(super) fn shown(text: &str, runner: &ScriptRunner) -> Result<Shown, String> {
    let (interpreter, file) = match runner {
        ScriptRunner::Shell { path } => (vec![path.clone()], vec![path.clone(), TARGET.to_owned()]),
        ScriptRunner::Shebang => {
            let interpreter = interpreter(text).ok_or(
                "the script is to be run by its #! line, and does not begin with one: begin it with #!/bin/sh, say, or \
                 name a shell",
            )?;
            (interpreter, vec![TARGET.to_owned()])
        }
    };
    let fits = text.len() <= MAX_EXEC_STRING_BYTES && !text.contains('\0');
    Ok(match flag(&interpreter).filter(|_| fits) {
        Some(flag) => {
            let mut argv = interpreter;
            argv.extend([flag.to_owned(), text.to_owned()]);
            Shown::Argument(argv)
        }
        None => Shown::File { argv: file, target: TARGET },
    })
}

/// The interpreter of a `#!` line, with its one argument if it has one: see execve(2).
pub(crate) fn interpreter(text: &str) -> Option<Vec<String>> {
    let line = text.strip_prefix("#!")?.lines().next()?.trim();
    let (program, argument) = match line.split_once([' ', '\t']) {
        Some((program, argument)) => (program, argument.trim()),
        None => (line, ""),
    };
    let words = [program, argument].into_iter().filter(|word| !word.is_empty()).map(str::to_owned);
    Some(words.collect()).filter(|words: &Vec<String>| !words.is_empty())
}

/// The flag by which an interpreter takes a program as its next argument, if it is known to have one.
fn flag(interpreter: &[String]) -> Option<&'static str> {
    let program = match interpreter {
        [program] => program,
        // `/usr/bin/env python3`; an option for `env` itself may mean anything.
        [env, program] if base(env) == "env" && !program.starts_with('-') && !program.contains([' ', '=']) => program,
        // `/bin/sh -e`.
        [program, option] if option.starts_with('-') && !option.starts_with("--") && !option.contains(' ') => program,
        _ => return None,
    };
    // `python3.11`, `perl5.36.0`.
    match base(program).trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-') {
        "sh" | "bash" | "dash" | "ash" | "ksh" | "mksh" | "zsh" | "fish" | "python" | "pypy" => Some("-c"),
        "perl" | "ruby" | "node" | "lua" => Some("-e"),
        _ => None,
    }
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(path: &str, text: &str) -> Shown {
        shown(text, &ScriptRunner::Shell { path: path.to_owned() }).unwrap()
    }

    fn argument(argv: &[&str]) -> Shown {
        Shown::Argument(argv.iter().map(|&a| a.to_owned()).collect())
    }

    fn file(argv: &[&str]) -> Shown {
        Shown::File { argv: argv.iter().map(|&a| a.to_owned()).collect(), target: TARGET }
    }

    #[test]
    fn a_script_is_an_argument_where_that_is_possible() {
        assert_eq!(shell("/bin/sh", "a\nb"), argument(&["/bin/sh", "-c", "a\nb"]));
        assert_eq!(shell("python3.11", "p"), argument(&["python3.11", "-c", "p"]));
        assert_eq!(shell("/usr/bin/perl", "p"), argument(&["/usr/bin/perl", "-e", "p"]));
        assert_eq!(shell("Rscript", "p"), file(&["Rscript", TARGET]));
        let long = "x".repeat(MAX_EXEC_STRING_BYTES + 1);
        assert_eq!(shell("/bin/sh", &long), file(&["/bin/sh", TARGET]));
    }

    #[test]
    fn a_shebang_names_the_interpreter() {
        let by = |text: &str| shown(text, &ScriptRunner::Shebang);
        assert_eq!(by("#!/bin/bash -e\nx"), Ok(argument(&["/bin/bash", "-e", "-c", "#!/bin/bash -e\nx"])));
        let text = "#! /usr/bin/env python3\nx";
        assert_eq!(by(text), Ok(argument(&["/usr/bin/env", "python3", "-c", text])));
        assert_eq!(by("#!/usr/bin/env -S python3 -u\n"), Ok(file(&[TARGET])));
        assert_eq!(by("#!/opt/odd\n"), Ok(file(&[TARGET])));
        assert!(by("echo").is_err() && by("#!\n").is_err());
    }
}
