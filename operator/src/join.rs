//! `vk-operator join-token`: makes, lists and revokes the tokens by which machines join a fleet. It acts with the rights of whoever
//! calls it; the operator itself can neither read nor make Secrets.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use vk_cmd_crds::CmdFleet;
use vk_cmd_crds::join::{JoinToken, Relay};
use vk_operator_core::join::{self, Listed};

use crate::api::{call, post_params};
use crate::run;

/// The arguments of `vk-operator join-token`.
#[derive(Debug, Args)]
pub struct JoinTokenArgs {
    /// The kubeconfig to use, of somebody who may make Secrets in kube-system. Without it: $KUBECONFIG or ~/.kube/config.
    #[arg(long, env = "VK_OPERATOR_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The CmdFleet whose nodes the token is for.
    #[arg(long, value_name = "NAME", required_unless_present_any = ["list", "revoke"])]
    fleet: Option<String>,

    /// How long the token can be used: for joining, not for what has joined.
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    ttl: SignedDuration,

    /// The URL of the API server as the site sees it. Without it: that of the kubeconfig.
    #[arg(long, value_name = "URL")]
    server: Option<String>,

    /// The authorities that the API server is known by, in PEM. Without it: those of the kubeconfig.
    #[arg(long, value_name = "FILE")]
    certificate_authority: Option<PathBuf>,

    /// The relay by which the API server reaches nodes that nobody can dial; several with commas between them. Nodes dial it, and ask the
    /// API server as always: at --server.
    #[arg(long, value_name = "HOST:PORT", requires = "relay_certificate_authority")]
    relay: Option<String>,

    /// The authorities that the relay is known by, in PEM.
    #[arg(long, value_name = "FILE", requires = "relay")]
    relay_certificate_authority: Option<PathBuf>,

    /// What the token is for, for those who list them.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,

    /// What is printed: the line for the site's shell, or the token alone, for a file.
    #[arg(long, value_enum, default_value = "line")]
    output: Output,

    /// List the tokens that there are, without their secrets.
    #[arg(long, conflicts_with_all = ["fleet", "revoke"])]
    list: bool,

    /// Revoke the token of this id (six letters and digits, as --list shows it). What has joined with it stays.
    #[arg(long, value_name = "ID", conflicts_with = "fleet")]
    revoke: Option<String>,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The line for a shell.
    Line,
    /// The token.
    Token,
}

impl JoinTokenArgs {
    /// Does what they say.
    pub async fn run(self) -> anyhow::Result<()> {
        let config = run::kube_config(self.kubeconfig.as_deref()).await?;
        let client = vk_api_client::client(&config).context("cannot set up the way to the API server")?;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), join::NAMESPACE);
        if self.list {
            return list(&secrets).await;
        }
        if let Some(id) = &self.revoke {
            return revoke(&secrets, id).await;
        }
        self.make(&config, &client, &secrets).await
    }

    async fn make(&self, config: &kube::Config, client: &Client, secrets: &Api<Secret>) -> anyhow::Result<()> {
        let name = self.fleet.as_deref().context("name a fleet with --fleet")?;
        let fleets: Api<CmdFleet> = Api::all(client.clone());
        let fleet = call("read the CmdFleet", fleets.get_opt(name)).await?.with_context(|| {
            format!("there is no CmdFleet {name}, and nobody would be let in: make it first (kubectl get cmdfleets lists what there is)")
        })?;
        let authorities = authorities(self.certificate_authority.as_deref(), config)?;
        let relay = match (&self.relay, &self.relay_certificate_authority) {
            (Some(address), Some(file)) => Some(Relay { address: address.clone(), authorities: pem(file)? }),
            (Some(_) | None, _) => None,
        };
        for address in relay.iter().flat_map(|relay| relay.address.split(',')) {
            let port = address
                .rsplit_once(':')
                .filter(|(host, _)| !host.is_empty())
                .and_then(|(_, port)| port.parse::<u16>().ok());
            ensure!(
                port.is_some_and(|port| port > 0),
                "--relay {address:?} is no HOST:PORT: write relay.example.org:8443, say, or several with commas between them"
            );
        }
        let mut random = [0; join::RANDOM_BYTES];
        getrandom::fill(&mut random)
            .map_err(|error| anyhow!("this machine has no randomness to make a token of: {error}"))?;
        let token = JoinToken {
            server: server(self.server.as_deref(), config)?,
            authorities,
            token: join::token(&random).context("the randomness was no good: try again")?,
            fleet: name.to_owned(),
            names: fleet.name_patterns(),
            until: join::until(Timestamp::now(), self.ttl).map_err(anyhow::Error::msg).context("--ttl")?,
            relay,
        };
        let text = token.to_text().context("cannot write the token")?;
        let description = match self.description.as_str() {
            "" => format!("joins vk-cmd nodes to the fleet {name}"),
            said => said.to_owned(),
        };
        let secret = join::secret(&token, &description);
        call("make the token's Secret", secrets.create(&post_params(), &secret)).await?;
        match self.output {
            Output::Token => println!("{text}"),
            Output::Line => {
                // Every shell takes this: sh, bash, zsh, tcsh. `echo` is a part of each, so that the token is no argument of a process.
                println!("echo {text} | vk-node join");
                eprintln!(
                    "\nRun this line at the site, in any shell, once for each machine. It is a secret until {}: whoever has it can become a \
                     node named {}. To revoke it: vk-operator join-token --revoke {}",
                    token.until,
                    token.names.join(" or "),
                    token.token.id()
                );
            }
        }
        Ok(())
    }
}

