//! Lengths of time for people.

use jiff::{SignedDuration, Timestamp};

/// As kubectl's AGE: the rules of `HumanDuration` in `k8s.io/apimachinery/pkg/util/duration`.
#[must_use]
pub fn human(length: SignedDuration) -> String {
    let seconds = length.as_secs();
    if seconds < 0 {
        return "0s".to_owned();
    }
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |many: i64, unit: char, few: i64, small: char| match few {
        0 => format!("{many}{unit}"),
        few => format!("{many}{unit}{few}{small}"),
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        two(minutes, 'm', seconds % 60, 's')
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, 'h', minutes % 60, 'm')
    } else if hours < 48 {
        format!("{hours}h")
    } else if days < 8 {
        two(days, 'd', hours % 24, 'h')
    } else if days < 730 {
        format!("{days}d")
    } else if days < 2920 {
        two(days / 365, 'y', days % 365, 'd')
    } else {
        format!("{}y", days / 365)
    }
}

/// From one time to another, as [`human`].
#[must_use]
pub fn between(from: Timestamp, to: Timestamp) -> String {
    human(to.duration_since(from))
}

/// The same in whole minutes, for what is looked at all the while: it changes once a minute, and not each second.
#[must_use]
pub fn calm(from: Timestamp, to: Timestamp) -> String {
    let length = to.duration_since(from);
    match length.as_mins() {
        ..1 => "<1m".to_owned(),
        minutes @ 1..180 => format!("{minutes}m"),
        _ => human(length),
    }
}

/// A delay in a timeline: to the tenth of a second where it is short and known so well.
#[must_use]
pub fn delay(length: SignedDuration) -> String {
    let tenths = length.as_millis().div_euclid(100);
    match tenths {
        ..0 => "0s".to_owned(),
        0..1200 if tenths % 10 != 0 => format!("{}.{}s", tenths / 10, tenths % 10),
        _ => human(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_at_all_the_while_changes_once_a_minute() {
        let said = |seconds| calm(Timestamp::UNIX_EPOCH, Timestamp::from_second(seconds).unwrap());
        assert_eq!([-5, 0, 59, 60, 119, 10_799].map(said), ["<1m", "<1m", "<1m", "1m", "1m", "179m"]);
        assert_eq!(said(10_800), human(SignedDuration::from_secs(10_800)));
    }

    #[test]
    fn lengths_are_those_of_kubectl() {
        for (seconds, expected) in [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (130, "2m10s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_000, "3h3m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (691_200, "8d"),
            (63_071_999, "729d"),
            (63_072_000, "2y"),
            (63_200_000, "2y1d"),
            (252_288_000, "8y"),
        ] {
            assert_eq!(human(SignedDuration::from_secs(seconds)), expected, "{seconds}");
        }
    }

    #[test]
    fn short_delays_have_tenths() {
        for (millis, expected) in [(-10, "0s"), (0, "0s"), (50, "0s"), (340, "0.3s"), (1000, "1s"), (150_000, "2m30s")]
        {
            assert_eq!(delay(SignedDuration::from_millis(millis)), expected, "{millis}");
        }
    }
}
