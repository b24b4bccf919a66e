//! The headers of a script: lines that begin with `#SBATCH` or `#CMDJOB`, before the first line that is something else than a comment.
//!
//! `#SBATCH` lines have sbatch's options, with its letters: [`crate::sbatch`]. `#CMDJOB` lines have the flags of `kubectl cmdjob run`.
//! Nothing is passed over in silence: what cannot be honoured is an error, and all errors are told at once. `--ignore` names those that
//! shall be passed over.

use std::fmt;

use clap::{Args, FromArgMatches};

use crate::args::JobFlags;
use crate::sbatch;
use crate::wish::Wish;

/// A line of options.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    /// The line, from 1.
    line: usize,
    dialect: Dialect,
    /// What stands behind the word that begins it.
    rest: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Sbatch,
    CmdJob,
}

impl Dialect {
    fn word(self) -> &'static str {
        match self {
            Self::Sbatch => "#SBATCH",
            Self::CmdJob => "#CMDJOB",
        }
    }
}

/// Something in a header that cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// What stands there.
    pub what: String,
    /// Why not, and what to do.
    pub why: String,
    /// The name by which `--ignore` has it passed over; none, if it is written wrongly and has to be mended.
    pub ignore: Option<&'static str>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}", self.line, self.what, self.why)
    }
}

/// All that is wrong with the headers of a script; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(all) = self;
        for problem in all {
            writeln!(f, "  {problem}")?;
        }
        let mut names: Vec<&str> = all.iter().filter_map(|problem| problem.ignore).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return write!(f, "nothing was submitted");
        }
        write!(f, "nothing was submitted; to pass over what cannot be honoured, add --ignore={}", names.join(","))
    }
}

/// What the headers of a script want. `ignored` are the names of options that are passed over.
///
/// # Errors
/// All that cannot be honoured.
pub fn read(script: &str, ignored: &[String]) -> Result<Wish, Problems> {
    let (mut wish, mut problems) = (Wish::default(), Vec::new());
    for header in lines(script) {
        let Some(words) = shlex::split(&header.rest) else {
            let why = "a quotation mark is not closed".to_owned();
            problems.push(Problem { line: header.line, what: header.dialect.word().to_owned(), why, ignore: None });
            continue;
        };
        let found = match header.dialect {
            Dialect::Sbatch => sbatch::read(&words, ignored),
            Dialect::CmdJob => flags(&words),
        };
        let (said, wrong) = found;
        wish = said.over(wish);
        problems.extend(wrong.into_iter().map(|wrong| Problem {
            line: header.line,
            what: format!("{} {}", header.dialect.word(), wrong.what).trim_end().to_owned(),
            why: wrong.why,
            ignore: wrong.ignore,
        }));
    }
    if problems.is_empty() { Ok(wish) } else { Err(Problems(problems)) }
}

/// What one line has that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) why: String,
    pub(crate) ignore: Option<&'static str>,
}

/// The words of a `#CMDJOB` line: those of the command line.
fn flags(words: &[String]) -> (Wish, Vec<Wrong>) {
    let command = JobFlags::augment_args(clap::Command::new("#CMDJOB").no_binary_name(true).disable_help_flag(true));
    let read = command.try_get_matches_from(words).and_then(|matches| JobFlags::from_arg_matches(&matches));
    match read.map_err(|error| first_line(&error.to_string())).and_then(JobFlags::wish) {
        Ok(wish) => (wish, Vec::new()),
        Err(why) => (Wish::default(), vec![Wrong { what: words.join(" "), why, ignore: None }]),
    }
}

fn first_line(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    text.lines().next().unwrap_or_default().to_owned()
}

/// The lines with options: as sbatch, up to the first line that is neither empty nor a comment.
fn lines(script: &str) -> Vec<Header> {
    let mut all = Vec::new();
    for (n, line) in script.lines().enumerate() {
        let trimmed = line.trim_start();
        if !trimmed.is_empty() && !trimmed.starts_with('#') {
            break;
        }
        for dialect in [Dialect::Sbatch, Dialect::CmdJob] {
            let rest = line.strip_prefix(dialect.word());
            if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
                all.push(Header { line: n.saturating_add(1), dialect, rest: rest.trim().to_owned() });
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wish(script: &str) -> Wish {
        read(script, &[]).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn headers_end_where_the_script_begins() {
        let script = "#!/bin/bash\n\n# a comment\n#SBATCH -J one   # and why\n##SBATCH -J two\n #SBATCH -J three\n#SBATCHX -J four\n\
                      #CMDJOB --node=vk-a\necho\n#SBATCH -J five\n";
        let wish = wish(script);
        assert_eq!(wish.base.as_deref(), Some("one"));
        assert_eq!(wish.place.node.as_deref(), Some("vk-a"));
    }

    #[test]
    fn a_later_line_counts_for_more() {
        let wish = wish("#SBATCH -p debug --time=10\n#SBATCH --partition=long\n#CMDJOB --time 20\n");
        assert_eq!(wish.place.fleet.as_deref(), Some("long"));
        assert_eq!(wish.walltime, Some(Some(1200)));
    }

    #[test]
    fn all_that_cannot_be_honoured_is_told_at_once() {
        let script = "#!/bin/sh\n#SBATCH -A m1234 -N 2 -t 1:2:3:4\n#SBATCH --output=%j.out --mail-type=END\n#SBATCH --tiem=5 'x\n\
                      #SBATCH --tiem=5\n#CMDJOB --nodde vk-a\n";
        let problems = read(script, &[]).unwrap_err();
        let text = problems.to_string();
        let lines: Vec<(usize, Option<&str>)> =
            problems.0.iter().map(|problem| (problem.line, problem.ignore)).collect();
        let expected = [
            (2, Some("account")),
            (2, Some("nodes")),
            (2, None),
            (3, Some("output")),
            (3, Some("mail-type")),
            (4, None),
            (5, None),
            (6, None),
        ];
        assert_eq!(lines, expected, "{text}");
        assert!(text.contains("--ignore=account,mail-type,nodes,output"), "{text}");
        assert!(text.contains("did you mean --time"), "{text}");
        assert!(text.contains("--nodde"), "{text}");
    }

    #[test]
    fn what_is_to_be_passed_over_is() {
        let ignored = ["account".to_owned(), "output".to_owned()];
        let wish = read("#SBATCH -A m1234 -o x.out\n#SBATCH -J a\n", &ignored).unwrap();
        assert_eq!(wish, Wish { base: Some("a".to_owned()), ..Wish::default() });
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "(#SBATCH [-a-zA-Z0-9=:%'\" ]{0,30}\n|#CMDJOB [-a-z0-9= ]{0,20}\n|.{0,20}\n){0,8}") {
            let _ = read(&text, &[]);
        }
    }
}
