//! Credentials in files that somebody else replaces: a kubelet beside us, or a site's own tool.

use std::path::PathBuf;
use std::time::Duration;

use kube::{Client, Config};
use tokio::time::sleep;
use tracing::{info, warn};

use super::client::Switch;
use super::dial::Dial;

/// How often they are looked at, as often as the files of tokens are.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A client certificate in files. A token in a file needs no care of ours: the client reads it again by itself.
pub(crate) struct Files {
    config: Config,
    dial: Dial,
    paths: Vec<PathBuf>,
    read: Vec<Vec<u8>>,
    switch: Option<Switch>,
}

impl Files {
    /// The files that a kubeconfig leads to, if it does.
    pub(super) fn of(config: &Config, dial: Dial) -> Option<Self> {
        let login = &config.auth_info;
        let paths: Vec<PathBuf> = [
            (&login.client_certificate, login.client_certificate_data.is_some()),
            (&login.client_key, login.client_key_data.is_some()),
        ]
        .into_iter()
        .filter(|(_, is_inline)| !is_inline)
        .filter_map(|(path, _)| path.as_ref().map(PathBuf::from))
        .collect();
        let read = contents(&paths)?;
        (!paths.is_empty()).then(|| Self { config: config.clone(), dial, paths, read, switch: None })
    }

    /// A client that goes with the files.
    pub(super) fn watched(mut self, client: Client) -> (Client, Self) {
        let (switch, client) = Switch::new(client);
        self.switch = Some(switch);
        (client, self)
    }

    /// Looks at them, for ever.
    pub(super) async fn keep(mut self) {
        loop {
            sleep(LOOK_EVERY).await;
            if let Some(client) = self.changed()
                && let Some(switch) = &self.switch
            {
                info!("the client certificate was replaced");
                switch.set(client);
            }
        }
    }

    /// A client with what is in the files now, if that is news and can be used.
    fn changed(&mut self) -> Option<Client> {
        let now = contents(&self.paths)?;
        if now == self.read {
            return None;
        }
        match self.dial.client(&self.config) {
            Ok(client) => {
                self.read = now;
                Some(client)
            }
            // Half of it, most likely: the certificate without its key.
            Err(error) => {
                warn!("the client certificate was replaced by one that cannot be used: {error}; going on with the old");
                None
            }
        }
    }
}

fn contents(paths: &[PathBuf]) -> Option<Vec<Vec<u8>>> {
    paths.iter().map(std::fs::read).collect::<Result<_, _>>().ok()
}

#[cfg(test)]
mod tests {
    use rcgen::ExtendedKeyUsagePurpose::ClientAuth;
    use vk_cmd_crds::certificates::Purpose;

    use super::super::pair::tests::{signed, wanted};
    use super::*;

    #[tokio::test]
    async fn a_certificate_that_is_replaced_is_used_once_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let put = || {
            let pair = signed(&wanted(Purpose::Client), vec![ClientAuth]);
            std::fs::write(path("crt"), pair.certificate_pem()).unwrap();
            std::fs::write(path("key"), pair.key_pem()).unwrap();
        };
        put();
        let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
        config.root_cert = Some(Vec::new());
        let dial = Dial::new(None);
        assert!(Files::of(&config, dial.clone()).is_none(), "there are no files");
        config.auth_info.client_certificate = Some(path("crt").display().to_string());
        config.auth_info.client_key = Some(path("key").display().to_string());
        let mut files = Files::of(&config, dial).unwrap();
        assert!(files.changed().is_none());
        put();
        assert!(files.changed().is_some());
        assert!(files.changed().is_none(), "it is no news any more");
        std::fs::write(path("key"), "half").unwrap();
        assert!(files.changed().is_none());
        put();
        assert!(files.changed().is_some());
    }
}
