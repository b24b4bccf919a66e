//! By which flag or variable a setting was given: for people who look for what they have to change.

use std::collections::BTreeMap;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use vk_node_core::config::Origin;

/// By which flag or variable each argument was given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(BTreeMap<String, Origin>);

/// The arguments that are settings, by the key that says the same in the file: all of it, or the first of two.
const SETTINGS: [(&str, &str); 24] = [
    ("nodeName", "node_name"),
    ("nodes", "nodes"),
    ("kubeconfig", "kubeconfig"),
    ("address", "address"),
    ("listenAddress", "listen_address"),
    ("port", "kubelet_port"),
    ("clientCAFile", "client_ca_file"),
    ("bootstrapKubeconfig", "bootstrap_kubeconfig"),
    ("certDirectory", "cert_dir"),
    ("serverTLSBootstrap", "server_tls_bootstrap"),
    ("tunnel.to", "tunnel"),
    ("tunnel.bind", "tunnel_bind"),
    ("tunnel.configFile", "tunnel_ssh_config"),
    ("relay.address", "relay"),
    ("relay.caFile", "relay_ca_file"),
    ("walltimeSeconds", "walltime"),
    ("warningSignal", "warning_signal"),
    ("onTerm", "on_term"),
    ("killWaitSeconds", "kill_wait"),
    ("maxPods", "max_pods"),
    ("labels", "labels"),
    ("capacity", "resources"),
    ("pipe.run", "pipe"),
    ("log", "log"),
];
/// Those of the pipe.
const OF_PIPE: [(&str, &str); 4] =
    [("pipe.directory", "hostpipe"), ("pipe.records", "records"), ("pipe.cgroup", "cgroup"), ("pipe.siteFile", "site")];

/// The arguments of `vk-node run` that are settings: the key that says the same in the file, and the argument's id.
pub fn settings() -> impl Iterator<Item = (&'static str, &'static str)> {
    SETTINGS.into_iter().chain(OF_PIPE)
}

impl Sources {
    /// Of a command line. `command` is that by which it was read.
    pub(super) fn of(command: &Command, matches: &ArgMatches) -> Self {
        let mut all = BTreeMap::new();
        let mut at = Some((command, matches));
        while let Some((command, matches)) = at {
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                let flag = || format!("--{}", argument.get_long().unwrap_or(id));
                let origin = match matches.value_source(id) {
                    Some(ValueSource::CommandLine) => Origin::Flag { name: flag() },
                    Some(ValueSource::EnvVariable) => {
                        let name = argument.get_env().map(|name| name.to_string_lossy().into_owned());
                        Origin::Variable { name: name.unwrap_or_default() }
                    }
                    Some(_) | None => continue,
                };
                all.insert(id.to_owned(), origin);
            }
            at = matches.subcommand().and_then(|(name, inner)| Some((command.find_subcommand(name)?, inner)));
        }
        Self(all)
    }

    /// Who says a setting.
    pub(super) fn of_setting(&self, path: &[String]) -> Origin {
        let whole = path.join(".");
        let is_it = |(key, _): &&(&str, &str)| *key == whole || path.first().is_some_and(|first| first == key);
        let id = SETTINGS.iter().chain(&OF_PIPE).find(is_it).map(|(_, id)| *id);
        id.and_then(|id| self.0.get(id)).cloned().unwrap_or(Origin::Flag { name: whole })
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::super::Cli;
    use super::*;

    fn sources(words: &[&str]) -> Sources {
        let mut command = Cli::command();
        let matches = command.try_get_matches_from_mut(words).unwrap();
        Cli::from_arg_matches(&matches).unwrap();
        Sources::of(&command, &matches)
    }

    #[test]
    fn a_flag_is_told_by_its_name() {
        let words = ["vk-node", "run", "--kubelet-port", "1", "--label", "a=b", "--log", "debug", "--hostpipe", "/p"];
        let sources = sources(&words);
        let of = |path: &[&str]| {
            let path: Vec<String> = path.iter().map(|&key| key.to_owned()).collect();
            sources.of_setting(&path).to_string()
        };
        assert_eq!(of(&["port"]), "--kubelet-port");
        assert_eq!(of(&["labels", "a"]), "--label");
        assert_eq!(of(&["log"]), "--log");
        assert_eq!(of(&["pipe", "directory"]), "--hostpipe");
    }

    /// One that is renamed is not forgotten here.
    #[test]
    fn each_setting_is_a_flag_that_there_is() {
        let mut command = Cli::command();
        command.build();
        let run = command.find_subcommand("run").unwrap();
        for (key, id) in SETTINGS.iter().chain(&OF_PIPE) {
            assert!(run.get_arguments().any(|argument| argument.get_id() == id), "{key}: no argument {id}");
        }
    }
}
