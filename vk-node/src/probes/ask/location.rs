//! Where a page is, and where it has gone: just as much of URLs as a probe's redirects need.

use vk_node_core::probe::Scheme;

/// Where a page is on a host that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) scheme: Scheme,
    pub(super) port: u16,
    /// The path and the query, as they stand in a request.
    pub(super) target: String,
}

/// What the answer of a redirect leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// The same host.
    Here {
        /// Where on it.
        location: Location,
        /// Whether the answer named the host and the port itself.
        is_absolute: bool,
    },
    /// Another host, or what is not asked for by HTTP.
    Elsewhere,
}

impl Location {
    /// Of a path as the pod's author wrote it: what cannot stand in a request is escaped.
    pub(super) fn new(scheme: Scheme, port: u16, path: &str) -> Self {
        Self { scheme, port, target: target(path) }
    }

    /// Where a `Location` leads that was answered for this one on `host`.
    pub(super) fn follow(&self, host: &str, reference: &str) -> Redirect {
        let reference = reference.trim();
        let (scheme, rest) = match reference.split_once("://") {
            Some((name, rest)) if name.eq_ignore_ascii_case("http") => (Scheme::Http, Some(rest)),
            Some((name, rest)) if name.eq_ignore_ascii_case("https") => (Scheme::Https, Some(rest)),
            Some((name, _)) if name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) => {
                return Redirect::Elsewhere;
            }
            _ => (self.scheme, reference.strip_prefix("//")),
        };
        let Some(rest) = rest else {
            let target = target(&self.join(reference));
            return Redirect::Here { location: Self { target, ..self.clone() }, is_absolute: false };
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let authority = authority.rsplit_once('@').map_or(authority, |(_, authority)| authority);
        let default = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
            _ => (authority, Some(default)),
        };
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        match port {
            Some(port) if name.eq_ignore_ascii_case(host) => {
                Redirect::Here { location: Self::new(scheme, port, path), is_absolute: true }
            }
            _ => Redirect::Elsewhere,
        }
    }

    /// A relative reference, made absolute: RFC 3986, section 5.2.
    fn join(&self, reference: &str) -> String {
        let path = self.target.split('?').next().unwrap_or_default();
        if reference.starts_with('/') {
            return without_dots(reference);
        }
        if reference.is_empty() || reference.starts_with(['?', '#']) {
            return format!("{path}{reference}");
        }
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        without_dots(&format!("{directory}/{reference}"))
    }
}

fn without_dots(path: &str) -> String {
    let (path, query) = path.split_at(path.find(['?', '#']).unwrap_or(path.len()));
    let mut parts: Vec<&str> = Vec::new();
    let mut all = path.split('/').skip(1).peekable();
    while let Some(part) = all.next() {
        let is_last = all.peek().is_none();
        match part {
            ".." => {
                parts.pop();
            }
            "." => {}
            part => {
                parts.push(part);
                continue;
            }
        }
        if is_last {
            parts.push("");
        }
    }
    format!("/{}{query}", parts.join("/"))
}

/// The path and query of a request, without a fragment.
fn target(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let mut target = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        target.push('/');
    }
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            target.push(char::from(byte));
        } else {
            target.push_str(&format!("%{byte:02X}"));
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_what_a_request_can_hold() {
        for (path, expected) in [
            ("/", "/"),
            ("", "/"),
            ("healthz", "/healthz"),
            ("/a?b=c&d=%20", "/a?b=c&d=%20"),
            ("/a b\n?ü#top", "/a%20b%0A?%C3%BC"),
        ] {
            assert_eq!(target(path), expected);
        }
    }

    #[test]
    fn a_redirect_leads_where_browsers_go() {
        let from = Location::new(Scheme::Http, 8080, "/a/b?c");
        let here = |scheme, port, target: &str, is_absolute| Redirect::Here {
            location: Location { scheme, port, target: target.into() },
            is_absolute,
        };
        for (reference, expected) in [
            ("/x?y", here(Scheme::Http, 8080, "/x?y", false)),
            ("x", here(Scheme::Http, 8080, "/a/x", false)),
            ("../x/./y/..", here(Scheme::Http, 8080, "/x/", false)),
            ("?z", here(Scheme::Http, 8080, "/a/b?z", false)),
            ("/x?to=http://other/", here(Scheme::Http, 8080, "/x?to=http://other/", false)),
            ("http://H/x#f", here(Scheme::Http, 80, "/x", true)),
            ("https://h", here(Scheme::Https, 443, "/", true)),
            ("https://u:p@h:8443?q", here(Scheme::Https, 8443, "/?q", true)),
            ("//h:1/x", here(Scheme::Http, 1, "/x", true)),
            ("//other/x", Redirect::Elsewhere),
            ("http://other/x", Redirect::Elsewhere),
            ("http://h:x/", Redirect::Elsewhere),
            ("ftp://h/", Redirect::Elsewhere),
        ] {
            assert_eq!(from.follow("h", reference), expected, "{reference}");
        }
        let of_six = Location::new(Scheme::Http, 1, "/").follow("::1", "http://[::1]:2/");
        assert_eq!(of_six, here(Scheme::Http, 2, "/", true));
        let of_six = Location::new(Scheme::Http, 1, "/").follow("::1", "http://[::1]/");
        assert_eq!(of_six, here(Scheme::Http, 80, "/", true));
    }
}
