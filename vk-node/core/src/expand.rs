//! `$(VAR)` in commands, arguments and the values of variables, as Kubernetes expands it: see the description of
//! `command` in the core/v1 Container API.

/// Expands each `$(NAME)` that `lookup` knows; leaves the others as they are; `$$` gives `$`.
pub(crate) fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            after
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            after
        } else {
            out.push('$');
            after
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_a(text: &str) -> String {
        expand(text, |name| (name == "A").then_some("1"))
    }

    /// The cases are those of the table in Kubernetes' own tests of its expansion, in our words.
    #[test]
    fn expansion_is_that_of_kubernetes() {
        for (text, expected) in [
            ("$(A)", "1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(B) $(A)", "$(B) 1"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(A", "$(A"),
            ("$(", "$("),
            ("$$", "$"),
            ("$$$$", "$$"),
            ("a$(A)b$(A)", "a1b1"),
            ("$($(A))", "$($(A))"),
        ] {
            assert_eq!(with_a(text), expected, "{text}");
        }
    }

    proptest! {
        /// What the operator does to a script so that it comes through unchanged.
        #[test]
        fn doubled_dollars_come_back_as_they_were(text in "[$()A-C \n'\"]{0,60}") {
            prop_assert_eq!(with_a(&text.replace('$', "$$")), text);
        }
    }
}
