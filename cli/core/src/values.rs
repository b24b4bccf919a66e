//! Values as sbatch takes them, read for headers and flags alike. Each error says what to write.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use vk_cmd_crds::quantity::binary_text;
use vk_cmd_crds::{After, When};
use vk_operator_core::indexes::IndexSet;

/// The most tasks of an array: the API server's limit for Indexed jobs.
const ARRAY_MAX: u32 = 100_000;

/// A limit of time: seconds, or none.
///
/// As `sbatch --time` has it: minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes,
/// days-hours:minutes:seconds, and UNLIMITED. Beside that 1h30m, as everywhere in Kubernetes.
///
/// # Errors
/// What to write.
pub fn time(text: &str) -> Result<Option<i64>, String> {
    let wrong = || {
        format!(
            "{text:?} is no time: write minutes (90), hours:minutes:seconds (1:30:00), days-hours (2-12), 1h30m or UNLIMITED"
        )
    };
    if ["unlimited", "infinite"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Ok(None);
    }
    let seconds = if text.ends_with(|c: char| c.is_ascii_alphabetic()) {
        text.parse::<SignedDuration>().map_err(|_| wrong())?.as_secs()
    } else {
        by_colons(text).ok_or_else(wrong)?
    };
    match seconds {
        0 => Ok(None),
        seconds if seconds > 0 => Ok(Some(seconds)),
        _ => Err(wrong()),
    }
}

fn by_colons(text: &str) -> Option<i64> {
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(number(days)?), rest),
        None => (None, text),
    };
    let parts: Vec<i64> = rest.split(':').map(number).collect::<Option<_>>()?;
    let (hours, minutes, seconds) = match (days.is_some(), parts.as_slice()) {
        (true, [hours]) => (*hours, 0, 0),
        (true, [hours, minutes]) => (*hours, *minutes, 0),
        (false, [minutes]) => (0, *minutes, 0),
        (false, [minutes, seconds]) => (0, *minutes, *seconds),
        (_, [hours, minutes, seconds]) => (*hours, *minutes, *seconds),
        _ => return None,
    };
    let hours = days.unwrap_or_default().checked_mul(24)?.checked_add(hours)?;
    hours.checked_mul(60)?.checked_add(minutes)?.checked_mul(60)?.checked_add(seconds)
}

/// Digits only: `parse` alone would take a sign.
fn number(text: &str) -> Option<i64> {
    text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A time that has an end, for flags whose unit is not minutes: 90s, 5m, 1h; a plain number is seconds.
///
/// # Errors
/// What to write.
pub fn seconds(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no length of time: write 90s, 5m or 1h30m");
    match number(text) {
        Some(seconds) if !text.is_empty() => Ok(seconds),
        _ => {
            let parsed = text.parse::<SignedDuration>().map_err(|_| wrong())?.as_secs();
            if parsed < 0 { Err(wrong()) } else { Ok(parsed) }
        }
    }
}

/// An amount of memory in bytes, as `sbatch --mem` has it: a number of megabytes, or one with K, M, G or T, all of them powers of
/// two. Kubernetes' Ki, Mi, Gi, Ti are the same.
///
/// # Errors
/// What to write.
pub fn memory(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no amount of memory: write megabytes (4000), or 500M, 4G, 1T");
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit: u64 = match &*unit.to_ascii_lowercase() {
        "k" | "kb" | "ki" => 1 << 10,
        "" | "m" | "mb" | "mi" => 1 << 20,
        "g" | "gb" | "gi" => 1 << 30,
        "t" | "tb" | "ti" => 1 << 40,
        _ => return Err(wrong()),
    };
    let amount = digits.parse::<u64>().map_err(|_| wrong())?;
    amount.checked_mul(unit).filter(|amount| *amount > 0).ok_or_else(wrong)
}

/// An amount of memory as a quantity.
#[must_use]
pub fn memory_text(bytes: u64) -> String {
    binary_text(bytes)
}

/// The tasks of an array: 0 to one less than their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array {
    /// How many there are.
    pub tasks: u32,
    /// How many may run at a time; all, if that is not said.
    pub at_a_time: Option<u32>,
}

