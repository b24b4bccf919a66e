//! A scene while it is played.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use vk_cmd_e2e::docs::shown::{self, Varies};
use vk_cmd_e2e::docs::{self, Command, Machine};
use vk_cmd_e2e::sshd::Sshd;
use vk_cmd_e2e::wait::{self, Probe};

use super::census;
use crate::ground::{Ground, LONG, Room, room};

/// How often a command is typed again whose answer is not yet what the page shows.
const AGAIN: Duration = Duration::from_millis(200);

/// Commands that only ask. They may be typed again until the answer is there.
const ASKING: [&str; 11] = [
    "kubectl get ",
    "kubectl logs ",
    "kubectl top ",
    "kubectl describe ",
    "kubectl cmdjob list",
    "kubectl cmdjob nodes",
    "kubectl cmdjob fleets",
    "kubectl cmdjob explain",
    "vk-node status",
    "vk-node jobs",
    "vk-node logs",
];

/// What is typed otherwise in all scenes.
const EVERYWHERE: [(&str, &str); 1] = [
    // An API server on a machine with all tests on it may take longer to answer than the doctor gives one.
    ("vk-node doctor", "vk-node doctor --timeout 60"),
];

/// What a scene says of itself.
pub(super) struct Scene {
    /// What it runs.
    pub(super) parts: &'static [Part],
    /// What the reader replaces, and by what; the words that are known only later are told to [`Play::word`].
    pub(super) words: &'static [(&'static str, &'static str)],
    /// What is another each time.
    pub(super) varies: &'static [Varies],
    /// What does not end with 0: the command, and its exit code.
    pub(super) codes: &'static [(&'static str, i32)],
}

/// Commands of a section.
pub(super) struct Part {
    /// The page's path in the repository.
    pub(super) page: &'static str,
    /// The anchor of the heading right above them, with `#`; `*` for the whole page.
    pub(super) section: &'static str,
    /// How they begin; none is all of them.
    pub(super) only: &'static [&'static str],
}

/// All of a section.
pub(super) const fn all_of(page: &'static str, section: &'static str) -> Part {
    Part { page, section, only: &[] }
}

/// Those of a section that begin so.
pub(super) const fn those_of(page: &'static str, section: &'static str, only: &'static [&'static str]) -> Part {
    Part { page, section, only }
}

impl Part {
    /// Whether the command is one of this part.
    pub(super) fn has(&self, command: &Command) -> bool {
        let section = self.section == "*" || self.section.strip_prefix('#') == Some(&command.section);
        let begins = self.only.is_empty() || self.only.iter().any(|only| command.text.starts_with(only));
        self.page == command.page && section && begins
    }
}

/// A scene that is played: what it still has to run, where, and what it knows.
pub(super) struct Play {
    scene: &'static Scene,
    name: &'static str,
    /// Its namespace, which is named after it.
    pub(super) room: Room,
    /// Where the commands are typed.
    pub(super) machine: Machine,
    words: Vec<(String, String)>,
    left: Vec<Command>,
    /// The node that `vk-node run` on the machine is, after the words are replaced.
    pub(super) node: String,
}

impl Play {
    pub(super) async fn new(name: &'static str, scene: &'static Scene) -> Self {
        let room = room(&format!("docs-{}", name.replace('_', "-"))).await;
        let machine = Machine::new(room.ground.plane, &room.namespace).await.unwrap();
        let words = EVERYWHERE.iter().chain(scene.words);
        let words = words.map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        let mut left = Vec::new();
        // In the order of the parts, each in the order of its page.
        for part in scene.parts {
            let commands = docs::page(part.page).unwrap().commands().into_iter();
            left.extend(commands.filter(|command| part.has(command) && !census::is_elsewhere(command)));
        }
        let node = format!("vk-docs-{}", name.replace('_', "-"));
        Self { scene, name, room, machine, words, left, node }
    }

    /// What follows is typed on a machine of another cluster, in this namespace, which is there.
    pub(super) async fn on(&mut self, ground: Ground, namespace: &str) {
        let client = ground.plane.client().await.unwrap();
        self.room = Room { ground, client, namespace: namespace.to_owned() };
        self.on_another_machine().await;
    }

