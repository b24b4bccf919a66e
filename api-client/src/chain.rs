//! Errors in words.

/// An error with its sources, on one line. Some of kube's errors say their source themselves: it is not said twice.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.map(ToString::to_string).fold(error.to_string(), |text, source| match text.ends_with(&source) {
        true => text,
        false => format!("{text}: {source}"),
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::chain;

    #[derive(Debug, thiserror::Error)]
    enum Error {
        #[error("cannot read it: {0}")]
        Loud(#[source] io::Error),
        #[error("cannot read it")]
        Quiet(#[source] io::Error),
    }

    #[test]
    fn a_source_is_said_once() {
        let gone = || io::Error::other("it is gone");
        for error in [Error::Loud(gone()), Error::Quiet(gone())] {
            assert_eq!(chain(&error), "cannot read it: it is gone");
        }
    }
}
