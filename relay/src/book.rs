//! Which port is whose, in memory and on disk.
//!
//! A port is on disk before its node hears of it: after `kill -9` no other node is given it. Many that come at once are
//! written at once.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{info, warn};
use vk_cmd_crds::NodeName;
use vk_relay_core::ports::{Kept, Ledger, NoPort};

use crate::Config;

/// Which port is whose.
pub(crate) struct Book {
    shared: Arc<Shared>,
    /// Up to which change it is on disk.
    written: watch::Receiver<u64>,
}

/// A change of it, by its number. The default is none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change(u64);

struct Shared {
    address: IpAddr,
    ledger: Mutex<Ledger>,
    /// How many changes there were.
    changes: watch::Sender<u64>,
}

impl Book {
    /// Opens it, and gives what writes it, which must be run.
    ///
    /// # Errors
    /// When there is something that cannot be read.
    pub(crate) fn open(config: &Config) -> anyhow::Result<(Self, impl Future<Output = ()> + use<>)> {
        let now = Timestamp::now();
        let ledger = match config.state_file.as_deref().map(read).transpose()?.flatten() {
            Some(kept) => Ledger::restored(config.ports, config.hold, &kept, config.advertise, now),
            None => Ledger::new(config.ports, config.hold),
        };
        if config.state_file.is_none() {
            warn!(
                "which port is whose is kept nowhere: after a restart a node may have a port that another's Node object \
                 still names. Name a file with --state-file"
            );
        }
        let shared =
            Arc::new(Shared { address: config.advertise, ledger: Mutex::new(ledger), changes: watch::Sender::new(0) });
        let (sender, written) = watch::channel(0);
        let writer = write_all(shared.clone(), config.state_file.clone(), sender);
        Ok((Self { shared, written }, writer))
    }

    /// The port of a node that is here now. The node is to hear of it when the change is on disk.
    ///
    /// # Errors
    /// When there is none left.
    pub(crate) fn arrive(&self, node: &NodeName) -> Result<(u16, Change), NoPort> {
        let (port, is_news) = self.shared.lock().arrive(node, Timestamp::now())?;
        Ok((port, if is_news { Change(self.shared.changed()) } else { Change::default() }))
    }

    /// Waits until a change is on disk.
    pub(crate) async fn written(&self, change: Change) {
        // The writer goes on as long as the relay.
        let _ = self.written.clone().wait_for(|written| *written >= change.0).await;
    }

    /// A node has gone.
    pub(crate) fn leave(&self, node: &NodeName) {
        self.shared.lock().leave(node, Timestamp::now());
        self.shared.changed();
    }

    /// The port of a node cannot be listened on.
    pub(crate) fn is_unusable(&self, node: &NodeName) {
        self.shared.lock().is_unusable(node);
        self.shared.changed();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There was a change: its number.
    fn changed(&self) -> u64 {
        let mut number = 0;
        self.changes.send_modify(|changes| {
            *changes += 1;
            number = *changes;
        });
        number
    }
}

/// Writes whatever has changed, for ever.
async fn write_all(shared: Arc<Shared>, file: Option<PathBuf>, written: watch::Sender<u64>) {
    let mut changes = shared.changes.subscribe();
    loop {
        let number = *changes.borrow_and_update();
        if number > 0
            && let Some(file) = &file
        {
            let kept = shared.lock().kept(shared.address);
            let place = file.clone();
            let result = tokio::task::spawn_blocking(move || write(&place, &kept)).await;
            if let Ok(Err(error)) = result {
                warn!("{error:#}; going on, but after a restart a node may get another's port");
            }
        }
        written.send_replace(number);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn read(file: &Path) -> anyhow::Result<Option<Kept>> {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let kept = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no file of a relay: remove it to have all ports given anew", file.display()))?;
    info!(file = %file.display(), "which port is whose was read");
    Ok(Some(kept))
}

/// Writes the file, whole or not at all.
fn write(file: &Path, kept: &Kept) -> anyhow::Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = || -> std::io::Result<()> {
        let mut draft = tempfile::NamedTempFile::new_in(directory)?;
        serde_json::to_writer(&mut draft, kept)?;
        draft.flush()?;
        draft.as_file().sync_all()?;
        draft.persist(file)?;
        std::fs::File::open(directory)?.sync_all()
    };
    written().with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;

    use super::*;
    use crate::Limits;

    fn config(state_file: PathBuf) -> Config {
        Config {
            listen: ([127, 0, 0, 1], 0).into(),
            advertise: [127, 0, 0, 1].into(),
            bind: [127, 0, 0, 1].into(),
            ports: "20000-20001".parse().unwrap(),
            hold: SignedDuration::from_hours(1),
            state_file: Some(state_file),
            certificate_file: PathBuf::new(),
            key_file: PathBuf::new(),
            limits: Limits {
                nodes: 2,
                streams_per_node: 1,
                streams: 1,
                handshakes: 1,
                handshake: Duration::from_secs(1),
            },
            health: None,
            drain: Duration::ZERO,
        }
    }

    #[tokio::test]
    async fn a_port_is_on_disk_before_its_node_hears_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path().join("ports.json"));
        let name = |text: &str| NodeName::parse(text).unwrap();
        let (book, writer) = Book::open(&config).unwrap();
        let writer = tokio::spawn(writer);
        let (port, change) = book.arrive(&name("vk-a")).unwrap();
        book.written(change).await;
        // As by kill -9: nothing is written any more.
        writer.abort();
        drop(book);
        let (book, _writer) = Book::open(&config).unwrap();
        assert_ne!(book.arrive(&name("vk-b")).unwrap().0, port, "whoever comes first");
        assert_eq!(book.arrive(&name("vk-a")).unwrap().0, port);
        assert!(book.arrive(&name("vk-c")).is_err());
        std::fs::write(directory.path().join("ports.json"), "half").unwrap();
        let why = Book::open(&config).err().unwrap();
        assert!(format!("{why:#}").contains("remove it"), "{why:#}");
    }
}
