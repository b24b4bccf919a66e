//! How things are said to people, by whatever program says them.

/// How many there are, and what they are or do: `counted(1, "job runs", "jobs run")` is `1 job runs`, and with 0 or 2 of them `jobs run`.
#[must_use]
pub fn counted<N: std::fmt::Display + PartialEq + From<u8>>(count: N, one: &str, several: &str) -> String {
    let what = if count == N::from(1) { one } else { several };
    format!("{count} {what}")
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_is_not_several() {
        let jobs = [0_usize, 1, 2].map(|jobs| counted(jobs, "job runs", "jobs run"));
        assert_eq!(jobs, ["0 jobs run", "1 job runs", "2 jobs run"]);
        assert_eq!(
            (counted(-1, "node", "nodes"), counted(1_i32, "node", "nodes")),
            ("-1 nodes".to_owned(), "1 node".to_owned())
        );
    }
}
