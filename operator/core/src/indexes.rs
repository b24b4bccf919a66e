//! Sets of completion indexes, as batch/v1 Job writes them: numbers and ranges in order, "1,3-5,7".

use std::fmt;

/// A set of indexes, kept as ranges: a job of 100,000 that is nearly done is a few numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexSet {
    /// First and last, in order, with a gap between each two.
    ranges: Vec<(u32, u32)>,
}

/// A text that is no set of indexes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoIndexes {
    /// It is not numbers and ranges.
    #[error("{0:?} is no list of indexes: write numbers and ranges, e.g. 0,2-4")]
    Text(String),
    /// An index does not come after the one before it.
    #[error("{index} comes after {before}, than which it is not more: write the indexes in rising order, e.g. 0,2-4")]
    NotRising {
        /// The index.
        index: u32,
        /// The one before it.
        before: u32,
    },
    /// There is no such index.
    #[error("there is no index {index}: they are below completions, which is {end}")]
    TooLarge {
        /// The index.
        index: u32,
        /// How many there are.
        end: u32,
    },
}

impl IndexSet {
    /// Reads a text. Ranges may touch, overlap and come in any order.
    pub fn parse(text: &str) -> Result<Self, NoIndexes> {
        let mut set = Self::default();
        for range in ranges(text) {
            let (first, last) = range?;
            set.insert_range(first, last);
        }
        Ok(set)
    }

    /// Reads a text that somebody has written about a job of `end` indexes. From batch/v1 Job (`validateIndexesFormat`): in
    /// rising order, and all of them there.
    pub fn parse_of(text: &str, end: u32) -> Result<Self, NoIndexes> {
        let mut before = None;
        for range in ranges(text) {
            let (first, last) = range?;
            if let Some(before) = before.filter(|before| *before >= first) {
                return Err(NoIndexes::NotRising { index: first, before });
            }
            if last >= end {
                return Err(NoIndexes::TooLarge { index: last, end });
            }
            before = Some(last);
        }
        Self::parse(text)
    }

    /// All indexes below `end`.
    pub fn below(end: u32) -> Self {
        let ranges = end.checked_sub(1).map(|last| (0, last));
        Self { ranges: ranges.into_iter().collect() }
    }

    /// Whether the index is in it.
    pub fn contains(&self, index: u32) -> bool {
        let at = self.ranges.partition_point(|(_, last)| *last < index);
        self.ranges.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// Puts an index in.
    pub fn insert(&mut self, index: u32) {
        self.insert_range(index, index);
    }

    fn insert_range(&mut self, first: u32, last: u32) {
        // All ranges that overlap the new one or touch it become one with it.
        let from = self.ranges.partition_point(|(_, end)| end.saturating_add(1) < first);
        let to = self.ranges.partition_point(|(begin, _)| *begin <= last.saturating_add(1));
        let to = to.max(from);
        let joined = self.ranges.get(from..to).unwrap_or_default();
        let first = joined.first().map_or(first, |(begin, _)| first.min(*begin));
        let last = joined.last().map_or(last, |(_, end)| last.max(*end));
        self.ranges.splice(from..to, [(first, last)]);
    }

    /// Takes an index out.
    pub fn remove(&mut self, index: u32) {
        let at = self.ranges.partition_point(|(_, last)| *last < index);
        let Some((first, last)) = self.ranges.get(at).copied().filter(|(first, _)| *first <= index) else { return };
        let left = index.checked_sub(1).filter(|end| first <= *end).map(|end| (first, end));
        let right = index.checked_add(1).filter(|begin| *begin <= last).map(|begin| (begin, last));
        self.ranges.splice(at..=at, left.into_iter().chain(right));
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.ranges.iter().map(|(first, last)| last.abs_diff(*first).saturating_add(1)).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// Those below `end` that are not in it, in order.
    pub fn missing_below(&self, end: u32) -> impl Iterator<Item = u32> + '_ {
        let mut from = 0_u32;
        let gaps = self.ranges.iter().copied().chain([(end, end)]).map(move |(first, last)| {
            let gap = from..first.min(end);
            from = last.saturating_add(1);
            gap
        });
        gaps.flatten()
    }

    /// How many are in both.
    pub fn common(&self, other: &Self) -> u32 {
        self.ranges
            .iter()
            .flat_map(|a| other.ranges.iter().map(move |b| (a.0.max(b.0), a.1.min(b.1))))
            .filter(|(first, last)| first <= last)
            .map(|(first, last)| last.abs_diff(first).saturating_add(1))
            .sum()
    }

    /// Without the indexes from `end` on.
    #[must_use]
    pub fn cut(&self, end: u32) -> Self {
        let Some(most) = end.checked_sub(1) else { return Self::default() };
        let ranges = self.ranges.iter().filter(|(first, _)| *first <= most);
        Self { ranges: ranges.map(|(first, last)| (*first, (*last).min(most))).collect() }
    }
}

/// The numbers and ranges of a text, as first and last.
fn ranges(text: &str) -> impl Iterator<Item = Result<(u32, u32), NoIndexes>> + '_ {
    text.split(',').filter(|_| !text.is_empty()).map(move |part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
            _ => Err(NoIndexes::Text(text.to_owned())),
        }
    })
}

