//! What the compilers are told so that a program is the same wherever it is built: nothing of this machine gets into it.
//!
//! - Paths are written as if everything was at the places of [`Places::remaps`].
//! - Of the environment that is kept by which cargo finds its way, [`is_kept`]; everything else could be read by a build script.
//! - What is set is the same for all, [`FIXED`].

use std::ffi::OsStr;

/// Where things are on this machine, in absolute paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The checkout.
    pub source: String,
    /// Where cargo puts what it builds.
    pub target: String,
    /// `CARGO_HOME`, which has the sources of others' crates.
    pub cargo_home: String,
    /// The toolchain.
    pub sysroot: String,
    /// The commit of rustc, in hexadecimal digits: the standard library is compiled as if its sources were in a directory of this name.
    pub rustc: String,
}

impl Places {
    /// What is written in place of what. Of several that match a path, the last counts.
    #[must_use]
    pub fn remaps(&self) -> Vec<(String, String)> {
        vec![
            (self.sysroot.clone(), "/sysroot".to_owned()),
            (format!("{}/lib/rustlib/src/rust", self.sysroot), format!("/rustc/{}", self.rustc)),
            (self.source.clone(), "/vk-cmd".to_owned()),
            (self.cargo_home.clone(), "/cargo".to_owned()),
            // It may well be in the checkout.
            (self.target.clone(), "/target".to_owned()),
        ]
    }

    /// For `CARGO_ENCODED_RUSTFLAGS`.
    #[must_use]
    pub fn rustflags(&self) -> String {
        let flags = self.remaps().into_iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}"));
        flags.collect::<Vec<_>>().join("\u{1f}")
    }

    /// For `CFLAGS`, with which ring compiles its C and assembler. gcc's manual: "-ffile-prefix-map".
    #[must_use]
    pub fn cflags(&self) -> String {
        let flags = self.remaps().into_iter().map(|(from, to)| format!("-ffile-prefix-map={from}={to}"));
        flags.collect::<Vec<_>>().join(" ")
    }
}

/// What is the same in every build's environment.
pub const FIXED: [(&str, &str); 4] =
    [("LC_ALL", "C"), ("TZ", "UTC"), ("CARGO_INCREMENTAL", "0"), ("CARGO_TERM_COLOR", "never")];

/// Whether a variable of ours is also one of the build's: what says where programs, toolchains and crates are to be had.
#[must_use]
pub fn is_kept(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let exact = ["PATH", "HOME", "TMPDIR", "CARGO_HOME", "RUSTUP_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR"];
    let begins =
        ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRY_", "CARGO_REGISTRIES_", "CARGO_SOURCE_", "CARGO_BUILD_JOBS"];
    let ends = ["_proxy", "_PROXY"];
    exact.contains(&name)
        || begins.iter().any(|begin| name.starts_with(begin))
        || ends.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_machine_is_left() {
        let places = Places {
            source: "/home/me/vk-cmd".to_owned(),
            target: "/home/me/vk-cmd/target".to_owned(),
            cargo_home: "/home/me/.cargo".to_owned(),
            sysroot: "/home/me/.rustup/toolchains/1".to_owned(),
            rustc: "abc".to_owned(),
        };
        // As rustc does it: the last that matches.
        let written = |path: &str| {
            let found = places.remaps().into_iter().rev().find_map(|(from, to)| Some(to + path.strip_prefix(&from)?));
            found.unwrap_or(path.to_owned())
        };
        assert_eq!(written("/home/me/vk-cmd/vk-node/src/main.rs"), "/vk-cmd/vk-node/src/main.rs");
        assert_eq!(written("/home/me/vk-cmd/target/release/build/x/out/y.rs"), "/target/release/build/x/out/y.rs");
        assert_eq!(written("/home/me/.cargo/registry/src/z.rs"), "/cargo/registry/src/z.rs");
        assert_eq!(
            written("/home/me/.rustup/toolchains/1/lib/rustlib/src/rust/library/core.rs"),
            "/rustc/abc/library/core.rs"
        );
        assert_eq!(places.rustflags().split('\u{1f}').count(), places.remaps().len());
    }

    #[test]
    fn what_could_change_a_build_is_not_handed_on() {
        for kept in ["PATH", "HOME", "https_proxy", "CARGO_NET_OFFLINE"] {
            assert!(is_kept(OsStr::new(kept)), "{kept}");
        }
        for other in ["RUSTFLAGS", "CFLAGS", "CARGO_PROFILE_RELEASE_LTO", "USER", "LANG", "RUSTUP_TOOLCHAIN", "CC"] {
            assert!(!is_kept(OsStr::new(other)), "{other}");
        }
    }
}