/// An array as `sbatch --array` has it: `0-9`, `0-9%4`. Its indexes must be 0, 1, 2 and so on, for those of a CmdJob are.
///
/// # Errors
/// What to write.
pub fn array(text: &str) -> Result<Array, String> {
    let wrong = || format!("{text:?} is no array: write 0-9, or 0-9%4 for four at a time");
    let (indexes, at_a_time) = match text.split_once('%') {
        Some((indexes, most)) => (indexes, Some(most.parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(wrong)?)),
        None => (text, None),
    };
    if indexes.contains(':') {
        return Err(format!(
            "the array {text:?} has steps, and a CmdJob counts 0, 1, 2 …: write 0-N, and multiply $SLURM_ARRAY_TASK_ID in the script"
        ));
    }
    let set = IndexSet::parse(indexes).map_err(|_| wrong())?;
    let tasks = set.len();
    if tasks == 0 {
        return Err(wrong());
    }
    if tasks > ARRAY_MAX {
        return Err(format!("the array {text:?} has {tasks} tasks: at most {ARRAY_MAX} are possible"));
    }
    if set.missing_below(tasks).next().is_some() {
        let last = tasks.saturating_sub(1);
        let first = set.iter().next().unwrap_or_default();
        let how = match set.len() == set.iter().last().unwrap_or_default().abs_diff(first).saturating_add(1) {
            true => format!("write 0-{last}, and add {first} to $SLURM_ARRAY_TASK_ID in the script"),
            false => format!("write 0-{last}, and look the number up in the script, in a `case` say"),
        };
        return Err(format!("the array {text:?} does not count from 0, as a CmdJob does: {how}"));
    }
    Ok(Array { tasks, at_a_time })
}

/// What a job waits for, as `sbatch --dependency` has it: `afterok:NAME[:NAME…]`, `afternotok:`, `afterany:`, with commas between them.
/// The names are CmdJobs'.
///
/// # Errors
/// What to write.
pub fn dependency(text: &str) -> Result<Vec<After>, String> {
    let wrong = |why: &str| {
        format!(
            "the dependency {text:?} {why}: write afterok:NAME, afternotok:NAME or afterany:NAME, with commas between several"
        )
    };
    if text.contains('?') {
        return Err(wrong("is met by one of several, which cannot be waited for"));
    }
    let mut all: BTreeMap<String, When> = BTreeMap::new();
    for part in text.split(',') {
        let (kind, names) = part.split_once(':').unwrap_or((part, ""));
        let when = match kind {
            "afterok" => When::Complete,
            "afternotok" => When::Failed,
            "afterany" => When::Finished,
            "after" => return Err(wrong("waits for a start, which cannot be waited for")),
            "singleton" | "aftercorr" | "afterburstbuffer" => {
                return Err(wrong("is of a kind that cannot be waited for"));
            }
            _ => return Err(wrong("is of no kind that is known")),
        };
        for name in names.split(':') {
            if name.is_empty() || name.contains('+') {
                return Err(wrong("names no CmdJob"));
            }
            all.insert(name.to_owned(), when);
        }
    }
    Ok(all.into_iter().map(|(name, when)| After { name, when }).collect())
}

/// The signal before the end of the node, as `sbatch --signal` has it: `USR1@120`, `B:USR1@120`. Which signals there are, the node
/// knows.
///
/// # Errors
/// What to write.
pub fn warning(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no signal with a time: write USR1@120 for USR1 120 s before the end");
    let signal = text.strip_prefix("B:").unwrap_or(text);
    let (name, before) = signal.split_once('@').unwrap_or((signal, "60"));
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '+' || c == '-');
    let is_right = is_name && before.parse::<u16>().is_ok();
    if is_right { Ok(signal.to_owned()) } else { Err(wrong()) }
}

/// How many graphics processors, as `--gpus=2`, `--gpus=a100:2`, `--gres=gpu:2`, `--gres=gpu:a100:2` have it. The kind is not looked
/// at: which node has which kind, its labels say.
///
/// # Errors
/// What to write.
pub fn gpus(text: &str) -> Result<u32, String> {
    let last = text.rsplit(':').next().unwrap_or_default();
    let count = if last == "gpu" { Some(1) } else { last.parse().ok() };
    count
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("{text:?} is no number of graphics processors: write 2, or gpu:2 for --gres"))
}

/// A variable of the environment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value; none: the one that it has here, where the command is given.
    pub value: Option<String>,
}

/// `NAME=VALUE`, or `NAME` for the value that it has here.
///
/// # Errors
/// What to write.
pub fn variable(text: &str) -> Result<Variable, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() {
        return Err(format!("{text:?} names no variable: write NAME=VALUE, or NAME for the value that it has here"));
    }
    Ok(Variable { name: name.to_owned(), value })
}

