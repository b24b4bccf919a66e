//! sbatch's options in headers: what each becomes, or why it cannot be honoured.

mod effects;
mod table;

use std::fmt::Write as _;

use crate::headers::Wrong;
use crate::wish::Wish;

pub(crate) use effects::constraints;
pub use table::OPTIONS;

/// One of sbatch's options.
pub struct Opt {
    /// Its name, without `--`.
    pub long: &'static str,
    /// Its letter.
    pub short: Option<char>,
    /// Whether it has a value.
    pub takes: Takes,
    /// What becomes of it.
    pub effect: Effect,
}

/// Whether an option has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It has none.
    Nothing,
    /// It needs one.
    Value,
    /// It may have one, behind `=` or right behind the letter.
    Perhaps,
}

/// What becomes of an option.
pub enum Effect {
    /// It is honoured, in this way, or its value cannot be read.
    Sets(fn(&mut Wish, &str) -> Result<(), String>, &'static str),
    /// It is honoured, or not, depending on its value.
    Depends(fn(&mut Wish, &str) -> Result<(), String>, &'static str),
    /// It says what is so anyway.
    Anyway(&'static str),
    /// It cannot be honoured, for this reason.
    Never(&'static str),
}

/// Reads the words of one line.
pub(crate) fn read(words: &[String], ignored: &[String]) -> (Wish, Vec<Wrong>) {
    let (mut wish, mut wrong) = (Wish::default(), Vec::new());
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let (option, attached) = match split(word) {
            Ok(found) => found,
            Err(why) => {
                wrong.push(Wrong { what: word.to_owned(), why, ignore: None });
                continue;
            }
        };
        let value = match (option.takes, attached) {
            (Takes::Nothing, None) | (Takes::Perhaps, None) => "",
            (Takes::Value | Takes::Perhaps, Some(value)) => value,
            (Takes::Value, None) => match words.next() {
                Some(value) => value,
                None => {
                    wrong.push(Wrong { what: word.to_owned(), why: "its value is missing".to_owned(), ignore: None });
                    continue;
                }
            },
            (Takes::Nothing, Some(_)) => {
                wrong.push(Wrong { what: word.to_owned(), why: "it takes no value".to_owned(), ignore: None });
                continue;
            }
        };
        if ignored.iter().any(|name| name == option.long) {
            continue;
        }
        let what = if attached.is_some() || value.is_empty() { word.to_owned() } else { format!("{word} {value}") };
        let (outcome, ignore) = match option.effect {
            Effect::Sets(set, _) => (set(&mut wish, value), None),
            Effect::Depends(set, _) => (set(&mut wish, value), Some(option.long)),
            Effect::Anyway(_) => (Ok(()), None),
            Effect::Never(why) => (Err(why.to_owned()), Some(option.long)),
        };
        wrong.extend(outcome.err().map(|why| Wrong { what, why, ignore }));
    }
    (wish, wrong)
}

/// Which option a word is, and the value that is attached to it.
fn split(word: &str) -> Result<(&'static Opt, Option<&str>), String> {
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let option = OPTIONS.iter().find(|option| option.long == name);
        return option.map(|option| (option, value)).ok_or_else(|| unknown(name));
    }
    let mut letters = word.strip_prefix('-').unwrap_or_default().chars();
    let Some(letter) = letters.next() else {
        return Err("an option begins with -".to_owned());
    };
    let rest = letters.as_str();
    let option = OPTIONS.iter().find(|option| option.short == Some(letter));
    option
        .map(|option| (option, (!rest.is_empty()).then_some(rest)))
        .ok_or_else(|| format!("sbatch has no option -{letter} that is known here"))
}

fn unknown(name: &str) -> String {
    let near = OPTIONS.iter().map(|option| (strsim::damerau_levenshtein(option.long, name), option.long)).min();
    match near {
        Some((distance, long)) if distance <= 2 => format!("there is no such option: did you mean --{long}?"),
        _ => "sbatch has no such option that is known here".to_owned(),
    }
}

/// The names of all options that `--ignore` may name.
pub fn ignorable() -> impl Iterator<Item = &'static str> {
    OPTIONS
        .iter()
        .filter(|option| matches!(option.effect, Effect::Depends(..) | Effect::Never(_)))
        .map(|option| option.long)
}

/// All options as a table of Markdown, for the documentation.
#[must_use]
pub fn table() -> String {
    let mut text = "| `#SBATCH` | becomes |\n|---|---|\n".to_owned();
    for option in OPTIONS {
        let short = option.short.map(|letter| format!("`-{letter}`, ")).unwrap_or_default();
        let value = match option.takes {
            Takes::Nothing => "",
            Takes::Value => "=…",
            Takes::Perhaps => "[=…]",
        };
        let what = match &option.effect {
            Effect::Sets(_, what) | Effect::Depends(_, what) => (*what).to_owned(),
            Effect::Anyway(why) => format!("so it is anyway: {why}"),
            Effect::Never(why) => format!("*an error*: {why}"),
        };
        // Writing to a text cannot fail.
        let _ = writeln!(text, "| {short}`--{}{value}` | {what} |", option.long);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_and_no_letter_is_there_twice() {
        let names: BTreeSet<&str> = OPTIONS.iter().map(|option| option.long).collect();
        assert_eq!(names.len(), OPTIONS.len());
        let letters: Vec<char> = OPTIONS.iter().filter_map(|option| option.short).collect();
        assert_eq!(letters.iter().collect::<BTreeSet<_>>().len(), letters.len());
    }

    #[test]
    fn words_are_split_as_getopt_splits_them() {
        for line in ["-J x -t 5", "-Jx -t5", "--job-name=x --time=5", "--job-name x --time 5"] {
            let words = shlex::split(line).unwrap();
            let (wish, wrong) = read(&words, &[]);
            assert_eq!(wrong, [], "{line}");
            assert_eq!((wish.base.as_deref(), wish.walltime), (Some("x"), Some(Some(300))), "{line}");
        }
        for (line, word) in [
            ("x", "begins with -"),
            ("-Z", "no option -Z"),
            ("--time", "value is missing"),
            ("--hold=1", "takes no value"),
            ("--arrray=0-1", "did you mean --array"),
            ("--completely-else", "no such option that is known"),
        ] {
            let (_, wrong) = read(&shlex::split(line).unwrap(), &[]);
            assert!(wrong.len() == 1 && wrong[0].why.contains(word), "{line}: {wrong:?}");
        }
    }
}
