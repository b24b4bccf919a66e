//! Lengths of time as batch systems and people write them.
//!
//! | form | meaning |
//! |---|---|
//! | `MM:SS`, `HH:MM:SS` | as `sbatch --time` |
//! | `D-HH`, `D-HH:MM`, `D-HH:MM:SS` | the same, with days |
//! | `2h30m`, `90s`, `1d 12h` | units: `d`, `h`, `m`, `s` |
//!
//! A number alone is minutes to Slurm, and seconds to PBS and to the system that vk-cmd replaces: it is refused, for nobody could
//! tell which was meant. Where a source has one meaning only, its own function reads it.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Why a text is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LengthError {
    /// It has no unit.
    #[error("{0:?} has no unit: write {0}m for minutes (what Slurm takes it for), or {0}s for seconds")]
    NoUnit(String),
    /// It is none at all.
    #[error(
        "{0:?} is no length of time: write it as sbatch --time takes it, D-HH:MM:SS or HH:MM:SS, or with units, 2h30m"
    )]
    Wrong(String),
}

/// Reads a length in any of the forms above.
///
/// # Errors
/// When it is in none of them.
pub fn length(text: &str) -> Result<Duration, LengthError> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(LengthError::NoUnit(text.to_owned()));
    }
    colons(text).or_else(|| units(text)).ok_or_else(|| LengthError::Wrong(text.to_owned()))
}

/// `D-HH[:MM[:SS]]`, `HH:MM:SS` or `MM:SS`.
pub(super) fn colons(text: &str) -> Option<Duration> {
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(number(days)?), rest),
        None => (None, text),
    };
    let parts = rest.split(':').map(number).collect::<Option<Vec<u64>>>()?;
    let (hours, minutes, seconds) = match (days, parts.as_slice()) {
        (Some(_), [hours]) => (*hours, 0, 0),
        (Some(_), [hours, minutes]) => (*hours, *minutes, 0),
        (Some(_) | None, [hours, minutes, seconds]) => (*hours, *minutes, *seconds),
        (None, [minutes, seconds]) => (0, *minutes, *seconds),
        _ => return None,
    };
    sum([(days.unwrap_or_default(), DAY), (hours, HOUR), (minutes, MINUTE), (seconds, 1)])
}

/// `2h30m`: whole numbers with units, the larger ones first, each once at most.
fn units(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut parts = [0; 4];
    let mut next = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (n, after) = rest.split_at_checked(digits)?;
        let mut chars = after.chars();
        let unit = chars.next()?;
        let place = ['d', 'h', 'm', 's'].iter().position(|known| *known == unit)?;
        if place < next {
            return None;
        }
        *parts.get_mut(place)? = number(n)?;
        next = place.checked_add(1)?;
        rest = chars.as_str().trim_start();
    }
    let [days, hours, minutes, seconds] = parts;
    (next > 0).then(|| sum([(days, DAY), (hours, HOUR), (minutes, MINUTE), (seconds, 1)]))?
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn sum(parts: [(u64, u64); 4]) -> Option<Duration> {
    let add = |sum: u64, (n, unit): (u64, u64)| sum.checked_add(n.checked_mul(unit)?);
    parts.into_iter().try_fold(0, add).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_forms_of_slurm_and_of_people_are_read_alike() {
        for (text, seconds) in [
            ("1-12:30:05", DAY + 12 * HOUR + 30 * MINUTE + 5),
            ("2-0", 2 * DAY),
            ("0-01:30", 90 * MINUTE),
            ("01:30:00", 90 * MINUTE),
            ("100:00:00", 100 * HOUR),
            ("90:00", 90 * MINUTE),
            ("0:30", 30),
            ("2h30m", 150 * MINUTE),
            ("1d 12h", 36 * HOUR),
            ("90s", 90),
            ("1d2h3m4s", DAY + 2 * HOUR + 3 * MINUTE + 4),
            (" 5m ", 300),
        ] {
            assert_eq!(length(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_could_mean_two_things_and_what_means_nothing_is_refused() {
        assert_eq!(length("30"), Err(LengthError::NoUnit("30".into())));
        for text in [
            "",
            "-1:00",
            "1:2:3:4",
            "1-",
            "1-2:3:4:5",
            "2h30",
            "30m2h",
            "h",
            "1h1h",
            "2 h",
            "1.5h",
            "x",
            "UNLIMITED",
            "9999999999999999999h",
        ] {
            assert_eq!(length(text), Err(LengthError::Wrong(text.into())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_no_panic(text in "[ -~]{0,20}") {
            let _ = length(&text);
        }

        #[test]
        fn what_is_written_is_read(days in 0_u64..400, hours in 0_u64..24, minutes in 0_u64..60, seconds in 0_u64..60) {
            let meant = Ok(Duration::from_secs(days * DAY + hours * HOUR + minutes * MINUTE + seconds));
            prop_assert_eq!(length(&format!("{days}-{hours:02}:{minutes:02}:{seconds:02}")), meant.clone());
            prop_assert_eq!(length(&format!("{days}d{hours}h{minutes}m{seconds}s")), meant);
        }
    }
}
