//! By which proxy a server is reached: the kubeconfig's own, or what the environment says for all programs.
//!
//! ```text
//!   proxy-url of the kubeconfig ──▶ that one, whatever the environment says
//!   else HTTPS_PROXY, ALL_PROXY ──▶ that one, but for hosts of NO_PROXY and for this machine itself
//!   else ─────────────────────────▶ none
//! ```
//!
//! As client-go has it, with Go's `ProxyFromEnvironment`. [`kube`] reads `HTTPS_PROXY` too, and takes it for the kubeconfig's; but it
//! looks for the proxy's own host in `NO_PROXY`, and not for the server's. So what it has found is not used: see [`of_kubeconfig`].

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;
use kube::config::Kubeconfig;
use percent_encoding::percent_decode_str;

use crate::Unusable;

/// A proxy that is gone through.
#[derive(Clone)]
pub(crate) struct Proxy {
    /// Where it is.
    pub(crate) at: Uri,
    /// How it is spoken to.
    pub(crate) speaks: Speaks,
}

/// How a proxy is spoken to, and what it is shown.
#[derive(Clone)]
pub(crate) enum Speaks {
    /// HTTP, the method CONNECT: with this `Proxy-Authorization`.
    Connect(Option<HeaderValue>),
    /// SOCKS of version 5: with this user and password.
    Socks(Option<(String, String)>),
}

/// The proxy by which the server of a kubeconfig is reached; none: it is reached straight.
///
/// # Errors
/// When it is one that cannot be gone through.
pub(crate) fn of(config: &Config) -> Result<Option<Proxy>, Unusable> {
    match &config.proxy_url {
        Some(url) => read(url).map(Some),
        None => of_environment(&config.cluster_url),
    }
}

/// The proxy that the environment names for a server.
///
/// # Errors
/// When it is one that cannot be gone through.
pub(crate) fn of_environment(server: &Uri) -> Result<Option<Proxy>, Unusable> {
    by(&Matcher::from_env(), server)
}

fn by(matcher: &Matcher, server: &Uri) -> Result<Option<Proxy>, Unusable> {
    if is_this_machine(server.host().unwrap_or_default()) {
        return Ok(None);
    }
    let Some(found) = matcher.intercept(server) else { return Ok(None) };
    let at = found.uri().clone();
    let speaks = match at.scheme_str() {
        Some("http") => Speaks::Connect(found.basic_auth().cloned()),
        Some("socks5" | "socks5h") => {
            let login = found.raw_auth().map(|(user, password)| (user.to_owned(), password.to_owned()));
            Speaks::Socks(login)
        }
        _ => return Err(unusable(&at)),
    };
    Ok(Some(Proxy { at, speaks }))
}

/// No proxy leads to this machine: as in Go.
fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// What a kubeconfig says.
fn read(url: &Uri) -> Result<Proxy, Unusable> {
    if url.host().is_none() {
        return Err(unusable(url));
    }
    let login = url.authority().and_then(|authority| authority.as_str().rsplit_once('@')).map(|(login, _)| login);
    let speaks = match url.scheme_str() {
        Some("http") => {
            let basic = |login: &str| {
                let credentials = STANDARD.encode(percent_decode_str(login).collect::<Vec<u8>>());
                HeaderValue::from_str(&format!("Basic {credentials}")).map_err(|_| unusable(url))
            };
            Speaks::Connect(login.map(basic).transpose()?)
        }
        Some("socks5" | "socks5h") => {
            let plain = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let login = login.and_then(|login| login.split_once(':'));
            Speaks::Socks(login.map(|(user, password)| (plain(user), plain(password))))
        }
        _ => return Err(unusable(url)),
    };
    Ok(Proxy { at: url.clone(), speaks })
}

fn unusable(url: &Uri) -> Unusable {
    Unusable::Proxy(shown(url))
}

/// A proxy without the password that may be in its address.
pub(crate) fn shown(url: &Uri) -> String {
    let port = url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme_str().unwrap_or_default(), url.host().unwrap_or_default())
}