impl fmt::Display for IndexSet {
    /// As Job does it: two neighbours are "1,2", three are "1-3".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (first, last)) in self.ranges.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { "," })?;
            match last.abs_diff(*first) {
                0 => write!(f, "{first}")?,
                1 => write!(f, "{first},{last}")?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl FromIterator<u32> for IndexSet {
    fn from_iter<I: IntoIterator<Item = u32>>(indexes: I) -> Self {
        let mut set = Self::default();
        indexes.into_iter().for_each(|index| set.insert(index));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn texts_are_those_of_job() {
        for (text, shown) in
            [("", ""), ("3", "3"), ("1,2", "1,2"), ("1-3", "1-3"), ("0,2-4,4,5,9", "0,2-5,9"), ("7,1-2,3", "1-3,7")]
        {
            assert_eq!(IndexSet::parse(text).unwrap().to_string(), shown);
        }
        for wrong in ["a", "1,", "-1", "3-1", "1--2", " 1"] {
            assert!(IndexSet::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn texts_of_people_are_held_to_what_job_says() {
        for right in ["", "0", "0,2-4", "1-3,4"] {
            assert_eq!(IndexSet::parse_of(right, 5), IndexSet::parse(right));
        }
        for wrong in ["5", "2-5", "1,1", "3,2", "1-3,3", "x"] {
            assert!(IndexSet::parse_of(wrong, 5).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn it_is_a_set(changes: Vec<(bool, u8)>, other: BTreeSet<u8>, end: u8) {
            let (mut set, mut plain) = (IndexSet::default(), BTreeSet::new());
            for (insert, index) in changes {
                let index = u32::from(index % 40);
                if insert {
                    set.insert(index);
                    plain.insert(index);
                } else {
                    set.remove(index);
                    plain.remove(&index);
                }
            }
            let (other, end): (BTreeSet<u32>, u32) = (other.into_iter().map(u32::from).collect(), end.into());
            prop_assert!(set.iter().eq(plain.iter().copied()));
            prop_assert_eq!(set.len() as usize, plain.len());
            prop_assert!((0..60).all(|index| set.contains(index) == plain.contains(&index)));
            prop_assert!(set.missing_below(end).eq((0..end).filter(|index| !plain.contains(index))));
            prop_assert!(set.cut(end).iter().eq(plain.iter().copied().filter(|index| *index < end)));
            let counted = plain.intersection(&other).count();
            prop_assert_eq!(set.common(&other.iter().copied().collect()) as usize, counted);
            prop_assert_eq!(IndexSet::parse(&set.to_string()).unwrap(), set);
        }
    }
}