    /// What this scene needs cannot be had here, as somebody has said loudly: nothing of it is run.
    pub(super) fn skip(&mut self) {
        self.left.clear();
    }

    /// An `ssh` that finds this server, whatever the home says: ssh looks for its config where the system says that the home is.
    pub(super) fn has_ssh(&self, sshd: &Sshd) {
        let (program, config) = (sshd.client().display(), sshd.client_config());
        let script = format!("#!/bin/sh\nexec {program} -F {} \"$@\"\n", config.display());
        self.machine.has_script("ssh", &script).unwrap();
        // The path of the shared connection's socket may have 107 bytes and no more.
        self.machine.exports("TMPDIR", &sshd.directory().display().to_string()).unwrap();
    }

    /// What stands in place of a word of the page from now on.
    pub(super) fn word(&mut self, from: &str, to: &str) {
        self.words.retain(|(word, _)| word != from);
        self.words.push((from.to_owned(), to.to_owned()));
    }

    /// Puts what stands in place of the page's words into a text of it.
    pub(super) fn put(&self, text: &str) -> String {
        let mut words: Vec<_> = self.words.iter().collect();
        // The longest first: one may be part of another.
        words.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        // By marks, so that nothing is replaced twice.
        let mut text = text.to_owned();
        for (n, (from, _)) in words.iter().enumerate() {
            text = text.replace(from.as_str(), &format!("\u{1}{n}\u{2}"));
        }
        for (n, (_, to)) in words.iter().enumerate() {
            text = text.replace(&format!("\u{1}{n}\u{2}"), to);
        }
        text
    }

    /// The page's block of code with these words becomes this file in the home.
    pub(super) fn file(&self, name: &str, page: &str, words: &str) {
        let page = docs::page(page).unwrap();
        let text = page.block(words).unwrap_or_else(|| panic!("{} has no block with {words:?}", page.path));
        self.machine.has_file(name, &self.put(text)).unwrap();
    }

    /// The kubeconfig of a node, as a file in the home.
    pub(super) fn has_node_kubeconfig(&self, file: &str, node: &str) {
        let kubeconfig = self.room.ground.plane.node_kubeconfig(node).unwrap();
        self.machine.has_copy(file, &kubeconfig).unwrap();
    }

    /// The kubeconfig of a bootstrap token, as a file in the home.
    pub(super) async fn has_bootstrap_kubeconfig(&self, file: &str, id: &str) {
        let group = vk_cmd_crds::certificates::BOOTSTRAP_GROUP;
        let made = self.room.ground.plane.cluster().bootstrap_kubeconfig(id, group).await.unwrap();
        self.machine.has_copy(file, &made).unwrap();
    }

    /// The line that an administrator makes for a fleet, of which the page shows the beginning: the token in it.
    pub(super) async fn join_token(&self, fleet: &str) -> String {
        let made = crate::join::operator(&self.room, &["--fleet", fleet, "--output", "token"]).await;
        assert!(made.status.success(), "{made:?}");
        crate::join::text(&made.stdout).trim().to_owned()
    }

    /// A `cargo` that has built already what this test has: it checks that the real one knows what it is asked for.
    pub(super) fn has_cargo(&self) {
        let repository = docs::repository().canonicalize().unwrap();
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let home = std::env::var("HOME").unwrap();
        // The real one's toolchain is in the real home.
        let script = format!(
            "#!/bin/sh\nset -eu\nHOME={home}; export HOME\ncd {}\nreal={cargo}\ncase $1 in\n\
             build) shift; while [ $# -gt 0 ]; do case $1 in --release) ;; --package) shift; $real pkgid --package $1 ;;\n\
             *) exit 2 ;; esac; shift; done ;;\n*) [ $# = 1 ] && $real --list | grep -q \"^ *$1 *alias:\" ;;\nesac\n",
            repository.display()
        );
        self.machine.has_script("cargo", &script).unwrap();
    }

    /// Another machine, with a fresh home; the one before is ended.
    pub(super) async fn on_another_machine(&mut self) {
        self.machine.stop().unwrap();
        self.machine = Machine::new(self.room.ground.plane, &self.room.namespace).await.unwrap();
    }