/// Where the site finds the API server.
fn server(given: Option<&str>, config: &kube::Config) -> anyhow::Result<String> {
    let url = given.map_or_else(|| config.cluster_url.to_string(), str::to_owned);
    let uri: http::Uri = url.parse().with_context(|| format!("--server {url:?} is no URL"))?;
    ensure!(uri.scheme_str() == Some("https"), "{url} is no https:// URL: name the API server with --server");
    let host = uri.host().unwrap_or_default();
    if host.ends_with(".svc") || host.contains(".svc.") || host == "kubernetes" {
        bail!("{url} is known inside the cluster only: name the API server as the site sees it with --server");
    }
    let is_here =
        host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    if is_here {
        eprintln!("note: {url} is this machine, and another one will not find it: name the API server with --server");
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn authorities(given: Option<&Path>, config: &kube::Config) -> anyhow::Result<Vec<Vec<u8>>> {
    if let Some(file) = given {
        return pem(file);
    }
    let known = config.root_cert.clone().filter(|known| !known.is_empty());
    known.context("the kubeconfig names no authority for the API server: name a file with --certificate-authority")
}

fn pem(file: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all: Vec<Vec<u8>> = all
        .with_context(|| format!("{} is no PEM", file.display()))?
        .into_iter()
        .map(|certificate| certificate.as_ref().to_vec())
        .collect();
    ensure!(!all.is_empty(), "there is no certificate in {}", file.display());
    Ok(all)
}

async fn list(secrets: &Api<Secret>) -> anyhow::Result<()> {
    let tokens = ListParams::default().fields(&format!("type={}", join::TYPE));
    let all = call("list the tokens' Secrets", secrets.list(&tokens)).await?;
    let mut listed: Vec<Listed> = all.iter().filter_map(Listed::of).collect();
    listed.sort();
    let now = Timestamp::now();
    let head = ["ID", "FLEET", "EXPIRES", "DESCRIPTION"].map(str::to_owned);
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(listed.iter().map(|one| one.row(now))).collect();
    println!("{}", join::table(&rows));
    Ok(())
}

async fn revoke(secrets: &Api<Secret>, id: &str) -> anyhow::Result<()> {
    // Somebody who has pasted a whole token shall not find it in an error.
    ensure!(
        id.len() == 6 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "the id of a token is its six letters and digits before the point: --list shows them"
    );
    let name = join::secret_name(id);
    let found = call("read the token's Secret", secrets.get_opt(&name)).await?;
    let secret = found.with_context(|| format!("there is no token {id}: it has run out, or was revoked before"))?;
    Listed::of(&secret).with_context(|| format!("the token {id} is not one of vk-cmd, and is left alone"))?;
    call("delete the token's Secret", secrets.delete(&name, &DeleteParams::default())).await?;
    println!("the token {id} is revoked; nodes that have joined with it stay");
    Ok(())
}