/// The proxy that a kubeconfig itself names for the cluster of its current context.
pub(crate) fn of_kubeconfig(kubeconfig: &Kubeconfig) -> Option<Uri> {
    let current = kubeconfig.current_context.as_deref()?;
    let context = kubeconfig.contexts.iter().find(|named| named.name == current)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == context.cluster)?.cluster.as_ref()?;
    // One that makes no sense is told of where the kubeconfig is used.
    cluster.proxy_url.as_deref().filter(|url| !url.is_empty())?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(matcher: &Matcher, server: &str) -> Option<String> {
        by(matcher, &server.parse().unwrap()).unwrap().map(|proxy| proxy.at.to_string())
    }

    #[test]
    fn the_environment_is_followed_but_for_those_it_excepts() {
        let proxy = Some("http://proxy.example.org:3128/".to_owned());
        let matcher = Matcher::builder()
            .https("proxy.example.org:3128")
            .no("10.0.0.0/8, .inside.example.org,api.example.net,192.0.2.7")
            .build();
        for (server, wanted) in [
            ("https://api.example.com:6443", true),
            ("https://198.51.100.7:6443", true),
            ("https://[2001:db8::7]:6443", true),
            // What NO_PROXY has.
            ("https://10.1.2.3:6443", false),
            ("https://a.inside.example.org", false),
            ("https://api.example.net:8443", false),
            ("https://192.0.2.7", false),
            // This machine.
            ("https://localhost:6443", false),
            ("https://127.0.0.2:6443", false),
            ("https://[::1]:6443", false),
        ] {
            assert_eq!(found(&matcher, server), proxy.clone().filter(|_| wanted), "{server}");
        }
        assert_eq!(found(&Matcher::builder().build(), "https://api.example.com"), None);
        assert_eq!(found(&Matcher::builder().all("p:1").no("*").build(), "https://api.example.com"), None);
        // One for HTTP only is none for what is encrypted.
        assert_eq!(found(&Matcher::builder().http("p:1").build(), "https://api.example.com"), None);
    }

    #[test]
    fn a_proxy_is_shown_what_stands_in_its_address() {
        let server = "https://api.example.com".parse().unwrap();
        for url in ["http://me:se%20cret@proxy:1", "socks5h://me:se%20cret@proxy:1"] {
            let matcher = Matcher::builder().all(url).build();
            let environments = by(&matcher, &server).unwrap().unwrap();
            for proxy in [environments, read(&url.parse().unwrap()).unwrap()] {
                match proxy.speaks {
                    // base64 of `me:se cret`.
                    Speaks::Connect(shown) => assert_eq!(shown.unwrap(), "Basic bWU6c2UgY3JldA=="),
                    Speaks::Socks(login) => assert_eq!(login.unwrap(), ("me".into(), "se cret".into())),
                }
            }
        }
        for url in ["https://me:secret@proxy:1", "socks4://me:secret@proxy:1"] {
            let told = by(&Matcher::builder().all(url).build(), &server).err().unwrap().to_string();
            assert!(told.contains("://proxy") && !told.contains("secret"), "{told}");
            assert_eq!(read(&url.parse().unwrap()).err().unwrap().to_string(), told);
        }
    }

    #[test]
    fn a_kubeconfig_speaks_of_its_current_cluster() {
        let kubeconfig = |current: &str, proxy: &str| {
            let text = serde_json::json!({
                "current-context": current,
                "contexts": [{"name": "a", "context": {"cluster": "x"}}, {"name": "b", "context": {"cluster": "y"}}],
                "clusters": [{"name": "x", "cluster": {"proxy-url": proxy}}, {"name": "y", "cluster": {}}],
            });
            of_kubeconfig(&serde_json::from_value(text).unwrap()).map(|url| url.to_string())
        };
        assert_eq!(kubeconfig("a", "http://p:1"), Some("http://p:1/".to_owned()));
        assert_eq!(kubeconfig("a", ""), None);
        assert_eq!(kubeconfig("b", "http://p:1"), None);
    }
}
