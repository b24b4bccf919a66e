//! Certificates on disk, in the kubelet's layout.
//!
//! ```text
//!   pki/vk-a/                                            0700, each file 0600
//!     kubelet-client-2026-08-01-10-20-30.pem             certificate and key
//!     kubelet-client-current.pem ─▶ (the last of them)   changed by one rename
//!     kubelet-client.key.pending                         the key of a request that waits to be signed
//!     kubelet-server-…                                   the same for the serving certificate
//!     kubeconfig                                         leads to kubelet-client-current.pem
//! ```

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use rcgen::KeyPair;
use tempfile::NamedTempFile;
use tracing::warn;
use vk_api_client::chain;
use vk_cmd_crds::certificates::Purpose;

use super::pair::{self, Pair};

fn stem(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Client => "kubelet-client",
        Purpose::Serving => "kubelet-server",
    }
}

fn current_name(stem: &str) -> String {
    format!("{stem}-current.pem")
}

/// The file in a node's directory that is always the certificate in use.
pub(super) fn current_path(directory: &Path, purpose: Purpose) -> PathBuf {
    directory.join(current_name(stem(purpose)))
}

/// The certificates of one purpose in one node's directory.
pub(super) struct Store {
    directory: PathBuf,
    stem: &'static str,
}

impl Store {
    /// Makes the directory where it is not there.
    pub(super) fn open(directory: &Path, purpose: Purpose) -> anyhow::Result<Self> {
        // An absolute path, for the kubeconfig that leads here.
        let directory = std::path::absolute(directory).context("cannot tell where the certificates are")?;
        make_private(&directory).with_context(|| format!("cannot keep certificates in {}", directory.display()))?;
        Ok(Self { directory, stem: stem(purpose) })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file that is always the certificate in use.
    pub(super) fn current_path(&self) -> PathBuf {
        self.directory.join(self.current_name())
    }

    fn current_name(&self) -> String {
        current_name(self.stem)
    }

    /// The certificate that was last put here, and what it says; none where there is none that can be read.
    pub(super) fn current(&self) -> Option<(Pair, vk_node_core::certificates::Seen)> {
        let path = self.current_path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(file = %path.display(), %error, "cannot read the certificate; another will be asked for");
                return None;
            }
        };
        match Pair::from_file(&text).and_then(|pair| Ok((pair.seen()?, pair))) {
            Ok((seen, pair)) => Some((pair, seen)),
            Err(error) => {
                warn!(file = %path.display(), "cannot use the certificate: {}; another will be asked for", chain(&*error));
                None
            }
        }
    }

    /// The key of the request that is not signed yet, made where there is none: a node that is restarted while it waits
    /// goes on waiting for the same.
    pub(super) fn pending_key(&self) -> anyhow::Result<KeyPair> {
        let name = self.pending_name();
        match fs::read_to_string(self.directory.join(&name)).ok().and_then(|pem| KeyPair::from_pem(&pem).ok()) {
            Some(key) => Ok(key),
            None => {
                let key = pair::new_key()?;
                write(&self.directory, &name, key.serialize_pem().as_bytes())?;
                Ok(key)
            }
        }
    }

    /// Forgets that key.
    pub(super) fn drop_pending_key(&self) {
        let path = self.directory.join(self.pending_name());
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != ErrorKind::NotFound
        {
            warn!(file = %path.display(), %error, "cannot remove the key of a request");
        }
    }

    fn pending_name(&self) -> String {
        format!("{}.key.pending", self.stem)
    }

    /// Makes this the current certificate, durably; those before it are removed.
    pub(super) fn put(&self, pair: &Pair, now: Timestamp) -> anyhow::Result<()> {
        let name = format!("{}-{}.pem", self.stem, now.strftime("%Y-%m-%d-%H-%M-%S"));
        write(&self.directory, &name, pair.to_file().as_bytes())?;
        let link = self.directory.join(format!(".{}.new", self.current_name()));
        let linked = match fs::remove_file(&link) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => symlink(&name, &link).and_then(|()| fs::rename(&link, self.current_path())),
        };
        linked.and_then(|()| sync(&self.directory)).with_context(|| format!("cannot make {name} the current one"))?;
        self.drop_pending_key();
        self.remove_all_but(&name);
        Ok(())
    }

    fn remove_all_but(&self, kept: &str) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let current = self.current_name();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_old = name.to_str().is_some_and(|name| {
                name != kept
                    && name != current
                    && name.starts_with(&format!("{}-", self.stem))
                    && name.ends_with(".pem")
            });
            if is_old && let Err(error) = fs::remove_file(entry.path()) {
                warn!(file = %entry.path().display(), %error, "cannot remove a certificate of earlier");
            }
        }
    }
}

/// Writes a file that only we can read, in a directory that only we can enter, made where it is not there.
pub(crate) fn keep_private(directory: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    make_private(directory).with_context(|| format!("cannot keep files in {}", directory.display()))?;
    write(directory, name, bytes)
}

fn make_private(directory: &Path) -> std::io::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(0o700)))
}

/// Writes a file that only we can read, whole or not at all.
pub(super) fn write(directory: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let written = || -> std::io::Result<()> {
        // Its mode is 0600.
        let mut file = NamedTempFile::new_in(directory)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(directory.join(name))?;
        sync(directory)
    };
    written().with_context(|| format!("cannot write {}", directory.join(name).display()))
}

fn sync(directory: &Path) -> std::io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use rcgen::ExtendedKeyUsagePurpose::ServerAuth;

    use super::super::pair::tests::{signed, wanted};
    use super::*;

    #[test]
    fn the_last_one_is_current_and_nobody_else_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("pki/vk-a");
        let store = Store::open(&directory, Purpose::Serving).unwrap();
        assert!(store.current().is_none());
        let key = store.pending_key().unwrap().serialize_pem();
        assert_eq!(store.pending_key().unwrap().serialize_pem(), key, "it is still that of the same request");

        for second in [1, 2] {
            let pair = signed(&wanted(Purpose::Serving), vec![ServerAuth]);
            store.put(&pair, Timestamp::from_second(second).unwrap()).unwrap();
            let (current, seen) = store.current().unwrap();
            assert_eq!(current.key_pem(), pair.key_pem());
            assert_eq!(seen.purpose, Some(Purpose::Serving));
        }
        let mut names: Vec<String> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["kubelet-server-1970-01-01-00-00-02.pem", "kubelet-server-current.pem"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&store.current_path())), (0o700, 0o600));
        assert!(Store::open(&directory, Purpose::Client).unwrap().current().is_none());

        fs::write(store.current_path(), "rubbish").unwrap();
        assert!(store.current().is_none());
    }
}
