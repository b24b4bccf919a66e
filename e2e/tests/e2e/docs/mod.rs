//! Every command in the docs is run.
//!
//! A *scene* is one test. It says which sections of which pages it runs (`parts`), what stands in place of the words that every
//! reader replaces (`words`), what of the shown output differs each time (`varies`), and which commands do not end with 0
//! (`codes`). It makes ready what the page takes for granted (a cluster, a node, a kubeconfig), and then has the commands typed
//! as they are on the page, in a shell at a terminal, in a fresh `$HOME` ([`Machine`]), on the control plane that all tests share.
//! Where the page shows output, what came must be that: see [`vk_cmd_e2e::docs::shown`].
//!
//! **A page is new, or a command on one.** [`census`] names each command that no scene runs. Then either
//!
//! - a section of a scene has it already: run the scene, `cargo test --workspace --test e2e -- docs::NAME`; or
//! - add the section to the `parts` of a scene that has the ground for it, and have it run by `play.section("#anchor")`; or
//! - write a scene: a file here with `SCENE` and `play`, and its name in [`scenes!`] below. `fleets.rs` is a short one.
//!
//! How a page is to be written: a block of ```` ```console ````, `$ ` before each command, its output below it, `…` for what is left out. A
//! command without output shown has only to succeed. A command whose answer takes its time (`kubectl get`, `vk-node status`, …) is
//! asked again until the answer fits. A `vk-node run` goes on until the next one, or the end of the scene, and is waited for until
//! its node is ready; a node's name is one test's own, so give each scene another one (`words`).
//!
//! What cannot be run by a test is in [`census::ELSEWHERE`], with what runs it.

mod census;
mod places;
mod play;
mod sentences;

use play::{Play, Scene};

/// The scenes: each is a module with `SCENE` and `play`, and so a test.
macro_rules! scenes {
    ($($name:ident)*) => {
        $(mod $name;)*

        /// All of them.
        const ALL: &[(&str, &Scene)] = &[$((stringify!($name), &$name::SCENE)),*];

        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let mut play = Play::new(stringify!($name), &$name::SCENE).await;
                Box::pin($name::play(&mut play)).await;
                play.is_over();
            }
        )*
    };
}

scenes! {
    batch
    chart
    cli
    fleets
    identity
    ifarm
    lesson_of_clusters
    lesson_of_scientists
    lesson_of_sites
    metrics
    odds
    perlmutter
    readme
    relay
    release
    site_admin
    tunnel
    workstation
}