    /// Runs what is left of the sections with this anchor, in their order.
    pub(super) async fn section(&mut self, anchor: &str) {
        let anchor = anchor.trim_start_matches('#');
        let (now, later) = std::mem::take(&mut self.left).into_iter().partition(|command| command.section == anchor);
        self.left = later;
        let now: Vec<Command> = now;
        assert!(!now.is_empty(), "{}: nothing is left of #{anchor}", self.name);
        for command in now {
            self.run(&command).await;
        }
    }

    /// Runs the first that is left of those that begin so; what it has shown.
    pub(super) async fn one(&mut self, begins: &str) -> String {
        let at = self.left.iter().position(|command| command.text.starts_with(begins));
        let at = at.unwrap_or_else(|| panic!("{}: nothing is left that begins with {begins:?}", self.name));
        let command = self.left.remove(at);
        self.run(&command).await
    }

    /// Runs all that is left.
    pub(super) async fn rest(&mut self) {
        for command in std::mem::take(&mut self.left) {
            self.run(&command).await;
        }
    }

    /// Everything has been run.
    pub(super) fn is_over(&self) {
        let left: Vec<String> = self.left.iter().map(census::told).collect();
        assert!(left.is_empty(), "the scene {} has not run\n{}", self.name, left.join("\n"));
    }

    async fn run(&mut self, command: &Command) -> String {
        let (text, expected) = (self.put(&command.text), self.put(&command.shown));
        let told = census::told(command);
        if goes_on(&text) {
            self.start(&told, &text).await;
            return String::new();
        }
        let code = self.scene.codes.iter().find(|(text, _)| command.text == *text).map_or(0, |(_, code)| *code);
        let asks = ASKING.iter().any(|asking| text.starts_with(asking));
        let what = format!("{told}, typed as `{text}`, to be as the page says");
        let done = wait::until(&what, LONG, AGAIN, async || {
            let done = self.machine.run(&text, LONG).await?;
            let seen = if done.code == code {
                if expected.is_empty() { Ok(()) } else { shown::fits(&expected, &done.shown, self.scene.varies) }
            } else {
                Err(anyhow::anyhow!("its exit code is {}, not {code}:\n{}", done.code, done.shown))
            };
            match seen {
                Ok(()) => Ok(Probe::Ready(done.shown)),
                Err(why) if asks => Ok(Probe::not_yet(format!("{why:#}"))),
                Err(why) => Err(why),
            }
        });
        match done.await {
            Ok(shown) => shown,
            Err(error) => self.failed(&format!("{error:#}")),
        }
    }

    /// What goes on is waited for until it does what it is for: the node is ready, or its address is told.
    async fn start(&mut self, told: &str, text: &str) {
        if self.machine.is_running().unwrap() {
            self.machine.stop().unwrap();
        }
        let log = self.machine.start(text).unwrap();
        let is_node = text.contains("vk-node");
        let nodes: Api<Node> = Api::all(self.room.client.clone());
        let what = format!("{told}, typed as `{text}`, to be at work");
        let ready = wait::until(&what, LONG, AGAIN, async || {
            self.machine.must_be_running()?;
            if !is_node {
                let said = std::fs::read_to_string(&log)?;
                return Ok(if said.contains("http://") { Probe::Ready(()) } else { Probe::not_yet(said) });
            }
            Ok(match nodes.get_opt(&self.node).await? {
                Some(node) if crate::node_object::is(&node, "Ready", "True") => Probe::Ready(()),
                Some(_) => Probe::not_yet(format!("{} is not ready", self.node)),
                None => Probe::not_yet(format!("there is no {}; {}", self.node, std::fs::read_to_string(&log)?)),
            })
        });
        if let Err(error) = ready.await {
            self.failed(&format!("{error:#}"));
        }
    }

    pub(super) fn failed(&self, why: &str) -> ! {
        self.machine.keep();
        panic!("{}: {why}", self.name);
    }
}

/// Whether a command goes on until it is told to end.
fn goes_on(text: &str) -> bool {
    let is_node =
        text.starts_with("vk-node run") || text.contains("| vk-node join --run") || text.contains("/vk-node run");
    let is_container = text.starts_with("docker run") && text.contains("vk-node:");
    is_node || is_container || text.starts_with("kubectl cmdjob dashboard")
}
