//! `cargo make-release`: makes a release, and shows that it comes out the same wherever it is made. See docs/how-to/release.md.
//!
//! ```text
//!   source ─ git ──────▶ which commit, when ─┐
//!   cargo  ─ compiles ─▶ static programs ────┤
//!   cargo  ─ tells ────▶ crates, licenses ───┼─▶ make ─ vk-release-core ─▶ files, in a directory
//!   pages  ─ clap ─────▶ manual, completions ┘
//!
//!   verify ─ make, in two checkouts, homes and target directories ─▶ what differs
//! ```
//!
//! What goes into which file is decided in `vk-release-core`.

pub mod cargo;
pub mod cli;
pub mod make;
pub mod pages;
pub mod run;
pub mod source;
pub mod verify;