/// `KEY=VALUE`, of a label, an annotation or a resource.
///
/// # Errors
/// What to write.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is no KEY=VALUE")),
    }
}

/// A whole number.
///
/// # Errors
/// What to write.
pub fn whole<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no whole number that can be used here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_sbatch_and_of_kubernetes() {
        for (text, expected) in [
            ("90", Some(5400)),
            ("1:30", Some(90)),
            ("1:30:00", Some(5400)),
            ("00:30:00", Some(1800)),
            ("2-12", Some(216_000)),
            ("1-0:30", Some(88_200)),
            ("1-02:03:04", Some(93_784)),
            ("1h30m", Some(5400)),
            ("45s", Some(45)),
            ("UNLIMITED", None),
            ("infinite", None),
            ("0", None),
        ] {
            assert_eq!(time(text), Ok(expected), "{text}");
        }
        for wrong in ["", "-5", "1:2:3:4", "a", "1-", "1-2:3:4:5", "+5", "-5m", "1:x"] {
            assert!(time(wrong).unwrap_err().contains("write"), "{wrong}");
        }
    }

    #[test]
    fn memory_is_counted_in_powers_of_two() {
        for (text, expected) in
            [("4000", "4000Mi"), ("4G", "4Gi"), ("4GB", "4Gi"), ("512k", "512Ki"), ("1T", "1Ti"), ("2Gi", "2Gi")]
        {
            assert_eq!(memory(text).map(memory_text), Ok(expected.to_owned()), "{text}");
        }
        for wrong in ["", "0", "G", "4X", "-1", "1.5G", "99999999999T"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn arrays_count_from_zero() {
        let of = |tasks, at_a_time| Ok(Array { tasks, at_a_time });
        assert_eq!(array("0-9"), of(10, None));
        assert_eq!(array("0-9%4"), of(10, Some(4)));
        assert_eq!(array("0"), of(1, None));
        assert_eq!(array("0,1,2-3"), of(4, None));
        for (wrong, word) in [
            ("1-10", "add 1 to"),
            ("5", "write 0-0, and add 5"),
            ("0,2", "look the number up"),
            ("0-15:4", "multiply"),
            ("a", "is no array"),
            ("", "is no array"),
            ("0-9%0", "is no array"),
            ("0-200000", "at most 100000"),
        ] {
            let error = array(wrong).unwrap_err();
            assert!(error.contains(word), "{wrong}: {error}");
        }
    }

    #[test]
    fn dependencies_name_cmdjobs() {
        let after = |name: &str, when| After { name: name.to_owned(), when };
        assert_eq!(dependency("afterok:a"), Ok(vec![after("a", When::Complete)]));
        assert_eq!(
            dependency("afterok:a:b,afterany:c,afternotok:d"),
            Ok(vec![
                after("a", When::Complete),
                after("b", When::Complete),
                after("c", When::Finished),
                after("d", When::Failed)
            ])
        );
        for wrong in ["a", "afterok", "afterok:", "after:a", "singleton", "afterok:a?afterok:b", "afterok:a+5"] {
            assert!(dependency(wrong).unwrap_err().contains("write afterok:NAME"), "{wrong}");
        }
    }

    #[test]
    fn the_rest_is_read_too() {
        assert_eq!(warning("USR1@120"), Ok("USR1@120".to_owned()));
        assert_eq!(warning("B:TERM"), Ok("TERM".to_owned()));
        assert!(warning("R:USR1@5").is_err() && warning("@5").is_err() && warning("USR1@x").is_err());
        assert_eq!((gpus("2"), gpus("gpu"), gpus("gpu:a100:4")), (Ok(2), Ok(1), Ok(4)));
        assert!(gpus("gpu:0").is_err() && gpus("a100").is_err());
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("90"), Ok(90));
        assert!(seconds("").is_err() && seconds("-1s").is_err() && seconds("x").is_err());
        assert_eq!(variable("A=b=c"), Ok(Variable { name: "A".to_owned(), value: Some("b=c".to_owned()) }));
        assert_eq!(variable("A"), Ok(Variable { name: "A".to_owned(), value: None }));
        assert!(variable("=x").is_err() && pair("x").is_err() && pair("=x").is_err());
    }
}
